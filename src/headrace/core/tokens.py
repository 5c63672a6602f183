"""Lease tokens: what a worker shows to report on an attempt.

A token names its job, attempt and epoch, and carries a nonce that only this store can make:
SipHash-2-4-128 over the three, under a key that is drawn from the store's secret. So a token can
be told from a forgery without being stored, and it is made without randomness.

    job id 16 | attempt 4 | epoch 4 | nonce 16      40 bytes, base64url, 54 characters

The job id's slot bits (its 12 `rand_a` bits) say which shard the token belongs to.
"""

import base64
import binascii
import hmac
import struct
from hashlib import blake2b
from typing import Final, NamedTuple

from headrace._native import Tokens

_HEAD: Final = struct.Struct(">16sII")
_NONCE_BYTES: Final = 16
_KEY_BYTES: Final = 16
_TOKEN_BYTES: Final = _HEAD.size + _NONCE_BYTES
TOKEN_CHARS: Final = 54


class Token(NamedTuple):
    job_id: bytes
    attempt: int
    epoch: int


def tokens_of(secret: bytes) -> Tokens:
    """Return the maker of a store's tokens."""
    return Tokens(blake2b(secret, digest_size=_KEY_BYTES, person=b"lease tokens").digest())


def token_parse(tokens: Tokens, text: str) -> Token | None:
    """Return what the token names, or None if this store never made it."""
    if len(text) != TOKEN_CHARS or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text + "==", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != _TOKEN_BYTES:
        return None
    token = Token._make(_HEAD.unpack_from(raw))
    # As text: base64 has several for the same bytes, and leases are found by the one given out.
    if not hmac.compare_digest(text, tokens.text(*token)):
        return None
    return token
