"""Ids of jobs and instants as text, and JSON that need not be decoded to be trusted."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_1BYTE_KIND, PyUnicode_FromKindAndData
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from headrace._native.json_text cimport DEPTH_MAX, ESCAPED, space_end, value_end
from headrace._native.text cimport ID_BYTES_C, ID_CHARS, INSTANT_CHARS

cdef enum:
    DAY_S = 86_400

cdef int64_t INSTANT_MS_MAX = 253_402_300_799_999  # the last of the year 9999


cdef void id_write(const char* job_id, char* text) noexcept nogil:
    """Write the `ID_CHARS` of an id."""
    cdef const char* digits = b"0123456789abcdef"
    cdef uint8_t byte
    cdef int i
    for i in range(ID_BYTES_C):
        if i == 4 or i == 6 or i == 8 or i == 10:
            text[0] = c"-"
            text += 1
        byte = <uint8_t>job_id[i]
        text[0] = digits[byte >> 4]
        text[1] = digits[byte & 15]
        text += 2


def id_text(bytes job_id not None):
    """Return an id as clients see it."""
    cdef char text[ID_CHARS]
    if len(job_id) != ID_BYTES_C:
        raise ValueError("an id has 16 bytes")
    id_write(PyBytes_AS_STRING(job_id), text)
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, ID_CHARS)


def id_texts(bytes job_ids not None, bytes before not None, bytes after not None):
    """Return the text of each id, with `before` and `after` around it, apart by commas."""
    cdef Py_ssize_t before_bytes = PyBytes_GET_SIZE(before)
    cdef Py_ssize_t after_bytes = PyBytes_GET_SIZE(after)
    cdef Py_ssize_t count = ids_count(job_ids)
    cdef Py_ssize_t i
    cdef bytes texts
    cdef char* at
    if count == 0:
        return b""
    texts = PyBytes_FromStringAndSize(
        NULL, count * (before_bytes + ID_CHARS + after_bytes + 1) - 1
    )
    at = PyBytes_AS_STRING(texts)
    for i in range(count):
        if i:
            at[0] = c","
            at += 1
        memcpy(at, PyBytes_AS_STRING(before), before_bytes)
        at += before_bytes
        id_write(PyBytes_AS_STRING(job_ids) + i * ID_BYTES_C, at)
        at += ID_CHARS
        memcpy(at, PyBytes_AS_STRING(after), after_bytes)
        at += after_bytes
    return texts


def ids_after(bytes job_id not None, bytes steps not None):
    """Return an id and those that follow it, joined: each is greater by a step and one more.

    Shape: steps are u32, as they lie in memory. The low half of an id has room for their sum.
    """
    cdef Py_ssize_t count = PyBytes_GET_SIZE(steps) // 4
    cdef Py_ssize_t i
    cdef bytes ids = PyBytes_FromStringAndSize(NULL, (count + 1) * ID_BYTES_C)
    cdef char* at = PyBytes_AS_STRING(ids)
    cdef uint64_t high, low
    cdef uint32_t step
    if ids_count(job_id) != 1 or PyBytes_GET_SIZE(steps) % 4:
        raise ValueError("an id has 16 bytes, a step 4")
    memcpy(&high, PyBytes_AS_STRING(job_id), 8)
    memcpy(&low, PyBytes_AS_STRING(job_id) + 8, 8)
    memcpy(at, PyBytes_AS_STRING(job_id), ID_BYTES_C)
    low = swapped(low)
    for i in range(count):
        memcpy(&step, PyBytes_AS_STRING(steps) + 4 * i, 4)
        if low > <uint64_t>-1 - step - 1:
            raise OverflowError("an id ran over")
        low += <uint64_t>step + 1
        at += ID_BYTES_C
        memcpy(at, &high, 8)
        low = swapped(low)
        memcpy(at + 8, &low, 8)
        low = swapped(low)
    return ids


cdef inline Py_ssize_t ids_count(bytes job_ids) except -1:
    if PyBytes_GET_SIZE(job_ids) % ID_BYTES_C:
        raise ValueError("an id has 16 bytes")
    return PyBytes_GET_SIZE(job_ids) // ID_BYTES_C


cdef extern from *:
    """
    #define headrace_swapped(word) __builtin_bswap64(word)
    """
    uint64_t swapped "headrace_swapped" (uint64_t word) noexcept nogil


def json_is_plain(bytes data not None, int depth_max):
    """Return whether this is JSON without anything that takes thought.

    True: one valid value, ASCII, no escapes by number, no exponents, numbers of at most 15 digits,
    nested at most `depth_max` deep (at most 64). False: it may still be good JSON; a decoder has
    to say.
    """
    cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef const uint8_t* end = text + len(data)
    cdef const uint8_t* behind
    cdef int noticed = 0
    assert 0 <= depth_max <= DEPTH_MAX
    behind = value_end(text, end, depth_max, &noticed)
    return behind != NULL and space_end(behind) == end and noticed & ~ESCAPED == 0


cdef inline void digits_write(char* at, uint32_t number, int count) noexcept:
    while count:
        count -= 1
        at[count] = <char>(c"0" + number % 10)
        number //= 10


cdef int instant_write(char* at, int64_t at_ms) except -1:
    """Write RFC 3339 UTC with milliseconds, as `wire.durations.rfc3339` does.

    Source: H. Hinnant, chrono-Compatible Low-Level Date Algorithms: years begin in March, eras
    have 400 of them.
    """
    cdef int64_t days, second
    cdef uint32_t day_of_era, year_of_era, day_of_year, month, year
    if not 0 <= at_ms <= INSTANT_MS_MAX:
        raise ValueError("an instant is within the years 1970 to 9999")
    second = at_ms // 1000
    days = second // DAY_S + 719_468
    second %= DAY_S
    day_of_era = <uint32_t>(days % 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    year = year_of_era + <uint32_t>(days // 146_097) * 400 + (month >= 10)
    memcpy(at, b"0000-00-00T00:00:00.000Z", INSTANT_CHARS)
    digits_write(at, year, 4)
    digits_write(at + 5, month + 3 if month < 10 else month - 9, 2)
    digits_write(at + 8, day_of_year - (153 * month + 2) // 5 + 1, 2)
    digits_write(at + 11, <uint32_t>(second // 3_600), 2)
    digits_write(at + 14, <uint32_t>(second // 60 % 60), 2)
    digits_write(at + 17, <uint32_t>(second % 60), 2)
    digits_write(at + 20, <uint32_t>(at_ms % 1000), 3)
    return 0


def instant_text(int64_t at_ms):
    """Return RFC 3339 UTC with milliseconds; None for 0, which means "not yet"."""
    cdef char text[INSTANT_CHARS]
    if at_ms == 0:
        return None
    instant_write(text, at_ms)
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, INSTANT_CHARS)
