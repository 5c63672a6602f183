"""Lease tokens: what a worker shows to report on an attempt.

A token names its job, attempt and epoch, and carries a nonce that only this store can make:
SipHash-2-4-128 over the three, under a key that is drawn from the store's secret. So a token can
be told from a forgery without being stored, and it is made without randomness.

    job id 16 | attempt 4 | epoch 4 | nonce 16      40 bytes, base64url, 54 characters

The job id's slot bits (its 12 `rand_a` bits) say which shard the token belongs to.
"""

from hashlib import blake2b
from typing import Final, NamedTuple

from headrace._native import TOKEN_CHARS, Tokens

__all__ = ["TOKEN_CHARS", "Token", "Tokens", "token_parse", "tokens_of", "tokens_split"]

_KEY_BYTES: Final = 16


class Token(NamedTuple):
    job_id: bytes
    attempt: int
    epoch: int


def tokens_of(secret: bytes) -> Tokens:
    """Return the maker of a store's tokens."""
    return Tokens(blake2b(secret, digest_size=_KEY_BYTES, person=b"lease tokens").digest())


def token_parse(tokens: Tokens, text: str) -> Token | None:
    """Return what the token names, or None if this store never made it."""
    named = tokens.parse(text)
    return None if named is None else Token._make(named)


def tokens_split(joined: bytes) -> list[str]:
    """Return the texts that are joined; each has the length of a token, and is ASCII."""
    text = joined.decode("ascii")
    return [text[at : at + TOKEN_CHARS] for at in range(0, len(text), TOKEN_CHARS)]
