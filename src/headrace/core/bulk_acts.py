"""Acts on many jobs: begun once, then done in steps, each a commit.

How far one is, is a document that is stored in the commit of each step: after a crash it goes on
where it was, and comes to no job twice. A job is meant if its id is below the act's own, so that it
was submitted before, and if it matches when its turn comes: what it is was found in the store, and
its status is looked at again here.
"""

from typing import Final

from msgspec.structs import replace

from headrace.core.commands import Act, Caller, Control, StartBulk, StepBulk, StopBulk
from headrace.core.controlling import control
from headrace.core.documenting import keep, note, unknown_document
from headrace.core.effects import DocumentDropped, Effect
from headrace.core.ids import ID_BYTES, id_parse
from headrace.core.job import TERMINAL, Job, Status
from headrace.core.live import ArchiveFault, Live
from headrace.wire import limits
from headrace.wire.documents import BulkDocument, Document, Kind, body_of
from headrace.wire.problems import Problem, ProblemCode

_S = Status

BULK_ACTS: Final[dict[str, Act]] = {
    "cancel": Act.CANCEL,
    "suspend": Act.SUSPEND,
    "resume": Act.RESUME,
    "delete": Act.DELETE,
    "retry": Act.RETRY,
}
ACTED_ON: Final[dict[Act, frozenset[Status]]] = {
    Act.CANCEL: frozenset(Status) - TERMINAL,
    Act.SUSPEND: frozenset({_S.SCHEDULED, _S.QUEUED, _S.RESUMING, _S.LOCKED, _S.RUNNING}),
    Act.RESUME: frozenset({_S.SUSPENDED}),
    Act.DELETE: TERMINAL,
    Act.RETRY: frozenset({_S.FAILED, _S.TIMEOUT}),
}
"""Which jobs are meant, if the filter says nothing on their status."""
CHANGED: Final = "changed"
"""Why a job is skipped that matched when it was looked for, and does no longer."""

assert set(BULK_ACTS.values()) == ACTED_ON.keys()


def start_bulk(
    live: Live, now_ms: int, command: StartBulk, effects: list[Effect]
) -> Document | Problem:
    caller = command.caller
    known = live.documents.of(Kind.BULK)
    mine = [(name, each) for name, each in _values(known) if each.tenant == caller.tenant]
    running = [name for name, each in mine if each.state == "running"]
    if len(running) >= limits.BULKS_RUNNING_MAX:
        return Problem(
            ProblemCode.DOCUMENTS_TOO_MANY,
            f"{len(running)} acts on many jobs are under way; wait for one, or cancel it",
            retry_after_ms=10_000,
        )
    if len(known) >= limits.DOCUMENTS_MAX:
        return Problem(
            ProblemCode.DOCUMENTS_TOO_MANY,
            f"at most {limits.DOCUMENTS_MAX} are kept of all tenants",
        )
    value = replace(
        command.value,
        tenant=caller.tenant,
        user=caller.user,
        admin=caller.admin,
        key_id=caller.key_id,
        started_at_ms=live.wall_ms(now_ms),
    )
    body = body_of(value)
    if len(body) > limits.DOCUMENT_BYTES_MAX:
        return Problem(
            ProblemCode.FIELD_INVALID,
            f"with it the act has {len(body)} bytes; {limits.DOCUMENT_BYTES_MAX} are allowed",
            pointer="/filter",
        )
    ended = sorted(name for name, each in mine if each.state != "running")
    for name in ended[: max(0, len(mine) + 1 - limits.BULKS_KEPT_MAX)]:
        live.documents.drop(Kind.BULK, name)
        effects.append(DocumentDropped(Kind.BULK, name))
    if caller.admin:
        act = f"bulk_{value.act}"
        told = body_of(value.filter).decode()[: limits.DETAILS_CHARS_MAX]
        note(live, now_ms, caller, act, command.name, effects, told)
    return keep(live, now_ms, Kind.BULK, command.name, caller.user, body, effects)


def _values(known: dict[str, Document]) -> list[tuple[str, BulkDocument]]:
    return [(name, document.value()) for name, document in known.items()]


def step_bulk(live: Live, now_ms: int, command: StepBulk, effects: list[Effect]) -> bool:
    document = live.documents.get(Kind.BULK, command.name)
    value: BulkDocument | None = None if document is None else document.value()
    if value is None or value.state != "running" or value.steps != command.step:
        return False
    place, before = bytes.fromhex(value.place), id_parse(command.name)
    assert before is not None
    caller = Caller(value.tenant, value.user, value.admin, value.key_id)
    statuses = frozenset(map(Status, value.statuses))
    matched, done, skipped = value.matched, value.done, dict(value.skipped)
    for job_id in command.job_ids:
        if not place < job_id < before:
            continue
        place = job_id
        why = _act(live, now_ms, value, caller, statuses, job_id, effects)
        matched += 1
        if why:
            skipped[why] = skipped.get(why, 0) + 1
        else:
            done += 1
    if command.corrupt:
        word = ProblemCode.RECORD_CORRUPT.name.lower()
        skipped[word] = skipped.get(word, 0) + command.corrupt
    value = replace(
        value,
        state="completed" if command.last else "running",
        steps=value.steps + 1,
        place=max(place, command.place).hex(),
        examined=value.examined + command.examined,
        matched=matched,
        done=done,
        skipped=skipped,
        finished_at_ms=live.wall_ms(now_ms) if command.last else 0,
    )
    keep(live, now_ms, Kind.BULK, command.name, value.user, body_of(value), effects)
    return True


def _act(
    live: Live,
    now_ms: int,
    value: BulkDocument,
    caller: Caller,
    statuses: frozenset[Status],
    job_id: bytes,
    effects: list[Effect],
) -> str:
    """Return why a job is skipped; empty if the act was done."""
    try:
        job = _job(live, job_id)
        if job is None:
            return ProblemCode.JOB_UNKNOWN.name.lower()
        if job.status not in statuses or (
            value.retrying_only and job.status is Status.SCHEDULED and not job.attempt
        ):
            return CHANGED
        if value.dry_run:
            return ""
        reply = control(live, now_ms, Control(caller, job_id, BULK_ACTS[value.act]), effects)
    except ArchiveFault:
        return ProblemCode.RECORD_CORRUPT.name.lower()
    return reply.code.name.lower() if isinstance(reply, Problem) else ""


def _job(live: Live, job_id: bytes) -> Job | None:
    """Return a job as it is now, live or finished. Raises: `ArchiveFault`."""
    assert len(job_id) == ID_BYTES
    handle = live.jobs.find(job_id)
    if handle >= 0:
        return live.load(handle)
    finished = live.finished(job_id)
    return None if finished is None else Job.unpack(job_id, finished.record)


def stop_bulk(
    live: Live, now_ms: int, command: StopBulk, effects: list[Effect]
) -> Document | Problem:
    caller = command.caller
    document = live.documents.get(Kind.BULK, command.name)
    if document is None:
        return unknown_document()
    value: BulkDocument = document.value()
    if not may_see(caller, value):
        return unknown_document()
    if value.state != "running":
        return document
    value = replace(value, state="cancelled", finished_at_ms=live.wall_ms(now_ms))
    if caller.admin:
        note(live, now_ms, caller, "bulk_stop", command.name, effects)
    return keep(live, now_ms, Kind.BULK, command.name, caller.user, body_of(value), effects)


def may_see(caller: Caller, value: BulkDocument) -> bool:
    """Say whether an act on many jobs is there for a caller."""
    return caller.tenant == value.tenant and (caller.admin or caller.user == value.user)
