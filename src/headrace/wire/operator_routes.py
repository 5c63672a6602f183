"""The routes of workers as operators see them, and the shapes of what they answer."""

from typing import Final, Literal

import msgspec

from headrace.wire.keys import Scope
from headrace.wire.problems import ProblemCode as P
from headrace.wire.route import COMMITS, WHO, Param, Route
from headrace.wire.schema import Duration, Resources, Serve


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


class DemandSum(msgspec.Struct, kw_only=True):
    """Ready jobs, and what they ask for together."""

    jobs: int
    cpu_cores: float
    memory_mb: int
    storage_mb: int
    gpu_count: float


FitWord = Literal["busy", "never", "unknown", "held_back"]


class ClassDemandView(msgspec.Struct, kw_only=True):
    """Ready jobs of equal requirements. Amounts are those of one job."""

    queue: str
    type: str
    """`wasm` for WASM jobs."""
    tenant_id: str | None
    """null: submitted without a key."""
    cpu_cores: float
    memory_mb: int
    storage_mb: int
    gpu_count: float
    gpu_type: list[str]
    """Alternatives; none: any."""
    labels: dict[str, str]
    ready: int
    first_wait: Duration
    """Seconds that the first in line waits."""
    fit: FitWord
    """busy: a known worker or an allowed shape fits them; never: none does; unknown: no worker is
    known; held_back: more workers would not help: a pause, a capacity or a limit holds them."""


class QueueDemandView(msgspec.Struct, kw_only=True):
    queue: str
    ready: int
    running: int
    capacity: int | None
    paused: bool
    wanted: int
    """Jobs that would run if there were workers for them."""


class DemandAnswer(msgspec.Struct, kw_only=True):
    """What ready jobs ask for that no worker is free to give."""

    value: int
    """Jobs that would run if there were workers for them: a number for autoscalers."""
    busy: DemandSum
    """Of those that known workers would fit; as all sums here, of what was looked at."""
    never: DemandSum
    """Of those that fit no known worker."""
    unknown: DemandSum
    held_back: DemandSum
    """More workers would not help these."""
    queues: list[QueueDemandView]
    classes: list[ClassDemandView]
    """Those with the most jobs."""
    classes_count: int
    truncated: bool
    """There are more classes than were looked at; all numbers are of those that were."""


TENANT: Final = Param("tenant", "Of the worker's key, where several tenants have such a worker")
_ADMIN: Final = (Scope.ADMIN,)

OPERATOR_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="demand",
        method="GET",
        path="/api/v1/demand",
        summary="What ready jobs ask for that no worker is free to give: for autoscalers",
        tag="operations",
        params=(
            *WHO,
            Param("queue", "Of this queue only"),
            Param("limit", "Classes shown: 1 to 1000, default 100", type="integer"),
        ),
        answer=DemandAnswer,
        problems=COMMITS,
    ),
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
