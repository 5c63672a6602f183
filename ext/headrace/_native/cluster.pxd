"""Which classes lie together in the tree: where a new one goes, and where a full node is split.

This decides only how well entries can be skipped, never which class is found.

A search goes into a node if its offer reaches the node's corner: has no less than each smallest
need, meets the masks, and has found nothing older yet. `reach` estimates the share of searches
that do, as the volume above the corner. A node is split where the halves' entries, each times the
reach of its half, sum up to the least; and a class goes where it lowers a corner the least. So
nodes fill with classes that are refused together, whichever of their needs is the reason, and
those that nothing fits grow old together.

Source: J. Goldsmith and J. Salmon, Automatic creation of object hierarchies for ray tracing
(IEEE CG&A 1987), for the cost of a split; A. Guttman, R-trees (SIGMOD 1984), for where to insert.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from headrace._native.node cimport (
    DIMENSIONS,
    FANOUT,
    Corner,
    Inner,
    Node,
    corner_add,
    corner_clear,
    entry_corner,
)
from headrace._native.recent cimport SHARE_BITS, Recent, missing, share

cdef extern from *:
    """
    static inline int headrace_ones(uint32_t bits) { return __builtin_popcount(bits); }
    """
    int ones "headrace_ones"(uint32_t bits) noexcept nogil

cdef enum:
    SPLIT_FROM = 8  # a split leaves at least this many on either side
    AXES = DIMENSIONS + 4
    AGE_FREEDOM = 1   # guessed: the youngest class is reached half as often as the oldest ...
    LABEL_BITS = 2    # ... a quarter of the searches bring a certain label ...
    LABEL_SHARE = 1 << 11  # ... so that another label is like a need that 1 of 8 tells apart


cdef struct Extent:  # what the classes of a tree extend over
    Recent* recent
    Corner corner    # of all of them
    uint32_t born    # classes added so far; may wrap


cdef inline double reach(const Extent* extent, const Corner* corner) noexcept nogil:
    """Estimate the share of searches that go into what has this corner; its unit is arbitrary."""
    cdef int d
    cdef double product = 1
    for d in range(DIMENSIONS):
        product *= share(extent.recent, d, corner.need[d])
    product *= (
        <double>AGE_FREEDOM * <uint32_t>(extent.born - extent.corner.born)
        + <uint32_t>(extent.born - corner.born)
    )
    product *= 1 - missing(extent.recent.kind_misses, corner.kinds)
    product *= 1 - missing(extent.recent.gpu_misses, corner.gpus)
    product *= 1 + ones(corner.labels_any & ~corner.labels)
    return product / (<uint64_t>1 << min(62, LABEL_BITS * ones(corner.labels)))


cdef inline int32_t bits_lower(
    const double* misses, uint32_t corner, uint32_t part
) noexcept nogil:
    """How many more of 2**14 searches a corner's mask lets in when it takes up `part`."""
    if not part & ~corner:
        return 0
    return <int32_t>(
        missing(misses, corner) * (1 - missing(misses, part & ~corner)) * (1 << SHARE_BITS)
    )


cdef inline int nearest(
    const Extent* extent, const Inner* inner, const Corner* part, const Node* but, int room
) noexcept nogil:
    """Choose the entry whose corner `part` lowers the least, among equals the closest; or -1.

    `but` and nodes with more than `room` entries are not chosen.
    """
    cdef const Recent* recent = extent.recent
    cdef int32_t lowers, apart, gap, lowers_least = 0, apart_least = 0
    cdef int32_t shares[4]
    cdef int32_t kind_apart, gpu_apart
    cdef double age_unit = (1 << SHARE_BITS) / <double>(extent.born - extent.corner.born + 1)
    cdef const Node* below
    cdef const Corner* corner
    cdef int i, d, best = -1
    for d in range(DIMENSIONS):
        shares[d] = share(recent, d, part.need[d])
    kind_apart = <int32_t>(missing(recent.kind_misses, part.kinds) * (1 << SHARE_BITS))
    gpu_apart = <int32_t>(missing(recent.gpu_misses, part.gpus) * (1 << SHARE_BITS))
    for i in range(inner.node.count):
        below = <const Node*>inner.node.below[i]
        if below == but or (room < FANOUT and below.count > room):
            continue
        corner = &inner.corners[i]
        lowers = apart = 0
        for d in range(DIMENSIONS):
            gap = shares[d] - share(recent, d, corner.need[d])
            lowers += max(gap, 0)
            apart += max(-gap, 0)
        apart += <int32_t>(age_unit * <uint32_t>(part.born - corner.born))
        lowers += bits_lower(recent.kind_misses, corner.kinds, part.kinds)
        lowers += bits_lower(recent.gpu_misses, corner.gpus, part.gpus)
        lowers += LABEL_SHARE * (
            ((corner.labels & ~part.labels) != 0) + ((part.labels_any & ~corner.labels_any) != 0)
        )
        apart += kind_apart * (part.kinds != corner.kinds)
        apart += gpu_apart * (part.gpus != corner.gpus)
        apart += LABEL_SHARE * (part.labels != corner.labels)
        if best < 0 or lowers < lowers_least or (lowers == lowers_least and apart < apart_least):
            best = i
            lowers_least = lowers
            apart_least = apart
    return best


cdef inline uint32_t axis_value(const Corner* part, int axis) noexcept nogil:
    if axis < DIMENSIONS:
        return <uint32_t>part.need[axis]
    if axis == DIMENSIONS:
        return part.born
    if axis == DIMENSIONS + 1:
        return part.kinds
    if axis == DIMENSIONS + 2:
        return part.gpus
    return part.labels_any


cdef inline void sort_along(const Corner* parts, int axis, uint8_t* order) noexcept nogil:
    cdef uint32_t values[FANOUT]
    cdef uint32_t value
    cdef int i, at
    for i in range(FANOUT):
        value = axis_value(&parts[i], axis)
        at = i
        while at > 0 and values[at - 1] > value:
            values[at] = values[at - 1]
            order[at] = order[at - 1]
            at -= 1
        values[at] = value
        order[at] = <uint8_t>i


cdef inline int split_choose(const Extent* extent, const Node* node, uint8_t* order) noexcept nogil:
    """Put the entries of a full node in order; return how many of them stay on the left."""
    cdef Corner parts[FANOUT]
    cdef double rights[FANOUT]
    cdef uint8_t along[FANOUT]
    cdef Corner corner
    cdef double cost, least = -1
    cdef int axis, i, middle = 0
    for i in range(FANOUT):
        entry_corner(node, i, &parts[i])
    for axis in range(AXES):
        sort_along(parts, axis, along)
        corner_clear(&corner)
        for i in range(FANOUT - 1, SPLIT_FROM - 1, -1):
            corner_add(&corner, &parts[along[i]])
            if i <= FANOUT - SPLIT_FROM:
                rights[i] = reach(extent, &corner)
        corner_clear(&corner)
        for i in range(1, FANOUT - SPLIT_FROM + 1):
            corner_add(&corner, &parts[along[i - 1]])
            if i < SPLIT_FROM:
                continue
            cost = i * reach(extent, &corner) + (FANOUT - i) * rights[i]
            if least < 0 or cost < least:
                least = cost
                middle = i
                memcpy(order, along, FANOUT)
    return middle
