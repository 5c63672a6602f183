"""Cancel, suspend, resume, delete, retry."""

import pytest
from engine_rig import ADMIN, ALICE, BOB, LEASE_MS, STRANGER, MakeRig, Rig

from headrace.core.commands import Act, Caller, Control, Outcome, Progress
from headrace.core.effects import ClassDropped, JobDeleted, JobFinished
from headrace.core.job import READY, Event, Status
from headrace.core.live import EngineConfig
from headrace.store.contract import ListQuery
from headrace.wire.problems import Problem, ProblemCode


def brought_to(rig: Rig, status: Status) -> bytes:
    """Return a new job in a status."""
    start_before_at_ms = rig.wall_ms + 1 if status is Status.SKIPPED else 0
    job_id = rig.submit(
        delay_ms=60_000 if status is Status.SCHEDULED else 0, start_before_at_ms=start_before_at_ms
    )
    if status is Status.SKIPPED:
        rig.wait(1)
        return job_id
    if status in (Status.QUEUED, Status.SCHEDULED):
        return job_id
    if status in (Status.SUSPENDED, Status.RESUMING):
        rig.control(job_id, Act.SUSPEND)
        if status is Status.RESUMING:
            rig.control(job_id, Act.RESUME)
        return job_id
    lease = rig.take()
    if status is Status.RUNNING:
        rig.poll(progress=[Progress(lease, started=True)], jobs_max=0)
    elif status is Status.SUSPENDING:
        rig.control(job_id, Act.SUSPEND)
    elif status is Status.CANCELING:
        rig.control(job_id, Act.CANCEL)
    elif status is Status.COMPLETED:
        rig.report(lease, Outcome.COMPLETED)
    elif status is Status.CANCELLED:
        rig.report(lease, Outcome.CANCELLED)
    elif status is Status.FAILED:
        rig.report(lease, Outcome.FAILED, permanent=True, error="boom", code="oops")
    elif status is Status.TIMEOUT:
        rig.report(lease, Outcome.TIMEOUT)
    return job_id


_ = None
_S = Status
AFTER = {
    #                  CANCEL        SUSPEND       RESUME       DELETE        REMOVE        RETRY
    _S.SCHEDULED: (_S.CANCELLED, _S.SUSPENDED, _, _, _S.SCHEDULED, _S.QUEUED),
    _S.QUEUED: (_S.CANCELLED, _S.SUSPENDED, _, _, _S.QUEUED, _S.QUEUED),
    _S.RESUMING: (_S.CANCELLED, _S.SUSPENDED, _S.RESUMING, _, _S.RESUMING, _S.RESUMING),
    _S.LOCKED: (_S.CANCELING, _S.SUSPENDING, _, _, _, _),
    _S.RUNNING: (_S.CANCELING, _S.SUSPENDING, _, _, _, _),
    _S.SUSPENDING: (_S.CANCELING, _S.SUSPENDING, _, _, _, _),
    _S.SUSPENDED: (_S.CANCELLED, _S.SUSPENDED, _S.RESUMING, _, _S.SUSPENDED, _),
    _S.CANCELING: (_S.CANCELING, _, _, _, _, _),
    _S.COMPLETED: (_, _, _, _S.COMPLETED, _S.COMPLETED, _),
    _S.FAILED: (_, _, _, _S.FAILED, _S.FAILED, _S.QUEUED),
    _S.TIMEOUT: (_, _, _, _S.TIMEOUT, _S.TIMEOUT, _S.QUEUED),
    _S.CANCELLED: (_S.CANCELLED, _, _, _S.CANCELLED, _S.CANCELLED, _S.QUEUED),
    _S.SKIPPED: (_, _, _, _S.SKIPPED, _S.SKIPPED, _S.QUEUED),
}
CASES = [
    (start, act, target)
    for start, row in AFTER.items()
    for act, target in zip(Act, row, strict=True)
]


@pytest.mark.parametrize(("start", "act", "target"), CASES)
def test_an_act_does_what_the_status_allows(
    rig: Rig, start: Status, act: Act, target: Status | None
) -> None:
    job_id = brought_to(rig, start)
    assert rig.status(job_id) is start
    reply = rig.control(job_id, act)
    if target is None:
        assert isinstance(reply, Problem)
        assert reply.code is ProblemCode.JOB_STATE_CONFLICT
        assert reply.extra == {"job_status": start.name.lower()}
        assert rig.effects == []
        return
    assert reply is target
    if act not in (Act.DELETE, Act.REMOVE):
        assert rig.status(job_id) is target
        assert rig.control(job_id, act) is target, "asked twice is asked once"
        assert rig.effects == []


@pytest.mark.parametrize("start", [status for status in AFTER if status in READY])
def test_what_is_cancelled_is_nowhere_any_more(rig: Rig, start: Status) -> None:
    job_id = brought_to(rig, start)
    rig.control(job_id, Act.CANCEL)
    finished, dropped = rig.effects
    assert isinstance(finished, JobFinished)
    assert (finished.job_id, finished.event) == (job_id, Event.CANCEL)
    assert finished.finished.status is Status.CANCELLED
    assert dropped == ClassDropped(0)
    assert (len(rig.live.match), rig.live.stats.queued, rig.engine.due_ms()) == (0, {}, None)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("act", Act)
