"""The application: routes to handlers, and what is the same for all of them."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from headrace.http.answers import SERVER_NAME
from headrace.http.decode import BODIES, BodyBudget
from headrace.http.errors import Handler, problems
from headrace.http.handlers import HANDLERS
from headrace.http.identity import IDENTITY, check_scopes
from headrace.http.origin import check_origin
from headrace.http.sessions import who_asks
from headrace.http.site import SITE, Site
from headrace.http.watching import watched
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.route import Route, scopes_of
from headrace.wire.routes import ROUTES

if TYPE_CHECKING:
    from headrace.runtime.node import Node

assert HANDLERS.keys() == {route.name for route in ROUTES}, "every route has its handler"

UNROUTED: Final = "unrouted"
"""The metric's word for requests to no route."""


def make_app(node: "Node") -> web.Application:
    """Return the application of a node. The node is started and stopped by the caller."""
    app = web.Application(middlewares=[_measured, problems], client_max_size=limits.BODY_BYTES_MAX)
    app[SITE] = Site(node)
    app[BODIES] = BodyBudget()
    for route in ROUTES:
        app.router.add_route(
            route.method,
            route.path,
            partial(_guarded, route, _query_names(route), HANDLERS[route.name]),
            name=route.name,
            expect_handler=_expect,
        )
    app.on_startup.append(_begin_history)
    app.on_shutdown.append(_drain)
    app.on_cleanup.append(_close_spans)
    app.on_cleanup.append(_end_history)
    return app


async def _guarded(
    route: Route, query_names: frozenset[str], handler: Handler, request: web.Request
) -> web.StreamResponse:
    """Refuse who may not come, and unknown query parameters: a typo must not widen a list."""
    site = request.app[SITE]
    if not site.config.insecure and site.identities.is_open():
        check_origin(request)
    if not route.public:
        who = who_asks(request, site.identities, site.sessions, site.clock.wall_ms())
        check_scopes(who, scopes_of(route), of_server=route.of_server)
        site.admit(who, request.remote or "")
        request[IDENTITY] = who
    if request.query_string:
        for name in request.query:
            if name not in query_names:
                raise Problem(
                    ProblemCode.REQUEST_MALFORMED,
                    "a query parameter is not known here; known are: "
                    + (", ".join(sorted(query_names)) or "none"),
                )
    return await handler(request)


def _query_names(route: Route) -> frozenset[str]:
    return frozenset(param.name for param in route.params if param.place == "query")


@web.middleware
async def _measured(request: web.Request, handler: Handler) -> web.StreamResponse:
    site = request.app[SITE]
    route = request.match_info.route.name or UNROUTED
    if site.watches:
        response = await watched(site, route, request, handler)
    else:
        response = await handler(request)
    response.headers["Server"] = SERVER_NAME
    site.meters.count(route, response.status)
    return response


async def _expect(request: web.Request) -> None:
    """Let a client that asks first go on; any other expectation is ignored (RFC 9110, 10.1.1).

    One that would send more than any route takes is not asked to.
    """
    if (request.content_length or 0) > limits.BODY_BYTES_MAX:
        return
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _begin_history(app: web.Application) -> None:
    app[SITE].history.start()


async def _end_history(app: web.Application) -> None:
    app[SITE].history.stop()


async def _close_spans(app: web.Application) -> None:
    await asyncio.to_thread(app[SITE].spans.close)


async def _drain(app: web.Application) -> None:
    await app[SITE].drain()
