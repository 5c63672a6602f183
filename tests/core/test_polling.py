"""Heartbeats, news, orders and jobs in one call."""

import pytest
from engine_rig import ALICE, LEASE_MS, PLENTY, START_MS, MakeRig, Rig, needs

from headrace.core.commands import (
    Act,
    Grant,
    Grants,
    Order,
    Outcome,
    Poll,
    PollReply,
    Progress,
    Report,
    Submit,
    Withdraw,
)
from headrace.core.effects import (
    Answered,
    Effect,
    JobChanged,
    JobFinished,
    JobsLeased,
    LogAppended,
    Noted,
    ProgressStored,
    Trail,
)
from headrace.core.job import Event, Status
from headrace.core.live import EngineConfig
from headrace.core.polling import LOG_CUT, ORDER_AGAIN_MS
from headrace.core.resources import Amounts, Profile
from headrace.wire import limits


def test_a_grant_is_stored_with_its_attempt_and_its_worker(rig: Rig) -> None:
    job_id = rig.submit(timeout_ms=60_000)
    reply = rig.poll("w1", session="s", seq=4)
    job = rig.job(job_id)
    token = next(iter(rig.leases))
    assert reply == PollReply(jobs=Grants(token.encode(), job_id, job.pack(), [START_MS + 60_000]))
    assert [*reply.jobs] == [Grant(token, job_id, 1, START_MS + 60_000)]
    trail = Trail(START_MS, worker="w1", session="s", seq=4)
    assert rig.effects == [JobsLeased(job_id, job.pack(), trail)]
    assert (job.status, job.attempt, job.epoch, job.attempt_open) == (Status.LOCKED, 1, 1, True)


def test_the_jobs_of_one_answer_fit_together(rig: Rig) -> None:
    for cpu in (2_000, 3_000, 1_000):
        rig.submit(needs(cpu_milli=cpu))
    reply = rig.poll(free=Amounts(cpu_milli=4_000), jobs_max=10)
    assert [rig.live.load(lease.handle).class_id for lease in rig.leases.values()] == [0, 2]
    assert len(reply.jobs) == 2


def test_a_poll_takes_no_more_jobs_than_it_asks_for(rig: Rig) -> None:
    for _ in range(3):
        rig.submit()
    assert len(rig.poll(jobs_max=2).jobs) == 2
    assert rig.poll(jobs_max=0) == PollReply()


def test_a_poll_that_will_not_wait_is_answered_empty(rig: Rig) -> None:
    assert rig.poll() == PollReply()
    assert rig.effects == []


def test_a_parked_poll_is_answered_by_what_becomes_ready(rig: Rig) -> None:
    assert rig.poll(wait_ms=9_000) is None
    ticket = rig.tickets
    rig.submit()
    (answered,) = [effect for effect in rig.effects if isinstance(effect, Answered)]
    assert answered.ticket == ticket
    assert [grant.attempt for grant in answered.reply.jobs] == [1]
    assert rig.effects[-1] is answered, "the lease is stored before it is told"


def test_parked_polls_are_dispatched_once_a_batch(rig: Rig) -> None:
    """So that of several jobs of one batch the first worker gets the most urgent."""
    rig.poll(wait_ms=9_000)
    low, high = rig.new(priority=1), rig.new(priority=9)
    rig.engine.apply(rig.now_ms, Submit(ALICE, [low]))
    rig.engine.apply(rig.now_ms, Submit(ALICE, [high]))
    answers = [e.reply for e in rig.engine.settle(rig.now_ms) if isinstance(e, Answered)]
    assert [grant.job_id for answer in answers for grant in answer.jobs] == [high.job_ids]


def test_equal_offers_are_served_in_the_order_they_came(rig: Rig) -> None:
    tickets = []
    for _ in range(3):
        rig.poll(wait_ms=9_000)
        tickets.append(rig.tickets)
    rig.submit()
    rig.submit()
    assert [*rig.live.parked.by_ticket] == tickets[2:]


