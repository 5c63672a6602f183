"""What classes needed and searches offered of late, as shares.

A tree that puts classes together needs to know which differences matter: all workers may be of one
size, or all jobs lie within a few percent; each worker may serve every kind, or its own only. So
of what comes some is counted, and old counts fade.
"""

from libc.stdint cimport int16_t, int32_t, uint16_t, uint32_t, uint64_t

from headrace._native.node cimport DIMENSIONS, Shape, lowest_bit

cdef enum:
    SHARE_BITS = 14      # shares are counted in 2**14ths
    BUCKET_BITS = 6      # rounded amounts that differ only in so many bits are counted together
    BUCKETS = 352        # the largest rounded amount is 22,527
    MASK_BITS = 32
    COUNTED_OF = 32      # of so many one is counted ...
    COUNTED_MAX = 256    # ... and so many counts make new shares; the first ones sooner
    GUESSES = 4          # counts that are guessed: one of them meets a bit


cdef struct Recent:
    uint32_t seen
    uint32_t counted
    uint32_t renew_at
    uint32_t amounts[4][BUCKETS]
    uint32_t searches
    uint32_t kinds[MASK_BITS]
    uint32_t gpus[MASK_BITS]
    uint16_t amount_shares[4][BUCKETS + 1]  # of those with so much or more
    double kind_misses[MASK_BITS]           # of the searches that do not meet the bit
    double gpu_misses[MASK_BITS]


cdef inline void amounts_renew(uint32_t* counts, uint16_t* shares) noexcept nogil:
    """An eighth stays as if all magnitudes were equally frequent: so there is always a slope."""
    cdef uint64_t above = 0, total = 0, part
    cdef int at
    for at in range(BUCKETS):
        total += counts[at]
    shares[BUCKETS] = 0
    for at in range(BUCKETS - 1, -1, -1):
        above += counts[at]
        part = (<uint64_t>(BUCKETS - at) << SHARE_BITS) // BUCKETS
        if total:
            part = (part + 7 * (above << SHARE_BITS) // total) >> 3
        shares[at] = <uint16_t>part
        counts[at] >>= 1


cdef inline void misses_renew(uint32_t* met, uint32_t searches, double* misses) noexcept nogil:
    cdef int bit
    for bit in range(MASK_BITS):
        misses[bit] = (searches - met[bit] + GUESSES - 1) / <double>(searches + GUESSES)
        met[bit] >>= 1


cdef inline void recent_renew(Recent* recent) noexcept nogil:
    """Make shares of the counts, and let these fade."""
    cdef int d
    for d in range(DIMENSIONS):
        amounts_renew(recent.amounts[d], recent.amount_shares[d])
    misses_renew(recent.kinds, recent.searches, recent.kind_misses)
    misses_renew(recent.gpus, recent.searches, recent.gpu_misses)
    recent.searches >>= 1
    recent.counted = 0
    recent.renew_at = min(COUNTED_MAX, 2 * recent.renew_at + 8)


cdef inline bint recent_note(Recent* recent, const int16_t* amounts) noexcept nogil:
    """Count rounded amounts now and then; return whether they were."""
    cdef int d
    recent.seen += 1
    if recent.seen % COUNTED_OF:
        return False
    for d in range(DIMENSIONS):
        recent.amounts[d][amounts[d] >> BUCKET_BITS] += 1
    recent.counted += 1
    if recent.counted >= recent.renew_at:
        recent_renew(recent)
    return True


cdef inline void recent_search(
    Recent* recent, const int16_t* limits, const Shape* shape
) noexcept nogil:
    cdef int bit
    if recent_note(recent, limits):
        recent.searches += 1
        for bit in range(MASK_BITS):
            recent.kinds[bit] += shape.kinds_mask >> bit & 1
            recent.gpus[bit] += shape.gpus_mask >> bit & 1


cdef inline int32_t share(const Recent* recent, int d, int16_t need) noexcept nogil:
    """Estimate how many of 2**14 searches offer at least the need."""
    cdef const uint16_t* shares = recent.amount_shares[d] + (need >> BUCKET_BITS)
    cdef int32_t rest = need & ((1 << BUCKET_BITS) - 1)
    return shares[0] - ((shares[0] - shares[1]) * rest >> BUCKET_BITS)


cdef inline double missing(const double* misses, uint32_t bits) noexcept nogil:
    """Estimate the share of searches that meet none of the bits."""
    cdef double product = 1
    while bits:
        product *= misses[lowest_bit(bits)]
        bits &= bits - 1
    return product
