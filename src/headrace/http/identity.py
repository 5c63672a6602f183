"""Who asks. In open mode, without keys, the headers say so; without headers anyone is anonymous.

Open mode is for loopback (see `serving.check_bind`), so a header is as good as the process that
sent it.
"""

from typing import Final

from aiohttp import web

from headrace.core.commands import Caller
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

USER_HEADER: Final = "X-User-ID"
TENANT_HEADER: Final = "X-Tenant-ID"
ADMIN: Final = "admin"
"""The user of each tenant who may see and control all its jobs."""

_ANONYMOUS: Final = Caller()


def caller(request: web.Request) -> Caller:
    return caller_of(request.headers.get(USER_HEADER), request.headers.get(TENANT_HEADER))


def caller_of(user: str | None, tenant: str | None) -> Caller:
    """Say who it is by the values of the two headers. Raises: Problem."""
    if user is None and tenant is None:
        return _ANONYMOUS
    user = _name(user, USER_HEADER) or _ANONYMOUS.user
    tenant = _name(tenant, TENANT_HEADER) or _ANONYMOUS.tenant
    return Caller(tenant, user, user == ADMIN)


def _name(value: str | None, header: str) -> str | None:
    if not value:
        return None
    if len(value) > limits.NAME_CHARS_MAX or not value.isprintable():
        raise Problem(
            ProblemCode.REQUEST_MALFORMED,
            f"{header} has at most {limits.NAME_CHARS_MAX} printable characters",
        )
    return value
