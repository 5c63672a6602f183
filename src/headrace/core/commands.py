"""Everything the engine can be told, and everything it answers. Values only.

Each command names its reply. A refusal is a `wire.problems.Problem` in the reply's place.
"""

from collections.abc import Iterator
from enum import IntEnum, unique
from typing import Any, Final

import msgspec

from headrace.core.deliveries import Delivery
from headrace.core.ids import ID_BYTES
from headrace.core.job import RECORD_BYTES, Job, Status
from headrace.core.resources import Amounts, Profile, Requirements
from headrace.core.tokens import TOKEN_CHARS, tokens_split
from headrace.wire.documents import BulkDocument, Kind
from headrace.wire.problems import Problem
from headrace.wire.schema import Retention


@unique
class Outcome(IntEnum):
    """How a worker reports an attempt. Stored; a number is never reused."""

    COMPLETED = 1
    FAILED = 2
    TIMEOUT = 3
    CANCELLED = 4
    SUSPENDED = 5
    RELEASED = 6
    SNOOZED = 7


TENANT_DEFAULT: Final = "default"


class Caller(msgspec.Struct, frozen=True):
    """Who asks. Handlers take it from the key, or in open mode from the headers."""

    tenant: str = TENANT_DEFAULT
    user: str = "anonymous"
    admin: bool = False
    key_id: str = ""
    """Of the key that says so; empty in open mode."""
    all_tenants: bool = True
    """False: bound to `tenant`, also as a worker."""


# Submit -----------------------------------------------------------------------------------------


class NewJobs(msgspec.Struct, gc=False):
    """Jobs of a submit that are alike but for id and spec, already valid in themselves."""

    job_ids: bytes
    """16 bytes each, joined."""
    specs: list[bytes]
    """What a worker gets of each: JSON, encoded once, never changed."""
    requirements: Requirements
    priority: int
    timeout_ms: int
    retry_delay_ms: int
    retry_backoff_centi: int
    retries_max: int
    module_key: bytes = b""
    """By `module_keys`; empty for a typed job."""
    delay_ms: int = 0
    scheduled_at_ms: int = 0
    """Wall clock; 0 for none. With it `delay_ms` is 0."""
    start_before_at_ms: int = 0
    key_digest: bytes = b""
    """16 bytes over (tenant, queue, idempotency key); empty for none. With one, it is one job."""
    request_digest: bytes = b""
    """16 bytes over the canonical request."""
    webhook_url: str = ""
    """Where its client wants to hear of its end; empty: nowhere."""
    retention: Retention | None = None
    """How long it is kept after its end; None: as others say."""
    planned_at_ms: int = 0
    """Wall clock: what the spec tells as `scheduled_at`; 0 if it tells none."""
    after: list[bytes] = []
    """Ids of jobs that must have ended before it may run; those of earlier jobs of this submit as
    they are here. With any, it is one job."""
    any_end: bool = False
    """However those end; False: they must complete, else it is skipped."""
    await_module: bool = False
    """Its module may come later. With it, it is one job."""
    entry_point: str = ""
    """Told with `await_module`."""


class Module(msgspec.Struct, frozen=True):
    """A verified WASM module that comes with a submit or an upload."""

    key: bytes
    """By `module_keys`."""
    data: bytes
    entry_points: frozenset[str] | None = None
    """Functions that a job can begin with; None: not known, so workers will find out."""


class Submit(msgspec.Struct):
    """Take jobs, all or none. Reply: `list[Submitted]`, one for each of `jobs`, or a `Problem`."""

    caller: Caller
    jobs: list[NewJobs]
    modules: list[Module] = []


class SubmitEach(Submit):
    """Jobs that came each by itself, of one caller: each is taken or refused by itself, in order.

    Reply: `list[Submitted | Problem]` in the order of the jobs; a `Submitted` may be of several, a
    `Problem` is of one.
    """


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """How jobs that are alike were taken."""

    job_ids: bytes
    """As in `NewJobs`; of the earlier job, if `replayed`."""
    status: Status
    replayed: bool = False
    """True: an earlier submit with the same idempotency key had made this job."""
    never_fits: str = ""
    """Why none of the workers known now could ever run it; empty if one could, or none is known."""


class PutModule(msgspec.Struct):
    """Store a verified module. Reply: `bool`, True if it was not there before."""

    module: Module


# Clients ----------------------------------------------------------------------------------------


@unique
class Act(IntEnum):
    CANCEL = 1
    SUSPEND = 2
    RESUME = 3
    DELETE = 4
    REMOVE = 5
    """Cancel it if it waits, delete it if it has ended; refused in a worker's hands."""
    RETRY = 6
    """Run it again if it has ended; if it waits for its time, run it now."""


