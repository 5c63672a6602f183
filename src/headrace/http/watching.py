"""What is told of each request where somebody wants to know: a span, and a line in the log.

Neither holds anything a client wrote but ids of jobs: no header, no query, no body.
"""

import logging
import secrets
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from headrace.core.ids import id_parse
from headrace.http import tracing
from headrace.http.errors import Handler
from headrace.http.identity import IDENTITY

if TYPE_CHECKING:
    from headrace.http.site import Site

REQUEST_ID: Final = "X-Request-Id"
"""Header of an answer: the id that its line in the log has."""

log = logging.getLogger("headrace.access")


async def watched(
    site: "Site", route: str, request: web.Request, handler: Handler
) -> web.StreamResponse:
    begun_s = time.perf_counter()
    with site.spans.of(request, route) as span:
        site.spans.note(request, span)
        response = await handler(request)
        site.spans.end(span, response.status)
    if site.config.access_log:
        request_id = secrets.token_hex(8)
        if not response.prepared:
            response.headers[REQUEST_ID] = request_id
        _line(request_id, route, request, response.status, time.perf_counter() - begun_s)
    return response


def _line(
    request_id: str, route: str, request: web.Request, status: int, duration_s: float
) -> None:
    fields: dict[str, object] = {
        "request_id": request_id,
        "method": request.method if request.method.isalpha() else "?",
        "route": route,
        "status": status,
        "ms": round(duration_s * 1_000, 2),
    }
    job_id = id_parse(request.match_info.get("id", ""))
    if job_id is not None:
        fields["job_id"] = request.match_info["id"]
    who = request.get(IDENTITY)
    if who is not None and who.caller.key_id:
        fields["key_id"] = who.caller.key_id
    trace = tracing.trace_of(request)
    if trace.parent:
        fields["trace_id"] = trace.parent[3:35]
    log.info("request", extra=fields)
