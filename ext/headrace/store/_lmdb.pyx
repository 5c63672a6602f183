"""An LMDB environment that keeps the GIL out of its work.

py-lmdb drops the GIL and takes it back for each row it writes; beside a busy thread each of those
is a wait. Here one call is one wait: a commit notes where its rows lie, and sorts, writes and
syncs them in one go without the GIL; a read finds its rows without it, and copies them with it.

Errors are py-lmdb's own (`lmdb.Error` with LMDB's number in `code`), so that callers need not know
which of the two they use. `pylmdb.Environment` is the plain twin; the tests run on both.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.signal cimport SIG_DFL, SIGBUS
from libc.stdint cimport uint32_t
from libc.stdio cimport fflush, fprintf, stderr
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy, memset, strlen
from posix.signal cimport sigaction, sigaction_t
from posix.types cimport pid_t
from posix.unistd cimport _exit, getpid, write

from headrace.store._new_rows cimport NEW_TABLES_MAX, Change, NewRows, NewTable
from headrace.store.lmdb_api cimport *

import lmdb

cdef extern from "sys/mman.h" nogil:
    int madvise(void* at, size_t size, int advice)
    int MADV_WILLNEED

cdef enum:
    TABLES_MAX_C = 32
    ROWS_FIRST = 64          # room of a scan before it grows
    TOUCH_BYTES = 4096       # no page of memory is smaller
    NEAR_BYTES = 4 * 4096    # leaves as close as this are walked one after the other
    AHEAD_BYTES = 32 * 4096  # about 200 jobs
    INVALID = 22             # EINVAL
    EXIT_DAMAGED = 65        # EX_DATAERR, as `headrace serve` ends for a damaged store
    EXIT_UNREAD = 74         # EX_IOERR, likewise for one that cannot be read

TABLES_MAX = TABLES_MAX_C

cdef Api mdb
cdef bint found = False


def load(str file not None):
    """Take LMDB's functions from py-lmdb's extension. Raises: ImportError if they are not there.

    From then on a page that the system cannot read (SIGBUS) ends the process with a reason, unless
    the program has its own way with that signal.
    """
    global found
    api_load(&mdb, os.fsencode(file))
    found = True
    cdef sigaction_t before, after
    if sigaction(SIGBUS, NULL, &before) == 0 and before.sa_handler == SIG_DFL:
        memset(&after, 0, sizeof(after))
        after.sa_handler = end_unread
        sigaction(SIGBUS, &after, NULL)


cdef void end_unread(int number) noexcept nogil:
    """End the process: the disk failed a read of a mapped page, or the file ends before it."""
    cdef const char* says = (
        b"a page of the store cannot be read: the disk fails, or the file is damaged;"
        b" `headrace inspect DATA` says more, and"
        b" `headrace restore BACKUP NEW_DATA` makes a store of a backup\n"
    )
    write(2, says, strlen(says))
    _exit(EXIT_UNREAD)


cdef void end_damaged(MDB_env* env, const char* what) noexcept nogil:
    """End the process: LMDB met a page that cannot be, and would abort."""
    fprintf(
        stderr,
        b"the store is damaged: %s; `headrace inspect DATA` says more, and"
        b" `headrace restore BACKUP NEW_DATA` makes a store of a backup\n",
        what,
    )
    fflush(stderr)
    _exit(EXIT_DAMAGED)


cdef struct Run:  # the changes of one table, in the order of their keys
    MDB_dbi table
    Change* changes
    size_t count


cdef struct Row:
    MDB_dbi table
    MDB_val key
    MDB_val value  # mv_data is NULL: not there


cdef struct Walk:  # over the leaves of a table: where it is, and what the disk was asked for
    size_t at
    size_t begin
    size_t end


cdef struct Range:  # what a scan asks, and what it found
    MDB_val start
    MDB_val stop
    bint has_stop
    bint down
    size_t limit
    size_t bytes_max
    Row* rows
    size_t rows_count
    size_t rows_capacity
    Walk walk


cdef inline int compare(const MDB_val* a, const MDB_val* b) noexcept nogil:
    """Compare keys as LMDB does."""
    cdef int order = memcmp(
        a.mv_data, b.mv_data, a.mv_size if a.mv_size < b.mv_size else b.mv_size
    )
    return order if order else (a.mv_size > b.mv_size) - (a.mv_size < b.mv_size)


cdef int compare_changes(const void* a, const void* b) noexcept nogil:
    return compare(&(<const Change*>a).key, &(<const Change*>b).key)


cdef int write_table(MDB_txn* txn, MDB_dbi table, Change* changes, size_t count) noexcept nogil:
    """Put and delete in the order of the keys: the cursor mostly stands on the right page.

    Keys behind the last one of the table are appended: no search, and pages that are filled.
    """
    cdef MDB_cursor* cursor
    cdef MDB_val last, old
    cdef size_t i, tail = count
    cdef int code = mdb.cursor_open(txn, table, &cursor)
    if code:
        return code
    code = mdb.cursor_get(cursor, &last, &old, MDB_LAST)
    while tail and (code == MDB_NOTFOUND or compare(&changes[tail - 1].key, &last) > 0):
        tail -= 1
    if code == MDB_NOTFOUND:
        code = 0
    for i in range(count if code == 0 else 0):
        if changes[i].value.mv_data != NULL:
            code = mdb.cursor_put(
                cursor, &changes[i].key, &changes[i].value, 0 if i < tail else MDB_APPEND
            )
        else:
            code = mdb.cursor_get(cursor, &changes[i].key, &old, MDB_SET)
            if code == 0:
                code = mdb.cursor_del(cursor, 0)
            elif code == MDB_NOTFOUND:
                code = 0
        if code:
            break
    mdb.cursor_close(cursor)
    return code


cdef int write_runs(MDB_env* env, Run* runs, size_t count) noexcept nogil:
    """Commit all or nothing; durable on return."""
    cdef MDB_txn* txn
    cdef size_t i
    cdef int code = mdb.txn_begin(env, NULL, 0, &txn)
    if code:
        return code
    for i in range(count):
        code = write_table(txn, runs[i].table, runs[i].changes, runs[i].count)
        if code:
            mdb.txn_abort(txn)
            return code
    return mdb.txn_commit(txn)


cdef char touch(MDB_val* value) noexcept nogil:
    """Read each page of a value, so that a slow disk is waited for here and not with the GIL."""
    cdef volatile char* data = <volatile char*>value.mv_data
    cdef char seen = 0
    cdef size_t at = 0
    while at < value.mv_size:
        seen ^= data[at]
        at += TOUCH_BYTES
    return seen


cdef void walk_on(Walk* walk, const MDB_val* row) noexcept nogil:
    """Have the disk fetch the leaves behind a row's, where they lie side by side.

    LMDB maps its file without read-ahead, as suits a store larger than memory: each page that is
    not in memory is a fault, and the next one is asked for when it has come.
    """
    cdef size_t at = <size_t>row.mv_data & ~<size_t>(TOUCH_BYTES - 1)
    cdef size_t last = walk.at
    if at == last:
        return
    walk.at = at
    if walk.begin <= at < walk.end or at > last + NEAR_BYTES or last > at + NEAR_BYTES:
        return
    walk.begin = at if at > last else at - AHEAD_BYTES + TOUCH_BYTES
    walk.end = walk.begin + AHEAD_BYTES
    madvise(<void*>walk.begin, AHEAD_BYTES, MADV_WILLNEED)


cdef int rows_find(MDB_txn* txn, Row* rows, size_t count) noexcept nogil:
    """Look up each row. A cursor stays while the table does, and knows keys of its own page."""
    cdef MDB_cursor* cursor = NULL
    cdef MDB_dbi table = 0
    cdef Walk walk
    cdef size_t i
    cdef int code = 0
    memset(&walk, 0, sizeof(walk))
    for i in range(count):
        if cursor == NULL or rows[i].table != table:
            if cursor != NULL:
                mdb.cursor_close(cursor)
                cursor = NULL
            table = rows[i].table
            code = mdb.cursor_open(txn, table, &cursor)
            if code:
                break
        code = mdb.cursor_get(cursor, &rows[i].key, &rows[i].value, MDB_SET)
        if code == MDB_NOTFOUND:
            rows[i].value.mv_data = NULL
            code = 0
        elif code:
            break
        else:
            walk_on(&walk, &rows[i].value)
            touch(&rows[i].value)
    if cursor != NULL:
        mdb.cursor_close(cursor)
    return code


cdef int lasts_find(MDB_txn* txn, Row* rows, size_t count) noexcept nogil:
    """Find the last row of each range of one table: from `value` on, before `key`."""
    cdef MDB_cursor* cursor
    cdef MDB_val start
    cdef size_t i
    cdef int code = 0
    if count == 0:
        return 0
    code = mdb.cursor_open(txn, rows[0].table, &cursor)
    if code:
        return code
    for i in range(count):
        start = rows[i].value
        code = mdb.cursor_get(cursor, &rows[i].key, &rows[i].value, MDB_SET_RANGE)
        if code == MDB_NOTFOUND:
            code = mdb.cursor_get(cursor, &rows[i].key, &rows[i].value, MDB_LAST)
        elif code == 0:
            code = mdb.cursor_get(cursor, &rows[i].key, &rows[i].value, MDB_PREV)
        if code == MDB_NOTFOUND or code == 0 and compare(&rows[i].key, &start) < 0:
            rows[i].value.mv_data = NULL
            code = 0
        elif code:
            break
        else:
            touch(&rows[i].value)
    mdb.cursor_close(cursor)
    return code


cdef Row* rows_new(size_t count) except NULL:
    cdef Row* rows = <Row*>malloc((count + 1) * sizeof(Row))
    if rows == NULL:
        raise MemoryError
    return rows


cdef int range_read(MDB_txn* txn, MDB_dbi table, Range* asked) noexcept nogil:
    cdef MDB_cursor* cursor
    cdef int code = mdb.cursor_open(txn, table, &cursor)
    if code:
        return code
    code = range_down(cursor, asked) if asked.down else range_up(cursor, asked)
    mdb.cursor_close(cursor)
    return 0 if code == MDB_NOTFOUND else code


cdef int range_up(MDB_cursor* cursor, Range* asked) noexcept nogil:
    """Keys that do not rise are a misplaced page, which could lead a reader in a circle."""
    cdef Row row
    cdef MDB_val last = asked.start
    cdef size_t size = 0
    cdef int code
    row.key = asked.start
    code = mdb.cursor_get(
        cursor, &row.key, &row.value, MDB_SET_RANGE if asked.start.mv_size else MDB_FIRST
    )
    while code == 0 and asked.rows_count < asked.limit:
        if compare(&row.key, &last) < (asked.rows_count > 0):
            return MDB_CORRUPTED
        if asked.has_stop and compare(&row.key, &asked.stop) >= 0:
            break
        last = row.key
        code = range_add(asked, &row)
        size += row.value.mv_size
        if code or size >= asked.bytes_max:
            break
        code = mdb.cursor_get(cursor, &row.key, &row.value, MDB_NEXT)
    return code


cdef int range_down(MDB_cursor* cursor, Range* asked) noexcept nogil:
    cdef Row row
    cdef MDB_val last = asked.stop
    cdef bint has_last = asked.has_stop
    cdef size_t size = 0
    cdef int code = MDB_NOTFOUND
    if asked.has_stop and asked.stop.mv_size:
        row.key = asked.stop
        code = mdb.cursor_get(cursor, &row.key, &row.value, MDB_SET_RANGE)
        if code == 0:
            code = mdb.cursor_get(cursor, &row.key, &row.value, MDB_PREV)
        elif code == MDB_NOTFOUND:
            code = mdb.cursor_get(cursor, &row.key, &row.value, MDB_LAST)
    elif not asked.has_stop:
        code = mdb.cursor_get(cursor, &row.key, &row.value, MDB_LAST)
    while code == 0 and asked.rows_count < asked.limit:
        if has_last and compare(&row.key, &last) >= 0:
            return MDB_CORRUPTED
        if compare(&row.key, &asked.start) < 0:
            break
        last, has_last = row.key, True
        code = range_add(asked, &row)
        size += row.value.mv_size
        if code or size >= asked.bytes_max:
            break
        code = mdb.cursor_get(cursor, &row.key, &row.value, MDB_PREV)
    return code


cdef int range_add(Range* asked, Row* row) noexcept nogil:
    cdef size_t capacity
    cdef Row* rows
    if asked.rows_count == asked.rows_capacity:
        capacity = 2 * asked.rows_capacity if asked.rows_capacity else ROWS_FIRST
        rows = <Row*>realloc(asked.rows, capacity * sizeof(Row))
        if rows == NULL:
            return 12  # ENOMEM
        asked.rows = rows
        asked.rows_capacity = capacity
    walk_on(&asked.walk, &row.value)
    touch(&row.value)
    asked.rows[asked.rows_count] = row[0]
    asked.rows_count += 1
    return 0


cdef object rows_listed(Range* asked):
    cdef size_t i
    found = []
    for i in range(asked.rows_count):
        found.append((text_of(&asked.rows[i].key), text_of(&asked.rows[i].value)))
    return found


cdef object rows_packed(Range* asked):
    """Put the rows into one text, as `contract.pack_rows` does; return it and the last key."""
    cdef size_t i, size = 0
    cdef uint32_t lengths[2]
    cdef Row* row
    cdef bytes packed
    cdef char* at
    for i in range(asked.rows_count):
        size += sizeof(lengths) + asked.rows[i].key.mv_size + asked.rows[i].value.mv_size
    packed = PyBytes_FromStringAndSize(NULL, size)
    at = PyBytes_AS_STRING(packed)
    for i in range(asked.rows_count):
        row = &asked.rows[i]
        lengths[0], lengths[1] = <uint32_t>row.key.mv_size, <uint32_t>row.value.mv_size
        memcpy(at, lengths, sizeof(lengths))
        memcpy(at + sizeof(lengths), row.key.mv_data, lengths[0])
        memcpy(at + sizeof(lengths) + lengths[0], row.value.mv_data, lengths[1])
        at += sizeof(lengths) + lengths[0] + lengths[1]
    return packed, text_of(&asked.rows[i].key if asked.rows_count else &asked.start)


cdef inline MDB_val val(bytes text) noexcept:
    cdef MDB_val value
    value.mv_size = PyBytes_GET_SIZE(text)
    value.mv_data = PyBytes_AS_STRING(text)
    return value


cdef inline bytes text_of(const MDB_val* value):
    return PyBytes_FromStringAndSize(<char*>value.mv_data, value.mv_size)


cdef object text_or_none(const Row* row):
    return None if row.value.mv_data == NULL else text_of(&row.value)


cdef object row_or_none(const Row* row):
    return None if row.value.mv_data == NULL else (text_of(&row.key), text_of(&row.value))


cdef object error(int code, str what):
    """Return py-lmdb's exception with LMDB's number and words."""
    failure = lmdb.Error(f"{what}: {mdb.strerror(code).decode()}")
    failure.code = code
    return failure


@cython.final
cdef class Environment:
    """The tables of one directory, by small numbers. Open it after any fork.

    One thread writes; any may read. Raises: `lmdb.Error`.
    """

    cdef MDB_env* env
    cdef long tables[TABLES_MAX_C]  # LMDB's handles; -1 for a table that is not there
    cdef pid_t process    # that opened it: the files of a fork's parent are not a child's to close
    cdef Py_ssize_t busy  # calls at work without the GIL

    def __cinit__(self, str path not None, size_t map_bytes, unsigned int readers_max):
        cdef bytes path_bytes = os.fsencode(path)
        cdef const char* path_c = path_bytes
        cdef int code
        cdef int i
        for i in range(TABLES_MAX_C):
            self.tables[i] = -1
        self.process = getpid()
        assert found, "`load` comes first"
        code = mdb.env_create(&self.env)
        if code:
            self.env = NULL
            raise error(code, "env_create")
        code = mdb.env_set_mapsize(self.env, map_bytes)
        if code == 0:
            code = mdb.env_set_maxreaders(self.env, readers_max)
        if code == 0:
            code = mdb.env_set_maxdbs(self.env, TABLES_MAX_C)
        if code == 0:
            code = mdb.env_set_assert(self.env, end_damaged)
        if code == 0:
            with nogil:
                code = mdb.env_open(self.env, path_c, MDB_NOTLS | MDB_NORDAHEAD, 0o600)
        if code:
            mdb.env_close(self.env)
            self.env = NULL
            raise error(code, path)

    def __dealloc__(self):
        if self.env != NULL and self.process == getpid():
            mdb.env_close(self.env)

    def close(self):
        assert self.busy == 0, "closed while it is read or written"
        if self.env != NULL and self.process == getpid():
            with nogil:
                mdb.env_close(self.env)
        self.env = NULL

    def page_bytes(self):
        cdef MDB_stat told
        self.check(mdb.env_stat(self.open_env(), &told), "env_stat")
        return told.ms_psize

    def pages(self):
        """Return how many pages the file has, as its header tells."""
        cdef MDB_envinfo told
        self.check(mdb.env_info(self.open_env(), &told), "env_info")
        return told.me_last_pgno + 1

    def reader_check(self):
        """Free the places of readers that died."""
        cdef int dead
        self.check(mdb.reader_check(self.open_env(), &dead), "reader_check")

    def tables_open(self, dict names not None, bint create):
        """Open tables by name, all in one commit; return the numbers of those that are there."""
        cdef MDB_txn* txn
        cdef MDB_dbi opened[TABLES_MAX_C]
        cdef bytes name
        cdef int code, number
        cdef unsigned int flags = 0 if create else MDB_RDONLY
        assert all(0 <= number < TABLES_MAX_C for number in names)
        self.check(mdb.txn_begin(self.open_env(), NULL, flags, &txn), "txn_begin")
        there = []
        try:
            for number, name in names.items():
                code = mdb.dbi_open(txn, name, MDB_CREATE if create else 0, &opened[number])
                if code == 0:
                    there.append(number)
                elif code != MDB_NOTFOUND:
                    raise error(code, f"dbi_open {name.decode()}")
        except BaseException:
            mdb.txn_abort(txn)
            raise
        with nogil:
            code = mdb.txn_commit(txn)
        self.check(code, "txn_commit")
        for number in there:
            self.tables[number] = opened[number]
        return there

    def get(self, int table, bytes key not None):
        return self.get_columns((table,), (key,))[0][0]

    def get_columns(self, tables not None, keys not None):
        """Read the rows of these keys in each table, all of one and the same moment."""
        cdef size_t i, at = 0, count = len(keys)
        cdef MDB_dbi dbi
        cdef int table
        cdef list found
        cdef Row* rows = rows_new(len(tables) * count)
        try:
            for table in tables:
                dbi = <MDB_dbi>self.table_at(table)
                for i in range(count):
                    rows[at].table = dbi
                    rows[at].key = val(<bytes?>keys[i])
                    at += 1
            found = self.rows_got(rows, at, rows_find, text_or_none)
        finally:
            free(rows)
        if len(tables) == 1:
            return [found]
        return [found[i * count : (i + 1) * count] for i in range(len(tables))]

    def get_lasts(self, int table, ranges not None):
        """Read the last row of each range, start <= key < stop, all of one and the same moment."""
        cdef size_t i, count = len(ranges)
        cdef bytes start, stop
        cdef Row* rows = rows_new(count)
        try:
            for i in range(count):
                start, stop = ranges[i]
                rows[i].table = <MDB_dbi>self.table_at(table)
                rows[i].value, rows[i].key = val(start), val(stop)
            return self.rows_got(rows, count, lasts_find, row_or_none)
        finally:
            free(rows)

    cdef list rows_got(
        self,
        Row* rows,
        size_t count,
        int (*found)(MDB_txn*, Row*, size_t) noexcept nogil,
        object (*copied)(const Row*),
    ):
        """Find rows without the GIL, and copy them with it."""
        cdef MDB_env* env = self.open_env()
        cdef MDB_txn* txn
        cdef size_t i
        cdef int code
        cdef list copies = []
        self.busy += 1
        try:
            with nogil:
                code = mdb.txn_begin(env, NULL, MDB_RDONLY, &txn)
                if code == 0:
                    code = found(txn, rows, count)
                    if code:
                        mdb.txn_abort(txn)
            if code:
                raise error(code, "get")
            try:
                for i in range(count):
                    copies.append(copied(&rows[i]))
            finally:
                mdb.txn_abort(txn)
        finally:
            self.busy -= 1
        return copies

    def scan(
        self,
        int table,
        bytes start not None,
        bytes stop,
        bint reverse,
        size_t limit,
        size_t bytes_max,
    ):
        """Read a range; see `KeyValue.scan`."""
        cdef Range asked
        asked.start = val(start)
        asked.has_stop = stop is not None
        if stop is not None:
            asked.stop = val(stop)
        asked.down = reverse
        asked.limit, asked.bytes_max = limit, bytes_max
        return self.ranged(table, &asked, rows_listed)

    def scan_packed(self, int table, bytes start not None, size_t limit, size_t bytes_max):
        """Read rows from `start` on, packed as `contract.pack_rows` does; and the last key."""
        cdef Range asked
        asked.start = val(start)
        asked.has_stop = asked.down = False
        asked.limit, asked.bytes_max = limit, bytes_max
        return self.ranged(table, &asked, rows_packed)

    cdef object ranged(self, int table, Range* asked, object (*copied)(Range*)):
        """Find the rows of a range without the GIL, and copy them with it."""
        cdef MDB_env* env = self.open_env()
        cdef MDB_dbi dbi = <MDB_dbi>self.table_at(table)
        cdef MDB_txn* txn
        cdef int code
        asked.rows = NULL
        asked.rows_count = asked.rows_capacity = 0
        memset(&asked.walk, 0, sizeof(Walk))
        self.busy += 1
        try:
            with nogil:
                code = mdb.txn_begin(env, NULL, MDB_RDONLY, &txn)
                if code == 0:
                    code = range_read(txn, dbi, asked)
                    if code:
                        mdb.txn_abort(txn)
            if code:
                raise error(code, "scan")
            try:
                return copied(asked)
            finally:
                mdb.txn_abort(txn)
        finally:
            self.busy -= 1
            free(asked.rows)

    def count(self, int table):
        cdef MDB_txn* txn
        cdef MDB_stat told
        cdef int code
        cdef MDB_dbi dbi = <MDB_dbi>self.table_at(table)
        self.check(mdb.txn_begin(self.open_env(), NULL, MDB_RDONLY, &txn), "txn_begin")
        code = mdb.stat(txn, dbi, &told)
        mdb.txn_abort(txn)
        self.check(code, "stat")
        return told.ms_entries

    def write(self, NewRows rows not None):
        """Commit all rows or none. They must not change meanwhile: their bytes are not copied."""
        cdef MDB_env* env = self.open_env()
        cdef size_t unsorted = 0
        cdef int code, i
        cdef NewTable* table
        cdef Run runs[NEW_TABLES_MAX]
        cdef Change* sorted_changes
        cdef Change* at
        for i in range(rows.tables_count):
            table = &rows.tables_made[i]
            runs[i].table = <MDB_dbi>self.table_at(table.number)
            runs[i].changes, runs[i].count = table.changes, table.count
            if not table.rises:
                unsorted += table.count
        sorted_changes = <Change*>malloc((unsorted + 1) * sizeof(Change))
        if sorted_changes == NULL:
            raise MemoryError
        self.busy += 1
        with nogil:
            at = sorted_changes
            for i in range(rows.tables_count):
                if not rows.tables_made[i].rises:  # new rows mostly do
                    memcpy(at, runs[i].changes, runs[i].count * sizeof(Change))
                    runs[i].changes = at
                    qsort(at, runs[i].count, sizeof(Change), compare_changes)
                    at += runs[i].count
            code = write_runs(env, runs, rows.tables_count)
            free(sorted_changes)
        self.busy -= 1
        self.check(code, "commit")

    cdef MDB_env* open_env(self) except NULL:
        if self.env == NULL:
            raise error(INVALID, "the environment is closed")
        return self.env

    cdef long table_at(self, int table) except -1:
        if not 0 <= table < TABLES_MAX_C or self.tables[table] < 0:
            raise KeyError(table)
        return self.tables[table]

    cdef int check(self, int code, str what) except -1:
        if code:
            raise error(code, what)
        return 0
