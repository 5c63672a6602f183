"""Limits on how many jobs of a type, a tenant or a tag run, and start."""

from typing import Final

import msgspec
from aiohttp import web

from headrace.core.intake import invalid, printable, span_ms
from headrace.http import documents
from headrace.http.decode import decode, read_json
from headrace.http.documents import etag, path_name
from headrace.http.encode import answer
from headrace.http.handlers.job_types import known_document
from headrace.http.site import Site, site_of
from headrace.wire import limits
from headrace.wire.document_routes import (
    LimitsAnswer,
    LimitSettings,
    LimitView,
    Rate,
    RateView,
    Removed,
)
from headrace.wire.documents import Document, Kind, LimitDocument, body_of
from headrace.wire.durations import rfc3339, seconds

SUBJECTS: Final = ("type", "tenant", "tag")
_decoder: Final = msgspec.json.Decoder(LimitSettings)


async def limits_list(request: web.Request) -> web.Response:
    site = site_of(request)
    known = site.store.documents.of(Kind.LIMIT)
    names, following = documents.page_of(request, known)
    views = [_view(site, known[name]) for name in names]
    return answer(request, LimitsAnswer(limits=views, count=len(views), next=following))


async def limit_get(request: web.Request) -> web.Response:
    document = known_document(request, Kind.LIMIT)
    view = _view(site_of(request), document)
    return answer(request, view, headers=etag(document.version))


async def limit_put(request: web.Request) -> web.Response:
    site, name = site_of(request), path_name(request)
    value = _value(decode(_decoder, await read_json(request)))
    document = await documents.put(request, Kind.LIMIT, name, body_of(value))
    headers = {**site.committed(), **etag(document.version)}
    return answer(request, _view(site, document), headers=headers)


async def limit_delete(request: web.Request) -> web.Response:
    site, name = site_of(request), path_name(request)
    await documents.drop(request, Kind.LIMIT, name)
    return answer(request, Removed(name=name), headers=site.committed())


def _value(asked: LimitSettings) -> LimitDocument:
    given = [what for what in SUBJECTS if getattr(asked, what) is not None]
    if len(given) != 1:
        raise invalid("it limits one thing: send type, tenant or tag, and only one", "")
    subject = printable(getattr(asked, given[0]), f"/{given[0]}")
    if asked.concurrency is None and asked.rate is None:
        raise invalid("it limits nothing: send concurrency, rate or both", "")
    return LimitDocument(
        **{given[0]: subject},
        concurrency=asked.concurrency,
        rate_starts=None if asked.rate is None else asked.rate.starts,
        rate_per_ms=0 if asked.rate is None else _per_ms(asked.rate),
        description=asked.description,
    )


def _per_ms(rate: Rate) -> int:
    return span_ms(rate.per, "/rate/per", limits.RATE_MS_MAX, limits.RATE_MS_MIN)


def _view(site: Site, document: Document) -> LimitView:
    value: LimitDocument = document.value()
    found = site.pump.limit_state(Kind.LIMIT, document.name)
    state = None if found is None else found[0]
    rate = None
    if value.rate_starts is not None:
        left = None if state is None else state.starts_left
        per = seconds(value.rate_per_ms)
        rate = RateView(starts=value.rate_starts, per=per, left=left or 0)
    return LimitView(
        name=document.name,
        type=value.type or None,
        tenant=value.tenant or None,
        tag=value.tag or None,
        concurrency=value.concurrency,
        rate=rate,
        description=value.description,
        running=0 if state is None else state.running,
        version=document.version,
        changed_at=rfc3339(document.changed_at_ms),
        changed_by=document.changed_by,
    )
