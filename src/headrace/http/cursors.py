"""Cursors of lists: opaque text that goes on where a page ended, for the same question only.

    id 16 | checksum 8      base64url, over the id, who asks, and what was asked

The checksum is no secret: a cursor opens nothing that its bearer could not list anyway. It makes a
mangled cursor, or one of another list, an error instead of a wrong page.
"""

import base64
import binascii
from hashlib import blake2b
from typing import Final

import msgspec

from headrace.core.commands import Caller
from headrace.store.contract import ListQuery
from headrace.wire.problems import Problem, ProblemCode

_ID_BYTES: Final = 16
_SUM_BYTES: Final = 8
_CHARS: Final = (_ID_BYTES + _SUM_BYTES) * 4 // 3
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode

assert (_ID_BYTES + _SUM_BYTES) % 3 == 0, "no padding"


def cursor_text(next_id: bytes, caller: Caller, query: ListQuery) -> str:
    return base64.urlsafe_b64encode(next_id + _checksum(next_id, caller, query)).decode()


def cursor_id(text: str, caller: Caller, query: ListQuery) -> bytes:
    """Return the id to go on after. Raises: Problem CURSOR_INVALID."""
    if len(text) == _CHARS and text.isascii():
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if raw and raw[_ID_BYTES:] == _checksum(raw[:_ID_BYTES], caller, query):
            return raw[:_ID_BYTES]
    raise Problem(
        ProblemCode.CURSOR_INVALID,
        "send next of the page before, with the same filters, by the same caller",
    )


def _checksum(next_id: bytes, caller: Caller, query: ListQuery) -> bytes:
    """Cover the filters, but not how many are wanted at once."""
    same = msgspec.structs.replace(query, limit=0, after_id=None, live_ids=None)
    return blake2b(
        next_id + _encode((caller, same)), digest_size=_SUM_BYTES, person=b"headrace-list"
    ).digest()
