"""A restart takes millions of waiting jobs into memory: here a page of them at a time.

Reads the few fields of a record that this needs. Their places are those of `core.job`, whose
`RECORD_FORMAT` says which layout it is; a record of another format is left to the caller.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    ID_BYTES_C = 16
    RECORD_BYTES_C = 68
    ROW_BYTES = 84  # id and record
    FORMAT_KNOWN = 1
    FORMAT_AT = 0
    STATUS_AT = 1
    PRIORITY_AT = 2
    SPEC_BYTES_AT = 5
    CLASS_AT = 8
    OWNER_AT = 12
    ATTEMPT_AT = 16
    ORDER_AT = 44
    START_BEFORE_AT = 60
    PRIORITY_MAX = 9
    PRIORITIES = 10
    ORDER_BITS = 60
    SEEN = 64  # classes whose numbers are at hand


cdef struct Seen:  # a class met on this page
    bint used
    uint32_t class_id
    int64_t number  # of the match index; -1 for a class that is not known
    Py_ssize_t taken
    Py_ssize_t spec_bytes
    int64_t last[PRIORITIES]  # largest order by priority; -1 for none


cdef inline uint32_t u32(const unsigned char* record, int at) noexcept:
    cdef uint32_t value
    memcpy(&value, record + at, 4)
    return value


cdef inline uint32_t u24(const unsigned char* record, int at) noexcept:
    return record[at] | <uint32_t>record[at + 1] << 8 | <uint32_t>record[at + 2] << 16


cdef inline uint64_t u64(const unsigned char* record, int at) noexcept:
    cdef uint64_t value
    memcpy(&value, record + at, 8)
    return value


cdef inline void u32_put(bytes numbers, Py_ssize_t at, uint32_t number) noexcept:
    memcpy(PyBytes_AS_STRING(numbers) + at * <Py_ssize_t>sizeof(number), &number, sizeof(number))


cdef inline void u64_put(bytes numbers, Py_ssize_t at, uint64_t number) noexcept:
    memcpy(PyBytes_AS_STRING(numbers) + at * <Py_ssize_t>sizeof(number), &number, sizeof(number))


cdef int class_count(dict by_class, dict last, const Seen* cls) except -1:
    """Note how many jobs of a class were taken, how large, and how far they stand back."""
    cdef int priority
    cdef Py_ssize_t jobs, spec_bytes
    if cls.taken == 0:
        return 0
    jobs, spec_bytes = by_class.get(cls.class_id, (0, 0))
    by_class[cls.class_id] = (jobs + cls.taken, spec_bytes + cls.spec_bytes)
    for priority in range(PRIORITIES):
        if cls.last[priority] >= 0:
            key = (cls.class_id, priority)
            last[key] = max(cls.last[priority], <int64_t>last.get(key, -1))
    return 0


def take_ready(jobs, match, dict numbers not None, bytes ready not None, bytes rows not None):
    """Put the jobs that are ready, of a known class and without a deadline to start, in place.

    Returns the rows of all others; of those taken, how many by class and the bytes of their specs,
    how many by status; the largest owner, -1 for none; the smallest order by priority, and the
    largest by class and priority.

    Shape: rows are ids and records, one after the other. numbers: the match index's number of
    each class. ready: the statuses in question.
    Cost: O(log jobs of a class) per job.
    """
    cdef Py_ssize_t count = PyBytes_GET_SIZE(rows) // ROW_BYTES
    cdef const unsigned char* row = <const unsigned char*>PyBytes_AS_STRING(rows)
    cdef const unsigned char* record
    cdef bytes taken = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(rows))
    cdef bytes rest = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(rows))
    cdef bytes classes = PyBytes_FromStringAndSize(NULL, count * sizeof(uint32_t))
    cdef bytes keys = PyBytes_FromStringAndSize(NULL, count * sizeof(uint64_t))
    cdef char* taken_end = PyBytes_AS_STRING(taken)
    cdef char* rest_end = PyBytes_AS_STRING(rest)
    cdef int64_t owner_last = -1, order
    cdef int64_t first[PRIORITIES]
    cdef uint64_t key
    cdef Py_ssize_t i, taken_count = 0
    cdef Py_ssize_t by_status[256]
    cdef bint is_ready[256]
    cdef Seen seen[SEEN]
    cdef Seen* cls
    cdef dict by_class = {}, last = {}
    cdef int status, priority
    if PyBytes_GET_SIZE(rows) % ROW_BYTES or jobs.record_bytes != RECORD_BYTES_C:
        raise ValueError(f"a row has {ROW_BYTES} bytes here")
    memset(by_status, 0, sizeof(by_status))
    memset(is_ready, 0, sizeof(is_ready))
    memset(seen, 0, sizeof(seen))
    memset(first, -1, sizeof(first))
    for status in ready:
        is_ready[status] = True
    for i in range(count):
        record = row + ID_BYTES_C
        cls = &seen[u32(record, CLASS_AT) % SEEN]
        if not cls.used or cls.class_id != u32(record, CLASS_AT):
            class_count(by_class, last, cls)
            memset(cls.last, -1, sizeof(cls.last))
            cls.used = True
            cls.class_id = u32(record, CLASS_AT)
            cls.number = numbers.get(cls.class_id, -1)
            cls.taken = 0
            cls.spec_bytes = 0
        if (
            cls.number >= 0
            and record[FORMAT_AT] == FORMAT_KNOWN
            and is_ready[record[STATUS_AT]]
            and record[PRIORITY_AT] <= PRIORITY_MAX
            and (u64(record, START_BEFORE_AT) == 0 or u32(record, ATTEMPT_AT) != 0)
        ):
            priority = record[PRIORITY_AT]
            order = <int64_t>u64(record, ORDER_AT)
            key = <uint64_t>(PRIORITY_MAX - priority) << ORDER_BITS | <uint64_t>order
            u32_put(classes, taken_count, <uint32_t>cls.number)
            u64_put(keys, taken_count, key)
            taken_count += 1
            memcpy(taken_end, row, ROW_BYTES)
            taken_end += ROW_BYTES
            cls.taken += 1
            cls.spec_bytes += u24(record, SPEC_BYTES_AT)
            by_status[record[STATUS_AT]] += 1
            owner_last = max(owner_last, <int64_t>u32(record, OWNER_AT))
            if order > cls.last[priority]:
                cls.last[priority] = order
            if first[priority] < 0 or order < first[priority]:
                first[priority] = order
        else:
            memcpy(rest_end, row, ROW_BYTES)
            rest_end += ROW_BYTES
        row += ROW_BYTES
    match.push_many(
        classes[: taken_count * <Py_ssize_t>sizeof(uint32_t)],
        jobs.add_many(taken[: taken_end - PyBytes_AS_STRING(taken)]),
        keys[: taken_count * <Py_ssize_t>sizeof(uint64_t)],
    )
    for i in range(SEEN):
        class_count(by_class, last, &seen[i])
    return (
        rest[: rest_end - PyBytes_AS_STRING(rest)],
        by_class,
        {<int>status: by_status[<int>status] for status in ready if by_status[<int>status]},
        owner_last,
        {priority: first[priority] for priority in range(PRIORITIES) if first[priority] >= 0},
        last,
    )
