"""The reference queue: what must be true, from commands, replies, effects and what is on disk.

Written without the engine's code: it reads records with its own layout, knows jobs one by one in a
dict, and searches by looking at each. It has two states: `jobs`, as the server sees them now, and
`durable`, as a crash would leave them. `checkers` holds what is asserted of both.
"""

from typing import Any

from msgspec.structs import replace

from headrace.core.commands import (
    Act,
    Caller,
    Cleanup,
    Command,
    Control,
    DropDocument,
    Explain,
    FindWorkers,
    NewJobs,
    OrderWorker,
    Outcome,
    Poll,
    PutDocument,
    StartBulk,
    StepBulk,
    Submit,
    SubmitEach,
    Sweep,
    Tick,
)
from headrace.core.effects import (
    Answered,
    AuditNoted,
    CheckpointStored,
    DocumentDropped,
    DocumentStored,
    Effect,
    JobChanged,
    JobDeleted,
    JobFinished,
    JobRedriven,
    JobsStored,
    LogAppended,
    ModuleStored,
    WaitsDropped,
    WaitsStored,
)
from headrace.core.job import Event, Status
from headrace.core.workers import SEQS_KEPT
from headrace.wire import limits
from headrace.wire.documents import Document, Kind
from headrace.wire.problems import Problem
from sim import (
    bulk_checkers,
    checkers,
    checkers_submits,
    checkers_waits,
    checkers_workers,
    document_checkers,
)
from sim.limits import Limits
from sim.model_job import (
    HELD,
    READY,
    Durable,
    ModelJob,
    StoredJob,
    as_known,
    each_new,
    each_stored,
    each_submitted,
    less,
    run_again,
)
from sim.outbox import Outbox
from sim.retention import Retention
from sim.said import said_by
from sim.settings import Settings
from sim.single import single_acks, single_effects, single_reports
from sim.turns import Turns
from sim.waiting import Waiting
from sim.world import World


