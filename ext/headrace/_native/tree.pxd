"""A tree over the classes of one lane that finds the first fitting class head.

Leaves hold classes, nodes above hold nodes (node.pxd); all leaves are equally deep. A search
skips an entry when its head comes after the best one found or its summary cannot fit, and goes
into the others in order of their heads, so that usually one path is walked. Which classes share
a leaf is for cluster.pxd to say.

Source: branch and bound over corners and heads, as in priority search trees, E. M. McCreight
(SIAM J. Comput. 1985), but with wide nodes.
"""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from headrace._native.cluster cimport Extent, nearest, split_choose
from headrace._native.heap cimport NONE, before
from headrace._native.node cimport (
    DIMENSIONS,
    FANOUT,
    Class,
    Corner,
    Inner,
    Node,
    Shape,
    Summary,
    class_corner,
    class_suits,
    class_summarize,
    corner_add,
    corner_clear,
    corner_equals,
    earliest,
    entry_append,
    entry_clear,
    entry_corner,
    entry_delete,
    entry_equals,
    entry_get,
    entry_set,
    fitting,
    lowest_bit,
    need_fits,
    node_corner,
    node_first,
    node_summarize,
    prefetch,
    prefetch_keys,
    summary_add,
    summary_clear,
    up_to,
)
from headrace._native.recent cimport recent_note

cdef enum:
    MERGE_BELOW = 8  # a node this small joins another one ...
    MERGE_UP_TO = 24  # ... unless both together would soon split again


cdef struct Tree:
    Node* root
    Summary summary
    Extent extent
    uint32_t nodes
    uint32_t inners  # nodes that are no leaves


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


cdef inline void tree_grow(Tree* tree, Node* node, int slot) noexcept nogil:
    """Take over an entry that now says more than it did; stop where nothing changes."""
    cdef Summary part, summary
    entry_get(node, slot, &part)
    while True:
        if before(part.key, part.handle, node.keys[node.first], node.handles[node.first]):
            node.first = <uint8_t>slot
        slot = node.slot
        node = node.parent
        if node == NULL:
            summary_add(&tree.summary, &part)
            return
        entry_get(node, slot, &summary)
        summary_add(&summary, &part)
        if entry_equals(node, slot, &summary):
            return
        entry_set(node, slot, &summary)


cdef inline void tree_update(Tree* tree, Class* cls) noexcept nogil:
    """Take over the head of a class after its jobs have changed."""
    cdef Node* node = cls.leaf
    cdef int slot = cls.slot
    cdef uint64_t key = cls.jobs.head_key
    cdef uint32_t handle = cls.jobs.head_handle
    cdef Summary summary
    if node.keys[slot] == key and node.handles[slot] == handle:
        return
    if handle == NONE:
        entry_clear(node, slot)
        tree_refresh(tree, node)
        return
    if node.handles[slot] == NONE:
        class_summarize(cls, &summary)
        entry_set(node, slot, &summary)
        tree_grow(tree, node, slot)
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


cdef inline Node* node_new(Tree* tree, uint8_t height) except NULL:
    cdef int i
    cdef Node* node = <Node*>malloc(sizeof(Inner) if height else sizeof(Node))
    if node == NULL:
        raise MemoryError
    node.parent = NULL
    node.slot = 0
    node.count = 0
    node.first = 0
    node.height = height
    tree.nodes += 1
    tree.inners += height > 0
    for i in range(FANOUT):
        entry_clear(node, i)
    return node


cdef inline void node_free(Tree* tree, Node* node) noexcept:
    tree.nodes -= 1
    tree.inners -= node.height > 0
    free(node)


cdef inline int node_split(Tree* tree, Node* node) except -1:
    """Move a part of a full node to a new one beside it; the parent has room.

    The root gets a parent first.
    """
    cdef Node* right = node_new(tree, node.height)
    cdef Node* parent = node.parent
    cdef Inner whole
    cdef uint8_t order[FANOUT]
    cdef Summary summary
    cdef Corner corner
    cdef int i, middle
    if parent == NULL:
        try:
            parent = node_new(tree, <uint8_t>(node.height + 1))
        except MemoryError:
            node_free(tree, right)
            raise
        entry_append(parent, node, &tree.summary, &tree.extent.corner)
        tree.root = parent
    middle = split_choose(&tree.extent, node, order)
    memcpy(&whole, node, sizeof(Inner) if node.height else sizeof(Node))
    node.count = 0
    for i in range(FANOUT):
        entry_get(&whole.node, order[i], &summary)
        entry_append(
            node if i < middle else right,
            whole.node.below[order[i]],
            &summary,
            &whole.corners[order[i]],
        )
    for i in range(middle, FANOUT):
        entry_clear(node, i)
    node_summarize(right, &summary)
    node_corner(right, &corner)
    entry_append(parent, right, &summary, &corner)
    node_summarize(node, &summary)
    node_corner(node, &corner)
    entry_set(parent, node.slot, &summary)
    (<Inner*>parent).corners[node.slot] = corner
    parent.first = <uint8_t>node_first(parent)
    return 0


