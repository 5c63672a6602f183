"""What happens when time passes."""

import pytest
from engine_rig import ALICE, LEASE_MS, START_MS, MakeRig, Rig

from headrace.core.commands import Act, Outcome, Poll, Progress, Report, Submit, Tick
from headrace.core.effects import JobChanged, JobFinished, LogAppended
from headrace.core.job import Event, Status
from headrace.core.live import EngineConfig
from headrace.core.passing import TICK_BATCH_MAX
from headrace.wire.limits import CANCEL_GRACE_MS, TIMEOUT_GRACE_MS


def test_a_lapse_is_stored_with_its_reason(rig: Rig) -> None:
    job_id = rig.submit()
    rig.take("w1")
    assert rig.engine.due_ms() == START_MS + LEASE_MS
    rig.wait(LEASE_MS)
    log, changed = rig.effects
    assert isinstance(log, LogAppended)
    assert isinstance(changed, JobChanged)
    assert (changed.job_id, changed.event) == (job_id, Event.LAPSE)
    assert (changed.trail.worker, changed.trail.code) == ("w1", "crash")
    job = rig.job(job_id)
    assert (job.status, job.crashes, job.attempt_open) == (Status.QUEUED, 1, True)


def test_no_lease_lapses_a_millisecond_early(rig: Rig) -> None:
    rig.submit()
    token = rig.take()
    rig.wait(LEASE_MS - 1)
    assert token in rig.leases
    rig.poll(running=[token], jobs_max=0)
    rig.wait(LEASE_MS - 1)
    assert token in rig.leases
    rig.wait(1)
    assert token not in rig.leases


def test_crashes_end_a_job_exactly_at_their_limit(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(lease_ms=1_000, crashes_max=2))
    job_id = rig.submit()
    rig.take()
    rig.wait(1_000)
    assert rig.status(job_id) is Status.QUEUED
    rig.take()
    rig.wait(1_000)
    (finished,) = [effect for effect in rig.effects if isinstance(effect, JobFinished)]
    assert (finished.event, finished.finished.status) == (Event.FAIL, Status.FAILED)
    assert finished.finished.code == "poison"
    assert "crashed 2 times" in finished.finished.error


def test_a_job_that_was_asked_to_suspend_is_no_poison(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(lease_ms=1_000, crashes_max=1))
    job_id = rig.submit()
    rig.take()
    rig.control(job_id, Act.SUSPEND)
    rig.wait(1_000)
    assert rig.status(job_id) is Status.SUSPENDED


def test_the_servers_stop_comes_a_grace_after_the_timeout_and_needs_no_silence(rig: Rig) -> None:
    job_id = rig.submit(timeout_ms=60_000)
    token = rig.take()
    for _ in range(6):
        rig.wait(10_000)
        rig.poll(running=[token], jobs_max=0)
    rig.wait(TIMEOUT_GRACE_MS - 1)
    assert token in rig.leases
    rig.wait(1)
    (finished,) = [effect for effect in rig.effects if isinstance(effect, JobFinished)]
    assert (finished.job_id, finished.finished.status) == (job_id, Status.TIMEOUT)
    assert finished.finished.code == "timeout"


def test_a_cancel_waits_for_its_grace_or_the_lease_whichever_ends_first(rig: Rig) -> None:
    job_id = rig.submit()
    token = rig.take()
    rig.wait(10_000)
    rig.poll(running=[token], jobs_max=0)
    rig.control(job_id, Act.CANCEL)
    rig.poll(running=[token], jobs_max=0)
    rig.wait(CANCEL_GRACE_MS - 1)
    assert rig.status(job_id) is Status.CANCELING
    rig.wait(1)
    assert rig.status(job_id) is Status.CANCELLED
    assert rig.live.stats.crashed_total == 0


def test_many_timers_are_fired_in_portions_and_the_rest_at_once(rig: Rig) -> None:

    count = TICK_BATCH_MAX + 5
    rig.apply(Submit(ALICE, [rig.new(delay_ms=1_000) for _ in range(count)]))
    rig.now_ms += 1_000
    rig.apply(Tick(rig.wall_ms))
    assert len(rig.events()) == TICK_BATCH_MAX
    assert rig.engine.due_ms() == rig.now_ms
    rig.apply(Tick(rig.wall_ms))
    assert len(rig.events()) == 5
    assert rig.engine.due_ms() is None


