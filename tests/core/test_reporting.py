"""The end of an attempt, as its worker tells it."""

from typing import Any

import pytest
from engine_rig import START_MS, Rig

from headrace.core.commands import Ack, Act, Outcome, Progress, Report
from headrace.core.effects import (
    CheckpointStored,
    ClassDropped,
    Finished,
    JobChanged,
    JobFinished,
    LogAppended,
    Trail,
)
from headrace.core.job import TERMINAL, Event, Job, Status
from headrace.core.live import ArchiveFault
from headrace.wire.problems import ProblemCode


def test_a_completion_is_the_jobs_one_terminal_record(rig: Rig) -> None:
    job_id = rig.submit()
    lease = rig.take("w1")
    rig.wait(500)
    ack = rig.report(lease, Outcome.COMPLETED, body=b'{"result":1}')
    assert ack == Ack(lease, Status.COMPLETED)
    finished, dropped = rig.effects
    assert isinstance(finished, JobFinished)
    record = Job.unpack(job_id, finished.finished.record)
    assert (record.status, record.attempt_open, record.outcome) == (Status.COMPLETED, False, 1)
    assert finished == JobFinished(
        job_id,
        Event.COMPLETE,
        Finished(
            Status.COMPLETED,
            START_MS + 500,
            record.pack(),
            started_at_ms=START_MS,
            worker="w1",
            body=b'{"result":1}',
        ),
    )
    assert dropped == ClassDropped(0)
    assert (len(rig.live.jobs), rig.live.leases) == (0, {})


def test_a_failure_with_tries_left_is_stored_with_its_error_and_a_line_in_the_log(
    rig: Rig,
) -> None:
    job_id = rig.submit()
    lease = rig.take("w1")
    rig.report(lease, Outcome.FAILED, error="boom", code="E1", retry_delay_ms=7_000)
    log, changed = rig.effects
    assert isinstance(log, LogAppended)
    assert log.chunk == b"[headrace: attempt 1 ended: boom]\n"
    job = rig.job(job_id)
    trail = Trail(START_MS, worker="w1", error="boom", code="E1")
    assert changed == JobChanged(job_id, Event.RETRY, job.pack(), trail)
    assert (job.status, job.failures, job.due_ms) == (Status.SCHEDULED, 1, START_MS + 7_000)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.COMPLETED, Status.COMPLETED),
        (Outcome.FAILED, Status.SCHEDULED),
        (Outcome.TIMEOUT, Status.TIMEOUT),
        (Outcome.CANCELLED, Status.CANCELLED),
        (Outcome.SUSPENDED, Status.SUSPENDED),
        (Outcome.RELEASED, Status.QUEUED),
        (Outcome.SNOOZED, Status.SCHEDULED),
    ],
)
@pytest.mark.parametrize("lapsed", [False, True])
def test_the_same_report_twice_has_one_effect_and_one_answer(
    rig: Rig, outcome: Outcome, status: Status, lapsed: bool
) -> None:
    job_id = rig.submit()
    lease = rig.take()
    if lapsed:
        rig.wait(rig.config.lease_ms)
    assert rig.report(lease, outcome) == Ack(lease, status)
    assert rig.effects != []
    assert rig.report(lease, outcome) == Ack(lease, status)
    assert rig.effects == []
    other = Outcome.FAILED if outcome is Outcome.COMPLETED else Outcome.COMPLETED
    refused = rig.report(lease, other)
    assert refused.problem.code is ProblemCode.LEASE_ALREADY_REPORTED
    assert rig.effects == []
    assert (rig.status(job_id) in TERMINAL) == (status in TERMINAL)


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("act", [None, Act.CANCEL, Act.SUSPEND])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("lapsed", [False, True])
def test_every_outcome_is_heard_in_every_state_of_a_lease(
    rig: Rig, outcome: Outcome, act: Act | None, started: bool, lapsed: bool
) -> None:
    job_id = rig.submit()
    lease = rig.take()
    if started:
        rig.poll(progress=[Progress(lease, started=True)], jobs_max=0)
    if act is not None:
        rig.control(job_id, act)
    if lapsed:
        rig.wait(rig.config.lease_ms)
    gone = lapsed and act is Act.CANCEL
    ack = rig.report(lease, outcome)
    assert (ack.status is None) == gone
    assert lease not in rig.live.leases
    if act is Act.CANCEL:
        assert rig.status(job_id) in TERMINAL
    if act is Act.SUSPEND:
        assert rig.status(job_id) in TERMINAL | {Status.SUSPENDED}


