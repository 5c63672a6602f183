"""Each kind of rows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.store import Store, pylmdb
from headrace.store.contract import KeyValue
from headrace.store.lmdb import LmdbKeyValue
from headrace.store.memory import MemoryKeyValue


def make_kv(kind: str, path: Path) -> KeyValue:
    if kind == "memory":
        return MemoryKeyValue()
    environment = pylmdb.Environment if kind == "pylmdb" else None
    return LmdbKeyValue(path, accept_any_filesystem=True, environment=environment)


@pytest.fixture(params=["memory", "lmdb", "pylmdb"])
def kv(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    kv = make_kv(request.param, tmp_path / "store")
    yield kv
    kv.close()


@pytest.fixture
def store(kv: KeyValue) -> Store:
    store = Store(kv)
    store.restore()
    return store
