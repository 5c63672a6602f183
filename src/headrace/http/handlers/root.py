"""The root surface: the commands and functions of `/api/v1` in other shapes.

Nothing is decided here. A status is told by a word of few (`SHOWN`), so that a client that polls
until `completed`, `failed` or `cancelled` comes to an end whatever became of its job.
"""

from collections.abc import Coroutine
from typing import Any, Final

import msgspec
from aiohttp import web

from headrace.core.commands import Act
from headrace.core.ids import id_text
from headrace.core.job import STATUS_WORDS, TERMINAL, Status
from headrace.http.answers import Answer
from headrace.http.encode import answer, encoded
from headrace.http.handlers import job_types, jobs, submit
from headrace.http.hot import Asked, Look, Question, carry, look
from headrace.http.identity import caller
from headrace.http.queries import WASM_TYPE_WORD, number
from headrace.http.site import Site, path_job_id, site_of
from headrace.http.views import result_view, word
from headrace.runtime.listing import Turn
from headrace.store.contract import StoredJob
from headrace.wire import limits
from headrace.wire.document_routes import GroupView, TypeView
from headrace.wire.documents import Document, Kind
from headrace.wire.durations import instant_ms
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.root import (
    RootControlled,
    RootGroup,
    RootGroupAnswer,
    RootGroups,
    RootJob,
    RootJobAnswer,
    RootJobs,
    RootListed,
    RootRemoved,
    RootSubmitted,
    RootType,
    RootTypeAnswer,
    RootTypes,
    StatusWord,
)
from headrace.wire.schema import JobView, Spec, Submitted

_S = Status

SHOWN: Final[dict[Status, StatusWord]] = {
    _S.INITIALIZING: "queued",
    _S.SCHEDULED: "queued",
    _S.QUEUED: "queued",
    _S.RESUMING: "queued",
    _S.LOCKED: "running",
    _S.RUNNING: "running",
    _S.SUSPENDING: "running",
    _S.CANCELING: "running",
    _S.SUSPENDED: "suspended",
    _S.COMPLETED: "completed",
    _S.FAILED: "failed",
    _S.TIMEOUT: "failed",
    _S.CANCELLED: "cancelled",
    _S.SKIPPED: "cancelled",
}
assert SHOWN.keys() == set(Status)

FILTERS: Final[dict[str, frozenset[Status]]] = {
    **STATUS_WORDS,
    **{
        shown: frozenset(status for status, told in SHOWN.items() if told == shown)
        for shown in SHOWN.values()
    },
}
"""As on `/api/v1`, but that a word that is shown finds all that is shown by it."""

_STATUS_OF: Final = {word(status): status for status in Status}
_CONFLICT_STATUS: Final = 400
"""Of a DELETE that comes too late; its clients know no 409."""

_submitted_decode: Final = msgspec.json.Decoder(Submitted).decode


# Submit -----------------------------------------------------------------------------------------


async def root_submit(request: web.Request) -> web.Response:
    done = await carry(_submit_one, request, accept=None)
    one = _submitted_decode(done.body)
    told = RootSubmitted(
        success=True,
        job_id=one.job_id,
        status=SHOWN[_STATUS_OF[one.status]],
        replayed=one.replayed,
        warning=one.warning,
    )
    headers = {name: text for name, text in done.headers.items() if name != "Content-Type"}
    return answer(request, told, status=202, headers=headers)


def _submit_one(site: Site, asked: Asked) -> Question | Look | Coroutine[Any, Any, Answer]:
    if asked.body.lstrip(b" \t\r\n").startswith(b"["):
        raise Problem(
            ProblemCode.BODY_MALFORMED, "a job is an object; POST /api/v1/jobs takes arrays of them"
        )
    return submit.submit(site, asked)


# Look -------------------------------------------------------------------------------------------


async def root_list(request: web.Request) -> web.Response:
    turn = Turn()
    page, cursor = await jobs.find(request, FILTERS, turn)
    site, tenant = site_of(request), caller(request).tenant

    def show(some: list[StoredJob]) -> list[RootListed]:
        return list(map(_listed, some, site.views(some, tenant)))

    found = await jobs.shown(page, show, turn)
    return answer(request, RootJobs(success=True, jobs=found, count=len(found), next=cursor))


async def root_get(request: web.Request) -> web.Response:
    site, asked = site_of(request), jobs.asked_of(request)

    def told(found: tuple[StoredJob, Spec]) -> Answer:
        stored, spec = found
        [view] = site.views([stored], spec.tenant)
        shown = RootJob(
            **msgspec.structs.asdict(_listed(stored, view)), result=result_view(stored).result
        )
        return encoded(RootJobAnswer(success=True, job=shown), asked.accept, {})

    return (await look(site, Look(asked.caller, asked.job_id, asked.wait_ms, told))).response()


