"""Jobs as their owners see and control them."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web
from msgspec.structs import replace

from headrace.core.commands import Act, Caller, Control, Explain, Explanation, LimitState
from headrace.core.ids import id_text
from headrace.core.job import STATUS_WORDS, TERMINAL, Status
from headrace.http import queries
from headrace.http.answers import Answer
from headrace.http.cursors import cursor_text
from headrace.http.encode import answer, encoded
from headrace.http.hot import Asked, Look, look
from headrace.http.identity import caller
from headrace.http.site import Site, path_job_id, site_of
from headrace.http.views import job_view, result_view, spec_of, word
from headrace.store.contract import ListQuery, Page, StoredJob
from headrace.wire import limits
from headrace.wire.documents import Kind
from headrace.wire.durations import seconds
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.routes import ExplainAnswer, LimitExplained, StatusAnswer
from headrace.wire.schema import JobAnswer, JobsAnswer, Spec

_NOBODY: Final = -1
"""An owner id that no job has."""


# Lists ------------------------------------------------------------------------------------------


async def jobs_list(request: web.Request) -> web.Response:
    page, cursor = find(request, STATUS_WORDS)
    progress = site_of(request).pump.progress
    jobs = [job_view(stored, spec_of(stored), progress(stored.job_id)) for stored in page.jobs]
    return answer(request, JobsAnswer(jobs=jobs, count=len(jobs), next=cursor))


def find(request: web.Request, words: Mapping[str, frozenset[Status]]) -> tuple[Page, str | None]:
    """Return the jobs that a request asks for, and the cursor behind them.

    `words`: what each word of its status means.
    """
    site, who = site_of(request), caller(request)
    query = queries.list_query(request, who, _owner_id(request, site, who), words)
    number = queries.number(request, "page", 1, limits.LIST_EXAMINED_MAX)
    if number is not None and number > 1:
        rest = _skip(site, query, (number - 1) * query.limit)
        if rest is None:
            return Page([], None, 0), None
        query = rest
    page = _page(site, query)
    return page, None if page.next_id is None else cursor_text(page.next_id, who, query)


def _owner_id(request: web.Request, site: Site, who: Caller) -> int | None:
    """Return whose jobs are asked for; None for the whole tenant's."""
    owner = queries.one(request, "owner")
    if owner is None or owner == "":
        if who.admin:
            return None
        owner = who.user
    if owner != who.user and not who.admin:
        raise Problem(ProblemCode.FORBIDDEN, "only an admin may list the jobs of others")
    return site.pump.owners.get((who.tenant, owner), _NOBODY)


def _page(site: Site, query: ListQuery) -> Page:
    if query.owner_id == _NOBODY:
        return Page([], None, 0)
    if query.statuses is not None and not query.retrying_only and query.statuses - TERMINAL:
        query = replace(query, live_ids=site.pump.live_ids(query.statuses - TERMINAL))
    return site.store.list_jobs(query)


def _skip(site: Site, query: ListQuery, jobs: int) -> ListQuery | None:
    """Return the query for what follows after so many jobs; None if nothing does."""
    examined = 0
    if jobs > limits.LIST_EXAMINED_MAX:
        raise _too_far()
    while jobs:
        page = _page(site, replace(query, limit=min(jobs, limits.LIST_LIMIT_MAX)))
        jobs -= len(page.jobs)
        examined += page.examined
        if page.next_id is None:
            return None
        query = replace(query, after_id=page.next_id)
        if jobs and examined > limits.LIST_EXAMINED_MAX:
            raise _too_far()
    return query


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
        view = job_view(stored, spec, site.pump.progress(stored.job_id))
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


async def job_explain(request: web.Request) -> web.Response:
    site, job_id = site_of(request), path_job_id(request)
    found: Explanation = await site.pump.ask(Explain(caller(request), job_id))
    return answer(
        request,
        ExplainAnswer(
            job_id=id_text(job_id),
            status=word(found.status),
            reasons=found.reasons,
            workers_known=found.workers_known,
            workers_fit=found.workers_fit,
            queue_capacity=found.queue_capacity,
            queue_running=found.queue_running,
            ahead_in_class=found.ahead_in_class,
            limits=[_limit(state) for state in found.limits],
        ),
    )
