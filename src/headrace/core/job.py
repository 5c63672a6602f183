"""The life of one job: its states, its events, the one table that joins them, and its record.

Rule 1: every state and every transition is in this file.
Rule 2: this file knows no queues, workers, clocks or storage; callers pass times.

The picture in README.md is generated from `TRANSITIONS` by `tools/diagram`.
"""

from enum import IntEnum, unique
from typing import Final

from headrace._native import (
    ORDER_BITS,
    RECORD_BYTES,
    RECORD_FORMAT,
    Job,
    learn_life,
)

__all__ = [
    "LEASED",
    "ORDER_BITS",
    "READY",
    "RECORD_BYTES",
    "RECORD_FORMAT",
    "STATUS_WORDS",
    "TERMINAL",
    "TRANSITIONS",
    "Event",
    "InvalidTransition",
    "Job",
    "Status",
]


@unique
class Status(IntEnum):
    """Stored on disk as one byte; a number is never reused. Names are the words of the wire."""

    INITIALIZING = 1  # accepted; a dependency or an announced module is not there yet
    SCHEDULED = 2  # waits for its time: a delay, a schedule, or the next try
    QUEUED = 3  # may be leased now
    RESUMING = 4  # as QUEUED, and its next run starts from a checkpoint
    LOCKED = 5  # leased; the worker has not yet said that it started
    RUNNING = 6  # leased, and started
    SUSPENDING = 7  # leased; the worker was asked to stop at a checkpoint
    SUSPENDED = 8  # waits for a resume; holds no resources
    CANCELING = 9  # leased; the worker was asked to stop for good
    COMPLETED = 10  # an end, as are all below: only REDRIVE and AWAIT lead out of one
    FAILED = 11  # attempts spent, a permanent error, or poison
    TIMEOUT = 12  # ran longer than allowed
    CANCELLED = 13
    SKIPPED = 14  # never run: its deadline to start passed, or a dependency did not complete


@unique
class Event(IntEnum):
    """What can happen to a job. Stored in effects; a number is never reused."""

    READY = 1  # what it waited for (dependency, module) is there
    DUE = 2  # its time has come
    LEASE = 3  # given to a worker: attempt + 1
    START = 4  # the worker says that it runs
    COMPLETE = 5  # reported: succeeded
    RETRY = 6  # reported: failed, and tries are left
    FAIL = 7  # reported: failed for good; or crashed too often
    TIME_OUT = 8  # ran out of its time
    LAPSE = 9  # the lease ran out: a crash of the worker
    RELEASE = 10  # given back unrun, or as a planned stop
    SNOOZE = 11  # given back for a later time
    SUSPEND = 12  # asked for by a client
    CHECKPOINT = 13  # the worker stopped at a checkpoint
    RESUME = 14  # asked for by a client
    CANCEL = 15  # asked for by a client
    CANCELED = 16  # the worker has stopped, or had its time to
    SKIP = 17  # its deadline to start passed, or a dependency did not complete
    REDRIVE = 18  # asked for by a client: it has ended, and is to run again
    AWAIT = 19  # as REDRIVE, and what it waits for is not there
    DEFER = 20  # what it waited for is there, and its time has not come


_S, _E = Status, Event

