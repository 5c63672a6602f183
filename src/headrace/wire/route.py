"""What a route is, and what many of them share."""

from typing import Any, Final, Literal

import msgspec

from headrace.wire.problems import ProblemCode as P

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE"]


class Param(msgspec.Struct, frozen=True):
    """A parameter of the query, or a header."""

    name: str
    summary: str
    type: Literal["string", "integer", "boolean"] = "string"
    place: Literal["query", "header"] = "query"
    many: bool = False
    """May be repeated."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    method: Method
    path: str
    summary: str
    tag: str
    params: tuple[Param, ...] = ()
    body: Any = None
    """A type of `wire.schema`, or None."""
    body_media: str = "application/json"
    """Beside JSON, MessagePack is always accepted."""
    answer: Any = None
    """A type of the JSON answer, or None."""
    answer_media: str = "application/json"
    status: int = 200
    problems: tuple[P, ...] = ()
    """Beside `ALWAYS`, and beside `WITH_BODY` where there is a body."""


ALWAYS: Final = (P.REQUEST_MALFORMED, P.INTERNAL)
WITH_BODY: Final = (
    P.BODY_TOO_LARGE,
    P.BODY_TIMEOUT,
    P.CONTENT_TYPE_UNSUPPORTED,
    P.CONTENT_ENCODING_UNSUPPORTED,
    P.BODY_MALFORMED,
    P.FIELD_INVALID,
)
COMMITS: Final = (P.STORAGE_FULL, P.OVERLOADED, P.SHUTTING_DOWN, P.OUTCOME_UNKNOWN)
"""Of every route that changes something."""
WHO: Final = (
    Param("X-User-ID", "Who asks, in open mode; default anonymous", place="header"),
    Param("X-Tenant-ID", "Whose jobs, in open mode; default default", place="header"),
)
