"""Headers of requests that are plain: whole, well-formed, framed by one `Content-Length` at most.

`read_head` says of a header where its request ends, and whether it may take the lane (see `lane`).
It is not a parser of HTTP but of the part of it that well-behaved clients speak: about all else
it says nothing, and aiohttp's parser decides. Where it does say something, that parser must agree.
Pure.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

from headrace.core.commands import Caller
from headrace.http.decode import JSON_TYPES, media_type
from headrace.http.identity import TENANT_HEADER, USER_HEADER, caller_of
from headrace.http.origin import is_here
from headrace.wire import limits
from headrace.wire.problems import Problem

HEAD_BYTES_MAX: Final = 2_048
"""Of a header that is looked at; also bounds what is remembered."""
HEADS_REMEMBERED: Final = 1_024
"""Headers of one client are alike but for the length of the body, so most have been read before."""

TARGETS: Final = {"/api/v1/jobs": "jobs_submit", "/api/v1/work/poll": "work_poll"}
"""Targets of POSTs that may take the lane, and the names of their routes."""

_HOT: Final = tuple(f"POST {target} ".encode() for target in TARGETS)
_HEAD: Final = re.compile(
    rb"([A-Z]+) ([!-~]+) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*\r\n)*)\r\n"
)
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_KEY: Final = "idempotency-key"
_USER: Final = USER_HEADER.lower()
_TENANT: Final = TENANT_HEADER.lower()

_FRAMING: Final = frozenset(
    {"transfer-encoding", "upgrade", "expect", "trailer", "te", "proxy-connection"}
)
"""Headers that change where a request ends, or what follows it on the connection."""
_KNOWN: Final = frozenset(
    {
        *("host", "content-length", "content-type", "connection", _KEY, _USER, _TENANT),
        *("accept", "accept-encoding", "accept-language", "user-agent"),
    }
)
"""What a request on the lane may have: all that is looked at anywhere, and harmless company. A
header that begins to mean something to a handler must be carried by the lane before it stands
here."""


class Passage(msgspec.Struct, frozen=True):
    """What the lane takes from the header of a request."""

    route: str
    here: bool
    """`Host` names this machine."""
    caller: Caller
    accept: str | None
    key: str | None


class Head(msgspec.Struct, frozen=True):
    """A plain header."""

    body_bytes: int
    passage: Passage | None
    """None: whole, but aiohttp's."""


def read_head(head: bytes) -> Head | None:
    """Read from the request line up to and with the empty line; None if it is not plain."""
    if head.startswith(_HOT):
        return _read_remembered(head)
    return _read(head)


def _read(head: bytes) -> Head | None:
    found = _HEAD.fullmatch(head)
    if found is None:
        return None
    method, target, lines = found.groups()
    fields: dict[str, str] = {}
    for line in lines.decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in fields:
            return None
        fields[name] = value.strip(" ")
    if not _FRAMING.isdisjoint(fields) or method == b"CONNECT":
        return None
    if fields.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = fields.get("content-length")
    if length is not None and _LENGTH.fullmatch(length) is None:
        return None
    passage = None
    if method == b"POST" and length is not None and fields.keys() <= _KNOWN:
        passage = _passage(TARGETS.get(target.decode("ascii")), fields)
    return Head(int(length or 0), passage)


_read_remembered: Final = lru_cache(HEADS_REMEMBERED)(_read)


def _passage(route: str | None, fields: dict[str, str]) -> Passage | None:
    if route is None or "host" not in fields:
        return None
    if media_type(fields.get("content-type", "application/json")) not in JSON_TYPES:
        return None
    if int(fields["content-length"]) > limits.BODY_BYTES_MAX:
        return None
    try:
        who = caller_of(fields.get(_USER), fields.get(_TENANT))
    except Problem:
        return None  # aiohttp's way has the words for it
    return Passage(route, is_here(fields["host"]), who, fields.get("accept"), fields.get(_KEY))
