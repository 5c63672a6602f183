"""Whether a job fits any worker, and why one waits."""

from headrace.core.classes import ClassEntry
from headrace.core.commands import Explain, Explanation
from headrace.core.effects import Effect
from headrace.core.job import READY, Status
from headrace.core.live import Live, unknown_job
from headrace.core.resources import DIMENSIONS, amount_text
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
    live: Live, _now_ms: int, command: Explain, _effects: list[Effect]
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
    if job.status is Status.SCHEDULED:
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
        elif not live.match.runnable(entry.number):
            reasons.append(f"its queue {queue!r} runs as many jobs as its capacity allows")
        if not reasons:
            reasons.append("the workers that fit it are busy, or about to ask for work")
    return Explanation(
        job.status,
        reasons,
        workers_known=len(live.workers.by_name),
        workers_fit=fit,
        queue_capacity=capacity,
        queue_running=live.classes.queue_leases(queue),
        ahead_in_class=max(0, live.match.class_len(entry.number) - 1),
    )