class Control(msgspec.Struct):
    """Cancel, suspend, resume a live job; delete a finished one, or run it again.

    Reply: `Status` after it; of REMOVE before it, which says what was done.
    Problems: JOB_UNKNOWN, FORBIDDEN, JOB_STATE_CONFLICT; of RETRY also QUEUE_FULL.
    """

    caller: Caller
    job_id: bytes
    act: Act
    force: bool = False
    """Of RETRY: also a job that completed, and not after the jobs it was to run after."""


class Explain(msgspec.Struct):
    """Why a job waits. Reply: `Explanation`."""

    caller: Caller
    job_id: bytes


class LimitState(msgspec.Struct, frozen=True):
    """A limit on what runs, and what it lets through now."""

    name: str
    """Of the limit; of the tenant, if it is a tenant's quota."""
    kind: Kind
    subject: tuple[str, str]
    """What it limits: `type`, `tenant` or `tag`, and which."""
    running: int
    concurrency: int | None
    starts: int | None
    """That there may be in any `per_ms`; None: any number."""
    per_ms: int
    starts_left: int | None
    holds: bool = False
    """It keeps the job back that was asked about."""


class Cause(msgspec.Struct, frozen=True):
    """One reason why a job waits, or is not taken."""

    code: str
    """Such as `too_large`; for programs."""
    detail: str
    """The same as a sentence."""
    numbers: dict[str, Any] = {}
    """What the sentence names, in the words and units of the wire."""

    def told(self) -> dict[str, Any]:
        return {"code": self.code, "detail": self.detail, **self.numbers}


class QuotaState(msgspec.Struct, frozen=True):
    """What a tenant has of the jobs and bytes that it may have. None: no limit."""

    jobs: int
    jobs_max: int | None
    bytes: int
    bytes_max: int | None


class Explanation(msgspec.Struct, frozen=True):
    status: Status
    causes: list[Cause]
    """Most telling first; empty when it does not wait."""
    workers_known: int = 0
    workers_fit: int = 0
    queue_capacity: int | None = None
    queue_running: int = 0
    position_min: int | None = None
    """At least so many jobs go before it; None: it does not stand in line."""
    position_max: int | None = None
    limits: list[LimitState] = []
    """Those that it counts for."""
    quota: QuotaState | None = None
    """Of its tenant: what more may be submitted. It holds no job back that was taken."""

    @property
    def reasons(self) -> list[str]:
        return [cause.detail for cause in self.causes]


class FindDemand(msgspec.Struct):
    """What ready jobs ask for that no worker is free to give. Reply: `DemandSeen`."""

    caller: Caller
    queue: str | None
    """None: all."""
    limit: int


# Workers ----------------------------------------------------------------------------------------


class Report(msgspec.Struct, gc=False):
    """The end of an attempt, as its worker tells it."""

    lease: str
    outcome: Outcome
    body: bytes = b""
    """Encoded `wire.schema.ReportBody`: stored as it came."""
    permanent: bool = False
    error: str = ""
    code: str = ""
    retry_delay_ms: int | None = None
    checkpoint: bytes | None = None
    """Encoded JSON, for SUSPENDED (and any other planned stop)."""


class Completions(msgspec.Struct, gc=False):
    """Reports that follow each other, of attempts that came to their good end; nothing else told.

    Each is a `Report` with `Outcome.COMPLETED` and a body, made without an object of its own.
    """

    leases: bytes
    """The leases' texts, joined: each as long as a token, and ASCII."""
    bodies: list[bytes]
    """As `Report.body`, one each."""

    def __len__(self) -> int:
        return len(self.bodies)

    def report(self, position: int) -> Report:
        (lease,) = tokens_split(_part(self.leases, TOKEN_CHARS, position))
        return Report(lease, Outcome.COMPLETED, self.bodies[position])


class Progress(msgspec.Struct):
    """News of a running attempt."""

    lease: str
    started: bool = False
    progress: float | None = None
    """0..1"""
    details: str | None = None
    log: bytes = b""
    events: list[tuple[str, bytes]] = []
    """Names that handlers may use, each with JSON or nothing."""


class Poll(msgspec.Struct):
    """Everything a worker says in one call. Reply: `PollReply`.

    The engine answers at once if there is anything to say, else parks the poll under `ticket`
    until there is, or until `wait_ms` is over; then the reply is an effect `Answered`.
    """

    ticket: int
    """The caller's number for a parked reply; unique while parked."""
    worker: str
    """Empty: news of leases only, from nobody in particular."""
    session: str = ""
    """One start of a worker process; empty: no repeat of lost answers."""
    seq: int = 0
    profile: Profile = Profile()
    free: Amounts = Amounts()
    total: Amounts | None = None
    jobs_max: int = 0
    wait_ms: int = 0
    reports: list[Report | Completions] = []
    progress: list[Progress] = []
    running: list[str] = []
    key_id: str = ""
    """Of the key that the worker came with; shown to operators."""


