"""Every route, once: the router, the OpenAPI document and the SDK are made from this table."""

from typing import Any, Final, Literal

import msgspec

from headrace.wire import schema
from headrace.wire.bulk_routes import BULK_ROUTES
from headrace.wire.dashboard_routes import DASHBOARD_ROUTES
from headrace.wire.document_routes import DOCUMENT_ROUTES
from headrace.wire.event_views import EVENT_FILTERS, EVENT_PARAMS, FOR, LAST_ID, EventView
from headrace.wire.keys import Scope
from headrace.wire.operator_routes import OPERATOR_ROUTES
from headrace.wire.problems import ProblemCode as P
from headrace.wire.root import ROOT_ROUTES
from headrace.wire.route import (
    ALWAYS,
    COMMITS,
    CONTROLS,
    FILTERS,
    FULL,
    KEY,
    LIST_REFUSALS,
    MODULE_REFUSALS,
    OF_A_JOB,
    SUBMIT_REFUSALS,
    TRACE,
    WAIT,
    WHO,
    WITH_BODY,
    Method,
    Param,
    Route,
)
from headrace.wire.schema import Duration
from headrace.wire.stats import HistoryAnswer, Sample, StatsAnswer
from headrace.wire.webhook_routes import WEBHOOK_ROUTES

OF_A_LEASE: Final = (P.LEASE_UNKNOWN, P.LEASE_STALE, P.LEASE_ALREADY_REPORTED)

WORKERS: Final = (Scope.WORK,)
__all__ = ["ALWAYS", "COMMITS", "ROUTES", "WITH_BODY", "Param", "Route"]


# Answers that have no Struct elsewhere ----------------------------------------------------------


class StatusAnswer(msgspec.Struct, kw_only=True):
    job_id: str
    status: str


class LimitExplained(msgspec.Struct, kw_only=True):
    """A limit of `/api/v1/limits`, or the quota of a tenant."""

    name: str
    kind: Literal["limit", "tenant"]
    concurrency: int | None
    running: int
    starts: int | None
    """That there may be within `per` seconds; null: no limit."""
    per: int | float | None
    starts_left: int | None
    holds: bool
    """The job waits for it, among others."""


class QuotaExplained(msgspec.Struct, kw_only=True):
    """What a tenant has of what it may submit; null: no limit."""

    jobs: int
    """That have not ended."""
    jobs_max: int | None
    bytes: int
    """Of what was asked in them."""
    bytes_max: int | None


class ExplainAnswer(msgspec.Struct, kw_only=True):
    job_id: str
    status: str
    reasons: list[str]
    """Most telling first; empty when it does not wait."""
    causes: list[dict[str, Any]]
    """The same for programs: each with `code` and `detail`, and what the sentence names."""
    workers_known: int
    workers_fit: int
    queue_capacity: int | None
    queue_running: int
    position_min: int | None
    """At least so many jobs go before it; null: it does not stand in line."""
    position_max: int | None
    """At most so many."""
    limits: list[LimitExplained]
    """Limits that it counts for."""
    quota: QuotaExplained | None
    """Of its tenant; null where none is set. It refuses submits, and holds no job back."""


class ProgressView(msgspec.Struct, kw_only=True):
    at: str | None
    attempt: int
    progress: float
    details: str | None


class AttemptView(msgspec.Struct, kw_only=True):
    """One delivery of a job to a worker."""

    attempt: int
    outcome: str
    """`running`, `completed`, `failed`, `timeout`, `cancelled`; of one after which the job went
    on: `retry` (it failed), `lapse` (its worker was not heard of), `release`, `snooze`,
    `checkpoint`."""
    worker: str | None
    started_at: str | None
    ended_at: str | None
    error: str | None
    code: str | None


class AttemptsAnswer(msgspec.Struct, kw_only=True):
    job_id: str
    status: str
    attempts: list[AttemptView]
    """Oldest first: the latest 100 that ended otherwise than well, and the last one."""


class ProgressAnswer(msgspec.Struct, kw_only=True):
    job_id: str
    status: str
    attempt: int
    progress: float
    details: str | None
    eta: str | None
    history: list[ProgressView]
    """Oldest first, of all attempts; what was said within a second of another is left out."""


class ModuleAnswer(msgspec.Struct, kw_only=True):
    sha256: str
    size_bytes: int
    created: bool
    """False: it was there before."""


class LeaseAnswer(msgspec.Struct, kw_only=True, omit_defaults=True):
    lease: str
    ok: bool
    status: str | None = None
    control: list[schema.Order] = []
    """What the worker shall do about the lease."""


class HealthAnswer(msgspec.Struct, kw_only=True):
    status: Literal["healthy", "unhealthy"]
    time: int
    """Seconds since 1970."""


