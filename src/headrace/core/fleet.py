"""What operators see of workers, and have them told: drain, quit, or take jobs again.

What a worker was told is a document under its name and the tenant of its key: it outlives both the
server's process and the worker's, until somebody takes it back. A worker that drains is given
nothing (`polling.poll`); it is told so once a session, which matters only for `quit`.
"""

from heapq import nsmallest

from headrace.core.commands import (
    Caller,
    DropDocument,
    FindWorker,
    FindWorkers,
    LeaseSeen,
    OrderWorker,
    PollReply,
    PutDocument,
    WorkerSeen,
    WorkersSeen,
)
from headrace.core.documenting import drop_document, put_document
from headrace.core.effects import Answered, DocumentDropped, Effect
from headrace.core.live import Live
from headrace.core.polling import order_to, unpark
from headrace.core.resources import Amounts
from headrace.core.workers import KnownWorker, Lease, WorkerKey
from headrace.wire import limits
from headrace.wire.documents import Kind, WorkerDocument, body_of, worker_document
from headrace.wire.problems import Problem, ProblemCode


def order_worker(
    live: Live, now_ms: int, command: OrderWorker, effects: list[Effect]
) -> WorkerSeen | Problem:
    key = named(live, command.caller, command.tenant, command.worker)
    if isinstance(key, Problem):
        return key
    name = worker_document(*key)
    if live.documents.get(Kind.WORKER, name) is None and not command.order:
        return seen(live, now_ms, key)
    if command.order:
        make_room(live, name, effects)
        body = body_of(WorkerDocument(order=command.order))  # type: ignore[arg-type]
        done = put_document(
            live, now_ms, PutDocument(command.caller, Kind.WORKER, name, body), effects
        )
    else:
        done = drop_document(live, now_ms, DropDocument(command.caller, Kind.WORKER, name), effects)
    if isinstance(done, Problem):
        return done
    call_home(live, now_ms, key, effects)
    return seen(live, now_ms, key)


def make_room(live: Live, name: str, effects: list[Effect]) -> None:
    """Let the oldest order to a worker that is gone make room for a new one.

    Cost: O(orders), only when there are as many as there may be.
    """
    orders = live.documents.of(Kind.WORKER)
    if name in orders or len(orders) < limits.DOCUMENTS_MAX:
        return
    gone = [one for one in orders.values() if live.workers.get(key_of(one.name)) is None]
    if gone:
        oldest = min(gone, key=lambda one: one.version)
        live.documents.drop(Kind.WORKER, oldest.name)
        live.told.pop(key_of(oldest.name), None)
        effects.append(DocumentDropped(Kind.WORKER, oldest.name))


def call_home(live: Live, now_ms: int, key: WorkerKey, effects: list[Effect]) -> None:
    """Answer the parked polls of a worker: it hears what it is told, or asks for jobs anew.

    Cost: O(parked polls).
    """
    told = live.told.get(key)
    for ticket, parked in list(live.parked.by_ticket.items()):
        poll = parked.poll
        if (poll.profile.tenant, poll.worker) == key:
            unpark(live, ticket)
            orders = [] if told is None else order_to(now_ms, told, poll, again=False)
            effects.append(Answered(ticket, PollReply(orders=orders)))


# Views ------------------------------------------------------------------------------------------


def find_worker(
    live: Live, now_ms: int, command: FindWorker, _effects: list[Effect]
) -> WorkerSeen | Problem:
    key = named(live, command.caller, command.tenant, command.worker)
    return key if isinstance(key, Problem) else seen(live, now_ms, key, with_leases=True)


def find_workers(
    live: Live, now_ms: int, command: FindWorkers, _effects: list[Effect]
) -> WorkersSeen:
    """Cost: O(workers known) to choose a page, then O(leases) of its workers."""
    caller = command.caller
    keys = nsmallest(
        command.limit + 1,
        (
            key
            for key in {**live.workers.by_name, **live.told}
            if key > command.after and may_see(caller, key)
        ),
    )
    page = keys[: command.limit]
    return WorkersSeen([seen(live, now_ms, key) for key in page], len(keys) > len(page))


def key_of(name: str) -> WorkerKey:
    """Return whose document has the name."""
    tenant, _, worker = name.partition("\0")
    return tenant, worker


def may_see(caller: Caller, key: WorkerKey) -> bool:
    return caller.all_tenants or key[0] == caller.tenant


def named(live: Live, caller: Caller, tenant: str | None, worker: str) -> WorkerKey | Problem:
    """Return the worker that is meant; what may not be seen is not there."""
    if not caller.all_tenants and tenant is None:
        tenant = caller.tenant
    if tenant is not None:
        found = [(tenant, worker)]
    else:
        found = [key for key in {**live.workers.by_name, **live.told} if key[1] == worker]
    found = [
        key
        for key in found
        if may_see(caller, key) and (key in live.workers.by_name or key in live.told)
    ]
    if len(found) == 1:
        return found[0]
    if ("", worker) in found:
        return "", worker
    if found:
        return Problem(
            ProblemCode.REQUEST_MALFORMED, "workers of several tenants have this name: say tenant="
        )
    return Problem(ProblemCode.WORKER_UNKNOWN, "no worker of this name was heard of lately")


def seen(live: Live, now_ms: int, key: WorkerKey, *, with_leases: bool = False) -> WorkerSeen:
    tenant, worker = key
    order, ordered_at_ms, ordered_by = "", 0, ""
    document = live.documents.get(Kind.WORKER, worker_document(tenant, worker))
    if document is not None:
        order = live.told[key].order
        ordered_at_ms, ordered_by = document.changed_at_ms, document.changed_by
    known = live.workers.get(key)
    if known is None:
        return WorkerSeen(tenant, worker, order, ordered_at_ms, ordered_by)
    leases = leases_of(live, known)
    return WorkerSeen(
        tenant,
        worker,
        order,
        ordered_at_ms,
        ordered_by,
        known.profile,
        known.total,
        free_of(live, known, leases),
        len(leases),
        [lease_seen(lease) for lease in leases[: limits.LIST_LIMIT_MAX]] if with_leases else [],
        live.wall_ms(known.seen_ms),
        known.sessions[-1].rpartition("\0")[2] if known.sessions else "",
        known.key_id,
    )


def leases_of(live: Live, known: KnownWorker) -> list[Lease]:
    """Return what a worker holds, also by its sessions before the last."""
    leases = [*known.held]
    for name in known.sessions:
        session = live.sessions.get(name)
        if session is not None:
            leases += session.held
    return leases


def free_of(live: Live, known: KnownWorker, leases: list[Lease]) -> Amounts | None:
    """Return what a worker offered last, less what it was given since."""
    if known.offered is None:
        return None
    free = known.offered.vector()
    for lease in leases:
        if lease.granted_ms >= known.offered_ms:
            need = live.classes.entry(live.load(lease.handle).class_id).requirements.amounts
            free = tuple(max(0, a - b) for a, b in zip(free, need.vector(), strict=True))  # type: ignore[assignment]
    return Amounts(*free)


def lease_seen(lease: Lease) -> LeaseSeen:
    return LeaseSeen(
        lease.job_id,
        lease.attempt,
        lease.progress,
        lease.details,
        lease.started_at_ms,
        lease.deadline_at_ms,
    )
