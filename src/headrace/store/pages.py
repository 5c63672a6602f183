"""The pages of a database file: whether all that its trees name are there; a table's leaves.

A read behind the end of a mapped file is a SIGBUS, and no exception. So the file of a copy that
was cut short is looked at before LMDB is: by its length, and, if that is short, page by page. A
short file may be whole, because LMDB does not write pages that a commit took and gave back.

Source: struct MDB_page, MDB_node, MDB_db and MDB_meta of LMDB 0.9 (mdb.c), data version 1.
"""

import os
import struct
from operator import lt
from pathlib import Path
from typing import Final

import msgspec

PAGE_HEADER: Final = struct.Struct("<QHHHH")
"""Number, padding, flags, lower and upper end of the free space."""
NODE: Final = struct.Struct("<HHHH")
"""Low and high half of a length (of a page number, with the flags on top), flags, key length."""
DB: Final = struct.Struct("<IHHQQQQQ")
"""Padding, flags, depth, branch, leaf and overflow pages, entries, root."""
NUMBER: Final = struct.Struct("<Q")
BRANCH, LEAF, OVERFLOW = 1, 2, 4
BIG_DATA, SUB_DATA = 1, 2
INTEGER_KEY: Final = 8
"""Flag of a tree whose keys are numbers, the free list alone."""
FIRST_PAGE: Final = 2
"""The first one behind the two headers."""
NO_PAGE: Final = (1 << 64) - 1
NO_TREE_PAGE: Final = "is not a page of a tree"
DEPTH_MAX: Final = 32
"""As LMDB's own cursor stack."""
META_DBS_AT: Final = PAGE_HEADER.size + 24
META_LAST_PAGE_AT: Final = META_DBS_AT + 2 * DB.size
META_TXN_AT: Final = META_LAST_PAGE_AT + NUMBER.size


class PageDamaged(Exception):  # noqa: N818 - named for what was found
    """A page that a tree names is not in the file, or is not what that place of the tree needs."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(f"page {number} {why}")
        self.number = number


def check_pages(path: Path, page_bytes: int, *, every_leaf: bool = False) -> None:
    """Look at every page of the last commit's trees. Raises `PageDamaged`, `struct.error`.

    With `every_leaf` also at the keys, which lead a search: each in its order and under the branch
    that leads to it; at the number of rows; and at the free list, which must name no page in use.

    Cost: reads the branch pages, about one in a hundred, and the leaves of tables with long values;
    with `every_leaf` all of them, and 1 byte of memory a page.
    """
    with path.open("rb") as file:
        walk = _Walk(file.fileno(), page_bytes, every_leaf=every_leaf)
        last = walk.last_meta()
        free = walk.tree(last, META_DBS_AT, flags=INTEGER_KEY)
        for page, at in walk.tree(last, META_DBS_AT + DB.size, read=True).tables:
            walk.tree(page, at)
        if every_leaf:
            walk.check_free(free.values, NUMBER.unpack_from(last, META_LAST_PAGE_AT)[0])


def check_roots(path: Path, page_bytes: int) -> None:
    """Look at the list of the tables and at the first page of each. Raises as `check_pages`.

    LMDB asks no page whether it is the one that was meant: with another in the place of the list
    all tables are new ones, and a store full of jobs an empty one.

    Cost: reads a page for each table.
    """
    with path.open("rb") as file:
        walk = _Walk(file.fileno(), page_bytes)
        last = walk.last_meta()
        walk.root(last, META_DBS_AT, flags=INTEGER_KEY)
        for page, at in walk.tree(last, META_DBS_AT + DB.size, read=True).tables:
            walk.root(page, at)


def leaves_of(file: int, page_bytes: int, table: bytes) -> list[int]:
    """Return the numbers of a table's leaves, in the order of their keys. Raises `PageDamaged`.

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
    raise PageDamaged(0, f"names no table {table!r}")


def _leaves(file: int, page_bytes: int, holder: bytes, db_at: int) -> list[int]:
    depth, _, _, root = _db(holder, db_at, 0)
    pages = os.fstat(file).st_size // page_bytes
    level = [] if root == NO_PAGE else [root]
    for _ in range(depth - 1):
        if max(level, default=0) >= pages:
            raise PageDamaged(max(level), "is behind the end of the file")
        for number in sorted(level):
            os.posix_fadvise(file, number * page_bytes, page_bytes, os.POSIX_FADV_WILLNEED)
        below = []
        for number in level:
            page = os.pread(file, page_bytes, number * page_bytes)
            for at in _nodes(page):
                low, high, top, _ = NODE.unpack_from(page, at)
                below.append(low | high << 16 | top << 32)
            if len(below) > pages:
                raise PageDamaged(number, NO_TREE_PAGE)
        level = below
    return level


