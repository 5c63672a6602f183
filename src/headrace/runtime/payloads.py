"""What a receiver reads of a delivery: made when it is sent, from the job as it is stored then."""

from typing import Final

import msgspec

from headrace.core.deliveries import Delivery
from headrace.core.ids import id_text
from headrace.core.job import TERMINAL, Status
from headrace.store.contract import RecordCorrupt, StoredJob
from headrace.store.store import Store
from headrace.webhooks.payload import (
    NULL,
    EmittedData,
    JobData,
    emitted_payload,
    job_payload,
    told_payload,
)
from headrace.wire.durations import rfc3339
from headrace.wire.schema import ReportBody, Spec

REMOVED: Final = "job"
"""In `omitted`: the job's record was removed before its event was sent."""
_spec_decode: Final = msgspec.json.Decoder(Spec).decode
_body_decode: Final = msgspec.json.Decoder(ReportBody).decode


def body_of_delivery(store: Store, delivery: Delivery) -> bytes:
    """Return the body. Cost: a read of the job, if it is of one."""
    if not delivery.job_id:
        return told_payload(delivery.event, delivery.at_ms, delivery.data)
    try:
        stored = store.job(delivery.job_id)
    except RecordCorrupt:
        stored = None
    spec = None if stored is None else _spec_decode(stored.spec)
    if not delivery.status:
        return _emitted(delivery, spec)
    if stored is None or spec is None:
        data = _facts(delivery)
        data.omitted = [REMOVED]
        return job_payload(delivery.at_ms, data)
    return job_payload(delivery.at_ms, _job(delivery, stored, spec))


def _emitted(delivery: Delivery, spec: Spec | None) -> bytes:
    data = EmittedData(
        job_id=id_text(delivery.job_id),
        type=None if spec is None else spec.type or None,
        details=msgspec.Raw(delivery.data) if delivery.data else NULL,
        omitted=[REMOVED] if spec is None else [],
    )
    return emitted_payload(delivery.event, delivery.at_ms, data)


def _facts(delivery: Delivery) -> JobData:
    return JobData(
        job_id=id_text(delivery.job_id),
        status=Status(delivery.status).name.lower(),
        tenant_id=delivery.tenant,
        attempt=delivery.attempt,
    )


def _job(delivery: Delivery, stored: StoredJob, spec: Spec) -> JobData:
    data = _facts(delivery)
    data.name = spec.name
    data.type = spec.type or None
    data.queue = spec.queue
    data.owner = spec.owner
    data.created_at = spec.created_at
    finished = stored.finished
    if finished is None or delivery.status not in TERMINAL:
        return data
    data.started_at = rfc3339(finished.started_at_ms)
    data.finished_at = rfc3339(finished.finished_at_ms)
    data.worker_id = finished.worker or None
    data.error = finished.error or None
    data.code = finished.code or None
    if finished.body:
        body = _body_decode(finished.body)
        data.exit_code = body.exit_code
        if bytes(body.result):
            data.result = body.result
        if body.output is not None:
            data.omitted = ["output"]
    return data
