"""What clients do to a job after submit: cancel, suspend, resume, delete, remove, retry."""

import msgspec

from headrace.core.commands import Act, Control
from headrace.core.documenting import may_suspend
from headrace.core.effects import (
    Effect,
    Finished,
    JobDeleted,
    JobRedriven,
    LogAppended,
    Waits,
    WaitsStored,
)
from headrace.core.intake import decode_spec, requirements_of
from headrace.core.job import LEASED, READY, Event, Job, Status
from headrace.core.live import Live, conflict, corrupt, unknown_job
from headrace.core.module_keys import module_key
from headrace.core.polling import tell
from headrace.core.submitting import full, has_module, held_out
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import Spec


def control(live: Live, now_ms: int, command: Control, effects: list[Effect]) -> Status | Problem:
    handle = live.jobs.find(command.job_id)
    if handle < 0:
        return control_finished(live, now_ms, command, effects)
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
        live.begins_to_wait(now_ms, job)
        live.change(now_ms, handle, job, Event.RESUME, effects)
        return job.status
    if command.act is Act.RESUME and job.status is Status.RESUMING:
        return job.status
    if command.act is Act.RETRY and job.status is Status.SCHEDULED:
        live.leave(handle, job, effects)
        live.begins_to_wait(now_ms, job)
        live.change(now_ms, handle, job, Event.DUE, effects)
        return job.status
    if command.act is Act.RETRY and job.status in READY:
        return job.status
    if command.act is Act.REMOVE and job.status not in LEASED:
        waited = job.status
        cancel(live, now_ms, handle, job, effects)
        return waited
    return conflict(job.status, command.act)


def control_finished(
    live: Live, now_ms: int, command: Control, effects: list[Effect]
) -> Status | Problem:
    finished = live.finished(command.job_id)
    owner_id = live.owner_of(command.job_id)
    if finished is None or owner_id is None:
        return unknown_job()
    problem = live.may_not(command.caller, owner_id)
    if problem is not None:
        return problem
    if command.act in (Act.DELETE, Act.REMOVE):
        if command.job_id in live.awaiting.telling:
            return Problem(
                ProblemCode.JOB_STATE_CONFLICT,
                "jobs that wait for its end are being told; ask again at once",
                extra={"job_status": finished.status.name.lower()},
                retry_after_ms=100,
            )
        live.fresh()[command.job_id] = None
        effects.append(JobDeleted(command.job_id, owner_id))
        return finished.status
    if command.act is Act.CANCEL and finished.status is Status.CANCELLED:
        return finished.status
    if command.act is Act.RETRY:
        return redrive(live, now_ms, command, finished, effects)
    return conflict(finished.status, command.act)


def cancel(live: Live, now_ms: int, handle: int, job: Job, effects: list[Effect]) -> Status:
    if job.status is Status.CANCELING:
        return job.status
    lease = live.leases.of(handle)
    if lease is None:
        live.leave(handle, job, effects)
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
        live.leave(handle, job, effects)
        job.stops += 1
    live.change(now_ms, handle, job, Event.SUSPEND, effects, lease)
    if lease is not None:
        tell(live, now_ms, lease, "suspend", effects)
    return job.status


def redrive(
    live: Live, now_ms: int, command: Control, finished: Finished, effects: list[Effect]
) -> Status | Problem:
    """Make a finished job live again: as the same job, with all its tries before it.

    Attempts count on, so that no report of an earlier one is taken for the next one's. A deadline
    to start is of the past, and binds no more.
    """
    ended = finished.status
    if ended is Status.COMPLETED and not command.force:
        problem = conflict(ended, Act.RETRY)
        problem.detail = "the job completed; force=1 runs it all the same once more"
        return problem
    no_room = full(live, 1)
    if no_room is not None:
        return no_room
    job_id = command.job_id
    stored = live.archive.spec_of(job_id)
    log_bytes = live.archive.log_bytes(job_id)
    if stored is None:
        return corrupt()
    try:
        spec = decode_spec(stored)
        requirements = requirements_of(spec, command.caller, live.gates.tags())
    except (Problem, msgspec.MsgspecError):
        return corrupt()
    no_room = held_out(live, requirements, 1, len(stored), 1)
    if no_room is not None:
        no_room.pointer = None  # there is no body
        return no_room
    old = Job.unpack(job_id, finished.record)
    waits = Waits([])
    if old.attempt == 0:
        found = redrive_waits(live, spec, ended, forced=command.force)
        if isinstance(found, Problem):
            return found
        waits = found
    entry = live.classes.acquire(requirements, effects)
    job = Job(
        job_id,
        ended,
        old.priority,
        entry.class_id,
        old.owner_id,
        live.classes.lines.place(entry.line, old.priority),
        old.timeout_ms,
        old.retry_delay_ms,
        old.retry_backoff_centi,
        old.retries_max,
        attempt=old.attempt,
        epoch=old.epoch,
        outcome=old.outcome,
        stops=old.stops,
        due_ms=now_ms,
        has_checkpoint=old.has_checkpoint and ended is not Status.COMPLETED,
        has_webhook=old.has_webhook,
        spec_bytes=len(stored),
        has_retention=old.has_retention,
    )
    entry.line.spec_bytes += job.spec_bytes
    event = Event.REDRIVE
    if waits.keys:
        event, job.order = Event.AWAIT, live.stamp(now_ms)
    job.move(event)
    live.stats.redriven(job.status)
    live.fresh().pop(job_id, None)
    handle = live.jobs.add(job_id, job.pack())
    trail = live.trail(now_ms, None)
    trail.error, trail.code = finished.error, finished.code
    live.fresh_errors[job_id] = trail.error, trail.code
    effects.append(JobRedriven(job_id, event, ended, job.pack(), trail))
    if log_bytes < live.config.log_bytes_max:
        why = f": {finished.error[:1_000]}" if finished.error else ""
        line = f"[headrace: {ended.name.lower()}{why}; run again for {command.caller.user}]\n"
        effects.append(LogAppended(job_id, live.stamp(now_ms), line.encode()))
    live.enter(handle, job, entry)
    if waits.keys:
        effects.append(WaitsStored(job_id, Waits([*waits.keys], waits.any_end, waits.entry_point)))
        live.awaiting.add(job_id, live.owner_names[job.owner_id][0], waits)
    return job.status


def redrive_waits(live: Live, spec: Spec, ended: Status, *, forced: bool) -> Waits | Problem:
    """Return what a job that never ran has to wait for; by force, for no other job."""
    waits = Waits([], spec.after_any_end, spec.entry_point)
    for text in [] if forced else dict.fromkeys(spec.after):
        key = bytes.fromhex(text.replace("-", ""))
        if live.jobs.find(key) >= 0:
            waits.keys.append(key)
            continue
        finished = live.finished(key)
        if finished is None:
            how = "is gone"
        elif finished.status is Status.COMPLETED or waits.any_end:
            continue
        else:
            how = f"ended as {finished.status.name.lower()}"
        return Problem(
            ProblemCode.JOB_STATE_CONFLICT,
            f"it runs after job {text}, which {how}: retry that first, or this one with force=1",
            extra={"job_status": ended.name.lower()},
        )
    module = module_key(spec.tenant, bytes.fromhex(spec.wasm_sha256))
    if module and not has_module(live, module):
        waits.keys.append(module)
    return waits
