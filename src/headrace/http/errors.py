"""Anything that goes wrong becomes `application/problem+json` (RFC 9457), and nothing else.

A refusal is raised as `Problem`. What was not foreseen is a defect: the client gets a random id,
the log gets the same id with the traceback. Nothing a client sent is repeated.
"""

import logging
import math
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from headrace.http.answers import Answer
from headrace.store.contract import RecordCorrupt, StoreBroken, StoreFull
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.root import is_root

PROBLEM_TYPE: Final = "application/problem+json"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("headrace.http")
_encode: Final = msgspec.json.Encoder().encode


def problem_response(
    problem: Problem, headers: dict[str, str] | None = None, *, root: bool = False
) -> web.Response:
    return problem_answer(problem, headers, root=root).response()


def problem_answer(
    problem: Problem, headers: dict[str, str] | None = None, *, root: bool = False
) -> Answer:
    """Encode a problem. A `status` among its `extra` members takes the row's place; a `limit` is
    told in headers, too (draft-ietf-httpapi-ratelimit-headers-09).

    `root`: with what clients of the root surface look for.
    """
    members = problem.members()
    if root:
        members = {"success": False, "error": problem.detail, **members}
    status = members["status"]
    assert isinstance(status, int)
    headers = {
        **(headers or {}),
        "Content-Type": PROBLEM_TYPE,
        "X-Content-Type-Options": "nosniff",
    }
    if problem.code is ProblemCode.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = 'Bearer realm="headrace"'
    if problem.retry_after_ms is not None:
        headers["Retry-After"] = str(max(1, -(-problem.retry_after_ms // 1000)))
    limit = problem.extra.get("limit")
    if isinstance(limit, dict):
        name, burst = limit["name"], limit["burst"]
        window_s = math.ceil(burst / limit["per_second"])
        headers["RateLimit-Policy"] = f'"{name}";q={burst};w={window_s}'
        headers["RateLimit"] = f'"{name}";r={limit["left"]};t={headers["Retry-After"]}'
    return Answer(
        status, headers, _encode(members), closes=problem.code is ProblemCode.BODY_TIMEOUT
    )


def problem_of(error: Exception) -> Problem:
    """Say in the protocol's words what an exception means for the client."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RecordCorrupt):
        log.error("%s", error)
        return Problem(
            ProblemCode.RECORD_CORRUPT,
            "its stored record fails its checksum; other jobs are not affected",
            extra={"table": int(error.table)},
        )
    if isinstance(error, StoreFull):
        return Problem(
            ProblemCode.STORAGE_FULL,
            "nothing was changed; try again when there is space",
            retry_after_ms=5_000,
            extra={"outcome": "not_applied"},
        )
    if isinstance(error, StoreBroken):
        log.error("%s", error)
        return Problem(
            ProblemCode.OUTCOME_UNKNOWN,
            "the disk failed and the server stops; repeat with the same idempotency key",
            extra={"outcome": "unknown"},
        )
    incident = secrets.token_hex(8)
    log.error("incident %s", incident, exc_info=error)
    return Problem(
        ProblemCode.INTERNAL,
        "the server's log tells more under this incident",
        extra={"incident": incident},
    )


def http_problem(error: web.HTTPException) -> tuple[Problem, dict[str, str] | None]:
    """Translate what aiohttp itself refuses."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return (
            Problem(ProblemCode.METHOD_NOT_ALLOWED, f"it takes {allowed}"),
            {"Allow": allowed},
        )
    if error.status == 404:
        return Problem(ProblemCode.ROUTE_UNKNOWN, "see /openapi.json for all paths"), None
    if error.status == 413:
        return Problem(ProblemCode.BODY_TOO_LARGE, "the body is too large"), None
    return Problem(ProblemCode.REQUEST_MALFORMED, "the request cannot be served"), None


def response_of(error: Exception, *, root: bool = False) -> web.Response:
    if isinstance(error, web.HTTPException):
        return problem_response(*http_problem(error), root=root)
    return problem_response(problem_of(error), root=root)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The one place where exceptions of handlers end."""
    try:
        return await handler(request)
    except Exception as error:
        return response_of(error, root=is_root(request.path))
