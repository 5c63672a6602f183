"""An addressable min-heap of (key, handle)."""

from typing import final

@final
class Heap:
    """Min-heap of (key: u64, handle: u32); equal keys are ordered by handle.

    Cost: O(log n) per change, O(1) for `peek`, `key`, `in`.
    """

    def __init__(self) -> None: ...
    def push(self, handle: int, key: int) -> None:
        """Raises: KeyError if the handle is in the heap."""
    def remove(self, handle: int) -> bool:
        """Return whether the handle was in the heap."""
    def update(self, handle: int, key: int) -> None:
        """Raises: KeyError if the handle is not in the heap."""
    def peek(self) -> tuple[int, int] | None:
        """Return the first (handle, key)."""
    def pop(self) -> tuple[int, int] | None:
        """Remove and return the first (handle, key)."""
    def key(self, handle: int) -> int:
        """Raises: KeyError if the handle is not in the heap."""
    def __contains__(self, handle: int, /) -> bool: ...
    def __len__(self) -> int: ...
    def memory_bytes(self) -> int: ...
    def check(self) -> None:
        """Assert every invariant."""
