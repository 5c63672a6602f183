"""All live jobs of one shard, and the one way each of them changes.

Rules:
1. Every change of a job goes through `move`, so through the one table in `core.job`, and leaves
   an effect.
2. A job is in exactly one place, as its status says: the match index (READY), a due timer
   (SCHEDULED), a worker's hands (LEASED), what it waits for (INITIALIZING), or nowhere but the
   table (SUSPENDED).
   `enter` and `leave` keep it so.
3. What is finished is not kept: the archive answers for it, the `fresh_` maps for what the archive
   cannot see yet.
"""

from collections.abc import Callable, Iterator
from typing import Final, Protocol

import msgspec

from headrace._native import Held, Holder, JobTable, LeaseTable, MatchIndex, TimerIndex, take_ready
from headrace.core import expiring
from headrace.core.announcing import Hooks, reached
from headrace.core.awaiting import LOST, Awaiting
from headrace.core.classes import ClassEntry, ClassTable
from headrace.core.commands import Act, Caller, Cause, Report
from headrace.core.deliveries import Delivery
from headrace.core.documenting import DocumentTable, restore_documents
from headrace.core.effects import (
    Effect,
    Finished,
    JobChanged,
    JobFinished,
    JobsCompleted,
    OwnerStored,
    Trail,
    Waits,
    WaitsDropped,
    ids_split,
)
from headrace.core.gates import NO_QUOTA, Quota
from headrace.core.ids import ID_BYTES
from headrace.core.job import (
    LEASED,
    READY,
    RECORD_BYTES,
    TERMINAL,
    Event,
    Job,
    Status,
)
from headrace.core.resources import Amounts, Requirements, WorkerShape
from headrace.core.stats import EngineStats, Spans
from headrace.core.sweeping import Ended, Keeping
from headrace.core.tokens import tokens_of
from headrace.core.workers import KnownWorkers, Lease, ParkedPolls, Session, Told, WorkerKey
from headrace.wire import limits
from headrace.wire.documents import Document
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import Retention

LOST_OWNER: Final = ("\0", "\0")
"""Stands for an owner whose row is corrupt; no caller has this tenant."""
ROW_BYTES: Final = ID_BYTES + RECORD_BYTES
_READY: Final = bytes(READY)
STAMP_COUNTER_BITS: Final = 18
"""Of a stamp: milliseconds, then these."""


class LivePage(Protocol):
    """Some of the live jobs."""

    @property
    def rows(self) -> bytes:
        """Ids and records, one after the other."""

    def trail(self, job_id: bytes) -> Trail: ...


class Restored(Protocol):
    """What a server starts from, as `store.contract.Restored` gives it."""

    @property
    def at_ms(self) -> int: ...
    @property
    def classes(self) -> dict[int, Requirements]: ...
    @property
    def owners(self) -> dict[int, tuple[str, str]]: ...
    @property
    def documents(self) -> list[Document]: ...
    @property
    def audit_last(self) -> int: ...
    @property
    def deliveries_waiting(self) -> list[tuple[bytes, str, int]]: ...
    @property
    def delivery_last(self) -> int: ...
    @property
    def owners_next(self) -> int: ...
    @property
    def jobs_live(self) -> int: ...
    @property
    def live(self) -> Callable[[], Iterator[LivePage]]: ...
    @property
    def waits(self) -> dict[bytes, Waits]: ...


class ArchiveFault(Exception):  # noqa: N818 - a fault of the disk, told to one caller
    """A row that the engine asked for fails its checksum. Commands read before they change."""


