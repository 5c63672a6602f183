"""Rows in memory: for tests, for an embedded queue without a directory, and as the oracle.

Each table is a dict and a list of its keys. The list is put in order when it is scanned, not when
it is written: appends of rising keys cost nothing, and tables that nobody scans never sort.
"""

import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Lock

from headrace.store._new_rows import NewRows
from headrace.store.contract import SCAN_BYTES_MAX, SCAN_ROWS_MAX, Row, after, pack_rows

DEAD_SHARE = 8
"""Deleted keys stay in the list until they are more than this part of it."""


class _Table:
    __slots__ = ("_dead", "_keys", "_sorted", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        """Each key of `rows`, and each key of `_dead`, once."""
        self._dead: set[bytes] = set()
        self._sorted = True

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.rows:
            if key in self._dead:
                self._dead.remove(key)
            else:
                keys = self._keys
                self._sorted = self._sorted and (not keys or keys[-1] < key)
                keys.append(key)
        self.rows[key] = value

    def delete(self, key: bytes) -> None:
        if self.rows.pop(key, None) is not None:
            self._dead.add(key)

    def keys(self) -> list[bytes]:
        if len(self._dead) * DEAD_SHARE > len(self._keys):
            self._keys = [key for key in self._keys if key not in self._dead]
            self._dead.clear()
        if not self._sorted:
            self._keys.sort()
            self._sorted = True
        return self._keys


class MemoryKeyValue:
    """`KeyValue` in this process. Cost: a scan after unordered writes sorts what is new."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
        self._lock = Lock()

    def get(self, table: int, key: bytes) -> bytes | None:
        rows = self._tables.get(table)
        return None if rows is None else rows.rows.get(key)

    def get_columns(self, tables: Sequence[int], keys: Sequence[bytes]) -> list[list[bytes | None]]:
        with self._lock:
            return [[self.get(table, key) for key in keys] for table in tables]

    def get_lasts(self, table: int, ranges: Sequence[tuple[bytes, bytes]]) -> list[Row | None]:
        found: list[Row | None] = []
        for start, stop in ranges:
            rows = self.scan(table, start, stop, reverse=True, limit=1)
            found.append(rows[0] if rows else None)
        return found

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
        found: list[Row] = []
        with self._lock:
            if (rows := self._tables.get(table)) is None:
                return found
            keys = rows.keys()
            first = bisect_left(keys, start)
            end = len(keys) if stop is None else bisect_left(keys, stop)
            order = range(end - 1, first - 1, -1) if reverse else range(first, end)
            size = 0
            alive = (
                (key, value)
                for at in order
                if (value := rows.rows.get(key := keys[at])) is not None
            )
            for row in islice(alive, limit):
                found.append(row)
                size += len(row[1])
                if size >= bytes_max:
                    break
        return found

    def walk_packed(self, table: int, rows: int) -> Iterator[bytes]:
        start = b""
        while page := self.scan(table, start, limit=rows):
            yield pack_rows(page)
            start = after(page[-1][0])

    def count(self, table: int) -> int:
        rows = self._tables.get(table)
        return 0 if rows is None else len(rows.rows)

    def write(self, rows: NewRows) -> None:
        with self._lock:
            for table in rows.tables():
                target = self._tables.get(table)
                if target is None:
                    target = self._tables[table] = _Table()
                for key, value in rows.items(table):
                    if value is None:
                        target.delete(key)
                    else:
                        target.put(key, value)

    def bytes_used(self) -> int:
        """Return a lower bound: the lists and dicts, not the bytes they hold."""
        return sum(sys.getsizeof(table.rows) for table in self._tables.values())

    def bytes_free(self) -> int:
        return sys.maxsize

    def close(self) -> None:
        """Nothing to let go of: the rows live as long as this object."""
