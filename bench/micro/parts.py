"""One server's parts without its sockets, its loop and its writer thread, driven by hand.

Commands are made of the bytes that clients send, by the handlers, and effects by the engine: so a
benchmark of a part needs no knowledge of what passes between it and its neighbours.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.bench import http
from headrace.core.commands import Caller
from headrace.http.handlers.submit import submit
from headrace.http.handlers.work import poll
from headrace.http.hot import Asked, Handler, Question
from headrace.http.site import Site
from headrace.runtime.config import Config
from headrace.runtime.node import Node

BATCH = 100
ROUNDS = 200
Rounds = Callable[..., None]
"""The fixture `rounds`."""
CALLER = Caller()


class Caught(BaseException):
    """The command a handler asks: no exception that it may treat."""

    def __init__(self, command: Any) -> None:
        super().__init__()
        self.command = command


class Catcher:
    """In the place of the pump: takes the command, and nothing comes after it."""

    def __init__(self, pump: Any) -> None:
        self._pump = pump

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pump, name)

    async def ask(self, command: Any) -> Any:
        raise Caught(command)


def body(request: bytes) -> bytes:
    return request.partition(b"\r\n\r\n")[2]


class Parts:
    """`data_dir` None: the store is in memory."""

    def __init__(self, data_dir: Path | None = None) -> None:
        self.node = Node(Config(data_dir=data_dir, accept_any_filesystem=True))
        self.engine, self.store = self.node.engine, self.node.store
        self.site = Site(self.node)
        self.site.pump = Catcher(self.node.pump)  # type: ignore[assignment]
        self.caller = CALLER
        self.commit([])

    def close(self) -> None:
        self.store.close()

    # Requests to commands -----------------------------------------------------------------------

    def submit_command(self, request: bytes) -> Any:
        return self._asked(submit, request)[0]

    def poll_question(self, request: bytes) -> Question:
        question = self._asked(poll, request)[1]
        assert question is not None
        return question

    def _asked(self, handler: Handler, request: bytes) -> tuple[Any, Question | None]:
        begun = handler(self.site, Asked(self.caller, None, None, request))
        if isinstance(begun, Question):
            return begun.command, begun
        while True:
            try:
                begun.send(None)  # a large batch lets others have their turn now and then
            except Caught as caught:
                return caught.command, None

    # Commands to effects ------------------------------------------------------------------------

    def apply(self, command: Any) -> tuple[Any, list[Any]]:
        now_ms = self.node.clock.now_ms()
        reply, effects = self.engine.apply(now_ms, command)
        return reply, effects + self.engine.settle(now_ms)

    def commit(self, effects: list[Any]) -> None:
        batch = self.store.stage(effects, time.time_ns() // 1_000_000)
        self.engine.staged()
        self.store.write(batch)
        self.store.settle(batch)

    def do(self, command: Any) -> Any:
        reply, effects = self.apply(command)
        self.commit(effects)
        return reply

    # Jobs ---------------------------------------------------------------------------------------

    def fill(self, number: int) -> None:
        many = body(http.submit(1_000))
        for _ in range(number // 1_000):
            self.do(self.submit_command(many))

    def lease(self, number: int = BATCH) -> list[bytes]:
        """Take jobs; return their leases."""
        reply = self.do(self.poll_question(self.wanting(number)).command)
        return [grant.lease.encode() for grant in reply.jobs]

    @staticmethod
    def wanting(number: int) -> bytes:
        return body(http.poll("w", number, "0s"))

    @staticmethod
    def ending(leases: list[bytes]) -> bytes:
        return body(http.poll("w", 0, "0s", http.completed(leases)))
