"""Seals of rows: the checksum in front of each value.

It is zlib's CRC-32, computed here because a call of zlib costs more than the checksum of a short
row. There are two ways. Where the processor multiplies without carries, sixteen bytes are folded
at once, and key and payload are one stream: nothing is looked up, so no table is in the cache's
way. Elsewhere tables are looked up, sixteen bytes a step.
Sources: V. Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction
(2009); M. Kounavis, F. Berry, Novel Table Lookup-Based Algorithms for High-Performance CRC
Generation (2008).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    /* A block of 16 bytes is a polynomial; the lowest bit of the first is its highest power. */
    static uint64_t crc_over[17][2];     /* [n]: factors that move a block over n bytes; n > 0 */
    static uint64_t crc_far[2];          /* over 64 bytes */
    static uint64_t crc_end[3];          /* x^64; the polynomial; the whole part of x^64 / it */
    static unsigned char crc_slide[32];  /* from [n] on: moves n bytes to the end of a block */

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>
    #define CRC_TARGET __attribute__((target("pclmul,ssse3")))
    #define CRC_LOAD(at) _mm_loadu_si128((const __m128i*)(at))

    static int crc_folds(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("ssse3");
    }

    CRC_TARGET static inline __m128i crc_moved(__m128i block, const uint64_t* over) {
        const __m128i by = CRC_LOAD(over);
        return _mm_xor_si128(
            _mm_clmulepi64_si128(block, by, 0x00), _mm_clmulepi64_si128(block, by, 0x11)
        );
    }

    CRC_TARGET static inline __m128i crc_next(
        __m128i block, const uint64_t* over, const unsigned char* data
    ) {
        return _mm_xor_si128(crc_moved(block, over), CRC_LOAD(data));
    }

    /* Read 1 to 15 bytes, and none behind them. */
    CRC_TARGET static inline __m128i crc_few(const unsigned char* data, size_t size) {
        uint64_t low = 0, high = 0;
        uint32_t some;
        if (size >= 8) {
            memcpy(&low, data, 8);
            memcpy(&high, data + size - 8, 8);
            high = size > 8 ? high >> 8 * (16 - size) : 0;
        } else if (size >= 4) {
            memcpy(&some, data + size - 4, 4);
            low = (uint64_t)some << 8 * (size - 4);
            memcpy(&some, data, 4);
            low |= some;
        } else {
            low = data[0] | (uint64_t)data[size >> 1] << 8 * (size >> 1)
                | (uint64_t)data[size - 1] << 8 * (size - 1);
        }
        return _mm_set_epi64x((long long)high, (long long)low);
    }

    /* Put data behind what a block stands for. */
    CRC_TARGET static inline __m128i crc_joined(
        __m128i block, const unsigned char* data, size_t size
    ) {
        const size_t odd = size & 15;
        if (odd) {
            __m128i first = size > 15 ? CRC_LOAD(data) : crc_few(data, odd);
            first = _mm_shuffle_epi8(first, CRC_LOAD(crc_slide + odd));
            block = _mm_xor_si128(crc_moved(block, crc_over[odd]), first);
            data += odd;
            size -= odd;
        }
        if (size >= 128) {
            __m128i b = CRC_LOAD(data + 16), c = CRC_LOAD(data + 32), d = CRC_LOAD(data + 48);
            block = crc_next(block, crc_over[16], data);
            for (data += 64, size -= 64; size >= 64; data += 64, size -= 64) {
                block = crc_next(block, crc_far, data);
                b = crc_next(b, crc_far, data + 16);
                c = crc_next(c, crc_far, data + 32);
                d = crc_next(d, crc_far, data + 48);
            }
            block = _mm_xor_si128(crc_moved(block, crc_over[16]), b);
            block = _mm_xor_si128(crc_moved(block, crc_over[16]), c);
            block = _mm_xor_si128(crc_moved(block, crc_over[16]), d);
        }
        for (; size; data += 16, size -= 16)
            block = crc_next(block, crc_over[16], data);
        return block;
    }

    /* Return the checksum of two texts behind a seed. */
    CRC_TARGET static uint32_t crc_folded(
        uint32_t seed, const void* key, size_t key_bytes, const void* payload, size_t payload_bytes
    ) {
        const __m128i low = _mm_set_epi32(0, 0, 0, -1);
        const __m128i end = CRC_LOAD(crc_end + 1);
        __m128i moved, block = _mm_set_epi32((int)seed, 0, 0, 0);
        block = crc_joined(block, (const unsigned char*)key, key_bytes);
        block = crc_joined(block, (const unsigned char*)payload, payload_bytes);
        /* 128 bits become 96, 64 and, by Barrett, 32. */
        moved = _mm_clmulepi64_si128(block, CRC_LOAD(crc_over[16]), 0x10);
        block = _mm_xor_si128(_mm_srli_si128(block, 8), moved);
        moved = _mm_clmulepi64_si128(_mm_and_si128(block, low), CRC_LOAD(crc_end), 0x00);
        block = _mm_xor_si128(_mm_srli_si128(block, 4), moved);
        moved = _mm_clmulepi64_si128(_mm_and_si128(block, low), end, 0x10);
        moved = _mm_clmulepi64_si128(_mm_and_si128(moved, low), end, 0x00);
        return ~(uint32_t)_mm_cvtsi128_si32(_mm_srli_si128(_mm_xor_si128(block, moved), 4));
    }
    #else
    static int crc_folds(void) { return 0; }
    static uint32_t crc_folded(
        uint32_t seed, const void* key, size_t key_bytes, const void* payload, size_t payload_bytes
    ) {
        (void)key, (void)key_bytes, (void)payload, (void)payload_bytes;
        return seed;
    }
    #endif
    """
    uint64_t crc_over[17][2]
    uint64_t crc_far[2]
    uint64_t crc_end[3]
    unsigned char crc_slide[32]
    bint crc_folds()
    uint32_t crc_folded(uint32_t seed, const void* key, size_t key_bytes,
                        const void* payload, size_t payload_bytes) noexcept nogil

