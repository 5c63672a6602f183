"""What clients read, put together from the committed state and the progress in memory."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast, get_args, get_type_hints

import msgspec

from headrace._native import instant_text
from headrace.core.ids import id_text
from headrace.core.job import LEASED, Event, Job, Status
from headrace.http._shown import Shown
from headrace.store.attempts import AttemptEnd
from headrace.store.contract import StoredJob, StoredProgress
from headrace.store.store import Store
from headrace.wire import limits
from headrace.wire.routes import AttemptView
from headrace.wire.schema import JobView, ReportBody, ResultView, Spec

_WORDS: Final = {status: status.name.lower() for status in Status}
ETA_MS_MAX: Final = limits.OPERATOR_SPAN_MS_MAX
"""What is further away is not told."""
_OUTCOMES: Final = {Event.FAIL: "failed", Event.TIME_OUT: "timeout", Event.CANCELED: "cancelled"}
"""Of an attempt with which its job ended; of others it is the event's name."""
NULL: Final = msgspec.Raw(b"null")


def _shown() -> type[JobView]:
    """Return `JobView` with defaults, so that a spec can be decoded to it.

    They are what a spec leaves out: those of `Spec`, None where that is an empty text or nothing.
    """
    asked = {field.name: field for field in msgspec.structs.fields(Spec)}
    fields: list[tuple[str, Any, Any]] = []
    for name, annotation in get_type_hints(JobView).items():
        default: Any = None
        if name in asked and type(None) not in get_args(annotation):
            default = asked[name].default
            if asked[name].default_factory is not msgspec.NODEFAULT:
                default = msgspec.field(default_factory=asked[name].default_factory)
        fields.append((name, msgspec.Raw if name == "params" else annotation, default))
    made = msgspec.defstruct("ShownJob", fields, bases=(JobView,), kw_only=True)
    assert made.__struct_fields__ == JobView.__struct_fields__, "it is encoded alike"
    return cast(type[JobView], made)


_spec_decode: Final = msgspec.json.Decoder(Spec).decode
_shown_decode: Final = msgspec.json.Decoder(_shown()).decode
_body_decode: Final = msgspec.json.Decoder(ReportBody).decode
_encode: Final = msgspec.json.Encoder().encode


def _texts() -> Shown:
    """Return what writes a spec as `_shown_decode` reads it."""
    plain = _shown_decode(b'{"id":"","name":""}')
    fields = [
        (name, b"" if name in ("id", "name") else _encode(getattr(plain, name)))
        for name in JobView.__struct_fields__
    ]
    hidden = [name for name in Spec.__struct_fields__ if name not in JobView.__struct_fields__]
    return Shown(fields, hidden, _WORDS)


_texts_write: Final = _texts().write


def word(status: Status) -> str:
    """Return a status as the wire names it."""
    return _WORDS[status]


def spec_of(stored: StoredJob) -> Spec:
    return _spec_decode(stored.spec)


class Progress(NamedTuple):
    """How far a job is, as far as anybody knows."""

    share: float = 0.0
    details: str = ""
    at_ms: int = 0
    """Wall clock of the last report that is on disk; 0: none is."""
    ends_at_ms: int = 0
    """If it goes on as before; 0: that cannot be told."""


NO_PROGRESS: Final = Progress()


def progress_of(
    jobs: list[StoredJob], told_of: Callable[[bytes], tuple[float, str] | None], store: Store
) -> list[Progress]:
    """Put together what workers said last (`told_of` leased jobs) and what is on disk.

    Cost: two look-ups, for a job that has had an attempt. Of one that completed all is known: what
    it said on its way, up to a second before its end, would read like how it ended.
    """
    found = [NO_PROGRESS] * len(jobs)
    tried = [
        at
        for at, stored in enumerate(jobs)
        if stored.attempt and stored.status is not Status.COMPLETED
    ]
    if tried:
        lasts = store.progress_last([jobs[at].job_id for at in tried])
        for at, last in zip(tried, lasts, strict=True):
            told = told_of(jobs[at].job_id) if jobs[at].done is None else None
            found[at] = _progress_of(jobs[at], told, last, store)
    return found


def _progress_of(
    stored: StoredJob, told: tuple[float, str] | None, last: StoredProgress | None, store: Store
) -> Progress:
    if last is None:
        return NO_PROGRESS if told is None or told == (0.0, "") else Progress(*told)
    job = Job.unpack(stored.job_id, stored.record)
    share, details = last.progress, last.details
    if told is not None and told != (0.0, ""):
        share, details = told
    elif told is not None and last.attempt != job.attempt and not job.has_checkpoint:
        return NO_PROGRESS  # this attempt begins at the beginning, and has said nothing yet
    ends_at_ms = 0
    if stored.status is Status.RUNNING and last.attempt == job.attempt:
        (first,) = store.progress(stored.job_id, newest_first=False)
        began_ms, began = first.at_ms, first.progress
        if (first.attempt, first.number) == (last.attempt, last.number) or (
            first.attempt != job.attempt
        ):
            began_ms, began = stored.trail.started_at_ms if stored.trail else 0, 0.0
        gained = last.progress - began
        if began_ms and gained > 0:
            left_ms = (1 - last.progress) * (last.at_ms - began_ms) / gained
            if left_ms < ETA_MS_MAX:
                ends_at_ms = last.at_ms + round(left_ms)
    return Progress(share, details, last.at_ms, ends_at_ms)


