"""Planted defects: each must be found by a checker. Nothing here touches the product's files.

A mutant is a function that patches until its stack is closed; its docstring says what is wrong.
"""

import base64
import struct
from contextlib import ExitStack
from typing import Any
from unittest import mock

import msgspec

from headrace.core import (
    controlling,
    engine,
    passing,
    polling,
    reporting,
    submitting,
)
from headrace.core.classes import ClassTable
from headrace.core.commands import (
    Ack,
    Act,
    Completions,
    Outcome,
    Poll,
    Report,
    SubmitEach,
    Submitted,
    Tick,
)
from headrace.core.effects import (
    JobFinished,
    JobsCompleted,
    JobsLeased,
    JobsStored,
    LogAppended,
    ModuleStored,
    Trail,
    ids_split,
)
from headrace.core.job import READY, RECORD_BYTES, Event, Job, Status
from headrace.core.live import Live
from headrace.core.stats import EngineStats
from headrace.core.tokens import Token, token_parse
from headrace.core.workers import Lease, Session
from headrace.runtime.clock import Clock
from headrace.runtime.pump import Pump
from headrace.store import layout
from headrace.store.store import Store
from headrace.wire.problems import Problem
from sim import mutants_after as mutants_after  # plants its own
from sim import mutants_bulk as mutants_bulk  # plants its own
from sim import mutants_documents as mutants_documents  # plants its own
from sim import mutants_fairness as mutants_fairness
from sim import mutants_limits as mutants_limits
from sim import mutants_outbox as mutants_outbox
from sim import mutants_restoring as mutants_restoring
from sim import mutants_retention as mutants_retention
from sim import mutants_retry as mutants_retry  # as does this
from sim import mutants_workers as mutants_workers  # plants its own
from sim.model_job import ids_of
from sim.planting import MUTANTS as MUTANTS
from sim.planting import lossy, planted, put, translate

# Durability -------------------------------------------------------------------------------------


@planted
def ack_before_commit(stack: ExitStack) -> None:
    """Replies leave when their batch is handed to the writer."""

    def commit(self: Pump, now_ms: int) -> None:
        old(self, now_ms)
        if self._in_flight is not None:
            batch, applied, effects = self._in_flight
            self._in_flight = (batch, [], effects)
            self._release(applied, [])

    old = put(stack, Pump, "_commit", commit)


@planted
def grant_before_commit(stack: ExitStack) -> None:
    """Workers are told of their jobs before the leases are on disk; other replies wait."""

    def commit(self: Pump, now_ms: int) -> None:
        old(self, now_ms)
        if self._in_flight is not None:
            batch, applied, effects = self._in_flight
            polls = [asked for asked in applied if type(asked.command) is Poll]
            rest = [asked for asked in applied if type(asked.command) is not Poll]
            self._in_flight = (batch, rest, effects)
            self._release(polls, [])

    old = put(stack, Pump, "_commit", commit)


@planted
def explains_before_commit(stack: ExitStack) -> None:
    """Why a job waits is told at once, also while something done to it is on its way to disk."""

    def is_durable(self: Pump, job_id: bytes) -> bool:
        return self.is_live(job_id)

    put(stack, Pump, "_is_durable", is_durable)


@planted
def reads_do_not_wait(stack: ExitStack) -> None:
    """A reply without effects of its own leaves while what it saw is still being written."""

    def apply_inbox(self: Pump, now_ms: int) -> None:
        before = len(self._effects)
        seen = len(self._applied)
        old(self, now_ms)
        if len(self._effects) == before and self._in_flight is not None:
            applied, self._applied = self._applied[seen:], self._applied[:seen]
            self._release(applied, [])

    old = put(stack, Pump, "_apply_inbox", apply_inbox)


@planted
def full_disk_taken_for_success(stack: ExitStack) -> None:
    """A batch that found no space is dropped, and answered as done."""

    def written(self: Pump, batch: Any, _error: BaseException | None) -> None:
        old(self, batch, None)

    old = put(stack, Pump, "_on_written", written)


