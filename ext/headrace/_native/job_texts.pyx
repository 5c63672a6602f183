"""A submit as text: the jobs next to each other that differ in their params only.

    [ {"type":"mail","params":{"to":"a"}} , {"type":"mail","params":{"to":"b"}} , … ]
      └── prefix ───────────┘└ params ─┘└ suffix

The jobs of a batch are mostly written by one line of a client's code, so what stands around the
params is the same, byte for byte. Where it is, nothing of a job has to be decoded: its text is
found to be JSON, its params are spliced into its spec.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

from headrace._native.json_text cimport (
    DEPTH_MAX,
    TAKES_THOUGHT,
    space_end,
    string_end,
    value_end,
)
from headrace._native.text cimport ID_BYTES_C, ID_CHARS, id_write

cdef enum:
    FRAME_BYTES_MAX = 2048  # of a text that is not worth to be known again


cdef struct Span:  # of bytes of the body
    Py_ssize_t begin
    Py_ssize_t end


@cython.final
cdef class JobTexts:
    """Jobs that stand next to each other and differ in their params only. Made by `job_texts`."""

    cdef readonly bytes frame
    cdef readonly bint has_params
    cdef readonly bint plain
    cdef bytes body
    cdef Span first        # the job whose frame it is
    cdef Span first_params
    cdef Span* params      # of each job; NULL if they have none
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity

    def __dealloc__(self):
        free(self.params)

    def __len__(self):
        return self.size

    def params_of(self, Py_ssize_t position):
        """Return the params of one of the jobs; empty if they have none."""
        if not 0 <= position < self.size:
            raise IndexError(position)
        if not self.has_params:
            return b""
        return self.body[self.params[position].begin : self.params[position].end]

    def fill(
        self,
        bytes job_ids not None,
        bytes head not None,
        bytes middle not None,
        bytes tail not None,
    ):
        """Return for each job `head`, the text of its id, `middle`, its params, `tail`, joined."""
        cdef Py_ssize_t head_bytes = PyBytes_GET_SIZE(head)
        cdef Py_ssize_t middle_bytes = PyBytes_GET_SIZE(middle)
        cdef Py_ssize_t tail_bytes = PyBytes_GET_SIZE(tail)
        cdef Py_ssize_t params_bytes = 0
        cdef Py_ssize_t i
        cdef list filled = []
        cdef bytes text
        cdef char* at
        if PyBytes_GET_SIZE(job_ids) != self.size * ID_BYTES_C:
            raise ValueError("each job needs an id of 16 bytes")
        for i in range(self.size):
            if self.has_params:
                params_bytes = self.params[i].end - self.params[i].begin
            text = PyBytes_FromStringAndSize(
                NULL, head_bytes + ID_CHARS + middle_bytes + params_bytes + tail_bytes
            )
            at = PyBytes_AS_STRING(text)
            memcpy(at, PyBytes_AS_STRING(head), head_bytes)
            at += head_bytes
            id_write(PyBytes_AS_STRING(job_ids) + i * ID_BYTES_C, at)
            at += ID_CHARS
            memcpy(at, PyBytes_AS_STRING(middle), middle_bytes)
            at += middle_bytes
            if self.has_params:
                memcpy(at, PyBytes_AS_STRING(self.body) + self.params[i].begin, params_bytes)
                at += params_bytes
            memcpy(at, PyBytes_AS_STRING(tail), tail_bytes)
            filled.append(text)
        return filled

    cdef int begin(self, Span job, Span params, int noticed) except -1:
        """Take the first job."""
        self.first = job
        self.first_params = params
        self.has_params = params.end > params.begin
        self.plain = True
        if self.has_params:
            self.frame = (
                self.body[job.begin : params.begin] + b"null" + self.body[params.end : job.end]
            )
        else:
            self.frame = self.body[job.begin : job.end]
        return self.add(params, noticed)

    cdef const uint8_t* more(
        self, const uint8_t* text, const uint8_t* at, const uint8_t* end
    ) except? NULL:
        """Take a job that has the same frame; return what stands behind it, or NULL."""
        cdef Py_ssize_t prefix_bytes, suffix_bytes
        cdef const uint8_t* behind
        cdef Span params
        cdef int noticed = 0
        prefix_bytes = (
            self.first_params.begin if self.has_params else self.first.end
        ) - self.first.begin
        if end - at < prefix_bytes or memcmp(at, text + self.first.begin, prefix_bytes) != 0:
            return NULL
        at += prefix_bytes
        params.begin = params.end = 0
        if self.has_params:
            behind = value_end(at, end, DEPTH_MAX, &noticed)
            suffix_bytes = self.first.end - self.first_params.end
            if (
                behind == NULL
                or space_end(at) != at
                or end - behind < suffix_bytes
                or memcmp(behind, text + self.first_params.end, suffix_bytes) != 0
            ):
                return NULL
            params.begin = at - text
            params.end = behind - text
            at = behind + suffix_bytes
        self.add(params, noticed)
        return at

    cdef int add(self, Span params, int noticed) except -1:
        cdef Py_ssize_t capacity
        cdef Span* grown
        if self.has_params:
            if self.size == self.capacity:
                capacity = 2 * self.capacity if self.capacity else 1
                grown = <Span*>realloc(self.params, capacity * sizeof(Span))
                if grown == NULL:
                    raise MemoryError
                self.params = grown
                self.capacity = capacity
            self.params[self.size] = params
        self.size += 1
        if noticed & TAKES_THOUGHT:
            self.plain = False
        return 0


def job_texts(bytes body not None, Py_ssize_t jobs_max, Py_ssize_t alike_max):
    """Return the jobs of a body, which is one or an array of them, in runs of such as are alike.

    None: the body is not JSON, has more than `jobs_max` jobs, or a job that is not an object with
    plain, unescaped names, at most one of `params` and `parameters`, and at most 2 KiB beside.

    Of a job only that it is JSON is known, its params not nested deeper than 64. The body is UTF-8,
    which is not looked at again. A run has at most `alike_max` jobs.
    Cost: O(n), a quarter of a nanosecond to one nanosecond a byte.
    """
    cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(body)
    cdef const uint8_t* end = text + PyBytes_GET_SIZE(body)
    cdef const uint8_t* at = space_end(text)
    cdef const uint8_t* behind
    cdef bint many = at[0] == c"["
    cdef Py_ssize_t jobs = 0
    cdef JobTexts run = None
    cdef list runs = []
    cdef Span job, params
    cdef int noticed
    if many:
        at = space_end(at + 1)
        if at[0] == c"]":
            return runs if space_end(at + 1) == end else None
    while True:
        jobs += 1
        if jobs > jobs_max:
            return None
        behind = run.more(text, at, end) if run is not None and run.size < alike_max else NULL
        if behind == NULL:
            noticed = 0
            behind = job_end(text, at, end, &params, &noticed)
            if behind == NULL or behind - at - (params.end - params.begin) > FRAME_BYTES_MAX:
                return None
            job.begin = at - text
            job.end = behind - text
            run = JobTexts.__new__(JobTexts)
            run.body = body
            run.begin(job, params, noticed)
            runs.append(run)
        at = space_end(behind)
        if many and at[0] == c",":
            at = space_end(at + 1)
            continue
        if many:
            if at[0] != c"]":
                return None
            at = space_end(at + 1)
        return runs if at == end else None


def job_texts_each(list bodies not None, Py_ssize_t alike_max):
    """Return the jobs of bodies that are one each, in runs of such as are alike, and the positions
    of the bodies of which `job_texts` would say None, or that are arrays.

    Nothing of one body is read as part of another. Each is UTF-8, which is not looked at again.
    """
    cdef bytes joined = b"\0".join(bodies)
    cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(joined)
    cdef const uint8_t* at = text
    cdef const uint8_t* end
    cdef const uint8_t* behind
    cdef JobTexts run = None, fresh
    cdef list runs = [], others = []
    cdef Py_ssize_t position
    cdef bint plain
    cdef bytes body
    for position, body in enumerate(bodies):
        end = at + PyBytes_GET_SIZE(body)
        at = space_end(at)
        behind = NULL
        if run is not None and run.size < alike_max:
            plain = run.plain
            behind = run.more(text, at, end)
            if behind != NULL and space_end(behind) != end:  # there is more in this body
                run.size -= 1
                run.plain = plain
                behind = NULL
        if behind == NULL:
            fresh = begun(joined, at, end)
            if fresh is None:
                others.append(position)
            else:
                run = fresh
                runs.append(run)
        at = end + 1
    return runs, others


cdef JobTexts begun(bytes joined, const uint8_t* at, const uint8_t* end):
    """Return a run of the one job between two places; None if there is none, or more."""
    cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(joined)
    cdef const uint8_t* behind
    cdef JobTexts run
    cdef Span job, params
    cdef int noticed = 0
    behind = job_end(text, at, end, &params, &noticed)
    if behind == NULL or space_end(behind) != end:
        return None
    job.begin = at - text
    job.end = behind - text
    run = JobTexts.__new__(JobTexts)
    run.body = joined
    run.begin(job, params, noticed)
    return run


cdef const uint8_t* job_end(
    const uint8_t* text, const uint8_t* at, const uint8_t* end, Span* params, int* noticed
) noexcept:
    """Return what stands behind the object that begins here, and where its params are; NULL if it
    is not JSON, or not as simple as `job_texts` says.
    """
    cdef const uint8_t* name
    cdef Py_ssize_t name_bytes
    cdef int of_name, of_value
    params.begin = params.end = 0
    if at[0] != c"{":
        return NULL
    at = space_end(at + 1)
    if at[0] == c"}":
        return at + 1
    while True:
        if at[0] != c'"':
            return NULL
        name = at + 1
        of_name = 0
        at = string_end(name, end, &of_name)
        if at == NULL or of_name:
            return NULL
        name_bytes = at - 1 - name
        at = space_end(at)
        if at[0] != c":":
            return NULL
        of_value = 0
        if is_params(name, name_bytes):
            if params.end:
                return NULL
            at = space_end(at + 1)
            params.begin = at - text
            at = value_end(at, end, DEPTH_MAX, noticed)
            params.end = at - text
        else:
            at = value_end(at + 1, end, DEPTH_MAX, &of_value)
        if at == NULL:
            return NULL
        at = space_end(at)
        if at[0] == c"}":
            return at + 1
        if at[0] != c",":
            return NULL
        at = space_end(at + 1)


cdef inline bint is_params(const uint8_t* name, Py_ssize_t name_bytes) noexcept nogil:
    return (
        name_bytes == 6 and memcmp(name, b"params", 6) == 0
        or name_bytes == 10 and memcmp(name, b"parameters", 10) == 0
    )
