"""Bytes: seals, keys, payloads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import record_of

from headrace.core.effects import (
    Finished,
    JobChanged,
    JobFinished,
    JobsCompleted,
    JobsLeased,
    StoredEffect,
    Trail,
    ids_split,
)
from headrace.core.job import RECORD_BYTES, Event, Job, Status
from headrace.store import layout
from headrace.store._new_rows import put_jobs
from headrace.store._rows import unseal_specs
from headrace.store.contract import RecordCorrupt, StoredJob
from headrace.store.layout import Table

JOB_ID = bytes(range(16))
TABLES = (layout.SPEC, layout.LIVE, layout.BY_OWNER)


def test_table_numbers_never_change() -> None:
    assert {table.name: int(table) for table in Table} == {
        "META": 1,
        "SPEC": 2,
        "LIVE": 3,
        "DONE": 4,
        "BY_OWNER": 5,
        "BY_STATUS": 6,
        "KEYS": 7,
        "CLASSES": 8,
        "OWNERS": 9,
        "MODULES": 10,
        "LOGS": 11,
        "CHECKPOINTS": 12,
        "BODIES": 13,
        "MODULE_SIZES": 14,
        "DOCUMENTS": 15,
        "AUDIT": 16,
        "AFTER": 22,
        "OUTBOX": 20,
        "SENT": 21,
        "BY_FINISHED": 17,
        "BY_SCHEDULED": 18,
        "EXPIRIES": 23,
    }
    assert all(getattr(layout, table.name) == table for table in Table)


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256))])
def test_every_flipped_byte_of_a_value_is_found(payload: bytes) -> None:
    value = layout.seal(layout.LIVE, JOB_ID, payload)
    assert layout.unseal(layout.LIVE, JOB_ID, value) == payload
    for at in range(len(value)):
        for mask in (1, 0x80, 0xFF):
            flipped = bytearray(value)
            flipped[at] ^= mask
            with pytest.raises(RecordCorrupt):
                layout.unseal(layout.LIVE, JOB_ID, bytes(flipped))


@pytest.mark.parametrize("cut", range(20))
def test_cut_value_is_found(cut: int) -> None:
    value = layout.seal(layout.LIVE, JOB_ID, b"0123456789abcdef")
    with pytest.raises(RecordCorrupt):
        layout.unseal(layout.LIVE, JOB_ID, value[:cut])


def test_value_in_the_wrong_place_is_found() -> None:
    value = layout.seal(layout.LIVE, JOB_ID, b"payload")
    with pytest.raises(RecordCorrupt) as error:
        layout.unseal(layout.DONE, JOB_ID, value)
    assert (error.value.table, error.value.key) == (layout.DONE, JOB_ID)
    with pytest.raises(RecordCorrupt):
        layout.unseal(layout.LIVE, JOB_ID[::-1], value)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=32), st.binary(max_size=32), st.binary())
def test_envelope_comes_back(owner_id: int, key: bytes, request: bytes, spec: bytes) -> None:
    rows = layout.NewRows()
    put_jobs(rows, TABLES, owner_id, JOB_ID, b"record", [spec], [(0, key, request)])
    sealed = rows.get(layout.SPEC, JOB_ID)
    assert sealed is not None
    packed = layout.unseal(layout.SPEC, JOB_ID, sealed)
    assert layout.envelope_unpack(packed) == layout.Envelope(owner_id, key, request, spec)
    assert unseal_specs(layout.SPEC, [JOB_ID, JOB_ID], [sealed, None]) == [spec, None]


def test_trail_that_says_nothing_takes_no_bytes() -> None:
    record = record_of(JOB_ID, Status.QUEUED)
    assert layout.live_pack(record, Trail()) == record
    assert layout.live_unpack(record) == (record, None)
    trail = Trail(updated_at_ms=3, worker="w", error="é")
    packed = layout.live_pack(record, trail)
    assert len(packed) > RECORD_BYTES
    assert layout.live_unpack(packed) == (record, trail)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("attempt", [0, 1, 0x01020304])
def test_fields_read_from_the_record_are_those_of_the_job(status: Status, attempt: int) -> None:
    record = record_of(JOB_ID, status, attempt=attempt)
    job = Job.unpack(JOB_ID, record)
    assert StoredJob(JOB_ID, 1, b"{}", record).status is Status(job.status) is status
    assert layout.record_attempt(record) == job.attempt == attempt


def test_long_body_has_its_own_row() -> None:
    record = record_of(JOB_ID, Status.FAILED)
    short = Finished(Status.FAILED, 1, record, body=b"b" * layout.BODY_INLINE_BYTES_MAX)
    payload, body = layout.finished_pack(short)
    assert (layout.finished_unpack(payload), body) == (short, None)
    assert not layout.body_apart(payload)
    long = Finished(Status.FAILED, 1, record, body=short.body + b"b")
    payload, body = layout.finished_pack(long)
    assert body == long.body
    assert layout.body_apart(payload)
    assert layout.finished_unpack(payload).body == b""
    assert len(payload) < 200


JOBS = st.lists(
    st.tuples(
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=RECORD_BYTES, max_size=RECORD_BYTES),
        st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, 127, 128, -32, -33, 2**32]),
        st.binary(max_size=40)
        | st.sampled_from([b"b" * n for n in (255, 256, layout.BODY_INLINE_BYTES_MAX)])
        | st.just(b"b" * (layout.BODY_INLINE_BYTES_MAX + 1)),
    ),
    unique_by=lambda job: job[0],
    max_size=5,
)


def rows_of(*effects: StoredEffect) -> dict[int, dict[bytes, bytes | None]]:
    rows = layout.NewRows()
    for effect in effects:
        layout.TRANSLATIONS[type(effect)](rows, effect)
    return {table: found for table in rows.tables() if (found := dict(rows.items(table)))}


@given(JOBS, st.integers(0, 2**63 - 1), st.text(max_size=300))
def test_jobs_completed_together_have_the_rows_of_each_by_itself(
    jobs: list[tuple[bytes, bytes, int, bytes]], at_ms: int, worker: str
) -> None:
    ids, records, started_at_ms, bodies = map(list, zip(*jobs, strict=True)) if jobs else ([],) * 4
    together = JobsCompleted(b"".join(ids), b"".join(records), at_ms, worker, started_at_ms, bodies)
    apart = [
        JobFinished(
            job_id,
            Event.COMPLETE,
            Finished(Status.COMPLETED, at_ms, record, started_at_ms, worker, body=body),
        )
        for job_id, record, started_at_ms, body in jobs
    ]
    assert [together.finished(at) for at in range(len(jobs))] == [one.finished for one in apart]
    found = rows_of(together)
    expected = rows_of(*apart)
    by_finished = (found.pop(layout.BY_FINISHED, {}), expected.pop(layout.BY_FINISHED, {}))
    assert found == expected
    named, alone = (
        sorted(job_id for value in rows.values() for job_id in ids_split(value[4:]))
        for rows in by_finished
    )
    assert named == alone
    assert len(by_finished[0]) == -(-len(jobs) // layout.FINISHED_IDS_MAX)


@given(JOBS, st.builds(Trail, st.integers(0, 2**63 - 1), worker=st.text(max_size=300)))
def test_jobs_leased_together_have_the_rows_of_each_by_itself(
    jobs: list[tuple[bytes, bytes, int, bytes]], trail: Trail
) -> None:
    together = JobsLeased(
        b"".join(job_id for job_id, *_ in jobs), b"".join(record for _, record, *_ in jobs), trail
    )
    apart = [JobChanged(job_id, Event.LEASE, record, trail) for job_id, record, *_ in jobs]
    assert rows_of(together) == rows_of(*apart)


def test_keys_sort_as_their_numbers_do() -> None:
    numbers = [0, 1, 255, 256, 2**32 - 1]
    assert sorted(map(layout.number_key, numbers)) == [layout.number_key(n) for n in numbers]
    logs = [layout.log_key(JOB_ID, n) for n in (0, 1, 2**32, 2**64 - 1)]
    assert sorted(logs) == logs
    assert [layout.log_position(key) for key in logs] == [0, 1, 2**32, 2**64 - 1]
