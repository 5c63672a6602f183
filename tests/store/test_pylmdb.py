"""The plain way to LMDB: taken where the compiled one cannot be, and the same on disk."""

from pathlib import Path

import lmdb
import pytest
from test_contract import KEYS, OTHER, TABLE

from headrace.store import _lmdb, pylmdb
from headrace.store import lmdb as rows_lmdb
from headrace.store._new_rows import NewRows
from headrace.store.lmdb import LmdbKeyValue, OpenEnvironment

ROWS = {key: b"value " + key * 3_000 for key in reversed(KEYS)}


def test_rows_are_written_by_py_lmdb_where_it_exports_no_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rows_lmdb._environment() is _lmdb.Environment
    for module in ("headrace.store._lmdb", "lmdb.missing"):
        monkeypatch.setattr(rows_lmdb, "ENGINE", module)
        assert rows_lmdb._environment() is pylmdb.Environment


@pytest.mark.parametrize(
    ("writer", "reader"),
    [(_lmdb.Environment, pylmdb.Environment), (pylmdb.Environment, _lmdb.Environment)],
)
def test_what_one_writes_the_other_reads(
    tmp_path: Path, writer: OpenEnvironment, reader: OpenEnvironment
) -> None:
    kv = LmdbKeyValue(tmp_path, accept_any_filesystem=True, environment=writer)
    kv.write(NewRows({TABLE: ROWS | {b"gone": b""}, OTHER: {b"x": b"y"}}))
    kv.write(NewRows({TABLE: {b"gone": None, b"never": None}}))
    kv.close()
    again = LmdbKeyValue(tmp_path, accept_any_filesystem=True, environment=reader)
    assert dict(again.scan(TABLE)) == ROWS
    assert again.scan(OTHER) == [(b"x", b"y")]
    again.close()


@pytest.mark.parametrize("environment", [_lmdb.Environment, pylmdb.Environment])
@pytest.mark.parametrize("key", [b"", b"k" * 512])
def test_key_that_lmdb_cannot_hold_fails_the_whole_write(
    tmp_path: Path, environment: OpenEnvironment, key: bytes
) -> None:
    env = environment(str(tmp_path), 1 << 30, 8)
    env.tables_open({TABLE: b"table"}, create=True)
    with pytest.raises(lmdb.Error) as error:
        env.write(NewRows({TABLE: {b"a": b"b", key: b""}}))
    assert error.value.code == -30781
    assert env.scan(TABLE, b"", None, False, 10, 1_000) == []
    env.close()


@pytest.mark.parametrize("environment", [_lmdb.Environment, pylmdb.Environment])
def test_full_map_applies_nothing_and_the_environment_goes_on(
    tmp_path: Path, environment: OpenEnvironment
) -> None:
    env = environment(str(tmp_path), 1 << 20, 8)
    env.tables_open({TABLE: b"table"}, create=True)
    with pytest.raises(lmdb.Error) as error:
        env.write(NewRows({TABLE: {b"%d" % n: b"v" * 2_000 for n in range(1_000)}}))
    assert error.value.code == -30792
    assert env.count(TABLE) == 0
    env.write(NewRows({TABLE: {b"a": b"b"}}))
    assert env.get(TABLE, b"a") == b"b"
    env.close()