@planted
def key_in_next_commit(stack: ExitStack) -> None:
    """An idempotency key is written one commit after its job."""
    later: list[tuple[bytes, bytes, bytes]] = []

    def stored(rows: Any, effect: JobsStored) -> None:
        old(rows, msgspec.structs.replace(effect, keys=[]))
        ids = ids_of(effect.job_ids)
        later.extend((key, ids[at], request) for at, key, request in effect.keys)

    def stage(self: Store, effects: Any, at_ms: int) -> Any:
        keys, later[:] = later[:], []
        batch = old_stage(self, effects, at_ms)
        for key, job_id, request in keys:
            if not batch.empty:
                batch.changes.put(layout.KEYS, key, layout.key_pack(job_id, request))
        return batch

    old = translate(stack, JobsStored, stored)
    old_stage = put(stack, Store, "stage", stage)


@planted
def attempt_not_stored(stack: ExitStack) -> None:
    """The number of the attempt is counted in memory only."""

    def leased(rows: Any, effect: JobsLeased) -> None:
        records = bytearray(effect.records)
        for at in range(0, len(records), RECORD_BYTES):
            attempt = layout.record_attempt(effect.records[at : at + RECORD_BYTES]) - 1
            records[at + 16 : at + 20] = attempt.to_bytes(4, "little")
        old(rows, msgspec.structs.replace(effect, records=bytes(records)))

    old = translate(stack, JobsLeased, leased)


@planted
def epoch_not_raised(stack: ExitStack) -> None:
    """A server starts with the epoch of the one before."""

    def restore(self: Store) -> Any:
        if self._epoch:
            self._epoch -= 1
        return old(self)

    old = put(stack, Store, "restore", restore)


@planted
def finished_job_stays_live_on_disk(stack: ExitStack) -> None:
    """The row of a live job is not deleted when the job ends."""

    for ends in (JobFinished, JobsCompleted):
        lossy(stack, ends, lambda _effect, table, _key, _value: table == layout.LIVE)


@planted
def long_result_lost(stack: ExitStack) -> None:
    """A result too long for its record is not written."""

    for ends in (JobFinished, JobsCompleted):
        lossy(stack, ends, lambda _effect, table, _key, _value: table == layout.BODIES)


@planted
def last_of_many_leases_not_stored(stack: ExitStack) -> None:
    """Of jobs that are given out together, the last is not written."""

    def loses(effect: JobsLeased, table: int, key: bytes, _value: bytes | None) -> bool:
        many = len(effect.records) > RECORD_BYTES
        return many and table == layout.LIVE and key == ids_split(effect.job_ids)[-1]

    lossy(stack, JobsLeased, loses)


@planted
def results_of_many_mixed_up(stack: ExitStack) -> None:
    """Of jobs that are completed together, each has the result of the one before."""

    def complete(live: Live, now_ms: int, told: Completions, *more: Any) -> None:
        bodies = told.bodies[-1:] + told.bodies[:-1]
        old(live, now_ms, msgspec.structs.replace(told, bodies=bodies), *more)

    old = put(stack, reporting, "complete", complete)


@planted
def completion_unseen_until_committed(stack: ExitStack) -> None:
    """What was completed a moment ago is not known until it is staged."""

    def fresh(self: Live) -> Any:
        return self.fresh_finished

    put(stack, Live, "fresh", fresh)


@planted
def status_index_kept_on_delete(stack: ExitStack) -> None:
    """A deleted job stays in the index by status."""

    def deleted(rows: Any, job_id: bytes, owner_id: int, _statuses: Any, *more: Any) -> None:
        old(rows, job_id, owner_id, frozenset(), *more)

    old = put(stack, layout, "job_deleted", deleted)


@planted
def timers_not_restored(stack: ExitStack) -> None:
    """After a restart, jobs that wait for their time wait for ever."""

    def restore(self: Live, restored: Any, now_ms: int) -> Any:
        effects = old(self, restored, now_ms)
        for job_id in self.jobs.ids():
            self.timers_due.cancel(self.jobs.find(job_id))
        return effects

    old = put(stack, Live, "restore", restore)


@planted
def clock_goes_back_at_a_start(stack: ExitStack) -> None:
    """The engine's clock begins at the wall clock, wherever it was before."""

    def init(self: Clock, stall_ms: int, _start_ms: int) -> None:
        old(self, stall_ms)

    old = put(stack, Clock, "__init__", init)


