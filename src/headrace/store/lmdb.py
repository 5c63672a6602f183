"""Rows on disk, in LMDB: one writer, readers that never wait, fsync in every commit.

The settings are those under which LMDB keeps its promise after a power cut: sync and metasync on,
no writable map (a full disk would be a SIGBUS). The map is a reservation of addresses and not a
quota: the file grows as rows need it, so a full map is a defect and a full disk is `StoreFull`.

One process per directory (a lock on the directory), one environment per process. Open it after
any fork.
"""

import errno
import fcntl
import os
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Final

import lmdb

from headrace.store.contract import (
    SCAN_BYTES_MAX,
    SCAN_ROWS_MAX,
    Changes,
    Row,
    StoreBroken,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreUnsuitable,
)
from headrace.store.layout import Table
from headrace.store.pages import PageMissing, check_pages
from headrace.wire import limits

MAP_BYTES: Final = 1 << 40
MAP_BYTES_FALLBACK: Final = 1 << 36
"""Where the address space is limited (RLIMIT_AS, some containers)."""
READERS_MAX: Final = 256
READERS_CHECK_S: Final = 60
"""A process that died while it read, an inspector say, keeps old pages from reuse until then."""
TABLES_MAX: Final = 32
"""Room for tables of later formats."""
SHORT_WRITE_BYTES_FREE_MAX: Final = 1 * limits.MIB
"""With less than this, and twice the batch, a disk counts as full: pages, branches, free lists."""
DATA_FILE: Final = "data.mdb"

UNSUITABLE: Final = re.compile(
    r"tmpfs|ramfs|hugetlbfs|overlay|aufs|9p|virtiofs|vboxsf|nfs\d?|cifs|smb\w*|afs|ceph|lustre"
    r"|glusterfs|fuse.*"
)
"""Filesystems that forget on a power cut, or whose locks and maps are not those of one host."""

_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_DAMAGES: Final = (
    lmdb.CorruptedError,
    lmdb.PageNotFoundError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
    lmdb.CursorFullError,
)


