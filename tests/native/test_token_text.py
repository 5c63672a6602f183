"""Tokens carry the nonce that SipHash-2-4-128 gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._native import TOKEN_CHARS, Tokens
from headrace._native.reference_text import Tokens as TokensTwin
from headrace._native.reference_text import siphash_128

numbers = st.integers(0, 2**32 - 1)
sixteen_bytes = st.binary(min_size=16, max_size=16)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "a3817f04ba25a8e66df67214c7550293"),
        (1, "da87c1d86b99af44347659119b22fc45"),
        (8, "3b62a9ba6258f5610f83e264f31497b4"),
        (24, "2db479ae78bd50d8882a8a178a6132ad"),
    ],
)
def test_the_twin_gives_the_authors_values(size: int, expected: str) -> None:
    """Source: vectors_sip128 of the reference implementation."""
    assert siphash_128(bytes(range(16)), bytes(range(size))).hex() == expected


@given(sixteen_bytes, sixteen_bytes, numbers, numbers)
def test_native_and_twin_agree(key: bytes, job_id: bytes, attempt: int, epoch: int) -> None:
    text = Tokens(key).text(job_id, attempt, epoch)
    assert text == TokensTwin(key).text(job_id, attempt, epoch)
    assert len(text) == TOKEN_CHARS
    assert Tokens(key).parse(text) == TokensTwin(key).parse(text) == (job_id, attempt, epoch)


@given(st.integers(0, TOKEN_CHARS - 1), st.characters())
def test_one_character_changed_makes_it_no_token(place: int, char: str) -> None:
    native, twin = Tokens(bytes(16)), TokensTwin(bytes(16))
    text = native.text(bytes(range(16)), 3, 7)
    changed = text[:place] + char + text[place + 1 :]
    assert native.parse(changed) == twin.parse(changed)
    assert changed == text or native.parse(changed) is None


@given(st.text(max_size=60) | st.text("-_abcXYZ019", min_size=TOKEN_CHARS, max_size=TOKEN_CHARS))
def test_any_other_text_is_no_token(text: str) -> None:
    assert Tokens(bytes(16)).parse(text) is TokensTwin(bytes(16)).parse(text) is None


@pytest.mark.parametrize("make", [Tokens, TokensTwin], ids=["native", "twin"])
def test_bad_arguments_are_refused(make: type[Tokens | TokensTwin]) -> None:
    for key in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 bytes"):
            make(key)
    with pytest.raises(ValueError, match="16 bytes"):
        make(bytes(16)).text(b"short", 1, 1)
