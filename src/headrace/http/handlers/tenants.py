"""Tenants: their settings."""

from typing import Any, Final

import msgspec
from aiohttp import web

from headrace.core.commands import TENANT_DEFAULT
from headrace.core.documenting import unknown_document
from headrace.core.intake import milli
from headrace.http import documents
from headrace.http.decode import decode, read_json
from headrace.http.documents import etag, path_name
from headrace.http.encode import answer
from headrace.http.identity import EVERY_TENANT
from headrace.http.site import Site, site_of
from headrace.wire import documents as documents_of
from headrace.wire import limits
from headrace.wire.document_routes import (
    Removed,
    ResourcesMax,
    Running,
    RunningMax,
    TenantsAnswer,
    TenantSettings,
    TenantView,
)
from headrace.wire.documents import Document, Kind, TenantDocument, body_of
from headrace.wire.durations import rfc3339

_decoder: Final = msgspec.json.Decoder(TenantSettings)


async def tenants_list(request: web.Request) -> web.Response:
    site = site_of(request)
    known = {TENANT_DEFAULT, *site.store.documents.of(Kind.TENANT), *site.pump.tenants_used()}
    names, following = documents.page_of(request, known)
    views = [_view(site, name, site.store.documents.get(Kind.TENANT, name)) for name in names]
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
    value = TenantDocument(
        weight=asked.weight,
        jobs_max=asked.jobs_max,
        bytes_max=asked.bytes_max,
        running_max=_most(asked.running_max, "/running_max"),
        job_max=_most(asked.job_max, "/job_max"),
        description=asked.description,
    )
    document = await documents.put(request, Kind.TENANT, name, body_of(value))
    return _answer(request, name, document, site.committed())


def _most(asked: ResourcesMax | None, pointer: str) -> documents_of.RunningMax | None:
    """Return limits in whole units, rounded down; None if there are none."""
    if asked is None:
        return None
    cores, gpus = asked.cpu_cores, asked.gpu_count
    most = documents_of.RunningMax(
        jobs=asked.jobs if isinstance(asked, RunningMax) else None,
        cpu_milli=None
        if cores is None
        else milli(cores, f"{pointer}/cpu_cores", limits.CPU_MILLI_MAX, up=False),
        memory_mb=asked.memory_mb,
        storage_mb=asked.storage_mb,
        gpu_milli=None
        if gpus is None
        else milli(gpus, f"{pointer}/gpu_count", limits.GPU_MILLI_MAX, up=False),
    )
    return None if most == documents_of.RunningMax() else most


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
    return name == TENANT_DEFAULT or name in site.pump.tenants_used()


def _view(site: Site, name: str, document: Document | None) -> TenantView:
    value: TenantDocument = TenantDocument() if document is None else document.value()
    found = site.pump.limit_state(Kind.TENANT, name)
    running = Running()
    if found is not None:
        state, used = found
        running = Running(
            jobs=state.running,
            cpu_cores=used.cpu_milli / 1000,
            memory_mb=used.memory_mb,
            storage_mb=used.storage_mb,
            gpu_count=used.gpu_milli / 1000,
        )
    return TenantView(
        name=name,
        weight=value.weight,
        jobs_max=value.jobs_max,
        bytes_max=value.bytes_max,
        running_max=None
        if value.running_max is None
        else RunningMax(jobs=value.running_max.jobs, **_amounts(value.running_max)),
        job_max=None if value.job_max is None else ResourcesMax(**_amounts(value.job_max)),
        description=value.description,
        jobs=site.pump.tenant_jobs(name),
        bytes=site.pump.tenant_bytes(name),
        depth=site.pump.tenant_depth(name),
        running=running,
        version=0 if document is None else document.version,
        changed_at=None if document is None else rfc3339(document.changed_at_ms),
        changed_by=None if document is None else document.changed_by,
    )


def _amounts(most: documents_of.RunningMax) -> dict[str, Any]:
    """Return limits as they travel."""
    return {
        "cpu_cores": None if most.cpu_milli is None else most.cpu_milli / 1000,
        "memory_mb": most.memory_mb,
        "storage_mb": most.storage_mb,
        "gpu_count": None if most.gpu_milli is None else most.gpu_milli / 1000,
    }


def _answer(
    request: web.Request, name: str, document: Document | None, headers: dict[str, str]
) -> web.Response:
    view = _view(site_of(request), name, document)
    return answer(request, view, headers={**headers, **etag(view.version)})
