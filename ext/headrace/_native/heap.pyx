"""The heap of `heap.pxd` as a Python class."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

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
cdef class Heap:
    """Min-heap of (key: u64, handle: u32); equal keys are ordered by handle.

    Cost: O(log n) per change, O(1) for `peek`, `key`, `in`.
    """

    cdef HeapCore heap
    cdef Positions positions

    def __dealloc__(self):
        heap_free(&self.heap)
        positions_free(&self.positions)

    def push(self, uint32_t handle, uint64_t key):
        """Raises: KeyError if the handle is in the heap."""
        positions_reserve(&self.positions, handle)
        if self.positions.at[handle] != NONE:
            raise KeyError(handle)
        heap_push(&self.heap, &self.positions, key, handle)

    def remove(self, uint32_t handle):
        """Return whether the handle was in the heap."""
        cdef uint32_t at = position_of(&self.positions, handle)
        if at == NONE:
            return False
        heap_remove_at(&self.heap, &self.positions, at)
        return True

    def update(self, uint32_t handle, uint64_t key):
        """Raises: KeyError if the handle is not in the heap."""
        cdef uint32_t at = position_of(&self.positions, handle)
        if at == NONE:
            raise KeyError(handle)
        heap_place(&self.heap, &self.positions, at, key, handle)

    def peek(self):
        """Return the first (handle, key)."""
        if self.heap.size == 0:
            return None
        return self.heap.entries[0].handle, self.heap.entries[0].key

    def pop(self):
        """Remove and return the first (handle, key)."""
        cdef Entry head
        if self.heap.size == 0:
            return None
        head = self.heap.entries[0]
        heap_remove_at(&self.heap, &self.positions, 0)
        return head.handle, head.key

    def key(self, uint32_t handle):
        """Raises: KeyError if the handle is not in the heap."""
        cdef uint32_t at = position_of(&self.positions, handle)
        if at == NONE:
            raise KeyError(handle)
        return self.heap.entries[at].key

    def __contains__(self, uint32_t handle):
        return position_of(&self.positions, handle) != NONE

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
