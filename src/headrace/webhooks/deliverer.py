"""Takes deliveries out of the outbox and makes requests of them, for as long as it runs.

It owns the loop and the clock's reading; who is tried when is `dispatch`'s business, and what
happened is marked in the outbox before anything is forgotten here. So a crash at any point leads
to a second delivery at worst, under the same id.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Final

import msgspec

from headrace.webhooks.contract import (
    Answer,
    Clock,
    Delivery,
    Endpoint,
    Endpoints,
    Lane,
    Outbox,
    Post,
    Sender,
    Try,
)
from headrace.webhooks.dispatch import NEVER_MS, Bounds, Dispatcher, Flight, Line
from headrace.webhooks.limits import AGE_MS_MAX, GIVE_UP_PAGE
from headrace.webhooks.retrying import GONE, asked_ms, is_success, retry_ms
from headrace.webhooks.signing import signed_headers
from headrace.webhooks.urls import host_of

LOOKS_PER_TURN: Final = 32
"""Lines looked at before others on the loop get their turn: each is a read of the store."""

_log: Final = logging.getLogger(__name__)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Since the start, but for the last two. Cost: O(1)."""

    delivered: int
    failed: int
    """Tries without success, the last ones too."""
    dead: int
    disabled: int
    in_flight: int
    pending: int


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint did lately; in memory only."""

    last: Try
    failures: int
    """In a row."""
    in_flight: int
    rests_until_ms: int
    """On the engine's clock; 0 while it answers."""


