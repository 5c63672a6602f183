"""What the engine remembers of workers: who is known, who waits, who holds what. Memory only.

Nothing here is stored. After a restart leases come back from the store and find their sessions by
name; parked polls are gone with their connections.
"""

from collections.abc import Iterator

import msgspec

from headrace._native import Held, Holder, Lease
from headrace.core.commands import Poll
from headrace.core.resources import Amounts, Profile, Requirements
from headrace.core.serving import Serving
from headrace.wire.limits import WORKERS_KNOWN_MAX

__all__ = [
    "Held",
    "Holder",
    "KnownWorker",
    "KnownWorkers",
    "Lease",
    "Parked",
    "ParkedPolls",
    "Session",
]

SESSIONS_SHOWN = 8
"""Starts of a worker whose leases are shown; a name that more share at once is shown in part."""
TOLD_MAX = 64
"""Sessions of one worker that are known to have heard an order."""
SEQS_KEPT = 8
"""Answers of a session that can still be repeated; a worker has few polls in flight."""


class Session(msgspec.Struct):
    """One start of a worker process."""

    name: str
    seq: int = 0
    grants: dict[int, bytes] = {}
    """Tokens given out by seq, joined: for a repeat of a lost answer."""
    held: Held = msgspec.field(default_factory=Held)
    ticket: int = -1
    seen_ms: int = 0

    def remember(self, seq: int, tokens: bytes) -> None:
        self.grants[seq] = self.grants.get(seq, b"") + tokens
        while len(self.grants) > SEQS_KEPT:
            del self.grants[min(self.grants)]


class Parked(msgspec.Struct):
    """A poll that waits for something to say."""

    poll: Poll
    shape: int
    slot: int
    until_ms: int
    leases: list[Lease]
    """Whose orders it would carry; some may have ended since."""


class Group(dict[int, Parked]):
    """Polls with equal offers (profile and free amounts) by ticket, the longest waiting first."""

    __slots__ = ("free", "number", "shape")

    def __init__(self, shape: int, free: tuple[int, int, int, int]) -> None:
        self.shape = shape
        self.free = free
        self.number = 0
        """In the index of what is served."""


class ParkedPolls:
    """Polls that wait, oldest first within equal offers.

    Equal offers form a group: what fits one fits all, so a job that fits none of a group's head
    fits none of the group.
    Cost: park and withdraw O(1); a dispatch asks the groups that may serve what became ready.
    """

    def __init__(self) -> None:
        self.by_ticket: dict[int, Parked] = {}
        self._by_slot: dict[int, int] = {}
        self._free_slots: list[int] = []
        self.groups: dict[tuple[int, tuple[int, int, int, int]], Group] = {}
        self.serving: Serving[Group] = Serving()

    def add(self, poll: Poll, shape: int, until_ms: int, leases: list[Lease]) -> Parked:
        slot = self._free_slots.pop() if self._free_slots else len(self.by_ticket)
        parked = Parked(poll, shape, slot, until_ms, leases)
        self.by_ticket[poll.ticket] = parked
        self._by_slot[slot] = poll.ticket
        if poll.jobs_max:
            key = (shape, poll.free.vector())
            group = self.groups.get(key)
            if group is None:
                group = self.groups[key] = Group(*key)
                group.number = self.serving.add(poll.profile, group)
            group[poll.ticket] = parked
        return parked

    def remove(self, ticket: int) -> Parked | None:
        parked = self.by_ticket.pop(ticket, None)
        if parked is None:
            return None
        del self._by_slot[parked.slot]
        self._free_slots.append(parked.slot)
        if parked.poll.jobs_max:
            key = (parked.shape, parked.poll.free.vector())
            group = self.groups[key]
            del group[ticket]
            if not group:
                del self.groups[key]
                self.serving.remove(parked.poll.profile, group.number)
        return parked

    def ticket_of(self, slot: int) -> int:
        return self._by_slot[slot]

    def __len__(self) -> int:
        return len(self.by_ticket)


WorkerKey = tuple[str, str]
"""The tenant of a worker's key, empty for all, and its name."""


class Told(msgspec.Struct):
    """What an operator has a worker told, and who has heard it."""

    order: str
    """`drain` or `quit`."""
    sessions: dict[str, int] = {}
    """When it was told to each; the last `TOLD_MAX`."""


class KnownWorker(msgspec.Struct):
    profile: Profile
    shape: int
    total: Amounts
    seen_ms: int
    key_id: str = ""
    sessions: list[str] = []
    """Its last starts, the newest at the end."""
    held: Held = msgspec.field(default_factory=Held)
    """What it got by polls without a session."""
    offered: Amounts | None = None
    """Free when it last asked for jobs."""
    offered_ms: int = 0

    def heard(self, now_ms: int, poll: Poll) -> None:
        """Note what a poll says of its worker."""
        self.seen_ms = now_ms
        self.key_id = poll.key_id
        if poll.jobs_max:
            self.offered, self.offered_ms = poll.free, now_ms
        session = poll.session
        if session and (not self.sessions or self.sessions[-1] != session):
            if session in self.sessions:
                self.sessions.remove(session)
            self.sessions.append(session)
            del self.sessions[:-SESSIONS_SHOWN]


class KnownWorkers:
    """The workers heard of lately, by tenant and name, grouped by what they are: to say whether a
    job fits any.

    Bounded by `WORKERS_KNOWN_MAX`; beyond it new names are served and not remembered.
    """

    def __init__(self) -> None:
        self.by_name: dict[WorkerKey, KnownWorker] = {}
        self.totals: dict[tuple[int, Amounts], dict[WorkerKey, None]] = {}
        """Workers per (shape, total)."""
        self._serving: Serving[tuple[int, Amounts]] = Serving()
        self._number: dict[tuple[int, Amounts], int] = {}
        self.busy: dict[str, int] = {}
        """Leases of each worker that has some, known or not."""
        self.version = 0
        """Rises when an answer to "does it fit any" may change."""

    def get(self, name: WorkerKey) -> KnownWorker | None:
        return self.by_name.get(name)

    def set(self, name: WorkerKey, worker: KnownWorker) -> None:
        self.forget(name)
        self.by_name[name] = worker
        key = (worker.shape, worker.total)
        if key not in self.totals:
            self._number[key] = self._serving.add(worker.profile, key)
            self.totals[key] = {}
            self.version += 1
        self.totals[key][name] = None

    def forget(self, name: WorkerKey) -> KnownWorker | None:
        worker = self.by_name.pop(name, None)
        if worker is not None:
            key = (worker.shape, worker.total)
            del self.totals[key][name]
            if not self.totals[key]:
                del self.totals[key]
                self._serving.remove(worker.profile, self._number.pop(key))
                self.version += 1
        return worker

    def holds(self, name: str, change: int) -> None:
        """Count leases that a worker got, or has no more."""
        count = self.busy.get(name, 0) + change
        if count:
            self.busy[name] = count
        else:
            del self.busy[name]

    def serving(self, requirements: Requirements) -> Iterator[tuple[int, Amounts]]:
        """Yield each (shape, total) that may serve the queue and the kind."""
        return self._serving.find([requirements])

    def full(self) -> bool:
        return len(self.by_name) >= WORKERS_KNOWN_MAX
