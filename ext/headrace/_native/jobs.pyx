"""A slab of fixed-size job records with an index by id.

Shape of a row: next (u32, the chain of its bucket) | id (16 bytes) | record.
Rows live in chunks that never move. The index is a linear hash: it grows and shrinks by one
bucket with each row, so that no single call has to rehash ten million rows, and removal leaves
no tombstones. One row per bucket on average, three quarters after removals: 4 to 5.3 bytes of bucket
and 4 of chain per job.
Source: W. Litwin, Linear Hashing (VLDB 1980).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy

from headrace._native.heap cimport NONE, larger
from headrace._native.jobs cimport AHEAD, ROW_HEAD_BYTES
from headrace._native.record cimport ID_BYTES_C, RECORD_BYTES_C, job_read

cdef enum:
    CHUNK_ROWS = 4096
    BUCKETS_MIN = 64     # a power of two
    BUCKETS_AHEAD = 16   # rows whose buckets are on their way from memory
    MERGES = 2           # buckets at once, so that they go as fast as rows do

cdef uint32_t FREED = 0xFFFFFFFE  # `next` of a row not in use; its id holds the next free row
cdef uint32_t ROWS_MAX = 0xFFFFFFF0


cdef extern from *:
    """
    /* GCC drops calls of functions that do nothing but prefetch; the empty assembly is a deed. */
    #define headrace_prefetch(address) \\
        do { __asm__ volatile (""); __builtin_prefetch(address); } while (0)
    """
    void prefetch "headrace_prefetch" (const void* address) noexcept nogil


cdef inline uint32_t hash_id(const char* job_id) noexcept nogil:
    """Mix all bits: the high half is a timestamp, the low half random."""
    cdef uint64_t high, low, mixed
    memcpy(&high, job_id, 8)
    memcpy(&low, job_id + 8, 8)
    mixed = (low ^ 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull
    mixed ^= mixed >> 32
    mixed = (mixed ^ high) * 0x94D049BB133111EBull
    return <uint32_t>(mixed >> 32)


@cython.final
cdef class JobTable:
    """Opaque records of `record_bytes` bytes, found by a 16-byte id or by handle.

    Handles are small, dense and reused, the last freed one first.
    Cost: O(1) per call; about `record_bytes` + 24 bytes per job. Chunks are kept once allocated.
    Raises: IndexError for a handle that is not in use, ValueError for a wrong size.
    """

    def __cinit__(self, Py_ssize_t record_bytes):
        cdef uint32_t bucket
        if record_bytes <= 0:
            raise ValueError("record_bytes must be positive")
        self.record_bytes = record_bytes
        self.row_bytes = ROW_HEAD_BYTES + <size_t>record_bytes
        self.free_head = NONE
        self.buckets = <uint32_t*>malloc(BUCKETS_MIN * sizeof(uint32_t))
        if self.buckets == NULL:
            raise MemoryError
        self.buckets_capacity = BUCKETS_MIN
        self.buckets_count = self.round_size = BUCKETS_MIN
        for bucket in range(self.buckets_count):
            self.buckets[bucket] = NONE

    def __dealloc__(self):
        cdef size_t chunk
        for chunk in range(self.chunks_count):
            free(self.chunks[chunk])
        free(self.chunks)
        free(self.buckets)

    def add(self, bytes job_id not None, bytes record not None):
        """Return the new handle. Raises: KeyError if the id is present."""
        self.check_id(job_id)
        self.check_record(record)
        return self.row_add(PyBytes_AS_STRING(job_id), PyBytes_AS_STRING(record))

    def add_many(self, bytes rows not None):
        """Add ids and records, one after the other, to a table from which nothing was removed.

        The ids rise, and begin behind the id of the last handle; that no other is among them is
        the caller's word: to look for each would take longer than all the rest.

        Returns the first handle; the others follow it. Raises: ValueError if an id does not rise.
        """
        cdef Py_ssize_t row_bytes = ID_BYTES_C + self.record_bytes
        cdef Py_ssize_t i, count = len(rows) // row_bytes
        cdef const char* row = PyBytes_AS_STRING(rows)
        cdef const char* last = NULL
        cdef uint32_t first = self.rows_used
        if len(rows) % row_bytes:
            raise ValueError(f"a row has {row_bytes} bytes here")
        assert self.free_head == NONE, "handles would not follow each other"
        if first:
            last = self.row_at(first - 1) + 4
        for i in range(count):
            if count - i > BUCKETS_AHEAD:
                prefetch(&self.buckets[self.bucket_of(row + BUCKETS_AHEAD * row_bytes)])
            if last != NULL and memcmp(last, row, ID_BYTES_C) >= 0:
                raise ValueError("the ids do not rise")
            last = row
            self.row_place(row, row + ID_BYTES_C)
            row += row_bytes
        return first

    def add_alike(self, bytes job_ids not None, bytes records not None):
        """Add jobs whose ids are joined, and whose records are; return their handles.

        Raises: KeyError if an id is present; the jobs before it are added.
        """
        cdef Py_ssize_t i, count = len(job_ids) // ID_BYTES_C
        cdef const char* ids = PyBytes_AS_STRING(job_ids)
        cdef list handles = []
        if len(job_ids) != count * ID_BYTES_C or len(records) != count * self.record_bytes:
            raise ValueError(f"a job has an id of 16 bytes and a record of {self.record_bytes}")
        for i in range(count):
            if count - i > AHEAD:
                prefetch(&self.buckets[self.bucket_of(ids + (i + AHEAD) * ID_BYTES_C)])
            handles.append(self.row_add(
                ids + i * ID_BYTES_C, PyBytes_AS_STRING(records) + i * self.record_bytes
            ))
        return handles

    def reserve(self, uint32_t rows):
        """Make the index of an empty table as large as so many rows need.

        It grows by itself; but then each row is moved once, and a move is a cache miss.
        """
        cdef uint32_t bucket
        cdef uint32_t* buckets
        assert self.size == 0, "rows would have to be moved"
        rows = min(rows, ROWS_MAX)
        if rows <= self.buckets_capacity:
            return
        buckets = <uint32_t*>realloc(self.buckets, <size_t>rows * sizeof(uint32_t))
        if buckets == NULL:
            raise MemoryError
        self.buckets = buckets
        self.buckets_capacity = self.buckets_count = rows
        while 2 * <uint64_t>self.round_size <= rows:
            self.round_size *= 2
        for bucket in range(rows):
            buckets[bucket] = NONE

    def find(self, bytes job_id not None):
        """Return the handle, or -1."""
        cdef uint32_t handle
        self.check_id(job_id)
        handle = self.lookup(PyBytes_AS_STRING(job_id))
        return -1 if handle == NONE else handle

    def id(self, Py_ssize_t handle):
        return PyBytes_FromStringAndSize(self.row_used(handle) + 4, ID_BYTES_C)

    def record(self, Py_ssize_t handle):
        return PyBytes_FromStringAndSize(
            self.row_used(handle) + ROW_HEAD_BYTES, self.record_bytes
        )

    def load(self, Py_ssize_t handle):
        """Return the job: a copy, to be changed and then `set`. Raises: TypeError for records of
        another size than a job's."""
        cdef char* row = self.row_used(handle)
        if self.record_bytes != RECORD_BYTES_C:
            raise TypeError(f"records of {self.record_bytes} bytes are no jobs")
        return job_read(row + 4, row + ROW_HEAD_BYTES)

    def set(self, Py_ssize_t handle, bytes record not None):
        cdef char* row = self.row_used(handle)
        self.check_record(record)
        memcpy(row + ROW_HEAD_BYTES, PyBytes_AS_STRING(record), self.record_bytes)

    def remove(self, Py_ssize_t handle):
        self.row_remove(<uint32_t>handle, self.row_used(handle))

    cdef void row_remove(self, uint32_t handle, char* row) noexcept:
        cdef char* other
        cdef uint32_t bucket = self.bucket_of(row + 4)
        cdef uint32_t at = self.buckets[bucket]
        if at == handle:
            self.buckets[bucket] = self.next_of(row)
        else:
            other = self.row_at(at)
            while self.next_of(other) != handle:
                other = self.row_at(self.next_of(other))
            self.next_set(other, self.next_of(row))
        self.next_set(row, FREED)
        memcpy(row + 4, &self.free_head, 4)
        self.free_head = handle
        self.size -= 1
        self.buckets_shrink()

    def ids(self):
        """Yield the ids in handle order; the table must not change meanwhile."""
        cdef uint32_t handle
        for handle in range(self.rows_used):
            if self.next_of(self.row_at(handle)) != FREED:
                yield PyBytes_FromStringAndSize(self.row_at(handle) + 4, ID_BYTES_C)

    def __len__(self):
        return self.size

    def memory_bytes(self):
        """Return the bytes allocated for slab and index."""
        return (
            self.chunks_count * CHUNK_ROWS * self.row_bytes
            + self.chunks_capacity * sizeof(char*)
            + self.buckets_capacity * sizeof(uint32_t)
        )

    def check(self):
        """Assert every invariant."""
        cdef uint32_t handle, bucket, rows = 0
        cdef char* row
        assert self.round_size <= self.buckets_count <= 2 * <uint64_t>self.round_size
        assert self.buckets_count <= self.buckets_capacity
        assert self.buckets_count >= BUCKETS_MIN
        assert self.buckets_count >= larger(BUCKETS_MIN, self.size)
        for bucket in range(self.buckets_count):
            handle = self.buckets[bucket]
            while handle != NONE:
                assert handle < self.rows_used
                row = self.row_at(handle)
                assert self.next_of(row) != FREED
                assert self.bucket_of(row + 4) == bucket
                assert self.lookup(row + 4) == handle
                rows += 1
                assert rows <= self.size, "a chain has a loop"
                handle = self.next_of(row)
        assert rows == self.size
        handle = self.free_head
        while handle != NONE:
            row = self.row_at(handle)
            assert self.next_of(row) == FREED
            rows += 1
            assert rows <= self.rows_used, "the list of free rows has a loop"
            memcpy(&handle, row + 4, 4)
        assert rows == self.rows_used
        assert self.rows_used <= self.chunks_count * CHUNK_ROWS

    cdef char* row_at(self, uint32_t handle) noexcept:
        return self.chunks[handle // CHUNK_ROWS] + (handle % CHUNK_ROWS) * self.row_bytes

    cdef char* row_used(self, Py_ssize_t handle) except NULL:
        cdef char* row
        if not 0 <= handle < <Py_ssize_t>self.rows_used:
            raise IndexError(handle)
        row = self.row_at(<uint32_t>handle)
        if self.next_of(row) == FREED:
            raise IndexError(handle)
        return row

    cdef uint32_t next_of(self, const char* row) noexcept:
        cdef uint32_t value
        memcpy(&value, row, 4)
        return value

    cdef void next_set(self, char* row, uint32_t value) noexcept:
        memcpy(row, &value, 4)

    cdef int check_id(self, bytes job_id) except -1:
        if len(job_id) != ID_BYTES_C:
            raise ValueError("an id has 16 bytes")
        return 0

    cdef int check_record(self, bytes record) except -1:
        if len(record) != self.record_bytes:
            raise ValueError(f"a record has {self.record_bytes} bytes here")
        return 0

    cdef uint32_t bucket_of(self, const char* job_id) noexcept:
        """Buckets below the split point of this round are already addressed by one more bit."""
        cdef uint32_t hashed = hash_id(job_id)
        cdef uint32_t bucket = hashed & (2 * self.round_size - 1)
        return bucket if bucket < self.buckets_count else hashed & (self.round_size - 1)

    cdef uint32_t lookup(self, const char* job_id) noexcept:
        cdef uint32_t handle = self.buckets[self.bucket_of(job_id)]
        cdef char* row
        while handle != NONE:
            row = self.row_at(handle)
            if memcmp(row + 4, job_id, ID_BYTES_C) == 0:
                break
            handle = self.next_of(row)
        return handle

    cdef void rows_prefetch(
        self, const char* row, Py_ssize_t row_bytes, Py_ssize_t ahead
    ) noexcept:
        """Fetch what the next rows will touch: their buckets, and the first rows there."""
        cdef uint32_t handle
        if ahead > 2 * AHEAD:
            prefetch(&self.buckets[self.bucket_of(row + 2 * AHEAD * row_bytes)])
        if ahead > AHEAD:
            handle = self.buckets[self.bucket_of(row + AHEAD * row_bytes)]
            if handle != NONE:
                prefetch(self.row_at(handle))

    cdef uint32_t row_add(self, const char* job_id, const char* record) except? 0xFFFFFFFF:
        if memcmp(job_id, self.id_last, ID_BYTES_C) <= 0 and self.lookup(job_id) != NONE:
            raise KeyError(PyBytes_FromStringAndSize(job_id, ID_BYTES_C))
        return self.row_place(job_id, record)

    cdef uint32_t row_place(self, const char* job_id, const char* record) except? 0xFFFFFFFF:
        """Add a row whose id is not in the table."""
        cdef uint32_t handle, bucket
        cdef char* row
        self.buckets_grow()
        if self.free_head != NONE:
            handle = self.free_head
            row = self.row_at(handle)
            memcpy(&self.free_head, row + 4, 4)
        else:
            handle = self.rows_used
            if handle == ROWS_MAX:
                raise MemoryError("the job table is full")
            if handle // CHUNK_ROWS == self.chunks_count:
                self.chunk_add()
            row = self.row_at(handle)
            self.rows_used += 1
        memcpy(row + 4, job_id, ID_BYTES_C)
        if memcmp(job_id, self.id_last, ID_BYTES_C) > 0:
            memcpy(self.id_last, job_id, ID_BYTES_C)
        memcpy(row + ROW_HEAD_BYTES, record, self.record_bytes)
        bucket = self.bucket_of(row + 4)
        self.next_set(row, self.buckets[bucket])
        self.buckets[bucket] = handle
        self.size += 1
        return handle

    cdef int buckets_grow(self) except -1:
        """Split one bucket if the next row would exceed one row per bucket."""
        cdef uint32_t source, handle, following
        cdef uint32_t* buckets
        cdef size_t capacity
        cdef char* row
        if self.size < self.buckets_count:
            return 0
        if self.buckets_count == self.buckets_capacity:
            capacity = self.buckets_capacity + self.buckets_capacity // 4
            buckets = <uint32_t*>realloc(self.buckets, capacity * sizeof(uint32_t))
            if buckets == NULL:
                raise MemoryError
            self.buckets = buckets
            self.buckets_capacity = capacity
        if self.buckets_count == 2 * self.round_size:
            self.round_size *= 2
        source = self.buckets_count - self.round_size
        self.split_prefetch(source)
        handle = self.buckets[source]
        self.buckets[source] = NONE
        self.buckets[self.buckets_count] = NONE
        self.buckets_count += 1
        while handle != NONE:
            row = self.row_at(handle)
            following = self.next_of(row)
            source = self.bucket_of(row + 4)
            self.next_set(row, self.buckets[source])
            self.buckets[source] = handle
            handle = following
        return 0

    cdef void split_prefetch(self, uint32_t source) noexcept:
        """Fetch rows that soon have to be moved: of a bucket the first, of a nearer one the second.

        Each row is a cache miss, and the next of its bucket is known only when it has come.
        """
        cdef uint32_t handle
        if source + 2 * AHEAD < self.round_size:
            handle = self.buckets[source + 2 * AHEAD]
            if handle != NONE:
                prefetch(self.row_at(handle))
            handle = self.buckets[source + AHEAD]
            if handle != NONE:
                handle = self.next_of(self.row_at(handle))
                if handle != NONE:
                    prefetch(self.row_at(handle))

    cdef void buckets_shrink(self) noexcept:
        """Merge buckets when there are many more than rows.

        Not at once: a table whose rows come and go at one rate neither splits nor merges any.
        """
        cdef int i
        cdef uint32_t* buckets
        if self.size >= self.buckets_count - self.buckets_count // 4:
            return
        for i in range(MERGES):
            if self.buckets_count > BUCKETS_MIN:
                self.bucket_merge()
        for i in range(1, MERGES + 1):  # the next ones, for next time
            if self.buckets[self.buckets_count - i] != NONE:
                prefetch(self.row_at(self.buckets[self.buckets_count - i]))
        if self.buckets_count < self.buckets_capacity // 2:
            # A shrink that fails leaves the larger block, which is as good.
            buckets = <uint32_t*>realloc(
                self.buckets, (self.buckets_capacity * 5 // 8) * sizeof(uint32_t)
            )
            if buckets != NULL:
                self.buckets = buckets
                self.buckets_capacity = self.buckets_capacity * 5 // 8

    cdef void bucket_merge(self) noexcept:
        """Merge the last bucket into the one it was split from."""
        cdef uint32_t target, handle
        cdef char* row
        if self.buckets_count == self.round_size:
            self.round_size //= 2
        self.buckets_count -= 1
        target = self.buckets_count - self.round_size
        handle = self.buckets[self.buckets_count]
        if handle == NONE:
            return
        row = self.row_at(handle)
        while self.next_of(row) != NONE:
            row = self.row_at(self.next_of(row))
        self.next_set(row, self.buckets[target])
        self.buckets[target] = handle

    cdef int chunk_add(self) except -1:
        cdef size_t capacity
        cdef char** chunks
        if self.chunks_count == self.chunks_capacity:
            capacity = larger(16, self.chunks_capacity + self.chunks_capacity // 2)
            chunks = <char**>realloc(self.chunks, capacity * sizeof(char*))
            if chunks == NULL:
                raise MemoryError
            self.chunks = chunks
            self.chunks_capacity = capacity
        self.chunks[self.chunks_count] = <char*>malloc(CHUNK_ROWS * self.row_bytes)
        if self.chunks[self.chunks_count] == NULL:
            raise MemoryError
        self.chunks_count += 1
        return 0
