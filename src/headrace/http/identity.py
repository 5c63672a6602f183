"""Who asks: by an API key, or in open mode, without any keys, by what the headers say.

    Authorization ──▶ seen before? ──▶ Identity          (one look-up, until any key changes)
                          │ no
                          ▼
                 id ──▶ document ──▶ hash equal, in constant time ──▶ not revoked, not expired

Open mode is for loopback (see `Node`), so a header is as good as the process that sent it. With
the first key it is over; a damaged key counts as one, since it cannot be told what it allowed.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import web

from headrace.core.commands import Caller
from headrace.core.documenting import DocumentTable
from headrace.http.rates import Rate, Rates
from headrace.wire import limits
from headrace.wire.documents import Kind
from headrace.wire.keys import ALL_SCOPES, KeyDocument, Scope, allows, parse_key, scope_words
from headrace.wire.problems import Problem, ProblemCode

USER_HEADER: Final = "X-User-ID"
TENANT_HEADER: Final = "X-Tenant-ID"
ADMIN: Final = "admin"
"""In open mode the user of each tenant who may see and control all its jobs."""
EVERY_TENANT: Final = "*"
"""The tenant of a key that is for all of them."""
SEEN_MAX: Final = 4_096
"""Headers that are remembered."""
FAILURES_MAX: Final = 30
"""Wrong keys from one address at once; they come back at one in `FAILURE_MS`."""
FAILURE_MS: Final = 2_000
PEERS_MAX: Final = 10_000
"""Addresses that wrong keys came from lately."""

_ANONYMOUS: Final = Caller()
_BEARER: Final = "bearer "


class Identity(NamedTuple):
    """Who asks, and what may be asked."""

    caller: Caller
    scope: Scope
    expires_at_ms: int = 0
    """0: never."""
    rate: Rate | None = None
    """How often; None: as often as it likes."""


OPEN: Final = Identity(_ANONYMOUS, ALL_SCOPES)

IDENTITY: Final = web.RequestKey("headrace.identity", Identity)
"""Where a request carries it."""


def caller(request: web.Request) -> Caller:
    """Return who asks; the request has been let in."""
    return identity(request).caller


def identity(request: web.Request) -> Identity:
    return request[IDENTITY]


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


class Identities:
    """The keys of one server, and who came with them."""

    def __init__(
        self,
        documents: DocumentTable,
        wall_ms: Callable[[], int],
        rates: Rates,
        *,
        may_be_open: bool,
    ) -> None:
        self._documents = documents
        self._keys = documents.of(Kind.KEY)
        self._wall_ms = wall_ms
        self._may_be_open = may_be_open
        self._stamp = -1
        self._is_open = False
        self._seen: dict[tuple[str | None, str | None, str | None], Identity] = {}
        self._failures = Failures()
        self._rates = rates
        self.on_failure: Callable[[str, str, str, str], None] = lambda *_: None
        """Hears why, the peer's address, and tenant and id of the key if it is known."""
        self.last_used_ms: dict[str, int] = {}
        """By key: wall clock; of this process only."""

    def stamp(self) -> int:
        """Return a number that changes when any key does."""
        return self._documents.changes(Kind.KEY)

    def is_open(self) -> bool:
        """Say whether there are no keys, so that anybody may do anything."""
        if self._stamp != self._documents.changes(Kind.KEY):
            self._stamp = self._documents.changes(Kind.KEY)
            self._seen.clear()
            self._is_open = (
                self._may_be_open and not self._keys and Kind.KEY not in self._documents.damaged
            )
        return self._is_open

    def who(
        self, authorization: str | None, user: str | None, tenant: str | None, peer: str
    ) -> Identity:
        """Say who asks. Raises: Problem UNAUTHENTICATED, AUTH_LIMITED, SCOPE_MISSING."""
        try:
            return self.find(authorization, user, tenant)
        except Problem as problem:
            if problem.code is ProblemCode.UNAUTHENTICATED and authorization is not None:
                self.on_failure(problem.detail, peer, *self._known(authorization))
                self._failures.count(peer, self._wall_ms())
            raise

    def find(self, authorization: str | None, user: str | None, tenant: str | None) -> Identity:
        """As `who`, for what is told otherwise: a failure is not counted."""
        if self.is_open():
            return OPEN._replace(caller=caller_of(user, tenant))
        seen = self._seen.get((authorization, user, tenant))
        if seen is None:
            seen = self._authenticate(authorization, user, tenant)
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen[(authorization, user, tenant)] = seen
        now_ms = self._wall_ms()
        if seen.expires_at_ms and now_ms >= seen.expires_at_ms:
            raise _unauthenticated("the key has expired")
        self.last_used_ms[seen.caller.key_id] = now_ms
        return seen

    def _known(self, authorization: str) -> tuple[str, str]:
        """Return tenant and id of a key that did not let in; nothing of one that there is not."""
        try:
            key_id = parse_key(authorization[len(_BEARER) :].strip()).id
        except ValueError:
            return "", ""
        document = self._keys.get(key_id)
        if document is None:
            return "", ""
        tenant: str = document.value().tenant
        return "" if tenant == EVERY_TENANT else tenant, key_id

    def _authenticate(
        self, authorization: str | None, user: str | None, tenant: str | None
    ) -> Identity:
        if authorization is None:
            raise _unauthenticated("send Authorization: Bearer with a key")
        if authorization[: len(_BEARER)].lower() != _BEARER:
            raise _unauthenticated("the scheme is Bearer")
        try:
            key = parse_key(authorization[len(_BEARER) :].strip())
        except ValueError as error:
            raise _unauthenticated(str(error)) from None
        document = self._keys.get(key.id)
        kept: KeyDocument | None = None if document is None else document.value()
        if not key.is_of(kept) or kept is None:
            raise _unauthenticated("no key is like this")
        if kept.revoked_at_ms:
            raise _unauthenticated("the key was revoked")
        return self._identity(kept, user, tenant)

    def of_key(self, key_id: str, user: str | None, tenant: str | None) -> Identity:
        """Say who it is that has shown a key before. Raises: Problem UNAUTHENTICATED and others."""
        document = self._keys.get(key_id)
        kept: KeyDocument | None = None if document is None else document.value()
        now_ms = self._wall_ms()
        if kept is None or not kept.is_live(now_ms):
            raise _unauthenticated("the key of this session was revoked, or has expired")
        self.last_used_ms[key_id] = now_ms
        return self._identity(kept, user, tenant)

    def _identity(self, kept: KeyDocument, user: str | None, tenant: str | None) -> Identity:
        user, tenant = _name(user, USER_HEADER), _name(tenant, TENANT_HEADER)
        rate = self._rates.of_key(kept)
        return Identity(_speaker(kept, user, tenant), kept.scope, kept.expires_at_ms, rate)