class Archive(Protocol):
    """What left the engine's memory, as `store.contract.Archive` gives it.

    Raises: `ArchiveFault`.
    """

    def finished(self, job_id: bytes) -> Finished | None: ...
    def key(self, digest: bytes) -> tuple[bytes, bytes] | None: ...
    def has_module(self, key: bytes) -> bool: ...
    def owner_of(self, job_id: bytes) -> int | None: ...
    def spec_of(self, job_id: bytes) -> bytes | None: ...
    def log_bytes(self, job_id: bytes) -> int: ...
    def noted(self, job_id: bytes) -> int: ...
    def trail(self, job_id: bytes) -> Trail | None: ...
    def ended(
        self, start: bytes, stop: bytes, limit: int, *, types: bool
    ) -> tuple[list[Ended], bytes | None]: ...
    def ends_staged(self, start: bytes, stop: bytes) -> bool: ...
    def expired(
        self, after_key: bytes, until_ms: int, limit: int
    ) -> tuple[list[expiring.Expired], bytes | None]: ...
    def delivery_waits(self, endpoint: bytes, due_ms: int, number: int) -> bool: ...
    def delivery_over(self, endpoint: bytes, slot: int) -> Delivery | None: ...
    def deliveries_over(self, endpoint: bytes) -> int: ...


class SpecHead(msgspec.Struct):
    """Of a spec, what its end asks for."""

    webhook_url: str = ""
    retention: Retention | None = None


_spec_head: Final = msgspec.json.Decoder(SpecHead).decode


class EngineConfig(msgspec.Struct, frozen=True):
    lease_ms: int = limits.LEASE_MS_DEFAULT
    crashes_max: int = limits.CRASHES_MAX_DEFAULT
    queue_capacities: dict[str, int] = {}
    """Jobs of a queue that may be leased at once; a queue not named is unlimited. A document of
    the queue goes before it."""
    jobs_max: int = 0
    """Live jobs; 0 for no limit."""
    resources_max: Amounts | None = None
    """The largest job taken; None for no limit."""
    worker_shapes: list[WorkerShape] = []
    """Workers that there may be: they count as known when it is asked what fits."""
    refuse_never_fit: bool = False
    """Refuse jobs that nothing known could ever run, instead of a warning."""
    cancel_grace_ms: int = limits.CANCEL_GRACE_MS
    timeout_grace_ms: int = limits.TIMEOUT_GRACE_MS
    retention_ms: int | None = limits.RETENTION_MS_DEFAULT
    """How long finished jobs are kept where their type says nothing; None: for ever."""
    log_bytes_max: int = limits.LOG_BYTES_MAX
    """Of one job; what comes after is left out."""


