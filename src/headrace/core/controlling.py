"""What clients do to a job after submit: cancel, suspend, resume, delete, remove."""

from headrace.core.commands import Act, Control
from headrace.core.documenting import may_suspend
from headrace.core.effects import Effect, JobDeleted
from headrace.core.job import LEASED, Event, Job, Status
from headrace.core.live import Live, conflict, unknown_job
from headrace.core.polling import tell
from headrace.wire.problems import Problem, ProblemCode


def control(live: Live, now_ms: int, command: Control, effects: list[Effect]) -> Status | Problem:
    handle = live.jobs.find(command.job_id)
    if handle < 0:
        return control_finished(live, command, effects)
    job = live.load(handle)
    problem = live.may_not(command.caller, job.owner_id)
    if problem is not None:
        return problem
    if command.act is Act.CANCEL:
        return cancel(live, now_ms, handle, job, effects)
    if command.act is Act.SUSPEND:
        return suspend(live, now_ms, handle, job, effects)
    if command.act is Act.RESUME and job.can(Event.RESUME):
        job.attempt_open = False
        job.order = live.order_now(now_ms)
        live.change(now_ms, handle, job, Event.RESUME, effects)
        return job.status
    if command.act is Act.RESUME and job.status is Status.RESUMING:
        return job.status
    if command.act is Act.REMOVE and job.status not in LEASED:
        waited = job.status
        cancel(live, now_ms, handle, job, effects)
        return waited
    return conflict(job.status, command.act)


def control_finished(live: Live, command: Control, effects: list[Effect]) -> Status | Problem:
    finished = live.finished(command.job_id)
    owner_id = live.owner_of(command.job_id)
    if finished is None or owner_id is None:
        return unknown_job()
    problem = live.may_not(command.caller, owner_id)
    if problem is not None:
        return problem
    if command.act in (Act.DELETE, Act.REMOVE):
        live.fresh()[command.job_id] = None
        effects.append(JobDeleted(command.job_id, owner_id))
        return finished.status
    if command.act is Act.CANCEL and finished.status is Status.CANCELLED:
        return finished.status
    return conflict(finished.status, command.act)


def cancel(live: Live, now_ms: int, handle: int, job: Job, effects: list[Effect]) -> Status:
    if job.status is Status.CANCELING:
        return job.status
    lease = live.leases.of(handle)
    if lease is None:
        live.leave(handle, job)
        live.finish(now_ms, handle, job, Event.CANCEL, effects)
        return job.status
    live.change(now_ms, handle, job, Event.CANCEL, effects, lease)
    lease.cancel_by_ms = now_ms + live.config.cancel_grace_ms
    live.lease_timer(lease)
    tell(live, now_ms, lease, "cancel", effects)
    return job.status


def suspend(
    live: Live, now_ms: int, handle: int, job: Job, effects: list[Effect]
) -> Status | Problem:
    if job.status in (Status.SUSPENDING, Status.SUSPENDED):
        return job.status
    if not job.can(Event.SUSPEND):
        return conflict(job.status, Act.SUSPEND)
    if not may_suspend(live, live.classes.entry(job.class_id).requirements.kind):
        return Problem(
            ProblemCode.JOB_STATE_CONFLICT,
            "jobs of its type cannot be suspended",
            extra={"job_status": job.status.name.lower()},
        )
    lease = live.leases.of(handle)
    if lease is None:
        live.leave(handle, job)
        job.stops += 1
    live.change(now_ms, handle, job, Event.SUSPEND, effects, lease)
    if lease is not None:
        tell(live, now_ms, lease, "suspend", effects)
    return job.status
