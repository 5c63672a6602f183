"""Queues and gates of the match index: what may be given out now, and the classes of each.

    Queue ── capacity, pause ──┬─ Lane ── the heads of its classes that have the same gates
    Gate ── capacity, tokens ──┘
            and a bound of resources

A lane stands in the heap while its queue and all of its gates are open, so what is closed
costs a search nothing. A gate's bound of resources is no matter of open or closed: it narrows what
a search offers to the lane.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport realloc

from headrace._native.classes cimport DIMENSIONS, Class
from headrace._native.fences cimport Heads
from headrace._native.heads cimport Search
from headrace._native.heap cimport HeapCore, Positions

cdef enum:
    QUEUES_MAX = 1 << 20  # queues are a dense table of pointers


cdef struct LaneList:
    Lane** at
    uint32_t count
    uint32_t capacity


cdef struct Queue:
    int64_t capacity  # -1: unlimited
    uint64_t leases
    bint paused
    Lane* plain       # of its classes without gates
    LaneList gated


cdef struct Gate:
    int64_t capacity  # -1: unlimited
    int64_t tokens    # takes left; -1: unlimited
    int64_t most[4]   # that the jobs leased may need together; -1: unlimited
    int64_t used[4]
    uint64_t leases
    bint has_most
    LaneList lanes


cdef struct Lane:
    Heads heads
    Queue* queue
    uint64_t classes
    uint32_t number
    uint32_t queue_number
    uint32_t gates_count
    uint32_t gates[1]  # numbers, rising


cdef inline bint queue_is_open(const Queue* queue) noexcept nogil:
    return not queue.paused and (
        queue.capacity < 0 or queue.leases < <uint64_t>queue.capacity
    )


cdef inline bint gate_is_open(const Gate* gate) noexcept nogil:
    return gate.tokens != 0 and (
        gate.capacity < 0 or gate.leases < <uint64_t>gate.capacity
    )


cdef inline int64_t gate_room(const Gate* gate, int d) noexcept nogil:
    """What one more job may need; what needs nothing of a dimension never waits for it."""
    return max(0, gate.most[d] - gate.used[d])


cdef inline bint gate_lets(const Gate* gate, const Class* cls) noexcept nogil:
    """Whether one more job of the class may be taken."""
    cdef int d
    if not gate_is_open(gate):
        return False
    for d in range(DIMENSIONS):
        if gate.most[d] >= 0 and cls.need[d] > gate_room(gate, d):
            return False
    return True


cdef inline void gate_count(Gate* gate, const Class* cls, int64_t leases) noexcept nogil:
    """Count leases of a class more, or less."""
    cdef int d
    gate.leases += <uint64_t>leases
    for d in range(DIMENSIONS):
        gate.used[d] += leases * cls.need[d]


cdef inline void search_narrow(Search* search, const Gate* gate) noexcept nogil:
    """Offer no more than a gate lets through."""
    cdef int64_t room
    cdef int d
    for d in range(DIMENSIONS):
        if gate.most[d] >= 0:
            room = gate_room(gate, d)
            if room < search.free[d]:
                search.free[d] = <int32_t>room


cdef inline int list_add(LaneList* lanes, Lane* lane) except -1:
    cdef Lane** block
    cdef uint32_t capacity
    if lanes.count == lanes.capacity:
        capacity = lanes.capacity + lanes.capacity // 2 + 4
        block = <Lane**>realloc(lanes.at, capacity * sizeof(Lane*))
        if block == NULL:
            raise MemoryError
        lanes.at = block
        lanes.capacity = capacity
    lanes.at[lanes.count] = lane
    lanes.count += 1
    return 0


cdef inline void list_remove(LaneList* lanes, Lane* lane) noexcept nogil:
    """Cost: linear in lanes. One that is not there is no matter."""
    cdef uint32_t i
    for i in range(lanes.count):
        if lanes.at[i] == lane:
            lanes.count -= 1
            lanes.at[i] = lanes.at[lanes.count]
            return


cdef inline int queue_check_number(int64_t queue) except -1:
    if not 0 <= queue < QUEUES_MAX:
        raise ValueError(f"a queue is a number within 0..{QUEUES_MAX - 1}")
    return 0


cdef inline frozenset lane_gates(const Lane* lane):
    cdef uint32_t i
    return frozenset([lane.gates[i] for i in range(lane.gates_count)])


cdef class Lanes:
    """The part of the match index that knows what is open."""

    cdef Queue** queues
    cdef size_t queues_capacity
    cdef HeapCore lane_heap
    cdef Positions lane_at
    cdef Lane** lanes
    cdef size_t lanes_count       # numbers ever used
    cdef size_t lanes_capacity
    cdef list lanes_free
    cdef dict lanes_gated         # (queue, gates): number
    cdef Gate** gates
    cdef size_t gates_count
    cdef size_t gates_capacity
    cdef list gates_free

    cdef Queue* queue_made(self, int64_t number) except NULL
    cdef int queue_places(self, Queue* queue) except -1
    cdef Lane* lane_made(self, Queue* queue, uint32_t number, frozenset gates) except NULL
    cdef Lane* lane_new(self, uint32_t queue, tuple gates) except NULL
    cdef int lane_leave(self, Lane* lane) except -1
    cdef bint lane_is_open(self, const Lane* lane) noexcept
    cdef int lane_place(self, Lane* lane) except -1
    cdef int lanes_place(self, const LaneList* lanes) except -1
    cdef Gate* gate_at(self, Py_ssize_t number) except NULL
    cdef int lane_count(self, Lane* lane, Class* cls, int64_t leases, int64_t tokens) except -1
    cdef int leases_count(self, Class* cls, int64_t leases, int64_t tokens) except -1
    cdef size_t lanes_bytes(self) noexcept
    cdef size_t lanes_check(
        self, dict in_lane, dict leases, dict gate_leases, dict gate_used
    ) except? 0
