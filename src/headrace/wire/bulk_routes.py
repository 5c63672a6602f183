"""The routes of acts on many jobs, and their shapes."""

from typing import Final, Literal

import msgspec

from headrace.wire.document_routes import PAGE
from headrace.wire.documents import BulkState
from headrace.wire.problems import ProblemCode as P
from headrace.wire.route import COMMITS, WHO, Route
from headrace.wire.schema import JobFilter, Request

BulkWord = Literal["cancel", "suspend", "resume", "delete", "retry"]


class BulkRequest(Request, kw_only=True):
    """An act on all jobs that match, of those that were submitted before."""

    act: BulkWord
    filter: JobFilter
    """Without `status`: those that the act can be done to."""
    dry_run: bool = False
    """Only count."""


class BulkView(msgspec.Struct, kw_only=True):
    """An act on many jobs, and how far it is."""

    id: str
    act: str
    filter: JobFilter
    dry_run: bool
    state: BulkState
    tenant_id: str
    owner: str
    examined: int
    """Jobs that were looked at."""
    matched: int
    done: int
    skipped: int
    """Jobs that matched and were left as they are."""
    reasons: dict[str, int]
    """Why, by the code of the problem; `changed`: it does no longer match."""
    started_at: str | None
    finished_at: str | None


class BulksAnswer(msgspec.Struct, kw_only=True):
    bulks: list[BulkView]
    count: int
    next: str | None = None
    """For after; null at the end."""


BULK_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="jobs_bulk",
        method="POST",
        path="/api/v1/jobs/bulk",
        summary="Cancel, suspend, resume, delete or retry all jobs that match, step by step",
        tag="bulk",
        params=WHO,
        body=BulkRequest,
        answer=BulkView,
        status=202,
        problems=(P.FORBIDDEN, P.DOCUMENTS_TOO_MANY, *COMMITS),
    ),
    Route(
        name="bulks_list",
        method="GET",
        path="/api/v1/bulk",
        summary="Acts on many jobs, oldest first: the caller's, or as an admin the tenant's",
        tag="bulk",
        params=(*WHO, *PAGE),
        answer=BulksAnswer,
    ),
    Route(
        name="bulk_get",
        method="GET",
        path="/api/v1/bulk/{id}",
        summary="How far an act on many jobs is",
        tag="bulk",
        params=WHO,
        answer=BulkView,
        problems=(P.DOCUMENT_UNKNOWN,),
    ),
    Route(
        name="bulk_cancel",
        method="POST",
        path="/api/v1/bulk/{id}/cancel",
        summary="End an act on many jobs where it is; what is done stays done",
        tag="bulk",
        params=WHO,
        answer=BulkView,
        problems=(P.DOCUMENT_UNKNOWN, *COMMITS),
    ),
)
