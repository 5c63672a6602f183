"""Whether a job fits any worker, and why one waits.

Reasons are `Cause`s: a code, a sentence, and the numbers in it. Each rule that can hold a job back
adds its own to those of `explain`.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from headrace.core.awaiting import awaited
from headrace.core.classes import ClassEntry
from headrace.core.commands import Cause, Explain, Explanation, LimitState, QuotaState
from headrace.core.effects import Effect
from headrace.core.fleet import free_of, leases_of
from headrace.core.gates import Gate
from headrace.core.job import READY, Job, Status
from headrace.core.live import Live, unknown_job
from headrace.core.resources import (
    DIMENSIONS,
    WASM_KIND,
    Amounts,
    Profile,
    Requirements,
    amount_text,
    amount_told,
)
from headrace.wire.documents import Kind
from headrace.wire.durations import duration_text, rfc3339
from headrace.wire.problems import Problem

KINDS_MAX: Final = 500
"""Kinds of workers that are compared with what a job needs."""
FITTING_MAX: Final = 5_000
"""Kinds of workers of which it is asked whether the job fits; those beyond are not counted."""
WORKERS_MAX: Final = 200
"""Workers whose free amounts are looked at for one explanation."""
CLASSES_MAX: Final = 500
"""Classes whose jobs are counted to say where a job stands."""


class WorkerKind(NamedTuple):
    """Workers that are alike, or a shape that the operator allows."""

    profile: Profile
    total: Amounts
    worker: str
    """One of them, for display."""


def suits(profile: Profile, need: Requirements) -> bool:
    """Return whether a worker serves the queue, the type and the tenant."""
    if need.kind == WASM_KIND:
        serves = profile.wasm
    else:
        serves = profile.types is None or need.kind in profile.types
    return (
        serves
        and (profile.queues is None or need.queue in profile.queues)
        and profile.tenant in ("", need.tenant)
    )


def has_gpu(profile: Profile, need: Requirements) -> bool:
    return not need.gpu_models or profile.gpu_model in need.gpu_models


def fits_kind(kind: WorkerKind, need: Requirements) -> bool:
    """Return whether an idle worker of the kind could run it."""
    profile = kind.profile
    return (
        need.amounts.fits(kind.total)
        and suits(profile, need)
        and has_gpu(profile, need)
        and need.labels <= profile.labels
    )


def kinds_of(live: Live, need: Requirements) -> Iterator[WorkerKind]:
    """Yield what may serve the queue and the type: the operator's shapes, then known workers."""
    for allowed in live.config.worker_shapes:
        yield WorkerKind(allowed.profile, allowed.total, allowed.name)
    for key in live.workers.serving(need):
        name = next(iter(live.workers.totals[key]))
        yield WorkerKind(live.workers.by_name[name].profile, key[1], name[1])


# Never ------------------------------------------------------------------------------------------


def is_anything_known(live: Live) -> bool:
    return bool(live.workers.totals or live.config.worker_shapes)


def never_fits_any(live: Live, entry: ClassEntry) -> str:
    """Return why no known worker could ever run the class; empty if one could, or none is
    known. Cost: O(kinds of workers that serve its queue and type) once per class and change of
    the workers."""
    if not (live.workers.totals or live.config.worker_shapes):  # as `is_anything_known` says
        return ""
    cached = live.never_fits.get(entry.class_id)
    if cached is not None and cached[0] == live.workers.version and cached[1] is not None:
        return cached[1]
    reason = ""
    if not any(
        live.match.fits(entry.number, shape, *total.vector())
        for shape, total in live.workers.serving(entry.requirements)
    ) and not fits_allowed(live, entry.requirements):
        reason = "; ".join(cause.detail for cause in misfit(live, entry.requirements))
    if len(live.never_fits) > len(live.classes) + 1_000:
        live.never_fits.clear()
    live.never_fits[entry.class_id] = (live.workers.version, reason)
    return reason


def fits_allowed(live: Live, need: Requirements) -> bool:
    """Return whether one of the operator's shapes could run it."""
    return any(
        fits_kind(WorkerKind(allowed.profile, allowed.total, allowed.name), need)
        for allowed in live.config.worker_shapes
    )


