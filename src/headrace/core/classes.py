"""Interned requirements and worker profiles: names to the small numbers of the match index.

A class lives as long as a live job has its requirements, a shape as long as a known worker or a
parked poll has its profile. Names are counted too, so that a client that invents a label with
every job leaves nothing behind.
"""

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from headrace._native import MatchIndex
from headrace.core.commands import TENANT_DEFAULT
from headrace.core.effects import ClassDropped, ClassStored, Effect
from headrace.core.fairness import Line, Lines
from headrace.core.gates import Gate, GateKey, Gates, GateTable, RunLimit, Subject, subjects_of
from headrace.core.resources import WASM_KIND, Profile, Requirements

WASM_LABEL: Final = "\0wasm"
"""Carried by every WASM class and by the workers that run WASM; no client can send a NUL."""

TENANT_FIRST: Final = 1 << 31
"""Labels of the match index from here on are tenants."""


class Names:
    """Counted numbers for texts. A number comes again when its text is in use no more."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._uses: dict[int, int] = {}
        self._text: dict[int, str] = {}
        self._free: list[int] = []

    def acquire(self, text: str) -> int:
        number = self._number.get(text)
        if number is None:
            number = self._free.pop() if self._free else len(self._number)
            self._number[text] = number
            self._text[number] = text
            self._uses[number] = 0
        self._uses[number] += 1
        return number

    def release(self, number: int) -> None:
        self._uses[number] -= 1
        if self._uses[number] == 0:
            del self._uses[number]
            del self._number[self._text.pop(number)]
            self._free.append(number)

    def find(self, text: str) -> int | None:
        return self._number.get(text)

    def __len__(self) -> int:
        return len(self._number)


class Account(msgspec.Struct):
    """The live jobs of a queue. It is there as long as a class is; that of a tenant is its line."""

    name: str
    classes: int = 0
    jobs: int = 0


class ClassEntry(msgspec.Struct):
    """One class of requirements. `class_id` is stored with its jobs; `number` is the index's."""

    class_id: int
    requirements: Requirements
    number: int
    names: list[tuple[Names, int]]
    queue: Account
    line: Line
    """Of its tenant."""
    jobs: int = 0
    gates: Gates = ()

    def count(self, jobs: int, spec_bytes: int) -> None:
        """Count live jobs more, or less. What is on every job's way does it itself."""
        self.jobs += jobs
        self.queue.jobs += jobs
        self.line.jobs += jobs
        self.line.spec_bytes += spec_bytes


class ShapeEntry(msgspec.Struct):
    shape: int
    names: list[tuple[Names, int]]
    uses: int = 0


