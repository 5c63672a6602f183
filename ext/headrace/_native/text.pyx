"""Text that every job has: its id in digits, and JSON that need not be decoded to be trusted."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_1BYTE_KIND, PyUnicode_FromKindAndData
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    ID_BYTES_C = 16
    ID_CHARS = 36
    DEPTH_MAX = 64
    DIGITS_MAX = 15  # of a number, so that no decoder rounds it or finds it out of range

    # What may come next in a JSON text.
    VALUE
    VALUE_OR_END
    KEY
    KEY_OR_END
    COLON
    COMMA_OR_END

cdef bytes HEX = b"0123456789abcdef"


def id_text(bytes job_id not None):
    """Return an id as clients see it."""
    cdef const uint8_t* raw = <const uint8_t*>PyBytes_AS_STRING(job_id)
    cdef const uint8_t* digits = <const uint8_t*>PyBytes_AS_STRING(HEX)
    cdef uint8_t text[ID_CHARS]
    cdef int i, at = 0
    if len(job_id) != ID_BYTES_C:
        raise ValueError("an id has 16 bytes")
    for i in range(ID_BYTES_C):
        if i == 4 or i == 6 or i == 8 or i == 10:
            text[at] = c"-"
            at += 1
        text[at] = digits[raw[i] >> 4]
        text[at + 1] = digits[raw[i] & 15]
        at += 2
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, ID_CHARS)


def json_is_plain(bytes data not None, int depth_max):
    """Return whether this is JSON without anything that takes thought.

    True: one valid value, ASCII, no escapes, no exponents, numbers of at most 15 digits, nested at
    most `depth_max` deep (at most 64). False: it may still be good JSON; a decoder has to say.
    Cost: O(n), about a nanosecond a byte.
    """
    assert 0 <= depth_max <= DEPTH_MAX
    return json_plain(
        <const uint8_t*>PyBytes_AS_STRING(data),
        <const uint8_t*>PyBytes_AS_STRING(data) + len(data),
        depth_max,
    )


cdef bint json_plain(const uint8_t* at, const uint8_t* end, int depth_max) noexcept:
    cdef uint64_t in_object = 0  # a bit a level
    cdef int depth = 0
    cdef int expected = VALUE
    cdef uint8_t char
    while at < end:
        char = at[0]
        at += 1
        if char == c" " or char == c"\n" or char == c"\t" or char == c"\r":
            continue
        if expected == COMMA_OR_END:
            if depth == 0:
                return False
            if char == c",":
                expected = KEY if in_object & 1 else VALUE
            elif char == (c"}" if in_object & 1 else c"]"):
                in_object >>= 1
                depth -= 1
            else:
                return False
        elif expected == COLON:
            if char != c":":
                return False
            expected = VALUE
        elif char == c'"':
            at = string_end(at, end)
            if at == NULL:
                return False
            expected = COLON if expected == KEY or expected == KEY_OR_END else COMMA_OR_END
        elif char == c"}" and expected == KEY_OR_END or char == c"]" and expected == VALUE_OR_END:
            in_object >>= 1
            depth -= 1
            expected = COMMA_OR_END
        elif expected == KEY or expected == KEY_OR_END:
            return False
        elif char == c"{" or char == c"[":
            depth += 1
            if depth > depth_max:
                return False
            in_object = in_object << 1 | (char == c"{")
            expected = KEY_OR_END if char == c"{" else VALUE_OR_END
        else:
            if char == c"-" or c"0" <= char <= c"9":
                at = number_end(at - 1, end)
            elif char == c"t":
                at = word_end(at, end, b"rue", 3)
            elif char == c"f":
                at = word_end(at, end, b"alse", 4)
            elif char == c"n":
                at = word_end(at, end, b"ull", 3)
            else:
                return False
            if at == NULL:
                return False
            expected = COMMA_OR_END
    return expected == COMMA_OR_END and depth == 0


cdef inline const uint8_t* string_end(const uint8_t* at, const uint8_t* end) noexcept:
    while at < end:
        if at[0] == c'"':
            return at + 1
        if at[0] < 0x20 or at[0] >= 0x7F or at[0] == c"\\":
            return NULL
        at += 1
    return NULL


cdef inline const uint8_t* number_end(const uint8_t* at, const uint8_t* end) noexcept:
    cdef const uint8_t* first
    cdef Py_ssize_t digits
    if at[0] == c"-":
        at += 1
    first = at
    while at < end and c"0" <= at[0] <= c"9":
        at += 1
    digits = at - first
    if digits == 0 or (first[0] == c"0" and digits > 1):
        return NULL
    if at < end and at[0] == c".":
        at += 1
        first = at
        while at < end and c"0" <= at[0] <= c"9":
            at += 1
        if at == first:
            return NULL
        digits += at - first
    if digits > DIGITS_MAX or (at < end and (at[0] == c"e" or at[0] == c"E")):
        return NULL
    return at


cdef inline const uint8_t* word_end(
    const uint8_t* at, const uint8_t* end, const char* rest, Py_ssize_t size
) noexcept:
    cdef Py_ssize_t i
    if end - at < size:
        return NULL
    for i in range(size):
        if at[i] != <uint8_t>rest[i]:
            return NULL
    return at + size
