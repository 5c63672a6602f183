"""An outbox, endpoints, a clock and senders that are all in memory."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

import msgspec

from headrace.webhooks.contract import Answer, Delivery, Endpoint, Post, Try

SECRET = "whsec_" + "QUFB" * 8
START_MS = 1_800_000_000_000


class FakeClock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def wall_ms(self) -> int:
        return self.ms


class FakeOutbox:
    """As a store would do it; marks are kept in the order in which they came."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Delivery] = {}
        self.marks: list[tuple[str, str, str, Try]] = []
        """(what, endpoint, message, the try)"""
        self.delays: list[int] = []
        """Between a failed try and the next one's due time."""
        self.read = 0
        """Rows that were read."""
        self.changed = asyncio.Event()
        self.bodies: dict[str, bytes] = {}
        self.broken: Exception | None = None

    def put(self, endpoint: str, message: str = "m1", **fields: object) -> Delivery:
        known = {"due_ms": START_MS, "since_ms": START_MS, "tenant_id": "t"}
        delivery = msgspec.convert(
            {**known, **fields, "endpoint_id": endpoint, "message_id": message}, Delivery
        )
        self.rows[endpoint, message] = delivery
        return delivery

    def waiting(self) -> Iterable[tuple[str, str]]:
        return list({row.endpoint_id: row.tenant_id for row in self.rows.values()}.items())

    def page(self, endpoint_id: str, limit: int) -> Sequence[Delivery]:
        rows = [row for row in self.rows.values() if row.endpoint_id == endpoint_id]
        found = sorted(rows, key=lambda row: row.due_ms)[:limit]
        self.read += len(found)
        return found

    def body(self, delivery: Delivery) -> bytes:
        return self.bodies.get(delivery.message_id, b"{}")

    def pending(self) -> int:
        return len(self.rows)

    async def delivered(self, delivery: Delivery, last: Try) -> None:
        self._mark("delivered", delivery, last)
        self.rows.pop((delivery.endpoint_id, delivery.message_id), None)

    async def failed(self, delivery: Delivery, last: Try, due_ms: int) -> None:
        self._mark("failed", delivery, last)
        self.delays.append(due_ms - last.at_ms)
        self.rows[delivery.endpoint_id, delivery.message_id] = msgspec.structs.replace(
            delivery, tries=delivery.tries + 1, due_ms=due_ms
        )

    async def dead(self, deliveries: Sequence[Delivery], last: Try) -> None:
        for delivery in deliveries:
            self._mark("dead", delivery, last)
            self.rows.pop((delivery.endpoint_id, delivery.message_id), None)

    def _mark(self, what: str, delivery: Delivery, last: Try) -> None:
        if self.broken is not None:
            raise self.broken
        self.marks.append((what, delivery.endpoint_id, delivery.message_id, last))
        self.changed.set()

    async def until(self, holds: Callable[["FakeOutbox"], bool]) -> None:
        while not holds(self):
            self.changed.clear()
            await self.changed.wait()

    def marked(self) -> list[tuple[str, str, str]]:
        return [mark[:3] for mark in self.marks]


class FakeEndpoints:
    """Every id is an endpoint at a host of its own, unless put otherwise."""

    def __init__(self) -> None:
        self.known: dict[str, Endpoint | None] = {}
        self.disabled: list[tuple[str, str]] = []

    def put(self, endpoint_id: str, **fields: object) -> None:
        known = {"tenant_id": "t", "secrets": (SECRET,), "url": f"https://{endpoint_id}.test/"}
        self.known[endpoint_id] = msgspec.convert(
            {**known, **fields, "endpoint_id": endpoint_id}, Endpoint
        )

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        if endpoint_id not in self.known:
            self.put(endpoint_id)
        return self.known[endpoint_id]

    def tenant_secrets(self, tenant_id: str) -> Sequence[str]:
        return [SECRET]

    async def disable(self, endpoint_id: str, reason: str) -> None:
        self.disabled.append((endpoint_id, reason))
        known = self.endpoint(endpoint_id)
        assert known is not None
        self.known[endpoint_id] = msgspec.structs.replace(known, enabled=False)


class FakeSender:
    """Answers 204, or what it was told per host; `hang` never answers."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[Post], Answer]] = {}
        self.hang: Callable[[str], bool] = lambda host: False
        self.posts: list[Post] = []
        self.out = 0
        self.out_max = 0

    async def send(self, post: Post) -> Answer:
        self.posts.append(post)
        self.out += 1
        self.out_max = max(self.out_max, self.out)
        try:
            await asyncio.sleep(0)
            host = post.url.split("/")[2]
            if self.hang(host):
                await asyncio.Event().wait()
            answer = self.answers.get(host, Answer(status=204))
            return answer if isinstance(answer, Answer) else answer(post)
        finally:
            self.out -= 1
