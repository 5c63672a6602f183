"""`_lmdb.Environment` over py-lmdb's own face: the same, but the GIL is retaken for each row.

Used where py-lmdb does not export its engine, and as the twin that the compiled one is held to.
"""

from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import lmdb

from headrace.store._lmdb import TABLES_MAX
from headrace.store._new_rows import NewRows
from headrace.store.contract import Row, StoreDamaged, pack_rows

_MISPLACED: Final = "the store is damaged: keys are not in order, a page lies in another's place"


class Environment:
    """The tables of one directory, by small numbers. Raises: `lmdb.Error`, `StoreDamaged`."""

    def __init__(self, path: str, map_bytes: int, readers_max: int) -> None:
        self._env = lmdb.open(
            path,
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
            max_readers=readers_max,
            max_dbs=TABLES_MAX,
            max_spare_txns=0,
            lock=True,
        )
        self._tables: dict[int, Any] = {}

    def close(self) -> None:
        self._env.close()

    def page_bytes(self) -> int:
        return int(self._env.stat()["psize"])

    def pages(self) -> int:
        return int(self._env.info()["last_pgno"]) + 1

    def reader_check(self) -> None:
        self._env.reader_check()

    def tables_open(self, names: dict[int, bytes], create: bool) -> list[int]:
        tables = {}
        if create:
            with self._env.begin(write=True) as txn:
                for table, name in names.items():
                    tables[table] = self._env.open_db(name, txn=txn)
        else:
            for table, name in names.items():
                with suppress(lmdb.NotFoundError):
                    tables[table] = self._env.open_db(name, create=False)
        self._tables |= tables
        return list(tables)

    def get(self, table: int, key: bytes) -> bytes | None:
        with self._env.begin(self._tables[table]) as txn:
            value: bytes | None = txn.get(key)
        return value

    def get_columns(self, tables: Sequence[int], keys: Sequence[bytes]) -> list[list[bytes | None]]:
        handles = [self._tables[table] for table in tables]
        with self._env.begin() as txn:
            get = txn.get
            return [[get(key, None, handle) for key in keys] for handle in handles]

    def get_lasts(self, table: int, ranges: Sequence[tuple[bytes, bytes]]) -> list[Row | None]:
        found: list[Row | None] = []
        with self._env.begin(self._tables[table]) as txn, txn.cursor() as cursor:
            for start, stop in ranges:
                rows = _scan_down(cursor, start, stop, 1, 1)
                found.append(rows[0] if rows else None)
        return found

    def scan(
        self,
        table: int,
        start: bytes,
        stop: bytes | None,
        reverse: bool,
        limit: int,
        bytes_max: int,
    ) -> list[Row]:
        with self._env.begin(self._tables[table]) as txn, txn.cursor() as cursor:
            if reverse:
                return _scan_down(cursor, start, stop, limit, bytes_max)
            return _scan_up(cursor, start, stop, limit, bytes_max)

    def scan_packed(
        self, table: int, start: bytes, limit: int, bytes_max: int
    ) -> tuple[bytes, bytes]:
        rows = self.scan(table, start, None, False, limit, bytes_max)
        return pack_rows(rows), rows[-1][0] if rows else start

    def count(self, table: int) -> int:
        with self._env.begin() as txn:
            return int(txn.stat(self._tables[table])["entries"])

    def write(self, rows: NewRows) -> None:
        with self._env.begin(write=True) as txn:
            for table in rows.tables():
                _write_table(txn, self._tables[table], rows.items(table))


def _write_table(txn: Any, handle: Any, rows: list[tuple[bytes, bytes | None]]) -> None:
    """Put and delete the rows of one table, in the order of their keys: near pages stay hot."""
    puts = sorted(row for row in rows if row[1] is not None)
    if puts:
        with txn.cursor(handle) as cursor:
            consumed, _ = cursor.putmulti(puts)
        assert consumed == len(puts), (consumed, len(puts))
    if len(puts) < len(rows):
        for key in sorted(key for key, value in rows if value is None):
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
        if row[0] < start or (found and row[0] <= found[-1][0]):
            raise StoreDamaged(_MISPLACED)
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
        bound = found[-1][0] if found else stop
        if bound is not None and row[0] >= bound:
            raise StoreDamaged(_MISPLACED)
        found.append(row)
        size += len(row[1])
        if size >= bytes_max:
            break
    return found