class Deliverer:
    """The service: `run` it once; `expect` what was committed; `stop` it."""

    def __init__(
        self,
        outbox: Outbox,
        endpoints: Endpoints,
        sender: Sender,
        clock: Clock,
        *,
        chance: Callable[[], float] = random.random,
        bounds: Bounds | None = None,
    ) -> None:
        self._outbox = outbox
        self._endpoints = endpoints
        self._sender = sender
        self._clock = clock
        self._chance = chance
        self._dispatcher = Dispatcher(bounds)
        self._tasks: set[asyncio.Task[bool]] = set()
        self._news = asyncio.Event()
        self._stopping = False
        self._over = asyncio.Event()
        self._over.set()
        self._delivered = 0
        self._failed = 0
        self._dead = 0
        self._disabled = 0

    def expect(self, endpoint_id: str, tenant_id: str, *, anew: bool = False) -> None:
        """Look for what was committed for an endpoint.

        To be called after the commit; once for many is enough. `anew` when a person changed or
        enabled the endpoint or asked for a replay: how it failed before no longer counts.

        Cost: O(log n).
        """
        self._dispatcher.expect(endpoint_id, tenant_id, anew=anew)
        self._news.set()

    def poke(self) -> None:
        """Look at the clock again: it was moved."""
        self._news.set()

    def totals(self) -> Totals:
        return Totals(
            delivered=self._delivered,
            failed=self._failed,
            dead=self._dead,
            disabled=self._disabled,
            in_flight=self._dispatcher.flights,
            pending=self._outbox.pending(),
        )

    def status(self, endpoint_id: str) -> EndpointStatus | None:
        """Return how an endpoint did; None when it was not tried since the start. Cost: O(1)."""
        line = self._dispatcher.find(endpoint_id)
        if line is None or line.last is None:
            return None
        return EndpointStatus(
            last=line.last,
            failures=line.failures,
            in_flight=len(line.flights),
            rests_until_ms=line.cool_ms,
        )

    async def run(self) -> None:
        """Deliver until `stop`.

        Raises: ExceptionGroup of what the outbox or the endpoints raised; nothing is marked then
        that did not happen, and a new one can take over.
        """
        assert self._over.is_set(), "it runs once at a time"
        self._over.clear()
        try:
            for endpoint_id, tenant_id in self._outbox.waiting():
                self._dispatcher.expect(endpoint_id, tenant_id)
            async with asyncio.TaskGroup() as group:
                while not self._stopping:
                    self._news.clear()
                    if self._turn(group):
                        await asyncio.sleep(0)
                    else:
                        await self._wait()
        finally:
            self._over.set()

    async def stop(self, within_s: float) -> None:
        """Start nothing more; let what is out end within the time, and leave the rest pending."""
        self._stopping = True
        self._news.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in self._tasks:
            task.cancel()
        await self._over.wait()

    async def _wait(self) -> None:
        due_ms = self._dispatcher.due_ms()
        delay_s = None if due_ms >= NEVER_MS else max(0, due_ms - self._clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(delay_s):
                await self._news.wait()
        except TimeoutError:
            pass

    def _turn(self, group: asyncio.TaskGroup) -> bool:
        """Start what can be started; tell whether there may be more."""
        now_ms = self._clock.now_ms()
        for _ in range(LOOKS_PER_TURN):
            line = self._dispatcher.take(now_ms)
            if line is None:
                return False
            self._look(line, now_ms, group)
        return True

    def _look(self, line: Line, now_ms: int, group: asyncio.TaskGroup) -> None:
        """See what is pending for a line, and start the first of it if its time has come."""
        limit = len(line.flights) + (GIVE_UP_PAGE if line.failures else 1)
        page = self._outbox.page(line.endpoint_id, limit)
        waiting = [row for row in page if row.message_id not in line.flights]
        if not waiting:
            self._dispatcher.pause(line, NEVER_MS)
            return
        first = waiting[0]
        endpoint = self._endpoint(first)
        if endpoint is None or not endpoint.enabled:
            reason = "the endpoint was deleted" if endpoint is None else "the endpoint is disabled"
            waiting = [
                row
                for row in self._outbox.page(line.endpoint_id, len(line.flights) + GIVE_UP_PAGE)
                if row.message_id not in line.flights
            ]
            self._give_up(line, waiting, reason, now_ms, group)
            return
        old = [row for row in waiting if line.failures and row.since_ms + AGE_MS_MAX <= now_ms]
        if old:
            self._give_up(line, old, "the endpoint failed for too long", now_ms, group)
        elif first.due_ms > now_ms:
            self._dispatcher.pause(line, first.due_ms)
        elif line.lane is Lane.NEW and first.tries:
            self._dispatcher.demote(line)
        else:
            host = host_of(endpoint.url)
            if not self._dispatcher.hold(line, host):
                flight = self._dispatcher.launch(line, first.message_id, host, now_ms)
                self._start(group, flight, self._fly(flight, endpoint, first))

    def _endpoint(self, delivery: Delivery) -> Endpoint | None:
        if not delivery.url:
            return self._endpoints.endpoint(delivery.endpoint_id)
        return Endpoint(
            endpoint_id=delivery.endpoint_id,
            tenant_id=delivery.tenant_id,
            url=delivery.url,
            secrets=tuple(self._endpoints.tenant_secrets(delivery.tenant_id)),
        )

    def _start(
        self, group: asyncio.TaskGroup, flight: Flight, flying: Coroutine[None, None, bool]
    ) -> None:
        """Let a flight fly. It lands however its task ends, also one that never began."""

        def landed(task: asyncio.Task[bool]) -> None:
            self._tasks.discard(task)
            done = not task.cancelled() and task.exception() is None and task.result()
            self._dispatcher.land(flight, done=done)
            self._news.set()

        task = group.create_task(flying)
        self._tasks.add(task)
        task.add_done_callback(landed)

    async def _fly(self, flight: Flight, endpoint: Endpoint, delivery: Delivery) -> bool:
        """Make one try, and mark what came of it; tell whether the delivery is over."""
        at_ms, started_ms = self._clock.wall_ms(), self._clock.now_ms()
        answer = await self._send(flight, endpoint, delivery, at_ms)
        now_ms = self._clock.now_ms()
        last = Try(
            at_ms=at_ms,
            status=answer.status,
            error=answer.error or _error_of(answer.status),
            took_ms=max(0, now_ms - started_ms),
        )
        flight.line.last = last
        if not is_success(answer.status):
            return await self._fail(flight, delivery, last, answer, now_ms)
        self._dispatcher.succeeded(flight, last.took_ms)
        await self._outbox.delivered(delivery, last)
        self._delivered += 1
        return True

    async def _send(
        self, flight: Flight, endpoint: Endpoint, delivery: Delivery, at_ms: int
    ) -> Answer:
        body = self._outbox.body(delivery)
        try:
            headers = signed_headers(endpoint.secrets, delivery.message_id, at_ms, body)
        except ValueError:
            return Answer(error="the endpoint's secret cannot be used")
        return await self._sender.send(
            Post(url=endpoint.url, headers=headers, body=body, lane=flight.lane)
        )

    async def _fail(
        self, flight: Flight, delivery: Delivery, last: Try, answer: Answer, now_ms: int
    ) -> bool:
        """Mark a failed try; tell whether the delivery is over with it."""
        asked = asked_ms(answer.status, answer.retry_after, last.at_ms)
        self._dispatcher.failed(flight, now_ms, asked, self._chance())
        if flight.line.failures == 1:
            _log.info("webhook endpoint %s fails: %s", delivery.endpoint_id, last.error)
        wait_ms = retry_ms(delivery.tries + 1, self._chance())
        gone = answer.status == GONE
        if gone and not delivery.url:
            await self._endpoints.disable(delivery.endpoint_id, last.error)
            self._disabled += 1
            _log.warning("webhook endpoint %s is disabled: it is gone", delivery.endpoint_id)
        if gone or wait_ms is None:
            await self._outbox.dead([delivery], last)
            self._dead += 1
        else:
            await self._outbox.failed(delivery, last, now_ms + max(wait_ms, asked))
        self._failed += 1
        return gone or wait_ms is None

    def _give_up(
        self,
        line: Line,
        deliveries: Sequence[Delivery],
        reason: str,
        now_ms: int,
        group: asyncio.TaskGroup,
    ) -> None:
        """Take deliveries out without a try; holds the line's place like a request."""
        flight = self._dispatcher.launch(line, deliveries[0].message_id, "", now_ms, alone=True)
        last = Try(at_ms=self._clock.wall_ms(), error=reason)
        self._start(group, flight, self._bury(deliveries, last))

    async def _bury(self, deliveries: Sequence[Delivery], last: Try) -> bool:
        await self._outbox.dead(deliveries, last)
        self._dead += len(deliveries)
        return False


def _error_of(status: int) -> str:
    if is_success(status):
        return ""
    if 300 <= status <= 399:
        return f"answered {status}; redirects are not followed"
    if status == GONE:
        return f"answered {status}: the receiver is gone"
    return f"answered {status}"