cdef enum:
    STEP = 16
    TABLES_MAX_C = 256

cdef uint32_t POLYNOMIAL = 0xEDB88320u
cdef uint32_t steps[STEP][256]               # steps[k][b]: the checksum of b and k zero bytes
cdef uint32_t seeds[TABLES_MAX_C]            # of a table's number: where each seal begins
cdef uint32_t seeds_folded[TABLES_MAX_C]     # likewise, for data that is folded
cdef bint folds = False


cdef uint32_t crc_more(uint32_t crc, const unsigned char* data, size_t size) noexcept nogil:
    """Return the checksum of what `crc` is of, and of data behind it."""
    cdef uint32_t word
    crc = ~crc
    while size >= STEP:
        memcpy(&word, data, 4)
        crc ^= word
        crc = (
            steps[15][crc & 255] ^ steps[14][crc >> 8 & 255]
            ^ steps[13][crc >> 16 & 255] ^ steps[12][crc >> 24]
            ^ steps[11][data[4]] ^ steps[10][data[5]] ^ steps[9][data[6]] ^ steps[8][data[7]]
            ^ steps[7][data[8]] ^ steps[6][data[9]] ^ steps[5][data[10]] ^ steps[4][data[11]]
            ^ steps[3][data[12]] ^ steps[2][data[13]] ^ steps[1][data[14]] ^ steps[0][data[15]]
        )
        data += STEP
        size -= STEP
    while size:
        crc = crc >> 8 ^ steps[0][(crc ^ data[0]) & 255]
        data += 1
        size -= 1
    return ~crc