class Model:
    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self.settings = settings
        self.sent: dict[bytes, NewJobs] = {}
        """Each job of each submit that reached the server, answered or not."""
        self.owners: dict[bytes, Caller] = {}
        self.jobs: dict[bytes, ModelJob] = {}
        """Live ones."""
        self.ready: dict[bytes, ModelJob] = {}
        self.held: dict[bytes, ModelJob] = {}
        self.waiting = Waiting(self)
        self.ended: dict[bytes, Any] = {}
        """`Finished` of each job that ended and is not deleted."""
        self.known_as: dict[bytes, bytes] = {}
        """By the id that a job was sent with: that of the earlier one with its idempotency key."""
        self.checkpoints: dict[bytes, bytes | None] = {}
        """Of the jobs that ended."""
        self.keys: dict[bytes, tuple[bytes, bytes]] = {}
        """By idempotency key: job and request digest, while the job is known."""
        self.tokens: dict[str, tuple[bytes, int]] = {}
        """Job and attempt of each token ever given out."""
        self.token_of: dict[tuple[bytes, int], str] = {}
        self.given: dict[tuple[str, int], list[str]] = {}
        """Tokens by session and seq; in the order given."""
        self.session_heard_ms: dict[str, int] = {}
        self.parked: dict[int, Poll] = {}
        self.told: dict[tuple[str, str, str], str] = {}
        """What each session of a worker was told about itself since the server started."""
        self.queue_held: dict[str, int] = {}
        self.limits = Limits(self)
        self.durable: dict[bytes, Durable] = {}
        self.outbox = Outbox(self)
        self.unheard: set[bytes] = set()
        """Jobs that ended in a commit that is on disk, of which the server has not heard yet."""
        self.modules: set[bytes] = set()
        self.durable_modules: set[bytes] = set()
        self.documents: dict[tuple[Kind, str], Document] = {}
        self.durable_documents: dict[tuple[Kind, str], Document] = {}
        self.document_version = 0
        """The highest that any document ever had; after a crash, that any had on disk."""
        self.durable_version = 0
        self.meant: dict[str, bulk_checkers.Meant] = {}
        """Acts on many jobs, by name."""
        self.audit: list[Any] = []
        """Entries of the audit log, as the server sees them now."""
        self.durable_audit: list[Any] = []
        self.durable_ms = 0
        """Engine time of the last commit."""
        self.acked: set[bytes] = set()
        """Jobs whose submit was answered."""
        self.acked_keys: dict[bytes, bytes] = {}
        self.acked_ends: dict[str, Any] = {}
        """Reports of a completion that were answered, by token."""
        self.delete_asked: set[bytes] = set()
        self.force_asked: set[bytes] = set()
        """Jobs that were to run again although they completed."""
        self.refused_ids: set[bytes] = set()
        self.delivered: dict[bytes, int] = {}
        """The highest attempt that a worker was told of, by job."""
        self.delivered_tokens: list[str] = []
        self.delivered_to: dict[str, tuple[str, str, int]] = {}
        self.latest_schedule_ms = 0
        """Of all that clients may yet send."""
        self.epoch = 0
        self.offset_ms = 0
        """Wall clock minus engine clock, as the engine was told."""
        self.last_tick_ms = 0
        self.last_tick_wall_ms = 0
        self.last_tick_at = 0
        self.began_at = 0
        """When the server last started."""
        self.retention = Retention(self)
        self.frozen: list[tuple[int, int]] = []
        """Stretches of world time."""
        self.turns = Turns(self)

    # What happens to the server ------------------------------------------------------------------

    def froze(self, start: int, end: int) -> None:
        """The server stood still, or its disk did: this time does not count against a lease."""
        if self.frozen:
            start = max(start, self.frozen[-1][1])
        if start < end:
            self.frozen.append((start, end))

    def frozen_since(self, at: int) -> int:
        total = 0
        now = self.world.now
        for start, end in reversed(self.frozen):
            if end <= at:
                break
            total += min(end, now) - max(start, at)
        return total

    def arrived(self, command: Command) -> None:
        """A command was admitted: its heartbeats count from here."""
        if type(command) is Poll:
            now = self.world.now
            for token in (*command.running, *(news.lease for news in command.progress)):
                job = self.spoken_for(command, token)
                if job is not None:
                    job.heard_at = now
        elif isinstance(command, Submit):
            for new in each_new(command.jobs):
                self.sent[new.job_ids] = replace(new, specs=[*new.specs])
                self.owners[new.job_ids] = command.caller
        elif type(command) is Control and command.act in (Act.DELETE, Act.REMOVE):
            self.delete_asked.add(command.job_id)
        elif type(command) is Control and command.force:
            self.force_asked.add(command.job_id)

    def _held_by(self, token: str) -> ModelJob | None:
        known = self.tokens.get(token)
        job = self.held.get(known[0]) if known is not None else None
        return job if job is not None and job.lease == token else None

    def is_theirs(self, poll: Poll, job_id: bytes) -> bool:
        """Say whether a poll may speak for a job: with a tenant's key for that tenant's only."""
        return poll.profile.tenant in ("", self.owners[job_id].tenant)

    def spoken_for(self, poll: Poll, token: str) -> ModelJob | None:
        """Return the job that a lease is of, if it is held and the poll may speak for it."""
        job = self._held_by(token)
        return job if job is not None and self.is_theirs(poll, job.job_id) else None

    def refused(self, command: Command) -> None:
        if isinstance(command, Submit):
            ids = {new.job_ids for new in each_new(command.jobs)}
            self.refused_ids |= ids
            checkers.refused_leaves_no_trace(self, ids)

    def applied(self, now_ms: int, command: Command, reply: Any, effects: list[Effect]) -> None:
        kind = type(command)
        self.limits.at_ms = now_ms
        self.world.note(kind.__name__, (command, reply, effects))
        effects = self.outbox.applied(command, reply, single_effects(effects))
        if isinstance(command, Submit):
            if isinstance(command, SubmitEach):
                checkers_submits.each_taken_by_itself(self, command, reply)
            else:
                checkers_submits.one_job_per_key(self, command, reply)
            if isinstance(reply, list):
                for new, told in zip(each_new(command.jobs), each_submitted(reply), strict=True):
                    if not isinstance(told, Problem) and told.replayed:
                        self.known_as[new.job_ids] = told.job_ids
                for new in each_new(command.jobs):
                    if any(key in self.known_as for key in new.after):
                        self.sent[new.job_ids] = as_known(self.sent[new.job_ids], self.known_as)
            self._take(now_ms, command, effects)
            checkers.submit_tells_status(self, reply)
        elif kind is Poll:
            self._polled(now_ms, command, reply, effects)
        else:
            if kind is Sweep or kind is Cleanup:
                self.retention.part(command, reply)
            elif kind is Tick:
                self.retention.pass_time(now_ms, command.wall_ms)
                self.last_tick_ms, self.last_tick_wall_ms = now_ms, command.wall_ms
                self.last_tick_at = self.world.now
                self.offset_ms = command.wall_ms - now_ms
            elif kind is Control:
                checkers.control_answers(self, command, reply, effects)
                self.limits.redrive_respects_quotas(command, reply)
                document_checkers.unsuspendable_stay(self, command, reply)
            elif kind is PutDocument or kind is DropDocument:
                document_checkers.document_answers(self, command, reply, effects)
            elif kind is OrderWorker:
                checkers_workers.worker_told(self, command, reply, effects)
            elif kind is FindWorkers:
                checkers_workers.workers_seen(self, command, reply, effects)
            elif kind is StartBulk:
                bulk_checkers.bulk_begins(self, command, reply)
            if kind is StepBulk:
                for cause, effect in bulk_checkers.bulk_steps(self, command, reply, effects):
                    self._take(now_ms, cause, [effect])
                bulk_checkers.bulk_stepped(self, command, reply)
            else:
                self._take(now_ms, command, effects)
            if kind is Control or kind is Explain:
                checkers.status_told_is_true(self, command, reply)
            elif kind is Sweep:
                self.retention.part_done(reply)
            elif kind is Tick:
                self.waiting.ticked()

    def settled(self, now_ms: int, effects: list[Effect]) -> None:
        self.limits.at_ms = now_ms
        self.world.note("settle", (effects,))
        self._take(now_ms, None, self.outbox.applied(None, None, single_effects(effects)))

    def wrote(self, effects: list[Effect]) -> None:
        durable = self.durable
        self.outbox.wrote(effects)
        for effect in single_effects(effects):
            kind = type(effect)
            if kind is JobChanged:
                durable[effect.job_id].record = effect.record
            elif kind is JobsStored:
                for stored in each_stored(effect):
                    durable[stored.job_id] = Durable(self.sent[stored.job_id], stored.record)
            elif kind is JobFinished:
                durable[effect.job_id].finished = effect.finished
                self.unheard.add(effect.job_id)
            elif kind is WaitsStored:
                durable[effect.job_id].waits = effect.waits.keys
            elif kind is WaitsDropped:
                durable[effect.job_id].waits = None
            elif kind is JobRedriven:
                known = durable[effect.job_id]
                known.record, known.finished = effect.record, None
                tags = self.limits.tags(self.durable_documents)
                known.new = run_again(known.new, tags)
                if effect.ended is Status.COMPLETED:
                    known.checkpoint = None
            elif kind is JobDeleted:
                del durable[effect.job_id]
            elif kind is CheckpointStored:
                durable[effect.job_id].checkpoint = effect.checkpoint
            elif kind is LogAppended:
                log = durable[effect.job_id].log
                checkers.log_in_order(effect, log)
                log.append((effect.position, effect.chunk))
            elif kind is ModuleStored:
                self.durable_modules.add(effect.key)
            elif kind is DocumentStored or kind is DocumentDropped:
                self._set(self.durable_documents, effect)
            elif kind is AuditNoted:
                self.durable_audit.append(effect.entry)

    def crashed(self) -> None:
        self.parked.clear()
        self.told.clear()
        self.unheard.clear()
        now = self.world.now
        self.frozen = [(start, min(end, now)) for start, end in self.frozen if start < now]

    def restarted(self, now_ms: int, epoch: int, store: Any) -> None:
        """Forget what was not on disk; each lease begins a new term."""
        checkers.epoch_rises(self, epoch)
        checkers.clock_never_goes_back(self, now_ms)
        self.epoch = epoch
        self.jobs, self.ready, self.held, self.ended = {}, {}, {}, {}
        self.waiting = Waiting(self)
        self.keys, self.queue_held = {}, {}
        self.modules = set(self.durable_modules)
        self.documents = dict(self.durable_documents)
        self.document_version = self.durable_version
        self.audit = list(self.durable_audit)
        kept: dict[tuple[str, int], list[str]] = {}
        for job_id in sorted(self.durable):
            known = self.durable[job_id]
            if known.new.key_digest:
                self.keys[known.new.key_digest] = (job_id, known.new.request_digest)
            if known.finished is not None:
                self.ended[job_id] = known.finished
                self.checkpoints[job_id] = known.checkpoint
                continue
            job = ModelJob(job_id, known.new, known.record)
            job.checkpoint = known.checkpoint
            self.jobs[job_id] = job
            if job.status in HELD:
                self._hold(now_ms, job)
                job.lease = self.token_of.get((job_id, job.attempt), "?")
                if job.status is Status.CANCELING:
                    job.cancel_at = self.world.now
            elif job.status in READY:
                self.ready[job_id] = job
            elif job.status is Status.INITIALIZING:
                self.waiting.jobs[job_id] = job
                job.since = self.world.now
        self.waiting.restarted()
        for key, tokens in self.given.items():
            if live := [token for token in tokens if self._held_by(token) is not None]:
                kept[key] = live
        self.given = kept
        self.session_heard_ms = {session: now_ms for session, _ in kept}
        self.last_tick_ms = 0
        self.last_tick_at = self.began_at = self.world.now
        self.last_tick_wall_ms = 0
        self.offset_ms = self.world.wall_ms() - now_ms
        self.retention.restarted(now_ms)
        self.turns = Turns(self)
        self.limits.restarted(now_ms, self.durable_ms)
        self.outbox.restarted(store)
        checkers.store_matches(self, store, whole=False)

    # Effects ------------------------------------------------------------------------------------

    def _take(self, now_ms: int, command: Command | None, effects: list[Effect]) -> None:
        for position, effect in enumerate(effects):
            kind = type(effect)
            if kind is JobChanged:
                if effect.event is Event.LEASE:
                    self._lease(now_ms, command, effect, effects, position)
                else:
                    self._changed(now_ms, command, effect, None)
            elif kind is Answered:
                self._answered(effect)
            elif kind is JobsStored:
                for stored in each_stored(effect):
                    self._stored(now_ms, stored)
            elif kind is JobFinished:
                self._finished(now_ms, command, effect, None)
            elif kind is JobRedriven:
                self._redriven(now_ms, command, effect)
            elif kind is WaitsStored:
                self.jobs[effect.job_id].untold = effect.waits.keys
            elif kind is JobDeleted:
                self._deleted(now_ms, command, effect)
            elif kind is ModuleStored:
                checkers.module_stored_once(self, effect)
                self.modules.add(effect.key)
                self.waiting.came_to_pass(effect.key, Status.COMPLETED)
            elif kind is CheckpointStored:
                self.jobs[effect.job_id].checkpoint = effect.checkpoint
            elif kind is DocumentStored or kind is DocumentDropped:
                self._set(self.documents, effect)
                of = effect.document if type(effect) is DocumentStored else effect
                self.limits.changed(now_ms, of.kind, of.name)
            elif kind is AuditNoted:
                document_checkers.audit_in_order(self, effect.entry)
                self.audit.append(effect.entry)

    def _set(
        self,
        documents: dict[tuple[Kind, str], Document],
        effect: DocumentStored | DocumentDropped,
    ) -> None:
        if type(effect) is DocumentStored:
            told = effect.document
            documents[(told.kind, told.name)] = told
            if documents is self.durable_documents:
                self.durable_version = max(self.durable_version, told.version)
            self.document_version = max(self.document_version, told.version)
        elif type(effect) is DocumentDropped:
            del documents[(effect.kind, effect.name)]

    def limits_of(self, queue: str) -> tuple[int | None, bool]:
        """Return how many jobs of a queue may be held, and whether it is paused."""
        capacity = self.settings.capacities.get(queue)
        said = said_by(self.documents.get((Kind.QUEUE, queue)))
        return said.get("capacity", capacity), said.get("paused", False)

    def order_to(self, poll: Poll) -> str:
        """Return what the worker of a poll has been told: nothing, or to drain or quit."""
        document = self.documents.get((Kind.WORKER, f"{poll.profile.tenant}\0{poll.worker}"))
        return str(said_by(document).get("order", ""))

    def _stored(self, now_ms: int, stored: StoredJob) -> None:
        new = self.sent[stored.job_id]
        job = ModelJob(stored.job_id, new, stored.record)
        checkers.stored_as_sent(self, now_ms, job, stored)
        self.world.mark(stored.record)
        self.jobs[stored.job_id] = job
        if stored.key_digest:
            self.keys[stored.key_digest] = (stored.job_id, stored.request_digest)
        if job.status in READY:
            self.turns.came(job, kept=None)
            self.ready[stored.job_id] = job
        elif job.status is Status.INITIALIZING:
            self.waiting.add(job, new.after)
        elif not job.due_is_wall:
            job.since, job.wanted_ms = self.world.now, new.delay_ms
        self.world.counts["jobs"] += 1

    def _changed(self, now_ms: int, command: Any, effect: JobChanged, report: Any) -> None:
        job = checkers.one_terminal_record(self, effect)
        was, crashes, failures = job.status, job.crashes, job.failures
        attempt, was_open, order = job.attempt, job.open, job.order
        job.read(effect.record)
        self.world.mark(effect.record)
        checkers.attempts_rise_by_one(job, attempt, effect.event)
        checkers.attempt_open_until_closed(job, was_open, effect.event, report)
        checkers.status_follows(job.job_id, was, effect.event, job.status)
        checkers.event_has_cause(self, now_ms, command, effect.event, job, was, report)
        checkers.counts_tries(self, effect.event, job, was, failures, crashes, report)
        if was in READY:
            del self.ready[job.job_id]
            self.turns.left(job, effect.event, attempt)
        elif was in HELD and job.status not in HELD:
            self._let_go(job)
        elif was is Status.INITIALIZING:
            del self.waiting.jobs[job.job_id]
        if job.status in READY:
            placed = effect.event in (Event.DUE, Event.RESUME, Event.READY)
            self.turns.came(job, kept=None if placed else order)
            self.ready[job.job_id] = job
        elif job.status is Status.SCHEDULED:
            if report is not None:
                job.since = self.world.now
                job.wanted_ms = checkers.retry_waits(job, now_ms, report)
        elif job.status is Status.CANCELING:
            job.cancel_at = self.world.now

    def _lease(
        self, now_ms: int, command: Any, effect: JobChanged, effects: list[Effect], at: int
    ) -> None:
        """A job is given out: to the poll at hand, or to the parked one answered next."""
        if type(command) is Poll:
            poll, grants = command, self._grants
            first = sum(1 for e in effects[:at] if type(e) is JobChanged and e.event is Event.LEASE)
        else:
            end = at
            while type(effects[end]) is not Answered:
                end += 1
            poll, grants = self.parked[effects[end].ticket], effects[end].reply.jobs
            first = len(grants) - (end - at)
        if first == 0:
            self._free = poll.free.vector()
            checkers.seq_gives_jobs_once(self, poll)
        job = checkers.one_terminal_record(self, effect)
        grant = grants[first]
        checkers.one_live_lease(self, job, grant)
        checkers_workers.drained_gets_nothing(self, poll)
        checkers.resources_fit(job, poll, self._free)
        checkers.queue_capacity_respected(self, job.new.requirements.queue)
        self.limits.limits_respected(now_ms, job)
        checkers.priority_order(self, job, poll.profile, self._free)
        self._free = less(self._free, job.new.requirements.amounts)
        self._changed(now_ms, command, effect, None)
        checkers.grant_as_stored(self, job, grant, poll)
        job.lease = grant.lease
        self.limits.started(now_ms, job)
        self.tokens[grant.lease] = (job.job_id, job.attempt)
        self.token_of[(job.job_id, job.attempt)] = grant.lease
        self._hold(now_ms, job)
        if poll.session and poll.seq:
            self.given.setdefault((poll.session, poll.seq), []).append(grant.lease)
        if first == len(grants) - 1 and len(grants) < poll.jobs_max:
            checkers.nothing_left_that_fits(self, poll.profile, self._free)

    def _hold(self, now_ms: int, job: ModelJob) -> None:
        job.heard_at, job.heard_ms = self.world.now, now_ms
        job.given_ms = now_ms
        job.cancel_at = 0
        self.held[job.job_id] = job
        queue = job.new.requirements.queue
        self.queue_held[queue] = self.queue_held.get(queue, 0) + 1

    def _let_go(self, job: ModelJob) -> None:
        del self.held[job.job_id]
        self.queue_held[job.new.requirements.queue] -= 1

    def _finished(self, now_ms: int, command: Any, effect: JobFinished, report: Any) -> None:
        job = checkers.one_terminal_record(self, effect)
        was, crashes, failures = job.status, job.crashes, job.failures
        attempt = job.attempt
        finished = effect.finished
        job.read(finished.record)
        self.world.mark(finished.record)
        assert job.status is finished.status
        checkers.attempts_rise_by_one(job, attempt, effect.event)
        checkers.status_follows(job.job_id, was, effect.event, job.status)
        checkers.event_has_cause(self, now_ms, command, effect.event, job, was, report)
        checkers.counts_tries(self, effect.event, job, was, failures, crashes, report)
        if was in READY:
            del self.ready[job.job_id]
            self.turns.left(job, effect.event, attempt)
        elif was in HELD:
            self._let_go(job)
        elif was is Status.INITIALIZING:
            del self.waiting.jobs[job.job_id]
        self.waiting.came_to_pass(job.job_id, finished.status)
        del self.jobs[job.job_id]
        self.ended[job.job_id] = finished
        self.checkpoints[job.job_id] = job.checkpoint
        self.world.counts["ended " + finished.status.name.lower()] += 1

    def _redriven(self, now_ms: int, command: Any, effect: JobRedriven) -> None:
        job_id = effect.job_id
        checkers_waits.redrive_has_cause(self, command, effect)
        finished = self.ended.pop(job_id)
        ended = ModelJob(job_id, self.sent[job_id], finished.record)
        new = run_again(self.sent[job_id], self.limits.tags(self.documents))
        job = ModelJob(job_id, new, effect.record)
        self.world.mark(effect.record)
        checkpoint = self.checkpoints.pop(job_id)
        job.checkpoint = None if finished.status is Status.COMPLETED else checkpoint
        checkers_waits.redriven_as_it_was(ended, job)
        self.jobs[job_id] = job
        if job.status is Status.INITIALIZING:
            self.waiting.add(job, [] if command.force else job.new.after)
        else:
            self.turns.came(job, kept=None)
            self.ready[job_id] = job
            if not job.attempt and not command.force:
                checkers_waits.nothing_to_wait_for(self, job)
        self.world.counts["redriven"] += 1

    def status_of(self, job_id: bytes) -> Status | None:
        job = self.jobs.get(job_id)
        if job is not None:
            return job.status
        finished = self.ended.get(job_id)
        return None if finished is None else finished.status

    def _deleted(self, now_ms: int, command: Command | None, effect: JobDeleted) -> None:
        if isinstance(command, Sweep | Cleanup):
            self.retention.kept_long_enough(now_ms, command, effect)
        checkers.only_asked_deletes(self, effect.job_id)
        checkers_waits.told_before_it_goes(self, effect.job_id)
        del self.ended[effect.job_id]
        digest = self.sent[effect.job_id].key_digest
        if digest and self.keys.get(digest, (b"", b""))[0] == effect.job_id:
            del self.keys[digest]

    # Polls --------------------------------------------------------------------------------------

    def _polled(self, now_ms: int, poll: Poll, reply: Any, effects: list[Effect]) -> None:
        at = 0
        acks = single_acks(reply.acks) if reply is not None else []
        reports = single_reports(poll.reports)
        if [ack.lease for ack in acks] != [report.lease for report in reports]:
            checkers.fail("each_report_answered", f"{acks} for {reports}")
        for report, ack in zip(reports, acks, strict=True):
            job = checkers.stale_lease_refused(self, poll, report, ack)
            if job is None:
                continue
            while True:
                if at == len(effects):
                    checkers.fail("report_has_effect", f"none for {report}")
                effect = effects[at]
                at += 1
                kind = type(effect)
                if kind is JobFinished:
                    self._finished(now_ms, poll, effect, report)
                    break
                if kind is JobChanged and effect.event is Event.START:
                    self._changed(now_ms, poll, effect, None)  # news come before reports
                elif kind is JobChanged:
                    self._changed(now_ms, poll, effect, report)
                    break
                elif kind is CheckpointStored:
                    self.jobs[effect.job_id].checkpoint = effect.checkpoint
                elif kind is Answered:
                    self._answered(effect)
            checkers.report_kept(self, report, ack, job, effect)
        for token in (*poll.running, *(news.lease for news in poll.progress)):
            job = self.spoken_for(poll, token)
            if job is not None:
                job.heard_ms = now_ms
        self._grants = reply.jobs if reply is not None else []
        repeated = self._repeated(now_ms, poll)
        self._take(now_ms, poll, effects[at:])
        checkers.seq_repeats(self, poll, reply, repeated)
        checkers_workers.orders_tell_truth(self, poll, reply)
        checkers_workers.what_is_lost_is_told(self, poll, reply)
        if reply is None:
            checkers_workers.each_session_is_told(self, poll)
            self.parked[poll.ticket] = poll
            if poll.jobs_max and repeated is None and not self.order_to(poll):
                checkers.nothing_left_that_fits(self, poll.profile, poll.free.vector())

    def _repeated(self, now_ms: int, poll: Poll) -> list[str] | None:
        """Return what an earlier poll of this session and seq got, as far as it is still held."""
        if not (poll.session and poll.seq):
            return None
        silent_ms = now_ms - self.session_heard_ms.get(poll.session, now_ms)
        self.session_heard_ms[poll.session] = now_ms
        if silent_ms > max(limits.SESSION_MS_MAX, 2 * self.settings.lease_ms):
            self._forget_session(poll.session)
        tokens = self.given.get((poll.session, poll.seq))
        later = sum(key[0] == poll.session and key[1] > poll.seq for key in self.given)
        if tokens is None or later >= SEQS_KEPT:
            return None
        return [token for token in tokens if self._held_by(token) is not None]

    def _forget_session(self, name: str) -> None:
        """A session that was silent for so long may have been forgotten, with what it got."""
        for key, tokens in list(self.given.items()):
            if key[0] == name and not any(map(self._held_by, tokens)):
                del self.given[key]

    def _answered(self, effect: Answered) -> None:
        poll = self.parked.pop(effect.ticket)
        checkers_workers.orders_tell_truth(self, poll, effect.reply)

    # Replies that leave -------------------------------------------------------------------------

    def left(self, command: Command, reply: Any, store: Any) -> None:
        """A reply leaves the server: from here on it is a promise."""
        kind = type(command)
        if isinstance(command, Submit):
            sent = list(each_new(command.jobs))
            if isinstance(reply, Problem):
                reply = [reply] * len(sent)
            for new, told in zip(sent, each_submitted(reply), strict=True):
                if isinstance(told, Problem):
                    self.refused_ids.add(new.job_ids)
                    checkers.refused_leaves_no_trace(self, {new.job_ids})
                    continue
                checkers.same_id_for_key(self, new, told)
                self.acked.add(told.job_ids)
                checkers.no_acked_submit_lost(self, (told.job_ids,))
        elif kind is Poll:
            acks = single_acks(reply.acks)
            for report, ack in zip(single_reports(command.reports), acks, strict=True):
                if ack.problem is None and report.outcome is Outcome.COMPLETED:
                    self.acked_ends.setdefault(report.lease, report)
            for grant in reply.jobs:
                checkers.payload_unchanged(self, grant, store)
                checkers.one_worker_per_token(self, grant, command)
                before = self.delivered.get(grant.job_id, 0)
                self.delivered[grant.job_id] = max(before, grant.attempt)
                if grant.attempt > before:
                    self.delivered_tokens.append(grant.lease)
