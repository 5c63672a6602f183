"""Python frameworks on Redis (appendfsync always), each with its own client and its own worker.

The worker is a process on the client's core; its CPU counts as the client's. A job counts when its
handler was called: the framework's acknowledgement of the last few is not waited for.
"""

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress
from importlib.metadata import version
from typing import Any, ClassVar

from headrace.bench import http
from headrace.bench.process import ServerProcess
from headrace.bench.workloads import BATCH, SETTLE_S, Latencies, Pace
from peers import framework_tasks, noop
from peers.peer import SYNCED
from peers.redis_streams import RedisServer, command

LOOK_S = 1.0
"""So often a silent worker is looked after."""


class Framework(RedisServer):
    fsync = "always"
    durability = SYNCED
    client = "its own client and worker, one process each"
    rows = frozenset({"W1", "W3", "W4", "W5"})
    install = "apt-get install redis-server; pip install 'headrace[bench]'"
    batch: ClassVar[int] = 1
    """Of W4: what it can send at once."""

    @classmethod
    def version(cls) -> str:
        return f"{cls.label} {version(cls.packages[0])}, {RedisServer.version()}"

    def start(self) -> None:
        super().start()
        self._text = http.params().decode()
        self._worker: ServerProcess | None = None

    def ready(self) -> "Framework":
        super().ready()
        self._tasks: Any = framework_tasks.TASKS[self.name](self.port)
        return self

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
        super().close()

    def client_cpu_s(self) -> float:
        return time.process_time() + (self._worker.cpu_s() if self._worker is not None else 0)

    async def submit(self, number: int, batch: int) -> list[float]:
        latencies_s = []
        for _ in range(number // batch):
            began_s = time.perf_counter()
            if batch == 1:
                self._tasks.send(self._text)
            else:
                self._tasks.send_many([self._text] * batch)
            latencies_s.append(time.perf_counter() - began_s)
            await asyncio.sleep(0)
        return latencies_s

    async def prepare(self, queued: int, coming: int) -> None:
        """Start the worker and let it run until its first job has come, and wait with it."""
        if not queued:
            self._tasks.send(self._text)
        total = max(queued, 1) + coming if queued or coming else 0
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.bind(str(self.dir / noop.TOLD))
        self._told.setblocking(False)
        env = {**os.environ, noop.DIR: str(self.dir), noop.TOTAL: str(total)}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        command = [sys.executable, "-m", framework_tasks.__name__, self.name, str(self.port)]
        self._worker = ServerProcess(command, self.dir / "worker.log", env=env)
        await self._hear()

    async def _hear(self) -> float:
        """Return when the handler says that it was called."""
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                return float(await asyncio.wait_for(loop.sock_recv(self._told, 64), LOOK_S))
            assert self._worker is not None
            self._worker.check()

    def _go(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as go:
            go.sendto(b"1", str(self.dir / noop.GO))

    async def drain(self, number: int) -> list[float]:
        self._go()
        await self._hear()
        return []

    async def both(self, number: int) -> list[float]:
        self._go()
        await self.submit(number, self.batch)
        await self._hear()
        return []

    async def one_by_one(self, samples: int) -> Latencies:
        self._go()
        await self._hear()
        found = Latencies([], [])
        for _ in range(samples):
            await asyncio.sleep(SETTLE_S)
            began_s = time.perf_counter()
            self._tasks.send(self._text, stored=True)()
            seen_s = time.perf_counter()
            found.starts.append(await self._hear() - began_s)
            found.results.append(seen_s - began_s)
        return found


class Rq(Framework):
    name = "rq"
    label = "RQ"
    client = "its own client; SimpleWorker"
    packages = ("rq",)
    rows = frozenset({"W1", "W2", "W3", "W4", "W5", "W6"})
    pace = Pace(single=2_400, batched=12_000, drained=300, both=300)
    depth_max = 20_000
    batch = BATCH

    def count(self) -> int:
        return int(self.ask(command(b"LLEN", b"rq:queue:jobs"))[1:])


class Dramatiq(Framework):
    name = "dramatiq"
    label = "Dramatiq"
    client = f"its own client; worker with {framework_tasks.THREADS} threads"
    packages = ("dramatiq",)
    pace = Pace(single=4_000, batched=0, drained=3_500, both=2_500)


class Celery(Framework):
    name = "celery"
    label = "Celery"
    client = "its own client; worker with the solo pool, acks_late"
    packages = ("celery",)
    pace = Pace(single=1_500, batched=0, drained=1_200, both=600)
