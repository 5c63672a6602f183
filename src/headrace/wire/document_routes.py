"""The routes of documents and of the audit log, and the shapes of what they take and answer."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headrace.wire import limits
from headrace.wire.documents import Description
from headrace.wire.keys import RateLimit, Scope, ScopeWord
from headrace.wire.problems import ProblemCode as P
from headrace.wire.route import COMMITS, WHO, Param, Route
from headrace.wire.schema import ABSENT, Duration, Name, Request, Requirements

PAGE: Final = (
    Param("limit", "1 to 1000, default 100", type="integer"),
    Param("after", "next of the page before: names behind this one"),
)
CONDITIONS: Final = (
    Param("If-Match", "The ETag of what is meant, or *: only if it is there", place="header"),
    Param("If-None-Match", "*: only if there is none", place="header"),
)
OPERATORS: Final[dict[str, Any]] = {"scopes": (Scope.ADMIN,), "of_server": True}
"""Of routes about what belongs to the server."""
CHANGES: Final = (P.PRECONDITION_FAILED, *COMMITS)


JobsMax = Annotated[int, Meta(ge=0, le=limits.QUEUE_CAPACITY_MAX)]
"""A number of jobs."""


BytesMax = Annotated[int, Meta(ge=0, le=limits.TENANT_BYTES_MAX)]


class Removed(msgspec.Struct, kw_only=True):
    name: str
    removed: bool = True


# Queues -----------------------------------------------------------------------------------------


class QueueSettings(Request, kw_only=True):
    """A queue's settings, all of them: what is left out goes back to the configuration."""

    capacity: Annotated[int, Meta(ge=0, le=limits.QUEUE_CAPACITY_MAX)] | UnsetType | None = UNSET
    """Jobs that run at once; null: no limit."""
    paused: bool = False
    """Nothing of it is given out; what runs goes on."""
    backlog_max: JobsMax | None = None
    """Jobs that have not ended and that no worker holds; a submit beyond is refused with 429. null:
    no limit."""
    description: Description = ""


class QueueView(msgspec.Struct, kw_only=True):
    name: str
    capacity: int | None
    """Jobs that run at once; null: no limit."""
    paused: bool
    backlog_max: int | None
    """Jobs that may wait, for whatever; null: no limit."""
    description: str
    backlog: int
    """Jobs that have not ended and that no worker holds."""
    depth: int
    """Jobs that wait for a worker and for nothing else."""
    running: int
    """Jobs that workers hold."""
    version: int
    """Also its ETag; 0: as the configuration says."""
    changed_at: str | None
    changed_by: str | None


class QueuesAnswer(msgspec.Struct, kw_only=True):
    queues: list[QueueView]
    count: int
    next: str | None = None
    """For after; null at the end."""


# Types and groups -------------------------------------------------------------------------------


class GroupSettings(Request, kw_only=True):
    """A group of job types, all of it."""

    queue: Name | None = None
    """Of jobs of its types that name none; null: default."""
    description: Description = ""


class GroupView(msgspec.Struct, kw_only=True):
    id: str
    queue: str
    description: str
    version: int
    """Also its ETag."""
    changed_at: str | None
    changed_by: str


class GroupsAnswer(msgspec.Struct, kw_only=True):
    job_groups: list[GroupView]
    count: int
    next: str | None = None
    """For after; null at the end."""


class TypeSettings(Request, kw_only=True):
    """A job type, all of it: what its jobs get where they say nothing, and what they must fit."""

    group: Name | None = None
    name: Name | None = None
    """For people."""
    description: Description = ""
    timeout: Duration | None = None
    max_retries: Annotated[int, Meta(ge=0, le=limits.RETRIES_MAX)] | None = None
    retry_delay: Duration | None = None
    retry_backoff: Annotated[float, Meta(ge=1, le=limits.RETRY_BACKOFF_MAX)] | None = None
    priority: int | str | None = None
    requirements: Requirements | None = None
    suspendable: bool = True
    params_schema: msgspec.Raw = ABSENT
    """JSON Schema, draft 2020-12, of the params. References stay inside it."""
    retention: Duration | None = None
    """How long its finished jobs are kept; "never": they are never deleted; null: as the server's
    configuration says."""


