"""Jobs, effects and contents for the tests of the store."""

from headrace.core.effects import Effect, Finished, JobFinished, JobsStored
from headrace.core.job import Event, Job, Status
from headrace.store import Batch, Store
from headrace.store.contract import KeyValue, Row, walk
from headrace.store.layout import Table

ENDINGS = {
    Status.COMPLETED: Event.COMPLETE,
    Status.FAILED: Event.FAIL,
    Status.TIMEOUT: Event.TIME_OUT,
    Status.CANCELLED: Event.CANCELED,
    Status.SKIPPED: Event.SKIP,
}


def job_id_at(at_ms: int, number: int = 0) -> bytes:
    """Return a UUIDv7 of slot 0 with `number` in its random part."""
    return at_ms.to_bytes(6, "big") + b"\x70\0" + (1 << 63 | number).to_bytes(8, "big")


def record_of(job_id: bytes, status: Status, *, attempt: int = 0, owner_id: int = 1) -> bytes:
    job = Job(job_id, status, 5, 1, owner_id, 7, 1_000, 1_000, 200, 2, attempt=attempt)
    return job.pack()


def stored(
    job_id: bytes,
    *,
    owner_id: int = 1,
    spec: bytes = b'{"id":"x","name":"n"}',
    status: Status = Status.QUEUED,
    attempt: int = 0,
    key: bytes = b"",
) -> JobsStored:
    record = record_of(job_id, status, attempt=attempt, owner_id=owner_id)
    return JobsStored(owner_id, job_id, record, [spec], [(0, key, b"r" * 16)] if key else [])


def finished(job_id: bytes, status: Status = Status.COMPLETED, body: bytes = b"") -> JobFinished:
    record = record_of(job_id, status, attempt=1)
    return JobFinished(job_id, ENDINGS[status], Finished(status, 9, record, body=body))


def commit(store: Store, *effects: Effect, at_ms: int = 5) -> Batch:
    batch = store.stage(effects, at_ms)
    store.write(batch)
    store.settle(batch)
    return batch


def content(kv: KeyValue) -> dict[str, list[Row]]:
    """Return every row but META, which holds what differs from store to store."""
    return {table.name: list(walk(kv, table)) for table in Table if table is not Table.META}
