"""What must hold, each with a name. I1 to I25 are the invariants of the reliability contract.

A checker that finds something wrong calls `fail` with its name; the run ends there.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from headrace.core import invariants
from headrace.core.commands import (
    Act,
    Control,
    Explain,
    Grant,
    NewJobs,
    Outcome,
    Poll,
    Tick,
)
from headrace.core.effects import (
    JobChanged,
    JobFinished,
    LogAppended,
    ModuleStored,
)
from headrace.core.job import TERMINAL, Event, Status
from headrace.core.resources import Profile
from headrace.store import layout
from headrace.store.contract import RecordCorrupt, walk
from headrace.wire.limits import RETRY_CAP_MS
from headrace.wire.problems import Problem, ProblemCode
from sim import document_checkers
from sim.checkers_waits import nothing_to_wait_for, runs_after_what_it_waits_for, spoils
from sim.model_job import HELD, READY, ModelJob, StoredJob, each_submitted, fits
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model
    from sim.server import Server

TICK_LATE_MS: Final = 1_500
"""Beats come every 200 ms; more than this without a stall means that time is not looked at."""
_S = Status
_ALWAYS: Final = {
    Event.DUE: _S.QUEUED,
    Event.LEASE: _S.LOCKED,
    Event.START: _S.RUNNING,
    Event.COMPLETE: _S.COMPLETED,
    Event.FAIL: _S.FAILED,
    Event.TIME_OUT: _S.TIMEOUT,
    Event.SKIP: _S.SKIPPED,
    Event.READY: _S.QUEUED,
    Event.DEFER: _S.SCHEDULED,
    Event.RESUME: _S.RESUMING,
    Event.CANCELED: _S.CANCELLED,
}
_LATER: Final = {
    Event.RETRY: _S.SCHEDULED,
    Event.SNOOZE: _S.SCHEDULED,
    Event.RELEASE: _S.QUEUED,
    Event.LAPSE: _S.QUEUED,
    Event.CHECKPOINT: _S.SUSPENDED,
}
_REPORTED: Final = {
    Outcome.COMPLETED: Event.COMPLETE,
    Outcome.TIMEOUT: Event.TIME_OUT,
    Outcome.CANCELLED: Event.CANCELED,
    Outcome.SUSPENDED: Event.CHECKPOINT,
    Outcome.RELEASED: Event.RELEASE,
    Outcome.SNOOZED: Event.SNOOZE,
}
_ASKED: Final = {
    Event.CANCEL: (Act.CANCEL, Act.REMOVE),
    Event.SUSPEND: (Act.SUSPEND,),
    Event.RESUME: (Act.RESUME,),
}


# Submits (I1 to I4, I16) ------------------------------------------------------------------------


def stored_as_sent(model: "Model", now_ms: int, job: ModelJob, stored: StoredJob) -> None:
    """I2, I8: what is stored is what was sent, once, and waits where it should."""
    new = job.new
    if job.job_id in model.jobs or job.job_id in model.ended:
        fail("no_unexpected_job", f"{job.job_id.hex()} stored twice")
    known = model.keys.get(new.key_digest) if new.key_digest else None
    if known is not None:
        fail("one_job_per_key", f"{new.key_digest.hex()} has {known[0].hex()} already")
    if [stored.spec] != new.specs or stored.key_digest != new.key_digest:
        fail("payload_unchanged", f"{stored}")
    if (job.priority, job.attempt, job.failures) != (new.priority, 0, 0):
        fail("payload_unchanged", f"{new} became priority {job.priority}")
    if job.status is _S.INITIALIZING:
        right = bool(new.after) or (new.await_module and new.module_key not in model.modules)
    elif new.scheduled_at_ms > now_ms + model.offset_ms:
        right = job.status is _S.SCHEDULED and job.due_is_wall
        right = right and job.due_ms == new.scheduled_at_ms
    elif new.delay_ms:
        right = job.status is _S.SCHEDULED and not job.due_is_wall
        right = right and job.due_ms == now_ms + new.delay_ms
    else:
        right = job.status is _S.QUEUED
    if job.status is not _S.INITIALIZING:
        nothing_to_wait_for(model, job)
    if not right:
        fail("waits_as_asked", f"{new} is {job.status!r} due {job.due_ms} at {now_ms}")


def module_stored_once(model: "Model", effect: ModuleStored) -> None:
    if effect.key in model.modules:
        fail("module_stored_once", effect.key.hex())


def same_id_for_key(model: "Model", new: NewJobs, submitted: Any) -> None:
    """I4, as the client sees it: over answers, crashes included."""
    if not new.key_digest:
        return
    before = model.acked_keys.get(new.key_digest)
    if before is not None and before != submitted.job_ids and before not in model.delete_asked:
        fail("same_id_for_key", f"{new.key_digest.hex()}: {before.hex()}, then {submitted}")
    model.acked_keys[new.key_digest] = submitted.job_ids


def no_acked_submit_lost(model: "Model", job_ids: Iterable[bytes]) -> None:
    """I1"""
    for job_id in job_ids:
        if job_id not in model.durable and job_id not in model.delete_asked:
            fail("no_acked_submit_lost", job_id.hex())


def refused_leaves_no_trace(model: "Model", job_ids: Iterable[bytes]) -> None:
    """I16"""
    for job_id in job_ids:
        if job_id in model.jobs or job_id in model.ended or job_id in model.durable:
            fail("refused_leaves_no_trace", job_id.hex())


# Clients ----------------------------------------------------------------------------------------


def control_answers(model: "Model", command: Control, reply: Any, effects: list[Any]) -> None:
    """I23, in small: strangers and refusals change nothing."""
    owner = model.owners.get(command.job_id)
    caller = command.caller
    if isinstance(reply, Problem):
        if effects:
            fail("refused_leaves_no_trace", f"{command}: {effects}")
        return
    if owner is None or owner.tenant != caller.tenant:
        fail("strangers_kept_out", f"{command} of {owner} answered {reply!r}")
    if owner.user != caller.user and not caller.admin:
        fail("strangers_kept_out", f"{command} of {owner} answered {reply!r}")


def status_told_is_true(model: "Model", command: Control | Explain, reply: Any) -> None:
    """What a client is told of its job is how the job stands after its command."""
    if isinstance(reply, Problem):
        return
    told = reply if type(command) is Control else reply.status
    status = model.status_of(command.job_id)
    deleted = type(command) is Control and command.act is Act.DELETE
    if type(command) is Control and command.act is Act.REMOVE:
        deleted = told in TERMINAL
        told = told if deleted else Status.CANCELLED
    if deleted != (status is None) or (status is not None and told is not status):
        fail("status_told_is_true", f"{command}: {told!r}, it is {status!r}")


def explains_what_is_on_disk(model: "Model", command: Explain, reply: Any) -> bool:
    """Say whether what is told of a job itself is so on disk, whatever is on its way there."""
    known = model.durable.get(command.job_id)
    if known is None or known.finished is not None:
        return False
    return isinstance(reply, Problem) or reply.status is Status(known.record[1])


def submit_tells_status(model: "Model", reply: Any) -> None:
    if isinstance(reply, Problem):
        return
    for submitted in each_submitted(reply):
        if isinstance(submitted, Problem):
            continue
        if submitted.status is not model.status_of(submitted.job_ids):
            fail("status_told_is_true", f"{submitted}")


def only_asked_deletes(model: "Model", job_id: bytes) -> None:
    if job_id not in model.ended or job_id not in model.delete_asked:
        fail("no_acked_submit_lost", f"{job_id.hex()} deleted, which nobody asked for")


# Leases (I5 to I9) ------------------------------------------------------------------------------


def one_terminal_record(model: "Model", effect: JobChanged | JobFinished) -> ModelJob:
    """I5: what ended stays as it is. Returns the live job."""
    job = model.jobs.get(effect.job_id)
    if job is None:
        if effect.job_id in model.ended:
            fail("one_terminal_record", f"{effect.event!r} after {model.ended[effect.job_id]}")
        fail("no_unexpected_job", f"{effect}")
    return job


def attempts_rise_by_one(job: ModelJob, before: int, event: Event) -> None:
    """I8"""
    if job.attempt != before + (event is Event.LEASE):
        fail("attempts_rise_by_one", f"{job.job_id.hex()} {event!r}: {before} to {job.attempt}")


def attempt_open_until_closed(job: ModelJob, before: bool, event: Event, report: Any) -> None:
    """An attempt is open from its lease to its report, or to a resume, which starts anew."""
    if event is Event.LEASE:
        before = True
    elif report is not None or event is Event.RESUME:
        before = False
    if job.open != before:
        fail("attempt_open_until_closed", f"{job.job_id.hex()} {event!r}: open {job.open}")


def one_live_lease(model: "Model", job: ModelJob, grant: Grant) -> None:
    """I9: no job is given out while it is held, and no token twice."""
    if job.job_id in model.held or job.status not in READY:
        fail("one_live_lease", f"{job.job_id.hex()} is {job.status!r} and is given out")
    if grant.job_id != job.job_id:
        fail("grant_as_stored", f"{grant} for {job.job_id.hex()}")


def grant_as_stored(model: "Model", job: ModelJob, grant: Grant, poll: Poll) -> None:
    """I8: what the worker is told is what is stored; never less than told before."""
    if grant.attempt != job.attempt or grant.has_checkpoint != (job.checkpoint is not None):
        fail("grant_as_stored", f"{grant} of attempt {job.attempt}")
    if job.epoch != model.epoch:
        fail("epoch_rises", f"granted in epoch {job.epoch}, not {model.epoch}")
    if grant.attempt <= model.delivered.get(job.job_id, 0):
        fail("attempts_rise_by_one", f"{job.job_id.hex()}: {grant.attempt} delivered before")
    if not job.open:
        fail("grant_as_stored", f"{job.job_id.hex()} given out closed to {poll.worker}")


def epoch_rises(model: "Model", epoch: int) -> None:
    if epoch <= model.epoch:
        fail("epoch_rises", f"{model.epoch} to {epoch}")


def restored_store_believes_nobody(model: "Model") -> None:
    """No report counts that a worker makes on an attempt from before a restore."""
    for job in model.jobs.values():
        if job.open:
            fail("restored_store_believes_nobody", f"{job}")


def clock_never_goes_back(model: "Model", now_ms: int) -> None:
    """Stored delays, places in line and pieces of logs are on it; the last millisecond is used."""
    if now_ms <= model.durable_ms:
        fail("clock_never_goes_back", f"{model.durable_ms} to {now_ms}")


def stale_lease_refused(model: "Model", poll: Poll, report: Any, ack: Any) -> ModelJob | None:
    """I5, I7: a report counts once, and only for the current attempt. Returns its job then."""
    known = model.tokens.get(report.lease)
    if known is None:
        if ack.problem is None:
            fail("forged_lease_refused", f"{report}")
        return None
    job_id, attempt = known
    if not model.is_theirs(poll, job_id):
        if ack.problem is None or ack.problem.code is not ProblemCode.LEASE_UNKNOWN:
            fail("strangers_kept_out", f"{report} with a key of {poll.profile.tenant}: {ack}")
        return None
    job = model.jobs.get(job_id)
    finished = model.ended.get(job_id)
    if job is None and finished is None:
        if ack.problem is None:
            fail("stale_lease_refused", f"{report}: the job is gone")
        return None
    current = job or ModelJob(job_id, model.sent[job_id], finished.record)
    if current.attempt != attempt:
        if ack.problem is None:
            fail("stale_lease_refused", f"{report} of attempt {attempt}, not {current.attempt}")
        return None
    if job is not None and job.open:
        if ack.problem is not None:
            fail("current_report_accepted", f"{report}: {ack.problem.detail}")
        return job
    if current.outcome == report.outcome:
        if ack.problem is not None or ack.status is not current.status:
            fail("repeat_answered_alike", f"{report}: {ack}, the job is {current.status!r}")
        return None
    if ack.problem is None:
        fail("one_report_per_attempt", f"{report}: it was reported as {current.outcome}")
    return None


def report_kept(model: "Model", report: Any, ack: Any, job: ModelJob, effect: Any) -> None:
    """I6: the end is the one that was reported, byte for byte."""
    if effect.job_id != job.job_id:
        fail("report_has_effect", f"{report} changed {effect}")
    if ack.status is not job.status:
        fail("report_kept", f"{report} was answered {ack.status!r} and made {job.status!r}")
    if job.open or job.outcome != report.outcome:
        fail("report_kept", f"{report}: open {job.open}, outcome {job.outcome}")
    if type(effect) is JobFinished:
        finished = effect.finished
        if (finished.body, finished.error) != (report.body, report.error):
            fail("acked_completion_kept", f"{report} became {finished}")
    if report.checkpoint is not None and job.checkpoint != report.checkpoint:
        fail("report_kept", f"{report}: checkpoint {job.checkpoint!r}")


def payload_unchanged(model: "Model", grant: Grant, store: Any) -> None:
    """I8: what the worker gets is what the client sent, from disk."""
    durable = model.durable.get(grant.job_id)
    spec = store.spec(grant.job_id)
    if durable is None:
        if spec is not None:
            fail("payload_unchanged", f"{grant} has a spec and was deleted")
        return
    if [spec] != durable.new.specs:
        fail("payload_unchanged", f"{grant}: {spec!r}")
    if store.checkpoint(grant.job_id) != durable.checkpoint:
        fail("payload_unchanged", f"{grant}: checkpoint is not {durable.checkpoint!r}")


def one_worker_per_token(model: "Model", grant: Grant, poll: Poll) -> None:
    """I9, as workers see it: only a repeat of the same poll is told of the same lease."""
    told = (poll.worker, poll.session, poll.seq)
    before = model.delivered_to.setdefault(grant.lease, told)
    if before is not told and (before != told or not poll.seq or not poll.session):
        fail("one_worker_per_token", f"{told} after {before}")


def log_in_order(effect: LogAppended, log: list[tuple[int, bytes]]) -> None:
    """Pieces of a log come in the order of their positions, restarts included."""
    if log and log[-1][0] >= effect.position:
        fail("log_in_order", f"{effect} after {log[-1]}")


def seq_repeats(model: "Model", poll: Poll, reply: Any, repeated: list[str] | None) -> None:
    """A repeated poll gets the jobs that it got before, as far as it still has them."""
    if repeated is None:
        return
    got = [grant.lease for grant in reply.jobs] if reply is not None else []
    if sorted(got) != sorted(repeated):
        fail(
            "seq_repeats",
            f"{poll.session} {poll.seq}: {len(got)} jobs, and {len(repeated)} still held"
            f" of the first answer",
        )


def seq_gives_jobs_once(model: "Model", poll: Poll) -> None:
    if poll.session and poll.seq and model.given.get((poll.session, poll.seq)):
        fail("seq_gives_jobs_once", f"{poll.session} {poll.seq} has got jobs before")


def event_has_cause(
    model: "Model",
    now_ms: int,
    command: Any,
    event: Event,
    job: ModelJob,
    was: Status,
    report: Any,
) -> None:
    """Each event happens because of something, and not before its time."""
    if report is not None:
        expected = _REPORTED.get(report.outcome)
        if expected is None:
            if was is _S.CANCELING:
                expected = Event.CANCELED
            else:
                last = report.permanent or job.failures > job.new.retries_max
                expected = Event.FAIL if last else Event.RETRY
        if event is not expected:
            fail("attempts_bounded", f"{report} of {job.new}: {event!r}, not {expected!r}")
    elif event in _ASKED:
        if type(command) is not Control or command.act not in _ASKED[event]:
            fail("event_has_cause", f"{event!r} by {command}")
        if command.job_id != job.job_id:
            fail("event_has_cause", f"{event!r} by {command}")
    elif event is Event.DUE and type(command) is Control:
        if command.act is not Act.RETRY or command.job_id != job.job_id:
            fail("event_has_cause", f"{event!r} by {command}")
    elif event is Event.START:
        if not any(
            news.started and model.spoken_for(command, news.lease) is job
            for news in command.progress
        ):
            fail("event_has_cause", f"{event!r} by {command}")
    elif event is Event.LEASE:
        if command is not None and type(command) is not Poll:
            fail("event_has_cause", f"{event!r} by {command}")
    elif type(command) is not Tick:
        fail("event_has_cause", f"{event!r} by {command}")
    elif event is Event.DUE:
        clock_jump_neutral(model, now_ms, command, job)
    elif was is _S.INITIALIZING and event is not Event.SKIP:
        runs_after_what_it_waits_for(job, event)
    elif was is _S.INITIALIZING and any(map(spoils, job.waits.values())) and not job.new.any_end:
        pass
    elif event is Event.SKIP:
        if (
            job.attempt
            or not job.new.start_before_at_ms
            or command.wall_ms < job.new.start_before_at_ms
        ):
            fail("clock_jump_neutral", f"{job.job_id.hex()} skipped at {command.wall_ms}")
    else:
        no_early_expiry(model, now_ms, event, job, was)


def no_early_expiry(model: "Model", now_ms: int, event: Event, job: ModelJob, was: Status) -> None:
    """I17: a lease ends by itself only after a whole term without a heartbeat.

    Measured in the world's time; what the server or its disk stood still does not count (C14).
    """
    settings = model.settings
    late_ms = job.new.timeout_ms + settings.timeout_grace_ms
    timed_out = now_ms >= job.given_ms + late_ms
    if event is Event.TIME_OUT:
        if not timed_out:
            fail("no_early_expiry", f"{job.job_id.hex()} timed out {now_ms - job.given_ms} ms in")
        return
    if event not in (Event.LAPSE, Event.FAIL):
        fail("event_has_cause", f"{event!r} by time")
    silent_ms = model.world.now - job.heard_at - model.frozen_since(job.heard_at)
    silent = silent_ms >= settings.lease_ms - 1
    cancelled_ms = model.world.now - job.cancel_at
    if was is _S.CANCELING:
        if not (silent or timed_out or cancelled_ms >= settings.cancel_grace_ms - 1):
            fail("no_early_expiry", f"{job.job_id.hex()} cancelled {cancelled_ms} ms in")
    elif not silent:
        fail("no_early_expiry", f"{job.job_id.hex()} lapsed after {silent_ms} ms of silence")
    elif timed_out:
        fail("timeout_wins", f"{job.job_id.hex()} lapsed and had timed out")
    else:
        spent = job.crashes >= settings.crashes_max and was is not _S.SUSPENDING
        if spent != (event is Event.FAIL):
            fail("attempts_bounded", f"{event!r} at crash {job.crashes} of {settings.crashes_max}")


def clock_jump_neutral(model: "Model", now_ms: int, command: Tick, job: ModelJob) -> None:
    """I18: delays follow true time, schedules the wall clock."""
    if job.due_is_wall:
        if command.wall_ms < job.new.scheduled_at_ms:
            fail("clock_jump_neutral", f"{job.new} came due at {command.wall_ms}")
        return
    waited_ms = model.world.now - job.since
    if waited_ms < job.wanted_ms or now_ms < job.due_ms:
        fail("clock_jump_neutral", f"{job.new} waited {waited_ms} of {job.wanted_ms} ms")


def retry_waits(job: ModelJob, now_ms: int, report: Any) -> int:
    """Return how long a job has to wait that goes from a worker to SCHEDULED."""
    new = job.new
    if report.outcome is Outcome.SNOOZED:
        least = most = report.retry_delay_ms or 0
    elif report.retry_delay_ms is not None:
        least = most = report.retry_delay_ms
    else:
        grown = new.retry_delay_ms * (new.retry_backoff_centi / 100) ** (job.failures - 1)
        least = int(min(grown, max(new.retry_delay_ms, RETRY_CAP_MS)))
        most = least * 11 // 10 + 1
    if not least <= job.due_ms - now_ms <= most:
        fail("retry_waits", f"{job.due_ms - now_ms} ms, not {least} to {most}")
    return int(least)


def status_follows(job_id: bytes, was: Status, event: Event, status: Status) -> None:
    """The transition table, said another way."""
    expected = _ALWAYS.get(event)
    if expected is None:
        if event is Event.CANCEL:
            expected = _S.CANCELING if was in HELD else _S.CANCELLED
        elif event is Event.SUSPEND:
            expected = _S.SUSPENDING if was in HELD else _S.SUSPENDED
        elif was is _S.CANCELING:
            expected = _S.CANCELLED
        elif was in (_S.SUSPENDING, _S.SUSPENDED):
            expected = _S.SUSPENDED
        else:
            expected = _LATER[event]
    if status is not expected:
        fail("status_follows", f"{job_id.hex()}: {event!r} in {was!r} made {status!r}")


def counts_tries(
    model: "Model",
    event: Event,
    job: ModelJob,
    was: Status,
    failures: int,
    crashes: int,
    report: Any,
) -> None:
    """I14: failures and crashes are counted one by one, and apart."""
    failed = report is not None and report.outcome is Outcome.FAILED
    crashed = report is None and event in (Event.LAPSE, Event.FAIL) and was is not _S.CANCELING
    if job.failures != failures + failed or job.crashes != crashes + crashed:
        fail(
            "attempts_bounded",
            f"{event!r}: failures {failures} to {job.failures}, crashes {crashes} to {job.crashes}",
        )


# Choice (I24) -----------------------------------------------------------------------------------


def _has_room(model: "Model", queue: str) -> bool:
    capacity, paused = model.limits_of(queue)
    if paused:
        return False
    return capacity is None or model.queue_held.get(queue, 0) < capacity


def _fits_now(
    model: "Model", job: ModelJob, profile: Profile, free: tuple[int, int, int, int]
) -> bool:
    need = job.new.requirements
    return fits(need, profile, free) and _has_room(model, need.queue) and model.limits.lets(need)


def resources_fit(job: ModelJob, poll: Poll, free: tuple[int, int, int, int]) -> None:
    if not fits(job.new.requirements, poll.profile, free):
        fail("resources_fit", f"{job.new.requirements} given to {poll.profile} with {free}")


def queue_capacity_respected(model: "Model", queue: str) -> None:
    if not _has_room(model, queue):
        fail("queue_capacity_respected", f"{queue}: {model.queue_held.get(queue, 0)} held")


def priority_order(
    model: "Model", job: ModelJob, profile: Profile, free: tuple[int, int, int, int]
) -> None:
    """I24: no other job that fits goes before the one given out."""
    key = job.key
    for other in model.ready.values():
        if other.key < key and _fits_now(model, other, profile, free):
            fail("priority_order", f"{job.new} given out before {other.new}")


def nothing_left_that_fits(
    model: "Model", profile: Profile, free: tuple[int, int, int, int]
) -> None:
    """A worker that asks for more gets all that fits."""
    for other in model.ready.values():
        if _fits_now(model, other, profile, free):
            fail("nothing_left_that_fits", f"{other.new} stays behind")


# Looked at now and then -------------------------------------------------------------------------


def look_around(model: "Model", server: "Server") -> None:
    """Everything that costs a walk over the jobs. I10, I11: places, indexes and counters are what
    counting gives."""
    for check in invariants.CHECKS:
        try:
            check(server.engine.live)
        except AssertionError as error:
            fail(check.__name__, f"{error}")
    memory_is_effects(model, server)
    nothing_invisible_too_long(model, server)
    pump = server.pump
    idle = pump._in_flight is None and not pump._inbox and not pump._effects
    live = server.engine.live
    if idle and not live.ready and not live.room and not server.failing:
        parked_polls_served(model)


def parked_polls_served(model: "Model") -> None:
    """After a batch nobody waits for what is there."""
    model.limits.at_ms = model.last_tick_ms
    for poll in model.parked.values():
        if poll.jobs_max and not model.order_to(poll):
            nothing_left_that_fits(model, poll.profile, poll.free.vector())


def memory_is_effects(model: "Model", server: "Server") -> None:
    """Whatever is in memory was an effect, so a restart finds it again."""
    jobs = server.engine.live.jobs
    if len(jobs) != len(model.jobs):
        fail("memory_is_effects", f"{len(jobs)} jobs in memory, {len(model.jobs)} by effects")
    for job_id, job in model.jobs.items():
        handle = jobs.find(job_id)
        if handle < 0 or jobs.record(handle) != job.record:
            fail("memory_is_effects", f"{job_id.hex()} differs")
    if len(model.parked) != len(server.engine.live.parked):
        fail("memory_is_effects", "parked polls differ")
    document_checkers.documents_kept(server.engine.live.documents, model.documents)
    model.outbox.counted(server.engine.live.hooks)


def nothing_invisible_too_long(model: "Model", server: "Server") -> None:
    """I12: at each tick, no lease is over its term and no wait over its time."""
    now_ms, wall_ms = model.last_tick_ms, model.last_tick_wall_ms
    settings = model.settings
    if "TICK_BATCH_MAX" in settings.small:  # what is left over comes with the next ticks
        now_ms, wall_ms = now_ms - TICK_LATE_MS, 0
        if model.world.now - model.began_at <= TICK_LATE_MS:
            return  # a start brings the clock up to date, and all at once is due
    seen_at = max(model.last_tick_at, server.loop.stalled_until)
    if model.world.now - seen_at > TICK_LATE_MS:
        fail("nothing_invisible_too_long", "time is not looked at")
    for job in model.held.values():
        over = job.heard_ms + settings.lease_ms <= now_ms
        over |= job.given_ms + job.new.timeout_ms + settings.timeout_grace_ms <= now_ms
        if over:
            fail("nothing_invisible_too_long", f"{job.job_id.hex()} is held beyond its term")
    for job in model.waiting.jobs.values():
        over = all(job.waits.values()) or (
            not job.new.any_end and any(map(spoils, job.waits.values()))
        )
        over &= model.world.now - max(job.since, model.began_at) > TICK_LATE_MS
        if over and "TICK_BATCH_MAX" not in settings.small:
            fail("nobody_waits_for_ever", f"{job.new} waits for {job.waits}")
    for job in model.jobs.values():
        if job.status is _S.SCHEDULED and job.due_ms <= (wall_ms if job.due_is_wall else now_ms):
            fail("nothing_invisible_too_long", f"{job.job_id.hex()} waits beyond its time")


# On disk (I1, I2, I6, I10, I19) -----------------------------------------------------------------


def store_matches(model: "Model", store: Any, *, whole: bool) -> None:
    """What is on disk is what was written: each row, both directions; sealed (I19)."""
    rows = (
        {
            table: {key: layout.unseal(table, key, value) for key, value in walk(store._kv, table)}
            for table in layout.Table
        }
        if whole
        else {}
    )
    live = rows.get(layout.LIVE) or {
        key: layout.unseal(layout.LIVE, key, value) for key, value in walk(store._kv, layout.LIVE)
    }
    durable = model.durable
    expected = {i: d.record for i, d in durable.items() if d.finished is None}
    if {i: layout.live_unpack(payload)[0] for i, payload in live.items()} != expected:
        fail("store_matches", f"{len(live)} live jobs on disk, {len(expected)} written")
    ended = {key for key, _ in walk(store._kv, layout.DONE)}
    if ended != durable.keys() - expected.keys():
        fail("store_matches", f"{len(ended)} ends on disk, {len(durable) - len(expected)} written")
    no_acked_submit_lost(model, model.acked)
    document_checkers.documents_kept(store.documents, model.durable_documents)
    model.outbox.is_on_disk(store)
    if store.audit(None, len(model.durable_audit) + 1) != model.durable_audit[::-1]:
        fail("audit_is_whole", f"{len(model.durable_audit)} entries written")
    if not durable.keys() <= model.sent.keys():
        fail("no_unexpected_job", f"{durable.keys() - model.sent.keys()}")
    if not whole:
        return
    refused_leaves_no_trace(model, model.refused_ids)
    keys = {d.new.key_digest: (i, d.new.request_digest) for i, d in durable.items()}
    keys.pop(b"", None)
    tables: dict[int, Any] = {
        layout.KEYS: {digest: b"".join(known) for digest, known in keys.items()},
        layout.CHECKPOINTS: {
            i: d.checkpoint for i, d in durable.items() if d.checkpoint is not None
        },
        layout.BY_STATUS: {
            layout.by_status_key(d.finished.status, i): b""
            for i, d in durable.items()
            if d.finished is not None
        },
    }
    for table, wanted in tables.items():
        if rows[layout.Table(table)] != wanted:
            fail("indexes_match_primary", f"table {layout.Table(table).name} on disk")
    if set(rows[layout.Table.MODULES]) != model.durable_modules:
        fail("store_matches", "table MODULES")
    if rows[layout.Table.AFTER]:
        fail("store_matches", "a job that has ended waits")
    if {key[4:] for key in rows[layout.Table.BY_OWNER]} != set(durable):
        fail("indexes_match_primary", "table BY_OWNER on disk")
    if set(rows[layout.Table.SPEC]) != set(durable):
        fail("indexes_match_primary", "table SPEC on disk")
    for job_id, known in durable.items():
        try:
            stored = store.job(job_id)
        except RecordCorrupt as error:
            fail("every_value_sound", f"{error}")
        if stored is None or [stored.spec] != known.new.specs:
            fail("payload_unchanged", job_id.hex())
        if store.logs(job_id) != known.log:
            fail("log_in_order", f"{job_id.hex()} on disk")
        if stored.finished != known.finished:
            fail("acked_completion_kept", f"{stored.finished} on disk, {known.finished} written")
