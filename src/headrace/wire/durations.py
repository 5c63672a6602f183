"""Durations and instants on the wire: a number of seconds, `"1h30m"`, or RFC 3339."""

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_PART: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|us|µs|ns|d|h|m|s)")
_UNIT_MS: Final = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,
    "ms": 1.0,
    "s": 1e3,
    "m": 60e3,
    "h": 3_600e3,
    "d": 86_400e3,
}
_SHOWN: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_CHARS_MAX: Final = 64
SECONDS_MAX: Final = 10_000_000_000.0
NEVER: Final = "never"
"""In the place of a duration, where something may be kept for ever."""


def duration_ms(value: float | str) -> int:
    """Return milliseconds of a number of seconds or a string such as `"90s"`, `"1h30m"`, `"2.5"`.

    Raises: ValueError with a sentence that says what is accepted.
    """
    seconds = _seconds_of_text(value.strip()) if isinstance(value, str) else float(value)
    if not math.isfinite(seconds) or not 0 <= seconds <= SECONDS_MAX:
        raise ValueError("a duration is 0 or more seconds, and finite")
    return round(seconds * 1000)


def _seconds_of_text(text: str) -> float:
    message = 'a duration is a number of seconds or text such as "90s", "1h30m" or "250ms"'
    if not text or len(text) > _CHARS_MAX:
        raise ValueError(message)
    total_ms, position = 0.0, 0
    for part in _PART.finditer(text):
        if part.start() != position:
            raise ValueError(message)
        total_ms += float(part[1]) * _UNIT_MS[part[2]]
        position = part.end()
    if position == len(text):
        return total_ms / 1000
    try:
        return float(text)
    except ValueError:
        raise ValueError(message) from None


def duration_text(ms: int) -> str:
    """Return a text that `duration_ms` reads as the same: `"1h30m"`, `"250ms"`, `"0s"`."""
    text = ""
    for unit, unit_ms in _SHOWN:
        count, ms = divmod(ms, unit_ms)
        if count:
            text += f"{count}{unit}"
    return text or "0s"


def seconds(ms: int) -> int | float:
    """Return seconds for the wire: whole ones as an integer, which strict clients need."""
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


def instant_ms(value: str | float) -> int:
    """Return epoch milliseconds of an RFC 3339 text with an offset, or of epoch seconds.

    Raises: ValueError with a sentence that says what is accepted.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            raise ValueError(
                'an instant is RFC 3339 with an offset, such as "2027-01-31T12:00:00Z", '
                "or a number of seconds since 1970"
            )
        at_seconds = moment.timestamp()
    else:
        at_seconds = float(value)
    if not math.isfinite(at_seconds) or not 0 <= at_seconds <= SECONDS_MAX:
        raise ValueError("an instant must lie between 1970 and the year 2286")
    return round(at_seconds * 1000)


def rfc3339(at_ms: int) -> str | None:
    """Return RFC 3339 UTC with milliseconds; None for 0, which means "not yet"."""
    if at_ms == 0:
        return None
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(1_024)
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