def test_a_job_goes_to_the_longest_waiting_of_those_that_serve_its_type_and_fit(rig: Rig) -> None:
    tickets = {}
    for name, profile, cpu_milli in (
        ("other type", Profile(types=frozenset({"other"})), 8_000),
        ("too small", Profile(types=frozenset({"t"})), 500),
        ("other queue", Profile(queues=frozenset({"elsewhere"})), 8_000),
        ("all types", Profile(), 2_000),
        ("its type", Profile(types=frozenset({"t", "u"})), 4_000),
    ):
        rig.poll(wait_ms=9_000, profile=profile, free=Amounts(cpu_milli=cpu_milli, memory_mb=999))
        tickets[name] = rig.tickets
    for served in ("all types", "its type"):
        rig.submit(needs(kind="t", cpu_milli=1_000))
        answered = [effect.ticket for effect in rig.effects if isinstance(effect, Answered)]
        assert answered == [tickets.pop(served)]
    rig.submit(needs(kind="t", cpu_milli=1_000))
    assert [*rig.live.parked.by_ticket] == [*tickets.values()]


def test_a_withdrawn_poll_goes_home_empty_and_once(rig: Rig) -> None:
    rig.poll(wait_ms=9_000)
    ticket = rig.tickets
    rig.apply(Withdraw(ticket))
    assert rig.effects == [Answered(ticket, PollReply())]
    rig.apply(Withdraw(ticket))
    assert rig.effects == []
    rig.submit()
    assert not rig.leases


def test_a_poll_goes_home_when_its_wait_is_over(rig: Rig) -> None:
    rig.poll(wait_ms=9_000)
    ticket = rig.tickets
    assert rig.engine.due_ms() == START_MS + 9_000
    assert rig.wait(8_999) == []
    assert rig.wait(1) == [Answered(ticket, PollReply())]