cdef inline int tree_insert(Tree* tree, Class* cls) except -1:
    """Add a class without jobs; full nodes on the way down are split, so a parent has room."""
    cdef Node* node
    cdef Node* child
    cdef Corner corner
    cdef Summary summary
    cdef int slot, room = FANOUT
    if tree.root == NULL:
        tree.root = node_new(tree, 0)
        corner_clear(&tree.extent.corner)
    cls.born = tree.extent.born
    tree.extent.born += 1
    class_corner(cls, &corner)
    recent_note(tree.extent.recent, corner.need)
    corner_add(&tree.extent.corner, &corner)
    if tree.root.count == FANOUT:
        node_split(tree, tree.root)
    node = tree.root
    while node.height:
        slot = nearest(&tree.extent, <Inner*>node, &corner, NULL, room)
        child = <Node*>node.below[slot]
        if child.count == FANOUT:
            node_split(tree, child)
            room = FANOUT - 1  # the split may have filled `node`: no second one
        else:
            corner_add(&(<Inner*>node).corners[slot], &corner)
            node = child
            room = FANOUT
    summary_clear(&summary)
    entry_append(node, cls, &summary, &corner)
    return 0


cdef inline void node_merge(Tree* tree, Node* node) noexcept:
    """Join a small node with the nearest one under the same parent that has room for it."""
    cdef Inner* parent = <Inner*>node.parent
    cdef Node* other
    cdef Summary summary
    cdef Corner corner = parent.corners[node.slot]
    cdef int i, slot
    slot = nearest(&tree.extent, parent, &corner, node, MERGE_UP_TO - node.count)
    if slot < 0:
        return
    other = <Node*>parent.node.below[slot]
    for i in range(node.count):
        entry_get(node, i, &summary)
        entry_corner(node, i, &corner)
        entry_append(other, node.below[i], &summary, &corner)
    node_summarize(other, &summary)
    entry_set(&parent.node, slot, &summary)
    corner_add(&parent.corners[slot], &parent.corners[node.slot])
    entry_delete(&parent.node, node.slot)
    node_free(tree, node)


cdef inline void tree_remove(Tree* tree, Class* cls) noexcept:
    """Remove a class without jobs."""
    cdef Node* node = cls.leaf
    cdef Inner* parent
    cdef Corner corner
    entry_delete(node, cls.slot)
    cls.leaf = NULL
    while node.parent != NULL:
        parent = <Inner*>node.parent
        node_corner(node, &corner)
        if node.count >= MERGE_BELOW and corner_equals(&parent.corners[node.slot], &corner):
            break
        parent.corners[node.slot] = corner
        if node.count == 0:
            entry_delete(&parent.node, node.slot)
            node_free(tree, node)
        elif node.count < MERGE_BELOW:
            node_merge(tree, node)
        node = &parent.node
    if node.parent == NULL:
        node_corner(node, &tree.extent.corner)
    while tree.root.height and tree.root.count == 1:
        node = tree.root
        tree.root = <Node*>node.below[0]
        tree.root.parent = NULL
        node_free(tree, node)
    if tree.root.count == 0:
        node_free(tree, tree.root)
        tree.root = NULL


cdef inline void tree_take(Tree* tree, Class* cls) noexcept:
    """Remove a class with its jobs: `tree_insert` and `tree_update` put them in another tree."""
    if cls.leaf.handles[cls.slot] != NONE:
        entry_clear(cls.leaf, cls.slot)
        tree_refresh(tree, cls.leaf)
    tree_remove(tree, cls)


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


cdef inline bint class_found(const Node* leaf, int slot, Search* search) noexcept nogil:
    """Note the class as the best so far, if it fits exactly."""
    cdef Class* cls = <Class*>leaf.below[slot]
    if not (need_fits(cls.need, search.free) and class_suits(cls, search.shape)):
        return False
    search.key = leaf.keys[slot]
    search.handle = leaf.handles[slot]
    search.found = cls
    return True


