"""The end of an attempt, as its worker tells it."""

from typing import Any

import pytest
from engine_rig import ALICE, START_MS, MakeRig, Rig, needs
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.commands import (
    Ack,
    Act,
    Completed,
    Completions,
    Control,
    Outcome,
    Poll,
    PollReply,
    Progress,
    Report,
)
from headrace.core.effects import (
    CheckpointStored,
    ClassDropped,
    Finished,
    JobChanged,
    JobFinished,
    JobsCompleted,
    LogAppended,
    Trail,
    ids_split,
)
from headrace.core.invariants import check
from headrace.core.job import TERMINAL, Event, Job, Status
from headrace.core.live import ArchiveFault, EngineConfig
from headrace.core.tokens import tokens_split
from headrace.store.layout import BY_FINISHED, META
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
    assert (len(rig.live.jobs), rig.leases) == (0, {})


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
    assert lease not in rig.leases
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


# Many at once -----------------------------------------------------------------------------------


def together(*told: tuple[str, bytes]) -> Completions:
    leases, bodies = zip(*told, strict=True)
    return Completions("".join(leases).encode(), [*bodies])


def test_completions_of_one_poll_are_one_effect_and_one_answer(rig: Rig) -> None:
    jobs = [rig.submit(needs(kind="a")), rig.submit(needs(kind="b"))]
    leases = [rig.take("w1"), rig.take("w1")]
    rig.poll(progress=[Progress(leases[1], started=True)], jobs_max=0)
    rig.wait(500)
    told = together((leases[0], b""), (leases[1], b'{"result":1}'))
    reply = rig.poll("w2", reports=[told], jobs_max=0)
    assert reply.acks == [Completed(told.leases)]
    finished, *dropped = rig.effects
    assert isinstance(finished, JobsCompleted)
    assert finished == JobsCompleted(
        b"".join(jobs), finished.records, START_MS + 500, "w1", [START_MS] * 2, told.bodies
    )
    assert dropped == [ClassDropped(0), ClassDropped(1)]
    stats = rig.live.stats
    assert (stats.finished_total[Status.COMPLETED], stats.run_count) == (2, 2)
    assert (stats.run_ms_total, stats.run_buckets[0]) == (1_000, 2)
    for at, job_id in enumerate(jobs):
        record = Job.unpack(job_id, rig.store.finished(job_id).record)  # type: ignore[union-attr]
        assert (record.status, record.attempt_open, record.outcome) == (Status.COMPLETED, False, 1)
        assert rig.store.finished(job_id) == finished.finished(at)


def test_completions_that_need_a_closer_look_are_answered_in_their_place(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(6)]
    held = [rig.take("w1") for _ in range(3)]
    other = rig.take("w2")
    lapsed, stale = rig.take(), rig.take()
    rig.wait(rig.config.lease_ms - 1)
    rig.poll(running=[*held, other], jobs_max=0)
    rig.wait(1)
    assert rig.poll(jobs_max=2).jobs[1].job_id == jobs[5]
    forged = held[2][:-3] + "AAA"
    told = [held[0], held[0], lapsed, forged, held[1], other, stale, held[2]]
    reply = rig.poll(reports=[together(*((lease, lease.encode()) for lease in told))], jobs_max=0)
    acks = [ack if isinstance(ack, Completed) else (ack.lease, ack.status) for ack in reply.acks]
    assert acks == [
        Completed(held[0].encode()),
        (held[0], Status.COMPLETED),
        (lapsed, None),
        (forged, None),
        Completed(held[1].encode()),
        Completed(other.encode()),
        (stale, None),
        Completed(held[2].encode()),
    ]
    ended = [effect for effect in rig.effects if isinstance(effect, JobsCompleted)]
    assert [(effect.job_ids, effect.worker, effect.bodies) for effect in ended] == [
        (jobs[0], "w1", [held[0].encode()]),
        (jobs[1], "w1", [held[1].encode()]),
        (jobs[3], "w2", [other.encode()]),
        (jobs[2], "w1", [held[2].encode()]),
    ]


def test_a_completion_after_the_lease_ran_out_counts_in_a_run_too(rig: Rig) -> None:
    job_id = rig.submit()
    lease = rig.take()
    rig.wait(rig.config.lease_ms)
    reply = rig.poll(reports=[together((lease, b"late"))], jobs_max=0)
    assert reply.acks == [Ack(lease, Status.COMPLETED)]
    assert rig.store.finished(job_id).body == b"late"  # type: ignore[union-attr]


