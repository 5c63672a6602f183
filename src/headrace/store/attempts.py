"""How attempts of a job ended, as they are kept: of all but those that completed.

A job's record knows its last attempt alone. What came before is of use to people, when they ask why
a job took so long, so it costs nothing where all goes well: an attempt that ends otherwise has one
small row beside the job's log, and goes with it.
"""

from typing import Final

import msgspec

from headrace.core.effects import Finished, JobChanged, JobFinished, Trail
from headrace.core.job import Event, Status
from headrace.wire.limits import ATTEMPT_ERROR_CHARS

_ENDS: Final = frozenset({Event.RETRY, Event.LAPSE, Event.RELEASE, Event.SNOOZE, Event.CHECKPOINT})
"""Events after which a job lives on and its worker has it no more."""


class AttemptEnd(msgspec.Struct, frozen=True, array_like=True):
    """How one attempt ended. Persisted; a new field needs a default."""

    attempt: int
    event: Event
    started_at_ms: int
    """Wall clock; 0: its worker never said that it runs."""
    ended_at_ms: int
    worker: str
    error: str = ""
    code: str = ""


def of_change(effect: JobChanged, attempt: int) -> AttemptEnd | None:
    """Return the end that a change is; None if it is none."""
    trail = effect.trail
    if effect.event not in _ENDS or not trail.worker:
        return None
    return _end(attempt, effect.event, trail.started_at_ms, trail.updated_at_ms, trail)


def of_finish(effect: JobFinished, attempt: int) -> AttemptEnd | None:
    """Return the end of the attempt that a job ended with; None if none was under way."""
    finished = effect.finished
    if not finished.worker or finished.status is Status.COMPLETED:
        return None
    return _end(attempt, effect.event, finished.started_at_ms, finished.finished_at_ms, finished)


def _end(
    attempt: int, event: Event, started_at_ms: int, ended_at_ms: int, told: Trail | Finished
) -> AttemptEnd:
    error = told.error[:ATTEMPT_ERROR_CHARS]
    return AttemptEnd(attempt, event, started_at_ms, ended_at_ms, told.worker, error, told.code)


pack: Final = msgspec.msgpack.Encoder(order="deterministic").encode
unpack: Final = msgspec.msgpack.Decoder(AttemptEnd).decode