class TypeView(msgspec.Struct, kw_only=True):
    id: str
    group: str | None
    name: str
    description: str
    queue: str
    """Of jobs that name none."""
    timeout: int | float | None
    """Seconds, as all durations here; null: as for jobs of any type."""
    max_retries: int | None
    retry_delay: int | float | None
    retry_backoff: float | None
    priority: int | None
    requirements: Requirements | None
    suspendable: bool
    params_schema: msgspec.Raw | None
    retention: int | float | Literal["never"] | None
    """How long its finished jobs are kept; null: as the configuration says."""
    version: int
    """Also its ETag."""
    changed_at: str | None
    changed_by: str


class TypesAnswer(msgspec.Struct, kw_only=True):
    job_types: list[TypeView]
    count: int
    next: str | None = None
    """For after; null at the end."""


# Finished jobs ----------------------------------------------------------------------------------


class CleanupRequest(Request, kw_only=True):
    older_than: Duration
    """By the wall clock, since they ended."""


class CleanupAnswer(msgspec.Struct, kw_only=True):
    deleted: int
    complete: bool
    """False: there are more; ask again."""


# Keys -------------------------------------------------------------------------------------------


class NewKey(Request, kw_only=True):
    name: Annotated[str, Meta(max_length=limits.NAME_CHARS_MAX)] = ""
    """What its owner calls it."""
    tenant: Name | None = None
    """Whose jobs; null: that of the caller's key. `*`: all tenants."""
    user: Name | None = None
    """Who its bearer is; null: the caller."""
    scopes: Annotated[list[ScopeWord], Meta(min_length=1)]
    expires_in: Duration | None = None
    requests: RateLimit | None = None
    """null: as the configuration says."""
    jobs: RateLimit | None = None
    """Jobs submitted, whatever requests they come in; a batch of 100 takes 100."""


class KeyView(msgspec.Struct, kw_only=True):
    """A key, without its secret."""

    id: str
    name: str
    tenant_id: str
    user: str
    scopes: list[str]
    status: Literal["live", "expired", "revoked"]
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None
    """Since the server was started."""
    requests: RateLimit | None
    """null: as the configuration says."""
    jobs: RateLimit | None


class MadeKey(msgspec.Struct, kw_only=True):
    """A new key. It cannot be shown again."""

    key: str
    id: str
    view: KeyView


class KeysAnswer(msgspec.Struct, kw_only=True):
    keys: list[KeyView]
    count: int
    next: str | None = None
    """For after; null at the end."""


# Tenants ----------------------------------------------------------------------------------------


class ResourcesMax(Request, kw_only=True, omit_defaults=True):
    """Amounts of resources; null: no limit."""

    cpu_cores: Annotated[float, Meta(ge=0)] | None = None
    memory_mb: Annotated[int, Meta(ge=0, le=limits.MEMORY_MB_MAX)] | None = None
    storage_mb: Annotated[int, Meta(ge=0, le=limits.STORAGE_MB_MAX)] | None = None
    gpu_count: Annotated[float, Meta(ge=0)] | None = None


class RunningMax(ResourcesMax, kw_only=True, omit_defaults=True):
    """Amounts of resources and a number of jobs; null: no limit."""

    jobs: JobsMax | None = None


class Running(msgspec.Struct, kw_only=True):
    jobs: int = 0
    cpu_cores: float = 0
    memory_mb: int = 0
    storage_mb: int = 0
    gpu_count: float = 0


class TenantSettings(Request, kw_only=True):
    """A tenant's settings, all of them: what is left out goes back to its default."""

    weight: Annotated[int, Meta(ge=1, le=limits.TENANT_WEIGHT_MAX)] = limits.TENANT_WEIGHT_DEFAULT
    """Its share of the workers: of two tenants with jobs of one priority that wait, one of weight
    3 has three jobs started for each job of one of weight 1. Jobs that wait already keep their
    places."""
    jobs_max: JobsMax | None = None
    """Jobs that have not ended; a submit beyond is refused with 429. null: no limit."""
    bytes_max: BytesMax | None = None
    """Bytes of those jobs, each as it is stored, without its module; a submit beyond is refused
    with 429. null: no limit."""
    running_max: RunningMax | None = None
    """What its jobs that run take up together; others wait. null: no limit."""
    job_max: ResourcesMax | None = None
    """What one of its jobs may ask for; larger ones are refused with 422. null: no limit."""
    description: Description = ""


