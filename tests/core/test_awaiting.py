"""Jobs that run after others, and those that wait for a module."""

import pytest
from engine_rig import ADMIN, ALICE, BOB, STRANGER, MakeRig, Rig

from headrace.core import invariants, passing
from headrace.core.commands import (
    Act,
    Cleanup,
    Control,
    Module,
    Outcome,
    PutModule,
    Submit,
    Tick,
)
from headrace.core.effects import JobFinished
from headrace.core.job import Status
from headrace.core.live import EngineConfig
from headrace.store._new_rows import NewRows
from headrace.store.layout import Table
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

SHA = b"s" * 32
MODULE = Module(SHA, b"\0asm", frozenset({"_start"}))
_S = Status


def end(rig: Rig, outcome: Outcome = Outcome.COMPLETED) -> None:
    """Let the one job that is ready end so."""
    rig.report(rig.take(), outcome, permanent=True)
    rig.wait(0)


def finished(rig: Rig, job_id: bytes) -> tuple[Status, str, str]:
    ended = rig.live.finished(job_id)
    return ended.status, ended.error, ended.code


def test_a_job_runs_after_those_that_it_names(rig: Rig) -> None:
    first, second = rig.submit(), rig.submit()
    last = rig.submit(after=[first, second])
    assert rig.status(last) is _S.INITIALIZING
    end(rig)
    assert rig.status(last) is _S.INITIALIZING
    end(rig)
    assert rig.status(last) is _S.QUEUED
    assert rig.poll().jobs[0].job_id == last
    assert not rig.kv.count(Table.AFTER)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.FAILED, "failed"),
        (Outcome.TIMEOUT, "timeout"),
        (Outcome.CANCELLED, "cancelled"),
    ],
)
def test_a_job_is_skipped_when_one_before_it_does_not_complete(
    rig: Rig, outcome: Outcome, status: str
) -> None:
    first, other = rig.submit(priority=9), rig.submit(delay_ms=60_000)
    last = rig.submit(after=[first, other])
    end(rig, outcome)
    told, error, code = finished(rig, last)
    assert (told, code) == (_S.SKIPPED, "dependency")
    assert error.endswith(f"which ended as {status}")
    assert not rig.kv.count(Table.AFTER)


@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.FAILED, Outcome.TIMEOUT])
def test_a_job_that_asks_for_any_end_runs_after_each(rig: Rig, outcome: Outcome) -> None:
    first = rig.submit()
    last = rig.submit(after=[first], any_end=True)
    end(rig, outcome)
    assert rig.status(last) is _S.QUEUED


def test_what_has_ended_at_submit_counts_as_what_ends_later(rig: Rig) -> None:
    good = rig.submit()
    end(rig)
    bad = rig.submit()
    end(rig, Outcome.FAILED)
    assert rig.status(rig.submit(after=[good])) is _S.QUEUED
    assert rig.status(rig.submit(after=[bad], any_end=True)) is _S.QUEUED
    skipped = rig.submit(after=[good, bad])
    assert rig.status(skipped) is _S.INITIALIZING
    rig.wait(0)
    assert rig.status(skipped) is _S.SKIPPED


def test_a_chain_of_any_length_is_skipped_without_recursion_and_in_bounded_ticks(rig: Rig) -> None:
    first = job_id = rig.submit()
    chain = [job_id := rig.submit(after=[job_id]) for _ in range(3_000)]
    _, effects = rig.engine.apply(rig.now_ms, Control(ALICE, first, Act.CANCEL))
    ticks = [effects]
    while rig.engine.due_ms() == 0:
        ticks.append(rig.engine.apply(rig.now_ms, Tick(rig.wall_ms))[1])
    told = [sum(isinstance(each, JobFinished) for each in effects) for effects in ticks]
    assert max(told) <= passing.TICK_BATCH_MAX
    assert sum(told) == 3_001
    rig.effects = [effect for effects in ticks for effect in effects]
    rig.commit()
    assert {rig.status(job_id) for job_id in chain} == {_S.SKIPPED}


