"""The root surface: routes and answers of `/jobs` and its neighbours, for clients that know it.

It takes the requests of `/api/v1`. Each answer says `success`; instants are whole seconds since
1970; a status is one of few words that all such clients know, and `state` is the exact one.
"""

from typing import Final, Literal

import msgspec

from headrace.wire.document_routes import CHANGES, CONDITIONS
from headrace.wire.problems import ProblemCode as P
from headrace.wire.route import (
    COMMITS,
    CONTROLS,
    FILTERS,
    FULL,
    KEY,
    LIST_REFUSALS,
    OF_A_JOB,
    SUBMIT_REFUSALS,
    TRACE,
    WAIT,
    WHO,
    Param,
    Route,
)
from headrace.wire.schema import ABSENT, SubmitJob
from headrace.wire.webhook_routes import NewWebhook

ROOT: Final = "root"
"""The tag of its routes."""
NAMES: Final = frozenset({"jobs", "job-types", "job-groups", "webhooks"})
"""First parts of its paths."""

StatusWord = Literal["queued", "running", "suspended", "completed", "failed", "cancelled"]


def is_root(path: str) -> bool:
    return path[1:].partition("/")[0] in NAMES


class RootAnswer(msgspec.Struct, omit_defaults=True, kw_only=True):
    success: bool


class RootSubmitted(RootAnswer, kw_only=True):
    job_id: str
    status: StatusWord
    replayed: bool = False
    """An earlier submit with the same idempotency key had made it."""
    warning: dict[str, str] | None = None
    """`{"code": "never_fits", "detail": …}`: no worker known now could ever run it."""


class RootControlled(RootAnswer, kw_only=True):
    """A job after cancel, suspend, resume or retry."""

    job_id: str
    status: StatusWord
    state: str


class RootRemoved(RootAnswer, kw_only=True):
    message: Literal["Job cancelled", "Job removed"]
    job_id: str


class RootListed(msgspec.Struct, kw_only=True):
    """A job as lists show it."""

    id: str
    job_id: str
    """The same."""
    type: str
    """`wasm` for a WASM job."""
    name: str
    status: StatusWord
    state: str
    """The exact status, as `/api/v1` tells it."""
    progress: float
    progress_details: str | None
    details: str | None
    """A word for programs on why it ended as it did."""
    created_at: int | None
    scheduled_at: int | None
    """When it is, or was, to run; created_at if no time was asked for."""
    eta: int | None
    """When it is due, of a job that waits for its time."""
    started_at: int | None
    updated_at: int | None
    completed_at: int | None
    """When it ended, however it did."""
    tenant_id: str
    user_id: str
    idempotency_key: str | None
    locked_by: str | None
    """The worker that has it."""
    queue: str
    priority: int
    tags: list[str]
    timeout_sec: int | float
    max_retries: int
    retry_delay_sec: int | float
    retries: int
    """Times it was given out again after a failure or a crash."""
    params: msgspec.Raw | None
    error: str | None


class RootJob(RootListed, kw_only=True):
    result: msgspec.Raw = ABSENT
    """Any JSON value; null until it has completed."""


class RootJobAnswer(RootAnswer, kw_only=True):
    job: RootJob


class RootJobs(RootAnswer, kw_only=True):
    jobs: list[RootListed]
    count: int
    """Of jobs in this answer."""
    next: str | None = None
    """Cursor of the next page; absent at the end."""


class RootType(msgspec.Struct, kw_only=True):
    """A registered job type."""

    id: str
    type_id: str
    """The same."""
    name: str
    group: str | None
    queue: str
    description: str
    timeout_sec: int | float | None
    """null, as of the next two: as for jobs of any type."""
    max_retries: int | None
    retry_delay_sec: int | float | None
    suspendable: bool
    params_schema: msgspec.Raw | None
    """JSON Schema."""


class RootTypeAnswer(RootAnswer, kw_only=True):
    job_type: RootType


class RootTypes(RootAnswer, kw_only=True):
    job_types: list[RootType]
    count: int
    """Of types in this answer."""
    total: int


class RootGroup(msgspec.Struct, kw_only=True):
    """A group of job types."""

    id: str
    name: str
    """The same."""
    queue: str
    description: str


class RootGroupAnswer(RootAnswer, kw_only=True):
    job_group: RootGroup


class RootGroups(RootAnswer, kw_only=True):
    job_groups: list[RootGroup]
    count: int
    total: int


