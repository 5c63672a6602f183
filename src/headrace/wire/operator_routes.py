"""The routes of workers as operators see them, and the shapes of what they answer."""

from typing import Final, Literal

import msgspec

from headrace.wire.keys import Scope
from headrace.wire.problems import ProblemCode as P
from headrace.wire.route import COMMITS, WHO, Param, Route
from headrace.wire.schema import Resources, Serve


class WorkerLeaseView(msgspec.Struct, kw_only=True):
    """A job in a worker's hands."""

    job_id: str
    attempt: int
    progress: float
    progress_details: str | None
    started_at: str | None
    deadline: str | None


class WorkerView(msgspec.Struct, kw_only=True):
    """A worker that was heard of lately, or told to drain."""

    name: str
    tenant_id: str | None
    """Of its key; null: it takes jobs of all tenants."""
    status: Literal["active", "draining", "drained", "silent"]
    """draining: it gets no jobs and still holds some; drained: it holds none; silent: it was told
    to drain, and was not heard of lately."""
    order: Literal["drain", "quit"] | None
    ordered_at: str | None
    ordered_by: str | None
    serve: Serve | None
    """null, as all below: not known since the server started, or not heard of lately."""
    labels: dict[str, str] | None
    total: Resources | None
    """What it says that it has; else the most that it offered."""
    free: Resources | None
    """What it offered last, less what it was given since."""
    running: int
    """Jobs in its hands."""
    last_seen_at: str | None
    session: str | None
    """The last start of its process."""
    key_id: str | None
    """null: it came without a key."""


class WorkerDetail(WorkerView, kw_only=True):
    leases: list[WorkerLeaseView]
    """The first 1000."""


class WorkersAnswer(msgspec.Struct, kw_only=True):
    workers: list[WorkerView]
    count: int
    next: str | None = None
    """For cursor; null at the end."""


TENANT: Final = Param("tenant", "Of the worker's key, where several tenants have such a worker")
_ADMIN: Final = (Scope.ADMIN,)

OPERATOR_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="workers_list",
        method="GET",
        path="/api/v1/workers",
        summary="Workers heard of lately or told to drain: the tenant's, or those of all tenants",
        tag="workers",
        params=(
            *WHO,
            Param("limit", "1 to 1000, default 100", type="integer"),
            Param("cursor", "next of the page before"),
        ),
        answer=WorkersAnswer,
        scopes=_ADMIN,
        problems=(P.CURSOR_INVALID, *COMMITS),
    ),
    Route(
        name="worker_get",
        method="GET",
        path="/api/v1/workers/{name}",
        summary="A worker, and the jobs in its hands",
        tag="workers",
        params=(*WHO, TENANT),
        answer=WorkerDetail,
        scopes=_ADMIN,
        problems=(P.WORKER_UNKNOWN, *COMMITS),
    ),
    *(
        Route(
            name=f"worker_{name}",
            method="DELETE" if name == "undrain" else "POST",
            path=f"/api/v1/workers/{{name}}/{path}",
            summary=summary,
            tag="workers",
            params=(*WHO, TENANT),
            answer=WorkerView,
            scopes=_ADMIN,
            problems=(P.WORKER_UNKNOWN, P.FIELD_INVALID, P.DOCUMENTS_TOO_MANY, *COMMITS),
        )
        for name, path, summary in (
            ("drain", "drain", "Give a worker no more jobs; what runs goes on"),
            ("quit", "quit", "Give a worker no more jobs, and have its process end"),
            ("undrain", "drain", "Give a worker jobs again"),
        )
    ),
)