def test_jobs_come_due_in_the_order_of_their_times(rig: Rig) -> None:
    late, early = rig.submit(delay_ms=2_000), rig.submit(delay_ms=1_000)
    rig.now_ms += 5_000
    rig.apply(Tick(rig.wall_ms))
    assert [job for job, _, _ in rig.events()] == [early, late]
    assert [grant.job_id for grant in rig.poll(jobs_max=2).jobs] == [early, late]


def test_a_jump_of_the_wall_clock_moves_schedules_and_nothing_else(rig: Rig) -> None:
    rig.submit()
    token = rig.take()
    rig.submit(delay_ms=60_000)
    scheduled = rig.submit(scheduled_at_ms=START_MS + 86_400_000)
    rig.wall_offset_ms = 86_400_000
    rig.wait(0)
    assert rig.events() == [(scheduled, "DUE", "QUEUED")]
    assert token in rig.leases
    rig.wall_offset_ms = -86_400_000
    rig.wait(LEASE_MS - 1)
    assert token in rig.leases


def test_a_job_that_a_jump_made_due_stands_before_those_submitted_later(rig: Rig) -> None:
    early = rig.submit(scheduled_at_ms=START_MS + 3 * 3_600_000)
    rig.wall_offset_ms = 3 * 3_600_000
    rig.wait(0)
    rig.submit()
    (grant,) = rig.poll().jobs
    assert grant.job_id == early


def test_due_follows_the_wall_clock_for_schedules(rig: Rig) -> None:
    rig.submit(scheduled_at_ms=START_MS + 1_000)
    assert rig.engine.due_ms() == START_MS + 1_000
    rig.wall_offset_ms = 400
    rig.wait(0)
    assert rig.engine.due_ms() == START_MS + 600


def test_a_job_that_is_due_and_too_late_at_once_is_skipped(rig: Rig) -> None:
    job_id = rig.submit(delay_ms=1_000, start_before_at_ms=START_MS + 2_000)
    rig.now_ms += 5_000
    rig.apply(Tick(rig.wall_ms))
    assert rig.events() == [(job_id, "DUE", "QUEUED"), (job_id, "SKIP", "SKIPPED")]
    assert rig.live.stats.queued == {}


def test_a_tick_without_anything_due_does_nothing(rig: Rig) -> None:
    rig.submit()
    rig.apply(Tick(rig.wall_ms))
    assert rig.effects == []


def test_a_lapsed_job_that_ended_meanwhile_needs_no_timer(rig: Rig) -> None:
    rig.submit()
    token = rig.take()
    rig.poll(progress=[Progress(token, started=True)], jobs_max=0)
    rig.report(token, Outcome.COMPLETED)
    assert rig.engine.due_ms() is None


@pytest.mark.parametrize("delay_ms", [0, 5_000])
def test_a_job_that_waits_again_keeps_its_last_error(rig: Rig, delay_ms: int) -> None:
    job_id = rig.submit()
    lease = rig.take()
    rig.report(lease, Outcome.FAILED, error="boom", code="E1", retry_delay_ms=delay_ms)
    rig.wait(delay_ms)
    assert rig.status(job_id) is Status.QUEUED
    for act in (Act.SUSPEND, Act.RESUME):
        rig.control(job_id, act)
    trail = rig.store.trail(job_id)
    assert trail is not None
    assert (trail.error, trail.code) == ("boom", "E1")


def test_an_error_is_kept_within_one_batch(rig: Rig) -> None:
    job_id = rig.submit()
    told = Report(rig.take(), Outcome.FAILED, error="boom", retry_delay_ms=0)
    _, effects = rig.engine.apply(rig.now_ms, Poll(0, "w", reports=[told]))
    _, due = rig.engine.apply(rig.now_ms, Tick(rig.wall_ms))
    rig.effects = effects + due
    rig.commit()
    assert rig.status(job_id) is Status.QUEUED
    assert rig.store.trail(job_id).error == "boom"  # type: ignore[union-attr]
