"""The bytes on disk: tables, keys, values, and which rows an effect is.

Numbers are big-endian in keys and in values, so that keys sort as their numbers do. A job id is a
UUIDv7: it begins with the 48 bits of its millisecond, so that ids sort by age and new rows go to
the right end of their table.

Each value is sealed: the CRC-32 of (table, key, payload), then the payload.

     0      4
    ┌──────┬──────────┐   CRC-32 and not CRC-32C: every language's zlib can check it, and both
    │ crc  │ payload  │   find every error of up to 32 bits in a row and miss others with 1 in 4
    └──────┴──────────┘   billion. `_seals` computes it.

Format: 1. To change a payload, a key or a table: raise `FORMAT`, keep reading what `FORMAT - 1`
wrote, keep a fixture of the old one in tests/store/fixtures.
"""

from collections.abc import Callable
from enum import IntEnum, unique
from typing import Any, Final

import msgspec

from headrace.core.deliveries import ENDPOINT_BYTES, FORGOTTEN, WAITS, Delivery
from headrace.core.effects import (
    AuditNoted,
    CheckpointStored,
    ClassDropped,
    ClassStored,
    DeliveriesDue,
    DeliveryMoved,
    DocumentDropped,
    DocumentStored,
    ExpiriesSet,
    ExpiryDropped,
    Finished,
    JobChanged,
    JobFinished,
    JobRedriven,
    JobsCompleted,
    JobsLeased,
    JobsStored,
    LogAppended,
    ModuleStored,
    OwnerStored,
    ProgressStored,
    Trail,
    Waits,
    WaitsDropped,
    WaitsStored,
)
from headrace.core.job import RECORD_BYTES, Status
from headrace.core.resources import Requirements
from headrace.store import attempts
from headrace.store._new_rows import NewRows as NewRows
from headrace.store._new_rows import put_completed, put_jobs, put_leased
from headrace.store._rows import unseal as unseal
from headrace.store._seals import seal as seal
from headrace.store.attempts import AttemptEnd
from headrace.wire.documents import AuditEntry, Document, Kind
from headrace.wire.limits import ATTEMPTS_KEPT, AUDIT_ENTRIES_MAX, DELIVERIES_KEPT, PROGRESS_KEPT
from headrace.wire.schema import Retention
from headrace.wire.webhook_ids import endpoint_of

FORMAT: Final = 1


@unique
class Table(IntEnum):
    """The tables. A number is never reused.

    ``job`` is a job's 16 bytes, ``u8 u32 u64`` are numbers, ``+`` joins fixed widths::

        table           key                 payload
        META            name                see `MetaKey`
        SPEC            job                 envelope: u32 owner + u8 length of key digest
                                            + u8 length of request digest + both + spec (JSON)
        LIVE            job                 68 bytes record + Trail (MessagePack), or no trail
        DONE            job                 u8 1 if the body is in BODIES + Finished (MessagePack)
        BODIES          job                 a body of more than BODY_INLINE_BYTES_MAX
        BY_OWNER        u32 owner + job     nothing; every job
        BY_STATUS       u8 status + job     nothing; finished jobs
        KEYS            digest              job + request digest
        CLASSES         u32 class           Requirements (MessagePack)
        OWNERS          u32 owner           tenant, user (MessagePack)
        MODULES         module              the module; its key is of core.module_keys
        MODULE_SIZES    module              u32 bytes of the module: is it here, without 4 MiB
        LOGS            job + u64 position  a piece of the log; from `PROGRESS_FIRST` on, progress:
                                            (at_ms, attempt, share, details) (MessagePack); from
                                            `ATTEMPTS_FIRST` on, attempts that ended, but for those
                                            that completed: `AttemptEnd` (MessagePack)
        CHECKPOINTS     job                 JSON
        DOCUMENTS       u8 kind + name      Document (MessagePack) without kind and name
        AUDIT           u64 number          AuditEntry (MessagePack); the newest `AUDIT_ENTRIES_MAX`
        AFTER           job                 Waits (MessagePack) of one that is INITIALIZING
        OUTBOX          16 endpoint         Delivery (MessagePack) that waits
                        + u64 due ms + u64 number
        SENT            16 endpoint         u64 number among those that are over + Delivery; the
                        + u16 slot          newest `DELIVERIES_KEPT`, in a ring
        BY_FINISHED     u8 status + u48 ms  ids of up to `FINISHED_IDS_MAX` jobs, joined: what ended
                        + job + u32 attempt at once; the key names the first
        EXPIRIES        u48 ms + job        nothing; finished jobs that said themselves how long
                                            they are kept, by when that is over
        BY_SCHEDULED    u32 owner + u48 ms  nothing; jobs that were asked for at a time, each twice:
                        + job               by owner, and under `ANY_OWNER`

    SPEC is written once and never changed; LIVE and DONE exclude each other, and each SPEC has one
    of them. BY_OWNER, BY_STATUS, BY_FINISHED, BY_SCHEDULED, EXPIRIES and MODULE_SIZES can be
    computed again from the others. An id in BY_FINISHED counts only while its job ended at that
    very time.
    """

    META = 1
    SPEC = 2
    LIVE = 3
    DONE = 4
    BY_OWNER = 5
    BY_STATUS = 6
    KEYS = 7
    CLASSES = 8
    OWNERS = 9
    MODULES = 10
    LOGS = 11
    CHECKPOINTS = 12
    BODIES = 13
    MODULE_SIZES = 14
    DOCUMENTS = 15
    AUDIT = 16
    AFTER = 22
    OUTBOX = 20
    SENT = 21
    BY_FINISHED = 17
    BY_SCHEDULED = 18
    EXPIRIES = 23