def test_many_that_wait_for_one_job_become_ready_in_their_order(rig: Rig) -> None:
    first = rig.submit()
    many = [rig.submit(after=[first]) for _ in range(1_500)]
    end(rig)
    reply = rig.poll(jobs_max=1_000)
    assert [grant.job_id for grant in reply.jobs] == many[:1_000]
    assert len(rig.poll(jobs_max=1_000).jobs) == 500


def test_jobs_of_one_submit_run_after_each_other_also_after_replays(rig: Rig) -> None:
    def submit() -> list[bytes]:
        keyed = rig.new(key_digest=b"k" * 16, request_digest=b"r" * 16)
        after = rig.new(after=[keyed.job_ids])
        replies = rig.apply(Submit(ALICE, [keyed, after]))
        return [reply.job_ids for reply in replies]

    first, one = submit()
    again, two = submit()
    assert again == first
    assert rig.status(two) is _S.INITIALIZING
    end(rig)
    assert rig.status(one) is rig.status(two) is _S.QUEUED
    third, three = submit()
    assert (third, rig.status(three)) == (first, _S.QUEUED)


def test_a_job_that_is_not_there_or_not_ones_own_cannot_be_waited_for(rig: Rig) -> None:
    job_id = rig.submit()
    for caller, key in ((ALICE, b"?" * 16), (BOB, job_id), (STRANGER, job_id)):
        reply = rig.apply(Submit(caller, [rig.new(after=[key])]))
        assert isinstance(reply, Problem)
        assert (reply.code, reply.pointer) == (ProblemCode.FIELD_INVALID, "/after/0")
        assert rig.effects == []
    stranger = rig.apply(Submit(STRANGER, [rig.new(after=[job_id])]))
    missing = rig.apply(Submit(STRANGER, [rig.new(after=[b"?" * 16])]))
    assert stranger == missing
    (taken,) = rig.apply(Submit(ADMIN, [rig.new(after=[job_id])]))
    assert taken.status is _S.INITIALIZING


def test_a_time_or_a_deadline_holds_as_well(rig: Rig) -> None:
    first = rig.submit()
    later = rig.submit(after=[first], delay_ms=5_000)
    on_time = rig.submit(after=[first], scheduled_at_ms=rig.wall_ms + 9_000)
    due = rig.submit(after=[first], delay_ms=1)
    late = rig.submit(after=[first], start_before_at_ms=rig.wall_ms + 500)
    rig.wait(500)
    assert finished(rig, late)[::2] == (_S.SKIPPED, "start_before")
    end(rig)
    assert [rig.status(each) for each in (later, on_time, due)] == [
        _S.SCHEDULED,
        _S.SCHEDULED,
        _S.QUEUED,
    ]
    rig.wait(4_500)
    assert rig.status(later) is _S.QUEUED
    rig.wait(4_000)
    assert rig.status(on_time) is _S.QUEUED


@pytest.mark.parametrize("act", [Act.CANCEL, Act.REMOVE])
def test_a_waiting_job_can_be_cancelled_and_nothing_else(rig: Rig, act: Act) -> None:
    first = rig.submit()
    last = rig.submit(after=[first])
    for other in (Act.SUSPEND, Act.RESUME, Act.RETRY, Act.DELETE):
        assert rig.control(last, other).code is ProblemCode.JOB_STATE_CONFLICT
    rig.control(last, act)
    assert rig.status(last) is _S.CANCELLED
    assert not rig.kv.count(Table.AFTER)
    end(rig)


def test_a_restart_at_any_point_loses_no_dependency(rig: Rig) -> None:
    first, second = rig.submit(priority=9), rig.submit()
    last = rig.submit(after=[first, second])
    rig.open()
    end(rig)
    rig.open()
    assert rig.status(last) is _S.INITIALIZING
    rig.control(first, Act.DELETE)
    rig.open()
    rig.wait(0)
    assert rig.status(last) is _S.INITIALIZING, "what has completed once counts"
    rig.report(rig.take(), Outcome.COMPLETED)  # and nobody is told before the next start
    rig.open()
    rig.wait(0)
    assert rig.status(last) is _S.QUEUED


