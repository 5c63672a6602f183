"""A node of the class tree: up to 16 entries side by side, each summing up what is below it.

A summary holds the first (key, handle), the elementwise smallest need and 32-bit masks of
traits, over the classes that have a job queued:

    kinds   one bit for the kind; above: their union. Skip unless it meets the shape's bits.
    gpus    a bit for each model, bit 31 for "any will do"; above: their union. Likewise.
    labels  a bit for each label; above: their intersection. Skip if the shape lacks one.

Masks are hashes and needs are rounded, so they say only what may fit; the class itself knows.
Rounded needs are 16 bits wide and side by side for each dimension: the 16 entries are compared
with the free amounts in a few vector instructions and two cache lines.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from headrace._native.heap cimport KEY_MAX, NONE, before
from headrace._native.order cimport Order

cdef extern from *:
    """
    #define HEADRACE_FANOUT 16
    #if defined(__SSE2__)
    #include <emmintrin.h>
    static inline uint32_t headrace_fitting(
        const int16_t (*needs)[HEADRACE_FANOUT], const int16_t *limits
    ) {
        uint32_t exceeds = 0;
        for (int at = 0; at < HEADRACE_FANOUT; at += 16) {
            __m128i low = _mm_setzero_si128(), high = _mm_setzero_si128();
            for (int d = 0; d < 4; d++) {
                const __m128i limit = _mm_set1_epi16(limits[d]);
                const __m128i *need = (const __m128i *)(needs[d] + at);
                low = _mm_or_si128(low, _mm_cmpgt_epi16(_mm_loadu_si128(need), limit));
                high = _mm_or_si128(high, _mm_cmpgt_epi16(_mm_loadu_si128(need + 1), limit));
            }
            exceeds |= (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) << at;
        }
        return ~exceeds & (uint32_t)((1ull << HEADRACE_FANOUT) - 1);
    }
    #else
    static inline uint32_t headrace_fitting(
        const int16_t (*needs)[HEADRACE_FANOUT], const int16_t *limits
    ) {
        uint32_t fits = 0;
        for (int i = 0; i < HEADRACE_FANOUT; i++)
            fits |= (uint32_t)((needs[0][i] <= limits[0]) & (needs[1][i] <= limits[1])
                               & (needs[2][i] <= limits[2]) & (needs[3][i] <= limits[3])) << i;
        return fits;
    }
    #endif
    static inline uint32_t headrace_up_to(const uint64_t *keys, uint64_t key) {
        uint32_t bits = 0;
        /* Without branches: which heads come early is as good as random to the processor. */
        #pragma GCC unroll 16
        for (int i = 0; i < HEADRACE_FANOUT; i++) bits |= (uint32_t)(keys[i] <= key) << i;
        return bits;
    }
    static inline int headrace_lowest(uint32_t bits) { return __builtin_ctz(bits); }
    static inline void headrace_prefetch(const void *node) {
        __builtin_prefetch(node);
        __builtin_prefetch((const char *)node + 64);
        __builtin_prefetch((const char *)node + 128);
        __builtin_prefetch((const char *)node + 192);
    }
    static inline int headrace_bits(uint32_t value) {
        return value ? 32 - __builtin_clz(value) : 0;
    }
    """
    # The entries, as bits, none of whose four rounded needs exceeds its limit.
    uint32_t fitting "headrace_fitting"(
        const int16_t (*needs)[16], const int16_t* limits
    ) noexcept nogil
    # The entries, as bits, whose key is at most `key`.
    uint32_t up_to "headrace_up_to"(const uint64_t* keys, uint64_t key) noexcept nogil
    int lowest_bit "headrace_lowest"(uint32_t bits) noexcept nogil
    void prefetch "headrace_prefetch"(const void* node) noexcept nogil  # needs and keys
    int bit_length "headrace_bits"(uint32_t value) noexcept nogil

cdef enum:
    FANOUT = 16  # HEADRACE_FANOUT
    DIMENSIONS = 4
    AXES = DIMENSIONS + 1
    BORN_SHIFT = 4  # 16 classes born together count as one; after 2**18 the count wraps
    BORN_MASK = 0x3FFF
    BARRED = 0x7FFF  # the rounded need of what holds no job: exceeds every limit


cdef struct Traits:  # what classes with the same gpu_models and labels share
    uint32_t classes
    uint32_t gpus_count
    uint32_t labels_count
    uint32_t gpus_mask
    uint32_t labels_mask
    uint32_t numbers[1]  # gpu models, then labels, both rising


cdef struct Class:
    Order jobs
    Node* leaf
    Traits* traits
    int32_t need[4]
    uint64_t leases
    uint32_t number
    uint32_t queue
    uint32_t kind
    uint32_t born  # how many classes were added before it
    uint8_t slot


cdef struct Shape:
    uint32_t kinds_mask
    uint32_t gpus_mask
    uint32_t labels_mask
    int64_t gpu_model
    bint any_kind
    bint any_queue
    uint32_t kinds_count
    uint32_t queues_count
    uint32_t labels_count
    uint32_t numbers[1]  # kinds, then queues, then labels, each rising


cdef struct Summary:
    uint64_t key
    uint32_t handle
    uint32_t kinds
    uint32_t gpus
    uint32_t labels
    int16_t need[4]  # rounded


cdef struct Rank:
    uint32_t traits
    int16_t axes[AXES]  # rounded needs and the time of birth


cdef struct Node:
    int16_t needs[4][FANOUT]  # rounded; BARRED when nothing is queued below, and in free slots
    uint64_t keys[FANOUT]     # KEY_MAX and NONE when nothing is queued below
    uint32_t handles[FANOUT]
    uint32_t kinds[FANOUT]
    uint32_t gpus[FANOUT]
    uint32_t labels[FANOUT]
    void* below[FANOUT]       # Class* in a leaf, Node* in an inner node
    Node* parent
    uint8_t slot
    uint8_t count
    uint8_t first  # the entry with the first head
    bint is_leaf


cdef struct Inner:
    Node node
    Rank lows[FANOUT]  # entry i holds ranks from lows[i] to lows[i + 1]; lows[0] is not looked at


cdef inline int16_t rounded(int32_t amount) noexcept nogil:
    """Keep the 11 highest bits and the magnitude, in order: 1,023 is 1,023, 2**31-1 is 22,527.

    One amount is at most another only if it is so rounded, which makes rounding safe to skip by.
    """
    cdef int shift = bit_length(<uint32_t>amount) - 11
    if shift < 0:
        return <int16_t>amount
    return <int16_t>((shift + 1) << 10 | ((amount >> shift) & 1023))


cdef inline uint32_t trait_bit(uint32_t number, uint32_t bits) noexcept nogil:
    return <uint32_t>1 << (number % bits)


cdef inline bint trait_listed(
    const uint32_t* numbers, uint32_t count, uint32_t number
) noexcept nogil:
    cdef uint32_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) >> 1
        if numbers[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low < count and numbers[low] == number


cdef inline bint class_suits(Class* cls, Shape* shape) noexcept nogil:
    """Whether kind, GPU models and labels agree, exactly."""
    cdef Traits* traits = cls.traits
    cdef uint32_t i
    if not shape.any_kind and not trait_listed(shape.numbers, shape.kinds_count, cls.kind):
        return False
    if traits.gpus_count and (
        shape.gpu_model < 0
        or not trait_listed(traits.numbers, traits.gpus_count, <uint32_t>shape.gpu_model)
    ):
        return False
    for i in range(traits.labels_count):
        if not trait_listed(
            shape.numbers + shape.kinds_count + shape.queues_count,
            shape.labels_count,
            traits.numbers[traits.gpus_count + i],
        ):
            return False
    return True


cdef inline bint need_fits(const int32_t* need, const int32_t* free_amounts) noexcept nogil:
    return (
        (need[0] <= free_amounts[0])
        & (need[1] <= free_amounts[1])
        & (need[2] <= free_amounts[2])
        & (need[3] <= free_amounts[3])
    )


cdef inline void class_rank(Class* cls, Rank* rank) noexcept nogil:
    cdef uint32_t labels = cls.traits.labels_mask, gpus = cls.traits.gpus_mask
    cdef uint32_t label = 0, gpu = 0
    cdef int d
    while labels & 1 == 0 and label < 32:
        labels >>= 1
        label += 1
    while gpus & 1 == 0 and gpu < 31:
        gpus >>= 1
        gpu += 1
    rank.traits = (cls.kind % 32) << 16 | label << 8 | gpu
    for d in range(DIMENSIONS):
        rank.axes[d] = rounded(cls.need[d])
    rank.axes[DIMENSIONS] = <int16_t>((cls.born >> BORN_SHIFT) & BORN_MASK)


cdef inline int rank_jump(const Rank* one, const Rank* next_one) noexcept nogil:
    """How high the boundary is between two neighbours in rank: the larger, the further apart."""
    cdef uint32_t most = 0, differs
    cdef int d
    if one.traits != next_one.traits:
        return 32 + bit_length(one.traits ^ next_one.traits)
    for d in range(AXES):
        differs = <uint32_t>(one.axes[d] ^ next_one.axes[d])
        if most < differs:
            most = differs
    return bit_length(most)


cdef inline bint rank_before(const Rank* one, const Rank* other) noexcept nogil:
    """Order by traits, then by the axis that differs in the highest bit."""
    cdef uint32_t most = 0, differs
    cdef int d, decides = 0
    if one.traits != other.traits:
        return one.traits < other.traits
    for d in range(AXES):
        differs = <uint32_t>(one.axes[d] ^ other.axes[d])
        if most < differs and most < (most ^ differs):
            most = differs
            decides = d
    return one.axes[decides] < other.axes[decides]


cdef inline void summary_clear(Summary* summary) noexcept nogil:
    """Make it the summary of no jobs, which adds nothing to any other."""
    cdef int d
    summary.key = KEY_MAX
    summary.handle = NONE
    summary.kinds = summary.gpus = 0
    summary.labels = 0xFFFFFFFF
    for d in range(DIMENSIONS):
        summary.need[d] = BARRED


cdef inline void class_summarize(Class* cls, Summary* summary) noexcept nogil:
    cdef int d
    if cls.jobs.size == 0:
        summary_clear(summary)
        return
    summary.key = cls.jobs.head_key
    summary.handle = cls.jobs.head_handle
    summary.kinds = trait_bit(cls.kind, 32)
    summary.gpus = cls.traits.gpus_mask
    summary.labels = cls.traits.labels_mask
    for d in range(DIMENSIONS):
        summary.need[d] = rounded(cls.need[d])


cdef inline int node_first(const Node* node) noexcept nogil:
    """Find the entry with the first head, or 0."""
    cdef uint64_t key = node.keys[0]
    cdef uint32_t handle = node.handles[0]
    cdef int i, first = 0
    for i in range(1, node.count):
        if before(node.keys[i], node.handles[i], key, handle):
            key = node.keys[i]
            handle = node.handles[i]
            first = i
    return first


cdef inline void node_summarize(Node* node, Summary* summary) noexcept nogil:
    cdef int i, d
    summary_clear(summary)
    node.first = <uint8_t>node_first(node)
    summary.key = node.keys[node.first]
    summary.handle = node.handles[node.first]
    for i in range(node.count):
        summary.kinds |= node.kinds[i]
        summary.gpus |= node.gpus[i]
        summary.labels &= node.labels[i]
    for d in range(DIMENSIONS):
        for i in range(node.count):
            if node.needs[d][i] < summary.need[d]:
                summary.need[d] = node.needs[d][i]


cdef inline void entry_set(Node* node, int slot, const Summary* summary) noexcept nogil:
    cdef int d
    node.keys[slot] = summary.key
    node.handles[slot] = summary.handle
    node.kinds[slot] = summary.kinds
    node.gpus[slot] = summary.gpus
    node.labels[slot] = summary.labels
    for d in range(DIMENSIONS):
        node.needs[d][slot] = summary.need[d]


cdef inline void entry_clear(Node* node, int slot) noexcept nogil:
    cdef Summary summary
    summary_clear(&summary)
    entry_set(node, slot, &summary)


cdef inline bint entry_equals(const Node* node, int slot, const Summary* summary) noexcept nogil:
    return (
        node.keys[slot] == summary.key
        and node.handles[slot] == summary.handle
        and node.kinds[slot] == summary.kinds
        and node.gpus[slot] == summary.gpus
        and node.labels[slot] == summary.labels
        and node.needs[0][slot] == summary.need[0]
        and node.needs[1][slot] == summary.need[1]
        and node.needs[2][slot] == summary.need[2]
        and node.needs[3][slot] == summary.need[3]
    )


cdef inline void entry_adopt(Node* node, int slot) noexcept nogil:
    """Tell what is below an entry where it is now."""
    if node.is_leaf:
        (<Class*>node.below[slot]).leaf = node
        (<Class*>node.below[slot]).slot = <uint8_t>slot
    else:
        (<Node*>node.below[slot]).parent = node
        (<Node*>node.below[slot]).slot = <uint8_t>slot


cdef inline void entry_move(Node* source, int slot, Node* target, int to) noexcept nogil:
    cdef int d
    target.keys[to] = source.keys[slot]
    target.handles[to] = source.handles[slot]
    target.kinds[to] = source.kinds[slot]
    target.gpus[to] = source.gpus[slot]
    target.labels[to] = source.labels[slot]
    for d in range(DIMENSIONS):
        target.needs[d][to] = source.needs[d][slot]
    if not source.is_leaf:
        (<Inner*>target).lows[to] = (<Inner*>source).lows[slot]
    target.below[to] = source.below[slot]
    entry_adopt(target, to)


cdef inline void entry_delete(Node* node, int slot) noexcept nogil:
    """Close the gap: in a leaf with the last entry, in an inner node in order."""
    cdef int i
    node.count -= 1
    if node.is_leaf:
        if slot != node.count:
            entry_move(node, node.count, node, slot)
    else:
        for i in range(slot, node.count):
            entry_move(node, i + 1, node, i)
    entry_clear(node, node.count)
