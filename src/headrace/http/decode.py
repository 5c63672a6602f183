"""Bodies of requests: read under a deadline, then decoded; all that can be wrong is a `Problem`.

MessagePack becomes JSON at the door, so that one path checks both and what is stored is JSON.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from headrace.http.deadlines import Connection
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import SubmitJob

T = TypeVar("T")

JSON_TYPES: Final = frozenset({"application/json", "text/json"})
MSGPACK_TYPES: Final = frozenset(
    {"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"}
)
BODIES_BYTES_MAX: Final = 512 * limits.MIB
"""Bodies that are arriving, all together."""
NAME_SHOWN_CHARS_MAX: Final = 100
"""Of a field's name in a problem; a longer one is cut."""

_PATH: Final = re.compile(r" - at `(?:key in )?\$(.*)`$", re.DOTALL)
_PATH_PART: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)

_batch_decode: Final = msgspec.json.Decoder(list[SubmitJob]).decode
_raws_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])
_msgpack_decode: Final = msgspec.msgpack.Decoder().decode
_json_encode: Final = msgspec.json.Encoder().encode


# Reading ----------------------------------------------------------------------------------------


async def read_bytes(
    request: web.Request,
    most: int = limits.BODY_BYTES_MAX,
    too_large: ProblemCode = ProblemCode.BODY_TOO_LARGE,
) -> bytes:
    """Return the whole body. A sender slower than the least rate is not waited for."""
    encoding = request.headers.get("Content-Encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise Problem(
            ProblemCode.CONTENT_ENCODING_UNSUPPORTED, "send the body without Content-Encoding"
        )
    declared = request.content_length
    if declared is not None and declared > most:
        raise _too_large(most, too_large)
    content = request.content
    if content.is_eof():  # the whole body came with the header: the common case
        body = content.read_nowait(-1)
        if len(body) > most:
            raise _too_large(most, too_large)
        return body
    now_s = asyncio.get_running_loop().time
    began_s = now_s()
    connection = request.protocol
    assert isinstance(connection, Connection)
    budget = request.app[BODIES]
    body_in_parts = bytearray()
    try:
        while True:
            piece = content.read_nowait(-1)
            budget.take(len(piece))
            body_in_parts += piece
            if len(body_in_parts) > most:
                raise _too_large(most, too_large)
            if content.at_eof():
                return bytes(body_in_parts)
            if not piece:  # as it was read, more may have come
                size = len(body_in_parts)
                due_s = began_s + limits.BODY_MS_BASE / 1000 + size / limits.BODY_BYTES_PER_S_MIN
                if now_s() >= due_s:
                    raise _late(connection, size)
                await connection.wait_for_body(content, due_s, most - size)
    except web.RequestPayloadError:
        raise Problem(ProblemCode.BODY_MALFORMED, "the body's framing is broken") from None
    finally:
        budget.used -= len(body_in_parts)


def _late(connection: Connection, size: int) -> Problem:
    connection.linger_no_more()
    return Problem(
        ProblemCode.BODY_TIMEOUT,
        f"{size} bytes came; {limits.BODY_BYTES_PER_S_MIN} a second are expected"
        f" after the first {limits.BODY_MS_BASE // 1000} s",
    )


class BodyBudget:
    """Memory for bodies that are still arriving: many slow senders must not fill it."""

    def __init__(self) -> None:
        self.used = 0

    def take(self, size: int) -> None:
        if self.used + size > BODIES_BYTES_MAX:
            raise Problem(
                ProblemCode.OVERLOADED,
                "too many large bodies arrive at once; nothing was applied, send it again later",
                retry_after_ms=1_000,
                extra={"outcome": "not_applied"},
            )
        self.used += size


BODIES: Final = web.AppKey("headrace.bodies", BodyBudget)


def _too_large(most: int, code: ProblemCode) -> Problem:
    return Problem(code, f"at most {most} bytes are accepted here")


async def read_json(request: web.Request, *, may_be_empty: bool = False) -> bytes:
    """Return the body as UTF-8 JSON, not yet decoded; `b"{}"` for an empty one where allowed."""
    media = media_type(request.headers.get("Content-Type"))
    if may_be_empty and not request.can_read_body:
        return b"{}"
    if media is not None and media not in JSON_TYPES and media not in MSGPACK_TYPES:
        raise Problem(
            ProblemCode.CONTENT_TYPE_UNSUPPORTED,
            "send application/json (with curl: -H 'Content-Type: application/json')"
            " or application/msgpack",
        )
    body = await read_bytes(request)
    if not body and may_be_empty:
        return b"{}"
    if media in MSGPACK_TYPES:
        return json_of_msgpack(body)
    check_utf8(body)
    return body


