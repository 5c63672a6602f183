"""A restart puts each stored job where its twin would, whatever the record says."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._native import JobTable, MatchIndex, take_ready
from headrace._native import reference as twin
from headrace.core.job import READY, RECORD_BYTES, Job, Status
from headrace.core.live import ROW_BYTES

NUMBERS = {7: 0, 9: 1, 7 + 64: 3, 4_000_000_000: 2}
"""Numbers of the match index, by class. Two of them share a place in the list of those at hand."""

jobs = st.builds(
    Job,
    st.integers(0, 40).map(lambda number: number.to_bytes(16, "big")),
    st.sampled_from(Status),
    st.integers(0, 9),
    st.sampled_from([*NUMBERS, 8]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**60 - 1),
    st.just(1),
    st.just(2),
    st.just(200),
    st.just(3),
    attempt=st.sampled_from([0, 0, 1, 2**32 - 1]),
    due_ms=st.integers(-(2**63), 2**63 - 1),
    start_before_at_ms=st.sampled_from([0, 0, 1, 2**63 - 1]),
    spec_bytes=st.integers(0, 2**24 - 1),
)


@dataclass
class Taken:
    told: object
    ids: list[bytes]
    places: list[tuple[int, int]]


def take(module: object, rows: bytes) -> Taken:
    native = module is not twin
    table = JobTable(RECORD_BYTES) if native else twin.JobTable(RECORD_BYTES)
    match = MatchIndex() if native else twin.MatchIndex()
    for _ in NUMBERS:
        match.class_add(0, 0, (0, 0, 0, 0), frozenset(), frozenset())
    call = take_ready if native else twin.take_ready
    told = call(table, match, NUMBERS, bytes(READY), rows)  # type: ignore[arg-type]
    handles = [table.find(job_id) for job_id in table.ids()]
    assert len(handles) == len(match)
    places = [(match.class_of(handle), match.key(handle)) for handle in handles]
    return Taken(told, list(table.ids()), places)


@settings(max_examples=200, deadline=None)
@given(st.lists(jobs, max_size=20, unique_by=lambda job: job.job_id))
def test_native_and_twin_agree_and_read_the_record_of_core(given_jobs: list[Job]) -> None:
    given_jobs.sort(key=lambda job: job.job_id)
    rows = b"".join(job.job_id + job.pack() for job in given_jobs)
    taken = take(take_ready, rows)
    assert taken == take(twin, rows)
    expected = [
        job
        for job in given_jobs
        if job.status in READY
        and job.class_id in NUMBERS
        and not (job.start_before_at_ms and job.attempt == 0)
    ]
    assert taken.ids == [job.job_id for job in expected]
    assert taken.places == [(NUMBERS[job.class_id], job.match_key) for job in expected]
    sizes: dict[int, list[int]] = {}
    for job in expected:
        sizes.setdefault(job.class_id, []).append(job.spec_bytes)
    assert taken.told[1] == {  # type: ignore[index]
        class_id: (len(of), sum(of)) for class_id, of in sizes.items()
    }


@pytest.mark.parametrize("module", [take_ready, twin])
@pytest.mark.parametrize(("at", "byte"), [(0, 2), (1, 99), (2, 10)])
def test_record_of_an_unknown_kind_is_left_to_the_caller(
    module: object, at: int, byte: int
) -> None:
    row = bytearray(bytes(16) + Job(bytes(16), Status.QUEUED, 1, 7, 1, 1, 1, 1, 1, 1).pack())
    assert take(module, bytes(row)).ids == [bytes(16)]
    row[16 + at] = byte
    taken = take(module, bytes(row))
    assert taken.told == (bytes(row), {}, {}, -1, {}, {})
    assert taken.ids == []


def test_rows_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError):
        take(take_ready, bytes(ROW_BYTES + 1))
