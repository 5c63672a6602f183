"""What must hold of workers: what they are told about themselves and about their leases."""

from typing import TYPE_CHECKING, Any, Final

from headrace.core.commands import FindWorkers, OrderWorker, Poll
from headrace.core.job import Status
from headrace.wire.documents import Kind
from headrace.wire.problems import Problem, ProblemCode
from sim.said import read, said_by
from sim.single import single_reports
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model

ABOUT_ITSELF: Final = ("drain", "quit")


def drained_gets_nothing(model: "Model", poll: Poll) -> None:
    order = model.order_to(poll)
    if order:
        fail("drained_gets_nothing", f"{poll.worker} was told to {order} and is given a job")


def orders_tell_truth(model: "Model", poll: Poll, reply: Any) -> None:
    if reply is None:
        return
    for order in reply.orders:
        if order.do in ABOUT_ITSELF:
            if order.lease or order.do != model.order_to(poll):
                fail("orders_tell_truth", f"{poll.worker} is told to {order.do}")
            model.told[poll.profile.tenant, poll.worker, poll.session] = order.do
            continue
        job = model.spoken_for(poll, order.lease)
        if order.do == "lost":
            wrong = job is not None
        elif order.do == "cancel":
            wrong = job is None or job.status is not Status.CANCELING
        else:
            wrong = job is None or job.status is not Status.SUSPENDING
        if wrong:
            fail("orders_tell_truth", f"{order}: the job is {job and job.status!r}")


def what_is_lost_is_told(model: "Model", poll: Poll, reply: Any) -> None:
    """A worker that says it runs what it does not hold, or what is another tenant's, hears it."""
    reported = {report.lease for report in single_reports(poll.reports)}
    lost = {order.lease for order in reply.orders if order.do == "lost"} if reply else set()
    for token in poll.running:
        if token not in reported and token not in lost and not model.spoken_for(poll, token):
            fail("what_is_lost_is_told", f"{poll.worker} of {poll.profile.tenant}: {token}")


def each_session_is_told(model: "Model", poll: Poll) -> None:
    """A worker that drains hears it before a poll of it is parked."""
    order = model.order_to(poll)
    told = model.told.get((poll.profile.tenant, poll.worker, poll.session), "")
    if order and told != order:
        fail("each_session_is_told", f"{poll.worker} waits, was told {told!r}, not {order!r}")


def worker_told(model: "Model", command: OrderWorker, reply: Any, effects: list[Any]) -> None:
    """An order is on record as it was given, and parked polls of its worker go home."""
    if isinstance(reply, Problem):
        if reply.code is not ProblemCode.WORKER_UNKNOWN or effects:
            fail("worker_told", f"{command}: {reply.code!r} {effects}")
        return
    key = (Kind.WORKER, f"{reply.tenant}\0{command.worker}")
    known = model.documents.get(key)
    if not command.caller.all_tenants and reply.tenant != command.caller.tenant:
        fail("strangers_kept_out", f"{command}: {reply}")
    if command.order:
        stored = effects[0].document
        if read(stored.body) != {"order": command.order} or (stored.kind, stored.name) != key:
            fail("worker_told", f"{command}: {stored}")
    elif (known is None) != (not effects) or (effects and effects[0].name != key[1]):
        fail("worker_told", f"{command}: {effects}, {known} was there")
    if effects and effects[1].entry.user != command.caller.user:
        fail("audit_is_whole", f"{command}: {effects}")
    home = {effect.ticket for effect in effects[2:]}
    parked = {
        ticket
        for ticket, poll in model.parked.items()
        if (poll.profile.tenant, poll.worker) == (reply.tenant, command.worker)
    }
    for told in [told for told in model.told if told[:2] == (reply.tenant, command.worker)]:
        if effects:
            del model.told[told]
    if effects and home != parked:
        fail("worker_told", f"{command}: {home} sent home, {parked} are its")


def workers_seen(model: "Model", command: FindWorkers, reply: Any, effects: list[Any]) -> None:
    """What is shown of a worker is so, and nobody sees another tenant's."""
    if effects:
        fail("workers_seen", f"{effects} by a look")
    for seen in reply.workers:
        if not command.caller.all_tenants and seen.tenant != command.caller.tenant:
            fail("strangers_kept_out", f"{command.caller}: {seen}")
        document = model.documents.get((Kind.WORKER, f"{seen.tenant}\0{seen.worker}"))
        if seen.order != said_by(document).get("order", ""):
            fail("workers_seen", f"{seen}, its document is {document}")
        for lease in seen.leases:
            if lease.job_id not in model.held:
                fail("workers_seen", f"{seen} holds {lease}, which is not held")
