"""The exact match index: jobs by class, classes in lanes by queue and gates, a heap of lanes.

    lane_heap ── lanes whose queue and gates are open and that have jobs, by first head (lanes.pxd)
      └─ Lane.heads ── its classes by their first jobs, compared many at a time (heads.pxd)
           └─ Class.jobs ── its queued jobs by (key, handle) (order.pxd)

A search goes through the lanes in the order of their
heads, or through those of the shape's own list of queues, and stops where no better head is left.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc

from headrace._native.classes cimport (
    DIMENSIONS,
    GPUS,
    KINDS,
    KINDS_HIGH,
    LABELS,
    MARKS,
    TENANT_FIRST_C,
    TENANTS,
    TENANTS_HIGH,
    Class,
    Shape,
    Traits,
    gpu_bit,
    high_bit,
    low_bit,
    suits,
    trait_listed,
)
from headrace._native.heads cimport Search, heads_drop, heads_search, heads_update
from headrace._native.heap cimport (
    KEY_MAX,
    NONE,
    Positions,
    larger,
    position_of,
    positions_free,
    positions_reserve,
    positions_used,
)
from headrace._native.lanes cimport (
    Lane,
    Lanes,
    Queue,
    gate_lets,
    lane_gates,
    queue_check_number,
    queue_is_open,
    search_narrow,
)
from headrace._native.order cimport (
    order_ahead,
    order_bytes,
    order_check,
    order_free,
    order_init,
    order_key,
    order_push,
    order_remove,
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
cdef class MatchIndex(Lanes):
    """Queued jobs by class; finds the first job by (key, handle) that a worker may run.

    Cost: `push`, `remove` and `take` are O(log jobs of the class + log classes of the queue)
    when the first heads fit; 512 classes that come before the answer and do not fit add some tens
    of nanoseconds, unless a need is as close to the offer as few others are (levels.pxd).
    """

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

    def __cinit__(self):
        self.classes_free = []
        self.shapes_free = []
        self.traits = {}

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.classes_count):
            if self.classes_by_number[i] != NULL:
                order_free(&self.classes_by_number[i].jobs)
                free(self.classes_by_number[i])
        for i in range(self.shapes_count):
            free(self.shapes[i])
        free(self.classes_by_number)
        free(self.shapes)
        positions_free(&self.job_at)
        positions_free(&self.job_class)

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
        if row.block != NULL:
            heads_drop(&before.heads, row)
        self.lane_place(before)
        self.lane_count(before, row, -<int64_t>row.leases, 0)
        row.lane = lane.number
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

    def class_head(self, Py_ssize_t cls):
        """Return the first job queued in the class. Raises: KeyError if there is none."""
        cdef Class* row = self.class_at(cls)
        if row.jobs.size == 0:
            raise KeyError(cls)
        return row.jobs.head_handle

    def ahead(self, Py_ssize_t cls, uint64_t key, uint32_t handle):
        """Return at least and at most how many jobs of the class go before (key, handle)."""
        cdef uint32_t least, most
        order_ahead(&self.class_at(cls).jobs, key, handle, &least, &most)
        return least, most

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
            traits.gpus_mask |= gpu_bit(number)
            i += 1
        for number in sorted(labels):
            traits.numbers[i] = number
            if number >= TENANT_FIRST_C:
                traits.tenant = number
            else:
                traits.labels_mask |= low_bit(number)
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
        shape.any_tenant = any_tenant
        shape.gpu_model = gpu_model
        for i in range(<size_t>MARKS):
            shape.marks[i] = 0
        if kinds is None:
            shape.marks[KINDS] = shape.marks[KINDS_HIGH] = 0xFFFFFFFF
        for i in range(shape.kinds_count):
            shape.marks[KINDS] |= low_bit(shape.numbers[i])
            shape.marks[KINDS_HIGH] |= high_bit(shape.numbers[i])
        if any_tenant:
            shape.marks[TENANTS] = shape.marks[TENANTS_HIGH] = 0xFFFFFFFF
        for i in range(<size_t>len(numbers) - shape.labels_count, <size_t>len(numbers)):
            if shape.numbers[i] >= TENANT_FIRST_C:
                shape.marks[TENANTS] |= low_bit(shape.numbers[i])
                shape.marks[TENANTS_HIGH] |= high_bit(shape.numbers[i])
            else:
                shape.marks[LABELS] |= low_bit(shape.numbers[i])
        shape.marks[GPUS] = <uint32_t>1 << 31
        if gpu_model >= 0:
            shape.marks[GPUS] |= gpu_bit(<uint32_t>gpu_model)
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

    def push_alike(self, Py_ssize_t cls, list handles not None, uint64_t key, uint64_t step):
        """Queue jobs of one class, each with a key a step behind the one before.

        Raises: as `push`.
        """
        cdef Class* row = self.class_at(cls)
        cdef uint32_t handle
        for handle in handles:
            self.job_push(row, handle, key)
            key += step

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
        """Carry a changed head up to the lane and to the heap of lanes."""
        cdef Lane* lane = self.lanes[cls.lane]
        heads_update(&lane.heads, cls)
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
        cdef Lane* lane = self.lanes[cls.lane]
        if lane.gates_count or lane.queue.capacity >= 0:
            self.leases_count(cls, 1, 1)
        else:
            cls.leases += 1
            lane.queue.leases += 1
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

    cdef inline void search_placed(self, Search* search, Lane* lane) noexcept:
        if self.lane_at.at[lane.number] != NONE:
            self.search_lane(search, lane)

    cdef inline void search_lane(self, Search* search, Lane* lane) noexcept:
        if lane.gates_count:
            self.search_gated(search, lane)
        else:
            heads_search(&lane.heads, search)

    cdef void search_gated(self, Search* search, Lane* lane) noexcept:
        """Offer the lane no more than its gates let through."""
        cdef Search whole = search[0]
        cdef uint32_t i
        cdef int d
        for i in range(lane.gates_count):
            if self.gates[lane.gates[i]].has_most:
                search_narrow(search, self.gates[lane.gates[i]])
        heads_search(&lane.heads, search)
        for d in range(DIMENSIONS):
            search.free[d] = whole.free[d]

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
            and suits(row.traits, row.kind, profile)
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
        """Return whether its queue is open, and its gates let one more job of it through."""
        cdef Class* row = self.class_at(cls)
        cdef Lane* lane = self.lanes[row.lane]
        cdef uint32_t i
        for i in range(lane.gates_count):
            if not gate_lets(self.gates[lane.gates[i]], row):
                return False
        return queue_is_open(lane.queue)

    def gate_holds(self, Py_ssize_t gate, Py_ssize_t cls):
        """Return whether the gate keeps a job of the class from being taken now."""
        return not gate_lets(self.gate_at(gate), self.class_at(cls))

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
        total += self.lanes_bytes()
        total += (self.job_at.capacity + self.job_class.capacity) * sizeof(uint32_t)
        return total + self.classes_capacity * sizeof(Class*)

    def check(self):
        """Assert every invariant, with all aggregates recomputed."""
        cdef size_t i, classes = 0, queued = 0, jobs = 0
        cdef Class* cls
        cdef Lane* lane
        cdef uint32_t at
        cdef int d
        cdef dict leases = {}, traits = {}, in_class = {}, gate_leases = {}, gate_used = {}
        cdef dict in_lane = {}
        for i in range(self.classes_count):
            cls = self.classes_by_number[i]
            if cls == NULL:
                assert i in self.classes_free
                continue
            assert cls.number == i
            classes += 1
            queued += cls.jobs.size > 0
            jobs += cls.jobs.size
            in_lane[cls.lane] = in_lane.get(cls.lane, 0) + 1
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
        assert queued == self.lanes_check(in_lane, leases, gate_leases, gate_used)


cdef tuple traits_key(const Traits* traits):
    cdef uint32_t i
    return (
        frozenset([traits.numbers[i] for i in range(traits.gpus_count)]),
        frozenset(
            [traits.numbers[traits.gpus_count + i] for i in range(traits.labels_count)]
        ),
    )
