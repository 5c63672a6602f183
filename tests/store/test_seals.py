"""Seals are zlib's CRC-32 over table, key and payload, in each way in which they are computed."""

import random
import zlib
from collections.abc import Iterator

import pytest

from headrace.store._rows import unseal
from headrace.store._seals import fold, seal
from headrace.store.contract import RecordCorrupt


@pytest.fixture(autouse=True, params=[True, False], ids=["folded", "looked up"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    if fold(request.param) != request.param:
        pytest.skip("this processor cannot")
    yield
    fold(True)


def sealed_by_zlib(table: int, key: bytes, payload: bytes) -> bytes:
    return zlib.crc32(bytes([table]) + key + payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize("key_bytes", range(40))
def test_seal_is_the_checksum_of_zlib_whatever_the_lengths(key_bytes: int) -> None:
    some = random.Random(key_bytes)
    for payload_bytes in [*range(160), 255, 256, 257, 500, 1_023, 1_024, 65_537]:
        table = some.randrange(256)
        key, payload = some.randbytes(key_bytes), some.randbytes(payload_bytes)
        value = seal(table, key, payload)
        assert value == sealed_by_zlib(table, key, payload)
        assert unseal(table, key, value) == payload


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_seal_counts_bytes_that_are_all_alike(byte: bytes) -> None:
    for size in range(300):
        assert seal(0, b"", byte * size) == sealed_by_zlib(0, b"", byte * size)
        assert seal(255, byte * size, b"") == sealed_by_zlib(255, byte * size, b"")


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 300])
def test_every_flipped_bit_breaks_the_seal(length: int) -> None:
    value = seal(2, b"key", b"x" * length)
    for bit in range(8 * len(value)):
        flipped = bytearray(value)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RecordCorrupt):
            unseal(2, b"key", bytes(flipped))
    for table, key in ((3, b"key"), (2, b"kez"), (2, b"ke")):
        with pytest.raises(RecordCorrupt):
            unseal(table, key, value)


@pytest.mark.parametrize("value", [b"", b"a", b"abc"])
def test_value_shorter_than_a_seal_is_corrupt(value: bytes) -> None:
    with pytest.raises(RecordCorrupt) as error:
        unseal(2, b"key", value)
    assert (error.value.table, error.value.key) == (2, b"key")
