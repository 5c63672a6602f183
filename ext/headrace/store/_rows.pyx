"""Rows sealed and unsealed by the many: the inner loops of `layout`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t size, const void* needle, size_t needle_size)

from headrace.store._jobs cimport StoredJob
from headrace.store._seals cimport SEAL_BYTES_C, crc_of, is_sound, u32_write

from headrace.store.contract import RecordCorrupt, StoreDamaged

cdef enum:
    ENVELOPE_HEAD = 6
    ID_BYTES = 16
    OWNER_BYTES = 4
    STATUS_AT = 1  # in a record
    FINISHED_BYTES_MAX = 128  # without record, worker and body
    SHORT_TEXT = 32  # bytes; these and more are long, in MessagePack
    BINARY = 0xC4
    TEXT = 0xD9

cdef tuple NO_KEY = (-1, None, None)

cdef bytes sealed(int table, bytes key, const char* payload, Py_ssize_t payload_bytes):
    cdef bytes value = PyBytes_FromStringAndSize(NULL, SEAL_BYTES_C + payload_bytes)
    cdef char* at = PyBytes_AS_STRING(value)
    if payload_bytes:
        memcpy(at + SEAL_BYTES_C, payload, payload_bytes)
    u32_write(at, crc_of(
        table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), payload, payload_bytes
    ))
    return value


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


cdef Py_ssize_t spec_begin(int table, bytes key, bytes value) noexcept:
    """Return where the spec begins in a sealed envelope; -1 for a row that is corrupt."""
    cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(value)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    cdef Py_ssize_t begin = SEAL_BYTES_C + ENVELOPE_HEAD
    if size >= begin:
        begin += at[SEAL_BYTES_C + 4] + at[SEAL_BYTES_C + 5]
    if size < begin or not is_sound(
        table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), <const char*>at, size
    ):
        return -1
    return begin


cdef inline uint32_t owner_of(const char* value) noexcept:
    """Return the owner in a sealed envelope."""
    cdef const unsigned char* at = <const unsigned char*>value + SEAL_BYTES_C
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef inline bytes behind(bytes value, Py_ssize_t begin):
    return PyBytes_FromStringAndSize(
        PyBytes_AS_STRING(value) + begin, PyBytes_GET_SIZE(value) - begin
    )


def unseal_specs(unsigned char table, list keys not None, list values not None):
    """Return the spec in each sealed envelope, None for None. Raises `RecordCorrupt`."""
    cdef bytes key, value
    cdef Py_ssize_t i, begin
    cdef list specs = []
    if len(keys) != len(values):
        raise ValueError("each key has a value, or None")
    for i in range(len(keys)):
        key, value = keys[i], values[i]
        if value is None:
            specs.append(None)
            continue
        begin = spec_begin(table, key, value)
        if begin < 0:
            raise RecordCorrupt(table, key)
        specs.append(behind(value, begin))
    return specs


def unseal_jobs(
    tuple tables not None,
    list job_ids not None,
    list specs not None,
    list lives not None,
    list dones not None,
):
    """Put jobs together from their rows in the tables SPEC, LIVE and DONE.

    Returns a job for each id, None for one that has no row in SPEC; and in place of a job whose
    rows are corrupt, or in neither of the others, its id.
    """
    cdef int spec_table, live_table, done_table
    cdef bytes job_id, spec, live, done
    cdef Py_ssize_t i, begin
    cdef StoredJob job
    cdef list jobs = []
    if not len(job_ids) == len(specs) == len(lives) == len(dones):
        raise ValueError("each id has a value of each table, or None")
    spec_table, live_table, done_table = tables
    for i in range(len(job_ids)):
        job_id, spec, live, done = job_ids[i], specs[i], lives[i], dones[i]
        if spec is None:
            jobs.append(None)
            continue
        begin = spec_begin(spec_table, job_id, spec)
        if (
            begin < 0
            or live is done  # neither is there
            or live is not None and not is_sealed(live_table, job_id, live)
            or done is not None and not is_sealed(done_table, job_id, done)
        ):
            jobs.append(job_id)
            continue
        job = StoredJob.__new__(StoredJob)
        job.job_id = job_id
        job.owner_id = owner_of(PyBytes_AS_STRING(spec))
        job.spec = behind(spec, begin)
        if done is None:
            job.live = behind(live, SEAL_BYTES_C)
        else:
            job.done = behind(done, SEAL_BYTES_C)
        jobs.append(job)
    return jobs


cdef inline bint is_sealed(int table, bytes key, bytes value) noexcept:
    return is_sound(
        table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key),
        PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value),
    )


def keys_behind(unsigned char table, list rows not None, Py_ssize_t skip, bint are_checked):
    """Return what stands behind so many bytes in each row's key; and of rows that are corrupt.

    `are_checked`: whether checksums are looked at.
    """
    cdef bytes key, value, rest
    cdef list rests = []
    cdef list corrupt = []
    for key, value in rows:
        if skip > PyBytes_GET_SIZE(key):
            raise ValueError("a key is longer than what is skipped")
        rest = behind(key, skip)
        rests.append(rest)
        if are_checked and not is_sealed(table, key, value):
            corrupt.append(rest)
    return rests, corrupt


def may_be(unsigned char table, list keys not None, list values not None, numbers not None):
    """Return the positions of sealed records that may be in one of these statuses, rising.

    A row that fails its checksum is kept, one that is None is not.
    """
    cdef bytes key, value
    cdef Py_ssize_t i, size
    cdef const char* at
    cdef list kept = []
    cdef bint wanted[256]
    cdef int number
    if len(keys) != len(values):
        raise ValueError("each key has a value, or None")
    for i in range(256):
        wanted[i] = False
    for number in numbers:
        wanted[number & 255] = True
    for i in range(len(keys)):
        key, value = keys[i], values[i]
        if value is None:
            continue
        at = PyBytes_AS_STRING(value)
        size = PyBytes_GET_SIZE(value)
        if (
            size > SEAL_BYTES_C + STATUS_AT and wanted[<unsigned char>at[SEAL_BYTES_C + STATUS_AT]]
        ) or not is_sound(table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), at, size):
            kept.append(i)
    return kept


def may_match(
    unsigned char table,
    list keys not None,
    list values not None,
    owners,
    list groups not None,
):
    """Return the positions of sealed envelopes that may be of jobs asked for, rising.

    Others are of no owner among `owners` (None: of any), or their spec holds, of one of the
    groups of texts, none. A row that fails its checksum is kept, one that is None is not.
    """
    cdef bytes key, value, text
    cdef const char* at
    cdef Py_ssize_t i, size
    cdef list kept = []
    cdef list group
    cdef bint held = True
    if len(keys) != len(values):
        raise ValueError("each key has a value, or None")
    for i in range(len(keys)):
        key, value = keys[i], values[i]
        if value is None:
            continue
        at = PyBytes_AS_STRING(value)
        size = PyBytes_GET_SIZE(value)
        held = size >= SEAL_BYTES_C + ENVELOPE_HEAD
        if held and owners is not None:
            held = owner_of(at) in owners
        if held:
            for group in groups:
                held = False
                for text in group:
                    if memmem(
                        at + SEAL_BYTES_C + ENVELOPE_HEAD, size - SEAL_BYTES_C - ENVELOPE_HEAD,
                        PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text),
                    ) != NULL:
                        held = True
                        break
                if not held:
                    break
        if held or not is_sound(
            table, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), at, size
        ):
            kept.append(i)
    return kept


def put_leased(
    rows not None,
    int live_table,
    bytes job_ids not None,
    bytes records not None,
    bytes trail not None,
):
    """Put the rows of jobs that one poll got into the table LIVE.

    Shape: ids and records are joined; the payload is a record and the trail.
    """
    cdef Py_ssize_t i, count = PyBytes_GET_SIZE(job_ids) // ID_BYTES
    cdef Py_ssize_t record_bytes = PyBytes_GET_SIZE(records) // count if count else 0
    cdef bytes payload = PyBytes_FromStringAndSize(NULL, record_bytes + PyBytes_GET_SIZE(trail))
    cdef char* begin = PyBytes_AS_STRING(payload)
    cdef dict live_rows = rows[live_table]
    cdef bytes job_id
    fitting(job_ids, records, count, record_bytes)
    memcpy(begin + record_bytes, PyBytes_AS_STRING(trail), PyBytes_GET_SIZE(trail))
    for i in range(count):
        memcpy(begin, PyBytes_AS_STRING(records) + i * record_bytes, record_bytes)
        job_id = PyBytes_FromStringAndSize(PyBytes_AS_STRING(job_ids) + i * ID_BYTES, ID_BYTES)
        live_rows[job_id] = sealed(live_table, job_id, begin, PyBytes_GET_SIZE(payload))


def put_completed(
    rows not None,
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
    """Put the rows of jobs that ended well into LIVE (deleted), DONE, BODIES and BY_STATUS.

    Shape: ids and records are joined. The payload of DONE is what `layout.finished_pack` makes,
    that of BODIES a body longer than the most, that of BY_STATUS empty.
    """
    cdef int live_table, done_table, bodies_table, by_status_table
    cdef Py_ssize_t i, count = len(bodies)
    cdef Py_ssize_t record_bytes = PyBytes_GET_SIZE(records) // count if count else 0
    cdef bytes worker_text = worker.encode()
    cdef bytes payload = PyBytes_FromStringAndSize(
        NULL,
        FINISHED_BYTES_MAX + record_bytes + PyBytes_GET_SIZE(worker_text) + body_bytes_max,
    )
    cdef char* begin = PyBytes_AS_STRING(payload)
    cdef char* at
    cdef dict live_rows, done_rows, by_status_rows
    cdef bytes job_id, body, by_status
    cdef int64_t started
    cdef bint is_apart
    fitting(job_ids, records, count, record_bytes)
    if len(started_at_ms) != count:
        raise ValueError("each job was started once")
    live_table, done_table, bodies_table, by_status_table = tables
    live_rows, done_rows, by_status_rows = (
        rows[live_table], rows[done_table], rows[by_status_table]
    )
    for i in range(count):
        job_id = PyBytes_FromStringAndSize(PyBytes_AS_STRING(job_ids) + i * ID_BYTES, ID_BYTES)
        body = bodies[i]
        started = started_at_ms[i]
        is_apart = PyBytes_GET_SIZE(body) > body_bytes_max
        if is_apart:
            rows[bodies_table][job_id] = sealed(
                bodies_table, job_id, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)
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
        live_rows[job_id] = None
        done_rows[job_id] = sealed(done_table, job_id, begin, at - begin)
        by_status = PyBytes_FromStringAndSize(NULL, 1 + ID_BYTES)
        pack_raw(
            pack_byte(PyBytes_AS_STRING(by_status), status), PyBytes_AS_STRING(job_id), ID_BYTES
        )
        by_status_rows[by_status] = sealed(by_status_table, by_status, NULL, 0)


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