def check_utf8(body: bytes) -> None:
    """Raises: Problem. What is stored of a body is not decoded, so no decoder would notice."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise Problem(
                ProblemCode.BODY_MALFORMED, f"the body is not UTF-8 at byte {error.start}"
            ) from None


def media_type(header: str | None) -> str | None:
    """Return `type/subtype` in lower case, without parameters."""
    return None if header is None else header.partition(";")[0].strip().lower()


# Decoding ---------------------------------------------------------------------------------------


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise (problem_of(error) if body else _empty()) from None


def decode_batch(body: bytes) -> Sequence[SubmitJob | Problem]:
    """Decode an array of jobs; a job that is not valid is its problem, with its pointer.

    Raises: Problem if the body is no array of anything.
    """
    try:
        return _batch_decode(body)
    except (ValueError, RecursionError) as error:
        whole = problem_of(error)
        if whole.code is ProblemCode.BODY_MALFORMED:
            raise whole from None
    decoder = msgspec.json.Decoder(SubmitJob)
    raws: list[msgspec.Raw] = decode(_raws_decoder, body)
    jobs: list[SubmitJob | Problem] = []
    for position, raw in enumerate(raws):
        try:
            jobs.append(decode(decoder, raw))
        except Problem as problem:
            problem.pointer = f"/{position}{problem.pointer or ''}"
            jobs.append(problem)
    return jobs


def batch_invalid(problems: list[Problem]) -> Problem:
    shown = problems[: limits.LIST_LIMIT_DEFAULT]
    return Problem(
        ProblemCode.BATCH_INVALID,
        f"{len(problems)} of its jobs are not valid; nothing was taken",
        extra={"problems": [problem.members() for problem in shown]},
    )


def problem_of(error: Exception) -> Problem:
    """Say what a decoder refused, without repeating values."""
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        path = _PATH.search(text)
        pointer = ""
        if path is not None:
            text = text[: path.start()]
            pointer = "".join(
                f"/{_shown(name or index)}"
                for name, index in _PATH_PART.findall(path[1])
                if name or index
            )
        for pattern, words in ((_UNKNOWN, "there is no field"), (_MISSING, "it needs a field")):
            if (named := pattern.fullmatch(text)) is not None:
                name = _shown(named[1])
                return _invalid(f"{words} {name!r}", f"{pointer}/{_escaped(name)}")
        if text.startswith("Invalid enum value"):
            text = "it is not one of the words accepted"
        return _invalid(text, pointer)
    if isinstance(error, RecursionError):
        return Problem(
            ProblemCode.BODY_MALFORMED, f"it is nested deeper than {limits.JSON_DEPTH_MAX}"
        )
    if isinstance(error, UnicodeDecodeError):
        return Problem(ProblemCode.BODY_MALFORMED, "a text in the body is not UTF-8")
    if isinstance(error, msgspec.DecodeError):
        text = str(error)
        if text == "Input data was truncated":
            text = "the body ends early, or holds half of a surrogate pair"
        return Problem(ProblemCode.BODY_MALFORMED, text)
    return Problem(ProblemCode.BODY_MALFORMED, "the body cannot be decoded")


def _empty() -> Problem:
    return Problem(
        ProblemCode.BODY_MALFORMED, "the body is empty; send JSON, as /openapi.json describes it"
    )


def _invalid(detail: str, pointer: str) -> Problem:
    return Problem(ProblemCode.FIELD_INVALID, detail, pointer=pointer)


def _shown(name: str) -> str:
    name = "".join(char if char.isprintable() else "?" for char in name)
    return name if len(name) <= NAME_SHOWN_CHARS_MAX else name[:NAME_SHOWN_CHARS_MAX] + "…"


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


# MessagePack ------------------------------------------------------------------------------------


def json_of_msgpack(body: bytes) -> bytes:
    """Return the same value as JSON; binary becomes base64 text, as JSON clients send it."""
    try:
        value = _msgpack_decode(body)
        _check_finite(value)
        return _json_encode(value)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        raise Problem(
            ProblemCode.BODY_MALFORMED,
            "the body is not MessagePack that has an equal in JSON:"
            " no NaN, no infinity, no extension types, UTF-8 text, bounded nesting",
        ) from None


def _check_finite(root: Any) -> None:
    """Refuse floats that JSON lacks; the encoder would write null for them."""
    level, depth = [root], 0
    while level:
        depth += 1
        if depth > limits.JSON_DEPTH_MAX + 8:  # the value in a field has its own, exact limit
            raise ValueError("too deep")
        below: list[Any] = []
        for value in level:
            if type(value) is float:
                if not math.isfinite(value):
                    raise ValueError("not finite")
            elif type(value) is dict:
                below.extend(value)
                below.extend(value.values())
            elif type(value) is list:
                below.extend(value)
        level = below