# Plain integers: an IntEnum member is hashed by its name, in Python, on each use as a dict key.
META: Final = int(Table.META)
SPEC: Final = int(Table.SPEC)
LIVE: Final = int(Table.LIVE)
DONE: Final = int(Table.DONE)
BY_OWNER: Final = int(Table.BY_OWNER)
BY_STATUS: Final = int(Table.BY_STATUS)
KEYS: Final = int(Table.KEYS)
CLASSES: Final = int(Table.CLASSES)
OWNERS: Final = int(Table.OWNERS)
MODULES: Final = int(Table.MODULES)
LOGS: Final = int(Table.LOGS)
CHECKPOINTS: Final = int(Table.CHECKPOINTS)
BODIES: Final = int(Table.BODIES)
MODULE_SIZES: Final = int(Table.MODULE_SIZES)
DOCUMENTS: Final = int(Table.DOCUMENTS)
AUDIT: Final = int(Table.AUDIT)
AFTER: Final = int(Table.AFTER)
OUTBOX: Final = int(Table.OUTBOX)
SENT: Final = int(Table.SENT)
BY_FINISHED: Final = int(Table.BY_FINISHED)
BY_SCHEDULED: Final = int(Table.BY_SCHEDULED)
EXPIRIES: Final = int(Table.EXPIRIES)


JOB_TABLES: Final = (SPEC, LIVE, DONE)
"""What a job is; the row of its key is in the first, and in one of the others."""


class MetaKey:
    """Rows of META. The first three are written once, when the store is made."""

    FORMAT: Final = b"format"
    """u32"""
    SECRET: Final = b"secret"
    """32 random bytes."""
    EPOCH: Final = b"epoch"
    """u32; one more at each restore."""
    COMMIT: Final = b"commit"
    """`CommitRecord` (MessagePack) of the last batch; in every batch."""


SECRET_BYTES: Final = 32
BODY_INLINE_BYTES_MAX: Final = 1_024
"""Longer bodies have their own row: a list of finished jobs does not read them."""
JOB_ID_BYTES: Final = 16
MS_BYTES: Final = 6
COMPLETED: Final = int(Status.COMPLETED)
FINISHED_IDS_MAX: Final = 100
"""Two such rows fill a page of the store."""
ANY_OWNER: Final = b"\xff" * 4
"""No owner's number."""
PROGRESS_FIRST: Final = 1 << 63
"""In the place of a position: reports of progress lie behind the log, for both go together."""
ATTEMPTS_FIRST: Final = PROGRESS_FIRST + (1 << 62)
"""Likewise attempts, by their numbers."""


class CommitRecord(msgspec.Struct, frozen=True, array_like=True):
    """Which batch was the last, and the chain of all batches before it."""

    shard: int
    epoch: int
    seq: int
    at_ms: int
    """The engine's clock of the batch; the clock of the next start is not behind it."""
    chain: bytes
    """BLAKE2b-128 over the previous chain and the checksums of this batch's rows."""


class Envelope(msgspec.Struct, frozen=True):
    """The payload of SPEC."""

    owner_id: int
    key_digest: bytes
    request_digest: bytes
    spec: bytes


