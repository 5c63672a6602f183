"""Where a JSON value ends, found without decoding it, and whether it takes thought.

The grammar is checked in full. What is left to others: depth beyond `depth_max` (refused here),
and what `noticed` says. A text ends with a NUL, as that of `bytes` does, so that one byte may be
looked at before it is known to be there.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef enum:
    DEPTH_MAX = 64
    DIGITS_MAX = 15  # of a number, so that no decoder rounds it or finds it out of range

    # What was noticed on the way.
    ESCAPED = 1        # an escape of one letter: every decoder reads it alike
    NOT_ASCII = 2      # in a string; whether it is UTF-8 is not looked at
    TAKES_THOUGHT = 4  # an escape by number, an exponent, or many digits

    # What may come next in a JSON text.
    VALUE = 0
    VALUE_OR_END
    KEY
    KEY_OR_END
    COLON
    COMMA_OR_END

cdef extern from *:
    """
    #define HEADRACE_EACH(byte) (0x0101010101010101ull * (byte))
    #define headrace_zeros_below(word) __builtin_ctzll(word)
    """
    uint64_t EACH "HEADRACE_EACH" (int byte) noexcept nogil
    int zeros_below "headrace_zeros_below" (uint64_t word) noexcept nogil


cdef inline const uint8_t* space_end(const uint8_t* at) noexcept nogil:
    while at[0] == c" " or at[0] == c"\n" or at[0] == c"\t" or at[0] == c"\r":
        at += 1
    return at


cdef inline const uint8_t* value_end(
    const uint8_t* at, const uint8_t* end, int depth_max, int* noticed
) noexcept nogil:
    """Return what stands behind the value that begins here; NULL if none does.

    Cost: O(n), about half a nanosecond a byte.
    """
    cdef uint64_t in_object = 0  # a bit a level
    cdef int depth = 0
    cdef int expected = VALUE
    cdef uint8_t char
    while True:
        char = at[0]
        if char == c" " or char == c"\n" or char == c"\t" or char == c"\r":
            at += 1
            continue
        if at >= end:
            return NULL
        at += 1
        if expected == COMMA_OR_END:
            if char == c",":
                expected = KEY if in_object & 1 else VALUE
                continue
            if char != (c"}" if in_object & 1 else c"]"):
                return NULL
            in_object >>= 1
            depth -= 1
        elif expected == COLON:
            if char != c":":
                return NULL
            expected = VALUE
            continue
        elif char == c'"':
            at = string_end(at, end, noticed)
            if at == NULL:
                return NULL
            if expected == KEY or expected == KEY_OR_END:
                expected = COLON
                continue
        elif char == c"}" and expected == KEY_OR_END or char == c"]" and expected == VALUE_OR_END:
            in_object >>= 1
            depth -= 1
        elif expected == KEY or expected == KEY_OR_END:
            return NULL
        elif char == c"{" or char == c"[":
            depth += 1
            if depth > depth_max:
                return NULL
            in_object = in_object << 1 | (char == c"{")
            expected = KEY_OR_END if char == c"{" else VALUE_OR_END
            continue
        else:
            if char == c"-" or c"0" <= char <= c"9":
                at = number_end(at - 1, noticed)
            elif char == c"t":
                at = word_end(at, end, b"rue", 3)
            elif char == c"f":
                at = word_end(at, end, b"alse", 4)
            elif char == c"n":
                at = word_end(at, end, b"ull", 3)
            else:
                return NULL
            if at == NULL:
                return NULL
        if depth == 0:
            return at
        expected = COMMA_OR_END


cdef inline const uint8_t* string_end(
    const uint8_t* at, const uint8_t* end, int* noticed
) noexcept nogil:
    """Return what stands behind the string whose opening quote stands before `at`."""
    cdef uint64_t word, stops
    cdef int digit
    while True:
        while end - at >= 8:
            memcpy(&word, at, 8)
            stops = stops_in(word)
            if stops:
                at += zeros_below(stops) >> 3  # little-endian: the lowest byte comes first
                break
            at += 8
        if at >= end or at[0] < 0x20:
            return NULL
        if at[0] == c'"':
            return at + 1
        if at[0] == c"\\":
            at += 1
            if at[0] == c"u":
                noticed[0] |= TAKES_THOUGHT
                for digit in range(4):
                    at += 1
                    if not is_hex(at[0]):
                        return NULL
            elif memchr(b'"\\/bfnrt', at[0], 8) != NULL:
                noticed[0] |= ESCAPED
            else:
                return NULL
        elif at[0] >= 0x7F:
            noticed[0] |= NOT_ASCII
        at += 1


cdef inline uint64_t stops_in(uint64_t word) noexcept nogil:
    """Mark the bytes at which a string ends or has something that is not a plain letter.

    The lowest mark is right; above it a byte may be marked that is a letter.
    Source: S. E. Anderson, Bit Twiddling Hacks, "determine if a word has a byte less than n".
    """
    cdef uint64_t quote = word ^ EACH(c'"')
    cdef uint64_t slash = word ^ EACH(c"\\")
    return (
        ((quote - EACH(1)) & ~quote)
        | ((slash - EACH(1)) & ~slash)
        | ((word - EACH(0x20)) & ~word)
        | ((word & EACH(0x7F)) + EACH(1))
        | word
    ) & EACH(0x80)


cdef inline bint is_hex(uint8_t char) noexcept nogil:
    return c"0" <= char <= c"9" or c"a" <= char | 0x20 <= c"f"


cdef inline const uint8_t* digits_end(const uint8_t* at) noexcept nogil:
    while c"0" <= at[0] <= c"9":
        at += 1
    return at


cdef inline const uint8_t* number_end(const uint8_t* at, int* noticed) noexcept nogil:
    cdef const uint8_t* first
    cdef Py_ssize_t digits
    if at[0] == c"-":
        at += 1
    first = at
    at = digits_end(at)
    digits = at - first
    if digits == 0 or (first[0] == c"0" and digits > 1):
        return NULL
    if at[0] == c".":
        first = at + 1
        at = digits_end(first)
        if at == first:
            return NULL
        digits += at - first
    if digits > DIGITS_MAX:
        noticed[0] |= TAKES_THOUGHT
    if at[0] == c"e" or at[0] == c"E":
        noticed[0] |= TAKES_THOUGHT
        at += 1
        if at[0] == c"+" or at[0] == c"-":
            at += 1
        first = at
        at = digits_end(first)
        if at == first:
            return NULL
    return at


cdef inline const uint8_t* word_end(
    const uint8_t* at, const uint8_t* end, const char* rest, Py_ssize_t size
) noexcept nogil:
    return at + size if end - at >= size and memcmp(at, rest, size) == 0 else NULL
