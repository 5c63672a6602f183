"""When a delivery that failed is tried again, and what a receiver may say about it."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from headrace.webhooks.limits import (
    COOLDOWN_MS,
    JITTER_PART,
    RETRY_AFTER_MS_MAX,
    RETRY_MS,
    TRIES_MAX,
)

GONE: Final = 410
_ASKING: Final = frozenset({429, 503})
"""Answers whose Retry-After is heard."""


def is_success(status: int) -> bool:
    """Tell whether the receiver has the message: 2xx alone. A redirect is not followed."""
    return 200 <= status <= 299


def retry_ms(tries: int, chance: float) -> int | None:
    """Return the wait after so many tries; None after the last.

    Units: `chance` in [0, 1).
    """
    assert tries >= 1
    if tries >= TRIES_MAX:
        return None
    return _jittered(RETRY_MS[tries], chance)


def cooldown_ms(failures: int, chance: float) -> int:
    """Return how long an endpoint is left alone after so many failures in a row."""
    assert failures >= 1
    return _jittered(COOLDOWN_MS[min(failures, len(COOLDOWN_MS)) - 1], chance)


def asked_ms(status: int, retry_after: str, wall_ms: int) -> int:
    """Return the wait that a receiver asks for with Retry-After, within bounds; 0 for none."""
    if status not in _ASKING or not retry_after:
        return 0
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        # A number of more digits than the bound has is beyond it, and not worth converting.
        ms = int(text[:12]) * 1000
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, IndexError, TypeError, OverflowError):
            return 0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        try:
            ms = round(moment.timestamp() * 1000) - wall_ms
        except (ValueError, OverflowError):
            return 0
    return max(0, min(ms, RETRY_AFTER_MS_MAX))


def _jittered(ms: int, chance: float) -> int:
    assert 0 <= chance < 1
    return ms + int(ms * JITTER_PART * chance)