@planted
def module_index_forgotten(stack: ExitStack) -> None:
    """A module is stored without the row that says that it is here."""

    lossy(stack, ModuleStored, lambda _effect, table, _key, _value: table == layout.MODULE_SIZES)


@planted
def log_pieces_overwrite(stack: ExitStack) -> None:
    """Pieces of a log that come in one millisecond have one place."""

    def appended(rows: Any, effect: LogAppended) -> None:
        position = effect.position >> 18 << 18
        old(rows, msgspec.structs.replace(effect, position=position))

    old = translate(stack, LogAppended, appended)


# Leases and reports -----------------------------------------------------------------------------


@planted
def fence_ignored(stack: ExitStack) -> None:
    """A report counts for the current attempt, whichever attempt it is of."""

    def report(live: Live, now_ms: int, told: Report, effects: Any, *more: Any) -> Ack:
        token = token_parse(live.tokens, told.lease)
        handle = -1 if token is None else live.jobs.find(token.job_id)
        if handle >= 0 and live.load(handle).attempt_open:
            lease = live.leases.of(handle)
            return Ack(told.lease, reporting.close(live, now_ms, handle, told, effects, lease))
        ack: Ack = old(live, now_ms, told, effects, *more)
        return ack

    old = put(stack, reporting, "report", report)


@planted
def forged_tokens_taken(stack: ExitStack) -> None:
    """The nonce of a token is not compared."""

    def token_parse(_tokens: Any, text: str) -> Token | None:
        try:
            raw = base64.urlsafe_b64decode(text + "==")
        except ValueError:
            return None
        return Token(*struct.unpack_from(">16sII", raw)) if len(raw) == 40 else None

    put(stack, reporting, "token_parse", token_parse)


@planted
def second_report_counts(stack: ExitStack) -> None:
    """A report does not close its attempt."""

    def close(live: Live, now_ms: int, handle: int, *more: Any) -> Any:
        job_id = live.jobs.id(handle)
        status = old(live, now_ms, handle, *more)
        handle = live.jobs.find(job_id)
        if handle >= 0:
            job = live.load(handle)
            job.attempt_open = True
            live.jobs.set(handle, job.pack())
        return status

    old = put(stack, reporting, "close", close)


@planted
def resume_keeps_attempt_open(stack: ExitStack) -> None:
    """A resumed job can still be ended by the attempt before."""

    def change(self: Live, now: int, handle: int, job: Job, event: Event, *more: Any) -> None:
        if event is Event.RESUME:
            job.attempt_open = True
        old(self, now, handle, job, event, *more)

    old = put(stack, Live, "change", change)


@planted
def renewed_lease_expires(stack: ExitStack) -> None:
    """A heartbeat does not move the end of a lease."""
    put(stack, polling, "renew", lambda *_: None)


@planted
def lease_runs_out_in_a_stall(stack: ExitStack) -> None:
    """The engine's clock goes on while the server stands still."""
    put(stack, Clock, "_skip", lambda *_: None)


@planted
def deadline_forgotten(stack: ExitStack) -> None:
    """A lease that is renewed outlives the job's timeout."""

    put(stack, Live, "lease_due_ms", lambda _self, lease: lease.expires_ms)


@planted
def crashes_off_by_one(stack: ExitStack) -> None:
    """A job is poison one crash too late."""

    def init(self: Live, config: Any, *more: Any) -> None:
        replaced = msgspec.structs.replace(config, crashes_max=config.crashes_max + 1)
        old(self, replaced, *more)

    old = put(stack, Live, "__init__", init)


@planted
def retries_off_by_one(stack: ExitStack) -> None:
    """The last retry is not made."""

    def failed(job: Job, told: Report) -> Event:
        event: Event = old(job, told)
        if event is Event.RETRY and job.failures == job.retries_max:
            return Event.FAIL
        return event

    old = put(stack, reporting, "failed", failed)


