"""Cancel, suspend, resume, delete."""

import pytest
from engine_rig import ADMIN, ALICE, BOB, STRANGER, Rig

from headrace.core.commands import Act, Caller, Control, Outcome, Progress
from headrace.core.effects import ClassDropped, JobDeleted, JobFinished
from headrace.core.job import READY, Event, Status
from headrace.wire.problems import Problem, ProblemCode


def brought_to(rig: Rig, status: Status) -> bytes:
    """Return a new job in a status."""
    job_id = rig.submit(delay_ms=60_000 if status is Status.SCHEDULED else 0)
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
    return job_id


_ = None
AFTER = {
    #                  CANCEL            SUSPEND            RESUME           DELETE  REMOVE
    Status.SCHEDULED: (Status.CANCELLED, Status.SUSPENDED, _, _, Status.SCHEDULED),
    Status.QUEUED: (Status.CANCELLED, Status.SUSPENDED, _, _, Status.QUEUED),
    Status.RESUMING: (Status.CANCELLED, Status.SUSPENDED, Status.RESUMING, _, Status.RESUMING),
    Status.LOCKED: (Status.CANCELING, Status.SUSPENDING, _, _, _),
    Status.RUNNING: (Status.CANCELING, Status.SUSPENDING, _, _, _),
    Status.SUSPENDING: (Status.CANCELING, Status.SUSPENDING, _, _, _),
    Status.SUSPENDED: (Status.CANCELLED, Status.SUSPENDED, Status.RESUMING, _, Status.SUSPENDED),
    Status.CANCELING: (Status.CANCELING, _, _, _, _),
    Status.COMPLETED: (_, _, _, Status.COMPLETED, Status.COMPLETED),
    Status.CANCELLED: (Status.CANCELLED, _, _, Status.CANCELLED, Status.CANCELLED),
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
