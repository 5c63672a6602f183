"""Mutants of limits and quotas: what may run, start and wait.

Counting is done in the compiled match index; its defects are planted in its twin.
"""

from collections import Counter
from contextlib import ExitStack
from typing import Any

from headrace._native.reference import MatchIndex
from headrace.core import controlling, submitting
from headrace.core import live as live_module
from headrace.core.classes import ClassEntry, ClassTable
from headrace.core.gates import GateTable
from headrace.core.live import Live
from sim.planting import planted, put


class Miscounted(MatchIndex):
    """An index that counts the leases of gates by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[int] = Counter()

    def gate_leases(self, gate: int) -> int:
        return self.counted[gate]


@planted
def release_forgets_a_gate(stack: ExitStack) -> None:
    """A job that ends is counted out at the first of its gates only."""

    class Index(Miscounted):
        def lease(self, cls: int) -> None:
            super().lease(cls)
            self.counted.update(self.class_gates(cls))

        def release(self, cls: int, leases: int = 1) -> None:
            super().release(cls, leases)
            for gate in sorted(self.class_gates(cls))[:1]:
                self.counted[gate] -= leases

        def class_gates_set(self, cls: int, gates: frozenset[int]) -> None:
            for gate in self.class_gates(cls):
                self.counted[gate] -= self._leases[cls]
            super().class_gates_set(cls, gates)
            for gate in gates:
                self.counted[gate] += self._leases[cls]

    put(stack, live_module, "MatchIndex", Index)


@planted
def restart_forgets_leases_of_gates(stack: ExitStack) -> None:
    """After a restart limits count from nothing."""

    def restore(self: Live, now: int, handle: int, job: Any, entry: ClassEntry, *more: Any) -> None:
        gates = self.match.class_gates(entry.number)
        self.match.class_gates_set(entry.number, frozenset())
        old(self, now, handle, job, entry, *more)
        self.match.lease(entry.number)
        self.match.release(entry.number)
        if gates and not self.match.class_len(entry.number):
            entry.gates = ()
        else:
            self.match.class_gates_set(entry.number, gates)

    old = put(stack, Live, "restore_lease", restore)


@planted
def quota_of_resources_ignores_memory(stack: ExitStack) -> None:
    """What running jobs take up together is not looked at in one dimension."""

    class Index(MatchIndex):
        def gate_set(self, gate: int, capacity: int, tokens: int, most: Any) -> None:
            super().gate_set(gate, capacity, tokens, (most[0], -1, *most[2:]))

    put(stack, live_module, "MatchIndex", Index)


@planted
def limit_lets_one_more_through(stack: ExitStack) -> None:
    """A limit of concurrency is off by one."""

    class Index(MatchIndex):
        def gate_set(self, gate: int, capacity: int, tokens: int, most: Any) -> None:
            super().gate_set(gate, capacity + 1 if capacity > 0 else capacity, tokens, most)

    put(stack, live_module, "MatchIndex", Index)


@planted
def restart_fills_the_rates(stack: ExitStack) -> None:
    """After a restart as many starts are left as a span has."""
    put(stack, GateTable, "begin", lambda *_: None)


@planted
def limit_set_later_holds_for_new_classes_only(stack: ExitStack) -> None:
    """Jobs that wait or run when a limit is set do not know of it."""
    put(stack, ClassTable, "_gates_renew", lambda *_: None)


@planted
def starts_come_back_early(stack: ExitStack) -> None:
    """A start counts for half of its span."""

    def back(self: GateTable, now_ms: int) -> bool:
        soonest = [gate.limit.per_ms // 2 for gate in self.rated.values()]
        return bool(old(self, now_ms + min(soonest, default=0)))

    old = put(stack, GateTable, "come_back", back)


@planted
def starts_that_come_back_wake_nobody(stack: ExitStack) -> None:
    """A poll that waits for a rate sleeps on."""

    def back(self: GateTable, now_ms: int) -> bool:
        old(self, now_ms)
        return False

    old = put(stack, GateTable, "come_back", back)


@planted
def quota_counts_only_what_waits(stack: ExitStack) -> None:
    """Running jobs are not counted against what a tenant may have."""

    def jobs(self: ClassTable, tenant: str) -> int:
        running = [
            self._match._leases.get(entry.number, 0)
            for entry in self.entries()
            if entry.requirements.tenant == tenant
        ]
        return int(old(self, tenant)) - sum(running)

    put(stack, live_module, "MatchIndex", MatchIndex)
    old = put(stack, ClassTable, "tenant_jobs", jobs)


@planted
def redriven_job_passes_the_quota(stack: ExitStack) -> None:
    """A job that runs again is not counted as a new one."""
    put(stack, controlling, "held_out", lambda *_: None)


@planted
def backlog_is_unbounded(stack: ExitStack) -> None:
    """A queue takes whatever comes."""

    def held(live: Live, needs: Any, of_tenant: int, of_bytes: int, _of_queue: int) -> Any:
        return old(live, needs, of_tenant, of_bytes, -1_000_000)

    old = put(stack, submitting, "held_out", held)


@planted
def quota_of_bytes_ignores_what_comes(stack: ExitStack) -> None:
    """A submit is held against what its tenant has already, whatever it brings."""

    def held(live: Live, needs: Any, of_tenant: int, _bytes: int, of_queue: int) -> Any:
        return old(live, needs, of_tenant, 0, of_queue)

    old = put(stack, submitting, "held_out", held)


@planted
def bytes_of_ended_jobs_stay(stack: ExitStack) -> None:
    """What a tenant's jobs take counts on when the last of a class has ended."""

    def leave(self: Live, entry: ClassEntry, jobs: int, _bytes: int, effects: Any) -> None:
        old(self, entry, jobs, 0, effects)

    old = put(stack, Live, "leave_class", leave)


@planted
def restart_forgets_bytes(stack: ExitStack) -> None:
    """After a restart the bytes of jobs that wait count for nothing."""

    def count(self: ClassEntry, jobs: int, _bytes: int) -> None:
        old(self, jobs, 0)

    old = put(stack, ClassEntry, "count", count)
