"""Registered job types and their groups."""

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from headrace.core.documenting import unknown_document
from headrace.core.ids import ID_BYTES
from headrace.core.intake import new_job, priority_of, span_ms, submission
from headrace.core.params_schema import compile_schema
from headrace.http import documents
from headrace.http.decode import decode, read_json
from headrace.http.documents import etag, path_name
from headrace.http.encode import answer
from headrace.http.identity import caller
from headrace.http.site import Site, site_of
from headrace.wire import limits
from headrace.wire.document_routes import (
    GroupsAnswer,
    GroupSettings,
    GroupView,
    Removed,
    TypesAnswer,
    TypeSettings,
    TypeView,
)
from headrace.wire.documents import (
    KEEP_FOREVER,
    Document,
    GroupDocument,
    Kind,
    TypeDocument,
    body_of,
)
from headrace.wire.durations import NEVER, rfc3339, seconds
from headrace.wire.schema import ABSENT, SubmitJob

QUEUE_DEFAULT: Final = "default"
_NULL: Final = b"null"
_type_decoder: Final = msgspec.json.Decoder(TypeSettings)
_group_decoder: Final = msgspec.json.Decoder(GroupSettings)


# Types ------------------------------------------------------------------------------------------


async def job_types_list(request: web.Request) -> web.Response:
    site = site_of(request)
    known = site.store.documents.of(Kind.TYPE)
    names, following = documents.page_of(request, known)
    views = [type_view(site, known[name]) for name in names]
    return answer(request, TypesAnswer(job_types=views, count=len(views), next=following))


async def job_type_get(request: web.Request) -> web.Response:
    site = site_of(request)
    return _type_answer(request, known_document(request, Kind.TYPE), site, {})


async def job_type_put(request: web.Request) -> web.Response:
    site, name = site_of(request), path_name(request)
    asked = decode(_type_decoder, await read_json(request))
    value = _type_of(request, name, asked)
    if bytes(value.params_schema):
        await asyncio.to_thread(compile_schema, bytes(value.params_schema))
    document = await documents.put(request, Kind.TYPE, name, body_of(value))
    return _type_answer(request, document, site, site.committed())


async def job_type_delete(request: web.Request) -> web.Response:
    return await _delete(request, Kind.TYPE)


def _type_of(request: web.Request, name: str, asked: TypeSettings) -> TypeDocument:
    """Check settings as those of a job are: what a type gives must be good for a job."""
    new_job(
        SubmitJob(
            type=name,
            name=asked.name,
            timeout=asked.timeout,
            max_retries=asked.max_retries,
            retry_delay=asked.retry_delay,
            retry_backoff=asked.retry_backoff,
            priority=asked.priority,
            requirements=asked.requirements,
        ),
        bytes(ID_BYTES),
        submission(caller(request), 0),
    )
    schema = bytes(asked.params_schema)
    return TypeDocument(
        group=asked.group or "",
        name=asked.name or "",
        description=asked.description,
        timeout_ms=_ms(asked.timeout, "/timeout") or None,
        max_retries=asked.max_retries,
        retry_delay_ms=_ms(asked.retry_delay, "/retry_delay"),
        retry_backoff=asked.retry_backoff,
        priority=None if asked.priority is None else priority_of(asked.priority),
        requirements=asked.requirements,
        suspendable=asked.suspendable,
        params_schema=ABSENT if schema in (b"", _NULL) else asked.params_schema,
        retention_ms=KEEP_FOREVER
        if asked.retention == NEVER
        else _ms(asked.retention, "/retention"),
    )


def _ms(value: float | str | None, pointer: str) -> int | None:
    return (
        None if value in (None, "") else span_ms(value or 0, pointer, limits.OPERATOR_SPAN_MS_MAX)
    )


def type_view(site: Site, document: Document) -> TypeView:
    value: TypeDocument = document.value()
    group = site.store.documents.get(Kind.GROUP, value.group) if value.group else None
    queue = group.value().queue if group is not None else ""
    return TypeView(
        id=document.name,
        group=value.group or None,
        name=value.name or document.name,
        description=value.description,
        queue=queue or QUEUE_DEFAULT,
        timeout=_seconds(value.timeout_ms),
        max_retries=value.max_retries,
        retry_delay=_seconds(value.retry_delay_ms),
        retry_backoff=value.retry_backoff,
        priority=value.priority,
        requirements=value.requirements,
        suspendable=value.suspendable,
        params_schema=value.params_schema if bytes(value.params_schema) else None,
        retention=NEVER if value.retention_ms == KEEP_FOREVER else _seconds(value.retention_ms),
        version=document.version,
        changed_at=rfc3339(document.changed_at_ms),
        changed_by=document.changed_by,
    )


def _seconds(ms: int | None) -> int | float | None:
    return None if ms is None else seconds(ms)


def _type_answer(
    request: web.Request, document: Document, site: Site, headers: dict[str, str]
) -> web.Response:
    view = type_view(site, document)
    return answer(request, view, headers={**headers, **etag(document.version)})


# Groups -----------------------------------------------------------------------------------------


async def job_groups_list(request: web.Request) -> web.Response:
    known = site_of(request).store.documents.of(Kind.GROUP)
    names, following = documents.page_of(request, known)
    views = [group_view(known[name]) for name in names]
    return answer(request, GroupsAnswer(job_groups=views, count=len(views), next=following))


async def job_group_get(request: web.Request) -> web.Response:
    document = known_document(request, Kind.GROUP)
    return answer(request, group_view(document), headers=etag(document.version))


async def job_group_put(request: web.Request) -> web.Response:
    site, name = site_of(request), path_name(request)
    asked = decode(_group_decoder, await read_json(request))
    new_job(
        SubmitJob(type=name, queue=asked.queue), bytes(ID_BYTES), submission(caller(request), 0)
    )
    value = GroupDocument(queue=asked.queue or "", description=asked.description)
    document = await documents.put(request, Kind.GROUP, name, body_of(value))
    headers = {**site.committed(), **etag(document.version)}
    return answer(request, group_view(document), headers=headers)


async def job_group_delete(request: web.Request) -> web.Response:
    return await _delete(request, Kind.GROUP)


def group_view(document: Document) -> GroupView:
    value: GroupDocument = document.value()
    return GroupView(
        id=document.name,
        queue=value.queue or QUEUE_DEFAULT,
        description=value.description,
        version=document.version,
        changed_at=rfc3339(document.changed_at_ms),
        changed_by=document.changed_by,
    )


# Both -------------------------------------------------------------------------------------------


def known_document(request: web.Request, kind: Kind) -> Document:
    document = site_of(request).store.documents.get(kind, path_name(request))
    if document is None:
        raise unknown_document()
    return document


async def _delete(request: web.Request, kind: Kind) -> web.Response:
    site, name = site_of(request), path_name(request)
    await documents.drop(request, kind, name)
    return answer(request, Removed(name=name), headers=site.committed())