def test_only_the_owner_and_admins_of_the_tenant_may_act(rig: Rig, act: Act, ended: bool) -> None:
    job_id = brought_to(rig, Status.COMPLETED if ended else Status.QUEUED)
    assert rig.control(job_id, act, BOB).code is ProblemCode.FORBIDDEN
    stranger = rig.control(job_id, act, STRANGER)
    assert stranger == rig.control(b"?" * 16, act, STRANGER), "as if it did not exist"
    foreign_admin = rig.control(job_id, act, Caller("other", "root", admin=True))
    assert foreign_admin.code is ProblemCode.JOB_UNKNOWN
    assert rig.effects == []
    mine, admins = (
        rig.engine.apply(rig.now_ms, Control(caller, b"?" * 16, act))[0]
        for caller in (ALICE, ADMIN)
    )
    assert mine == admins
    reply = rig.control(job_id, act, ADMIN)
    assert not isinstance(reply, Problem) or reply.code is ProblemCode.JOB_STATE_CONFLICT


def test_a_removed_job_is_cancelled_while_it_waits_and_gone_when_it_has_ended(rig: Rig) -> None:
    job_id = brought_to(rig, Status.QUEUED)
    assert rig.control(job_id, Act.REMOVE) is Status.QUEUED
    assert isinstance(rig.effects[0], JobFinished)
    assert rig.effects[0].finished.status is Status.CANCELLED
    assert rig.control(job_id, Act.REMOVE) is Status.CANCELLED
    assert rig.effects == [JobDeleted(job_id, 0)]
    assert rig.control(job_id, Act.REMOVE).code is ProblemCode.JOB_UNKNOWN


def test_a_deleted_job_is_gone_before_and_after_its_commit(rig: Rig) -> None:
    job_id = brought_to(rig, Status.COMPLETED)
    _, effects = rig.engine.apply(rig.now_ms, Control(ALICE, job_id, Act.DELETE))
    assert effects == [JobDeleted(job_id, 0)]
    again, effects = rig.engine.apply(rig.now_ms, Control(ALICE, job_id, Act.DELETE))
    assert (again.code, effects) == (ProblemCode.JOB_UNKNOWN, [])


def test_a_job_can_be_deleted_in_the_batch_that_ends_it(rig: Rig) -> None:
    job_id = rig.submit()
    rig.engine.apply(rig.now_ms, Control(ALICE, job_id, Act.CANCEL))
    reply, effects = rig.engine.apply(rig.now_ms, Control(ALICE, job_id, Act.DELETE))
    assert reply is Status.CANCELLED
    assert effects == [JobDeleted(job_id, 0)]


def test_a_resumed_job_stands_behind_what_waits(rig: Rig) -> None:
    first = brought_to(rig, Status.SUSPENDED)
    second = rig.submit()
    rig.control(first, Act.RESUME)
    assert [grant.job_id for grant in rig.poll(jobs_max=2).jobs] == [second, first]


def test_a_suspended_job_holds_no_room_in_its_queue(rig: Rig) -> None:
    job_id = brought_to(rig, Status.SUSPENDING)
    (lease,) = rig.leases
    rig.report(lease, Outcome.SUSPENDED)
    assert rig.status(job_id) is Status.SUSPENDED
    assert rig.live.classes.queue_leases("default") == 0


# Run again --------------------------------------------------------------------------------------


def test_a_redriven_job_has_all_its_tries_again_and_counts_its_attempts_on(rig: Rig) -> None:
    job_id = _spent(rig)
    assert rig.control(job_id, Act.RETRY) is Status.QUEUED
    job = rig.job(job_id)
    assert (job.attempt, job.failures, job.crashes) == (2, 0, 0)
    trail = rig.store.trail(job_id)
    assert trail is not None
    assert (trail.error, trail.code) == ("boom", "oops"), "how it ended is seen until it ends anew"
    lease = rig.take()
    assert rig.job(job_id).attempt == 3
    assert rig.report(lease, Outcome.FAILED).status is Status.SCHEDULED, "a try is left again"


def _spent(rig: Rig) -> bytes:
    """Return a job that has failed as often as it may, twice."""
    job_id = rig.submit(retries_max=1, retry_delay_ms=0)
    for _ in range(2):
        rig.report(rig.take(), Outcome.FAILED, error="boom", code="oops")
        rig.wait(1)
    assert rig.status(job_id) is Status.FAILED
    return job_id


def test_poison_is_redriven_in_one_call(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(lease_ms=LEASE_MS, crashes_max=1))
    job_id = rig.submit()
    rig.take()
    rig.wait(LEASE_MS)
    assert rig.status(job_id) is Status.FAILED
    assert rig.control(job_id, Act.RETRY) is Status.QUEUED
    assert rig.report(rig.take(), Outcome.COMPLETED).status is Status.COMPLETED


