"""A node of the class tree: up to 32 entries side by side, each summing up what is below it.

A summary holds the first (key, handle), the elementwise smallest need and 32-bit masks of
traits, over the classes that have a job queued:

    kinds   one bit for the kind; above: their union. Skip unless it meets the shape's bits.
    gpus    a bit for each model, bit 31 for "any will do"; above: their union. Likewise.
    labels  a bit for each label; above: their intersection. Skip if the shape lacks one.

Masks are hashes and needs are rounded, so they say only what may fit; the class itself knows.
Rounded needs are 16 bits wide and side by side for each dimension: the 32 entries are compared
with the free amounts in a few vector instructions and four cache lines. Where a search is refused
by needs, as most often, it has seen nothing else of the node; so they come first in it.
Free slots hold the summary of nothing, so that loops over all 32 need no count.

An inner node also has the corner of each entry: needs and masks over all classes, queued jobs or
not. It says where a class belongs, and searches do not look at it.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from headrace._native.heap cimport KEY_MAX, NONE, before
from headrace._native.order cimport Order

cdef extern from *:
    """
    #define HEADRACE_FANOUT 32
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
    /* The next three have no branches: which heads come early is as good as random. */
    static inline int headrace_first(const uint64_t *keys, const uint32_t *handles, int count) {
        int first = 0;
        uint64_t key = keys[0];
        for (int i = 1; i < count; i++) {
            first = keys[i] < key ? i : first;
            key = keys[i] < key ? keys[i] : key;
        }
        for (int i = first + 1; i < count; i++)
            if (keys[i] == key && handles[i] < handles[first]) first = i;
        return first;
    }
    static inline uint64_t headrace_earliest(const uint64_t *keys, uint32_t bits) {
        uint64_t key = UINT64_MAX;
        for (; bits; bits &= bits - 1) {
            const uint64_t other = keys[__builtin_ctz(bits)];
            key = other < key ? other : key;
        }
        return key;
    }
    static inline int headrace_up_to(
        const uint64_t *keys, uint64_t key, uint32_t bits, uint8_t *slots
    ) {
        int count = 0;
        for (; bits; bits &= bits - 1) {
            slots[count] = (uint8_t)__builtin_ctz(bits);
            count += keys[slots[count]] <= key;
        }
        return count;
    }
    static inline int headrace_lowest(uint32_t bits) { return __builtin_ctz(bits); }
    static inline void headrace_prefetch(const void *node) {
        for (int line = 0; line < 5; line++) __builtin_prefetch((const char *)node + 64 * line);
    }
    static inline void headrace_prefetch_keys(const void *node) {
        for (int line = 5; line < 9; line++) __builtin_prefetch((const char *)node + 64 * line);
    }
    static inline int headrace_bits(uint32_t value) {
        return value ? 32 - __builtin_clz(value) : 0;
    }
    """
    # The entries, as bits, none of whose four rounded needs exceeds its limit.
    uint32_t fitting "headrace_fitting"(
        const int16_t (*needs)[32], const int16_t* limits
    ) noexcept nogil
    # The entry with the least (key, handle) of the first `count`.
    int first_of "headrace_first"(
        const uint64_t* keys, const uint32_t* handles, int count
    ) noexcept nogil
    # The least key of the entries given as bits.
    uint64_t earliest "headrace_earliest"(const uint64_t* keys, uint32_t bits) noexcept nogil
    # Put those of them whose key is at most `key` into `slots`; return how many.
    int up_to "headrace_up_to"(
        const uint64_t* keys, uint64_t key, uint32_t bits, uint8_t* slots
    ) noexcept nogil
    int lowest_bit "headrace_lowest"(uint32_t bits) noexcept nogil
    void prefetch "headrace_prefetch"(const void* node) noexcept nogil  # up to the needs
    void prefetch_keys "headrace_prefetch_keys"(const void* node) noexcept nogil
    int bit_length "headrace_bits"(uint32_t value) noexcept nogil

cdef enum:
    FANOUT = 32  # HEADRACE_FANOUT
    DIMENSIONS = 4
    TENANT_FIRST_C = 0x80000000  # labels from here on are tenants; a class has one at most
    TENANTS_MASK = 0xFF000000
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
    uint32_t lane
    uint32_t kind
    uint32_t born  # how many classes were added to the tree before it; may wrap
    uint8_t slot


cdef struct Shape:
    uint32_t kinds_mask
    uint32_t gpus_mask
    uint32_t labels_mask
    int64_t gpu_model
    bint any_kind
    bint any_queue
    bint any_tenant
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


cdef struct Corner:
    int16_t need[4]  # rounded
    uint32_t kinds
    uint32_t gpus
    uint32_t labels
    uint32_t labels_any  # the union
    uint32_t born        # of the oldest


cdef struct Node:
    Node* parent
    uint8_t slot
    uint8_t count
    uint8_t first  # the entry with the first head
    uint8_t height  # 0 for a leaf
    int16_t needs[4][FANOUT]  # rounded; BARRED when nothing is queued below, and in free slots
    uint64_t keys[FANOUT]     # KEY_MAX and NONE when nothing is queued below
    uint32_t handles[FANOUT]
    uint32_t kinds[FANOUT]
    uint32_t gpus[FANOUT]
    uint32_t labels[FANOUT]
    void* below[FANOUT]       # Class* in a leaf, Node* in an inner node


cdef struct Inner:
    Node node
    Corner corners[FANOUT]


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


cdef inline uint32_t label_bit(uint32_t number) noexcept nogil:
    """Tenants have bits of their own, so that who serves all of them still skips by other labels."""
    if number >= TENANT_FIRST_C:
        return <uint32_t>1 << (24 + number % 8)
    return <uint32_t>1 << (number % 24)


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
    cdef uint32_t labels_count = traits.labels_count
    cdef bint has_tenant = (
        labels_count and traits.numbers[traits.gpus_count + labels_count - 1] >= TENANT_FIRST_C
    )
    if shape.any_tenant:
        labels_count -= has_tenant
    elif not has_tenant:
        return False
    if not shape.any_kind and not trait_listed(shape.numbers, shape.kinds_count, cls.kind):
        return False
    if traits.gpus_count and (
        shape.gpu_model < 0
        or not trait_listed(traits.numbers, traits.gpus_count, <uint32_t>shape.gpu_model)
    ):
        return False
    for i in range(labels_count):
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


cdef inline void summary_clear(Summary* summary) noexcept nogil:
    """Make it the summary of no jobs, which adds nothing to any other."""
    cdef int d
    summary.key = KEY_MAX
    summary.handle = NONE
    summary.kinds = summary.gpus = 0
    summary.labels = 0xFFFFFFFF
    for d in range(DIMENSIONS):
        summary.need[d] = BARRED


cdef inline void summary_add(Summary* summary, const Summary* other) noexcept nogil:
    cdef int d
    if before(other.key, other.handle, summary.key, summary.handle):
        summary.key = other.key
        summary.handle = other.handle
    summary.kinds |= other.kinds
    summary.gpus |= other.gpus
    summary.labels &= other.labels
    for d in range(DIMENSIONS):
        summary.need[d] = min(summary.need[d], other.need[d])


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


cdef inline void corner_clear(Corner* corner) noexcept nogil:
    """Make it the corner of no classes, which adds nothing to any other."""
    cdef int d
    corner.kinds = corner.gpus = corner.labels_any = 0
    corner.labels = corner.born = 0xFFFFFFFF
    for d in range(DIMENSIONS):
        corner.need[d] = BARRED


cdef inline void corner_add(Corner* corner, const Corner* other) noexcept nogil:
    cdef int d
    corner.kinds |= other.kinds
    corner.gpus |= other.gpus
    corner.labels &= other.labels
    corner.labels_any |= other.labels_any
    corner.born = min(corner.born, other.born)
    for d in range(DIMENSIONS):
        corner.need[d] = min(corner.need[d], other.need[d])


cdef inline bint corner_equals(const Corner* one, const Corner* other) noexcept nogil:
    return (
        one.kinds == other.kinds
        and one.gpus == other.gpus
        and one.labels == other.labels
        and one.labels_any == other.labels_any
        and one.born == other.born
        and one.need[0] == other.need[0]
        and one.need[1] == other.need[1]
        and one.need[2] == other.need[2]
        and one.need[3] == other.need[3]
    )


cdef inline void class_corner(Class* cls, Corner* corner) noexcept nogil:
    cdef int d
    corner.kinds = trait_bit(cls.kind, 32)
    corner.gpus = cls.traits.gpus_mask
    corner.labels = corner.labels_any = cls.traits.labels_mask
    corner.born = cls.born
    for d in range(DIMENSIONS):
        corner.need[d] = rounded(cls.need[d])


cdef inline void entry_corner(const Node* node, int slot, Corner* corner) noexcept nogil:
    if node.height == 0:
        class_corner(<Class*>node.below[slot], corner)
    else:
        corner[0] = (<const Inner*>node).corners[slot]


cdef inline void node_corner(const Node* node, Corner* corner) noexcept nogil:
    cdef Corner part
    cdef int i
    corner_clear(corner)
    for i in range(node.count):
        entry_corner(node, i, &part)
        corner_add(corner, &part)


cdef inline int node_first(const Node* node) noexcept nogil:
    """Find the entry with the first head, or 0."""
    return first_of(node.keys, node.handles, node.count)


cdef inline void node_summarize(Node* node, Summary* summary) noexcept nogil:
    cdef uint32_t kinds = 0, gpus = 0, labels = 0xFFFFFFFF
    cdef int16_t need
    cdef int i, d
    node.first = <uint8_t>node_first(node)
    summary.key = node.keys[node.first]
    summary.handle = node.handles[node.first]
    for i in range(FANOUT):
        kinds |= node.kinds[i]
        gpus |= node.gpus[i]
        labels &= node.labels[i]
    summary.kinds = kinds
    summary.gpus = gpus
    summary.labels = labels
    for d in range(DIMENSIONS):
        need = BARRED
        for i in range(FANOUT):
            need = min(need, node.needs[d][i])
        summary.need[d] = need


cdef inline void entry_get(const Node* node, int slot, Summary* summary) noexcept nogil:
    cdef int d
    summary.key = node.keys[slot]
    summary.handle = node.handles[slot]
    summary.kinds = node.kinds[slot]
    summary.gpus = node.gpus[slot]
    summary.labels = node.labels[slot]
    for d in range(DIMENSIONS):
        summary.need[d] = node.needs[d][slot]


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


cdef inline void entry_adopt(Node* node, int slot, void* below) noexcept nogil:
    """Put something below an entry, and tell it where it is now."""
    node.below[slot] = below
    if node.height == 0:
        (<Class*>below).leaf = node
        (<Class*>below).slot = <uint8_t>slot
    else:
        (<Node*>below).parent = node
        (<Node*>below).slot = <uint8_t>slot


cdef inline void entry_append(
    Node* node, void* below, const Summary* summary, const Corner* corner
) noexcept nogil:
    """Fill the next free slot; there is one."""
    entry_set(node, node.count, summary)
    entry_adopt(node, node.count, below)
    if node.height:
        (<Inner*>node).corners[node.count] = corner[0]
    node.count += 1


cdef inline void entry_delete(Node* node, int slot) noexcept nogil:
    """Close the gap with the last entry."""
    cdef Summary summary
    cdef int last = node.count - 1
    if slot != last:
        entry_get(node, last, &summary)
        entry_set(node, slot, &summary)
        entry_adopt(node, slot, node.below[last])
        if node.height:
            (<Inner*>node).corners[slot] = (<Inner*>node).corners[last]
    entry_clear(node, last)
    node.count = <uint8_t>last
    node.first = <uint8_t>node_first(node)
