"""A log line for each step of each job, at level debug: ids, attempts and workers; no payloads.

Asked for once, when a node starts. Then a commit costs a tuple for each job, and the log's own
thread makes the lines.
"""

import logging
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from headrace.core.effects import Effect, JobChanged, JobDeleted, JobFinished, JobStored
from headrace.core.ids import id_text
from headrace.core.job import Event, Job
from headrace.runtime.logs import ManyRecord

NAME: Final = "headrace.jobs"
log = logging.getLogger(NAME)

_SUBMITTED: Final = "job submitted"
_DELETED: Final = "job deleted"
_WORDS: Final = {
    Event.READY: "job ready",
    Event.DUE: "job due",
    Event.LEASE: "job leased",
    Event.START: "job started",
    Event.COMPLETE: "job completed",
    Event.RETRY: "job failed, tried again later",
    Event.FAIL: "job failed",
    Event.TIME_OUT: "job timed out",
    Event.LAPSE: "job's lease lapsed",
    Event.RELEASE: "job given back",
    Event.SNOOZE: "job snoozed",
    Event.SUSPEND: "job suspended",
    Event.CHECKPOINT: "job stopped at its checkpoint",
    Event.RESUME: "job resumed",
    Event.CANCEL: "job to be cancelled",
    Event.CANCELED: "job cancelled",
    Event.SKIP: "job skipped",
}
assert _WORDS.keys() == set(Event), "every event has its words"


class _Step(NamedTuple):
    words: str
    job_id: bytes
    record: bytes = b""
    worker: str = ""
    code: str = ""


def wanted() -> bool:
    return log.isEnabledFor(logging.DEBUG)


def log_effects(effects: list[Effect]) -> None:
    """Log what was committed."""
    steps = [step for step in map(_step, effects) if step is not None]
    if steps:
        log.handle(ManyRecord(NAME, logging.DEBUG, steps, _lines))


def _step(effect: Effect) -> _Step | None:
    if type(effect) is JobStored:
        return _Step(_SUBMITTED, effect.job_id, effect.record)
    if type(effect) is JobChanged:
        return _Step(_WORDS[effect.event], effect.job_id, effect.record, effect.trail.worker)
    if type(effect) is JobFinished:
        end = effect.finished
        return _Step(_WORDS[effect.event], effect.job_id, end.record, end.worker, end.code)
    if type(effect) is JobDeleted:
        return _Step(_DELETED, effect.job_id)
    return None


def _lines(steps: list[_Step]) -> Iterator[tuple[str, dict[str, Any]]]:
    for step in steps:
        fields: dict[str, Any] = {"job_id": id_text(step.job_id)}
        if step.record:
            job = Job.unpack(step.job_id, step.record)
            fields["status"] = job.status.name.lower()
            if job.attempt:
                fields["attempt"] = job.attempt
        for name, value in (("worker", step.worker), ("code", step.code)):
            if value:
                fields[name] = value
        yield step.words, fields