def _listed(stored: StoredJob, view: JobView) -> RootListed:
    created_at = _second(view.created_at)
    scheduled_at = _second(view.scheduled_at)
    return RootListed(
        id=view.id,
        job_id=view.id,
        type=view.type or WASM_TYPE_WORD,
        name=view.name,
        status=SHOWN[stored.status],
        state=view.status,
        progress=view.progress,
        progress_details=view.progress_details,
        details=(stored.finished.code or None) if stored.finished is not None else None,
        created_at=created_at,
        scheduled_at=created_at if scheduled_at is None else scheduled_at,
        eta=scheduled_at if stored.status is Status.SCHEDULED else None,
        started_at=_second(view.started_at),
        updated_at=_second(view.updated_at),
        completed_at=_second(view.finished_at),
        tenant_id=view.tenant_id,
        user_id=view.owner,
        idempotency_key=view.idempotency_key,
        locked_by=view.locked_by,
        queue=view.queue,
        priority=view.priority,
        tags=view.tags,
        timeout_sec=view.timeout,
        max_retries=view.max_retries,
        retry_delay_sec=view.retry_delay,
        retries=min(view.failures + view.crashes, max(view.attempt - 1, 0)),
        params=view.params,
        error=view.error,
    )


def _second(instant: str | None) -> int | None:
    return None if instant is None else instant_ms(instant) // 1000


# Control ----------------------------------------------------------------------------------------


async def root_delete(request: web.Request) -> web.Response:
    path = f"/jobs/{id_text(path_job_id(request))}"
    try:
        job_id, waited, headers = await jobs.control(request, Act.REMOVE)
    except Problem as problem:
        if problem.code is ProblemCode.JOB_STATE_CONFLICT:
            problem.extra |= {
                "status": _CONFLICT_STATUS,
                "error": "Can only cancel queued jobs",
                "cancel": f"{path}/cancel",
            }
            problem.detail += f"; POST {path}/cancel stops one that runs"
        raise
    told = RootRemoved(
        success=True,
        message="Job removed" if waited in TERMINAL else "Job cancelled",
        job_id=id_text(job_id),
    )
    return answer(request, told, headers=headers)


async def root_cancel(request: web.Request) -> web.Response:
    return await _controlled(request, Act.CANCEL)


async def root_suspend(request: web.Request) -> web.Response:
    return await _controlled(request, Act.SUSPEND)


async def root_resume(request: web.Request) -> web.Response:
    return await _controlled(request, Act.RESUME)


async def root_retry(request: web.Request) -> web.Response:
    return await _controlled(request, Act.RETRY)


async def _controlled(request: web.Request, act: Act) -> web.Response:
    job_id, status, headers = await jobs.control(request, act)
    told = RootControlled(
        success=True, job_id=id_text(job_id), status=SHOWN[status], state=word(status)
    )
    return answer(request, told, headers=headers)


# Types and groups -------------------------------------------------------------------------------


async def root_types(request: web.Request) -> web.Response:
    page, total = _page(request, Kind.TYPE)
    site = site_of(request)
    found = [_type(job_types.type_view(site, document)) for document in page]
    return answer(request, RootTypes(success=True, job_types=found, count=len(found), total=total))


async def root_type(request: web.Request) -> web.Response:
    document = job_types.known_document(request, Kind.TYPE)
    shown = _type(job_types.type_view(site_of(request), document))
    return answer(request, RootTypeAnswer(success=True, job_type=shown))


async def root_groups(request: web.Request) -> web.Response:
    page, total = _page(request, Kind.GROUP)
    found = [_group(job_types.group_view(document)) for document in page]
    return answer(
        request, RootGroups(success=True, job_groups=found, count=len(found), total=total)
    )


async def root_group(request: web.Request) -> web.Response:
    document = job_types.known_document(request, Kind.GROUP)
    shown = _group(job_types.group_view(document))
    return answer(request, RootGroupAnswer(success=True, job_group=shown))


def _page(request: web.Request, kind: Kind) -> tuple[list[Document], int]:
    """Return the documents of the page asked for, by name, and how many there are."""
    known = site_of(request).store.documents.of(kind)
    limit = number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT
    page = number(request, "page", 1, limits.DOCUMENTS_MAX) or 1
    names = sorted(known)[(page - 1) * limit : page * limit]
    return [known[name] for name in names], len(known)


def _type(view: TypeView) -> RootType:
    return RootType(
        id=view.id,
        type_id=view.id,
        name=view.name,
        group=view.group,
        queue=view.queue,
        description=view.description,
        timeout_sec=view.timeout,
        max_retries=view.max_retries,
        retry_delay_sec=view.retry_delay,
        suspendable=view.suspendable,
        params_schema=view.params_schema,
    )


def _group(view: GroupView) -> RootGroup:
    return RootGroup(id=view.id, name=view.id, queue=view.queue, description=view.description)
