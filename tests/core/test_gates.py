"""Limits on what runs: of types, tenants and tags, over time and over restarts."""

from typing import Any

from engine_rig import ADMIN, ALICE, MakeRig, Rig, job_id, needs
from msgspec.structs import replace

from headrace.core.commands import Act, DropDocument, Outcome, PutDocument, Submit
from headrace.core.gates import tags_limited
from headrace.core.resources import Amounts, Requirements
from headrace.wire import limits
from headrace.wire.documents import (
    Document,
    Kind,
    LimitDocument,
    QueueDocument,
    RunningMax,
    TenantDocument,
    body_of,
)
from headrace.wire.problems import Problem, ProblemCode


def limit(rig: Rig, name: str = "l", **value: Any) -> Document:
    body = body_of(LimitDocument(**value))
    reply = rig.apply(PutDocument(ADMIN, Kind.LIMIT, name, body))
    assert isinstance(reply, Document), reply
    return reply


def drop(rig: Rig, name: str = "l") -> None:
    assert isinstance(rig.apply(DropDocument(ADMIN, Kind.LIMIT, name)), Document)


def quota(rig: Rig, tenant: str = "acme", **value: Any) -> None:
    body = body_of(TenantDocument(**value))
    assert isinstance(rig.apply(PutDocument(ADMIN, Kind.TENANT, tenant, body)), Document)


def of_tenant(tenant: str = "acme", **more: Any) -> Requirements:
    return replace(needs(**more), tenant=tenant)


def given(rig: Rig, jobs_max: int = 100, **fields: Any) -> int:
    """Return how many jobs a poll gets."""
    return len(rig.poll(jobs_max=jobs_max, **fields).jobs)


def refusal(rig: Rig, *new: Any) -> Problem:
    reply = rig.apply(Submit(ALICE, list(new)))
    assert isinstance(reply, Problem), reply
    assert rig.effects == []
    return reply


# Jobs that run at once --------------------------------------------------------------------------


def test_a_type_runs_no_more_jobs_than_its_limit_over_all_queues(rig: Rig) -> None:
    limit(rig, type="echo", concurrency=2)
    for queue in ("a", "b", "c"):
        rig.submit(needs(queue=queue))
    rig.submit(needs(kind="other"))
    assert given(rig) == 3
    assert given(rig) == 0


def test_a_limit_counts_what_waits_and_runs_already(rig: Rig) -> None:
    for _ in range(4):
        rig.submit()
    lease = rig.take()
    limit(rig, type="echo", concurrency=1)
    assert given(rig) == 0
    rig.report(lease, Outcome.COMPLETED)
    assert given(rig) == 1


def test_a_dropped_limit_holds_nothing_back_any_more(rig: Rig) -> None:
    limit(rig, type="echo", concurrency=0)
    rig.submit()
    assert rig.poll(wait_ms=9_000) is None
    drop(rig)
    (reply,) = rig.answers().values()
    assert len(reply.jobs) == 1


def test_a_limit_that_turns_to_another_type_lets_the_first_go(rig: Rig) -> None:
    limit(rig, type="echo", concurrency=0)
    rig.submit()
    rig.submit(needs(kind="other"))
    limit(rig, type="other", concurrency=0)
    assert given(rig) == 1
    assert given(rig) == 0


def test_a_job_that_ends_however_makes_room_for_a_parked_poll(rig: Rig) -> None:
    limit(rig, type="echo", concurrency=1)
    first, _ = rig.submit(), rig.submit()
    lease = rig.take()
    for end in ("report", "cancel", "lapse"):
        assert rig.poll("w2", wait_ms=59_000) is None
        if end == "report":
            rig.report(lease, Outcome.RELEASED)
        elif end == "cancel":
            rig.control(first, Act.CANCEL)
            held = next(iter(rig.leases))
            rig.report(held, Outcome.CANCELLED)
        else:
            rig.submit()
            rig.wait(30_000)
        assert [len(reply.jobs) for reply in rig.answers().values()][-1] == 1, end


def test_leases_from_before_a_restart_count(rig: Rig) -> None:
    limit(rig, type="echo", concurrency=2)
    for _ in range(5):
        rig.submit()
    rig.take()
    rig.open()
    assert given(rig) == 1