class _End(msgspec.Struct):
    """Of `Finished`, what a sweep asks; the rest is passed over."""

    finished_at_ms: int
    record: bytes


class _SpecHead(msgspec.Struct):
    """Of a spec, what a sweep asks."""

    type: str = ""
    retention: Retention | None = None


# Keys -------------------------------------------------------------------------------------------

_BYTES: Final = [bytes([number]) for number in range(256)]
"""Quicker than a method of a status: it would be looked up in its class."""


def number_key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def by_owner_key(owner_id: int, job_id: bytes) -> bytes:
    return owner_id.to_bytes(4, "big") + job_id


def by_status_key(status: int, job_id: bytes) -> bytes:
    return _BYTES[status] + job_id


def ms_key(at_ms: int) -> bytes:
    """Return an instant as keys have it. Out of 48 bits: the nearest that is not."""
    if not 0 <= at_ms < 1 << 48:
        at_ms = 0 if at_ms < 0 else (1 << 48) - 1
    return at_ms.to_bytes(MS_BYTES, "big")


def by_finished_key(status: int, finished_at_ms: int, job_id: bytes, record: bytes) -> bytes:
    """Unlike all others: who ends twice in one way has made another attempt between."""
    attempt = record_attempt(record).to_bytes(4, "big")
    return _BYTES[status] + ms_key(finished_at_ms) + job_id + attempt


def by_scheduled_key(owner: bytes, at_ms: int, job_id: bytes) -> bytes:
    return owner + ms_key(at_ms) + job_id


def expiry_key(at_ms: int, job_id: bytes) -> bytes:
    return ms_key(at_ms) + job_id


def expiry_parse(key: bytes) -> tuple[int, bytes]:
    return int.from_bytes(key[:MS_BYTES], "big"), key[MS_BYTES:]


def log_key(job_id: bytes, position: int) -> bytes:
    return job_id + position.to_bytes(8, "big")


def progress_key(job_id: bytes, number: int) -> bytes:
    return log_key(job_id, PROGRESS_FIRST + number)


def progress_number(key: bytes) -> int:
    """Return the number of a report; negative for a piece of the log."""
    return log_position(key) - PROGRESS_FIRST


def attempt_key(job_id: bytes, attempt: int) -> bytes:
    return log_key(job_id, ATTEMPTS_FIRST + attempt)


def document_key(kind: Kind, name: str) -> bytes:
    return kind.to_bytes(1, "big") + name.encode()


def document_key_parse(key: bytes) -> tuple[Kind, str]:
    return Kind(key[0]), key[1:].decode()


def audit_key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def outbox_key(endpoint: bytes, due_ms: int, number: int) -> bytes:
    return endpoint + due_ms.to_bytes(8, "big") + number.to_bytes(8, "big")


def sent_key(endpoint: bytes, slot: int) -> bytes:
    return endpoint + slot.to_bytes(2, "big")


def sent_slot(key: bytes) -> int:
    return int.from_bytes(key[ENDPOINT_BYTES:], "big")


def log_position(key: bytes) -> int:
    return int.from_bytes(key[JOB_ID_BYTES:], "big")


# Payloads ---------------------------------------------------------------------------------------

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_trail_decode = msgspec.msgpack.Decoder(Trail).decode
_end_decode = msgspec.msgpack.Decoder(_End).decode
_head_decode = msgspec.json.Decoder(_SpecHead).decode
_finished_decode = msgspec.msgpack.Decoder(Finished).decode
_requirements_decode = msgspec.msgpack.Decoder(Requirements).decode
_owner_decode = msgspec.msgpack.Decoder(tuple[str, str]).decode
_commit_decode = msgspec.msgpack.Decoder(CommitRecord).decode
_document_decode = msgspec.msgpack.Decoder(tuple[int, int, str, bytes]).decode
_waits_decode = msgspec.msgpack.Decoder(Waits).decode
_progress_decode = msgspec.msgpack.Decoder(tuple[int, int, float, str]).decode
_audit_decode = msgspec.msgpack.Decoder(AuditEntry).decode
_delivery_decode = msgspec.msgpack.Decoder(Delivery).decode
_NO_TRAIL: Final = _encode(Trail())


def envelope_unpack(payload: bytes) -> Envelope:
    key_end = 6 + payload[4]
    request_end = key_end + payload[5]
    return Envelope(
        int.from_bytes(payload[:4], "big"),
        payload[6:key_end],
        payload[key_end:request_end],
        payload[request_end:],
    )


