"""Sessions: a browser that has shown a key comes back with a cookie in its place.

    key ── POST /api/v1/session ──▶ cookie: HttpOnly, SameSite=Strict, Secure where it came by TLS
    cookie ──▶ its hash known, not over? ──▶ the key's document, as it is now ──▶ Identity

The key itself is kept nowhere, neither here nor in the browser. A session ends with its key, after
`SIGN_IN_MS`, when somebody signs out, and with the process. What it changes takes two more proofs
that one of our own pages asks: the browser says so (`Origin`, `Sec-Fetch-Site`), and the page knows
the session's token, which no other page can read.
"""

import hashlib
import hmac
import secrets
from typing import Final, NamedTuple

from aiohttp import hdrs, web

from headrace.http.identity import TENANT_HEADER, USER_HEADER, Identities, Identity
from headrace.http.origin import check_same_origin
from headrace.wire import limits
from headrace.wire.dashboard_routes import CSRF_HEADER
from headrace.wire.problems import Problem, ProblemCode

COOKIE: Final = "headrace"
SECURE_PREFIX: Final = "__Host-"
"""Browsers take a cookie of such a name only over TLS, and from this host itself (RFC 6265bis)."""
TOKEN_BYTES: Final = 32
_SAFE: Final = frozenset({"GET", "HEAD"})


class Session(NamedTuple):
    key_id: str
    csrf_token: str
    expires_at_ms: int
    """Wall clock."""


class Sessions:
    """The sessions of one server. In memory only: a restart ends them."""

    def __init__(self) -> None:
        self._known: dict[bytes, Session] = {}
        """By the hash of the cookie's value, so that no look-up's time tells about a value."""
        self._of_key: dict[str, list[bytes]] = {}
        """Of each key, oldest first."""

    def begin(self, key_id: str, now_ms: int) -> tuple[str, Session]:
        """Begin a session; return the value of its cookie. The key's oldest makes room for it."""
        value = secrets.token_urlsafe(TOKEN_BYTES)
        csrf_token = secrets.token_urlsafe(TOKEN_BYTES)
        session = Session(key_id, csrf_token, now_ms + limits.SIGN_IN_MS)
        of_key = self._of_key.setdefault(key_id, [])
        if len(of_key) == limits.SIGN_INS_PER_KEY_MAX:
            del self._known[of_key.pop(0)]
        self._known[_hash(value)] = session
        of_key.append(_hash(value))
        return value, session

    def find(self, value: str, now_ms: int) -> Session | None:
        session = self._known.get(_hash(value))
        if session is not None and now_ms >= session.expires_at_ms:
            self.end(value)
            return None
        return session

    def end(self, value: str) -> None:
        session = self._known.pop(_hash(value), None)
        if session is not None:
            of_key = self._of_key[session.key_id]
            of_key.remove(_hash(value))
            if not of_key:
                del self._of_key[session.key_id]

    def end_of_key(self, key_id: str) -> None:
        for known in self._of_key.pop(key_id, ()):
            del self._known[known]

    def __len__(self) -> int:
        return len(self._known)


def _bytes(text: str) -> bytes:
    """Return a header's text as it came, whatever that was."""
    return text.encode("utf-8", "surrogateescape")


def _hash(value: str) -> bytes:
    return hashlib.sha256(_bytes(value)).digest()


# Requests ---------------------------------------------------------------------------------------


def who_asks(
    request: web.Request, identities: Identities, sessions: Sessions, now_ms: int
) -> Identity:
    """Say who asks, by a key or else by a session's cookie. Raises: Problem."""
    headers = request.headers
    said = headers.get(USER_HEADER), headers.get(TENANT_HEADER)
    authorization = headers.get(hdrs.AUTHORIZATION)
    if authorization is None and not identities.is_open():
        session = session_of(request, sessions, now_ms)
        if session is not None:
            check_page(request, session)
            who = identities.of_key(session.key_id, *said)
            ends = [end for end in (who.expires_at_ms, session.expires_at_ms) if end]
            return who._replace(expires_at_ms=min(ends))
    return identities.who(authorization, *said, request.remote or "")


def session_of(request: web.Request, sessions: Sessions, now_ms: int) -> Session | None:
    """Return the session that the request's cookie names, if it names one that is not over."""
    value = cookie_value(request)
    return None if value is None else sessions.find(value, now_ms)


def check_page(request: web.Request, session: Session) -> None:
    """See that a page of this server asks. Raises: Problem FORBIDDEN."""
    check_same_origin(request)
    if request.method in _SAFE:
        return
    token = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(_bytes(token), session.csrf_token.encode()):
        raise Problem(
            ProblemCode.FORBIDDEN, f"with a session, changes take its token in {CSRF_HEADER}"
        )


# Cookies ----------------------------------------------------------------------------------------


def cookie_value(request: web.Request) -> str | None:
    name = _cookie_name(request)
    cookies = request.cookies
    return cookies.get(SECURE_PREFIX + name) or cookies.get(name)


def set_cookie(request: web.Request, response: web.Response, value: str) -> None:
    """Give the browser a session's cookie. It says itself whether it came over TLS, to us or to the
    proxy before us: its page's origin begins with https."""
    secure = request.headers.get("Origin", "").startswith("https://")
    response.set_cookie(
        (SECURE_PREFIX if secure else "") + _cookie_name(request),
        value,
        max_age=limits.SIGN_IN_MS // 1000,
        path="/",
        secure=secure,
        httponly=True,
        samesite="Strict",
    )


def drop_cookies(request: web.Request, response: web.Response) -> None:
    name = _cookie_name(request)
    response.del_cookie(name, path="/", httponly=True, samesite="Strict")
    response.del_cookie(
        SECURE_PREFIX + name, path="/", secure=True, httponly=True, samesite="Strict"
    )


def _cookie_name(request: web.Request) -> str:
    """Browsers share the cookies of a host's ports; two servers on one machine must not."""
    _, _, port = request.headers.get("Host", "").rpartition(":")
    return f"{COOKIE}-{port}" if port.isascii() and port.isdigit() and len(port) <= 5 else COOKIE
