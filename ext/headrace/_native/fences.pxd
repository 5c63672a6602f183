"""The blocks of a lane, and the fences that say what is in each.

    group ── blocks that divide the heads of one range of keys by need (groups.pxd)
      └─ fence ── one for each block: its first head, and what its classes span
           └─ block ── up to 512 classes that have a job queued (block.pxd)

Groups follow each other in the order of heads; their blocks have equal `low`. Heads that come after
all of a full group begin a new one. What a fence says of needs stands apart, for four fences side by
side, and is compared with an offer at once.

Source: P. O'Neil et al., The log-structured merge-tree (Acta Informatica 1996), for putting new
entries by time and old ones by what finds them.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from headrace._native.block cimport (
    SLOTS,
    block_bytes,
    block_clear,
    block_first,
    block_place,
    columns_add_up,
    columns_set,
    levels_set,
    lowest_bit,
    prefetch_write,
)
from headrace._native.classes cimport (
    DIMENSIONS,
    Block,
    Owner,
    Row,
    Traits,
    low_bit,
)
from headrace._native.heap cimport KEY_MAX, NONE, before, larger
from headrace._native.levels cimport (
    AMOUNT_LAST,
    OFFERS,
    SAMPLES,
    Levelling,
    levels_choose,
)

cdef enum:
    PACK_UP_TO = 448       # so many classes, or fewer, are packed or put into one block
    CLASSES_AHEAD = 8      # that are fetched before they learn where they are
    WASTED_FIRST = 4_096   # looked at in vain before levels are chosen again,
    WASTED_LATER = 16      # ... and so many times the classes, unless these have doubled
    OWED = 8_192           # looked at in vain for one more block made again

cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    static inline int headrace_reached(const int32_t *least, const int32_t *offer) {
        __m128i over = _mm_setzero_si128();
        for (int d = 0; d < 4; d++)
            over = _mm_or_si128(over, _mm_cmpgt_epi32(
                _mm_loadu_si128((const __m128i *)(least + 4 * d)), _mm_set1_epi32(offer[d])
            ));
        return ~_mm_movemask_ps(_mm_castsi128_ps(over)) & 15;
    }
    #else
    static inline int headrace_reached(const int32_t *least, const int32_t *offer) {
        int reached = 0;
        for (int i = 0; i < 4; i++)
            reached |= ((least[i] <= offer[0]) & (least[4 + i] <= offer[1])
                & (least[8 + i] <= offer[2]) & (least[12 + i] <= offer[3])) << i;
        return reached;
    }
    #endif
    """
    # Which of four fences an offer reaches: least[4 * d + i] is what i needs of amount d at least.
    int fences_reached "headrace_reached"(const int32_t* least, const int32_t* offer) noexcept nogil

cdef struct Fence:
    uint64_t key         # the first head; KEY_MAX and NONE without any
    uint64_t low_key     # no head of the group comes before it, none before the group reaches it
    uint32_t handle
    uint32_t low_handle
    Block* block
    uint32_t live        # classes in the block
    uint32_t kinds       # of any class; may hold more
    uint32_t labels_all  # labels that every class has; may hold fewer


cdef struct Head:
    Row row
    Owner owner
    uint8_t levels[4]  # of its needs, of the epoch of now


cdef struct Heads:
    Fence* fences
    int32_t (*leasts)[16]  # of four fences each (`least_of`): no class of the block needs less
    uint32_t count
    uint32_t capacity
    uint32_t live          # classes in all blocks
    uint32_t handle
    uint64_t key           # the first head; KEY_MAX and NONE without any
    uint32_t at            # its fence
    int32_t least[4]       # of the needs of any class; may be less
    Levelling* levelling   # once there are columns


cdef inline void heads_init(Heads* heads) noexcept nogil:
    """Start with nothing; the memory is zeroed already."""
    heads.key = KEY_MAX
    heads.handle = NONE


cdef inline void heads_free(Heads* heads) noexcept nogil:
    cdef uint32_t i
    for i in range(heads.count):
        free(heads.fences[i].block)
    free(heads.fences)
    free(heads.leasts)
    free(heads.levelling)
    heads.fences = NULL
    heads.leasts = NULL
    heads.levelling = NULL
    heads.count = heads.capacity = 0


