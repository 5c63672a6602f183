"""A job as the reference model knows it, and what fits what, by looking."""

import struct
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import msgspec

from headrace.core.commands import NewJobs
from headrace.core.effects import JobsStored
from headrace.core.ids import ID_BYTES
from headrace.core.job import Status
from headrace.core.resources import Amounts, Profile, Requirements
from headrace.wire.problems import Problem

RECORD: Final = struct.Struct("<BBBBB3xIIIIIIHHHHHxxQqq")
READY: Final = (Status.QUEUED, Status.RESUMING)
HELD: Final = (Status.LOCKED, Status.RUNNING, Status.SUSPENDING, Status.CANCELING)
ENDED: Final = (
    Status.COMPLETED,
    Status.FAILED,
    Status.TIMEOUT,
    Status.CANCELLED,
    Status.SKIPPED,
)


def ids_of(job_ids: bytes) -> list[bytes]:
    if len(job_ids) == ID_BYTES:
        return [job_ids]
    return [job_ids[at : at + ID_BYTES] for at in range(0, len(job_ids), ID_BYTES)]


def spec_of(need: Requirements, number: int, tags: list[str]) -> bytes:
    """Return a spec that says what its job needs, as a client would."""
    amounts = need.amounts
    asked = {
        "cpu_cores": amounts.cpu_milli / 1_000,
        "memory_mb": amounts.memory_mb,
        "storage_mb": amounts.storage_mb,
        "gpu_count": amounts.gpu_milli / 1_000,
        "gpu_type": sorted(need.gpu_models),
        "labels": dict(label.split("=") for label in sorted(need.labels)),
    }
    told = {"id": f"{number}", "name": "", "type": need.kind, "queue": need.queue}
    if need.tenant:
        told["tenant"] = need.tenant
    return msgspec.json.encode({**told, "requirements": asked, "tags": tags})


def with_member(spec: bytes, name: str, value: Any) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(spec), name: value})


def named_in(spec: bytes, after: list[bytes], any_end: bool) -> bytes:
    """Return a spec that also names the jobs to run after."""
    told = msgspec.json.decode(spec)
    told["after"] = [str(UUID(bytes=job_id)) for job_id in after]
    return msgspec.json.encode({**told, "after_any_end": any_end})


def as_known(new: NewJobs, known_as: dict[bytes, bytes]) -> NewJobs:
    """Return a job that names those it runs after by their earlier ids."""
    after = [known_as.get(job_id, job_id) for job_id in new.after]
    (spec,) = new.specs
    return msgspec.structs.replace(new, after=after, specs=[named_in(spec, after, new.any_end)])


def run_again(new: NewJobs, tags_limited: set[str]) -> NewJobs:
    """Return a job as it would have to be sent to be as it is after a redrive."""
    tags = frozenset(msgspec.json.decode(new.specs[0])["tags"])
    need = msgspec.structs.replace(new.requirements, limited_tags=tags & tags_limited)
    return msgspec.structs.replace(
        new, requirements=need, delay_ms=0, scheduled_at_ms=0, start_before_at_ms=0
    )


def each_new(jobs: list[NewJobs]) -> Iterator[NewJobs]:
    """Yield each job of a submit as a submit of it alone would have it."""
    for new in jobs:
        if len(new.specs) == 1:
            yield new
            continue
        for job_id, spec in zip(ids_of(new.job_ids), new.specs, strict=True):
            yield msgspec.structs.replace(new, job_ids=job_id, specs=[spec])


def each_submitted(reply: list[Any]) -> Iterator[Any]:
    """Yield what is told of each job: `Submitted` of it alone, or the `Problem`."""
    for told in reply:
        if isinstance(told, Problem) or len(told.job_ids) == ID_BYTES:
            yield told
        else:
            for job_id in ids_of(told.job_ids):
                yield msgspec.structs.replace(told, job_ids=job_id)


class StoredJob(msgspec.Struct):
    """One job of `JobsStored`."""

    job_id: bytes
    record: bytes
    spec: bytes
    key_digest: bytes
    request_digest: bytes


