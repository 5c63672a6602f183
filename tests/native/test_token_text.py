"""Tokens have the bytes that a generic BLAKE2b gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._native import Tokens
from headrace._native.reference import Tokens as TokensTwin

numbers = st.integers(0, 2**32 - 1)


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=16, max_size=16), numbers, numbers)
def test_native_and_twin_agree(secret: bytes, job_id: bytes, attempt: int, epoch: int) -> None:
    text = Tokens(secret).text(job_id, attempt, epoch)
    assert text == TokensTwin(secret).text(job_id, attempt, epoch)
    assert len(text) == 54


@pytest.mark.parametrize("make", [Tokens, TokensTwin], ids=["native", "twin"])
def test_bad_arguments_are_refused(make: type[Tokens | TokensTwin]) -> None:
    for secret in (b"", bytes(65)):
        with pytest.raises(ValueError, match="1 to 64 bytes"):
            make(secret)
    with pytest.raises(ValueError, match="16 bytes"):
        make(b"s").text(b"short", 1, 1)
