"""Lease tokens."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.tokens import TOKEN_CHARS, Token, token_parse, tokens_of

TOKENS = tokens_of(b"s" * 32)
TEXT = TOKENS.text(bytes(range(16)), 3, 7)


def test_a_token_says_whose_attempt_it_is() -> None:
    assert token_parse(TOKENS, TEXT) == Token(bytes(range(16)), 3, 7)
    assert len(TEXT) == TOKEN_CHARS


def test_leases_outlive_a_start_with_another_version() -> None:
    known = "AAECAwQFBgcICQoLDA0ODwAAAAMAAAAHcK85ILvnG8qU1zrGlB3nMA"
    assert tokens_of(b"s" * 32).text(bytes(range(16)), 3, 7) == known


def test_a_token_of_another_store_is_none() -> None:
    assert token_parse(tokens_of(b"t" * 32), TEXT) is None


@given(st.integers(0, TOKEN_CHARS - 1), st.characters())
def test_a_token_with_one_character_changed_is_none(place: int, char: str) -> None:
    changed = TEXT[:place] + char + TEXT[place + 1 :]
    assert changed == TEXT or token_parse(TOKENS, changed) is None


@given(st.text(max_size=60) | st.text("-_abcXYZ019", min_size=TOKEN_CHARS, max_size=TOKEN_CHARS))
def test_any_other_text_is_none(text: str) -> None:
    assert token_parse(TOKENS, text) is None
