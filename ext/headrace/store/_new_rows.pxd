"""Rows of one commit, as they are handed to the writer."""

from libc.stdint cimport uint32_t, uint64_t

from headrace.store.lmdb_api cimport MDB_val

cdef enum:
    NEW_TABLES_MAX = 32  # that one commit touches


ctypedef struct Change:
    MDB_val key
    MDB_val value  # mv_data is NULL: delete


ctypedef struct NewTable:
    int number
    bint rises          # each key is behind the one before
    Change* changes     # in the order of staging
    uint32_t count
    uint32_t capacity
    uint32_t indexed    # changes before this one are in the index
    uint64_t* slots     # half a hash, and the place of a change and one; 0: free
    uint32_t mask       # slots are one more, and at least two for each change that is indexed


cdef class NewRows:
    cdef NewTable tables_made[NEW_TABLES_MAX]
    cdef int tables_count
    cdef unsigned char places[256]  # of a table, and one; 0: it is not touched
    cdef void* blocks               # of the arena, the newest first
    cdef char* free
    cdef size_t free_bytes
    cdef size_t block_bytes

    cdef NewTable* table(self, int number) except NULL
    cdef NewTable* table_or_null(self, int number) noexcept
    cdef char* taken(self, size_t size) except NULL
    cdef Change* change(self, NewTable* table, const char* key, size_t key_bytes) except NULL
    cdef char* noted(self, NewTable* table, Change* change, char* at, const char* key,
                     size_t key_bytes) noexcept
    cdef char* room(self, NewTable* table, const char* key, size_t key_bytes,
                    size_t value_bytes) except NULL
    cdef int put_sealed(self, NewTable* table, const char* key, size_t key_bytes,
                        const char* payload, size_t payload_bytes) except -1
    cdef int delete(self, NewTable* table, const char* key, size_t key_bytes) except -1
    cdef Change* asked(self, int number, bytes key) except? NULL
