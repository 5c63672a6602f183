"""The first jobs of a lane's classes, in order; finds the first that fits an offer.

A search begins with the very first head, which most often fits. Else it goes through the fences
in order, passes over those that say that nothing there can fit or come first, compares the other
blocks with the offer (block.pxd), and stops where all that follow come later than what it found.

Cost: a few nanoseconds for each fence, some tens for each block compared. In most mixes it compares
a smaller part of the classes before the answer the more there are; at worst it compares all, 512 at a
time, and looks one by one at those that levels and marks cannot tell apart.

Only classes with queued jobs are in blocks. A change costs O(log blocks), and now and then packs,
splits or joins a block, or divides 16 of them; where a block comes or goes, O(blocks).
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from headrace._native.block cimport (
    COLUMNS,
    COLUMNS_OF_LEVELS,
    SLOTS,
    SMALL_FIRST,
    SMALL_LAST,
    WORDS,
    able_at,
    able_traits,
    block_clear,
    block_first,
    block_head_set,
    block_leave,
    block_new,
    block_place,
    columns_at,
    columns_set,
    levels_set,
    lowest_bit,
    more_than,
    prefetch_block,
    prefetch_write,
    row_init,
)
from headrace._native.classes cimport (
    DIMENSIONS,
    KINDS,
    LABELS,
    MARKS,
    Block,
    Class,
    Owner,
    Row,
    Shape,
    marks_add,
    need_fits,
    suits,
)
from headrace._native.fences cimport (
    PACK_UP_TO,
    Fence,
    Heads,
    fence_add,
    fence_clear,
    fence_delete,
    fence_find,
    fence_insert,
    fence_join,
    fence_pack,
    fence_replace,
    fence_span,
    fence_split,
    fences_reached,
    fences_reserve,
    first_find,
    first_follow,
    group_begin,
    least_of,
    levels_follow,
    levels_renew,
    same_group,
)
from headrace._native.groups cimport (
    blocks_divide,
    group_follow,
    is_single,
    partner,
    row_before,
    singles_follow,
)
from headrace._native.heap cimport KEY_MAX, NONE, before
from headrace._native.levels cimport AMOUNT_LAST, LEVELS, Levelling, Levels, level_of, offer_note

cdef enum:
    AHEAD = 4         # blocks that are fetched while others are compared
    NOTED_FROM = 4    # compared blocks that make an offer one to choose levels by
    ONE_BY_ONE = 16   # so many slots that may fit are looked at as they stand, more in order
    VAIN_MAX = 32     # comparisons in vain, and ...
    GONE_MIN = 32     # ... classes that left, for a fence to be made again that may span less


cdef struct Search:
    Shape* shape
    int32_t free[4]
    uint64_t key     # of the best found so far; only what comes before it matters
    uint32_t handle
    Class* found


cdef struct Scan:
    Heads* heads
    uint8_t levels[2][4]  # of the offer, by the lowest bit of the epoch
    uint32_t compared
    uint64_t wasted       # looked at in vain


# Searches

cdef inline bint row_found(const Block* block, int slot, Search* search) noexcept nogil:
    """Note the class as the best so far if it suits; its need is known to fit."""
    cdef const Row* row = &block.rows[slot]
    cdef const Owner* owner = &block.owners[slot]
    if not suits(owner.traits, row.kind, search.shape):
        return False
    search.key = row.key
    search.handle = row.handle
    search.found = owner.cls
    prefetch_write(owner.cls)
    prefetch_write(&owner.cls.leases)
    return True


cdef inline bint slot_search(
    const Block* block, int slot, Search* search, Scan* scan
) noexcept nogil:
    """Note the class in a slot if it fits and comes first; return whether any behind it is too late."""
    cdef const Row* row = &block.rows[slot]
    if not need_fits(row.need, search.free):
        scan.wasted += 1
        return False
    if not before(row.key, row.handle, search.key, search.handle):
        return True
    return row_found(block, slot, search)


cdef inline void block_search(
    const Block* block, const uint64_t* able, Search* search, Scan* scan
) noexcept nogil:
    """Find the first head of a block that fits, among slots given as bits."""
    cdef uint64_t bits
    cdef int w, slot, i, words = (block.capacity + 63) >> 6
    if not block.sorted and more_than(able, words, ONE_BY_ONE):
        for i in range(block.count):
            slot = block.order[i]
            if able[slot >> 6] >> (slot & 63) & 1 and slot_search(block, slot, search, scan):
                return
        return
    for w in range(words):
        bits = able[w]
        while bits:
            slot = 64 * w + lowest_bit(bits)
            bits &= bits - 1
            if slot_search(block, slot, search, scan) and block.sorted:
                return


cdef inline void block_compare(Block* block, Search* search, Scan* scan) noexcept nogil:
    cdef uint64_t able[WORDS]
    cdef uint8_t levels[4]
    cdef int d
    scan.compared += 1
    if block.capacity < SLOTS:
        able[0] = block.live[0]
        block_search(block, able, search, scan)
        return
    for d in range(DIMENSIONS):
        levels[d] = scan.levels[block.epoch & 1][d]
        if block.most[d] <= search.free[d]:
            levels[d] = LEVELS - 1
    if able_at(block.live, columns_at(block), levels, able):
        if able_traits(block, search.shape, able):
            block_search(block, able, search, scan)
    elif block.gone >= GONE_MIN:
        block.vain += 1
        if block.vain == VAIN_MAX:
            fence_span(scan.heads, &scan.heads.fences[block.at])


cdef inline void scan_begin(Scan* scan, Heads* heads, const int32_t* offer) noexcept nogil:
    cdef const Levelling* levelling = heads.levelling
    cdef int d, epoch, some
    scan.heads = heads
    scan.compared = 0
    scan.wasted = 0
    if levelling == NULL:
        return
    for some in range(2 if levelling.stale else 1):
        epoch = (levelling.epoch - some) & 1
        for d in range(DIMENSIONS):
            scan.levels[epoch][d] = level_of(&levelling.levels[epoch], d, offer[d])


cdef inline void scan_end(const Scan* scan, const int32_t* offer) noexcept nogil:
    cdef Levelling* levelling = scan.heads.levelling
    if levelling == NULL or scan.heads.fences[0].block.columns == NULL:
        return
    if scan.wasted or scan.compared >= NOTED_FROM:
        offer_note(levelling, offer)
    if scan.wasted:
        levelling.wasted += scan.wasted
        levelling.owed += scan.wasted
        levels_follow(scan.heads)


cdef inline void heads_scan(Heads* heads, Search* search) noexcept nogil:
    """Look into the blocks in order, some of them fetched before they are looked at."""
    cdef Scan scan
    cdef const Fence* fence
    cdef Block* waiting[AHEAD]
    cdef uint64_t keys[AHEAD]
    cdef int32_t offer[4]
    cdef uint32_t kinds = search.shape.marks[KINDS]
    cdef uint32_t lacking = ~search.shape.marks[LABELS]
    cdef uint32_t four = 0, fours = (heads.count + 3) // 4  # fences are looked at by fours
    cdef uint32_t reached = 0, count = 0, at = 0, place
    scan_begin(&scan, heads, search.free)
    memcpy(offer, search.free, sizeof(offer))
    while True:
        while reached == 0 and four < fours:
            if heads.fences[4 * four].low_key > search.key:
                four = fours
                break
            reached = fences_reached(heads.leasts[four], offer)
            four += 1
            if 4 * four > heads.count:
                reached &= 15 >> (4 * four - heads.count)
        if reached:
            fence = &heads.fences[4 * four - 4 + lowest_bit(reached)]
            reached &= reached - 1
            if (
                (fence.key <= search.key)
                & ((fence.kinds & kinds) != 0)
                & ((fence.labels_all & lacking) == 0)
            ):
                if heads.count > 1:
                    prefetch_block(
                        fence.block.live,
                        columns_at(fence.block),
                        scan.levels[heads.levelling.epoch & 1],
                    )
                place = (at + count) % AHEAD
                waiting[place] = fence.block
                keys[place] = fence.key
                count += 1
            if count < AHEAD:
                continue
        elif count == 0:
            break
        if keys[at] <= search.key:
            block_compare(waiting[at], search, &scan)
        at = (at + 1) % AHEAD
        count -= 1
    if scan.compared == 0:
        least_find(heads)
    scan_end(&scan, search.free)


cdef inline void least_find(Heads* heads) noexcept nogil:
    """Find what no need is less than, once fences alone have refused an offer."""
    cdef const int32_t* least
    cdef uint32_t i
    cdef int d
    for d in range(DIMENSIONS):
        heads.least[d] = AMOUNT_LAST
    for i in range(heads.count):
        least = least_of(heads, &heads.fences[i])
        for d in range(DIMENSIONS):
            heads.least[d] = min(heads.least[d], least[4 * d])


cdef inline void heads_search(Heads* heads, Search* search) noexcept nogil:
    """Note the first class of the lane that fits, if its head comes before the best so far."""
    cdef const Block* block
    cdef uint32_t slot
    if not (
        before(heads.key, heads.handle, search.key, search.handle)
        and need_fits(heads.least, search.free)
    ):
        return
    block = heads.fences[heads.at].block
    slot = block_first(block)
    # Most often the very first head fits, and nothing else has to be looked at.
    if not (need_fits(block.rows[slot].need, search.free) and row_found(block, slot, search)):
        heads_scan(heads, search)


# Changes

cdef inline uint32_t capacity_wanted(const Fence* fence) noexcept nogil:
    """Say how large a new block must be for one more head; 0: none is needed."""
    cdef const Block* block = fence.block
    if block.used < block.capacity or fence.live <= block.capacity // 8 * 7:
        return 0
    return SLOTS if block.capacity >= SMALL_LAST else SMALL_LAST


cdef inline bint is_beyond(
    const Heads* heads, uint32_t at, uint64_t key, uint32_t handle
) noexcept nogil:
    """Whether the head comes after all of the group that ends here."""
    cdef const Block* block
    cdef uint32_t i
    for i in range(group_begin(heads, at), at + 1):
        block = heads.fences[i].block
        if not before(block.high_key, block.high_handle, key, handle):
            return False
    return True


cdef inline uint32_t block_add(
    Heads* heads, uint32_t at, Block* block, uint64_t key, uint32_t handle
) noexcept nogil:
    """Add a block beside a full one, which ends its group; return where the head goes."""
    cdef const Fence* fence = &heads.fences[at]
    block.epoch = heads.levelling.epoch
    if is_beyond(heads, at, key, handle):
        fence_insert(heads, at + 1, block, key, handle)
        return singles_follow(heads, at + 1)
    if is_single(heads, at):
        fence_split(heads, at, block)
        fence = &heads.fences[at + 1]
        return at + (not before(key, handle, fence.low_key, fence.low_handle))
    fence_insert(heads, at + 1, block, fence.low_key, fence.low_handle)
    blocks_divide(heads, at, at + 2, 2)
    return at + 1


cdef inline int levelling_init(Heads* heads) except -1:
    heads.levelling = <Levelling*>calloc(1, sizeof(Levelling))
    if heads.levelling == NULL:
        raise MemoryError
    levels_renew(heads)
    return 0


cdef inline int heads_put(Heads* heads, Class* cls, uint64_t key, uint32_t handle) except -1:
    """Add a class that is in no block. Raises: MemoryError, and nothing has changed."""
    cdef Block* added = NULL
    cdef Block* block
    cdef Fence* fence
    cdef Row row
    cdef Owner owner
    cdef uint32_t at, capacity
    cdef int d
    fences_reserve(heads)
    if heads.count == 0:
        fence_insert(heads, 0, block_new(SMALL_FIRST), 0, 0)
    at = fence_find(heads, key, handle)
    fence = &heads.fences[at]
    capacity = capacity_wanted(fence)
    if capacity == SLOTS and heads.levelling == NULL:
        levelling_init(heads)
    if capacity:
        added = block_new(capacity)
    row_init(&row, cls, key, handle)
    owner.cls = cls
    owner.traits = cls.traits
    if fence.block.used == fence.block.capacity:
        if added == NULL:
            fence_pack(heads, at)
        elif fence.block.capacity < SLOTS:
            fence_replace(heads, fence, added)
        else:
            at = block_add(heads, at, added, key, handle)
            fence = &heads.fences[at]
    block = fence.block
    block_place(block, &row, &owner)
    fence_add(heads, fence, &row, cls.traits)
    heads.live += 1
    if block.columns != NULL:
        levels_set(
            block.levels[cls.slot], &heads.levelling.levels[block.epoch & 1], row.need
        )
        columns_set(block, cls.slot, False)
    for d in range(DIMENSIONS):
        heads.least[d] = min(heads.least[d], row.need[d])
    first_follow(heads, fence)
    return 0


cdef inline void heads_tidy(Heads* heads, uint32_t at) noexcept nogil:
    """Free or join a block in which little is left, and put small groups together."""
    cdef const Fence* fence = &heads.fences[at]
    cdef uint32_t other
    if fence.live == 0:
        if heads.count > 1 or fence.block.capacity > SMALL_FIRST:
            fence_delete(heads, at)
        else:
            block_clear(fence.block)
            fence_clear(heads, &heads.fences[at])
    elif heads.count == 1 or fence.live > PACK_UP_TO // 4 or fence.live % 16:
        return  # it is looked at again when there are fewer
    else:
        other = partner(heads, at)
        if other == NONE:
            return
        fence_join(heads, min(at, other), max(at, other))
        at = min(at, other)
    if heads.count > 1:
        group_follow(heads, min(at, heads.count - 1))


cdef inline void heads_out(Heads* heads, Class* cls) noexcept nogil:
    """Take a class out of its block."""
    cdef Block* block = cls.block
    cdef Fence* fence = &heads.fences[block.at]
    block_leave(block, cls.slot)
    fence.live -= 1
    heads.live -= 1
    cls.block = NULL
    first_follow(heads, fence)


cdef inline void heads_drop(Heads* heads, Class* cls) noexcept nogil:
    """Take a class out of its block, which may be freed or joined with another."""
    cdef const Block* block = cls.block
    heads_out(heads, cls)
    heads_tidy(heads, block.at)


cdef inline int heads_update(Heads* heads, Class* cls) except -1:
    """Take over the head of a class after its jobs have changed.

    Raises: MemoryError, and the class is found by no search until its jobs change again.
    """
    cdef Block* block = cls.block
    cdef uint64_t key = cls.jobs.head_key
    cdef uint32_t handle = cls.jobs.head_handle
    cdef uint32_t slot = cls.slot
    if block == NULL:
        return heads_put(heads, cls, key, handle) if handle != NONE else 0
    if block.rows[slot].key == key and block.rows[slot].handle == handle:
        return 0
    if handle != NONE and same_group(
        &heads.fences[block.at], &heads.fences[fence_find(heads, key, handle)]
    ):
        block_head_set(block, cls.slot, key, handle)
        first_follow(heads, &heads.fences[block.at])
        return 0
    heads_drop(heads, cls)
    return heads_put(heads, cls, key, handle) if handle != NONE else 0


# Invariants

cdef inline int block_check(const Heads* heads, const Fence* fence, size_t* classes) except -1:
    """Assert what a block holds, and that its fence and its marks span it."""
    cdef const Block* block = fence.block
    cdef const int32_t* least = least_of(heads, fence)
    cdef const Row* row
    cdef const Row* last = NULL
    cdef const Class* cls
    cdef const Levels* levels
    cdef uint32_t marks[MARKS]
    cdef uint32_t live = 0
    cdef int slot, d, level, g, column
    cdef bint is_set
    assert block.used <= block.capacity
    assert (block.columns != NULL) == (block.capacity == SLOTS)
    for slot in range(block.capacity):
        if not block.live[slot >> 6] >> (slot & 63) & 1:
            assert block.rows[slot].handle == NONE
            assert block.rows[slot].key == KEY_MAX
            continue
        live += 1
        assert slot < block.used
        row = &block.rows[slot]
        cls = block.owners[slot].cls
        assert cls.block == block
        assert cls.slot == slot
        assert cls.jobs.size
        assert row.key == cls.jobs.head_key
        assert row.handle == cls.jobs.head_handle
        assert not before(row.key, row.handle, fence.low_key, fence.low_handle)
        assert not before(block.high_key, block.high_handle, row.key, row.handle)
        if block.sorted and last != NULL:
            assert row_before(last, row)
        last = row
        assert block.owners[slot].traits == cls.traits
        assert row.kind == cls.kind
        memset(marks, 0, sizeof(marks))
        marks_add(cls.traits, cls.kind, marks)
        for d in range(DIMENSIONS):
            assert row.need[d] == cls.need[d]
            assert heads.least[d] <= least[4 * d] <= cls.need[d] <= block.most[d]
        assert not marks[KINDS] & ~fence.kinds
        assert not fence.labels_all & ~marks[LABELS]
        for g in range(MARKS):
            assert not marks[g] & ~block.marks[g]
        if block.columns == NULL:
            continue
        levels = &heads.levelling.levels[block.epoch & 1]
        for column in range(COLUMNS):
            is_set = block.columns[WORDS * column + (slot >> 6)] >> (slot & 63) & 1
            if column < COLUMNS_OF_LEVELS:
                d = column // LEVELS
                level = column % LEVELS
                assert block.levels[slot][d] == level_of(levels, d, cls.need[d])
                assert is_set == (level >= block.levels[slot][d] and level < LEVELS - 1)
            else:
                g = (column - COLUMNS_OF_LEVELS) // 32
                assert is_set == bool(marks[g] >> column % 32 & 1)
    assert live == fence.live
    if not block.sorted:
        assert block.count == live
        for g in range(1, <int>block.count):
            assert row_before(
                &block.rows[block.order[g - 1]], &block.rows[block.order[g]]
            )
    if live:
        slot = <int>block_first(block)
        assert block.live[slot >> 6] >> (slot & 63) & 1
        assert block.rows[slot].key == fence.key
        assert block.rows[slot].handle == fence.handle
    else:
        assert fence.handle == NONE
    classes[0] += live
    return 0


cdef inline int heads_check(Heads* heads, size_t* classes) except -1:
    """Assert every invariant; count the classes in all blocks."""
    cdef const Fence* fence
    cdef const Fence* prior
    cdef uint64_t key = heads.key
    cdef uint32_t handle = heads.handle
    cdef uint32_t at = heads.at
    cdef uint32_t i, j, stale = 0
    cdef int d, level
    assert heads.count <= heads.capacity
    for i in range(heads.count):
        fence = &heads.fences[i]
        assert fence.block.at == i
        block_check(heads, fence, classes)
        if i == 0:
            assert fence.low_key == 0
            assert fence.low_handle == 0
        else:
            assert fence.live
            assert fence.block.capacity == SLOTS
            if not same_group(&heads.fences[i - 1], fence):
                for j in range(group_begin(heads, i - 1), i):
                    prior = &heads.fences[j]
                    assert before(
                        prior.low_key, prior.low_handle, fence.low_key, fence.low_handle
                    )
                    assert before(
                        prior.block.high_key,
                        prior.block.high_handle,
                        fence.low_key,
                        fence.low_handle,
                    )
        if fence.block.columns != NULL and fence.block.epoch != heads.levelling.epoch:
            assert fence.block.epoch == <uint8_t>(heads.levelling.epoch - 1)
            stale += 1
    assert classes[0] == heads.live
    if heads.levelling != NULL:
        assert heads.levelling.stale == stale
        for i in range(2):
            for d in range(DIMENSIONS):
                for level in range(1, LEVELS):
                    assert (
                        heads.levelling.levels[i].at[d][level - 1]
                        <= heads.levelling.levels[i].at[d][level]
                    )
    first_find(heads)
    assert heads.key == key
    assert heads.handle == handle
    assert heads.at == at or handle == NONE
    return 0