class Ack(msgspec.Struct, frozen=True):
    """The answer to one report. `status` after it, or the problem."""

    lease: str
    status: Status | None = None
    problem: Problem | None = None


class Completed(msgspec.Struct, frozen=True, gc=False):
    """The answer to reports that follow each other: each attempt is completed."""

    leases: bytes
    """Joined, as in `Completions`."""


class Grant(msgspec.Struct, frozen=True, gc=False):
    """One job given out. The shell adds the spec and the checkpoint from the store."""

    lease: str
    job_id: bytes
    attempt: int
    deadline_at_ms: int
    """Wall clock: when its timeout runs out if it starts now."""
    has_checkpoint: bool = False


class Grants(msgspec.Struct, frozen=True, gc=False):
    """The jobs given out to one poll: a sequence of `Grant`s that are made when they are read."""

    leases: bytes = b""
    """The tokens, joined; so are the next two."""
    job_ids: bytes = b""
    records: bytes = b""
    deadlines_at_ms: list[int] = []
    with_checkpoint: list[int] = []
    """Positions of the jobs that have one."""

    def __len__(self) -> int:
        return len(self.deadlines_at_ms)

    def __iter__(self) -> Iterator[Grant]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, position: int) -> Grant:
        if not 0 <= position < len(self):
            raise IndexError(position)
        job = self.job(position)
        (lease,) = tokens_split(_part(self.leases, TOKEN_CHARS, position))
        at_ms = self.deadlines_at_ms[position]
        return Grant(lease, job.job_id, job.attempt, at_ms, job.has_checkpoint)

    def job(self, position: int) -> Job:
        job_id = _part(self.job_ids, ID_BYTES, position)
        return Job.unpack(job_id, _part(self.records, RECORD_BYTES, position))


def _part(joined: bytes, size: int, position: int) -> bytes:
    return joined[position * size : (position + 1) * size]


class Order(msgspec.Struct, frozen=True):
    """What a worker shall do about a lease: cancel, suspend, or forget it (lost); without a lease,
    about itself: drain or quit."""

    lease: str
    do: str


class PollReply(msgspec.Struct, frozen=True):
    acks: list[Ack | Completed] = []
    """To the reports in their order."""
    jobs: Grants = Grants()
    orders: list[Order] = []


class Withdraw(msgspec.Struct):
    """The client of a parked poll is gone, or must be answered now. Reply: None.

    A parked poll is answered empty (effect `Answered`); for an unknown ticket nothing happens.
    """

    ticket: int


# Operators --------------------------------------------------------------------------------------


@unique
class Expect(IntEnum):
    """In the place of a version: what must be there for a change to happen."""

    ANYTHING = -1
    ABSENT = 0
    PRESENT = -2


class PutDocument(msgspec.Struct):
    """Make or replace a document. Reply: the `Document`.

    Problems: PRECONDITION_FAILED, FIELD_INVALID, DOCUMENTS_TOO_MANY.
    """

    caller: Caller
    kind: Kind
    name: str
    body: bytes
    """Of `wire.documents.body_of`: valid in itself."""
    expected: int = Expect.ANYTHING
    """The version that is replaced, or an `Expect`."""


class DropDocument(msgspec.Struct):
    """Remove a document. Reply: the `Document` that was.

    Problems: DOCUMENT_UNKNOWN, PRECONDITION_FAILED, DOCUMENT_IN_USE.
    """

    caller: Caller
    kind: Kind
    name: str
    expected: int = Expect.ANYTHING


class OrderWorker(msgspec.Struct):
    """Have a worker drain or quit, or let it have jobs again. Reply: `WorkerSeen`.

    Problems: WORKER_UNKNOWN, DOCUMENTS_TOO_MANY, FIELD_INVALID.
    """

    caller: Caller
    tenant: str | None
    """Of the worker's key, empty for all; None: whichever has a worker of this name."""
    worker: str
    order: str
    """`drain`, `quit`, or nothing: it gets jobs again."""


class FindWorker(msgspec.Struct):
    """A worker that was heard of lately, or told to drain. Reply: `WorkerSeen` with its leases.

    Problems: WORKER_UNKNOWN.
    """

    caller: Caller
    tenant: str | None
    """As of `OrderWorker`."""
    worker: str


