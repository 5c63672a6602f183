"""The leases of the jobs in workers' hands, and the two passes over many jobs at once.

    slots ── for each job handle: the slot of its lease, or NONE
      └─ rows ── by slot: the lease; a slot stays its own as long as the lease is held
           ├─ heap, places ── slots by the time their lease is due
           └─ Held ── the leases of one session, a list threaded through them

The table owns the leases; `Held` borrows them, so that nothing here is a cycle of references.
`grant` and `complete` do for many jobs what `core` does for one, in the same functions of
`record`: the rules are there and in `core.job`'s table.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from headrace._native.heap cimport (
    NONE,
    Entry,
    HeapCore,
    Positions,
    heap_check,
    heap_free,
    heap_place,
    heap_push,
    heap_remove_at,
    larger,
    position_of,
    positions_free,
    positions_reserve,
    positions_used,
)
from headrace._native.jobs cimport AHEAD, ROW_HEAD_BYTES, JobTable
from headrace._native.record cimport (
    HAS_CHECKPOINT, HAS_RETENTION, HAS_WEBHOOK, ID_BYTES_C, RECORD_BYTES_C,
    Record,
    job_read,
    record_close,
    record_lease,
    record_spec_bytes,
    record_target,
)
from headrace._native.token_text cimport TEXT_CHARS, Tokens, token_chars, token_id

cdef extern from *:
    int __builtin_clzll(unsigned long long) noexcept nogil
    uint64_t __builtin_bswap64(uint64_t) noexcept nogil

cdef enum:
    ID_AT = 4  # in a row of the job table
    PRIORITIES = 10
    DUE_IS_WALL = 2  # of the flags of a record
    SPAN_BUCKETS_C = 304  # 8 to each power of two of milliseconds, up to 35 years

SPAN_BUCKETS = SPAN_BUCKETS_C


cdef inline int bucket_of(int64_t span_ms) noexcept nogil:
    cdef uint64_t below
    cdef int shift, bucket
    if span_ms <= 16:
        return <int>span_ms - 1 if span_ms > 1 else 0
    below = <uint64_t>span_ms - 1
    shift = 60 - __builtin_clzll(below)
    bucket = (shift << 3) + <int>(below >> shift)
    return bucket if bucket < SPAN_BUCKETS_C else SPAN_BUCKETS_C - 1


def span_bucket(int64_t span_ms):
    return bucket_of(span_ms)


@cython.final
@cython.no_gc
cdef class Held:
    """The leases of one session, in the order given out."""

    cdef void* first  # a Lease, as is `last`; the table owns them
    cdef void* last
    cdef Py_ssize_t size

    def __len__(self):
        return self.size

    def __iter__(self):
        cdef list leases = []
        cdef void* at = self.first
        while at != NULL:
            leases.append(<Lease>at)
            at = (<Lease>at).following
        return iter(leases)


@cython.final
@cython.no_gc
cdef class Holder:
    """What the leases that one poll got have in common."""

    cdef readonly str worker
    cdef readonly str session
    cdef readonly int64_t seq
    cdef readonly Held held

    def __init__(
        self, str worker not None, str session not None="", int64_t seq=0, Held held=None
    ):
        self.worker = worker
        self.session = session
        self.seq = seq
        self.held = held


@cython.final
@cython.no_gc
@cython.freelist(2048)
cdef class Lease:
    """A job in a worker's hands."""

    cdef readonly uint32_t handle
    cdef readonly uint32_t attempt
    cdef readonly uint32_t epoch
    cdef readonly Holder holder
    cdef readonly int64_t granted_ms
    cdef public int64_t expires_ms
    cdef readonly int64_t deadline_ms
    cdef readonly int64_t deadline_at_ms
    cdef public int64_t started_at_ms
    cdef public int64_t cancel_by_ms
    cdef public double progress
    cdef public str details
    cdef public int64_t noted
    cdef public int64_t noted_ms
    cdef public bint unsaved
    cdef public int64_t log_bytes
    cdef public bint log_cut
    cdef public str order
    cdef public int64_t told_ms
    cdef public int64_t ticket
    cdef char id[ID_BYTES_C]
    cdef uint32_t slot      # NONE while no table has it
    cdef void* previous     # in `holder.held`
    cdef void* following

    def __init__(
        self,
        uint32_t handle,
        bytes job_id not None,
        uint32_t attempt,
        uint32_t epoch,
        Holder holder not None,
        int64_t granted_ms,
        int64_t expires_ms,
        int64_t deadline_ms,
        int64_t deadline_at_ms,
        int64_t started_at_ms=0,
    ):
        if PyBytes_GET_SIZE(job_id) != ID_BYTES_C:
            raise ValueError("an id has 16 bytes")
        memcpy(self.id, PyBytes_AS_STRING(job_id), ID_BYTES_C)
        self.handle = handle
        self.attempt = attempt
        self.epoch = epoch
        self.holder = holder
        self.granted_ms = granted_ms
        self.expires_ms = expires_ms
        self.deadline_ms = deadline_ms
        self.deadline_at_ms = deadline_at_ms
        self.started_at_ms = started_at_ms
        lease_begin(self)

    @property
    def job_id(self):
        return PyBytes_FromStringAndSize(self.id, ID_BYTES_C)

    def __repr__(self):
        return (
            f"Lease({self.job_id.hex()} attempt {self.attempt} by {self.holder.worker!r}"
            f" {self.holder.session!r} until {self.expires_ms})"
        )


