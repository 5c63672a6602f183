"""beanstalkd: put, reserve and delete, pipelined. Priorities, but no results and no matching.

The result of W5 is a job in a tube of its own.
"""

import asyncio
import re
import socket
import time

from headrace.bench import http
from headrace.bench.connection import Asker, repeat, together
from headrace.bench.process import HOST, ServerProcess, free_port
from headrace.bench.workloads import (
    BATCH,
    SETTLE_S,
    SINGLE_CONNECTIONS,
    SUBMITTERS,
    SUBMITTERS_BESIDE_WORKERS,
    WORKERS,
    Latencies,
    Pace,
)
from peers.peer import (
    LinesConnection,
    Peer,
    WorkConnection,
    first_line,
    lines,
    program,
    server_core,
    work_off,
)

_RESERVED = re.compile(rb"RESERVED (\d+) ")
_TAIL = http.params() + b"\r\n"
_NONE = b"TIMED_OUT\r\n"
_DELETED = b"DELETED\r\n"
PUT = b"put 0 0 600 %d\r\n%s\r\n" % (len(http.params()), http.params())


def reserve(jobs: int, wait_s: int) -> bytes:
    """The first may be waited for, the others are taken if they are there."""
    return b"reserve-with-timeout %d\r\n" % wait_s + b"reserve-with-timeout 0\r\n" * (jobs - 1)


class TubeWorker(WorkConnection):
    def is_whole(self, data: bytes) -> bool:
        if data.count(b"RESERVED ") + data.count(_NONE) < BATCH:
            return False
        return data.endswith((_TAIL, _NONE))


class Beanstalkd(Peer):
    flags: tuple[str, ...]
    client = "commands made beforehand, pipelined, scanned in C"
    programs = ("beanstalkd",)
    install = "apt-get install beanstalkd"

    @classmethod
    def version(cls) -> str:
        return first_line(str(program("beanstalkd")), "-v")

    def start(self) -> None:
        self.port = free_port()
        arguments = ["-l", HOST, "-p", str(self.port), *self.flags]
        if self.flags:
            arguments += ["-b", str(self.dir)]
        binary = str(program("beanstalkd"))
        self.server = ServerProcess([binary, *arguments], self.dir / "log", core=server_core())

    def ready(self) -> "Beanstalkd":
        self.server.wait_ready(lambda: self._ask(b"stats\r\n").startswith(b"OK"))
        return self

    def _ask(self, sent: bytes) -> bytes:
        try:
            with socket.create_connection((HOST, self.port), timeout=30) as connection:
                connection.sendall(sent)
                return connection.recv(8_192)
        except OSError:
            return b""

    def count(self) -> int:
        found = re.search(rb"current-jobs-ready: (\d+)", self._ask(b"stats-tube default\r\n"))
        return int(found[1]) if found else 0

    async def submit(self, number: int, batch: int) -> list[float]:
        connections = SINGLE_CONNECTIONS if batch == 1 else SUBMITTERS
        return await self._submit(number, batch, connections)

    async def _submit(self, number: int, batch: int, connections: int) -> list[float]:
        return await repeat(lines(batch), self.port, connections, PUT * batch, number // batch)

    async def drain(self, number: int) -> list[float]:
        return await self._work_off(number, 0)

    async def both(self, number: int) -> list[float]:
        submit = self._submit(number, BATCH, SUBMITTERS_BESIDE_WORKERS)
        return list((await together(submit, self._work_off(number, 5)))[1])

    async def _work_off(self, number: int, wait_s: int) -> list[float]:
        more = reserve(BATCH, wait_s)

        def next_(data: bytes) -> tuple[bytes, bytes, int]:
            ids = _RESERVED.findall(data)
            deletes = b"".join([b"delete %s\r\n" % id_ for id_ in ids])
            return deletes + more, _DELETED * len(ids), len(ids)

        return await work_off(TubeWorker, self.port, number, [more] * WORKERS, next_)

    async def one_by_one(self, samples: int) -> Latencies:
        submitter, worker, reader = [await Asker(LinesConnection).open(self.port) for _ in range(3)]
        await reader.ask(b"watch done\r\n")
        await reader.ask(b"ignore default\r\n")
        teller = await Asker(LinesConnection).open(self.port)
        await teller.ask(b"use done\r\n")
        reader.connection.lines = 2
        found = Latencies([], [])
        for _ in range(samples):
            worker.connection.lines = 2
            parked = worker.ask(b"reserve-with-timeout 30\r\n")
            await asyncio.sleep(SETTLE_S)
            began_s = time.perf_counter()
            await submitter.ask(PUT)
            seen = reader.ask(b"reserve-with-timeout 30\r\n")
            ids = _RESERVED.findall(await parked)
            start_s = worker.arrived_s - began_s
            worker.connection.lines = 1
            await asyncio.gather(
                worker.ask(b"delete %s\r\n" % ids[0]), teller.ask(b"put 0 0 600 1\r\n1\r\n")
            )
            told = _RESERVED.findall(await seen)
            found.starts.append(start_s)
            found.results.append(reader.arrived_s - began_s)
            reader.connection.lines = 1
            await reader.ask(b"delete %s\r\n" % told[0])
            reader.connection.lines = 2
        for asker in (submitter, worker, reader, teller):
            await asker.close()
        return found


class BeanstalkdMemory(Beanstalkd):
    name = "beanstalkd-memory"
    label = "beanstalkd, memory"
    durability = "memory only"
    flags = ()
    rows = frozenset({"W1", "W2", "W3", "W4", "W5", "W6"})
    pace = Pace(single=80_000, batched=140_000, drained=85_000, both=50_000)


class BeanstalkdSynced(Beanstalkd):
    name = "beanstalkd-fsync"
    label = "beanstalkd, -f 0"
    durability = "fsync on each write"
    flags = ("-f", "0")
    rows = frozenset({"W1", "W2", "W3", "W4", "W5", "W7"})
    pace = Pace(single=5_000, batched=4_500, drained=5_000, both=2_300)
    depth_max = 20_000
