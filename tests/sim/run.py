"""One seed, from an empty disk to the last job's end."""

import gc
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum
from time import perf_counter
from traceback import format_exc
from typing import Any, Final

import msgspec

from headrace.core.resources import Profile
from headrace.wire.problems import Problem
from sim import checkers, endings
from sim.clients import Client, Closer
from sim.disk import FULL_MS, Disk
from sim.model import Model
from sim.net import Net
from sim.outbox import Postman
from sim.retention import Janitor
from sim.server import Server
from sim.settings import (
    GPU_MODELS,
    LABELS,
    RESTORE,
    SERVER_FAULTS,
    Settings,
    config_of,
    settings_of,
)
from sim.workers import Worker
from sim.world import Violation, World

STEPS_DEFAULT: Final = 1_500
LOOK_EVERY_STEPS: Final = 400
DRAIN_MS: Final = 300_000
DRAIN_STEPS: Final = 400_000
STALL_MS: Final = (100, 4_000)
WALL_JUMPS_MS: Final = (-3 * 3_600_000, -60_000, -1_500, 1_500, 60_000, 3 * 3_600_000)

COLLECT_EVERY: Final = 500_000
"""Objects; a world is made of what lasts, and to look at it all again and again costs a tenth."""

HIDDEN: Final = frozenset({"spec", "profile", "free", "total", "record", "body", "caller"})

Mutant = Callable[[ExitStack], None]
"""Plants a defect until the stack is closed."""


@dataclass
class Result:
    seed: int
    steps: int
    seconds: float
    simulated_ms: int
    trace: int
    counts: Counter[str]
    violation: Violation | None = None
    story: list[str] = field(default_factory=list)

    @property
    def checker(self) -> str:
        return "" if self.violation is None else self.violation.checker


def collect_seldom() -> None:
    """Let a process that does nothing but simulate look seldom for what is left of worlds."""
    gc.set_threshold(COLLECT_EVERY)


class Run:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.world = world = World(settings.seed)
        self.disk = Disk(world, settings)
        self.model = Model(world, settings)
        self.server = Server(world, settings, self.disk, self.model)
        self.net = Net(world, settings, self.server)
        self.chaos = [kind for kind in SERVER_FAULTS if kind in settings.rates]

    def begin(self) -> None:
        world, settings = self.world, self.settings
        self.server.start()
        parts = (world, settings, self.net, self.model)
        self.clients = [Client(number, *parts) for number in range(settings.clients)]
        self.workers = [Worker(number, *parts) for number in range(settings.workers)]
        self.janitor = Janitor(world, settings, self.server)
        self.postman = Postman(world, settings, self.server)
        if self.chaos:
            world.at(world.between(0, settings.chaos_ms), self._strike)

    def steps(self, steps: int) -> None:
        """Let `steps` events happen, looking around now and then."""
        world, server, model = self.world, self.server, self.model
        step = world.step
        end = world.steps + steps
        look_at = world.steps + LOOK_EVERY_STEPS
        while world.steps < end and step():
            if server.up and server.pump.failed:
                server.watch()
            if world.steps >= look_at:
                look_at += LOOK_EVERY_STEPS
                if server.up and not server.failing:
                    checkers.look_around(model, server)

    # Faults of the server ------------------------------------------------------------------------

    def _strike(self) -> None:
        if not self.chaos:
            return
        world, server, disk = self.world, self.server, self.disk
        kind = world.pick(self.chaos)
        if server.up and not server.failing:
            world.fault(kind)
            if kind == "server_crash":
                server.crash()
            elif kind == RESTORE:
                server.crash()
                server.restoring = True
            elif kind == "server_stop":
                if not server.stopping:
                    server.stop()
            elif kind == "server_stall":
                server.stall(world.between(*STALL_MS))
            elif kind == "wall_jump":
                world.wall_shift_ms += world.pick(WALL_JUMPS_MS)
                if world.chance(0.3):
                    world.wall_shift_ms = 0
            elif kind == "config_change":
                server.crash()
                for name, value in config_of(world.rng).items():
                    setattr(self.settings, name, value)
            elif kind == "disk_slow":
                disk.slow_next = True
            elif kind == "disk_full":
                disk.full_until = world.now + world.between(*FULL_MS)
            elif kind == "disk_broken":
                disk.break_next = True
            else:
                disk.low = not disk.low
        world.at(world.between(1, 2 * self.settings.chaos_ms), self._strike)

    # The end --------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Stop all faults; every job must come to its end, and all must be on disk."""
        world, server, model = self.world, self.server, self.model
        self.chaos.clear()
        self.net.rates.clear()
        self.disk.heal()
        # Schedules follow the wall clock, so it goes to where the last of them is due.
        world.wall_shift_ms += max(0, model.latest_schedule_ms - world.wall_ms())
        for one in (*self.clients, *self.workers):
            one.closing = True
        parts = (world, self.settings, self.net, model)
        for number, gpu_model in enumerate(("", *GPU_MODELS)):
            profile = Profile(wasm=True, gpu_model=gpu_model, labels=frozenset(LABELS))
            self.workers.append(Worker(100 + number, *parts, profile))
        Closer(world, self.net, model)
        end_ms, end_steps = world.now + DRAIN_MS, world.steps + DRAIN_STEPS
        while world.now < end_ms and world.steps < end_steps:
            self.steps(100)
            idle = server.up and server.pump._in_flight is None and not server.staged
            if idle and not model.jobs and not server.stopping:
                break
        endings.drains(model, server)
        checkers.look_around(model, server)
        endings.acked_completion_kept(model)
        checkers.store_matches(model, server.store, whole=True)