def refusal(live: Live, need: Requirements) -> list[Cause]:
    """Return why a job that nothing known could ever run is not to be taken; nothing if one could.

    Cost: as `never_fits_any`, once per requirements and change of the workers.
    """
    cached = live.refusals.get(need)
    if cached is not None and cached[0] == live.workers.version:
        return cached[1]
    causes: list[Cause] = []
    if is_anything_known(live) and not any(fits_kind(kind, need) for kind in kinds_of(live, need)):
        causes = misfit(live, need)
    if len(live.refusals) >= CLASSES_MAX:
        live.refusals.clear()
    live.refusals[need] = (live.workers.version, causes)
    return causes


def misfit(live: Live, need: Requirements) -> list[Cause]:
    """Return why nothing that is known fits, the tightest dimension first.

    Cost: O(kinds of workers that serve its queue and type), `KINDS_MAX` at most.
    """
    serving = [
        kind for kind in islice(kinds_of(live, need), KINDS_MAX) if suits(kind.profile, need)
    ]
    if not serving:
        told = {"queue": need.queue, "type": need.kind or "wasm"}
        return [Cause("no_worker_serves", "no known worker serves its queue and type", told)]
    causes: list[Cause] = []
    with_gpu = [kind for kind in serving if has_gpu(kind.profile, need)]
    if not with_gpu:
        models = sorted(need.gpu_models)
        causes.append(
            Cause(
                "gpu_type_missing",
                f"no known worker that serves its queue and type has GPU type {_any_of(models)}",
                {"gpu_type": models},
            )
        )
    suitable = [kind for kind in with_gpu if need.labels <= kind.profile.labels]
    if not suitable:
        nearest = min(serving, key=lambda kind: len(need.labels - kind.profile.labels))
        lacking = sorted(need.labels - nearest.profile.labels)
        if lacking:
            causes.append(
                Cause(
                    "label_missing",
                    f"no known worker that serves its queue and type has label {lacking[0]!r}"
                    if len(lacking) == 1
                    else f"the nearest worker lacks labels {', '.join(map(repr, lacking))}",
                    {"labels": lacking, "worker": nearest.worker},
                )
            )
        elif with_gpu:
            causes.append(
                Cause(
                    "label_missing",
                    "no known worker has both its GPU type and its labels",
                    {"labels": sorted(need.labels), "gpu_type": sorted(need.gpu_models)},
                )
            )
        return causes
    for name in DIMENSIONS:
        largest = max(suitable, key=lambda kind: getattr(kind.total, name))
        most = getattr(largest.total, name)
        if getattr(need.amounts, name) > most:
            word, needs = amount_told(name, getattr(need.amounts, name))
            causes.append(
                Cause(
                    "too_large",
                    f"it needs {amount_text(name, getattr(need.amounts, name))},"
                    f" the largest suitable worker has {amount_text(name, most)}",
                    {
                        "dimension": word,
                        "needs": needs,
                        "most": amount_told(name, most)[1],
                        "worker": largest.worker,
                    },
                )
            )
    if not causes:
        nearest = min(suitable, key=lambda kind: shortfall(need.amounts, kind.total))
        causes.append(
            Cause(
                "too_large_together",
                "no known worker has all that it needs at once",
                {"worker": nearest.worker, "lacks": lacks(need.amounts, nearest.total)},
            )
        )
    return causes


def _any_of(words: list[str]) -> str:
    return " or ".join(map(repr, words))


def shortfall(need: Amounts, has: Amounts) -> float:
    """Return the largest share of a need that is lacking: 0 for nothing, 1 for all of it."""
    return max(
        (wants - there) / wants if wants > there else 0.0
        for wants, there in zip(need.vector(), has.vector(), strict=True)
    )


def lacks(need: Amounts, has: Amounts) -> dict[str, float]:
    """Return what is lacking, in the words and units of the wire."""
    return dict(
        amount_told(name, getattr(need, name) - getattr(has, name))
        for name in DIMENSIONS
        if getattr(need, name) > getattr(has, name)
    )


# Explain ----------------------------------------------------------------------------------------


