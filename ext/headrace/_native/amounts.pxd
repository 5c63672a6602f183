"""What amounts classes needed and searches offered of late, as shares.

A tree that puts classes together needs to know which differences matter: half of all workers may
be of one size, or all jobs lie within a few percent. So of what comes some is counted, by rounded
magnitude, and `share` says how many had at least so much. Old counts fade.
"""

from libc.stdint cimport int16_t, int32_t, uint16_t, uint32_t, uint64_t

from headrace._native.node cimport DIMENSIONS

cdef enum:
    SHARE_BITS = 14      # shares are counted in 2**14ths
    BUCKET_BITS = 6      # rounded amounts that differ only in so many bits are counted together
    BUCKETS = 352        # the largest rounded amount is 22,527
    COUNTED_OF = 8       # of so many one is counted ...
    COUNTED_MAX = 512    # ... and so many counts make new shares; the first ones sooner


cdef struct Amounts:  # what classes needed and searches offered of late
    uint32_t seen
    uint32_t counted
    uint32_t renew_at
    uint32_t counts[4][BUCKETS]
    uint16_t shares[4][BUCKETS + 1]  # of those with so much or more


cdef inline void amounts_renew(Amounts* amounts) noexcept nogil:
    """Make shares of the counts, and let these fade.

    An eighth stays as if all magnitudes were equally frequent, so that there is always a slope.
    """
    cdef uint64_t above, total, even
    cdef int d, at
    for d in range(DIMENSIONS):
        total = above = 0
        for at in range(BUCKETS):
            total += amounts.counts[d][at]
        amounts.shares[d][BUCKETS] = 0
        for at in range(BUCKETS - 1, -1, -1):
            above += amounts.counts[d][at]
            even = (<uint64_t>(BUCKETS - at) << SHARE_BITS) // BUCKETS
            if total:
                even = (even + 7 * (above << SHARE_BITS) // total) >> 3
            amounts.shares[d][at] = <uint16_t>even
            amounts.counts[d][at] >>= 1
    amounts.counted = 0
    amounts.renew_at = min(COUNTED_MAX, 2 * amounts.renew_at + 16)


cdef inline void amounts_note(Amounts* amounts, const int16_t* some) noexcept nogil:
    cdef int d
    amounts.seen += 1
    if amounts.seen % COUNTED_OF:
        return
    for d in range(DIMENSIONS):
        amounts.counts[d][some[d] >> BUCKET_BITS] += 1
    amounts.counted += 1
    if amounts.counted >= amounts.renew_at:
        amounts_renew(amounts)


cdef inline int32_t share(const Amounts* amounts, int d, int16_t need) noexcept nogil:
    """Estimate how many of 2**14 searches have at least the need."""
    cdef const uint16_t* shares = amounts.shares[d] + (need >> BUCKET_BITS)
    cdef int32_t rest = need & ((1 << BUCKET_BITS) - 1)
    return shares[0] - ((shares[0] - shares[1]) * rest >> BUCKET_BITS)
