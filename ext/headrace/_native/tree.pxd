"""A tree over the classes of one queue that finds the first fitting class head.

Every node holds up to 16 entries side by side: classes in a leaf, nodes above. An entry sums
up the non-empty classes below it: the first (key, handle), the elementwise smallest need, and
32-bit masks of traits. A search skips an entry when its head comes after the best one found
or its summary cannot fit, and goes into the others in order of their heads, so that usually
one path is walked.

Leaves are ordered by traits, then by the Morton order of needs, so that classes that are
refused together lie together. Order decides only how well entries can be skipped, never which
class is found; hence leaves are unsorted inside and separators may be stale.

    kinds   one bit for the kind; above: their union. Skip unless it meets the shape's bits.
    gpus    a bit for each model, bit 31 for "any will do"; above: their union. Likewise.
    labels  a bit for each label; above: their intersection. Skip if the shape lacks one.

Masks are hashes and needs are rounded (`rounded`), so the search asks the class itself before
it takes it. Rounded needs are 16 bits wide and side by side for each dimension: a node of 16
entries is compared with the free amounts in a few vector instructions and two cache lines.
Source: B-trees; Morton order compared without interleaving as in T. M. Chan, Closest-point
problems simplified on the RAM (SODA 2002).
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

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
    BARRED = 0x7FFF  # the rounded need of what holds no job: exceeds every limit
    DIMENSIONS = 4
    SPLIT_FROM = 4  # a split leaves at least this many on either side
    MERGE_BELOW = 4  # a node this small joins its neighbour ...
    MERGE_UP_TO = 12  # ... unless both together would soon split again


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
    int16_t need[4]  # rounded


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


cdef struct Tree:
    Node* root
    Summary summary
    uint32_t nodes


cdef struct Search:
    Shape* shape
    int32_t free[4]
    int16_t limits[4]  # free, rounded
    uint64_t key     # of the best found so far; only what comes before it matters
    uint32_t handle
    Class* found


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
        rank.need[d] = rounded(cls.need[d])


cdef inline int rank_jump(const Rank* one, const Rank* next_one) noexcept nogil:
    """How high the boundary is between two neighbours in rank: the larger, the further apart."""
    cdef uint32_t most = 0, differs
    cdef int d
    if one.traits != next_one.traits:
        return 32 + bit_length(one.traits ^ next_one.traits)
    for d in range(DIMENSIONS):
        differs = <uint32_t>(one.need[d] ^ next_one.need[d])
        if most < differs:
            most = differs
    return bit_length(most)


cdef inline bint rank_before(const Rank* one, const Rank* other) noexcept nogil:
    """Order by traits, then by the need that differs in the highest bit."""
    cdef uint32_t most = 0, differs
    cdef int d, decides = 0
    if one.traits != other.traits:
        return one.traits < other.traits
    for d in range(DIMENSIONS):
        differs = <uint32_t>(one.need[d] ^ other.need[d])
        if most < differs and most < (most ^ differs):
            most = differs
            decides = d
    return one.need[decides] < other.need[decides]


cdef inline void entry_set(Node* node, int slot, const Summary* summary) noexcept nogil:
    cdef int d
    node.keys[slot] = summary.key
    node.handles[slot] = summary.handle
    node.kinds[slot] = summary.kinds
    node.gpus[slot] = summary.gpus
    node.labels[slot] = summary.labels
    for d in range(DIMENSIONS):
        node.needs[d][slot] = summary.need[d]


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


cdef inline void tree_refresh(Tree* tree, Node* node) noexcept nogil:
    """Sum up again from `node` to the root; stop where nothing changes."""
    cdef Summary summary
    while True:
        node_summarize(node, &summary)
        if node.parent == NULL:
            tree.summary = summary
            return
        if entry_equals(node.parent, node.slot, &summary):
            return
        entry_set(node.parent, node.slot, &summary)
        node = node.parent


cdef inline void tree_update(Tree* tree, Class* cls) noexcept nogil:
    """Take over the head of a class after its jobs have changed."""
    cdef Node* node = cls.leaf
    cdef int i, slot = cls.slot
    cdef uint64_t key = cls.jobs.head_key
    cdef uint32_t handle = cls.jobs.head_handle
    cdef Summary summary
    if node.keys[slot] == key and node.handles[slot] == handle:
        return
    if node.handles[slot] == NONE or handle == NONE:
        class_summarize(cls, &summary)
        entry_set(node, slot, &summary)
        tree_refresh(tree, node)
        return
    # A non-empty class stays non-empty: only heads change on the way up.
    while True:
        node.keys[slot] = key
        node.handles[slot] = handle
        if slot == node.first:
            node.first = <uint8_t>node_first(node)
        elif before(key, handle, node.keys[node.first], node.handles[node.first]):
            node.first = <uint8_t>slot
        else:
            return
        key = node.keys[node.first]
        handle = node.handles[node.first]
        slot = node.slot
        node = node.parent
        if node == NULL:
            tree.summary.key = key
            tree.summary.handle = handle
            return
        if node.keys[slot] == key and node.handles[slot] == handle:
            return


cdef inline Node* node_new(Tree* tree, bint is_leaf) except NULL:
    cdef int i
    cdef Node* node = <Node*>malloc(sizeof(Node) if is_leaf else sizeof(Inner))
    if node == NULL:
        raise MemoryError
    node.parent = NULL
    node.slot = 0
    node.count = 0
    node.first = 0
    node.is_leaf = is_leaf
    tree.nodes += 1
    for i in range(FANOUT):
        entry_clear(node, i)
    return node


cdef inline void entry_clear(Node* node, int slot) noexcept nogil:
    cdef Summary summary
    summary_clear(&summary)
    entry_set(node, slot, &summary)


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


cdef inline void leaf_sort(Node* leaf) noexcept nogil:
    """Order the classes of a full leaf by rank, before it is split."""
    cdef Rank ranks[FANOUT]
    cdef void* below[FANOUT]
    cdef Rank rank
    cdef void* cls
    cdef Summary summary
    cdef int i, j
    for i in range(leaf.count):
        cls = leaf.below[i]
        class_rank(<Class*>cls, &rank)
        j = i
        while j > 0 and rank_before(&rank, &ranks[j - 1]):
            ranks[j] = ranks[j - 1]
            below[j] = below[j - 1]
            j -= 1
        ranks[j] = rank
        below[j] = cls
    for i in range(leaf.count):
        leaf.below[i] = below[i]
        class_summarize(<Class*>below[i], &summary)
        entry_set(leaf, i, &summary)
        entry_adopt(leaf, i)


cdef inline int node_middle(Node* node, Rank* low) noexcept nogil:
    """Choose where to split: at the highest boundary of the middle half; set the low rank there.

    So nodes become cells of the Morton order, whose smallest needs say much.
    """
    cdef Rank ranks[FANOUT]
    cdef int i, jump, most = -1, middle = FANOUT // 2
    for i in range(FANOUT):
        if node.is_leaf:
            class_rank(<Class*>node.below[i], &ranks[i])
        else:
            ranks[i] = (<Inner*>node).lows[i]
    for i in range(SPLIT_FROM, FANOUT - SPLIT_FROM + 1):
        jump = rank_jump(&ranks[i - 1], &ranks[i])
        if jump > most or (jump == most and abs(2 * i - FANOUT) < abs(2 * middle - FANOUT)):
            most = jump
            middle = i
    low[0] = ranks[middle]
    return middle


cdef inline int node_split(Tree* tree, Node* node) except -1:
    """Move the upper part of a full node to a new right neighbour; the parent has room.

    The root gets a parent first.
    """
    cdef Node* right = node_new(tree, node.is_leaf)
    cdef Node* parent = node.parent
    cdef Rank low
    cdef Summary summary
    cdef int i, middle
    if parent == NULL:
        try:
            parent = node_new(tree, False)
        except MemoryError:
            node_free(tree, right)
            raise
        parent.count = 1
        parent.below[0] = node
        entry_adopt(parent, 0)
        tree.root = parent
    if node.is_leaf:
        leaf_sort(node)
    middle = node_middle(node, &low)
    for i in range(middle, FANOUT):
        entry_move(node, i, right, i - middle)
        entry_clear(node, i)
    node.count = <uint8_t>middle
    right.count = <uint8_t>(FANOUT - middle)
    i = parent.count
    while i > node.slot + 1:
        entry_move(parent, i - 1, parent, i)
        i -= 1
    parent.below[i] = right
    parent.count += 1
    (<Inner*>parent).lows[i] = low
    entry_adopt(parent, i)
    node_summarize(right, &summary)
    entry_set(parent, i, &summary)
    node_summarize(node, &summary)
    entry_set(parent, node.slot, &summary)
    parent.first = <uint8_t>node_first(parent)
    return 0


cdef inline void node_free(Tree* tree, Node* node) noexcept:
    tree.nodes -= 1
    free(node)


cdef inline int tree_insert(Tree* tree, Class* cls) except -1:
    """Add a class; full nodes on the way down are split first, so a parent has room."""
    cdef Node* node
    cdef Summary summary
    cdef Rank rank
    cdef int i
    class_rank(cls, &rank)
    if tree.root == NULL:
        tree.root = node_new(tree, True)
    if tree.root.count == FANOUT:
        node_split(tree, tree.root)
    node = tree.root
    while not node.is_leaf:
        i = node.count - 1
        while i > 0 and rank_before(&rank, &(<Inner*>node).lows[i]):
            i -= 1
        if (<Node*>node.below[i]).count == FANOUT:
            node_split(tree, <Node*>node.below[i])
            if not rank_before(&rank, &(<Inner*>node).lows[i + 1]):
                i += 1
        node = <Node*>node.below[i]
    i = node.count
    node.count += 1
    class_summarize(cls, &summary)
    entry_set(node, i, &summary)
    node.below[i] = cls
    entry_adopt(node, i)
    tree_refresh(tree, node)
    return 0


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


cdef inline void node_merge(Tree* tree, Node* node) noexcept:
    """Join a small node with a neighbour under the same parent, if both are small enough."""
    cdef Node* parent = node.parent
    cdef Node* left
    cdef Node* right
    cdef int i, slot
    cdef Summary summary
    if parent.count < 2:
        return
    slot = node.slot if node.slot + 1 < parent.count else node.slot - 1
    left = <Node*>parent.below[slot]
    right = <Node*>parent.below[slot + 1]
    if left.count + right.count > MERGE_UP_TO:
        return
    if not left.is_leaf:
        (<Inner*>right).lows[0] = (<Inner*>parent).lows[slot + 1]
    for i in range(right.count):
        entry_move(right, i, left, left.count)
        left.count += 1
    entry_delete(parent, slot + 1)
    node_free(tree, right)
    node_summarize(left, &summary)
    entry_set(parent, slot, &summary)
    parent.first = <uint8_t>node_first(parent)


cdef inline void tree_remove(Tree* tree, Class* cls) noexcept:
    cdef Node* node = cls.leaf
    cdef Node* parent
    entry_delete(node, cls.slot)
    cls.leaf = NULL
    while True:
        parent = node.parent
        if parent == NULL:
            break
        if node.count == 0:
            entry_delete(parent, node.slot)
            node_free(tree, node)
        else:
            tree_refresh(tree, node)
            if node.count >= MERGE_BELOW:
                break
            node_merge(tree, node)
        node = parent
    while not tree.root.is_leaf and tree.root.count == 1:
        node = tree.root
        tree.root = <Node*>node.below[0]
        tree.root.parent = NULL
        node_free(tree, node)
    if tree.root.count == 0:
        node_free(tree, tree.root)
        tree.root = NULL
        summary_clear(&tree.summary)
        return
    tree_refresh(tree, tree.root)


cdef inline bint summary_may_fit(const Summary* summary, const Search* search) noexcept nogil:
    return (
        before(summary.key, summary.handle, search.key, search.handle)
        and summary.need[0] <= search.limits[0]
        and summary.need[1] <= search.limits[1]
        and summary.need[2] <= search.limits[2]
        and summary.need[3] <= search.limits[3]
        and summary.kinds & search.shape.kinds_mask
        and summary.gpus & search.shape.gpus_mask
        and not summary.labels & ~search.shape.labels_mask
    )


cdef inline bint entry_may_fit(const Node* node, int slot, const Search* search) noexcept nogil:
    """Whether the head comes before the best so far and the masks agree."""
    return (
        before(node.keys[slot], node.handles[slot], search.key, search.handle)
        and node.kinds[slot] & search.shape.kinds_mask
        and node.gpus[slot] & search.shape.gpus_mask
        and not node.labels[slot] & ~search.shape.labels_mask
    )


cdef inline void entry_search(const Node* node, int slot, Search* search) noexcept nogil:
    cdef Class* cls
    if not node.is_leaf:
        node_search(<const Node*>node.below[slot], search)
        return
    cls = <Class*>node.below[slot]
    if need_fits(cls.need, search.free) and class_suits(cls, search.shape):
        search.key = node.keys[slot]
        search.handle = node.handles[slot]
        search.found = cls


cdef inline void node_search(const Node* node, Search* search) noexcept nogil:
    """Find the first fitting head below `node` that comes before the best one so far."""
    cdef uint32_t able = fitting(node.needs, search.limits) & up_to(node.keys, search.key)
    cdef uint32_t rest, bit = <uint32_t>1 << node.first
    cdef uint64_t key
    cdef uint32_t handle
    cdef int i, first
    if able & bit and entry_may_fit(node, node.first, search):
        # Most often the first head fits, and nothing else here has to be looked at.
        entry_search(node, node.first, search)
        if search.handle == node.handles[node.first]:
            return
        able &= up_to(node.keys, search.key)
    able &= ~bit
    if not node.is_leaf:
        rest = able
        while rest:
            i = lowest_bit(rest)
            rest &= rest - 1
            prefetch(node.below[i])
    while able:
        first = -1
        key = search.key
        handle = search.handle
        rest = able
        while rest:
            i = lowest_bit(rest)
            rest &= rest - 1
            if not entry_may_fit(node, i, search):
                able ^= <uint32_t>1 << i
            elif before(node.keys[i], node.handles[i], key, handle):
                key = node.keys[i]
                handle = node.handles[i]
                first = i
        if first < 0:
            return
        able ^= <uint32_t>1 << first
        entry_search(node, first, search)


cdef inline void tree_free(Tree* tree, Node* node) noexcept:
    """Free the nodes; the classes belong to the caller."""
    cdef int i
    if node == NULL:
        return
    if not node.is_leaf:
        for i in range(node.count):
            tree_free(tree, <Node*>node.below[i])
    node_free(tree, node)


cdef inline int tree_check(Tree* tree, Node* node, size_t* classes, size_t* nodes) except -1:
    """Assert links, counts and summaries from `node` down; count what is there."""
    cdef Summary summary
    cdef Class* cls
    cdef Node* child
    cdef int i
    nodes[0] += 1
    assert 0 < node.count <= FANOUT
    assert node.first == node_first(node)
    assert node.parent != NULL or node == tree.root
    for i in range(node.count):
        if node.is_leaf:
            cls = <Class*>node.below[i]
            assert cls.leaf == node
            assert cls.slot == i
            classes[0] += 1
            class_summarize(cls, &summary)
        else:
            child = <Node*>node.below[i]
            assert child.parent == node
            assert child.slot == i
            tree_check(tree, child, classes, nodes)
            node_summarize(child, &summary)
        assert entry_equals(node, i, &summary)
    summary_clear(&summary)
    for i in range(node.count, FANOUT):
        assert entry_equals(node, i, &summary)
    if node.parent == NULL:
        node_summarize(node, &summary)
        assert summary.key == tree.summary.key
        assert summary.handle == tree.summary.handle
        if summary.handle != NONE:
            assert summary.kinds == tree.summary.kinds
            assert summary.gpus == tree.summary.gpus
            assert summary.labels == tree.summary.labels
            for i in range(DIMENSIONS):
                assert summary.need[i] == tree.summary.need[i]
    return 0
