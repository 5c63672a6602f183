"""API keys: their text, what is kept of them, and what they allow.

    hr_<id>_<secret><sum>    10, 43 and 6 characters of 0-9A-Za-z

The id names the key in lists and logs. The secret, 256 bits, is shown once and kept as its SHA-256:
it cannot be guessed, so a slow hash would cost each request and add nothing. The sum is a CRC-32 of
all before it: a key that was cut or mistyped is told so without a look-up, and a scanner of leaked
secrets can tell a key from what looks like one (as GitHub's tokens do).
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Iterable
from enum import IntFlag
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from headrace.wire import limits

PREFIX: Final = "hr_"
ID_CHARS: Final = 10
"""59 bits: ids are drawn, not counted, and do not meet by chance."""
SECRET_CHARS: Final = 43
SUM_CHARS: Final = 6
RANDOM_BYTES: Final = 8 + 32
HASH_BYTES: Final = 32
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY: Final = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{ID_CHARS}}})_([0-9A-Za-z]{{{SECRET_CHARS}}})([0-9A-Za-z]{{{SUM_CHARS}}})"
)
_NO_HASH: Final = bytes(HASH_BYTES)

assert 62**SECRET_CHARS >= 1 << 256
assert 62**SUM_CHARS >= 1 << 32


# The text ---------------------------------------------------------------------------------------


class ApiKey(NamedTuple):
    """A key as its owner has it. Neither stored nor logged; `repr` shows the id alone."""

    id: str
    secret: str

    def text(self) -> str:
        body = f"{PREFIX}{self.id}_{self.secret}"
        return body + _sum_of(body)

    def hash(self) -> bytes:
        """Return what is kept of the secret."""
        return hashlib.sha256(self.secret.encode()).digest()

    def is_of(self, kept: "KeyDocument | None") -> bool:
        """Compare with what is kept of the key of this id, if there is one.

        Cost: the same whether there is one, and wherever it differs.
        """
        known = hmac.compare_digest(self.hash(), _NO_HASH if kept is None else kept.hash)
        return known and kept is not None and kept.id == self.id

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r})"


def make_key(randomness: bytes) -> ApiKey:
    """Make a key of `RANDOM_BYTES` from a source that nobody can predict."""
    assert len(randomness) == RANDOM_BYTES
    number = int.from_bytes(randomness[:8], "big") % 62**ID_CHARS
    secret = int.from_bytes(randomness[8:], "big")
    return ApiKey(_base62(number, ID_CHARS), _base62(secret, SECRET_CHARS))


def parse_key(text: str) -> ApiKey:
    """Read a key.

    Raises: ValueError with a sentence that holds nothing of the text.
    """
    found = _KEY.fullmatch(text)
    if found is None:
        raise ValueError(f"a key is {PREFIX}, an id, _ and a secret; is this all of it?")
    if _sum_of(text[:-SUM_CHARS]) != found[3]:
        raise ValueError("the key's checksum is wrong: a character was lost or mistyped")
    return ApiKey(found[1], found[2])


def _sum_of(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), SUM_CHARS)


def _base62(number: int, chars: int) -> str:
    digits = []
    for _ in range(chars):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    assert number == 0
    return "".join(reversed(digits))


# What it allows ---------------------------------------------------------------------------------


class Scope(IntFlag):
    """What a key may be used for."""

    SUBMIT = 1  # submit jobs, send modules; cancel, suspend, resume, delete one's own
    READ = 2  # see jobs, lists, logs, results, statistics
    WORK = 4  # poll for jobs and report on them
    ADMIN = 8  # all of that for every user of the tenant; documents of the server; keys
    IMPERSONATE = 16  # say in a header for whom a request is made


ScopeWord = Literal["submit", "read", "work", "admin", "impersonate"]
SCOPE_WORDS: Final[tuple[ScopeWord, ...]] = ("submit", "read", "work", "admin", "impersonate")
_SCOPES: Final[dict[str, Scope]] = dict(zip(SCOPE_WORDS, Scope, strict=True))
assert all(scope.name == word.upper() for word, scope in _SCOPES.items())

NO_SCOPES: Final = Scope(0)
ALL_SCOPES: Final = Scope(sum(Scope))
_BY_ADMIN: Final = Scope.SUBMIT | Scope.READ | Scope.WORK | Scope.ADMIN
"""An admin could make a key with these scopes; to speak as another is asked for by its name."""


def parse_scopes(words: str | Iterable[str]) -> Scope:
    """Read scopes, as words or as a text with commas or blanks between them.

    Raises: ValueError that lists the words there are.
    """
    if isinstance(words, str):
        words = words.replace(",", " ").split()
    found = NO_SCOPES
    for word in words:
        if word not in _SCOPES:
            raise ValueError(f"a scope is one of {', '.join(SCOPE_WORDS)}")
        found |= _SCOPES[word]
    return found


def scope_words(scopes: Scope) -> tuple[ScopeWord, ...]:
    """Return the words of scopes, always in the same order."""
    return tuple(word for word in SCOPE_WORDS if _SCOPES[word] in scopes)


def allows(granted: Scope, needed: Scope) -> bool:
    """Say whether a key with `granted` may do what needs all of `needed`."""
    if Scope.ADMIN in granted:
        granted |= _BY_ADMIN
    return needed in granted


# What is kept -----------------------------------------------------------------------------------

_Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME_CHARS_MAX)]
_AtMs = Annotated[int, Meta(ge=0, lt=1 << 48)]
RATE_MAX: Final = 1_000_000


class RateLimit(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A bucket of tokens: `burst` of them at most, `per_second` new ones."""

    per_second: Annotated[float, Meta(gt=0, le=RATE_MAX)]
    burst: Annotated[int, Meta(ge=0, le=RATE_MAX)] = 0
    """0: those of one second."""


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is kept of a key. Persisted; a new field needs a default."""

    id: Annotated[str, Meta(pattern=rf"^[0-9A-Za-z]{{{ID_CHARS}}}\Z")]
    hash: Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
    """SHA-256 of the secret. Not shown to anybody."""
    tenant: _Name
    user: _Name
    scopes: tuple[ScopeWord, ...]
    created_at_ms: _AtMs
    name: Annotated[str, Meta(max_length=limits.NAME_CHARS_MAX)] = ""
    """What its owner calls it."""
    expires_at_ms: _AtMs = 0
    """0: never."""
    revoked_at_ms: _AtMs = 0
    """0: it is not. A revoked key stays known, so that its use can be told from a guess."""
    requests: RateLimit | None = None
    """None: as the configuration says."""
    jobs: RateLimit | None = None
    """Jobs submitted, whatever requests they come in."""

    @property
    def scope(self) -> Scope:
        return parse_scopes(self.scopes)

    def is_live(self, now_ms: int) -> bool:
        """Say whether it opens anything at a time of the wall clock."""
        return not self.revoked_at_ms and (not self.expires_at_ms or now_ms < self.expires_at_ms)

    def __repr__(self) -> str:
        return f"KeyDocument(id={self.id!r}, tenant={self.tenant!r}, user={self.user!r})"