TRANSITIONS: Final[dict[tuple[Status, Event], Status]] = {
    (_S.INITIALIZING, _E.READY): _S.QUEUED,
    (_S.INITIALIZING, _E.DEFER): _S.SCHEDULED,
    (_S.INITIALIZING, _E.CANCEL): _S.CANCELLED,
    (_S.INITIALIZING, _E.SKIP): _S.SKIPPED,
    (_S.INITIALIZING, _E.FAIL): _S.FAILED,
    (_S.SCHEDULED, _E.DUE): _S.QUEUED,
    (_S.SCHEDULED, _E.SUSPEND): _S.SUSPENDED,
    (_S.SCHEDULED, _E.CANCEL): _S.CANCELLED,
    (_S.SCHEDULED, _E.SKIP): _S.SKIPPED,
    (_S.QUEUED, _E.LEASE): _S.LOCKED,
    (_S.QUEUED, _E.SUSPEND): _S.SUSPENDED,
    (_S.QUEUED, _E.CANCEL): _S.CANCELLED,
    (_S.QUEUED, _E.SKIP): _S.SKIPPED,
    (_S.RESUMING, _E.LEASE): _S.LOCKED,
    (_S.RESUMING, _E.SUSPEND): _S.SUSPENDED,
    (_S.RESUMING, _E.CANCEL): _S.CANCELLED,
    (_S.RESUMING, _E.SKIP): _S.SKIPPED,
    (_S.LOCKED, _E.START): _S.RUNNING,
    (_S.SUSPENDED, _E.RESUME): _S.RESUMING,
    (_S.SUSPENDED, _E.CANCEL): _S.CANCELLED,
    (_S.SUSPENDED, _E.SKIP): _S.SKIPPED,
    (_S.SUSPENDING, _E.CANCEL): _S.CANCELING,
    (_S.SUSPENDING, _E.CHECKPOINT): _S.SUSPENDED,
    (_S.SUSPENDING, _E.RELEASE): _S.SUSPENDED,
    (_S.SUSPENDING, _E.SNOOZE): _S.SUSPENDED,
    (_S.SUSPENDING, _E.RETRY): _S.SUSPENDED,
    (_S.SUSPENDING, _E.LAPSE): _S.SUSPENDED,
    (_S.CANCELING, _E.CANCELED): _S.CANCELLED,
    (_S.CANCELING, _E.CHECKPOINT): _S.CANCELLED,
    (_S.CANCELING, _E.RELEASE): _S.CANCELLED,
    (_S.CANCELING, _E.SNOOZE): _S.CANCELLED,
    (_S.CANCELING, _E.LAPSE): _S.CANCELLED,
    # A worker's last word counts while its attempt is current, also after its lease ran out.
    **{
        (status, event): target
        for status in (_S.LOCKED, _S.RUNNING, _S.QUEUED, _S.SUSPENDING, _S.SUSPENDED, _S.CANCELING)
        for event, target in (
            (_E.COMPLETE, _S.COMPLETED),
            (_E.FAIL, _S.FAILED),
            (_E.TIME_OUT, _S.TIMEOUT),
        )
        if (status, event) != (_S.CANCELING, _E.FAIL)  # a failure is CANCELED there
    },
    **{
        (status, event): target
        for status in (_S.LOCKED, _S.RUNNING)
        for event, target in (
            (_E.RETRY, _S.SCHEDULED),
            (_E.LAPSE, _S.QUEUED),
            (_E.RELEASE, _S.QUEUED),
            (_E.SNOOZE, _S.SCHEDULED),
            (_E.SUSPEND, _S.SUSPENDING),
            (_E.CHECKPOINT, _S.SUSPENDED),
            (_E.CANCEL, _S.CANCELING),
            (_E.CANCELED, _S.CANCELLED),
        )
    },
    **{
        (_S.QUEUED, event): target
        for event, target in (
            (_E.RETRY, _S.SCHEDULED),
            (_E.RELEASE, _S.QUEUED),
            (_E.SNOOZE, _S.SCHEDULED),
            (_E.CHECKPOINT, _S.SUSPENDED),
            (_E.CANCELED, _S.CANCELLED),
        )
    },
    **{
        (_S.SUSPENDED, event): target
        for event, target in (
            (_E.RETRY, _S.SUSPENDED),
            (_E.RELEASE, _S.SUSPENDED),
            (_E.SNOOZE, _S.SUSPENDED),
            (_E.CHECKPOINT, _S.SUSPENDED),
            (_E.CANCELED, _S.CANCELLED),
        )
    },
    (_S.SUSPENDING, _E.CANCELED): _S.CANCELLED,
    **{
        (status, _E.REDRIVE): _S.QUEUED
        for status in (_S.COMPLETED, _S.FAILED, _S.TIMEOUT, _S.CANCELLED, _S.SKIPPED)
    },
    **{(status, _E.AWAIT): _S.INITIALIZING for status in (_S.FAILED, _S.CANCELLED, _S.SKIPPED)},
}

TERMINAL: Final = frozenset(
    {_S.COMPLETED, _S.FAILED, _S.TIMEOUT, _S.CANCELLED, _S.SKIPPED},
)
LEASED: Final = frozenset({_S.LOCKED, _S.RUNNING, _S.SUSPENDING, _S.CANCELING})
READY: Final = frozenset({_S.QUEUED, _S.RESUMING})
"""In the match index."""

assert {event for start, event in TRANSITIONS if start in TERMINAL} == {_E.REDRIVE, _E.AWAIT}
assert {s for s, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(Status)

STATUSES: Final = {int(status): status for status in Status}
"""By number: much quicker than the call of the class."""

STATUS_WORDS: Final[dict[str, frozenset[Status]]] = {
    **{status.name.lower(): frozenset({status}) for status in Status},
    "waiting": frozenset({_S.SCHEDULED, _S.QUEUED, _S.RESUMING}),
    "pending": frozenset({_S.SCHEDULED, _S.QUEUED, _S.RESUMING}),
    "processing": frozenset({_S.LOCKED, _S.RUNNING}),
    "canceled": frozenset({_S.CANCELLED}),
    "dead": frozenset({_S.FAILED, _S.TIMEOUT}),
}
"""Words accepted as filters. `retrying` is SCHEDULED with an attempt behind it (see the lists)."""


class InvalidTransition(AssertionError):  # noqa: N818 - named for what happened
    """A defect: an event reached a job in a state that has no row for it."""

    def __init__(self, job_id: bytes, status: Status, event: Event, story: str = "") -> None:
        super().__init__(f"job {job_id.hex()}: {event.name} in {status.name} {story}".rstrip())


learn_life(Status, TRANSITIONS, InvalidTransition)

assert RECORD_BYTES == 68, RECORD_BYTES
