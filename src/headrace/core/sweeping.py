"""Finished jobs go when their time is over, a bounded part of them a command.

A sweep walks the finished jobs from the oldest id on and stops where ids are too young: nobody
ended before it was submitted. What it met and kept (types with a longer retention, jobs that ended
long after their submit) lies in `Stretch`es of ids, each with the moment before which nothing in it
can be over; the next sweep passes over those whose moment has not come.

Jobs that say themselves how long they are kept are `expiring`'s.

Ages are told by a clock of their own (`Keeping.now_ms`), which is never ahead of the wall clock and
runs after it at no more than `CATCH_UP` times the engine's: a wall clock that jumps ahead by a year
has hours to be set right before anything is deleted for it. One that is set back deletes nothing.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from headrace.core.commands import Cleanup, Sweep, Swept
from headrace.core.documenting import note
from headrace.core.effects import Effect, JobDeleted
from headrace.core.expiring import BEGIN, has_retention, may_go, sweep_own
from headrace.core.ids import first_id_at
from headrace.core.job import Job
from headrace.wire.durations import duration_text
from headrace.wire.limits import SWEEP_JOBS_MAX

if TYPE_CHECKING:
    from headrace.core.live import Live

CATCH_UP: Final = 12
"""A server that runs two hours a day still keeps up with the wall clock."""
STRETCH_JOBS: Final = 4_096
"""Finished jobs that a stretch spans, or more; memory is a stretch for so many jobs."""
FOREVER_MS: Final = 1 << 60
NOT_KNOWN: Final = -1
"""In the place of when a job ended: its row is damaged."""


class Ended(NamedTuple):
    """Of a finished job, what a sweep asks."""

    job_id: bytes
    at_ms: int
    """Wall clock of its end, or `NOT_KNOWN`."""
    record: bytes
    type: str | None
    """Empty: WASM. None: nobody asked, or the row is damaged."""


class Stretch(msgspec.Struct):
    """Finished jobs with start <= id < stop, of which none is over before `due_ms`."""

    start: bytes
    stop: bytes
    due_ms: int
    jobs: int


class Keeping:
    """How long finished jobs are kept, and which need not be looked at yet. Memory only."""

    def __init__(self, default_ms: int | None) -> None:
        self._default_ms = FOREVER_MS if default_ms is None else default_ms
        self.by_type: dict[str, int] = {}
        """Types that say something of their own."""
        self.shortest_ms = self.longest_ms = self._default_ms
        self.now_ms = 0
        """The wall clock, as far as it is believed."""
        self._seen_ms = 0
        self._known: dict[bytes, Stretch] = {}
        """Of the sweep before, by start."""
        self._made: list[Stretch] = []
        self._until = b""
        """Where the stretch that is walked now ends."""

    # Time ---------------------------------------------------------------------------------------

    def begin(self, now_ms: int, wall_ms: int, before_ms: int) -> None:
        """Start the clock, from when the server was last there; 0: it is new."""
        self.now_ms = min(wall_ms, before_ms or wall_ms)
        self._seen_ms = now_ms

    def pass_time(self, now_ms: int, wall_ms: int) -> None:
        believed_ms = min(wall_ms, self.now_ms + (now_ms - self._seen_ms) * CATCH_UP)
        if believed_ms < self.now_ms:
            self._forget()  # a job that ends now may be over before what was noted
        self.now_ms = believed_ms
        self._seen_ms = now_ms

    # Rules --------------------------------------------------------------------------------------

    def of_type(self, name: str, retention_ms: int | None) -> None:
        """Set what a type says: None for nothing, negative for ever."""
        before = self.by_type.pop(name, None)
        if retention_ms is not None:
            self.by_type[name] = FOREVER_MS if retention_ms < 0 else retention_ms
        if before != self.by_type.get(name):
            rules = (self._default_ms, *self.by_type.values())
            self.shortest_ms, self.longest_ms = min(rules), max(rules)
            self._forget()

    def over_ms(self, ended: Ended) -> int:
        """Return when the time of a finished job is over."""
        if ended.at_ms == NOT_KNOWN or has_retention(ended.record):
            return FOREVER_MS  # what it says itself is `expiring`'s to keep
        if not self.by_type:
            return ended.at_ms + self._default_ms
        if ended.type is None:
            return ended.at_ms + self.longest_ms
        return ended.at_ms + self.by_type.get(ended.type, self._default_ms)

    def default_over_ms(self, at_ms: int) -> int | None:
        """Return when the time of a job is over of which nothing else is known; None: never."""
        return None if self._default_ms >= FOREVER_MS else at_ms + self._default_ms

    # What a sweep passes over -------------------------------------------------------------------

    def _forget(self) -> None:
        self._known.clear()
        self._made.clear()

    def sweep_begins(self) -> None:
        self._known = {stretch.start: stretch for stretch in self._made}
        self._made = []
        self._until = b""

    def skip(self, start: bytes) -> bytes:
        """Return the next id that has to be looked at."""
        while (stretch := self._known.get(start)) is not None:
            self._until = stretch.stop
            if stretch.due_ms <= self.now_ms:
                break
            self._add(stretch)
            start = stretch.stop
        return start

    def until(self, start: bytes, stop: bytes) -> bytes:
        """Return where the walk from `start` has to look again what it may pass over."""
        return min(self._until, stop) if self._until > start else stop

    def looked_at(self, start: bytes, stop: bytes, due_ms: int, jobs: int) -> None:
        """Note what was met and kept. Jobs among these ids that live may end from now on."""
        self._add(Stretch(start, stop, min(due_ms, self.now_ms + self.shortest_ms), jobs))

    def _add(self, stretch: Stretch) -> None:
        last = self._made[-1] if self._made else None
        if (
            last is not None
            and last.stop == stretch.start
            and last.jobs + stretch.jobs <= STRETCH_JOBS
        ):
            last.stop = stretch.stop
            last.due_ms = min(last.due_ms, stretch.due_ms)
            last.jobs += stretch.jobs
        else:
            self._made.append(msgspec.structs.replace(stretch))


# Commands ---------------------------------------------------------------------------------------


def sweep(live: "Live", now_ms: int, command: Sweep, effects: list[Effect]) -> Swept:
    after_id = command.after_id
    swept = Swept(0, None)
    if not after_id.startswith(BEGIN):
        swept, after_id = walk(live, command, effects), BEGIN
        if swept.next_id is not None:
            return swept
    own = sweep_own(live, after_id, effects)
    return Swept(swept.deleted + own.deleted, own.next_id)


def walk(live: "Live", command: Sweep, effects: list[Effect]) -> Swept:
    """Look at a part of the jobs that are kept as long as others say."""
    keeping = live.keeping
    if not command.after_id:
        keeping.sweep_begins()
    if keeping.shortest_ms >= FOREVER_MS:
        return Swept(0, None)
    stop = first_id_at(keeping.now_ms - keeping.shortest_ms + 1)
    start = keeping.skip(command.after_id)
    if start >= stop:
        return Swept(0, None)
    until = keeping.until(start, stop)
    found, going_on = live.archive.ended(start, until, SWEEP_JOBS_MAX, types=bool(keeping.by_type))
    deleted, due_ms = 0, FOREVER_MS
    for ended in found:
        over_ms = keeping.over_ms(ended)
        if over_ms <= keeping.now_ms and may_go(live, ended.job_id):
            delete(live, ended, effects)
            deleted += 1
        else:
            due_ms = min(due_ms, over_ms)
    live.stats.swept_total += deleted
    end = going_on or until
    is_behind = any(start <= job_id < end for job_id in live.fresh())
    if is_behind or live.archive.ends_staged(start, end):
        due_ms = keeping.now_ms  # one ended a moment ago, which the archive does not tell yet
    keeping.looked_at(start, end, due_ms, len(found) - deleted)
    return Swept(deleted, end if end < stop else None)


def cleanup(live: "Live", now_ms: int, command: Cleanup, effects: list[Effect]) -> Swept:
    before_ms = live.wall_ms(now_ms) - command.older_than_ms
    stop = first_id_at(before_ms + 1)
    found, going_on = live.archive.ended(command.after_id, stop, SWEEP_JOBS_MAX, types=False)
    if not command.after_id:
        told = f"older than {duration_text(command.older_than_ms)}"
        note(live, now_ms, command.caller, "cleanup", "", effects, told)
    deleted = 0
    for ended in found:
        if NOT_KNOWN < ended.at_ms <= before_ms and may_go(live, ended.job_id):
            delete(live, ended, effects)
            deleted += 1
    live.stats.swept_total += deleted
    return Swept(deleted, going_on)


def delete(live: "Live", ended: Ended, effects: list[Effect]) -> None:
    live.fresh()[ended.job_id] = None
    effects.append(JobDeleted(ended.job_id, Job.unpack(ended.job_id, ended.record).owner_id))
