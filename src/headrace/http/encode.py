"""Answers: JSON, or MessagePack where the client asks for it."""

from typing import Any, Final

import msgspec
from aiohttp import web

from headrace.http.answers import Answer
from headrace.http.decode import MSGPACK_TYPES

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
NO_SNIFF: Final = {"X-Content-Type-Options": "nosniff"}

_json_encode: Final = msgspec.json.Encoder().encode
_json_decode: Final = msgspec.json.Decoder().decode
_msgpack_encode: Final = msgspec.msgpack.Encoder().encode


def answer(
    request: web.Request,
    value: Any,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    return encoded(value, request.headers.get("Accept"), headers or {}, status).response()


def encoded(value: Any, accept: str | None, headers: dict[str, str], status: int = 200) -> Answer:
    """Encode a value of the schema. Stored JSON inside it is spliced, not encoded again."""
    body = _json_encode(value)
    content_type = JSON
    if accept is not None and wants_msgpack(accept):
        try:
            body = _msgpack_encode(_json_decode(body))
            content_type = MSGPACK
        except (msgspec.MsgspecError, OverflowError):
            pass  # an integer beyond 64 bits: JSON can carry it, MessagePack cannot
    return Answer(status, {**headers, "Content-Type": content_type}, body)


def wants_msgpack(accept: str) -> bool:
    return any(media in accept for media in MSGPACK_TYPES)
