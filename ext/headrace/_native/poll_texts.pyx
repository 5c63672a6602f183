"""The JSON of polls: reports of completions in, leased jobs out, many at a time.

What is read here is read as `wire.schema` would, and what is written is written as it would be; the
tests hold both to it. What is not plain is left to it.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from headrace._native.json_text cimport DEPTH_MAX, ESCAPED, space_end, string_end, value_end
from headrace._native.record cimport RECORD_BYTES_C, Record
from headrace._native.text cimport INSTANT_CHARS, instant_write
from headrace._native.token_text cimport TEXT_CHARS

cdef enum:
    NUMBER_CHARS = 10   # of an attempt

cdef bytes RESULT = b'{"result":'
cdef bytes LEASE = b'{"lease":"'
cdef bytes JOB = b'","job":'
cdef bytes ATTEMPT = b',"attempt":'
cdef bytes DEADLINE = b',"deadline":"'
cdef bytes CHECKPOINT = b'","checkpoint":'


cdef struct Text:
    const uint8_t* begin
    const uint8_t* end


# In ---------------------------------------------------------------------------------------------


def reports_read(bytes data not None, Py_ssize_t result_bytes_max, int depth_max):
    """Split the array of a poll's reports into runs of plain completions, and the others.

    Returns in their order: (tokens, bodies) of each run, the tokens joined; and each other report
    as its own JSON, not looked at. None if this is no array, or not one that can be split.

    A plain completion has the members `lease` (a token's length of its characters), `outcome`
    ("completed"), and perhaps a `result` that `json_is_plain` and is not too long; each once. Its
    body is what is kept of it: `{"result":…}`, or nothing.
    """
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef const uint8_t* end = at + PyBytes_GET_SIZE(data)
    cdef const uint8_t* begin
    cdef Text lease, result
    cdef list found = [], bodies = []
    cdef bytes tokens = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(data))  # they are within
    cdef char* tokens_begin = PyBytes_AS_STRING(tokens)
    cdef char* tokens_end = tokens_begin
    assert 0 <= depth_max <= DEPTH_MAX
    at = space_end(at)
    if at == end or at[0] != c"[":
        return None
    at = space_end(at + 1)
    if at < end and at[0] == c"]":
        return found if space_end(at + 1) == end else None
    while True:
        begin = space_end(at)
        at = completion_end(begin, end, depth_max, &lease, &result)
        if at != NULL and result.end - result.begin <= result_bytes_max:
            memcpy(tokens_end, lease.begin, TEXT_CHARS)
            tokens_end += TEXT_CHARS
            bodies.append(body_of(&result))
        else:
            at = object_end(begin, end)
            if at == NULL:
                return None
            if bodies:
                found.append((tokens_begin[: tokens_end - tokens_begin], bodies))
                bodies = []
                tokens_end = tokens_begin
            found.append((<const char*>begin)[: at - begin])
        at = space_end(at)
        if at == end:
            return None
        if at[0] == c"]":
            break
        if at[0] != c",":
            return None
        at += 1
    if bodies:
        found.append((tokens_begin[: tokens_end - tokens_begin], bodies))
    return found if space_end(at + 1) == end else None


cdef bytes body_of(const Text* result):
    cdef Py_ssize_t size = result.end - result.begin
    cdef Py_ssize_t before = PyBytes_GET_SIZE(RESULT)
    cdef bytes body
    cdef char* at
    if size == 0:
        return b""
    body = PyBytes_FromStringAndSize(NULL, before + size + 1)
    at = PyBytes_AS_STRING(body)
    memcpy(at, PyBytes_AS_STRING(RESULT), before)
    memcpy(at + before, result.begin, size)
    at[before + size] = c"}"
    return body


cdef const uint8_t* completion_end(
    const uint8_t* at, const uint8_t* end, int depth_max, Text* lease, Text* result
) noexcept:
    """Return where a plain completion ends that begins here; NULL if none does."""
    cdef Text name, value
    cdef bint is_completed = False
    cdef int noticed
    lease.begin = lease.end = result.begin = result.end = NULL
    if at == end or at[0] != c"{":
        return NULL
    while True:
        at = space_end(at + 1)  # behind the brace, or the comma
        if at == end or at[0] != c'"':
            return NULL
        noticed = 0
        name.begin = at + 1
        at = string_end(at + 1, end, &noticed)
        if at == NULL or noticed:
            return NULL
        name.end = at - 1
        at = space_end(at)
        if at == end or at[0] != c":":
            return NULL
        value.begin = space_end(at + 1)
        at = value.end = value_end(value.begin, end, depth_max, &noticed)
        if at == NULL or noticed & ~ESCAPED:
            return NULL
        if is_word(&name, b"lease", 5):
            if lease.begin != NULL or noticed or not token_within(&value):
                return NULL
            lease.begin = value.begin + 1
            lease.end = value.end - 1
        elif is_word(&name, b"outcome", 7):
            if is_completed or not is_word(&value, b'"completed"', 11):
                return NULL
            is_completed = True
        elif is_word(&name, b"result", 6):
            if result.begin != NULL:
                return NULL
            result[0] = value
        else:
            return NULL
        at = space_end(at)
        if at == end:
            return NULL
        if at[0] == c"}":
            return at + 1 if is_completed and lease.begin != NULL else NULL
        if at[0] != c",":
            return NULL


cdef inline bint is_word(const Text* text, const char* word, Py_ssize_t size) noexcept:
    return text.end - text.begin == size and memcmp(text.begin, word, size) == 0


cdef inline bint token_within(const Text* value) noexcept:
    """Whether this is the JSON of a text as long as a token, if it has no escapes."""
    return value.end - value.begin == TEXT_CHARS + 2 and value.begin[0] == c'"'


cdef const uint8_t* object_end(const uint8_t* at, const uint8_t* end) noexcept:
    """Return where the object ends that begins here, of JSON that is known to be well-formed."""
    cdef int depth = 0
    cdef bint in_string = False
    if at == end or at[0] != c"{":
        return NULL
    while at < end:
        if in_string:
            if at[0] == c"\\":
                at += 1
            elif at[0] == c'"':
                in_string = False
        elif at[0] == c'"':
            in_string = True
        elif at[0] == c"{" or at[0] == c"[":
            depth += 1
        elif at[0] == c"}" or at[0] == c"]":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return NULL


# Out --------------------------------------------------------------------------------------------


def acks_json(bytes tokens not None, bytes before not None, bytes behind not None):
    """Write each of the joined tokens between two texts, apart by commas."""
    cdef Py_ssize_t count = PyBytes_GET_SIZE(tokens) // TEXT_CHARS
    cdef const char* token = PyBytes_AS_STRING(tokens)
    cdef bytes text
    cdef char* at
    cdef Py_ssize_t i
    if count == 0:
        return b""
    text = PyBytes_FromStringAndSize(
        NULL,
        count * (PyBytes_GET_SIZE(before) + TEXT_CHARS + PyBytes_GET_SIZE(behind) + 1) - 1,
    )
    at = PyBytes_AS_STRING(text)
    for i in range(count):
        if i:
            at[0] = c","
            at += 1
        at = written(at, before)
        memcpy(at, token + i * TEXT_CHARS, TEXT_CHARS)
        at = written(at + TEXT_CHARS, behind)
    return text


def work_json(
    bytes tokens not None,
    bytes records not None,
    list deadlines_at_ms not None,
    list specs not None,
    dict checkpoints not None,
):
    """Write `wire.schema.Work` of each job that has a spec, apart by commas.

    Shape: tokens and records joined, checkpoints by position; specs and checkpoints are JSON.
    """
    cdef Py_ssize_t count = len(specs)
    cdef const char* token = PyBytes_AS_STRING(tokens)
    cdef const Record* record
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t i
    cdef bytes spec, checkpoint, text
    cdef char* begin
    cdef char* at
    cdef char instant[INSTANT_CHARS]
    cdef int64_t at_ms, written_ms = 0
    assert PyBytes_GET_SIZE(tokens) == count * TEXT_CHARS
    assert PyBytes_GET_SIZE(records) == count * RECORD_BYTES_C
    assert len(deadlines_at_ms) == count
    for spec in specs:
        if spec is not None:
            size += PyBytes_GET_SIZE(spec)
    for checkpoint in checkpoints.values():
        size += PyBytes_GET_SIZE(checkpoint)
    text = PyBytes_FromStringAndSize(
        NULL,
        size
        + count * (
            PyBytes_GET_SIZE(LEASE) + TEXT_CHARS + PyBytes_GET_SIZE(JOB)
            + PyBytes_GET_SIZE(ATTEMPT) + NUMBER_CHARS + PyBytes_GET_SIZE(DEADLINE)
            + INSTANT_CHARS + PyBytes_GET_SIZE(CHECKPOINT) + 3  # the quote, the brace, the comma
        ),
    )
    begin = at = PyBytes_AS_STRING(text)
    for i in range(count):
        spec = specs[i]
        if spec is None:
            continue
        record = <const Record*>(PyBytes_AS_STRING(records) + i * RECORD_BYTES_C)
        if at != begin:
            at[0] = c","
            at += 1
        at = written(at, LEASE)
        memcpy(at, token + i * TEXT_CHARS, TEXT_CHARS)
        at = written(at + TEXT_CHARS, JOB)
        at = written(at, spec)
        at = written(at, ATTEMPT)
        at = number_written(at, record.attempt)
        at = written(at, DEADLINE)
        at_ms = deadlines_at_ms[i]
        if at_ms:
            if at_ms != written_ms:
                instant_write(instant, at_ms)
                written_ms = at_ms
            memcpy(at, instant, INSTANT_CHARS)
            at += INSTANT_CHARS
        checkpoint = checkpoints.get(i)
        if checkpoint is not None:
            at = written(at, CHECKPOINT)
            at = written(at, checkpoint)
        else:
            at[0] = c'"'
            at += 1
        at[0] = c"}"
        at += 1
    return text[: at - begin]


cdef inline char* written(char* at, bytes text) noexcept:
    memcpy(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return at + PyBytes_GET_SIZE(text)


cdef inline char* number_written(char* at, uint32_t number) noexcept:
    cdef char digits[NUMBER_CHARS]
    cdef int count = 0
    while True:
        digits[count] = <char>(c"0" + number % 10)
        count += 1
        number //= 10
        if number == 0:
            break
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at
