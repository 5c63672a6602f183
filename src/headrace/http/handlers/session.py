"""Signing in and out of a browser, and who it is."""

from typing import Final

import msgspec
from aiohttp import hdrs, web

from headrace.http.decode import decode, read_json
from headrace.http.encode import answer
from headrace.http.identity import Identity
from headrace.http.origin import check_same_origin
from headrace.http.sessions import (
    Session,
    check_page,
    cookie_value,
    drop_cookies,
    session_of,
    set_cookie,
    who_asks,
)
from headrace.http.site import Site, site_of
from headrace.wire.dashboard_routes import SessionAnswer, SignIn
from headrace.wire.durations import rfc3339
from headrace.wire.keys import scope_words
from headrace.wire.problems import Problem, ProblemCode

NO_STORE: Final = {"Cache-Control": "no-store"}
_decoder: Final = msgspec.json.Decoder(SignIn)


async def session_get(request: web.Request) -> web.Response:
    """Who comes without a key, or with a session that is over, is no refusal but news."""
    site = site_of(request)
    has_key = hdrs.AUTHORIZATION in request.headers
    session = None if has_key else session_of(request, site.sessions, site.clock.wall_ms())
    try:
        who = _who(site, request)
    except Problem as problem:
        if problem.code is not ProblemCode.UNAUTHENTICATED or has_key:
            raise
        return answer(request, SessionAnswer(signed_in=False, open=False), headers=NO_STORE)
    return answer(request, _answer(site, who, session), headers=NO_STORE)


async def session_begin(request: web.Request) -> web.Response:
    site = site_of(request)
    check_same_origin(request)
    asked = decode(_decoder, await read_json(request))
    if site.identities.is_open():
        return answer(request, _answer(site, _who(site, request), None), headers=NO_STORE)
    who = site.identities.who(f"Bearer {asked.key}", None, None, request.remote or "")
    site.admit(who, request.remote or "")
    before = cookie_value(request)
    if before is not None:
        site.sessions.end(before)
    value, session = site.sessions.begin(who.caller.key_id, site.clock.wall_ms())
    response = answer(request, _answer(site, who, session), headers=NO_STORE)
    set_cookie(request, response, value)
    return response


async def session_end(request: web.Request) -> web.Response:
    site, value = site_of(request), cookie_value(request)
    session = session_of(request, site.sessions, site.clock.wall_ms())
    if value is not None and session is not None:
        check_page(request, session)
        site.sessions.end(value)
    is_open = site.identities.is_open()
    response = answer(request, SessionAnswer(signed_in=is_open, open=is_open), headers=NO_STORE)
    drop_cookies(request, response)
    return response


def _who(site: Site, request: web.Request) -> Identity:
    return who_asks(request, site.identities, site.sessions, site.clock.wall_ms())


def _answer(site: Site, who: Identity, session: Session | None) -> SessionAnswer:
    ends = [end for end in (who.expires_at_ms, session and session.expires_at_ms) if end]
    return SessionAnswer(
        signed_in=True,
        open=site.identities.is_open(),
        tenant_id=who.caller.tenant,
        user=who.caller.user,
        scopes=list(scope_words(who.scope)),
        all_tenants=who.caller.all_tenants,
        key_id=who.caller.key_id or None,
        csrf_token=None if session is None else session.csrf_token,
        expires_at=rfc3339(min(ends)) if ends else None,
    )
