"""Limits on what runs: gates of the match index over the jobs of a type, a tenant or a tag.

A gate counts the leases of its classes and what they need; that is done in the match index, and
after a restart again from the leases. What the index cannot know is time. So it holds, for a limit
of starts in a span, how many more there may be now; here is known when each comes back: a span
after its use, so that no span ever sees more starts than the limit.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from headrace._native import MatchIndex, TimerIndex
from headrace.core.resources import WASM_KIND, Amounts, Requirements
from headrace.wire.documents import Document, Kind, LimitDocument, TenantDocument

UNLIMITED: Final = -1
RATE_PARTS: Final = 64
"""Of a span: starts within one part of it come back together, at the latest of their times."""
WASM_TYPE: Final = "wasm"
"""What limits call the type of WASM jobs, as lists do."""

Subject = tuple[str, str]
"""What is limited: `type`, `tenant` or `tag`, and which."""
GateKey = tuple[Kind, str]
"""The document that the gate is of."""


class RunLimit(NamedTuple):
    """What a gate lets through. None: as much as there is."""

    subject: Subject
    jobs: int | None = None
    """That run at once."""
    starts: int | None = None
    per_ms: int = 0
    most: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
    """That those which run need together, as `Amounts`."""


class Quota(msgspec.Struct, frozen=True):
    """What a tenant may submit. None: no limit."""

    jobs_max: int | None = None
    """Live jobs."""
    bytes_max: int | None = None
    """Of the specs of live jobs."""
    job_max: Amounts | None = None
    """The largest one."""


NO_QUOTA: Final = Quota()


class Gate(msgspec.Struct, eq=False):
    """A gate of the match index, and when its starts come back."""

    key: GateKey
    limit: RunLimit
    number: int
    used: deque[tuple[int, int]]
    """Starts of the last span: the end of the part of it that they were in, and how many."""
    used_total: int = 0
    unknown_ms: int = -1
    """When the server began, if starts from before may lie in the span; -1: none do."""

    def left(self) -> int:
        """Return how many starts there may be, as far as what came back was taken note of."""
        if self.limit.starts is None:
            return UNLIMITED
        return max(0, self.limit.starts - self.used_total)

    def back_ms(self) -> int:
        """Return when the next starts come back."""
        return self.used[0][0] + self.limit.per_ms

    def use(self, at_ms: int, starts: int) -> None:
        part_ms = max(1, self.limit.per_ms // RATE_PARTS)
        at_ms += part_ms - 1 - at_ms % part_ms
        if self.used and self.used[-1][0] >= at_ms:
            at_ms, before = self.used.pop()
            self.used.append((at_ms, before + starts))
        else:
            self.used.append((at_ms, starts))
        self.used_total += starts


Gates = tuple[Gate, ...]


class GateTable:
    """All gates, by document and by what they limit."""

    def __init__(self, match: MatchIndex) -> None:
        self._match = match
        self._gates: dict[GateKey, Gate] = {}
        self._by_subject: dict[Subject, list[Gate]] = {}
        self.rated: dict[int, Gate] = {}
        """By number, those that limit starts; without any, `come_back` has nothing to say."""
        self._back = TimerIndex()
        """When the next starts of each come back."""
        self._shut = TimerIndex()
        """The same, of those that let none through until then."""

    def __len__(self) -> int:
        return len(self._gates)

    def all(self) -> Iterable[Gate]:
        return self._gates.values()

    def get(self, key: GateKey) -> Gate | None:
        return self._gates.get(key)

    def of_subject(self, subject: Subject) -> list[Gate]:
        return self._by_subject.get(subject, [])

    def tags(self) -> frozenset[str]:
        """Return the tags that have a limit."""
        return frozenset(value for what, value in self._by_subject if what == "tag")

    def of(self, requirements: Requirements) -> Gates:
        """Return the gates of a class."""
        if not self._by_subject:
            return ()
        return tuple(
            gate
            for subject in subjects_of(requirements)
            for gate in self._by_subject.get(subject, ())
        )

    def put(self, key: GateKey, limit: RunLimit) -> set[Subject]:
        """Make or change a gate. Returns of what subjects the classes have other gates now."""
        gate = self._gates.get(key)
        changed: set[Subject] = set()
        if gate is None:
            gate = self._gates[key] = Gate(key, limit, self._match.gate_add(), deque())
            self._by_subject.setdefault(limit.subject, []).append(gate)
            changed.add(limit.subject)
        elif gate.limit.subject != limit.subject:
            changed |= {gate.limit.subject, limit.subject}
            self._leave(gate)
            self._forget(gate)
            self._by_subject.setdefault(limit.subject, []).append(gate)
        gate.limit = limit
        if limit.starts is None:
            self._forget(gate)
        else:
            self.rated[gate.number] = gate
            if gate.unknown_ms >= 0 and (more := gate.left()) > 0:
                gate.used.appendleft((gate.unknown_ms, more))
                gate.used_total += more
        most = [UNLIMITED if amount is None else amount for amount in limit.most]
        self._match.gate_set(
            gate.number,
            UNLIMITED if limit.jobs is None else limit.jobs,
            gate.left(),
            (most[0], most[1], most[2], most[3]),
        )
        self._timers(gate)
        return changed

    def drop(self, key: GateKey) -> Gate | None:
        """Take a gate from the table; the match index has it until `dropped`."""
        gate = self._gates.pop(key, None)
        if gate is not None:
            self._leave(gate)
            self._forget(gate)
        return gate

    def dropped(self, gate: Gate) -> None:
        self._match.gate_drop(gate.number)

    def _leave(self, gate: Gate) -> None:
        subject = gate.limit.subject
        gates = self._by_subject[subject]
        gates.remove(gate)
        if not gates:
            del self._by_subject[subject]

    # Starts -------------------------------------------------------------------------------------

    def begin(self, now_ms: int) -> None:
        """Count as if all starts had been used just now: nobody knows how many were, before."""
        for gate in self.rated.values():
            gate.unknown_ms = now_ms
            if (spent := gate.left()) > 0:
                gate.use(now_ms, spent)
                gate.unknown_ms = gate.used[0][0]
            self._match.gate_tokens_set(gate.number, gate.left())
            self._timers(gate)

    def started(self, now_ms: int, gates: Gates, starts: int) -> None:
        """The match index let jobs through."""
        for gate in gates:
            if gate.limit.starts is not None:
                gate.use(now_ms, starts)
                self._timers(gate)

    def come_back(self, now_ms: int) -> bool:
        """Give starts back whose span is over; return whether a gate lets jobs through again."""
        if not self.rated:
            return False
        opened = False
        for number in self._back.pop_due(now_ms, len(self.rated)):
            gate = self.rated[number]
            opened |= gate.left() == 0
            while gate.used and gate.back_ms() <= now_ms:
                at_ms, starts = gate.used.popleft()
                gate.used_total -= starts
                if at_ms >= gate.unknown_ms:
                    gate.unknown_ms = -1
            self._match.gate_tokens_set(number, gate.left())
            self._timers(gate)
        return opened

    def due_ms(self) -> int | None:
        """Return when a gate that lets nothing through will."""
        return self._shut.due_ms()

    def _timers(self, gate: Gate) -> None:
        self._shut.cancel(gate.number)
        if not gate.used:
            self._back.cancel(gate.number)
            return
        self._back.set(gate.number, gate.back_ms())
        if gate.left() == 0:
            self._shut.set(gate.number, gate.back_ms())

    def _forget(self, gate: Gate) -> None:
        gate.used.clear()
        gate.used_total = 0
        gate.unknown_ms = -1
        self.rated.pop(gate.number, None)
        self._back.cancel(gate.number)
        self._shut.cancel(gate.number)


def subjects_of(requirements: Requirements) -> list[Subject]:
    """Return all by which a class can be limited."""
    kind = requirements.kind
    subjects = [("type", WASM_TYPE if kind == WASM_KIND else kind)]
    if requirements.tenant:
        subjects.append(("tenant", requirements.tenant))
    subjects.extend(("tag", tag) for tag in sorted(requirements.limited_tags))
    return subjects


# Documents --------------------------------------------------------------------------------------


def limit_of(value: LimitDocument) -> RunLimit:
    return RunLimit(subject_of(value), value.concurrency, value.rate_starts, value.rate_per_ms)


def subject_of(value: LimitDocument) -> Subject:
    if value.type:
        return "type", value.type
    return ("tenant", value.tenant) if value.tenant else ("tag", value.tag)


def tags_limited(documents: Iterable[Document]) -> frozenset[str]:
    """Return the tags that have a limit, by the documents of limits."""
    return frozenset(what for kind, what in map(_subject, documents) if kind == "tag")


def _subject(document: Document) -> Subject:
    return subject_of(document.value())


def running_limit_of(tenant: str, value: TenantDocument) -> RunLimit | None:
    """Return what a tenant's jobs may take up together; None for no limit."""
    most = value.running_max
    if most is None:
        return None
    amounts = (most.cpu_milli, most.memory_mb, most.storage_mb, most.gpu_milli)
    return RunLimit(("tenant", tenant), most.jobs, most=amounts)


def quota_of(value: TenantDocument) -> Quota:
    most, job_max = value.job_max, None
    if most is not None:
        job_max = Amounts(
            *(
                AMOUNT_MAX if amount is None else amount
                for amount in (most.cpu_milli, most.memory_mb, most.storage_mb, most.gpu_milli)
            )
        )
    return Quota(value.jobs_max, value.bytes_max, job_max)


AMOUNT_MAX: Final = (1 << 31) - 1
