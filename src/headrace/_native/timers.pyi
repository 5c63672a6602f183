"""When each handle is due."""

from typing import final

@final
class TimerIndex:
    """Handles by due instant; one instant per handle.

    Units: due_ms is a non-negative int64.
    """

    def __init__(self) -> None: ...
    def set(self, handle: int, due_ms: int) -> None:
        """Insert the handle, or move it."""
    def cancel(self, handle: int) -> bool:
        """Return whether the handle was waiting."""
    def due_ms(self) -> int | None:
        """Return the earliest instant."""
    def pop_due(self, now_ms: int, limit: int) -> list[int]:
        """Remove and return up to `limit` handles with due <= now_ms, in (due, handle) order."""
    def due_of(self, handle: int) -> int | None: ...
    def __len__(self) -> int: ...
    def memory_bytes(self) -> int: ...
    def check(self) -> None:
        """Assert every invariant."""