class TenantView(msgspec.Struct, kw_only=True):
    name: str
    weight: int
    jobs_max: int | None
    """Jobs that have not ended; null: no limit."""
    bytes_max: int | None
    """Bytes of those jobs; null: no limit."""
    running_max: RunningMax | None
    job_max: ResourcesMax | None
    description: str
    jobs: int
    """That have not ended; of `default`, quotas bind those alone that come with a key."""
    bytes: int
    """Of those jobs, each as it is stored, without its module."""
    depth: int
    """Jobs that wait for a worker and for nothing else."""
    running: Running
    """What its jobs that run take up; counted where there is a `running_max`."""
    version: int
    """Also its ETag; 0: nothing was set."""
    changed_at: str | None
    changed_by: str | None


class TenantsAnswer(msgspec.Struct, kw_only=True):
    tenants: list[TenantView]
    count: int
    next: str | None = None
    """For after; null at the end."""


# Limits -----------------------------------------------------------------------------------------


class Rate(Request, kw_only=True):
    starts: Annotated[int, Meta(ge=1, le=limits.QUEUE_CAPACITY_MAX)]
    per: Duration
    """10 ms to 1 h. In no span of this length do more jobs start; after a restart of the server,
    none until one has passed."""


class LimitSettings(Request, kw_only=True):
    """A limit, all of it: exactly one of type, tenant and tag, and concurrency, rate or both.

    A limit of a type or a tenant counts all its jobs; one of a tag those that were submitted while
    it was there. A job starts when a worker gets it; one that is tried again starts again.
    """

    type: Name | None = None
    """A job type; `wasm` for WASM jobs."""
    tenant: Name | None = None
    """Jobs that came with a key of the tenant."""
    tag: Name | None = None
    concurrency: JobsMax | None = None
    """Jobs that run at once; null: no limit."""
    rate: Rate | None = None
    """Jobs that start within a time; null: no limit."""
    description: Description = ""


class RateView(msgspec.Struct, kw_only=True):
    starts: int
    per: int | float
    """Seconds."""
    left: int
    """Starts that there may be now."""


class LimitView(msgspec.Struct, kw_only=True):
    name: str
    type: str | None
    tenant: str | None
    tag: str | None
    concurrency: int | None
    rate: RateView | None
    description: str
    running: int
    version: int
    """Also its ETag."""
    changed_at: str | None
    changed_by: str


class LimitsAnswer(msgspec.Struct, kw_only=True):
    limits: list[LimitView]
    count: int
    next: str | None = None
    """For after; null at the end."""


# Audit ------------------------------------------------------------------------------------------


class AuditView(msgspec.Struct, kw_only=True):
    number: int
    at: str | None
    tenant_id: str
    user: str
    key_id: str | None
    """null: without a key, in open mode."""
    act: str
    name: str
    detail: str


class AuditAnswer(msgspec.Struct, kw_only=True):
    entries: list[AuditView]
    """Newest first."""
    count: int
    next: int | None = None
    """For before; null at the end."""