def explain(
    live: Live, now_ms: int, command: Explain, _effects: list[Effect]
) -> Explanation | Problem:
    handle = live.jobs.find(command.job_id)
    if handle < 0:
        finished = live.finished(command.job_id)
        owner_id = live.owner_of(command.job_id)
        if finished is None or owner_id is None:
            return unknown_job()
        return live.may_not(command.caller, owner_id) or Explanation(finished.status, [])
    job = live.load(handle)
    problem = live.may_not(command.caller, job.owner_id)
    if problem is not None:
        return problem
    entry = live.classes.entry(job.class_id)
    queue = entry.requirements.queue
    fitting = [
        (shape, total)
        for shape, total in islice(live.workers.serving(entry.requirements), FITTING_MAX)
        if live.match.fits(entry.number, shape, *total.vector())
    ]
    position = stands(live, handle, entry) if job.status in READY else (None, None)
    return Explanation(
        job.status,
        causes_of(live, now_ms, job, entry, fitting),
        workers_known=len(live.workers.by_name),
        workers_fit=sum(len(live.workers.totals[key]) for key in fitting),
        queue_capacity=live.classes.queue_capacities.get(queue),
        queue_running=live.classes.queue_leases(queue),
        position_min=position[0],
        position_max=position[1],
        limits=[gate_state(live, gate, entry) for gate in entry.gates],
        quota=quota_state(live, entry.requirements.tenant),
    )


def quota_state(live: Live, tenant: str) -> QuotaState | None:
    """Return how far a tenant is from what it may submit; None where nothing bounds it."""
    quota = live.quotas.get(tenant)
    if quota is None or (quota.jobs_max is None and quota.bytes_max is None):
        return None
    jobs, size = live.classes.tenant_jobs(tenant), live.classes.tenant_bytes(tenant)
    return QuotaState(jobs, quota.jobs_max, size, quota.bytes_max)


def causes_of(
    live: Live, now_ms: int, job: Job, entry: ClassEntry, fitting: list[tuple[int, Amounts]]
) -> list[Cause]:
    """Return why a job waits, most telling first; nothing if it does not."""
    if job.status is Status.SCHEDULED:
        due_at_ms = job.due_ms if job.due_is_wall else live.wall_ms(job.due_ms)
        return [Cause("scheduled", "its time has not come", {"due_at": rfc3339(due_at_ms)})]
    if job.status is Status.INITIALIZING:
        return awaited(live, live.awaiting.waits[job.job_id])
    if job.status is Status.SUSPENDED:
        return [Cause("suspended", "it is suspended until someone resumes it")]
    if job.status not in READY:
        return []
    causes: list[Cause] = []
    if not live.workers.by_name:
        causes.append(Cause("no_worker_known", "no worker has asked for work lately"))
    elif not fitting:
        if fits_allowed(live, entry.requirements):
            causes.append(
                Cause("no_worker_known", "no worker that fits it has asked for work lately")
            )
        else:
            causes += misfit(live, entry.requirements)
    queue = entry.requirements.queue
    if queue in live.classes.queues_paused:
        causes.append(Cause("queue_paused", f"its queue {queue!r} is paused", {"queue": queue}))
    else:
        capacity = live.classes.queue_capacities.get(queue)
        running = live.classes.queue_leases(queue)
        if capacity is not None and running >= capacity:
            causes.append(
                Cause(
                    "queue_capacity",
                    f"its queue {queue!r} runs as many jobs as its capacity allows",
                    {"queue": queue, "capacity": capacity, "running": running},
                )
            )
    for gate in entry.gates:
        causes += held_back(live, now_ms, gate, entry)
    if not causes:
        causes.append(nearest(live, entry.requirements.amounts, fitting))
        if live.classes.lines.waiting() > 1:
            causes.append(
                Cause(
                    "tenants_take_turns",
                    "tenants that have jobs waiting take turns, by their weights",
                )
            )
    return causes


def nearest(live: Live, need: Amounts, fitting: list[tuple[int, Amounts]]) -> Cause:
    """Say what has to become free where. Cost: O(leases of `WORKERS_MAX` workers)."""
    best: tuple[float, str, Amounts] | None = None
    names = (name for key in fitting for name in live.workers.totals[key])
    drained = 0
    for name in islice(names, WORKERS_MAX):
        if name in live.told:
            drained += 1
            continue
        known = live.workers.by_name[name]
        free = free_of(live, known, leases_of(live, known))
        if free is not None:
            short = shortfall(need, free)
            if best is None or short < best[0]:
                best = short, name[1], free
    if best is None and drained:
        return Cause("workers_drain", "the workers that fit it were told to drain")
    if best is None or not best[0]:
        told = {} if best is None else {"worker": best[1]}
        return Cause(
            "workers_busy", "the workers that fit it are busy, or about to ask for work", told
        )
    lacking = lacks(need, best[2])
    text = " and ".join(
        amount_text(name, getattr(need, name) - getattr(best[2], name))
        for name in DIMENSIONS
        if getattr(need, name) > getattr(best[2], name)
    )
    return Cause(
        "workers_busy",
        f"the workers that fit it are busy: it fits {best[1]!r} when {text} more is free there",
        {"worker": best[1], "lacks": lacking},
    )


