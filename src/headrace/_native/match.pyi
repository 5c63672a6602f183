"""The exact match index."""

from typing import final

@final
class MatchIndex:
    """Queued jobs by class; finds the first job by (key, handle) that a worker may run.

    A class is what jobs with equal requirements share; a shape is what a worker can serve; a gate
    limits the leases of the classes that have it.
    Raises: IndexError for a class, shape or gate that is not in use, OverflowError for a handle or
    key out of range, ValueError for a bad queue, need or capacity.
    """

    def __init__(self) -> None: ...
    def set_queue(self, queue: int, capacity: int, paused: bool) -> None:
        """Set a queue's limit of leases (-1: none); a queue never set is unlimited and runs."""
    def class_add(
        self,
        queue: int,
        kind: int,
        need: tuple[int, int, int, int],
        gpu_models: frozenset[int],
        labels: frozenset[int],
        gates: frozenset[int] = ...,
    ) -> int:
        """Return a new class number; equal classes are not merged.

        Units: need is (cpu_milli, memory_mb, storage_mb, gpu_milli), each below 2**31.
        """
    def class_drop(self, cls: int) -> None:
        """Free the number. Raises: AssertionError if it has queued jobs or leases."""
    def class_len(self, cls: int) -> int:
        """Return how many jobs are queued in the class."""
    def class_head(self, cls: int) -> int:
        """Return the first job queued in the class. Raises: KeyError if none is."""
    def ahead(self, cls: int, key: int, handle: int) -> tuple[int, int]:
        """Return at least and at most how many jobs of the class go before (key, handle).

        They are equal unless jobs were removed from the middle, or many came out of order.
        Cost: O(log jobs of the class).
        """
    def class_info(
        self, cls: int
    ) -> tuple[int, int, tuple[int, int, int, int], frozenset[int], frozenset[int]]:
        """Return (queue, kind, need, gpu_models, labels)."""
    def need(self, cls: int) -> tuple[int, int, int, int]: ...
    def class_gates(self, cls: int) -> frozenset[int]: ...
    def class_gates_set(self, cls: int, gates: frozenset[int]) -> None:
        """Give a class other gates; what is queued and leased of it counts there from now on.

        Cost: O(log classes), and O(lanes of a gate) where that closes or opens.
        """
    def gate_add(self) -> int:
        """Return a new gate's number; it is open and has no limits."""
    def gate_drop(self, gate: int) -> None:
        """Free the number. Raises: AssertionError if a class has the gate."""
    def gate_set(
        self, gate: int, capacity: int, tokens: int, most: tuple[int, int, int, int]
    ) -> None:
        """Set limits of leases, of takes from now on, and of what leased jobs need; -1: none."""
    def gate_tokens_set(self, gate: int, tokens: int) -> None:
        """Set how many takes are left; -1: no limit."""
    def gate_tokens(self, gate: int) -> int: ...
    def gate_leases(self, gate: int) -> int: ...
    def gate_used(self, gate: int) -> tuple[int, int, int, int]:
        """Return what the leased jobs of its classes need together."""
    def gate_holds(self, gate: int, cls: int) -> bool:
        """Return whether the gate keeps a job of the class from being taken now."""
    def classes(self) -> list[int]:
        """Return the numbers in use, rising."""
    def shape_add(
        self,
        kinds: frozenset[int] | None,
        queues: frozenset[int] | None,
        gpu_model: int,
        labels: frozenset[int],
        any_tenant: bool = True,
    ) -> int:
        """Return a new shape number; None means any, gpu_model -1 means no GPU.

        Labels from 2**31 on are tenants, one at most for a class. Not `any_tenant`: the shape
        suits only classes of the tenants among its labels.
        """
    def shape_drop(self, shape: int) -> None: ...
    def push(self, cls: int, handle: int, key: int) -> None:
        """Queue a job; the smallest key goes first. Raises: KeyError if it is queued."""
    def push_alike(self, cls: int, handles: list[int], key: int, step: int) -> None:
        """Queue jobs of one class, each with a key a step behind the one before.

        Raises: as `push`.
        """
    def push_many(self, classes: bytes, handle: int, keys: bytes) -> None:
        """Queue jobs whose handles follow each other, the first of them given.

        Shape: u32 class numbers and u64 keys, one of each a job, in this machine's order of bytes.
        Raises: as `push`; the jobs before the one that is refused are queued.
        """
    def remove(self, handle: int) -> bool:
        """Return whether the job was queued."""
    def class_of(self, handle: int) -> int:
        """Raises: KeyError if the job is not queued."""
    def key(self, handle: int) -> int:
        """Raises: KeyError if the job is not queued."""
    def __contains__(self, handle: int, /) -> bool: ...
    def __len__(self) -> int: ...
    def take(
        self, shape: int, cpu_milli: int, memory_mb: int, storage_mb: int, gpu_milli: int
    ) -> int:
        """Remove and return the first job that fits, and count a lease on its class; or -1."""
    def take_many(self, shape: int, free: tuple[int, int, int, int], max_jobs: int) -> list[int]:
        """Take up to `max_jobs` jobs, subtracting each need from `free`."""
    def peek(
        self, shape: int, cpu_milli: int, memory_mb: int, storage_mb: int, gpu_milli: int
    ) -> int:
        """Return what `take` would, and change nothing."""
    def fits(
        self,
        cls: int,
        shape: int,
        cpu_milli: int,
        memory_mb: int,
        storage_mb: int,
        gpu_milli: int,
    ) -> bool:
        """Return whether the class suits the shape and the free amounts; queue and gates aside."""
    def runnable(self, cls: int) -> bool:
        """Return whether its queue is open, and its gates let one more job of it through."""
    def lease(self, cls: int) -> None:
        """Count a lease that was not made by `take`, as after a restart; it costs no token."""
    def release(self, cls: int, leases: int = 1) -> None:
        """Uncount leases. Raises: AssertionError if the class has not so many."""
    def queue_leases(self, queue: int) -> int: ...
    def memory_bytes(self) -> int: ...
    def check(self) -> None:
        """Assert every invariant, with all tree aggregates recomputed."""