@planted
def crash_costs_a_retry(stack: ExitStack) -> None:
    """A lapsed lease is counted as a failure of the job, too."""

    def log(live: Live, now_ms: int, job: Job, error: str, lease: Any, effects: Any) -> None:
        job.failures += 1
        old(live, now_ms, job, error, lease, effects)

    old = put(stack, passing, "attempt_log", log)


@planted
def cancel_overwrites_completed(stack: ExitStack) -> None:
    """A cancel that comes after the completion wins."""

    def control(live: Live, command: Any, effects: Any) -> Any:
        finished = live.finished(command.job_id)
        if command.act is Act.CANCEL and finished and finished.status is Status.COMPLETED:
            finished = msgspec.structs.replace(finished, status=Status.CANCELLED)
            live.fresh_finished[command.job_id] = finished
            effects.append(JobFinished(command.job_id, Event.CANCEL, finished))
            return Status.CANCELLED
        return old(live, command, effects)

    old = put(stack, controlling, "control_finished", control)


@planted
def remove_takes_a_running_job(stack: ExitStack) -> None:
    """Remove cancels whatever has not ended, also in a worker's hands."""
    put(stack, controlling, "LEASED", frozenset())


@planted
def repeated_poll_gets_new_jobs(stack: ExitStack) -> None:
    """A session forgets what it was given, so that a lost answer is lost."""
    put(stack, Session, "remember", lambda *_: None)


@planted
def stranger_may_cancel(stack: ExitStack) -> None:
    """Whose job it is is not asked."""
    put(stack, Live, "may_not", lambda *_: None)


# Submits ----------------------------------------------------------------------------------------


@planted
def replay_tells_new_id(stack: ExitStack) -> None:
    """A repeated submit is told an id that no job has."""

    def told(job_ids: bytes, status: Any, replayed: bool = False, never_fits: str = "") -> Any:
        if replayed:
            job_ids = bytes(16)
        return Submitted(job_ids, status, replayed, never_fits)

    put(stack, submitting, "Submitted", told)


@planted
def alike_jobs_stored_at_one_place(stack: ExitStack) -> None:
    """On disk, jobs that are alike all stand where the first one does."""

    def take(live: Live, new: Any, first: Job, entry: Any) -> bytes:
        old(live, new, first, entry)
        return first.pack() * len(new.specs)

    old = put(stack, submitting, "submit_take", take)


@planted
def first_alike_has_the_deadline(stack: ExitStack) -> None:
    """Of jobs that are alike, only the first is skipped when it is not started in time."""

    def take(live: Live, new: Any, first: Job, entry: Any) -> bytes:
        records = old(live, new, first, entry)
        for job_id in ids_of(new.job_ids)[1:]:
            live.timers_skip_wall.cancel(live.jobs.find(job_id))
        return records

    old = put(stack, submitting, "submit_take", take)


@planted
def batch_counts_as_one(stack: ExitStack) -> None:
    """The limit of live jobs is checked for the first job of a batch only."""

    def check(live: Live, command: Any) -> Any:
        first = msgspec.structs.replace(command.jobs[0], specs=command.jobs[0].specs[:1])
        checked = old(live, msgspec.structs.replace(command, jobs=[first]))
        if isinstance(checked, list):
            checked += [live.key(new.key_digest) for new in command.jobs[1:]]
        return checked

    old = put(stack, submitting, "submit_check", check)


@planted
def refusal_of_one_is_told_to_all(stack: ExitStack) -> None:
    """Of jobs that came each by itself, one that is refused takes the others with it."""

    def each(live: Live, now_ms: int, command: SubmitEach, effects: list[Any]) -> Any:
        reply = submitting.submit(live, now_ms, command, effects)
        if isinstance(reply, Problem):
            return [reply] * sum(len(new.specs) for new in command.jobs)
        return reply

    stack.enter_context(mock.patch.dict(engine._HANDLERS, {SubmitEach: each}))


# Memory -----------------------------------------------------------------------------------------


@planted
def cancelled_job_stays_queued(stack: ExitStack) -> None:
    """A cancelled job is not taken out of the match index."""

    def leave(self: Live, handle: int, job: Job) -> None:
        if job.status in READY:
            self.stats.queue(self.classes.entry(job.class_id).requirements.queue, -1)
        else:
            old(self, handle, job)

    old = put(stack, Live, "leave", leave)