def test_a_report_of_an_attempt_before_a_redrive_is_not_taken_for_the_next_one(rig: Rig) -> None:
    job_id = rig.submit()
    early = rig.take()
    rig.wait(LEASE_MS)
    rig.control(job_id, Act.CANCEL)
    rig.control(job_id, Act.RETRY)
    ack = rig.report(early, Outcome.COMPLETED)
    assert ack.problem is not None
    assert ack.problem.code is ProblemCode.LEASE_STALE
    late = rig.take()
    assert rig.report(early, Outcome.COMPLETED).problem is not None
    assert rig.report(late, Outcome.COMPLETED).status is Status.COMPLETED


def test_a_job_that_completed_runs_again_only_by_force_and_from_its_start(rig: Rig) -> None:
    job_id = rig.submit()
    rig.report(rig.take(), Outcome.RELEASED, checkpoint=b"1")
    rig.report(rig.take(), Outcome.COMPLETED, body=b"{}")
    assert rig.control(job_id, Act.RETRY).code is ProblemCode.JOB_STATE_CONFLICT
    assert rig.effects == []
    assert rig.control(job_id, Act.RETRY, force=True) is Status.QUEUED
    (grant,) = rig.poll().jobs
    assert (grant.has_checkpoint, grant.attempt) == (False, 3)
    assert rig.store.checkpoint(job_id) is None


def test_a_redriven_job_goes_on_from_its_checkpoint(rig: Rig) -> None:
    job_id = rig.submit()
    rig.report(rig.take(), Outcome.RELEASED, checkpoint=b"1")
    rig.report(rig.take(), Outcome.FAILED, permanent=True)
    rig.control(job_id, Act.RETRY)
    (grant,) = rig.poll().jobs
    assert grant.has_checkpoint


def test_a_redriven_job_is_live_after_a_restart_and_has_no_other_end(rig: Rig) -> None:
    job_id = _spent(rig)
    rig.control(job_id, Act.RETRY)
    rig.open()
    assert rig.status(job_id) is Status.QUEUED
    stored = rig.store.job(job_id)
    assert stored is not None
    assert (stored.finished, stored.status) == (None, Status.QUEUED)
    failed = ListQuery(statuses=frozenset({Status.FAILED}))
    assert rig.store.list_jobs(failed).examined == 0
    assert rig.report(rig.take(), Outcome.COMPLETED).status is Status.COMPLETED


def test_a_job_that_ends_is_redriven_and_ends_again_in_one_batch(rig: Rig) -> None:
    job_id = rig.submit()
    effects = []
    for act in (Act.CANCEL, Act.RETRY, Act.CANCEL, Act.RETRY, Act.CANCEL, Act.DELETE):
        reply, more = rig.engine.apply(rig.now_ms, Control(ALICE, job_id, act))
        assert not isinstance(reply, Problem), act
        effects += more
    rig.effects = effects
    rig.commit()
    assert rig.control(job_id, Act.RETRY).code is ProblemCode.JOB_UNKNOWN
    assert rig.store.job(job_id) is None


def test_a_skipped_job_runs_although_its_deadline_to_start_has_passed(rig: Rig) -> None:
    job_id = brought_to(rig, Status.SKIPPED)
    rig.control(job_id, Act.RETRY)
    rig.wait(60_000)
    rig.open()
    rig.wait(60_000)
    assert [grant.job_id for grant in rig.poll().jobs] == [job_id]


def test_a_full_server_redrives_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(jobs_max=1))
    job_id = brought_to(rig, Status.FAILED)
    rig.submit()
    assert rig.control(job_id, Act.RETRY).code is ProblemCode.QUEUE_FULL
    assert rig.effects == []
    assert rig.status(job_id) is Status.FAILED


def test_what_waits_for_its_next_try_runs_now(rig: Rig) -> None:
    job_id = rig.submit()
    rig.report(rig.take(), Outcome.FAILED, error="boom", retry_delay_ms=3_600_000)
    assert rig.control(job_id, Act.RETRY) is Status.QUEUED
    assert rig.job(job_id).failures == 1, "only a job that ended begins anew"
    assert [grant.job_id for grant in rig.poll().jobs] == [job_id]


def test_the_log_tells_how_a_redriven_job_had_ended(rig: Rig) -> None:
    job_id = _spent(rig)
    rig.control(job_id, Act.RETRY)
    log = b"".join(chunk for _, chunk in rig.store.logs(job_id))
    assert log.endswith(b"[headrace: failed: boom; run again for alice]\n")


def test_a_redriven_job_tells_its_url_of_its_new_end_too(rig: Rig) -> None:
    job_id = rig.submit(webhook_url="https://example.com/hook")
    rig.report(rig.take(), Outcome.FAILED, permanent=True)
    rig.control(job_id, Act.RETRY)
    assert rig.job(job_id).has_webhook
    rig.report(rig.take(), Outcome.COMPLETED)
