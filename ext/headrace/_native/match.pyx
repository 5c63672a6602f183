"""The exact match index: jobs by class, classes in trees by queue and gates, a heap of trees.

    lane_heap ── lanes whose queue and gates are open and that have jobs, by first head
      └─ Lane.tree ── its classes, with heads, smallest needs and traits summed up (tree.pxd)
           └─ Class.jobs ── its queued jobs by (key, handle) (order.pxd)

Classes of one queue and the same gates share a lane (queue.pxd). A lane that closes leaves
`lane_heap` and costs a search nothing. A search goes through the lanes in the order of their
heads, or through those of the shape's own list of queues, and stops where no better head is left.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc

from headrace._native.heap cimport (
    KEY_MAX,
    NONE,
    HeapCore,
    Positions,
    heap_check,
    heap_free,
    heap_place,
    heap_push,
    heap_remove_at,
    larger,
    position_of,
    positions_free,
    positions_reserve,
    positions_used,
)
from headrace._native.node cimport (
    DIMENSIONS,
    TENANTS_MASK,
    Class,
    Shape,
    Traits,
    class_suits,
    label_bit,
    rounded,
    summary_clear,
    trait_bit,
    trait_listed,
)
from headrace._native.order cimport (
    order_bytes,
    order_check,
    order_free,
    order_init,
    order_key,
    order_push,
    order_remove,
)
from headrace._native.queue cimport (
    Gate,
    Lane,
    Lanes,
    Queue,
    gate_count,
    gate_is_open,
    gate_room,
    lanes_add,
    lanes_remove,
    queue_check_number,
    queue_is_open,
    search_narrow,
)
from headrace._native.recent cimport Recent, recent_renew, recent_search
from headrace._native.tree cimport (
    Search,
    Tree,
    tree_bytes,
    tree_check,
    tree_free,
    tree_insert,
    tree_remove,
    tree_search,
    tree_take,
    tree_update,
)

cdef enum:
    AMOUNT_MAX_C = 0x7FFFFFFF  # a need is below 2**31; a free amount beyond counts as this


@cython.final
cdef class _TraitsRow:
    """Owns the traits that classes with equal gpu_models and labels share."""

    cdef Traits* traits

    def __dealloc__(self):
        free(self.traits)


@cython.final
cdef class MatchIndex:
    """Queued jobs by class; finds the first job by (key, handle) that a worker may run.

    Cost: `push`, `remove` and `take` are O(log jobs of the class + log classes of the queue)
    when the first heads fit; heads that do not fit add the tree nodes they cannot be told by.
    """

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
    cdef Class** classes_by_number
    cdef size_t classes_count     # numbers ever used
    cdef size_t classes_capacity
    cdef list classes_free
    cdef Shape** shapes
    cdef size_t shapes_count
    cdef size_t shapes_capacity
    cdef list shapes_free
    cdef dict traits              # (gpu_models, labels): _TraitsRow
    cdef Positions job_at         # in the order of its class
    cdef Positions job_class
    cdef size_t size
    cdef Recent recent            # by which trees put classes together

    def __cinit__(self):
        self.classes_free = []
        self.shapes_free = []
        self.lanes_free = []
        self.lanes_gated = {}
        self.gates_free = []
        self.traits = {}
        recent_renew(&self.recent)

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.queues_capacity):
            if self.queues[i] != NULL:
                free(self.queues[i].gated.at)
                free(self.queues[i])
        for i in range(self.lanes_count):
            if self.lanes[i] != NULL:
                tree_free(&self.lanes[i].tree, self.lanes[i].tree.root)
                free(self.lanes[i])
        for i in range(self.gates_count):
            if self.gates[i] != NULL:
                free(self.gates[i].lanes.at)
                free(self.gates[i])
        for i in range(self.classes_count):
            if self.classes_by_number[i] != NULL:
                order_free(&self.classes_by_number[i].jobs)
                free(self.classes_by_number[i])
        for i in range(self.shapes_count):
            free(self.shapes[i])
        free(self.queues)
        free(self.classes_by_number)
        free(self.shapes)
        free(self.lanes)
        free(self.gates)
        heap_free(&self.lane_heap)
        positions_free(&self.lane_at)
        positions_free(&self.job_at)
        positions_free(&self.job_class)

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
        lanes_add(&queue.gated, lane)
        for gate in gates:
            lanes_add(&self.gate_at(gate).lanes, lane)
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
        summary_clear(&lane.tree.summary)
        lane.tree.extent.recent = &self.recent
        self.lanes[number] = lane
        return lane

    cdef int lane_leave(self, Lane* lane) except -1:
        """One of its classes is in it no more; without any, a lane with gates goes."""
        cdef uint32_t i
        lane.classes -= 1
        if lane.classes or not lane.gates_count:
            return 0
        del self.lanes_gated[lane.queue_number, lane_gates(lane)]
        lanes_remove(&lane.queue.gated, lane)
        for i in range(lane.gates_count):
            lanes_remove(&self.gates[lane.gates[i]].lanes, lane)
        self.lanes[lane.number] = NULL
        self.lanes_free.append(lane.number)
        tree_free(&lane.tree, lane.tree.root)
        free(lane)
        return 0

    cdef inline bint lane_is_open(self, const Lane* lane) noexcept:
        cdef uint32_t i
        if not queue_is_open(lane.queue):
            return False
        for i in range(lane.gates_count):
            if not gate_is_open(self.gates[lane.gates[i]]):
                return False
        return True

    cdef inline int lane_place(self, Lane* lane) except -1:
        """Put the lane where its queue, its gates and its first head say."""
        cdef uint32_t at = self.lane_at.at[lane.number]
        cdef uint64_t key = lane.tree.summary.key
        if lane.tree.summary.handle == NONE or not self.lane_is_open(lane):
            if at != NONE:
                heap_remove_at(&self.lane_heap, &self.lane_at, at)
        elif at == NONE:
            heap_push(&self.lane_heap, &self.lane_at, key, lane.number)
        elif self.lane_heap.entries[at].key != key:
            heap_place(&self.lane_heap, &self.lane_at, at, key, lane.number)
        return 0

    cdef int lanes_place(self, const Lanes* lanes) except -1:
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

    def gate_holds(self, Py_ssize_t gate, Py_ssize_t cls):
        """Return whether the gate keeps a job of the class from being taken now."""
        return not self.gate_lets(self.gate_at(gate), self.class_at(cls))

    cdef inline bint gate_lets(self, const Gate* gate, const Class* cls) noexcept:
        cdef int d
        if not gate_is_open(gate):
            return False
        for d in range(DIMENSIONS):
            if gate.most[d] >= 0 and cls.need[d] > gate_room(gate, d):
                return False
        return True

    cdef inline Gate* gate_at(self, Py_ssize_t number) except NULL:
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

    # Classes

    def class_add(
        self,
        int64_t queue,
        uint32_t kind,
        tuple need not None,
        frozenset gpu_models not None,
        frozenset labels not None,
        frozenset gates not None=frozenset(),
    ):
        """Return a new class number; equal classes are not merged.

        Units: need is (cpu_milli, memory_mb, storage_mb, gpu_milli), each below 2**31.
        """
        cdef Queue* row = self.queue_made(queue)
        cdef Class* cls
        cdef Class** classes
        cdef Lane* lane
        cdef Traits* traits
        cdef size_t capacity
        cdef int64_t amounts[4]
        cdef int i
        if len(need) != DIMENSIONS:
            raise ValueError("a need is four amounts")
        for i in range(DIMENSIONS):
            amounts[i] = need[i]
            if not 0 <= amounts[i] <= AMOUNT_MAX_C:
                raise ValueError("a need is four amounts within 0..2**31-1")
        for gate in gates:
            self.gate_at(gate)
        traits = self.traits_made(gpu_models, labels)
        cls = <Class*>calloc(1, sizeof(Class))
        if cls == NULL:
            raise MemoryError
        if not self.classes_free and self.classes_count == self.classes_capacity:
            capacity = larger(64, self.classes_capacity + self.classes_capacity // 2)
            classes = <Class**>realloc(self.classes_by_number, capacity * sizeof(Class*))
            if classes == NULL:
                free(cls)
                raise MemoryError
            self.classes_by_number = classes
            self.classes_capacity = capacity
        if self.classes_free:
            cls.number = self.classes_free.pop()
        else:
            cls.number = <uint32_t>self.classes_count
            self.classes_count += 1
        self.classes_by_number[cls.number] = cls
        order_init(&cls.jobs)
        lane = self.lane_made(row, <uint32_t>queue, gates)
        cls.lane = lane.number
        cls.kind = kind
        cls.traits = traits
        for i in range(DIMENSIONS):
            cls.need[i] = <int32_t>amounts[i]
        tree_insert(&lane.tree, cls)
        traits.classes += 1
        lane.classes += 1
        return cls.number

    def class_gates_set(self, Py_ssize_t cls, frozenset gates not None):
        """Give a class other gates; what is queued and leased of it counts there from now on."""
        cdef Class* row = self.class_at(cls)
        cdef Lane* before = self.lanes[row.lane]
        cdef Lane* lane = self.lane_made(before.queue, before.queue_number, gates)
        if lane == before:
            return
        tree_take(&before.tree, row)
        self.lane_place(before)
        self.lane_count(before, row, -<int64_t>row.leases, 0)
        row.lane = lane.number
        tree_insert(&lane.tree, row)
        lane.classes += 1
        self.lane_count(lane, row, <int64_t>row.leases, 0)
        self.class_update(row)
        self.lane_leave(before)

    def class_gates(self, Py_ssize_t cls):
        return lane_gates(self.lanes[self.class_at(cls).lane])

    def class_drop(self, Py_ssize_t cls):
        """Free the number. Raises: AssertionError if it has queued jobs or leases."""
        cdef Class* row = self.class_at(cls)
        assert row.jobs.size == 0, "a class with queued jobs is not dropped"
        assert row.leases == 0, "a class with leases is not dropped"
        tree_remove(&self.lanes[row.lane].tree, row)
        self.lane_leave(self.lanes[row.lane])
        row.traits.classes -= 1
        if row.traits.classes == 0:
            del self.traits[traits_key(row.traits)]
        self.classes_by_number[cls] = NULL
        self.classes_free.append(cls)
        order_free(&row.jobs)
        free(row)

    def class_len(self, Py_ssize_t cls):
        """Return how many jobs are queued in the class."""
        return self.class_at(cls).jobs.size

    def class_info(self, Py_ssize_t cls):
        """Return (queue, kind, need, gpu_models, labels)."""
        cdef Class* row = self.class_at(cls)
        gpu_models, labels = traits_key(row.traits)
        return self.lanes[row.lane].queue_number, row.kind, self.need(cls), gpu_models, labels

    def need(self, Py_ssize_t cls):
        cdef Class* row = self.class_at(cls)
        return row.need[0], row.need[1], row.need[2], row.need[3]

    def classes(self):
        """Return the numbers in use, rising."""
        cdef size_t i
        return [i for i in range(self.classes_count) if self.classes_by_number[i] != NULL]

    cdef inline Class* class_at(self, Py_ssize_t number) except NULL:
        if not 0 <= number < <Py_ssize_t>self.classes_count:
            raise IndexError(number)
        if self.classes_by_number[number] == NULL:
            raise IndexError(number)
        return self.classes_by_number[number]

    cdef Traits* traits_made(self, frozenset gpu_models, frozenset labels) except NULL:
        cdef tuple key = (gpu_models, labels)
        cdef _TraitsRow row = self.traits.get(key)
        cdef Traits* traits
        cdef uint32_t number
        cdef size_t i = 0
        if row is not None:
            return row.traits
        row = _TraitsRow()
        traits = <Traits*>calloc(
            1, sizeof(Traits) + <size_t>(len(gpu_models) + len(labels)) * sizeof(uint32_t)
        )
        if traits == NULL:
            raise MemoryError
        row.traits = traits
        traits.gpus_mask = 0 if gpu_models else <uint32_t>1 << 31
        for number in sorted(gpu_models):
            traits.numbers[i] = number
            traits.gpus_mask |= trait_bit(number, 31)
            i += 1
        for number in sorted(labels):
            traits.numbers[i] = number
            traits.labels_mask |= label_bit(number)
            i += 1
        traits.gpus_count = <uint32_t>len(gpu_models)
        traits.labels_count = <uint32_t>len(labels)
        self.traits[key] = row
        return traits

    # Shapes

    def shape_add(self, frozenset kinds, frozenset queues, int64_t gpu_model,
                  frozenset labels not None, bint any_tenant=True):
        """Return a new shape number; None means any, gpu_model -1 means no GPU."""
        cdef list numbers = sorted(kinds or ())
        cdef Shape* shape
        cdef Shape** shapes
        cdef size_t capacity, number, i
        cdef uint32_t trait
        for queue in sorted(queues or ()):
            queue_check_number(queue)
            numbers.append(queue)
        numbers.extend(sorted(labels))
        if not -1 <= gpu_model <= 0xFFFFFFFF:
            raise OverflowError("a GPU model is an u32, or -1")
        for trait in numbers:
            pass  # converts each once, so that a bad one is refused before anything changes
        if not self.shapes_free and self.shapes_count == self.shapes_capacity:
            capacity = larger(64, self.shapes_capacity + self.shapes_capacity // 2)
            shapes = <Shape**>realloc(self.shapes, capacity * sizeof(Shape*))
            if shapes == NULL:
                raise MemoryError
            self.shapes = shapes
            self.shapes_capacity = capacity
        shape = <Shape*>malloc(sizeof(Shape) + <size_t>len(numbers) * sizeof(uint32_t))
        if shape == NULL:
            raise MemoryError
        for i in range(<size_t>len(numbers)):
            shape.numbers[i] = numbers[i]
        shape.any_kind = kinds is None
        shape.any_queue = queues is None
        shape.kinds_count = 0 if kinds is None else <uint32_t>len(kinds)
        shape.queues_count = 0 if queues is None else <uint32_t>len(queues)
        shape.labels_count = <uint32_t>len(labels)
        shape.kinds_mask = 0xFFFFFFFF if kinds is None else 0
        for i in range(shape.kinds_count):
            shape.kinds_mask |= trait_bit(shape.numbers[i], 32)
        shape.any_tenant = any_tenant
        shape.labels_mask = TENANTS_MASK if any_tenant else 0
        for i in range(<size_t>len(numbers) - shape.labels_count, <size_t>len(numbers)):
            shape.labels_mask |= label_bit(shape.numbers[i])
        shape.gpu_model = gpu_model
        shape.gpus_mask = <uint32_t>1 << 31
        if gpu_model >= 0:
            shape.gpus_mask |= trait_bit(<uint32_t>gpu_model, 31)
        if self.shapes_free:
            number = self.shapes_free.pop()
        else:
            number = self.shapes_count
            self.shapes_count += 1
        self.shapes[number] = shape
        return number

    def shape_drop(self, Py_ssize_t shape):
        cdef Shape* row = self.shape_at(shape)
        self.shapes[shape] = NULL
        self.shapes_free.append(shape)
        free(row)

    cdef inline Shape* shape_at(self, Py_ssize_t number) except NULL:
        if not 0 <= number < <Py_ssize_t>self.shapes_count:
            raise IndexError(number)
        if self.shapes[number] == NULL:
            raise IndexError(number)
        return self.shapes[number]

    # Jobs

    def push(self, Py_ssize_t cls, uint32_t handle, uint64_t key):
        """Queue a job; the smallest key goes first. Raises: KeyError if it is queued."""
        self.job_push(self.class_at(cls), handle, key)

    def push_alike(self, Py_ssize_t cls, list handles not None, uint64_t key):
        """Queue jobs of one class, each with the key behind the one before. Raises: as `push`."""
        cdef Class* row = self.class_at(cls)
        cdef uint32_t handle
        for handle in handles:
            self.job_push(row, handle, key)
            key += 1

    def push_many(self, bytes classes not None, uint32_t handle, bytes keys not None):
        """Queue jobs whose handles follow each other, the first of them given.

        Shape: u32 class numbers and u64 keys, one of each a job, in this machine's order of bytes.
        Raises: as `push`; the jobs before the one that is refused are queued.
        """
        cdef const uint32_t* numbers = <const uint32_t*>PyBytes_AS_STRING(classes)
        cdef const uint64_t* places = <const uint64_t*>PyBytes_AS_STRING(keys)
        cdef uint32_t i, count = <uint32_t>(PyBytes_GET_SIZE(classes) // sizeof(uint32_t))
        if len(classes) != 4 * <Py_ssize_t>count or len(keys) != 8 * <Py_ssize_t>count:
            raise ValueError("a job has one class of 4 bytes and one key of 8")
        for i in range(count):
            self.job_push(self.class_at(numbers[i]), handle + i, places[i])

    cdef int job_push(self, Class* row, uint32_t handle, uint64_t key) except -1:
        positions_reserve(&self.job_at, handle)
        positions_reserve(&self.job_class, handle)
        if self.job_at.at[handle] != NONE:
            raise KeyError(handle)
        order_push(&row.jobs, &self.job_at, key, handle)
        self.job_class.at[handle] = row.number
        self.size += 1
        return self.class_update(row)

    def remove(self, uint32_t handle):
        """Return whether the job was queued."""
        if position_of(&self.job_at, handle) == NONE:
            return False
        self.job_remove(self.classes_by_number[self.job_class.at[handle]], handle)
        return True

    def class_of(self, uint32_t handle):
        """Raises: KeyError if the job is not queued."""
        if position_of(&self.job_at, handle) == NONE:
            raise KeyError(handle)
        return self.job_class.at[handle]

    def key(self, uint32_t handle):
        """Raises: KeyError if the job is not queued."""
        cdef uint32_t at = position_of(&self.job_at, handle)
        if at == NONE:
            raise KeyError(handle)
        return order_key(&self.classes_by_number[self.job_class.at[handle]].jobs, at)

    def __contains__(self, uint32_t handle):
        return position_of(&self.job_at, handle) != NONE

    def __len__(self):
        return self.size

    cdef inline int job_remove(self, Class* cls, uint32_t handle) except -1:
        order_remove(&cls.jobs, &self.job_at, handle)
        self.size -= 1
        return self.class_update(cls)

    cdef inline int class_update(self, Class* cls) except -1:
        """Carry a changed head up to the tree and to the heap of lanes."""
        cdef Lane* lane = self.lanes[cls.lane]
        tree_update(&lane.tree, cls)
        return self.lane_place(lane)

    # Workers

    def take(
        self,
        Py_ssize_t shape,
        int64_t cpu_milli,
        int64_t memory_mb,
        int64_t storage_mb,
        int64_t gpu_milli,
    ):
        """Remove and return the first job that fits, and count a lease on its class; or -1."""
        cdef int64_t amounts[4]
        cdef Search search
        amounts[0] = cpu_milli
        amounts[1] = memory_mb
        amounts[2] = storage_mb
        amounts[3] = gpu_milli
        self.search(&search, self.shape_at(shape), amounts)
        if search.found == NULL:
            return -1
        self.take_found(search.found)
        return search.handle

    def take_many(self, Py_ssize_t shape, tuple free not None, Py_ssize_t max_jobs):
        """Take up to `max_jobs` jobs, subtracting each need from `free`."""
        cdef Shape* row = self.shape_at(shape)
        cdef list handles = []
        cdef int64_t amounts[4]
        cdef Search search
        cdef int i
        if len(free) != DIMENSIONS:
            raise ValueError("free is four amounts")
        for i in range(DIMENSIONS):
            amounts[i] = free[i]
        while max_jobs > 0:
            self.search(&search, row, amounts)
            if search.found == NULL:
                break
            for i in range(DIMENSIONS):
                amounts[i] -= search.found.need[i]
            self.take_found(search.found)
            handles.append(search.handle)
            max_jobs -= 1
        return handles

    def peek(
        self,
        Py_ssize_t shape,
        int64_t cpu_milli,
        int64_t memory_mb,
        int64_t storage_mb,
        int64_t gpu_milli,
    ):
        """Return what `take` would, and change nothing."""
        cdef int64_t amounts[4]
        cdef Search search
        amounts[0] = cpu_milli
        amounts[1] = memory_mb
        amounts[2] = storage_mb
        amounts[3] = gpu_milli
        self.search(&search, self.shape_at(shape), amounts)
        return -1 if search.found == NULL else search.handle

    cdef inline int take_found(self, Class* cls) except -1:
        # The lease is counted first, so that a lane that closes is moved only once.
        self.leases_count(cls, 1, 1)
        return self.job_remove(cls, cls.jobs.head_handle)

    cdef void search(self, Search* search, Shape* shape, const int64_t* amounts) noexcept:
        """Fill in what a search found; `found` is NULL when nothing fits."""
        cdef uint32_t stack[64]  # three siblings wait on each of the heap's 11 levels
        cdef int depth = 0, d
        cdef uint32_t at, i, number
        cdef uint64_t child, end
        cdef Queue* queue
        search.shape = shape
        search.key = KEY_MAX
        search.handle = NONE
        search.found = NULL
        for d in range(DIMENSIONS):
            if amounts[d] < 0:
                return
            search.free[d] = <int32_t>(
                amounts[d] if amounts[d] < AMOUNT_MAX_C else AMOUNT_MAX_C
            )
            search.limits[d] = rounded(search.free[d])
        recent_search(&self.recent, search.limits, shape)
        if not shape.any_queue:
            for i in range(shape.queues_count):
                number = shape.numbers[shape.kinds_count + i]
                queue = self.queues[number] if number < self.queues_capacity else NULL
                if queue != NULL:
                    self.search_placed(search, queue.plain)
                    for at in range(queue.gated.count):
                        self.search_placed(search, queue.gated.at[at])
            return
        if self.lane_heap.size:
            stack[0] = 0
            depth = 1
        while depth:
            depth -= 1
            at = stack[depth]
            if self.lane_heap.entries[at].key > search.key:
                continue
            self.search_lane(search, self.lanes[self.lane_heap.entries[at].handle])
            child = 4 * <uint64_t>at + 1
            end = child + 4
            if end > self.lane_heap.size:
                end = self.lane_heap.size
            while child < end:
                end -= 1
                if self.lane_heap.entries[end].key <= search.key:
                    stack[depth] = <uint32_t>end
                    depth += 1

    cdef inline void search_placed(self, Search* search, const Lane* lane) noexcept:
        if self.lane_at.at[lane.number] != NONE:
            self.search_lane(search, lane)

    cdef inline void search_lane(self, Search* search, const Lane* lane) noexcept:
        if lane.gates_count:
            self.search_gated(search, lane)
        else:
            tree_search(&lane.tree, search)

    cdef void search_gated(self, Search* search, const Lane* lane) noexcept:
        """Offer the lane no more than its gates let through."""
        cdef Search whole = search[0]
        cdef uint32_t i
        cdef int d
        for i in range(lane.gates_count):
            if self.gates[lane.gates[i]].has_most:
                search_narrow(search, self.gates[lane.gates[i]])
        tree_search(&lane.tree, search)
        for d in range(DIMENSIONS):
            search.free[d] = whole.free[d]
            search.limits[d] = whole.limits[d]

    def fits(
        self,
        Py_ssize_t cls,
        Py_ssize_t shape,
        int64_t cpu_milli,
        int64_t memory_mb,
        int64_t storage_mb,
        int64_t gpu_milli,
    ):
        """Return whether the class suits the shape and the free amounts; queue and gates aside."""
        cdef Class* row = self.class_at(cls)
        cdef Shape* profile = self.shape_at(shape)
        return (
            row.need[0] <= cpu_milli
            and row.need[1] <= memory_mb
            and row.need[2] <= storage_mb
            and row.need[3] <= gpu_milli
            and class_suits(row, profile)
            and (
                profile.any_queue
                or trait_listed(
                    profile.numbers + profile.kinds_count,
                    profile.queues_count,
                    self.lanes[row.lane].queue_number,
                )
            )
        )

    def runnable(self, Py_ssize_t cls):
        """Return whether the class's queue is open, and its gates let one more job of it through."""
        cdef Class* row = self.class_at(cls)
        cdef Lane* lane = self.lanes[row.lane]
        cdef uint32_t i
        for i in range(lane.gates_count):
            if not self.gate_lets(self.gates[lane.gates[i]], row):
                return False
        return queue_is_open(lane.queue)

    # Leases

    def lease(self, Py_ssize_t cls):
        """Count a lease that was not made by `take`, as after a restart; it costs no token."""
        self.leases_count(self.class_at(cls), 1, 0)

    def release(self, Py_ssize_t cls, uint64_t leases=1):
        """Uncount leases. Raises: AssertionError if the class has not so many."""
        cdef Class* row = self.class_at(cls)
        assert row.leases >= leases, "a release without a lease"
        self.leases_count(row, -<int64_t>leases, 0)

    def memory_bytes(self):
        """Return the bytes allocated; linear in classes."""
        cdef size_t i, total = 0
        for i in range(self.classes_count):
            if self.classes_by_number[i] != NULL:
                total += sizeof(Class) + order_bytes(&self.classes_by_number[i].jobs)
        for i in range(self.queues_capacity):
            if self.queues[i] != NULL:
                total += sizeof(Queue) + self.queues[i].gated.capacity * sizeof(Lane*)
        for i in range(self.lanes_count):
            if self.lanes[i] != NULL:
                total += sizeof(Lane) + tree_bytes(&self.lanes[i].tree)
        for i in range(self.gates_count):
            if self.gates[i] != NULL:
                total += sizeof(Gate) + self.gates[i].lanes.capacity * sizeof(Lane*)
        total += (self.job_at.capacity + self.job_class.capacity) * sizeof(uint32_t)
        return total + self.classes_capacity * sizeof(Class*)

    def check(self):
        """Assert every invariant, with all tree aggregates recomputed."""
        cdef size_t i, classes = 0, jobs = 0, nodes, tree_classes, open_lanes = 0
        cdef Class* cls
        cdef Lane* lane
        cdef Gate* gate
        cdef uint32_t at, position
        cdef int d
        cdef dict leases = {}, traits = {}, in_class = {}, gate_leases = {}, gate_used = {}
        cdef dict lanes_of = {}
        for i in range(self.classes_count):
            cls = self.classes_by_number[i]
            if cls == NULL:
                assert i in self.classes_free
                continue
            assert cls.number == i
            classes += 1
            jobs += cls.jobs.size
            order_check(&cls.jobs, &self.job_at)
            lane = self.lanes[cls.lane]
            leases[lane.queue_number] = leases.get(lane.queue_number, 0) + cls.leases
            for at in range(lane.gates_count):
                key = lane.gates[at]
                gate_leases[key] = gate_leases.get(key, 0) + cls.leases
                for d in range(DIMENSIONS):
                    gate_used[key, d] = gate_used.get((key, d), 0) + cls.leases * cls.need[d]
            key = traits_key(cls.traits)
            traits[key] = traits.get(key, 0) + 1
            assert (<_TraitsRow>self.traits[key]).traits == cls.traits
        assert jobs == self.size == positions_used(&self.job_at)
        for i in range(self.job_at.size):
            if self.job_at.at[i] != NONE:
                in_class[self.job_class.at[i]] = in_class.get(self.job_class.at[i], 0) + 1
        for i, count in in_class.items():
            assert self.classes_by_number[i].jobs.size == count
        assert classes + <size_t>len(self.classes_free) == self.classes_count
        assert traits.keys() == self.traits.keys()
        for key, count in traits.items():
            assert (<_TraitsRow>self.traits[key]).traits.classes == count
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
                assert lanes_has(&lane.queue.gated, lane)
            else:
                assert lane.queue.plain == lane
            for at in range(lane.gates_count):
                key = lane.gates[at]
                assert lanes_has(&self.gate_at(key).lanes, lane)
                lanes_of[key] = lanes_of.get(key, 0) + 1
            nodes = tree_classes = 0
            if lane.tree.root != NULL:
                tree_check(&lane.tree, lane.tree.root, &tree_classes, &nodes)
            assert nodes == lane.tree.nodes
            assert tree_classes == lane.classes
            classes -= tree_classes
            position = position_of(&self.lane_at, <uint32_t>i)
            if lane.tree.root != NULL and lane.tree.summary.handle != NONE:
                assert (position != NONE) == self.lane_is_open(lane)
            else:
                assert position == NONE
            if position != NONE:
                open_lanes += 1
                assert self.lane_heap.entries[position].key == lane.tree.summary.key
        for i in range(self.gates_count):
            gate = self.gates[i]
            if gate == NULL:
                assert i in self.gates_free
                continue
            assert gate.leases == gate_leases.get(i, 0), "a gate has lost count of its leases"
            assert gate.lanes.count == lanes_of.get(i, 0)
            for d in range(DIMENSIONS):
                assert gate.used[d] == gate_used.get((i, d), 0), "a gate has lost count of needs"
        assert classes == 0, "a class is not in its lane's tree"
        assert open_lanes == self.lane_heap.size
        heap_check(&self.lane_heap, &self.lane_at)


cdef bint lanes_has(const Lanes* lanes, const Lane* lane) noexcept:
    cdef uint32_t i
    for i in range(lanes.count):
        if lanes.at[i] == lane:
            return True
    return False


cdef frozenset lane_gates(const Lane* lane):
    cdef uint32_t i
    return frozenset([lane.gates[i] for i in range(lane.gates_count)])


cdef tuple traits_key(const Traits* traits):
    cdef uint32_t i
    return (
        frozenset([traits.numbers[i] for i in range(traits.gpus_count)]),
        frozenset(
            [traits.numbers[traits.gpus_count + i] for i in range(traits.labels_count)]
        ),
    )