class ReadyAnswer(msgspec.Struct, kw_only=True):
    status: Literal["ready", "not_ready"]
    reason: str | None
    commit_position: str
    last_commit_age: Duration
    """Seconds."""


class Ok(msgspec.Struct, kw_only=True):
    status: Literal["ok"] = "ok"


Anything = dict[str, Any]


def _with_head(name: str) -> tuple[tuple[str, Method], ...]:
    """Balancers often ask with HEAD."""
    return (name, "GET"), (f"{name}_head", "HEAD")


ROUTES: Final[tuple[Route, ...]] = (
    # Jobs
    Route(
        name="jobs_submit",
        method="POST",
        path="/api/v1/jobs",
        summary="Submit one job, or an array of jobs: all are taken or none. Durable when answered",
        tag="jobs",
        params=(*WHO, KEY, *TRACE),
        body=schema.SubmitJob | list[schema.SubmitJob],
        answer=schema.Submitted | list[schema.Submitted],
        problems=SUBMIT_REFUSALS,
    ),
    Route(
        name="jobs_list",
        method="GET",
        path="/api/v1/jobs",
        summary="List jobs: the caller's own, or as an admin those of the tenant",
        tag="jobs",
        params=(*WHO, *FILTERS),
        answer=schema.JobsAnswer,
        problems=LIST_REFUSALS,
    ),
    Route(
        name="job_get",
        method="GET",
        path="/api/v1/jobs/{id}",
        summary="A job and its result",
        tag="jobs",
        params=(*WHO, *WAIT),
        answer=schema.JobAnswer,
        problems=OF_A_JOB,
    ),
    Route(
        name="job_delete",
        method="DELETE",
        path="/api/v1/jobs/{id}",
        summary="Remove a finished job's record",
        tag="jobs",
        params=WHO,
        answer=StatusAnswer,
        problems=(*OF_A_JOB, P.JOB_STATE_CONFLICT, *COMMITS),
    ),
    *(
        Route(
            name=f"job_{act}",
            method="POST",
            path=f"/api/v1/jobs/{{id}}/{act}",
            summary=summary,
            tag="jobs",
            params=(*WHO, *params),
            answer=StatusAnswer,
            problems=(*OF_A_JOB, P.JOB_STATE_CONFLICT, *FULL, *COMMITS),
        )
        for act, summary, params in CONTROLS
    ),
    Route(
        name="job_result",
        method="GET",
        path="/api/v1/jobs/{id}/result",
        summary="How a job ended",
        tag="jobs",
        params=(*WHO, *WAIT),
        answer=schema.ResultView,
        problems=(*OF_A_JOB, P.JOB_NOT_FINISHED),
    ),
    Route(
        name="job_logs",
        method="GET",
        path="/api/v1/jobs/{id}/logs",
        summary="A job's log; with follow as it grows, until the job has ended",
        tag="jobs",
        params=(
            *WHO,
            Param("follow", "1: stream; as events where text/event-stream is accepted", "boolean"),
            Param("tail", "Only the last lines", type="integer"),
            Param("Accept", "text/event-stream: events named log, then end", place="header"),
            *LAST_ID,
            FOR,
        ),
        answer_media="text/plain",
        problems=(*OF_A_JOB, P.STREAMS_TOO_MANY),
    ),
    Route(
        name="job_progress",
        method="GET",
        path="/api/v1/jobs/{id}/progress",
        summary="How far a job is, and the latest reports of its progress, one a second at most",
        tag="jobs",
        params=WHO,
        answer=ProgressAnswer,
        problems=OF_A_JOB,
    ),
    Route(
        name="job_attempts",
        method="GET",
        path="/api/v1/jobs/{id}/attempts",
        summary="By which workers a job was tried, when, and how each attempt ended",
        tag="jobs",
        params=WHO,
        answer=AttemptsAnswer,
        problems=OF_A_JOB,
    ),
    Route(
        name="job_events",
        method="GET",
        path="/api/v1/jobs/{id}/events",
        summary="What happens to a job, as it happens; ends with the job",
        tag="jobs",
        params=EVENT_PARAMS,
        answer=EventView,
        answer_media="text/event-stream",
        problems=(*OF_A_JOB, P.STREAMS_TOO_MANY),
    ),
    Route(
        name="events",
        method="GET",
        path="/api/v1/events",
        summary="What happens to the caller's jobs, as it happens; to an admin, to the tenant's",
        tag="jobs",
        params=(*EVENT_PARAMS, *EVENT_FILTERS),
        answer=EventView,
        answer_media="text/event-stream",
        problems=(P.FORBIDDEN, P.STREAMS_TOO_MANY),
    ),
    Route(
        name="job_explain",
        method="GET",
        path="/api/v1/jobs/{id}/explain",
        summary="Why a job waits",
        tag="jobs",
        params=WHO,
        answer=ExplainAnswer,
        problems=(*OF_A_JOB, *COMMITS),
    ),
    *BULK_ROUTES,
    *ROOT_ROUTES,
    # Modules
    Route(
        name="module_put",
        method="PUT",
        path="/api/v1/modules/{sha256}",
        summary="Store a WASM module under the sha256 of its bytes",
        tag="modules",
        body=bytes,
        body_media="application/wasm",
        answer=ModuleAnswer,
        problems=(*MODULE_REFUSALS, P.MODULE_UNKNOWN, *COMMITS),
    ),
    Route(
        name="module_get",
        method="GET",
        path="/api/v1/modules/{sha256}",
        summary="The bytes of a module",
        tag="modules",
        answer_media="application/wasm",
        scopes=(Scope.READ, Scope.WORK),
        problems=(P.MODULE_UNKNOWN, P.RECORD_CORRUPT),
    ),
    Route(
        name="module_head",
        method="HEAD",
        path="/api/v1/modules/{sha256}",
        summary="Whether a module is stored",
        tag="modules",
        answer_media="application/wasm",
        scopes=(Scope.READ, Scope.WORK),
        problems=(P.MODULE_UNKNOWN, P.RECORD_CORRUPT),
    ),
    # Workers
    Route(
        name="work_poll",
        method="POST",
        path="/api/v1/work/poll",
        summary="All a worker says and hears: reports, heartbeats, orders, and new jobs",
        tag="workers",
        body=schema.PollRequest,
        answer=schema.PollAnswer,
        scopes=WORKERS,
        problems=COMMITS,
    ),
    *(
        Route(
            name=f"lease_{act}",
            method="POST",
            path=f"/api/v1/leases/{{lease}}/{act}",
            summary=summary,
            tag="workers",
            body=body,
            answer=LeaseAnswer,
            scopes=WORKERS,
            problems=(*OF_A_LEASE, *COMMITS),
        )
        for act, summary, body in (
            ("complete", "The attempt succeeded", schema.LeaseReport),
            ("fail", "The attempt failed", schema.LeaseReport),
            ("release", "Give the job back; with retry_delay for a later time", schema.LeaseReport),
            ("progress", "News of the attempt, and its heartbeat", schema.LeaseProgress),
        )
    ),
    *OPERATOR_ROUTES,
    *DOCUMENT_ROUTES,
    *WEBHOOK_ROUTES,
    # Operations
    Route(
        name="stats",
        method="GET",
        path="/api/v1/stats",
        summary="How many jobs came, ran and ended, how long they took, and what the server is at",
        tag="operations",
        answer=StatsAnswer,
    ),
    Route(
        name="stats_history",
        method="GET",
        path="/api/v1/stats/history",
        summary="Rates, depths, waits and run times of the last hour, every two seconds",
        tag="operations",
        answer=HistoryAnswer,
    ),
    Route(
        name="stats_events",
        method="GET",
        path="/api/v1/stats/events",
        summary="The latest sample of the history, then each new one, as server-sent events",
        tag="operations",
        params=(FOR,),
        answer=Sample,
        answer_media="text/event-stream",
        problems=(P.STREAMS_TOO_MANY,),
    ),
    *(
        Route(
            name=name,
            method=method,
            path=path,
            summary=summary,
            tag="operations",
            answer=answer,
            public=True,
        )
        for base, path, summary, answer in (
            ("health", "/health", "Whether the server can do its work", HealthAnswer),
            ("livez", "/livez", "Whether the process answers", Ok),
            ("readyz", "/readyz", "Whether commits get through; 503 while it stops", ReadyAnswer),
        )
        for name, method in _with_head(base)
    ),
    Route(
        name="metrics",
        method="GET",
        path="/metrics",
        summary="Metrics for Prometheus",
        tag="operations",
        answer_media="text/plain",
    ),
    Route(
        name="openapi",
        method="GET",
        path="/openapi.json",
        summary="This document",
        tag="operations",
        public=True,
        answer=Anything,
    ),
    Route(
        name="docs",
        method="GET",
        path="/docs",
        summary="Pages for people: the first of them",
        tag="operations",
        public=True,
        answer_media="text/html",
    ),
    Route(
        name="docs_page",
        method="GET",
        path="/docs/{page}",
        summary="One of the pages for people; this document is `api`",
        tag="operations",
        public=True,
        answer_media="text/html",
        problems=(P.ROUTE_UNKNOWN,),
    ),
    *DASHBOARD_ROUTES,
)

assert len({route.name for route in ROUTES}) == len(ROUTES), "names are unique"
assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
