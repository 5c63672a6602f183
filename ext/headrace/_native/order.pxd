"""The queued jobs of one class in order of (key, handle): sorted runs, and a heap for the rest.

The first job stands by itself, so a class of one job, and there may be many such, needs no more
memory. Other jobs mostly arrive in order within a priority. So a job is appended to a run whose
last key is smaller, the one with the largest such key; the first job of a run is its head, and
taking it moves an index, whatever the depth. A few runs serve as many interleaved priorities. Jobs
that suit no run, the first few of a class, and a first job that a new one comes before go to a heap.

    head   the smallest of all, or KEY_MAX and NONE
    heap   what came out of order
    runs   entries[head:tail] rise; a removed job leaves an entry without handle, never at the
           ends; no more than half are such, or fewer than PACK_FROM

A handle's position is AT_HEAD, or an index in the heap, or RUN_BIT, the number of its run, and its
index counted from where the run began, so that dropping the front of a run moves no positions.

Cost: append and take O(runs); heap O(log n). Removal from inside a run packs it now and then,
O(1) on average.
Source: patience sorting; best fit keeps the fewest runs.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from headrace._native.heap cimport (
    KEY_MAX,
    NONE,
    Entry,
    HeapCore,
    Positions,
    before,
    heap_check,
    heap_free,
    heap_push,
    heap_remove_at,
    larger,
    position_of,
)

cdef enum:
    AHEAD_MAX = 10_000   # entries of a heap that are looked at to count those ahead
    RUNS_MAX = 7         # one more, and a position could be NONE
    RUN_SHIFT = 28
    RUN_INDEX = (1 << 28) - 1
    HEAP_FIRST = 4       # a class with so few jobs needs no run
    RUN_CAPACITY_MIN = 8
    RUN_KEEP = 1024      # an empty run keeps its block up to this capacity
    PACK_FROM = 32       # a run shorter than this is not packed

cdef extern from *:
    """
    #define HEADRACE_RUN_BIT 0x80000000u
    #define HEADRACE_AT_HEAD 0x7FFFFFFFu
    """
    const uint32_t RUN_BIT "HEADRACE_RUN_BIT"
    const uint32_t AT_HEAD "HEADRACE_AT_HEAD"  # more than any index in a heap


cdef struct Run:
    Entry* entries
    uint32_t head
    uint32_t tail
    uint32_t live
    uint32_t capacity
    uint32_t base  # what entries[0] counts as in positions


cdef struct Order:
    HeapCore heap
    Run* runs
    uint32_t runs_count
    uint32_t size
    uint64_t head_key
    uint32_t head_handle


cdef inline void order_init(Order* order) noexcept nogil:
    """Have no first job; for a new one the memory is zeroed already."""
    order.head_key = KEY_MAX
    order.head_handle = NONE


cdef inline void order_free(Order* order) noexcept nogil:
    cdef uint32_t i
    for i in range(order.runs_count):
        free(order.runs[i].entries)
    free(order.runs)
    heap_free(&order.heap)


cdef inline size_t order_bytes(const Order* order) noexcept nogil:
    cdef size_t total = <size_t>order.heap.capacity * sizeof(Entry)
    cdef uint32_t i
    for i in range(order.runs_count):
        total += sizeof(Run) + <size_t>order.runs[i].capacity * sizeof(Entry)
    return total


cdef inline uint32_t run_position(const Run* run, uint32_t number, uint32_t at) noexcept nogil:
    return RUN_BIT | number << RUN_SHIFT | ((run.base + at) & RUN_INDEX)


cdef inline uint64_t order_key(const Order* order, uint32_t position) noexcept nogil:
    cdef Run* run
    if position == AT_HEAD:
        return order.head_key
    if not position & RUN_BIT:
        return order.heap.entries[position].key
    run = &order.runs[(position & ~RUN_BIT) >> RUN_SHIFT]
    return run.entries[(position - run.base) & RUN_INDEX].key


cdef inline void run_pack(Run* run, Positions* positions, uint32_t number) noexcept nogil:
    """Close all gaps."""
    cdef uint32_t at, to = 0
    run.base = 0
    for at in range(run.head, run.tail):
        if run.entries[at].handle != NONE:
            run.entries[to] = run.entries[at]
            positions.at[run.entries[to].handle] = run_position(run, number, to)
            to += 1
    run.head = 0
    run.tail = to


cdef inline bint run_reserve(Run* run) noexcept nogil:
    """Make room for one more at the tail; False when there is none to be had."""
    cdef Entry* entries
    cdef size_t capacity
    if run.tail < run.capacity:
        return True
    if run.head > run.capacity >> 1:
        memmove(
            run.entries, run.entries + run.head, <size_t>(run.tail - run.head) * sizeof(Entry)
        )
        run.base += run.head
        run.tail -= run.head
        run.head = 0
        return True
    capacity = larger(RUN_CAPACITY_MIN, <size_t>run.capacity + (run.capacity >> 1))
    if capacity >= RUN_INDEX:
        return False
    entries = <Entry*>realloc(run.entries, capacity * sizeof(Entry))
    if entries == NULL:
        return False
    run.entries = entries
    run.capacity = <uint32_t>capacity
    return True


cdef inline int order_run_for(Order* order, uint64_t key, uint32_t handle) noexcept nogil:
    """Choose the run with the largest tail before (key, handle), else an empty one, else -1."""
    cdef uint32_t i
    cdef int best = -1, empty = -1
    cdef Run* run
    cdef Run* runs
    cdef Entry* tail
    cdef Entry* best_tail = NULL
    if order.size < HEAP_FIRST:
        return -1
    for i in range(order.runs_count):
        run = &order.runs[i]
        if run.live == 0:
            empty = <int>i
            continue
        tail = &run.entries[run.tail - 1]
        if before(tail.key, tail.handle, key, handle) and (
            best_tail == NULL
            or before(best_tail.key, best_tail.handle, tail.key, tail.handle)
        ):
            best = <int>i
            best_tail = tail
    if best >= 0 or empty >= 0 or order.runs_count == RUNS_MAX:
        return best if best >= 0 else empty
    runs = <Run*>realloc(order.runs, (order.runs_count + 1) * sizeof(Run))
    if runs == NULL:
        return -1
    order.runs = runs
    run = &runs[order.runs_count]
    run.entries = NULL
    run.head = run.tail = run.live = run.capacity = run.base = 0
    order.runs_count += 1
    return <int>order.runs_count - 1


cdef inline int rest_add(
    Order* order, Positions* positions, uint64_t key, uint32_t handle
) except -1:
    """Put a job into a run or the heap."""
    cdef int number = order_run_for(order, key, handle)
    cdef Run* run
    if number >= 0 and run_reserve(&order.runs[number]):
        run = &order.runs[number]
        run.entries[run.tail].key = key
        run.entries[run.tail].handle = handle
        positions.at[handle] = run_position(run, <uint32_t>number, run.tail)
        run.tail += 1
        run.live += 1
    else:
        heap_push(&order.heap, positions, key, handle)
    return 0


cdef inline int order_push(
    Order* order, Positions* positions, uint64_t key, uint32_t handle
) except -1:
    """Add a handle that is not in the order and whose position cell exists."""
    if not before(key, handle, order.head_key, order.head_handle):
        rest_add(order, positions, key, handle)
        order.size += 1
        return 0
    if order.size:
        heap_push(&order.heap, positions, order.head_key, order.head_handle)
    order.head_key = key
    order.head_handle = handle
    positions.at[handle] = AT_HEAD
    order.size += 1
    return 0


cdef inline void run_remove(
    Order* order, Positions* positions, uint32_t number, uint32_t at
) noexcept nogil:
    """Take the job at `entries[at]` out of a run; its position is left as it is."""
    cdef Run* run = &order.runs[number]
    run.entries[at].handle = NONE
    run.live -= 1
    if run.live == 0:
        run.head = run.tail = run.base = 0
        if run.capacity > RUN_KEEP:
            free(run.entries)
            run.entries = NULL
            run.capacity = 0
        return
    while run.entries[run.head].handle == NONE:
        run.head += 1
    while run.entries[run.tail - 1].handle == NONE:
        run.tail -= 1
    if run.tail - run.head >= PACK_FROM and run.live < (run.tail - run.head) >> 1:
        run_pack(run, positions, number)


cdef inline void head_next(Order* order, Positions* positions) noexcept nogil:
    """Move the first of the rest, if there is any, to the head."""
    cdef uint32_t i, number = RUNS_MAX
    cdef const Run* run
    cdef const Entry* entry
    order_init(order)
    if order.heap.size:
        order.head_key = order.heap.entries[0].key
        order.head_handle = order.heap.entries[0].handle
    for i in range(order.runs_count):
        run = &order.runs[i]
        if run.live == 0:
            continue
        entry = &run.entries[run.head]
        if before(entry.key, entry.handle, order.head_key, order.head_handle):
            order.head_key = entry.key
            order.head_handle = entry.handle
            number = i
    if order.head_handle == NONE:
        return
    if number < RUNS_MAX:
        run_remove(order, positions, number, order.runs[number].head)
    else:
        heap_remove_at(&order.heap, positions, 0)
    positions.at[order.head_handle] = AT_HEAD


cdef inline void order_remove(Order* order, Positions* positions, uint32_t handle) noexcept nogil:
    """Remove a handle that is in the order."""
    cdef uint32_t position = positions.at[handle], number
    order.size -= 1
    if position == AT_HEAD:
        head_next(order, positions)
    elif position & RUN_BIT:
        number = (position & ~RUN_BIT) >> RUN_SHIFT
        run_remove(order, positions, number, (position - order.runs[number].base) & RUN_INDEX)
    else:
        heap_remove_at(&order.heap, positions, position)
    positions.at[handle] = NONE


cdef inline void order_ahead(
    const Order* order, uint64_t key, uint32_t handle, uint32_t* least, uint32_t* most
) noexcept nogil:
    """Count the jobs that go before (key, handle): at least and at most so many.

    Gaps in a run, and a heap of more than `AHEAD_MAX`, are why it may be less than exact.
    Cost: O(log jobs) for the runs, O(heap) up to `AHEAD_MAX`.
    """
    cdef uint32_t i, number, low, high, middle, gaps, count = 0
    cdef const Run* run
    cdef const Entry* entry
    least[0] = most[0] = before(order.head_key, order.head_handle, key, handle)
    for number in range(order.runs_count):
        run = &order.runs[number]
        if run.live == 0:
            continue
        low, high = run.head, run.tail
        while low < high:  # of keys only: an entry that is gone has kept its key
            middle = low + (high - low) // 2
            entry = &run.entries[middle]
            if entry.key < key:
                low = middle + 1
            else:
                high = middle
        while low < run.tail and run.entries[low].key == key and (
            run.entries[low].handle < handle or run.entries[low].handle == NONE
        ):
            low += 1
        gaps = run.tail - run.head - run.live
        count = low - run.head
        least[0] += count - gaps if count > gaps else 0
        most[0] += count if count < run.live else run.live
    if order.heap.size > AHEAD_MAX:
        most[0] += order.heap.size
        return
    for i in range(order.heap.size):
        entry = &order.heap.entries[i]
        if before(entry.key, entry.handle, key, handle):
            least[0] += 1
            most[0] += 1


cdef inline int order_check(Order* order, Positions* positions) except -1:
    cdef uint32_t number, at, live, gaps, size = order.heap.size
    cdef Run* run
    cdef Entry* last
    heap_check(&order.heap, positions)
    if order.size:
        assert position_of(positions, order.head_handle) == AT_HEAD
        size += 1
    else:
        assert order.head_handle == NONE
        assert order.head_key == KEY_MAX
    if order.heap.size:
        last = &order.heap.entries[0]
        assert before(order.head_key, order.head_handle, last.key, last.handle)
    assert order.runs_count <= RUNS_MAX
    for number in range(order.runs_count):
        run = &order.runs[number]
        assert run.head <= run.tail <= run.capacity
        live = 0
        last = NULL
        for at in range(run.head, run.tail):
            if run.entries[at].handle == NONE:
                continue
            live += 1
            assert position_of(positions, run.entries[at].handle) == run_position(run, number, at)
            if last != NULL:
                assert before(last.key, last.handle, run.entries[at].key, run.entries[at].handle)
            last = &run.entries[at]
        assert live == run.live
        if live == 0:
            assert run.head == run.tail
        else:
            last = &run.entries[run.head]
            assert last.handle != NONE
            assert before(order.head_key, order.head_handle, last.key, last.handle)
            assert run.entries[run.tail - 1].handle != NONE
            gaps = run.tail - run.head - live
            assert gaps < PACK_FROM or gaps <= live + 1
        size += live
    assert size == order.size
    return 0