def test_a_report_of_an_older_attempt_is_stale(rig: Rig) -> None:
    rig.submit()
    first = rig.take()
    rig.wait(rig.config.lease_ms)
    rig.take()
    for outcome in Outcome:
        assert rig.report(first, outcome).problem.code is ProblemCode.LEASE_STALE
        assert rig.effects == []


def test_a_report_of_a_deleted_job_is_stale(rig: Rig) -> None:
    job_id = rig.submit()
    lease = rig.take()
    rig.report(lease, Outcome.COMPLETED)
    rig.control(job_id, Act.DELETE)
    assert rig.report(lease, Outcome.COMPLETED).problem.code is ProblemCode.LEASE_STALE


def test_a_lease_nobody_gave_is_unknown(rig: Rig) -> None:
    assert rig.report("x" * 54, Outcome.COMPLETED).problem.code is ProblemCode.LEASE_UNKNOWN


def test_a_damaged_record_is_told_to_the_report_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.submit()
    ended = rig.take()
    rig.report(ended, Outcome.COMPLETED)
    rig.submit()
    running = rig.take()

    def finished(_job_id: bytes) -> Any:
        raise ArchiveFault

    monkeypatch.setattr(rig.store, "finished", finished)
    told = [Report(ended, Outcome.COMPLETED), Report(running, Outcome.COMPLETED)]
    damaged, fine = rig.poll(reports=told, jobs_max=0).acks
    assert damaged.problem.code is ProblemCode.RECORD_CORRUPT
    assert fine.status is Status.COMPLETED


def test_tries_end_exactly_at_their_number(rig: Rig) -> None:
    job_id = rig.submit(retries_max=2)
    for expected in (Status.SCHEDULED, Status.SCHEDULED, Status.FAILED):
        ack = rig.report(rig.take(), Outcome.FAILED, retry_delay_ms=0)
        assert ack.status is expected
        rig.wait(0)
    record = Job.unpack(job_id, rig.store.finished(job_id).record)  # type: ignore[union-attr]
    assert (record.attempt, record.failures) == (3, 3)


def test_a_planned_stop_costs_no_try(rig: Rig) -> None:
    job_id = rig.submit(retries_max=0)
    for _ in range(3):
        rig.report(rig.take(), Outcome.RELEASED)
    job = rig.job(job_id)
    assert (job.attempt, job.failures, job.stops) == (3, 0, 3)


def test_a_checkpoint_is_stored_before_the_job_moves(rig: Rig) -> None:
    job_id = rig.submit()
    rig.report(rig.take(), Outcome.RELEASED, checkpoint=b'{"at":1}')
    assert rig.effects[0] == CheckpointStored(job_id, b'{"at":1}')
    assert rig.poll().jobs[0].has_checkpoint


def test_a_released_job_keeps_its_place_in_line(rig: Rig) -> None:
    first = rig.submit()
    rig.submit()
    rig.report(rig.take(), Outcome.RELEASED)
    assert rig.poll().jobs[0].job_id == first


def test_a_retried_job_stands_where_its_due_time_puts_it(rig: Rig) -> None:
    retried = rig.submit()
    rig.report(rig.take(), Outcome.FAILED, retry_delay_ms=10)
    before = rig.submit()
    rig.wait(20)
    after = rig.submit()
    assert [grant.job_id for grant in rig.poll(jobs_max=3).jobs] == [before, retried, after]


def test_a_report_frees_its_lease_for_the_same_poll(rig: Rig) -> None:
    job_id = rig.submit()
    lease = rig.take()
    reply = rig.poll(reports=[Report(lease, Outcome.RELEASED)], jobs_max=1)
    assert [grant.job_id for grant in reply.jobs] == [job_id]
    assert reply.jobs[0].lease != lease


def test_another_spelling_of_a_lease_is_not_the_lease(rig: Rig) -> None:
    """Base64 has four texts for the same token; one of them is the one that was given out."""
    job_id = rig.submit()
    lease = rig.take()
    for char in "AEIMQUYcgkosw048BFJNRVZdhlptx159":
        if char != lease[-1]:
            ack = rig.report(lease[:-1] + char, Outcome.COMPLETED)
            assert ack.problem.code is ProblemCode.LEASE_UNKNOWN
    assert rig.status(job_id) is Status.LOCKED
    rig.wait(rig.config.lease_ms)
    assert rig.status(job_id) is Status.QUEUED
