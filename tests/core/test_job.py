"""The table of a job's life, and its record."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.job import (
    LEASED,
    READY,
    RECORD_BYTES,
    TERMINAL,
    TRANSITIONS,
    Event,
    InvalidTransition,
    Job,
    Status,
)

LAST_WORDS = {
    Event.COMPLETE,
    Event.FAIL,
    Event.TIME_OUT,
    Event.CANCELED,
    Event.CHECKPOINT,
    Event.RELEASE,
    Event.SNOOZE,
    Event.RETRY,
}
"""Events that a worker's report can be."""


def u(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


jobs = st.builds(
    Job,
    job_id=st.binary(min_size=16, max_size=16),
    status=st.sampled_from(Status),
    priority=st.integers(0, 9),
    class_id=u(32),
    owner_id=u(32),
    order=u(60),
    timeout_ms=u(32),
    retry_delay_ms=u(32),
    retry_backoff_centi=u(16),
    retries_max=u(16),
    attempt=u(32),
    epoch=u(32),
    attempt_open=st.booleans(),
    outcome=st.integers(0, 7),
    failures=u(16),
    crashes=u(16),
    stops=u(16),
    due_ms=u(62),
    due_is_wall=st.booleans(),
    start_before_at_ms=u(62),
    has_checkpoint=st.booleans(),
    has_webhook=st.booleans(),
)


def job(status: Status = Status.QUEUED, **fields: int) -> Job:
    return Job(bytes(16), status, 5, 0, 0, 0, 1_000, 1_000, 200, 2, **fields)  # type: ignore[arg-type]


@given(jobs)
def test_a_record_says_all_of_a_job_but_its_id(job: Job) -> None:
    record = job.pack()
    assert len(record) == RECORD_BYTES
    assert Job.unpack(job.job_id, record) == job


def test_counters_stop_at_the_end_of_their_field() -> None:
    packed = job(failures=70_000, crashes=70_000, stops=70_000).pack()
    read = Job.unpack(bytes(16), packed)
    assert (read.failures, read.crashes, read.stops) == (65_535,) * 3


def test_a_record_of_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 9"):
        Job.unpack(bytes(16), b"\x09" + job().pack()[1:])


def test_what_has_ended_stays_so_unless_it_is_asked_to_run_again() -> None:
    out = {(start, event) for start, event in TRANSITIONS if start in TERMINAL}
    assert {event for _, event in out} == {Event.REDRIVE, Event.AWAIT}
    assert {start for start, event in TRANSITIONS if event is Event.REDRIVE} == TERMINAL


def test_every_status_but_the_first_three_is_reached_from_them() -> None:
    reached = {Status.INITIALIZING, Status.SCHEDULED, Status.QUEUED}
    for _ in Status:
        reached |= {target for (start, _), target in TRANSITIONS.items() if start in reached}
    assert reached == set(Status)


def test_every_status_that_is_not_an_end_can_reach_one() -> None:
    ends = set(TERMINAL)
    for _ in Status:
        ends |= {start for (start, _), target in TRANSITIONS.items() if target in ends}
    assert ends == set(Status)


@pytest.mark.parametrize("status", sorted(LEASED | {Status.QUEUED, Status.SUSPENDED}))
def test_a_workers_last_word_has_a_row_wherever_its_attempt_can_be_open(status: Status) -> None:
    missing = {event for event in LAST_WORDS if (status, event) not in TRANSITIONS}
    # a failure of what is being cancelled is told as CANCELED
    assert missing == ({Event.RETRY, Event.FAIL} if status is Status.CANCELING else set())


@pytest.mark.parametrize("status", sorted(LEASED))
def test_every_lease_can_lapse_and_be_cancelled(status: Status) -> None:
    assert (status, Event.LAPSE) in TRANSITIONS
    assert status is Status.CANCELING or (status, Event.CANCEL) in TRANSITIONS


def test_only_what_is_ready_is_leased() -> None:
    assert {start for start, event in TRANSITIONS if event is Event.LEASE} == READY


def test_a_deadline_to_start_ends_whatever_has_not_started() -> None:
    waiting = set(Status) - LEASED - TERMINAL
    assert {start for start, event in TRANSITIONS if event is Event.SKIP} == waiting


def test_an_event_without_a_row_is_a_defect_that_tells_the_jobs_story() -> None:
    ended = job(Status.COMPLETED, attempt=3)
    with pytest.raises(InvalidTransition, match=r"LEASE in COMPLETED .*attempt=3"):
        ended.move(Event.LEASE)
    assert ended.status is Status.COMPLETED
    assert not ended.can(Event.LEASE)


def test_higher_priority_goes_first_then_age() -> None:
    def placed(priority: int, order: int) -> Job:
        return Job(bytes(16), Status.QUEUED, priority, 0, 0, order, 1, 1, 100, 0)

    line = [placed(9, 5), placed(9, (1 << 60) - 1), placed(5, 0), placed(0, 7)]
    assert sorted(line, key=lambda job: job.match_key) == line
    assert line[-1].match_key < 1 << 64
