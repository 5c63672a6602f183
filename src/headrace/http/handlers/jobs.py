"""Jobs as their owners see and control them."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec.structs import replace

from headrace.core.commands import (
    Act,
    Caller,
    Control,
    Explain,
    Explanation,
    LimitState,
    QuotaState,
)
from headrace.core.ids import id_text
from headrace.core.job import STATUS_WORDS, Status
from headrace.http import queries
from headrace.http.answers import Answer
from headrace.http.cursors import cursor_text
from headrace.http.encode import answer, encoded
from headrace.http.hot import Asked, Look, look
from headrace.http.identity import caller
from headrace.http.site import Site, path_job_id, site_of
from headrace.http.views import attempt_views, job_texts, result_view, word
from headrace.runtime.listing import NOBODY, Turn, page_of
from headrace.store.contract import OrderTooWide, Page, StoredJob
from headrace.wire import limits
from headrace.wire.documents import Kind
from headrace.wire.durations import rfc3339, seconds
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.routes import (
    AttemptsAnswer,
    ExplainAnswer,
    LimitExplained,
    ProgressAnswer,
    ProgressView,
    QuotaExplained,
    StatusAnswer,
)
from headrace.wire.schema import JobAnswer, JobsAnswer, Spec

PAGE_MAX: Final = 999_999_999
SHOWN_AT_ONCE: Final = 64
"""Between two looks at the clock."""

T = TypeVar("T")


# Lists ------------------------------------------------------------------------------------------


async def jobs_list(request: web.Request) -> web.Response:
    turn = Turn()
    page, cursor = await find(request, STATUS_WORDS, turn)
    site, tenant = site_of(request), caller(request).tenant

    def show(jobs: list[StoredJob]) -> list[msgspec.Raw]:
        return list(map(msgspec.Raw, job_texts(jobs, tenant, site.progress(jobs))))

    views: list[Any] = await shown(page, show, turn)
    return answer(request, JobsAnswer(jobs=views, count=len(views), next=cursor))


async def shown(page: Page, show: Callable[[list[StoredJob]], list[T]], turn: Turn) -> list[T]:
    """Return what a list shows of each job; all are of the caller's tenant."""
    views: list[T] = []
    for at in range(0, len(page.jobs), SHOWN_AT_ONCE):
        await turn.pause_if_over()
        views += show(page.jobs[at : at + SHOWN_AT_ONCE])
    return views


async def find(
    request: web.Request, words: Mapping[str, frozenset[Status]], turn: Turn
) -> tuple[Page, str | None]:
    """Return the jobs that a request asks for, and the cursor behind them.

    `words`: what each word of its status means.
    """
    site, who = site_of(request), caller(request)
    asked = queries.filter_of(request)
    query = queries.job_query(
        asked, who.tenant, owner_id(site, who, asked.owner), site.types_of_group, words
    )
    query = queries.list_query(request, query, who)
    number = queries.number(request, "page", 1, PAGE_MAX) or 1
    skip, examined = (number - 1) * query.limit, 0
    if skip > limits.LIST_SKIPPED_MAX:
        raise _too_far()
    try:
        while True:
            query = replace(query, skip=skip)
            page = await page_of(site.pump, site.store, query, turn)
            skip -= page.skipped
            examined += page.examined
            if not skip or page.next is None:
                break
            if examined > limits.LIST_SKIPPED_MAX:
                raise _too_far()
            query = replace(query, after=page.next)
    except OrderTooWide as wide:
        raise Problem(
            ProblemCode.LIST_TOO_WIDE,
            f"over {wide.examined} jobs would have to be looked at; narrow the list by status,"
            " owner, submitted_after or submitted_before, or order it by created_at,"
            " scheduled_at or finished_at",
        ) from None
    return page, None if page.next is None else cursor_text(page.next, who, query)


def owner_id(site: Site, who: Caller, owner: str | None) -> int | None:
    """Return whose jobs are asked for; None for the whole tenant's."""
    if owner is None or owner == "":
        if who.admin:
            return None
        owner = who.user
    if owner != who.user and not who.admin:
        raise Problem(ProblemCode.FORBIDDEN, "only an admin may name the jobs of others")
    return site.pump.owners.get((who.tenant, owner), NOBODY)


def _too_far() -> Problem:
    return queries.malformed("page is for the first pages; follow next with cursor instead")


# One job ----------------------------------------------------------------------------------------


async def job_get(request: web.Request) -> web.Response:
    site = site_of(request)
    return (await look(site, job(site, asked_of(request)))).response()


async def job_result(request: web.Request) -> web.Response:
    site = site_of(request)
    return (await look(site, result(site, asked_of(request)))).response()


