"""Seals of rows: the inner loops of `layout`.

The checksum is zlib's CRC-32. It is computed here, sixteen bytes a step, because a call of zlib
costs more than the checksum of a short row.
Source: M. Kounavis, F. Berry, Novel Table Lookup-Based Algorithms for High-Performance CRC
Generation (2008).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from headrace.store.contract import RecordCorrupt, StoreDamaged

cdef enum:
    SEAL_BYTES_C = 4
    ENVELOPE_HEAD = 6
    ID_BYTES = 16
    OWNER_BYTES = 4
    STEP = 16
    TABLES_MAX_C = 256

cdef tuple NO_KEY = (-1, None, None)
cdef uint32_t POLYNOMIAL = 0xEDB88320u
cdef uint32_t steps[STEP][256]         # steps[k][b]: the checksum of b and k zero bytes
cdef uint32_t seeds[TABLES_MAX_C]      # of a table's number: where each of its seals begins


cdef void steps_fill() noexcept:
    cdef uint32_t crc
    cdef int byte, bit, k
    for byte in range(256):
        crc = byte
        for bit in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
        steps[0][byte] = crc
    for byte in range(256):
        for k in range(1, STEP):
            steps[k][byte] = steps[k - 1][byte] >> 8 ^ steps[0][steps[k - 1][byte] & 255]


cdef uint32_t crc_more(uint32_t crc, const unsigned char* data, size_t size) noexcept nogil:
    """Return the checksum of what `crc` is of, and of data behind it."""
    cdef uint32_t word
    cdef int k
    crc = ~crc
    while size >= STEP:
        memcpy(&word, data, 4)
        crc ^= word
        crc = (
            steps[15][crc & 255] ^ steps[14][crc >> 8 & 255]
            ^ steps[13][crc >> 16 & 255] ^ steps[12][crc >> 24]
            ^ steps[11][data[4]] ^ steps[10][data[5]] ^ steps[9][data[6]] ^ steps[8][data[7]]
            ^ steps[7][data[8]] ^ steps[6][data[9]] ^ steps[5][data[10]] ^ steps[4][data[11]]
            ^ steps[3][data[12]] ^ steps[2][data[13]] ^ steps[1][data[14]] ^ steps[0][data[15]]
        )
        data += STEP
        size -= STEP
    while size:
        crc = crc >> 8 ^ steps[0][(crc ^ data[0]) & 255]
        data += 1
        size -= 1
    return ~crc


cdef inline uint32_t crc_of(int table, const char* key, size_t key_bytes,
                            const char* payload, size_t payload_bytes) noexcept nogil:
    cdef uint32_t crc = crc_more(seeds[table], <const unsigned char*>key, key_bytes)
    return crc_more(crc, <const unsigned char*>payload, payload_bytes)


cdef inline void u32_write(char* at, uint32_t number) noexcept nogil:
    at[0] = <char>(number >> 24)
    at[1] = <char>(number >> 16)
    at[2] = <char>(number >> 8)
    at[3] = <char>number


cdef inline bint is_sound(int table, const char* key, size_t key_bytes,
                          const char* value, size_t value_bytes) noexcept nogil:
    cdef char expected[SEAL_BYTES_C]
    if value_bytes < SEAL_BYTES_C:
        return False
    u32_write(expected, crc_of(
        table, key, key_bytes, value + SEAL_BYTES_C, value_bytes - SEAL_BYTES_C
    ))
    return memcmp(expected, value, SEAL_BYTES_C) == 0


def seal(unsigned char table, bytes key not None, bytes payload not None):
    return sealed(table, key, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload))


cdef bytes sealed(int table, bytes key, const char* payload, Py_ssize_t payload_bytes):
    cdef bytes value = PyBytes_FromStringAndSize(NULL, SEAL_BYTES_C + payload_bytes)
    cdef char* at = PyBytes_AS_STRING(value)
    if payload_bytes:
        memcpy(at + SEAL_BYTES_C, payload, payload_bytes)
    u32_write(at, crc_of(
        table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), payload, payload_bytes
    ))
    return value


def unseal(unsigned char table, bytes key not None, bytes value not None):
    """Return the payload. Raises `RecordCorrupt`."""
    if not is_sound(
        table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
        PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
    ):
        raise RecordCorrupt(table, key)
    return value[SEAL_BYTES_C:]


cdef bint rises(const char* last, size_t last_bytes, const char* key, size_t key_bytes) noexcept:
    cdef int order = memcmp(last, key, last_bytes if last_bytes < key_bytes else key_bytes)
    return order < 0 or order == 0 and last_bytes < key_bytes


def unseal_records(
    unsigned char table,
    bytes packed not None,
    bytes last not None,
    Py_ssize_t key_bytes,
    Py_ssize_t record_bytes,
):
    """Join the keys and records of a page of rows; what stands behind a record is apart, by key.

    Returns (joined, trails, keys of rows that fail their checksum, last key, number of rows).
    Shape: packed as by `contract.pack_rows`.
    Raises: `StoreDamaged` if a key does not follow the one before; the first is to follow `last`.
    """
    cdef Py_ssize_t row_bytes = key_bytes + record_bytes
    cdef const char* at = PyBytes_AS_STRING(packed)
    cdef const char* stop = at + PyBytes_GET_SIZE(packed)
    cdef const char* before = PyBytes_AS_STRING(last)
    cdef const char* key
    cdef const char* value
    cdef size_t before_bytes = PyBytes_GET_SIZE(last)
    cdef uint32_t lengths[2]
    cdef bytes joined = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(packed))
    cdef char* end = PyBytes_AS_STRING(joined)
    cdef Py_ssize_t payload_bytes, seen = 0
    cdef dict trails = {}
    cdef list corrupt = []
    while at < stop:
        if stop - at < <Py_ssize_t>sizeof(lengths):
            raise ValueError("a packed row is cut off")
        memcpy(lengths, at, sizeof(lengths))
        key = at + sizeof(lengths)
        if <size_t>(stop - key) < <size_t>lengths[0] + lengths[1]:
            raise ValueError("a packed row is cut off")
        value = key + lengths[0]
        at = value + lengths[1]
        if not rises(before, before_bytes, key, lengths[0]):
            raise StoreDamaged(f"rows of table {table} are out of order at {key[:lengths[0]].hex()}")
        before, before_bytes = key, lengths[0]
        seen += 1
        payload_bytes = <Py_ssize_t>lengths[1] - SEAL_BYTES_C
        if lengths[0] != <uint32_t>key_bytes or payload_bytes < record_bytes or not is_sound(
            table, key, key_bytes, value, lengths[1]
        ):
            corrupt.append(key[: lengths[0]])
            continue
        memcpy(end, key, key_bytes)
        memcpy(end + key_bytes, value + SEAL_BYTES_C, record_bytes)
        end += row_bytes
        if payload_bytes > record_bytes:
            trails[key[:key_bytes]] = value[SEAL_BYTES_C + record_bytes : lengths[1]]
    return (
        joined[: end - PyBytes_AS_STRING(joined)],
        trails,
        corrupt,
        before[:before_bytes],
        seen,
    )


def put_jobs(
    rows not None,
    tuple tables not None,
    uint32_t owner_id,
    bytes job_ids not None,
    bytes records not None,
    list specs not None,
    list keys not None,
):
    """Put the rows of new jobs into the tables SPEC, LIVE and BY_OWNER.

    Shape: ids and records are joined; keys are as in `JobsStored`. The payload of SPEC is what
    `layout.envelope_unpack` reads, that of LIVE a record, that of BY_OWNER empty.
    """
    cdef int spec_table, live_table, by_owner_table
    cdef Py_ssize_t count = len(specs)
    cdef Py_ssize_t record_bytes = PyBytes_GET_SIZE(records) // count if count else 0
    cdef const char* record = PyBytes_AS_STRING(records)
    cdef const char* of_ids = PyBytes_AS_STRING(job_ids)
    cdef dict spec_rows, live_rows, by_owner_rows
    cdef bytes job_id, spec, by_owner, key_digest, request_digest
    cdef Py_ssize_t i, next_key = -1
    if PyBytes_GET_SIZE(job_ids) != count * ID_BYTES:
        raise ValueError("an id has 16 bytes, each spec one")
    if PyBytes_GET_SIZE(records) != count * record_bytes:
        raise ValueError("records are of one size, each spec has one")
    spec_table, live_table, by_owner_table = tables
    spec_rows, live_rows, by_owner_rows = [rows[table] for table in tables]
    keys_left = iter(keys)
    next_key, key_digest, request_digest = next(keys_left, NO_KEY)
    for i in range(count):
        job_id = of_ids[i * ID_BYTES : (i + 1) * ID_BYTES]
        spec = specs[i]
        if i == next_key:
            spec_rows[job_id] = envelope(
                spec_table, job_id, owner_id, key_digest, request_digest, spec
            )
            next_key, key_digest, request_digest = next(keys_left, NO_KEY)
        else:
            spec_rows[job_id] = envelope(spec_table, job_id, owner_id, b"", b"", spec)
        live_rows[job_id] = sealed(
            live_table, job_id, record + i * record_bytes, record_bytes
        )
        by_owner = PyBytes_FromStringAndSize(NULL, OWNER_BYTES + ID_BYTES)
        u32_write(PyBytes_AS_STRING(by_owner), owner_id)
        memcpy(PyBytes_AS_STRING(by_owner) + OWNER_BYTES, of_ids + i * ID_BYTES, ID_BYTES)
        by_owner_rows[by_owner] = sealed(by_owner_table, by_owner, NULL, 0)
    if next_key >= 0:
        raise ValueError("keys rise, and each is of a job")


cdef bytes envelope(
    int table, bytes key, uint32_t owner_id, bytes key_digest, bytes request_digest, bytes spec
):
    """Seal what `layout.envelope_unpack` reads, put together in one go.

    Shape: u32 owner + u8 length of key digest + u8 length of request digest + both + spec.
    """
    cdef Py_ssize_t key_size = PyBytes_GET_SIZE(key_digest)
    cdef Py_ssize_t request_size = PyBytes_GET_SIZE(request_digest)
    cdef Py_ssize_t spec_size = PyBytes_GET_SIZE(spec)
    cdef Py_ssize_t size = ENVELOPE_HEAD + key_size + request_size + spec_size
    cdef bytes value
    cdef char* at
    if key_size > 255 or request_size > 255:
        raise ValueError("a digest has at most 255 bytes")
    value = PyBytes_FromStringAndSize(NULL, SEAL_BYTES_C + size)
    at = PyBytes_AS_STRING(value) + SEAL_BYTES_C
    u32_write(at, owner_id)
    at[4] = <char>key_size
    at[5] = <char>request_size
    at += ENVELOPE_HEAD
    memcpy(at, PyBytes_AS_STRING(key_digest), key_size)
    memcpy(at + key_size, PyBytes_AS_STRING(request_digest), request_size)
    memcpy(at + key_size + request_size, PyBytes_AS_STRING(spec), spec_size)
    u32_write(PyBytes_AS_STRING(value), crc_of(
        table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), at - ENVELOPE_HEAD, size
    ))
    return value


def unseal_specs(unsigned char table, list keys not None, list values not None):
    """Return the spec in each sealed envelope, None for None. Raises `RecordCorrupt`."""
    cdef bytes key, value
    cdef const unsigned char* at
    cdef Py_ssize_t i, begin, size
    cdef list specs = []
    if len(keys) != len(values):
        raise ValueError("each key has a value, or None")
    for i in range(len(keys)):
        key, value = keys[i], values[i]
        if value is None:
            specs.append(None)
            continue
        at = <const unsigned char*>PyBytes_AS_STRING(value)
        size = PyBytes_GET_SIZE(value)
        begin = SEAL_BYTES_C + ENVELOPE_HEAD
        if size >= begin:
            begin += at[SEAL_BYTES_C + 4] + at[SEAL_BYTES_C + 5]
        if size < begin or not is_sound(
            table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), <const char*>at, size
        ):
            raise RecordCorrupt(table, key)
        specs.append(PyBytes_FromStringAndSize(<const char*>at + begin, size - begin))
    return specs


def link(rows not None):
    """Return what a batch adds to the chain of commits, by table, in the order of staging.

    A row stands there as its checksum, which covers table, key and payload; a deleted one has no
    checksum, so its key does.
    """
    cdef bytes key, value
    cdef dict changed
    cdef Py_ssize_t size = 0
    cdef bytes joined
    cdef char* at
    for changed in rows.values():
        size += 1
        for key, value in changed.items():
            size += PyBytes_GET_SIZE(key) if value is None else SEAL_BYTES_C
    joined = PyBytes_FromStringAndSize(NULL, size)
    at = PyBytes_AS_STRING(joined)
    for table, changed in rows.items():
        at[0] = <char><unsigned char>table
        at += 1
        for key, value in changed.items():
            if value is None:
                memcpy(at, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                at += PyBytes_GET_SIZE(key)
            else:
                memcpy(at, PyBytes_AS_STRING(value), SEAL_BYTES_C)
                at += SEAL_BYTES_C
    return joined


cdef void seeds_fill() noexcept:
    cdef unsigned char number
    cdef int table
    for table in range(TABLES_MAX_C):
        number = <unsigned char>table
        seeds[table] = crc_more(0, &number, 1)


steps_fill()
seeds_fill()