def stands(live: Live, handle: int, entry: ClassEntry) -> tuple[int, int]:
    """Return at least and at most how many jobs go before one that waits.

    The least are those of its class. The most are also those of other classes that stand before
    it, and all of other tenants, whose turn is not told by their place alone.
    Cost: O(log jobs) for each of `CLASSES_MAX` classes; with more classes, all jobs are the most.
    """
    match = live.match
    key = match.key(handle)
    least, most = match.ahead(entry.number, key, handle)
    if len(live.classes) > CLASSES_MAX:
        return least, len(match) - 1
    for other in live.classes.each():
        if other is entry or not match.class_len(other.number):
            continue
        if other.line == entry.line:
            most += match.ahead(other.number, key, handle)[1]
        else:
            most += match.class_len(other.number)
    return least, most


# Limits -----------------------------------------------------------------------------------------


def gate_state(live: Live, gate: Gate, entry: ClassEntry | None = None) -> LimitState:
    """Return how a limit stands, to the class if one is given."""
    limit = gate.limit
    return LimitState(
        gate.key[1],
        gate.key[0],
        limit.subject,
        live.match.gate_leases(gate.number),
        limit.jobs,
        limit.starts,
        limit.per_ms,
        None if limit.starts is None else gate.left(),
        entry is not None and live.match.gate_holds(gate.number, entry.number),
    )


def limit_state(live: Live, kind: Kind, name: str) -> tuple[LimitState, Amounts] | None:
    """Return how the limits of a document stand, and what runs under them takes up."""
    gate = live.gates.get((kind, name))
    if gate is None:
        return None
    return gate_state(live, gate), Amounts(*live.match.gate_used(gate.number))


def held_back(live: Live, now_ms: int, gate: Gate, entry: ClassEntry) -> list[Cause]:
    """Return why a gate holds the jobs of a class back; nothing if it does not."""
    if not live.match.gate_holds(gate.number, entry.number):
        return []
    limit = gate.limit
    what, value = limit.subject
    whose = f"limit {gate.key[1]!r} of {what} {value!r}"
    told = {"limit": gate.key[1], "of": what, "name": value}
    if gate.key[0] is Kind.TENANT:
        whose = f"quota of tenant {value!r}"
        told = {"of": "tenant", "name": value}
    causes = []
    running = live.match.gate_leases(gate.number)
    if limit.jobs is not None and running >= limit.jobs:
        causes.append(
            Cause(
                "limit_running",
                f"{whose}: {running} of {limit.jobs} jobs run",
                {**told, "running": running, "most": limit.jobs},
            )
        )
    if limit.starts is not None and gate.left() == 0:
        next_ms = max(1, gate.back_ms() - now_ms)
        causes.append(
            Cause(
                "limit_starts",
                f"{whose}: {limit.starts} of {limit.starts} jobs have started in the last"
                f" {duration_text(limit.per_ms)}, the next may in {duration_text(next_ms)}",
                {**told, "most": limit.starts, "next_in": next_ms / 1000},
            )
        )
    need = entry.requirements.amounts.vector()
    used = live.match.gate_used(gate.number)
    for dimension, amount, most, taken in zip(DIMENSIONS, need, limit.most, used, strict=True):
        if most is not None and amount > max(0, most - taken):
            word, needs = amount_told(dimension, amount)
            causes.append(
                Cause(
                    "limit_resources",
                    f"{whose}: it needs {amount_text(dimension, amount)}, what runs takes"
                    f" {amount_text(dimension, taken)} of {amount_text(dimension, most)}",
                    {
                        **told,
                        "dimension": word,
                        "needs": needs,
                        "taken": amount_told(dimension, taken)[1],
                        "most": amount_told(dimension, most)[1],
                    },
                )
            )
    return causes
