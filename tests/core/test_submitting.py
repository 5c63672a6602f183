"""Taking jobs: all of a submit or nothing."""

from typing import Any

import pytest
from engine_rig import ALICE, START_MS, MakeRig, Rig, job_id, needs

from headrace.core.commands import Act, Control, Module, Outcome, PutModule, Submit, Submitted
from headrace.core.effects import ClassStored, JobsStored, ModuleStored, OwnerStored
from headrace.core.job import Job, Status
from headrace.core.live import ArchiveFault, EngineConfig
from headrace.core.resources import Amounts
from headrace.wire.problems import Problem, ProblemCode

SHA, OTHER_SHA = b"1" * 32, b"2" * 32


def record(rig: Rig, number: int) -> bytes:
    return rig.job(job_id(number)).pack()


def test_a_submit_stores_class_owner_and_jobs_in_their_order(rig: Rig) -> None:
    first, second = rig.new(), rig.new(priority=9)
    reply = rig.apply(Submit(ALICE, [first, second]))
    assert reply == [
        Submitted(job_id(1), Status.QUEUED),
        Submitted(job_id(2), Status.QUEUED),
    ]
    assert rig.effects == [
        OwnerStored(0, "acme", "alice"),
        ClassStored(0, needs()),
        JobsStored(
            0,
            job_id(1) + job_id(2),
            record(rig, 1) + record(rig, 2),
            first.specs + second.specs,
        ),
    ]


def test_jobs_that_are_alike_are_taken_as_one_by_one(make_rig: MakeRig) -> None:
    fields: list[dict[str, Any]] = [
        {},
        {"priority": 9, "start_before_at_ms": START_MS + 99},
        {"delay_ms": 5},
        {"scheduled_at_ms": START_MS + 7},
        {"requirements": needs(cpu_milli=1)},
    ]
    together, apart = make_rig(), make_rig()
    replies = together.apply(Submit(ALICE, [together.new(count=3, **some) for some in fields]))
    one_by_one = apart.apply(Submit(ALICE, [apart.new(**some) for some in fields for _ in "123"]))
    assert [reply.status for reply in replies for _ in "123"] == [
        reply.status for reply in one_by_one
    ]
    assert b"".join(reply.job_ids for reply in replies) == b"".join(
        reply.job_ids for reply in one_by_one
    )
    assert together.effects == apart.effects
    assert together.live.stats == apart.live.stats
    for number in range(1, 16):
        assert together.job(job_id(number)) == apart.job(job_id(number))
    while together.engine.due_ms() is not None:
        assert together.wait(1) == apart.wait(1)


def test_jobs_that_are_due_together_stand_in_the_order_of_their_submit(rig: Rig) -> None:
    rig.apply(Submit(ALICE, [rig.new(count=4)]))  # their handles come again, the last one first
    assert len(rig.poll(jobs_max=4).jobs) == 4
    for token in rig.leases:
        rig.report(token, Outcome.COMPLETED)
    rig.apply(Submit(ALICE, [rig.new(count=2, delay_ms=1), rig.new(count=2, delay_ms=1)]))
    rig.wait(1)
    given = [grant.job_id for grant in rig.poll(jobs_max=4).jobs]
    assert given == [job_id(number) for number in range(5, 9)]


def test_what_is_known_is_not_stored_again(rig: Rig) -> None:
    rig.submit()
    rig.submit()
    assert [type(effect) for effect in rig.effects] == [JobsStored]


def test_jobs_of_one_millisecond_stand_in_the_order_of_their_submit(rig: Rig) -> None:
    rig.apply(Submit(ALICE, [rig.new() for _ in range(100)]))
    orders = [rig.job(job_id(number)).order for number in range(1, 101)]
    assert orders == sorted(set(orders))


def test_a_delayed_job_is_due_on_the_engines_clock(rig: Rig) -> None:
    job = rig.job(rig.submit(delay_ms=5_000))
    assert (job.status, job.due_ms, job.due_is_wall) == (Status.SCHEDULED, START_MS + 5_000, False)


def test_a_scheduled_job_is_due_on_the_wall_clock(rig: Rig) -> None:
    rig.wall_offset_ms = 3_600_000
    rig.wait(0)
    job = rig.job(rig.submit(scheduled_at_ms=rig.wall_ms + 1))
    assert (job.status, job.due_ms, job.due_is_wall) == (Status.SCHEDULED, rig.wall_ms + 1, True)
    assert rig.job(rig.submit(scheduled_at_ms=rig.wall_ms)).status is Status.QUEUED


def test_a_refused_submit_changes_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(jobs_max=1, resources_max=Amounts(cpu_milli=1_000)))
    refused = {
        ProblemCode.QUEUE_FULL: [rig.new(count=2)],
        ProblemCode.MODULE_UNKNOWN: [rig.new(module_key=SHA)],
        ProblemCode.REQUIREMENTS_NEVER_FIT: [rig.new(needs(cpu_milli=1_001))],
        ProblemCode.IDEMPOTENCY_KEY_REUSED: [
            rig.new(key_digest=b"k" * 16, request_digest=b"a" * 16),
            rig.new(key_digest=b"k" * 16, request_digest=b"b" * 16),
        ],
    }
    for code, jobs in refused.items():
        reply = rig.apply(Submit(ALICE, jobs, [Module(OTHER_SHA, b"")]))
        assert isinstance(reply, Problem)
        assert reply.code is code
        assert rig.effects == []
    assert (len(rig.live.jobs), len(rig.live.classes), rig.live.owner_names) == (0, 0, [])
    assert rig.live.fresh_modules == set()