class LmdbKeyValue:
    """`KeyValue` in a directory.

    Tables are made by the first write, so that opening changes nothing.
    """

    def __init__(self, path: Path, *, accept_any_filesystem: bool = False) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path.resolve()
        filesystem = filesystem_of(self._path)
        if not accept_any_filesystem and UNSUITABLE.fullmatch(filesystem):
            raise StoreUnsuitable(str(path), filesystem)
        self._lock = _lock(self._path)
        try:
            self._env = _open(self._path)
            try:
                _check_length(self._env, self._path / DATA_FILE)
                self._tables = self._tables_there()
                _sync_directories(self._path)
            except BaseException:
                self._env.close()
                raise
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, lmdb.Error):
                raise _translated(error) from error
            raise
        self._broken = ""
        """Why nothing is written any more; empty while all is well."""
        self._readers_due_s = 0.0

    def _tables_there(self) -> dict[int, Any]:
        """Return the handles of the tables that exist: all, as one commit makes them, or none."""
        tables = {}
        for table in Table:
            with suppress(lmdb.NotFoundError):
                tables[int(table)] = self._env.open_db(_name(table), create=False)
        return tables

    def _handle(self, table: int) -> Any:
        """Return the handle of a table; None before the first write.

        A later format may have fewer tables: that one is missing shows when it is asked for.
        """
        handle = self._tables.get(table)
        if handle is None and self._tables:
            raise StoreDamaged(f"table {table} is missing")
        return handle

    # Reading ------------------------------------------------------------------------------------

    def get(self, table: int, key: bytes) -> bytes | None:
        if (handle := self._handle(table)) is None:
            return None
        try:
            with self._env.begin(handle) as txn:
                value: bytes | None = txn.get(key)
        except lmdb.Error as error:
            raise _translated(error) from error
        return value

    def get_many(self, wanted: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        if not self._tables:
            return [None] * len(wanted)
        handle = self._handle
        try:
            with self._env.begin() as txn:
                get = txn.get
                return [get(key, None, handle(table)) for table, key in wanted]
        except lmdb.Error as error:
            raise _translated(error) from error

    def scan(
        self,
        table: int,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        reverse: bool = False,
        limit: int = SCAN_ROWS_MAX,
        bytes_max: int = SCAN_BYTES_MAX,
    ) -> list[Row]:
        if (handle := self._handle(table)) is None:
            return []
        try:
            with self._env.begin(handle) as txn, txn.cursor() as cursor:
                if reverse:
                    return _scan_down(cursor, start, stop, limit, bytes_max)
                return _scan_up(cursor, start, stop, limit, bytes_max)
        except lmdb.Error as error:
            raise _translated(error) from error

    def count(self, table: int) -> int:
        if (handle := self._handle(table)) is None:
            return 0
        try:
            with self._env.begin() as txn:
                return int(txn.stat(handle)["entries"])
        except lmdb.Error as error:
            raise _translated(error) from error

    # Writing ------------------------------------------------------------------------------------

    def write(self, changes: Changes) -> None:
        if self._broken:
            raise StoreBroken(self._broken)
        try:
            if not self._tables:
                self._make_tables()
            if monotonic() > self._readers_due_s:
                self._env.reader_check()
                self._readers_due_s = monotonic() + READERS_CHECK_S
            with self._env.begin(write=True) as txn:
                for table, rows in changes.items():
                    _write_table(txn, self._handle(table), rows)
        except lmdb.Error as error:
            failure = _translated(error)
            if isinstance(failure, StoreBroken) and self._is_short_write(error, changes):
                failure = StoreFull(f"{error} with {self.bytes_free()} bytes free")
            if not isinstance(failure, StoreFull):
                self._broken = str(failure)
            raise failure from error

    def _is_short_write(self, error: lmdb.Error, changes: Changes) -> bool:
        """Whether an I/O error says that the disk is full.

        LMDB reports a write that the disk took in part as EIO. To take a real EIO of a nearly full
        disk for that is safe: nothing that was committed has been touched, a next try writes and
        syncs all of its pages anew, and an error while the header was written stops LMDB itself.
        """
        if getattr(error, "code", 0) != errno.EIO:
            return False
        values = (value for rows in changes.values() for value in rows.values() if value)
        return self.bytes_free() < SHORT_WRITE_BYTES_FREE_MAX + 2 * sum(map(len, values))

    def _make_tables(self) -> None:
        """Make all tables in a commit of their own: a handle must not outlive a failed write."""
        with self._env.begin(write=True) as txn:
            tables = {int(table): self._env.open_db(_name(table), txn=txn) for table in Table}
        self._tables = tables

    # The rest -----------------------------------------------------------------------------------

    def bytes_used(self) -> int:
        return (self._path / DATA_FILE).stat().st_size

    def bytes_free(self) -> int:
        """Return what the filesystem has left for this user."""
        space = os.statvfs(self._path)
        return space.f_bavail * space.f_frsize

    def close(self) -> None:
        """Close the files and let another server in. Nothing may be read or written afterwards."""
        if self._lock >= 0:
            self._env.close()
            os.close(self._lock)
            self._lock = -1


def _name(table: Table) -> bytes:
    return table.name.lower().encode()


def _open(path: Path) -> Any:
    def environment(map_bytes: int) -> Any:
        return lmdb.open(
            str(path),
            map_size=map_bytes,
            subdir=True,
            readonly=False,
            metasync=True,
            sync=True,
            map_async=False,
            mode=0o600,
            create=True,
            readahead=False,
            writemap=False,
            meminit=True,
            max_readers=READERS_MAX,
            max_dbs=TABLES_MAX,
            max_spare_txns=0,
            lock=True,
        )

    try:
        env = environment(MAP_BYTES)
    except (lmdb.MemoryError, MemoryError):
        env = environment(MAP_BYTES_FALLBACK)
    env.reader_check()
    return env


def _check_length(env: Any, file: Path) -> None:
    """Refuse a file that was cut short. Raises `StoreDamaged`."""
    page_bytes = env.stat()["psize"]
    if file.stat().st_size >= (env.info()["last_pgno"] + 1) * page_bytes:
        return
    try:
        check_pages(file, page_bytes)
    except (PageMissing, struct.error) as error:
        raise StoreDamaged(f"{file.name} is cut short: {error}") from error


def _sync_directories(path: Path) -> None:
    """Make the names of the files, and of the directory, as durable as the rows will be."""
    for directory in (path, path.parent):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _lock(path: Path) -> int:
    """Take the directory for this process; the lock goes with the descriptor."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(directory)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise StoreBusy(str(path)) from error
        raise StoreUnsuitable(str(path), f"a filesystem without locks ({error})") from error
    return directory


def filesystem_of(path: Path) -> str:
    """Return the type of the filesystem that holds a directory; empty where it cannot be told.

    The last of the longest mount points that lead to the path is the one in force.
    """
    found, depth = "", -1
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), mount.split(" ")[4]))
        if path.is_relative_to(point) and len(point.parts) >= depth:
            found, depth = source.split(" ")[0], len(point.parts)
    return found


def _translated(error: lmdb.Error) -> StoreError:
    if isinstance(error, lmdb.MapFullError) or getattr(error, "code", 0) in _NO_SPACE:
        return StoreFull(str(error))
    if isinstance(error, _DAMAGES):
        return StoreDamaged(str(error))
    return StoreBroken(str(error))


def _write_table(txn: Any, handle: Any, rows: Any) -> None:
    """Put and delete the rows of one table, in the order of their keys: near pages stay hot."""
    puts = sorted(row for row in rows.items() if row[1] is not None)
    if puts:
        with txn.cursor(handle) as cursor:
            consumed, _ = cursor.putmulti(puts)
        assert consumed == len(puts), (consumed, len(puts))
    if len(puts) < len(rows):
        for key in sorted(key for key, value in rows.items() if value is None):
            txn.delete(key, db=handle)


def _scan_up(
    cursor: Any, start: bytes, stop: bytes | None, limit: int, bytes_max: int
) -> list[Row]:
    found: list[Row] = []
    if not (cursor.set_range(start) if start else cursor.first()):
        return found
    size = 0
    for row in islice(cursor.iternext(), limit):
        if stop is not None and row[0] >= stop:
            break
        found.append(row)
        size += len(row[1])
        if size >= bytes_max:
            break
    return found


def _scan_down(
    cursor: Any, start: bytes, stop: bytes | None, limit: int, bytes_max: int
) -> list[Row]:
    found: list[Row] = []
    bounded = stop is not None and cursor.set_range(stop)
    if not (cursor.prev() if bounded else cursor.last()):
        return found
    size = 0
    for row in islice(cursor.iterprev(), limit):
        if row[0] < start:
            break
        found.append(row)
        size += len(row[1])
        if size >= bytes_max:
            break
    return found
