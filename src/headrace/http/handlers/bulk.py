"""Acts on many jobs: begun and told here, done by `runtime.bulk_runner`."""

from typing import Final

import msgspec
from aiohttp import web
from msgspec.structs import replace

from headrace.core.bulk_acts import ACTED_ON, BULK_ACTS, may_see
from headrace.core.commands import StartBulk, StopBulk
from headrace.core.documenting import unknown_document
from headrace.core.ids import id_text
from headrace.http.decode import decode, read_json
from headrace.http.documents import page_of
from headrace.http.encode import answer
from headrace.http.handlers import jobs
from headrace.http.identity import caller
from headrace.http.queries import in_body, job_query
from headrace.http.site import site_of
from headrace.wire.bulk_routes import BulkRequest, BulksAnswer, BulkView
from headrace.wire.documents import BulkDocument, Document, Kind
from headrace.wire.durations import rfc3339

_decoder: Final = msgspec.json.Decoder(BulkRequest)
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


async def jobs_bulk(request: web.Request) -> web.Response:
    site, who = site_of(request), caller(request)
    asked = decode(_decoder, await read_json(request))
    owner_id = jobs.owner_id(site, who, asked.filter.owner)
    query = job_query(asked.filter, who.tenant, owner_id, site.types_of_group, refuse=in_body)
    if query.statuses is None:
        query = replace(query, statuses=ACTED_ON[BULK_ACTS[asked.act]])
    assert query.statuses is not None
    value = BulkDocument(
        act=asked.act,
        filter=asked.filter,
        query=msgspec.Raw(_encode(query)),
        statuses=sorted(query.statuses),
        retrying_only=query.retrying_only,
        dry_run=asked.dry_run,
        tenant=who.tenant,
        user=who.user,
    )
    name = id_text(site.ids.make(site.clock.wall_ms()))
    document: Document = await site.pump.ask(StartBulk(who, name, value))
    site.node.bulk.begin(name)
    headers = {**site.committed(), "Location": f"/api/v1/bulk/{name}"}
    return answer(request, _view(document), status=202, headers=headers)


async def bulks_list(request: web.Request) -> web.Response:
    who = caller(request)
    known = site_of(request).store.documents.of(Kind.BULK)
    names = [name for name, document in known.items() if may_see(who, document.value())]
    page, following = page_of(request, names)
    views = [_view(known[name]) for name in page]
    return answer(request, BulksAnswer(bulks=views, count=len(views), next=following))


async def bulk_get(request: web.Request) -> web.Response:
    document = site_of(request).store.documents.get(Kind.BULK, request.match_info["id"])
    if document is None or not may_see(caller(request), document.value()):
        raise unknown_document()
    return answer(request, _view(document))


async def bulk_cancel(request: web.Request) -> web.Response:
    site = site_of(request)
    document: Document = await site.pump.ask(StopBulk(caller(request), request.match_info["id"]))
    return answer(request, _view(document), headers=site.committed())


def _view(document: Document) -> BulkView:
    value: BulkDocument = document.value()
    return BulkView(
        id=document.name,
        act=value.act,
        filter=value.filter,
        dry_run=value.dry_run,
        state=value.state,
        tenant_id=value.tenant,
        owner=value.user,
        examined=value.examined,
        matched=value.matched,
        done=value.done,
        skipped=sum(value.skipped.values()),
        reasons=value.skipped,
        started_at=rfc3339(value.started_at_ms),
        finished_at=rfc3339(value.finished_at_ms),
    )
