"""Whether a job fits any worker, and why one waits."""

from headrace.core.awaiting import awaited
from headrace.core.classes import ClassEntry
from headrace.core.commands import Explain, Explanation, LimitState
from headrace.core.effects import Effect
from headrace.core.gates import Gate
from headrace.core.job import READY, Status
from headrace.core.live import Live, unknown_job
from headrace.core.resources import DIMENSIONS, Amounts, amount_text
from headrace.wire.documents import Kind
from headrace.wire.durations import duration_text
from headrace.wire.problems import Problem


def never_fits_any(live: Live, entry: ClassEntry) -> str:
    """Return why no known worker could ever run the class; empty if one could, or none is
    known. Cost: O(kinds of workers that serve its queue and type) once per class and change of
    the workers."""
    if not live.workers.totals:
        return ""
    cached = live.never_fits.get(entry.class_id)
    if cached is not None and cached[0] == live.workers.version:
        return cached[1]
    reason = ""
    if not any(
        live.match.fits(entry.number, shape, *total.vector())
        for shape, total in live.workers.serving(entry.requirements)
    ):
        reason = "; ".join(misfit(live, entry))
    if len(live.never_fits) > len(live.classes) + 1_000:
        live.never_fits.clear()
    live.never_fits[entry.class_id] = (live.workers.version, reason)
    return reason


def misfit(live: Live, entry: ClassEntry) -> list[str]:
    """Return sentences on why no known worker fits, the tightest dimension first."""
    need = entry.requirements.amounts
    suitable = [
        total
        for shape, total in live.workers.serving(entry.requirements)
        if zero_fit(live, entry, shape)
    ]
    if not suitable:
        return [
            "no known worker serves its queue and type, or has its GPU model and labels"
            if need.gpu_milli or entry.requirements.labels or entry.requirements.gpu_models
            else "no known worker serves its queue and type"
        ]
    reasons = []
    for name in DIMENSIONS:
        most = max(getattr(total, name) for total in suitable)
        if getattr(need, name) > most:
            reasons.append(
                f"it needs {amount_text(name, getattr(need, name))},"
                f" the largest suitable worker has {amount_text(name, most)}"
            )
    return reasons or ["no known worker has all that it needs at once"]


def zero_fit(live: Live, entry: ClassEntry, shape: int) -> bool:
    """Return whether amounts aside the class suits the shape."""
    return live.match.fits(entry.number, shape, *entry.requirements.amounts.vector())


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
    capacity = live.classes.queue_capacities.get(queue)
    fit = sum(
        len(live.workers.totals[shape, total])
        for shape, total in live.workers.serving(entry.requirements)
        if live.match.fits(entry.number, shape, *total.vector())
    )
    reasons: list[str] = []
    if job.status is Status.INITIALIZING:
        reasons += awaited(live, live.awaiting.waits[job.job_id])
    elif job.status is Status.SCHEDULED:
        reasons.append("its time has not come")
    elif job.status is Status.SUSPENDED:
        reasons.append("it is suspended until someone resumes it")
    elif job.status in READY:
        if not live.workers.by_name:
            reasons.append("no worker has asked for work lately")
        elif not fit:
            reasons.extend(misfit(live, entry))
        if queue in live.classes.queues_paused:
            reasons.append(f"its queue {queue!r} is paused")
        elif capacity is not None and live.classes.queue_leases(queue) >= capacity:
            reasons.append(f"its queue {queue!r} runs as many jobs as its capacity allows")
        for gate in entry.gates:
            reasons.extend(held_back(live, now_ms, gate, entry))
        if not reasons:
            reasons.append("the workers that fit it are busy, or about to ask for work")
            if live.classes.lines.waiting() > 1:
                reasons.append("tenants that have jobs waiting take turns, by their weights")
    return Explanation(
        job.status,
        reasons,
        workers_known=len(live.workers.by_name),
        workers_fit=fit,
        queue_capacity=capacity,
        queue_running=live.classes.queue_leases(queue),
        ahead_in_class=max(0, live.match.class_len(entry.number) - 1),
        limits=[gate_state(live, gate, entry) for gate in entry.gates],
    )


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


def held_back(live: Live, now_ms: int, gate: Gate, entry: ClassEntry) -> list[str]:
    """Return sentences on why a gate holds the jobs of a class back; none if it does not."""
    if not live.match.gate_holds(gate.number, entry.number):
        return []
    limit = gate.limit
    what, value = limit.subject
    whose = f"limit {gate.key[1]!r} of {what} {value!r}"
    if gate.key[0] is Kind.TENANT:
        whose = f"quota of tenant {value!r}"
    reasons = []
    running = live.match.gate_leases(gate.number)
    if limit.jobs is not None and running >= limit.jobs:
        reasons.append(f"{whose}: {running} of {limit.jobs} jobs run")
    if limit.starts is not None and gate.left() == 0:
        reasons.append(
            f"{whose}: {limit.starts} of {limit.starts} jobs have started in the last"
            f" {duration_text(limit.per_ms)}, the next may in"
            f" {duration_text(max(1, gate.back_ms() - now_ms))}"
        )
    need = entry.requirements.amounts.vector()
    used = live.match.gate_used(gate.number)
    for dimension, amount, most, taken in zip(DIMENSIONS, need, limit.most, used, strict=True):
        if most is not None and amount > max(0, most - taken):
            reasons.append(
                f"{whose}: it needs {amount_text(dimension, amount)}, what runs takes"
                f" {amount_text(dimension, taken)} of {amount_text(dimension, most)}"
            )
    return reasons
