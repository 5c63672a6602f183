"""The routes of the dashboard: its files, and how a browser signs in."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from headrace.wire import limits
from headrace.wire.keys import ScopeWord
from headrace.wire.problems import ProblemCode as P
from headrace.wire.route import Param, Route
from headrace.wire.schema import Request

DASHBOARD: Final = "dashboard"
CSRF_HEADER: Final = "X-CSRF-Token"
"""Sent with whatever a signed-in browser changes; other pages cannot know its value."""


class SignIn(Request, kw_only=True):
    key: Annotated[str, Meta(min_length=1, max_length=limits.KEY_CHARS_MAX)]
    """An API key. It is not kept: the cookie that is answered names a session of the server."""


class SessionAnswer(msgspec.Struct, kw_only=True):
    """Who the caller is, and what it may do."""

    signed_in: bool
    """Requests like this one are let in."""
    open: bool
    """The server has no keys: nobody has to sign in."""
    tenant_id: str | None = None
    user: str | None = None
    scopes: list[ScopeWord] = []
    all_tenants: bool = False
    key_id: str | None = None
    csrf_token: str | None = None
    """For the header `X-CSRF-Token`; null: the caller did not come with a session's cookie."""
    expires_at: str | None = None
    """When it has to sign in again, at the latest; null: never."""


_TOKEN: Final = Param(CSRF_HEADER, "csrf_token of the session", place="header")

DASHBOARD_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="home",
        method="GET",
        path="/",
        summary="Leads to the dashboard",
        tag=DASHBOARD,
        public=True,
        answer_media="text/html",
        status=307,
    ),
    Route(
        name="ui_folder",
        method="GET",
        path="/ui/",
        summary="Leads to the dashboard",
        tag=DASHBOARD,
        public=True,
        answer_media="text/html",
        status=307,
    ),
    Route(
        name="ui",
        method="GET",
        path="/ui",
        summary="The dashboard: a page for people",
        tag=DASHBOARD,
        public=True,
        answer_media="text/html",
    ),
    Route(
        name="ui_file",
        method="GET",
        path="/ui/{version}/{file}",
        summary="A file of the dashboard, of this version of it",
        tag=DASHBOARD,
        public=True,
        answer_media="text/javascript",
        problems=(P.ROUTE_UNKNOWN,),
    ),
    Route(
        name="session_get",
        method="GET",
        path="/api/v1/session",
        summary="Who the caller is, and what it may do",
        tag=DASHBOARD,
        public=True,
        answer=SessionAnswer,
        problems=(P.UNAUTHENTICATED, P.AUTH_LIMITED, P.FORBIDDEN),
    ),
    Route(
        name="session_begin",
        method="POST",
        path="/api/v1/session",
        summary="Sign a browser in: answers with a cookie that stands for the key, for some hours",
        tag=DASHBOARD,
        public=True,
        body=SignIn,
        answer=SessionAnswer,
        problems=(P.UNAUTHENTICATED, P.AUTH_LIMITED, P.FORBIDDEN),
    ),
    Route(
        name="session_end",
        method="DELETE",
        path="/api/v1/session",
        summary="Sign a browser out",
        tag=DASHBOARD,
        params=(_TOKEN,),
        public=True,
        answer=SessionAnswer,
        problems=(P.FORBIDDEN,),
    ),
)
