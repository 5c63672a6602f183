"""Jobs as clients read them, written from what is stored without making objects of it.

What is written is what `views.job_view` would be encoded to; the tests hold both to the same. A
job that takes thought is left to it: one that waits for its next try, or tells of progress.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from headrace._native.json_text cimport DEPTH_MAX, space_end, string_end, value_end
from headrace._native.record cimport Record
from headrace._native.text cimport INSTANT_CHARS, instant_write
from headrace.store._jobs cimport State, StoredJob, Text

from headrace.core import job as life

cdef enum:
    FIELDS_MAX = 64
    STATUSES_MAX = 32
    NUMBER_CHARS = 20
    STATE_CHARS = 512  # of all that is told of a job's state, more than that has
    FORMAT = 1

    # What a field tells.
    ASKED = 0      # what the spec says
    NOT_SHOWN      # the same, and clients do not see it
    TENANT
    STATUS
    ATTEMPT
    FAILURES
    CRASHES
    STOPS
    PROGRESS
    ERROR
    LOCKED_BY
    STARTED_AT
    FINISHED_AT
    UPDATED_AT

cdef dict KINDS = {
    "tenant_id": TENANT,
    "status": STATUS,
    "attempt": ATTEMPT,
    "failures": FAILURES,
    "crashes": CRASHES,
    "stops": STOPS,
    "progress": PROGRESS,
    "error": ERROR,
    "locked_by": LOCKED_BY,
    "updated_at": UPDATED_AT,
    "started_at": STARTED_AT,
    "finished_at": FINISHED_AT,
}
cdef bint IS_LEASED[STATUSES_MAX]
cdef uint8_t SCHEDULED = life.Status.SCHEDULED
cdef uint8_t COMPLETED = life.Status.COMPLETED
cdef int status_number
for status_number in range(STATUSES_MAX):
    IS_LEASED[status_number] = status_number in life.LEASED
assert life.RECORD_FORMAT == FORMAT


cdef struct Field:
    int kind
    Text name
    Text lead      # what stands before its value
    Text default


@cython.final
cdef class Shown:
    """Writes jobs of one shape.

    Shape: `fields` are, in order, a name and the JSON of what is shown if a spec does not say;
    empty if each spec says it. `hidden` are the members of a spec that are not shown.
    """

    cdef list kept  # what the fields point to
    cdef Field fields[FIELDS_MAX]
    cdef int count   # of the fields that are shown
    cdef int known   # the same, and those that are not
    cdef int created_at
    cdef Py_ssize_t chars  # of all names and defaults
    cdef list words  # of statuses, as JSON

    def __init__(self, list fields not None, list hidden not None, dict words not None):
        cdef bytes name, default
        if len(fields) + len(hidden) > FIELDS_MAX:
            raise ValueError(f"a job has at most {FIELDS_MAX} fields")
        self.kept = []
        self.words = [None] * STATUSES_MAX
        self.created_at = -1
        for status, word in words.items():
            self.words[status] = b'"' + word.encode() + b'"'
        for field, default in fields:
            name = field.encode()
            if field == "created_at":
                self.created_at = self.known
            self.field_add(KINDS.get(field, ASKED), name, default)
        self.count = self.known
        for field in hidden:
            self.field_add(NOT_SHOWN, field.encode(), b"")
        if self.created_at < 0:
            raise ValueError("what is not told of a job is that it was made")

    cdef void field_add(self, int kind, bytes name, bytes default):
        cdef bytes lead = (b"," if self.known else b"{") + b'"' + name + b'":'
        self.kept += [name, lead, default]
        self.fields[self.known].kind = kind
        self.fields[self.known].name = text_of(name)
        self.fields[self.known].lead = text_of(lead)
        self.fields[self.known].default = text_of(default)
        self.chars += len(lead) + len(default)
        self.known += 1

    def write(self, list jobs not None, bytes tenant not None):
        """Return the JSON of each job of a tenant, None for one that takes thought.

        `tenant`: as JSON.
        """
        cdef StoredJob job
        cdef Py_ssize_t size, room = 0
        cdef char* text = NULL
        cdef char* more
        cdef char* end
        cdef list texts = []
        try:
            for job in jobs:
                size = self.chars + STATE_CHARS + len(tenant) + 2 * len(job.spec)
                size += len(job.done if job.live is None else job.live)
                if size > room:
                    more = <char*>realloc(text, size)
                    if more == NULL:
                        raise MemoryError
                    text, room = more, size
                end = self.job_write(text, job, tenant)
                texts.append(None if end == NULL else PyBytes_FromStringAndSize(text, end - text))
        finally:
            free(text)
        return texts

    cdef char* job_write(self, char* at, StoredJob job, bytes tenant) except? NULL:
        """Write a job, and return what is behind it. NULL: it takes thought."""
        cdef Text asked[FIELDS_MAX]
        cdef State state
        cdef const Record* record
        cdef Field* field
        cdef int i
        if not job.read(&state) or not self.spec_read(job.spec, asked):
            return NULL
        if not is_plain(&state.error) or not is_plain(&state.worker):
            return NULL
        record = <const Record*>state.record
        if record.format != FORMAT or record.status >= STATUSES_MAX:
            return NULL
        if record.status == SCHEDULED and record.attempt:
            return NULL
        if state.has_ended or not IS_LEASED[record.status]:
            state.worker.size = 0  # it is nobody's any more
        for i in range(self.count):
            field = &self.fields[i]
            at = written(at, &field.lead)
            if field.kind == ASKED:
                if asked[i].size == 0:
                    return NULL
                at = written(at, &asked[i])
            elif field.kind == TENANT:
                at = written_bytes(at, tenant)
            elif field.kind == STATUS:
                at = written_bytes(at, <bytes?>self.words[record.status])
            elif field.kind == ATTEMPT:
                at = number_written(at, record.attempt)
            elif field.kind == FAILURES:
                at = number_written(at, record.failures)
            elif field.kind == CRASHES:
                at = number_written(at, record.crashes)
            elif field.kind == STOPS:
                at = number_written(at, record.stops)
            elif field.kind == PROGRESS:
                at = written_bytes(at, b"1.0" if record.status == COMPLETED else b"0.0")
            elif field.kind == ERROR:
                at = string_written(at, &state.error)
            elif field.kind == LOCKED_BY:
                at = string_written(at, &state.worker)
            elif field.kind == STARTED_AT:
                at = instant_written(at, state.started_at_ms)
            elif field.kind == FINISHED_AT:
                at = instant_written(at, state.finished_at_ms)
            elif state.updated_at_ms:
                at = instant_written(at, state.updated_at_ms)
            else:
                at = written(at, &asked[self.created_at])
        return written_bytes(at, b"}")

    cdef bint spec_read(self, bytes spec, Text* asked) noexcept:
        """Find what a spec says of each field, or what is shown where it says nothing."""
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(spec)
        cdef const uint8_t* end = at + PyBytes_GET_SIZE(spec)
        cdef const uint8_t* value
        cdef const uint8_t* name
        cdef int i, field = 0, noticed = 0
        for i in range(self.known):
            asked[i] = self.fields[i].default
        if at >= end or at[0] != c"{":
            return False
        at += 1
        while True:
            if at >= end or at[0] != c'"':
                return False
            name = at + 1
            at = string_end(name, end, &noticed)
            if at == NULL or at >= end or at[0] != c":":
                return False
            field = self.field_named(name, at - 1 - name)
            if field < 0:
                return False
            value = space_end(at + 1)
            at = value_end(value, end, DEPTH_MAX, &noticed)
            if at == NULL:
                return False
            asked[field].begin = <const char*>value
            asked[field].size = at - value
            if at < end and at[0] == c",":
                at += 1
            else:
                return at + 1 == end and at[0] == c"}"

    cdef int field_named(self, const uint8_t* name, Py_ssize_t size) noexcept:
        """Return the field of a member; -1: there is none."""
        cdef int i
        for i in range(self.known):
            if self.fields[i].name.size == size and (
                memcmp(self.fields[i].name.begin, name, size) == 0
            ):
                return i if self.fields[i].kind <= NOT_SHOWN else -1
        return -1


cdef inline Text text_of(bytes text) noexcept:
    cdef Text found
    found.begin = PyBytes_AS_STRING(text)
    found.size = PyBytes_GET_SIZE(text)
    return found


cdef inline char* written(char* at, const Text* text) noexcept:
    memcpy(at, text.begin, text.size)
    return at + text.size


cdef inline char* written_bytes(char* at, bytes text) noexcept:
    memcpy(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return at + PyBytes_GET_SIZE(text)


cdef inline char* number_written(char* at, uint32_t number) noexcept:
    cdef char digits[NUMBER_CHARS]
    cdef int first = NUMBER_CHARS
    while True:
        first -= 1
        digits[first] = <char>(c"0" + number % 10)
        number //= 10
        if number == 0:
            break
    memcpy(at, digits + first, NUMBER_CHARS - first)
    return at + NUMBER_CHARS - first


cdef inline char* instant_written(char* at, int64_t at_ms) except NULL:
    if at_ms == 0:
        return written_bytes(at, b"null")
    at[0] = at[INSTANT_CHARS + 1] = c'"'
    instant_write(at + 1, at_ms)
    return at + INSTANT_CHARS + 2


cdef inline char* string_written(char* at, const Text* text) noexcept:
    """Write a plain text; null for an empty one."""
    if text.size == 0:
        return written_bytes(at, b"null")
    at[0] = at[text.size + 1] = c'"'
    memcpy(at + 1, text.begin, text.size)
    return at + text.size + 2


cdef bint is_plain(const Text* text) noexcept:
    """Say whether a text is written in JSON as it is."""
    cdef Py_ssize_t i
    cdef uint8_t letter
    for i in range(text.size):
        letter = <uint8_t>text.begin[i]
        if letter < 0x20 or letter >= 0x7F or letter == c'"' or letter == c"\\":
            return False
    return True
