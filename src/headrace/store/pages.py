"""The pages of a database file: whether all that its tree names are there; a table's leaves.

A read behind the end of a mapped file is a SIGBUS, and no exception. So the file of a copy that
was cut short is looked at before LMDB is: by its length, and, if that is short, page by page. A
short file may be whole, because LMDB does not write pages that a commit took and gave back.

Source: struct MDB_page, MDB_node, MDB_db and MDB_meta of LMDB 0.9 (mdb.c), data version 1.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

PAGE_HEADER: Final = struct.Struct("<QHHHH")
"""Number, padding, flags, lower and upper end of the free space."""
NODE: Final = struct.Struct("<HHHH")
"""Low and high half of a length (of a page number, with the flags on top), flags, key length."""
DB: Final = struct.Struct("<IHHQQQQQ")
"""Padding, flags, depth, branch, leaf and overflow pages, entries, root."""
NUMBER: Final = struct.Struct("<Q")
BRANCH, LEAF, OVERFLOW = 1, 2, 4
BIG_DATA, SUB_DATA = 1, 2
NO_PAGE: Final = (1 << 64) - 1
DEPTH_MAX: Final = 32
"""As LMDB's own cursor stack."""
META_DBS_AT: Final = PAGE_HEADER.size + 24
META_TXN_AT: Final = META_DBS_AT + 2 * DB.size + 8


class PageMissing(Exception):  # noqa: N818 - named for what was found
    """A page that the tree names is not in the file, or is no page of a tree."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"page {number} {why}")
        self.number = number


def check_pages(path: Path, page_bytes: int, *, every_leaf: bool = False) -> None:
    """Look at every page of the last commit's trees. Raises `PageMissing`, `struct.error`.

    Cost: reads the branch pages, about one in a hundred, and the leaves of tables with long values;
    with `every_leaf` all of them.
    """
    pages = path.stat().st_size // page_bytes
    with path.open("rb") as file:
        metas = [_page(file, number, page_bytes, pages) for number in (0, 1)]
        last = max(metas, key=lambda meta: int(NUMBER.unpack_from(meta, META_TXN_AT)[0]))
        tables = _check_tree(file, last, META_DBS_AT, page_bytes, pages)  # the free list
        tables += _check_tree(file, last, META_DBS_AT + DB.size, page_bytes, pages, read=True)
        for page, at in tables:
            _check_tree(file, page, at, page_bytes, pages, read=every_leaf)


def leaves_of(file: int, page_bytes: int, table: bytes) -> list[int]:
    """Return the numbers of a table's leaves, in the order of their keys. Raises `PageMissing`.

    Cost: reads the branch pages, a level at a time, so that the disk has much to do at once.
    """
    metas = [os.pread(file, page_bytes, number * page_bytes) for number in (0, 1)]
    last = max(metas, key=lambda meta: int(NUMBER.unpack_from(meta, META_TXN_AT)[0]))
    for number in _leaves(file, page_bytes, last, META_DBS_AT + DB.size):
        page = os.pread(file, page_bytes, number * page_bytes)
        for at in _nodes(page):
            _, _, flags, key_bytes = NODE.unpack_from(page, at)
            data_at = at + NODE.size + key_bytes
            if flags & SUB_DATA and page[at + NODE.size : data_at] == table:
                return _leaves(file, page_bytes, page, data_at)
    raise PageMissing(0, f"names no table {table!r}")


def _leaves(file: int, page_bytes: int, holder: bytes, db_at: int) -> list[int]:
    _, _, depth, _, _, _, _, root = DB.unpack_from(holder, db_at)
    pages = os.fstat(file).st_size // page_bytes
    level = [] if root == NO_PAGE else [root]
    for _ in range(depth - 1):
        if max(level, default=0) >= pages:
            raise PageMissing(max(level), "is behind the end of the file")
        for number in sorted(level):
            os.posix_fadvise(file, number * page_bytes, page_bytes, os.POSIX_FADV_WILLNEED)
        below = []
        for number in level:
            page = os.pread(file, page_bytes, number * page_bytes)
            for at in _nodes(page):
                low, high, top, _ = NODE.unpack_from(page, at)
                below.append(low | high << 16 | top << 32)
            if len(below) > pages:
                raise PageMissing(number, "is not a page of a tree")
        level = below
    return level


def _nodes(page: bytes) -> tuple[int, ...]:
    """Return where the nodes of a page begin."""
    lower = PAGE_HEADER.unpack_from(page)[3]
    return struct.unpack_from(f"<{(lower - PAGE_HEADER.size) // 2}H", page, PAGE_HEADER.size)


def _page(file: BinaryIO, number: int, page_bytes: int, pages: int) -> bytes:
    if number >= pages:
        raise PageMissing(number, f"is behind the end of the file, which has {pages}")
    file.seek(number * page_bytes)
    return file.read(page_bytes)


def _check_tree(
    file: BinaryIO, holder: bytes, db_at: int, page_bytes: int, pages: int, *, read: bool = False
) -> list[tuple[bytes, int]]:
    """Look at a tree; return where the tables stand that it names (page, offset).

    Without `read`, a leaf that can name no long value is not read: that it is there is enough.
    """
    _, _, depth, _, _, overflow_pages, _, root = DB.unpack_from(holder, db_at)
    tables: list[tuple[bytes, int]] = []
    pages_left = [] if root == NO_PAGE else [(root, 1)]
    while pages_left:
        number, level = pages_left.pop()
        if level == depth and not read and overflow_pages == 0:
            if number >= pages:
                raise PageMissing(number, f"is behind the end of the file, which has {pages}")
            continue
        page = _page(file, number, page_bytes, pages)
        told, _, flags, lower, _ = PAGE_HEADER.unpack_from(page)
        wanted = LEAF if level == depth else BRANCH
        if told != number or not flags & wanted or level > min(depth, DEPTH_MAX):
            raise PageMissing(number, "is not a page of a tree")
        count = (lower - PAGE_HEADER.size) // 2
        if not 0 <= count <= page_bytes // 2:
            raise PageMissing(number, "has no sound header")
        for at in struct.unpack_from(f"<{count}H", page, PAGE_HEADER.size):
            low, high, node_flags, key_bytes = NODE.unpack_from(page, at)
            if flags & BRANCH:
                pages_left.append((low | high << 16 | node_flags << 32, level + 1))
                continue
            data_at = at + NODE.size + key_bytes
            if node_flags & BIG_DATA:
                first = NUMBER.unpack_from(page, data_at)[0]
                data_bytes = PAGE_HEADER.size + (low | high << 16)
                last = first + (data_bytes - 1) // page_bytes
                if last >= pages:
                    raise PageMissing(last, f"is behind the end of the file, which has {pages}")
            elif data_at + (low | high << 16) > page_bytes:
                raise PageMissing(number, "has a value that is longer than it")
            elif node_flags & SUB_DATA:
                tables.append((page, data_at))
    return tables
