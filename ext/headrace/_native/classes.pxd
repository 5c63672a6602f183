"""Classes of jobs and shapes of workers: which suits which, exactly and by marks.

A class or a shape has a word of 32 bits for each of these marks; a bit is a hash of numbers:

    kinds, kinds_high      the kind: its lowest five bits, and the five above
    tenants, tenants_high  the tenant likewise; a class without one has none
    gpus                   a bit for each model, bit 31 for "any will do"
    labels                 a bit for each label of the class, but the tenant

A class may suit a shape only if each of its words meets the shape's (`labels`: lies within it),
where the shape makes a difference at all; `suits` knows.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from headrace._native.order cimport Order

cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    static inline int headrace_fits(const int32_t *need, const int32_t *offer) {
        return _mm_movemask_epi8(_mm_cmpgt_epi32(
            _mm_loadu_si128((const __m128i *)need), _mm_loadu_si128((const __m128i *)offer)
        )) == 0;
    }
    #else
    static inline int headrace_fits(const int32_t *need, const int32_t *offer) {
        return (need[0] <= offer[0]) & (need[1] <= offer[1])
            & (need[2] <= offer[2]) & (need[3] <= offer[3]);
    }
    #endif
    """
    # Whether none of four amounts exceeds what is offered.
    bint need_fits "headrace_fits"(const int32_t* need, const int32_t* offer) noexcept nogil

cdef enum:
    DIMENSIONS = 4
    TENANT_FIRST_C = 0x80000000  # labels from here on are tenants; a class has one at most

cdef enum:
    KINDS
    KINDS_HIGH
    TENANTS
    TENANTS_HIGH
    GPUS
    LABELS
    MARKS


cdef struct Traits:  # what classes with the same gpu_models and labels share
    uint32_t classes
    uint32_t gpus_count
    uint32_t labels_count
    uint32_t gpus_mask
    uint32_t labels_mask
    uint32_t tenant      # 0: none
    uint32_t numbers[1]  # gpu models, then labels, both rising


cdef struct Row:  # of a class in a block: all that most comparisons look at, in half a cache line
    int32_t need[4]
    uint64_t key     # of the first job queued; KEY_MAX and NONE in slots that are not live
    uint32_t handle
    uint32_t kind


cdef struct Owner:  # whose row it is
    Class* cls
    const Traits* traits


cdef struct Block:  # what a search reads, but for the order, lies in its first two cache lines
    uint64_t live[8]   # a bit for each slot whose class has a job queued
    uint32_t marks[MARKS]  # those of any class here; may hold more
    int32_t most[4]    # of the needs of any class here; may be more
    Row* rows
    Owner* owners
    uint8_t sorted     # the live heads rise with their slots; else `order` has them
    uint8_t epoch      # of the levels
    uint16_t capacity
    uint16_t gone      # classes that left, and ...
    uint16_t vain      # ... comparisons that found nothing, since its fence was made
    uint64_t* columns  # 8 words each, or NULL in a small block
    uint8_t (*levels)[4]  # of needs, if there are columns
    uint16_t* order    # slots by head
    uint64_t high_key  # no head that ever was here comes after it
    uint32_t high_handle
    uint32_t at        # in the fences
    uint16_t count     # of the slots in `order`
    uint16_t used      # slots from here on are free, and those before are not used again
    uint16_t divided   # classes of its group when all of them were divided, at most 8,192


cdef struct Class:
    Order jobs
    Block* block   # NULL while nothing is queued
    uint32_t lane
    uint16_t slot  # in the block
    uint64_t leases
    int32_t need[4]
    Traits* traits
    uint32_t number
    uint32_t kind


cdef struct Shape:
    uint32_t marks[MARKS]
    int64_t gpu_model
    bint any_kind
    bint any_queue
    bint any_tenant
    uint32_t kinds_count
    uint32_t queues_count
    uint32_t labels_count
    uint32_t numbers[1]  # kinds, then queues, then labels, each rising


cdef inline uint32_t low_bit(uint32_t number) noexcept nogil:
    return <uint32_t>1 << (number & 31)


cdef inline uint32_t high_bit(uint32_t number) noexcept nogil:
    return <uint32_t>1 << (number >> 5 & 31)


cdef inline uint32_t gpu_bit(uint32_t number) noexcept nogil:
    return <uint32_t>1 << (number % 31)


cdef inline void marks_add(const Traits* traits, uint32_t kind, uint32_t* marks) noexcept nogil:
    """Add the bits of a class to marks."""
    marks[KINDS] |= low_bit(kind)
    marks[KINDS_HIGH] |= high_bit(kind)
    if traits.tenant:
        marks[TENANTS] |= low_bit(traits.tenant)
        marks[TENANTS_HIGH] |= high_bit(traits.tenant)
    marks[GPUS] |= traits.gpus_mask
    marks[LABELS] |= traits.labels_mask


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


cdef inline bint suits(const Traits* traits, uint32_t kind, const Shape* shape) noexcept nogil:
    """Whether kind, GPU models and labels agree, exactly."""
    cdef uint32_t i
    cdef uint32_t labels_count = traits.labels_count
    if shape.any_tenant:
        labels_count -= traits.tenant != 0
    elif not traits.tenant:
        return False
    if not shape.any_kind and not trait_listed(shape.numbers, shape.kinds_count, kind):
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
