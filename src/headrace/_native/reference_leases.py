"""Plain twins of the leases, and of the JSON of polls.

As in `reference.py`: slow, obvious, and compared with the compiled ones by the tests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headrace._native.reference import ID_BYTES, RECORD_BYTES, Job, JobTable
from headrace._native.reference_text import TOKEN_CHARS, Tokens, instant_text, json_is_plain

SPAN_BUCKETS = 304


def span_bucket(span_ms: int) -> int:
    bound_ms = 0
    for bucket in range(SPAN_BUCKETS):
        bound_ms += 1 if bucket < 8 else 1 << (bucket // 8 - 1)
        if span_ms <= bound_ms:
            return bucket
    return SPAN_BUCKETS - 1


class Held:
    def __init__(self) -> None:
        self.leases: list[Lease] = []

    def __len__(self) -> int:
        return len(self.leases)

    def __iter__(self) -> Iterator[Lease]:
        return iter([*self.leases])


@dataclass
class Holder:
    worker: str
    session: str = ""
    seq: int = 0
    held: Held | None = None


@dataclass(eq=False)
class Lease:
    handle: int
    job_id: bytes
    attempt: int
    epoch: int
    holder: Holder
    granted_ms: int
    expires_ms: int
    deadline_ms: int
    deadline_at_ms: int
    started_at_ms: int = 0
    cancel_by_ms: int = 0
    progress: float = 0.0
    details: str = ""
    noted: int = -1
    noted_ms: int = 0
    unsaved: bool = False
    log_bytes: int = -1
    log_cut: bool = False
    order: str = ""
    told_ms: int = -1
    ticket: int = -1

    def __post_init__(self) -> None:
        if len(self.job_id) != ID_BYTES:
            raise ValueError(f"an id has {ID_BYTES} bytes")


@dataclass
class Granted:
    tokens: bytes = b""
    job_ids: bytes = b""
    records: bytes = b""
    deadlines_at_ms: list[int] = field(default_factory=list)
    by_class: Counter[int] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    reached: dict[int, int] = field(default_factory=dict)
    waited_ms: int = 0
    by_wait: Counter[int] = field(default_factory=Counter)
    with_checkpoint: list[int] = field(default_factory=list)
    with_deadline_to_start: list[int] = field(default_factory=list)


@dataclass
class Ended:
    count: int = 0
    worker: str | None = None
    job_ids: bytes = b""
    records: bytes = b""
    started_at_ms: list[int] = field(default_factory=list)
    by_class: Counter[int] = field(default_factory=Counter)
    bytes_by_class: Counter[int] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    by_granted_ms: Counter[int] = field(default_factory=Counter)
    with_webhook: bool = False
    with_retention: bool = False


def _waited_ms(job: Job, now_ms: int, wall_ms: int) -> int:
    if job.due_ms:
        return (wall_ms if job.due_is_wall else now_ms) - job.due_ms
    return wall_ms - int.from_bytes(job.job_id[:6], "big")


class LeaseTable:
    """Leases in a list of slots, the last freed one used first."""

    def __init__(self, jobs: JobTable, tokens: Tokens) -> None:
        if jobs.record_bytes != RECORD_BYTES:
            raise TypeError(f"records of {jobs.record_bytes} bytes are no jobs")
        self._jobs = jobs
        self._tokens = tokens
        self._slots: list[Lease | None] = []
        self._free: list[int] = []
        self._due_ms: dict[int, int] = {}

    def add(self, lease: Lease, due_ms: int) -> None:
        assert lease not in self, "it is held already"
        if due_ms < 0:
            raise OverflowError("due_ms is not negative")
        if self.of(lease.handle) is not None:
            raise KeyError(lease.handle)
        if self._free:
            slot = self._free.pop()
        else:
            slot = len(self._slots)
            self._slots.append(None)
        self._slots[slot] = lease
        self._due_ms[slot] = due_ms
        if lease.holder.held is not None:
            lease.holder.held.leases.append(lease)

    def drop(self, lease: Lease) -> None:
        slot = self._slot(lease)
        self._slots[slot] = None
        self._free.append(slot)
        self._due_ms.pop(slot, None)
        if lease.holder.held is not None:
            lease.holder.held.leases.remove(lease)

    def of(self, handle: int) -> Lease | None:
        return next((lease for lease in self if lease.handle == handle), None)

    def named(self, token: str) -> Lease | None:
        return next((lease for lease in self if self.token(lease) == token), None)

    def token(self, lease: Lease) -> str:
        return self._tokens.text(lease.job_id, lease.attempt, lease.epoch)

    def __contains__(self, lease: Lease) -> bool:
        return lease in self._slots

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Lease]:
        return iter([lease for lease in self._slots if lease is not None])

    def due_set(self, lease: Lease, due_ms: int) -> None:
        slot = self._slot(lease)
        if due_ms < 0:
            raise OverflowError("due_ms is not negative")
        self._due_ms[slot] = due_ms

    def due_of(self, lease: Lease) -> int | None:
        return self._due_ms.get(self._slot(lease)) if lease in self else None

    def due_ms(self) -> int | None:
        return min(self._due_ms.values(), default=None)

    def pop_due(self, now_ms: int, limit: int) -> list[Lease]:
        due = sorted((at_ms, slot) for slot, at_ms in self._due_ms.items() if at_ms <= now_ms)
        slots = [slot for _, slot in due[: max(0, limit)]]
        for slot in slots:
            del self._due_ms[slot]
        return [lease for slot in slots if (lease := self._slots[slot]) is not None]

    def grant(
        self,
        handles: list[int],
        event: Any,
        epoch: int,
        holder: Holder,
        now_ms: int,
        wall_ms: int,
        lease_ms: int,
        grace_ms: int,
    ) -> Granted:
        done = Granted()
        for position, handle in enumerate(handles):
            job = self._jobs.load(handle)
            done.by_class[job.class_id] += 1
            done.by_status[int(job.status)] += 1
            wait_ms = _waited_ms(job, now_ms, wall_ms)
            done.waited_ms += max(0, wait_ms)
            done.by_wait[span_bucket(wait_ms)] += 1
            if job.attempt == 0:
                done.reached[job.priority] = job.order
            if job.attempt == 0 and job.start_before_at_ms:
                done.with_deadline_to_start.append(handle)
            if job.has_checkpoint:
                done.with_checkpoint.append(position)
            job.move(event)
            job.lease(epoch)
            lease = Lease(
                handle,
                job.job_id,
                job.attempt,
                epoch,
                holder,
                now_ms,
                now_ms + lease_ms,
                now_ms + job.timeout_ms,
                wall_ms + job.timeout_ms,
                noted=0 if job.attempt == 1 else -1,
                log_bytes=0 if job.attempt == 1 else -1,
            )
            self.add(lease, min(lease.expires_ms, lease.deadline_ms + grace_ms))
            self._jobs.set(handle, job.pack())
            done.tokens += self.token(lease).encode()
            done.job_ids += job.job_id
            done.records += job.pack()
            done.deadlines_at_ms.append(lease.deadline_at_ms)
        return done

    def complete(
        self,
        tokens: bytes,
        start: int,
        event: Any,
        outcome: int,
        now_ms: int,
        wall_ms: int,
        own: set[int] | None = None,
    ) -> Ended:
        assert len(tokens) % TOKEN_CHARS == 0
        assert 0 <= start <= len(tokens) // TOKEN_CHARS
        done = Ended()
        for at in range(start * TOKEN_CHARS, len(tokens), TOKEN_CHARS):
            lease = self.named(tokens[at : at + TOKEN_CHARS].decode("latin-1"))
            if lease is None or done.worker not in (None, lease.holder.worker):
                break
            done.worker = lease.holder.worker
            job = self._jobs.load(lease.handle)
            if own is not None and job.class_id not in own:
                break
            if not job.can(event):
                break
            done.count += 1
            done.by_class[job.class_id] += 1
            if job.spec_bytes:
                done.bytes_by_class[job.class_id] += job.spec_bytes
            done.by_status[int(job.status)] += 1
            done.by_granted_ms[lease.granted_ms] += 1
            done.with_webhook = done.with_webhook or job.has_webhook
            done.with_retention = done.with_retention or job.has_retention
            job.close(outcome)
            job.move(event)
            done.job_ids += job.job_id
            done.records += job.pack()
            started_at_ms = lease.started_at_ms or wall_ms - (now_ms - lease.granted_ms)
            done.started_at_ms.append(started_at_ms)
            self.drop(lease)
            self._jobs.remove(lease.handle)
        return done

    def memory_bytes(self) -> int:
        return len(self._slots) * 8

    def check(self) -> None:
        handles = [lease.handle for lease in self]
        assert len(handles) == len(set(handles))

    def _slot(self, lease: Lease) -> int:
        assert lease in self._slots, "it is not held"
        return self._slots.index(lease)


# The JSON of polls ------------------------------------------------------------------------------


def reports_read(
    data: bytes, result_bytes_max: int, depth_max: int
) -> list[tuple[bytes, list[bytes]] | bytes] | None:
    items = _items(data)
    if items is None:
        return None
    found: list[tuple[bytes, list[bytes]] | bytes] = []
    for item in items:
        plain = _completion(item, result_bytes_max, depth_max)
        if plain is None:
            found.append(item)
            continue
        token, body = plain
        before = found[-1] if found else b""
        if isinstance(before, tuple):
            before[1].append(body)
            found[-1] = (before[0] + token, before[1])
        else:
            found.append((token, [body]))
    return found


def _items(data: bytes) -> list[bytes] | None:
    """Return the texts of the objects in an array."""
    text = data.decode("latin-1")  # a character a byte
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        return None
    items: list[bytes] = []
    at = _skip(text, at + 1)
    while text[at : at + 1] != "]" or items:
        if text[at : at + 1] != "{":
            return None
        try:
            _, end = decoder.raw_decode(text, at)
        except ValueError:
            return None
        items.append(data[at:end])
        at = _skip(text, end)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            return None
        at = _skip(text, at + 1)
    return items if _skip(text, at + 1) == len(text) else None


def _completion(item: bytes, result_bytes_max: int, depth_max: int) -> tuple[bytes, bytes] | None:
    text = item.decode("latin-1")
    decoder = json.JSONDecoder()
    members: dict[str, bytes] = {}
    at = _skip(text, 1)
    while text[at] == '"':
        name, end = decoder.raw_decode(text, at)
        if not _is_letters(item[at:end]) or name in members:
            return None
        begin = _skip(text, _skip(text, end) + 1)
        _, end = decoder.raw_decode(text, begin)
        members[name] = item[begin:end]
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    result = members.pop("result", b"")
    lease = members.pop("lease", b"")
    if members != {"outcome": b'"completed"'}:
        return None
    if len(lease) != TOKEN_CHARS + 2 or not _is_letters(lease):
        return None
    if not result:
        return lease[1:-1], b""
    if len(result) > result_bytes_max or not json_is_plain(result, depth_max):
        return None
    return lease[1:-1], b'{"result":' + result + b"}"


def _is_letters(data: bytes) -> bool:
    """Return whether this is a JSON text of ASCII without escapes."""
    return data[:1] == b'"' and b"\\" not in data and json_is_plain(data, 0)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\t", "\r") and at < len(text):
        at += 1
    return at


def acks_json(tokens: bytes, before: bytes, behind: bytes) -> bytes:
    return b",".join(before + token + behind for token in _parts(tokens, TOKEN_CHARS))


def work_json(
    tokens: bytes,
    records: bytes,
    deadlines_at_ms: list[int],
    specs: list[bytes | None],
    checkpoints: dict[int, bytes],
) -> bytes:
    found: list[bytes] = []
    rest = zip(
        _parts(tokens, TOKEN_CHARS),
        _parts(records, RECORD_BYTES),
        deadlines_at_ms,
        specs,
        strict=True,
    )
    for position, (token, record, at_ms, spec) in enumerate(rest):
        if spec is None:
            continue
        attempt = int.from_bytes(record[16:20], "little")
        checkpoint = checkpoints.get(position)
        found.append(
            b'{"lease":"%b","job":%b,"attempt":%d,"deadline":"%b"%b}'
            % (
                token,
                spec,
                attempt,
                (instant_text(at_ms) or "").encode(),
                b"" if checkpoint is None else b',"checkpoint":' + checkpoint,
            )
        )
    return b",".join(found)


def _parts(joined: bytes, size: int) -> list[bytes]:
    return [joined[at : at + size] for at in range(0, len(joined), size)]
