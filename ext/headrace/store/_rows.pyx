"""Rows unsealed by the many: the inner loops of what reads them."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t size, const void* needle, size_t needle_size)

from headrace.store._jobs cimport StoredJob
from headrace.store._seals cimport SEAL_BYTES_C, is_sound

from headrace.store.contract import RecordCorrupt, StoreDamaged

cdef enum:
    ENVELOPE_HEAD = 6
    STATUS_AT = 1  # in a record

def unseal(unsigned char table, bytes key not None, bytes value not None):
    """Return the payload. Raises `RecordCorrupt`."""
    if not is_sealed(table, key, value):
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
