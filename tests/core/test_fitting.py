"""Whether a job fits any worker, and why one waits."""

import pytest
from engine_rig import ALICE, BOB, PLENTY, STRANGER, MakeRig, Rig, needs

from headrace.core.commands import Act, Explanation, Submit
from headrace.core.job import Status
from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts, Profile, Requirements
from headrace.wire.problems import ProblemCode

SMALL = Amounts(4_000, 8_192, 100, 1_000)


def warned(rig: Rig, requirements: Requirements) -> str:
    (reply,) = rig.apply(Submit(ALICE, [rig.new(requirements)]))
    return str(reply.never_fits)


def test_nothing_is_said_while_no_worker_is_known(rig: Rig) -> None:
    assert warned(rig, needs(cpu_milli=1_000_000)) == ""


@pytest.mark.parametrize(
    ("requirements", "reason"),
    [
        (needs(cpu_milli=4_000, memory_mb=8_192, gpu_milli=1_000), ""),
        (
            needs(cpu_milli=4_001),
            "it needs 4.001 cpu_cores, the largest suitable worker has 4 cpu_cores",
        ),
        (
            needs(cpu_milli=9_000, gpu_milli=2_000),
            "it needs 9 cpu_cores, the largest suitable worker has 4 cpu_cores; "
            "it needs 2 gpu_count, the largest suitable worker has 1 gpu_count",
        ),
        (needs(queue="other"), "no known worker serves its queue and type"),
        (
            needs(gpu_models="H100"),
            "no known worker serves its queue and type, or has its GPU model and labels",
        ),
    ],
)
def test_a_job_that_fits_no_known_worker_is_taken_with_the_reason(
    rig: Rig, requirements: Requirements, reason: str
) -> None:
    profile = Profile(queues=frozenset({"default"}), gpu_model="A100")
    rig.poll(free=Amounts(), total=SMALL, profile=profile, wait_ms=1_000)
    assert warned(rig, requirements) == reason


def test_two_workers_that_each_have_half_of_it_do_not_fit_it(rig: Rig) -> None:
    rig.poll("w1", total=Amounts(cpu_milli=8_000))
    rig.poll("w2", total=Amounts(memory_mb=8_000))
    reason = warned(rig, needs(cpu_milli=1, memory_mb=1))
    assert reason == "no known worker has all that it needs at once"


def test_the_amounts_of_an_unsuitable_worker_are_not_held_against_a_job(rig: Rig) -> None:
    rig.poll("small", total=SMALL, profile=Profile(gpu_model="T4"))
    rig.poll("big", total=PLENTY, profile=Profile())
    reason = warned(rig, needs(cpu_milli=5_000, gpu_models="T4"))
    assert reason == "it needs 5 cpu_cores, the largest suitable worker has 4 cpu_cores"


def test_the_warning_follows_the_workers(rig: Rig) -> None:
    rig.poll("small", total=SMALL)
    big = needs(cpu_milli=9_000)
    assert warned(rig, big) != ""
    rig.poll("big", total=PLENTY, free=Amounts())
    assert warned(rig, big) == ""
    rig.poll("big", total=SMALL, free=Amounts())
    assert warned(rig, big) != ""


def test_a_class_number_that_comes_again_brings_no_old_reason(rig: Rig) -> None:
    rig.poll("small", total=SMALL, free=Amounts())
    assert warned(rig, needs(cpu_milli=9_000)) != ""
    rig.control(b"".join(rig.live.jobs.ids()), Act.CANCEL)
    assert warned(rig, needs(cpu_milli=1_000)) == ""


def test_explain_names_what_keeps_a_job_waiting(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(queue_capacities={"compute": 1}))
    first, second = (rig.submit(needs(queue="compute", cpu_milli=1)) for _ in range(2))
    reply = rig.explain(second)
    assert reply.reasons == ["no worker has asked for work lately"]
    rig.take()
    assert rig.explain(first).reasons == []
    assert rig.explain(second) == Explanation(
        Status.QUEUED,
        ["its queue 'compute' runs as many jobs as its capacity allows"],
        workers_known=1,
        workers_fit=1,
        queue_capacity=1,
        queue_running=1,
        ahead_in_class=0,
    )
    rig.control(first, Act.CANCEL)
    big = rig.submit(needs(queue="compute", cpu_milli=1_000_000))
    assert "it needs 1000 cpu_cores" in rig.explain(big).reasons[0]
    other = rig.submit()
    assert rig.explain(other).reasons == [
        "the workers that fit it are busy, or about to ask for work"
    ]


def test_explain_of_what_does_not_wait_is_its_status(rig: Rig) -> None:
    job_id = rig.submit()
    rig.control(job_id, Act.CANCEL)
    assert rig.explain(job_id) == Explanation(Status.CANCELLED, [])
    assert rig.explain(rig.submit(delay_ms=9)).reasons == ["its time has not come"]


def test_explain_keeps_the_fences_between_people(rig: Rig) -> None:
    live, ended = rig.submit(), rig.submit()
    rig.control(ended, Act.CANCEL)
    for job_id in (live, ended):
        assert rig.explain(job_id, BOB).code is ProblemCode.FORBIDDEN
        assert rig.explain(job_id, STRANGER) == rig.explain(b"?" * 16, STRANGER)
    assert rig.explain(b"?" * 16).code is ProblemCode.JOB_UNKNOWN
    assert rig.effects == []