def live_pack(record: bytes, trail: Trail) -> bytes:
    packed = _encode(trail)
    return record if packed == _NO_TRAIL else record + packed


def live_unpack(payload: bytes) -> tuple[bytes, Trail | None]:
    """Return record and trail; None for a trail that says nothing."""
    if len(payload) == RECORD_BYTES:
        return payload, None
    return payload[:RECORD_BYTES], _trail_decode(payload[RECORD_BYTES:])


def record_attempt(record: bytes) -> int:
    return int.from_bytes(record[16:20], "little")


def record_has_checkpoint(record: bytes) -> bool:
    return bool(record[3] & 4)


def finished_pack(finished: Finished) -> tuple[bytes, bytes | None]:
    """Return the payload of DONE, and that of BODIES if it gets one."""
    body = finished.body
    if len(body) <= BODY_INLINE_BYTES_MAX:
        return b"\0" + _encode(finished), None
    return b"\1" + _encode(msgspec.structs.replace(finished, body=b"")), body


def finished_unpack(payload: bytes) -> Finished:
    """Return the terminal record; without its body, if `body_apart`."""
    return _finished_decode(payload[1:])


def ended_unpack(payload: bytes) -> tuple[int, bytes]:
    """Return when a finished job ended, and its record."""
    end = _end_decode(payload[1:])
    return end.finished_at_ms, end.record


def spec_type(spec: bytes) -> str:
    """Return the type of a job; empty for WASM."""
    return _head_decode(spec).type


def spec_retention(spec: bytes) -> Retention | None:
    """Return how long a job says that it is kept."""
    return _head_decode(spec).retention


def body_apart(payload: bytes) -> bool:
    """Whether the body of this DONE is in BODIES."""
    return payload[0] == 1


def key_pack(job_id: bytes, request_digest: bytes) -> bytes:
    return job_id + request_digest


def key_unpack(payload: bytes) -> tuple[bytes, bytes]:
    return payload[:JOB_ID_BYTES], payload[JOB_ID_BYTES:]


def class_unpack(payload: bytes) -> Requirements:
    return _requirements_decode(payload)


def owner_unpack(payload: bytes) -> tuple[str, str]:
    return _owner_decode(payload)


def document_unpack(key: bytes, payload: bytes) -> Document:
    kind, name = document_key_parse(key)
    return Document(kind, name, *_document_decode(payload))


def progress_unpack(payload: bytes) -> tuple[int, int, float, str]:
    """Return when it was, of which attempt, the share and the details."""
    return _progress_decode(payload)


def audit_unpack(payload: bytes) -> AuditEntry:
    return _audit_decode(payload)


def waits_unpack(payload: bytes) -> Waits:
    return _waits_decode(payload)


def delivery_unpack(payload: bytes) -> Delivery:
    return _delivery_decode(payload)


def sent_pack(number: int, delivery: Delivery) -> bytes:
    return number.to_bytes(8, "big") + _encode(delivery)


def sent_unpack(payload: bytes) -> tuple[int, Delivery]:
    return int.from_bytes(payload[:8], "big"), _delivery_decode(payload[8:])


def commit_pack(commit: CommitRecord) -> bytes:
    return _encode(commit)


def commit_unpack(payload: bytes) -> CommitRecord:
    return _commit_decode(payload)


# Effects ----------------------------------------------------------------------------------------


def _class_stored(rows: NewRows, effect: ClassStored) -> None:
    rows.put(CLASSES, number_key(effect.class_id), _encode(effect.requirements))


def _class_dropped(rows: NewRows, effect: ClassDropped) -> None:
    rows.set(CLASSES, number_key(effect.class_id), None)


def _owner_stored(rows: NewRows, effect: OwnerStored) -> None:
    rows.put(OWNERS, number_key(effect.owner_id), _encode((effect.tenant, effect.user)))


def _module_stored(rows: NewRows, effect: ModuleStored) -> None:
    rows.put(MODULES, effect.key, effect.data)
    rows.put(MODULE_SIZES, effect.key, number_key(len(effect.data)))


def _jobs_stored(rows: NewRows, effect: JobsStored) -> None:
    tables = (SPEC, LIVE, BY_OWNER)
    job_ids, keys = effect.job_ids, effect.keys
    put_jobs(rows, tables, effect.owner_id, job_ids, effect.records, effect.specs, keys)
    for position, key_digest, request_digest in keys:
        job_id = job_ids[position * JOB_ID_BYTES : (position + 1) * JOB_ID_BYTES]
        rows.put(KEYS, key_digest, key_pack(job_id, request_digest))
    for position, at_ms in effect.scheduled:
        job_id = job_ids[position * JOB_ID_BYTES : (position + 1) * JOB_ID_BYTES]
        for owner in (number_key(effect.owner_id), ANY_OWNER):
            rows.put(BY_SCHEDULED, by_scheduled_key(owner, at_ms, job_id), b"")


