"""What must hold of documents and of the audit log."""

from typing import TYPE_CHECKING, Any

from headrace.core.commands import Act, Control, DropDocument, PutDocument
from headrace.core.job import Status
from headrace.wire.documents import Document, Kind
from headrace.wire.problems import Problem, ProblemCode
from sim.said import read, said_by
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model


def document_answers(
    model: "Model", command: PutDocument | DropDocument, reply: Any, effects: list[Any]
) -> None:
    """A change happens if what is there is what the caller takes it for, and then as asked."""
    known = model.documents.get((command.kind, command.name))
    there = 0 if known is None else known.version
    dropped = type(command) is DropDocument
    used = False
    if dropped and command.kind is Kind.QUEUE:
        used = any(job.new.requirements.queue == command.name for job in model.jobs.values())
    elif dropped and command.kind is Kind.GROUP:
        used = any(said_by(one).get("group") == command.name for one in model.documents.values())
    if dropped and known is None:
        wanted: int | None = ProblemCode.DOCUMENT_UNKNOWN
    elif command.expected not in (-1, there) and not (command.expected == -2 and there):
        wanted = ProblemCode.PRECONDITION_FAILED
    else:
        wanted = ProblemCode.DOCUMENT_IN_USE if used else None
        if type(command) is PutDocument and command.kind is Kind.TYPE:
            group = read(command.body).get("group", "")
            if group and (Kind.GROUP, group) not in model.documents:
                wanted = ProblemCode.FIELD_INVALID
    if isinstance(reply, Problem):
        if reply.code != wanted or effects:
            fail("document_answers", f"{command}: {reply.code!r}, {known} is there")
        return
    if wanted is not None:
        fail("document_answers", f"{command} done, {known} is there")
    if dropped:
        if reply != known:
            fail("document_answers", f"{reply} dropped, {known} was there")
    elif reply.body != command.body or reply.version <= model.document_version:
        fail("document_answers", f"{command}: {reply} after version {model.document_version}")
    if len(effects) != 2 or effects[1].entry.user != command.caller.user:
        fail("audit_is_whole", f"{command}: {effects}")


def unsuspendable_stay(model: "Model", command: Control, reply: Any) -> None:
    """A job whose type says so is not suspended, from when it says so."""
    job = model.jobs.get(command.job_id)
    if job is None or command.act is not Act.SUSPEND or isinstance(reply, Problem):
        return
    document = model.documents.get((Kind.TYPE, job.new.requirements.kind))
    free = said_by(document).get("suspendable", True)
    if not free and job.status not in (Status.SUSPENDING, Status.SUSPENDED):
        fail("unsuspendable_stay", f"{command}: {reply!r}, its type is {document}")


def audit_in_order(model: "Model", entry: Any) -> None:
    last = model.audit[-1].number if model.audit else 0
    if entry.number != last + 1:
        fail("audit_is_whole", f"{entry} after number {last}")


def documents_kept(documents: Any, expected: dict[tuple[Kind, str], Document]) -> None:
    """What a table of documents holds is what effects made it."""
    held = {(kind, name): one for kind in Kind for name, one in documents.of(kind).items()}
    if held != expected:
        fail("documents_kept", f"{held} held, {expected} by effects")