cdef uint32_t crc_of(int table, const char* key, size_t key_bytes,
                     const char* payload, size_t payload_bytes) noexcept nogil:
    cdef uint32_t crc
    if folds:
        return crc_folded(seeds_folded[table], key, key_bytes, payload, payload_bytes)
    crc = crc_more(seeds[table], <const unsigned char*>key, key_bytes)
    return crc_more(crc, <const unsigned char*>payload, payload_bytes)


cdef void u32_write(char* at, uint32_t number) noexcept nogil:
    at[0] = <char>(number >> 24)
    at[1] = <char>(number >> 16)
    at[2] = <char>(number >> 8)
    at[3] = <char>number


cdef void seal_write(int table, const char* key, size_t key_bytes,
                     char* value, size_t payload_bytes) noexcept nogil:
    """Write the seal in front of a payload that stands in its place."""
    u32_write(value, crc_of(table, key, key_bytes, value + SEAL_BYTES_C, payload_bytes))


cdef bint is_sound(int table, const char* key, size_t key_bytes,
                   const char* value, size_t value_bytes) noexcept nogil:
    cdef char expected[SEAL_BYTES_C]
    if value_bytes < SEAL_BYTES_C:
        return False
    u32_write(expected, crc_of(
        table, key, key_bytes, value + SEAL_BYTES_C, value_bytes - SEAL_BYTES_C
    ))
    return memcmp(expected, value, SEAL_BYTES_C) == 0


def seal(unsigned char table, bytes key not None, bytes payload not None):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef bytes value = PyBytes_FromStringAndSize(NULL, SEAL_BYTES_C + size)
    cdef char* at = PyBytes_AS_STRING(value)
    memcpy(at + SEAL_BYTES_C, PyBytes_AS_STRING(payload), size)
    seal_write(table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), at, size)
    return value


def fold(bint wanted):
    """Compute checksums by folding, if it is wanted and this processor can; return whether."""
    global folds
    folds = wanted and crc_folds()
    return folds


cdef inline uint32_t times_x(uint32_t a) noexcept:
    """Multiply what is left of a division by the polynomial; the highest bit is x^0."""
    return a >> 1 ^ (POLYNOMIAL if a & 1 else 0)


cdef inline uint32_t by_x(uint32_t a) noexcept:
    return (a ^ POLYNOMIAL) << 1 | 1 if a >> 31 else a << 1


cdef uint64_t factor(int power) noexcept:
    """Return x^power, as a factor: a product of two halves of a block has 32 powers more."""
    cdef uint32_t found = <uint32_t>1 << 31
    cdef int i
    for i in range(power):
        found = times_x(found)
    for i in range(-power):
        found = by_x(found)
    return <uint64_t>found << 1


cdef void tables_fill() noexcept:
    cdef uint32_t crc
    cdef unsigned char number
    cdef int byte, bit, k, n
    for byte in range(256):
        crc = byte
        for bit in range(8):
            crc = times_x(crc)
        steps[0][byte] = crc
    for byte in range(256):
        for k in range(1, STEP):
            steps[k][byte] = steps[k - 1][byte] >> 8 ^ steps[0][steps[k - 1][byte] & 255]
    for byte in range(TABLES_MAX_C):
        number = <unsigned char>byte
        seeds[byte] = crc_more(0, &number, 1)
        crc = ~seeds[byte]
        for bit in range(32):  # the end multiplies by x^32
            crc = by_x(crc)
        seeds_folded[byte] = crc
    for n in range(1, 17):
        crc_over[n][0], crc_over[n][1] = factor(8 * n + 32), factor(8 * n - 32)
    crc_far[0], crc_far[1] = factor(8 * 64 + 32), factor(8 * 64 - 32)
    crc_end[0] = factor(64)
    crc_end[1] = <uint64_t>POLYNOMIAL << 1 | 1
    crc_end[2] = 0x1F7011641
    for n in range(32):
        crc_slide[n] = n - 16 if n >= 16 else 0x80


tables_fill()
fold(True)