def run(
    seed: int,
    steps: int = STEPS_DEFAULT,
    *,
    without: frozenset[str] = frozenset(),
    mutant: Mutant | None = None,
) -> Result:
    """Run one seed. The same arguments give the same result, to the last byte of the trace."""
    began = perf_counter()
    this = Run(settings_of(seed, without))
    world = this.world
    violation = None
    with ExitStack() as stack:
        stack.callback(this.disk.remove)
        this.server.patch(stack)
        if mutant is not None:
            mutant(stack)
        try:
            this.begin()
            this.steps(steps)
            this.drain()
        except Violation as found:
            violation = found
        except Exception:
            violation = Violation("server_never_fails", format_exc())
    world.counts["simulated seconds"] = world.now // 1_000
    result = Result(
        seed, world.steps, perf_counter() - began, world.now, world.trace, world.counts, violation
    )
    if violation is not None:
        result.story = [
            f"step {step:>6}  {at_ms:>8} ms  {what:<9} {shown(detail)}"
            for step, at_ms, what, detail in world.last
        ]
    return result


def shown(value: Any) -> str:
    """Return a command, reply or effect on one line, without what says nothing."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(shown, value)) + "]"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return value.hex()[-12:]
    if isinstance(value, str):
        return value[-12:]
    if isinstance(value, Problem):
        return f"Problem({value.code.name})"
    if isinstance(value, msgspec.Struct):
        default = type(value).__struct_fields__
        fields = ((name, getattr(value, name)) for name in default if name not in HIDDEN)
        inside = ", ".join(f"{name}={shown(told)}" for name, told in fields if told)
        return f"{type(value).__name__}({inside})"
    return str(value)


def shrink(result: Result, steps: int) -> tuple[int, frozenset[str]]:
    """Return fewer steps and the faults to leave out with which the same checker still fails."""
    without: frozenset[str] = frozenset()
    fewer = min(steps, result.steps)
    settings = settings_of(result.seed)
    for kind in (*sorted(settings.rates), "lmdb"):
        tried = run(result.seed, fewer, without=without | {kind})
        if tried.checker == result.checker:
            without |= {kind}
            fewer = min(fewer, tried.steps)
    for part in (2, 4, 8):
        tried = run(result.seed, fewer // part, without=without)
        if tried.checker == result.checker:
            fewer //= part
    return fewer, without
