"""Ids of jobs as text, for other extensions."""

cdef enum:
    ID_BYTES_C = 16
    ID_CHARS = 36

cdef void id_write(const char* job_id, char* text) noexcept nogil