cdef inline void lease_begin(Lease lease) noexcept:
    """Set what is alike in every new lease."""
    lease.details = lease.order = ""
    lease.noted = lease.log_bytes = lease.told_ms = lease.ticket = -1
    lease.slot = NONE


cdef inline void held_add(Held held, Lease lease) noexcept:
    lease.previous = held.last
    lease.following = NULL
    if held.last != NULL:
        (<Lease>held.last).following = <void*>lease
    else:
        held.first = <void*>lease
    held.last = <void*>lease
    held.size += 1


cdef inline void held_remove(Held held, Lease lease) noexcept:
    if lease.previous != NULL:
        (<Lease>lease.previous).following = lease.following
    else:
        held.first = lease.following
    if lease.following != NULL:
        (<Lease>lease.following).previous = lease.previous
    else:
        held.last = lease.previous
    held.size -= 1


cdef inline int64_t id_ms(const char* job_id) noexcept:
    """Return when a job was submitted, by its id, a UUIDv7: the first 6 bytes."""
    cdef uint64_t first
    memcpy(&first, job_id, sizeof(first))
    return <int64_t>(__builtin_bswap64(first) >> 16)


cdef struct Tally:  # counts of a key that mostly is the one before
    int64_t key
    Py_ssize_t count


cdef inline int tally(Tally* run, dict counts, int64_t key, Py_ssize_t count=1) except -1:
    if run.count and run.key != key:
        tally_end(run, counts)
    run.key = key
    run.count += count
    return 0


cdef int tally_end(Tally* run, dict counts) except -1:
    if run.count:
        counts[run.key] = counts.get(run.key, 0) + run.count
    run.count = 0
    return 0


@cython.final
@cython.no_gc
cdef class Granted:
    """What `LeaseTable.grant` did."""

    cdef readonly bytes tokens
    cdef readonly bytes job_ids
    cdef readonly bytes records
    cdef readonly list deadlines_at_ms
    cdef readonly dict by_class
    cdef readonly dict by_status
    cdef readonly dict reached
    cdef readonly int64_t waited_ms
    cdef readonly dict by_wait
    cdef readonly list with_checkpoint
    cdef readonly list with_deadline_to_start


@cython.final
@cython.no_gc
cdef class Ended:
    """What `LeaseTable.complete` did."""

    cdef readonly Py_ssize_t count
    cdef readonly str worker
    cdef readonly bytes job_ids
    cdef readonly bytes records
    cdef readonly list started_at_ms
    cdef readonly dict by_class
    cdef readonly dict bytes_by_class
    cdef readonly dict by_status
    cdef readonly dict by_granted_ms
    cdef readonly bint with_webhook
    cdef readonly bint with_retention


