"""What must hold of acts on many jobs."""

from typing import TYPE_CHECKING, Any

import msgspec

from headrace.core.bulk_acts import BULK_ACTS
from headrace.core.commands import Act, Caller, Control, StartBulk, StepBulk
from headrace.core.ids import id_parse
from headrace.core.job import Status
from headrace.runtime.listing import NOBODY
from headrace.store.contract import ListQuery
from headrace.wire.documents import BulkDocument, Kind
from headrace.wire.problems import Problem
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model

_query_decode = msgspec.json.Decoder(ListQuery).decode


class Meant:
    """An act on many jobs, as the model sees it."""

    def __init__(self, model: "Model", value: BulkDocument, name: str) -> None:
        before = id_parse(name)
        assert before is not None
        self.before = before
        self.place = b""
        self.stood: dict[bytes, bytes] = {
            job_id: stands(model, job_id)
            for job_id in (*model.jobs, *model.ended)
            if job_id < before and is_meant(model, value, job_id)
        }
        """Jobs that matched when it began, and how they stood."""


def stands(model: "Model", job_id: bytes) -> bytes:
    job = model.jobs.get(job_id)
    return bytes(model.ended[job_id].record if job is None else job.record)


def is_meant(model: "Model", value: BulkDocument, job_id: bytes) -> bool:
    owner = model.owners[job_id]
    status = model.status_of(job_id)
    asked = _query_decode(value.query)
    return (
        owner.tenant == value.tenant
        and asked.owner_id != NOBODY  # the caller's first submit was not answered when it asked
        and (asked.owner_id is None or owner.user == value.user)
        and status is not None
        and status in value.statuses
        and not value.retrying_only
    )


def bulk_begins(model: "Model", command: StartBulk, reply: Any) -> None:
    if not isinstance(reply, Problem):
        model.meant[command.name] = Meant(model, reply.value(), command.name)


def bulk_steps(
    model: "Model", command: StepBulk, reply: Any, effects: list[Any]
) -> list[tuple[Any, Any]]:
    """A step changes jobs that were there before the act, that are its caller's, that match, and
    that lie behind its place. Returns each effect with the command that it is as if of.
    """
    known = model.documents.get((Kind.BULK, command.name))
    if not reply:
        if effects:
            fail("bulk_steps_once", f"{command} refused: {effects}")
        return []
    if known is None or known.value().state != "running" or known.value().steps != command.step:
        fail("bulk_steps_once", f"{command}: {known}")
    value: BulkDocument = known.value()
    place = bytes.fromhex(value.place)
    act = BULK_ACTS[value.act]
    caller = Caller(value.tenant, value.user, value.admin, value.key_id)
    told: list[tuple[Any, Any]] = []
    changed: set[bytes] = set()
    for effect in effects:
        job_id = getattr(effect, "job_id", None)
        if job_id is None:
            told.append((command, effect))
            continue
        told.append((Control(caller, job_id, act), effect))
        if job_id in changed:
            continue
        changed.add(job_id)
        if value.dry_run:
            fail("bulk_dry_run_changes_nothing", f"{command}: {effect}")
        if job_id >= (id_parse(command.name) or b""):
            fail("bulk_only_earlier", f"{job_id.hex()} came after {command.name}")
        if job_id <= place:
            fail("bulk_no_job_twice", f"{job_id.hex()} lies before {place.hex()}")
        owner = model.owners[job_id]
        if owner.tenant != value.tenant or (owner.user != value.user and not value.admin):
            fail("strangers_kept_out", f"{command} of {value.user} reaches a job of {owner}")
        status = model.status_of(job_id)
        if status not in value.statuses:
            fail("bulk_only_matches", f"{job_id.hex()} is {status!r}: {value.statuses}")
        if act is Act.DELETE:
            model.delete_asked.add(job_id)
    return told


def bulk_stepped(model: "Model", command: StepBulk, reply: Any) -> None:
    """When it is over, all that matched from its beginning on have had their turn."""
    if not reply:
        return
    value: BulkDocument = model.documents[(Kind.BULK, command.name)].value()
    model.world.counts["bulk steps"] += 1
    if command.job_ids and bytes.fromhex(value.place) < command.job_ids[-1]:
        fail("bulk_no_job_twice", f"{command} ends at {value.place}")
    if value.matched != value.done + sum(value.skipped.values()):
        fail("bulk_counts", f"{value}")
    if value.state != "completed":
        return
    model.world.counts["bulk completed"] += 1
    meant = model.meant[command.name]
    left = [
        job_id
        for job_id, stood in meant.stood.items()
        if model.status_of(job_id) in value.statuses and stands(model, job_id) == stood
    ]
    reached = value.matched if value.dry_run else sum(value.skipped.values())
    if len(left) > reached and not _settled(value, left, model):
        fail("bulk_reaches_all", f"{len(left)} of {len(meant.stood)} were left: {value}")


def _settled(value: BulkDocument, left: list[bytes], model: "Model") -> bool:
    """Whether the act is no news to all that are left, as to cancel what is being cancelled."""
    same = {"cancel": {Status.CANCELING}, "suspend": {Status.SUSPENDED, Status.SUSPENDING}}
    return all(model.status_of(job_id) in same.get(value.act, ()) for job_id in left)