def test_a_job_whose_waits_are_damaged_is_skipped_at_the_start(rig: Rig) -> None:
    last = rig.submit(after=[rig.submit()])
    rig.kv.write(NewRows({Table.AFTER: {last: b"damaged"}}))
    rig.open()
    rig.wait(0)
    assert finished(rig, last)[0] is _S.SKIPPED
    assert "damaged" in finished(rig, last)[1]


def test_a_job_is_not_deleted_before_those_that_wait_for_it_have_been_told(rig: Rig) -> None:
    first = rig.submit()
    last = rig.submit(after=[first])
    rig.report(rig.take(), Outcome.COMPLETED)
    refused = rig.control(first, Act.DELETE)
    assert (refused.code, refused.retry_after_ms) == (ProblemCode.JOB_STATE_CONFLICT, 100)
    rig.wait(0)
    assert rig.control(first, Act.DELETE) is _S.COMPLETED
    assert rig.status(last) is _S.QUEUED


def test_a_job_is_not_swept_before_those_that_wait_for_it_have_been_told(rig: Rig) -> None:
    first = rig.submit()
    last = rig.submit(after=[first])
    rig.report(rig.take(), Outcome.COMPLETED)
    everything = Cleanup(ADMIN, 0, b"")
    assert rig.apply(everything).deleted == 0
    rig.wait(0)
    assert rig.apply(everything).deleted == 1
    assert rig.status(last) is _S.QUEUED


# Run again --------------------------------------------------------------------------------------


def test_a_skipped_job_that_is_retried_waits_anew_for_what_runs_again(rig: Rig) -> None:
    first = rig.submit()
    last = rig.submit(after=[first])
    end(rig, Outcome.FAILED)
    refused = rig.control(last, Act.RETRY)
    assert refused.code is ProblemCode.JOB_STATE_CONFLICT
    assert "retry that first" in refused.detail
    rig.control(first, Act.RETRY)
    assert rig.status(last) is _S.SKIPPED, "whoever wants it asks for it"
    assert rig.control(last, Act.RETRY) is _S.INITIALIZING
    rig.open()
    end(rig)
    assert rig.status(last) is _S.QUEUED


def test_a_skipped_job_runs_by_force_and_after_a_good_end_without(rig: Rig) -> None:
    first = rig.submit()
    forced, last = rig.submit(after=[first]), rig.submit(after=[first])
    end(rig, Outcome.FAILED)
    assert rig.control(forced, Act.RETRY, force=True) is _S.QUEUED
    rig.control(forced, Act.CANCEL)
    rig.control(first, Act.RETRY)
    end(rig)
    assert rig.control(last, Act.RETRY) is _S.QUEUED


def test_a_job_that_ran_does_not_wait_again(rig: Rig) -> None:
    first = rig.submit()
    last = rig.submit(after=[first])
    end(rig)
    end(rig, Outcome.FAILED)
    rig.control(first, Act.RETRY, force=True)
    assert rig.control(last, Act.RETRY) is _S.QUEUED


def test_a_retried_job_waits_once_for_a_job_that_it_names_twice(rig: Rig) -> None:
    first = rig.submit()
    last = rig.submit(after=[first, first])
    end(rig, Outcome.FAILED)
    rig.control(first, Act.RETRY)
    rig.control(last, Act.RETRY)
    invariants.check(rig.engine)
    end(rig)
    assert rig.status(last) is _S.QUEUED


