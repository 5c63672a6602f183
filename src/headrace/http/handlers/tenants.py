"""Tenants: their settings."""

from typing import Final

import msgspec
from aiohttp import web

from headrace.core.commands import Caller
from headrace.core.documenting import unknown_document
from headrace.http import documents
from headrace.http.decode import decode, read_json
from headrace.http.documents import etag, path_name
from headrace.http.encode import answer
from headrace.http.identity import EVERY_TENANT
from headrace.http.site import Site, site_of
from headrace.wire.document_routes import Removed, TenantsAnswer, TenantSettings, TenantView
from headrace.wire.documents import Document, Kind, TenantDocument, body_of
from headrace.wire.durations import rfc3339

DEFAULT: Final = Caller().tenant
"""There is always this one."""
_decoder: Final = msgspec.json.Decoder(TenantSettings)


async def tenants_list(request: web.Request) -> web.Response:
    site = site_of(request)
    known = {DEFAULT, *site.store.documents.of(Kind.TENANT), *site.pump.tenants_used()}
    names, following = documents.page_of(request, known)
    views = [_view(name, site.store.documents.get(Kind.TENANT, name)) for name in names]
    return answer(request, TenantsAnswer(tenants=views, count=len(views), next=following))


async def tenant_get(request: web.Request) -> web.Response:
    site, name = site_of(request), _tenant(request)
    document = site.store.documents.get(Kind.TENANT, name)
    if document is None and not _is_known(site, name):
        raise unknown_document()
    return _answer(request, name, document, {})


async def tenant_put(request: web.Request) -> web.Response:
    site, name = site_of(request), _tenant(request)
    asked = decode(_decoder, await read_json(request))
    value = TenantDocument(weight=asked.weight, description=asked.description)
    document = await documents.put(request, Kind.TENANT, name, body_of(value))
    return _answer(request, name, document, site.committed())


async def tenant_delete(request: web.Request) -> web.Response:
    site, name = site_of(request), _tenant(request)
    await documents.drop(request, Kind.TENANT, name)
    return answer(request, Removed(name=name), headers=site.committed())


def _tenant(request: web.Request) -> str:
    """Return the tenant in the path; the word for all of them is the name of none."""
    name = path_name(request)
    if name == EVERY_TENANT:
        raise unknown_document()
    return name


def _is_known(site: Site, name: str) -> bool:
    return name == DEFAULT or name in site.pump.tenants_used()


def _view(name: str, document: Document | None) -> TenantView:
    value: TenantDocument = TenantDocument() if document is None else document.value()
    return TenantView(
        name=name,
        weight=value.weight,
        description=value.description,
        version=0 if document is None else document.version,
        changed_at=None if document is None else rfc3339(document.changed_at_ms),
        changed_by=None if document is None else document.changed_by,
    )


def _answer(
    request: web.Request, name: str, document: Document | None, headers: dict[str, str]
) -> web.Response:
    view = _view(name, document)
    return answer(request, view, headers={**headers, **etag(view.version)})