def _job_changed(rows: NewRows, effect: JobChanged) -> None:
    job_id = effect.job_id
    rows.put(LIVE, job_id, live_pack(effect.record, effect.trail))
    _attempt_ended(rows, job_id, attempts.of_change(effect, record_attempt(effect.record)))


def _attempt_ended(rows: NewRows, job_id: bytes, end: AttemptEnd | None) -> None:
    if end is not None:
        rows.put(LOGS, attempt_key(job_id, end.attempt), attempts.pack(end))
        if end.attempt > ATTEMPTS_KEPT:
            rows.set(LOGS, attempt_key(job_id, end.attempt - ATTEMPTS_KEPT), None)


def _job_finished(rows: NewRows, effect: JobFinished) -> None:
    job_id = effect.job_id
    finished = effect.finished
    done, body = finished_pack(finished)
    rows.set(LIVE, job_id, None)
    rows.put(DONE, job_id, done)
    by_status = by_status_key(finished.status, job_id)
    rows.put(BY_STATUS, by_status, b"")
    at_ms = finished.finished_at_ms
    rows.put(BY_FINISHED, by_finished_key(finished.status, at_ms, job_id, finished.record), job_id)
    if body is not None:
        rows.put(BODIES, job_id, body)
    _attempt_ended(rows, job_id, attempts.of_finish(effect, record_attempt(finished.record)))


def _jobs_leased(rows: NewRows, effect: JobsLeased) -> None:
    trail = _encode(effect.trail)
    put_leased(rows, LIVE, effect.job_ids, effect.records, b"" if trail == _NO_TRAIL else trail)


def _jobs_completed(rows: NewRows, effect: JobsCompleted) -> None:
    put_completed(
        rows,
        (LIVE, DONE, BODIES, BY_STATUS),
        COMPLETED,
        effect.finished_at_ms,
        effect.job_ids,
        effect.records,
        effect.started_at_ms,
        effect.worker,
        effect.bodies,
        BODY_INLINE_BYTES_MAX,
    )
    at_ms, job_ids, records = effect.finished_at_ms, effect.job_ids, effect.records
    step = FINISHED_IDS_MAX * JOB_ID_BYTES
    for at in range(0, len(job_ids), step):
        first = at // JOB_ID_BYTES * RECORD_BYTES
        key = by_finished_key(
            COMPLETED,
            at_ms,
            job_ids[at : at + JOB_ID_BYTES],
            records[first : first + RECORD_BYTES],
        )
        rows.put(BY_FINISHED, key, job_ids[at : at + step])


def _job_redriven(rows: NewRows, effect: JobRedriven) -> None:
    job_id = effect.job_id
    rows.put(LIVE, job_id, live_pack(effect.record, effect.trail))
    for table in (DONE, BODIES):
        rows.set(table, job_id, None)
    rows.set(BY_STATUS, by_status_key(effect.ended, job_id), None)
    if not record_has_checkpoint(effect.record):
        rows.set(CHECKPOINTS, job_id, None)


def _waits_stored(rows: NewRows, effect: WaitsStored) -> None:
    rows.put(AFTER, effect.job_id, _encode(effect.waits))


def _waits_dropped(rows: NewRows, effect: WaitsDropped) -> None:
    rows.set(AFTER, effect.job_id, None)


def _expiries_set(rows: NewRows, effect: ExpiriesSet) -> None:
    for job_id, at_ms in effect.jobs:
        rows.put(EXPIRIES, expiry_key(at_ms, job_id), b"")


def _expiry_dropped(rows: NewRows, effect: ExpiryDropped) -> None:
    rows.set(EXPIRIES, expiry_key(effect.at_ms, effect.job_id), None)


def _log_appended(rows: NewRows, effect: LogAppended) -> None:
    rows.put(LOGS, log_key(effect.job_id, effect.position), effect.chunk)


def _progress_stored(rows: NewRows, effect: ProgressStored) -> None:
    told = (effect.at_ms, effect.attempt, effect.progress, effect.details)
    rows.put(LOGS, progress_key(effect.job_id, effect.number), _encode(told))
    if effect.number >= PROGRESS_KEPT:
        rows.set(LOGS, progress_key(effect.job_id, effect.number - PROGRESS_KEPT), None)


