"""A block of class heads: up to 512, compared with an offer 64 at a time.

A block has a column of 512 bits, one for each slot, for each level of each amount (levels.pxd:
bit set where the need is at this level or below) and for each bit of the marks (classes.pxd). So
what may fit an offer is the intersection of four columns of levels and the live slots, and of
the unions of a few columns of marks where the shape tells these apart; and a comparison of 512
classes reads a few cache lines. What that finds is looked at one by one.

Slots are filled in order and used once; a full block is packed or split. A slot whose class has
gone keeps its bits, but is not live. Small blocks have no columns: all is looked at.

Source: C.-Y. Chan and Y. Ioannidis, Bitmap index design and evaluation (SIGMOD 1998): range
encoding. P. O'Neil and D. Quass, Improved query performance with variant indexes (SIGMOD 1997).
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memmove, memset

from headrace._native.classes cimport (
    DIMENSIONS,
    LABELS,
    MARKS,
    TENANTS,
    TENANTS_HIGH,
    Block,
    Class,
    Owner,
    Row,
    Shape,
    marks_add,
)
from headrace._native.heap cimport KEY_MAX, NONE, before
from headrace._native.levels cimport LEVELS, Levels, level_of

cdef extern from "stdlib.h" nogil:
    void* aligned_alloc(size_t alignment, size_t size)

cdef extern from *:
    """
    #define HEADRACE_WORDS 8
    #define HEADRACE_LEVELS 32
    static const uint64_t headrace_all[HEADRACE_WORDS] = {
        ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull
    };
    static inline int headrace_able(
        const uint64_t *live, const uint64_t *columns, const uint8_t *levels, uint64_t *able
    ) {
        const uint64_t *column[4];
        uint64_t any = 0;
        for (int d = 0; d < 4; d++)
            column[d] = levels[d] == HEADRACE_LEVELS - 1
                ? headrace_all
                : columns + HEADRACE_WORDS * (HEADRACE_LEVELS * d + levels[d]);
        for (int w = 0; w < HEADRACE_WORDS; w++) {
            able[w] = live[w] & column[0][w] & column[1][w] & column[2][w] & column[3][w];
            any |= able[w];
        }
        return any != 0;
    }
    static inline int headrace_mask(
        const uint64_t *columns, uint32_t bits, uint64_t but, uint64_t *able
    ) {
        uint64_t either[HEADRACE_WORDS] = {0}, any = 0;
        for (; bits; bits &= bits - 1) {
            const uint64_t *column = columns + HEADRACE_WORDS * __builtin_ctz(bits);
            for (int w = 0; w < HEADRACE_WORDS; w++) either[w] |= column[w];
        }
        for (int w = 0; w < HEADRACE_WORDS; w++) {
            able[w] &= either[w] ^ but;
            any |= able[w];
        }
        return any != 0;
    }
    static inline void headrace_prefetch_block(
        const uint64_t *live, const uint64_t *columns, const uint8_t *levels
    ) {
        __builtin_prefetch(live);
        __builtin_prefetch(live + HEADRACE_WORDS);
        for (int d = 0; d < 4; d++)
            if (levels[d] != HEADRACE_LEVELS - 1)
                __builtin_prefetch(columns + HEADRACE_WORDS * (HEADRACE_LEVELS * d + levels[d]));
    }
    static inline void headrace_prefetch_write(const void *at) { __builtin_prefetch(at, 1); }
    static inline int headrace_lowest(uint64_t bits) { return __builtin_ctzll(bits); }
    static inline int headrace_more_than(const uint64_t *bits, int words, int most) {
        for (int w = 0; w < words; w++)
            for (uint64_t rest = bits[w]; rest; rest &= rest - 1)
                if (--most < 0) return 1;
        return 0;
    }
    """
    # Intersect the live slots with a column of each amount; return whether any is left.
    bint able_at "headrace_able"(
        const uint64_t* live, const uint64_t* columns, const uint8_t* levels, uint64_t* able
    ) noexcept nogil
    # Intersect with the union of columns given as bits, or (but: all ones) with what is in none.
    bint able_mask "headrace_mask"(
        const uint64_t* columns, uint32_t bits, uint64_t but, uint64_t* able
    ) noexcept nogil
    void prefetch_block "headrace_prefetch_block"(
        const uint64_t* live, const uint64_t* columns, const uint8_t* levels
    ) noexcept nogil
    void prefetch_write "headrace_prefetch_write"(const void* at) noexcept nogil
    int lowest_bit "headrace_lowest"(uint64_t bits) noexcept nogil
    # Whether more than so many bits are set.
    bint more_than "headrace_more_than"(const uint64_t* bits, int words, int most) noexcept nogil

cdef enum:
    WORDS = 8  # HEADRACE_WORDS
    SLOTS = 512
    COLUMNS_OF_LEVELS = 128  # HEADRACE_LEVELS * DIMENSIONS
    COLUMNS = 320            # and 32 * MARKS
    SMALL_FIRST = 8          # slots of the first block of a lane,
    SMALL_LAST = 32          # and of the last one without columns


cdef inline size_t header_bytes() noexcept nogil:
    return (sizeof(Block) + 63) // 64 * 64


cdef inline const uint64_t* columns_at(const Block* block) noexcept nogil:
    """Return where its columns are, or would be."""
    return <const uint64_t*>(<const char*>block + header_bytes())


cdef inline size_t block_bytes(uint32_t capacity) noexcept nogil:
    cdef size_t size = capacity * (
        sizeof(Row) + sizeof(Owner) + 4 * sizeof(uint8_t) + sizeof(uint16_t)
    )
    if capacity == SLOTS:
        size += COLUMNS * WORDS * sizeof(uint64_t)
    return header_bytes() + (size + 63) // 64 * 64


cdef inline void block_clear(Block* block) noexcept nogil:
    """Make it a block in which no slot was used."""
    cdef uint32_t i
    memset(block.live, 0, sizeof(block.live))
    memset(block.marks, 0, sizeof(block.marks))
    memset(block.most, 0, sizeof(block.most))
    if block.columns != NULL:
        memset(block.columns, 0, COLUMNS * WORDS * sizeof(uint64_t))
    for i in range(block.capacity):
        block.rows[i].key = KEY_MAX
        block.rows[i].handle = NONE
    block.high_key = 0
    block.high_handle = 0
    block.count = 0
    block.used = 0
    block.gone = 0
    block.vain = 0
    block.sorted = True


cdef inline Block* block_new(uint32_t capacity) except NULL:
    cdef Block* block = <Block*>aligned_alloc(64, block_bytes(capacity))
    cdef char* at
    if block == NULL:
        raise MemoryError
    at = <char*>block + header_bytes()
    block.columns = NULL
    if capacity == SLOTS:
        block.columns = <uint64_t*>at
        at += COLUMNS * WORDS * sizeof(uint64_t)
    block.rows = <Row*>at
    block.owners = <Owner*>(block.rows + capacity)
    block.levels = <uint8_t (*)[4]>(block.owners + capacity)
    block.order = <uint16_t*>(block.levels + capacity)
    block.capacity = <uint16_t>capacity
    block.epoch = 0
    block.at = 0
    block.divided = 0
    block_clear(block)
    return block


cdef inline void row_init(
    Row* row, const Class* cls, uint64_t key, uint32_t handle
) noexcept nogil:
    cdef int d
    for d in range(DIMENSIONS):
        row.need[d] = cls.need[d]
    row.key = key
    row.handle = handle
    row.kind = cls.kind


cdef inline void levels_set(
    uint8_t* to, const Levels* levels, const int32_t* amounts
) noexcept nogil:
    """Note at which level each of four amounts is."""
    cdef int d
    for d in range(DIMENSIONS):
        to[d] = level_of(levels, d, amounts[d])


cdef inline uint32_t order_at(const Block* block, uint64_t key, uint32_t handle) noexcept nogil:
    """Return how many slots of the order have heads before this one."""
    cdef uint32_t low = 0, high = block.count, middle
    cdef const Row* row
    if high:  # most often the first one goes, or a last one comes
        row = &block.rows[block.order[0]]
        if not before(row.key, row.handle, key, handle):
            return 0
        row = &block.rows[block.order[high - 1]]
        if before(row.key, row.handle, key, handle):
            return high
    while low < high:
        middle = (low + high) >> 1
        row = &block.rows[block.order[middle]]
        if before(row.key, row.handle, key, handle):
            low = middle + 1
        else:
            high = middle
    return low


cdef inline void order_add(Block* block, uint16_t slot) noexcept nogil:
    cdef uint32_t at = order_at(block, block.rows[slot].key, block.rows[slot].handle)
    memmove(block.order + at + 1, block.order + at, (block.count - at) * sizeof(uint16_t))
    block.order[at] = slot
    block.count += 1


cdef inline void order_leave(Block* block, uint16_t slot) noexcept nogil:
    """Take out a slot that still has its head."""
    cdef uint32_t at = order_at(block, block.rows[slot].key, block.rows[slot].handle)
    block.count -= 1
    memmove(block.order + at, block.order + at + 1, (block.count - at) * sizeof(uint16_t))


cdef inline void order_begin(Block* block) noexcept nogil:
    """Note the order of a block whose heads rise with their slots, and will no more."""
    cdef uint64_t bits
    cdef int w
    for w in range((block.capacity + 63) >> 6):
        bits = block.live[w]
        while bits:
            block.order[block.count] = <uint16_t>(64 * w + lowest_bit(bits))
            bits &= bits - 1
            block.count += 1
    block.sorted = False


cdef inline uint32_t block_first(const Block* block) noexcept nogil:
    """Return the slot of the first head; there is one."""
    cdef int w = 0
    if not block.sorted:
        return block.order[0]
    while not block.live[w]:
        w += 1
    return 64 * w + lowest_bit(block.live[w])


cdef inline void block_head_set(
    Block* block, uint16_t slot, uint64_t key, uint32_t handle
) noexcept nogil:
    """Give a class in the block another head."""
    cdef Row* row = &block.rows[slot]
    if block.used == 1:
        row.key = key
        row.handle = handle
    else:
        if block.sorted:
            order_begin(block)
        order_leave(block, slot)
        row.key = key
        row.handle = handle
        order_add(block, slot)
    if before(block.high_key, block.high_handle, key, handle):
        block.high_key = key
        block.high_handle = handle


cdef inline void block_leave(Block* block, uint16_t slot) noexcept nogil:
    """Take a class out of the block."""
    if not block.sorted:
        order_leave(block, slot)
    block.live[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
    block.rows[slot].key = KEY_MAX
    block.rows[slot].handle = NONE
    block.gone += 1


cdef inline void block_place(
    Block* block, const Row* row, const Owner* owner
) noexcept nogil:
    """Fill the next slot, but for its columns."""
    cdef uint16_t slot = block.used
    cdef int d
    if before(block.high_key, block.high_handle, row.key, row.handle):
        block.high_key = row.key
        block.high_handle = row.handle
    elif slot and block.sorted:
        order_begin(block)
    block.rows[slot] = row[0]
    block.owners[slot] = owner[0]
    block.live[slot >> 6] |= <uint64_t>1 << (slot & 63)
    block.used += 1
    if not block.sorted:
        order_add(block, slot)
    owner.cls.block = block
    owner.cls.slot = slot
    marks_add(owner.traits, row.kind, block.marks)
    for d in range(DIMENSIONS):
        block.most[d] = max(block.most[d], row.need[d])


cdef inline void columns_set(Block* block, int slot, bint below_only) noexcept nogil:
    """Set the bits of a slot; `below_only`: of each amount only the first that is set."""
    cdef uint64_t bit = <uint64_t>1 << (slot & 63)
    cdef uint64_t* column = block.columns + (slot >> 6)
    cdef uint32_t marks[MARKS]
    cdef uint32_t bits
    cdef int d, level, g, end
    memset(marks, 0, sizeof(marks))
    for d in range(DIMENSIONS):
        level = block.levels[slot][d]
        end = min(level + 1, LEVELS - 1) if below_only else LEVELS - 1
        while level < end:
            column[WORDS * (LEVELS * d + level)] |= bit
            level += 1
    marks_add(block.owners[slot].traits, block.rows[slot].kind, marks)
    for g in range(MARKS):
        bits = marks[g]
        while bits:
            column[WORDS * (COLUMNS_OF_LEVELS + 32 * g + lowest_bit(bits))] |= bit
            bits &= bits - 1


cdef inline void columns_add_up(Block* block) noexcept nogil:
    """Carry the bits of each level to those above it."""
    cdef uint64_t* column
    cdef int d, level, w
    for d in range(DIMENSIONS):
        for level in range(1, LEVELS - 1):
            column = block.columns + WORDS * (LEVELS * d + level)
            for w in range(WORDS):
                column[w] |= column[w - WORDS]


cdef inline bint able_traits(const Block* block, const Shape* shape, uint64_t* able) noexcept nogil:
    """Intersect with what the marks of the shape let through; return whether any is left."""
    cdef const uint64_t* columns = columns_at(block) + WORDS * COLUMNS_OF_LEVELS
    cdef uint32_t missed
    cdef int g
    for g in range(MARKS):
        missed = block.marks[g] & ~shape.marks[g]
        if g == LABELS:
            if missed and not able_mask(columns, missed, ~<uint64_t>0, able):
                return False
        elif missed or (not shape.any_tenant and (g == TENANTS or g == TENANTS_HIGH)):
            if not able_mask(columns, block.marks[g] & shape.marks[g], 0, able):
                return False
        columns += 32 * WORDS
    return True
