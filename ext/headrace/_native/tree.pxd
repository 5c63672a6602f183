"""A tree over the classes of one queue that finds the first fitting class head.

Leaves hold classes, nodes above hold nodes (node.pxd). A search skips an entry when its head
comes after the best one found or its summary cannot fit, and goes into the others in order of
their heads, so that usually one path is walked.

Leaves are ordered by traits, then by the Morton order of needs and time of birth, so that
classes that are refused together lie together: those that nothing fits grow old together.
Order decides only how well entries can be skipped, never which class is found; hence leaves
are unsorted inside and separators may be stale.

Source: B-trees; Morton order compared without interleaving as in T. M. Chan, Closest-point
problems simplified on the RAM (SODA 2002).
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from headrace._native.heap cimport NONE, before
from headrace._native.node cimport (
    DIMENSIONS,
    FANOUT,
    Class,
    Inner,
    Node,
    Rank,
    Shape,
    Summary,
    class_rank,
    class_suits,
    class_summarize,
    entry_adopt,
    entry_clear,
    entry_delete,
    entry_equals,
    entry_move,
    entry_set,
    fitting,
    lowest_bit,
    need_fits,
    node_first,
    node_summarize,
    prefetch,
    rank_before,
    rank_jump,
    summary_clear,
    up_to,
)

cdef enum:
    SPLIT_FROM = 4  # a split leaves at least this many on either side
    MERGE_BELOW = 4  # a node this small joins its neighbour ...
    MERGE_UP_TO = 12  # ... unless both together would soon split again


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


cdef inline void node_free(Tree* tree, Node* node) noexcept:
    tree.nodes -= 1
    free(node)


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