def each_stored(effect: JobsStored) -> Iterator[StoredJob]:
    keys = {position: (key, request) for position, key, request in effect.keys}
    size = RECORD.size
    assert len(effect.records) == size * len(effect.specs)
    for at, job_id in enumerate(ids_of(effect.job_ids)):
        record = effect.records[at * size : (at + 1) * size]
        yield StoredJob(job_id, record, effect.specs[at], *keys.get(at, (b"", b"")))


class ModelJob:
    """One job that the server knows."""

    __slots__ = (
        *("attempt", "cancel_at", "checkpoint", "class_id", "crashes", "due_is_wall"),
        *("due_ms", "epoch", "failures", "given_ms", "has_checkpoint", "heard_at"),
        *("heard_ms", "job_id", "key", "lease", "new", "open", "order", "outcome"),
        *("priority", "record", "since", "status", "tenant", "untold", "waits", "wanted_ms"),
    )

    def __init__(self, job_id: bytes, new: NewJobs, record: bytes) -> None:
        self.job_id = job_id
        self.new = new
        self.tenant = new.requirements.tenant or "default"
        self.lease = ""
        """Token of the lease it is under; "?" until the reply that tells it."""
        self.heard_at = 0
        """World time of the last heartbeat that the server received."""
        self.heard_ms = 0
        """Engine time of the last heartbeat that was applied."""
        self.given_ms = 0
        self.cancel_at = 0
        """World time of a cancel asked for while leased."""
        self.since = 0
        """World time at which it began to wait for `due_ms`."""
        self.wanted_ms = -1
        """The least it must wait from then; -1: not known any more."""
        self.checkpoint: bytes | None = None
        self.waits: dict[bytes, Status | None] = {}
        """By what it waits for, a job or a module: its end; None: not yet."""
        self.untold: list[bytes] = []
        """Of these, what it has not been told of."""
        self.read(record)

    def read(self, record: bytes) -> None:
        fields = RECORD.unpack(record)
        self.record = record
        self.status = Status(fields[1])
        self.priority = fields[2]
        flags = fields[3]
        self.open = bool(flags & 1)
        self.due_is_wall = bool(flags & 2)
        self.has_checkpoint = bool(flags & 4)
        self.outcome = fields[4]
        self.class_id = fields[5]
        self.attempt = fields[7]
        self.epoch = fields[8]
        self.failures = fields[13]
        self.crashes = fields[14]
        self.order = fields[16]
        self.due_ms = fields[17]
        self.key = (9 - self.priority, self.order)


class Durable:
    """One job on disk."""

    __slots__ = ("checkpoint", "finished", "log", "new", "record", "waits")

    def __init__(self, new: NewJobs, record: bytes) -> None:
        self.new = new
        self.record = record
        self.finished: Any = None
        self.waits: list[bytes] | None = None
        """What it still waits for, by its row."""
        self.log: list[tuple[int, bytes]] = []
        self.checkpoint: bytes | None = None


def fits(need: Requirements, profile: Profile, free: tuple[int, int, int, int]) -> bool:
    """Whether a worker may run a job, by the words of the documentation."""
    amounts = need.amounts
    return (
        amounts.cpu_milli <= free[0]
        and amounts.memory_mb <= free[1]
        and amounts.storage_mb <= free[2]
        and amounts.gpu_milli <= free[3]
        and (
            profile.wasm if need.kind == "" else profile.types is None or need.kind in profile.types
        )
        and (profile.queues is None or need.queue in profile.queues)
        and (not need.gpu_models or profile.gpu_model in need.gpu_models)
        and need.labels <= profile.labels
        and profile.tenant in ("", need.tenant)
    )


def less(free: tuple[int, int, int, int], need: Amounts) -> tuple[int, int, int, int]:
    return (
        free[0] - need.cpu_milli,
        free[1] - need.memory_mb,
        free[2] - need.storage_mb,
        free[3] - need.gpu_milli,
    )
