"""LMDB without the GIL: one call, one wait."""

from collections.abc import Sequence
from typing import Final, Self, final

from headrace.store._new_rows import NewRows
from headrace.store.contract import Row

TABLES_MAX: Final[int]
"""Numbers of tables are below; room for those of later formats."""

def load(file: str) -> None:
    """Take LMDB's functions from py-lmdb's extension. Raises: ImportError if they are not there."""

@final
class Environment:
    """The tables of one directory, by small numbers. Open it after any fork.

    One thread writes; any may read. Raises: `lmdb.Error`, with LMDB's number in `code`.
    """

    def __new__(cls, path: str, map_bytes: int, readers_max: int) -> Self: ...
    def close(self) -> None: ...
    def page_bytes(self) -> int: ...
    def pages(self) -> int:
        """Return how many pages the file has, as its header tells."""
    def reader_check(self) -> None:
        """Free the places of readers that died."""
    def tables_open(self, names: dict[int, bytes], create: bool) -> list[int]:
        """Open tables by name, all in one commit; return the numbers of those that are there."""
    def get(self, table: int, key: bytes) -> bytes | None: ...
    def get_columns(self, tables: Sequence[int], keys: Sequence[bytes]) -> list[list[bytes | None]]:
        """Read the rows of these keys in each table, all of one and the same moment."""
    def get_lasts(self, table: int, ranges: Sequence[tuple[bytes, bytes]]) -> list[Row | None]:
        """Read the last row of each range, start <= key < stop, all of one and the same moment."""
    def scan(
        self,
        table: int,
        start: bytes,
        stop: bytes | None,
        reverse: bool,
        limit: int,
        bytes_max: int,
    ) -> list[Row]:
        """Read a range; see `KeyValue.scan`."""
    def scan_packed(
        self, table: int, start: bytes, limit: int, bytes_max: int
    ) -> tuple[bytes, bytes]:
        """Read rows from `start` on, packed as `contract.pack_rows` does; and the last key."""
    def count(self, table: int) -> int: ...
    def write(self, rows: NewRows) -> None:
        """Commit all rows or none. They must not change meanwhile: their bytes are not copied."""
