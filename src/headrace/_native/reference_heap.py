"""Plain-Python twins of the heap and the timers; see `reference`."""

from __future__ import annotations

HANDLE_MAX = 2**32 - 2  # the last u32 value means "none" inside the compiled structures
KEY_MAX = 2**64 - 1


def check_range(value: int, most: int) -> None:
    if not 0 <= value <= most:
        raise OverflowError(f"{value} is not within 0..{most}")


class Heap:
    """An addressable min-heap of (key, handle); equal keys are ordered by handle."""

    def __init__(self) -> None:
        self._keys: dict[int, int] = {}

    def push(self, handle: int, key: int) -> None:
        check_range(handle, HANDLE_MAX)
        check_range(key, KEY_MAX)
        if handle in self._keys:
            raise KeyError(handle)
        self._keys[handle] = key

    def remove(self, handle: int) -> bool:
        return self._keys.pop(handle, None) is not None

    def update(self, handle: int, key: int) -> None:
        check_range(key, KEY_MAX)
        if handle not in self._keys:
            raise KeyError(handle)
        self._keys[handle] = key

    def peek(self) -> tuple[int, int] | None:
        if not self._keys:
            return None
        key, handle = min((key, handle) for handle, key in self._keys.items())
        return handle, key

    def pop(self) -> tuple[int, int] | None:
        head = self.peek()
        if head is not None:
            del self._keys[head[0]]
        return head

    def key(self, handle: int) -> int:
        return self._keys[handle]

    def __contains__(self, handle: int) -> bool:
        return handle in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def memory_bytes(self) -> int:
        return 0

    def check(self) -> None:
        assert all(0 <= handle <= HANDLE_MAX for handle in self._keys)


class TimerIndex:
    """When each handle is due; handles that are due come out in (due, handle) order."""

    def __init__(self) -> None:
        self._due_ms: dict[int, int] = {}

    def set(self, handle: int, due_ms: int) -> None:
        check_range(handle, HANDLE_MAX)
        check_range(due_ms, 2**63 - 1)
        self._due_ms[handle] = due_ms

    def cancel(self, handle: int) -> bool:
        return self._due_ms.pop(handle, None) is not None

    def due_ms(self) -> int | None:
        return min(self._due_ms.values(), default=None)

    def pop_due(self, now_ms: int, limit: int) -> list[int]:
        due = sorted((due, handle) for handle, due in self._due_ms.items() if due <= now_ms)
        handles = [handle for _, handle in due[: max(limit, 0)]]
        for handle in handles:
            del self._due_ms[handle]
        return handles

    def due_of(self, handle: int) -> int | None:
        return self._due_ms.get(handle)

    def __len__(self) -> int:
        return len(self._due_ms)

    def memory_bytes(self) -> int:
        return 0

    def check(self) -> None:
        assert all(0 <= due < 2**63 for due in self._due_ms.values())
