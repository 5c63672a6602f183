"""Lease tokens, for the passes over many leases at once."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    ID_BYTES_C = 16
    TEXT_CHARS = 54


cdef class Tokens:
    cdef uint64_t key[2]

    cdef void write(
        self, char* text, const char* job_id, uint32_t attempt, uint32_t epoch
    ) noexcept
    cdef bint is_token(
        self, const char* text, const char* job_id, uint32_t attempt, uint32_t epoch
    ) noexcept


cdef const char* token_chars(str text) noexcept
cdef void token_id(char* job_id, const char* text) noexcept
