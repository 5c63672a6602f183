"""Documents: how they change, and what the engine itself does about some of them.

The engine acts on queues, whose capacity and pause go to the match index, and on tenants, whose
weight goes to their lines. All other kinds it only keeps. What it keeps is ahead of the disk;
handlers read the store's own table (`store.documents`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import UnsetType

from headrace.core.announcing import webhook_changed, webhook_has_room
from headrace.core.commands import Caller, DropDocument, Expect, PutDocument
from headrace.core.effects import AuditNoted, DocumentDropped, DocumentStored, Effect
from headrace.core.gates import limit_of, quota_of, running_limit_of, subject_of
from headrace.core.workers import Told
from headrace.wire import limits
from headrace.wire.documents import (
    AuditEntry,
    Document,
    Kind,
    LimitDocument,
    QueueDocument,
    TenantDocument,
)
from headrace.wire.problems import Problem, ProblemCode

if TYPE_CHECKING:
    from headrace.core.live import Live


_OF_INTAKE: Final = frozenset({Kind.TYPE, Kind.GROUP, Kind.LIMIT})


class DocumentTable:
    """Documents by kind and name."""

    def __init__(self) -> None:
        self._by_kind: dict[int, dict[str, Document]] = {kind: {} for kind in Kind}
        self._changes: dict[int, int] = dict.fromkeys(Kind, 0)
        self.intake_changes = 0
        """Rises when a document does by which jobs are translated: what was learnt is void."""
        self.damaged: set[int] = set()
        """Kinds of which a document failed its checksum at the start, and is not here."""

    def of(self, kind: Kind) -> dict[str, Document]:
        """Return all of a kind by name; not to be changed."""
        return self._by_kind[kind]

    def get(self, kind: Kind, name: str) -> Document | None:
        return self._by_kind[kind].get(name)

    def changes(self, kind: Kind) -> int:
        """Return a number that rises with each change of the kind: what was made of them before
        is of use as long as it stays."""
        return self._changes[kind]

    def put(self, document: Document) -> None:
        self._by_kind[document.kind][document.name] = document
        self._changed(document.kind)

    def drop(self, kind: Kind, name: str) -> None:
        self._by_kind[kind].pop(name, None)
        self._changed(kind)

    def _changed(self, kind: Kind) -> None:
        self._changes[kind] += 1
        if kind in _OF_INTAKE:
            self.intake_changes += 1


# Commands ---------------------------------------------------------------------------------------


def put_document(
    live: "Live", now_ms: int, command: PutDocument, effects: list[Effect]
) -> Document | Problem:
    kind, name = command.kind, command.name
    known = live.documents.get(kind, name)
    problem = put_check(live, command) or check_expected(known, command.expected)
    if problem is None and (needs := NEEDS.get(kind)) is not None:
        problem = needs(live, name, command.body)
    if problem is not None:
        return problem
    document = keep(live, now_ms, kind, name, command.caller.user, command.body, effects)
    note(live, now_ms, command.caller, f"{kind.name.lower()}_put", shown(kind, name), effects)
    if (hook := CHANGED.get(kind)) is not None:
        hook(live, name)
    return document


def keep(
    live: "Live",
    now_ms: int,
    kind: Kind,
    name: str,
    changed_by: str,
    body: bytes,
    effects: list[Effect],
) -> Document:
    """Store a document under a version of its own."""
    live.document_version = max(now_ms, live.document_version + 1)
    version, at_ms = live.document_version, live.wall_ms(now_ms)
    document = Document(kind, name, version, at_ms, changed_by, body)
    live.documents.put(document)
    effects.append(DocumentStored(document))
    return document


def put_check(live: "Live", command: PutDocument) -> Problem | None:
    """Say why a document cannot be kept, whatever is there."""
    size = len(command.name.encode())
    if not 0 < size <= limits.DOCUMENT_NAME_BYTES_MAX:
        return Problem(
            ProblemCode.FIELD_INVALID,
            f"a name has 1 to {limits.DOCUMENT_NAME_BYTES_MAX} bytes of UTF-8",
            pointer="/name",
        )
    if len(command.body) > limits.DOCUMENT_BYTES_MAX:
        return Problem(
            ProblemCode.FIELD_INVALID,
            f"it has {len(command.body)} bytes; {limits.DOCUMENT_BYTES_MAX} are allowed",
            pointer="",
        )
    known = live.documents.of(command.kind)
    if command.name not in known and len(known) >= limits.DOCUMENTS_MAX:
        return Problem(ProblemCode.DOCUMENTS_TOO_MANY, f"at most {limits.DOCUMENTS_MAX} are kept")
    return None


def drop_document(
    live: "Live", now_ms: int, command: DropDocument, effects: list[Effect]
) -> Document | Problem:
    kind, name = command.kind, command.name
    known = live.documents.get(kind, name)
    if known is None:
        return unknown_document()
    problem = check_expected(known, command.expected)
    if problem is None and (in_use := IN_USE.get(kind)) is not None:
        problem = in_use(live, name)
    if problem is not None:
        return problem
    live.documents.drop(kind, name)
    effects.append(DocumentDropped(kind, name))
    note(live, now_ms, command.caller, f"{kind.name.lower()}_drop", shown(kind, name), effects)
    if (hook := CHANGED.get(kind)) is not None:
        hook(live, name)
    return known


def check_expected(known: Document | None, expected: int) -> Problem | None:
    """Say whether what is there is what the caller takes it for."""
    if expected == Expect.ANYTHING:
        return None
    if expected == Expect.PRESENT:
        met = known is not None
    else:
        met = expected == (Expect.ABSENT if known is None else known.version)
    if met:
        return None
    there = "there is none" if known is None else f"its version is {known.version}"
    return Problem(ProblemCode.PRECONDITION_FAILED, f"{there}; nothing was changed")


def unknown_document() -> Problem:
    return Problem(ProblemCode.DOCUMENT_UNKNOWN, "there is none, or it was removed")


def shown(kind: Kind, name: str) -> str:
    """Return a document's name for the audit log: a worker's without its tenant."""
    return name.partition("\0")[2] if kind is Kind.WORKER else name


def note(
    live: "Live",
    now_ms: int,
    caller: Caller,
    act: str,
    name: str,
    effects: list[Effect],
    detail: str = "",
) -> None:
    """Write an act of an admin into the audit log, in the commit of what it does."""
    live.audit_last += 1
    effects.append(
        AuditNoted(
            AuditEntry(
                number=live.audit_last,
                at_ms=live.wall_ms(now_ms),
                tenant=caller.tenant,
                user=caller.user,
                key_id=caller.key_id,
                act=act,
                name=name,
                detail=detail,
            )
        )
    )


# Queues -----------------------------------------------------------------------------------------


def queue_changed(live: "Live", name: str) -> None:
    """Have the match index do what the document says, or else the configuration."""
    document = live.documents.get(Kind.QUEUE, name)
    said = queue_settings(document, live.config.queue_capacities.get(name))
    live.classes.queue_set(name, said.capacity, said.paused)
    live.classes.backlogs_max.pop(name, None)
    if said.backlog_max is not None:
        live.classes.backlogs_max[name] = said.backlog_max
    live.room = True


class QueueSettings(NamedTuple):
    """What holds for a queue."""

    capacity: int | None
    paused: bool = False
    description: str = ""
    backlog_max: int | None = None


def queue_settings(document: Document | None, configured: int | None) -> QueueSettings:
    """Return what holds where the configuration gives the capacity `configured`."""
    if document is None:
        return QueueSettings(configured)
    value: QueueDocument = document.value()
    capacity = configured if isinstance(value.capacity, UnsetType) else value.capacity
    return QueueSettings(capacity, value.paused, value.description, value.backlog_max)


def queue_in_use(live: "Live", name: str) -> Problem | None:
    if live.classes.queue_has_jobs(name):
        return Problem(
            ProblemCode.DOCUMENT_IN_USE,
            "the queue has jobs that have not ended; put {} to go back to its first settings",
        )
    return None


# Types and groups -------------------------------------------------------------------------------


class _TypeHead(msgspec.Struct):
    """Of a type, what the engine asks; its schema is passed over."""

    group: str = ""
    suspendable: bool = True
    retention_ms: int | None = None


_type_head: Final = msgspec.json.Decoder(_TypeHead).decode


def type_needs_group(live: "Live", _name: str, body: bytes) -> Problem | None:
    group = _type_head(body).group
    if not group or live.documents.get(Kind.GROUP, group) is not None:
        return None
    return Problem(ProblemCode.FIELD_INVALID, "there is no such group", pointer="/group")


def group_in_use(live: "Live", name: str) -> Problem | None:
    if any(_type_head(one.body).group == name for one in live.documents.of(Kind.TYPE).values()):
        return Problem(ProblemCode.DOCUMENT_IN_USE, "the group has types")
    return None


def type_changed(live: "Live", name: str) -> None:
    """Have finished jobs of a type kept as long as it says."""
    document = live.documents.get(Kind.TYPE, name)
    live.keeping.of_type(name, None if document is None else _type_head(document.body).retention_ms)


def may_suspend(live: "Live", job_type: str) -> bool:
    """Say whether jobs of a type can be suspended."""
    document = live.documents.get(Kind.TYPE, job_type)
    return document is None or _type_head(document.body).suspendable


# Workers ----------------------------------------------------------------------------------------


def worker_changed(live: "Live", name: str) -> None:
    """Remember what the document has a worker told."""
    tenant, _, worker = name.partition("\0")
    document = live.documents.get(Kind.WORKER, name)
    if document is None:
        live.told.pop((tenant, worker), None)
    else:
        live.told[tenant, worker] = Told(document.value().order)


# Limits and quotas ------------------------------------------------------------------------------

_limit: Final = msgspec.json.Decoder(LimitDocument).decode


def limit_changed(live: "Live", name: str) -> None:
    document = live.documents.get(Kind.LIMIT, name)
    limit = None if document is None else limit_of(document.value())
    live.classes.limit_set((Kind.LIMIT, name), limit)
    live.room = True


def limit_is_one_of_few(live: "Live", name: str, body: bytes) -> Problem | None:
    """Each limit on a thing costs every start of it something."""
    subject = subject_of(_limit(body))
    others = [
        gate.key
        for gate in live.gates.of_subject(subject)
        if gate.key[0] is Kind.LIMIT and gate.key[1] != name
    ]
    if len(others) < limits.LIMITS_OF_ONE_MAX:
        return None
    return Problem(
        ProblemCode.FIELD_INVALID,
        f"it has {limits.LIMITS_OF_ONE_MAX} limits, as many as one {subject[0]} may have",
        pointer=f"/{subject[0]}",
    )


def tenant_changed(live: "Live", name: str) -> None:
    document = live.documents.get(Kind.TENANT, name)
    value: TenantDocument = TenantDocument() if document is None else document.value()
    live.classes.lines.weigh(name, value.weight)
    live.classes.limit_set((Kind.TENANT, name), running_limit_of(name, value))
    live.quota_set(name, quota_of(value))
    live.room = True


CHANGED: Final[dict[Kind, Callable[["Live", str], None]]] = {
    Kind.QUEUE: queue_changed,
    Kind.TYPE: type_changed,
    Kind.WORKER: worker_changed,
    Kind.LIMIT: limit_changed,
    Kind.TENANT: tenant_changed,
    Kind.WEBHOOK: webhook_changed,
}
"""Called after a change of a kind, and for each document at a start."""

NEEDS: Final[dict[Kind, Callable[["Live", str, bytes], Problem | None]]] = {
    Kind.TYPE: type_needs_group,
    Kind.LIMIT: limit_is_one_of_few,
    Kind.WEBHOOK: webhook_has_room,
}
"""What has to be there for a document of a kind."""

IN_USE: Final[dict[Kind, Callable[["Live", str], Problem | None]]] = {
    Kind.QUEUE: queue_in_use,
    Kind.GROUP: group_in_use,
}
"""Why a document of a kind must stay."""


def restore_documents(live: "Live", documents: list[Document]) -> None:
    for document in documents:
        live.documents.put(document)
        live.document_version = max(live.document_version, document.version)
        if (hook := CHANGED.get(document.kind)) is not None:
            hook(live, document.name)
