"""The checksum of a row: zlib's CRC-32 over table, key and payload."""

from libc.stdint cimport uint32_t

cdef enum:
    SEAL_BYTES_C = 4

cdef uint32_t crc_of(int table, const char* key, size_t key_bytes,
                     const char* payload, size_t payload_bytes) noexcept nogil
cdef void u32_write(char* at, uint32_t number) noexcept nogil
cdef bint is_sound(int table, const char* key, size_t key_bytes,
                   const char* value, size_t value_bytes) noexcept nogil
cdef void seal_write(int table, const char* key, size_t key_bytes,
                     char* value, size_t payload_bytes) noexcept nogil
