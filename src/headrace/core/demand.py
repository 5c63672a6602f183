"""Unmet demand: what ready jobs ask for that no worker is free to give, for autoscalers.

Jobs are never looked at one by one: a class has a count, and a first job. What is looked at is
bounded; beyond it the answer says `truncated`, and its sums are those of what was seen.
"""

from enum import IntEnum, unique
from heapq import nlargest
from itertools import islice
from typing import Final

import msgspec

from headrace.core.classes import ClassEntry
from headrace.core.commands import FindDemand
from headrace.core.effects import Effect
from headrace.core.fitting import fits_allowed, is_anything_known
from headrace.core.ids import created_ms
from headrace.core.live import Live
from headrace.core.resources import Requirements

CLASSES_LOOKED_MAX: Final = 10_000
"""Classes of which it is asked whether they have a job ready; a fraction of a microsecond each."""
CLASSES_MAX: Final = 1_000
"""Classes that are weighed; some microseconds each."""
KINDS_TRIED_MAX: Final = 10_000
"""Kinds of workers that are compared with classes, all together."""


@unique
class Fit(IntEnum):
    """How jobs that are ready stand to the workers."""

    BUSY = 1
    """A known worker, or a shape that the operator allows, would fit them."""
    NEVER = 2
    """Nothing known would."""
    UNKNOWN = 3
    """No worker is known, or there was too much to compare."""
    HELD_BACK = 4
    """More workers would not help: their queue is paused or full, or a limit is reached."""


class Vector(msgspec.Struct):
    """Jobs, and what they ask for together."""

    jobs: int = 0
    cpu_milli: int = 0
    memory_mb: int = 0
    storage_mb: int = 0
    gpu_milli: int = 0

    def add(self, demand: "ClassDemand") -> None:
        need = demand.requirements.amounts
        self.jobs += demand.ready
        self.cpu_milli += demand.ready * need.cpu_milli
        self.memory_mb += demand.ready * need.memory_mb
        self.storage_mb += demand.ready * need.storage_mb
        self.gpu_milli += demand.ready * need.gpu_milli


class ClassDemand(msgspec.Struct, frozen=True):
    """Ready jobs of equal requirements."""

    requirements: Requirements
    ready: int
    first_wait_ms: int
    """How long the first in line waits."""
    fit: Fit


class QueueDemand(msgspec.Struct):
    queue: str
    running: int
    capacity: int | None
    paused: bool
    ready: int = 0
    wanted: int = 0
    """Jobs that would run if there were workers for them."""

    def limit(self) -> None:
        """Want no more than may run."""
        if self.capacity is not None:
            self.wanted = min(self.wanted, max(0, self.capacity - self.running))


class DemandSeen(msgspec.Struct, frozen=True):
    wanted: int
    sums: dict[Fit, Vector]
    queues: list[QueueDemand]
    classes: list[ClassDemand]
    """Those with the most jobs."""
    classes_count: int
    truncated: bool
    """There are more than were looked at."""


def find_demand(live: Live, now_ms: int, command: FindDemand, _effects: list[Effect]) -> DemandSeen:
    entries, truncated = ready_classes(live, command)
    tries = KINDS_TRIED_MAX
    classes: list[ClassDemand] = []
    for entry in entries:
        fit, tried = fit_of(live, entry, tries)
        tries -= tried
        truncated |= fit is Fit.UNKNOWN and is_anything_known(live)
        classes.append(class_demand(live, now_ms, entry, fit))
    sums = {fit: Vector() for fit in Fit}
    queues: dict[str, QueueDemand] = {}
    for one in classes:
        sums[one.fit].add(one)
        queue = queues.get(one.requirements.queue)
        if queue is None:
            queue = queues[one.requirements.queue] = queue_demand(live, one.requirements.queue)
        queue.ready += one.ready
        if one.fit is not Fit.HELD_BACK:
            queue.wanted += one.ready
    for queue in queues.values():
        queue.limit()
    return DemandSeen(
        sum(queue.wanted for queue in queues.values()),
        sums,
        sorted(queues.values(), key=lambda queue: (-queue.wanted, -queue.ready, queue.queue)),
        nlargest(command.limit, classes, key=lambda one: (one.ready, one.first_wait_ms)),
        len(classes),
        truncated,
    )


def ready_classes(live: Live, command: FindDemand) -> tuple[list[ClassEntry], bool]:
    """Return the classes asked for that have a job ready, the oldest first, and whether some were
    left out."""
    caller = command.caller
    entries = live.classes.each() if command.queue is None else live.classes.of_queue(command.queue)
    found = [
        entry
        for entry in islice(entries, CLASSES_LOOKED_MAX)
        if live.match.class_len(entry.number)
        and (caller.all_tenants or entry.requirements.tenant == caller.tenant)
    ]
    return found[:CLASSES_MAX], len(entries) > CLASSES_LOOKED_MAX or len(found) > CLASSES_MAX


def fit_of(live: Live, entry: ClassEntry, tries: int) -> tuple[Fit, int]:
    """Return how a class stands, and how many kinds of workers were tried."""
    if not live.match.runnable(entry.number):
        return Fit.HELD_BACK, 0
    if not is_anything_known(live):
        return Fit.UNKNOWN, 0
    cached = live.never_fits.get(entry.class_id)
    if cached is not None and cached[0] == live.workers.version:
        return Fit.BUSY if cached[1] == "" else Fit.NEVER, 0
    fits, tried = fits_allowed(live, entry.requirements), 0
    for shape, total in islice(live.workers.serving(entry.requirements), 0 if fits else tries):
        tried += 1
        if live.match.fits(entry.number, shape, *total.vector()):
            fits = True
            break
    if not fits and tried == tries:
        return Fit.UNKNOWN, tried
    live.never_fits[entry.class_id] = (live.workers.version, "" if fits else None)
    return (Fit.BUSY if fits else Fit.NEVER), tried


def class_demand(live: Live, now_ms: int, entry: ClassEntry, fit: Fit) -> ClassDemand:
    first = live.load(live.match.class_head(entry.number))
    wall_ms = live.wall_ms(now_ms)
    if first.due_ms:
        wait_ms = (wall_ms if first.due_is_wall else now_ms) - first.due_ms
    else:
        wait_ms = wall_ms - created_ms(first.job_id)
    ready = live.match.class_len(entry.number)
    return ClassDemand(entry.requirements, ready, max(0, wait_ms), fit)


def queue_demand(live: Live, queue: str) -> QueueDemand:
    return QueueDemand(
        queue,
        live.classes.queue_leases(queue),
        live.classes.queue_capacity(queue),
        queue in live.classes.queues_paused,
    )
