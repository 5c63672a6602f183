"""The text of lease tokens: a SipHash-2-4 of 128 bits, and base64url.

SipHash is a keyed hash made for short inputs: nobody without the key can tell its value of an
input not seen before, and 24 bytes cost it 20 ns, where BLAKE2b pads them to two blocks of 128.
Source: J.-P. Aumasson, D. J. Bernstein, SipHash (2012), and its reference code for 128 bits;
RFC 4648, section 5 (base64url).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport (
    PyUnicode_1BYTE_KIND,
    PyUnicode_DATA,
    PyUnicode_FromKindAndData,
    PyUnicode_GET_LENGTH,
)
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from headrace._native.token_text cimport ID_BYTES_C, TEXT_CHARS

cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)

cdef enum:
    HEAD_BYTES = 24  # job id, attempt, epoch
    KEY_BYTES = 16
    TOKEN_BYTES = 40
    DIGITS_COUNT = 64

TOKEN_CHARS = TEXT_CHARS

cdef bytes ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
cdef uint8_t DIGITS[256]  # what a character stands for; 0 for what is no digit


cdef void digits_fill() noexcept:
    cdef const uint8_t* alphabet = <const uint8_t*>PyBytes_AS_STRING(ALPHABET)
    cdef int place
    memset(DIGITS, 0, sizeof(DIGITS))
    for place in range(DIGITS_COUNT):
        DIGITS[alphabet[place]] = <uint8_t>place


digits_fill()


@cython.final
cdef class Tokens:
    """Makes the tokens of one key of 16 bytes."""

    def __cinit__(self, bytes key not None):
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        memcpy(self.key, PyBytes_AS_STRING(key), KEY_BYTES)

    def text(self, bytes job_id not None, uint32_t attempt, uint32_t epoch):
        """Return the token of an attempt."""
        cdef char text[TEXT_CHARS]
        if len(job_id) != ID_BYTES_C:
            raise ValueError("an id has 16 bytes")
        self.write(text, PyBytes_AS_STRING(job_id), attempt, epoch)
        return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, TEXT_CHARS)

    def parse(self, str text not None):
        """Return (job id, attempt, epoch) of a token that this key made; None for any other text."""
        cdef uint8_t head[HEAD_BYTES]
        cdef const char* chars = token_chars(text)
        cdef uint32_t attempt, epoch
        if chars == NULL:
            return None
        token_begin(<char*>head, chars, HEAD_BYTES)
        attempt, epoch = u32_read(head + ID_BYTES_C), u32_read(head + ID_BYTES_C + 4)
        if not self.is_token(chars, <const char*>head, attempt, epoch):
            return None
        return (<const char*>head)[:ID_BYTES_C], attempt, epoch

    cdef void write(
        self, char* text, const char* job_id, uint32_t attempt, uint32_t epoch
    ) noexcept:
        cdef uint64_t head[3]
        cdef uint64_t nonce[2]
        cdef uint8_t raw[TOKEN_BYTES + 2]
        cdef uint8_t padded[TEXT_CHARS + 2]
        cdef const uint8_t* alphabet = <const uint8_t*>PyBytes_AS_STRING(ALPHABET)
        cdef uint32_t three
        cdef int i, at = 0
        memset(raw, 0, sizeof(raw))
        memcpy(raw, job_id, ID_BYTES_C)
        for i in range(4):
            raw[ID_BYTES_C + i] = <uint8_t>(attempt >> 8 * (3 - i))
            raw[ID_BYTES_C + 4 + i] = <uint8_t>(epoch >> 8 * (3 - i))
        memcpy(head, raw, HEAD_BYTES)
        siphash(self.key, head, nonce)
        memcpy(raw + HEAD_BYTES, nonce, sizeof(nonce))
        for i in range(0, TOKEN_BYTES, 3):
            three = <uint32_t>raw[i] << 16 | <uint32_t>raw[i + 1] << 8 | raw[i + 2]
            padded[at] = alphabet[three >> 18]
            padded[at + 1] = alphabet[three >> 12 & 63]
            padded[at + 2] = alphabet[three >> 6 & 63]
            padded[at + 3] = alphabet[three & 63]
            at += 4
        memcpy(text, padded, TEXT_CHARS)

    cdef bint is_token(
        self, const char* text, const char* job_id, uint32_t attempt, uint32_t epoch
    ) noexcept:
        """Return whether a text is the token of an attempt, in the same time whatever it is.

        As text: base64 has several for the same bytes.
        """
        cdef char expected[TEXT_CHARS]
        cdef uint8_t differs = 0
        cdef int i
        self.write(expected, job_id, attempt, epoch)
        for i in range(TEXT_CHARS):
            differs |= <uint8_t>expected[i] ^ <uint8_t>text[i]
        return differs == 0


cdef const char* token_chars(str text) noexcept:
    """Return the characters of a text as long as a token; NULL for any other."""
    if PyUnicode_GET_LENGTH(text) != TEXT_CHARS or not PyUnicode_IS_COMPACT_ASCII(text):
        return NULL
    return <const char*>PyUnicode_DATA(text)


cdef void token_id(char* job_id, const char* text) noexcept:
    """Write the job id that a text as long as a token names; any id, if it is no token."""
    token_begin(job_id, text, ID_BYTES_C)


cdef inline void token_begin(char* raw, const char* text, int size) noexcept:
    """Decode the first bytes of a token."""
    cdef uint32_t bits = 0
    cdef int held = 0, at = 0
    while at < size:
        bits = bits << 6 | DIGITS[<uint8_t>text[0]]
        text += 1
        held += 6
        if held >= 8:
            held -= 8
            raw[at] = <char>(bits >> held)
            at += 1


cdef inline uint32_t u32_read(const uint8_t* raw) noexcept:
    return (
        <uint32_t>raw[0] << 24 | <uint32_t>raw[1] << 16 | <uint32_t>raw[2] << 8 | raw[3]
    )


cdef inline uint64_t turned(uint64_t word, int bits) noexcept:
    return word << bits | word >> (64 - bits)


cdef inline void sip_rounds(uint64_t* v, int count) noexcept:
    cdef int i
    for i in range(count):
        v[0] += v[1]
        v[1] = turned(v[1], 13) ^ v[0]
        v[0] = turned(v[0], 32)
        v[2] += v[3]
        v[3] = turned(v[3], 16) ^ v[2]
        v[0] += v[3]
        v[3] = turned(v[3], 21) ^ v[0]
        v[2] += v[1]
        v[1] = turned(v[1], 17) ^ v[2]
        v[2] = turned(v[2], 32)


cdef void siphash(const uint64_t* key, const uint64_t* head, uint64_t* nonce) noexcept:
    """Hash three words, little-endian as the machine is, to two."""
    cdef uint64_t v[4]
    cdef uint64_t last = <uint64_t>HEAD_BYTES << 56
    cdef int i
    v[0] = key[0] ^ 0x736F6D6570736575ull
    v[1] = key[1] ^ 0x646F72616E646F6Dull ^ 0xEE
    v[2] = key[0] ^ 0x6C7967656E657261ull
    v[3] = key[1] ^ 0x7465646279746573ull
    for i in range(3):
        v[3] ^= head[i]
        sip_rounds(v, 2)
        v[0] ^= head[i]
    v[3] ^= last
    sip_rounds(v, 2)
    v[0] ^= last
    v[2] ^= 0xEE
    sip_rounds(v, 4)
    nonce[0] = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xDD
    sip_rounds(v, 4)
    nonce[1] = v[0] ^ v[1] ^ v[2] ^ v[3]
