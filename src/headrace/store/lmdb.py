"""Rows on disk, in LMDB: one writer, readers that never wait, fsync in every commit.

The settings are those under which LMDB keeps its promise after a power cut: sync and metasync on,
no writable map (a full disk would be a SIGBUS). The map is a reservation of addresses and not a
quota: the file grows as rows need it, so a full map is a defect and a full disk is `StoreFull`.

One process per directory (a lock on the directory), one environment per process. Open it after
any fork. LMDB is reached through `_lmdb` (compiled, without the GIL) or `pylmdb`, never both.
"""

import errno
import fcntl
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

import lmdb

from headrace.store import _lmdb, pylmdb
from headrace.store._new_rows import NewRows
from headrace.store.ahead import ReadAhead
from headrace.store.contract import (
    SCAN_BYTES_MAX,
    SCAN_ROWS_MAX,
    Row,
    StoreBroken,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreExposed,
    StoreFull,
    StoreUnsuitable,
    after,
)
from headrace.store.layout import Table
from headrace.store.pages import PageDamaged, check_pages, check_roots
from headrace.wire import limits

MAP_BYTES: Final = 1 << 40
MAP_BYTES_FALLBACK: Final = 1 << 36
"""Where the address space is limited (RLIMIT_AS, some containers)."""
READERS_MAX: Final = 256
READERS_CHECK_S: Final = 60
"""A process that died while it read, an inspector say, keeps old pages from reuse until then."""
SHORT_WRITE_BYTES_FREE_MAX: Final = 1 * limits.MIB
"""With less than this, and twice the batch, a disk counts as full: pages, branches, free lists."""
DATA_FILE: Final = "data.mdb"
DRAFT_DIR: Final = "new"
"""Where a new file is made; left behind only by a cut in that moment."""
OTHERS_WRITE: Final = 0o022
"""Mode bits of a directory in which files could be put in the place of ours."""
ENGINE: Final = "lmdb.cpython"
"""The extension that holds LMDB itself."""

UNSUITABLE: Final = re.compile(
    r"tmpfs|ramfs|hugetlbfs|overlay|aufs|9p|virtiofs|vboxsf|nfs\d?|cifs|smb\w*|afs|ceph|lustre"
    r"|glusterfs|fuse.*"
)
"""Filesystems that forget on a power cut, or whose locks and maps are not those of one host."""

_NAMES: Final = {int(table): table.name.lower().encode() for table in Table}
# Numbers of lmdb.h, as the errors tell them in `code`.
_MAP_FULL: Final = -30792
_NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, _MAP_FULL)
_DAMAGES: Final = (
    -30797,  # MDB_PAGE_NOTFOUND
    -30796,  # MDB_CORRUPTED
    -30794,  # MDB_VERSION_MISMATCH
    -30793,  # MDB_INVALID
    -30787,  # MDB_CURSOR_FULL
    -30784,  # MDB_INCOMPATIBLE
)


class Environment(Protocol):
    """An open LMDB environment; its tables have small numbers. Raises: `lmdb.Error`."""

    def close(self) -> None: ...
    def page_bytes(self) -> int: ...
    def pages(self) -> int: ...
    def reader_check(self) -> None: ...
    def tables_open(self, names: dict[int, bytes], create: bool) -> list[int]: ...
    def get(self, table: int, key: bytes) -> bytes | None: ...
    def get_columns(
        self, tables: Sequence[int], keys: Sequence[bytes]
    ) -> list[list[bytes | None]]: ...
    def get_lasts(self, table: int, ranges: Sequence[tuple[bytes, bytes]]) -> list[Row | None]: ...
    def scan(
        self,
        table: int,
        start: bytes,
        stop: bytes | None,
        reverse: bool,
        limit: int,
        bytes_max: int,
    ) -> list[Row]: ...
    def scan_packed(
        self, table: int, start: bytes, limit: int, bytes_max: int
    ) -> tuple[bytes, bytes]: ...
    def count(self, table: int) -> int: ...
    def write(self, rows: NewRows) -> None: ...


OpenEnvironment = Callable[[str, int, int], Environment]
"""Opens a directory with a map of so many bytes, for so many readers."""


def _environment() -> OpenEnvironment:
    """Return the way to LMDB: compiled, or py-lmdb where the wheel does not export its engine."""
    spec = find_spec(ENGINE)
    try:
        _lmdb.load((spec and spec.origin) or ENGINE)
    except ImportError:
        return pylmdb.Environment
    return _lmdb.Environment


