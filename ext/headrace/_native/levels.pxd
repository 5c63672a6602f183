"""Which amounts the needs of a lane are told apart by.

For each of the four amounts a lane has up to 31 levels, which rise. A need is at the first level
that is no less; so is an offer; and what is at a higher level than the offer does not fit. What
is at the same one may, so levels lie where they tell most apart: just below needs, and where
searches offered that looked at much in vain. A search passes over one class for each that does
not fit, so a level with a share of d of the classes, above a share of u, costs it d / u in vain; the
sum over all u is least where levels are as dense as 1 / sqrt(u): the k-th has a share of k^2.

They are chosen anew when too much was looked at in vain. Blocks made with the levels before keep
those until they are made again, so there are two of them.

Source: K.-L. Wu and P. Yu, Range-based bitmap indexing for high cardinality attributes with skew
(COMPSAC 1998), for levels by shares of what is there.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from headrace._native.classes cimport DIMENSIONS

cdef enum:
    LEVELS = 32        # the last one says nothing
    SAMPLES = 480
    OFFERS = 32
    AMOUNT_LAST = 0x7FFFFFFF


cdef struct Levels:
    int32_t at[4][LEVELS]  # AMOUNT_LAST where there are no more


cdef struct Levelling:
    Levels levels[2]  # by the lowest bit of the epoch
    int32_t offers[4][OFFERS]
    uint32_t offers_seen
    uint8_t epoch
    uint32_t stale    # blocks of the epoch before
    uint32_t cursor   # the next one that may be
    uint32_t classes  # when they were chosen
    uint64_t wasted   # looked at in vain since they were chosen, or a search made all blocks again
    uint64_t owed     # looked at in vain that no block was made again for


cdef inline uint8_t level_of(const Levels* levels, int d, int32_t amount) noexcept nogil:
    """Return the first level that is no less, or the last if none is."""
    cdef const int32_t* at = levels.at[d]
    cdef int level = 16 * (at[15] < amount)
    level += 8 * (at[level + 7] < amount)
    level += 4 * (at[level + 3] < amount)
    level += 2 * (at[level + 1] < amount)
    level += at[level] < amount
    return LEVELS - 1 if at[level] == AMOUNT_LAST else <uint8_t>level


cdef inline void levels_choose(int32_t* some, int count, int32_t* at) noexcept nogil:
    """Choose levels from amounts, which are sorted: each that is there, or 31 of them."""
    cdef int i, j, gap = 301, distinct = 0, chosen = 0  # Shell's sort; gaps fall by 9/4
    cdef int32_t amount
    while gap:
        for i in range(gap, count):
            amount = some[i]
            j = i
            while j >= gap and some[j - gap] > amount:
                some[j] = some[j - gap]
                j -= gap
            some[j] = amount
        gap = 4 * gap // 9
    for i in range(count):
        distinct += i == 0 or some[i] != some[i - 1]
    for i in range(count if distinct < LEVELS else LEVELS - 1):
        amount = some[i if distinct < LEVELS else (i + 1) * (i + 1) * count // (LEVELS * LEVELS)]
        if chosen == 0 or amount > at[chosen - 1]:
            at[chosen] = amount
            chosen += 1
    for i in range(chosen, LEVELS):
        at[i] = AMOUNT_LAST


cdef inline void offer_note(Levelling* levelling, const int32_t* offer) noexcept nogil:
    cdef int d
    for d in range(DIMENSIONS):
        levelling.offers[d][levelling.offers_seen % OFFERS] = offer[d]
    levelling.offers_seen += 1
