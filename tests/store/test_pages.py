"""The page walk: it agrees with LMDB about whole files, and sees each page that is gone."""

import os
import random
from pathlib import Path

import lmdb
import pytest

from headrace.store.pages import (
    META_DBS_AT,
    META_TXN_AT,
    NODE,
    PageDamaged,
    check_pages,
    check_roots,
    leaves_of,
)


def fill(path: Path, seed: int) -> int:
    """Write and delete values of all sizes in several tables; return the size of a page."""
    choose = random.Random(seed)
    with lmdb.open(str(path), map_size=1 << 40, max_dbs=8, sync=False) as env:
        tables = [env.open_db(b"%d" % n) for n in range(4)]
        for _ in range(40):
            with env.begin(write=True) as txn:
                for _ in range(choose.choice([1, 10, 200])):
                    key = choose.randrange(2_000).to_bytes(16, "big")
                    if choose.random() < 0.3:
                        txn.delete(key, db=choose.choice(tables))
                    else:
                        value = bytes(choose.choice([4, 300, 3_000, 50_000]))
                        txn.put(key, value, db=choose.choice(tables))
        return int(env.stat()["psize"])


def missing_page(file: Path, page_bytes: int) -> int | None:
    try:
        check_pages(file, page_bytes)
    except PageDamaged as error:
        return error.number
    return None


@pytest.mark.parametrize("seed", range(5))
def test_whole_file_has_all_its_pages(tmp_path: Path, seed: int) -> None:
    page_bytes = fill(tmp_path, seed)
    check_pages(tmp_path / "data.mdb", page_bytes)
    check_pages(tmp_path / "data.mdb", page_bytes, every_leaf=True)
    check_roots(tmp_path / "data.mdb", page_bytes)


def test_file_that_is_short_by_pages_given_back_is_whole(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 40) as env:
        for _ in range(10):  # leave free pages, so that only the long value goes to the end
            with env.begin(write=True) as txn:
                txn.put(b"a", b"1")
        with env.begin(write=True) as txn:
            txn.put(b"long", bytes(50_000))
            txn.delete(b"long")
        page_bytes = env.stat()["psize"]
        told = (env.info()["last_pgno"] + 1) * page_bytes
    assert (tmp_path / "data.mdb").stat().st_size < told
    check_pages(tmp_path / "data.mdb", page_bytes)


def test_value_that_says_it_is_longer_than_its_page_is_seen(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 40) as env:
        with env.begin(write=True) as txn:
            txn.put(b"key", b"a value of its own")
        page_bytes = env.stat()["psize"]
    file = tmp_path / "data.mdb"
    data = bytearray(file.read_bytes())
    check_pages(file, page_bytes)
    node = data.rindex(b"keya value") - NODE.size
    data[node + 2] ^= 16  # the high half of its length
    file.write_bytes(data)
    with pytest.raises(PageDamaged, match="longer than it"):
        check_pages(file, page_bytes)


def test_long_value_cut_off_is_seen(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 40) as env:
        with env.begin(write=True) as txn:
            txn.put(b"long", bytes(50_000))
        with env.begin(write=True) as txn:
            txn.put(b"a", b"1")
        with env.begin(write=True) as txn:
            txn.put(b"a", b"2")
        page_bytes = env.stat()["psize"]
    file = tmp_path / "data.mdb"
    pages = file.stat().st_size // page_bytes
    seen = 0
    for kept in range(pages - 1, 1, -1):
        os.truncate(file, kept * page_bytes)
        missing = missing_page(file, page_bytes)
        if missing is not None:
            seen += 1
            assert missing >= kept
    assert seen >= 50_000 // page_bytes


def test_leaf_of_short_values_cut_off_is_seen_without_being_read(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 40, max_dbs=1) as env:
        table = env.open_db(b"table")
        with env.begin(write=True) as txn:
            for number in range(5_000):
                txn.put(number.to_bytes(4, "big"), bytes(100), db=table)
        page_bytes = env.stat()["psize"]
        leaves = env.begin().stat(table)["leaf_pages"]
    file = tmp_path / "data.mdb"
    pages = file.stat().st_size // page_bytes
    seen = 0
    for kept in range(pages - 1, 1, -1):
        os.truncate(file, kept * page_bytes)
        missing = missing_page(file, page_bytes)
        assert missing is None or missing >= kept
        seen += missing is not None
    assert seen >= leaves