class FindWorkers(msgspec.Struct):
    """The workers that a caller may see, by tenant and name. Reply: `WorkersSeen`."""

    caller: Caller
    after: tuple[str, str]
    """Tenant and name behind which the page begins."""
    limit: int


class LeaseSeen(msgspec.Struct, frozen=True):
    job_id: bytes
    attempt: int
    progress: float
    details: str
    started_at_ms: int
    """Wall clock; 0: it has not said that it started."""
    deadline_at_ms: int


class WorkerSeen(msgspec.Struct, frozen=True):
    """What is known of a worker. All but the first three are of its polls since the start."""

    tenant: str
    """Of its key; empty: for all tenants."""
    worker: str
    order: str
    """`drain`, `quit` or nothing."""
    ordered_at_ms: int = 0
    ordered_by: str = ""
    profile: Profile | None = None
    """None: it was not heard of lately."""
    total: Amounts = Amounts()
    """What it says that it has, or the most that it offered."""
    free: Amounts | None = None
    """What it offered last, less what it was given since; None: it never asked for jobs."""
    running: int = 0
    leases: list[LeaseSeen] = []
    """The first `LIST_LIMIT_MAX` of them, if they were asked for."""
    seen_at_ms: int = 0
    session: str = ""
    key_id: str = ""


class WorkersSeen(msgspec.Struct, frozen=True):
    workers: list[WorkerSeen]
    more: bool
    """There are some behind the last."""


# Deliveries -------------------------------------------------------------------------------------


class Announce(msgspec.Struct):
    """Something happened that is not of a job. Reply: `int`, to how many endpoints it will be sent.

    Failed authentications go to who may hear of them; with an endpoint, only there.
    """

    event: str
    data: bytes
    """JSON."""
    tenant: str = ""
    """Whose; empty: nobody's that is known."""
    endpoint: bytes = b""


class Mark(msgspec.Struct):
    """A delivery was tried, or given up. Reply: `bool`; False: it waited no more, nothing changed.

    With `over`, it is not tried again.
    """

    before: Delivery
    """As it waits."""
    after: Delivery
    over: bool


class Replay(msgspec.Struct):
    """Send a delivery again, now. Reply: `bool`; False: it was not there any more."""

    delivery: Delivery
    slot: int = -1
    """Where it lies among those that are over; -1: it waits."""


# Many jobs at once ------------------------------------------------------------------------------


class StartBulk(msgspec.Struct):
    """Begin an act on many jobs. Reply: the `Document`. Problem: DOCUMENTS_TOO_MANY."""

    caller: Caller
    name: str
    """Text of a new job id: no job is meant that has a greater one."""
    value: BulkDocument
    """The caller and the times are filled in."""


class StepBulk(msgspec.Struct):
    """Act on some of its jobs. Reply: `bool`; False: it is not where the step takes it for, and
    nothing was done.
    """

    name: str
    step: int
    """How many steps were taken before."""
    job_ids: list[bytes]
    """Of jobs that match, rising, behind its place."""
    place: bytes
    """The last id that was looked at."""
    examined: int = 0
    """Jobs that were looked at."""
    corrupt: int = 0
    """Of which a row fails its checksum."""
    last: bool = False
    """There are no more."""


class StopBulk(msgspec.Struct):
    """End an act on many jobs where it is. Reply: the `Document`. Problem: DOCUMENT_UNKNOWN."""

    caller: Caller
    name: str


# Time -------------------------------------------------------------------------------------------


class Sweep(msgspec.Struct):
    """Delete finished jobs whose time is over, a bounded part, oldest id first. Reply: `Swept`."""

    after_id: bytes = b""
    """`Swept.next_id` of the part before; empty to begin."""


class Cleanup(msgspec.Struct):
    """As `Sweep`, by an operator: what ended so long ago goes, however long it was to be kept."""

    caller: Caller
    older_than_ms: int
    """By the wall clock."""
    after_id: bytes = b""


class Swept(msgspec.Struct, frozen=True):
    deleted: int
    next_id: bytes | None
    """Where the next part begins; None: this was the last."""


class Tick(msgspec.Struct):
    """Let time pass: fire what is due. `wall_ms` is the wall clock at `now_ms`. Reply: None."""

    wall_ms: int


Command = (
    Submit
    | SubmitEach
    | PutModule
    | Control
    | Explain
    | Poll
    | Withdraw
    | PutDocument
    | DropDocument
    | Sweep
    | Cleanup
    | OrderWorker
    | FindWorker
    | FindWorkers
    | Announce
    | Mark
    | Replay
    | StartBulk
    | StepBulk
    | StopBulk
    | FindDemand
    | Tick
)
