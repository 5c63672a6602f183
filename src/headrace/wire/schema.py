"""The shapes of requests and answers. JSON and MessagePack come from the same Structs.

Requests refuse unknown fields by name; answers may gain fields. Durations are a number of seconds
or text (`wire.durations`), instants RFC 3339.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from headrace.wire import limits

Duration = int | float | str
Instant = int | float | str
Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME_CHARS_MAX)]
MaybeName = Annotated[str, Meta(max_length=limits.NAME_CHARS_MAX)]
Sha256 = Annotated[str, Meta(pattern="^([0-9a-f]{64})?$")]
WebhookUrl = Annotated[str, Meta(max_length=limits.WEBHOOK_URL_CHARS_MAX)]
Labels = dict[str, str]
Retention = int | float | Literal["never"]
"""Seconds; or it is never deleted."""

ABSENT = msgspec.Raw(b"")
"""A field of any JSON value that was not sent; an explicit null is `Raw(b"null")`."""


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of everything a client may send."""


class Requirements(Request, kw_only=True):
    """What the job needs of its worker; each amount is reserved while it runs."""

    cpu_cores: Annotated[float, Meta(ge=0)] = 0
    memory_mb: Annotated[int, Meta(ge=0, le=limits.MEMORY_MB_MAX)] = 0
    storage_mb: Annotated[int, Meta(ge=0, le=limits.STORAGE_MB_MAX)] = 0
    gpu_count: Annotated[float, Meta(ge=0)] = 0
    """Fractions share a GPU: 0.5 is half of one."""
    gpu_type: str | list[str] | None = None
    """One model, or alternatives."""
    duration: Duration | None = None
    """How long the client expects it to run; kept for display and planning."""
    labels: Labels | None = None


ZERO_INSTANT = "0001-01-01T00:00:00Z"
"""What Go writes for an instant that was never set."""


class SubmitJob(Request, kw_only=True):
    """`POST /api/v1/jobs`: one of these, or an array of them.

    Clients of typed languages send fields that were never set as empty texts and zero instants:
    these are taken as not sent.
    """

    name: Name | None = None
    type: MaybeName | None = None
    params: msgspec.Raw = ABSENT
    parameters: msgspec.Raw = ABSENT
    """Alias of `params`."""
    wasm_module: str | None = None
    """Base64 of the module's bytes."""
    wasm_sha256: Sha256 | None = None
    """A module stored before."""
    entry_point: Annotated[str, Meta(max_length=limits.NAME_CHARS_MAX)] | None = None
    """None or empty: `_start`."""
    arguments: Annotated[list[str], Meta(max_length=limits.ARGUMENTS_MAX)] | None = None
    environment: Annotated[dict[str, str], Meta(max_length=limits.ENVIRONMENT_MAX)] | None = None
    stdin: str | None = None
    """Text given to the module's standard input."""
    success_codes: (
        Annotated[
            list[Annotated[int, Meta(ge=0, le=255)]], Meta(max_length=limits.SUCCESS_CODES_MAX)
        ]
        | None
    ) = None
    """Exit codes of the module that mean success; None: only 0."""
    requirements: Requirements | None = None
    priority: int | str | None = None
    queue: MaybeName | None = None
    """None: that of the type's group, or `default`."""
    max_retries: Annotated[int, Meta(ge=0, le=limits.RETRIES_MAX)] | None = None
    retry_delay: Duration | None = None
    retry_backoff: Annotated[float, Meta(ge=1, le=limits.RETRY_BACKOFF_MAX)] | None = None
    timeout: Duration | None = None
    scheduled_at: Instant | None = None
    delay: Duration | None = None
    start_before: Instant | None = None
    after: Annotated[list[int | str], Meta(max_length=limits.AFTER_MAX)] | None = None
    """Ids of jobs that must complete before it runs, or numbers of earlier jobs in this array,
    from 0. If one ends otherwise, it is skipped."""
    after_any_end: bool = False
    """Run it however those jobs end."""
    await_module: bool = False
    """Take the job although the module of `wasm_sha256` is not stored yet; it waits for it."""
    idempotency_key: Annotated[str, Meta(max_length=limits.KEY_CHARS_MAX)] | None = None
    tags: Annotated[list[Name], Meta(max_length=limits.TAGS_MAX)] = []
    retention: Duration | None = None
    """How long it is kept after its end; `"never"`: it is never deleted; None: as its type says,
    or the server's configuration, which also bounds what may be asked for."""
    webhook_url: WebhookUrl | None = None
    """Told of the job's end, signed with the tenant's secret for that."""
    webhook_url_alias: WebhookUrl | None = msgspec.field(name="webhookUrl", default=None)
    """Alias of `webhook_url`."""

    def __post_init__(self) -> None:
        self.type = self.type or None
        self.wasm_sha256 = self.wasm_sha256 or None
        if self.type or self.wasm_sha256:  # else it is a module, and an empty one
            self.wasm_module = self.wasm_module or None
        self.queue = self.queue or None
        self.idempotency_key = self.idempotency_key or None
        if self.retry_delay == "":
            self.retry_delay = None
        if self.delay == "":
            self.delay = None
        if self.retention == "":
            self.retention = None
        if self.scheduled_at in ("", ZERO_INSTANT):
            self.scheduled_at = None
        if self.start_before in ("", ZERO_INSTANT):
            self.start_before = None


