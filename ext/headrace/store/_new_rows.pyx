"""Rows of one commit, as they are handed to the writer: by table and key, what came last.

Keys and values lie in an arena, one behind the other, and never move: the writer thread reads them
there, without the GIL and without an object for each. A table is an array of changes in the order
of staging. Its index is made when it is asked for: as long as keys rise, none can be there twice.

    table   changes ──▶ key, value ──┐         arena   ┌──────────────────────────┐
            slots   ──▶ place of a   └───────────────▶ │ key seal payload key ... │
                        change, by hash of its key     └──────────────────────────┘

Staged by one thread, then only read, by any.
"""

import secrets

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from headrace.store._seals cimport SEAL_BYTES_C, seal_write, u32_write

cdef extern from *:
    """
    #include <stdint.h>

    static inline uint64_t hash_mixed(uint64_t a, uint64_t b) {
        const unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t hash_mixed(uint64_t a, uint64_t b) noexcept nogil

cdef enum:
    BLOCK_BYTES_FIRST = 16 << 10
    BLOCK_BYTES_MAX = 1 << 20
    CHANGES_FIRST = 16
    ENVELOPE_HEAD = 6
    ID_BYTES = 16
    OWNER_BYTES = 4
    FINISHED_BYTES_MAX = 128  # without record, worker and body
    SHORT_TEXT = 32  # bytes; these and more are long, in MessagePack
    BINARY = 0xC4
    TEXT = 0xD9

cdef tuple NO_KEY = (-1, None, None)
# Secret, so that nobody can choose names of one and the same hash; odd.
cdef uint64_t hash_seed = int.from_bytes(secrets.token_bytes(8), "little")
cdef uint64_t hash_factor = int.from_bytes(secrets.token_bytes(8), "little") | 1


cdef inline uint32_t hash_of(const char* key, size_t size) noexcept nogil:
    cdef uint64_t found = hash_seed ^ size
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, key, 8)
        found = hash_mixed(found ^ word, hash_factor)
        key += 8
        size -= 8
    if size:
        word = 0
        memcpy(&word, key, size)
        found = hash_mixed(found ^ word, hash_factor)
    return <uint32_t>(found ^ found >> 32)


cdef inline int order_of(const MDB_val* last, const char* key, size_t key_bytes) noexcept nogil:
    """Compare as LMDB does. Below 0: the last key is before this one."""
    cdef int order = memcmp(
        last.mv_data, key, last.mv_size if last.mv_size < key_bytes else key_bytes
    )
    return order if order else (last.mv_size > key_bytes) - (last.mv_size < key_bytes)


cdef inline bint begins(const MDB_val* key, bytes prefix) noexcept:
    cdef size_t size = PyBytes_GET_SIZE(prefix)
    return key.mv_size >= size and memcmp(key.mv_data, PyBytes_AS_STRING(prefix), size) == 0


cdef inline bytes text_of(const MDB_val* value):
    return PyBytes_FromStringAndSize(<const char*>value.mv_data, value.mv_size)


cdef inline bytes value_of(const Change* change):
    return None if change.value.mv_data == NULL else text_of(&change.value)


cdef void index(NewTable* table) noexcept nogil:
    """Put the changes that are in no slot yet into one. There is room."""
    cdef uint32_t hashed, at
    cdef Change* change
    while table.indexed < table.count:
        change = &table.changes[table.indexed]
        table.indexed += 1
        hashed = hash_of(<const char*>change.key.mv_data, change.key.mv_size)
        at = hashed & table.mask
        while table.slots[at]:
            at = (at + 1) & table.mask
        table.slots[at] = <uint64_t>hashed << 32 | table.indexed


cdef int slots_grow(NewTable* table) except -1:
    """Have at least two slots for each change."""
    cdef uint64_t* old = table.slots
    cdef uint64_t slot
    cdef uint32_t at, i, old_count = table.mask + 1 if old != NULL else 0
    cdef uint32_t count = old_count if old_count else 2 * CHANGES_FIRST
    if old_count >= 2 * table.count and old_count:
        return 0
    while count < 2 * table.count:
        count *= 2
    table.slots = <uint64_t*>calloc(count, sizeof(uint64_t))
    if table.slots == NULL:
        table.slots = old
        raise MemoryError
    table.mask = count - 1
    for i in range(old_count):
        slot = old[i]
        if slot:
            at = <uint32_t>(slot >> 32) & table.mask
            while table.slots[at]:
                at = (at + 1) & table.mask
            table.slots[at] = slot
    free(old)
    return 0


cdef Change* found_or_null(
    NewTable* table, const char* key, size_t key_bytes
) except? NULL:
    """Return the change of a key; NULL: there is none."""
    cdef uint32_t hashed, at
    cdef uint64_t slot
    cdef Change* change
    if table.count == 0:
        return NULL
    if table.indexed < table.count:
        slots_grow(table)
        index(table)
    hashed = hash_of(key, key_bytes)
    at = hashed & table.mask
    while True:
        slot = table.slots[at]
        if slot == 0:
            return NULL
        if <uint32_t>(slot >> 32) == hashed:
            change = &table.changes[<uint32_t>slot - 1]
            if change.key.mv_size == key_bytes and memcmp(
                change.key.mv_data, key, key_bytes
            ) == 0:
                return change
        at = (at + 1) & table.mask


@cython.final
cdef class NewRows:
    def __cinit__(self):
        self.block_bytes = BLOCK_BYTES_FIRST

    def __init__(self, rows=None):
        if rows is not None:
            for number, changes in rows.items():
                for key, value in changes.items():
                    self.set(number, key, value)

    def __dealloc__(self):
        cdef void* block = self.blocks
        cdef void* older
        cdef int i
        for i in range(self.tables_count):
            free(self.tables_made[i].changes)
            free(self.tables_made[i].slots)
        while block != NULL:
            older = (<void**>block)[0]
            free(block)
            block = older

    cdef NewTable* table(self, int number) except NULL:
        cdef NewTable* made = self.table_or_null(number)
        if made != NULL:
            return made
        if not 0 <= number < 256 or self.tables_count == NEW_TABLES_MAX:
            raise ValueError("no such table, or too many")
        made = &self.tables_made[self.tables_count]
        memset(made, 0, sizeof(NewTable))
        made.number = number
        made.rises = True
        self.tables_count += 1
        self.places[number] = <unsigned char>self.tables_count
        return made

    cdef NewTable* table_or_null(self, int number) noexcept:
        if not 0 <= number < 256 or self.places[number] == 0:
            return NULL
        return &self.tables_made[self.places[number] - 1]

    cdef char* taken(self, size_t size) except NULL:
        """Take room in the arena."""
        cdef size_t block_bytes = self.block_bytes
        cdef void* block
        cdef char* at
        if size > self.free_bytes:
            if block_bytes < size + sizeof(void*):
                block_bytes = size + sizeof(void*)
            elif self.block_bytes < BLOCK_BYTES_MAX:
                self.block_bytes *= 2
            block = malloc(block_bytes)
            if block == NULL:
                raise MemoryError
            (<void**>block)[0] = self.blocks
            self.blocks = block
            self.free = <char*>block + sizeof(void*)
            self.free_bytes = block_bytes - sizeof(void*)
        at = self.free
        self.free += size
        self.free_bytes -= size
        return at

    cdef Change* change(self, NewTable* table, const char* key, size_t key_bytes) except NULL:
        """Return the change of a key, a new one without key and value if there is none."""
        cdef Change* change
        cdef void* grown
        cdef uint32_t capacity
        cdef int order = -1
        if table.count:
            change = &table.changes[table.count - 1]
            order = order_of(&change.key, key, key_bytes)
            if order == 0:
                return change
        if order > 0 or not table.rises:
            change = found_or_null(table, key, key_bytes)
            if change != NULL:
                return change
            table.rises = False
        if table.count == table.capacity:
            capacity = 2 * table.capacity if table.capacity else CHANGES_FIRST
            grown = realloc(table.changes, capacity * sizeof(Change))
            if grown == NULL:
                raise MemoryError
            table.changes = <Change*>grown
            table.capacity = capacity
        change = &table.changes[table.count]
        memset(change, 0, sizeof(Change))
        return change

    cdef char* room(
        self, NewTable* table, const char* key, size_t key_bytes, size_t value_bytes
    ) except NULL:
        """Return the room of a value; what it was before is gone. The key is copied."""
        cdef Change* change = self.change(table, key, key_bytes)
        cdef bint is_new = change.key.mv_data == NULL
        cdef char* at
        if change.value.mv_data == NULL or change.value.mv_size < value_bytes:
            at = self.taken(value_bytes + (key_bytes if is_new else 0) + 1)
            if is_new:
                at = self.noted(table, change, at, key, key_bytes)
            change.value.mv_data = at
        change.value.mv_size = value_bytes
        return <char*>change.value.mv_data

    cdef int delete(self, NewTable* table, const char* key, size_t key_bytes) except -1:
        cdef Change* change = self.change(table, key, key_bytes)
        if change.key.mv_data == NULL:
            self.noted(table, change, self.taken(key_bytes + 1), key, key_bytes)
        change.value.mv_data = NULL
        change.value.mv_size = 0
        return 0

    cdef char* noted(
        self, NewTable* table, Change* change, char* at, const char* key, size_t key_bytes
    ) noexcept:
        """Give a new change its key; return what is behind it."""
        memcpy(at, key, key_bytes)
        change.key.mv_data = at
        change.key.mv_size = key_bytes
        table.count += 1
        return at + key_bytes

    def put(self, unsigned char table, bytes key not None, bytes payload not None):
        self.put_sealed(
            self.table(table), PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
            PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload),
        )

    cdef int put_sealed(
        self, NewTable* table, const char* key, size_t key_bytes,
        const char* payload, size_t payload_bytes,
    ) except -1:
        cdef char* value = self.room(table, key, key_bytes, SEAL_BYTES_C + payload_bytes)
        if payload_bytes:
            memcpy(value + SEAL_BYTES_C, payload, payload_bytes)
        seal_write(table.number, key, key_bytes, value, payload_bytes)
        return 0

    def set(self, unsigned char table, bytes key not None, bytes value):
        cdef NewTable* made = self.table(table)
        if value is None:
            self.delete(made, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            return
        memcpy(
            self.room(
                made, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), PyBytes_GET_SIZE(value)
            ),
            PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
        )

    def get(self, unsigned char table, bytes key not None, default=None):
        cdef Change* change = self.asked(table, key)
        return default if change == NULL else value_of(change)

    def holds(self, unsigned char table, bytes key not None):
        return self.asked(table, key) != NULL

    cdef Change* asked(self, int number, bytes key) except? NULL:
        cdef NewTable* made = self.table_or_null(number)
        if made == NULL:
            return NULL
        return found_or_null(made, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))

    def tables(self):
        return [self.tables_made[i].number for i in range(self.tables_count)]

    def items(self, unsigned char table, bytes prefix not None=b""):
        cdef NewTable* made = self.table_or_null(table)
        cdef uint32_t i
        cdef list found = []
        if made != NULL:
            for i in range(made.count):
                if begins(&made.changes[i].key, prefix):
                    found.append((text_of(&made.changes[i].key), value_of(&made.changes[i])))
        return found

    def keys(self, unsigned char table, bytes prefix not None=b""):
        cdef NewTable* made = self.table_or_null(table)
        cdef uint32_t i
        cdef list found = []
        if made != NULL:
            for i in range(made.count):
                if begins(&made.changes[i].key, prefix):
                    found.append(text_of(&made.changes[i].key))
        return found

    def __len__(self):
        cdef Py_ssize_t count = 0
        cdef int i
        for i in range(self.tables_count):
            count += self.tables_made[i].count
        return count

    def link(self):
        cdef Py_ssize_t size = self.tables_count
        cdef uint32_t i
        cdef int k
        cdef Change* change
        cdef bytes joined
        cdef char* at
        for k in range(self.tables_count):
            for i in range(self.tables_made[k].count):
                change = &self.tables_made[k].changes[i]
                size += change.key.mv_size if change.value.mv_data == NULL else SEAL_BYTES_C
        joined = PyBytes_FromStringAndSize(NULL, size)
        at = PyBytes_AS_STRING(joined)
        for k in range(self.tables_count):
            at = pack_byte(at, self.tables_made[k].number)
            for i in range(self.tables_made[k].count):
                change = &self.tables_made[k].changes[i]
                if change.value.mv_data == NULL:
                    at = pack_raw(at, <const char*>change.key.mv_data, change.key.mv_size)
                else:
                    at = pack_raw(at, <const char*>change.value.mv_data, SEAL_BYTES_C)
        return joined


def put_jobs(
    NewRows rows not None,
    tuple tables not None,
    uint32_t owner_id,
    bytes job_ids not None,
    bytes records not None,
    list specs not None,
    list keys not None,
):
    cdef int spec_number, live_number, by_owner_number
    cdef Py_ssize_t count = len(specs)
    cdef Py_ssize_t record_bytes = PyBytes_GET_SIZE(records) // count if count else 0
    cdef const char* record = PyBytes_AS_STRING(records)
    cdef const char* job_id = PyBytes_AS_STRING(job_ids)
    cdef NewTable* spec_rows
    cdef NewTable* live_rows
    cdef NewTable* by_owner_rows
    cdef char by_owner[OWNER_BYTES + ID_BYTES]
    cdef bytes key_digest, request_digest
    cdef Py_ssize_t i, next_key = -1
    fitting(job_ids, records, count, record_bytes)
    spec_number, live_number, by_owner_number = tables
    spec_rows = rows.table(spec_number)
    live_rows = rows.table(live_number)
    by_owner_rows = rows.table(by_owner_number)
    u32_write(by_owner, owner_id)
    keys_left = iter(keys)
    next_key, key_digest, request_digest = next(keys_left, NO_KEY)
    for i in range(count):
        if i == next_key:
            put_envelope(
                rows, spec_rows, job_id, owner_id, key_digest, request_digest, <bytes?>specs[i]
            )
            next_key, key_digest, request_digest = next(keys_left, NO_KEY)
        else:
            put_envelope(rows, spec_rows, job_id, owner_id, b"", b"", <bytes?>specs[i])
        rows.put_sealed(live_rows, job_id, ID_BYTES, record, record_bytes)
        memcpy(by_owner + OWNER_BYTES, job_id, ID_BYTES)
        rows.put_sealed(by_owner_rows, by_owner, OWNER_BYTES + ID_BYTES, NULL, 0)
        job_id += ID_BYTES
        record += record_bytes
    if next_key >= 0:
        raise ValueError("keys rise, and each is of a job")


cdef int put_envelope(
    NewRows rows, NewTable* table, const char* job_id, uint32_t owner_id,
    bytes key_digest, bytes request_digest, bytes spec,
) except -1:
    """Put what `layout.envelope_unpack` reads.

    Shape: u32 owner + u8 length of key digest + u8 length of request digest + both + spec.
    """
    cdef Py_ssize_t key_size = PyBytes_GET_SIZE(key_digest)
    cdef Py_ssize_t request_size = PyBytes_GET_SIZE(request_digest)
    cdef Py_ssize_t size = ENVELOPE_HEAD + key_size + request_size + PyBytes_GET_SIZE(spec)
    cdef char* value
    cdef char* at
    if key_size > 255 or request_size > 255:
        raise ValueError("a digest has at most 255 bytes")
    value = rows.room(table, job_id, ID_BYTES, SEAL_BYTES_C + size)
    at = value + SEAL_BYTES_C
    u32_write(at, owner_id)
    at = pack_byte(pack_byte(at + 4, <int>key_size), <int>request_size)
    at = pack_raw(at, PyBytes_AS_STRING(key_digest), key_size)
    at = pack_raw(at, PyBytes_AS_STRING(request_digest), request_size)
    pack_raw(at, PyBytes_AS_STRING(spec), PyBytes_GET_SIZE(spec))
    seal_write(table.number, job_id, ID_BYTES, value, size)
    return 0


def put_leased(
    NewRows rows not None,
    int live_table,
    bytes job_ids not None,
    bytes records not None,
    bytes trail not None,
):
    cdef Py_ssize_t i, count = PyBytes_GET_SIZE(job_ids) // ID_BYTES
    cdef Py_ssize_t record_bytes = PyBytes_GET_SIZE(records) // count if count else 0
    cdef Py_ssize_t size = record_bytes + PyBytes_GET_SIZE(trail)
    cdef const char* job_id = PyBytes_AS_STRING(job_ids)
    cdef NewTable* table = rows.table(live_table)
    cdef char* value
    fitting(job_ids, records, count, record_bytes)
    for i in range(count):
        value = rows.room(table, job_id, ID_BYTES, SEAL_BYTES_C + size)
        pack_raw(
            pack_raw(
                value + SEAL_BYTES_C, PyBytes_AS_STRING(records) + i * record_bytes, record_bytes
            ),
            PyBytes_AS_STRING(trail), PyBytes_GET_SIZE(trail),
        )
        seal_write(table.number, job_id, ID_BYTES, value, size)
        job_id += ID_BYTES


def put_completed(
    NewRows rows not None,
    tuple tables not None,
    unsigned char status,
    int64_t finished_at_ms,
    bytes job_ids not None,
    bytes records not None,
    list started_at_ms not None,
    str worker not None,
    list bodies not None,
    Py_ssize_t body_bytes_max,
):
    cdef int live_number, done_number, bodies_number, by_status_number
    cdef Py_ssize_t i, count = len(bodies)
    cdef Py_ssize_t record_bytes = PyBytes_GET_SIZE(records) // count if count else 0
    cdef bytes worker_text = worker.encode()
    cdef bytes payload = PyBytes_FromStringAndSize(
        NULL,
        FINISHED_BYTES_MAX + record_bytes + PyBytes_GET_SIZE(worker_text) + body_bytes_max,
    )
    cdef char* begin = PyBytes_AS_STRING(payload)
    cdef char* at
    cdef const char* job_id = PyBytes_AS_STRING(job_ids)
    cdef NewTable* live_rows
    cdef NewTable* done_rows
    cdef NewTable* by_status_rows
    cdef char by_status[1 + ID_BYTES]
    cdef bytes body
    cdef int64_t started
    cdef bint is_apart
    fitting(job_ids, records, count, record_bytes)
    if len(started_at_ms) != count:
        raise ValueError("each job was started once")
    live_number, done_number, bodies_number, by_status_number = tables
    live_rows = rows.table(live_number)
    done_rows = rows.table(done_number)
    by_status_rows = rows.table(by_status_number)
    by_status[0] = <char>status
    for i in range(count):
        body = bodies[i]
        started = started_at_ms[i]
        is_apart = PyBytes_GET_SIZE(body) > body_bytes_max
        if is_apart:
            rows.put_sealed(
                rows.table(bodies_number), job_id, ID_BYTES,
                PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body),
            )
            body = b""
        at = pack_byte(begin, is_apart)
        at = pack_byte(at, 0x80 | (3 + (started != 0) + (len(worker_text) > 0) + (len(body) > 0)))
        at = pack_int(pack_name(at, b"status", 6), status)
        at = pack_int(pack_name(at, b"finished_at_ms", 14), finished_at_ms)
        at = pack_size(pack_name(at, b"record", 6), BINARY, record_bytes)
        at = pack_raw(at, PyBytes_AS_STRING(records) + i * record_bytes, record_bytes)
        if started:
            at = pack_int(pack_name(at, b"started_at_ms", 13), started)
        if len(worker_text):
            at = pack_name(at, b"worker", 6)
            if len(worker_text) < SHORT_TEXT:
                at = pack_name(at, PyBytes_AS_STRING(worker_text), <int>len(worker_text))
            else:
                at = pack_size(at, TEXT, len(worker_text))
                at = pack_raw(at, PyBytes_AS_STRING(worker_text), len(worker_text))
        if len(body):
            at = pack_size(pack_name(at, b"body", 4), BINARY, len(body))
            at = pack_raw(at, PyBytes_AS_STRING(body), len(body))
        rows.delete(live_rows, job_id, ID_BYTES)
        rows.put_sealed(done_rows, job_id, ID_BYTES, begin, at - begin)
        memcpy(by_status + 1, job_id, ID_BYTES)
        rows.put_sealed(by_status_rows, by_status, 1 + ID_BYTES, NULL, 0)
        job_id += ID_BYTES


cdef int fitting(
    bytes job_ids, bytes records, Py_ssize_t count, Py_ssize_t record_bytes
) except -1:
    if PyBytes_GET_SIZE(job_ids) != count * ID_BYTES:
        raise ValueError("an id has 16 bytes, each job one")
    if PyBytes_GET_SIZE(records) != count * record_bytes:
        raise ValueError("records are of one size, each job has one")
    return 0


# MessagePack: each writes, in the shortest form, and returns what is behind.


cdef inline char* pack_byte(char* at, int number) noexcept:
    at[0] = <char><unsigned char>number
    return at + 1


cdef inline char* pack_raw(char* at, const char* data, Py_ssize_t size) noexcept:
    memcpy(at, data, size)
    return at + size


cdef inline char* pack_big(char* at, uint64_t number, int size) noexcept:
    cdef int i
    for i in range(size):
        at[i] = <char><unsigned char>(number >> 8 * (size - 1 - i))
    return at + size


cdef inline char* pack_name(char* at, const char* name, int size) noexcept:
    """Write a short text."""
    return pack_raw(pack_byte(at, 0xA0 | size), name, size)


cdef inline char* pack_size(char* at, int code, Py_ssize_t size) noexcept:
    """Write the head of a text that is not short, or of binary data."""
    if size < 1 << 8:
        return pack_big(pack_byte(at, code), size, 1)
    if size < 1 << 16:
        return pack_big(pack_byte(at, code + 1), size, 2)
    return pack_big(pack_byte(at, code + 2), size, 4)


cdef inline char* pack_int(char* at, int64_t number) noexcept:
    if -32 <= number < 1 << 7:
        return pack_byte(at, <int>number)
    if number >= 0:
        if number < 1 << 8:
            return pack_big(pack_byte(at, 0xCC), number, 1)
        if number < 1 << 16:
            return pack_big(pack_byte(at, 0xCD), number, 2)
        if number < <int64_t>1 << 32:
            return pack_big(pack_byte(at, 0xCE), number, 4)
        return pack_big(pack_byte(at, 0xCF), number, 8)
    if number >= -(1 << 7):
        return pack_big(pack_byte(at, 0xD0), number, 1)
    if number >= -(1 << 15):
        return pack_big(pack_byte(at, 0xD1), number, 2)
    if number >= -(<int64_t>1 << 31):
        return pack_big(pack_byte(at, 0xD2), number, 4)
    return pack_big(pack_byte(at, 0xD3), number, 8)


