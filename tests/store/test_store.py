"""The store over either kind of rows."""

from headrace.core.effects import Finished, JobChanged, JobDeleted, JobFinished, JobStored, Trail
from headrace.core.job import Event, Job, Status
from headrace.store import open_store
from headrace.store.contract import ListQuery


def record_of(job_id: bytes, status: Status) -> bytes:
    return Job(job_id, status, 5, 1, 1, 7, 1_000, 1_000, 200, 2).pack()


def test_staged_job_is_seen_by_the_engine_and_committed_job_by_handlers() -> None:
    store = open_store(None)
    assert store.restore().epoch == 1
    job_id = bytes(15) + b"\1"
    queued = record_of(job_id, Status.QUEUED)
    batch = store.stage([JobStored(job_id, 1, queued, b"{}", b"k" * 16, b"r" * 16)], 5)
    assert store.owner_of(job_id) == 1
    assert store.key(b"k" * 16) == (job_id, b"r" * 16)
    assert store.job(job_id) is None
    store.write(batch)
    store.settle(batch)
    job = store.job(job_id)
    assert job is not None
    assert (job.spec, job.record, job.status) == (b"{}", queued, Status.QUEUED)
    assert [job.job_id for job in store.list_jobs(ListQuery()).jobs] == [job_id]

    done = Finished(Status.COMPLETED, 9, record_of(job_id, Status.COMPLETED), body=b"x" * 5_000)
    locked = JobChanged(job_id, Event.LEASE, queued, Trail(worker="w"))
    batch = store.stage([locked, JobFinished(job_id, Event.COMPLETE, done)], 6)
    assert store.finished(job_id) == done
    store.write(batch)
    store.settle(batch)
    assert store.finished(job_id) == done
    batch = store.stage([JobDeleted(job_id, 1)], 7)
    assert store.finished(job_id) is None
    assert store.key(b"k" * 16) is None
    store.write(batch)
    store.settle(batch)
    assert store.job(job_id) is None
    assert store.list_jobs(ListQuery()).jobs == []
