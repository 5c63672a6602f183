"""Plain-Python twins of the compiled structures: same names, same signatures, linear scans.

Each class here is meant to be obviously right and nothing else. Tests run every sequence of
operations on a compiled structure and on its twin and compare all answers.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Final

from headrace._native.reference_heap import HANDLE_MAX, KEY_MAX, check_range

AMOUNT_MAX = 2**31 - 1  # per dimension of a need; a larger free amount counts as this much
QUEUE_MAX = 2**20 - 1  # queues are a dense table
ID_BYTES = 16
_HEAD = struct.Struct("<BBB5xIII")
_TAIL = struct.Struct("<Q8xq")
UNLIMITED = -1
RECORD_FORMAT = 1
ORDER_BITS = 60
_RECORD = struct.Struct("<BBBBIIIIIIIHHHHHxxQqq")
RECORD_BYTES = _RECORD.size  # 68
ROW_BYTES = ID_BYTES + RECORD_BYTES

Need = tuple[int, int, int, int]
ClassInfo = tuple[int, int, Need, frozenset[int], frozenset[int]]


class Life:
    """What `learn_life` was told."""

    statuses: ClassVar[dict[int, Any]] = {}
    transitions: ClassVar[dict[Any, Any]] = {}
    refusal: ClassVar[Callable[..., Exception]] = AssertionError


def learn_life(
    statuses: Iterable[Any], transitions: dict[Any, Any], refusal: Callable[..., Exception]
) -> None:
    Life.statuses = {int(status): status for status in statuses}
    Life.transitions = transitions
    Life.refusal = refusal


class Job:
    """The changing part of a live job: what its record says, field by field."""

    def __init__(
        self,
        job_id: bytes,
        status: int,
        priority: int,
        class_id: int,
        owner_id: int,
        order: int,
        timeout_ms: int,
        retry_delay_ms: int,
        retry_backoff_centi: int,
        retries_max: int,
        attempt: int = 0,
        epoch: int = 0,
        attempt_open: bool = False,
        outcome: int = 0,
        failures: int = 0,
        crashes: int = 0,
        stops: int = 0,
        due_ms: int = 0,
        due_is_wall: bool = False,
        start_before_at_ms: int = 0,
        has_checkpoint: bool = False,
        has_webhook: bool = False,
        spec_bytes: int = 0,
        has_retention: bool = False,
    ) -> None:
        if len(job_id) != ID_BYTES:
            raise ValueError(f"an id has {ID_BYTES} bytes")
        self.job_id = job_id
        self.status = _status(status)
        self.priority = priority
        self.class_id = class_id
        self.owner_id = owner_id
        self.order = order
        self.timeout_ms = timeout_ms
        self.retry_delay_ms = retry_delay_ms
        self.retry_backoff_centi = retry_backoff_centi
        self.retries_max = retries_max
        self.attempt = attempt
        self.epoch = epoch
        self.attempt_open = attempt_open
        self.outcome = outcome
        self.failures = failures
        self.crashes = crashes
        self.stops = stops
        self.due_ms = due_ms
        self.due_is_wall = due_is_wall
        self.start_before_at_ms = start_before_at_ms
        self.has_checkpoint = has_checkpoint
        self.has_webhook = has_webhook
        self.spec_bytes = spec_bytes
        self.has_retention = has_retention

    def pack(self) -> bytes:
        return _RECORD.pack(
            RECORD_FORMAT,
            self.status,
            self.priority,
            self.attempt_open
            | self.due_is_wall << 1
            | self.has_checkpoint << 2
            | self.has_webhook << 3
            | self.has_retention << 4,
            self.outcome | self.spec_bytes << 8,
            self.class_id,
            self.owner_id,
            self.attempt,
            self.epoch,
            self.timeout_ms,
            self.retry_delay_ms,
            self.retry_backoff_centi,
            self.retries_max,
            min(self.failures, 0xFFFF),
            min(self.crashes, 0xFFFF),
            min(self.stops, 0xFFFF),
            self.order,
            self.due_ms,
            self.start_before_at_ms,
        )

    def pack_alike(self, specs: list[bytes], step: int) -> tuple[bytes, int]:
        first, of_this = self.order, self.spec_bytes
        records = []
        for position, spec in enumerate(specs):
            self.order, self.spec_bytes = first + position * step, len(spec)
            records.append(self.pack())
        self.order, self.spec_bytes = first, of_this
        return b"".join(records), sum(map(len, specs))

    @classmethod
    def unpack(cls, job_id: bytes, record: bytes) -> Job:
        if len(record) != RECORD_BYTES:
            raise ValueError(f"a job record has {RECORD_BYTES} bytes, not {len(record)}")
        record_format, status, priority, flags, outcome, *numbers = _RECORD.unpack(record)
        if record_format != RECORD_FORMAT:
            raise ValueError(f"job record of format {record_format}, not {RECORD_FORMAT}")
        class_id, owner_id, attempt, epoch, timeout_ms, retry_delay_ms, *numbers = numbers
        retry_backoff_centi, retries_max, failures, crashes, stops, *numbers = numbers
        order, due_ms, start_before_at_ms = numbers
        return cls(
            job_id,
            status,
            priority,
            class_id,
            owner_id,
            order,
            timeout_ms,
            retry_delay_ms,
            retry_backoff_centi,
            retries_max,
            attempt,
            epoch,
            bool(flags & 1),
            outcome & 0xFF,
            failures,
            crashes,
            stops,
            due_ms,
            bool(flags & 2),
            start_before_at_ms,
            bool(flags & 4),
            bool(flags & 8),
            outcome >> 8,
            bool(flags & 16),
        )

    def move(self, event: Any) -> None:
        target = Life.transitions.get((self.status, event))
        if target is None:
            raise Life.refusal(self.job_id, self.status, event, repr(self))
        self.status = target

    def can(self, event: Any) -> bool:
        return (self.status, event) in Life.transitions

    def lease(self, epoch: int) -> None:
        self.attempt += 1
        self.epoch = epoch
        self.attempt_open = True
        self.outcome = 0

    def close(self, outcome: int) -> None:
        self.attempt_open = False
        self.outcome = outcome

    @property
    def match_key(self) -> int:
        return (9 - self.priority) << ORDER_BITS | self.order

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Job):
            return NotImplemented
        return self.job_id == other.job_id and self.pack() == other.pack()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Job({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def _status(number: int) -> Any:
    if number not in Life.statuses:
        raise ValueError(f"no job has the status {number}")
    return Life.statuses[number]


class JobTable:
    """Fixed-size opaque records, found by a 16-byte id or by handle; handles are reused."""

    def __init__(self, record_bytes: int) -> None:
        if record_bytes <= 0:
            raise ValueError("record_bytes must be positive")
        self.record_bytes = record_bytes
        self._rows: list[tuple[bytes, bytes] | None] = []
        self._free: list[int] = []

    def add(self, job_id: bytes, record: bytes) -> int:
        self._check_sizes(job_id, record)
        if self.find(job_id) >= 0:
            raise KeyError(job_id)
        if self._free:
            handle = self._free.pop()
            self._rows[handle] = (job_id, record)
        else:
            handle = len(self._rows)
            self._rows.append((job_id, record))
        return handle

    def add_many(self, rows: bytes) -> int:
        row_bytes = ID_BYTES + self.record_bytes
        if len(rows) % row_bytes:
            raise ValueError(f"a row has {row_bytes} bytes here")
        assert not self._free, "handles would not follow each other"
        first = len(self._rows)
        last = self.id(first - 1) if first else b""
        for at in range(0, len(rows), row_bytes):
            job_id = rows[at : at + ID_BYTES]
            if job_id <= last:
                raise ValueError("the ids do not rise")
            last = job_id
            self.add(job_id, rows[at + ID_BYTES : at + row_bytes])
        return first

    def add_alike(self, job_ids: bytes, records: bytes) -> list[int]:
        size = self.record_bytes
        count, over = divmod(len(job_ids), ID_BYTES)
        if over or len(records) != count * size:
            raise ValueError(f"a job has an id of 16 bytes and a record of {size}")
        return [
            self.add(job_ids[at * ID_BYTES :][:ID_BYTES], records[at * size :][:size])
            for at in range(count)
        ]

    def reserve(self, rows: int) -> None:
        assert not len(self), "rows would have to be moved"

    def find(self, job_id: bytes) -> int:
        self._check_sizes(job_id)
        for handle, row in enumerate(self._rows):
            if row is not None and row[0] == job_id:
                return handle
        return -1

    def id(self, handle: int) -> bytes:
        return self._row(handle)[0]

    def record(self, handle: int) -> bytes:
        return self._row(handle)[1]

    def load(self, handle: int) -> Job:
        if self.record_bytes != RECORD_BYTES:
            raise TypeError(f"records of {self.record_bytes} bytes are no jobs")
        return Job.unpack(*self._row(handle))

    def set(self, handle: int, record: bytes) -> None:
        id_, _ = self._row(handle)
        self._check_sizes(id_, record)
        self._rows[handle] = (id_, record)

    def remove(self, handle: int) -> None:
        self._row(handle)
        self._rows[handle] = None
        self._free.append(handle)

    def ids(self) -> Iterator[bytes]:
        """Yield the ids in handle order; the table must not change meanwhile."""
        return iter([row[0] for row in self._rows if row is not None])

    def __len__(self) -> int:
        return len(self._rows) - len(self._free)

    def memory_bytes(self) -> int:
        return len(self) * (ID_BYTES + self.record_bytes)

    def check(self) -> None:
        assert len({*self.ids()}) == len(self)
        assert sorted(self._free) == [h for h, row in enumerate(self._rows) if row is None]

    def _row(self, handle: int) -> tuple[bytes, bytes]:
        row = self._rows[handle] if 0 <= handle < len(self._rows) else None
        if row is None:
            raise IndexError(handle)
        return row

    def _check_sizes(self, id_: bytes, record: bytes | None = None) -> None:
        if len(id_) != ID_BYTES:
            raise ValueError(f"an id has {ID_BYTES} bytes")
        if record is not None and len(record) != self.record_bytes:
            raise ValueError(f"a record has {self.record_bytes} bytes here")


TENANT_FIRST: Final = 1 << 31
"""Labels from here on are tenants."""


class MatchIndex:
    """The exact match index: the first job by (key, handle) that a worker may and can run."""

    def __init__(self) -> None:
        self._queues: dict[int, tuple[int, bool]] = {}  # capacity, paused
        self._classes: list[ClassInfo | None] = []
        self._classes_free: list[int] = []
        self._leases: dict[int, int] = {}  # by class
        self._class_gates: dict[int, frozenset[int]] = {}
        self._gates: list[tuple[int, int, Need] | None] = []  # capacity, tokens, most
        self._gates_free: list[int] = []
        self._shapes: list[
            tuple[frozenset[int] | None, frozenset[int] | None, int, frozenset[int], bool] | None
        ] = []
        self._shapes_free: list[int] = []
        self._jobs: dict[int, tuple[int, int]] = {}  # handle: (class, key)

    def set_queue(self, queue: int, capacity: int, paused: bool) -> None:
        _check_queue(queue)
        if capacity < UNLIMITED:
            raise ValueError("capacity is -1 for unlimited, or at least 0")
        self._queues[queue] = (capacity, paused)

    def class_add(
        self,
        queue: int,
        kind: int,
        need: Need,
        gpu_models: frozenset[int],
        labels: frozenset[int],
        gates: frozenset[int] = frozenset(),
    ) -> int:
        _check_queue(queue)
        check_range(kind, 2**32 - 1)
        if not all(0 <= amount <= AMOUNT_MAX for amount in need):
            raise ValueError("a need is four amounts within 0..2**31-1")
        for number in (*gpu_models, *labels):
            check_range(number, 2**32 - 1)
        for gate in gates:
            self._gate(gate)
        info = (queue, kind, need, gpu_models, labels)
        if self._classes_free:
            cls = self._classes_free.pop()
            self._classes[cls] = info
        else:
            cls = len(self._classes)
            self._classes.append(info)
        self._leases[cls] = 0
        self._class_gates[cls] = gates
        return cls

    def class_drop(self, cls: int) -> None:
        self.class_info(cls)
        assert self.class_len(cls) == 0, "a class with queued jobs is not dropped"
        assert self._leases[cls] == 0, "a class with leases is not dropped"
        self._classes[cls] = None
        self._classes_free.append(cls)
        del self._class_gates[cls]

    def class_gates(self, cls: int) -> frozenset[int]:
        self.class_info(cls)
        return self._class_gates[cls]

    def class_gates_set(self, cls: int, gates: frozenset[int]) -> None:
        self.class_info(cls)
        for gate in gates:
            self._gate(gate)
        self._class_gates[cls] = gates

    def gate_add(self) -> int:
        row = (UNLIMITED, UNLIMITED, (UNLIMITED,) * 4)
        if self._gates_free:
            gate = self._gates_free.pop()
            self._gates[gate] = row
            return gate
        self._gates.append(row)
        return len(self._gates) - 1

    def gate_drop(self, gate: int) -> None:
        self._gate(gate)
        assert not any(gate in gates for gates in self._class_gates.values())
        self._gates[gate] = None
        self._gates_free.append(gate)

    def gate_set(self, gate: int, capacity: int, tokens: int, most: Need) -> None:
        self._gate(gate)
        if min(capacity, tokens, *most) < UNLIMITED:
            raise ValueError("a limit is -1 for none, or at least 0")
        self._gates[gate] = (capacity, tokens, most)

    def gate_tokens_set(self, gate: int, tokens: int) -> None:
        capacity, _, most = self._gate(gate)
        self.gate_set(gate, capacity, tokens, most)

    def gate_tokens(self, gate: int) -> int:
        return self._gate(gate)[1]

    def gate_leases(self, gate: int) -> int:
        self._gate(gate)
        return sum(self._leases[cls] for cls, of in self._class_gates.items() if gate in of)

    def gate_used(self, gate: int) -> Need:
        self._gate(gate)
        used = [0, 0, 0, 0]
        for cls, of in self._class_gates.items():
            if gate in of:
                for dimension, amount in enumerate(self.need(cls)):
                    used[dimension] += self._leases[cls] * amount
        return used[0], used[1], used[2], used[3]

    def gate_holds(self, gate: int, cls: int) -> bool:
        capacity, tokens, most = self._gate(gate)
        if tokens == 0 or (capacity != UNLIMITED and self.gate_leases(gate) >= capacity):
            return True
        return any(
            limit != UNLIMITED and amount > max(0, limit - used)
            for amount, limit, used in zip(self.need(cls), most, self.gate_used(gate), strict=True)
        )

    def _gate(self, gate: int) -> tuple[int, int, Need]:
        row = self._gates[gate] if 0 <= gate < len(self._gates) else None
        if row is None:
            raise IndexError(gate)
        return row

    def class_len(self, cls: int) -> int:
        self.class_info(cls)
        return sum(1 for job_class, _ in self._jobs.values() if job_class == cls)

    def class_head(self, cls: int) -> int:
        self.class_info(cls)
        jobs = [(key, handle) for handle, (of, key) in self._jobs.items() if of == cls]
        if not jobs:
            raise KeyError(cls)
        return min(jobs)[1]

    def ahead(self, cls: int, key: int, handle: int) -> tuple[int, int]:
        self.class_info(cls)
        count = sum(
            1
            for other, (job_class, at) in self._jobs.items()
            if job_class == cls and (at, other) < (key, handle)
        )
        return count, count

    def class_info(self, cls: int) -> ClassInfo:
        info = self._classes[cls] if 0 <= cls < len(self._classes) else None
        if info is None:
            raise IndexError(cls)
        return info

    def need(self, cls: int) -> Need:
        return self.class_info(cls)[2]

    def classes(self) -> list[int]:
        return [cls for cls, info in enumerate(self._classes) if info is not None]

    def shape_add(
        self,
        kinds: frozenset[int] | None,
        queues: frozenset[int] | None,
        gpu_model: int,
        labels: frozenset[int],
        any_tenant: bool = True,
    ) -> int:
        for queue in queues or ():
            _check_queue(queue)
        for number in (*(kinds or ()), *labels):
            check_range(number, 2**32 - 1)
        check_range(gpu_model + 1, 2**32)
        shape = (kinds, queues, gpu_model, labels, any_tenant)
        if self._shapes_free:
            number = self._shapes_free.pop()
            self._shapes[number] = shape
            return number
        self._shapes.append(shape)
        return len(self._shapes) - 1

    def shape_drop(self, shape: int) -> None:
        self._shape(shape)
        self._shapes[shape] = None
        self._shapes_free.append(shape)

    def push(self, cls: int, handle: int, key: int) -> None:
        self.class_info(cls)
        check_range(handle, HANDLE_MAX)
        check_range(key, KEY_MAX)
        if handle in self._jobs:
            raise KeyError(handle)
        self._jobs[handle] = (cls, key)

    def push_alike(self, cls: int, handles: list[int], key: int, step: int) -> None:
        self.class_info(cls)
        for position, handle in enumerate(handles):
            self.push(cls, handle, key + position * step)

    def push_many(self, classes: bytes, handle: int, keys: bytes) -> None:
        if len(classes) % 4 or len(keys) != 2 * len(classes):
            raise ValueError("a job has one class of 4 bytes and one key of 8")
        numbers, places = memoryview(classes).cast("I"), memoryview(keys).cast("Q")
        for cls, key in zip(numbers, places, strict=True):
            self.push(cls, handle, key)
            handle += 1

    def remove(self, handle: int) -> bool:
        return self._jobs.pop(handle, None) is not None

    def class_of(self, handle: int) -> int:
        return self._jobs[handle][0]

    def key(self, handle: int) -> int:
        return self._jobs[handle][1]

    def __contains__(self, handle: int) -> bool:
        return handle in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def take(
        self, shape: int, cpu_milli: int, memory_mb: int, storage_mb: int, gpu_milli: int
    ) -> int:
        handle = self.peek(shape, cpu_milli, memory_mb, storage_mb, gpu_milli)
        if handle >= 0:
            cls, _ = self._jobs.pop(handle)
            self.lease(cls)
            for gate in self._class_gates[cls]:
                if (tokens := self.gate_tokens(gate)) > 0:
                    self.gate_tokens_set(gate, tokens - 1)
        return handle

    def take_many(self, shape: int, free: Need, max_jobs: int) -> list[int]:
        self._shape(shape)
        handles: list[int] = []
        cpu_milli, memory_mb, storage_mb, gpu_milli = free
        while len(handles) < max_jobs:
            handle = self.peek(shape, cpu_milli, memory_mb, storage_mb, gpu_milli)
            if handle < 0:
                break
            need = self.need(self.class_of(handle))
            self.take(shape, cpu_milli, memory_mb, storage_mb, gpu_milli)
            cpu_milli -= need[0]
            memory_mb -= need[1]
            storage_mb -= need[2]
            gpu_milli -= need[3]
            handles.append(handle)
        return handles

    def peek(
        self, shape: int, cpu_milli: int, memory_mb: int, storage_mb: int, gpu_milli: int
    ) -> int:
        self._shape(shape)
        free = (cpu_milli, memory_mb, storage_mb, gpu_milli)
        able = [
            (key, handle)
            for handle, (cls, key) in self._jobs.items()
            if self.runnable(cls) and self.fits(cls, shape, *free)
        ]
        return min(able)[1] if able else -1

    def fits(
        self,
        cls: int,
        shape: int,
        cpu_milli: int,
        memory_mb: int,
        storage_mb: int,
        gpu_milli: int,
    ) -> bool:
        queue, kind, need, gpu_models, labels = self.class_info(cls)
        shape_kinds, shape_queues, gpu_model, shape_labels, any_tenant = self._shape(shape)
        tenants = frozenset(label for label in labels if label >= TENANT_FIRST)
        if any_tenant:
            labels -= tenants
        elif not tenants:
            return False
        return (
            need[0] <= cpu_milli
            and need[1] <= memory_mb
            and need[2] <= storage_mb
            and need[3] <= gpu_milli
            and (not gpu_models or gpu_model in gpu_models)
            and labels <= shape_labels
            and (shape_kinds is None or kind in shape_kinds)
            and (shape_queues is None or queue in shape_queues)
        )

    def runnable(self, cls: int) -> bool:
        queue = self.class_info(cls)[0]
        capacity, paused = self._queues.get(queue, (UNLIMITED, False))
        if paused or (capacity != UNLIMITED and self.queue_leases(queue) >= capacity):
            return False
        return not any(self.gate_holds(gate, cls) for gate in self._class_gates[cls])

    def lease(self, cls: int) -> None:
        self.class_info(cls)
        self._leases[cls] += 1

    def release(self, cls: int, leases: int = 1) -> None:
        self.class_info(cls)
        assert self._leases[cls] >= leases, "a release without a lease"
        self._leases[cls] -= leases

    def queue_leases(self, queue: int) -> int:
        _check_queue(queue)
        return sum(self._leases[cls] for cls in self.classes() if self.class_info(cls)[0] == queue)

    def memory_bytes(self) -> int:
        return 0

    def check(self) -> None:
        assert all(leases >= 0 for leases in self._leases.values())
        assert all(self._classes[cls] is not None for cls, _ in self._jobs.values())

    def _shape(
        self, shape: int
    ) -> tuple[frozenset[int] | None, frozenset[int] | None, int, frozenset[int], bool]:
        row = self._shapes[shape] if 0 <= shape < len(self._shapes) else None
        if row is None:
            raise IndexError(shape)
        return row


def _check_queue(queue: int) -> None:
    if not 0 <= queue <= QUEUE_MAX:
        raise ValueError(f"a queue is a number within 0..{QUEUE_MAX}")


def take_ready(
    jobs: JobTable, match: MatchIndex, numbers: dict[int, int], ready: bytes, rows: bytes
) -> tuple[
    bytes,
    dict[int, tuple[int, int]],
    dict[int, int],
    int,
    dict[int, int],
    dict[tuple[int, int], int],
]:
    """Take ready jobs into table and index; return the other rows and what was counted."""
    if len(rows) % ROW_BYTES or jobs.record_bytes != RECORD_BYTES:
        raise ValueError(f"a row has {ROW_BYTES} bytes here")
    rest = b""
    by_class: dict[int, tuple[int, int]] = {}
    by_status: Counter[int] = Counter()
    owner_last = -1
    first: dict[int, int] = {}
    last: dict[tuple[int, int], int] = {}
    for at in range(0, len(rows), ROW_BYTES):
        row = rows[at : at + ROW_BYTES]
        record = row[ID_BYTES:]
        record_format, status, priority, class_id, owner_id, attempt = _HEAD.unpack_from(record)
        order, start_before_at_ms = _TAIL.unpack_from(record, RECORD_BYTES - _TAIL.size)
        takes = record_format == 1 and priority <= 9 and status in ready and class_id in numbers
        if not takes or (start_before_at_ms != 0 and attempt == 0):
            rest += row
            continue
        handle = jobs.add(row[:ID_BYTES], record)
        match.push(numbers[class_id], handle, (9 - priority) << 60 | order)
        jobs_before, bytes_before = by_class.get(class_id, (0, 0))
        spec_bytes = int.from_bytes(record[5:8], "little")
        by_class[class_id] = jobs_before + 1, bytes_before + spec_bytes
        by_status[status] += 1
        owner_last = max(owner_last, owner_id)
        first[priority] = min(first.get(priority, order), order)
        last[class_id, priority] = max(last.get((class_id, priority), order), order)
    return rest, by_class, dict(by_status), owner_last, first, last
