"""Queues: their settings, and how much waits and runs."""

import msgspec
from aiohttp import web
from msgspec.structs import replace

from headrace.core.documenting import queue_settings, unknown_document
from headrace.http import documents
from headrace.http.decode import decode, read_json
from headrace.http.documents import etag, path_name
from headrace.http.encode import answer
from headrace.http.identity import caller
from headrace.http.site import Site, site_of
from headrace.wire.document_routes import QueuesAnswer, QueueSettings, QueueView, Removed
from headrace.wire.documents import Document, Kind, QueueDocument, body_of
from headrace.wire.durations import rfc3339
from headrace.wire.problems import Problem, ProblemCode

DEFAULT = "default"
"""There is always this one."""
_decoder = msgspec.json.Decoder(QueueSettings)


async def queues_list(request: web.Request) -> web.Response:
    site = site_of(request)
    known = {
        DEFAULT,
        *site.config.queue_capacities,
        *site.store.documents.of(Kind.QUEUE),
        *site.pump.queues_used(),
    }
    names, following = documents.page_of(request, known)
    views = [_view(site, name) for name in names]
    return answer(request, QueuesAnswer(queues=views, count=len(views), next=following))


async def queue_get(request: web.Request) -> web.Response:
    site, name = site_of(request), path_name(request)
    _check_known(site, name)
    return _answer(request, _view(site, name))


async def queue_put(request: web.Request) -> web.Response:
    site, name = site_of(request), path_name(request)
    asked = decode(_decoder, await read_json(request))
    value = QueueDocument(
        capacity=asked.capacity,
        paused=asked.paused,
        backlog_max=asked.backlog_max,
        description=asked.description,
    )
    document = await documents.put(request, Kind.QUEUE, name, body_of(value))
    return _answer(request, _view(site, name, document), site.committed())


async def queue_delete(request: web.Request) -> web.Response:
    site, name = site_of(request), path_name(request)
    if site.store.documents.get(Kind.QUEUE, name) is None and _is_known(site, name):
        raise Problem(
            ProblemCode.DOCUMENT_IN_USE,
            "it has no settings of its own: it is in the configuration, or has jobs",
        )
    await documents.drop(request, Kind.QUEUE, name)
    return answer(request, Removed(name=name), headers=site.committed())


async def queue_pause(request: web.Request) -> web.Response:
    return await _pause(request, paused=True)


async def queue_resume(request: web.Request) -> web.Response:
    return await _pause(request, paused=False)


async def _pause(request: web.Request, *, paused: bool) -> web.Response:
    site, name = site_of(request), path_name(request)
    _check_known(site, name)

    def changed(known: Document | None) -> bytes:
        value = QueueDocument() if known is None else known.value()
        return body_of(replace(value, paused=paused))

    document = await documents.change(site, caller(request), Kind.QUEUE, name, changed)
    return _answer(request, _view(site, name, document), site.committed())


def _is_known(site: Site, name: str) -> bool:
    return (
        name == DEFAULT
        or name in site.config.queue_capacities
        or site.store.documents.get(Kind.QUEUE, name) is not None
        or site.pump.queue_has_jobs(name)
    )


def _check_known(site: Site, name: str) -> None:
    """A pause of a queue that nobody knows is a mistake in its name."""
    if not _is_known(site, name):
        raise unknown_document()


def _view(site: Site, name: str, document: Document | None = None) -> QueueView:
    """`document`: as it was put; else as it is."""
    if document is None:
        document = site.store.documents.get(Kind.QUEUE, name)
    settings = queue_settings(document, site.config.queue_capacities.get(name))
    depth, running = site.pump.queue_counts(name)
    return QueueView(
        name=name,
        capacity=settings.capacity,
        paused=settings.paused,
        backlog_max=settings.backlog_max,
        description=settings.description,
        backlog=site.pump.queue_backlog(name),
        depth=depth,
        running=running,
        version=0 if document is None else document.version,
        changed_at=None if document is None else rfc3339(document.changed_at_ms),
        changed_by=None if document is None else document.changed_by,
    )


def _answer(
    request: web.Request, view: QueueView, headers: dict[str, str] | None = None
) -> web.Response:
    return answer(request, view, headers={**(headers or {}), **etag(view.version)})
