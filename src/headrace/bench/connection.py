"""Connections with one request under way each, and the loops that the workloads are made of.

A request is bytes made beforehand. Where an answer ends is for the protocol at hand to say; what is
in it is looked at with the scanners of `bytes` and `re`, so that the load costs a fraction of what
it measures.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Self

from headrace.bench.process import HOST, BenchError

OnAnswer = Callable[[Any, bytes, int], None]
"""Called with the connection, the whole answer, and where its body begins."""


class Connection(asyncio.Protocol):
    """One connection. A subclass knows the protocol: it calls `answered` for a whole answer."""

    def __init__(self, crowd: "Crowd", on_answer: OnAnswer) -> None:
        self._crowd = crowd
        self._on_answer = on_answer
        self._partial = b""
        self.sent_s = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._write = transport.write

    def connection_lost(self, error: Exception | None) -> None:
        self._crowd.fail(BenchError("the server closed a connection"))

    def send(self, data: bytes) -> None:
        self.sent_s = time.perf_counter()
        self._write(data)

    def data_received(self, data: bytes) -> None:
        try:
            self.take(self._partial + data if self._partial else data)
        except Exception as error:
            self._crowd.fail(error)

    def take(self, data: bytes) -> None:
        """Look at all that has come since the last answer; `_partial` is what to keep of it."""
        raise AssertionError("a protocol has its own")

    def answered(self, data: bytes, body_at: int) -> None:
        self._crowd.latencies_s.append(time.perf_counter() - self.sent_s)
        self._on_answer(self, data, body_at)


class Crowd:
    """Connections that work for one end. The first that fails ends it for all."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connections: list[Any] = []
        self.latencies_s: list[float] = []
        """From each request to its answer."""

    async def open(
        self, kind: Callable[["Crowd", OnAnswer], Connection], port: int, number: int, on: OnAnswer
    ) -> list[Any]:
        loop = asyncio.get_running_loop()
        for _ in range(number):
            _, made = await loop.create_connection(lambda: kind(self, on), HOST, port)
            self.connections.append(made)
        return self.connections

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.finish()
        for connection in self.connections:
            connection.transport.abort()
        if not self.done.cancelled():
            self.done.exception()  # seen: an error of many connections is told once


async def repeat(
    kind: Callable[[Crowd, OnAnswer], Connection],
    port: int,
    connections: int,
    sent: bytes,
    number: int,
) -> list[float]:
    """Send the same request until `number` are answered; return the seconds each took."""
    to_send, answered = number, 0

    def on_answer(connection: Connection, _data: bytes, _at: int) -> None:
        nonlocal to_send, answered
        answered += 1
        if to_send:
            to_send -= 1
            connection.send(sent)
        elif answered == number:
            crowd.finish()

    async with Crowd() as crowd:
        for connection in (await crowd.open(kind, port, connections, on_answer))[:number]:
            to_send -= 1
            connection.send(sent)
        await crowd.done
        return crowd.latencies_s


class Asker:
    """A connection for one request after another, awaited."""

    def __init__(self, kind: Callable[[Crowd, OnAnswer], Connection]) -> None:
        self._kind = kind
        self._future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.arrived_s = 0.0

    async def open(self, port: int) -> Self:
        self._crowd = Crowd()
        self._crowd.done.add_done_callback(self._ended)
        self.connection = (await self._crowd.open(self._kind, port, 1, self._answered))[0]
        return self

    def _answered(self, _: Connection, data: bytes, body_at: int) -> None:
        self.arrived_s = time.perf_counter()
        self._future.set_result(data[body_at:])

    def _ended(self, done: "asyncio.Future[None]") -> None:
        error = done.exception()
        if error is not None and not self._future.done():
            self._future.set_exception(error)

    def ask(self, sent: bytes) -> "asyncio.Future[bytes]":
        self._future = asyncio.get_running_loop().create_future()
        if self._crowd.done.done():
            self._ended(self._crowd.done)
        else:
            self.connection.send(sent)
        return self._future

    async def close(self) -> None:
        await self._crowd.__aexit__()


async def together(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """Await all; the first that fails ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
