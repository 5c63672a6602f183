"""The lanes of the match index: which classes a search may look at now."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from headrace._native.classes cimport DIMENSIONS, Class
from headrace._native.fences cimport heads_bytes, heads_free, heads_init
from headrace._native.heads cimport heads_check
from headrace._native.heap cimport (
    NONE,
    heap_check,
    heap_free,
    heap_place,
    heap_push,
    heap_remove_at,
    larger,
    position_of,
    positions_free,
    positions_reserve,
)
from headrace._native.lanes cimport (
    Gate,
    Lane,
    LaneList,
    Queue,
    gate_count,
    gate_is_open,
    lane_gates,
    list_add,
    list_remove,
    queue_check_number,
    queue_is_open,
)


cdef class Lanes:
    def __cinit__(self):
        self.lanes_free = []
        self.lanes_gated = {}
        self.gates_free = []

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.queues_capacity):
            if self.queues[i] != NULL:
                free(self.queues[i].gated.at)
                free(self.queues[i])
        for i in range(self.lanes_count):
            if self.lanes[i] != NULL:
                heads_free(&self.lanes[i].heads)
                free(self.lanes[i])
        for i in range(self.gates_count):
            if self.gates[i] != NULL:
                free(self.gates[i].lanes.at)
                free(self.gates[i])
        free(self.queues)
        free(self.lanes)
        free(self.gates)
        heap_free(&self.lane_heap)
        positions_free(&self.lane_at)

    # Queues

    def set_queue(self, int64_t queue, int64_t capacity, bint paused):
        """Set a queue's limit of leases (-1: none); a queue never set is unlimited and runs."""
        cdef Queue* row
        if capacity < -1:
            raise ValueError("capacity is -1 for unlimited, or at least 0")
        row = self.queue_made(queue)
        row.capacity = capacity
        row.paused = paused
        self.queue_places(row)

    def queue_leases(self, int64_t queue):
        queue_check_number(queue)
        if <size_t>queue >= self.queues_capacity or self.queues[queue] == NULL:
            return 0
        return self.queues[queue].leases

    cdef Queue* queue_made(self, int64_t number) except NULL:
        cdef size_t capacity, i
        cdef Queue** queues
        cdef Queue* queue
        queue_check_number(number)
        if <size_t>number >= self.queues_capacity:
            capacity = larger(16, self.queues_capacity + self.queues_capacity // 2)
            capacity = larger(capacity, <size_t>number + 1)
            queues = <Queue**>realloc(self.queues, capacity * sizeof(Queue*))
            if queues == NULL:
                raise MemoryError
            self.queues = queues
            for i in range(self.queues_capacity, capacity):
                queues[i] = NULL
            self.queues_capacity = capacity
        if self.queues[number] == NULL:
            queue = <Queue*>calloc(1, sizeof(Queue))
            if queue == NULL:
                raise MemoryError
            queue.capacity = -1
            self.queues[number] = queue
        if self.queues[number].plain == NULL:
            self.queues[number].plain = self.lane_new(<uint32_t>number, ())
        return self.queues[number]

    cdef int queue_places(self, Queue* queue) except -1:
        """Put the lanes of a queue where its state says."""
        self.lane_place(queue.plain)
        return self.lanes_place(&queue.gated)

    # Lanes

    cdef Lane* lane_made(self, Queue* queue, uint32_t number, frozenset gates) except NULL:
        """Return the lane of the queue's classes with these gates."""
        cdef Lane* lane
        if not gates:
            return queue.plain
        key = (number, gates)
        found = self.lanes_gated.get(key)
        if found is not None:
            return self.lanes[<size_t>found]
        for gate in gates:
            self.gate_at(gate)
        lane = self.lane_new(number, tuple(sorted(gates)))
        self.lanes_gated[key] = lane.number
        list_add(&queue.gated, lane)
        for gate in gates:
            list_add(&self.gate_at(gate).lanes, lane)
        return lane

    cdef Lane* lane_new(self, uint32_t queue, tuple gates) except NULL:
        cdef uint32_t number, i = 0
        cdef size_t capacity
        cdef Lane** lanes
        cdef Lane* lane
        if not self.lanes_free and self.lanes_count == self.lanes_capacity:
            capacity = larger(16, self.lanes_capacity + self.lanes_capacity // 2)
            lanes = <Lane**>realloc(self.lanes, capacity * sizeof(Lane*))
            if lanes == NULL:
                raise MemoryError
            self.lanes = lanes
            self.lanes_capacity = capacity
        lane = <Lane*>calloc(1, sizeof(Lane) + <size_t>len(gates) * sizeof(uint32_t))
        if lane == NULL:
            raise MemoryError
        if self.lanes_free:
            number = self.lanes_free.pop()
        else:
            number = <uint32_t>self.lanes_count
            positions_reserve(&self.lane_at, number)
            self.lanes_count += 1
        lane.number = number
        lane.queue = self.queues[queue]
        lane.queue_number = queue
        lane.gates_count = <uint32_t>len(gates)
        for gate in gates:
            lane.gates[i] = gate
            i += 1
        heads_init(&lane.heads)
        self.lanes[number] = lane
        return lane

    cdef int lane_leave(self, Lane* lane) except -1:
        """One of its classes is in it no more; without any, a lane with gates goes."""
        cdef uint32_t i
        lane.classes -= 1
        if lane.classes:
            return 0
        heads_free(&lane.heads)
        if not lane.gates_count:
            return 0
        del self.lanes_gated[lane.queue_number, lane_gates(lane)]
        list_remove(&lane.queue.gated, lane)
        for i in range(lane.gates_count):
            list_remove(&self.gates[lane.gates[i]].lanes, lane)
        self.lanes[lane.number] = NULL
        self.lanes_free.append(lane.number)
        free(lane)
        return 0

    cdef bint lane_is_open(self, const Lane* lane) noexcept:
        cdef uint32_t i
        if not queue_is_open(lane.queue):
            return False
        for i in range(lane.gates_count):
            if not gate_is_open(self.gates[lane.gates[i]]):
                return False
        return True

    cdef int lane_place(self, Lane* lane) except -1:
        """Put the lane where its queue, its gates and its first head say."""
        cdef uint32_t at = self.lane_at.at[lane.number]
        cdef uint64_t key = lane.heads.key
        if lane.heads.handle == NONE or not self.lane_is_open(lane):
            if at != NONE:
                heap_remove_at(&self.lane_heap, &self.lane_at, at)
        elif at == NONE:
            heap_push(&self.lane_heap, &self.lane_at, key, lane.number)
        elif self.lane_heap.entries[at].key != key:
            heap_place(&self.lane_heap, &self.lane_at, at, key, lane.number)
        return 0

    cdef int lanes_place(self, const LaneList* lanes) except -1:
        cdef uint32_t i
        for i in range(lanes.count):
            self.lane_place(lanes.at[i])
        return 0

    # Gates

    def gate_add(self):
        """Return a new gate's number; it is open and has no limits."""
        cdef Gate* gate
        cdef Gate** gates
        cdef size_t capacity, number
        cdef int d
        if not self.gates_free and self.gates_count == self.gates_capacity:
            capacity = larger(16, self.gates_capacity + self.gates_capacity // 2)
            gates = <Gate**>realloc(self.gates, capacity * sizeof(Gate*))
            if gates == NULL:
                raise MemoryError
            self.gates = gates
            self.gates_capacity = capacity
        gate = <Gate*>calloc(1, sizeof(Gate))
        if gate == NULL:
            raise MemoryError
        gate.capacity = gate.tokens = -1
        for d in range(DIMENSIONS):
            gate.most[d] = -1
        if self.gates_free:
            number = self.gates_free.pop()
        else:
            number = self.gates_count
            self.gates_count += 1
        self.gates[number] = gate
        return number

    def gate_drop(self, Py_ssize_t gate):
        """Free the number. Raises: AssertionError if a class has the gate."""
        cdef Gate* row = self.gate_at(gate)
        assert row.lanes.count == 0, "a gate with classes is not dropped"
        self.gates[gate] = NULL
        self.gates_free.append(gate)
        free(row.lanes.at)
        free(row)

    def gate_set(
        self,
        Py_ssize_t gate,
        int64_t capacity,
        int64_t tokens,
        tuple most not None,
    ):
        """Set limits of leases, of takes from now on, and of what leased jobs need; -1: none."""
        cdef Gate* row = self.gate_at(gate)
        cdef int64_t amounts[4]
        cdef int d
        if len(most) != DIMENSIONS:
            raise ValueError("a gate's most is four amounts")
        for d in range(DIMENSIONS):
            amounts[d] = most[d]
            if amounts[d] < -1:
                raise ValueError("a limit is -1 for none, or at least 0")
        if capacity < -1 or tokens < -1:
            raise ValueError("a limit is -1 for none, or at least 0")
        row.capacity = capacity
        row.tokens = tokens
        row.has_most = False
        for d in range(DIMENSIONS):
            row.most[d] = amounts[d]
            row.has_most |= amounts[d] >= 0
        self.lanes_place(&row.lanes)

    def gate_tokens_set(self, Py_ssize_t gate, int64_t tokens):
        """Set how many takes are left; -1: no limit."""
        cdef Gate* row = self.gate_at(gate)
        cdef bint was_open = gate_is_open(row)
        if tokens < -1:
            raise ValueError("a limit is -1 for none, or at least 0")
        row.tokens = tokens
        if gate_is_open(row) != was_open:
            self.lanes_place(&row.lanes)

    def gate_tokens(self, Py_ssize_t gate):
        return self.gate_at(gate).tokens

    def gate_leases(self, Py_ssize_t gate):
        return self.gate_at(gate).leases

    def gate_used(self, Py_ssize_t gate):
        """Return what the leased jobs of its classes need together."""
        cdef Gate* row = self.gate_at(gate)
        return row.used[0], row.used[1], row.used[2], row.used[3]

    cdef Gate* gate_at(self, Py_ssize_t number) except NULL:
        if not 0 <= number < <Py_ssize_t>self.gates_count:
            raise IndexError(number)
        if self.gates[number] == NULL:
            raise IndexError(number)
        return self.gates[number]

    cdef int lane_count(self, Lane* lane, Class* cls, int64_t leases, int64_t tokens) except -1:
        """Count leases and tokens at the gates of a class; move the lanes of what opens or closes."""
        cdef Gate* gate
        cdef bint was_open
        cdef uint32_t i
        for i in range(lane.gates_count):
            gate = self.gates[lane.gates[i]]
            was_open = gate_is_open(gate)
            gate_count(gate, cls, leases)
            if gate.tokens > 0:
                gate.tokens -= tokens
            if gate_is_open(gate) != was_open:
                self.lanes_place(&gate.lanes)
        return 0

    cdef int leases_count(self, Class* cls, int64_t leases, int64_t tokens) except -1:
        """Count leases of a class more, or less."""
        cdef Lane* lane = self.lanes[cls.lane]
        cdef Queue* queue = lane.queue
        cdef bint was_open
        cls.leases += <uint64_t>leases
        if queue.capacity < 0:
            queue.leases += <uint64_t>leases
        else:
            was_open = queue_is_open(queue)
            queue.leases += <uint64_t>leases
            if queue_is_open(queue) != was_open:
                self.queue_places(queue)
        if lane.gates_count:
            self.lane_count(lane, cls, leases, tokens)
        return 0

    cdef size_t lanes_bytes(self) noexcept:
        cdef size_t i, total = 0
        for i in range(self.queues_capacity):
            if self.queues[i] != NULL:
                total += sizeof(Queue) + self.queues[i].gated.capacity * sizeof(Lane*)
        for i in range(self.lanes_count):
            if self.lanes[i] != NULL:
                total += sizeof(Lane) + heads_bytes(&self.lanes[i].heads)
        for i in range(self.gates_count):
            if self.gates[i] != NULL:
                total += sizeof(Gate) + self.gates[i].lanes.capacity * sizeof(Lane*)
        return total

    cdef size_t lanes_check(
        self, dict in_lane, dict leases, dict gate_leases, dict gate_used
    ) except? 0:
        """Assert every invariant but those of classes, which have counted the leases.

        Returns the number of classes with queued jobs in all lanes.
        """
        cdef size_t i, classes = 0, lane_classes, open_lanes = 0
        cdef Lane* lane
        cdef Gate* gate
        cdef uint32_t at, position
        cdef int d
        cdef dict lanes_of = {}
        for i in range(self.queues_capacity):
            if self.queues[i] == NULL:
                assert i not in leases
                continue
            assert self.queues[i].leases == leases.get(i, 0)
            assert self.queues[i].plain.queue == self.queues[i]
        for i in range(self.lanes_count):
            lane = self.lanes[i]
            if lane == NULL:
                assert i in self.lanes_free
                continue
            assert lane.number == i
            assert lane.queue == self.queues[lane.queue_number]
            if lane.gates_count:
                assert lane.classes, "a lane with gates and without classes"
                assert self.lanes_gated[lane.queue_number, lane_gates(lane)] == i
                assert list_has(&lane.queue.gated, lane)
            else:
                assert lane.queue.plain == lane
            for at in range(lane.gates_count):
                key = lane.gates[at]
                assert list_has(&self.gate_at(key).lanes, lane)
                lanes_of[key] = lanes_of.get(key, 0) + 1
            lane_classes = 0
            heads_check(&lane.heads, &lane_classes)
            assert lane.classes == in_lane.get(i, 0)
            classes += lane_classes
            position = position_of(&self.lane_at, <uint32_t>i)
            if lane.heads.handle != NONE:
                assert (position != NONE) == self.lane_is_open(lane)
            else:
                assert position == NONE
            if position != NONE:
                open_lanes += 1
                assert self.lane_heap.entries[position].key == lane.heads.key
        for i in range(self.gates_count):
            gate = self.gates[i]
            if gate == NULL:
                assert i in self.gates_free
                continue
            assert gate.leases == gate_leases.get(i, 0), "a gate has lost count of its leases"
            assert gate.lanes.count == lanes_of.get(i, 0)
            for d in range(DIMENSIONS):
                assert gate.used[d] == gate_used.get((i, d), 0), "a gate has lost count of needs"
        assert open_lanes == self.lane_heap.size
        heap_check(&self.lane_heap, &self.lane_at)
        return classes


cdef bint list_has(const LaneList* lanes, const Lane* lane) noexcept:
    cdef uint32_t i
    for i in range(lanes.count):
        if lanes.at[i] == lane:
            return True
    return False
