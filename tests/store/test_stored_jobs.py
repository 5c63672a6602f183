"""Jobs as they are stored: what is read in place is what a decoder reads."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import job_id_at, record_of

from headrace.core.effects import Finished, Trail
from headrace.core.job import TERMINAL, Status
from headrace.store import layout
from headrace.store.contract import StoredJob

ID = job_id_at(1)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 127, 128, -32, -33, 2**16, 2**32])
TEXTS = st.text(max_size=40) | st.sampled_from(["", "x" * 31, "x" * 32, "x" * 300])
ENDS = st.builds(
    Finished,
    status=st.sampled_from(sorted(TERMINAL)),
    finished_at_ms=NUMBERS,
    record=st.none(),
    started_at_ms=NUMBERS,
    worker=TEXTS,
    error=TEXTS,
    code=TEXTS,
    body=st.binary(max_size=300),
)
TRAILS = st.builds(
    Trail,
    updated_at_ms=NUMBERS,
    started_at_ms=NUMBERS,
    worker=TEXTS,
    session=TEXTS,
    seq=NUMBERS,
    error=TEXTS,
    code=TEXTS,
)


@given(ENDS)
def test_a_job_that_has_ended_is_read_from_its_row(end: Any) -> None:
    end.record = record_of(ID, end.status, attempt=2)
    payload, body = layout.finished_pack(end)
    job = StoredJob(ID, 7, b"{}", b"live", payload)
    assert (job.record, job.status, job.trail, job.live) == (end.record, end.status, None, None)
    assert job.attempt == 2
    assert job.finished == (msgspec.structs.replace(end, body=b"") if body else end)
    assert job.finished is job.finished


@given(TRAILS, st.sampled_from(sorted(set(Status) - TERMINAL)))
def test_a_live_job_is_read_from_its_row(trail: Trail, status: Status) -> None:
    record = record_of(ID, status, attempt=3)
    job = StoredJob(ID, 7, b"{}", layout.live_pack(record, trail))
    assert (job.record, job.status, job.attempt, job.finished) == (record, status, 3, None)
    assert job.trail == (None if trail == Trail() else trail)


def test_an_end_tells_its_own_status_and_not_that_of_its_record() -> None:
    end = Finished(Status.FAILED, 5, record_of(ID, Status.RUNNING, attempt=9))
    job = StoredJob(ID, 7, b"{}", None, layout.finished_pack(end)[0])
    assert (job.status, job.record, job.attempt) == (Status.FAILED, end.record, 9)


@pytest.mark.parametrize("payload", [b"\0", b"\0\x81", b"\0\xc0", b"\0" + b"\x8f" + b"\xa1x" * 9])
def test_an_end_that_is_none_is_told(payload: bytes) -> None:
    job = StoredJob(ID, 7, b"{}", None, payload)
    for field in ("record", "status", "finished"):
        with pytest.raises(msgspec.MsgspecError):
            getattr(job, field)


def test_a_payload_that_is_cut_off_anywhere_is_never_read_beyond() -> None:
    record = record_of(ID, Status.FAILED)
    end = Finished(Status.FAILED, 1 << 40, record, 300, "w" * 40, "e" * 300, "c", b"b" * 9)
    payload, _ = layout.finished_pack(end)
    for size in range(1, len(payload)):
        with pytest.raises(msgspec.MsgspecError):
            _ = StoredJob(ID, 7, b"{}", None, payload[:size]).finished
        with pytest.raises(msgspec.MsgspecError):
            _ = StoredJob(ID, 7, b"{}", None, payload[:size]).status


def test_jobs_are_equal_if_their_rows_are() -> None:
    live = record_of(ID, Status.QUEUED)
    job = StoredJob(ID, 7, b"{}", live)
    assert job == StoredJob(ID, 7, b"{}", live)
    assert hash(job) == hash(StoredJob(ID, 7, b"{}", live))
    for other in (StoredJob(ID, 8, b"{}", live), StoredJob(ID, 7, b"{}", None, live), 5):
        assert job != other
    assert "StoredJob" in repr(job)


def test_a_job_without_rows_is_none() -> None:
    with pytest.raises(ValueError):
        StoredJob(ID, 7, b"{}")