def _speaker(kept: KeyDocument, user: str | None, tenant: str | None) -> Caller:
    """Say for whom a request is made. Raises: Problem, if the key may not speak for them."""
    all_tenants = kept.tenant == EVERY_TENANT
    own_tenant = _ANONYMOUS.tenant if all_tenants else kept.tenant
    user, tenant = user or kept.user, tenant or own_tenant
    is_other = (user, tenant) != (kept.user, own_tenant)
    if is_other and not allows(kept.scope, Scope.IMPERSONATE):
        raise lacks((Scope.IMPERSONATE,))
    if tenant != own_tenant and not all_tenants:
        raise Problem(ProblemCode.SCOPE_MISSING, "the key is for one tenant")
    return Caller(tenant, user, Scope.ADMIN in kept.scope, kept.id, all_tenants)


def check_scopes(who: Identity, scopes: tuple[Scope, ...], *, of_server: bool) -> None:
    """Raises: Problem SCOPE_MISSING that names what is missing."""
    if scopes and not any(allows(who.scope, scope) for scope in scopes):
        raise lacks(scopes)
    if of_server and not who.caller.all_tenants:
        raise Problem(
            ProblemCode.SCOPE_MISSING,
            "this belongs to the server: it takes an admin's key for all tenants (*)",
            extra={"scope": "admin", "tenant": EVERY_TENANT},
        )


def lacks(scopes: tuple[Scope, ...]) -> Problem:
    words = [word for scope in scopes for word in scope_words(scope)]
    return Problem(
        ProblemCode.SCOPE_MISSING,
        f"it takes a key with scope {' or '.join(words)}",
        extra={"scope": words[0]},
    )


def _unauthenticated(detail: str) -> Problem:
    return Problem(ProblemCode.UNAUTHENTICATED, detail)


class Failures:
    """Counts wrong keys by address: a bucket each, so that guesses are slow and logs stay short."""

    def __init__(self) -> None:
        self._since_ms: dict[str, int] = {}
        """By address: when its bucket would be full again."""

    def count(self, peer: str, now_ms: int) -> None:
        """Note a failure. Raises: Problem AUTH_LIMITED, if there were too many."""
        full_ms = max(self._since_ms.get(peer, 0), now_ms) + FAILURE_MS
        if full_ms - now_ms > FAILURES_MAX * FAILURE_MS:
            raise Problem(
                ProblemCode.AUTH_LIMITED, "wait, then send the right key", retry_after_ms=FAILURE_MS
            )
        if peer not in self._since_ms and len(self._since_ms) >= PEERS_MAX:
            self._since_ms = {
                known: until for known, until in self._since_ms.items() if until > now_ms
            }
            if len(self._since_ms) >= PEERS_MAX:
                self._since_ms.clear()
        self._since_ms[peer] = full_ms