def job_view(stored: StoredJob, tenant: str, progress: Progress) -> JobView:
    """Return what is shown of a job of a tenant."""
    view = _shown_decode(stored.spec)
    job = Job.unpack(stored.job_id, stored.record)
    status = stored.status
    trail, finished = stored.trail, stored.finished
    view.tenant_id = tenant
    view.status = _WORDS[status]
    view.attempt, view.failures = job.attempt, job.failures
    view.crashes, view.stops = job.crashes, job.stops
    updated_at_ms = 0
    if finished is not None:
        view.error = finished.error or None
        view.started_at = instant_text(finished.started_at_ms)
        view.finished_at = instant_text(finished.finished_at_ms)
        updated_at_ms = finished.finished_at_ms
    elif trail is not None:
        view.error = trail.error or None
        view.started_at = instant_text(trail.started_at_ms)
        updated_at_ms = trail.updated_at_ms
        if status in LEASED:
            view.locked_by = trail.worker or None
    view.progress = 1.0 if status is Status.COMPLETED else progress.share
    if progress is not NO_PROGRESS:
        view.progress_details = progress.details or None
        view.eta = instant_text(progress.ends_at_ms)
        updated_at_ms = max(updated_at_ms, progress.at_ms)
    view.updated_at = instant_text(updated_at_ms) or view.created_at
    if status is Status.SCHEDULED and job.attempt:
        # The engine's clock follows the wall's closely enough.
        view.scheduled_at = instant_text(job.due_ms)
    return view


def job_texts(jobs: list[StoredJob], tenant: str, progress: list[Progress]) -> list[bytes]:
    """Return the JSON of the view of each job."""
    return [
        text
        if text is not None and told is NO_PROGRESS
        else _encode(job_view(stored, tenant, told))
        for stored, told, text in zip(
            jobs, progress, _texts_write(jobs, _encode(tenant)), strict=True
        )
    ]


def result_view(stored: StoredJob) -> ResultView:
    """Return how a job ended; of a live one only its status, and since when it runs."""
    view = ResultView(job_id=id_text(stored.job_id), status=word(stored.status), result=NULL)
    if stored.finished is None:
        if stored.trail is not None and stored.status in LEASED:
            view.started_at = instant_text(stored.trail.started_at_ms)
            view.worker_id = stored.trail.worker or None
        return view
    finished = stored.finished
    if finished.body:
        body = _body_decode(finished.body)
        if bytes(body.result):
            view.result = body.result
        view.output, view.output_cut = body.output, body.output_cut
        view.exit_code, view.metrics = body.exit_code, body.metrics
    view.error, view.code = finished.error or None, finished.code or None
    view.started_at = instant_text(finished.started_at_ms)
    view.finished_at = instant_text(finished.finished_at_ms)
    view.worker_id = finished.worker or None
    return view


def attempt_views(stored: StoredJob, ends: list[AttemptEnd]) -> list[AttemptView]:
    """Return how attempts went: those that are kept, and the last one as the job tells of it."""
    job = Job.unpack(stored.job_id, stored.record)
    views = [
        AttemptView(
            attempt=end.attempt,
            outcome=_OUTCOMES.get(end.event) or end.event.name.lower(),
            worker=end.worker,
            started_at=instant_text(end.started_at_ms),
            ended_at=instant_text(end.ended_at_ms),
            error=end.error or None,
            code=end.code or None,
        )
        for end in ends
        if end.attempt < job.attempt or stored.status not in LEASED
    ]
    if not job.attempt or (views and views[-1].attempt == job.attempt):
        return views
    told = stored.finished or stored.trail
    if told is None or not (stored.finished or stored.status in LEASED):
        return views
    finished = stored.finished
    last = AttemptView(
        attempt=job.attempt,
        outcome="running" if finished is None else word(stored.status),
        worker=told.worker or None,
        started_at=instant_text(told.started_at_ms),
        ended_at=None if finished is None else instant_text(finished.finished_at_ms),
        error=None if finished is None else finished.error or None,
        code=None if finished is None else finished.code or None,
    )
    return [*views, last]


def labels_view(labels: frozenset[str]) -> dict[str, str]:
    """Return labels by key."""
    parts = [label.partition("=") for label in sorted(labels)]
    return {key: value for key, _, value in parts}


def plain(value: Any) -> Any:
    """Return builtins for JSON, with statuses as words."""
    if isinstance(value, Status):
        return word(value)
    if isinstance(value, msgspec.Struct):
        return {field: plain(getattr(value, field)) for field in type(value).__struct_fields__}
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
