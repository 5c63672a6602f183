"""A job as it is stored: the payloads of its rows, read when they are asked for."""

from libc.stdint cimport int64_t, uint32_t


cdef struct Text:
    const char* begin
    Py_ssize_t size


cdef struct State:  # what is shown of a job's rows LIVE and DONE
    const char* record
    bint has_ended
    int64_t started_at_ms
    int64_t updated_at_ms
    int64_t finished_at_ms
    Text worker
    Text error


cdef class StoredJob:
    cdef readonly bytes job_id
    cdef readonly uint32_t owner_id
    cdef readonly bytes spec
    cdef readonly bytes live
    cdef readonly bytes done
    cdef object end
    cdef object on_its_way

    # Read what is shown without making objects of it. False: it takes a decoder.
    cdef bint read(self, State* state) noexcept