def test_limits_on_one_thing_all_hold_and_are_few(rig: Rig) -> None:
    for number in range(limits.LIMITS_OF_ONE_MAX):
        limit(rig, f"l{number}", type="echo", concurrency=5 - number % 4)
    body = body_of(LimitDocument(type="echo", concurrency=1))
    reply = rig.apply(PutDocument(ADMIN, Kind.LIMIT, "more", body))
    assert isinstance(reply, Problem)
    assert (reply.code, reply.pointer) == (ProblemCode.FIELD_INVALID, "/type")
    limit(rig, "l0", type="echo", concurrency=9)
    for _ in range(5):
        rig.submit()
    assert given(rig) == 2


def test_wasm_jobs_are_a_type_of_their_own(rig: Rig) -> None:
    limit(rig, type="wasm", concurrency=0)
    rig.submit(needs(kind=""))
    rig.submit()
    assert given(rig) == 1


def test_a_tag_counts_jobs_that_had_it_when_it_was_limited(rig: Rig) -> None:
    limit(rig, tag="nightly", concurrency=1)
    tagged = replace(needs(), limited_tags=frozenset({"nightly", "was limited"}))
    for requirements in (tagged, tagged, needs()):
        rig.submit(requirements)
    assert given(rig) == 2
    assert tags_limited(rig.live.documents.of(Kind.LIMIT).values()) == {"nightly"}


# Starts in a span -------------------------------------------------------------------------------


def test_no_span_sees_more_starts_than_the_rate(rig: Rig) -> None:
    limit(rig, type="echo", rate_starts=3, rate_per_ms=1_000)
    rig.submit(count=9)
    assert given(rig, 2) == 2
    rig.wait(600)
    assert given(rig) == 1
    rig.wait(399)
    assert given(rig) == 0
    rig.wait(20)  # parts of a 64th of the span come back together
    assert given(rig) == 2
    rig.wait(400)
    assert given(rig) == 0
    rig.wait(200)
    assert given(rig) == 1


def test_a_poll_that_waits_gets_its_jobs_when_starts_come_back(rig: Rig) -> None:
    limit(rig, type="echo", rate_starts=2, rate_per_ms=1_000)
    rig.submit(count=5)
    assert given(rig) == 2
    assert rig.poll(jobs_max=9, wait_ms=5_000) is None
    due_ms = rig.engine.due_ms()
    assert due_ms is not None
    assert 1_000 <= due_ms - rig.now_ms <= 1_016
    rig.wait(1_020)
    (reply,) = rig.answers().values()
    assert len(reply.jobs) == 2


def test_a_retry_is_a_start(rig: Rig) -> None:
    limit(rig, type="echo", rate_starts=1, rate_per_ms=60_000)
    rig.submit()
    rig.report(rig.take(), Outcome.FAILED, retry_delay_ms=0)
    rig.wait(1)
    assert given(rig) == 0


def test_a_rate_begins_anew_after_a_restart_with_nothing_left(rig: Rig) -> None:
    limit(rig, type="echo", rate_starts=2, rate_per_ms=1_000)
    rig.submit(count=5)
    assert given(rig) == 2
    rig.open()
    assert given(rig) == 0
    rig.wait(1_020)
    assert given(rig) == 2


def test_a_rate_that_rises_after_a_restart_gives_nothing_before_its_span_is_over(rig: Rig) -> None:
    limit(rig, type="echo", rate_starts=5, rate_per_ms=1_000)
    rig.submit(count=20)
    assert given(rig) == 5
    limit(rig, type="echo", rate_starts=1, rate_per_ms=1_000)
    rig.open()
    limit(rig, type="echo", rate_starts=4, rate_per_ms=1_000)
    rig.wait(500)
    assert given(rig) == 0, "nobody knows how many were started before"
    rig.wait(520)
    assert given(rig) == 4
    limit(rig, type="echo", rate_starts=6, rate_per_ms=1_000)
    assert given(rig) == 2, "now it is known"


def test_a_rate_that_changes_remembers_what_started(rig: Rig) -> None:
    limit(rig, type="echo", rate_starts=5, rate_per_ms=1_000)
    rig.submit(count=20)
    assert given(rig) == 5
    limit(rig, type="echo", rate_starts=7, rate_per_ms=1_000)
    assert given(rig) == 2
    limit(rig, type="echo", rate_starts=1, rate_per_ms=1_000)
    rig.wait(1_020)
    assert given(rig) == 1
    limit(rig, type="echo", concurrency=100)
    assert given(rig) == 12


