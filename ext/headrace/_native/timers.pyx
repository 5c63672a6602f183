"""When each handle is due: the heap of `heap.pxd` with instants as keys."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from headrace._native.heap cimport (
    NONE,
    Entry,
    HeapCore,
    Positions,
    heap_check,
    heap_free,
    heap_place,
    heap_push,
    heap_remove_at,
    position_of,
    positions_free,
    positions_reserve,
    positions_used,
)


@cython.final
cdef class TimerIndex:
    """Handles by due instant; one instant per handle.

    Units: due_ms is a non-negative int64.
    """

    cdef HeapCore heap
    cdef Positions positions

    def __dealloc__(self):
        heap_free(&self.heap)
        positions_free(&self.positions)

    def set(self, uint32_t handle, int64_t due_ms):
        """Insert the handle, or move it."""
        cdef uint32_t at
        if due_ms < 0:
            raise OverflowError("due_ms is not negative")
        positions_reserve(&self.positions, handle)
        at = self.positions.at[handle]
        if at == NONE:
            heap_push(&self.heap, &self.positions, <uint64_t>due_ms, handle)
        else:
            heap_place(&self.heap, &self.positions, at, <uint64_t>due_ms, handle)

    def cancel(self, uint32_t handle):
        """Return whether the handle was waiting."""
        cdef uint32_t at = position_of(&self.positions, handle)
        if at == NONE:
            return False
        heap_remove_at(&self.heap, &self.positions, at)
        return True

    def due_ms(self):
        """Return the earliest instant."""
        return self.heap.entries[0].key if self.heap.size else None

    def pop_due(self, int64_t now_ms, Py_ssize_t limit):
        """Remove and return up to `limit` handles with due <= now_ms, in (due, handle) order."""
        cdef list handles = []
        while (
            limit > 0
            and self.heap.size
            and now_ms >= 0
            and self.heap.entries[0].key <= <uint64_t>now_ms
        ):
            handles.append(self.heap.entries[0].handle)
            heap_remove_at(&self.heap, &self.positions, 0)
            limit -= 1
        return handles

    def due_of(self, uint32_t handle):
        cdef uint32_t at = position_of(&self.positions, handle)
        return None if at == NONE else self.heap.entries[at].key

    def __len__(self):
        return self.heap.size

    def memory_bytes(self):
        return (
            self.heap.capacity * sizeof(Entry) + self.positions.capacity * sizeof(uint32_t)
        )

    def check(self):
        """Assert every invariant."""
        heap_check(&self.heap, &self.positions)
        assert positions_used(&self.positions) == self.heap.size