def test_a_refusal_points_at_the_job_of_a_batch(rig: Rig) -> None:
    alone = rig.apply(Submit(ALICE, [rig.new(module_key=SHA)]))
    assert alone.pointer == "/wasm_sha256"
    batch = rig.apply(Submit(ALICE, [rig.new(), rig.new(module_key=SHA)]))
    assert batch.pointer == "/1/wasm_sha256"
    behind = rig.apply(Submit(ALICE, [rig.new(count=3), rig.new(module_key=SHA, count=2)]))
    assert behind.pointer == "/3/wasm_sha256"
    alike = rig.apply(Submit(ALICE, [rig.new(module_key=SHA, count=2)]))
    assert alike.pointer == "/0/wasm_sha256"


def test_a_module_that_comes_with_its_job_is_stored_before_it(rig: Rig) -> None:
    new = rig.new(needs(kind=""), module_key=SHA)
    rig.apply(Submit(ALICE, [new], [Module(SHA, b"wasm")]))
    assert rig.effects[0] == ModuleStored(SHA, b"wasm")
    assert isinstance(rig.effects[-1], JobsStored)


def test_a_module_is_stored_once(rig: Rig) -> None:
    assert rig.apply(PutModule(Module(SHA, b"wasm"))) is True
    assert rig.effects == [ModuleStored(SHA, b"wasm")]
    assert rig.apply(PutModule(Module(SHA, b"wasm"))) is False
    assert rig.effects == []
    rig.apply(Submit(ALICE, [rig.new(module_key=SHA)], [Module(SHA, b"")] * 2))
    assert not [effect for effect in rig.effects if isinstance(effect, ModuleStored)]


def test_a_damaged_row_refuses_the_submit_whole(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_module(key: bytes) -> bool:
        if key == OTHER_SHA:
            raise ArchiveFault
        return False

    monkeypatch.setattr(rig.store, "has_module", has_module)
    modules = [Module(SHA, b""), Module(OTHER_SHA, b"")]
    reply = rig.apply(Submit(ALICE, [rig.new()], modules))
    assert reply.code is ProblemCode.RECORD_CORRUPT
    assert rig.effects == []
    assert rig.live.fresh_modules == set()


def keyed(rig: Rig, request: bytes = b"a" * 16) -> Any:
    return rig.new(key_digest=b"k" * 16, request_digest=request)


def test_a_key_is_known_before_and_after_its_commit(rig: Rig) -> None:
    new = keyed(rig)
    rig.engine.apply(rig.now_ms, Submit(ALICE, [new]))  # not committed
    replayed = [Submitted(new.job_ids, Status.QUEUED, replayed=True)]
    assert rig.engine.apply(rig.now_ms, Submit(ALICE, [keyed(rig)])) == (replayed, [])


def test_a_key_is_stored_with_its_job(rig: Rig) -> None:
    new = keyed(rig)
    rig.apply(Submit(ALICE, [new]))
    stored = rig.effects[-1]
    assert isinstance(stored, JobsStored)
    assert stored.keys == [(0, b"k" * 16, b"a" * 16)]
    rig.take()
    rig.open()
    reply = rig.apply(Submit(ALICE, [keyed(rig)]))
    assert reply == [Submitted(new.job_ids, Status.LOCKED, replayed=True)]


def test_a_key_is_free_in_the_very_batch_that_deletes_its_job(rig: Rig) -> None:
    new = keyed(rig)
    rig.apply(Submit(ALICE, [new]))
    rig.report(rig.take(), Outcome.COMPLETED)
    rig.control(new.job_ids, Act.DELETE)
    (reply,) = rig.apply(Submit(ALICE, [keyed(rig, b"b" * 16)]))
    assert not reply.replayed
    rig.open()
    (again,) = rig.apply(Submit(ALICE, [keyed(rig, b"b" * 16)]))
    assert again == Submitted(reply.job_ids, Status.QUEUED, replayed=True)


def test_a_key_is_free_again_when_its_job_came_and_went_before_a_commit(rig: Rig) -> None:
    first, second = keyed(rig), keyed(rig)
    rig.engine.apply(rig.now_ms, Submit(ALICE, [first]))
    rig.engine.apply(rig.now_ms, Control(ALICE, first.job_ids, Act.CANCEL))
    rig.engine.apply(rig.now_ms, Control(ALICE, first.job_ids, Act.DELETE))
    reply, _ = rig.engine.apply(rig.now_ms, Submit(ALICE, [second]))
    assert reply == [Submitted(second.job_ids, Status.QUEUED)]


def test_replays_count_for_no_limit(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(jobs_max=1))
    rig.apply(Submit(ALICE, [keyed(rig)]))
    (reply,) = rig.apply(Submit(ALICE, [keyed(rig)]))
    assert reply.replayed
    assert rig.live.stats.submitted_total == 1


def test_counters_follow_a_submit(rig: Rig) -> None:
    rig.submit()
    rig.submit(delay_ms=5)
    stats = rig.live.stats
    assert stats.queued == {"default": 1}
    assert stats.live[Status.QUEUED] == stats.live[Status.SCHEDULED] == 1


def test_a_job_is_read_back_as_it_was_submitted(rig: Rig) -> None:
    job = rig.job(
        rig.submit(
            priority=7,
            timeout_ms=1,
            retry_delay_ms=2,
            retry_backoff_centi=300,
            retries_max=4,
            start_before_at_ms=START_MS + 5,
        )
    )
    expected = Job(
        job.job_id,
        Status.QUEUED,
        7,
        0,
        0,
        job.order,
        1,
        2,
        300,
        4,
        start_before_at_ms=START_MS + 5,
        spec_bytes=len(rig.store.spec(job.job_id)),
    )
    assert job == expected
