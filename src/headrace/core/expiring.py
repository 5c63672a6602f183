"""Finished jobs that said themselves how long they are kept.

Each has a row that is ordered by when its time is over, from the commit of its end; the walk of
`sweeping` passes over them, and goes on here when it is done. So a job that is kept for a second
costs the others of its store nothing, and one that is kept for a year is not looked at until then.
A job that is never deleted has no row.
"""

from typing import TYPE_CHECKING, Final, NamedTuple

from headrace.core.commands import Swept
from headrace.core.effects import (
    Effect,
    ExpiriesSet,
    ExpiryDropped,
    JobDeleted,
    JobsCompleted,
)
from headrace.core.ids import ID_BYTES
from headrace.core.job import RECORD_BYTES, Job
from headrace.wire.durations import NEVER, duration_ms
from headrace.wire.limits import SWEEP_JOBS_MAX

if TYPE_CHECKING:
    from headrace.core.live import Live

BEGIN: Final = b"\xff" * ID_BYTES
"""In the place of an id: the walk over all others is done. Behind it, the row looked at last."""
_HAS_RETENTION: Final = 16
"""Of a record's flags."""
_FLAGS_AT: Final = 3


class Expired(NamedTuple):
    """A row that says that the time of a finished job is over."""

    job_id: bytes
    at_ms: int
    """By the row."""
    record: bytes
    """Of the job; empty: the row is of nobody, its job is gone or has ended at another time."""


def has_retention(record: bytes) -> bool:
    return bool(record[_FLAGS_AT] & _HAS_RETENTION)


def expires_ms(finished_at_ms: int, retention: float | str | None) -> int | None:
    """Return when the time of a job is over that says this of itself; None: never."""
    if retention is None or retention == NEVER:
        return None
    return finished_at_ms + duration_ms(retention)


def may_go(live: "Live", job_id: bytes) -> bool:
    """Say whether a finished job is still as the archive told, nothing of this batch is about it,
    and nobody has yet to hear of its end."""
    return (
        job_id not in live.fresh()
        and live.jobs.find(job_id) < 0
        and job_id not in live.awaiting.telling
    )


# The end of a job -------------------------------------------------------------------------------


def job_ended(live: "Live", now_ms: int, job_id: bytes, effects: list[Effect]) -> None:
    """Note when a job is over that has just ended."""
    _set(live, live.wall_ms(now_ms), [job_id], effects)


def jobs_completed(live: "Live", told: JobsCompleted, effects: list[Effect]) -> None:
    """Note when those jobs are over that one poll completed."""
    job_ids = [
        told.job_ids[at * ID_BYTES : (at + 1) * ID_BYTES]
        for at in range(len(told.bodies))
        if told.records[at * RECORD_BYTES + _FLAGS_AT] & _HAS_RETENTION
    ]
    _set(live, told.finished_at_ms, job_ids, effects)


def _set(live: "Live", at_ms: int, job_ids: list[bytes], effects: list[Effect]) -> None:
    found: list[tuple[bytes, int]] = []
    for job_id in job_ids:
        head = live.spec_head(job_id)
        over_ms = expires_ms(at_ms, head.retention) if head else live.keeping.default_over_ms(at_ms)
        if over_ms is not None:
            found.append((job_id, over_ms))
    if found:
        effects.append(ExpiriesSet(found))


# Sweeps -----------------------------------------------------------------------------------------


def sweep_own(live: "Live", after_id: bytes, effects: list[Effect]) -> Swept:
    """Delete a bounded part of the jobs whose own time is over."""
    now_ms = live.keeping.now_ms
    found, going_on = live.archive.expired(after_id[ID_BYTES:], now_ms, SWEEP_JOBS_MAX)
    deleted = 0
    for one in found:
        if not one.record:
            effects.append(ExpiryDropped(one.job_id, one.at_ms))
        elif may_go(live, one.job_id):
            live.fresh()[one.job_id] = None
            owner_id = Job.unpack(one.job_id, one.record).owner_id
            effects.append(JobDeleted(one.job_id, owner_id))
            deleted += 1
    live.stats.swept_total += deleted
    return Swept(deleted, None if going_on is None else BEGIN + going_on)
