"""Redis Streams: XADD, XREADGROUP, XACK and XDEL, as bytes made beforehand, pipelined.

A stream moves opaque messages: no priorities, no matching of resources, no job state, no results.
The result of W5 is a push to a list that the client waits for.
"""

import asyncio
import re
import socket
import time
from typing import ClassVar

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
    SYNCED,
    LinesConnection,
    Peer,
    WorkConnection,
    lines,
    program,
    server_core,
    work_off,
)

STREAM, GROUP, DONE = b"jobs", b"workers", b"done"
_HEAD = re.compile(rb"\*1\r\n\*2\r\n\$\d+\r\n\w+\r\n\*(\d+)\r\n")
"""Of the answer to XREADGROUP: one stream, and how many messages."""
_ID = re.compile(rb"\$\d+\r\n\d{13}-\d+\r\n")
"""A message's id, in the form in which it is also sent."""
_NONE = b"*-1\r\n"


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%s\r\n" % (len(w), w) for w in words])


ADD = command(b"XADD", STREAM, b"*", b"d", http.params())
_TAIL = http.params() + b"\r\n"


def read(worker: int, count: int, wait_ms: int = 0) -> bytes:
    """Without `wait_ms` it answers at once."""
    block = (b"BLOCK", b"%d" % wait_ms) if wait_ms else ()
    words = (b"XREADGROUP", b"GROUP", GROUP, b"w-%d" % worker, b"COUNT", b"%d" % count)
    return command(*words, *block, b"STREAMS", STREAM, b">")


def end(ids: list[bytes]) -> bytes:
    """Acknowledge and delete, in one piece."""
    joined = b"".join(ids)
    return (
        b"*%d\r\n$4\r\nXACK\r\n" % (3 + len(ids))
        + b"$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(STREAM), STREAM, len(GROUP), GROUP)
        + joined
        + b"*%d\r\n$4\r\nXDEL\r\n$%d\r\n%s\r\n" % (2 + len(ids), len(STREAM), STREAM)
        + joined
    )


class StreamWorker(WorkConnection):
    def is_whole(self, data: bytes) -> bool:
        if data.startswith(_NONE):
            return True
        head = _HEAD.match(data)
        return head is not None and data.endswith(_TAIL) and data.count(_TAIL) == int(head[1])


class RedisServer(Peer):
    """A Redis server with an append-only file; the frameworks use one as well."""

    fsync: ClassVar[str]
    programs = ("redis-server",)
    install = "apt-get install redis-server"

    def start(self) -> None:
        self.port = free_port()
        arguments = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.dir),
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "auto-aof-rewrite-percentage": "0",  # no rewrite falls into a run
            "save": "",
        }
        flags = [word for key, value in arguments.items() for word in (f"--{key}", value)]
        binary = str(program("redis-server"))
        self.server = ServerProcess([binary, *flags], self.dir / "log", core=server_core())

    def ready(self) -> "RedisServer":
        self.server.wait_ready(lambda: self.ask(command(b"PING")) == b"+PONG\r\n")
        return self

    def ask(self, sent: bytes) -> bytes:
        """Send one command; return an answer of one line, or nothing."""
        try:
            with socket.create_connection((HOST, self.port), timeout=30) as connection:
                connection.sendall(sent)
                return connection.recv(1_024)
        except OSError:
            return b""


class RedisStreams(RedisServer):
    client = "RESP bytes made beforehand, pipelined, scanned in C"
    pace = Pace(single=45_000, batched=450_000, drained=230_000, both=130_000)

    def ready(self) -> "RedisStreams":
        super().ready()
        self.ask(command(b"XGROUP", b"CREATE", STREAM, GROUP, b"0", b"MKSTREAM"))
        return self

    def count(self) -> int:
        return int(self.ask(command(b"XLEN", STREAM))[1:])

    async def submit(self, number: int, batch: int) -> list[float]:
        connections = SINGLE_CONNECTIONS if batch == 1 else SUBMITTERS
        return await self._submit(number, batch, connections)

    async def _submit(self, number: int, batch: int, connections: int) -> list[float]:
        # An answer is two lines: the length of the id, and the id.
        return await repeat(lines(2 * batch), self.port, connections, ADD * batch, number // batch)

    async def drain(self, number: int) -> list[float]:
        return await self._work_off(number, 0)

    async def both(self, number: int) -> list[float]:
        submit = self._submit(number, BATCH, SUBMITTERS_BESIDE_WORKERS)
        return list((await together(submit, self._work_off(number, 5_000)))[1])

    async def _work_off(self, number: int, wait_ms: int) -> list[float]:
        # Who reads makes no difference to the server, so all have one name and one request.
        more = read(0, BATCH, wait_ms)

        def next_(data: bytes) -> tuple[bytes, bytes, int]:
            ids = _ID.findall(data)
            if not ids:
                return more, b"", 0
            return end(ids) + more, b":%d\r\n:%d\r\n" % (len(ids), len(ids)), len(ids)

        return await work_off(StreamWorker, self.port, number, [more] * WORKERS, next_)

    async def one_by_one(self, samples: int) -> Latencies:
        submitter, worker, reader = [await Asker(LinesConnection).open(self.port) for _ in range(3)]
        submitter.connection.lines = 2
        reader.connection.lines = 5  # *2, $4, done, $1, 1
        found = Latencies([], [])
        for _ in range(samples):
            worker.connection.lines = 13  # the message, with its lengths
            parked = worker.ask(read(0, 1, 30_000))
            await asyncio.sleep(SETTLE_S)
            began_s = time.perf_counter()
            await submitter.ask(ADD)
            seen = reader.ask(command(b"BRPOP", DONE, b"30"))
            ids = _ID.findall(await parked)
            start_s = worker.arrived_s - began_s
            worker.connection.lines = 3
            await worker.ask(end(ids) + command(b"LPUSH", DONE, b"1"))
            await seen
            found.starts.append(start_s)
            found.results.append(reader.arrived_s - began_s)
        for asker in (submitter, worker, reader):
            await asker.close()
        return found


class RedisAlways(RedisStreams):
    name = "redis-always"
    label = "Redis Streams, always"
    fsync = "always"
    durability = SYNCED


class RedisEverySecond(RedisStreams):
    name = "redis-everysec"
    label = "Redis Streams, everysec"
    fsync = "everysec"
    durability = "fsync each second"
    rows = frozenset({"W1", "W2", "W3", "W4", "W5", "W7"})
    pace = Pace(single=90_000, batched=550_000, drained=280_000, both=150_000)
