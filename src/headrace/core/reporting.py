"""The end of an attempt, as its worker reports it.

A report counts while its attempt is current, also after its lease ran out. The same report twice
gets the same answer; any other report on a closed attempt changes nothing.

Completions that need no thought are ended together by `complete`; `report` takes all others.
"""

from typing import Final

from headrace.core import expiring
from headrace.core.announcing import completed
from headrace.core.commands import Ack, Completed, Completions, Outcome, Report
from headrace.core.effects import (
    CheckpointStored,
    Effect,
    JobsCompleted,
    LogAppended,
    ProgressStored,
    ids_split,
)
from headrace.core.job import STATUSES, TERMINAL, Event, Job, Status
from headrace.core.live import ArchiveFault, Live, corrupt, stale
from headrace.core.retry import retry_delay_ms
from headrace.core.tokens import TOKEN_CHARS, token_parse, tokens_split
from headrace.core.workers import Lease
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

# A member looked up in its class costs as much as a small call; these are on every report's way.
FAILED: Final = Outcome.FAILED
COMPLETED: Final = Status.COMPLETED
RETRY: Final = Event.RETRY
SNOOZE: Final = Event.SNOOZE
EVENT_OF: Final = {
    Outcome.COMPLETED: Event.COMPLETE,
    Outcome.TIMEOUT: Event.TIME_OUT,
    Outcome.CANCELLED: Event.CANCELED,
    Outcome.SUSPENDED: Event.CHECKPOINT,
    Outcome.RELEASED: Event.RELEASE,
    Outcome.SNOOZED: Event.SNOOZE,
}
"""FAILED is RETRY or FAIL, as the tries left say."""
PLANNED: Final = frozenset({Outcome.SUSPENDED, Outcome.RELEASED, Outcome.SNOOZED})


def reports(
    live: Live,
    now_ms: int,
    told: list[Report | Completions],
    effects: list[Effect],
    tenant: str = "",
) -> list[Ack | Completed]:
    """Take reports in their order; return what is answered.

    With a tenant, leases of the jobs of others are as ones that never were.
    """
    acks: list[Ack | Completed] = []
    for each in told:
        if isinstance(each, Completions):
            complete(live, now_ms, each, effects, acks, tenant)
        else:
            acks.append(report(live, now_ms, each, effects, tenant))
    return acks


def leases_reported(told: list[Report | Completions]) -> set[str]:
    leases: set[str] = set()
    for each in told:
        leases.update(tokens_split(each.leases) if isinstance(each, Completions) else (each.lease,))
    return leases


def complete(
    live: Live,
    now_ms: int,
    told: Completions,
    effects: list[Effect],
    acks: list[Ack | Completed],
    tenant: str = "",
) -> None:
    """End attempts that came to their good end; those that need a closer look get `report`."""
    wall_ms = live.wall_ms(now_ms)
    own = live.classes.of_tenant(tenant) if tenant else None
    at = 0
    while at < len(told):
        done = live.leases.complete(
            told.leases, at, Event.COMPLETE, Outcome.COMPLETED, now_ms, wall_ms, own
        )
        end = at + done.count
        if end == at:
            acks.append(report(live, now_ms, told.report(at), effects, tenant))
            at += 1
            continue
        whole = done.count == len(told)
        effect = JobsCompleted(
            done.job_ids,
            done.records,
            wall_ms,
            done.worker,
            done.started_at_ms,
            told.bodies if whole else told.bodies[at:end],
        )
        leases = told.leases if whole else told.leases[at * TOKEN_CHARS : end * TOKEN_CHARS]
        acks.append(Completed(leases))
        effects.append(effect)
        live.fresh_completed.append(effect)
        if done.with_webhook or live.hooks.wanted:
            completed(live, now_ms, effect, effects)
        if done.with_retention:
            expiring.jobs_completed(live, effect, effects)
        if live.awaiting.waiting:
            for job_id in ids_split(done.job_ids):
                live.awaiting.end(job_id, Status.COMPLETED)
        for status, count in done.by_status.items():
            live.stats.moved(STATUSES[status], COMPLETED, count)
        for granted_ms, count in done.by_granted_ms.items():
            live.stats.ran(now_ms - granted_ms, count)
            live.runs.add_alike(now_ms, now_ms - granted_ms, count)
        live.workers.holds(done.worker, -done.count)
        entry_of = live.classes.entry
        bytes_of = done.bytes_by_class.get
        for class_id, count in done.by_class.items():  # many, where tenants take turns
            entry = entry_of(class_id)
            live.release(entry, count)
            spec_bytes = bytes_of(class_id, 0)
            if entry.jobs == count:
                live.leave_class(entry, count, spec_bytes, effects)
            else:
                entry.jobs -= count
                entry.queue.jobs -= count
                entry.line.jobs -= count
                entry.line.spec_bytes -= spec_bytes
        at = end


