"""Ids of jobs and instants as text, for other extensions."""

from libc.stdint cimport int64_t

cdef enum:
    ID_BYTES_C = 16
    ID_CHARS = 36
    INSTANT_CHARS = 24

cdef void id_write(const char* job_id, char* text) noexcept nogil
cdef int instant_write(char* at, int64_t at_ms) except -1