def _nodes(page: bytes) -> tuple[int, ...]:
    """Return where the nodes of a page begin."""
    lower = PAGE_HEADER.unpack_from(page)[3]
    return struct.unpack_from(f"<{(lower - PAGE_HEADER.size) // 2}H", page, PAGE_HEADER.size)


class _Tree(msgspec.Struct):
    """What a walk met in the leaves that it read."""

    is_free_list: bool
    values: list[tuple[int, bytes]] = []
    """Of the free list: a leaf's number, and what it says."""
    tables: list[tuple[bytes, int]] = []
    """Where the tables stand that it names (page, offset)."""
    rows: int = 0


class _Walk:
    def __init__(self, file: int, page_bytes: int, *, every_leaf: bool = False) -> None:
        self._file = file
        self._page_bytes = page_bytes
        self._pages = os.fstat(file).st_size // page_bytes
        self._every_leaf = every_leaf
        self._used = bytearray(self._pages if every_leaf else 0)

    def last_meta(self) -> bytes:
        """Return the header of the last commit; no page behind its last one counts from now on.

        The headers are written in turn. Where they do not follow each other one of them is damaged,
        and to go by the other may undo a commit.
        """
        metas = [self._page(number) for number in (0, 1)]
        commits = [int(NUMBER.unpack_from(meta, META_TXN_AT)[0]) for meta in metas]
        if commits != [0, 0] and (max(commits) - min(commits), commits[1] % 2) != (1, 1):
            raise PageDamaged(0, f"and page 1 are of commits {commits[0]} and {commits[1]}")
        last = metas[1] if commits[1] > commits[0] else metas[0]
        self._pages = min(self._pages, NUMBER.unpack_from(last, META_LAST_PAGE_AT)[0] + 1)
        return last

    def root(self, holder: bytes, db_at: int, *, flags: int = 0) -> None:
        """Look at the first page of a tree."""
        depth, _, rows, root = _db(holder, db_at, flags)
        if root != NO_PAGE:
            page = self._tree_page(root, LEAF if depth == 1 else BRANCH)
            if depth == 1:
                _check_rows(root, len(_nodes(page)), rows)

    def tree(self, holder: bytes, db_at: int, *, flags: int = 0, read: bool = False) -> _Tree:
        """Look at a tree.

        Without `read`, a leaf that can name no long value is not read: that it is there is enough.
        """
        depth, overflow_pages, rows, root = _db(holder, db_at, flags)
        read = read or self._every_leaf
        found = _Tree(is_free_list=flags == INTEGER_KEY)
        pages_left: list[tuple[int, int, bytes, bytes | None]] = []
        if root != NO_PAGE:
            pages_left.append((root, 1, b"", None))
        while pages_left:
            number, level, low, high = pages_left.pop()
            self._take(number)
            if level > min(depth, DEPTH_MAX):
                raise PageDamaged(number, NO_TREE_PAGE)
            if level < depth:
                below, keys = self._branch(number)
                keys[:1] = [low] * bool(keys)  # that of the first one leads nowhere
                highs = [*keys[1:], high]
                pages_left += zip(below, [level + 1] * len(below), keys, highs, strict=True)
            elif read or overflow_pages > 0:
                keys = self._leaf(number, found)
            else:
                continue
            if self._every_leaf:
                _check_order(number, keys, low, high, integers=found.is_free_list)
        if read:
            _check_rows(root, found.rows, rows)
        return found

    def _branch(self, number: int) -> tuple[list[int], list[bytes]]:
        """Return the pages to which a branch leads, and their keys."""
        page = self._tree_page(number, BRANCH)
        below, keys, packed = [], [], 0
        for at in _nodes(page):
            low, high, top, key_bytes = NODE.unpack_from(page, at)
            below.append(low | high << 16 | top << 32)
            keys.append(page[at + NODE.size : at + NODE.size + key_bytes])
            packed += NODE.size + key_bytes + key_bytes % 2
        self._check_packed(number, page, packed)
        return below, keys

    def _leaf(self, number: int, found: _Tree) -> list[bytes]:
        """Look at the rows of a leaf; return their keys."""
        page = self._tree_page(number, LEAF)
        keys, packed = [], 0
        for at in _nodes(page):
            low, high, flags, key_bytes = NODE.unpack_from(page, at)
            value_at, value_bytes = at + NODE.size + key_bytes, low | high << 16
            keys.append(page[at + NODE.size : value_at])
            if flags == BIG_DATA:
                first = NUMBER.unpack_from(page, value_at)[0]
                value = self._long_value(first, value_bytes, read=found.is_free_list)
                packed += NODE.size + key_bytes + NUMBER.size + key_bytes % 2
            else:
                value = page[value_at : value_at + value_bytes]
                if len(value) < value_bytes:
                    raise PageDamaged(number, "has a value that is longer than it")
                size = NODE.size + key_bytes + value_bytes
                packed += size + size % 2
            if flags == SUB_DATA and value_bytes == DB.size:
                found.tables.append((page, value_at))
            elif flags not in (0, BIG_DATA):
                raise PageDamaged(number, "has a value of no known kind")
            if found.is_free_list:
                found.values.append((number, value))
        self._check_packed(number, page, packed)
        found.rows += len(keys)
        return keys

    def _long_value(self, first: int, value_bytes: int, *, read: bool) -> bytes:
        """Look at the pages of a value that has its own."""
        pages = 1 + (PAGE_HEADER.size + value_bytes - 1) // self._page_bytes
        for number in range(first, first + pages):
            self._take(number)
        if not read:
            return b""
        return os.pread(self._file, value_bytes, first * self._page_bytes + PAGE_HEADER.size)

    def check_free(self, values: list[tuple[int, bytes]], last_page: int) -> None:
        """Look at the free list: LMDB writes anew what it names."""
        for number, value in values:
            count = NUMBER.unpack_from(value)[0]
            if (count + 1) * NUMBER.size > len(value):
                raise PageDamaged(number, "holds a free list that is longer than it")
            for free in struct.unpack_from(f"<{count}Q", value, NUMBER.size):
                if not FIRST_PAGE <= free <= last_page:
                    raise PageDamaged(number, f"calls page {free} free, which no tree can have")
                if free < self._pages:
                    if self._used[free]:
                        raise PageDamaged(free, "is free and in use, or free twice")
                    self._used[free] = 1

    def _take(self, number: int) -> None:
        """Note that a page is in use."""
        if number >= self._pages:
            raise PageDamaged(number, f"is behind the end of the file, which has {self._pages}")
        if self._every_leaf:
            if self._used[number] or number < FIRST_PAGE:
                raise PageDamaged(number, "is in use twice")
            self._used[number] = 1

    def _tree_page(self, number: int, wanted: int) -> bytes:
        page = self._page(number)
        told, _, flags, lower, upper = PAGE_HEADER.unpack_from(page)
        if told != number or flags != wanted:
            raise PageDamaged(number, NO_TREE_PAGE)
        if lower % 2 or not PAGE_HEADER.size <= lower <= upper <= self._page_bytes:
            raise PageDamaged(number, "has no sound header")
        nodes = _nodes(page)
        if nodes and not upper <= min(nodes) <= max(nodes) <= self._page_bytes - NODE.size:
            raise PageDamaged(number, "has a row that lies outside")
        return page

    def _check_packed(self, number: int, page: bytes, packed: int) -> None:
        """Look whether the rows of a page fill it: none lies on another."""
        if packed != self._page_bytes - PAGE_HEADER.unpack_from(page)[4]:
            raise PageDamaged(number, "has rows that do not fill it")

    def _page(self, number: int) -> bytes:
        if number >= self._pages:
            raise PageDamaged(number, f"is behind the end of the file, which has {self._pages}")
        return os.pread(self._file, self._page_bytes, number * self._page_bytes)


