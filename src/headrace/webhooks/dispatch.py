"""Who is tried next. No clock, no I/O: callers pass `now_ms`, and ask when to come back.

Each endpoint with something pending is a *line*. A line waits for its time, then stands in one of
four lanes, by what its last answer was. Each lane has places of its own, so a healthy endpoint
never waits for a dead one; within a lane, tenants take turns, and so do a tenant's lines.

    expect ──▶ WAITING ──due──▶ READY ──take──▶ LOOKED_AT ──launch──▶ READY, or FULL
                 ▲  ▲             ▲             │   │   │                     │
                 │  └─── pause ───┼─────────────┘   │   └─ hold ─▶ HELD       │
                 │                └─ host has room ─┼───────────────┘         │
                 └────────── land, cooldown ────────┼─────────────────────────┘
                                                    └─ pause ─▶ IDLE

A flight that hangs gives its place up after `SLOW_MS` and flies on in a second, bounded set; so
the first minute of an outage costs a lane little.
"""

import heapq
from collections import OrderedDict, deque
from enum import IntEnum
from typing import Final

import msgspec

from headrace.webhooks.contract import Lane, Try
from headrace.webhooks.limits import (
    ENDPOINT_FLIGHTS_MAX,
    HOST_FLIGHTS_MAX,
    LINES_MAX,
    SLOW_MS,
)
from headrace.webhooks.retrying import cooldown_ms

NEVER_MS: Final = 1 << 62
_STALE_TIMERS_MIN: Final = 64


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests may be out; the sums are sockets."""

    young: tuple[int, int, int, int] = (64, 32, 32, 32)
    """A lane each, in the order of `Lane`: flights younger than `SLOW_MS`."""
    old: tuple[int, int, int, int] = (128, 64, 64, 32)
    """And older ones, which no longer hold a place among the young."""
    endpoint_flights: int = ENDPOINT_FLIGHTS_MAX
    host_flights: int = HOST_FLIGHTS_MAX
    lines: int = LINES_MAX

    def __post_init__(self) -> None:
        assert len(self.young) == len(self.old) == len(Lane)
        assert min(*self.young, self.endpoint_flights, self.host_flights) >= 1


class State(IntEnum):
    """Where a line is; in memory only."""

    IDLE = 1  # nothing known to be pending
    WAITING = 2  # for `wake_ms`
    READY = 3  # in its lane's queue
    LOOKED_AT = 4  # taken; the caller looks what there is
    FULL = 5  # as many flights as it may have
    HELD = 6  # its host has as many as it may have


class Line:
    """An endpoint as the dispatcher knows it; in memory only."""

    __slots__ = (
        "cool_ms",
        "endpoint_id",
        "failures",
        "flights",
        "lane",
        "last",
        "permit",
        "round",
        "state",
        "tenant_id",
        "wake_ms",
        "window",
    )

    def __init__(self, endpoint_id: str, tenant_id: str) -> None:
        self.endpoint_id = endpoint_id
        self.tenant_id = tenant_id
        self.state = State.IDLE
        self.lane = Lane.NEW
        self.flights: dict[str, Flight] = {}
        """By message id."""
        self.window = 1
        """Flights it may have: doubles with each success, 1 after a failure."""
        self.failures = 0
        """In a row; those of requests that were out together count as one."""
        self.round = 0
        """Rises when a failure counted."""
        self.wake_ms = NEVER_MS
        """When it is to be looked at; meaningful while WAITING."""
        self.cool_ms = 0
        """Left alone until then, after a failure."""
        self.permit: Host | None = None
        """The host that has kept a place for it, after it was held."""
        self.last: Try | None = None
        """Set by the caller, for display."""


Host = tuple[str, Lane, str]
"""Tenant, lane, name: whose requests to a host are counted together. Many tenants' endpoints may be
on one host; what hangs there of one tenant or lane holds up no other."""


class Flight:
    """A request that is out; in memory only."""

    __slots__ = ("host", "lane", "line", "message_id", "old", "round", "started_ms")

    def __init__(self, line: Line, message_id: str, host: Host, now_ms: int) -> None:
        self.line = line
        self.message_id = message_id
        self.host = host
        self.lane = line.lane
        self.round = line.round
        self.started_ms = now_ms
        self.old = False


class _Places:
    """One lane: who waits in it, and what is out of it."""

    def __init__(self, young_max: int, old_max: int) -> None:
        self.young_max = young_max
        self.old_max = old_max
        self.young: OrderedDict[Flight, None] = OrderedDict()
        """The first is the oldest."""
        self.old = 0
        self.tenants: OrderedDict[str, deque[Line]] = OrderedDict()
        """The first tenant's turn is next. Ordered, since a plain dict is slow to lose its head."""

    @property
    def full(self) -> bool:
        return len(self.young) >= self.young_max

    def put(self, line: Line) -> None:
        self.tenants.setdefault(line.tenant_id, deque()).append(line)

    def pop(self) -> Line:
        tenant_id, lines = next(iter(self.tenants.items()))
        line = lines.popleft()
        if lines:
            self.tenants.move_to_end(tenant_id)
        else:
            del self.tenants[tenant_id]
        return line

    def age(self, now_ms: int) -> None:
        """Let flights that hang fly on without a place among the young."""
        while self.young and self.old < self.old_max:
            flight = next(iter(self.young))
            if flight.started_ms + SLOW_MS > now_ms:
                return
            del self.young[flight]
            flight.old = True
            self.old += 1

    def due_ms(self) -> int:
        if not (self.full and self.tenants and self.old < self.old_max):
            return NEVER_MS
        return next(iter(self.young)).started_ms + SLOW_MS


