"""The names of events, and the patterns that ask for them.

A name is segments of letters, digits, `_` and `-`, joined by dots. A pattern is a name, a name
followed by `.*` (everything below it), or `*`.
"""

import re
from collections.abc import Sequence
from typing import Final

from headrace.wire.limits import EVENT_CHARS_MAX, EVENT_PATTERNS_MAX, EVENT_SEGMENTS_MAX

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
PING: Final = "webhook.ping"
OWN_EVENTS: Final = frozenset({*EVENT_OF_STATUS.values(), AUTH_FAILED, PING})
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
        own = " or ".join(f"{segment}." for segment in sorted(OWN_SEGMENTS))
        raise ValueError(f"events that begin with {own} are the server's own")
    return name


def check_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns of an endpoint, each once, in order.

    Raises: ValueError
    """
    if not 1 <= len(patterns) <= EVENT_PATTERNS_MAX:
        raise ValueError(f"an endpoint asks for 1 to {EVENT_PATTERNS_MAX} events or patterns")
    for pattern in patterns:
        if pattern != "*":
            check_name(pattern.removesuffix(".*"))
    return tuple(dict.fromkeys(patterns))


def patterns_for(name: str) -> list[str]:
    """Return every pattern that matches an event, the most exact first."""
    segments = name.split(".")
    above = [".".join(segments[:end]) + ".*" for end in range(len(segments) - 1, 0, -1)]
    return [name, *above, "*"]
