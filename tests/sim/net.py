"""Requests and answers between clients and the server: late, lost, or twice."""

from collections.abc import Callable
from typing import Any, Final

from headrace.core.commands import Caller, Command
from headrace.runtime.listing import NOBODY
from sim.server import Server
from sim.settings import Settings
from sim.world import World

DELAYED_MS: Final = (100, 4_000)
REFUSED_MS: Final = 5


class Net:
    def __init__(self, world: World, settings: Settings, server: Server) -> None:
        self._world = world
        self._server = server
        self.rates = dict(settings.rates)
        self._ms = settings.net_ms

    def _happens(self, kind: str) -> bool:
        rate = self.rates.get(kind)
        if rate is None or self._world.random() >= rate:
            return False
        self._world.counts["fault " + kind] += 1
        return True

    def _latency_ms(self) -> int:
        if self._happens("net_delay"):
            return self._world.between(*DELAYED_MS)
        return self._world.between(0, self._ms)

    def owner_id(self, caller: Caller) -> int:
        """Return the number that a handler would find for a caller."""
        owners = self._server.engine.live.owners
        return owners.get((caller.tenant, caller.user), NOBODY)

    def ask(
        self, make: Callable[[], Command], done: Callable[[Any], None], timeout_ms: int
    ) -> None:
        """Send a request. `make` gives the command for each arrival; `done` hears one answer:
        the reply, a `Problem`, or None if there was none in time."""
        request = _Request(self, done)
        world = self._world
        if not self._happens("net_drop_request"):
            world.at(self._latency_ms(), self._arrive, make, request)
        if self._happens("net_duplicate"):
            world.at(self._latency_ms() + 1, self._arrive, make, None)
        request.timer = world.at(timeout_ms, self._give_up, request)

    def _arrive(self, make: Callable[[], Command], request: "_Request | None") -> None:
        server = self._server
        world = self._world
        if not server.up or server.failing:
            if request is not None:
                world.at(REFUSED_MS, request.answer, None)
            return
        wait_ms = server.loop.stalled_until - world.now
        if wait_ms > 0:
            world.at(wait_ms, self._arrive, make, request)
            return
        if request is not None and request.done is None:
            return  # the client has closed the connection by now
        call = server.ask(make(), _ignore if request is None else request.reply)
        if request is not None:
            request.call, request.server_life = call, server.loop

    def _give_up(self, request: "_Request") -> None:
        """The client waits no longer. A half-open connection lets the server go on waiting."""
        open_call = request.call and request.server_life is self._server.loop
        if open_call and self._server.up and not self._happens("net_half_open"):
            self._world.at(
                self._latency_ms(), self._server.hang_up, request.call, loop=self._server.loop
            )
        request.answer(None)


class _Request:
    """One request of a client until its answer."""

    __slots__ = ("_net", "call", "done", "server_life", "timer")

    def __init__(self, net: Net, done: Callable[[Any], None]) -> None:
        self._net = net
        self.done: Callable[[Any], None] | None = done
        self.call = 0
        self.server_life: Any = None
        self.timer: Any = None

    def reply(self, reply: Any) -> None:
        """The server's answer is on its way."""
        net = self._net
        if not net._happens("net_drop_reply"):
            net._world.at(net._latency_ms(), self.answer, reply)

    def answer(self, reply: Any) -> None:
        done, self.done = self.done, None
        if done is not None:
            self.timer.cancel()
            done(reply)


def _ignore(_reply: Any) -> None:
    """A duplicate's answer has nobody to hear it."""
