"""A restart takes millions of waiting jobs into memory: here a page of them at a time.

Reads the few fields of a record that this needs. Their places are those of `core.job`, whose
`RECORD_FORMAT` says which layout it is; a record of another format is left to the caller.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

cdef enum:
    ID_BYTES_C = 16
    RECORD_BYTES_C = 68
    ROW_BYTES = 84  # id and record
    FORMAT_KNOWN = 1
    FORMAT_AT = 0
    STATUS_AT = 1
    PRIORITY_AT = 2
    CLASS_AT = 8
    OWNER_AT = 12
    ATTEMPT_AT = 16
    ORDER_AT = 44
    START_BEFORE_AT = 60
    PRIORITY_MAX = 9
    ORDER_BITS = 60


cdef inline uint32_t u32(const unsigned char* record, int at) noexcept:
    cdef uint32_t value
    memcpy(&value, record + at, 4)
    return value


cdef inline uint64_t u64(const unsigned char* record, int at) noexcept:
    cdef uint64_t value
    memcpy(&value, record + at, 8)
    return value


def take_ready(jobs, match, dict numbers not None, bytes ready not None, bytes rows not None):
    """Put the jobs that are ready, of a known class and without a deadline to start, in place.

    Returns the rows of all others; how many were taken by class, and by status; the largest owner
    and the largest order among those taken, -1 for none.

    Shape: rows are ids and records, one after the other. numbers: the match index's number of
    each class. ready: the statuses in question.
    Cost: O(log jobs of a class) per job.
    """
    cdef Py_ssize_t count = PyBytes_GET_SIZE(rows) // ROW_BYTES
    cdef const unsigned char* row = <const unsigned char*>PyBytes_AS_STRING(rows)
    cdef const unsigned char* record
    cdef bytes taken = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(rows))
    cdef bytes rest = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(rows))
    cdef char* taken_end = PyBytes_AS_STRING(taken)
    cdef char* rest_end = PyBytes_AS_STRING(rest)
    cdef int64_t owner_last = -1, order_last = -1
    cdef Py_ssize_t i, handle
    cdef Py_ssize_t by_status[256]
    cdef dict by_class = {}
    cdef list numbers_taken = []
    if PyBytes_GET_SIZE(rows) % ROW_BYTES or jobs.record_bytes != RECORD_BYTES_C:
        raise ValueError(f"a row has {ROW_BYTES} bytes here")
    memset(by_status, 0, sizeof(by_status))
    for i in range(count):
        record = row + ID_BYTES_C
        number = numbers.get(u32(record, CLASS_AT))
        if (
            number is not None
            and record[FORMAT_AT] == FORMAT_KNOWN
            and memchr(PyBytes_AS_STRING(ready), record[STATUS_AT], PyBytes_GET_SIZE(ready)) != NULL
            and record[PRIORITY_AT] <= PRIORITY_MAX
            and (u64(record, START_BEFORE_AT) == 0 or u32(record, ATTEMPT_AT) != 0)
        ):
            numbers_taken.append(number)
            memcpy(taken_end, row, ROW_BYTES)
            taken_end += ROW_BYTES
        else:
            memcpy(rest_end, row, ROW_BYTES)
            rest_end += ROW_BYTES
        row += ROW_BYTES
    handle = jobs.add_many(taken[: taken_end - PyBytes_AS_STRING(taken)])
    record = <const unsigned char*>PyBytes_AS_STRING(taken) + ID_BYTES_C
    push = match.push
    for number in numbers_taken:
        push(
            number,
            handle,
            <uint64_t>(PRIORITY_MAX - record[PRIORITY_AT]) << ORDER_BITS | u64(record, ORDER_AT),
        )
        class_id = u32(record, CLASS_AT)
        by_class[class_id] = <Py_ssize_t>by_class.get(class_id, 0) + 1
        by_status[record[STATUS_AT]] += 1
        owner_last = max(owner_last, <int64_t>u32(record, OWNER_AT))
        order_last = max(order_last, <int64_t>u64(record, ORDER_AT))
        handle += 1
        record += ROW_BYTES
    return (
        rest[: rest_end - PyBytes_AS_STRING(rest)],
        by_class,
        {<int>status: by_status[<int>status] for status in ready if by_status[<int>status]},
        owner_last,
        order_last,
    )
