"""One server and its lives: the parts of `runtime.node`, crashed and started again at will.

Nothing of the product is copied here: engine, store, pump and clock are the shipping ones. The
event loop, the writer thread's queue and the module `time` are the world's.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

from headrace.core import passing, polling, sweeping
from headrace.core.commands import Command, Explain, Poll, StartBulk
from headrace.core.effects import Answered, Effect
from headrace.core.engine import Engine
from headrace.core.live import EngineConfig
from headrace.runtime import backups, bulk_runner, listing
from headrace.runtime import clock as clock_module
from headrace.runtime import pump as pump_module
from headrace.runtime.bulk_runner import BulkRunner
from headrace.runtime.clock import Clock
from headrace.runtime.pump import Pump
from headrace.store import store as store_module
from headrace.store.contract import StoreError
from headrace.store.store import Store
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from sim import checkers
from sim.disk import Disk, WriteQueue
from sim.model import Model
from sim.settings import Settings
from sim.world import Loop, Task, Violation, World

BOUNDS: Final = {
    "PENDING_MAX": pump_module,
    "TICK_BATCH_MAX": passing,
    "CLASSES_TRIED_MAX": polling,
    "SESSION_MS_MAX": limits,
    "SWEEP_MS": passing,
    "LOG_BYTES_MAX": limits,
    "SWEEP_JOBS_MAX": sweeping,
}
NOT_APPLIED = frozenset(
    {ProblemCode.OVERLOADED, ProblemCode.STORAGE_FULL, ProblemCode.SHUTTING_DOWN}
)
DOWN_MS = (20, 800)
SERVED_EVERY = 4
"""Batches after which parked polls are looked at; it costs a walk over polls and jobs."""


class Server:
    def __init__(self, world: World, settings: Settings, disk: Disk, model: Model) -> None:
        self.world = world
        self.disk = disk
        self.model = model
        self.up = False
        self.failing = False
        self.stopping = False
        self.restoring = False
        """What starts next is a restored backup of what there is."""
        self.calls: dict[int, tuple[Task, Command, Callable[[Any], None]]] = {}
        self._call = 0
        self._settings = settings
        self.loop = Loop(world)
        self.loop.dead = True

    # Life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        world = self.world
        world.note("server", "starts")
        self.stall_ms = min(clock_module.STALL_MS_MAX, self._settings.lease_ms // 4)
        self.loop = Loop(world)
        asyncio._set_running_loop(self.loop)  # type: ignore[arg-type]
        self.queue = WriteQueue(self)
        self.made = self.durable = self.settles = 0
        self.seen: dict[int, int] = {}
        self.parked: dict[int, Command] = {}
        self.staged: deque[tuple[Any, list[Effect]]] = deque()
        self.rows = self.disk.open()
        restoring, self.restoring = self.restoring, False
        if restoring:
            backups.raise_epoch(self.rows.kv)
        self.store = Store(self.rows)
        try:
            restored = self.store.restore()
        except StoreError as error:
            world.note("server", f"cannot start: {error}")
            self.loop.dead = True
            self.rows.close()
            world.at(world.between(*DOWN_MS), self.start)
            return
        self.clock = Clock(self.stall_ms, restored.at_ms)
        self.engine = Engine(self._config(), self.store, restored.secret, restored.epoch)
        now_ms, wall_ms = self.clock.now_ms(), self.clock.wall_ms()
        effects = self.engine.restore(restored, now_ms, wall_ms)
        if restored.corrupt:
            raise Violation("nothing_corrupt", f"{restored.corrupt}")
        self.model.restarted(now_ms, restored.epoch, self.store)
        self.made += len(effects)
        self._observe()
        if restoring:
            effects += backups.release_attempts(self.engine, now_ms)
            checkers.restored_store_believes_nobody(self.model)
        self.pump = Pump(self.engine, self.store, self.clock, 1)
        self.pump.start(effects)
        self.bulk = BulkRunner(self.pump, self.store)
        self._bulk_task = Task(self.bulk.run(), self._bulk_over)
        self.up, self.failing, self.stopping = True, False, False
        world.counts["starts"] += 1

    def _config(self) -> EngineConfig:
        settings = self._settings
        return EngineConfig(
            lease_ms=settings.lease_ms,
            crashes_max=settings.crashes_max,
            queue_capacities=settings.capacities,
            jobs_max=settings.jobs_max,
            cancel_grace_ms=settings.cancel_grace_ms,
            timeout_grace_ms=settings.timeout_grace_ms,
            retention_ms=settings.retention_ms,
        )

    def _observe(self) -> None:
        """See each call between the pump, the engine and the store."""
        engine, store, model = self.engine, self.store, self.model
        apply, settle, stage = engine.apply, engine.settle, store.stage
        settle_batch = store.settle

        def seen_apply(now_ms: int, command: Command) -> tuple[Any, list[Effect]]:
            reply, effects = apply(now_ms, command)
            self.made += len(effects)
            if reply is None and type(command) is Poll:
                self.parked[command.ticket] = command
            else:
                self.seen[id(command)] = self.made
            self._see_answers(effects)
            model.applied(now_ms, command, reply, effects)
            return reply, effects

        def seen_settle(now_ms: int) -> list[Effect]:
            effects = settle(now_ms)
            if effects:
                self.made += len(effects)
                self._see_answers(effects)
                model.settled(now_ms, effects)
            self.settles += 1
            if self.settles % SERVED_EVERY == 0:
                checkers.parked_polls_served(model)
            return effects

        def seen_stage(effects: list[Effect], at_ms: int) -> Any:
            batch = stage(effects, at_ms)
            self.staged.append((batch, effects))
            if batch.empty:
                self.wrote(batch)
            return batch

        def seen_written(batch: Any) -> None:
            settle_batch(batch)
            model.unheard.clear()

        engine.apply = seen_apply  # type: ignore[method-assign]
        engine.settle = seen_settle  # type: ignore[method-assign]
        store.stage = seen_stage  # type: ignore[method-assign, assignment]
        store.settle = seen_written  # type: ignore[method-assign]

    def _see_answers(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Answered:
                self.seen[id(self.parked.pop(effect.ticket))] = self.made

    def wrote(self, batch: Any) -> None:
        """Take note that a batch is on disk now."""
        staged, effects = self.staged.popleft()
        if staged is not batch:
            raise Violation("batches_written_in_order", "one was left out")
        self.durable += len(effects)
        if not batch.empty:
            self.model.durable_ms = max(self.model.durable_ms, batch.at_ms)
        self.model.wrote(effects)

    def stop(self) -> None:
        """As on SIGTERM."""
        self.world.note("server", "stops")
        self.stopping = True
        self._bulk_task.drop()
        self._stop_task = Task(self.pump.stop(), self._stopped)

    def _stopped(self, _result: None, error: BaseException | None) -> None:
        if error is not None:
            raise error
        self.queue.writing = None
        self._down()

    def crash(self) -> None:
        """As by kill -9: the write on its way is on disk wholly, or not at all."""
        self.world.note("server", "crashes")
        batch = self.queue.writing
        if batch is not None and self.world.chance(0.5):
            self.rows.kv.write(batch.changes)
            self.wrote(batch)
        self._down()

    def _bulk_over(self, _result: None, error: BaseException | None) -> None:
        if error is not None:
            raise error

    def _down(self) -> None:
        self.up = False
        self._bulk_task.drop()
        self.loop.dead = True
        self.rows.close()
        self.model.crashed()
        for task, _, done in self.calls.values():
            task.drop()
            self.world.at(self.world.between(0, 50), done, None)
        self.calls.clear()
        self.world.at(self.world.between(*DOWN_MS), self.start)

    def stall(self, ms: int) -> None:
        """As by SIGSTOP and SIGCONT."""
        now = self.world.now
        self.loop.stalled_until = max(self.loop.stalled_until, now + ms)
        self.model.froze(now + self.stall_ms, now + ms)

    def watch(self) -> None:
        """See whether the pump has given up."""
        if not self.pump.failed or self.failing:
            return
        if self.defects:
            raise Violation("server_never_fails", self.defects[-1])
        self.failing = True
        self.world.note("server", "gives up")
        self.queue.writing = None
        self.world.at(self.world.between(0, 20), self.crash, loop=self.loop)

    # Calls --------------------------------------------------------------------------------------

    def ask(self, command: Command, done: Callable[[Any], None]) -> int:
        """Hand a command in as a handler would. Returns a number for `hang_up`.

        `done` hears the reply, a `Problem`, or None if the connection broke.
        """
        self._call += 1
        call = self._call
        ended: list[bool] = []

        def left(reply: Any, error: BaseException | None) -> None:
            ended.append(True)
            self.calls.pop(call, None)
            if isinstance(error, asyncio.CancelledError):
                return
            if error is not None and not isinstance(error, Problem):
                raise error
            self._left(command, reply if error is None else error, done)

        task = Task(self.pump.ask(command), left)
        if not ended:
            self.calls[call] = (task, command, done)
            self.model.arrived(command)
        return call

    def hang_up(self, call: int) -> None:
        """The client closes its connection."""
        known = self.calls.get(call)
        if known is not None:
            self.world.counts["fault client_gone"] += 1
            known[0].cancel()

    def _left(self, command: Command, reply: Any, done: Callable[[Any], None]) -> None:
        code = reply.code if isinstance(reply, Problem) else 0
        if code in NOT_APPLIED:
            self.model.refused(command)
        elif code != ProblemCode.OUTCOME_UNKNOWN:
            seen = self.seen.pop(id(command), None)
            explained = type(command) is Explain and checkers.explains_what_is_on_disk(
                self.model, command, reply
            )
            if seen is None or (seen > self.durable and not explained):
                raise Violation(
                    "ack_after_commit",
                    f"the reply to {command!r} leaves with {self.durable} effects on disk"
                    f" and rests on {seen}",
                )
            self.model.left(command, reply, self.store)
            if isinstance(command, StartBulk) and not isinstance(reply, Problem):
                self.bulk.begin(command.name)
        done(reply)

    def loop_s(self) -> float:
        return self.loop.time()

    # Patches ------------------------------------------------------------------------------------

    def patch(self, stack: ExitStack) -> None:
        """Put the world where the product meets threads, time and chance."""
        self.defects: list[str] = []

        def exception(*_args: Any) -> None:
            import traceback

            self.defects.append(traceback.format_exc())

        def silent(*_args: Any, **_more: Any) -> None:
            return None

        logger = SimpleNamespace(
            warning=silent, error=silent, critical=silent, info=silent, exception=exception
        )
        thread = SimpleNamespace(
            Thread=lambda **_: SimpleNamespace(start=silent, join=silent),
            Lock=threading.Lock,
        )
        enter = stack.enter_context
        enter(mock.patch.object(clock_module, "time", self.world))
        enter(mock.patch.object(pump_module, "log", logger))
        enter(mock.patch.object(bulk_runner, "log", logger))
        enter(mock.patch.object(listing, "perf_counter", self.loop_s))
        enter(mock.patch.object(bulk_runner, "STEP_JOBS", 3))
        enter(mock.patch.object(pump_module, "threading", thread))
        enter(
            mock.patch.object(pump_module, "queue", SimpleNamespace(SimpleQueue=lambda: self.queue))
        )
        for name, bound in self._settings.small.items():
            enter(mock.patch.object(BOUNDS[name], name, bound))
        secrets = SimpleNamespace(token_bytes=self.world.rng.randbytes)
        enter(mock.patch.object(store_module, "secrets", secrets))
        stack.callback(asyncio._set_running_loop, None)
        stack.callback(lambda: self.up and self.rows.close())