def _kept(
    name: str,
    path: str,
    words: tuple[str, str, str],
    shapes: tuple[Any, Any, Any],
    refusals: tuple[P, ...] = (),
) -> tuple[Route, ...]:
    """Return the routes of a kind that is only kept. `shapes`: settings, view, list of views."""
    settings, view, views = shapes
    one = f"{path}/{{name}}"
    return (
        Route(
            name=f"{name}s_list",
            method="GET",
            path=path,
            summary=words[0],
            tag="types",
            params=(*WHO, *PAGE),
            answer=views,
        ),
        Route(
            name=f"{name}_get",
            method="GET",
            path=one,
            summary=words[1],
            tag="types",
            params=WHO,
            answer=view,
            problems=(P.DOCUMENT_UNKNOWN,),
        ),
        Route(
            name=f"{name}_put",
            **OPERATORS,
            method="PUT",
            path=one,
            summary=words[2],
            tag="types",
            params=(*WHO, *CONDITIONS),
            body=settings,
            answer=view,
            problems=(P.DOCUMENTS_TOO_MANY, P.DOCUMENT_UNKNOWN, *refusals, *CHANGES),
        ),
        Route(
            name=f"{name}_delete",
            **OPERATORS,
            method="DELETE",
            path=one,
            summary="Remove what nothing needs",
            tag="types",
            params=(*WHO, CONDITIONS[0]),
            answer=Removed,
            problems=(P.DOCUMENT_UNKNOWN, P.DOCUMENT_IN_USE, *CHANGES),
        ),
    )


