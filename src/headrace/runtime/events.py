"""What happened lately, for whoever follows: a ring of committed effects, and who hears of them.

    commit ─▶ hear ─┬─ ring, bounded ◀── a follower of all reads on from its cursor
                    └─ followers of one job, told its own

Nothing is kept while nobody follows, nor later than `LINGER_S` after the last one left: who comes
back by then finds what it has missed. The ring holds effects as they are, but for what no event
tells (specs, results); they are taken apart when somebody reads them.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from msgspec.structs import replace

from headrace.core.effects import (
    Effect,
    JobChanged,
    JobDeleted,
    JobFinished,
    JobRedriven,
    JobsCompleted,
    JobsLeased,
    JobsStored,
    LogAppended,
    Noted,
    ids_split,
)
from headrace.core.ids import ID_BYTES
from headrace.wire.limits import MIB

LINGER_S: Final = 120.0
RING_STEPS_MAX: Final = 100_000
RING_BYTES_MAX: Final = 32 * MIB
MANY_COST_BYTES: Final = 100
"""What a job of an effect about many counts: its id and its record, and a little."""
ONE_COST_BYTES: Final = 400
"""What an effect about one job counts beside its texts."""
END: Final = 1 << 40
"""In the place of a step's number: behind all of its batch."""

OF_ONE: Final = (JobChanged, JobFinished, JobRedriven, JobDeleted, LogAppended, Noted)
OF_MANY: Final = (JobsStored, JobsLeased, JobsCompleted)


class Cursor(NamedTuple):
    """A place in the history of this process: behind which step the next one is awaited."""

    batch: int
    number: int


class Step(NamedTuple):
    """One thing that happened to one job."""

    batch: int
    number: int
    """In its batch; rises."""
    at_ms: int
    """Wall clock of the commit."""
    job_id: bytes
    effect: Any
    position: int = 0
    """Of the job in an effect about many."""


class Follower(Protocol):
    """Who hears of one job."""

    def tell(self, step: Step) -> None:
        """Hear of a step. Called in a release: neither raises nor waits."""


class Batch(NamedTuple):
    number: int
    at_ms: int
    effects: list[Effect]
    steps: int
    cost_bytes: int


class Events:
    """The events of one node. All methods belong to the loop's thread."""

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._ring: deque[Batch] = deque()
        self._steps = 0
        self._bytes = 0
        self._batch = 0
        self._oldest = 0
        """The first batch from which on nothing is missing."""
        self._keeps = False
        self._keep_until_s = 0.0
        self._of_job: dict[bytes, set[Follower]] = {}
        self._of_all: set[Callable[[], None]] = set()

    # Who follows --------------------------------------------------------------------------------

    def follow(self, job_id: bytes, follower: Follower) -> Cursor:
        """Tell a follower each step of a job, from the cursor on."""
        self._begin()
        self._of_job.setdefault(job_id, set()).add(follower)
        return self.now()

    def unfollow(self, job_id: bytes, follower: Follower) -> None:
        followers = self._of_job[job_id]
        followers.remove(follower)
        if not followers:
            del self._of_job[job_id]
        self._left()

    def follow_all(self, wake: Callable[[], None]) -> Cursor:
        """Call `wake` whenever there is more to read behind the cursor."""
        self._begin()
        self._of_all.add(wake)
        return self.now()

    def unfollow_all(self, wake: Callable[[], None]) -> None:
        self._of_all.remove(wake)
        self._left()

    def _begin(self) -> None:
        if not self._keeps:
            self._keeps = True
            self._batch += 1  # what was committed since the last follower left is not known here
            self._oldest = self._batch

    def _left(self) -> None:
        if not self._of_job and not self._of_all:
            self._keep_until_s = time.monotonic() + LINGER_S

    # What happens -------------------------------------------------------------------------------

    def hear(self, effects: list[Effect]) -> None:
        """Take note of what was committed. Neither raises nor waits."""
        if not self._keeps:
            return
        if not self._of_job and not self._of_all and time.monotonic() > self._keep_until_s:
            self._forget()
            return
        kept, steps, cost_bytes = _kept(effects)
        if not kept:
            return
        self._batch += 1
        batch = Batch(self._batch, self._wall_ms(), kept, steps, cost_bytes)
        self._ring.append(batch)
        self._steps += steps
        self._bytes += cost_bytes
        while self._steps > RING_STEPS_MAX or self._bytes > RING_BYTES_MAX:
            self._drop_oldest()
        if self._of_job:
            for step in _steps(batch, 0, self._of_job):
                for follower in tuple(self._of_job.get(step.job_id, ())):
                    follower.tell(step)
        for wake in tuple(self._of_all):
            wake()

    def _drop_oldest(self) -> None:
        batch = self._ring.popleft()
        self._steps -= batch.steps
        self._bytes -= batch.cost_bytes
        self._oldest = batch.number + 1

    def _forget(self) -> None:
        self._keeps = False
        self._ring.clear()
        self._steps = self._bytes = 0

    # Reading ------------------------------------------------------------------------------------

    def now(self) -> Cursor:
        """Return the cursor behind all that is committed."""
        return Cursor(self._batch, END)

    def has(self, cursor: Cursor) -> bool:
        """Say whether nothing is missing behind a cursor."""
        return self._keeps and self._oldest <= cursor.batch <= self._batch

    def read(self, after: Cursor) -> Iterator[Step]:
        """Yield the steps behind a cursor, oldest first; read it before anything else happens."""
        for batch in self._behind(after):
            yield from _steps(batch, after.number + 1 if batch.number == after.batch else 0)

    def read_job(self, job_id: bytes, after: Cursor) -> Iterator[Step]:
        """Yield those of one job. Cost: 0.1 µs an effect."""
        only = {job_id: ()}
        for batch in self._behind(after):
            if any(_is_about(effect, job_id) for effect in batch.effects):
                first = after.number + 1 if batch.number == after.batch else 0
                yield from _steps(batch, first, only)

    def _behind(self, after: Cursor) -> Iterator[Batch]:
        if self._ring:
            yield from islice(self._ring, max(0, after.batch - self._ring[0].number), None)