cdef inline size_t heads_bytes(const Heads* heads) noexcept nogil:
    cdef size_t total = heads.capacity * (sizeof(Fence) + DIMENSIONS * sizeof(int32_t))
    cdef uint32_t i
    for i in range(heads.count):
        total += block_bytes(heads.fences[i].block.capacity)
    return total + (sizeof(Levelling) if heads.levelling != NULL else 0)


# First heads

cdef inline bint same_group(const Fence* one, const Fence* other) noexcept nogil:
    return one.low_key == other.low_key and one.low_handle == other.low_handle


cdef inline void first_find(Heads* heads) noexcept nogil:
    """Find the first head of all, which is in the first group."""
    cdef const Fence* fence
    cdef uint32_t i
    heads_init(heads)
    for i in range(heads.count):
        fence = &heads.fences[i]
        if not same_group(fence, heads.fences):
            return
        if before(fence.key, fence.handle, heads.key, heads.handle):
            heads.key = fence.key
            heads.handle = fence.handle
            heads.at = i


cdef inline void first_follow(Heads* heads, Fence* fence) noexcept nogil:
    """Take over the first head of a block that has changed."""
    cdef const Block* block = fence.block
    cdef uint32_t slot
    cdef uint64_t key = KEY_MAX
    cdef uint32_t handle = NONE
    if fence.live:
        slot = block_first(block)
        key = block.rows[slot].key
        handle = block.rows[slot].handle
    if key == fence.key and handle == fence.handle:
        return
    fence.key = key
    fence.handle = handle
    if block.at == heads.at or before(key, handle, heads.key, heads.handle):
        first_find(heads)


# Fences

