"""Whether a job fits any worker, and why one waits."""

from typing import Any

import pytest
from engine_rig import ALICE, BOB, PLENTY, STRANGER, MakeRig, Rig, needs
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from headrace.core import fitting
from headrace.core.commands import Act, Caller, Cause, Explanation, OrderWorker, Submit
from headrace.core.job import Status
from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts, Profile, Requirements, WorkerShape
from headrace.wire.durations import rfc3339
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
            "no known worker that serves its queue and type has GPU type 'H100'",
        ),
        (
            needs(gpu_models="A100", labels="zone=a"),
            "no known worker that serves its queue and type has label 'zone=a'",
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
    cause = Cause(
        "queue_capacity",
        "its queue 'compute' runs as many jobs as its capacity allows",
        {"queue": "compute", "capacity": 1, "running": 1},
    )
    assert rig.explain(second) == Explanation(
        Status.QUEUED,
        [cause],
        workers_known=1,
        workers_fit=1,
        queue_capacity=1,
        queue_running=1,
        position_min=0,
        position_max=0,
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


# What programs read -----------------------------------------------------------------------------


def causes(rig: Rig, job_id: bytes) -> list[Any]:
    return [(cause.code, cause.numbers) for cause in rig.explain(job_id).causes]


def test_the_largest_worker_and_what_it_has_are_named(rig: Rig) -> None:
    rig.poll("small", total=Amounts(2_000, 100), free=Amounts())
    rig.poll("w-7", total=Amounts(4_000, 50), free=Amounts())
    told = {"dimension": "cpu_cores", "needs": 8.0, "most": 4.0, "worker": "w-7"}
    assert causes(rig, rig.submit(needs(cpu_milli=8_000))) == [("too_large", told)]
    both = causes(rig, rig.submit(needs(cpu_milli=4_000, memory_mb=100)))
    assert both == [("too_large_together", {"worker": "small", "lacks": {"cpu_cores": 2.0}})]


def test_what_has_to_become_free_where_is_named(rig: Rig) -> None:
    for worker, total in (("w-3", 8_000), ("w-4", 6_000)):
        rig.submit(needs(cpu_milli=total - 2_000))
        rig.take(worker, total=Amounts(total), free=Amounts(total))
    job_id = rig.submit(needs(cpu_milli=4_000))
    assert causes(rig, job_id) == [("workers_busy", {"worker": "w-3", "lacks": {"cpu_cores": 2.0}})]
    assert "'w-3' when 2 cpu_cores more is free" in rig.explain(job_id).reasons[0]


@pytest.mark.parametrize(
    ("requirements", "cause"),
    [
        (needs(queue="q"), ("no_worker_serves", {"queue": "q", "type": "echo"})),
        (needs(kind="x"), ("no_worker_serves", {"queue": "default", "type": "x"})),
        (needs(kind=""), ("no_worker_serves", {"queue": "default", "type": "wasm"})),
        (needs(gpu_models="H100 L4"), ("gpu_type_missing", {"gpu_type": ["H100", "L4"]})),
        (needs(labels="zone=b"), ("label_missing", {"labels": ["zone=b"], "worker": "w"})),
    ],
)
def test_queue_type_gpu_type_and_label_are_named_apart(
    rig: Rig, requirements: Requirements, cause: Any
) -> None:
    profile = Profile(
        types=frozenset({"echo"}),
        queues=frozenset({"default"}),
        gpu_model="A100",
        labels=frozenset({"zone=a"}),
    )
    rig.poll(total=PLENTY, profile=profile)
    assert causes(rig, rig.submit(requirements)) == [cause]


def test_a_gpu_type_and_a_label_on_different_workers_are_told(rig: Rig) -> None:
    rig.poll("w1", total=PLENTY, profile=Profile(gpu_model="A100"))
    rig.poll("w2", total=PLENTY, profile=Profile(labels=frozenset({"zone=a"})))
    job_id = rig.submit(needs(gpu_models="A100", labels="zone=a"))
    assert causes(rig, job_id) == [("label_missing", {"labels": ["zone=a"], "gpu_type": ["A100"]})]


def test_a_worker_of_another_tenant_is_not_told_of(rig: Rig) -> None:
    rig.poll("secret", total=PLENTY, profile=Profile(tenant="b"))
    mine = replace(needs(cpu_milli=1), tenant="a")
    assert causes(rig, rig.submit(mine)) == [
        ("no_worker_serves", {"queue": "default", "type": "echo"})
    ]


def test_workers_that_drain_are_told(rig: Rig) -> None:
    rig.poll()
    root = Caller("default", "root", admin=True)
    rig.apply(OrderWorker(root, None, "w", "drain"))
    assert causes(rig, rig.submit()) == [("workers_drain", {})]


def test_a_scheduled_job_tells_when_it_is_due(rig: Rig) -> None:
    job_id = rig.submit(delay_ms=60_000)
    ((code, numbers),) = causes(rig, job_id)
    assert (code, numbers["due_at"]) == ("scheduled", rfc3339(rig.wall_ms + 60_000))
    assert rig.explain(job_id).position_min is None


def test_a_place_in_line_has_honest_bounds(rig: Rig) -> None:
    own = [rig.submit(needs(cpu_milli=1)) for _ in range(20)]
    others = [rig.submit(needs(cpu_milli=2), priority=priority) for priority in (9, 9, 0)]
    found = rig.explain(own[15])
    assert (found.position_min, found.position_max) == (15, 17)
    found = rig.explain(others[2])
    assert (found.position_min, found.position_max) == (2, 22)
    for job_id in own[3:9]:
        rig.control(job_id, Act.CANCEL)
    found = rig.explain(own[15])
    assert found.position_min <= 9 <= found.position_max - 2


def test_with_very_many_classes_all_jobs_are_the_most(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CLASSES_MAX", 1)
    job_id = rig.submit(needs(cpu_milli=1))
    for _ in range(3):
        rig.submit(needs(cpu_milli=2))
    found = rig.explain(job_id)
    assert (found.position_min, found.position_max) == (0, 3)


# Refused ----------------------------------------------------------------------------------------


def refusing(*shapes: WorkerShape) -> EngineConfig:
    return EngineConfig(refuse_never_fit=True, worker_shapes=[*shapes])


def test_what_nothing_known_could_run_is_refused_if_the_operator_says_so(make_rig: MakeRig) -> None:
    rig = make_rig(refusing())
    rig.submit(needs(cpu_milli=1_000_000))  # nothing is known yet
    rig.poll(total=SMALL, free=Amounts())
    refused = rig.apply(Submit(ALICE, [rig.new(), rig.new(needs(cpu_milli=9_000))]))
    assert (refused.code, refused.pointer) == (
        ProblemCode.REQUIREMENTS_NEVER_FIT,
        "/1/requirements",
    )
    assert refused.extra["causes"][0]["dimension"] == "cpu_cores"
    assert rig.effects == []
    rig.poll("big", total=PLENTY, free=Amounts())
    rig.submit(needs(cpu_milli=9_000))


def test_a_shape_that_there_may_be_counts_as_known(make_rig: MakeRig) -> None:
    rig = make_rig(refusing(WorkerShape("pool", Profile(gpu_model="A100"), PLENTY)))
    job_id = rig.submit(needs(cpu_milli=9_000, gpu_models="A100"))
    refused = rig.apply(Submit(ALICE, [rig.new(needs(gpu_models="H100"))]))
    assert refused.code is ProblemCode.REQUIREMENTS_NEVER_FIT
    rig.poll(total=SMALL, free=Amounts())
    assert causes(rig, job_id) == [("no_worker_known", {})]


@given(data=st.data())
def test_what_fits_is_what_the_match_index_says(data: st.DataObject) -> None:
    names = st.frozensets(st.sampled_from(["a", "b"]))
    profile = data.draw(
        st.builds(
            Profile,
            types=st.none() | names,
            wasm=st.booleans(),
            queues=st.none() | names,
            gpu_model=st.sampled_from(["", "a", "b"]),
            labels=names,
            tenant=st.sampled_from(["", "a", "b"]),
        )
    )
    need = data.draw(
        st.builds(
            Requirements,
            queue=st.sampled_from(["a", "b"]),
            kind=st.sampled_from(["", "a", "b"]),
            amounts=st.builds(
                Amounts, st.integers(0, 2), st.just(0), st.just(0), st.integers(0, 2)
            ),
            gpu_models=names,
            labels=names,
            tenant=st.sampled_from(["", "a", "b"]),
        )
    )
    total = Amounts(1, 1, 1, 1)
    rig = Rig()
    rig.submit(need)
    (entry,) = rig.live.classes.entries()
    shape = rig.live.classes.shape_acquire(profile)
    wanted = rig.live.match.fits(entry.number, shape, *total.vector())
    assert fitting.fits_kind(fitting.WorkerKind(profile, total, "w"), need) == wanted