@pytest.mark.parametrize("ends", [Outcome.FAILED, Outcome.COMPLETED])
def test_a_job_that_waits_anew_is_not_told_of_an_end_before(rig: Rig, ends: Outcome) -> None:
    first = rig.submit()
    last = rig.submit(after=[first])
    rig.report(rig.take(), Outcome.COMPLETED)  # and nobody is told yet
    rig.control(last, Act.CANCEL)
    rig.control(first, Act.RETRY, force=True)
    assert rig.control(last, Act.RETRY) is _S.INITIALIZING
    invariants.check(rig.engine)
    rig.wait(0)
    assert rig.status(last) is _S.INITIALIZING, "it waits for what runs again"
    rig.report(rig.take(), ends, permanent=True)
    rig.wait(0)
    assert rig.status(last) is (_S.QUEUED if ends is Outcome.COMPLETED else _S.SKIPPED)


def test_what_comes_to_pass_twice_before_it_is_told_is_told_to_whom_it_concerns(rig: Rig) -> None:
    first = rig.submit()
    early, late = rig.submit(after=[first]), rig.submit(after=[first])
    rig.report(rig.take(), Outcome.COMPLETED)
    rig.control(late, Act.CANCEL)
    rig.control(first, Act.RETRY, force=True)
    rig.control(late, Act.RETRY)
    rig.report(rig.take(), Outcome.FAILED, permanent=True)  # and nobody is told yet
    invariants.check(rig.engine)
    rig.wait(0)
    assert [rig.status(job_id) for job_id in (early, late)] == [_S.QUEUED, _S.SKIPPED]
    assert not rig.live.awaiting.telling


# Modules ----------------------------------------------------------------------------------------


def test_a_job_waits_for_the_module_that_was_announced(rig: Rig) -> None:
    job_id = rig.submit(module_key=SHA, await_module=True, entry_point="_start")
    assert rig.status(job_id) is _S.INITIALIZING
    assert SHA.hex() in rig.explain(job_id).reasons[0]
    rig.open()
    assert rig.apply(PutModule(MODULE)) is True
    rig.wait(0)
    assert rig.status(job_id) is _S.QUEUED


def test_a_module_that_comes_with_another_job_is_there_for_all(rig: Rig) -> None:
    job_id = rig.submit(module_key=SHA, await_module=True, entry_point="_start")
    rig.apply(Submit(ALICE, [rig.new(module_key=SHA, await_module=True)], [MODULE]))
    rig.wait(0)
    assert rig.status(job_id) is _S.QUEUED


def test_a_module_without_the_entry_point_fails_the_job(rig: Rig) -> None:
    first = rig.submit()
    job_id = rig.submit(module_key=SHA, await_module=True, entry_point="main", after=[first])
    rig.apply(PutModule(MODULE))
    rig.wait(0)
    status, error, code = finished(rig, job_id)
    assert (status, code) == (_S.FAILED, "module_entry_point_missing")
    assert "'main'" in error
    assert rig.control(job_id, Act.RETRY) is _S.INITIALIZING, "it still runs after the first"


def test_a_tenant_can_announce_so_many_and_no_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "AWAITING_MODULE_MAX", 2)
    fields = {"module_key": SHA, "await_module": True, "entry_point": "_start"}
    first, _ = rig.submit(**fields), rig.submit(**fields)
    assert rig.apply(Submit(ALICE, [rig.new(**fields)])).code is ProblemCode.QUEUE_FULL
    assert rig.apply(Submit(STRANGER, [rig.new(**fields)]))[0].status is _S.INITIALIZING
    rig.control(first, Act.CANCEL)
    assert rig.status(rig.submit(**fields)) is _S.INITIALIZING
    rig.apply(PutModule(MODULE))
    rig.wait(0)
    assert not rig.live.awaiting.announced


def test_a_waiting_job_says_what_it_waits_for(rig: Rig) -> None:
    first = rig.submit()
    rig.take()
    reasons = rig.explain(rig.submit(after=[first])).reasons
    assert len(reasons) == 1
    assert reasons[0].endswith("which is locked")
    many = rig.submit(after=[rig.submit() for _ in range(12)])
    assert rig.explain(many).reasons[-1] == "it waits for 2 more"


def test_jobs_that_wait_for_nothing_have_nothing_of_it(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig())
    rig.submit()
    assert not rig.live.awaiting.waits
    assert not rig.kv.count(Table.AFTER)