def _kept(effects: list[Effect]) -> tuple[list[Effect], int, int]:
    """Return what events are made of, how many, and about how many bytes are kept for them."""
    kept: list[Effect] = []
    steps = cost_bytes = 0
    for effect in effects:
        if isinstance(effect, OF_ONE):
            steps += 1
            cost_bytes += ONE_COST_BYTES
            if type(effect) is LogAppended:
                cost_bytes += len(effect.chunk)
            elif type(effect) is Noted:
                cost_bytes += len(effect.details)
            elif type(effect) is JobFinished:
                cost_bytes += len(effect.finished.error)
                if effect.finished.body:
                    effect = replace(effect, finished=replace(effect.finished, body=b""))
            elif type(effect) is JobChanged:
                cost_bytes += len(effect.trail.error)
            kept.append(effect)
        elif isinstance(effect, OF_MANY):
            jobs = len(effect.job_ids) // ID_BYTES
            steps += jobs
            cost_bytes += ONE_COST_BYTES + jobs * MANY_COST_BYTES
            if type(effect) is JobsStored:
                effect = replace(effect, specs=[], keys=[])
            elif type(effect) is JobsCompleted:
                effect = replace(effect, bodies=[])
            kept.append(effect)
    return kept, steps, cost_bytes


def _steps(batch: Batch, first: int, only: Any = None) -> Iterator[Step]:
    """Yield the steps of a batch from a number on; `only`: of these jobs."""
    number = -1
    for effect in batch.effects:
        if isinstance(effect, OF_ONE):
            number += 1
            if number >= first and (only is None or effect.job_id in only):
                yield Step(batch.number, number, batch.at_ms, effect.job_id, effect)
            continue
        assert isinstance(effect, OF_MANY)
        jobs = len(effect.job_ids) // ID_BYTES
        skipped = min(jobs, max(0, first - number - 1))
        job_ids = ids_split(effect.job_ids[skipped * ID_BYTES :] if skipped else effect.job_ids)
        for position, job_id in enumerate(job_ids, skipped):
            if only is None or job_id in only:
                at = number + 1 + position
                yield Step(batch.number, at, batch.at_ms, job_id, effect, position)
        number += jobs


def _is_about(effect: Any, job_id: bytes) -> bool:
    """Say whether an effect is about a job; it may be wrong if it says yes."""
    if isinstance(effect, OF_ONE):
        return bool(effect.job_id == job_id)
    return job_id in effect.job_ids
