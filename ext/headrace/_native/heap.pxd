"""An addressable 4-ary min-heap of (key, handle) as C functions, shared by this package.

Shape: `HeapCore.entries` is the heap; `Positions` says for each handle where its entry is.
Several heaps may share one `Positions` when no handle is in two of them.
Source: 4-ary heaps (LaMarca and Ladner, The Influence of Caches on the Performance of Heaps).
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc

cdef extern from *:
    """
    #define HEADRACE_NONE 0xFFFFFFFFu
    #define HEADRACE_KEY_MAX 0xFFFFFFFFFFFFFFFFull
    """
    const uint32_t NONE "HEADRACE_NONE"  # no handle, no position, no class
    const uint64_t KEY_MAX "HEADRACE_KEY_MAX"


cdef packed struct Entry:  # packed: 12 bytes instead of 16 for each waiting job
    uint64_t key
    uint32_t handle


cdef struct HeapCore:
    Entry* entries
    uint32_t size
    uint32_t capacity


cdef struct Positions:
    uint32_t* at
    size_t size      # cells that are set; those beyond are NONE and their memory is untouched
    size_t capacity


cdef inline size_t larger(size_t one, size_t other) noexcept nogil:
    return one if one > other else other


cdef inline bint before(
    uint64_t key, uint32_t handle, uint64_t other_key, uint32_t other_handle
) noexcept nogil:
    return key < other_key or (key == other_key and handle < other_handle)


cdef inline int positions_reserve(Positions* positions, uint32_t handle) except -1:
    """Make the cell of `handle` exist."""
    cdef size_t capacity
    cdef uint32_t* at
    if handle == NONE:
        raise OverflowError("a handle is at most 2**32-2")
    if handle < positions.size:
        return 0
    if handle >= positions.capacity:
        capacity = larger(64, positions.capacity + positions.capacity // 2)
        capacity = larger(capacity, <size_t>handle + 1)
        at = <uint32_t*>realloc(positions.at, capacity * sizeof(uint32_t))
        if at == NULL:
            raise MemoryError
        positions.at = at
        positions.capacity = capacity
    while positions.size <= handle:
        positions.at[positions.size] = NONE
        positions.size += 1
    return 0


cdef inline uint32_t position_of(Positions* positions, uint32_t handle) noexcept nogil:
    return positions.at[handle] if handle < positions.size else NONE


cdef inline void positions_free(Positions* positions) noexcept nogil:
    free(positions.at)
    positions.at = NULL


cdef inline void heap_free(HeapCore* heap) noexcept nogil:
    free(heap.entries)
    heap.entries = NULL


cdef inline int heap_resize(HeapCore* heap, uint32_t capacity) except -1:
    cdef Entry* entries = <Entry*>realloc(heap.entries, <size_t>capacity * sizeof(Entry))
    if entries == NULL:
        raise MemoryError
    heap.entries = entries
    heap.capacity = capacity
    return 0


cdef inline void heap_rise(
    HeapCore* heap, Positions* positions, uint32_t at, uint64_t key, uint32_t handle
) noexcept nogil:
    """Put (key, handle) at `at` or above, moving larger parents down."""
    cdef uint32_t parent
    cdef Entry* entries = heap.entries
    while at > 0:
        parent = (at - 1) >> 2
        if not before(key, handle, entries[parent].key, entries[parent].handle):
            break
        entries[at] = entries[parent]
        positions.at[entries[at].handle] = at
        at = parent
    entries[at].key = key
    entries[at].handle = handle
    positions.at[handle] = at


cdef inline void heap_sink(
    HeapCore* heap, Positions* positions, uint32_t at, uint64_t key, uint32_t handle
) noexcept nogil:
    """Put (key, handle) at `at` or below, moving smaller children up."""
    cdef uint64_t child, other, end
    cdef Entry* entries = heap.entries
    while True:
        child = 4 * <uint64_t>at + 1
        if child >= heap.size:
            break
        end = child + 4
        if end > heap.size:
            end = heap.size
        other = child + 1
        while other < end:
            if before(
                entries[other].key, entries[other].handle,
                entries[child].key, entries[child].handle,
            ):
                child = other
            other += 1
        if not before(entries[child].key, entries[child].handle, key, handle):
            break
        entries[at] = entries[child]
        positions.at[entries[at].handle] = at
        at = <uint32_t>child
    entries[at].key = key
    entries[at].handle = handle
    positions.at[handle] = at


cdef inline void heap_place(
    HeapCore* heap, Positions* positions, uint32_t at, uint64_t key, uint32_t handle
) noexcept nogil:
    """Put (key, handle) into the free cell `at`, or where it belongs."""
    cdef uint32_t parent = (at - 1) >> 2
    if at > 0 and before(
        key, handle, heap.entries[parent].key, heap.entries[parent].handle
    ):
        heap_rise(heap, positions, at, key, handle)
    else:
        heap_sink(heap, positions, at, key, handle)


cdef inline int heap_push(
    HeapCore* heap, Positions* positions, uint64_t key, uint32_t handle
) except -1:
    """Add a handle that is not in the heap and whose position cell exists."""
    if heap.size == heap.capacity:
        heap_resize(heap, <uint32_t>larger(4, heap.capacity + (heap.capacity >> 1)))
    heap.size += 1
    heap_rise(heap, positions, heap.size - 1, key, handle)
    return 0


cdef inline void heap_remove_at(
    HeapCore* heap, Positions* positions, uint32_t at
) noexcept nogil:
    cdef Entry last
    cdef Entry* entries
    positions.at[heap.entries[at].handle] = NONE
    heap.size -= 1
    if at != heap.size:
        last = heap.entries[heap.size]
        heap_place(heap, positions, at, last.key, last.handle)
    if heap.capacity > 1024 and heap.size < heap.capacity >> 2:
        # A shrink that fails leaves the larger block, which is as good.
        entries = <Entry*>realloc(heap.entries, <size_t>(heap.capacity >> 1) * sizeof(Entry))
        if entries != NULL:
            heap.entries = entries
            heap.capacity >>= 1


cdef inline int heap_check(HeapCore* heap, Positions* positions) except -1:
    """Assert the order, and that entries and positions agree for this heap's entries."""
    cdef uint32_t at, parent
    assert heap.size <= heap.capacity
    for at in range(heap.size):
        assert position_of(positions, heap.entries[at].handle) == at
        if at > 0:
            parent = (at - 1) >> 2
            assert before(
                heap.entries[parent].key, heap.entries[parent].handle,
                heap.entries[at].key, heap.entries[at].handle,
            )
    return 0


cdef inline size_t positions_used(Positions* positions) noexcept nogil:
    """Count the handles with a position; linear."""
    cdef size_t handle, used = 0
    for handle in range(positions.size):
        used += positions.at[handle] != NONE
    return used
