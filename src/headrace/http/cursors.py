"""Cursors of lists: opaque text that goes on where a page ended, for the same question only.

    place 16 or 22 | checksum 8      base64url, over the place, who asks, and what was asked

A place is a job's id, and before it what the list is ordered by. The checksum is no secret: a
cursor opens nothing that its bearer could not list anyway. It makes a mangled cursor, or one of
another list, an error instead of a wrong page.
"""

import base64
import binascii
from hashlib import blake2b
from typing import Final

import msgspec

from headrace.core.commands import Caller
from headrace.store.contract import ListQuery
from headrace.wire.problems import Problem, ProblemCode

_PLACE_BYTES: Final = (16, 22)
_SUM_BYTES: Final = 8
_CHARS: Final = [(size + _SUM_BYTES) * 4 // 3 for size in _PLACE_BYTES]
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode

assert all((size + _SUM_BYTES) % 3 == 0 for size in _PLACE_BYTES), "no padding"


def cursor_text(place: bytes, caller: Caller, query: ListQuery) -> str:
    return base64.urlsafe_b64encode(place + _checksum(place, caller, query)).decode()


def cursor_place(text: str, caller: Caller, query: ListQuery) -> bytes:
    """Return the place to go on after. Raises: Problem CURSOR_INVALID."""
    if len(text) in _CHARS and text.isascii():
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        place, checksum = raw[:-_SUM_BYTES], raw[-_SUM_BYTES:]
        if place and checksum == _checksum(place, caller, query):
            return place
    raise Problem(
        ProblemCode.CURSOR_INVALID,
        "send next of the page before, with the same filters, by the same caller",
    )


def _checksum(place: bytes, caller: Caller, query: ListQuery) -> bytes:
    """Cover the filters, but not how many are wanted at once."""
    same = msgspec.structs.replace(query, skip=0, limit=0, after=None, live_ids=None)
    return blake2b(
        place + _encode((caller, same)), digest_size=_SUM_BYTES, person=b"headrace-list"
    ).digest()
