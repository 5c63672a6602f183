"""Texts: ids, and which JSON needs no decoder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace._native import (
    id_text,
    id_texts,
    ids_after,
    instant_text,
    json_is_plain,
    reference_text,
)
from headrace.wire.durations import rfc3339

plain_text = st.text(st.characters(codec="ascii", exclude_characters='"\\\x7f', min_codepoint=32))
plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15) + 1, 10**15 - 1)
    | st.decimals(-1000, 1000, places=3, allow_nan=False).map(float)
    | plain_text,
    lambda value: st.lists(value) | st.dictionaries(plain_text, value),
)
PIECES = [b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b'"a"', b'"', b"1", b"-", b"0", b".5"]
PIECES += [b"true", b"nul", b"null", b"false", b"1e9", b"\\", b"\x01", b"\xc3\xa9", b"9" * 15]
PIECES += [b'"\\n"', b'"\\"', b'\\"', b'"\\u0041"', b'"\x7f"', b'"\\x"', b'"aaaaaaaa\\\\aaaaaaaa"']


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_written_as_a_uuid(job_id: bytes) -> None:
    assert id_text(job_id) == reference_text.id_text(job_id) == str(uuid.UUID(bytes=job_id))


@pytest.mark.parametrize("make", [id_text, reference_text.id_text], ids=["native", "twin"])
def test_what_is_no_id_is_refused(make: Callable[[bytes], str]) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        make(b"short")


@given(st.integers(0, 253_402_300_799_999))
@example(0)
@example(951_782_400_000)
@example(253_402_300_799_999)
def test_an_instant_is_written_as_on_the_wire(at_ms: int) -> None:
    assert instant_text(at_ms) == reference_text.instant_text(at_ms) == rfc3339(at_ms)


@pytest.mark.parametrize("make", [instant_text, reference_text.instant_text])
@pytest.mark.parametrize("at_ms", [-1, 253_402_300_800_000])
def test_an_instant_without_a_text_is_refused(make: Any, at_ms: int) -> None:
    with pytest.raises(ValueError, match="1970 to 9999"):
        make(at_ms)


IDS = st.lists(st.binary(min_size=16, max_size=16), max_size=5).map(b"".join)


@given(IDS, st.binary(max_size=5), st.binary(max_size=5))
def test_ids_are_written_apart_by_commas(job_ids: bytes, before: bytes, after: bytes) -> None:
    texts = id_texts(job_ids, before, after)
    assert texts == reference_text.id_texts(job_ids, before, after)
    assert len(texts) == max(0, len(job_ids) // 16 * (37 + len(before) + len(after)) - 1)


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=8).map(lambda steps: steps * 4))
@example(b"\xff" * 16, b"\0" * 4)
@example(b"\xff" * 15 + b"\xfe", b"\0" * 4)
@example(b"\xff" * 15 + b"\xfd", b"\1\0\0\0")
def test_ids_rise_by_their_steps(job_id: bytes, steps: bytes) -> None:
    def made(module: Any) -> Any:
        try:
            return module(job_id, steps)
        except OverflowError:
            return OverflowError

    assert made(ids_after) == made(reference_text.ids_after)


@pytest.mark.parametrize(
    ("make", "after"),
    [(id_texts, ids_after), (reference_text.id_texts, reference_text.ids_after)],
    ids=["native", "twin"],
)
def test_what_are_no_ids_is_refused(make: Any, after: Any) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        make(bytes(17), b"", b"")
    for job_id, steps in ((bytes(32), b""), (b"", b""), (bytes(16), b"123")):
        with pytest.raises(ValueError):
            after(job_id, steps)


@given(plain_values)
def test_what_an_encoder_writes_is_plain(value: object) -> None:
    for data in (json.dumps(value, indent=1).encode(), msgspec.json.encode(value)):
        assert json_is_plain(data, 64)
        assert reference_text.json_is_plain(data, 64)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
@settings(max_examples=2_000)
@example(b"")
@example(b"[}")
@example(b'{"a":1]')
@example(b'{"a":1,}')
@example(b'{"a" 1}')
@example(b"{1:1}")
@example(b"[1,]")
@example(b"01")
@example(b"-")
@example(b"1.")
@example(b"1 1")
@example(b"1" * 16)
@example(b"[" * 9)
@example(b"tru")
def test_native_and_twin_agree_and_a_decoder_takes_what_is_plain(data: bytes) -> None:
    plain = json_is_plain(data, 3)
    assert plain == reference_text.json_is_plain(data, 3)
    if plain:
        msgspec.json.decode(data)


def test_depth_is_counted_to_the_last_level() -> None:
    for depth_max in (0, 1, 63, 64):
        deep = b"[" * depth_max + b"]" * depth_max if depth_max else b"1"
        assert json_is_plain(deep, depth_max)
        assert not json_is_plain(b"[" + deep + b"]", depth_max)
    mixed = b'{"a":[' * 32 + b"1" + b"]}" * 32
    assert json_is_plain(mixed, 64)
    assert not json_is_plain(mixed, 63)
