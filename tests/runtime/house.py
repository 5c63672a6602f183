"""A pump over a store whose writes the test holds, fails and lets go."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from headrace.core.commands import Caller, NewJobs, Poll, Submit
from headrace.core.engine import Engine
from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts, Requirements
from headrace.runtime.clock import Clock
from headrace.runtime.pump import Pump
from headrace.store import Store
from headrace.store._new_rows import NewRows
from headrace.store.contract import KeyValue

START_MS = 1_700_000_000_000
CALLER = Caller("acme", "alice")


class HandClock(Clock):
    """Time moves when the test says so."""

    def __init__(self) -> None:
        self.at_ms = START_MS
        self.held = False
        self.stalled_ms = 0

    def wall_ms(self) -> int:
        return self.at_ms

    def now_ms(self) -> int:
        return self.at_ms

    def hold(self) -> None:
        self.held = True

    def go(self) -> None:
        self.held = False


class Gate:
    """Stands in the way of every write of a store."""

    def __init__(self, kv: KeyValue) -> None:
        self._write = kv.write
        kv.write = self.write  # type: ignore[method-assign]
        self.open = threading.Event()
        self.open.set()
        self.arrived = threading.Semaphore(0)
        """Released when a write arrives, before it waits."""
        self.errors: list[BaseException] = []
        """Raised by the next writes instead of writing."""
        self.written = 0

    def write(self, rows: NewRows) -> None:
        self.arrived.release()
        assert self.open.wait(60), "the test left the gate closed"
        if self.errors:
            raise self.errors.pop(0)
        self._write(rows)
        self.written += 1


class House:
    """Store, engine and pump, with their time and their disk in hand."""

    def __init__(self, kv: KeyValue, config: EngineConfig) -> None:
        self.kv = kv
        self.gate = Gate(kv)
        self.clock = HandClock()
        self.store = Store(kv)
        self.ids = 0
        restored = self.store.restore()
        self.engine = Engine(config, self.store, restored.secret, restored.epoch)
        self.effects = self.engine.restore(restored, self.clock.now_ms(), self.clock.wall_ms())
        self.pump = Pump(self.engine, self.store, self.clock, 0)
        self.gate.written = 0

    def new(self, **fields: Any) -> NewJobs:
        self.ids += 1
        job_id = (
            (1_700_000_000_000).to_bytes(6, "big") + b"\x70\0\x80" + self.ids.to_bytes(7, "big")
        )
        requirements = Requirements(fields.pop("queue", "default"), "echo", Amounts())
        return NewJobs(job_id, [b"{}"], requirements, 5, 3_600_000, 1_000, 200, 2, **fields)

    async def submit(self, **fields: Any) -> bytes:
        (reply,) = await self.pump.ask(Submit(CALLER, [self.new(**fields)]))
        return bytes(reply.job_ids)

    async def poll(self, **fields: Any) -> Any:
        return await self.pump.ask(self.poll_command(**fields))

    def poll_command(self, **fields: Any) -> Poll:
        defaults = {"jobs_max": 1}
        return Poll(self.pump.new_ticket(), "w", **{**defaults, **fields})

    def committed(self, job_id: bytes) -> bool:
        """Return whether a fresh reader of the rows sees the job."""
        return Store(self.kv).job(job_id) is not None


MakeHouse = Callable[..., Awaitable[House]]


class Watch:
    """Tells whether a job was touched."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def touch(self) -> None:
        self._event.set()

    async def changed(self, timeout_s: float) -> bool:
        """Wait for a touch since the last call. Returns False when the time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


@contextmanager
def watching(pump: Pump, job_id: bytes) -> Iterator[Watch]:
    watch = Watch()
    pump.follow(job_id, watch)
    try:
        yield watch
    finally:
        pump.unfollow(job_id, watch)
