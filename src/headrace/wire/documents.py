"""Documents: what operators set. Small, named, and each of one of a few kinds.

A document is stored as JSON in the table DOCUMENTS, under its kind and name, with a version. It is
changed as a whole, and every change gets a higher version than any before: who says which version
is meant never overwrites what somebody else has changed meanwhile.
"""

from enum import IntEnum, unique
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headrace.wire import limits
from headrace.wire.keys import KeyDocument
from headrace.wire.schema import ABSENT, JobFilter, Requirements


@unique
class Kind(IntEnum):
    """Stored; a number is never reused."""

    QUEUE = 1
    TYPE = 2
    GROUP = 3
    KEY = 4
    WEBHOOK = 5
    LIMIT = 6
    TENANT = 7
    WORKER = 8
    BULK = 10


Description = Annotated[str, Meta(max_length=limits.DESCRIPTION_CHARS_MAX)]


class QueueDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A queue's settings. What is not said here is as the configuration says."""

    capacity: Annotated[int, Meta(ge=0, le=limits.QUEUE_CAPACITY_MAX)] | UnsetType | None = UNSET
    """Jobs that run at once; null: no limit."""
    paused: bool = False
    """Nothing of it is given out; what runs goes on."""
    backlog_max: int | None = None
    """Jobs that have not ended and that no worker holds; a submit beyond is refused."""
    description: Description = ""


class GroupDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Job types that belong together."""

    queue: str = ""
    """Of jobs of its types that name none; empty: `default`."""
    description: Description = ""


KEEP_FOREVER: Final = -1


class TypeDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A registered job type: what its jobs get where they say nothing, and what they must fit.

    None: as for jobs without a registered type.
    """

    group: str = ""
    name: str = ""
    """For people; the document's name is the type."""
    description: Description = ""
    timeout_ms: int | None = None
    max_retries: int | None = None
    retry_delay_ms: int | None = None
    retry_backoff: float | None = None
    priority: int | None = None
    requirements: Requirements | None = None
    suspendable: bool = True
    """False: its jobs cannot be suspended."""
    params_schema: msgspec.Raw = ABSENT
    """JSON Schema 2020-12 of the params."""
    retention_ms: int | None = None
    """How long its finished jobs are kept; `KEEP_FOREVER`: for ever."""


class RunningMax(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Amounts of resources and a number of jobs. None: no limit."""

    jobs: int | None = None
    cpu_milli: int | None = None
    memory_mb: int | None = None
    storage_mb: int | None = None
    gpu_milli: int | None = None


class LimitDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of one type, tenant or tag may run, and start. One of the three is not empty."""

    type: str = ""
    tenant: str = ""
    tag: str = ""
    concurrency: int | None = None
    """Jobs that run at once; None: no limit."""
    rate_starts: int | None = None
    """Jobs that start within any `rate_per_ms`; None: no limit."""
    rate_per_ms: int = 0
    description: Description = ""


class TenantDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tenant's settings."""

    weight: Annotated[int, Meta(ge=1, le=limits.TENANT_WEIGHT_MAX)] = limits.TENANT_WEIGHT_DEFAULT
    """Its share of the workers, next to the weights of others that have jobs waiting."""
    jobs_max: int | None = None
    """Jobs that have not ended."""
    bytes_max: int | None = None
    """Bytes of those jobs, each as it is stored; without modules."""
    running_max: RunningMax | None = None
    """What its jobs that run take up together."""
    job_max: RunningMax | None = None
    """What one job may ask for; `jobs` means nothing here."""
    description: Description = ""


class WorkerDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker was told. Its name is `worker_document(…)`; without one, it gets jobs."""

    order: Literal["drain", "quit"]


def worker_document(tenant: str, worker: str) -> str:
    """Return the name of a worker's document. `tenant`: of its key; empty for all."""
    return f"{tenant}\0{worker}"


class WebhookDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where somebody wants events sent. With no URL: what signs those to URLs that jobs name."""

    tenant: str
    user: str
    """Who registered it."""
    url: str = ""
    events: tuple[str, ...] = ()
    """Names and patterns; see `wire.events`."""
    secrets: tuple[str, ...] = ()
    """The newest first."""
    retire_at_ms: int = 0
    """Wall clock: from then on only the newest secret signs; 0: there is one."""
    every_user: bool = False
    """True: of all jobs of the tenant, not only of the user's own."""
    of_server: bool = False
    """True: of keys that nobody knows, too."""
    disabled: str = ""
    """Why nothing is sent there; empty while it is."""
    description: Description = ""

    def __repr__(self) -> str:
        """Leave out the secrets, and the URL: people put secrets into those too."""
        return f"WebhookDocument({self.tenant!r}, {self.user!r})"

    def signing(self, now_ms: int) -> tuple[str, ...]:
        """Return the secrets that sign now."""
        return self.secrets[:1] if self.retire_at_ms <= now_ms else self.secrets


BulkState = Literal["running", "completed", "cancelled"]


class BulkDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An act on many jobs, and how far it is. Its name is an id: jobs with greater ones are not
    meant.
    """

    act: str
    filter: JobFilter
    """As it was asked."""
    query: msgspec.Raw
    """The same as the store reads it."""
    statuses: list[int]
    """What a job may be when its turn comes."""
    retrying_only: bool = False
    """One that is SCHEDULED counts only if it has an attempt behind it."""
    dry_run: bool = False
    tenant: str
    user: str
    admin: bool = False
    key_id: str = ""
    state: BulkState = "running"
    steps: int = 0
    place: str = ""
    """Hex of the last id looked at; all up to it are done with."""
    examined: int = 0
    matched: int = 0
    done: int = 0
    skipped: dict[str, int] = {}
    """Why, as the codes of problems, and how often."""
    started_at_ms: int = 0
    finished_at_ms: int = 0


VALUES: Final[dict[Kind, Any]] = {
    Kind.QUEUE: QueueDocument,
    Kind.TYPE: TypeDocument,
    Kind.GROUP: GroupDocument,
    Kind.KEY: KeyDocument,
    Kind.WEBHOOK: WebhookDocument,
    Kind.TENANT: TenantDocument,
    Kind.WORKER: WorkerDocument,
    Kind.LIMIT: LimitDocument,
    Kind.BULK: BulkDocument,
}
"""What the body of a document is, by kind. A new field needs a default: old bodies lack it."""

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decoders: Final = {kind: msgspec.json.Decoder(value) for kind, value in VALUES.items()}


class Document(msgspec.Struct, frozen=True):
    """A document as it is kept."""

    kind: Kind
    name: str
    version: int
    changed_at_ms: int
    """Wall clock."""
    changed_by: str
    """The user."""
    body: bytes
    """JSON; see `VALUES`."""

    def value(self) -> Any:
        return _decoders[self.kind].decode(self.body)


def body_of(value: Any) -> bytes:
    """Encode the value of a document."""
    return _encode(value)


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act of an admin: who did what, and when. No secrets, no contents."""

    number: int
    """Rises by one with each act; never reused."""
    at_ms: int
    """Wall clock."""
    tenant: str
    user: str
    key_id: str = ""
    """Empty in open mode."""
    act: str
    """Such as `queue_put`."""
    name: str = ""
    """Of what it was done to."""
    detail: str = ""
