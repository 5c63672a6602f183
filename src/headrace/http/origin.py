"""Keeps web pages out of a server that has no keys.

On loopback anybody on the machine may do anything, and a browser on the machine acts for whatever
page it shows. A page of another origin sends its `Origin`; a page that had its own name point here
(DNS rebinding) sends that name as `Host`. Neither is let in.
"""

import re
from functools import lru_cache
from typing import Final

from aiohttp import web

from headrace.wire.problems import Problem, ProblemCode

MISDIRECTED: Final = 421
_OWN_SITES: Final = frozenset({"same-origin", "none"})
"""Of `Sec-Fetch-Site`; none: the address was typed."""
_LOOPBACK: Final = re.compile(
    r"(?:localhost|[a-z0-9-]+\.localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE
)


def check_origin(request: web.Request) -> None:
    """Raises: Problem with status 421, or 403."""
    headers = request.headers
    host = headers.get("Host")
    if host is not None and not is_here(host):
        raise Problem(
            ProblemCode.REQUEST_MALFORMED,
            "without keys this server answers only to names of this machine, such as"
            " localhost; behind a proxy that keeps strangers out, start it with --insecure",
            extra={"status": MISDIRECTED},
        )
    if not _is_own(headers.get("Origin"), host):
        raise Problem(ProblemCode.FORBIDDEN, "pages of other origins may not use this server")


def check_same_origin(request: web.Request) -> None:
    """See that a browser sends its cookie for a page of this server, or of none.

    `SameSite` alone lets in pages of the host's other ports. Raises: Problem FORBIDDEN.
    """
    headers = request.headers
    if (
        not _is_own(headers.get("Origin"), headers.get("Host"))
        or headers.get("Sec-Fetch-Site", "none") not in _OWN_SITES
    ):
        raise Problem(
            ProblemCode.FORBIDDEN,
            "pages of other origins may not use a session; a proxy before this server must pass"
            " Host on as it came",
        )


def _is_own(origin: str | None, host: str | None) -> bool:
    return origin is None or origin.partition("://")[2] == host


@lru_cache(256)
def is_here(host: str) -> bool:
    """Say whether a `Host` names this machine."""
    return _LOOPBACK.fullmatch(host) is not None
