"""Rows of when jobs are over: by time, in parts, and only of ends that there were."""

from typing import Any

from headrace.core.effects import ExpiriesSet, Finished, JobFinished, JobsStored, OwnerStored
from headrace.core.expiring import Expired
from headrace.core.job import Event, Job, Status
from headrace.store import expiries, layout
from headrace.store._new_rows import NewRows
from headrace.store.memory import MemoryKeyValue
from headrace.store.store import Store

IDS = [bytes(15) + bytes([number]) for number in range(4)]


def ended(job_id: bytes) -> bytes:
    return Job(job_id, Status.FAILED, 5, 0, 0, 1, 9, 1, 100, 0, has_retention=True).pack()


def filled() -> tuple[Store, MemoryKeyValue]:
    """Jobs that ended at 1,000 and are kept for 1 s, 2 s, …; and each row is there."""
    kv = MemoryKeyValue()
    store = Store(kv)
    store.restore()
    effects: list[Any] = [OwnerStored(0, "default", "ann")]
    for number, job_id in enumerate(IDS, 1):
        spec = b'{"id":"x","name":"","retention":%d}' % number
        effects.append(JobsStored(0, job_id, ended(job_id), [spec]))
        effects.append(
            JobFinished(job_id, Event.FAIL, Finished(Status.FAILED, 1_000, ended(job_id)))
        )
        effects.append(ExpiriesSet([(job_id, 1_000 + 1_000 * number)]))
    batch = store.stage(effects, 1)
    store.write(batch)
    store.settle(batch)
    return store, kv


def test_what_is_over_by_then_comes_by_time_and_in_parts() -> None:
    store, _ = filled()
    assert store.expired(b"", 1_999, 9) == ([], None)
    found, following = store.expired(b"", 3_999, 9)
    assert found == [Expired(IDS[0], 2_000, ended(IDS[0])), Expired(IDS[1], 3_000, ended(IDS[1]))]
    assert following is None
    found, following = store.expired(b"", 9_999, 3)
    assert ([one.job_id for one in found], following) == (IDS[:3], layout.expiry_key(4_000, IDS[2]))
    assert [one.job_id for one in store.expired(following or b"", 9_999, 3)[0]] == IDS[3:]


def test_a_row_of_another_time_or_of_no_job_is_nobody_s() -> None:
    store, _ = filled()
    batch = store.stage([ExpiriesSet([(IDS[0], 1_500), (bytes(16), 1_600), (b"n" * 16, 1_700)])], 2)
    store.write(batch)
    store.settle(batch)
    found, _ = store.expired(b"", 1_999, 9)
    assert [(one.at_ms, one.record) for one in found] == [(1_500, b""), (1_600, b""), (1_700, b"")]


def test_a_job_whose_end_is_staged_to_change_is_left_out() -> None:
    store, _ = filled()
    store.stage([JobFinished(IDS[0], Event.FAIL, Finished(Status.FAILED, 5, ended(IDS[0])))], 2)
    assert [one.job_id for one in store.expired(b"", 3_000, 9)[0]] == [IDS[1]]


def test_a_damaged_end_tells_nothing_and_a_damaged_spec_no_other_time() -> None:
    store, kv = filled()
    for table, job_id in ((layout.DONE, IDS[0]), (layout.SPEC, IDS[1])):
        sealed = kv.get(table, job_id)
        assert sealed is not None
        kv.write(NewRows({table: {job_id: b"????" + sealed[4:]}}))
    assert [one.job_id for one in store.expired(b"", 3_000, 9)[0]] == [IDS[1]]
    rows = layout.NewRows()
    expiries.drop(rows, store._row, IDS[1], 1_000)
    expiries.drop(rows, store._row, IDS[2], 1_000)
    assert rows.tables() == [layout.EXPIRIES]
    assert rows.items(layout.EXPIRIES) == [(layout.expiry_key(4_000, IDS[2]), None)]