class LmdbKeyValue:
    """`KeyValue` in a directory.

    Tables are made by the first write, so that opening changes nothing.
    """

    def __init__(
        self,
        path: Path,
        *,
        accept_any_filesystem: bool = False,
        environment: OpenEnvironment | None = None,
    ) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path.resolve()
        filesystem = filesystem_of(self._path)
        if not accept_any_filesystem and UNSUITABLE.fullmatch(filesystem):
            raise StoreUnsuitable(str(path), filesystem)
        if self._path.stat().st_mode & OTHERS_WRITE:
            raise StoreExposed(str(path))
        self._lock = _lock(self._path)
        try:
            way = environment or _environment()
            if not (self._path / DATA_FILE).exists():
                _create(self._path, way)
            elif not self.bytes_used():
                raise StoreDamaged(f"{DATA_FILE} is empty")
            self._env = _open(self._path, way)
            try:
                _check_pages(self._env, self._path / DATA_FILE)
                self._tables = set(self._env.tables_open(_NAMES, create=False))
                """The tables that exist: all, as one commit makes them, or none."""
                sync_directory(self._path)
                sync_directory(self._path.parent)
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

    def _is_there(self, table: int) -> bool:
        """Return whether a table can be read; False before the first write.

        A later format may have fewer tables: that one is missing shows when it is asked for.
        """
        if table in self._tables:
            return True
        if self._tables:
            raise StoreDamaged(f"table {table} is missing")
        return False

    # Reading ------------------------------------------------------------------------------------

    def get(self, table: int, key: bytes) -> bytes | None:
        if not self._is_there(table):
            return None
        try:
            return self._env.get(table, key)
        except lmdb.Error as error:
            raise _translated(error) from error

    def get_columns(self, tables: Sequence[int], keys: Sequence[bytes]) -> list[list[bytes | None]]:
        if not all(self._is_there(table) for table in tables):
            return [[None] * len(keys) for _ in tables]
        try:
            return self._env.get_columns(tables, keys)
        except lmdb.Error as error:
            raise _translated(error) from error

    def get_lasts(self, table: int, ranges: Sequence[tuple[bytes, bytes]]) -> list[Row | None]:
        if not self._is_there(table):
            return [None] * len(ranges)
        try:
            return self._env.get_lasts(table, ranges)
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
        if not self._is_there(table):
            return []
        try:
            return self._env.scan(table, start, stop, reverse, limit, bytes_max)
        except lmdb.Error as error:
            raise _translated(error) from error

    def walk_packed(self, table: int, rows: int) -> Iterator[bytes]:
        if not self._is_there(table):
            return
        pages = max(1, self.count(table) // rows)
        start = b""
        done = 0
        with closing(
            ReadAhead(self._path / DATA_FILE, self._env.page_bytes(), _NAMES[table])
        ) as it:
            while True:
                it.reached(done / pages)
                try:
                    packed, last = self._env.scan_packed(table, start, rows, SCAN_BYTES_MAX)
                except lmdb.Error as error:
                    raise _translated(error) from error
                if not packed:
                    return
                yield packed
                done += 1
                start = after(last)

    def count(self, table: int) -> int:
        if not self._is_there(table):
            return 0
        try:
            return self._env.count(table)
        except lmdb.Error as error:
            raise _translated(error) from error

    # Writing ------------------------------------------------------------------------------------

    def write(self, rows: NewRows) -> None:
        if self._broken:
            raise StoreBroken(self._broken)
        try:
            if not self._tables:
                # In a commit of their own: a handle must not outlive a failed write.
                self._tables.update(self._env.tables_open(_NAMES, create=True))
            if monotonic() > self._readers_due_s:
                self._env.reader_check()
                self._readers_due_s = monotonic() + READERS_CHECK_S
            for table in rows.tables():
                self._is_there(table)
            self._env.write(rows)
        except lmdb.Error as error:
            failure = _translated(error)
            if isinstance(failure, StoreBroken) and self._is_short_write(error, rows):
                failure = StoreFull(f"{error} with {self.bytes_free()} bytes free")
            if not isinstance(failure, StoreFull):
                self._broken = str(failure)
            raise failure from error

    def _is_short_write(self, error: lmdb.Error, rows: NewRows) -> bool:
        """Whether an I/O error says that the disk is full.

        LMDB reports a write that the disk took in part as EIO. To take a real EIO of a nearly full
        disk for that is safe: nothing that was committed has been touched, a next try writes and
        syncs all of its pages anew, and an error while the header was written stops LMDB itself.
        """
        if getattr(error, "code", 0) != errno.EIO:
            return False
        size = sum(len(value) for table in rows.tables() for _, value in rows.items(table) if value)
        return self.bytes_free() < SHORT_WRITE_BYTES_FREE_MAX + 2 * size

    # The rest -----------------------------------------------------------------------------------

    def page_bytes(self) -> int:
        return self._env.page_bytes()

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


def _open(path: Path, open_environment: OpenEnvironment) -> Environment:
    try:
        env = open_environment(str(path), MAP_BYTES, READERS_MAX)
    except lmdb.Error as error:
        if getattr(error, "code", 0) != errno.ENOMEM:
            raise
        env = open_environment(str(path), MAP_BYTES_FALLBACK, READERS_MAX)
    env.reader_check()
    return env


def _create(path: Path, way: OpenEnvironment) -> None:
    """Put a whole file without rows in place.

    LMDB writes the first pages of a new file and does not wait for them: what a power cut leaves of
    it then cannot be told from a store that lost its header.
    """
    draft = path / DRAFT_DIR
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    _open(draft, way).close()
    with (draft / DATA_FILE).open("rb") as file:
        os.fsync(file.fileno())
    (draft / DATA_FILE).rename(path / DATA_FILE)
    shutil.rmtree(draft)


def _check_pages(env: Environment, file: Path) -> None:
    """Refuse a file that was cut short, or whose list of tables is none. Raises `StoreDamaged`."""
    page_bytes = env.page_bytes()
    is_short = file.stat().st_size < env.pages() * page_bytes
    try:
        if is_short:
            check_pages(file, page_bytes)
        else:
            check_roots(file, page_bytes)
    except (PageDamaged, struct.error) as error:
        says = "is cut short" if is_short else "is damaged"
        raise StoreDamaged(f"{file.name} {says}: {error}") from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory as durable as what they name."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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
    code = getattr(error, "code", 0)
    if code in _NO_SPACE:
        return StoreFull(str(error))
    if code in _DAMAGES:
        return StoreDamaged(str(error))
    return StoreBroken(str(error))