@planted
def counter_drifts(stack: ExitStack) -> None:
    """A job that times out is still counted among the live ones."""

    def moved(self: EngineStats, before: Status, after: Status, *jobs: int) -> None:
        if after is not Status.TIMEOUT:
            old(self, before, after, *jobs)

    old = put(stack, EngineStats, "moved", moved)


@planted
def capacity_leaks_on_lapse(stack: ExitStack) -> None:
    """A lease that runs out keeps its place in its queue."""

    def lease_due(live: Live, now_ms: int, lease: Lease, effects: Any) -> None:
        number = live.classes.entry(live.load(lease.handle).class_id).number
        old(live, now_ms, lease, effects)
        if lease not in live.leases and number in live.match.classes():
            live.match.lease(number)

    old = put(stack, passing, "lease_due", lease_due)


@planted
def label_ignored(stack: ExitStack) -> None:
    """Jobs go to workers that lack a label."""

    def make(self: ClassTable, class_id: int, requirements: Any) -> None:
        old(self, class_id, msgspec.structs.replace(requirements, labels=frozenset()))
        entry = self._entries[class_id]
        self._ids.pop(entry.requirements, None)
        entry.requirements = requirements
        self._ids[requirements] = class_id

    old = put(stack, ClassTable, "_make", make)


@planted
def tenant_ignored(stack: ExitStack) -> None:
    """Workers of a tenant get the jobs of every tenant."""

    def acquire(self: ClassTable, profile: Any) -> int:
        return old(self, msgspec.structs.replace(profile, tenant=""))

    def release(self: ClassTable, profile: Any) -> None:
        old_release(self, msgspec.structs.replace(profile, tenant=""))

    old = put(stack, ClassTable, "shape_acquire", acquire)
    old_release = put(stack, ClassTable, "shape_release", release)


@planted
def priority_upside_down(stack: ExitStack) -> None:
    """Jobs of low priority go first."""

    def enter(self: Live, handle: int, job: Job, entry: Any) -> None:
        old(self, handle, job, entry)
        if self.match.remove(handle):
            self.match.push(entry.number, handle, job.priority << 60 | job.order)

    old = put(stack, Live, "enter", enter)


@planted
def parked_poll_sleeps_on(stack: ExitStack) -> None:
    """A job whose time has come wakes nobody."""

    def come_due(live: Live, now_ms: int, handle: int, effects: Any) -> None:
        before = set(live.ready)
        old(live, now_ms, handle, effects)
        live.ready &= before

    old = put(stack, passing, "come_due", come_due)


@planted
def delay_follows_wall_clock(stack: ExitStack) -> None:
    """A jump of the wall clock lets relative delays pass."""

    def tick(live: Live, now_ms: int, command: Any, effects: Any) -> None:
        for handle in live.timers_due.pop_due(command.wall_ms, 1_000):
            passing.come_due(live, now_ms, handle, effects)
        old(live, now_ms, command, effects)

    old = passing.tick
    stack.enter_context(mock.patch.dict(engine._HANDLERS, {Tick: tick}))


@planted
def place_in_line_from_the_wall_clock(stack: ExitStack) -> None:
    """A scheduled job stands where the wall clock said, also ahead of the engine's clock."""

    def come_due(live: Live, now_ms: int, handle: int, effects: Any) -> None:
        live.change(now_ms, handle, live.load(handle), Event.DUE, effects)

    put(stack, passing, "come_due", come_due)


@planted
def snooze_forgotten(stack: ExitStack) -> None:
    """A snoozed job comes back at once."""

    def defer(live: Live, now_ms: int, job: Job, delay_ms: int) -> None:
        old(live, now_ms, job, 0 if job.outcome == Outcome.SNOOZED else delay_ms)

    old = put(stack, reporting, "defer", defer)


@planted
def restart_forgets_sessions(stack: ExitStack) -> None:
    """Leases come back without the session that holds them."""

    def restore_lease(self: Live, now: int, handle: int, job: Job, entry: Any, _: Trail) -> None:
        old(self, now, handle, job, entry, Trail())

    old = put(stack, Live, "restore_lease", restore_lease)
