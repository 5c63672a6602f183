"""Rows in memory: what the common suite cannot see."""

from headrace.store._new_rows import NewRows
from headrace.store.memory import DEAD_SHARE, MemoryKeyValue


def numbered(n: int) -> bytes:
    return n.to_bytes(4, "big")


def test_deleted_keys_do_not_pile_up() -> None:
    kv = MemoryKeyValue()
    for n in range(10, 2_000):
        kv.write(NewRows({1: {numbered(n): b"x"}}))
        kv.write(NewRows({1: {numbered(n - 10): None}}))
        assert len(kv.scan(1)) == min(n - 9, 10)
        keys = kv._tables[1]._keys
        assert len(keys) <= 10 * DEAD_SHARE


def test_key_that_comes_back_is_there_once() -> None:
    kv = MemoryKeyValue()
    rows = {numbered(n): b"x" for n in range(100)}
    kv.write(NewRows({1: rows}))
    kv.write(NewRows({1: {numbered(50): None}}))
    kv.write(NewRows({1: {numbered(50): b"y"}}))
    found = kv.scan(1)
    assert len(found) == 100
    assert found[50] == (numbered(50), b"y")
