"""The edges of this package: what it asks of whoever runs it, and what it hands over.

The promise: a delivery in the outbox is tried until it is marked, and its `message_id` stays the
same, so that a receiver can drop what it has seen. A mark is kept when its call returns; a mark for
a delivery that is no longer there changes nothing.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Protocol

import msgspec


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody wants events sent."""

    endpoint_id: str
    tenant_id: str
    url: str
    """As `urls.check_url` returned it."""
    secrets: tuple[str, ...]
    """The newest first; more than one while they are rotated."""
    patterns: tuple[str, ...] = ("*",)
    enabled: bool = True

    def __repr__(self) -> str:
        """Leave out the secrets, and the URL: people put secrets into those too."""
        return f"Endpoint({self.endpoint_id!r}, enabled={self.enabled})"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one endpoint: a row of the outbox. The two ids together are its key."""

    message_id: str
    """The same for all tries and all endpoints of an event; no dot in it."""
    endpoint_id: str
    tenant_id: str
    due_ms: int
    """On the engine's clock: when it may be tried next."""
    since_ms: int
    """On the engine's clock: when it was put here, or last replayed."""
    tries: int = 0
    url: str = ""
    """Of a job's own `webhook_url`, which nobody registered; otherwise empty."""
    row: Any = None
    """What the outbox knows it by."""

    def __repr__(self) -> str:
        return f"Delivery({self.message_id!r}, {self.endpoint_id!r}, tries={self.tries})"


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a delivery's latest try; kept with it for whoever looks."""

    at_ms: int
    """By the wall clock."""
    status: int = 0
    """Of the answer; 0 when none came."""
    error: str = ""
    """Why it is no success, in a sentence without addresses or bodies; empty for a success."""
    took_ms: int = 0


class Outbox(Protocol):
    """Deliveries that wait, grouped by endpoint. Reads are short; marks return when committed."""

    def waiting(self) -> Iterable[tuple[str, str]]:
        """Return (endpoint id, tenant id) of all endpoints with deliveries here.

        Asked once, at the start; later ones are told by `Deliverer.expect`.
        Cost: O(endpoints), one seek each, whatever the number of deliveries.
        """

    def page(self, endpoint_id: str, limit: int) -> Sequence[Delivery]:
        """Return the first deliveries of an endpoint by `due_ms`, those not yet due too.

        Cost: O(limit).
        """

    def body(self, delivery: Delivery) -> bytes:
        """Return what is sent: asked before each try."""

    def pending(self) -> int:
        """Return the number of deliveries here. Cost: O(1)."""

    async def delivered(self, delivery: Delivery, last: Try) -> None:
        """Remove a delivery: its endpoint has it."""

    async def failed(self, delivery: Delivery, last: Try, due_ms: int) -> None:
        """Count a try, and keep the delivery for another one at `due_ms`."""

    async def dead(self, deliveries: Sequence[Delivery], last: Try) -> None:
        """Take deliveries of one endpoint out for good, in one commit; they may be replayed.

        What an endpoint that no longer exists had waiting may be dropped instead.
        """


class Endpoints(Protocol):
    """The endpoints that are registered."""

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Return an endpoint; None when it was deleted. Cost: O(1)."""

    def tenant_secrets(self, tenant_id: str) -> Sequence[str]:
        """Return what signs deliveries to URLs that nobody registered; at least one."""

    async def disable(self, endpoint_id: str, reason: str) -> None:
        """Let an endpoint get nothing more until somebody enables it. Idempotent."""


class Clock(Protocol):
    """As `runtime.clock.Clock`."""

    def now_ms(self) -> int:
        """The engine's time, which `due_ms` is on."""

    def wall_ms(self) -> int:
        """The wall's, which receivers compare with theirs."""


class Lane(IntEnum):
    """Where an endpoint stands in line: among its like, so that the dead hold up the dead."""

    QUICK = 0  # its last answer was a success, in good time
    NEW = 1  # not tried since the start
    SLOW = 2  # its last answer was a success, but took long
    SICK = 3  # its last try failed


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    url: str
    headers: dict[str, str]
    body: bytes
    lane: Lane

    def __repr__(self) -> str:
        return f"Post(lane={self.lane.name})"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int = 0
    """0 when no answer came."""
    error: str = ""
    """Why none came."""
    retry_after: str = ""
    """The header, as it came."""


class Sender(Protocol):
    """Who makes the requests."""

    async def send(self, post: Post) -> Answer:
        """Make a request. Whatever the network does is an answer, never an exception."""
