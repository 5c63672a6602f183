"""The page walk: it agrees with LMDB about whole files, and sees each page that is gone."""

import os
import random
from pathlib import Path

import lmdb
import pytest

from headrace.store.pages import PageMissing, check_pages


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
    except PageMissing as error:
        return error.number
    return None


@pytest.mark.parametrize("seed", range(5))
def test_whole_file_has_all_its_pages(tmp_path: Path, seed: int) -> None:
    check_pages(tmp_path / "data.mdb", fill(tmp_path, seed))


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


def test_empty_database_has_all_its_pages(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env:
        page_bytes = env.stat()["psize"]
    check_pages(tmp_path / "data.mdb", page_bytes)
