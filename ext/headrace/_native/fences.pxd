"""The blocks of a lane, and the fences that say what is in each.

    group ── blocks that divide the heads of one range of keys by need, so that a search skips some
      └─ fence ── one for each block: its first head, and what its classes span
           └─ block ── up to 512 classes that have a job queued (block.pxd)

Groups follow each other in the order of heads; their blocks have equal `low`. Heads that come after
all of a full group begin a new one. When there are 16 blocks that are groups by themselves, they
become one group: their classes are divided along the need that lets most of the offers skip a half,
again and again. Heads that come later into the range of a group go into its last block, and where
that is full it is divided, so a group may grow.

Source: P. O'Neil et al., The log-structured merge-tree (Acta Informatica 1996), for putting new
entries by time and old ones by what finds them; J. Bentley, Multidimensional binary search trees
(CACM 1975), for the division.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport abs, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

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
    LEVELS,
    OFFERS,
    SAMPLES,
    Levelling,
    Levels,
    level_of,
    levels_choose,
)

cdef enum:
    PACK_UP_TO = 448       # so many classes, or fewer, are packed or put into one block
    BLOCKS_OF_GROUP = 16   # that are put together,
    CLASSES_OF_GROUP = 8_192  # ... or divided again with others,
    WORDS_OF_GROUP = 128   # ... with a bit for each
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
        prefetch_write(some[min(i + CLASSES_AHEAD, count - 1)].owner.cls)
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


# Division by need

cdef struct Division:
    Head* some
    uint8_t (*levels)[4]   # of their needs
    uint16_t* order        # of `some`
    uint16_t* spare
    uint8_t offers[OFFERS][4]  # their levels
    int offers_count
    uint32_t next          # fence whose block is made again


cdef inline bint row_before(const Row* one, const Row* other) noexcept nogil:
    return before(one.key, one.handle, other.key, other.handle)


cdef inline void runs_merge(
    const Head* some, Head* into, uint32_t begin, uint32_t middle, uint32_t end
) noexcept nogil:
    """Merge two runs of heads in order that follow each other."""
    cdef uint32_t one = begin, other = middle, to
    for to in range(begin, end):
        if other == end or (
            one < middle
            and row_before(&some[one].row, &some[other].row)
        ):
            into[to] = some[one]
            one += 1
        else:
            into[to] = some[other]
            other += 1


cdef inline Head* runs_sort(
    Head* some, Head* spare, uint32_t* begins, uint32_t runs
) noexcept nogil:
    """Merge runs, each in order, to one; `begins` has one more. Return which array it is in."""
    cdef Head* merged
    cdef uint32_t i
    cdef bint rising = True
    for i in range(1, begins[runs]):
        rising = rising and row_before(&some[i - 1].row, &some[i].row)
    while runs > 1 and not rising:
        for i in range(0, runs, 2):
            runs_merge(
                some, spare, begins[i], begins[i + 1], begins[i + 2 if i + 1 < runs else i + 1]
            )
            begins[i // 2] = begins[i]
        begins[(runs + 1) // 2] = begins[runs]
        runs = (runs + 1) // 2
        merged = spare
        spare = some
        some = merged
    return some


cdef inline int axis_choose(
    const Division* division, const uint16_t* order, int count, int middle, uint32_t* begins
) noexcept nogil:
    """Choose the need by which most offers that reach a part skip its upper half, or the widest.

    Sets where the heads of each of its levels begin.
    """
    cdef uint32_t counts[4][LEVELS]
    cdef int lowest[4]
    cdef int halves[4]
    cdef int scores[4]
    cdef uint32_t sum
    cdef int d, i, level, best = 0
    memset(counts, 0, sizeof(counts))
    for i in range(count):
        for d in range(DIMENSIONS):
            counts[d][division.levels[order[i]][d]] += 1
    for d in range(DIMENSIONS):
        level = 0
        while not counts[d][level]:
            level += 1
        lowest[d] = level
        sum = counts[d][level]
        while sum <= <uint32_t>middle:
            level += 1
            sum += counts[d][level]
        halves[d] = level
        scores[d] = ((level + 1) * (level + 1) - (lowest[d] + 1) * (lowest[d] + 1)) // LEVELS
    for i in range(division.offers_count):
        if (
            division.offers[i][0] >= lowest[0]
            and division.offers[i][1] >= lowest[1]
            and division.offers[i][2] >= lowest[2]
            and division.offers[i][3] >= lowest[3]
        ):
            for d in range(DIMENSIONS):
                scores[d] += LEVELS * (division.offers[i][d] < halves[d])
    for d in range(1, DIMENSIONS):
        if scores[d] > scores[best]:
            best = d
    sum = 0
    for level in range(LEVELS):
        begins[level] = sum
        sum += counts[best][level]
    return best


cdef inline void heads_fill(Heads* heads, Division* division, int begin, int end) noexcept nogil:
    """Make the next block again of a part of the order."""
    cdef Head some[SLOTS]
    cdef uint64_t bits[WORDS_OF_GROUP]
    cdef int i, w, count = 0
    memset(bits, 0, sizeof(bits))
    for i in range(begin, end):
        bits[division.order[i] >> 6] |= <uint64_t>1 << (division.order[i] & 63)
    for w in range(WORDS_OF_GROUP):
        while bits[w]:
            some[count] = division.some[64 * w + lowest_bit(bits[w])]
            bits[w] &= bits[w] - 1
            count += 1
    fence_fill(heads, &heads.fences[division.next], some, count)
    division.next += 1


cdef inline void divide(
    Heads* heads, Division* division, int begin, int end, int parts
) noexcept nogil:
    """Make so many blocks again of a part of the order, as equal as can be.

    Cost: O(heads log parts).
    """
    cdef uint32_t begins[LEVELS]
    cdef uint16_t* order = division.order + begin
    cdef int i, d, level, count = end - begin, middle = count * (parts // 2) // parts
    if parts == 1:
        heads_fill(heads, division, begin, end)
        return
    d = axis_choose(division, order, count, middle, begins)
    for i in range(count):
        level = division.levels[order[i]][d]
        division.spare[begins[level]] = order[i]
        begins[level] += 1
    memcpy(order, division.spare, count * sizeof(uint16_t))
    divide(heads, division, begin, begin + middle, parts // 2)
    divide(heads, division, begin + middle, end, parts - parts // 2)


cdef inline void blocks_divide(
    Heads* heads, uint32_t begin, uint32_t end, uint32_t parts
) noexcept nogil:
    """Make the blocks of groups that follow each other a group of so many, or of as many as it needs.

    Without memory to do it in, nothing is changed.
    """
    cdef const Levelling* levelling = heads.levelling
    cdef Division division
    cdef Head* gathered
    cdef uint32_t* begins
    cdef uint32_t i, count = group_live(heads, begin, end)
    cdef int d
    gathered = <Head*>malloc(
        count * (2 * sizeof(Head) + 4 + 2 * sizeof(uint16_t))
        + (end - begin + 1) * sizeof(uint32_t)
    )
    if gathered == NULL:
        return
    division.levels = <uint8_t (*)[4]>(gathered + 2 * count)
    begins = <uint32_t*>(division.levels + count)
    division.order = <uint16_t*>(begins + (end - begin + 1))
    division.spare = division.order + count
    division.next = begin
    division.offers_count = <int>min(levelling.offers_seen, <uint32_t>OFFERS)
    for i in range(<uint32_t>division.offers_count):
        for d in range(DIMENSIONS):
            division.offers[i][d] = level_of(
                &levelling.levels[levelling.epoch & 1], d, levelling.offers[d][i]
            )
    count = 0
    for i in range(begin, end):
        begins[i - begin] = count
        count += gather(heads, heads.fences[i].block, gathered + count)
    begins[end - begin] = count
    division.some = runs_sort(gathered, gathered + count, begins, end - begin)
    for i in range(count):
        division.order[i] = <uint16_t>i
        memcpy(division.levels[i], division.some[i].levels, sizeof(division.some[i].levels))
    parts = <uint32_t>larger(parts, (count + SLOTS - 1) // SLOTS)
    divide(heads, &division, 0, <int>count, <int>parts)
    free(gathered)
    for i in range(begin, begin + parts):
        heads.fences[i].low_key = heads.fences[begin].low_key
        heads.fences[i].low_handle = heads.fences[begin].low_handle
    for i in range(end - 1, begin + parts - 1, -1):
        fence_delete(heads, i)
    if group_begin(heads, begin) == begin and group_end(heads, begin) == begin + parts:
        for i in range(begin, begin + parts):
            heads.fences[i].block.divided = <uint16_t>count
    first_find(heads)


cdef inline bint is_single(const Heads* heads, uint32_t at) noexcept nogil:
    """Whether the block is a group by itself."""
    cdef const Fence* fence = &heads.fences[at]
    return not (at and same_group(&heads.fences[at - 1], fence)) and not (
        at + 1 < heads.count and same_group(fence + 1, fence)
    )


cdef inline void group_follow(Heads* heads, uint32_t at) noexcept nogil:
    """Divide a group again that has lost many classes: with one beside it, if that is small, too."""
    cdef uint32_t begin = group_begin(heads, at), end = group_end(heads, at)
    cdef uint32_t live = group_live(heads, begin, end)
    cdef uint32_t i, other, divided = 0
    if end - begin == 1:
        return
    if end < heads.count and not is_single(heads, end):
        other = group_end(heads, end)
        if live + group_live(heads, end, other) <= CLASSES_OF_GROUP:
            blocks_divide(heads, begin, other, 1)
            return
    if begin and not is_single(heads, begin - 1):
        other = group_begin(heads, begin - 1)
        if live + group_live(heads, other, begin) <= CLASSES_OF_GROUP:
            blocks_divide(heads, other, end, 1)
            return
    for i in range(begin, end):
        divided = max(divided, heads.fences[i].block.divided)
    if live <= divided // 2:
        blocks_divide(heads, begin, end, 1)


cdef inline uint32_t singles_follow(Heads* heads, uint32_t end) noexcept nogil:
    """Put those before the end together when there are enough; return where they end then."""
    cdef uint32_t count = heads.count
    cdef uint32_t begin = end
    while begin and end - begin < BLOCKS_OF_GROUP and is_single(heads, begin - 1):
        begin -= 1
    if end - begin == BLOCKS_OF_GROUP:
        blocks_divide(heads, begin, end, 1)
        group_follow(heads, begin)
    return end - (count - heads.count)


cdef inline uint32_t partner(const Heads* heads, uint32_t at) noexcept nogil:
    """Choose a block to join with: what has room, of its group the nearest by need; or NONE."""
    cdef const Fence* fence = &heads.fences[at]
    cdef const int32_t* own = least_of(heads, fence)
    cdef const Fence* other
    cdef const Levels* levels
    cdef uint32_t begin, end, i, chosen = NONE
    cdef int d, apart, least = 0
    if is_single(heads, at):
        if at + 1 < heads.count and is_single(heads, at + 1):
            if fence.live + heads.fences[at + 1].live <= PACK_UP_TO:
                chosen = at + 1
        if at and is_single(heads, at - 1):
            if fence.live + heads.fences[at - 1].live <= PACK_UP_TO:
                chosen = at - 1
        return chosen
    begin = group_begin(heads, at)
    end = group_end(heads, at)
    levels = &heads.levelling.levels[heads.levelling.epoch & 1]
    for i in range(begin, end):
        other = &heads.fences[i]
        if i == at or fence.live + other.live > PACK_UP_TO:
            continue
        apart = 0
        for d in range(DIMENSIONS):
            apart += abs(
                <int>level_of(levels, d, own[4 * d])
                - <int>level_of(levels, d, least_of(heads, other)[4 * d])
            )
        if chosen == NONE or apart < least:
            chosen = i
            least = apart
    return chosen


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