@cython.final
cdef class LeaseTable:
    """The leases of the jobs of one table, by job and by the time they are due.

    Cost: O(1) to find and to drop one, O(log leases) to move when it is due.
    Raises: KeyError for a second lease of a job, AssertionError for a lease that is not held.
    """

    cdef JobTable jobs
    cdef Tokens tokens
    cdef Positions slots
    cdef void** rows
    cdef uint32_t rows_used
    cdef uint32_t rows_capacity
    cdef uint32_t* slots_free
    cdef uint32_t slots_free_count
    cdef HeapCore heap
    cdef Positions places

    def __cinit__(self, JobTable jobs not None, Tokens tokens not None):
        if jobs.record_bytes != RECORD_BYTES_C:
            raise TypeError(f"records of {jobs.record_bytes} bytes are no jobs")
        self.jobs = jobs
        self.tokens = tokens

    def __dealloc__(self):
        cdef uint32_t slot
        for slot in range(self.rows_used):
            if self.rows[slot] != NULL:
                self.lease_end(<Lease>self.rows[slot])
        free(self.rows)
        free(self.slots_free)
        heap_free(&self.heap)
        positions_free(&self.places)
        positions_free(&self.slots)

    # One lease

    def add(self, Lease lease not None, int64_t due_ms):
        assert lease.slot == NONE, "it is held already"
        self.lease_add(lease, due_ms)

    def drop(self, Lease lease not None):
        """Forget a lease; its job stays."""
        assert self.holds(lease), "it is not held"
        self.lease_drop(lease)

    def of(self, Py_ssize_t handle):
        """Return the lease of a job, or None."""
        if not 0 <= handle < <Py_ssize_t>NONE:
            return None
        return self.lease_of(<uint32_t>handle)

    def named(self, str token not None):
        """Return the lease that has this token, or None."""
        cdef char job_id[ID_BYTES_C]
        cdef const char* text = token_chars(token)
        if text == NULL:
            return None
        token_id(job_id, text)
        return self.lease_named(job_id, text)

    def token(self, Lease lease not None):
        return self.tokens.text(lease.job_id, lease.attempt, lease.epoch)

    def __contains__(self, Lease lease not None):
        return self.holds(lease)

    def __len__(self):
        return self.rows_used - self.slots_free_count

    def __iter__(self):
        """The leases in the order of their slots, as they are now."""
        cdef uint32_t slot
        return iter([
            <Lease>self.rows[slot] for slot in range(self.rows_used) if self.rows[slot] != NULL
        ])

    # Time

    def due_set(self, Lease lease not None, int64_t due_ms):
        assert self.holds(lease), "it is not held"
        self.lease_due(lease, due_ms)

    def due_of(self, Lease lease not None):
        cdef uint32_t at = NONE if lease.slot == NONE else position_of(&self.places, lease.slot)
        return None if at == NONE else self.heap.entries[at].key

    def due_ms(self):
        """Return the earliest instant."""
        return self.heap.entries[0].key if self.heap.size else None

    def pop_due(self, int64_t now_ms, Py_ssize_t limit):
        """Return up to `limit` leases with due <= now_ms, in the order (due, slot).

        They stay held, and are due no more until `due_set`.
        """
        cdef list leases = []
        while (
            limit > 0
            and self.heap.size
            and now_ms >= 0
            and self.heap.entries[0].key <= <uint64_t>now_ms
        ):
            leases.append(<Lease>self.rows[self.heap.entries[0].handle])
            heap_remove_at(&self.heap, &self.places, 0)
            limit -= 1
        return leases

    # Many leases

    def grant(
        self,
        list handles not None,
        event not None,
        uint32_t epoch,
        Holder holder not None,
        int64_t now_ms,
        int64_t wall_ms,
        int64_t lease_ms,
        int64_t grace_ms,
    ):
        """Open the next attempt of each job, move it by `event`, and lease it to the holder.

        Each is due when the term or its timeout and the grace is over, what comes first.
        Raises: `InvalidTransition`, OverflowError; both are defects, and what came before stands.
        """
        cdef Py_ssize_t count = len(handles)
        cdef int event_number = event
        cdef Granted done = Granted.__new__(Granted)
        cdef char* tokens
        cdef char* job_ids
        cdef char* records
        cdef list deadlines = [None] * count
        cdef list with_checkpoint = [], with_deadline_to_start = []
        cdef dict by_class = {}, by_status = {}, by_wait = {}
        cdef Tally classes, statuses, waits
        cdef Lease lease
        cdef Record* record
        cdef uint8_t target
        cdef char* row
        cdef Py_ssize_t i
        cdef int64_t waited_ms = 0, wait_ms, wait_before = 0, due_ms, deadline_at_ms, deadline_before = 0
        cdef int64_t reached[PRIORITIES]
        cdef int bucket = bucket_of(0)
        cdef object deadline = 0
        done.tokens = PyBytes_FromStringAndSize(NULL, count * TEXT_CHARS)
        done.job_ids = PyBytes_FromStringAndSize(NULL, count * ID_BYTES_C)
        done.records = PyBytes_FromStringAndSize(NULL, count * RECORD_BYTES_C)
        tokens = PyBytes_AS_STRING(done.tokens)
        job_ids = PyBytes_AS_STRING(done.job_ids)
        records = PyBytes_AS_STRING(done.records)
        classes.count = statuses.count = waits.count = 0
        for i in range(PRIORITIES):
            reached[i] = -1
        for i in range(count):
            row = self.jobs.row_used(handles[i])
            record = <Record*>(row + ROW_HEAD_BYTES)
            target = record_target(record, event_number)
            if target == 0:
                job_read(row + ID_AT, row + ROW_HEAD_BYTES).move(event)
            tally(&classes, by_class, record.class_id)
            tally(&statuses, by_status, record.status)
            if record.due_ms == 0:
                wait_ms = wall_ms - id_ms(row + ID_AT)
            else:
                wait_ms = (wall_ms if record.flags & DUE_IS_WALL else now_ms) - record.due_ms
            if wait_ms > 0:
                waited_ms += wait_ms
            if wait_ms != wait_before:
                bucket = bucket_of(wait_ms)
                wait_before = wait_ms
            tally(&waits, by_wait, bucket)
            if record.attempt == 0 and record.priority < PRIORITIES:
                reached[record.priority] = <int64_t>record.order
            if record.attempt == 0 and record.start_before_at_ms:
                with_deadline_to_start.append(handles[i])
            if record.flags & HAS_CHECKPOINT:
                with_checkpoint.append(i)
            record_lease(record, epoch)
            record.status = target

            lease = Lease.__new__(Lease)
            lease_begin(lease)
            lease.handle = handles[i]
            memcpy(lease.id, row + ID_AT, ID_BYTES_C)
            lease.attempt = record.attempt
            lease.epoch = epoch
            lease.holder = holder
            lease.granted_ms = now_ms
            lease.expires_ms = now_ms + lease_ms
            lease.deadline_ms = now_ms + record.timeout_ms
            lease.deadline_at_ms = deadline_at_ms = wall_ms + record.timeout_ms
            if record.attempt == 1:
                lease.log_bytes = lease.noted = 0
            due_ms = lease.deadline_ms + grace_ms
            self.lease_add(lease, due_ms if due_ms < lease.expires_ms else lease.expires_ms)

            if i == 0 or deadline_at_ms != deadline_before:
                deadline = deadline_at_ms
                deadline_before = deadline_at_ms
            deadlines[i] = deadline
            self.tokens.write(tokens + i * TEXT_CHARS, lease.id, lease.attempt, epoch)
            memcpy(job_ids + i * ID_BYTES_C, lease.id, ID_BYTES_C)
            memcpy(records + i * RECORD_BYTES_C, record, RECORD_BYTES_C)
        tally_end(&classes, by_class)
        tally_end(&statuses, by_status)
        tally_end(&waits, by_wait)
        done.deadlines_at_ms = deadlines
        done.by_class = by_class
        done.by_status = by_status
        done.reached = {i: reached[i] for i in range(PRIORITIES) if reached[i] >= 0}
        done.waited_ms = waited_ms
        done.by_wait = by_wait
        done.with_checkpoint = with_checkpoint
        done.with_deadline_to_start = with_deadline_to_start
        return done

    def complete(
        self,
        bytes tokens not None,
        Py_ssize_t start,
        int event,
        uint8_t outcome,
        int64_t now_ms,
        int64_t wall_ms,
        set own=None,
    ):
        """End the attempts that the tokens from the `start`-th name, and forget their jobs.

        Stops at the first that names no lease held, or one of another worker than the first's, or
        whose job is of none of the classes `own`, if they are told, or takes no such event; that
        one is the caller's. `tokens` are texts, joined.
        """
        cdef Py_ssize_t count = PyBytes_GET_SIZE(tokens) // TEXT_CHARS - start
        cdef Ended done = Ended.__new__(Ended)
        cdef const char* token = PyBytes_AS_STRING(tokens) + start * TEXT_CHARS
        cdef char* job_ids
        cdef char* records
        cdef list started_at_ms = []
        cdef dict by_class = {}, bytes_by_class = {}, by_status = {}, by_granted_ms = {}
        cdef Tally classes, sizes, statuses, grants
        cdef uint8_t flags = 0
        cdef Lease lease
        cdef Record* record
        cdef uint8_t target
        cdef char* row
        cdef Py_ssize_t i = 0, read = 0
        cdef int64_t started, started_before = 0
        cdef object started_object = 0
        assert PyBytes_GET_SIZE(tokens) % TEXT_CHARS == 0 and count >= 0 and start >= 0
        done.job_ids = PyBytes_FromStringAndSize(NULL, count * ID_BYTES_C)
        done.records = PyBytes_FromStringAndSize(NULL, count * RECORD_BYTES_C)
        job_ids = PyBytes_AS_STRING(done.job_ids)
        records = PyBytes_AS_STRING(done.records)
        classes.count = sizes.count = statuses.count = grants.count = 0
        while i < count:
            while read < count and read <= i + 2 * AHEAD:
                token_id(job_ids + read * ID_BYTES_C, token + read * TEXT_CHARS)
                read += 1
            self.jobs.rows_prefetch(job_ids + i * ID_BYTES_C, ID_BYTES_C, count - i)
            lease = self.lease_named(job_ids + i * ID_BYTES_C, token + i * TEXT_CHARS)
            if lease is None:
                break
            if i == 0:
                done.worker = lease.holder.worker
            elif lease.holder.worker != done.worker:
                break
            row = self.jobs.row_at(lease.handle)
            record = <Record*>(row + ROW_HEAD_BYTES)
            if own is not None and record.class_id not in own:
                break
            target = record_target(record, event)
            if target == 0:
                break
            tally(&classes, by_class, record.class_id)
            tally(&sizes, bytes_by_class, record.class_id, record_spec_bytes(record))
            tally(&statuses, by_status, record.status)
            tally(&grants, by_granted_ms, lease.granted_ms)
            flags |= record.flags
            record_close(record, outcome)
            record.status = target
            started = lease.started_at_ms
            if started == 0:
                started = wall_ms - (now_ms - lease.granted_ms)
            if i == 0 or started != started_before:
                started_object = started
                started_before = started
            started_at_ms.append(started_object)
            memcpy(records + i * RECORD_BYTES_C, record, RECORD_BYTES_C)
            self.jobs.row_remove(lease.handle, row)
            self.lease_drop(lease)
            i += 1
        tally_end(&classes, by_class)
        tally_end(&sizes, bytes_by_class)
        tally_end(&statuses, by_status)
        tally_end(&grants, by_granted_ms)
        if i < count:
            done.job_ids = done.job_ids[: i * ID_BYTES_C]
            done.records = done.records[: i * RECORD_BYTES_C]
        done.count = i
        done.started_at_ms = started_at_ms
        done.by_class = by_class
        done.bytes_by_class = bytes_by_class
        done.by_status = by_status
        done.by_granted_ms = by_granted_ms
        done.with_webhook = (flags & HAS_WEBHOOK) != 0
        done.with_retention = (flags & HAS_RETENTION) != 0
        return done

    def memory_bytes(self):
        """Return the bytes allocated, without the leases themselves."""
        return (
            (self.slots.capacity + self.places.capacity) * sizeof(uint32_t)
            + self.rows_capacity * (sizeof(void*) + sizeof(uint32_t))
            + self.heap.capacity * sizeof(Entry)
        )

    def check(self):
        """Assert every invariant."""
        cdef uint32_t slot, held = 0, due = 0
        cdef Lease lease
        heap_check(&self.heap, &self.places)
        for slot in range(self.rows_used):
            if self.rows[slot] == NULL:
                assert position_of(&self.places, slot) == NONE, "a lease that is gone is due"
                continue
            held += 1
            lease = <Lease>self.rows[slot]
            assert lease.slot == slot
            assert position_of(&self.slots, lease.handle) == slot
            due += position_of(&self.places, slot) != NONE
            if lease.holder.held is not None:
                assert lease in list(lease.holder.held), "its session does not have it"
        assert held == self.rows_used - self.slots_free_count
        assert held == positions_used(&self.slots)
        assert due == self.heap.size == positions_used(&self.places)

    cdef inline bint holds(self, Lease lease) noexcept:
        return lease.slot < self.rows_used and self.rows[lease.slot] == <void*>lease

    cdef inline Lease lease_of(self, uint32_t handle):
        cdef uint32_t slot = position_of(&self.slots, handle)
        return None if slot == NONE else <Lease>self.rows[slot]

    cdef inline Lease lease_named(self, const char* job_id, const char* token):
        """Return the lease of the job if this is its token, all of it."""
        cdef uint32_t handle = self.jobs.lookup(job_id)
        cdef Lease lease = None if handle == NONE else self.lease_of(handle)
        if lease is None or not self.tokens.is_token(token, job_id, lease.attempt, lease.epoch):
            return None
        return lease

    cdef int lease_due(self, Lease lease, int64_t due_ms) except -1:
        cdef uint32_t at = self.places.at[lease.slot]
        if due_ms < 0:
            raise OverflowError("due_ms is not negative")
        if at == NONE:
            heap_push(&self.heap, &self.places, <uint64_t>due_ms, lease.slot)
        else:
            heap_place(&self.heap, &self.places, at, <uint64_t>due_ms, lease.slot)
        return 0

    cdef int lease_add(self, Lease lease, int64_t due_ms) except -1:
        cdef uint32_t slot
        if due_ms < 0:
            raise OverflowError("due_ms is not negative")
        positions_reserve(&self.slots, lease.handle)
        if self.slots.at[lease.handle] != NONE:
            raise KeyError(lease.handle)
        if self.slots_free_count:
            self.slots_free_count -= 1
            slot = self.slots_free[self.slots_free_count]
        else:
            self.rows_reserve()
            slot = self.rows_used
            positions_reserve(&self.places, slot)
            self.rows_used += 1
        self.slots.at[lease.handle] = slot
        self.rows[slot] = <void*>lease
        lease.slot = slot
        Py_INCREF(lease)
        if lease.holder.held is not None:
            held_add(lease.holder.held, lease)
        self.lease_due(lease, due_ms)
        return 0

    cdef void lease_drop(self, Lease lease) noexcept:
        cdef uint32_t slot = lease.slot
        cdef uint32_t at = self.places.at[slot]
        if at != NONE:
            heap_remove_at(&self.heap, &self.places, at)
        self.slots.at[lease.handle] = NONE
        self.rows[slot] = NULL
        self.slots_free[self.slots_free_count] = slot
        self.slots_free_count += 1
        self.lease_end(lease)

    cdef void lease_end(self, Lease lease) noexcept:
        if lease.holder.held is not None:
            held_remove(lease.holder.held, lease)
        lease.slot = NONE
        Py_DECREF(lease)

    cdef int rows_reserve(self) except -1:
        """Make room for one more row."""
        cdef size_t capacity
        cdef void* block
        if self.rows_used < self.rows_capacity:
            return 0
        capacity = larger(64, self.rows_capacity + self.rows_capacity // 2)
        block = realloc(self.rows, capacity * sizeof(void*))
        if block == NULL:
            raise MemoryError
        self.rows = <void**>block
        block = realloc(self.slots_free, capacity * sizeof(uint32_t))
        if block == NULL:
            raise MemoryError
        self.slots_free = <uint32_t*>block
        self.rows_capacity = <uint32_t>capacity
        return 0
