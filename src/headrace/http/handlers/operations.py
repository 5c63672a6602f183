"""What operators and their machines ask."""

import asyncio
from typing import Final

import msgspec
from aiohttp import web

from headrace.core.commands import Caller, Cleanup, Swept
from headrace.core.intake import span_ms
from headrace.core.job import Status
from headrace.core.stats import WINDOW_MS, SpanView
from headrace.docs import HOME, PAGES
from headrace.http.decode import decode, read_json
from headrace.http.encode import JSON, answer
from headrace.http.identity import caller
from headrace.http.meters import spans_of
from headrace.http.openapi import document
from headrace.http.pages import rendered
from headrace.http.site import Site, site_of
from headrace.http.views import plain
from headrace.runtime.sweeper import pause_s
from headrace.wire import limits
from headrace.wire.document_routes import CleanupAnswer, CleanupRequest
from headrace.wire.durations import seconds
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.routes import HealthAnswer, Ok, ReadyAnswer
from headrace.wire.stats import (
    JobFigures,
    QueueFigures,
    RecentFigures,
    SpanFigures,
    StatsAnswer,
)

STUCK_MS: Final = 10_000
"""A commit in flight for this long means that commits do not get through."""
CLEANUP_S_MAX: Final = 20.0
"""A longer cleanup is answered in between, so that no client gives up on it."""
_cleanup_decoder: Final = msgspec.json.Decoder(CleanupRequest)


async def health(request: web.Request) -> web.Response:
    site = site_of(request)
    healthy = not site.pump.failed
    found = HealthAnswer(
        status="healthy" if healthy else "unhealthy", time=site.clock.wall_ms() // 1000
    )
    return answer(request, found, status=200 if healthy else 503)


async def livez(request: web.Request) -> web.Response:
    return answer(request, Ok())


async def readyz(request: web.Request) -> web.Response:
    site = site_of(request)
    reason = _not_ready(site)
    found = ReadyAnswer(
        status="ready" if reason is None else "not_ready",
        reason=reason,
        commit_position=str(site.pump.position),
        last_commit_age=seconds(site.pump.last_commit_age_ms),
    )
    return answer(request, found, status=200 if reason is None else 503)


def _not_ready(site: Site) -> str | None:
    if site.pump.failed:
        return "a commit failed; the server stops"
    if site.draining:
        return "the server is stopping"
    if site.pump.write_age_ms > STUCK_MS:
        return "the disk does not finish a commit"
    return None


async def cleanup(request: web.Request) -> web.Response:
    site, who = site_of(request), caller(request)
    asked = decode(_cleanup_decoder, await read_json(request))
    older_than_ms = span_ms(asked.older_than, "/older_than", limits.OPERATOR_SPAN_MS_MAX)
    found = await clean_up(site, who, older_than_ms, CLEANUP_S_MAX)
    return answer(request, found, headers=site.committed())


async def clean_up(site: Site, who: Caller, older_than_ms: int, most_s: float) -> CleanupAnswer:
    """Delete finished jobs that ended so long ago, step by step, for at most so long."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + most_s
    deleted, next_id = 0, b""
    while True:
        swept: Swept = await site.pump.ask(Cleanup(who, older_than_ms, next_id))
        deleted += swept.deleted
        if swept.next_id is None or loop.time() > until_s or site.draining:
            return CleanupAnswer(deleted=deleted, complete=swept.next_id is None)
        next_id = swept.next_id
        await asyncio.sleep(pause_s(swept))


async def stats(request: web.Request) -> web.Response:
    site = site_of(request)
    runtime, stored = site.pump.stats(), site.store.stats()
    engine = runtime.engine
    finished = engine.finished_total
    found = StatsAnswer(
        jobs=JobFigures(
            enqueued=engine.submitted_total,
            dequeued=engine.leased_total,
            completed=finished[Status.COMPLETED],
            failed=finished[Status.FAILED],
            timeout=finished[Status.TIMEOUT],
            cancelled=finished[Status.CANCELLED],
            skipped=finished[Status.SKIPPED],
            retried=engine.retried_total,
            crashed=engine.crashed_total,
            current_size=sum(engine.queued.values()),
            active_workers=runtime.workers_busy,
            average_wait=_average_s(engine.wait_ms_total, engine.leased_total),
            average_processing=_average_s(engine.run_ms_total, engine.run_count),
        ),
        recent=RecentFigures(
            window=seconds(WINDOW_MS), wait=_span(runtime.wait), processing=_span(runtime.run)
        ),
        queues=[_queue(site, name) for name in site.meters.queues()],
        runtime=plain(runtime),
        store=plain(stored),
    )
    return answer(request, found)


def _average_s(total_ms: int, count: int) -> float:
    return total_ms / count / 1000 if count else 0.0


def _span(view: SpanView) -> SpanFigures:
    p50_ms, p90_ms, p99_ms = spans_of(view)
    return SpanFigures(
        count=view.count,
        average=view.average_ms / 1000,
        p50=p50_ms / 1000,
        p90=p90_ms / 1000,
        p99=p99_ms / 1000,
    )


def _queue(site: Site, name: str) -> QueueFigures:
    depth, running = site.pump.queue_counts(name)
    return QueueFigures(
        name=name, depth=depth, running=running, capacity=site.pump.queue_capacity(name)
    )


async def metrics(request: web.Request) -> web.Response:
    from headrace.http.metrics import CONTENT_TYPE, Metrics  # a start need not wait for them

    site = site_of(request)
    body = Metrics(site.node, site.meters).text()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


async def docs(request: web.Request) -> web.Response:
    name = request.match_info.get("page", HOME)
    if name not in PAGES:
        raise Problem(ProblemCode.ROUTE_UNKNOWN, "no page has this name; /docs lists them")
    body, policy = await asyncio.to_thread(rendered, name)
    return web.Response(
        body=body,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        },
    )


async def openapi(_request: web.Request) -> web.Response:
    return web.Response(body=await asyncio.to_thread(document), content_type=JSON)