def test_starts_of_a_busy_rate_are_kept_in_few_parts(rig: Rig) -> None:
    limit(rig, type="echo", rate_starts=100_000, rate_per_ms=1_000)
    rig.submit(count=500)
    for _ in range(500):
        given(rig, 1)
        rig.wait(1)
    (gate,) = rig.live.gates.all()
    assert len(gate.used) < 40
    assert gate.used_total == 500


# Tenants ----------------------------------------------------------------------------------------


def test_a_tenant_runs_no_more_than_its_share_of_resources(rig: Rig) -> None:
    quota(rig, running_max=RunningMax(memory_mb=1_000, jobs=3))
    for memory_mb in (600, 600, 400, 0, 0):
        rig.submit(of_tenant(memory_mb=memory_mb))
    rig.submit(of_tenant("other", memory_mb=5_000))
    grants = rig.poll(jobs_max=9).jobs
    assert [grant.job_id for grant in grants] == [job_id(n) for n in (1, 6, 3, 4)]  # in turn
    rig.open()
    assert given(rig) == 0
    rig.report(grants[2].lease, Outcome.COMPLETED)
    rig.report(grants[0].lease, Outcome.COMPLETED)
    assert [grant.job_id for grant in rig.poll(jobs_max=9).jobs] == [job_id(2), job_id(5)]


def test_a_job_that_needs_nothing_of_what_is_used_up_goes_on(rig: Rig) -> None:
    rig.submit(of_tenant(gpu_milli=4_000))
    rig.take()
    quota(rig, running_max=RunningMax(gpu_milli=1_000))
    rig.submit(of_tenant(gpu_milli=1))
    last = rig.submit(of_tenant())
    assert [grant.job_id for grant in rig.poll(jobs_max=9).jobs] == [last]


def test_a_tenant_has_no_more_live_jobs_than_its_quota(rig: Rig) -> None:
    quota(rig, jobs_max=3)
    rig.submit(of_tenant())
    rig.submit(of_tenant(memory_mb=1))
    problem = refusal(rig, rig.new(of_tenant(), count=2))
    assert (problem.code, problem.row.status) == (ProblemCode.QUOTA_REACHED, 429)
    assert (problem.retry_after_ms, problem.row.retryable) == (1_000, True)
    problem = refusal(rig, rig.new(of_tenant()), rig.new(of_tenant(memory_mb=9)))
    assert problem.pointer == "/1"
    rig.submit(of_tenant("other"))
    rig.submit(needs())
    rig.open()
    rig.submit(of_tenant())
    assert refusal(rig, rig.new(of_tenant())).pointer == ""
    rig.control(job_id(1), Act.CANCEL)
    rig.submit(of_tenant())


def test_a_tenant_has_no_more_bytes_of_live_jobs_than_its_quota(rig: Rig) -> None:
    one = len(rig.new(of_tenant()).specs[0])
    rig.ids = 0  # it is not submitted
    quota(rig, bytes_max=3 * one + 5)
    rig.submit(of_tenant())
    rig.submit(of_tenant(memory_mb=1))
    problem = refusal(rig, rig.new(of_tenant(), count=2))
    assert (problem.code, problem.row.status) == (ProblemCode.QUOTA_REACHED, 429)
    assert (problem.retry_after_ms, problem.pointer) == (1_000, "/0")
    assert f"jobs of {3 * one + 5} bytes" in problem.detail
    assert refusal(rig, rig.new(of_tenant()), rig.new(of_tenant(memory_mb=9))).pointer == "/1"
    rig.submit(of_tenant("other"))
    rig.submit(needs())
    rig.submit(of_tenant())
    rig.open()
    assert refusal(rig, rig.new(of_tenant())).pointer == ""
    rig.control(job_id(1), Act.CANCEL)
    rig.submit(of_tenant())