DOCUMENT_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        name="queues_list",
        method="GET",
        path="/api/v1/queues",
        summary="Queues: those with settings, and those with jobs",
        tag="queues",
        params=(*WHO, *PAGE),
        answer=QueuesAnswer,
    ),
    Route(
        name="queue_get",
        method="GET",
        path="/api/v1/queues/{name}",
        summary="A queue, its settings, and how much waits and runs",
        tag="queues",
        params=WHO,
        answer=QueueView,
        problems=(P.DOCUMENT_UNKNOWN,),
    ),
    Route(
        name="queue_put",
        **OPERATORS,
        method="PUT",
        path="/api/v1/queues/{name}",
        summary="Set a queue: its capacity, pause and backlog; {} goes back to the configuration",
        tag="queues",
        params=(*WHO, *CONDITIONS),
        body=QueueSettings,
        answer=QueueView,
        problems=(P.DOCUMENT_UNKNOWN, P.DOCUMENTS_TOO_MANY, *CHANGES),
    ),
    Route(
        name="queue_delete",
        **OPERATORS,
        method="DELETE",
        path="/api/v1/queues/{name}",
        summary="Remove a queue that has no jobs",
        tag="queues",
        params=(*WHO, CONDITIONS[0]),
        answer=Removed,
        problems=(P.DOCUMENT_UNKNOWN, P.DOCUMENT_IN_USE, *CHANGES),
    ),
    *(
        Route(
            name=f"queue_{act}",
            **OPERATORS,
            method="POST",
            path=f"/api/v1/queues/{{name}}/{act}",
            summary=summary,
            tag="queues",
            params=WHO,
            answer=QueueView,
            problems=(P.DOCUMENT_UNKNOWN, P.DOCUMENTS_TOO_MANY, *CHANGES),
        )
        for act, summary in (
            ("pause", "Give out no more jobs of a queue; what runs goes on"),
            ("resume", "Give out jobs of a queue again"),
        )
    ),
    *_kept(
        "job_type",
        "/api/v1/job-types",
        ("Registered job types", "A job type", "Register or replace a job type"),
        (TypeSettings, TypeView, TypesAnswer),
        (P.SCHEMA_REFUSED,),
    ),
    *_kept(
        "job_group",
        "/api/v1/job-groups",
        ("Groups of job types", "A group of job types", "Make or replace a group of job types"),
        (GroupSettings, GroupView, GroupsAnswer),
    ),
    Route(
        name="tenants_list",
        **OPERATORS,
        method="GET",
        path="/api/v1/tenants",
        summary="Tenants: those with settings, and those with jobs",
        tag="tenants",
        params=(*WHO, *PAGE),
        answer=TenantsAnswer,
    ),
    Route(
        name="tenant_get",
        **OPERATORS,
        method="GET",
        path="/api/v1/tenants/{name}",
        summary="A tenant and its settings",
        tag="tenants",
        params=WHO,
        answer=TenantView,
        problems=(P.DOCUMENT_UNKNOWN,),
    ),
    Route(
        name="tenant_put",
        **OPERATORS,
        method="PUT",
        path="/api/v1/tenants/{name}",
        summary="Set a tenant's share of the workers and its quotas; {} goes back to the defaults",
        tag="tenants",
        params=(*WHO, *CONDITIONS),
        body=TenantSettings,
        answer=TenantView,
        problems=(P.DOCUMENT_UNKNOWN, P.DOCUMENTS_TOO_MANY, *CHANGES),
    ),
    Route(
        name="tenant_delete",
        **OPERATORS,
        method="DELETE",
        path="/api/v1/tenants/{name}",
        summary="Remove a tenant's settings; its jobs and keys stay",
        tag="tenants",
        params=(*WHO, CONDITIONS[0]),
        answer=Removed,
        problems=(P.DOCUMENT_UNKNOWN, *CHANGES),
    ),
    Route(
        name="limits_list",
        **OPERATORS,
        method="GET",
        path="/api/v1/limits",
        summary="Limits on how many jobs of a type, a tenant or a tag run and start",
        tag="limits",
        params=(*WHO, *PAGE),
        answer=LimitsAnswer,
    ),
    Route(
        name="limit_get",
        **OPERATORS,
        method="GET",
        path="/api/v1/limits/{name}",
        summary="A limit, and how much of it is used",
        tag="limits",
        params=WHO,
        answer=LimitView,
        problems=(P.DOCUMENT_UNKNOWN,),
    ),
    Route(
        name="limit_put",
        **OPERATORS,
        method="PUT",
        path="/api/v1/limits/{name}",
        summary="Set a limit; it holds from the next job that is given out",
        tag="limits",
        params=(*WHO, *CONDITIONS),
        body=LimitSettings,
        answer=LimitView,
        problems=(P.DOCUMENTS_TOO_MANY, P.DOCUMENT_UNKNOWN, *CHANGES),
    ),
    Route(
        name="limit_delete",
        **OPERATORS,
        method="DELETE",
        path="/api/v1/limits/{name}",
        summary="Remove a limit",
        tag="limits",
        params=(*WHO, CONDITIONS[0]),
        answer=Removed,
        problems=(P.DOCUMENT_UNKNOWN, *CHANGES),
    ),
    Route(
        name="keys_list",
        method="GET",
        path="/api/v1/keys",
        summary="API keys of the tenant, or of all tenants; without their secrets",
        tag="keys",
        params=(*WHO, *PAGE),
        answer=KeysAnswer,
        scopes=(Scope.ADMIN,),
    ),
    Route(
        name="key_create",
        method="POST",
        path="/api/v1/keys",
        summary="Make an API key; its secret is shown this once",
        tag="keys",
        params=WHO,
        body=NewKey,
        answer=MadeKey,
        scopes=(Scope.ADMIN,),
        problems=(P.FORBIDDEN, P.DOCUMENTS_TOO_MANY, *CHANGES),
    ),
    Route(
        name="key_get",
        method="GET",
        path="/api/v1/keys/{name}",
        summary="An API key, without its secret",
        tag="keys",
        params=WHO,
        answer=KeyView,
        scopes=(Scope.ADMIN,),
        problems=(P.DOCUMENT_UNKNOWN,),
    ),
    Route(
        name="key_revoke",
        method="DELETE",
        path="/api/v1/keys/{name}",
        summary="Revoke an API key: it opens nothing any more, from now on",
        tag="keys",
        params=WHO,
        answer=KeyView,
        scopes=(Scope.ADMIN,),
        problems=(P.DOCUMENT_UNKNOWN, *CHANGES),
    ),
    Route(
        name="cleanup",
        **OPERATORS,
        method="POST",
        path="/api/v1/cleanup",
        summary="Delete finished jobs that ended so long ago, however long they were to be kept",
        tag="operations",
        params=WHO,
        body=CleanupRequest,
        answer=CleanupAnswer,
        problems=COMMITS,
    ),
    Route(
        name="audit_list",
        **OPERATORS,
        method="GET",
        path="/api/v1/audit",
        summary="Who changed what and when, newest first",
        tag="audit",
        params=(
            *WHO,
            Param("limit", "1 to 1000, default 100", type="integer"),
            Param("before", "next of the page before: entries below this number", "integer"),
        ),
        answer=AuditAnswer,
        problems=(P.FORBIDDEN, P.RECORD_CORRUPT),
    ),
)