def _db(holder: bytes, db_at: int, wanted: int) -> tuple[int, int, int, int]:
    """Return depth, overflow pages, rows and root of a tree, as its holder tells them."""
    _, flags, depth, _, _, overflow_pages, rows, root = DB.unpack_from(holder, db_at)
    if flags != wanted:
        raise PageDamaged(NUMBER.unpack_from(holder)[0], f"gives a tree the flags {flags:#x}")
    return depth, overflow_pages, rows, root


def _check_rows(root: int, found: int, told: int) -> None:
    if found != told:
        raise PageDamaged(root, f"leads to {found} rows, and not to {told}")


def _check_order(
    number: int, keys: list[bytes], low: bytes, high: bytes | None, *, integers: bool
) -> None:
    """Look whether keys ascend, and a search for each would come to their page."""
    if integers:
        if any(len(key) not in (0, NUMBER.size) for key in (low, high or b"", *keys)):
            raise PageDamaged(number, "has a key that is no number")
        low, high = low[::-1], high and high[::-1]
        keys = [key[::-1] for key in keys]
    ascend = all(map(lt, keys, keys[1:]))
    if not ascend or (keys and (keys[0] < low or (high is not None and keys[-1] >= high))):
        raise PageDamaged(number, "has a key that a search for it would not find")
