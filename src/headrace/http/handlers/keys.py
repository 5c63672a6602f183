"""API keys: made, listed and revoked by admins. A secret is shown once, and never stored."""

import os

import msgspec
from aiohttp import web
from msgspec.structs import replace

from headrace.core.commands import Expect, PutDocument
from headrace.core.documenting import unknown_document
from headrace.core.intake import printable, span_ms
from headrace.http import documents
from headrace.http.decode import decode, read_json
from headrace.http.documents import path_name
from headrace.http.encode import answer
from headrace.http.identity import EVERY_TENANT, Identity, identity
from headrace.http.site import Site, site_of
from headrace.wire import limits
from headrace.wire.document_routes import KeysAnswer, KeyView, MadeKey, NewKey
from headrace.wire.documents import Document, Kind, body_of
from headrace.wire.durations import rfc3339
from headrace.wire.keys import (
    RANDOM_BYTES,
    KeyDocument,
    allows,
    make_key,
    parse_scopes,
    scope_words,
)
from headrace.wire.problems import Problem, ProblemCode

_decoder = msgspec.json.Decoder(NewKey)


async def keys_list(request: web.Request) -> web.Response:
    site, who = site_of(request), identity(request)
    known = views(site, who)
    names, following = documents.page_of(request, known)
    keys = [known[name] for name in names]
    return answer(request, KeysAnswer(keys=keys, count=len(keys), next=following))


def views(site: Site, who: Identity) -> dict[str, KeyView]:
    """Return the keys that one may see, by id."""
    return {
        name: _view(site, document)
        for name, document in site.store.documents.of(Kind.KEY).items()
        if _may_see(who, document.value())
    }


async def key_get(request: web.Request) -> web.Response:
    site = site_of(request)
    return answer(request, _view(site, _known(site, identity(request), path_name(request))))


async def key_create(request: web.Request) -> web.Response:
    site, who = site_of(request), identity(request)
    asked = decode(_decoder, await read_json(request))
    made = await make(site, who, asked)
    return answer(request, made, headers={**site.committed(), "Cache-Control": "no-store"})


async def make(site: Site, who: Identity, asked: NewKey) -> MadeKey:
    """Make a key. Raises: Problem."""
    value = key_document(asked, who, site.clock.wall_ms())
    key = make_key(os.urandom(RANDOM_BYTES))
    value = replace(value, id=key.id, hash=key.hash())
    document: Document = await site.pump.ask(
        PutDocument(who.caller, Kind.KEY, key.id, body_of(value), Expect.ABSENT)
    )
    if not site.identities.is_open():
        site.streams.end("")  # those of before the first key
    return MadeKey(key=key.text(), id=key.id, view=_view(site, document))


def key_document(asked: NewKey, who: Identity, now_ms: int) -> KeyDocument:
    """Return a key without its secret, if who asks may make it. Raises: Problem."""
    scopes = parse_scopes(asked.scopes)
    tenant = asked.tenant or (EVERY_TENANT if who.caller.all_tenants else who.caller.tenant)
    if tenant != EVERY_TENANT:
        printable(tenant, "/tenant")
    if asked.name:
        printable(asked.name, "/name")
    if not who.caller.all_tenants and tenant != who.caller.tenant:
        raise Problem(ProblemCode.FORBIDDEN, "a key of one tenant makes keys for that tenant")
    if not allows(who.scope, scopes):
        raise Problem(ProblemCode.FORBIDDEN, "a key makes no key that may do more than it may")
    expires_at_ms = 0
    if asked.expires_in is not None:
        span = span_ms(
            asked.expires_in, "/expires_in", limits.OPERATOR_SPAN_MS_MAX, limits.SECOND_MS
        )
        expires_at_ms = now_ms + span
    return KeyDocument(
        id="0" * 10,
        hash=bytes(32),
        tenant=tenant,
        user=printable(asked.user or who.caller.user, "/user"),
        scopes=scope_words(scopes),
        created_at_ms=now_ms,
        name=asked.name,
        expires_at_ms=expires_at_ms,
        requests=asked.requests,
        jobs=asked.jobs,
    )


async def key_revoke(request: web.Request) -> web.Response:
    site = site_of(request)
    view = await revoke(site, identity(request), path_name(request))
    return answer(request, view, headers=site.committed())


async def revoke(site: Site, who: Identity, name: str) -> KeyView:
    """Revoke a key; one that is revoked stays so. Raises: Problem."""
    _known(site, who, name)

    def changed(known: Document | None) -> bytes:
        if known is None:
            raise unknown_document()
        value: KeyDocument = known.value()
        return body_of(
            value if value.revoked_at_ms else replace(value, revoked_at_ms=site.clock.wall_ms())
        )

    document = await documents.change(site, who.caller, Kind.KEY, name, changed)
    await site.revoked(name)
    return _view(site, document)


def _known(site: Site, who: Identity, name: str) -> Document:
    """Return the key of an id; another tenant's is none."""
    document = site.store.documents.get(Kind.KEY, name)
    if document is None or not _may_see(who, document.value()):
        raise unknown_document()
    return document


def _may_see(who: Identity, value: KeyDocument) -> bool:
    return who.caller.all_tenants or value.tenant == who.caller.tenant


def _view(site: Site, document: Document) -> KeyView:
    value: KeyDocument = document.value()
    now_ms = site.clock.wall_ms()
    return KeyView(
        id=value.id,
        name=value.name,
        tenant_id=value.tenant,
        user=value.user,
        scopes=list(value.scopes),
        status="revoked"
        if value.revoked_at_ms
        else ("live" if value.is_live(now_ms) else "expired"),
        created_at=rfc3339(value.created_at_ms),
        expires_at=rfc3339(value.expires_at_ms),
        revoked_at=rfc3339(value.revoked_at_ms),
        last_used_at=rfc3339(site.identities.last_used_ms.get(value.id, 0)),
        requests=value.requests,
        jobs=value.jobs,
    )
