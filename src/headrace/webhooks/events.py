"""The names of events, the patterns that ask for them, and who asked.

A name is segments of letters, digits, `_` and `-`, joined by dots. A pattern is a name, a name
followed by `.*` (everything below it), or `*`.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from headrace.webhooks.limits import (
    ENDPOINTS_PER_TENANT_MAX,
    EVENT_CHARS_MAX,
    EVENT_SEGMENTS_MAX,
    PATTERNS_MAX,
)

EVENT_OF_STATUS: Final = {
    "completed": "job.completed",
    "failed": "job.failed",
    "timeout": "job.timeout",
    "cancelled": "job.cancelled",
    "skipped": "job.skipped",
    "suspended": "job.suspended",
}
"""A job's status word, and the event of having reached it."""
AUTH_FAILED: Final = "auth.failed"
OWN_EVENTS: Final = frozenset({*EVENT_OF_STATUS.values(), AUTH_FAILED})
OWN_SEGMENTS: Final = frozenset(name.partition(".")[0] for name in OWN_EVENTS)
"""First segments that no handler may use: a receiver can believe these events."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def check_name(name: str) -> str:
    """Return the name of an event.

    Raises: ValueError with a sentence that says what is accepted.
    """
    if len(name) > EVENT_CHARS_MAX or name.count(".") >= EVENT_SEGMENTS_MAX:
        raise ValueError(
            f"an event's name has at most {EVENT_CHARS_MAX} characters "
            f"in {EVENT_SEGMENTS_MAX} segments"
        )
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            "an event's name is made of letters, digits, - and _ in segments joined by dots, "
            'such as "scene.loaded"'
        )
    return name


def check_emitted(name: str) -> str:
    """Return the name of an event that a handler emits: not one of the server's own.

    Raises: ValueError
    """
    check_name(name)
    if name.partition(".")[0] in OWN_SEGMENTS:
        own = " and ".join(f"{segment}." for segment in sorted(OWN_SEGMENTS))
        raise ValueError(f"events that begin with {own} are the server's own")
    return name


def check_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns of an endpoint, each once, in order.

    Raises: ValueError
    """
    if not 1 <= len(patterns) <= PATTERNS_MAX:
        raise ValueError(f"an endpoint asks for 1 to {PATTERNS_MAX} events or patterns")
    for pattern in patterns:
        if pattern != "*":
            check_name(pattern.removesuffix(".*"))
    return tuple(dict.fromkeys(patterns))


def patterns_for(name: str) -> list[str]:
    """Return every pattern that matches an event, the most exact first."""
    segments = name.split(".")
    above = [".".join(segments[:end]) + ".*" for end in range(len(segments) - 1, 0, -1)]
    return [name, *above, "*"]


class Subscriptions:
    """Which endpoints of a tenant asked for an event.

    Cost: `matching` looks at one pattern a segment, and at those who match.
    """

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, str], tuple[str, ...]] = {}
        self._endpoints: dict[tuple[str, str], dict[str, None]] = {}
        self._counts: dict[str, int] = {}

    def put(self, tenant_id: str, endpoint_id: str, patterns: Iterable[str]) -> None:
        """Set what an endpoint asks for, in place of what it asked before.

        Raises: ValueError when the tenant has as many endpoints as it may.
        """
        key = (tenant_id, endpoint_id)
        if key not in self._patterns:
            if self._counts.get(tenant_id, 0) >= ENDPOINTS_PER_TENANT_MAX:
                raise ValueError(f"a tenant has at most {ENDPOINTS_PER_TENANT_MAX} endpoints")
            self._counts[tenant_id] = self._counts.get(tenant_id, 0) + 1
        else:
            self._forget(key)
        self._patterns[key] = tuple(patterns)
        for pattern in self._patterns[key]:
            self._endpoints.setdefault((tenant_id, pattern), {})[endpoint_id] = None

    def remove(self, tenant_id: str, endpoint_id: str) -> None:
        """Forget an endpoint that was deleted or disabled."""
        key = (tenant_id, endpoint_id)
        if key not in self._patterns:
            return
        self._forget(key)
        del self._patterns[key]
        self._counts[tenant_id] -= 1
        if not self._counts[tenant_id]:
            del self._counts[tenant_id]

    def matching(self, tenant_id: str, name: str) -> list[str]:
        """Return the endpoints that get an event, each once."""
        found: dict[str, None] = {}
        for pattern in patterns_for(name):
            found.update(self._endpoints.get((tenant_id, pattern), {}))
        return list(found)

    def _forget(self, key: tuple[str, str]) -> None:
        tenant_id, endpoint_id = key
        for pattern in self._patterns[key]:
            asking = self._endpoints[tenant_id, pattern]
            asking.pop(endpoint_id, None)
            if not asking:
                del self._endpoints[tenant_id, pattern]