cdef inline void leaf_search(const Node* leaf, Search* search) noexcept nogil:
    """Find the first fitting head in a leaf, if it comes before the best one so far."""
    cdef uint32_t rest, able
    cdef uint64_t key
    cdef int i, first = leaf.first
    prefetch_keys(leaf)
    able = fitting(leaf.needs, search.limits)
    # Most often the first head fits, and nothing else here has to be looked at.
    if able >> first & 1 and entry_may_fit(leaf, first, search) and class_found(leaf, first, search):
        return
    while able:
        key = earliest(leaf.keys, able)
        if key > search.key:
            return
        first = -1
        rest = able
        while rest:
            i = lowest_bit(rest)
            rest &= rest - 1
            if leaf.keys[i] == key and (first < 0 or leaf.handles[i] < leaf.handles[first]):
                first = i
        if entry_may_fit(leaf, first, search) and class_found(leaf, first, search):
            return
        able ^= <uint32_t>1 << first


cdef inline void below_search(const Node* node, int slot, Search* search) noexcept nogil:
    if node.height == 1:
        leaf_search(<const Node*>node.below[slot], search)
    else:
        node_search(<const Node*>node.below[slot], search)


cdef inline void node_search(const Node* node, Search* search) noexcept nogil:
    """Find the first fitting head below an inner node that comes before the best one so far."""
    cdef uint32_t able
    cdef uint8_t slots[FANOUT]
    cdef uint8_t slot
    cdef int i, at, some, count = 0
    prefetch_keys(node)
    able = fitting(node.needs, search.limits)
    if able >> node.first & 1 and entry_may_fit(node, node.first, search):
        below_search(node, node.first, search)
        if search.handle == node.handles[node.first]:
            return
        able ^= <uint32_t>1 << node.first
    some = up_to(node.keys, search.key, able, slots)
    for i in range(some):
        slot = slots[i]
        if not entry_may_fit(node, slot, search):
            continue
        prefetch(node.below[slot])
        at = count
        count += 1
        while at > 0 and node.keys[slots[at - 1]] > node.keys[slot]:
            slots[at] = slots[at - 1]
            at -= 1
        slots[at] = slot
    for at in range(count):
        if node.keys[slots[at]] > search.key:
            return
        below_search(node, slots[at], search)


cdef inline void tree_search(const Tree* tree, Search* search) noexcept nogil:
    """Note the first class of the tree that fits, if its head comes before the best so far."""
    cdef const Node* node = tree.root
    if not summary_may_fit(&tree.summary, search):
        return
    while node.height:
        node = <const Node*>node.below[node.first]
    # Most often the very first head fits, and nothing else has to be looked at.
    if entry_may_fit(node, node.first, search) and class_found(node, node.first, search):
        return
    if tree.root.height:
        node_search(tree.root, search)
    else:
        leaf_search(tree.root, search)


cdef inline size_t tree_bytes(const Tree* tree) noexcept nogil:
    return tree.nodes * sizeof(Node) + tree.inners * (sizeof(Inner) - sizeof(Node))


cdef inline void tree_free(Tree* tree, Node* node) noexcept:
    """Free the nodes; the classes belong to the caller."""
    cdef int i
    if node == NULL:
        return
    if node.height:
        for i in range(node.count):
            tree_free(tree, <Node*>node.below[i])
    node_free(tree, node)


cdef inline int tree_check(Tree* tree, Node* node, size_t* classes, size_t* nodes) except -1:
    """Assert links, counts and summaries from `node` down; count what is there."""
    cdef Summary summary
    cdef Corner corner
    cdef Class* cls
    cdef Node* child
    cdef int i
    nodes[0] += 1
    assert 0 < node.count <= FANOUT
    assert node.first == node_first(node)
    assert node.parent != NULL or node == tree.root
    for i in range(node.count):
        if node.height == 0:
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
            node_corner(child, &corner)
            assert corner_equals(&(<Inner*>node).corners[i], &corner)
        assert entry_equals(node, i, &summary)
    summary_clear(&summary)
    for i in range(node.count, FANOUT):
        assert entry_equals(node, i, &summary)
    if node.parent == NULL:
        node_corner(node, &corner)
        assert corner_equals(&tree.extent.corner, &corner)
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
