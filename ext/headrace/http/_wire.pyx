"""Bytes of requests that come again and again, and of answers that are alike."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

from headrace._native.text cimport ID_BYTES_C, ID_CHARS, id_write

cdef enum:
    DIGITS_MAX = 9  # of a length


@cython.final
cdef class HeadForm:
    """A header that was read once, apart from the digits of its `Content-Length`."""

    cdef readonly bytes before
    cdef readonly bytes behind
    cdef readonly object passage
    cdef Py_ssize_t head_bytes_max
    cdef Py_ssize_t body_bytes_max

    def __init__(self, bytes before not None, bytes behind not None, passage, *,
                 Py_ssize_t head_bytes_max, Py_ssize_t body_bytes_max):
        if not behind or behind[:1].isdigit():
            raise ValueError("digits end where something else begins")
        self.before = before
        self.behind = behind
        self.passage = passage
        self.head_bytes_max = head_bytes_max
        self.body_bytes_max = body_bytes_max

    def body(self, bytes data not None):
        """Return the body if this is one whole request with such a header, and nothing else."""
        cdef Py_ssize_t before = PyBytes_GET_SIZE(self.before)
        cdef Py_ssize_t behind = PyBytes_GET_SIZE(self.behind)
        cdef const char* at = PyBytes_AS_STRING(data)
        cdef const char* end = at + PyBytes_GET_SIZE(data)
        cdef const char* digits
        cdef Py_ssize_t length = 0
        if end - at <= before + behind or memcmp(at, PyBytes_AS_STRING(self.before), before) != 0:
            return None
        at += before
        digits = at
        while at < end and c"0" <= at[0] <= c"9" and at - digits < DIGITS_MAX:
            length = length * 10 + (at[0] - c"0")
            at += 1
        if at == digits or (digits[0] == c"0" and at - digits > 1):
            return None
        if end - at < behind or memcmp(at, PyBytes_AS_STRING(self.behind), behind) != 0:
            return None
        if before + (at - digits) + behind > self.head_bytes_max:
            return None
        at += behind
        if end - at != length or length > self.body_bytes_max:
            return None
        return PyBytes_FromStringAndSize(at, length)


def around_ids(bytes job_ids not None, bytes before not None, bytes behind not None):
    """Return for each id its text with something before and behind it."""
    cdef Py_ssize_t before_bytes = PyBytes_GET_SIZE(before)
    cdef Py_ssize_t behind_bytes = PyBytes_GET_SIZE(behind)
    cdef Py_ssize_t at
    cdef list texts = []
    cdef bytes text
    cdef char* end
    if len(job_ids) % ID_BYTES_C:
        raise ValueError("an id has 16 bytes")
    for at in range(0, len(job_ids), ID_BYTES_C):
        text = PyBytes_FromStringAndSize(NULL, before_bytes + ID_CHARS + behind_bytes)
        end = PyBytes_AS_STRING(text)
        memcpy(end, PyBytes_AS_STRING(before), before_bytes)
        end += before_bytes
        id_write(PyBytes_AS_STRING(job_ids) + at, end)
        memcpy(end + ID_CHARS, PyBytes_AS_STRING(behind), behind_bytes)
        texts.append(text)
    return texts
