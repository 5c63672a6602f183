"""What must hold when a seed is over: the faults have stopped, and everything has drained."""

from typing import TYPE_CHECKING

from headrace.core.job import Status
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model
    from sim.server import Server


def acked_completion_kept(model: "Model") -> None:
    """I6"""
    for token, report in model.acked_ends.items():
        job_id = model.tokens[token][0]
        known = model.durable.get(job_id)
        if job_id in model.force_asked:
            continue
        if known is None:
            if job_id not in model.delete_asked:
                fail("acked_completion_kept", f"{job_id.hex()} is gone")
        elif (
            known.finished is None
            or known.finished.body != report.body
            or known.finished.status is not Status.COMPLETED
        ):
            fail("acked_completion_kept", f"{report}: {known.finished}")


def drains(model: "Model", server: "Server") -> None:
    """I13: once faults stop, every job comes to its end."""
    if model.jobs:
        job = next(iter(model.jobs.values()))
        fail("drains", f"{len(model.jobs)} jobs are left, as {job.new} {job.status!r}")
    live = server.engine.live
    if len(live.leases) or len(live.classes) or live.stats.queued:
        fail("drains", "something is left of jobs that ended")