cdef inline int32_t* least_of(const Heads* heads, const Fence* fence) noexcept nogil:
    """Return where the fence's least needs are, one in each four numbers."""
    cdef size_t at = fence - heads.fences
    return &heads.leasts[at // 4][at % 4]


cdef inline int fences_reserve(Heads* heads) except -1:
    """Make room for one more. Raises: MemoryError, and nothing has changed."""
    cdef uint32_t capacity
    cdef Fence* fences
    cdef int32_t (*leasts)[16]
    if heads.count < heads.capacity:
        return 0
    capacity = (heads.capacity + heads.capacity // 2) // 4 * 4 + 4
    fences = <Fence*>realloc(heads.fences, capacity * sizeof(Fence))
    if fences == NULL:
        raise MemoryError
    heads.fences = fences
    leasts = <int32_t (*)[16]>realloc(heads.leasts, capacity // 4 * sizeof(int32_t[16]))
    if leasts == NULL:
        raise MemoryError
    heads.leasts = leasts
    heads.capacity = capacity
    return 0


cdef inline void fence_clear(const Heads* heads, Fence* fence) noexcept nogil:
    """Make it the fence of a block in which nothing is."""
    cdef int32_t* least = least_of(heads, fence)
    cdef int d
    fence.key = KEY_MAX
    fence.handle = NONE
    fence.live = 0
    for d in range(DIMENSIONS):
        least[4 * d] = AMOUNT_LAST
    fence.kinds = 0
    fence.labels_all = 0xFFFFFFFF


cdef inline void fence_add(
    const Heads* heads, Fence* fence, const Row* row, const Traits* traits
) noexcept nogil:
    cdef int32_t* least = least_of(heads, fence)
    cdef int d
    fence.live += 1
    for d in range(DIMENSIONS):
        least[4 * d] = min(least[4 * d], row.need[d])
    fence.kinds |= low_bit(row.kind)
    fence.labels_all &= traits.labels_mask


cdef inline void fence_span(const Heads* heads, Fence* fence) noexcept nogil:
    """Sum up anew what is live in its block."""
    cdef Block* block = fence.block
    cdef uint64_t key = fence.key, bits
    cdef uint32_t handle = fence.handle
    cdef int w, slot
    fence_clear(heads, fence)
    fence.key = key
    fence.handle = handle
    for w in range((block.capacity + 63) >> 6):
        bits = block.live[w]
        while bits:
            slot = 64 * w + lowest_bit(bits)
            fence_add(heads, fence, &block.rows[slot], block.owners[slot].traits)
            bits &= bits - 1
    block.gone = block.vain = 0


cdef inline uint32_t fence_find(const Heads* heads, uint64_t key, uint32_t handle) noexcept nogil:
    """Return the last block of the group in which the head has its place; there is one."""
    cdef const Fence* fences = heads.fences
    cdef uint32_t low = 0, high = heads.count - 1, middle
    if not before(key, handle, fences[high].low_key, fences[high].low_handle):
        return high
    while low < high:
        middle = (low + high) >> 1
        if before(key, handle, fences[middle].low_key, fences[middle].low_handle):
            high = middle
        else:
            low = middle + 1
    return low - 1 if low else 0


cdef inline uint32_t group_begin(const Heads* heads, uint32_t at) noexcept nogil:
    while at and same_group(&heads.fences[at - 1], &heads.fences[at]):
        at -= 1
    return at


cdef inline uint32_t group_end(const Heads* heads, uint32_t at) noexcept nogil:
    cdef uint32_t end = at + 1
    while end < heads.count and same_group(&heads.fences[end], &heads.fences[at]):
        end += 1
    return end


cdef inline uint32_t group_live(const Heads* heads, uint32_t begin, uint32_t end) noexcept nogil:
    cdef uint32_t i, live = 0
    for i in range(begin, end):
        live += heads.fences[i].live
    return live


cdef inline void fences_move(Heads* heads, uint32_t at, int by) noexcept nogil:
    """Take over that the fences from here on have moved by one: to here, or from here up."""
    cdef uint32_t i, count = heads.count - at - (by > 0), to
    cdef int32_t* least
    cdef const int32_t* other
    cdef int d
    for i in range(count):
        to = at + i if by < 0 else heads.count - 1 - i
        least = least_of(heads, &heads.fences[to])
        other = least_of(heads, &heads.fences[<int64_t>to - by])
        for d in range(DIMENSIONS):
            least[4 * d] = other[4 * d]
        heads.fences[to].block.at = to


cdef inline void fence_insert(
    Heads* heads, uint32_t at, Block* block, uint64_t low_key, uint32_t low_handle
) noexcept nogil:
    """Put a block before others; there is room for its fence."""
    cdef Fence* fence = &heads.fences[at]
    memmove(fence + 1, fence, (heads.count - at) * sizeof(Fence))
    heads.count += 1
    fences_move(heads, at, 1)
    fence.block = block
    fence.block.at = at
    fence.low_key = low_key
    fence.low_handle = low_handle
    fence_clear(heads, fence)
    heads.at += heads.at >= at


cdef inline void fence_delete(Heads* heads, uint32_t at) noexcept nogil:
    """Free a block and close the gap."""
    cdef uint32_t i, end
    cdef Fence* fence = &heads.fences[at]
    if fence.block.columns != NULL:
        heads.levelling.stale -= fence.block.epoch != heads.levelling.epoch
    free(fence.block)
    heads.count -= 1
    memmove(fence, fence + 1, (heads.count - at) * sizeof(Fence))
    fences_move(heads, at, -1)
    if at == 0 and heads.count:
        end = group_end(heads, 0)
        for i in range(end):  # nothing comes before them now
            heads.fences[i].low_key = 0
            heads.fences[i].low_handle = 0
    first_find(heads)


# Making blocks again

cdef inline void head_copy(
    const Heads* heads, const Block* block, uint32_t slot, Head* head
) noexcept nogil:
    cdef const Levelling* levelling = heads.levelling
    head.row = block.rows[slot]
    head.owner = block.owners[slot]
    if levelling == NULL:
        return
    if block.columns != NULL and block.epoch == levelling.epoch:
        memcpy(head.levels, block.levels[slot], sizeof(head.levels))
    else:
        levels_set(head.levels, &levelling.levels[levelling.epoch & 1], head.row.need)


cdef inline uint32_t gather(const Heads* heads, const Block* block, Head* some) noexcept nogil:
    """Copy what is live, in order of heads; return how many."""
    cdef uint64_t bits
    cdef uint32_t w, i, count = 0
    if not block.sorted:
        for i in range(block.count):
            head_copy(heads, block, block.order[i], &some[i])
        return block.count
    for w in range(<uint32_t>(block.capacity + 63) >> 6):
        bits = block.live[w]
        while bits:
            head_copy(heads, block, 64 * w + lowest_bit(bits), &some[count])
            bits &= bits - 1
            count += 1
    return count


cdef inline void fence_fill(Heads* heads, Fence* fence, const Head* some, int count) noexcept nogil:
    """Make its block again of these heads, with the levels of now."""
    cdef Block* block = fence.block
    cdef Levelling* levelling = heads.levelling
    cdef int i
    block_clear(block)
    fence_clear(heads, fence)
    for i in range(count):
        prefetch_write(&some[min(i + CLASSES_AHEAD, count - 1)].owner.cls.block)
        block_place(block, &some[i].row, &some[i].owner)
        fence_add(heads, fence, &some[i].row, some[i].owner.traits)
    if count:
        fence.key = block.rows[block_first(block)].key
        fence.handle = block.rows[block_first(block)].handle
    if block.columns == NULL:
        return
    for i in range(count):
        memcpy(block.levels[i], some[i].levels, sizeof(some[i].levels))
        columns_set(block, i, True)
    columns_add_up(block)
    levelling.stale -= block.epoch != levelling.epoch
    block.epoch = levelling.epoch


cdef inline void fence_pack(Heads* heads, uint32_t at) noexcept nogil:
    """Make its block again: without slots that are not live, and with the levels of now."""
    cdef Head some[SLOTS]
    cdef int count = <int>gather(heads, heads.fences[at].block, some)
    fence_fill(heads, &heads.fences[at], some, count)


cdef inline void fence_split(Heads* heads, uint32_t at, Block* block) noexcept nogil:
    """Move the later half of a block that is a group by itself to a new group behind it."""
    cdef Head some[SLOTS]
    cdef int count = <int>gather(heads, heads.fences[at].block, some), middle = count // 2
    fence_insert(heads, at + 1, block, some[middle].row.key, some[middle].row.handle)
    fence_fill(heads, &heads.fences[at], some, middle)
    fence_fill(heads, &heads.fences[at + 1], some + middle, count - middle)


cdef inline void fence_join(Heads* heads, uint32_t at, uint32_t other) noexcept nogil:
    """Put two blocks into the first of them: of one group, or groups that follow each other."""
    cdef Head some[SLOTS]
    cdef int count = <int>gather(heads, heads.fences[at].block, some)
    count += <int>gather(heads, heads.fences[other].block, some + count)
    fence_fill(heads, &heads.fences[at], some, count)
    fence_delete(heads, other)


cdef inline void fence_replace(Heads* heads, Fence* fence, Block* block) noexcept nogil:
    """Put what is in its small block into a larger one."""
    cdef Head some[SLOTS]
    cdef int count = <int>gather(heads, fence.block, some)
    block.at = fence.block.at
    if heads.levelling != NULL:
        block.epoch = heads.levelling.epoch
    free(fence.block)
    fence.block = block
    fence_fill(heads, fence, some, count)


# Levels

cdef inline void levels_renew(Heads* heads) noexcept nogil:
    """Choose levels from some of the classes and of the offers; no block may be stale before."""
    cdef Levelling* levelling = heads.levelling
    cdef int32_t some[SAMPLES + OFFERS]
    cdef const Row* rows[SAMPLES]
    cdef const Block* block
    cdef int i, d, slot, count = 0
    cdef int offers = <int>min(levelling.offers_seen, <uint32_t>OFFERS)
    for i in range(SAMPLES):
        block = heads.fences[<uint64_t>i * heads.count // SAMPLES].block
        slot = <int>(i * 37 % larger(1, block.used))
        if block.live[slot >> 6] >> (slot & 63) & 1:
            rows[count] = &block.rows[slot]
            count += 1
    levelling.epoch += 1
    for d in range(DIMENSIONS):
        for i in range(count):
            some[i] = rows[i].need[d] - 1
        for i in range(offers):
            some[count + i] = levelling.offers[d][i]
        levels_choose(some, count + offers, levelling.levels[levelling.epoch & 1].at[d])
    levelling.stale = heads.count if heads.fences[0].block.columns != NULL else 0
    levelling.cursor = 0
    levelling.classes = heads.live
    levelling.wasted = levelling.owed = 0


cdef inline void levels_follow(Heads* heads) noexcept nogil:
    """After much was looked at in vain: make a block again for the levels of now, or choose some."""
    cdef Levelling* levelling = heads.levelling
    cdef const Block* block
    if levelling.stale:
        while levelling.owed >= OWED and levelling.stale:
            block = heads.fences[levelling.cursor % heads.count].block
            levelling.cursor += 1
            if block.epoch != levelling.epoch:
                levelling.owed -= OWED
                fence_pack(heads, block.at)
        if not levelling.stale:
            levelling.wasted = levelling.owed = 0
    elif levelling.wasted > WASTED_FIRST + (
        heads.live >> 2
        if heads.live > 2 * levelling.classes
        else WASTED_LATER * <uint64_t>heads.live
    ):
        levels_renew(heads)
