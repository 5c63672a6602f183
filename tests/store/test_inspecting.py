"""A look at a store: it finds what is planted, and changes nothing."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import Queue, QueueConfig
from headrace.store import layout
from headrace.store._new_rows import NewRows
from headrace.store.contract import StoreBusy, StoreDamaged, walk
from headrace.store.inspecting import inspect
from headrace.store.layout import Table
from headrace.store.lmdb import DATA_FILE, LmdbKeyValue
from headrace.store.pages import leaves_of

JOBS = 10
PAGE_BYTES = 4_096


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store that has rows in most tables."""
    path = tmp_path_factory.mktemp("inspecting") / "data"
    config = QueueConfig(path=path, accept_any_filesystem=True)
    with Queue(config, lambda ctx, params: {"text": "x" * 2_000}) as queue:
        jobs = [{"params": number, "idempotency_key": f"k{number}"} for number in range(JOBS)]
        queue.enqueue_many(jobs)
        assert queue.join(20)
        queue.enqueue_many([{"params": number, "delay": "1h"} for number in range(JOBS)])
    return path


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def drop_first(table: Table) -> Callable[[LmdbKeyValue], None]:
    def harm(kv: LmdbKeyValue) -> None:
        key, _ = next(iter(walk(kv, table)))
        kv.write(NewRows({int(table): {key: None}}))

    return harm


def spoil_first(table: Table) -> Callable[[LmdbKeyValue], None]:
    def harm(kv: LmdbKeyValue) -> None:
        key, value = next(iter(walk(kv, table)))
        kv.write(NewRows({int(table): {key: value[:-1] + bytes([value[-1] ^ 1])}}))

    return harm


def add_orphan(table: Table) -> Callable[[LmdbKeyValue], None]:
    def harm(kv: LmdbKeyValue) -> None:
        key = bytes(16) + bytes(8)
        kv.write(NewRows({int(table): {key: layout.seal(table, key, b"a log")}}))

    return harm


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (drop_first(Table.BY_OWNER), "is not in BY_OWNER"),
        (drop_first(Table.BY_STATUS), "is not in BY_STATUS"),
        (drop_first(Table.KEYS), "is not in KEYS"),
        (drop_first(Table.BODIES), "is not in BODIES"),
        (drop_first(Table.LIVE), "neither of LIVE and DONE"),
        (drop_first(Table.DONE), "neither of LIVE and DONE"),
        (drop_first(Table.SPEC), "tells of a job: its spec"),
        (spoil_first(Table.DONE), "of DONE fails its checksum"),
        (add_orphan(Table.LOGS), "LOGS tells of a job: its spec"),
    ],
)
def test_a_look_finds_what_tables_do_not_agree_on(
    harm: Callable[[LmdbKeyValue], None], says: str, copy: Path
) -> None:
    kv = LmdbKeyValue(copy, accept_any_filesystem=True)
    harm(kv)
    kv.close()
    found = inspect(copy)
    assert found.faults_total == len(found.faults) > 0
    assert any(says in fault for fault in found.faults), found.faults


@pytest.mark.parametrize("table", [Table.SPEC, Table.DONE, Table.LIVE])
def test_a_leaf_that_is_gone_is_told_before_anything_reads_it(table: Table, copy: Path) -> None:
    """LMDB ends the process that meets such a page on its way through a table."""
    file = copy / DATA_FILE
    whole = file.read_bytes()
    descriptor = os.open(file, os.O_RDONLY)
    leaves = leaves_of(descriptor, PAGE_BYTES, table.name.lower().encode())
    os.close(descriptor)
    assert leaves
    for at in (PAGE_BYTES * number for number in leaves):
        file.write_bytes(whole[:at] + bytes(PAGE_BYTES) + whole[at + PAGE_BYTES :])
        with pytest.raises(StoreDamaged, match="is not a page of a tree"):
            inspect(copy)


def test_a_look_changes_nothing_and_needs_the_store_for_itself(copy: Path) -> None:
    before = (copy / "data.mdb").read_bytes()
    assert inspect(copy).faults == []
    assert (copy / "data.mdb").read_bytes() == before
    kv = LmdbKeyValue(copy, accept_any_filesystem=True)
    with pytest.raises(StoreBusy):
        inspect(copy)
    kv.close()
    with (copy / "data.mdb").open("r+b") as file:
        file.truncate(file.seek(0, 2) // 2)
    with pytest.raises(StoreDamaged):
        inspect(copy)
    with pytest.raises(StoreDamaged, match="holds no"):
        inspect(copy / "elsewhere")
