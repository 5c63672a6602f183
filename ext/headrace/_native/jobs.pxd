"""The job table, for the passes over many jobs at once."""

from libc.stdint cimport uint32_t

from headrace._native.record cimport ID_BYTES_C

cdef enum:
    ROW_HEAD_BYTES = 20  # next and id
    AHEAD = 8            # rows on their way from memory, and buckets that splits will need


cdef class JobTable:
    cdef readonly Py_ssize_t record_bytes
    cdef size_t row_bytes
    cdef char** chunks
    cdef size_t chunks_count
    cdef size_t chunks_capacity
    cdef uint32_t rows_used      # rows ever handed out; handles are below
    cdef uint32_t free_head      # last freed row
    cdef uint32_t size
    cdef char id_last[ID_BYTES_C]  # no greater id was ever added: ids that rise are not looked up
    cdef uint32_t* buckets
    cdef size_t buckets_capacity
    cdef uint32_t buckets_count  # round + split
    cdef uint32_t round_size     # power of two at which this round of splits began

    cdef char* row_at(self, uint32_t handle) noexcept
    cdef char* row_used(self, Py_ssize_t handle) except NULL
    cdef uint32_t lookup(self, const char* job_id) noexcept
    cdef void row_remove(self, uint32_t handle, char* row) noexcept
    cdef uint32_t next_of(self, const char* row) noexcept
    cdef void next_set(self, char* row, uint32_t value) noexcept
    cdef int check_id(self, bytes job_id) except -1
    cdef int check_record(self, bytes record) except -1
    cdef uint32_t bucket_of(self, const char* job_id) noexcept
    cdef void rows_prefetch(
        self, const char* row, Py_ssize_t row_bytes, Py_ssize_t ahead
    ) noexcept
    cdef uint32_t row_add(self, const char* job_id, const char* record) except? 0xFFFFFFFF
    cdef uint32_t row_place(self, const char* job_id, const char* record) except? 0xFFFFFFFF
    cdef int buckets_grow(self) except -1
    cdef void split_prefetch(self, uint32_t source) noexcept
    cdef void buckets_shrink(self) noexcept
    cdef void bucket_merge(self) noexcept
    cdef int chunk_add(self) except -1
