"""Many at once, said one by one: the model knows single jobs, reports and answers."""

from headrace.core.commands import Ack, Completed, Completions, Outcome, Report
from headrace.core.effects import (
    Effect,
    Finished,
    JobChanged,
    JobFinished,
    JobsCompleted,
    JobsLeased,
)
from headrace.core.job import Event, Status
from sim.model_job import RECORD, ids_of

TOKEN_CHARS = 54


def single_effects(effects: list[Effect]) -> list[Effect]:
    found: list[Effect] = []
    for effect in effects:
        if isinstance(effect, JobsLeased):
            ids, records = ids_of(effect.job_ids), parts(effect.records, RECORD.size)
            for job_id, record in zip(ids, records, strict=True):
                found.append(JobChanged(job_id, Event.LEASE, record, effect.trail))
        elif isinstance(effect, JobsCompleted):
            ids, records = ids_of(effect.job_ids), parts(effect.records, RECORD.size)
            rest = zip(ids, records, effect.started_at_ms, effect.bodies, strict=True)
            for job_id, record, started_at_ms, body in rest:
                finished = Finished(
                    Status.COMPLETED,
                    effect.finished_at_ms,
                    record,
                    started_at_ms,
                    effect.worker,
                    body=body,
                )
                found.append(JobFinished(job_id, Event.COMPLETE, finished))
        else:
            found.append(effect)
    return found


def single_reports(reports: list[Report | Completions]) -> list[Report]:
    found: list[Report] = []
    for told in reports:
        if isinstance(told, Completions):
            leases = parts(told.leases, TOKEN_CHARS)
            for lease, body in zip(leases, told.bodies, strict=True):
                found.append(Report(lease.decode(), Outcome.COMPLETED, body))
        else:
            found.append(told)
    return found


def single_acks(acks: list[Ack | Completed]) -> list[Ack]:
    found: list[Ack] = []
    for ack in acks:
        if isinstance(ack, Completed):
            leases = parts(ack.leases, TOKEN_CHARS)
            found += [Ack(lease.decode(), Status.COMPLETED) for lease in leases]
        else:
            found.append(ack)
    return found


def joined(reports: list[Report]) -> list[Report | Completions]:
    """Return reports as a server reads them from a body: plain completions together."""
    found: list[Report | Completions] = []
    for told in reports:
        plain = Report(told.lease, Outcome.COMPLETED, told.body)
        if told != plain or len(told.lease) != TOKEN_CHARS:
            found.append(told)
            continue
        if not found or not isinstance(found[-1], Completions):
            found.append(Completions(b"", []))
        found[-1].leases += told.lease.encode()
        found[-1].bodies.append(told.body)
    return found


def parts(joined: bytes, size: int) -> list[bytes]:
    if len(joined) % size:
        raise ValueError(f"{len(joined)} bytes are no parts of {size}")
    return [joined[at : at + size] for at in range(0, len(joined), size)]
