"""Reading ahead: every leaf is asked for, once, and before it is read."""

import os
from pathlib import Path

import lmdb
import pytest

from headrace.store import ahead
from headrace.store.ahead import GAP_PAGES, ReadAhead, runs_of
from headrace.store.pages import leaves_of

Asked = list[tuple[int, int]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Note the pages that are asked for: first, end."""
    told: Asked = []

    def advise(_file: int, offset: int, length: int, _advice: int) -> None:
        told.append((offset // PAGE_BYTES, (offset + length) // PAGE_BYTES))

    monkeypatch.setattr(ahead.os, "posix_fadvise", advise)
    return told


PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with lmdb.open(str(tmp_path), map_size=1 << 40, max_dbs=2, sync=False) as env:
        tables = [env.open_db(name) for name in (b"one", b"two")]
        for first in range(0, 6_000, 500):
            with env.begin(write=True) as txn:
                for number in range(first, first + 500):
                    for table in tables:
                        txn.put(number.to_bytes(4, "big"), bytes(200), db=table)
    return tmp_path / "data.mdb"


def test_all_leaves_are_asked_for_in_step_with_the_reader(
    file: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "WINDOW_PAGES", 16)
    monkeypatch.setattr(ahead, "AHEAD_PAGES", 32)
    with file.open("rb") as data:
        leaves = leaves_of(data.fileno(), PAGE_BYTES, b"two")
    assert len(leaves) > 200
    it = ReadAhead(file, PAGE_BYTES, b"two")
    asked.clear()  # of the branch pages
    for share in (0.0, 0.25, 0.25, 1.0, 1.5):
        it.reached(share)
        pages = [page for first, end in asked for page in range(first, end)]
        read = min(int(share * len(leaves)), len(leaves))
        assert set(leaves[: read + 32]) <= set(pages)
        assert len(pages) <= (read + 32 + 16) * (1 + GAP_PAGES)
        assert len(asked) == len(set(asked))
    assert set(leaves) <= set(pages)
    it.close()


@pytest.mark.parametrize("spoilt", [b"", b"no database" * 1_000])
def test_what_cannot_be_made_out_is_not_asked_for(
    tmp_path: Path, asked: Asked, spoilt: bytes
) -> None:
    (tmp_path / "data.mdb").write_bytes(spoilt)
    it = ReadAhead(tmp_path / "data.mdb", PAGE_BYTES, b"two")
    it.reached(0.5)
    it.close()
    assert asked == []


def test_neighbours_are_fetched_together_and_so_are_small_gaps() -> None:
    assert runs_of([5]) == [(5, 6)]
    assert runs_of([5, 6, 7, 9, 10]) == [(5, 11)]
    far = 8 + GAP_PAGES
    assert runs_of([5, 6, 7, far, far + 1]) == [(5, far + 2)]
    assert runs_of([5, 6, 7, far + 1]) == [(5, 8), (far + 1, far + 2)]