class ClassTable:
    """Owns the classes, shapes and queues of one match index."""

    def __init__(self, match: MatchIndex, queue_capacities: dict[str, int]) -> None:
        self._match = match
        self._queues = Names()
        self._kinds = Names()
        self._labels = Names()
        self._gpu_models = Names()
        self._tenants = Names()
        self.lines = Lines()
        self._ids: dict[Requirements, int] = {}
        self._entries: dict[int, ClassEntry] = {}
        self.entry = self._entries.__getitem__
        self._by_number: dict[int, ClassEntry] = {}
        self.numbered = self._by_number.__getitem__
        self._last: ClassEntry | None = None
        """Last acquired: most submits are of one class. One without jobs may be dropped."""
        self._free_ids: list[int] = []
        self._next_id = 0
        self._shapes: dict[Profile, ShapeEntry] = {}
        self.queue_capacities: dict[str, int] = {}
        """Of the queues that have one."""
        self.queues_paused: set[str] = set()
        self._queues_set: dict[str, int] = {}
        """Numbers of the queues that have a capacity or are paused."""
        self._queue_accounts: dict[str, Account] = {}
        self.gates = GateTable(match)
        self.backlogs_max: dict[str, int] = {}
        """Of the queues that have one: jobs that have not ended and no worker holds."""
        self._by_queue: dict[str, dict[int, ClassEntry]] = {}
        """The classes of each queue by number, the oldest first; none: absent."""
        self._by_tenant: dict[str, set[int]] = {}
        """The ids of each tenant's classes; none: absent. Empty: without a tenant."""
        for queue, capacity in queue_capacities.items():
            self.queue_set(queue, capacity, False)

    # Classes ------------------------------------------------------------------------------------

    def acquire(
        self, requirements: Requirements, effects: list[Effect], jobs: int = 1
    ) -> ClassEntry:
        """Count more live jobs of the class, making it if it is new. Their bytes are the caller's
        to count."""
        entry = self._last
        if entry is None or entry.requirements is not requirements or entry.jobs == 0:
            entry = self._last = self._acquire(requirements, effects)
        entry.jobs += jobs
        entry.queue.jobs += jobs
        entry.line.jobs += jobs
        return entry

    def _acquire(self, requirements: Requirements, effects: list[Effect]) -> ClassEntry:
        class_id = self._ids.get(requirements)
        if class_id is None:
            if not self._free_ids:
                self._free_ids.append(self._next_id)
                self._next_id += 1
            class_id = self._free_ids.pop()
            self._make(class_id, requirements)
            effects.append(ClassStored(class_id, requirements))
        return self._entries[class_id]

    def release(self, entry: ClassEntry, effects: list[Effect], jobs: int, spec_bytes: int) -> None:
        """Count live jobs less; the last one drops the class."""
        entry.jobs -= jobs
        entry.queue.jobs -= jobs
        entry.line.jobs -= jobs
        entry.line.spec_bytes -= spec_bytes
        if entry.jobs == 0:
            self._drop(entry)
            effects.append(ClassDropped(entry.class_id))

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[ClassEntry]:
        return list(self._entries.values())

    def each(self) -> Collection[ClassEntry]:
        """Return all, the oldest first; not to be changed meanwhile."""
        return self._entries.values()

    def of_queue(self, queue: str) -> Collection[ClassEntry]:
        """Return those of a queue, the oldest first; not to be changed meanwhile."""
        return self._by_queue.get(queue, {}).values()

    def restore(self, classes: dict[int, Requirements]) -> None:
        """Take the stored classes; their jobs are counted as they are restored."""
        for class_id, requirements in classes.items():
            self._make(class_id, requirements)
        if classes:
            self._next_id = max(classes) + 1
            self._free_ids = [i for i in range(self._next_id) if i not in classes]

    def knows(self, class_id: int) -> bool:
        return class_id in self._entries

    def withhold(self, class_id: int) -> None:
        """Never give out the number of a lost class: stored jobs still have it."""
        self._free_ids.extend(range(self._next_id, class_id + 1))
        self._next_id = max(self._next_id, class_id + 1)
        if class_id in self._free_ids:
            self._free_ids.remove(class_id)

    def restore_done(self) -> list[Effect]:
        """Drop the stored classes that turned out to have no job; return the effects."""
        effects: list[Effect] = []
        for entry in self.entries():
            if entry.jobs == 0:
                self._drop(entry)
                effects.append(ClassDropped(entry.class_id))
        return effects

    def _make(self, class_id: int, requirements: Requirements) -> None:
        names: list[tuple[Names, int]] = []
        acquire = _collector(names)
        labels = requirements.labels
        if requirements.kind == WASM_KIND:
            labels |= {WASM_LABEL}
        gates = self.gates.of(requirements)
        number = self._match.class_add(
            acquire(self._queues, requirements.queue),
            acquire(self._kinds, requirements.kind),
            requirements.amounts.vector(),
            frozenset(acquire(self._gpu_models, model) for model in requirements.gpu_models),
            self._label_numbers(acquire, labels, requirements.tenant),
            _numbers(gates),
        )
        queue = self._queue_accounts.get(requirements.queue)
        if queue is None:
            queue = self._queue_accounts[requirements.queue] = Account(requirements.queue)
        queue.classes += 1
        self._by_tenant.setdefault(requirements.tenant, set()).add(class_id)
        line = self.lines.acquire(requirements.tenant or TENANT_DEFAULT)
        entry = ClassEntry(class_id, requirements, number, names, queue, line, gates=gates)
        self._ids[requirements] = class_id
        self._entries[class_id] = entry
        self._by_number[number] = entry
        self._by_queue.setdefault(requirements.queue, {})[number] = entry

    def _drop(self, entry: ClassEntry) -> None:
        self._match.class_drop(entry.number)
        del self._ids[entry.requirements]
        del self._entries[entry.class_id]
        del self._by_number[entry.number]
        requirements = entry.requirements
        entry.queue.classes -= 1
        if entry.queue.classes == 0:
            del self._queue_accounts[requirements.queue]
        self._by_tenant[requirements.tenant].remove(entry.class_id)
        if not self._by_tenant[requirements.tenant]:
            del self._by_tenant[requirements.tenant]
        del self._by_queue[requirements.queue][entry.number]
        if not self._by_queue[requirements.queue]:
            del self._by_queue[requirements.queue]
        self._free_ids.append(entry.class_id)
        self.lines.release(entry.line)
        _release(entry.names)

    # Shapes -------------------------------------------------------------------------------------

    def shape_acquire(self, profile: Profile) -> int:
        entry = self._shapes.get(profile)
        if entry is None:
            names: list[tuple[Names, int]] = []
            acquire = _collector(names)
            labels = profile.labels | {WASM_LABEL} if profile.wasm else profile.labels
            types = profile.types
            if types is not None and profile.wasm:
                types |= {WASM_KIND}
            entry = ShapeEntry(
                self._match.shape_add(
                    None if types is None else frozenset(acquire(self._kinds, t) for t in types),
                    None
                    if profile.queues is None
                    else frozenset(acquire(self._queues, queue) for queue in profile.queues),
                    acquire(self._gpu_models, profile.gpu_model) if profile.gpu_model else -1,
                    self._label_numbers(acquire, labels, profile.tenant),
                    any_tenant=not profile.tenant,
                ),
                names,
            )
            self._shapes[profile] = entry
        entry.uses += 1
        return entry.shape

    def shape_release(self, profile: Profile) -> None:
        entry = self._shapes[profile]
        entry.uses -= 1
        if entry.uses == 0:
            del self._shapes[profile]
            self._match.shape_drop(entry.shape)
            _release(entry.names)

    def _label_numbers(
        self, acquire: Callable[[Names, str], int], labels: frozenset[str], tenant: str
    ) -> frozenset[int]:
        numbers = [acquire(self._labels, label) for label in labels]
        if tenant:
            numbers.append(TENANT_FIRST + acquire(self._tenants, tenant))
        return frozenset(numbers)

    # Queues -------------------------------------------------------------------------------------

    def queue_set(self, queue: str, capacity: int | None, paused: bool) -> None:
        """Set how many jobs of a queue may be leased at once, and whether any may."""
        number = self._queues_set.get(queue)
        if number is None:
            if capacity is None and not paused:
                return
            number = self._queues_set[queue] = self._queues.acquire(queue)
        self._match.set_queue(number, -1 if capacity is None else capacity, paused)
        self.queue_capacities.pop(queue, None)
        self.queues_paused.discard(queue)
        if capacity is not None:
            self.queue_capacities[queue] = capacity
        if paused:
            self.queues_paused.add(queue)
        if capacity is None and not paused:  # its number may become another's
            del self._queues_set[queue]
            self._queues.release(number)

    def queue_has_jobs(self, queue: str) -> bool:
        """Say whether any live job is of the queue."""
        return queue in self._queue_accounts

    def queues_used(self) -> set[str]:
        """Return the queues of all live jobs."""
        return set(self._queue_accounts)

    def queue_capacity(self, queue: str) -> int | None:
        return self.queue_capacities.get(queue)

    def queue_leases(self, queue: str) -> int:
        number = self._queues.find(queue)
        return 0 if number is None else self._match.queue_leases(number)

    def queue_backlog(self, queue: str) -> int:
        """Return how many jobs of a queue have not ended and are in no worker's hands."""
        account = self._queue_accounts.get(queue)
        return 0 if account is None else account.jobs - self.queue_leases(queue)

    def tenant_jobs(self, tenant: str) -> int:
        """Return how many live jobs are of a tenant."""
        return self.lines.jobs(tenant or TENANT_DEFAULT)

    def tenant_bytes(self, tenant: str) -> int:
        """Return how many bytes the specs of a tenant's live jobs have."""
        return self.lines.spec_bytes(tenant or TENANT_DEFAULT)

    def of_tenant(self, tenant: str) -> set[int]:
        """Return the ids of the classes of a tenant's live jobs; not to be changed."""
        return self._by_tenant.get(tenant) or set()

    # Limits -------------------------------------------------------------------------------------

    def limit_set(self, key: GateKey, limit: RunLimit | None) -> None:
        """Limit what runs of a type, a tenant or a tag, also of what waits and runs already.

        Cost: O(classes) if what is limited changes; else O(1).
        """
        dropped: Gate | None = None
        if limit is not None:
            subjects = self.gates.put(key, limit)
        elif (dropped := self.gates.drop(key)) is not None:
            subjects = {dropped.limit.subject}
        else:
            return
        if subjects:
            self._gates_renew(subjects)
        if dropped is not None:
            self.gates.dropped(dropped)

    def _gates_renew(self, subjects: set[Subject]) -> None:
        for entry in self._entries.values():
            if not subjects.isdisjoint(subjects_of(entry.requirements)):
                entry.gates = self.gates.of(entry.requirements)
                self._match.class_gates_set(entry.number, _numbers(entry.gates))


_NO_GATES: Final[frozenset[int]] = frozenset()


def _numbers(gates: Gates) -> frozenset[int]:
    return frozenset([gate.number for gate in gates]) if gates else _NO_GATES


def _collector(names: list[tuple[Names, int]]) -> Callable[[Names, str], int]:
    def acquire(of: Names, text: str) -> int:
        number = of.acquire(text)
        names.append((of, number))
        return number

    return acquire


def _release(names: list[tuple[Names, int]]) -> None:
    for of, number in names:
        of.release(number)
