"""A queue of the match index: its tree of classes, and whether it may give out jobs."""

from libc.stdint cimport int64_t, uint64_t

from headrace._native.tree cimport Tree

cdef enum:
    QUEUES_MAX = 1 << 20  # queues are a dense table of pointers


cdef struct Queue:
    Tree tree
    int64_t capacity  # -1: unlimited
    uint64_t leases
    uint64_t classes
    bint paused


cdef inline bint queue_is_open(const Queue* queue) noexcept nogil:
    return not queue.paused and (
        queue.capacity < 0 or queue.leases < <uint64_t>queue.capacity
    )


cdef inline int queue_check_number(int64_t queue) except -1:
    if not 0 <= queue < QUEUES_MAX:
        raise ValueError(f"a queue is a number within 0..{QUEUES_MAX - 1}")
    return 0
