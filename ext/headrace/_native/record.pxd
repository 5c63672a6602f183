"""The record of a live job, as it lies in the job table and on disk."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    ID_BYTES_C = 16
    RECORD_BYTES_C = 68
    STATUSES_MAX = 32
    HAS_CHECKPOINT = 4  # of the flags, as are the next
    HAS_WEBHOOK = 8
    HAS_RETENTION = 16


cdef packed struct Record:  # little-endian, as every machine is that this is built for
    uint8_t format
    uint8_t status
    uint8_t priority
    uint8_t flags
    uint8_t outcome
    uint8_t spec_bytes[3]
    uint32_t class_id
    uint32_t owner_id
    uint32_t attempt
    uint32_t epoch
    uint32_t timeout_ms
    uint32_t retry_delay_ms
    uint16_t retry_backoff_centi
    uint16_t retries_max
    uint16_t failures
    uint16_t crashes
    uint16_t stops
    uint8_t unused_2[2]
    uint64_t order
    int64_t due_ms
    int64_t start_before_at_ms


cdef class Job:
    cdef Record row
    cdef char id[ID_BYTES_C]

    cdef void flag(self, uint8_t bit, bint value) noexcept


cdef inline uint32_t record_spec_bytes(const Record* row) noexcept:
    return row.spec_bytes[0] | <uint32_t>row.spec_bytes[1] << 8 | <uint32_t>row.spec_bytes[2] << 16


cdef Job job_read(const char* job_id, const char* record)
# Where an event leads from a status, by `core.job`'s table; 0: it has no such row.
cdef uint8_t record_target(const Record* row, int event) noexcept
# Open the next attempt. Raises: OverflowError.
cdef int record_lease(Record* row, uint32_t epoch) except -1
# End the current attempt as it was reported.
cdef void record_close(Record* row, uint8_t outcome) noexcept