def report(live: Live, now_ms: int, told: Report, effects: list[Effect], tenant: str = "") -> Ack:
    lease = live.leases.named(told.lease)
    if lease is not None:
        if tenant and not live.is_of(tenant, live.load(lease.handle)):
            return unknown(told)
        status = close(live, now_ms, lease.handle, told, effects, lease)
        return Ack(told.lease, status)
    token = token_parse(live.tokens, told.lease)
    if token is None:
        return unknown(told)
    handle = live.jobs.find(token.job_id)
    if handle >= 0:
        job = live.load(handle)
    else:
        try:
            finished = live.finished(token.job_id)
        except ArchiveFault:
            return unknown(told) if tenant else Ack(told.lease, problem=corrupt())
        if finished is None:  # nobody can say whose it was
            return (
                unknown(told)
                if tenant
                else Ack(told.lease, problem=stale("the job's record is gone"))
            )
        job = Job.unpack(token.job_id, finished.record)
    if not live.is_of(tenant, job):
        return unknown(told)
    if (token.attempt, token.epoch) != (job.attempt, job.epoch):
        return Ack(told.lease, problem=stale("a later attempt has begun"))
    if job.attempt_open and handle >= 0:
        # The lease ran out, and nobody else has the job: the work is not lost.
        return Ack(told.lease, close(live, now_ms, handle, told, effects, None))
    if job.outcome == told.outcome:
        return Ack(told.lease, job.status)
    if job.outcome == 0:
        return Ack(told.lease, problem=stale("the server ended this attempt"))
    return Ack(
        told.lease,
        problem=Problem(
            ProblemCode.LEASE_ALREADY_REPORTED,
            f"this attempt was reported as {Outcome(job.outcome).name.lower()} before",
        ),
    )


def unknown(told: Report) -> Ack:
    return Ack(
        told.lease,
        problem=Problem(ProblemCode.LEASE_UNKNOWN, "this server never gave such a lease"),
    )


def close(
    live: Live,
    now_ms: int,
    handle: int,
    report: Report,
    effects: list[Effect],
    lease: Lease | None,
) -> Status:
    """End the current attempt as its worker reports it. Return the job's status after it."""
    job = live.load(handle)
    if lease is not None:
        save_progress(live, now_ms, lease, effects)
        live.drop_lease(lease, job)
    else:
        live.leave(handle, job, effects)
    outcome = report.outcome
    job.close(outcome)
    if outcome in PLANNED:
        job.stops += 1
    if report.checkpoint is not None:
        job.has_checkpoint = True
        effects.append(CheckpointStored(job.job_id, report.checkpoint))
    event = failed(job, report) if outcome is FAILED else EVENT_OF[outcome]
    if event is RETRY:
        delay_ms = report.retry_delay_ms
        defer(live, now_ms, job, retry_delay_ms(job) if delay_ms is None else delay_ms)
        live.stats.retried_total += 1
    elif event is SNOOZE:
        defer(live, now_ms, job, report.retry_delay_ms or 0)
    live.move(job, event)
    target = job.status
    if target in TERMINAL:
        live.finish(now_ms, handle, job, event, effects, lease, report, moved=True)
    else:
        if outcome is FAILED:
            attempt_log(live, now_ms, job, report.error, lease, effects)
        trail = live.trail(now_ms, lease)
        trail.error, trail.code = report.error, report.code
        live.store_change(now_ms, handle, job, event, trail, effects)
        live.enter(handle, job, live.classes.entry(job.class_id))
    return target


def failed(job: Job, report: Report) -> Event:
    """Count a failure; return what it leads to."""
    job.failures += 1
    if job.status is Status.CANCELING:
        return Event.CANCELED
    last = report.permanent or job.failures > job.retries_max
    return Event.FAIL if last else Event.RETRY


def defer(live: Live, now_ms: int, job: Job, delay_ms: int) -> None:
    """Set when a job that becomes SCHEDULED is due."""
    job.due_ms = now_ms + delay_ms
    job.due_is_wall = False
    job.order = live.stamp(now_ms)


def save_progress(live: Live, now_ms: int, lease: Lease, effects: list[Effect]) -> None:
    """Store what the worker said last, if it is not."""
    if not lease.unsaved:
        return
    if lease.noted < 0:
        lease.noted = live.archive.noted(lease.job_id)
    details = lease.details[: limits.PROGRESS_DETAILS_CHARS]
    at_ms, attempt = live.wall_ms(now_ms), lease.attempt
    effects.append(
        ProgressStored(lease.job_id, lease.noted, at_ms, attempt, lease.progress, details)
    )
    lease.noted += 1
    lease.noted_ms, lease.unsaved = now_ms, False


def attempt_log(
    live: Live, now_ms: int, job: Job, error: str, lease: Lease | None, effects: list[Effect]
) -> None:
    """Leave a line in the job's log on an attempt that ended badly and will be followed."""
    if lease is not None and lease.log_cut:
        return
    line = f"[headrace: attempt {job.attempt} ended: {error[:1_000]}]\n".encode()
    effects.append(LogAppended(job.job_id, live.stamp(now_ms), line))
