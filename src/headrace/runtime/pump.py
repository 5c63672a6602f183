"""The one ack barrier: commands in, replies out, a durable commit in between.

    ask ─▶ inbox ─▶ apply each ─▶ settle ─▶ stage ─▶ write (writer thread) ─▶ release replies
                    └── while a batch is being written, the next one gathers ──┘

Rule: no reply leaves before the effects it rests on are committed. That holds for its own
effects and for those it could see: a reply without effects waits for the batch then in flight.
If a commit fails, memory is ahead of disk, and the process must stop (`failed`); only a full
disk is waited out, since the same batch can be written again.

A commit has its price, however much is in it: two syncs, pages of every table, changes of thread.
So behind a commit the next batch stays open while each look at the sockets brings news, for twice
as long as that commit took at most. Without it, clients that send when they are answered fall into
groups that take turns, and each commit is of one of them.

One question needs no batch: why a job waits, if all that was done to this job is on disk. What else
it tells are counts of now, like those of `stats`.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol

from headrace.core.commands import (
    Caller,
    Command,
    Completions,
    Explain,
    LimitState,
    Outcome,
    Poll,
    PollReply,
    PutModule,
    Report,
    Submit,
    Tick,
    Withdraw,
)
from headrace.core.effects import (
    Answered,
    Effect,
    JobChanged,
    JobDeleted,
    JobFinished,
    JobRedriven,
    JobsCompleted,
    JobsLeased,
    LogAppended,
    Noted,
    ids_split,
)
from headrace.core.engine import Engine
from headrace.core.fitting import limit_state
from headrace.core.job import LEASED, Status
from headrace.core.resources import Amounts
from headrace.core.stats import RuntimeStats, Spans
from headrace.runtime.clock import Clock
from headrace.runtime.costs import cost_bytes
from headrace.store.contract import Position, StoreError, StoreFull
from headrace.store.store import Batch, Store
from headrace.wire.documents import Kind
from headrace.wire.limits import MIB
from headrace.wire.problems import Problem, ProblemCode

log = logging.getLogger(__name__)

PENDING_MAX: Final = 50_000
"""Commands waiting for their commit; more are refused, so that memory stays bounded."""
PENDING_BYTES_MAX: Final = 512 * MIB
"""Their payload."""
STALL_S_MAX: Final = 1.0
"""A write that takes longer stops the engine's clock, so that no lease runs out meanwhile; with
short leases, a quarter of their term does."""
BEATS_PER_STALL: Final = 5
"""How often time is looked at when nothing else happens."""
GATHER_BYTES_MAX: Final = 256 * 1024
"""A batch of more payload is closed, and the next gathers while it is written."""
GATHER_S_MIN: Final = 0.001
"""The least that the loop's clock can measure."""
GATHER_S_MAX: Final = 0.01
"""A batch stays open no longer than this, however slow the disk."""
FULL_RETRY_S: Final = 0.5
WALL_JUMP_MS: Final = 1_000
"""A wall clock that moves more than this against the monotonic one is worth a line."""

_TOUCHING: Final = (JobChanged, JobFinished, JobRedriven, LogAppended, JobDeleted, Noted)
_TOUCHING_MANY: Final = (JobsLeased, JobsCompleted)


class Taker(Protocol):
    """Who hears the reply to a command; an `asyncio.Future` is one.

    Its methods are called in the middle of a release: they neither raise nor wait.
    """

    def set_result(self, reply: Any, /) -> None:
        """Hear the reply, or the `Problem` in its place."""

    def done(self) -> bool:
        """Say whether it has heard the reply, or does not want it any more."""

    def cancelled(self) -> bool:
        """Say whether it does not want it any more."""


class _Asked:
    """One command on its way to its reply."""

    __slots__ = ("command", "cost", "reply", "taker")

    def __init__(self, command: Command, taker: Taker | None, cost: int) -> None:
        self.command = command
        self.taker = taker
        self.cost = cost
        self.reply: Any = None