class Live:
    """The engine's memory. Changed only by the modules of `core`, inside `Engine.apply`."""

    def __init__(self, config: EngineConfig, archive: Archive, secret: bytes, epoch: int) -> None:
        self.config = config
        self.archive = archive
        self.tokens = tokens_of(secret)
        self.epoch = epoch
        self.wall_offset_ms = 0
        """Wall clock minus the clock of `now_ms`; each Tick sets it."""
        self.jobs = JobTable(RECORD_BYTES)
        self.load = self.jobs.load
        self.match = MatchIndex()
        self.classes = ClassTable(self.match, config.queue_capacities)
        self.gates = self.classes.gates
        self.quotas: dict[str, Quota] = {}
        """Of the tenants that have one."""
        self.leases = LeaseTable(self.jobs, self.tokens)
        """Also says when each lease is due: at the end of its term, of its job's timeout and grace,
        or of the time that a cancel leaves it."""
        self.sessions: dict[str, Session] = {}
        self.workers = KnownWorkers()
        self.told: dict[WorkerKey, Told] = {}
        """Workers that get no jobs, as their documents say."""
        self.parked = ParkedPolls()
        self.awaiting = Awaiting()
        self.documents = DocumentTable()
        self.document_version = 0
        """Of the last change of any document."""
        self.audit_last = 0
        """Number of the last entry of the audit log."""
        self.keeping = Keeping(config.retention_ms)
        self.hooks = Hooks()
        self.owners: dict[tuple[str, str], int] = {}
        self.owner_names: list[tuple[str, str]] = []
        # Timers by job handle, but for polls (slot). The wall clock's are apart: it can jump.
        self.timers_due = TimerIndex()
        self.timers_due_wall = TimerIndex()
        self.timers_skip_wall = TimerIndex()
        self.timers_poll = TimerIndex()
        self.sweep_at_ms = 0
        self.stamp_last = 0
        self.ready: set[int] = set()
        """Match numbers of the classes that got a job since the last `settle`."""
        self.room = False
        """A queue or a gate may let jobs through again since the last `settle`."""
        self.never_fits: dict[int, tuple[int, str | None]] = {}
        """By class: the workers' version, and why none of them fits: empty, one does; None, it is
        not in words yet."""
        self.refusals: dict[Requirements, tuple[int, list[Cause]]] = {}
        """The same of what is not to be taken."""
        self.fresh_finished: dict[bytes, Finished | None] = {}
        self.fresh_completed: list[JobsCompleted] = []
        """Of which nobody has asked yet; who asks has them put into `fresh_finished`."""
        self.fresh_errors: dict[bytes, tuple[str, str]] = {}
        """Error and code of each job that took a step."""
        self.fresh_keys: dict[bytes, tuple[bytes, bytes]] = {}
        self.fresh_modules: set[bytes] = set()
        self.fresh_heads: dict[bytes, SpecHead] = {}
        """Of jobs that ask for something at their end."""
        self.fresh_moved: set[tuple[bytes, int, int]] = set()
        """Places that deliveries have left."""
        self.stats = EngineStats()
        self.waits = Spans()
        """From ready to leased."""
        self.runs = Spans()
        """From leased to the end, of jobs that a worker ended."""

    def move(self, job: Job, event: Event) -> None:
        """Take the transition of the table, and count it."""
        old = job.status
        job.move(event)
        self.stats.moved(old, job.status)

    def change(
        self,
        now_ms: int,
        handle: int,
        job: Job,
        event: Event,
        effects: list[Effect],
        lease: Lease | None = None,
    ) -> None:
        """Move a job that stays live, store it, and put it where its new status belongs."""
        self.move(job, event)
        trail = self.trail(now_ms, lease)
        if lease is None and job.attempt:
            trail.error, trail.code = self.last_error(job.job_id)
        self.store_change(now_ms, handle, job, event, trail, effects)
        if job.status not in LEASED:
            self.enter(handle, job, self.classes.entry(job.class_id))

    def store_change(
        self,
        now_ms: int,
        handle: int,
        job: Job,
        event: Event,
        trail: Trail,
        effects: list[Effect],
    ) -> None:
        suspended = (
            job.status is Status.SUSPENDED
            and self.hooks.wanted
            and self.load(handle).status is not Status.SUSPENDED
        )
        record = job.pack()
        self.jobs.set(handle, record)
        self.fresh_errors[job.job_id] = trail.error, trail.code
        effects.append(JobChanged(job.job_id, event, record, trail))
        if suspended:
            reached(self, now_ms, job, effects)

    def last_error(self, job_id: bytes) -> tuple[str, str]:
        """Return what a job that waits was stored with, for display."""
        fresh = self.fresh_errors.get(job_id)
        if fresh is not None:
            return fresh
        try:
            trail = self.archive.trail(job_id)
        except ArchiveFault:
            trail = None  # the row is written anew, and sound again
        return ("", "") if trail is None else (trail.error, trail.code)

    def trail(self, now_ms: int, lease: Lease | None) -> Trail:
        trail = Trail(self.wall_ms(now_ms))
        if lease is not None:
            trail.started_at_ms = lease.started_at_ms
            holder = lease.holder
            trail.worker, trail.session, trail.seq = holder.worker, holder.session, holder.seq
        return trail

    def finish(
        self,
        now_ms: int,
        handle: int,
        job: Job,
        event: Event,
        effects: list[Effect],
        lease: Lease | None = None,
        report: Report | None = None,
        *,
        moved: bool = False,
    ) -> None:
        """Move a job to its end, write its terminal record, and forget it."""
        if not moved:
            self.move(job, event)
        status = job.status
        assert status in TERMINAL
        wall_ms = now_ms + self.wall_offset_ms
        started_at_ms, worker = 0, ""
        if lease is not None:
            run_ms = now_ms - lease.granted_ms
            started_at_ms, worker = lease.started_at_ms or wall_ms - run_ms, lease.holder.worker
            self.stats.ran(run_ms)
            self.runs.add_alike(now_ms, run_ms)
        error, code, body = "", "", b""
        if report is not None:
            error, code, body = report.error, report.code, report.body
        finished = Finished(status, wall_ms, job.pack(), started_at_ms, worker, error, code, body)
        self.timers_skip_wall.cancel(handle)
        job_id = job.job_id
        self.fresh_finished[job_id] = finished
        effects.append(JobFinished(job_id, event, finished))
        if self.hooks.wanted or job.has_webhook:
            reached(self, now_ms, job, effects)
        if job.has_retention:
            expiring.job_ended(self, now_ms, job_id, effects)
        self.jobs.remove(handle)
        if self.awaiting.waiting:
            self.awaiting.end(job_id, status)
        self.leave_class(self.classes.entry(job.class_id), 1, job.spec_bytes, effects)

    def leave_class(
        self, entry: ClassEntry, jobs: int, spec_bytes: int, effects: list[Effect]
    ) -> None:
        """Count so many live jobs of a class less."""
        self.classes.release(entry, effects, jobs, spec_bytes)
        if entry.jobs == 0:  # its numbers may come again
            self.never_fits.pop(entry.class_id, None)
            self.ready.discard(entry.number)

    def enter(self, handle: int, job: Job, entry: ClassEntry) -> None:
        """Put a job that no worker holds where its status belongs."""
        self.enter_alike([handle], job, entry)

    def enter_alike(self, handles: list[int], job: Job, entry: ClassEntry) -> None:
        """Put jobs like this one, each a step behind the one before, where they belong."""
        status = job.status
        if status in READY:
            line, jobs = entry.line, len(handles)
            queue, queued = entry.requirements.queue, self.stats.queued
            self.match.push_alike(entry.number, handles, job.match_key, line.step)
            queued[queue] = queued.get(queue, 0) + jobs
            self.classes.lines.stand(line, job.priority, job.order, jobs)
            self.ready.add(entry.number)
        elif status is Status.SCHEDULED:
            timers = self.timers_due_wall if job.due_is_wall else self.timers_due
            for handle in handles:
                timers.set(handle, job.due_ms)

    def leave(self, handle: int, job: Job, effects: list[Effect]) -> None:
        """Take a job that no worker holds from where its status had put it."""
        if job.status in READY:
            self.match.remove(handle)
            self.left(self.classes.entry(job.class_id), 1)
        elif job.status is Status.SCHEDULED:
            (self.timers_due_wall if job.due_is_wall else self.timers_due).cancel(handle)
        elif job.status is Status.INITIALIZING:
            self.awaiting.drop(job.job_id, self.owner_names[job.owner_id][0])
            effects.append(WaitsDropped(job.job_id))

    def left(self, entry: ClassEntry, jobs: int) -> None:
        """Count so many jobs of a class less in the match index."""
        self.stats.queue(entry.requirements.queue, -jobs)
        self.classes.lines.leave(entry.line, jobs)

    def drop_lease(self, lease: Lease, job: Job) -> None:
        """Take a job out of its worker's hands."""
        self.leases.drop(lease)
        self.workers.holds(lease.holder.worker, -1)
        self.release(self.classes.entry(job.class_id), 1)

    def release(self, entry: ClassEntry, leases: int) -> None:
        """Give back the room that leases had in their queue and at their gates."""
        self.match.release(entry.number, leases)
        if entry.gates:
            self.room = True
        capacities = self.classes.queue_capacities
        if capacities and capacities.get(entry.requirements.queue, -1) >= 0:
            self.room = True

    def lease_timer(self, lease: Lease) -> None:
        self.leases.due_set(lease, self.lease_due_ms(lease))

    def lease_due_ms(self, lease: Lease) -> int:
        due_ms = min(lease.expires_ms, lease.deadline_ms + self.config.timeout_grace_ms)
        return min(due_ms, lease.cancel_by_ms) if lease.cancel_by_ms else due_ms

    def wall_ms(self, now_ms: int) -> int:
        """Return the wall clock at `now_ms`, as the last `Tick` told it."""
        return now_ms + self.wall_offset_ms

    def stamp(self, now_ms: int, count: int = 1) -> int:
        """Return a number above all that came before; those behind it are for the other `count`."""
        stamp = max(now_ms << STAMP_COUNTER_BITS, self.stamp_last + 1)
        self.stamp_last = stamp + count - 1
        return stamp

    def place(self, job: Job) -> int:
        """Return the place in line of a job that becomes ready."""
        return self.classes.lines.place(self.classes.entry(job.class_id).line, job.priority)

    def begins_to_wait(self, now_ms: int, job: Job) -> None:
        """Let a job that becomes ready now stand behind all of its tenant."""
        job.order, job.due_ms, job.due_is_wall = self.place(job), now_ms, False

    def key(self, digest: bytes) -> tuple[bytes, bytes] | None:
        if not digest:
            return None
        known = self.fresh_keys.get(digest) or self.archive.key(digest)
        if known is not None and self.jobs.find(known[0]) < 0 and self.finished(known[0]) is None:
            return None
        return known

    def finished(self, job_id: bytes) -> Finished | None:
        fresh = self.fresh()
        return fresh[job_id] if job_id in fresh else self.archive.finished(job_id)

    def fresh(self) -> dict[bytes, Finished | None]:
        """Return what has finished, and what was deleted (None), behind the archive's back."""
        for effect in self.fresh_completed:
            for position, job_id in enumerate(ids_split(effect.job_ids)):
                self.fresh_finished[job_id] = effect.finished(position)
        self.fresh_completed.clear()
        return self.fresh_finished

    def status_of(self, job_id: bytes) -> Status:
        handle = self.jobs.find(job_id)
        if handle >= 0:
            return self.load(handle).status
        finished = self.finished(job_id)
        assert finished is not None
        return finished.status

    def owner(self, tenant: str, user: str, effects: list[Effect]) -> int:
        owner_id = self.owners.get((tenant, user))
        if owner_id is None:
            owner_id = len(self.owner_names)
            self.owners[(tenant, user)] = owner_id
            self.owner_names.append((tenant, user))
            effects.append(OwnerStored(owner_id, tenant, user))
        return owner_id

    def quota_set(self, tenant: str, quota: Quota) -> None:
        self.quotas.pop(tenant, None)
        if quota != NO_QUOTA:
            self.quotas[tenant] = quota

    # Restart ------------------------------------------------------------------------------------

    def restore(self, restored: Restored, now_ms: int) -> list[Effect]:
        """Take up what the store holds. Each lease lives on for a full term.

        Returns the effects of tidying up. Cost: O(live jobs).
        """
        for owner_id, name in sorted(restored.owners.items()):
            self.owner_gap(owner_id)
            self.owners[name] = owner_id
            self.owner_names.append(name)
        self.keeping.begin(now_ms, self.wall_ms(now_ms), restored.at_ms)
        restore_documents(self, restored.documents)
        self.gates.begin(now_ms)
        self.audit_last = restored.audit_last
        self.hooks.restore(restored.deliveries_waiting, restored.delivery_last)
        self.owner_gap(restored.owners_next)
        self.classes.restore(restored.classes)
        numbers = {entry.class_id: entry.number for entry in self.classes.entries()}
        self.jobs.reserve(restored.jobs_live)
        held: dict[int, int] = {}
        initializing: list[bytes] = []
        for page in restored.live():
            rest = self.restore_ready(numbers, page.rows)
            for at in range(0, len(rest), ROW_BYTES):
                job_id = rest[at : at + ID_BYTES]
                record = rest[at + ID_BYTES : at + ROW_BYTES]
                job = Job.unpack(job_id, record)
                self.restore_job(now_ms, job, record, page.trail(job_id))
                if job.status in LEASED and self.classes.knows(job.class_id):
                    held[job.priority] = max(held.get(job.priority, 0), job.order)
                elif job.status is Status.INITIALIZING and self.jobs.find(job_id) >= 0:
                    initializing.append(job_id)
        self.classes.lines.begun(held)
        self.restore_waits(initializing, restored.waits)
        return self.classes.restore_done()

    def restore_ready(self, numbers: dict[int, int], rows: bytes) -> bytes:
        """Take up the jobs that wait for a worker and for nothing else; return the other rows."""
        rest, by_class, by_status, owner_last, first, last = take_ready(
            self.jobs, self.match, numbers, _READY, rows
        )
        lines = self.classes.lines
        lines.begin(first)
        for (class_id, priority), place in last.items():
            lines.go_on(self.classes.entry(class_id).line, priority, place)
        for class_id, (count, spec_bytes) in by_class.items():
            entry = self.classes.entry(class_id)
            entry.count(count, spec_bytes)
            entry.line.ready += count
            self.ready.add(entry.number)
            self.stats.queue(entry.requirements.queue, count)
        for status, count in by_status.items():
            self.stats.live[Status(status)] += count
        self.owner_gap(owner_last + 1)
        return rest

    def restore_job(self, now_ms: int, job: Job, record: bytes, trail: Trail) -> None:
        self.owner_gap(job.owner_id + 1)
        if not self.classes.knows(job.class_id):
            # The row of its class is corrupt, and reported so: this job stays as it is stored.
            self.classes.withhold(job.class_id)
            return
        entry = self.classes.entry(job.class_id)
        entry.count(1, job.spec_bytes)
        handle = self.jobs.add(job.job_id, record)
        self.stats.live[job.status] += 1
        if job.status in READY:
            self.classes.lines.begin({job.priority: job.order})
        if job.status in LEASED:
            self.classes.lines.go_on(entry.line, job.priority, job.order)
            self.restore_lease(now_ms, handle, job, entry, trail)
        else:
            self.enter(handle, job, entry)
            if job.start_before_at_ms and job.attempt == 0:
                self.timers_skip_wall.set(handle, job.start_before_at_ms)

    def restore_waits(self, initializing: list[bytes], stored: dict[bytes, Waits]) -> None:
        """Take up what jobs wait for; what has come to pass and was not told is told now."""
        awaiting = self.awaiting
        for job_id in initializing:
            tenant = self.owner_names[self.load(self.jobs.find(job_id)).owner_id][0]
            awaiting.add(job_id, tenant, stored.get(job_id) or Waits([LOST]))
        for key in [*awaiting.waiting]:
            if len(key) > ID_BYTES:
                if self.archive.has_module(key):
                    awaiting.end(key, Status.COMPLETED)
            elif self.jobs.find(key) < 0:
                try:
                    finished = self.finished(key)
                except ArchiveFault:
                    finished = None  # as one that is gone: nobody can say that it completed
                awaiting.end(key, Status.SKIPPED if finished is None else finished.status)

    def owner_gap(self, up_to: int) -> None:
        """Keep the numbers of owners whose rows are corrupt: nobody else may become them."""
        while len(self.owner_names) < up_to:
            self.owner_names.append(LOST_OWNER)

    def restore_lease(
        self, now_ms: int, handle: int, job: Job, entry: ClassEntry, trail: Trail
    ) -> None:
        self.match.lease(entry.number)
        held: Held | None = None
        if trail.session:
            session = self.sessions.setdefault(trail.session, Session(trail.session))
            session.seen_ms = now_ms
            held = session.held
        lease = Lease(
            handle,
            job.job_id,
            job.attempt,
            job.epoch,
            Holder(trail.worker, trail.session, trail.seq, held),
            now_ms,
            now_ms + self.config.lease_ms,
            now_ms + job.timeout_ms,
            self.wall_ms(now_ms) + job.timeout_ms,
            trail.started_at_ms,
        )
        if job.status is Status.CANCELING:
            lease.order = "cancel"
            lease.cancel_by_ms = now_ms + self.config.cancel_grace_ms
        elif job.status is Status.SUSPENDING:
            lease.order = "suspend"
        self.leases.add(lease, self.lease_due_ms(lease))
        self.workers.holds(trail.worker, 1)
        if trail.session and trail.seq:
            session.seq = max(session.seq, trail.seq)
            session.remember(trail.seq, self.leases.token(lease).encode())

    def due_ms(self) -> int | None:
        """Return when the next `Tick` has something to do, on the clock of `now_ms`."""
        if self.awaiting.ended:
            return 0
        candidates = [
            due
            for due in (
                self.timers_due.due_ms(),
                self.leases.due_ms(),
                self.timers_poll.due_ms(),
                self.gates.due_ms(),
            )
            if due is not None
        ]
        for wall_due in (self.timers_due_wall.due_ms(), self.timers_skip_wall.due_ms()):
            if wall_due is not None:
                candidates.append(max(0, wall_due - self.wall_offset_ms))
        return min(candidates, default=None)

    def forget_fresh(self) -> None:
        """The archive sees every effect so far."""
        self.fresh_finished.clear()
        self.fresh_completed.clear()
        self.fresh_errors.clear()
        self.fresh_keys.clear()
        self.fresh_modules.clear()
        self.fresh_heads.clear()
        self.fresh_moved.clear()

    def spec_head(self, job_id: bytes) -> SpecHead | None:
        """Return what a job asks for at its end; None if its spec is damaged."""
        fresh = self.fresh_heads.get(job_id)
        if fresh is not None:
            return fresh
        try:
            spec = self.archive.spec_of(job_id)
        except ArchiveFault:
            return None
        return None if spec is None else _spec_head(spec)

    def owner_of(self, job_id: bytes) -> int | None:
        """Return the owner of a finished job."""
        finished = self.fresh().get(job_id)
        if finished is None:
            return self.archive.owner_of(job_id)
        return Job.unpack(job_id, finished.record).owner_id

    def is_of(self, tenant: str, job: Job) -> bool:
        """Say whether a job is a tenant's, to its workers: a live one is if they may be given it.
        Nothing for a tenant is all."""
        if not tenant:
            return True
        if job.status in TERMINAL:
            return self.owner_names[job.owner_id][0] == tenant
        return job.class_id in self.classes.of_tenant(tenant)

    def may_not(self, caller: Caller, owner_id: int) -> Problem | None:
        tenant, user = self.owner_names[owner_id]
        if tenant != caller.tenant:
            return unknown_job()
        if user != caller.user and not caller.admin:
            return Problem(ProblemCode.FORBIDDEN, "the job belongs to another user of this tenant")
        return None


def corrupt() -> Problem:
    return Problem(
        ProblemCode.RECORD_CORRUPT,
        "a stored row that this needs fails its checksum; nothing was changed, other jobs go on",
    )


def unknown_job() -> Problem:
    return Problem(ProblemCode.JOB_UNKNOWN, "no job has this id, or its record was removed")


def stale(why: str) -> Problem:
    return Problem(ProblemCode.LEASE_STALE, f"{why}; drop the work, nothing was changed")


def conflict(status: Status, act: Act) -> Problem:
    word = status.name.lower()
    return Problem(
        ProblemCode.JOB_STATE_CONFLICT,
        f"a job that is {word} cannot be asked to {act.name.lower()}",
        extra={"job_status": word},
    )
