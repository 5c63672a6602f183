"""What every kind of rows keeps to: one suite, both kinds."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.store._new_rows import NewRows
from headrace.store.contract import KeyValue, after, pack_rows, prefix_end, walk
from headrace.store.lmdb import LmdbKeyValue
from headrace.store.memory import MemoryKeyValue

Changes = dict[int, dict[bytes, bytes | None]]
TABLE = 2
OTHER = 3
KEYS = [b"a", b"aa", b"ab", b"b", b"b\0", b"\xff", b"\xff\xff"]


@pytest.fixture
def filled(kv: KeyValue) -> KeyValue:
    kv.write(NewRows({TABLE: {key: b"value " + key for key in reversed(KEYS)}}))
    return kv


def test_empty_table_has_nothing(kv: KeyValue) -> None:
    assert kv.get(TABLE, b"a") is None
    assert kv.get_columns((TABLE, OTHER), [b"a", b"b"]) == [[None, None], [None, None]]
    assert kv.scan(TABLE) == kv.scan(TABLE, reverse=True) == []
    assert kv.count(TABLE) == 0


def test_written_rows_are_read_back(filled: KeyValue) -> None:
    assert filled.get(TABLE, b"ab") == b"value ab"
    assert filled.get(TABLE, b"ac") is None
    assert filled.get(OTHER, b"ab") is None
    found = [b"value b", None, b"value a", b"value b"]
    wanted = [b"b", b"ac", b"a", b"b"]
    assert filled.get_columns((TABLE,), wanted) == [found]
    assert filled.get_columns((OTHER, TABLE), wanted) == [[None] * 4, found]
    assert filled.get_columns((OTHER, TABLE), []) == [[], []]
    assert filled.get_columns((), wanted) == []
    assert filled.count(TABLE) == len(KEYS)


@pytest.mark.parametrize("start", [b"a", b"ab", b"b", b"b\0", b"c", b"\xff\xff\xff"])
def test_last_row_of_each_range_is_read(filled: KeyValue, start: bytes) -> None:
    ranges = [(start, stop) for stop in [*KEYS, b"c", b"\xff\xff\xff"]]
    found = [filled.scan(TABLE, *some, reverse=True, limit=1) for some in ranges]
    assert filled.get_lasts(TABLE, ranges) == [rows[0] if rows else None for rows in found]
    assert filled.get_lasts(OTHER, ranges) == [None] * len(ranges)
    assert filled.get_lasts(TABLE, []) == []


def test_empty_value_is_a_row(kv: KeyValue) -> None:
    kv.write(NewRows({TABLE: {b"a": b""}}))
    assert kv.get(TABLE, b"a") == b""
    assert kv.scan(TABLE) == [(b"a", b"")]


def test_one_write_puts_replaces_and_deletes_in_several_tables(filled: KeyValue) -> None:
    filled.write(
        NewRows({TABLE: {b"a": None, b"b": b"new", b"none": None, b"c": b"c"}, OTHER: {b"x": b"y"}})
    )
    assert [key for key, _ in filled.scan(TABLE)] == sorted([*KEYS[1:], b"c"])
    assert filled.get(TABLE, b"b") == b"new"
    assert filled.get(OTHER, b"x") == b"y"
    assert filled.count(TABLE) == len(KEYS)


@pytest.mark.parametrize("start", [b"", b"a", b"a\0", b"b", b"c", b"\xff\xff", b"\xff\xff\xff"])
@pytest.mark.parametrize("stop", [b"a", b"ab", b"b", b"b\0", b"c", b"\xff\xff\xff", None])
def test_scan_has_its_start_and_not_its_stop(
    filled: KeyValue, start: bytes, stop: bytes | None
) -> None:
    inside = [key for key in KEYS if start <= key and (stop is None or key < stop)]
    assert [key for key, _ in filled.scan(TABLE, start, stop)] == inside
    reverse = filled.scan(TABLE, start, stop, reverse=True)
    assert [key for key, _ in reverse] == inside[::-1]


def test_scan_stops_at_its_limits(filled: KeyValue) -> None:
    assert [key for key, _ in filled.scan(TABLE, limit=2)] == KEYS[:2]
    assert [key for key, _ in filled.scan(TABLE, limit=2, reverse=True)] == KEYS[:-3:-1]
    assert [key for key, _ in filled.scan(TABLE, bytes_max=1)] == KEYS[:1]
    assert [key for key, _ in filled.scan(TABLE, bytes_max=9, reverse=True)] == KEYS[:-3:-1]


@pytest.mark.parametrize("page", [1, 2, 7, 100])
def test_walk_reads_all_pages(filled: KeyValue, page: int) -> None:
    assert [key for key, _ in walk(filled, TABLE, page=page)] == KEYS
    assert [key for key, _ in walk(filled, TABLE, page=page, reverse=True)] == KEYS[::-1]
    inside = [key for key, _ in walk(filled, TABLE, b"aa", b"b\0", page=page)]
    assert inside == [b"aa", b"ab", b"b"]


@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_packed_walk_reads_a_whole_table(filled: KeyValue, rows: int) -> None:
    pages = list(filled.walk_packed(TABLE, rows))
    assert b"".join(pages) == pack_rows([(key, b"value " + key) for key in KEYS])
    assert len(pages) == -(-len(KEYS) // rows)
    assert list(filled.walk_packed(OTHER, rows)) == []


def test_packed_walk_of_a_new_store_has_nothing(kv: KeyValue) -> None:
    assert list(kv.walk_packed(TABLE, 5)) == []


def test_prefix_end_follows_all_keys_of_the_prefix() -> None:
    assert prefix_end(b"ab") == b"ac"
    assert prefix_end(b"a\xff") == b"b\0"
    assert prefix_end(b"\xff\xff") is None
    assert b"ab" < after(b"ab") < b"ab\0\0"


keys = st.one_of(st.binary(min_size=1, max_size=3), st.integers(0, 60).map(lambda n: bytes([n])))
changes = st.dictionaries(
    st.sampled_from([TABLE, OTHER]),
    st.dictionaries(keys, st.none() | st.binary(max_size=12), max_size=20),
    max_size=2,
)
bounds = st.tuples(
    st.binary(max_size=3), st.none() | st.binary(min_size=1, max_size=3), st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(changes, bounds), max_size=12))
def test_both_kinds_hold_the_same_after_any_writes(
    steps: list[tuple[Changes, tuple[bytes, bytes | None, bool]]],
) -> None:
    with TemporaryDirectory() as directory:
        disk = LmdbKeyValue(Path(directory), accept_any_filesystem=True)
        memory = MemoryKeyValue()
        model: dict[int, dict[bytes, bytes]] = {TABLE: {}, OTHER: {}}
        for change, (start, stop, reverse) in steps:
            disk.write(NewRows(change))
            memory.write(NewRows(change))
            for table, rows in change.items():
                for key, value in rows.items():
                    if value is None:
                        model[table].pop(key, None)
                    else:
                        model[table][key] = value
            expected = sorted(
                (row for row in model[TABLE].items() if start <= row[0]), reverse=reverse
            )
            expected = [row for row in expected if stop is None or row[0] < stop]
            assert disk.scan(TABLE, start, stop, reverse=reverse) == expected
            assert memory.scan(TABLE, start, stop, reverse=reverse) == expected
            for table in (TABLE, OTHER):
                assert disk.count(table) == memory.count(table) == len(model[table])
                assert dict(disk.scan(table)) == dict(memory.scan(table)) == model[table]
        disk.close()
