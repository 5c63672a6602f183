"""A log line for each step of each job, at level debug: ids, attempts and workers; no payloads.

Asked for once, when a node starts. Then a commit costs a tuple for each job, and the log's own
thread makes the lines.
"""

import logging
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from headrace.core.effects import (
    Effect,
    JobChanged,
    JobDeleted,
    JobFinished,
    JobRedriven,
    JobsCompleted,
    JobsLeased,
    JobsStored,
    ids_split,
)
from headrace.core.ids import id_text
from headrace.core.job import RECORD_BYTES, Event, Job
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
    Event.REDRIVE: "job to run again",
    Event.AWAIT: "job to run again, and waits",
    Event.DEFER: "job ready for its time",
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
    steps = [step for effect in effects for step in _steps(effect)]
    if steps:
        log.handle(ManyRecord(NAME, logging.DEBUG, steps, _lines))


def _steps(effect: Effect) -> Iterator[_Step]:
    if type(effect) is JobsStored:
        for job_id, record in _jobs(effect.job_ids, effect.records):
            yield _Step(_SUBMITTED, job_id, record)
    elif type(effect) is JobChanged or type(effect) is JobRedriven:
        yield _Step(_WORDS[effect.event], effect.job_id, effect.record, effect.trail.worker)
    elif type(effect) is JobFinished:
        end = effect.finished
        yield _Step(_WORDS[effect.event], effect.job_id, end.record, end.worker, end.code)
    elif type(effect) is JobsLeased:
        for job_id, record in _jobs(effect.job_ids, effect.records):
            yield _Step(_WORDS[Event.LEASE], job_id, record, effect.trail.worker)
    elif type(effect) is JobsCompleted:
        for job_id, record in _jobs(effect.job_ids, effect.records):
            yield _Step(_WORDS[Event.COMPLETE], job_id, record, effect.worker)
    elif type(effect) is JobDeleted:
        yield _Step(_DELETED, effect.job_id)


def _jobs(job_ids: bytes, records: bytes) -> Iterator[tuple[bytes, bytes]]:
    for position, job_id in enumerate(ids_split(job_ids)):
        yield job_id, records[position * RECORD_BYTES : (position + 1) * RECORD_BYTES]


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
