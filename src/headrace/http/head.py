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
from headrace.core.ids import id_parse
from headrace.http._wire import HeadForm
from headrace.http.decode import JSON_TYPES, media_type
from headrace.http.encode import wants_msgpack
from headrace.http.identity import TENANT_HEADER, USER_HEADER, caller_of
from headrace.http.origin import is_here
from headrace.http.rates import Rate
from headrace.wire import limits
from headrace.wire.durations import duration_ms
from headrace.wire.problems import Problem

HEAD_BYTES_MAX: Final = 2_048
"""Of a header that is looked at; also bounds what is remembered."""
HEADS_REMEMBERED: Final = 1_024
"""Headers of one client are alike but for the length of the body, so most have been read before."""

ROUTES: Final = ("jobs_submit", "work_poll", "job_get", "job_result")
"""Names of the routes that may take the lane."""
SINGLES: Final = "jobs_submit"
"""The route whose requests may be carried together."""

_POSTS: Final = {
    b"POST /api/v1/jobs HTTP/1.1": "jobs_submit",
    b"POST /api/v1/work/poll HTTP/1.1": "work_poll",
}
"""Request lines, and the names of their routes."""
_GET: Final = re.compile(
    rb"GET /api/v1/jobs/([0-9a-f-]{36})(/result)?(?:\?wait=([0-9]{1,6}m?s))? HTTP/1\.1"
)
"""A job or its result, as clients ask that wait for them."""
_START: Final = re.compile(rb"([A-Z]+) [!-~]+ HTTP/1\.1")
_LINES: Final = re.compile(rb"\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ -~]*\r\n)*)\r\n")
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_DIGITS: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_KEY: Final = "idempotency-key"
_AUTHORIZATION: Final = "authorization"
_USER: Final = USER_HEADER.lower()
_TENANT: Final = TENANT_HEADER.lower()

_FRAMING: Final = frozenset(
    {"transfer-encoding", "upgrade", "expect", "trailer", "te", "proxy-connection"}
)
"""Headers that change where a request ends, or what follows it on the connection."""
_KNOWN: Final = frozenset(
    {
        *("host", "content-length", "content-type", "connection", _KEY, _USER, _TENANT),
        _AUTHORIZATION,
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
    identity: tuple[str | None, str | None, str | None] = (None, None, None)
    """Key, user and tenant, as the headers say: who it is, where there are keys."""
    is_single: bool = False
    """If its body is one job, it may be taken together with others (see `singles`)."""
    rate: Rate | None = None
    """How often its key may ask; None: as often as it likes."""


class Head(msgspec.Struct, frozen=True):
    """A plain header."""

    body_bytes: int
    passage: Passage | None
    """None: whole, but aiohttp's."""
    job_id: bytes = b""
    """Of the job that the path names."""
    wait_ms: int = 0


def read_head(head: bytes) -> Head | None:
    """Read from the request line up to and with the empty line; None if it is not plain."""
    start_end = head.find(b"\r\n")
    start, lines = head[:start_end], head[start_end:]
    route = _POSTS.get(start)
    if route is not None:
        return _read_remembered(route, lines)
    found = _GET.fullmatch(start)
    if found is not None:
        return _read_get(found, lines)
    found = _START.fullmatch(start)
    if found is None or found[1] == b"CONNECT":
        return None
    return _read(None, lines)


def _read_get(found: re.Match[bytes], lines: bytes) -> Head | None:
    job, about, wait = found.groups()
    head = _read_remembered("job_get" if about is None else "job_result", lines)
    job_id = id_parse(job.decode())
    wait_ms = 0 if wait is None else duration_ms(wait.decode())
    if head is None or head.passage is None or job_id is None or wait_ms > limits.WAIT_MS_MAX:
        return head and Head(head.body_bytes, None)
    return Head(0, head.passage, job_id, wait_ms)


def _read(route: str | None, lines: bytes) -> Head | None:
    """Read what follows the request line."""
    found = _LINES.fullmatch(lines)
    if found is None:
        return None
    fields: dict[str, str] = {}
    for line in found[1].decode("ascii").split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name = name.lower()
        if name in fields:
            return None
        fields[name] = value.strip(" ")
    if not _FRAMING.isdisjoint(fields):
        return None
    if fields.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    length = fields.get("content-length")
    if length is not None and _LENGTH.fullmatch(length) is None:
        return None
    body_bytes = int(length or 0)
    passage = None
    if route is not None and fields.keys() <= _KNOWN:
        if route in _POSTS.values():
            may_come = length is not None and body_bytes <= limits.BODY_BYTES_MAX
        else:
            may_come = body_bytes == 0
        if may_come:
            passage = _passage(route, fields)
    return Head(body_bytes, passage)


_read_remembered: Final = lru_cache(HEADS_REMEMBERED)(_read)


def _passage(route: str, fields: dict[str, str]) -> Passage | None:
    if "host" not in fields:
        return None
    if media_type(fields.get("content-type", "application/json")) not in JSON_TYPES:
        return None
    try:
        who = caller_of(fields.get(_USER), fields.get(_TENANT))
    except Problem:
        return None  # aiohttp's way has the words for it
    accept, key = fields.get("accept"), fields.get(_KEY)
    is_single = route == SINGLES and key is None and not (accept and wants_msgpack(accept))
    said = fields.get(_AUTHORIZATION), fields.get(_USER), fields.get(_TENANT)
    return Passage(route, is_here(fields["host"]), who, accept, key, said, is_single)


def form_of(head: bytes, read: Head) -> HeadForm | None:
    """Return the form of a header with a passage, if its client may send the like again."""
    digits = _DIGITS.search(head)
    if read.passage is None or read.job_id or digits is None:
        return None
    return _form(head[: digits.start(1)], head[digits.end(1) :], read.passage)


@lru_cache(HEADS_REMEMBERED)
def _form(before: bytes, behind: bytes, passage: Passage) -> HeadForm:
    """Return the same object for the same form: many connections are of one kind of client."""
    return HeadForm(
        before,
        behind,
        passage,
        head_bytes_max=HEAD_BYTES_MAX,
        body_bytes_max=limits.BODY_BYTES_MAX,
    )