def asked_of(request: web.Request) -> Asked:
    return Asked(
        caller(request),
        request.headers.get("Accept"),
        job_id=path_job_id(request),
        wait_ms=queries.wait_ms(request),
    )


def job(site: Site, asked: Asked) -> Look:
    def told(found: tuple[StoredJob, Spec]) -> Answer:
        stored, spec = found
        [view] = site.views([stored], spec.tenant)
        return encoded(JobAnswer(job=view, result=result_view(stored)), asked.accept, {})

    return Look(asked.caller, asked.job_id, asked.wait_ms, told)


def result(_site: Site, asked: Asked) -> Look:
    def told(found: tuple[StoredJob, Spec]) -> Answer:
        stored, _ = found
        if stored.finished is None:
            status = word(stored.status)
            raise Problem(
                ProblemCode.JOB_NOT_FINISHED,
                f"the job is {status}; wait=60s waits for its end",
                extra={"job_status": status},
            )
        return encoded(result_view(stored), asked.accept, {})

    return Look(asked.caller, asked.job_id, asked.wait_ms, told)


async def job_delete(request: web.Request) -> web.Response:
    return await _control(request, Act.DELETE)


async def job_cancel(request: web.Request) -> web.Response:
    return await _control(request, Act.CANCEL)


async def job_suspend(request: web.Request) -> web.Response:
    return await _control(request, Act.SUSPEND)


async def job_resume(request: web.Request) -> web.Response:
    return await _control(request, Act.RESUME)


async def job_retry(request: web.Request) -> web.Response:
    return await _control(request, Act.RETRY)


async def _control(request: web.Request, act: Act) -> web.Response:
    job_id, status, headers = await control(request, act)
    told = StatusAnswer(job_id=id_text(job_id), status=word(status))
    return answer(request, told, headers=headers)


async def control(request: web.Request, act: Act) -> tuple[bytes, Status, dict[str, str]]:
    """Return the job's id, the status that the engine replies, and headers for the answer."""
    site, job_id = site_of(request), path_job_id(request)
    force = act is Act.RETRY and queries.flag(request, "force")
    status: Status = await site.pump.ask(Control(caller(request), job_id, act, force))
    return job_id, status, site.committed()


def _quota(state: QuotaState | None) -> QuotaExplained | None:
    if state is None:
        return None
    return QuotaExplained(
        jobs=state.jobs, jobs_max=state.jobs_max, bytes=state.bytes, bytes_max=state.bytes_max
    )


def _limit(state: LimitState) -> LimitExplained:
    return LimitExplained(
        name=state.name,
        kind="tenant" if state.kind is Kind.TENANT else "limit",
        concurrency=state.concurrency,
        running=state.running,
        starts=state.starts,
        per=None if state.starts is None else seconds(state.per_ms),
        starts_left=state.starts_left,
        holds=state.holds,
    )


async def job_progress(request: web.Request) -> web.Response:
    site, job_id = site_of(request), path_job_id(request)
    stored, spec = site.read(caller(request), job_id)
    [view] = site.views([stored], spec.tenant)
    return answer(
        request,
        ProgressAnswer(
            job_id=view.id,
            status=view.status,
            attempt=view.attempt,
            progress=view.progress,
            details=view.progress_details,
            eta=view.eta,
            history=progress_kept(site, job_id),
        ),
    )


def progress_kept(site: Site, job_id: bytes) -> list[ProgressView]:
    """Return the reports of a job's progress, the oldest first."""
    return [
        ProgressView(
            at=rfc3339(one.at_ms),
            attempt=one.attempt,
            progress=one.progress,
            details=one.details or None,
        )
        for one in site.store.progress(job_id, limits.PROGRESS_KEPT, newest_first=False)
    ]


async def job_attempts(request: web.Request) -> web.Response:
    site, job_id = site_of(request), path_job_id(request)
    stored, _ = site.read(caller(request), job_id)
    views = attempt_views(stored, site.store.attempts(job_id))
    status = word(stored.status)
    return answer(request, AttemptsAnswer(job_id=id_text(job_id), status=status, attempts=views))


async def job_explain(request: web.Request) -> web.Response:
    site, job_id = site_of(request), path_job_id(request)
    found: Explanation = await site.pump.ask(Explain(caller(request), job_id))
    return answer(
        request,
        ExplainAnswer(
            job_id=id_text(job_id),
            status=word(found.status),
            reasons=found.reasons,
            causes=[cause.told() for cause in found.causes],
            workers_known=found.workers_known,
            workers_fit=found.workers_fit,
            queue_capacity=found.queue_capacity,
            queue_running=found.queue_running,
            position_min=found.position_min,
            position_max=found.position_max,
            limits=[_limit(state) for state in found.limits],
            quota=_quota(found.quota),
        ),
    )
