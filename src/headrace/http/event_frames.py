"""Steps of jobs, as committed, written as server-sent events."""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from headrace.core.effects import (
    JobChanged,
    JobDeleted,
    JobFinished,
    JobRedriven,
    JobsCompleted,
    JobsLeased,
    JobsStored,
    LogAppended,
    Noted,
)
from headrace.core.ids import id_text
from headrace.core.job import RECORD_BYTES, TERMINAL, Event, Job, Status
from headrace.http.streams import frame
from headrace.http.views import Progress, word
from headrace.runtime.events import END, Cursor, Step
from headrace.store.contract import RecordCorrupt, StoredJob
from headrace.store.store import Store
from headrace.wire.durations import rfc3339
from headrace.wire.event_views import EventView

_encode: Final = msgspec.json.Encoder().encode
_CHANGES: Final = {event: event.name.lower() for event in Event}
_SUBMIT: Final = "submit"


class Head(msgspec.Struct):
    """Of a spec, what events tell of their job."""

    name: str = ""
    type: str = ""
    queue: str = "default"
    tenant: str = "default"
    owner: str = ""


_head_decode: Final = msgspec.json.Decoder(Head).decode


class Change(NamedTuple):
    """What a step says of its job's record."""

    status: Status
    owner_id: int
    attempt: int


def heads_of(store: Store, job_ids: Iterable[bytes]) -> dict[bytes, Head]:
    """Return the heads of jobs; of one that is gone, or damaged, none."""
    wanted = list(dict.fromkeys(job_ids))
    if not wanted:
        return {}
    try:
        specs = store.specs(wanted)
    except RecordCorrupt:
        specs = [_sound(store, job_id) for job_id in wanted]
    found = zip(wanted, specs, strict=True)
    return {job_id: _head_decode(spec) for job_id, spec in found if spec is not None}


def _sound(store: Store, job_id: bytes) -> bytes | None:
    try:
        return store.spec(job_id)
    except RecordCorrupt:
        return None


def change_of(step: Step) -> Change | None:
    """Return what became of the job's record; None for a step that is not about it."""
    effect = step.effect
    if isinstance(effect, JobsStored | JobsLeased | JobsCompleted):
        at = step.position * RECORD_BYTES
        record = effect.records[at : at + RECORD_BYTES]
    elif isinstance(effect, JobChanged | JobRedriven):
        record = effect.record
    elif isinstance(effect, JobFinished):
        record = effect.finished.record
    else:
        return None
    job = Job.unpack(step.job_id, record)
    status = effect.finished.status if isinstance(effect, JobFinished) else job.status
    return Change(status, job.owner_id, job.attempt)


def cursor_text(epoch: int, cursor: Cursor) -> str:
    return f"{epoch}-{cursor.batch}-{cursor.number}"


def cursor_parse(text: str, epoch: int) -> Cursor | None:
    """Return the place that an id of an event names; None for one of another start, or none."""
    parts = text.split("-")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    if len(text) > 64 or int(parts[0]) != epoch:
        return None
    return Cursor(int(parts[1]), min(int(parts[2]), END))


def step_frame(epoch: int, step: Step, head: Head, change: Change | None) -> bytes:
    name, cursor, view = step_event(step, head, change)
    return frame(name, cursor_text(epoch, cursor), _encode(view))


def step_event(step: Step, head: Head, change: Change | None) -> tuple[str, Cursor, EventView]:
    """Return the name of the event that tells of a step, the place behind it, and its data."""
    name, view = _view(step, change)
    view.at = rfc3339(step.at_ms)
    view.job_id = id_text(step.job_id)
    _of_head(view, head)
    return name, Cursor(step.batch, step.number), view


def _of_head(view: EventView, head: Head) -> None:
    view.type, view.name = head.type or None, head.name
    view.queue, view.owner = head.queue, head.owner


def _view(step: Step, change: Change | None) -> tuple[str, EventView]:
    view = EventView()
    if change is not None:
        view.status = word(change.status)
        view.attempt = change.attempt
        view.final = change.status in TERMINAL
    return _VIEWS[type(step.effect)](step.effect, view), view


def _stored(_effect: JobsStored, view: EventView) -> str:
    view.change = _SUBMIT
    return "status"


def _changed(effect: JobChanged | JobRedriven, view: EventView) -> str:
    trail = effect.trail
    view.change, view.worker = _CHANGES[effect.event], trail.worker or None
    view.error, view.code = trail.error or None, trail.code or None
    return "status"


def _leased(effect: JobsLeased, view: EventView) -> str:
    view.change, view.worker = _CHANGES[Event.LEASE], effect.trail.worker or None
    return "status"


def _completed(effect: JobsCompleted, view: EventView) -> str:
    view.change, view.worker = _CHANGES[Event.COMPLETE], effect.worker or None
    return "status"


def _finished(effect: JobFinished, view: EventView) -> str:
    end = effect.finished
    view.change, view.worker = _CHANGES[effect.event], end.worker or None
    view.error, view.code = end.error or None, end.code or None
    return "status"


def _noted(effect: Noted, view: EventView) -> str:
    view.progress, view.details = effect.progress, effect.details or None
    return "progress"


def _logged(effect: LogAppended, view: EventView) -> str:
    view.position, view.log = effect.position, effect.chunk.decode(errors="replace")
    return "log"


def _deleted(_effect: JobDeleted, _view: EventView) -> str:
    return "deleted"


_VIEWS: Final[dict[type, Callable[[Any, EventView], str]]] = {
    JobsStored: _stored,
    JobChanged: _changed,
    JobRedriven: _changed,
    JobsLeased: _leased,
    JobsCompleted: _completed,
    JobFinished: _finished,
    Noted: _noted,
    LogAppended: _logged,
    JobDeleted: _deleted,
}
"""Each gives the name of its event."""


def snapshot_frame(
    cursor: str, stored: StoredJob, head: Head, progress: Progress, at_ms: int
) -> bytes:
    """Return how a job stands."""
    job = Job.unpack(stored.job_id, stored.record)
    status, told = stored.status, stored.finished or stored.trail
    view = EventView(
        at=rfc3339(at_ms),
        job_id=id_text(stored.job_id),
        status=word(status),
        final=status in TERMINAL,
        attempt=job.attempt,
    )
    _of_head(view, head)
    if told is not None:
        view.worker = told.worker or None
        view.error, view.code = told.error or None, told.code or None
    if progress.share or progress.details:
        view.progress, view.details = progress.share, progress.details or None
    return frame("snapshot", cursor, _encode(view))


def reset_frame(cursor: str, at_ms: int) -> bytes:
    """Return that events may have been missed."""
    reason = "events since the last one seen are not kept any more; what follows is from now on"
    return frame("reset", cursor, _encode(EventView(at=rfc3339(at_ms), reason=reason)))
