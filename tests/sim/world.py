"""Virtual time: one heap of events, one source of random numbers, and the pump's event loop."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, Final, NoReturn
from zlib import crc32

import msgspec

START_MS: Final = 1_750_000_000_000
"""Wall clock at the start."""
EVENTS_SHOWN: Final = 40


class Violation(BaseException):
    """A checker's finding. Not an `Exception`: the pump takes those for defects of its own."""

    def __init__(self, checker: str, detail: str) -> None:
        super().__init__(f"{checker}: {detail}")
        self.checker = checker
        self.detail = detail

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return Violation, (self.checker, self.detail)


def fail(checker: str, detail: str) -> NoReturn:
    """End the run: a checker found something wrong."""
    raise Violation(checker, detail)


class Handle(msgspec.Struct, gc=False):
    """An event to come. The pump cancels some."""

    fn: Any
    args: tuple[Any, ...]
    loop: Any
    """Of the server whose event it is; None: of the world."""

    def cancel(self) -> None:
        self.fn = None


class World:
    """Time, chance and events. Also stands in for the module `time` in `runtime.clock`."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.random = self.rng.random
        self.now = 0
        self.wall_shift_ms = 0
        self.steps = 0
        self.trace = seed & 0xFFFFFFFF
        self.counts: Counter[str] = Counter()
        self.last: deque[tuple[int, int, str, Any]] = deque(maxlen=EVENTS_SHOWN)
        self._heap: list[tuple[int, int, Handle]] = []
        self._sequence = 0

    # The module `time` --------------------------------------------------------------------------

    def monotonic_ns(self) -> int:
        return self.now * 1_000_000

    def time_ns(self) -> int:
        return (START_MS + self.now + self.wall_shift_ms) * 1_000_000

    def wall_ms(self) -> int:
        return START_MS + self.now + self.wall_shift_ms

    # Events -------------------------------------------------------------------------------------

    def at(
        self, delay_ms: int, fn: Callable[..., Any], *args: Any, loop: "Loop | None" = None
    ) -> Handle:
        handle = Handle(fn, args, loop)
        self._sequence += 1
        heappush(self._heap, (self.now + delay_ms, self._sequence, handle))
        return handle

    def step(self) -> bool:
        """Let the next event happen. Returns False when there is none."""
        while self._heap:
            at_ms, _, handle = heappop(self._heap)
            fn = handle.fn
            loop = handle.loop
            if fn is None or (loop is not None and loop.dead):
                continue
            if loop is not None and loop.stalled_until > at_ms:
                self._sequence += 1
                heappush(self._heap, (loop.stalled_until, self._sequence, handle))
                continue
            self.now = at_ms
            self.steps += 1
            fn(*handle.args)
            return True
        return False

    def note(self, what: str, detail: Any = "") -> None:
        """Remember an event for the report of a failure."""
        self.last.append((self.steps, self.now, what, detail))

    def mark(self, data: bytes) -> None:
        """Let the trace depend on `data`."""
        self.trace = crc32(data, self.trace)

    def fault(self, kind: str) -> None:
        self.counts["fault " + kind] += 1
        self.note("fault", kind)

    # Chance -------------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def between(self, low: int, high: int) -> int:
        return low + int(self.random() * (high - low + 1))

    def pick(self, options: Any) -> Any:
        return options[int(self.random() * len(options))]


class Future:
    """As much of `asyncio.Future` as the pump and `asyncio.Event` use."""

    __slots__ = ("_loop", "_result", "_state", "wake")

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._state = 0  # 0 pending, 1 done, 2 cancelled
        self._result: Any = None
        self.wake: Callable[[], None] | None = None

    def done(self) -> bool:
        return self._state != 0

    def cancelled(self) -> bool:
        return self._state == 2

    def set_result(self, result: Any) -> None:
        assert self._state == 0, "answered twice"
        self._state = 1
        self._result = result
        if self.wake is not None:
            self._loop.call_soon(self.wake)

    def cancel(self) -> None:
        if self._state == 0:
            self._state = 2

    def __await__(self) -> Any:
        if self._state == 0:
            yield self
        if self._state == 2:
            raise asyncio.CancelledError
        return self._result


class Loop:
    """As much of an event loop as the pump uses, for one life of the server."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False
        self.stalled_until = 0

    def time(self) -> float:
        return self._world.now / 1000

    def call_soon(self, fn: Callable[..., Any], *args: Any) -> Handle:
        return self._world.at(0, fn, *args, loop=self)

    call_soon_threadsafe = call_soon

    def call_later(self, delay_s: float, fn: Callable[..., Any], *args: Any) -> Handle:
        return self._world.at(max(1, -int(-delay_s * 1000)), fn, *args, loop=self)

    def create_future(self) -> Future:
        return Future(self)

    def run_in_executor(self, _executor: None, fn: Callable[..., Any]) -> Future:
        future = Future(self)
        future.set_result(fn())
        return future


class Task:
    """Drives one coroutine; `done(result, error)` hears its end."""

    __slots__ = ("_coroutine", "_done", "_waits_for", "over")

    def __init__(self, coroutine: Any, done: Callable[[Any, BaseException | None], None]) -> None:
        self._coroutine = coroutine
        self._done = done
        self._waits_for: Future | None = None
        self.over = False
        self._go()

    def _go(self) -> None:
        if self.over:
            return
        try:
            future = self._coroutine.send(None)
        except StopIteration as stop:
            self._end(stop.value, None)
        except (Exception, asyncio.CancelledError) as error:
            self._end(None, error)
        else:
            self._waits_for = future
            if future is None:  # it lets others have their turn
                asyncio.get_running_loop().call_soon(self._go)
            else:
                future.wake = self._go

    def cancel(self) -> None:
        """As when a connection closes: what is awaited is cancelled, then the coroutine."""
        if not self.over and self._waits_for is not None:
            self._waits_for.cancel()
            self._go()

    def drop(self) -> None:
        """The process died: nothing of it runs any more."""
        self.over = True
        self._coroutine.close()

    def _end(self, result: Any, error: BaseException | None) -> None:
        self.over = True
        self._done(result, error)
