"""Acts on many jobs, step by step."""

from typing import Any

import msgspec
import pytest
from engine_rig import ADMIN, ALICE, BOB, START_MS, STRANGER, Rig, job_id

from headrace.core.bulk_acts import ACTED_ON, BULK_ACTS, may_see
from headrace.core.commands import Act, Caller, StartBulk, StepBulk, StopBulk
from headrace.core.effects import AuditNoted, DocumentStored
from headrace.core.ids import id_text
from headrace.core.job import Status
from headrace.wire.documents import BulkDocument, Document, Kind
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import JobFilter

ALL = id_text(job_id(1 << 40))


def value_of(act: str, **fields: Any) -> BulkDocument:
    statuses = sorted(fields.pop("statuses", ACTED_ON[BULK_ACTS[act]]))
    query = msgspec.Raw(b"{}")
    whole = {"tenant": "", "user": "", "filter": JobFilter(), "query": query, **fields}
    return BulkDocument(act=act, statuses=statuses, **whole)


def start(
    rig: Rig, act: str = "cancel", name: str = ALL, caller: Caller = ALICE, **fields: Any
) -> None:
    told = rig.apply(StartBulk(caller, name, value_of(act, **fields)))
    assert isinstance(told, Document), told


def step(rig: Rig, number: int, job_ids: list[bytes], name: str = ALL, **fields: Any) -> Any:
    return rig.apply(StepBulk(name, number, job_ids, job_ids[-1] if job_ids else b"", **fields))


def told_of(rig: Rig, name: str = ALL) -> BulkDocument:
    document = rig.store.documents.get(Kind.BULK, name)
    assert document is not None
    value: BulkDocument = document.value()
    assert value == rig.live.documents.get(Kind.BULK, name).value()
    return value


def test_each_step_is_one_commit_with_the_place_it_came_to(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(4)]
    start(rig)
    assert step(rig, 0, jobs[:2], examined=3) is True
    assert [type(effect) for effect in rig.effects].count(DocumentStored) == 1
    assert told_of(rig).place == jobs[1].hex()
    assert step(rig, 1, jobs[2:], last=True) is True
    told = told_of(rig)
    assert (told.state, told.matched, told.done, told.examined) == ("completed", 4, 4, 3)
    assert told.finished_at_ms == START_MS
    assert all(rig.status(job) is Status.CANCELLED for job in jobs)


def test_a_step_that_comes_twice_or_too_late_does_nothing(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(3)]
    start(rig)
    assert step(rig, 0, jobs[:1])
    assert step(rig, 0, jobs[1:]) is False
    assert rig.effects == []
    assert step(rig, 1, jobs[1:2], last=True)
    assert step(rig, 2, jobs[2:]) is False
    assert step(rig, 0, jobs[2:], name="none") is False
    assert rig.status(jobs[2]) is Status.QUEUED


def test_a_step_goes_on_after_a_restart(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(3)]
    start(rig)
    step(rig, 0, jobs[:2])
    rig.open()
    assert told_of(rig).done == 2
    assert step(rig, 1, jobs)
    assert (told_of(rig).done, told_of(rig).skipped) == (3, {})


def test_jobs_at_or_behind_the_acts_own_id_are_not_touched(rig: Rig) -> None:
    jobs = [rig.submit() for _ in range(3)]
    start(rig, name=id_text(jobs[1]))
    assert step(rig, 0, jobs, name=id_text(jobs[1]))
    assert told_of(rig, id_text(jobs[1])).matched == 1
    assert [rig.status(job).name for job in jobs] == ["CANCELLED", "QUEUED", "QUEUED"]


def test_what_no_longer_matches_is_left_alone_and_counted(rig: Rig) -> None:
    queued, leased, gone = [rig.submit(priority=p) for p in (5, 9, 5)]
    start(rig, statuses={Status.QUEUED})
    rig.take()
    rig.control(gone, Act.CANCEL)
    rig.control(gone, Act.DELETE)
    step(rig, 0, [queued, leased, gone])
    told = told_of(rig)
    assert (told.matched, told.done) == (3, 1)
    assert told.skipped == {"changed": 1, "job_unknown": 1}
    assert rig.status(leased) is Status.LOCKED


def test_only_what_has_been_tried_is_retrying(rig: Rig) -> None:
    job = rig.submit(delay_ms=1_000)
    start(rig, "cancel", statuses={Status.SCHEDULED}, retrying_only=True)
    step(rig, 0, [job])
    assert told_of(rig).skipped == {"changed": 1}


def test_the_caller_may_do_to_many_what_it_may_do_to_one(rig: Rig) -> None:
    job = rig.submit()
    for number, caller in enumerate((BOB, STRANGER, ADMIN)):
        name = id_text(job_id(1 << 40 | number))
        start(rig, name=name, caller=caller)
        step(rig, 0, [job], name=name)
    skipped = [told_of(rig, id_text(job_id(1 << 40 | n))).skipped for n in range(3)]
    assert skipped == [{"forbidden": 1}, {"job_unknown": 1}, {}]
    assert rig.status(job) is Status.CANCELLED


def test_what_an_admin_begins_and_ends_is_audited(rig: Rig) -> None:
    start(rig)
    assert not any(isinstance(effect, AuditNoted) for effect in rig.effects)
    rig.apply(StopBulk(ADMIN, ALL))
    acts = [effect.entry.act for effect in rig.effects if isinstance(effect, AuditNoted)]
    assert acts == ["bulk_stop"]
    assert told_of(rig).state == "cancelled"
    start(rig, "retry", name=id_text(job_id(1 << 41)), caller=ADMIN)
    acts = [effect.entry.act for effect in rig.effects if isinstance(effect, AuditNoted)]
    assert acts == ["bulk_retry"]


@pytest.mark.parametrize("caller", [BOB, STRANGER])
def test_nobody_else_ends_an_act(rig: Rig, caller: Caller) -> None:
    start(rig)
    reply = rig.apply(StopBulk(caller, ALL))
    assert isinstance(reply, Problem)
    assert reply.code is ProblemCode.DOCUMENT_UNKNOWN
    assert told_of(rig).state == "running"
    assert not may_see(caller, told_of(rig))
    assert may_see(ADMIN, told_of(rig))


def test_every_act_is_done_to_statuses_that_it_suits(rig: Rig) -> None:
    job = rig.submit()
    for number, (act, end) in enumerate(
        (("suspend", "SUSPENDED"), ("resume", "RESUMING"), ("cancel", "CANCELLED"))
    ):
        name = id_text(job_id(1 << 40 | number))
        start(rig, act, name=name)
        step(rig, 0, [job], name=name)
        assert rig.status(job).name == end
        assert told_of(rig, name).done == 1
    name = id_text(job_id(1 << 41))
    start(rig, "retry", name=name, statuses={Status.CANCELLED})
    step(rig, 0, [job], name=name)
    assert rig.status(job) is Status.QUEUED
