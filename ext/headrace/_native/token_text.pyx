"""The text of lease tokens: BLAKE2b with the keyed state made once, and base64url.

A generic hash starts from the key for each token and costs five calls; this costs one, and one
block of the compression function. `reference.py` says the same with `hashlib`.
Source: RFC 7693 (BLAKE2b), RFC 4648, section 5 (base64url).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_FromKindAndData, PyUnicode_1BYTE_KIND
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    ID_BYTES_C = 16
    HEAD_BYTES = 24      # job id, attempt, epoch
    NONCE_BYTES = 16
    TOKEN_BYTES = 40
    TEXT_CHARS = 54
    BLOCK_BYTES = 128
    SECRET_BYTES_MAX = 64
    ROUNDS = 12

cdef uint64_t[8] IV = [
    0x6A09E667F3BCC908ull, 0xBB67AE8584CAA73Bull, 0x3C6EF372FE94F82Bull, 0xA54FF53A5F1D36F1ull,
    0x510E527FADE682D1ull, 0x9B05688C2B3E6C1Full, 0x1F83D9ABFB41BD6Bull, 0x5BE0CD19137E2179ull,
]
cdef uint8_t[160] SIGMA = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3,
    11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4,
    7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8,
    9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13,
    2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9,
    12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11,
    13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10,
    6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5,
    10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0,
]
cdef bytes ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@cython.final
cdef class Tokens:
    """Makes the tokens of one secret (1 to 64 bytes)."""

    cdef uint64_t keyed[8]  # the state after the key's block

    def __cinit__(self, bytes secret not None):
        cdef uint64_t block[16]
        if not 0 < len(secret) <= SECRET_BYTES_MAX:
            raise ValueError(f"a secret has 1 to {SECRET_BYTES_MAX} bytes")
        memcpy(self.keyed, IV, sizeof(IV))
        self.keyed[0] ^= 0x01010000 ^ <uint64_t>len(secret) << 8 ^ NONCE_BYTES
        memset(block, 0, BLOCK_BYTES)
        memcpy(block, PyBytes_AS_STRING(secret), <size_t>len(secret))
        compress(self.keyed, block, BLOCK_BYTES, False)

    def text(self, bytes job_id not None, uint32_t attempt, uint32_t epoch):
        """Return the token of an attempt."""
        cdef uint64_t block[16]
        cdef uint64_t state[8]
        cdef uint8_t raw[TOKEN_BYTES + 2]
        cdef uint8_t text[TEXT_CHARS + 2]
        cdef const uint8_t* alphabet = <const uint8_t*>PyBytes_AS_STRING(ALPHABET)
        cdef uint32_t three
        cdef int i, at = 0
        if len(job_id) != ID_BYTES_C:
            raise ValueError("an id has 16 bytes")
        memset(raw, 0, sizeof(raw))
        memcpy(raw, PyBytes_AS_STRING(job_id), ID_BYTES_C)
        for i in range(4):
            raw[ID_BYTES_C + i] = <uint8_t>(attempt >> 8 * (3 - i))
            raw[ID_BYTES_C + 4 + i] = <uint8_t>(epoch >> 8 * (3 - i))
        memset(block, 0, BLOCK_BYTES)
        memcpy(block, raw, HEAD_BYTES)
        memcpy(state, self.keyed, sizeof(state))
        compress(state, block, BLOCK_BYTES + HEAD_BYTES, True)
        memcpy(raw + HEAD_BYTES, state, NONCE_BYTES)
        for i in range(0, TOKEN_BYTES, 3):
            three = <uint32_t>raw[i] << 16 | <uint32_t>raw[i + 1] << 8 | raw[i + 2]
            text[at] = alphabet[three >> 18]
            text[at + 1] = alphabet[three >> 12 & 63]
            text[at + 2] = alphabet[three >> 6 & 63]
            text[at + 3] = alphabet[three & 63]
            at += 4
        return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, TEXT_CHARS)


cdef inline uint64_t turned(uint64_t word, int bits) noexcept:
    return word >> bits | word << (64 - bits)


cdef inline void mix(
    uint64_t* v, int a, int b, int c, int d, uint64_t x, uint64_t y
) noexcept:
    v[a] += v[b] + x
    v[d] = turned(v[d] ^ v[a], 32)
    v[c] += v[d]
    v[b] = turned(v[b] ^ v[c], 24)
    v[a] += v[b] + y
    v[d] = turned(v[d] ^ v[a], 16)
    v[c] += v[d]
    v[b] = turned(v[b] ^ v[c], 63)


cdef void compress(
    uint64_t* state, const uint64_t* block, uint64_t size, bint last
) noexcept:
    """Take in one block; `size` is that of the input so far, this block's part included."""
    cdef uint64_t v[16]
    cdef const uint8_t* order
    cdef int i
    memcpy(v, state, 64)
    memcpy(v + 8, IV, 64)
    v[12] ^= size
    if last:
        v[14] = ~v[14]
    for i in range(ROUNDS):
        order = SIGMA + 16 * (i % 10)
        mix(v, 0, 4, 8, 12, block[order[0]], block[order[1]])
        mix(v, 1, 5, 9, 13, block[order[2]], block[order[3]])
        mix(v, 2, 6, 10, 14, block[order[4]], block[order[5]])
        mix(v, 3, 7, 11, 15, block[order[6]], block[order[7]])
        mix(v, 0, 5, 10, 15, block[order[8]], block[order[9]])
        mix(v, 1, 6, 11, 12, block[order[10]], block[order[11]])
        mix(v, 2, 7, 8, 13, block[order[12]], block[order[13]])
        mix(v, 3, 4, 9, 14, block[order[14]], block[order[15]])
    for i in range(8):
        state[i] ^= v[i] ^ v[i + 8]
