"""What ready jobs ask for that no worker is free to give."""

from typing import Any

import pytest
from engine_rig import PLENTY, MakeRig, Rig, needs
from msgspec.structs import replace

from headrace.core import demand
from headrace.core.commands import Caller, FindDemand
from headrace.core.demand import Fit, Vector
from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts, Profile, WorkerShape

ROOT = Caller("default", "root", admin=True)
OF_A = Caller("a", "ann", all_tenants=False)


def look(rig: Rig, queue: str | None = None, caller: Caller = ROOT, limit: int = 100) -> Any:
    return rig.apply(FindDemand(caller, queue, limit))


def test_without_jobs_nothing_is_wanted(rig: Rig) -> None:
    found = look(rig)
    assert (found.wanted, found.queues, found.classes, found.truncated) == (0, [], [], False)


def test_classes_are_told_with_counts_sums_and_waits(rig: Rig) -> None:
    rig.poll(total=Amounts(4_000, 1_000), free=Amounts())
    for _ in range(3):
        rig.submit(needs(cpu_milli=2_000, memory_mb=10))
    rig.submit(needs(cpu_milli=8_000, gpu_milli=500))
    rig.submit(needs(queue="other"), delay_ms=4_000)
    rig.wait(5_000)
    found = look(rig)
    assert found.wanted == 5
    assert [(one.requirements.amounts.cpu_milli, one.ready, one.fit) for one in found.classes] == [
        (2_000, 3, Fit.BUSY),
        (8_000, 1, Fit.NEVER),
        (0, 1, Fit.BUSY),
    ]
    assert [one.first_wait_ms for one in found.classes] == [5_000, 5_000, 1_000]
    assert found.sums[Fit.BUSY] == Vector(4, 6_000, 30)
    assert found.sums[Fit.NEVER] == Vector(1, 8_000, gpu_milli=500)
    assert [(queue.queue, queue.ready, queue.wanted) for queue in found.queues] == [
        ("default", 4, 4),
        ("other", 1, 1),
    ]
    assert look(rig, "other").wanted == 1
    assert look(rig, limit=1).classes == found.classes[:1]


def test_a_job_that_a_worker_took_or_that_is_not_ready_is_no_demand(rig: Rig) -> None:
    rig.submit()
    rig.take()
    rig.submit(delay_ms=1_000)
    assert look(rig).wanted == 0


def test_what_is_held_back_is_told_apart(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(queue_capacities={"one": 1, "none": 0}))
    for queue in ("one", "one", "one", "none"):
        rig.submit(needs(queue=queue, cpu_milli=1_000))
    found = look(rig, "one")
    assert (found.wanted, found.queues[0].ready) == (1, 3)
    assert look(rig, "none").sums[Fit.HELD_BACK] == Vector(1, 1_000)
    rig.take()
    assert look(rig).wanted == 0
    assert look(rig).sums[Fit.HELD_BACK].jobs == 3


def test_without_any_known_worker_it_is_unknown_whether_one_fits(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig())
    rig.submit()
    found = look(rig)
    assert (found.classes[0].fit, found.wanted, found.truncated) == (Fit.UNKNOWN, 1, False)
    pool = WorkerShape("pool", Profile(), PLENTY)
    rig = make_rig(EngineConfig(worker_shapes=[pool]))
    rig.submit()
    rig.submit(needs(kind=""))
    assert {one.fit for one in look(rig).classes} == {Fit.BUSY, Fit.NEVER}


def test_a_tenant_sees_its_own_demand_only(rig: Rig) -> None:
    rig.submit(replace(needs(), tenant="a"))
    for _ in range(3):
        rig.submit(replace(needs(), tenant="b"))
    rig.submit()
    found = look(rig, caller=OF_A)
    assert (found.wanted, found.queues[0].ready, found.classes_count) == (1, 1, 1)
    assert look(rig).wanted == 5


def test_work_is_bounded_and_the_answer_says_so(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for cpu_milli in range(6):
        rig.submit(needs(cpu_milli=cpu_milli))
    monkeypatch.setattr(demand, "CLASSES_MAX", 4)
    found = look(rig)
    assert (found.classes_count, found.wanted, found.truncated) == (4, 4, True)
    monkeypatch.setattr(demand, "CLASSES_MAX", 6)
    assert not look(rig).truncated
    monkeypatch.setattr(demand, "CLASSES_LOOKED_MAX", 5)
    assert look(rig).truncated
    monkeypatch.setattr(demand, "CLASSES_LOOKED_MAX", 6)
    monkeypatch.setattr(demand, "KINDS_TRIED_MAX", 2)
    for worker in range(3):
        rig.poll(f"w{worker}", total=Amounts(memory_mb=worker), free=Amounts())
    found = look(rig)
    assert found.truncated
    assert Fit.UNKNOWN in {one.fit for one in found.classes}