class Dispatcher:
    """All lines.

    Cost: each call is O(log n) in lines that wait, and independent of how much is pending.
    """

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._lanes = [
            _Places(young, old)
            for young, old in zip(self._bounds.young, self._bounds.old, strict=True)
        ]
        self._lines: dict[str, Line] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()
        """Lines that may be forgotten, the one idle longest first."""
        self._timers: list[tuple[int, int, Line]] = []
        """(wake_ms, a number that makes it unique, line); stale when the line's own differs."""
        self._timer_count = 0
        self._waiting = 0
        self._hosts: dict[Host, int] = {}
        self._held: dict[Host, deque[Line]] = {}
        self.flights = 0

    def __len__(self) -> int:
        return len(self._lines)

    def find(self, endpoint_id: str) -> Line | None:
        return self._lines.get(endpoint_id)

    def expect(self, endpoint_id: str, tenant_id: str, *, anew: bool = False) -> None:
        """Have a line looked at: something may be pending for it. `anew`: at once, even if it
        failed."""
        line = self._lines.get(endpoint_id)
        if line is None:
            line = self._lines[endpoint_id] = Line(endpoint_id, tenant_id)
        if anew:
            line.cool_ms = 0
            line.failures = 0
        if line.state in (State.IDLE, State.WAITING):
            self._wait(line, line.cool_ms)

    def take(self, now_ms: int) -> Line | None:
        """Return a line that may start a flight; the caller looks what is pending for it.

        What follows, before the next `take`, is one of `launch`, `pause`, `hold` and `demote`.
        """
        self._wake(now_ms)
        for places in self._lanes:
            places.age(now_ms)
        while (found := self._first()) is not None:
            lane, line = found
            assert line.state is State.READY
            # Since it was put there, other flights of it may have landed.
            if line.lane is not lane:
                self._ready(line)
            elif len(line.flights) >= line.window:
                line.state = State.FULL
                self._pass_on(line)
            elif line.cool_ms > now_ms:
                self._wait(line, line.cool_ms)
                self._pass_on(line)
            else:
                line.state = State.LOOKED_AT
                return line
        return None

    def _first(self) -> tuple[Lane, Line] | None:
        for lane, places in zip(Lane, self._lanes, strict=True):
            if places.tenants and not places.full:
                return lane, places.pop()
        return None

    def due_ms(self) -> int:
        """Return when `take` may have something that it has not now."""
        while self._timers and not self._is_live(self._timers[0]):
            heapq.heappop(self._timers)
        timer_ms = self._timers[0][0] if self._timers else NEVER_MS
        return min(timer_ms, *(places.due_ms() for places in self._lanes))

    def launch(
        self, line: Line, message_id: str, host: str, now_ms: int, *, alone: bool = False
    ) -> Flight:
        """Note that a request of a taken line is out; `alone`: no other beside it for now."""
        assert line.state is State.LOOKED_AT
        assert message_id not in line.flights
        place = (line.tenant_id, line.lane, host)
        flight = Flight(line, message_id, place, now_ms)
        line.flights[message_id] = flight
        self._lanes[line.lane].young[flight] = None
        self._hosts[place] = self._hosts.get(place, 0) + 1
        self.flights += 1
        if line.permit != place:
            self._pass_on(line)
        line.permit = None
        if alone:
            line.window = 1
        if len(line.flights) >= line.window:
            line.state = State.FULL
        else:
            self._ready(line)
        return flight

    def pause(self, line: Line, until_ms: int) -> None:
        """Leave a taken line until then, or for `NEVER_MS` until `expect`."""
        assert line.state is State.LOOKED_AT
        if until_ms < NEVER_MS:
            self._wait(line, max(until_ms, line.cool_ms))
        else:
            self._rest(line)
        self._pass_on(line)

    def hold(self, line: Line, host: str) -> bool:
        """Keep a taken line back if its host has enough; tell whether."""
        assert line.state is State.LOOKED_AT
        place = (line.tenant_id, line.lane, host)
        if self._hosts.get(place, 0) < self._bounds.host_flights:
            return False
        line.state = State.HELD
        if line.permit != place:
            self._pass_on(line)
        line.permit = None
        self._held.setdefault(place, deque()).append(line)
        return True

    def demote(self, line: Line) -> None:
        """Put a taken line, not tried since the start, among the sick: it failed before that."""
        assert line.state is State.LOOKED_AT
        assert line.lane is Lane.NEW
        line.lane = Lane.SICK
        self._ready(line)

    def succeeded(self, flight: Flight, took_ms: int) -> None:
        """Note that an endpoint answers."""
        line = flight.line
        line.failures = 0
        line.cool_ms = 0
        line.lane = Lane.QUICK if took_ms <= SLOW_MS else Lane.SLOW
        line.window = min(line.window * 2, self._bounds.endpoint_flights)

    def failed(self, flight: Flight, now_ms: int, asked_ms: int, chance: float) -> None:
        """Note that an endpoint failed: it is left alone, as long as it asked for or longer."""
        line = flight.line
        if flight.round == line.round:
            line.round += 1
            line.failures += 1
        wait_ms = max(asked_ms, cooldown_ms(max(line.failures, 1), chance))
        line.cool_ms = max(line.cool_ms, now_ms + wait_ms)
        line.lane = Lane.SICK
        line.window = 1

    def land(self, flight: Flight, *, done: bool) -> None:
        """Note that a flight is over and marked; `done` when nothing of it is pending."""
        line = flight.line
        del line.flights[flight.message_id]
        self.flights -= 1
        if flight.old:
            self._lanes[flight.lane].old -= 1
        else:
            del self._lanes[flight.lane].young[flight]
        if line.state is State.IDLE and done:
            self._rest(line)
        elif line.state in (State.IDLE, State.WAITING) or (
            line.state is State.FULL and len(line.flights) < line.window
        ):
            self._wait(line, line.cool_ms)
        self._leave_host(flight.host)

    def _leave_host(self, host: Host) -> None:
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
        self._release(host)

    def _pass_on(self, line: Line) -> None:
        """Let another line have the place that was kept for this one."""
        host, line.permit = line.permit, None
        if host is not None:
            self._release(host)

    def _release(self, host: Host) -> None:
        held = self._held.get(host)
        if held and self._hosts.get(host, 0) < self._bounds.host_flights:
            line = held.popleft()
            if not held:
                del self._held[host]
            line.permit = host
            self._ready(line)

    def _ready(self, line: Line) -> None:
        line.state = State.READY
        self._lanes[line.lane].put(line)

    def _wait(self, line: Line, wake_ms: int) -> None:
        self._idle.pop(line.endpoint_id, None)
        if line.state is State.WAITING:
            if line.wake_ms == wake_ms:
                return
            self._waiting -= 1
        line.state = State.WAITING
        line.wake_ms = wake_ms
        self._waiting += 1
        self._timer_count += 1
        heapq.heappush(self._timers, (wake_ms, self._timer_count, line))
        if len(self._timers) > 2 * self._waiting + _STALE_TIMERS_MIN:
            self._timers = [timer for timer in self._timers if self._is_live(timer)]
            heapq.heapify(self._timers)

    def _wake(self, now_ms: int) -> None:
        while self._timers and self._timers[0][0] <= now_ms:
            timer = heapq.heappop(self._timers)
            if self._is_live(timer):
                line = timer[2]
                line.wake_ms = NEVER_MS
                self._waiting -= 1
                self._ready(line)

    def _is_live(self, timer: tuple[int, int, Line]) -> bool:
        wake_ms, _, line = timer
        return line.state is State.WAITING and line.wake_ms == wake_ms

    def _rest(self, line: Line) -> None:
        line.state = State.IDLE
        if line.flights:
            return
        self._idle[line.endpoint_id] = None
        self._idle.move_to_end(line.endpoint_id)
        if len(self._idle) > self._bounds.lines:
            forgotten, _ = self._idle.popitem(last=False)
            del self._lines[forgotten]

    def check(self) -> None:
        """Assert every invariant. Cost: O(lines)."""
        queued = [
            line
            for places in self._lanes
            for tenant_id, lines in places.tenants.items()
            for line in lines
            if line.tenant_id == tenant_id
        ]
        ready = [line for line in self._lines.values() if line.state is State.READY]
        assert {id(line) for line in queued} == {id(line) for line in ready}
        assert len(queued) == len(ready), "a line stands in one queue, once"
        waiting = {id(line) for line in self._lines.values() if line.state is State.WAITING}
        timers = [timer for timer in self._timers if self._is_live(timer)]
        assert {id(line) for _, _, line in timers} == waiting
        assert self._waiting == len(waiting)
        held = [line for lines in self._held.values() for line in lines]
        assert all(line.state is State.HELD for line in held)
        permits = {line.permit for line in self._lines.values()}
        for host in self._held:
            assert self._hosts.get(host) or host in permits, "somebody will let them go"
        flights = [flight for line in self._lines.values() for flight in line.flights.values()]
        assert len(flights) == self.flights == sum(self._hosts.values())
        for lane, places in zip(Lane, self._lanes, strict=True):
            out = [flight for flight in flights if flight.lane is lane]
            assert sum(flight.old for flight in out) == places.old <= places.old_max
            assert len(out) - places.old == len(places.young) <= places.young_max
        for line in self._lines.values():
            assert line.state is not State.FULL or len(line.flights) >= line.window
            assert (line.endpoint_id in self._idle) == (
                line.state is State.IDLE and not line.flights
            )
