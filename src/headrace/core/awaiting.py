"""Jobs that wait for other jobs' ends, or for a module that was announced.

A job is INITIALIZING as long as anything that it waits for is not there. What has come to pass is
told to those that wait for it by the tick, so many at a time: a million that wait for one job, or
for each other in a chain, do not stop the loop. What a job still waits for is in memory and in a
row of its own, which is rewritten when that gets less; jobs that wait for nothing have neither.
"""

from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from headrace.core.commands import Cause, Outcome, Report
from headrace.core.effects import Effect, Waits, WaitsStored
from headrace.core.ids import ID_BYTES, id_text
from headrace.core.job import Event, Job, Status
from headrace.core.module_keys import module_sha256

if TYPE_CHECKING:
    from headrace.core.live import Live

LOST: Final = bytes(ID_BYTES)
"""Stands for what a job waits for whose row is damaged."""
NAMED_MAX: Final = 10
"""Of what a job waits for, so much is named in an explanation."""


class Ended(msgspec.Struct):
    """Something has come to pass, and not all who wait for it have been told."""

    key: bytes
    status: Status
    """How a job ended; COMPLETED: a module was stored."""
    jobs: dict[bytes, Literal["gone"] | None]
    """Who waited then; gone: it does not any more, or waits anew for what the key stands for."""
    left: Iterator[bytes]
    """Of `jobs`, those to tell."""
    entry_points: frozenset[str] | None = None
    """What a module has; None: not known here, so its worker will find out."""


class Awaiting:
    """Who waits for what. A key is a job's id, or a module's (see `module_keys`)."""

    def __init__(self) -> None:
        self.waits: dict[bytes, Waits] = {}
        """By job."""
        self.waiting: dict[bytes, dict[bytes, Literal["gone"] | None]] = {}
        """By key: the jobs that wait for it, the oldest first."""
        self.ended: deque[Ended] = deque()
        self.telling: dict[bytes, list[Ended]] = {}
        """`ended` by key, the oldest first."""
        self.announced: Counter[str] = Counter()
        """Jobs that wait for a module, by tenant."""

    def add(self, job_id: bytes, tenant: str, waits: Waits) -> None:
        self.waits[job_id] = waits
        for key in waits.keys:
            self.waiting.setdefault(key, {})[job_id] = None
        if waits.module():
            self.announced[tenant] += 1

    def drop(self, job_id: bytes, tenant: str) -> None:
        waits = self.waits.pop(job_id)
        for key in waits.keys:
            jobs = self.waiting.get(key)
            if jobs is not None and jobs.pop(job_id, 0) is None and not jobs:
                del self.waiting[key]
            for ended in self.telling.get(key, ()):
                if job_id in ended.jobs:
                    ended.jobs[job_id] = "gone"
        if waits.module():
            self.announced_less(tenant)

    def announced_less(self, tenant: str) -> None:
        self.announced[tenant] -= 1
        if not self.announced[tenant]:
            del self.announced[tenant]

    def end(self, key: bytes, status: Status, entry_points: frozenset[str] | None = None) -> None:
        """Note that what a key stands for has come to pass. Cost: O(1)."""
        jobs = self.waiting.pop(key, None)
        if jobs is not None:
            ended = Ended(key, status, jobs, iter(jobs), entry_points)
            self.telling.setdefault(key, []).append(ended)
            self.ended.append(ended)


def tell_ended(live: "Live", now_ms: int, jobs_max: int, effects: list[Effect]) -> None:
    """Tell so many jobs that something they wait for has come to pass."""
    awaiting = live.awaiting
    while jobs_max > 0 and awaiting.ended:
        ended = awaiting.ended[0]
        for job_id in ended.left:
            jobs_max -= 1
            waits = awaiting.waits.get(job_id)
            if waits is not None and ended.jobs[job_id] is None:
                tell(live, now_ms, job_id, waits, ended, effects)
            if jobs_max == 0:
                return
        awaiting.ended.popleft()
        told = awaiting.telling[ended.key]
        del told[0]
        if not told:
            del awaiting.telling[ended.key]


def tell(
    live: "Live", now_ms: int, job_id: bytes, waits: Waits, ended: Ended, effects: list[Effect]
) -> None:
    handle = live.jobs.find(job_id)
    job = live.load(handle)
    is_module = len(ended.key) > ID_BYTES
    if is_module:
        points = ended.entry_points
        if points is not None and waits.entry_point not in points:
            report = Report(
                "",
                Outcome.FAILED,
                error=f"its module has come, and has no entry point {waits.entry_point!r}",
                code="module_entry_point_missing",
            )
            live.leave(handle, job, effects)
            live.finish(now_ms, handle, job, Event.FAIL, effects, report=report)
            return
    elif ended.status is not Status.COMPLETED and not waits.any_end:
        skip(live, now_ms, handle, job, why_not(ended.key, ended.status), effects)
        return
    if len(waits.keys) > 1:
        if is_module:
            live.awaiting.announced_less(live.owner_names[job.owner_id][0])
        waits.keys.remove(ended.key)
        effects.append(WaitsStored(job_id, Waits([*waits.keys], waits.any_end, waits.entry_point)))
        return
    live.leave(handle, job, effects)
    at_ms = live.wall_ms(now_ms) if job.due_is_wall else now_ms
    if job.due_ms > at_ms:
        job.order = live.stamp(now_ms)
        live.change(now_ms, handle, job, Event.DEFER, effects)
        return
    live.begins_to_wait(now_ms, job)
    live.change(now_ms, handle, job, Event.READY, effects)


def skip(
    live: "Live", now_ms: int, handle: int, job: Job, error: str, effects: list[Effect]
) -> None:
    live.leave(handle, job, effects)
    ending = Report("", Outcome.FAILED, error=error, code="dependency")
    live.finish(now_ms, handle, job, Event.SKIP, effects, report=ending)


def why_not(key: bytes, status: Status) -> str:
    if key == LOST:
        return "what it was to run after is not known any more: the row is damaged"
    if status is Status.SKIPPED:
        return f"it was to run after job {id_text(key)}, which was skipped or is gone"
    return f"it was to run after job {id_text(key)}, which ended as {status.name.lower()}"


def awaited(live: "Live", waits: Waits) -> list[Cause]:
    """Return what a job waits for."""
    causes = []
    for key in waits.keys[:NAMED_MAX]:
        if len(key) > ID_BYTES:
            sha256 = module_sha256(key).hex()
            told = {"wasm_sha256": sha256}
            text = f"its module {sha256} has not been stored"
            causes.append(Cause("module_awaited", text, told))
            continue
        told = {"job_id": id_text(key)}
        if (handle := live.jobs.find(key)) >= 0:
            told["job_status"] = live.load(handle).status.name.lower()
            text = f"it runs after job {id_text(key)}, which is {told['job_status']}"
        else:
            text = f"it runs after job {id_text(key)}, which has just ended"
        causes.append(Cause("job_awaited", text, told))
    more = len(waits.keys) - NAMED_MAX
    if more > 0:
        causes.append(Cause("more_awaited", f"it waits for {more} more", {"more": more}))
    return causes
