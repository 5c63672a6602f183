"""What must hold of jobs that wait for others, and of jobs that run again after their end."""

from typing import TYPE_CHECKING, Any

from headrace.core.commands import Act, Control
from headrace.core.effects import JobRedriven
from headrace.core.job import Event, Status
from sim.model_job import ModelJob
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model

_S = Status


def nothing_to_wait_for(model: "Model", job: ModelJob) -> None:
    """A job that does not wait has its module, and runs after none without a good end."""
    module = job.new.module_key
    if module and module not in model.modules:
        fail("runs_after_what_it_waits_for", f"{job.new} does not wait for its module")
    for key in job.new.after:
        end = model.waiting.end_of(model.known_as.get(key, key))
        if end is None or (spoils(end) and not job.new.any_end):
            fail("runs_after_what_it_waits_for", f"{job.new} does not wait, {key.hex()} is {end!r}")


def redrive_has_cause(model: "Model", command: Any, effect: JobRedriven) -> None:
    """What ended comes back only when it is asked to, and what completed only by force."""
    job_id = effect.job_id
    if job_id in model.jobs or job_id not in model.ended:
        fail("redrive_of_what_ended", f"{job_id.hex()} is {model.status_of(job_id)!r}")
    if type(command) is not Control or command.act is not Act.RETRY or command.job_id != job_id:
        fail("event_has_cause", f"{effect.event!r} by {command}")
    ended = model.ended[job_id].status
    if effect.ended is not ended:
        fail("redrive_of_what_ended", f"{effect.ended!r}, it is {ended!r}")
    if ended is _S.COMPLETED and not command.force:
        fail("acked_completion_kept", f"{job_id.hex()} runs again, which nobody forced")


def redriven_as_it_was(ended: ModelJob, job: ModelJob) -> None:
    """A job runs again as the same job, with all its tries, and no report of an earlier attempt
    is its own."""
    if job.status not in (_S.QUEUED, _S.INITIALIZING) or (
        job.attempt and job.status is not _S.QUEUED
    ):
        fail("status_follows", f"{job.job_id.hex()} is {job.status!r} after a redrive")
    if (job.failures, job.crashes) != (0, 0):
        fail("attempts_bounded", f"redriven with {job.failures} failures, {job.crashes} crashes")
    if (job.attempt, job.epoch) != (ended.attempt, ended.epoch):
        fail("attempts_rise_by_one", f"{job.job_id.hex()}: {ended.attempt} to {job.attempt}")
    if job.open:
        fail("attempt_open_until_closed", f"{job.job_id.hex()} is redriven: open")
    if job.priority != ended.priority or job.has_checkpoint != (job.checkpoint is not None):
        fail("payload_unchanged", f"{job.job_id.hex()} is redriven with {job.checkpoint!r}")


def told_before_it_goes(model: "Model", job_id: bytes) -> None:
    """Those that wait for a job's end have been told of it before the job is deleted."""
    for job in model.waiting.jobs.values():
        if job_id in job.untold and job.waits[job_id] is not None:
            fail("told_before_it_goes", f"{job_id.hex()} goes, {job.job_id.hex()} has not heard")


def spoils(end: Status | None) -> bool:
    """Whether an end keeps those that run after it from running."""
    return end is not None and end is not _S.COMPLETED


def runs_after_what_it_waits_for(job: ModelJob, event: Event) -> None:
    """A job never runs before all that it waits for is there."""
    if event not in (Event.READY, Event.DEFER):
        fail("event_has_cause", f"{event!r} of {job.new} by time")
    for key, end in job.waits.items():
        if end is None or (spoils(end) and not job.new.any_end):
            fail("runs_after_what_it_waits_for", f"{job.new} runs, {key.hex()} is {end!r}")
