"""What happened: the engine's output, in order. The store writes effects, and only effects.

Versioned by `EFFECTS_FORMAT`: a later journal carries this stream to other nodes. `Answered` and
`Noted` are for the shell and are not stored.
"""

from typing import Final

import msgspec

from headrace.core.commands import PollReply
from headrace.core.deliveries import Delivery
from headrace.core.ids import ID_BYTES
from headrace.core.job import RECORD_BYTES, Event, Status
from headrace.core.resources import Requirements
from headrace.wire.documents import AuditEntry, Document, Kind

EFFECTS_FORMAT: Final = 1


class ClassStored(msgspec.Struct, frozen=True, tag=1):
    """A class of requirements has its first live job."""

    class_id: int
    requirements: Requirements


class ClassDropped(msgspec.Struct, frozen=True, tag=2):
    """A class has no live job any more; its number may come again."""

    class_id: int


class OwnerStored(msgspec.Struct, frozen=True, tag=3):
    """A (tenant, user) submits for the first time. Numbers are never reused."""

    owner_id: int
    tenant: str
    user: str


class ModuleStored(msgspec.Struct, frozen=True, tag=4):
    key: bytes
    """By `module_keys`."""
    data: bytes


class JobsStored(msgspec.Struct, frozen=True, gc=False, tag=5):
    """Jobs were accepted: all of one submit, in its order."""

    owner_id: int
    job_ids: bytes
    """16 bytes each, joined."""
    records: bytes
    """`RECORD_BYTES` each, joined."""
    specs: list[bytes]
    keys: list[tuple[int, bytes, bytes]] = []
    """Of those with an idempotency key, rising: which it is, key digest, request digest."""
    scheduled: list[tuple[int, int]] = []
    """Of those that were asked for at a time, rising: which it is, wall clock in ms."""


class Trail(msgspec.Struct, omit_defaults=True, gc=False):
    """What is kept of a live job beside its record: for display, and to find leases again.

    Persisted behind the record; not in memory while the job waits.
    """

    updated_at_ms: int = 0
    started_at_ms: int = 0
    worker: str = ""
    session: str = ""
    seq: int = 0
    error: str = ""
    """Of the last failed attempt."""
    code: str = ""


class JobChanged(msgspec.Struct, frozen=True, gc=False, tag=6):
    """A live job took `event`; it stays live."""

    job_id: bytes
    event: Event
    record: bytes
    trail: Trail


class JobsLeased(msgspec.Struct, frozen=True, gc=False, tag=11):
    """Live jobs took LEASE, all by one poll."""

    job_ids: bytes
    """Joined, as are the records."""
    records: bytes
    trail: Trail


class Finished(msgspec.Struct, omit_defaults=True, gc=False):
    """The terminal record: written once, never changed; gone if the job is redriven."""

    status: Status
    finished_at_ms: int
    record: bytes
    """The last `Job` record: counters, attempt, epoch, outcome."""
    started_at_ms: int = 0
    worker: str = ""
    error: str = ""
    code: str = ""
    body: bytes = b""
    """Encoded `wire.schema.ReportBody`, as the worker sent it."""


class JobFinished(msgspec.Struct, frozen=True, gc=False, tag=7):
    job_id: bytes
    event: Event
    finished: Finished


class JobsCompleted(msgspec.Struct, frozen=True, gc=False, tag=12):
    """Live jobs took COMPLETE, all reported in one poll, and left by one worker."""

    job_ids: bytes
    """Joined, as are the records."""
    records: bytes
    finished_at_ms: int
    worker: str
    started_at_ms: list[int]
    bodies: list[bytes]

    def finished(self, position: int) -> Finished:
        """Return what `JobFinished` would say of one of them."""
        at = position * RECORD_BYTES
        return Finished(
            Status.COMPLETED,
            self.finished_at_ms,
            self.records[at : at + RECORD_BYTES],
            self.started_at_ms[position],
            self.worker,
            body=self.bodies[position],
        )


