"""A job's record is read, changed and written alike by the compiled class and by its twin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._native import RECORD_BYTES, Job, JobTable, reference
from headrace._native.reference import Job as JobTwin
from headrace._native.reference import JobTable as JobTableTwin
from headrace.core.job import TRANSITIONS, Event, InvalidTransition, Status

EITHER = pytest.mark.parametrize("make", [Job, JobTwin], ids=["native", "twin"])
BITS = {
    "class_id": 32,
    "owner_id": 32,
    "order": 60,
    "timeout_ms": 32,
    "retry_delay_ms": 32,
    "retry_backoff_centi": 16,
    "retries_max": 16,
    "attempt": 31,
    "epoch": 32,
    "outcome": 3,
    "failures": 20,
    "crashes": 20,
    "stops": 20,
    "due_ms": 62,
    "start_before_at_ms": 62,
    "spec_bytes": 24,
}
FLAGS = ("attempt_open", "due_is_wall", "has_checkpoint")
FIXED_FLAGS = ("has_webhook", "has_retention")
CHANGED = {
    name: BITS[name]
    for name in ("attempt", "epoch", "outcome", "failures", "stops", "order", "due_ms")
}

fields = st.fixed_dictionaries(
    {
        "job_id": st.binary(min_size=16, max_size=16),
        "status": st.sampled_from(Status),
        "priority": st.integers(0, 9),
        **{name: st.integers(0, (1 << bits) - 1) for name, bits in BITS.items()},
        **{name: st.booleans() for name in (*FLAGS, *FIXED_FLAGS)},
    }
)
changes = st.lists(
    st.one_of(
        [st.tuples(st.just(name), st.integers(0, (1 << b) - 1)) for name, b in CHANGED.items()]
        + [st.tuples(st.just(name), st.booleans()) for name in FLAGS]
        + [st.tuples(st.sampled_from(["move", "can"]), st.sampled_from(Event))]
        + [st.tuples(st.sampled_from(["lease", "close"]), st.integers(0, 9))]
        + [st.tuples(st.just("status"), st.sampled_from(Status))]
    )
)


@pytest.fixture(autouse=True, scope="module")
def _twin_knows_the_same_life() -> None:
    reference.learn_life(Status, TRANSITIONS, InvalidTransition)


def apply(job: Job | JobTwin, name: str, value: object) -> object:
    if name in ("move", "can", "lease", "close"):
        try:
            return getattr(job, name)(value)
        except InvalidTransition as error:
            return str(error).partition(" Job(")[0]
    setattr(job, name, value)
    return None


@given(fields, changes)
@settings(max_examples=200, deadline=None)
def test_native_and_twin_agree(start: dict[str, object], steps: list[tuple[str, object]]) -> None:
    native, twin = Job(**start), JobTwin(**start)  # type: ignore[arg-type]
    for name, value in steps:
        assert apply(native, name, value) == apply(twin, name, value)
        assert native.pack() == twin.pack()
    again = Job.unpack(native.job_id, native.pack())
    assert again == native
    for name in start:
        assert getattr(again, name) == getattr(JobTwin.unpack(twin.job_id, twin.pack()), name)
    assert again.match_key == twin.match_key
    assert type(again.status) is Status


@given(fields, st.lists(st.binary(max_size=300), max_size=5), st.integers(0, 2**17))
@settings(deadline=None)
def test_records_of_jobs_that_are_alike_differ_in_their_order_and_the_size_of_their_specs(
    start: dict[str, object], specs: list[bytes], step: int
) -> None:
    native, twin = Job(**start), JobTwin(**start)  # type: ignore[arg-type]
    records, size = native.pack_alike(specs, step)
    assert (records, size) == twin.pack_alike(specs, step)
    assert size == sum(map(len, specs))
    assert native.pack() == twin.pack()
    for number, spec in enumerate(specs):
        record = records[number * RECORD_BYTES : (number + 1) * RECORD_BYTES]
        changed = {"order": native.order + number * step, "spec_bytes": len(spec)}
        expected = Job(**{**start, **changed})  # type: ignore[arg-type]
        assert Job.unpack(native.job_id, record) == expected


@EITHER
def test_a_job_tells_all_its_fields(make: type[Job | JobTwin]) -> None:
    told = repr(make(bytes(16), Status.QUEUED, 5, 1, 2, 3, 4, 5, 6, 7, attempt=9))
    assert told.startswith("Job(job_id=b")
    for part in ("status=<Status.QUEUED: 3>", "attempt=9", "attempt_open=False"):
        assert part in told


@EITHER
def test_what_is_no_job_is_refused(make: type[Job | JobTwin]) -> None:
    record = make(bytes(16), Status.QUEUED, 5, 1, 2, 3, 4, 5, 6, 7).pack()
    with pytest.raises(ValueError, match="16 bytes"):
        make.unpack(b"short", record)
    with pytest.raises(ValueError, match="68 bytes, not 67"):
        make.unpack(bytes(16), record[:-1])
    with pytest.raises(ValueError, match="status 31"):
        make.unpack(bytes(16), b"\x01\x1f" + record[2:])
    assert make.unpack(bytes(16), record) != record


@pytest.mark.parametrize("make", [JobTable, JobTableTwin], ids=["native", "twin"])
def test_a_table_gives_a_copy(make: type[JobTable | JobTableTwin]) -> None:
    table = make(RECORD_BYTES)
    record = Job(bytes(16), Status.QUEUED, 5, 1, 2, 3, 4, 5, 6, 7).pack()
    handle = table.add(bytes(16), record)
    job = table.load(handle)
    job.lease(3)
    assert table.record(handle) == record
    table.set(handle, job.pack())
    assert (table.load(handle).attempt, table.load(handle).epoch) == (1, 3)
    other = make(4)
    with pytest.raises(TypeError, match="4 bytes"):
        other.load(other.add(bytes(16), b"text"))


def test_a_spec_longer_than_its_field_holds_is_refused() -> None:
    like = (bytes(16), Status.QUEUED, 5, 1, 2, 3, 4, 5, 6, 7)
    assert Job(*like, spec_bytes=2**24 - 1).spec_bytes == 2**24 - 1
    with pytest.raises(OverflowError):
        Job(*like, spec_bytes=2**24)
    with pytest.raises(OverflowError):
        Job(*like).pack_alike([bytes(2**24)], 1)