def test_bytes_are_given_back_by_every_end_and_taken_by_a_retry(rig: Rig) -> None:
    def size() -> int:
        return int(rig.live.classes.tenant_bytes("acme"))

    sizes = [len(spec) for spec in rig.new(of_tenant(), count=4).specs]
    rig.ids = 0  # they are not submitted
    rig.submit(of_tenant(), count=4, retries_max=0)
    assert size() == sum(sizes)
    leases = [grant.lease for grant in rig.poll(jobs_max=3).jobs]
    rig.report(leases[0], Outcome.COMPLETED)
    assert size() == sum(sizes[1:])
    rig.open()
    rig.report(leases[1], Outcome.FAILED)
    rig.control(job_id(4), Act.CANCEL)
    assert size() == sizes[2]
    quota(rig, bytes_max=sizes[2])
    problem = rig.control(job_id(2), Act.RETRY)
    assert (problem.code, problem.pointer) == (ProblemCode.QUOTA_REACHED, None)
    quota(rig, bytes_max=sum(sizes))
    rig.control(job_id(2), Act.RETRY)
    assert size() == sizes[1] + sizes[2]
    rig.report(leases[2], Outcome.COMPLETED)
    rig.control(job_id(2), Act.CANCEL)
    assert size() == 0


def test_a_job_larger_than_its_tenant_may_submit_is_refused(rig: Rig) -> None:
    quota(rig, job_max=RunningMax(cpu_milli=2_000, gpu_milli=0))
    problem = refusal(rig, rig.new(of_tenant(cpu_milli=2_001, memory_mb=9, gpu_milli=1)))
    assert (problem.code, problem.row.status) == (ProblemCode.REQUIREMENTS_NEVER_FIT, 422)
    assert problem.pointer == "/requirements"
    assert "2 cpu_cores, 0 gpu_count" in problem.detail
    rig.submit(of_tenant(cpu_milli=2_000, memory_mb=999))
    rig.submit(of_tenant("other", cpu_milli=9_000))


# Queues -----------------------------------------------------------------------------------------


def test_a_queue_takes_no_more_jobs_than_may_wait(rig: Rig) -> None:
    body = body_of(QueueDocument(backlog_max=2))
    rig.apply(PutDocument(ADMIN, Kind.QUEUE, "q", body))
    rig.submit(needs(queue="q"))
    rig.submit(needs(queue="q"), delay_ms=9_000)
    problem = refusal(rig, rig.new(), rig.new(needs(queue="q")))
    assert (problem.code, problem.pointer) == (ProblemCode.BACKLOG_FULL, "/1/queue")
    assert (problem.row.status, problem.retry_after_ms) == (429, 1_000)
    lease = rig.take()
    rig.submit(needs(queue="q"))
    rig.report(lease, Outcome.RELEASED)
    assert refusal(rig, rig.new(needs(queue="q"))).code == ProblemCode.BACKLOG_FULL
    rig.open()
    assert refusal(rig, rig.new(needs(queue="q"))).code == ProblemCode.BACKLOG_FULL


# Explained --------------------------------------------------------------------------------------


def test_a_job_that_waits_is_told_the_limit_and_its_numbers(rig: Rig, make_rig: MakeRig) -> None:
    limit(rig, "few", type="echo", concurrency=1)
    limit(rig, "slow", type="echo", rate_starts=1, rate_per_ms=60_000)
    quota(rig, running_max=RunningMax(cpu_milli=2_500))
    rig.submit(of_tenant(cpu_milli=1_000))
    waiting = rig.submit(of_tenant(cpu_milli=2_000))
    rig.take(total=Amounts(8_000, 8_000, 8_000, 8_000))
    told = rig.explain(waiting)
    assert told.reasons == [
        "limit 'few' of type 'echo': 1 of 1 jobs run",
        "limit 'slow' of type 'echo': 1 of 1 jobs have started in the last 1m,"
        " the next may in 1m456ms",
        "quota of tenant 'acme': it needs 2 cpu_cores, what runs takes 1 cpu_cores"
        " of 2.5 cpu_cores",
    ]
    assert [(one.name, one.running, one.holds) for one in told.limits] == [
        ("few", 1, True),
        ("slow", 1, True),
        ("acme", 1, True),
    ]
    drop(rig, "few")
    drop(rig, "slow")
    quota(rig)
    told = rig.explain(waiting)
    assert told.limits == []
    assert told.reasons == ["the workers that fit it are busy, or about to ask for work"]


def test_a_job_that_runs_again_counts_as_a_new_one(rig: Rig) -> None:
    ended = rig.submit(delay_ms=9_000)
    rig.control(ended, Act.CANCEL)
    rig.apply(PutDocument(ADMIN, Kind.QUEUE, "default", body_of(QueueDocument(backlog_max=0))))
    refused = rig.control(ended, Act.RETRY)
    assert isinstance(refused, Problem)
    assert (refused.code, refused.pointer) == (ProblemCode.BACKLOG_FULL, None)
    assert rig.effects == []
