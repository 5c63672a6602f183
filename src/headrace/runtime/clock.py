"""The one file that reads time.

The engine's clock counts milliseconds from the wall clock at the start on a monotonic base, so it
never jumps, and from start to start it never goes back: stored delays and places in line are on
it, and a wall clock set right between two starts would hold them up. It also stands still while
this process could not listen: a lease must not run out because the server was stopped or its disk
stalled.
"""

import time
from typing import Final

STALL_MS_MAX: Final = 1_000
"""The pump asks for the time several times as often; a longer silence means that nothing ran."""


class Clock:
    """The engine's time and the wall's."""

    def __init__(self, stall_ms: int = STALL_MS_MAX, after_ms: int = -1) -> None:
        """Begin at the wall clock, and behind `after_ms`, the last millisecond used before."""
        self._stall_ms = stall_ms
        self._offset_ms = max(self.wall_ms(), after_ms + 1) - _monotonic_ms()
        self._seen_ms = _monotonic_ms()
        self._held_at_ms: int | None = None
        self.stalled_ms = 0
        """Time that the engine was spared, in all."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def now_ms(self) -> int:
        """Return the engine's time: monotonic, without the stretches in which nothing ran."""
        seen_ms = _monotonic_ms()
        if self._held_at_ms is not None:
            self._skip(seen_ms - self._seen_ms)
        elif seen_ms - self._seen_ms > self._stall_ms:
            self._skip(seen_ms - self._seen_ms - self._stall_ms)
        self._seen_ms = seen_ms
        return seen_ms + self._offset_ms

    def hold(self) -> None:
        """Stand still until `go`: commits are stuck, so heartbeats may be refused."""
        self.now_ms()
        self._held_at_ms = self._seen_ms

    def go(self) -> None:
        self.now_ms()
        self._held_at_ms = None

    def _skip(self, ms: int) -> None:
        self._offset_ms -= ms
        self.stalled_ms += ms


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