def test_a_poll_of_a_worker_with_leases_comes_home_in_time_for_its_heartbeat(rig: Rig) -> None:
    rig.submit()
    token = rig.take()
    assert rig.poll(running=[token], wait_ms=60_000) is None
    ticket = rig.tickets
    rig.wait(LEASE_MS // 2)
    assert rig.answers() == {ticket: PollReply()}
    assert token in rig.leases


def test_a_heartbeat_counts_from_its_arrival_and_is_not_stored(rig: Rig) -> None:
    rig.submit()
    token = rig.take()
    rig.wait(20_000)
    rig.poll(running=[token], jobs_max=0)
    assert rig.effects == []
    assert rig.leases[token].expires_ms == START_MS + 20_000 + LEASE_MS


def test_a_lease_that_is_not_held_is_lost(rig: Rig) -> None:
    reply = rig.poll(running=["gone"], progress=[Progress("gone"), Progress("too")], jobs_max=0)
    assert reply.orders == [Order("gone", "lost"), Order("too", "lost")]


def test_start_is_stored_once(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take("w1")
    rig.wait(5)
    rig.poll(progress=[Progress(token, started=True)], jobs_max=0)
    job = rig.job(job_id)
    trail = Trail(START_MS + 5, START_MS + 5, "w1")
    assert job.status is Status.RUNNING
    assert rig.effects == [JobChanged(job_id, Event.START, job.pack(), trail)]
    rig.poll(progress=[Progress(token, started=True)], jobs_max=0)
    assert rig.effects == []


def test_a_start_told_after_a_cancel_does_not_undo_it(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take()
    rig.control(job_id, Act.CANCEL)
    rig.poll(progress=[Progress(token, started=True)], jobs_max=0)
    assert rig.status(job_id) is Status.CANCELING


def say(rig: Rig, token: str, share: float, details: str | None = None) -> list[Effect]:
    rig.poll(progress=[Progress(token, progress=share, details=details)], jobs_max=0)
    return rig.effects


def test_progress_is_stored_once_a_second_and_told_at_once(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take()
    first = ProgressStored(job_id, 0, rig.now_ms, 1, 0.5, "half")
    assert say(rig, token, 0.5, "half") == [Noted(job_id, 0.5, "half"), first]
    rig.now_ms += limits.PROGRESS_EVERY_MS - 1
    assert say(rig, token, 0.6) == [Noted(job_id, 0.6, "half")]
    assert say(rig, token, 0.6) == [], "nothing new"
    rig.now_ms += 1
    second = ProgressStored(job_id, 1, rig.now_ms, 1, 0.7, "half")
    assert say(rig, token, 0.7) == [Noted(job_id, 0.7, "half"), second]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.SUSPENDED, Outcome.SNOOZED])
def test_the_last_progress_is_stored_when_the_attempt_ends(rig: Rig, outcome: Outcome) -> None:
    job_id = rig.submit()
    token = rig.take()
    say(rig, token, 0.5)
    say(rig, token, 0.6)
    rig.report(token, outcome, checkpoint=b"1")
    assert ProgressStored(job_id, 1, rig.now_ms, 1, 0.6, "") in rig.effects


def test_the_last_progress_is_stored_when_the_lease_lapses(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take()
    say(rig, token, 0.5)
    say(rig, token, 0.6)
    stored = [effect for effect in rig.wait(LEASE_MS) if isinstance(effect, ProgressStored)]
    assert [(one.job_id, one.progress) for one in stored] == [(job_id, 0.6)]


def test_progress_is_counted_on_over_attempts_and_starts_and_the_newest_is_kept(rig: Rig) -> None:
    job_id = rig.submit(retries_max=3, retry_delay_ms=0)
    for attempt in (1, 2, 3):
        token = rig.take()
        for share in range(limits.PROGRESS_KEPT // 2):
            rig.now_ms += limits.PROGRESS_EVERY_MS
            say(rig, token, (share + 1) / 100)
            if share == 10:
                rig.open()
        rig.report(token, Outcome.FAILED)
        assert rig.store.progress(job_id)[0].attempt == attempt
        rig.wait(5_000)
    kept = rig.store.progress(job_id, 1_000, newest_first=False)
    whole = 3 * (limits.PROGRESS_KEPT // 2)
    assert [one.number for one in kept] == list(range(whole - limits.PROGRESS_KEPT, whole))
    assert rig.store.logs(job_id), "the log is read apart from it"
    rig.take()
    rig.control(job_id, Act.CANCEL)
    rig.wait(60_000)
    rig.control(job_id, Act.DELETE)
    assert rig.store.progress(job_id) == []


def test_details_that_are_long_are_cut_on_disk(rig: Rig) -> None:
    job_id = rig.submit()
    say(rig, rig.take(), 0.5, "x" * 1_000)
    assert len(rig.store.progress(job_id)[0].details) == limits.PROGRESS_DETAILS_CHARS


def test_news_that_come_with_the_end_of_their_attempt_are_kept(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take()
    reply = rig.poll(
        progress=[Progress(token, log=b"last words\n")],
        reports=[Report(token, Outcome.COMPLETED)],
        running=[token],
        jobs_max=0,
    )
    assert reply.orders == []
    assert [ack.status for ack in reply.acks] == [Status.COMPLETED]
    log, finished = rig.effects[:2]
    assert isinstance(log, LogAppended)
    assert log.chunk == b"last words\n"
    assert isinstance(finished, JobFinished)
    assert finished.job_id == job_id


def test_pieces_of_a_log_rise(rig: Rig) -> None:
    rig.submit()
    token = rig.take()
    news = [Progress(token, log=b"a"), Progress(token, log=b"b" * limits.LOG_CHUNK_BYTES_MAX * 2)]
    rig.poll(progress=news, jobs_max=0)
    pieces = [effect for effect in rig.effects if isinstance(effect, LogAppended)]
    assert [len(piece.chunk) for piece in pieces] == [1] + [limits.LOG_CHUNK_BYTES_MAX] * 2
    assert [piece.position for piece in pieces] == sorted({piece.position for piece in pieces})


@pytest.mark.parametrize("size", [1, 1_000, limits.LOG_CHUNK_BYTES_MAX + 1])
def test_a_log_is_cut_at_its_limit_and_says_so(rig: Rig, size: int) -> None:
    rig.submit()
    token = rig.take()
    news = Poll(0, "w", progress=[Progress(token, log=b"x" * size)])
    log = b""
    while not log.endswith(LOG_CUT):
        _, effects = rig.engine.apply(rig.now_ms, news)
        log += b"".join(e.chunk for e in effects if isinstance(e, LogAppended))
    assert limits.LOG_BYTES_MAX // 128 < len(log) < limits.LOG_BYTES_MAX + len(LOG_CUT)
    assert rig.engine.apply(rig.now_ms, news)[1] == []


def test_an_operator_can_allow_shorter_logs(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(log_bytes_max=2_000))
    job_id = rig.submit()
    token = rig.take()
    for _ in range(3):
        rig.poll(progress=[Progress(token, log=b"x" * 1_500)], jobs_max=0)
    stored = b"".join(chunk for _, chunk in rig.store.logs(job_id, -1))
    assert stored.endswith(LOG_CUT)
    assert 1_500 < len(stored) <= 2_000 + len(LOG_CUT)


def test_the_limit_of_a_log_is_of_the_job_not_of_the_attempt(rig: Rig) -> None:
    rig.submit()
    first = rig.take()
    chunk = b"x" * (limits.LOG_BYTES_MAX - 1_000)
    rig.poll(progress=[Progress(first, log=chunk)], jobs_max=0)
    rig.report(first, Outcome.RELEASED)
    second = rig.take()
    rig.poll(progress=[Progress(second, log=b"y" * 2_000)], jobs_max=0)
    (piece,) = [effect for effect in rig.effects if isinstance(effect, LogAppended)]
    assert piece.chunk.endswith(LOG_CUT)
    assert len(piece.chunk) < 1_000 + len(LOG_CUT)


def test_an_order_goes_to_the_parked_poll_that_speaks_for_the_lease(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take()
    rig.poll("other", wait_ms=9_000, jobs_max=0)
    rig.poll(running=[token], wait_ms=9_000, jobs_max=0)
    ticket = rig.tickets
    rig.control(job_id, Act.CANCEL)
    assert rig.answers() == {ticket: PollReply(orders=[Order(token, "cancel")])}


def test_an_order_is_told_again_after_a_while(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take(session="s")
    rig.control(job_id, Act.SUSPEND)
    told = PollReply(orders=[Order(token, "suspend")])
    assert rig.poll(session="s", jobs_max=0) == told
    assert rig.poll(session="s", jobs_max=0) == PollReply()
    rig.wait(ORDER_AGAIN_MS)
    assert rig.poll(session="s", jobs_max=0) == told
    rig.control(job_id, Act.CANCEL)
    assert rig.poll(session="s", jobs_max=0).orders == [Order(token, "cancel")]


def test_orders_come_in_the_order_the_leases_were_given_out(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(20)]
    tokens = [grant.lease for grant in rig.poll(session="s", jobs_max=20).jobs]
    for job_id in reversed(jobs):
        rig.control(job_id, Act.CANCEL)
    reply = rig.poll(session="s", jobs_max=0)
    assert [order.lease for order in reply.orders] == tokens


def test_what_a_worker_is_comes_from_polls_that_say_so(rig: Rig) -> None:
    rig.submit()
    token = rig.take("w1", total=PLENTY)
    rig.poll("w1", profile=Profile(), free=Amounts(), jobs_max=0, running=[token])
    rig.poll("", profile=Profile(), free=Amounts(), jobs_max=0, running=[token])
    (worker,) = rig.live.workers.by_name.values()
    assert (worker.profile, worker.total) == (Profile(wasm=True), PLENTY)


def test_a_worker_without_a_total_has_the_most_it_ever_offered(rig: Rig) -> None:
    rig.poll("w1", free=Amounts(4_000, 10))
    rig.poll("w1", free=Amounts(1_000, 20))
    assert rig.live.workers.by_name["", "w1"].total == Amounts(4_000, 20)
    rig.poll("w1", free=Amounts(1_000, 20), profile=Profile())
    assert rig.live.workers.by_name["", "w1"].total == Amounts(1_000, 20)


def test_silent_workers_and_sessions_are_forgotten(rig: Rig) -> None:
    rig.submit()
    token = rig.take("w1", session="holds")
    rig.poll("w2", session="idle", free=Amounts(1))
    rig.wait(1)
    for _ in range(limits.SESSION_MS_MAX // 20_000 + 6):
        rig.wait(20_000)
        rig.poll("w1", running=[token], jobs_max=0)
    assert [*rig.live.workers.by_name] == [("", "w1")]
    assert [*rig.live.sessions] == ["holds"]


def test_a_capacity_of_zero_gives_nothing_out(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(queue_capacities={"paused": 0}))
    rig.submit(needs(queue="paused"))
    assert rig.poll() == PollReply()
