"""What happens when time passes: timers of polls, leases, schedules and deadlines."""

from typing import Final

from headrace.core.awaiting import tell_ended
from headrace.core.commands import Outcome, PollReply, Report, Tick
from headrace.core.effects import Answered, Effect
from headrace.core.job import TERMINAL, Event, Status
from headrace.core.live import Live
from headrace.core.polling import forget_worker, unpark
from headrace.core.reporting import attempt_log, save_progress
from headrace.core.workers import Lease
from headrace.wire import limits

TICK_BATCH_MAX: Final = 1_000
"""Timers fired by one Tick; the rest are due at once, so that other commands get their turn."""
TOO_LATE: Final = "its deadline to start passed before a worker had it"
SWEEP_MS: Final = 60_000
"""How often forgotten sessions and workers are looked for."""


def tick(live: Live, now_ms: int, command: Tick, effects: list[Effect]) -> None:
    live.wall_offset_ms = command.wall_ms - now_ms
    live.keeping.pass_time(now_ms, command.wall_ms)
    if live.gates.come_back(now_ms):
        live.room = True
    for slot in live.timers_poll.pop_due(now_ms, TICK_BATCH_MAX):
        ticket = live.parked.ticket_of(slot)
        unpark(live, ticket)
        effects.append(Answered(ticket, PollReply()))
    for lease in live.leases.pop_due(now_ms, TICK_BATCH_MAX):
        lease_due(live, now_ms, lease, effects)
    for handle in in_turn(live, live.timers_due.pop_due(now_ms, TICK_BATCH_MAX)):
        come_due(live, now_ms, handle, effects)
    for handle in in_turn(live, live.timers_due_wall.pop_due(command.wall_ms, TICK_BATCH_MAX)):
        come_due(live, now_ms, handle, effects)
    for handle in live.timers_skip_wall.pop_due(command.wall_ms, TICK_BATCH_MAX):
        job = live.load(handle)
        if job.attempt == 0 and job.can(Event.SKIP):
            live.leave(handle, job, effects)
            ending = Report("", Outcome.FAILED, error=TOO_LATE, code="start_before")
            live.finish(now_ms, handle, job, Event.SKIP, effects, report=ending)
    if live.awaiting.ended:
        tell_ended(live, now_ms, TICK_BATCH_MAX, effects)
    if now_ms >= live.sweep_at_ms:
        live.sweep_at_ms = now_ms + SWEEP_MS
        sweep(live, now_ms)


def in_turn(live: Live, handles: list[int]) -> list[int]:
    """Return jobs as they come due: those of one instant as they began to wait."""
    if len(handles) < 2:
        return handles
    jobs = [(handle, live.load(handle)) for handle in handles]
    jobs.sort(key=lambda due: (due[1].due_ms, due[1].order))
    return [handle for handle, _ in jobs]


def come_due(live: Live, now_ms: int, handle: int, effects: list[Effect]) -> None:
    job = live.load(handle)
    job.order = live.place(job)
    live.change(now_ms, handle, job, Event.DUE, effects)


def lease_due(live: Live, now_ms: int, lease: Lease, effects: list[Effect]) -> None:
    """A lease's time is up: too long run, a cancel not confirmed, or no heartbeat."""
    job = live.load(lease.handle)
    timed_out = now_ms >= lease.deadline_ms + live.config.timeout_grace_ms
    cancelled = lease.cancel_by_ms and now_ms >= lease.cancel_by_ms
    if not timed_out and not cancelled and now_ms < lease.expires_ms:
        live.lease_timer(lease)
        return
    save_progress(live, now_ms, lease, effects)
    live.drop_lease(lease, job)
    if job.status is Status.CANCELING:
        job.attempt_open = False
        event, error, code = Event.LAPSE, "", ""
    elif timed_out:
        job.attempt_open = False
        event, error, code = Event.TIME_OUT, "the job ran longer than its timeout", "timeout"
    else:
        job.crashes += 1
        live.stats.crashed_total += 1
        event = Event.LAPSE
        error, code = f"worker {lease.holder.worker!r} was not heard of for a lease term", "crash"
        if job.crashes >= live.config.crashes_max and job.status is not Status.SUSPENDING:
            job.attempt_open = False
            event, code = Event.FAIL, "poison"
            error = f"its worker crashed {job.crashes} times; the last: {error}"
    live.move(job, event)
    if job.status in TERMINAL:
        ending = Report("", Outcome.FAILED, error=error, code=code)
        live.finish(now_ms, lease.handle, job, event, effects, lease, ending, moved=True)
        return
    attempt_log(live, now_ms, job, error, lease, effects)
    trail = live.trail(now_ms, lease)
    trail.error, trail.code = error, code
    live.store_change(now_ms, lease.handle, job, event, trail, effects)
    live.enter(lease.handle, job, live.classes.entry(job.class_id))


def sweep(live: Live, now_ms: int) -> None:
    """Forget sessions and workers that have been silent for long."""
    silent_ms = now_ms - max(limits.SESSION_MS_MAX, 2 * live.config.lease_ms)
    for name, session in list(live.sessions.items()):
        if session.seen_ms < silent_ms and not len(session.held) and session.ticket < 0:
            del live.sessions[name]
    gone_ms = now_ms - max(limits.WORKER_MS_MAX, 2 * live.config.lease_ms)
    for key, worker in list(live.workers.by_name.items()):
        if worker.seen_ms < gone_ms:
            forget_worker(live, key)
