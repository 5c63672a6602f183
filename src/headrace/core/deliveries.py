"""What is sent to whom: a delivery is one event for one endpoint, and waits until that has it.

Made by `core.announcing`, in the commit of what it tells; tried by whoever runs the engine, who
says with `commands.Mark` what became of it.
"""

from hashlib import blake2b
from typing import Final

import msgspec

ENDPOINT_BYTES: Final = 16

WAITS: Final = -1
FORGOTTEN: Final = -2
"""It is over, and nobody can look at it: its URL was a job's own, or its webhook is gone."""


class Tried(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """What became of the latest try of a delivery, for whoever looks."""

    at_ms: int
    """Wall clock."""
    status: int = 0
    """Of the receiver's answer; 0: none came."""
    error: str = ""
    """Empty: the receiver has it."""
    took_ms: int = 0


class Delivery(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """One event for one endpoint. What is told of a job is read from the job when it is sent."""

    number: int
    """Of the event: rises, and is the same at all endpoints."""
    endpoint: bytes
    """16 bytes: of a webhook's id, or over tenant and URL."""
    event: str
    tenant: str
    at_ms: int
    """Wall clock of the event."""
    due_ms: int
    """On the engine's clock: not tried before."""
    since_ms: int
    """On the engine's clock: when it came, or was last asked for again."""
    job_id: bytes = b""
    status: int = 0
    """Where the job got to; 0 for an event that is not of that."""
    attempt: int = 0
    data: bytes = b""
    """JSON; of an event that is not of a job's status."""
    url: str = ""
    """Named by the job itself; empty: a registered webhook's."""
    tries: int = 0
    last: Tried | None = None

    def __repr__(self) -> str:
        return f"Delivery({self.number}, {self.event!r}, {self.endpoint.hex()}, tries={self.tries})"


def endpoint_of_url(tenant: str, url: str) -> bytes:
    """Return the endpoint of a URL that jobs of a tenant name: they wait for each other."""
    return blake2b(f"{tenant}\0{url}".encode(), digest_size=ENDPOINT_BYTES).digest()
