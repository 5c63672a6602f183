"""A job as it is stored: the payloads of its rows, read when they are asked for.

A list has a thousand of them, and looks at a field or two of each. What `msgspec` would decode of a
payload of LIVE or DONE is read in place; the tests hold both to the same.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport Py_EQ, Py_NE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from headrace._native.record cimport RECORD_BYTES_C, Record
from headrace.store._jobs cimport State, Text

import msgspec

from headrace.core import job as life
from headrace.core.effects import Finished, Trail

cdef dict statuses = life.STATUSES
cdef object finished_decode = msgspec.msgpack.Decoder(Finished).decode
cdef object trail_decode = msgspec.msgpack.Decoder(Trail).decode


cdef enum:  # what a value is
    NOTHING = 0
    NUMBER
    TEXT
    BINARY


cdef struct Reader:  # of MessagePack
    const uint8_t* at
    const uint8_t* end


@cython.final
@cython.no_gc  # bytes, and structs without cycles
@cython.freelist(1024)
cdef class StoredJob:
    """A job as committed: LIVE while it lives, DONE afterwards, which wins if there are both.

    Shape: payloads, without their seals.
    """

    def __init__(
        self,
        bytes job_id not None,
        uint32_t owner_id,
        bytes spec not None,
        bytes live=None,
        bytes done=None,
    ):
        if live is None and done is None:
            raise ValueError("a job is in one of the tables")
        self.job_id = job_id
        self.owner_id = owner_id
        self.spec = spec
        self.live = None if done is not None else live
        self.done = done

    @property
    def finished(self):
        """How it ended; None while it lives. In a list without a long `body`.

        Raises: msgspec.MsgspecError.
        """
        if self.end is None and self.done is not None:
            self.end = finished_decode(self.done[1:])
        return self.end

    @property
    def trail(self):
        """What is kept beside the record of a live job; None for one that says nothing.

        Raises: msgspec.MsgspecError.
        """
        if self.on_its_way is None and self.live is not None:
            if PyBytes_GET_SIZE(self.live) > RECORD_BYTES_C:
                self.on_its_way = trail_decode(self.live[RECORD_BYTES_C:])
        return self.on_its_way

    @property
    def record(self):
        cdef State state
        if self.read(&state):
            return PyBytes_FromStringAndSize(state.record, RECORD_BYTES_C)
        return self.finished.record if self.live is None else self.live[:RECORD_BYTES_C]

    @property
    def status(self):
        cdef State state
        if self.read(&state):
            return statuses[(<const Record*>state.record).status]
        return self.finished.status if self.live is None else statuses[self.live[1]]

    @property
    def attempt(self):
        """How many times it was given to a worker."""
        cdef State state
        cdef bytes record
        if not self.read(&state):
            record = self.record
            if PyBytes_GET_SIZE(record) < RECORD_BYTES_C:
                raise ValueError(f"a job record has {RECORD_BYTES_C} bytes")
            state.record = PyBytes_AS_STRING(record)
        return (<const Record*>state.record).attempt

    cdef bint read(self, State* state) noexcept:
        cdef Reader reader
        memset(state, 0, sizeof(State))
        if self.live is None:
            reader.at = <const uint8_t*>PyBytes_AS_STRING(self.done) + 1
            reader.end = reader.at - 1 + PyBytes_GET_SIZE(self.done)
            state.has_ended = True
            return fields_read(&reader, state) and state.record != NULL
        if PyBytes_GET_SIZE(self.live) < RECORD_BYTES_C:
            return False
        state.record = PyBytes_AS_STRING(self.live)
        if PyBytes_GET_SIZE(self.live) == RECORD_BYTES_C:
            return True
        reader.at = <const uint8_t*>state.record + RECORD_BYTES_C
        reader.end = <const uint8_t*>state.record + PyBytes_GET_SIZE(self.live)
        return fields_read(&reader, state)

    def __richcmp__(self, other, int op):
        if op != Py_EQ and op != Py_NE or type(other) is not StoredJob:
            return NotImplemented
        return (self.__reduce__() == other.__reduce__()) is (op == Py_EQ)

    def __hash__(self):
        return hash(self.job_id)

    def __reduce__(self):
        return StoredJob, (self.job_id, self.owner_id, self.spec, self.live, self.done)

    def __repr__(self):
        return f"StoredJob{self.__reduce__()[1]}"


cdef bint fields_read(Reader* reader, State* state) noexcept:
    """Read a map of `Finished` or `Trail`. False: it is not as it is written."""
    cdef int64_t number = 0
    cdef Text key, text
    cdef int kind, count
    cdef uint8_t status = 0
    if reader.at >= reader.end or reader.at[0] >> 4 != 0x8:
        return False
    count = reader.at[0] & 15
    reader.at += 1
    while count:
        count -= 1
        if value_read(reader, &number, &key) != TEXT:
            return False
        kind = value_read(reader, &number, &text)
        if kind == NUMBER and is_named(&key, b"started_at_ms", 13):
            state.started_at_ms = number
        elif kind == NUMBER and is_named(&key, b"updated_at_ms", 13):
            state.updated_at_ms = number
        elif kind == NUMBER and is_named(&key, b"finished_at_ms", 14):
            state.finished_at_ms = state.updated_at_ms = number
        elif kind == NUMBER and is_named(&key, b"status", 6):
            status = <uint8_t>number
        elif kind == BINARY and is_named(&key, b"record", 6):
            if text.size != RECORD_BYTES_C:
                return False
            state.record = text.begin
        elif kind == TEXT and is_named(&key, b"worker", 6):
            state.worker = text
        elif kind == TEXT and is_named(&key, b"error", 5):
            state.error = text
        elif kind == NOTHING:
            return False
    if status and (state.record == NULL or (<const Record*>state.record).status != status):
        return False
    return reader.at == reader.end


cdef inline bint is_named(const Text* key, const char* name, Py_ssize_t size) noexcept:
    return key.size == size and memcmp(key.begin, name, size) == 0


cdef int value_read(Reader* reader, int64_t* number, Text* text) noexcept:
    """Read an integer, a text or binary data. NOTHING: it is none of them, or cut off."""
    cdef uint8_t code
    if reader.at >= reader.end:
        return NOTHING
    code = reader.at[0]
    reader.at += 1
    if code < 0x80:
        number[0] = code
        return NUMBER
    if code >> 5 == 0x5:  # a short text
        return text_read(reader, code & 31, text, TEXT)
    if code >= 0xE0:
        number[0] = <int64_t>code - 256
        return NUMBER
    if 0xCC <= code <= 0xCF:
        return number_read(reader, 1 << (code - 0xCC), False, number)
    if 0xD0 <= code <= 0xD3:
        return number_read(reader, 1 << (code - 0xD0), True, number)
    if 0xC4 <= code <= 0xC6:
        if number_read(reader, 1 << (code - 0xC4), False, number) == NOTHING:
            return NOTHING
        return text_read(reader, number[0], text, BINARY)
    if 0xD9 <= code <= 0xDB:
        if number_read(reader, 1 << (code - 0xD9), False, number) == NOTHING:
            return NOTHING
        return text_read(reader, number[0], text, TEXT)
    return NOTHING


cdef int number_read(Reader* reader, int size, bint is_signed, int64_t* number) noexcept:
    cdef uint64_t read = 0
    cdef int i
    if reader.end - reader.at < size:
        return NOTHING
    for i in range(size):
        read = read << 8 | reader.at[i]
    reader.at += size
    if is_signed and size < 8:
        number[0] = <int64_t>(read << (64 - 8 * size)) >> (64 - 8 * size)
    elif not is_signed and read >> 63:
        return NOTHING
    else:
        number[0] = <int64_t>read
    return NUMBER


cdef int text_read(Reader* reader, int64_t size, Text* text, int kind) noexcept:
    if reader.end - reader.at < size:
        return NOTHING
    text.begin = <const char*>reader.at
    text.size = size
    reader.at += size
    return kind
