"""Groups of blocks: old classes divided by need, so that a search skips most blocks of a group.

When there are 16 blocks that are groups by themselves, they become one: their classes are divided
along the need that lets most of the offers skip a half, again and again. Heads that come later into
the range of a group go into its last block, and where that is full it is divided, so a group may
grow. A group that has lost half of its classes is divided anew, with one beside it if that is small.

Source: J. Bentley, Multidimensional binary search trees used for associative searching (CACM 1975).
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport abs, free, malloc
from libc.string cimport memcpy, memset

from headrace._native.block cimport SLOTS, lowest_bit
from headrace._native.classes cimport DIMENSIONS, Row
from headrace._native.fences cimport (
    PACK_UP_TO,
    Fence,
    Head,
    Heads,
    fence_delete,
    fence_fill,
    first_find,
    gather,
    group_begin,
    group_end,
    group_live,
    least_of,
    same_group,
)
from headrace._native.heap cimport NONE, before, larger
from headrace._native.levels cimport LEVELS, OFFERS, Levelling, Levels, level_of

cdef enum:
    BLOCKS_OF_GROUP = 16      # that are put together,
    CLASSES_OF_GROUP = 8_192  # ... or divided again with others,
    WORDS_OF_GROUP = 128      # ... with a bit for each


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
