"""API keys: their text, what is kept of them, and what they allow."""

import hashlib
import zlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.wire import keys
from headrace.wire.keys import (
    ALL_SCOPES,
    HASH_BYTES,
    NO_SCOPES,
    RANDOM_BYTES,
    SCOPE_WORDS,
    ApiKey,
    KeyDocument,
    Scope,
    allows,
    make_key,
    parse_key,
    parse_scopes,
    scope_words,
)

RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
KEY = make_key(bytes(range(RANDOM_BYTES)))
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def document(key: ApiKey = KEY, **fields: Any) -> KeyDocument:
    usual = {"tenant": "acme", "user": "ann", "scopes": ("submit", "read"), "created_at_ms": 5}
    return KeyDocument(id=key.id, hash=key.hash(), **{**usual, **fields})


# The text ---------------------------------------------------------------------------------------


@given(RANDOM)
def test_a_key_reads_as_itself(randomness: bytes) -> None:
    key = make_key(randomness)
    assert parse_key(key.text()) == key
    assert (len(key.id), len(key.secret), len(key.text())) == (10, 43, 63)


def test_the_text_of_a_key_never_changes() -> None:
    """Keys outlive versions: this one was written down."""
    assert make_key(bytes(RANDOM_BYTES)).text() == f"hr_{'0' * 10}_{'0' * 43}{ZERO_SUM}"
    assert make_key(b"\xff" * RANDOM_BYTES).secret == LAST_SECRET


ZERO_SUM = "3kUBxZ"
LAST_SECRET = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1"


def test_the_end_is_the_crc_of_all_before_it() -> None:
    text = KEY.text()
    number = 0
    for char in text[-6:]:
        number = number * 62 + DIGITS.index(char)
    assert number == zlib.crc32(text[:-6].encode())


@given(RANDOM, st.integers(0, 62), st.sampled_from(DIGITS + "_-é\0 "))
def test_a_mistyped_character_is_noticed(randomness: bytes, position: int, char: str) -> None:
    text = make_key(randomness).text()
    typed = text[:position] + char + text[position + 1 :]
    if typed != text:
        with pytest.raises(ValueError, match="key"):
            parse_key(typed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hr_",
        KEY.text()[:-1],
        KEY.text() + "0",
        KEY.text() + "\n",
        " " + KEY.text(),
        KEY.text().upper(),
        KEY.text().replace("hr_", "gh_"),
        "hr_" + "0" * 60,
        "٣" * 63,
    ],
)
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        parse_key(text)
    assert KEY.secret not in str(caught.value)


@given(st.text())
def test_any_text_is_a_key_or_a_refusal(text: str) -> None:
    with pytest.raises(ValueError, match="key"):
        parse_key(text)


def test_other_randomness_is_another_key() -> None:
    first, last = bytearray(RANDOM_BYTES), bytearray(RANDOM_BYTES)
    first[0], last[-1] = 1, 1
    keys = {make_key(bytes(random)) for random in (bytes(RANDOM_BYTES), first, last)}
    assert len({key.text() for key in keys}) == 3
    with pytest.raises(AssertionError):
        make_key(b"short")


def test_a_key_is_not_shown_by_accident() -> None:
    for shown in (repr(KEY), str(KEY), f"{KEY}", repr(document()), repr([KEY])):
        assert KEY.secret not in shown
        assert KEY.hash().hex() not in shown
        assert repr(KEY.hash()) not in shown
        assert KEY.id in shown


# What is kept -----------------------------------------------------------------------------------


def test_the_hash_of_the_secret_is_kept_and_nothing_else_of_it() -> None:
    assert KEY.hash() == hashlib.sha256(KEY.secret.encode()).digest()
    stored = msgspec.json.encode(document())
    assert KEY.secret.encode() not in stored
    assert msgspec.json.decode(stored, type=KeyDocument) == document()


def test_a_key_is_that_of_its_document_alone() -> None:
    other = make_key(bytes(RANDOM_BYTES))
    assert KEY.is_of(document())
    assert not other.is_of(document())
    assert not ApiKey(KEY.id, other.secret).is_of(document())
    assert not ApiKey(other.id, KEY.secret).is_of(document())
    assert not KEY.is_of(None)


def test_a_key_that_nobody_has_is_compared_as_long_as_one_that_somebody_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(
        keys.hmac, "compare_digest", lambda one, other: compared.append((one, other)) or False
    )
    assert not KEY.is_of(None)
    assert not KEY.is_of(document())
    assert [(len(one), len(other)) for one, other in compared] == [(HASH_BYTES, HASH_BYTES)] * 2


@pytest.mark.parametrize(
    ("fields", "now_ms", "live"),
    [
        ({}, 1 << 47, True),
        ({"expires_at_ms": 100}, 99, True),
        ({"expires_at_ms": 100}, 100, False),
        ({"revoked_at_ms": 50}, 0, False),
        ({"revoked_at_ms": 50, "expires_at_ms": 100}, 99, False),
    ],
)
def test_a_key_is_live_until_it_expires_or_is_revoked(
    fields: dict[str, int], now_ms: int, live: bool
) -> None:
    assert document(**fields).is_live(now_ms) is live


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "short"},
        {"id": "0123456789\n"},
        {"hash": b""},
        {"tenant": ""},
        {"user": "x" * 201},
        {"scopes": ["root"]},
        {"expires_at_ms": -1},
    ],
)
def test_a_damaged_document_is_not_decoded(fields: dict[str, Any]) -> None:
    body = {**msgspec.to_builtins(document()), **fields}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(body), type=KeyDocument)


# What it allows ---------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(SCOPE_WORDS)))
def test_scopes_read_as_themselves(words: set[str]) -> None:
    scopes = parse_scopes(words)
    assert set(scope_words(scopes)) == words
    assert parse_scopes(",".join(words)) == parse_scopes(" ".join(words)) == scopes
    assert document(scopes=scope_words(scopes)).scope == scopes


@pytest.mark.parametrize("text", ["root", "Submit", "submit;read", "submit,*"])
def test_an_unknown_scope_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(ValueError, match="one of submit, read, work, admin, impersonate"):
        parse_scopes(text)


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ("", ""),
        ("submit", "submit"),
        ("read,work", "read,work"),
        ("admin", "submit,read,work,admin"),
        ("impersonate", "impersonate"),
        ("admin,impersonate", "submit,read,work,admin,impersonate"),
    ],
)
def test_each_scope_allows_what_it_says_and_admin_all_but_impersonation(
    granted: str, allowed: str
) -> None:
    found = [scope for scope in Scope if allows(parse_scopes(granted), scope)]
    assert found == [scope for scope in Scope if scope in parse_scopes(allowed)]


def test_all_that_is_needed_must_be_granted() -> None:
    assert not allows(Scope.SUBMIT, Scope.SUBMIT | Scope.READ)
    assert allows(Scope.SUBMIT | Scope.READ, Scope.SUBMIT | Scope.READ)
    assert allows(NO_SCOPES, NO_SCOPES)
    assert allows(ALL_SCOPES, ALL_SCOPES)


def test_the_numbers_of_scopes_never_change() -> None:
    assert [scope.value for scope in Scope] == [1, 2, 4, 8, 16]