class RootWebhook(msgspec.Struct, kw_only=True):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    enabled: bool
    disabled_reason: str | None
    pending: int
    """Deliveries that wait."""


class RootWebhookAnswer(RootAnswer, kw_only=True):
    webhook: RootWebhook


class RootMadeWebhook(RootAnswer, kw_only=True):
    webhook_id: str
    secret: str | None = None
    """It cannot be shown again; absent: it came with the request."""
    webhook: RootWebhook


class RootWebhookRemoved(RootAnswer, kw_only=True):
    message: Literal["Webhook removed"]
    webhook_id: str


class RootWebhooks(RootAnswer, kw_only=True):
    webhooks: list[RootWebhook]
    count: int


# Routes -----------------------------------------------------------------------------------------

PAGE: Final = (
    Param("page", "Number of the page from 1", type="integer"),
    Param("limit", "1 to 1000, default 100", type="integer"),
)
OF_A_DOCUMENT: Final = (P.DOCUMENT_UNKNOWN,)

ROOT_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="root_submit",
        method="POST",
        path="/jobs",
        summary="Submit one job, as on /api/v1; answered with 202",
        tag=ROOT,
        params=(*WHO, KEY, *TRACE),
        body=SubmitJob,
        answer=RootSubmitted,
        status=202,
        problems=SUBMIT_REFUSALS,
    ),
    Route(
        name="root_list",
        method="GET",
        path="/jobs",
        summary="List jobs; as on /api/v1, by the words of status that are shown here",
        tag=ROOT,
        params=(*WHO, *FILTERS),
        answer=RootJobs,
        problems=LIST_REFUSALS,
    ),
    Route(
        name="root_get",
        method="GET",
        path="/jobs/{id}",
        summary="A job with its result, instants in seconds since 1970",
        tag=ROOT,
        params=(*WHO, *WAIT),
        answer=RootJobAnswer,
        problems=OF_A_JOB,
    ),
    Route(
        name="root_delete",
        method="DELETE",
        path="/jobs/{id}",
        summary="Cancel a job that waits, or remove the record of one that has ended",
        tag=ROOT,
        params=WHO,
        answer=RootRemoved,
        problems=(*OF_A_JOB, P.JOB_STATE_CONFLICT, *COMMITS),
    ),
    *(
        Route(
            name=f"root_{act}",
            method="POST",
            path=f"/jobs/{{id}}/{act}",
            summary=summary,
            tag=ROOT,
            params=(*WHO, *params),
            answer=RootControlled,
            problems=(*OF_A_JOB, P.JOB_STATE_CONFLICT, *FULL, *COMMITS),
        )
        for act, summary, params in CONTROLS
    ),
    *(
        Route(
            name=f"root_{name}",
            method="GET",
            path=path,
            summary=summary,
            tag=ROOT,
            params=(*WHO, *params),
            answer=answer,
            problems=problems,
        )
        for name, path, summary, params, answer, problems in (
            ("types", "/job-types", "Registered job types", PAGE, RootTypes, ()),
            ("type", "/job-types/{name}", "A job type", (), RootTypeAnswer, OF_A_DOCUMENT),
            ("groups", "/job-groups", "Groups of job types", PAGE, RootGroups, ()),
            ("group", "/job-groups/{name}", "A group", (), RootGroupAnswer, OF_A_DOCUMENT),
            ("webhooks", "/webhooks", "Webhooks", (), RootWebhooks, ()),
            ("webhook", "/webhooks/{name}", "A webhook", (), RootWebhookAnswer, OF_A_DOCUMENT),
        )
    ),
    Route(
        name="root_webhook_create",
        method="POST",
        path="/webhooks",
        summary="Register a webhook, as on /api/v1; answered with 201",
        tag=ROOT,
        params=WHO,
        body=NewWebhook,
        answer=RootMadeWebhook,
        status=201,
        problems=(P.FORBIDDEN, P.DOCUMENTS_TOO_MANY, *CHANGES),
    ),
    Route(
        name="root_webhook_delete",
        method="DELETE",
        path="/webhooks/{name}",
        summary="Remove a webhook",
        tag=ROOT,
        params=(*WHO, CONDITIONS[0]),
        answer=RootWebhookRemoved,
        problems=(*OF_A_DOCUMENT, *CHANGES),
    ),
)
