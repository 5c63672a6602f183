"""Reading ahead: the disk fetches a table's pages while rows before them are looked at.

LMDB maps its file without read-ahead, as suits a store larger than memory: each page that is not
in memory yet is a fault, and the next one is asked for when it has come. That is 0.1 ms for some
forty jobs. A start reads all of LIVE, so here the system is told which pages those are.

All of it is advice. What cannot be made out is not asked for, and is then read a page at a time.
"""

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from headrace.store.pages import PageDamaged, leaves_of

WINDOW_PAGES: Final = 1_024
"""Leaves that are asked for in one go, in the order in which they lie in the file."""
AHEAD_PAGES: Final = 8 * WINDOW_PAGES
"""How far ahead of the reader: 32 MiB, some tens of milliseconds of a fast disk."""
GAP_PAGES: Final = 2
"""So few pages between two leaves are fetched with them: cheaper than one more request."""


class ReadAhead:
    """Asks for the leaves of one table, in the order of its keys. Nobody writes meanwhile."""

    def __init__(self, file: Path, page_bytes: int, table: bytes) -> None:
        self._page_bytes = page_bytes
        self._asked = 0
        """Leaves asked for so far."""
        self._file = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._leaves = leaves_of(self._file, page_bytes, table)
        except (PageDamaged, struct.error, OSError):
            self._leaves = []

    def reached(self, share: float) -> None:
        """Ask for what comes soon. `share`: how much of the table has been read, from 0 to 1."""
        until = min(int(share * len(self._leaves)) + AHEAD_PAGES, len(self._leaves))
        while self._asked < until:
            window = sorted(self._leaves[self._asked : self._asked + WINDOW_PAGES])
            self._asked += len(window)
            for first, stop in runs_of(window):
                offset, length = first * self._page_bytes, (stop - first) * self._page_bytes
                with suppress(OSError):
                    os.posix_fadvise(self._file, offset, length, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        os.close(self._file)


def runs_of(rising: list[int]) -> list[tuple[int, int]]:
    """Join page numbers to runs (first, end), over gaps of at most `GAP_PAGES`."""
    runs = []
    first = stop = rising[0]
    for number in rising:
        if number > stop + GAP_PAGES:
            runs.append((first, stop))
            first = number
        stop = number + 1
    runs.append((first, stop))
    return runs