def _checkpoint_stored(rows: NewRows, effect: CheckpointStored) -> None:
    rows.put(CHECKPOINTS, effect.job_id, effect.checkpoint)


def _document_stored(rows: NewRows, effect: DocumentStored) -> None:
    told = effect.document
    payload = _encode((told.version, told.changed_at_ms, told.changed_by, told.body))
    rows.put(DOCUMENTS, document_key(told.kind, told.name), payload)


def _document_dropped(rows: NewRows, effect: DocumentDropped) -> None:
    rows.set(DOCUMENTS, document_key(effect.kind, effect.name), None)
    if effect.kind is Kind.WEBHOOK and (endpoint := endpoint_of(effect.name)) is not None:
        for slot in range(DELIVERIES_KEPT):
            rows.set(SENT, sent_key(endpoint, slot), None)


def _audit_noted(rows: NewRows, effect: AuditNoted) -> None:
    number = effect.entry.number
    rows.put(AUDIT, audit_key(number), _encode(effect.entry))
    if number > AUDIT_ENTRIES_MAX:
        rows.set(AUDIT, audit_key(number - AUDIT_ENTRIES_MAX), None)


def _deliveries_due(rows: NewRows, effect: DeliveriesDue) -> None:
    for delivery in effect.deliveries:
        key = outbox_key(delivery.endpoint, delivery.due_ms, delivery.number)
        rows.put(OUTBOX, key, _encode(delivery))


def _delivery_moved(rows: NewRows, effect: DeliveryMoved) -> None:
    before, after = effect.before, effect.after
    if effect.slot == WAITS:
        rows.set(OUTBOX, outbox_key(before.endpoint, before.due_ms, before.number), None)
    else:
        rows.set(SENT, sent_key(before.endpoint, effect.slot), None)
    if effect.number == WAITS:
        key = outbox_key(after.endpoint, after.due_ms, after.number)
        rows.put(OUTBOX, key, _encode(after))
    elif effect.number != FORGOTTEN:
        key = sent_key(after.endpoint, effect.number % DELIVERIES_KEPT)
        rows.put(SENT, key, sent_pack(effect.number, after))


TRANSLATIONS: Final[dict[type, Callable[[NewRows, Any], None]]] = {
    ClassStored: _class_stored,
    ClassDropped: _class_dropped,
    OwnerStored: _owner_stored,
    ModuleStored: _module_stored,
    JobsStored: _jobs_stored,
    JobChanged: _job_changed,
    JobsLeased: _jobs_leased,
    JobFinished: _job_finished,
    JobsCompleted: _jobs_completed,
    JobRedriven: _job_redriven,
    WaitsStored: _waits_stored,
    WaitsDropped: _waits_dropped,
    ExpiriesSet: _expiries_set,
    ExpiryDropped: _expiry_dropped,
    LogAppended: _log_appended,
    ProgressStored: _progress_stored,
    CheckpointStored: _checkpoint_stored,
    DocumentStored: _document_stored,
    DocumentDropped: _document_dropped,
    AuditNoted: _audit_noted,
    DeliveriesDue: _deliveries_due,
    DeliveryMoved: _delivery_moved,
}
"""Effects whose rows follow from the effect alone; `JobDeleted` needs `job_deleted`."""


def job_deleted(
    rows: NewRows,
    job_id: bytes,
    owner_id: int,
    statuses: frozenset[Status],
    key_digest: bytes,
    scheduled_at_ms: int | None,
    log_keys: list[bytes],
) -> None:
    """Take away every row of a finished job but that of BY_FINISHED, which others share.

    `statuses`: those that it may be indexed under.
    """
    for table in (SPEC, LIVE, DONE, BODIES, CHECKPOINTS):
        rows.set(table, job_id, None)
    rows.set(BY_OWNER, by_owner_key(owner_id, job_id), None)
    for status in statuses:
        rows.set(BY_STATUS, by_status_key(status, job_id), None)
    if key_digest:
        rows.set(KEYS, key_digest, None)
    if scheduled_at_ms is not None:
        for owner in (number_key(owner_id), ANY_OWNER):
            rows.set(BY_SCHEDULED, by_scheduled_key(owner, scheduled_at_ms, job_id), None)
    for key in log_keys:
        rows.set(LOGS, key, None)