def test_page_of_zeros_is_seen(tmp_path: Path) -> None:
    page_bytes = fill(tmp_path, 7)
    file = tmp_path / "data.mdb"
    seen = 0
    with file.open("r+b") as pages:
        for number in range(2, file.stat().st_size // page_bytes, 97):
            page = os.pread(pages.fileno(), page_bytes, number * page_bytes)
            os.pwrite(pages.fileno(), bytes(page_bytes), number * page_bytes)
            missing = missing_page(file, page_bytes)
            os.pwrite(pages.fileno(), page, number * page_bytes)
            if missing is not None:
                seen += 1
                assert missing == number
    assert seen > 0


def leaves(path: Path, page_bytes: int, table: bytes) -> list[int]:
    with (path / "data.mdb").open("rb") as file:
        return leaves_of(file.fileno(), page_bytes, table)


@pytest.mark.parametrize("rows", [0, 1, 50, 5_000, 40_000])
def test_leaves_of_a_table_hold_its_keys_in_order(tmp_path: Path, rows: int) -> None:
    keys = [number.to_bytes(4, "big") for number in range(rows)]
    with lmdb.open(str(tmp_path), map_size=1 << 40, max_dbs=3, sync=False) as env:
        tables = [env.open_db(name) for name in (b"a", b"table", b"z")]
        for first in range(0, rows, 700):  # so that the tables' pages lie between each other
            with env.begin(write=True) as txn:
                for table in tables:
                    for key in keys[first : first + 700]:
                        txn.put(key, b"value" * 5, db=table)
        page_bytes = env.stat()["psize"]
        told = env.begin().stat(tables[1])
    found = leaves(tmp_path, page_bytes, b"table")
    assert len(found) == told["leaf_pages"]
    assert told["depth"] == {0: 0, 1: 1, 50: 1, 5_000: 2, 40_000: 3}[rows]
    data = (tmp_path / "data.mdb").read_bytes()
    pages = [data[number * page_bytes : (number + 1) * page_bytes] for number in found]
    assert b"".join(keys_of(page) for page in pages) == b"".join(keys)


def keys_of(leaf: bytes) -> bytes:
    """Read the keys of 4 bytes of a leaf."""
    lower = int.from_bytes(leaf[12:14], "little")
    nodes = [int.from_bytes(leaf[at : at + 2], "little") for at in range(16, lower, 2)]
    return b"".join(leaf[node + 8 : node + 12] for node in nodes)


def test_table_that_is_not_there_has_no_leaves(tmp_path: Path) -> None:
    page_bytes = fill(tmp_path, 1)
    with pytest.raises(PageDamaged):
        leaves(tmp_path, page_bytes, b"none")


def test_empty_database_has_all_its_pages(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env:
        page_bytes = env.stat()["psize"]
    check_pages(tmp_path / "data.mdb", page_bytes)


# What LMDB itself does not ask -------------------------------------------------------------------


def table_store(path: Path) -> tuple[int, int, int]:
    """Make a store with a table of two levels, and a free list; return page size, root and leaf."""
    with lmdb.open(str(path), map_size=1 << 40, max_dbs=1) as env:
        table = env.open_db(b"table")
        with env.begin(write=True) as txn:
            for number in range(2_000):
                txn.put(number.to_bytes(4, "big"), bytes(100), db=table)
        with env.begin(write=True) as txn:
            txn.put(bytes(4), b"", db=table)
        page_bytes = env.stat()["psize"]
    data = (path / "data.mdb").read_bytes()
    leaf = leaves(path, page_bytes, b"table")[5]
    root = next(
        number
        for number in range(len(data) // page_bytes - 1, 1, -1)
        if data[number * page_bytes :][:12] == number.to_bytes(8, "little") + bytes(2) + b"\1\0"
    )
    return page_bytes, root, leaf


def last_header(data: bytes, page_bytes: int) -> int:
    """Return the number of the header of the last commit."""
    return max((0, 1), key=lambda meta: data[meta * page_bytes + META_TXN_AT :][:8][::-1])


def list_of_tables(data: bytes, page_bytes: int) -> int:
    """Return the number of the leaf that names the table, in the last commit."""
    last = last_header(data, page_bytes)
    return int.from_bytes(data[last * page_bytes + META_DBS_AT + 2 * 48 - 8 :][:8], "little")


@pytest.mark.parametrize("place", ["list", "root"])
def test_another_page_in_the_place_of_a_root_is_seen_without_a_walk(
    place: str, tmp_path: Path
) -> None:
    page_bytes, root, leaf = table_store(tmp_path)
    file = tmp_path / "data.mdb"
    check_roots(file, page_bytes)
    data = bytearray(file.read_bytes())
    number = root if place == "root" else list_of_tables(data, page_bytes)
    data[number * page_bytes : (number + 1) * page_bytes] = data[leaf * page_bytes :][:page_bytes]
    file.write_bytes(data)
    with pytest.raises(PageDamaged, match=f"page {number} is not a page of a tree"):
        check_roots(file, page_bytes)


@pytest.mark.parametrize("place", ["branch", "leaf"])
def test_a_key_out_of_its_place_is_seen(place: str, tmp_path: Path) -> None:
    page_bytes, root, leaf = table_store(tmp_path)
    file = tmp_path / "data.mdb"
    check_pages(file, page_bytes, every_leaf=True)
    data = bytearray(file.read_bytes())
    page = (root if place == "branch" else leaf) * page_bytes
    node = int.from_bytes(data[page + 16 + 2 * 7 :][:2], "little")
    data[page + node + NODE.size + 3] ^= 1  # between its neighbours in the branch, before one below
    file.write_bytes(data)
    check_roots(file, page_bytes)
    with pytest.raises(PageDamaged, match="a search for it would not find"):
        check_pages(file, page_bytes, every_leaf=True)


def test_a_row_that_a_leaf_has_lost_is_seen(tmp_path: Path) -> None:
    page_bytes, _, leaf = table_store(tmp_path)
    file = tmp_path / "data.mdb"
    data = bytearray(file.read_bytes())
    data[leaf * page_bytes + 12] -= 2  # the end of its list of nodes
    file.write_bytes(data)
    with pytest.raises(PageDamaged, match="do not fill it"):
        check_pages(file, page_bytes, every_leaf=True)
    data[leaf * page_bytes + 12] += 2
    last = last_header(data, page_bytes)
    data[last * page_bytes + META_DBS_AT + 2 * 48 - 16] += 1  # the number of tables
    file.write_bytes(data)
    with pytest.raises(PageDamaged, match="leads to 1 rows, and not to 2"):
        check_roots(file, page_bytes)


def test_a_free_list_that_names_a_page_in_use_is_seen(tmp_path: Path) -> None:
    page_bytes, _, leaf = table_store(tmp_path)
    file = tmp_path / "data.mdb"
    data = bytearray(file.read_bytes())
    last = last_header(data, page_bytes)
    free = int.from_bytes(data[last * page_bytes + META_DBS_AT + 48 - 8 :][:8], "little")
    page = free * page_bytes
    node = page + int.from_bytes(data[page + 16 :][:2], "little")
    value = node + NODE.size + 8
    assert int.from_bytes(data[value:][:8], "little") > 0
    for number, says in ((leaf, "free and in use"), (1, "which no tree can have")):
        data[value + 8 : value + 16] = number.to_bytes(8, "little")
        file.write_bytes(data)
        with pytest.raises(PageDamaged, match=says):
            check_pages(file, page_bytes, every_leaf=True)
    data[value : value + 8] = (1_000).to_bytes(8, "little")
    file.write_bytes(data)
    with pytest.raises(PageDamaged, match="longer than it"):
        check_pages(file, page_bytes, every_leaf=True)
    data[page : page + page_bytes] = bytes(page_bytes)
    file.write_bytes(data)
    with pytest.raises(PageDamaged, match=f"page {free} is not a page"):
        check_pages(file, page_bytes, every_leaf=True)