class Watcher(Protocol):
    """Who is told of a job's news."""

    def touch(self) -> None:
        """Hear that something was committed. Called in a release: neither raises nor waits."""


class Pump:
    """Feeds one engine and one store. All methods belong to the loop's thread."""

    def __init__(self, engine: Engine, store: Store, clock: Clock, disk_reserve_bytes: int) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._disk_reserve_bytes = disk_reserve_bytes
        self._stall_s = min(STALL_S_MAX, engine.live.config.lease_ms / 4000)
        self._beat_s = self._stall_s / BEATS_PER_STALL
        self._inbox: list[_Asked] = []
        self._applied: list[_Asked] = []
        self._effects: list[Effect] = []
        self._in_flight: tuple[Batch, list[_Asked], list[Effect]] | None = None
        self._parked: dict[int, _Asked] = {}
        self._watches: dict[bytes, set[Watcher]] = {}
        self._tickets = 0
        self._pending = 0
        self._pending_bytes = 0
        self._turn_due = False
        self._news = False
        """Something has come since the last turn began."""
        self._open_until_s = 0.0
        """While news come, the batch is not closed before."""
        self._beat_due = True
        self._timer: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._beat_due_s = 0.0
        self._written: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="headrace-writer", daemon=True)
        self._writing_since_s = 0.0
        self._holding = False
        self._stopping = False
        self._idle = asyncio.Event()
        self._commits = 0
        self._committed_at_s = 0.0
        self._full = False
        """The commit under way has found no space, and waits for some."""
        self.disk_low = False
        self.failed = False
        self.failure = asyncio.Event()
        """Set when the process must stop."""
        self.position = Position(0, 0, 0)
        self.gather: Callable[[], None] = lambda: None
        """Called to `post` what has been put by, before a batch is closed, and when the disk is
        slow or full, so that it is counted or refused; does not raise."""
        self.on_commit: Callable[[float, int], None] = lambda _seconds, _effects: None
        """Called with each commit's duration and number of effects; for metrics."""
        self.on_lag: Callable[[float], None] = lambda _seconds: None
        """Called at each beat with how late the loop came to it; for metrics."""
        self.on_effects: list[Callable[[list[Effect]], None]] = []
        """Called with what is now durable, after the replies; they neither raise nor wait."""

    # Life ---------------------------------------------------------------------------------------

    def start(self, effects: list[Effect]) -> None:
        """Begin, with the effects of a restart to commit first."""
        self._loop = asyncio.get_running_loop()
        self.position = self._store.position
        self._effects.extend(effects)
        self._committed_at_s = self._loop.time()
        self._writer.start()
        self._check_disk()
        self._schedule()
        self._next_beat(self._loop.time())

    async def stop(self) -> None:
        """Answer parked polls, commit what was taken, and end the writer."""
        self._stopping = True
        self._inbox.extend(_Asked(Withdraw(ticket), None, 0) for ticket in list(self._parked))
        while not self.failed and (
            self._inbox or self._applied or self._effects or self._in_flight is not None
        ):
            self._idle.clear()
            self._schedule()
            await self._idle.wait()
        for handle in (self._timer, self._beat):
            if handle is not None:
                handle.cancel()
        self._written.put(None)
        if not self.failed:
            await self._loop.run_in_executor(None, self._writer.join)

    # Asking -------------------------------------------------------------------------------------

    async def ask(self, command: Command) -> Any:
        """Carry out a command and wait until what it did is durable.

        Raises: `Problem`, the refusal; also OVERLOADED, STORAGE_FULL, SHUTTING_DOWN (nothing was
        applied) and OUTCOME_UNKNOWN (a commit failed: ask again with the same idempotency key).
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        self.post(command, future)
        try:
            reply = await future
        except asyncio.CancelledError:
            self.forsake(command)
            raise
        if isinstance(reply, Problem):
            raise reply
        return reply

    def post(self, command: Command, taker: Taker) -> None:
        """Carry out a command; `taker` hears the reply when what it did is durable.

        Raises: `Problem`, when it is refused at the door.
        """
        cost = cost_bytes(command)
        self._admit(command, cost)
        if isinstance(command, Explain) and self._is_durable(command.job_id):
            taker.set_result(self._engine.apply(self._clock.now_ms(), command)[0])
            return
        self._inbox.append(_Asked(command, taker, cost))
        self._pending += 1
        self._pending_bytes += cost
        self._news = True
        self._schedule()

    def note(self) -> None:
        """Make sure of a call of `gather`: something was put by."""
        self._news = True
        if self._in_flight is None or self._holding or self.failed:
            self._schedule()

    def forsake(self, command: Command) -> None:
        """Do what is right when the taker of a command went away: withdraw a parked poll."""
        if isinstance(command, Poll) and command.ticket in self._parked:
            self._inbox.append(_Asked(Withdraw(command.ticket), None, 0))
            self._schedule()

    def new_ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    def _admit(self, command: Command, cost: int) -> None:
        if self.failed:
            raise _unknown()
        if self._stopping:
            raise Problem(
                ProblemCode.SHUTTING_DOWN,
                "the server is stopping; ask again when it is back",
                retry_after_ms=1_000,
            )
        if self._pending >= PENDING_MAX or self._pending_bytes + cost > PENDING_BYTES_MAX:
            raise Problem(
                ProblemCode.OVERLOADED,
                "too much is waiting for the disk; nothing was applied, ask again later",
                retry_after_ms=1_000,
                extra={"outcome": "not_applied"},
            )
        if self.disk_low and isinstance(command, Submit | PutModule):
            raise Problem(
                ProblemCode.STORAGE_FULL,
                "the disk is nearly full; nothing was applied. Free space, or delete finished jobs",
                retry_after_ms=5_000,
                extra={"outcome": "not_applied"},
            )

    def _is_durable(self, job_id: bytes) -> bool:
        """Say whether a live job is on disk as the engine has it."""
        live = self._engine.live
        handle = live.jobs.find(job_id)
        return handle >= 0 and live.load(handle).pack() == self._store.record(job_id)

    # One turn -----------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Apply what has arrived; hand a batch to the writer if it is free and no news come."""
        self._turn_due = False
        if self.failed:
            self._fail_all()
            return
        news, self._news = self._news, False
        try:
            now_ms = self._clock.now_ms()
            if self._holding:
                self.gather()
            self._apply_inbox(now_ms)
            self._pass_time(now_ms)
            if self._in_flight is None:
                if news and self._stays_open():
                    self._schedule()  # for another look at the sockets
                else:
                    self._commit(now_ms)
        except Exception:
            log.exception("a defect: the engine cannot go on, the server stops")
            self._fail()
            return
        self._arm(now_ms)

    def _stays_open(self) -> bool:
        return self._pending_bytes < GATHER_BYTES_MAX and self._loop.time() < self._open_until_s

    def _apply_inbox(self, now_ms: int) -> None:
        inbox, self._inbox = self._inbox, []
        for position, asked in enumerate(inbox):
            try:
                reply, effects = self._engine.apply(now_ms, asked.command)
            except Exception:
                self._applied.extend(inbox[position:])  # so that they hear of the end
                raise
            self._effects.extend(effects)
            if reply is None and isinstance(asked.command, Poll):
                self._parked[asked.command.ticket] = asked
                self._forget_cost(asked)
                gone = asked.taker is not None and asked.taker.cancelled()
                if gone or self._stopping:
                    self._inbox.append(_Asked(Withdraw(asked.command.ticket), None, 0))
                    self._schedule()
            else:
                asked.reply = reply
                self._applied.append(asked)

    def _pass_time(self, now_ms: int) -> None:
        """Fire what is due, after the heartbeats that have arrived."""
        due_ms = self._engine.due_ms()
        if self._beat_due or (due_ms is not None and due_ms <= now_ms):
            self._beat_due = False
            wall_ms = self._clock.wall_ms()
            jump_ms = wall_ms - now_ms - self._engine.live.wall_offset_ms
            if abs(jump_ms) > WALL_JUMP_MS:
                log.warning("the wall clock moved by %d ms; leases are not affected", jump_ms)
            self._effects.extend(self._engine.apply(now_ms, Tick(wall_ms))[1])

    def _commit(self, now_ms: int) -> None:
        """Close the batch: give it to the writer, or release it if nothing has to be written."""
        self.gather()
        self._apply_inbox(now_ms)
        self._effects.extend(self._engine.settle(now_ms))
        if not self._effects and not self._applied:
            self._idle.set()
            return
        effects = self._effects
        applied: list[_Asked] = []
        for effect in effects:
            if type(effect) is Answered:
                asked = self._parked.pop(effect.ticket)
                asked.reply = effect.reply
                applied.append(asked)
        applied += self._applied  # after the parked: work begins before its client hears of it
        batch = self._store.stage(effects, now_ms)
        self._applied, self._effects = [], []
        self._engine.staged()
        if batch.empty:
            self._release(applied, effects)
            self._idle.set()
            return
        self._in_flight = (batch, applied, effects)
        self._writing_since_s = self._loop.time()
        self._written.put(batch)

    def _arm(self, now_ms: int) -> None:
        due_ms = self._engine.due_ms()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ms is not None:
            delay_s = max(0.001, (due_ms - now_ms) / 1000)
            if delay_s < self._beat_s:
                self._timer = self._loop.call_later(delay_s, self._schedule)

    def _next_beat(self, now_s: float) -> None:
        self._beat_due_s = now_s + self._beat_s
        self._beat = self._loop.call_later(self._beat_s, self._on_beat)

    def _on_beat(self) -> None:
        now_s = self._loop.time()
        self.on_lag(max(0.0, now_s - self._beat_due_s))
        self._next_beat(now_s)
        stuck = (
            self._in_flight is not None
            and self._loop.time() - self._writing_since_s > self._stall_s
        )
        if stuck and not self._holding:
            self._hold()
            log.warning("the disk has been busy with one commit for over %.1f s", self._stall_s)
        self._check_disk()
        self._beat_due = True
        self._schedule()

    def _hold(self) -> None:
        if not self._holding:
            self._holding = True
            self._clock.hold()

    def _check_disk(self) -> None:
        try:
            low = self._full or self._store.bytes_free() < self._disk_reserve_bytes
        except OSError as error:  # of a directory that was moved away, too: no commit waits for it
            log.warning("free disk space is unknown, no jobs are taken: %s", error)
            low = True
        if low != self.disk_low:
            log.warning("free disk space is %s the reserve", "below" if low else "above")
        self.disk_low = low

    # The writer thread, and what follows a commit -----------------------------------------------

    def _write_all(self) -> None:
        while (batch := self._written.get()) is not None:
            error: BaseException | None = None
            try:
                self._store.write(batch)
            except StoreError as failure:
                error = failure
            except BaseException as failure:
                error = failure
            try:
                self._loop.call_soon_threadsafe(self._on_written, batch, error)
            except RuntimeError:
                return  # the loop is closed: nobody waits for this commit any more

    def _on_written(self, batch: Batch, error: BaseException | None) -> None:
        assert self._in_flight is not None
        assert self._in_flight[0] is batch
        _, applied, effects = self._in_flight
        if isinstance(error, StoreFull) and not self._stopping:
            # Memory is ahead of disk only until the same batch is written: wait for space. No
            # heartbeat can be answered meanwhile, so no lease may run out.
            log.error("%s; waiting for space", error)
            self._full = self.disk_low = True
            self._hold()
            self._in_flight = (batch, [], effects)
            for asked in applied:
                self._answer(asked, _unknown())
                if isinstance(asked.reply, PollReply) and len(asked.reply.jobs):
                    self._take_back(asked.command, asked.reply)
            self._loop.call_later(FULL_RETRY_S, self._written.put, batch)
            self._schedule()
            return
        if self._holding:
            self._holding = False
            self._clock.go()
        if error is not None:
            log.critical("a commit failed, the server stops: %s", error, exc_info=error)
            self._fail()
            return
        self._full = False
        self._check_disk()  # at once: until the next beat many commits can take what is left
        self._in_flight = None
        self._store.settle(batch)
        now_s = self._loop.time()
        self.position = batch.position
        self._commits += 1
        self._committed_at_s = now_s
        took_s = now_s - self._writing_since_s
        self.on_commit(took_s, len(effects))
        self._release(applied, effects)
        open_s = min(max(GATHER_S_MIN, 2 * took_s), GATHER_S_MAX)
        self._open_until_s = self._loop.time() + open_s
        if self._stays_open():
            self._schedule()
        else:
            self._turn_due = True
            self._turn()

    def _release(self, applied: list[_Asked], effects: list[Effect]) -> None:
        if self._watches:  # before the replies: a result is waited for longer than its ack
            for effect in effects:
                if isinstance(effect, _TOUCHING):
                    self._touch(effect.job_id)
                elif isinstance(effect, _TOUCHING_MANY):
                    for job_id in ids_split(effect.job_ids):
                        self._touch(job_id)
        for asked in applied:
            self._answer(asked, asked.reply)
        if effects:
            for hear in self.on_effects:
                hear(effects)

    def _touch(self, job_id: bytes) -> None:
        for watcher in tuple(self._watches.get(job_id, ())):
            watcher.touch()

    def _answer(self, asked: _Asked, reply: Any) -> None:
        if asked.cost >= 0:
            self._forget_cost(asked)
        if asked.taker is None:
            return
        if not asked.taker.done():
            asked.taker.set_result(reply)
        elif isinstance(reply, PollReply) and len(reply.jobs):
            self._take_back(asked.command, reply)

    def _take_back(self, command: Command, reply: PollReply) -> None:
        """A worker went away before its jobs were told: release them at once, as planned.

        A worker with a session may ask again for the same answer, so its jobs stay its own.
        """
        if isinstance(command, Poll) and not command.session:
            reports: list[Report | Completions] = [
                Report(grant.lease, Outcome.RELEASED) for grant in reply.jobs
            ]
            release = Poll(0, command.worker, profile=command.profile, reports=reports)
            self._inbox.append(_Asked(release, None, 0))
            self._schedule()

    def _forget_cost(self, asked: _Asked) -> None:
        if asked.taker is not None:
            self._pending -= 1
            self._pending_bytes -= asked.cost
        asked.cost = -1

    def _fail(self) -> None:
        self.failed = True
        self.failure.set()
        self._fail_all()

    def _fail_all(self) -> None:
        self.gather()
        waiting = [*self._inbox, *self._applied, *self._parked.values()]
        if self._in_flight is not None:
            batch, applied, effects = self._in_flight
            waiting.extend(applied)
            self._in_flight = (batch, [], effects)
        for asked in waiting:
            if asked.taker is not None and not asked.taker.done():
                asked.taker.set_result(_unknown())
        self._inbox.clear()
        self._applied.clear()
        self._parked.clear()
        self._idle.set()

    # Reading ------------------------------------------------------------------------------------

    def follow(self, job_id: bytes, watcher: Watcher) -> None:
        """Tell a watcher when a job's committed state, progress or log has moved."""
        self._watches.setdefault(job_id, set()).add(watcher)

    def unfollow(self, job_id: bytes, watcher: Watcher) -> None:
        watchers = self._watches[job_id]
        watchers.remove(watcher)
        if not watchers:
            del self._watches[job_id]

    def is_live(self, job_id: bytes) -> bool:
        """Say whether a job has not ended; that it has may not be committed yet."""
        return self._engine.live.jobs.find(job_id) >= 0

    def is_live_for(self, caller: Caller, job_id: bytes) -> bool:
        """Say whether a job has not ended, and is the caller's to see."""
        live = self._engine.live
        handle = live.jobs.find(job_id)
        return handle >= 0 and live.may_not(caller, live.load(handle).owner_id) is None

    def progress(self, job_id: bytes) -> tuple[float, str] | None:
        """Return (progress 0..1, details) of a leased job; None for others."""
        live = self._engine.live
        lease = live.leases.of(live.jobs.find(job_id))
        return None if lease is None else (lease.progress, lease.details)

    def live_ids(self, statuses: frozenset[Status]) -> list[bytes] | None:
        """Return the ids of live jobs in these statuses, oldest first; None if it is not known
        without a look at all of them: there are some that no worker holds.
        """
        live = self._engine.live
        held = statuses & LEASED
        if any(live.stats.live[status] for status in statuses - held):
            return None
        return sorted(
            lease.job_id for lease in live.leases if live.load(lease.handle).status in held
        )

    @property
    def owners(self) -> dict[tuple[str, str], int]:
        """Numbers of (tenant, user)."""
        return self._engine.live.owners

    def owner_name(self, owner_id: int) -> tuple[str, str]:
        return self._engine.live.owner_names[owner_id]

    def queues_used(self) -> set[str]:
        """Return the queues of all live jobs."""
        return self._engine.live.classes.queues_used()

    def tenants_used(self) -> list[str]:
        """Return the tenants of all live jobs."""
        return self._engine.live.classes.lines.used()

    def tenant_depth(self, tenant: str) -> int:
        """Return how many jobs of a tenant wait for a worker and for nothing else."""
        return self._engine.live.classes.lines.ready(tenant)

    def queue_has_jobs(self, queue: str) -> bool:
        return self._engine.live.classes.queue_has_jobs(queue)

    def queue_counts(self, queue: str) -> tuple[int, int]:
        """Return how many jobs of a queue wait for a worker, and how many workers hold."""
        live = self._engine.live
        return live.stats.queued.get(queue, 0), live.classes.queue_leases(queue)

    def queue_backlog(self, queue: str) -> int:
        """Return how many jobs of a queue have not ended and are in no worker's hands."""
        return self._engine.live.classes.queue_backlog(queue)

    def tenant_jobs(self, tenant: str) -> int:
        """Return how many live jobs are said to be of a tenant."""
        return self._engine.live.classes.tenant_jobs(tenant)

    def tenant_bytes(self, tenant: str) -> int:
        """Return how many bytes those jobs have as they are stored, without modules."""
        return self._engine.live.classes.tenant_bytes(tenant)

    def limit_state(self, kind: Kind, name: str) -> tuple[LimitState, Amounts] | None:
        """Return how a limit or a tenant's quota stands, and what runs under it takes up."""
        return limit_state(self._engine.live, kind, name)

    def queue_capacity(self, queue: str) -> int | None:
        """Return how many jobs of a queue may be leased at once; None: no limit."""
        return self._engine.live.classes.queue_capacity(queue)

    @property
    def waits(self) -> Spans:
        """Return how long jobs have waited, since the start."""
        return self._engine.live.waits

    @property
    def runs(self) -> Spans:
        """Return how long workers have had jobs to their ends, since the start."""
        return self._engine.live.runs

    @property
    def last_commit_age_ms(self) -> int:
        return int((self._loop.time() - self._committed_at_s) * 1000)

    @property
    def write_age_ms(self) -> int:
        """How long the write in flight has taken; 0 if there is none."""
        if self._in_flight is None:
            return 0
        return int((self._loop.time() - self._writing_since_s) * 1000)

    def stats(self) -> RuntimeStats:
        live = self._engine.live
        now_ms = self._clock.now_ms()
        return RuntimeStats(
            engine=live.stats,
            jobs=len(live.jobs),
            leases=len(live.leases),
            workers=len(live.workers.by_name),
            parked_polls=len(live.parked),
            classes=len(live.classes),
            pending_commands=self._pending,
            commits=self._commits,
            stalled_ms=self._clock.stalled_ms,
            workers_busy=len(live.workers.busy),
            wait=live.waits.recent(now_ms),
            run=live.runs.recent(now_ms),
        )


def _unknown() -> Problem:
    return Problem(
        ProblemCode.OUTCOME_UNKNOWN,
        "a commit failed; ask again with the same idempotency key or lease",
        extra={"outcome": "unknown"},
    )