class Spec(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """A job as it is stored and as a worker gets it. Never changes after submit."""

    id: str
    name: str
    type: str = ""
    """Empty for a WASM job."""
    params: msgspec.Raw = ABSENT
    wasm_sha256: str = ""
    entry_point: str = ""
    arguments: list[str] = []
    environment: dict[str, str] = {}
    stdin: str | None = None
    success_codes: list[int] = []
    """Empty: only 0."""
    requirements: dict[str, Any] = {}
    priority: int = limits.PRIORITY_DEFAULT
    queue: str = "default"
    max_retries: int = 0
    retry_delay: int | float = 0
    retry_backoff: int | float = 1
    timeout: int | float = 0
    """Seconds."""
    scheduled_at: str | None = None
    start_before: str | None = None
    after: list[str] = []
    """Ids of jobs."""
    after_any_end: bool = False
    idempotency_key: str | None = None
    tags: list[str] = []
    retention: Retention | None = None
    webhook_url: str = ""
    tenant: str = "default"
    owner: str = ""
    traceparent: str = ""
    """Of the trace that its submit was part of (W3C Trace Context)."""
    tracestate: str = ""
    created_at: str = ""


Words = str | Annotated[list[str], Meta(max_length=limits.FILTER_WORDS_MAX)]
"""Several words; as one text they are parted by commas."""


class JobFilter(Request, omit_defaults=True, kw_only=True):
    """Which jobs; all conditions hold together. The parameters of lists have the same names."""

    owner: str | None = None
    """Of whom; for others than oneself only as an admin. None: oneself, for an admin everybody."""
    status: Words = ""
    type: Words = ""
    """`wasm` for WASM jobs."""
    queue: Words = ""
    group: Words = ""
    """Job groups: of the types that belong to them now."""
    name: str | None = None
    name_prefix: str | None = None
    tag: Words = ""
    """All of them."""
    label: Words = ""
    """Labels that the job requires, all of them: `key`, or `key=value`."""
    submitted_after: Instant | None = None
    """Inclusive; so is that of the end."""
    submitted_before: Instant | None = None
    """Exclusive; so is that of the end."""
    finished_after: Instant | None = None
    """With one of these two, finished jobs only."""
    finished_before: Instant | None = None


class Submitted(msgspec.Struct, omit_defaults=True, kw_only=True):
    job_id: str
    status: str
    replayed: bool = False
    warning: dict[str, str] | None = None
    """`{"code": "never_fits", "detail": …}`: no worker known now could run it."""


# The worker's side ------------------------------------------------------------------------------


class Serve(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    types: Annotated[list[str], Meta(max_length=limits.SERVE_NAMES_MAX)] | None = None
    """None or `["*"]`: every type."""
    queues: Annotated[list[str], Meta(max_length=limits.SERVE_NAMES_MAX)] | None = None
    wasm: bool = False


class Resources(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    cpu_cores: Annotated[float, Meta(ge=0)] = 0
    memory_mb: Annotated[int, Meta(ge=0, le=limits.MEMORY_MB_MAX)] = 0
    storage_mb: Annotated[int, Meta(ge=0, le=limits.STORAGE_MB_MAX)] = 0
    gpu_count: Annotated[float, Meta(ge=0)] = 0
    gpu_type: str | None = None


OutcomeWord = Literal[
    "completed", "failed", "timeout", "cancelled", "suspended", "released", "snoozed"
]


class ReportBody(Request, omit_defaults=True, kw_only=True):
    """What the server keeps of a report and shows as the job's result."""

    result: msgspec.Raw = ABSENT
    """Any JSON value."""
    output: str | None = None
    """Base64 of the job's output bytes."""
    output_cut: bool = False
    exit_code: Annotated[int, Meta(ge=-(2**31), lt=2**31)] | None = None
    metrics: Annotated[dict[str, float], Meta(max_length=limits.METRICS_MAX)] = {}


class LeaseReport(ReportBody, omit_defaults=True, kw_only=True):
    """The end of an attempt by `POST /leases/{lease}/complete | fail | release`."""

    error: Annotated[str, Meta(max_length=limits.ERROR_CHARS_MAX)] | None = None
    code: Annotated[str, Meta(max_length=limits.NAME_CHARS_MAX)] | None = None
    permanent: bool = False
    """Do not try again."""
    retry_delay: Duration | None = None
    """Before the next try, or the length of a snooze."""
    checkpoint: msgspec.Raw = ABSENT
    """Any JSON value; handed to the next run."""


class Report(LeaseReport, omit_defaults=True, kw_only=True, gc=False):
    """The end of an attempt, inside a poll."""

    lease: str
    outcome: OutcomeWord


class Emitted(Request, omit_defaults=True, kw_only=True):
    """An event of a handler's own, such as `scene.loaded`."""

    name: Annotated[str, Meta(min_length=1, max_length=limits.EVENT_CHARS_MAX)]
    data: msgspec.Raw = ABSENT
    """Any JSON value."""


class LeaseProgress(Request, kw_only=True):
    """News of a running attempt by `POST /leases/{lease}/progress`. Also its heartbeat."""

    started: bool = False
    progress: Annotated[float, Meta(ge=0, le=1)] | None = None
    details: Annotated[str, Meta(max_length=limits.DETAILS_CHARS_MAX)] | None = None
    log: Annotated[str, Meta(max_length=limits.LOG_BYTES_MAX)] | None = None
    events: Annotated[list[Emitted], Meta(max_length=limits.EVENTS_PER_NEWS_MAX)] = []
    """Sent to webhooks that ask for them, in the order given."""


class Progress(LeaseProgress, kw_only=True):
    """News of a running attempt, inside a poll."""

    lease: str


class PollRequest(Request, kw_only=True):
    """`POST /api/v1/work/poll`."""

    worker: Name
    session: Annotated[str, Meta(max_length=limits.NAME_CHARS_MAX)] = ""
    serve: Serve = Serve()
    free: Resources = Resources()
    total: Resources | None = None
    """All that the worker has; lets the server say that a job fits no worker."""
    labels: Annotated[Labels, Meta(max_length=limits.LABELS_MAX)] = {}
    max_jobs: Annotated[int, Meta(ge=0, le=limits.POLL_JOBS_MAX)] = 1
    wait: Duration = 0
    seq: Annotated[int, Meta(ge=0, lt=2**62)] = 0
    reports: Annotated[list[Report], Meta(max_length=limits.POLL_REPORTS_MAX)] = []
    progress: Annotated[list[Progress], Meta(max_length=limits.POLL_RUNNING_MAX)] = []
    running: Annotated[list[str], Meta(max_length=limits.POLL_RUNNING_MAX)] = []


class Ack(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    lease: str
    ok: bool = False
    status: str | None = None
    problem: dict[str, Any] | None = None


class Work(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One job given out."""

    lease: str
    job: msgspec.Raw
    """A `Spec`."""
    attempt: int
    deadline: str
    checkpoint: msgspec.Raw = ABSENT


class Order(msgspec.Struct, omit_defaults=True, kw_only=True):
    do: Literal["cancel", "suspend", "lost", "drain", "quit"]
    lease: str | None = None


class PollAnswer(msgspec.Struct, omit_defaults=False, kw_only=True):
    acks: list[Ack]
    jobs: list[Work]
    control: list[Order]
    lease_term: str
    poll_again: str = "0s"
    result_max: int = limits.OUTPUT_BYTES_MAX
    """Bytes of JSON that an attempt may return; with more it has failed."""
    output_max: int = limits.OUTPUT_BYTES_MAX
    """Bytes of output that are kept of an attempt."""


# What clients read ------------------------------------------------------------------------------


class JobView(msgspec.Struct, kw_only=True):
    """A job: its spec, and where it stands."""

    id: str
    name: str
    type: str | None
    owner: str
    tenant_id: str
    status: str
    priority: int
    queue: str
    tags: list[str]
    params: msgspec.Raw | None
    wasm_sha256: str | None
    entry_point: str | None
    arguments: list[str]
    environment: dict[str, str]
    requirements: dict[str, Any]
    timeout: int | float
    max_retries: int
    retry_delay: int | float
    retry_backoff: int | float
    idempotency_key: str | None
    retention: Retention | None = None
    """How long it is kept after its end, if its client said so."""
    traceparent: str | None
    """Of the trace that its submit was part of."""
    tracestate: str | None
    attempt: int
    failures: int
    crashes: int
    stops: int
    progress: float
    progress_details: str | None
    eta: str | None = None
    """When it ends if it goes on as its progress has: of a running job."""
    error: str | None
    locked_by: str | None
    created_at: str | None
    updated_at: str | None
    scheduled_at: str | None
    start_before: str | None
    after: list[str]
    """Ids of jobs that it runs after."""
    after_any_end: bool
    started_at: str | None
    finished_at: str | None


class ResultView(msgspec.Struct, kw_only=True):
    """How a job ended; before that, only its status."""

    job_id: str
    status: str
    result: msgspec.Raw = ABSENT
    output: str | None = None
    """Base64."""
    output_cut: bool = False
    error: str | None = None
    code: str | None = None
    exit_code: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    worker_id: str | None = None
    metrics: dict[str, float] = {}


class JobAnswer(msgspec.Struct, kw_only=True):
    job: JobView
    result: ResultView


class JobsAnswer(msgspec.Struct, kw_only=True):
    jobs: list[JobView]
    count: int
    """Of jobs in this answer; `stats` counts all there are."""
    next: str | None = None
    """Cursor of the next page; None at the end. A page may be short and still have one."""
