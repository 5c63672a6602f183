"""One job's record, taken out of the table to be read and changed.

The fields are the record's own bytes, so that `pack` is a copy. Which statuses there are, and
which event leads where, is `core.job`'s to say: it hands its table over once, to `learn_life`.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport Py_EQ, Py_NE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from headrace._native.record cimport (
    HAS_CHECKPOINT,
    HAS_RETENTION,
    HAS_WEBHOOK,
    ID_BYTES_C,
    RECORD_BYTES_C,
    STATUSES_MAX,
    Record,
    record_spec_bytes,
)

assert sizeof(Record) == RECORD_BYTES_C

RECORD_FORMAT = 1
ID_BYTES = ID_BYTES_C
RECORD_BYTES = RECORD_BYTES_C
ORDER_BITS = 60

cdef enum:
    FORMAT = 1
    ORDER_BITS_C = 60
    PRIORITY_MAX = 9
    EVENTS_MAX = 32
    ATTEMPT_OPEN = 1
    DUE_IS_WALL = 2
    SPEC_BYTES_MAX_C = 0xFFFFFF

cdef list STATUSES = [None] * STATUSES_MAX  # by number; made before the first job, and kept
cdef uint8_t TARGETS[STATUSES_MAX][EVENTS_MAX]  # by status and event; 0: no such transition
cdef object REFUSAL = AssertionError
memset(TARGETS, 0, sizeof(TARGETS))


def learn_life(statuses, dict transitions not None, refusal not None):
    """Take the table of a job's life: the statuses, (status, event) to status, and what to raise
    of (job_id, status, event, story) for an event that has no row.
    """
    global REFUSAL
    cdef int number, event
    for status in statuses:
        number = status
        assert 0 < number < STATUSES_MAX
        STATUSES[number] = status
    memset(TARGETS, 0, sizeof(TARGETS))
    for (start, happened), target in transitions.items():
        number, event = start, happened
        assert 0 < number < STATUSES_MAX
        assert 0 < event < EVENTS_MAX
        TARGETS[number][event] = target
    REFUSAL = refusal


@cython.final
@cython.freelist(256)
cdef class Job:
    """The changing part of a live job. Persisted as `pack()` writes it, 68 bytes.

    Raises: OverflowError for a number that its field cannot hold.
    """

    def __init__(
        self,
        bytes job_id not None,
        int status,
        uint8_t priority,
        uint32_t class_id,
        uint32_t owner_id,
        uint64_t order,
        uint32_t timeout_ms,
        uint32_t retry_delay_ms,
        uint16_t retry_backoff_centi,
        uint16_t retries_max,
        uint32_t attempt=0,
        uint32_t epoch=0,
        bint attempt_open=False,
        uint8_t outcome=0,
        uint32_t failures=0,
        uint32_t crashes=0,
        uint32_t stops=0,
        int64_t due_ms=0,
        bint due_is_wall=False,
        int64_t start_before_at_ms=0,
        bint has_checkpoint=False,
        bint has_webhook=False,
        uint32_t spec_bytes=0,
        bint has_retention=False,
    ):
        id_check(job_id)
        memcpy(self.id, PyBytes_AS_STRING(job_id), ID_BYTES_C)
        self.row.format = FORMAT
        self.row.status = status_check(status)
        self.row.priority = priority
        self.row.flags = (
            (ATTEMPT_OPEN if attempt_open else 0)
            | (DUE_IS_WALL if due_is_wall else 0)
            | (HAS_CHECKPOINT if has_checkpoint else 0)
            | (HAS_WEBHOOK if has_webhook else 0)
            | (HAS_RETENTION if has_retention else 0)
        )
        self.row.outcome = outcome
        self.row.class_id = class_id
        self.row.owner_id = owner_id
        self.row.attempt = attempt
        self.row.epoch = epoch
        self.row.timeout_ms = timeout_ms
        self.row.retry_delay_ms = retry_delay_ms
        self.row.retry_backoff_centi = retry_backoff_centi
        self.row.retries_max = retries_max
        self.row.failures = counted(failures)
        self.row.crashes = counted(crashes)
        self.row.stops = counted(stops)
        self.row.order = order
        self.row.due_ms = due_ms
        self.row.start_before_at_ms = start_before_at_ms
        spec_bytes_set(&self.row, spec_bytes)

    @staticmethod
    def unpack(bytes job_id not None, bytes record not None):
        """Read a record. Raises `ValueError` on a format this version does not know."""
        id_check(job_id)
        if len(record) != RECORD_BYTES_C:
            raise ValueError(f"a job record has {RECORD_BYTES_C} bytes, not {len(record)}")
        job = job_read(PyBytes_AS_STRING(job_id), PyBytes_AS_STRING(record))
        if job.row.format != FORMAT:
            raise ValueError(f"job record of format {job.row.format}, not {FORMAT}")
        status_check(job.row.status)
        return job

    def pack(self):
        """Return the record as stored, `RECORD_BYTES` long."""
        return PyBytes_FromStringAndSize(<const char*>&self.row, RECORD_BYTES_C)

    def pack_alike(self, list specs not None, uint64_t step):
        """Return the records of jobs that are like this one, each a step of order behind the one
        before, joined; and how many bytes their specs have."""
        cdef Record row = self.row
        cdef bytes spec
        cdef bytes records = PyBytes_FromStringAndSize(NULL, len(specs) * RECORD_BYTES_C)
        cdef char* at = PyBytes_AS_STRING(records)
        cdef Py_ssize_t size = 0
        for spec in specs:
            spec_bytes_set(&row, PyBytes_GET_SIZE(spec))
            size += PyBytes_GET_SIZE(spec)
            memcpy(at, &row, RECORD_BYTES_C)
            row.order += step
            at += RECORD_BYTES_C
        return records, size

    def move(self, event):
        """Take the transition of the table. Raises `InvalidTransition`: a defect of the caller."""
        cdef uint8_t target = record_target(&self.row, event)
        if target == 0:
            raise REFUSAL(self.job_id, self.status, event, repr(self))
        self.row.status = target

    def can(self, int event):
        return record_target(&self.row, event) != 0

    def lease(self, uint32_t epoch):
        """Open the next attempt."""
        record_lease(&self.row, epoch)

    def close(self, uint8_t outcome):
        """End the current attempt as it was reported."""
        record_close(&self.row, outcome)

    @property
    def match_key(self):
        """Position in the match index: higher priority first, older first. Fits 64 bits."""
        return <uint64_t>(PRIORITY_MAX - self.row.priority) << ORDER_BITS_C | self.row.order

    def __eq__(self, other):
        if not isinstance(other, Job):
            return NotImplemented
        return (
            memcmp(self.id, (<Job>other).id, ID_BYTES_C) == 0
            and memcmp(&self.row, &(<Job>other).row, RECORD_BYTES_C) == 0
        )

    __hash__ = None

    def __repr__(self):
        return f"Job({', '.join(f'{name}={getattr(self, name)!r}' for name in FIELDS)})"

    @property
    def job_id(self):
        """16 bytes, a UUIDv7; not part of the record, it is its key."""
        return PyBytes_FromStringAndSize(self.id, ID_BYTES_C)

    @property
    def status(self):
        return STATUSES[self.row.status]

    @status.setter
    def status(self, int value):
        self.row.status = status_check(value)

    @property
    def attempt_open(self):
        return (self.row.flags & ATTEMPT_OPEN) != 0

    @attempt_open.setter
    def attempt_open(self, bint value):
        self.flag(ATTEMPT_OPEN, value)

    @property
    def due_is_wall(self):
        return (self.row.flags & DUE_IS_WALL) != 0

    @due_is_wall.setter
    def due_is_wall(self, bint value):
        self.flag(DUE_IS_WALL, value)

    @property
    def has_checkpoint(self):
        return (self.row.flags & HAS_CHECKPOINT) != 0

    @has_checkpoint.setter
    def has_checkpoint(self, bint value):
        self.flag(HAS_CHECKPOINT, value)

    @property
    def has_webhook(self):
        return (self.row.flags & HAS_WEBHOOK) != 0

    @property
    def has_retention(self):
        return (self.row.flags & HAS_RETENTION) != 0

    cdef void flag(self, uint8_t bit, bint value) noexcept:
        if value:
            self.row.flags |= bit
        else:
            self.row.flags &= <uint8_t>~bit

    @property
    def priority(self):
        return self.row.priority

    @property
    def class_id(self):
        return self.row.class_id

    @property
    def owner_id(self):
        return self.row.owner_id

    @property
    def timeout_ms(self):
        return self.row.timeout_ms

    @property
    def retry_delay_ms(self):
        return self.row.retry_delay_ms

    @property
    def retry_backoff_centi(self):
        return self.row.retry_backoff_centi

    @property
    def retries_max(self):
        return self.row.retries_max

    @property
    def start_before_at_ms(self):
        return self.row.start_before_at_ms

    @property
    def spec_bytes(self):
        return record_spec_bytes(&self.row)

    @property
    def attempt(self):
        return self.row.attempt

    @attempt.setter
    def attempt(self, uint32_t value):
        self.row.attempt = value

    @property
    def epoch(self):
        return self.row.epoch

    @epoch.setter
    def epoch(self, uint32_t value):
        self.row.epoch = value

    @property
    def outcome(self):
        return self.row.outcome

    @outcome.setter
    def outcome(self, uint8_t value):
        self.row.outcome = value

    @property
    def order(self):
        return self.row.order

    @order.setter
    def order(self, uint64_t value):
        self.row.order = value

    @property
    def due_ms(self):
        return self.row.due_ms

    @due_ms.setter
    def due_ms(self, int64_t value):
        self.row.due_ms = value

    @property
    def failures(self):
        return self.row.failures

    @failures.setter
    def failures(self, uint32_t value):
        self.row.failures = counted(value)

    @property
    def crashes(self):
        return self.row.crashes

    @crashes.setter
    def crashes(self, uint32_t value):
        self.row.crashes = counted(value)

    @property
    def stops(self):
        return self.row.stops

    @stops.setter
    def stops(self, uint32_t value):
        self.row.stops = counted(value)


cdef tuple FIELDS = (
    "job_id", "status", "priority", "class_id", "owner_id", "order", "timeout_ms",
    "retry_delay_ms", "retry_backoff_centi", "retries_max", "attempt", "epoch", "attempt_open",
    "outcome", "failures", "crashes", "stops", "due_ms", "due_is_wall", "start_before_at_ms",
    "has_checkpoint", "has_webhook", "spec_bytes", "has_retention",
)


cdef Job job_read(const char* job_id, const char* record):
    """Return the job of an id and a record that were checked when they were written."""
    cdef Job job = Job.__new__(Job)
    memcpy(job.id, job_id, ID_BYTES_C)
    memcpy(&job.row, record, RECORD_BYTES_C)
    return job


cdef uint8_t record_target(const Record* row, int event) noexcept:
    if row.status >= STATUSES_MAX or not 0 < event < EVENTS_MAX:
        return 0
    return TARGETS[row.status][event]


cdef int record_lease(Record* row, uint32_t epoch) except -1:
    if row.attempt == 0xFFFFFFFF:
        raise OverflowError("a job has at most 2**32 - 1 attempts")
    row.attempt += 1
    row.epoch = epoch
    row.flags |= ATTEMPT_OPEN
    row.outcome = 0
    return 0


cdef void record_close(Record* row, uint8_t outcome) noexcept:
    row.flags &= <uint8_t>~ATTEMPT_OPEN
    row.outcome = outcome


cdef inline uint16_t counted(uint32_t count) noexcept:
    """A counter that has reached the end of its field stays there."""
    return <uint16_t>count if count < 0xFFFF else 0xFFFF


cdef inline int spec_bytes_set(Record* row, Py_ssize_t size) except -1:
    if size > SPEC_BYTES_MAX_C:
        raise OverflowError("the size of a spec has 24 bits")
    row.spec_bytes[0] = size & 0xFF
    row.spec_bytes[1] = size >> 8 & 0xFF
    row.spec_bytes[2] = size >> 16
    return 0


cdef inline int id_check(bytes job_id) except -1:
    if len(job_id) != ID_BYTES_C:
        raise ValueError("an id has 16 bytes")
    return 0


cdef inline uint8_t status_check(int number) except? 0:
    if not 0 < number < STATUSES_MAX or STATUSES[number] is None:
        raise ValueError(f"no job has the status {number}")
    return <uint8_t>number
