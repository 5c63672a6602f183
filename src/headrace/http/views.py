"""What clients read, put together from the committed state and the progress in memory."""

from typing import Any, Final

import msgspec

from headrace.core.ids import id_text
from headrace.core.job import LEASED, Job, Status
from headrace.store.contract import StoredJob
from headrace.wire.durations import rfc3339
from headrace.wire.schema import ABSENT, JobView, ReportBody, ResultView, Spec

_WORDS: Final = {status: status.name.lower() for status in Status}
NULL: Final = msgspec.Raw(b"null")

_spec_decode: Final = msgspec.json.Decoder(Spec).decode
_body_decode: Final = msgspec.json.Decoder(ReportBody).decode


def word(status: Status) -> str:
    """Return a status as the wire names it."""
    return _WORDS[status]


def spec_of(stored: StoredJob) -> Spec:
    return _spec_decode(stored.spec)


def job_view(stored: StoredJob, spec: Spec, progress: tuple[float, str] | None) -> JobView:
    """`progress`: of a running job, from memory."""
    job = Job.unpack(stored.job_id, stored.record)
    status = stored.status
    trail, finished = stored.trail, stored.finished
    started_at_ms = trail.started_at_ms if trail is not None else 0
    updated_at_ms = trail.updated_at_ms if trail is not None else 0
    error = trail.error if trail is not None else ""
    finished_at_ms = 0
    if finished is not None:
        started_at_ms, error = finished.started_at_ms, finished.error
        finished_at_ms = updated_at_ms = finished.finished_at_ms
    share, details = progress if progress is not None else (0.0, "")
    scheduled_at = spec.scheduled_at
    if status is Status.SCHEDULED and job.attempt:
        scheduled_at = rfc3339(job.due_ms)  # the engine's clock follows the wall's closely enough
    return JobView(
        id=spec.id,
        name=spec.name,
        type=spec.type or None,
        owner=spec.owner,
        tenant_id=spec.tenant,
        status=word(status),
        priority=spec.priority,
        queue=spec.queue,
        tags=spec.tags,
        params=spec.params if spec.params is not ABSENT and bytes(spec.params) else None,
        wasm_sha256=spec.wasm_sha256 or None,
        entry_point=spec.entry_point or None,
        arguments=spec.arguments,
        environment=spec.environment,
        requirements=spec.requirements,
        timeout=spec.timeout,
        max_retries=spec.max_retries,
        retry_delay=spec.retry_delay,
        retry_backoff=spec.retry_backoff,
        idempotency_key=spec.idempotency_key,
        attempt=job.attempt,
        failures=job.failures,
        crashes=job.crashes,
        stops=job.stops,
        progress=1.0 if status is Status.COMPLETED else share,
        progress_details=details or None,
        error=error or None,
        locked_by=trail.worker or None if trail is not None and status in LEASED else None,
        created_at=spec.created_at or None,
        updated_at=rfc3339(updated_at_ms) or spec.created_at or None,
        scheduled_at=scheduled_at,
        start_before=spec.start_before,
        after=spec.after,
        after_any_end=spec.after_any_end,
        started_at=rfc3339(started_at_ms),
        finished_at=rfc3339(finished_at_ms),
    )


def result_view(stored: StoredJob) -> ResultView:
    """Return how a job ended; of a live one only its status, and since when it runs."""
    view = ResultView(job_id=id_text(stored.job_id), status=word(stored.status), result=NULL)
    if stored.finished is None:
        if stored.trail is not None and stored.status in LEASED:
            view.started_at = rfc3339(stored.trail.started_at_ms)
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
    view.started_at = rfc3339(finished.started_at_ms)
    view.finished_at = rfc3339(finished.finished_at_ms)
    view.worker_id = finished.worker or None
    return view


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