def test_a_completion_makes_room_in_its_queue(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(queue_capacities={"narrow": 1}))
    rig.submit(needs(queue="narrow"))
    lease = rig.take()
    second = rig.submit(needs(queue="narrow"))
    assert rig.poll(wait_ms=9_000) is None
    ticket = rig.tickets
    rig.poll("other", reports=[together((lease, b""))], jobs_max=0)
    assert [grant.job_id for grant in rig.answers()[ticket].jobs] == [second]


def test_what_was_completed_a_moment_ago_is_known_before_it_is_staged(rig: Rig) -> None:
    job_id = rig.submit()
    lease = rig.take()
    engine = rig.engine
    told = Poll(0, "w", reports=[together((lease, b"body"))])
    _, effects = engine.apply(rig.now_ms, told)
    reply, again = engine.apply(rig.now_ms, told)
    assert (reply.acks, again) == ([Ack(lease, Status.COMPLETED)], [])
    assert engine.apply(rig.now_ms, Control(ALICE, job_id, Act.CANCEL))[0].code == (
        ProblemCode.JOB_STATE_CONFLICT
    )
    status, deleted = engine.apply(rig.now_ms, Control(ALICE, job_id, Act.DELETE))
    assert status is Status.COMPLETED
    assert engine.apply(rig.now_ms, Control(ALICE, job_id, Act.DELETE))[0].code == (
        ProblemCode.JOB_UNKNOWN
    )
    rig.effects = effects + deleted
    rig.commit()
    assert rig.store.finished(job_id) is None


def said(reply: PollReply) -> Any:
    """Return what a reply says, without the nonces of its tokens: each store has its own."""
    acks: list[Ack] = []
    for ack in reply.acks:
        if isinstance(ack, Completed):
            acks += [Ack(lease, Status.COMPLETED) for lease in tokens_split(ack.leases)]
        else:
            acks.append(ack)
    return (
        [(ack.lease[:32], ack.status, ack.problem and ack.problem.members()) for ack in acks],
        [(order.lease[:32], order.do) for order in reply.orders],
        [(grant.lease[:32], grant.job_id, grant.deadline_at_ms) for grant in reply.jobs],
    )


reported = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from([b"", b"{}", b"x" * 2_000])), max_size=12
)


@given(reported, st.sets(st.integers(0, 9)), st.booleans())
@settings(max_examples=60, deadline=None)
def test_reports_in_runs_do_what_they_do_one_by_one(
    told: list[tuple[int, bytes]], stopping: set[int], lapses: bool
) -> None:
    """Ten jobs of three classes and two workers, some of them asked to stop."""
    rigs = [Rig(), Rig()]
    replies = []
    for rig in rigs:
        jobs = [rig.submit(needs(kind=str(number % 3))) for number in range(10)]
        leases = [rig.take(f"w{number // 4 % 2}", session="s") for number in range(10)]
        for number in sorted(stopping):
            rig.control(jobs[number], (Act.SUSPEND, Act.CANCEL)[number % 2])
        if lapses:
            rig.wait(rig.config.lease_ms)
        runs: list[Report | Completions] = []
        for number, body in told:
            if rig is rigs[0]:
                runs.append(Report(leases[number], Outcome.COMPLETED, body))
            elif runs and isinstance(runs[-1], Completions):
                runs[-1].leases += leases[number].encode()
                runs[-1].bodies.append(body)
            else:
                runs.append(together((leases[number], body)))
        replies.append(rig.poll(reports=runs, running=leases, session="s", jobs_max=3))
        check(rig.engine)
    assert said(replies[1]) == said(replies[0])
    first, second = (
        {table: dict(rows.rows) for table, rows in rig.kv._tables.items() if table != META}
        for rig in rigs
    )
    ends = [
        {
            job_id: key[:7]
            for key, value in rows.pop(BY_FINISHED, {}).items()
            for job_id in ids_split(value[4:])
        }
        for rows in (first, second)
    ]
    assert ends[0] == ends[1]  # what ended together has one row there
    assert first == second
    assert rigs[0].live.stats == rigs[1].live.stats