class Waits(msgspec.Struct, array_like=True, gc=False):
    """What a job waits for before it may run."""

    keys: list[bytes]
    """Ids of jobs, and the sha256 of a module: what is not there yet."""
    any_end: bool = False
    """Whatever the end of those jobs is."""
    entry_point: str = ""
    """That the module must have."""

    def module(self) -> bool:
        """Say whether a module is among it."""
        return any(len(key) > ID_BYTES for key in self.keys)


class WaitsStored(msgspec.Struct, frozen=True, gc=False, tag=17):
    """A job is INITIALIZING until all this has come to pass; in the place of what was before."""

    job_id: bytes
    waits: Waits


class WaitsDropped(msgspec.Struct, frozen=True, gc=False, tag=18):
    """A job is INITIALIZING no more."""

    job_id: bytes


class JobRedriven(msgspec.Struct, frozen=True, gc=False, tag=16):
    """A finished job took `event` and is live again. Its terminal record is gone."""

    job_id: bytes
    event: Event
    ended: Status
    """What it was."""
    record: bytes
    trail: Trail
    """With the error and the code of that end."""


class JobDeleted(msgspec.Struct, frozen=True, tag=8):
    """A finished job's record is removed, with its log, checkpoint and idempotency key."""

    job_id: bytes
    owner_id: int


class ExpiriesSet(msgspec.Struct, frozen=True, gc=False, tag=19):
    """Jobs that have ended said how long they are kept: each with when that is over, wall clock."""

    jobs: list[tuple[bytes, int]]


class ExpiryDropped(msgspec.Struct, frozen=True, tag=20):
    """What is noted of when a job is over is of no end that it has had."""

    job_id: bytes
    at_ms: int


class LogAppended(msgspec.Struct, frozen=True, tag=9):
    """A piece of a job's log. `position` rises; it orders the pieces."""

    job_id: bytes
    position: int
    chunk: bytes


class ProgressStored(msgspec.Struct, frozen=True, gc=False, tag=30):
    """A report of a job's progress that is kept; the newest `PROGRESS_KEPT` are."""

    job_id: bytes
    number: int
    """Rises by one, over all attempts."""
    at_ms: int
    """Wall clock."""
    attempt: int
    progress: float
    details: str


class CheckpointStored(msgspec.Struct, frozen=True, tag=10):
    job_id: bytes
    checkpoint: bytes


class DocumentStored(msgspec.Struct, frozen=True, tag=11):
    document: Document


class DocumentDropped(msgspec.Struct, frozen=True, tag=12):
    kind: Kind
    name: str


class AuditNoted(msgspec.Struct, frozen=True, tag=13):
    """An admin did something; beside the effects of what was done."""

    entry: AuditEntry


class DeliveriesDue(msgspec.Struct, frozen=True, tag=14):
    """Events happened that somebody wants to hear of: in the commit of what made them."""

    deliveries: list[Delivery]


class DeliveryMoved(msgspec.Struct, frozen=True, tag=15):
    """A delivery was tried, given up, or asked for again."""

    before: Delivery
    slot: int
    """Where it lay among those that are over; -1: it waited."""
    after: Delivery
    number: int
    """Of those of its webhook that are over; or `deliveries.WAITS`, `deliveries.FORGOTTEN`."""


StoredEffect = (
    ClassStored
    | ClassDropped
    | OwnerStored
    | ModuleStored
    | JobsStored
    | JobChanged
    | JobsLeased
    | JobFinished
    | JobsCompleted
    | JobRedriven
    | WaitsStored
    | WaitsDropped
    | JobDeleted
    | ExpiriesSet
    | ExpiryDropped
    | LogAppended
    | ProgressStored
    | CheckpointStored
    | DocumentStored
    | DocumentDropped
    | AuditNoted
    | DeliveriesDue
    | DeliveryMoved
)


class Answered(msgspec.Struct, frozen=True):
    """A parked poll has its reply. For the shell."""

    ticket: int
    reply: PollReply


class Noted(msgspec.Struct, frozen=True, gc=False):
    """A job's progress moved, in memory only. For watchers in the shell."""

    job_id: bytes
    progress: float
    details: str


Effect = StoredEffect | Answered | Noted


def ids_split(joined: bytes) -> list[bytes]:
    """Return the job ids that are joined."""
    return [joined[at : at + ID_BYTES] for at in range(0, len(joined), ID_BYTES)]
