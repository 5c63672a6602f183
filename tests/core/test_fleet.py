"""Workers as operators see them, and what they are told."""

from collections.abc import Iterator

import pytest
from engine_rig import LEASE_MS, Rig, needs

from headrace.core.commands import (
    Caller,
    FindWorker,
    FindWorkers,
    Order,
    OrderWorker,
    Outcome,
    PollReply,
    Progress,
    WorkerSeen,
)
from headrace.core.effects import Answered, AuditNoted, DocumentDropped, DocumentStored
from headrace.core.invariants import CHECKS
from headrace.core.resources import Amounts, Profile
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

ROOT = Caller("default", "root", admin=True)
ADAM = Caller("a", "adam", admin=True, all_tenants=False)
OF_A = Profile(wasm=True, tenant="a")
OF_B = Profile(wasm=True, tenant="b")


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    for check in CHECKS:
        check(rig.live)


def tell(rig: Rig, order: str, worker: str = "w", caller: Caller = ROOT) -> WorkerSeen | Problem:
    found: WorkerSeen | Problem = rig.apply(OrderWorker(caller, None, worker, order))
    return found


def look(
    rig: Rig, worker: str = "w", caller: Caller = ROOT, tenant: str | None = None
) -> WorkerSeen:
    found = rig.apply(FindWorker(caller, tenant, worker))
    assert isinstance(found, WorkerSeen), found
    return found


# Drain ------------------------------------------------------------------------------------------


def test_a_drained_worker_gets_nothing_and_others_do(rig: Rig) -> None:
    rig.poll()
    tell(rig, "drain")
    rig.submit()
    assert not len(rig.poll().jobs)
    assert rig.poll("other").jobs


def test_an_order_is_a_document_and_an_entry_of_the_audit_log(rig: Rig) -> None:
    rig.poll()
    tell(rig, "drain")
    stored, noted = rig.effects
    assert isinstance(stored, DocumentStored)
    assert isinstance(noted, AuditNoted)
    assert (noted.entry.act, noted.entry.name, noted.entry.user) == ("worker_put", "w", "root")


def test_a_drained_worker_finishes_what_it_has(rig: Rig) -> None:
    job = rig.submit()
    lease = rig.take()
    tell(rig, "drain")
    assert rig.report(lease, Outcome.COMPLETED).problem is None
    assert rig.status(job).name == "COMPLETED"


def test_a_parked_poll_hears_of_a_drain_at_once_and_is_told_once(rig: Rig) -> None:
    assert rig.poll(wait_ms=30_000, session="s", seq=1) is None
    ticket = rig.tickets
    tell(rig, "drain")
    assert rig.answers() == {ticket: PollReply(orders=[Order("", "drain")])}
    assert rig.poll(wait_ms=30_000, session="s", seq=2) is None
    rig.submit()
    assert rig.answers() == {}


def test_each_session_is_told_and_a_repeat_of_a_lost_answer_too(rig: Rig) -> None:
    rig.submit()
    rig.poll(session="s1", seq=1)
    tell(rig, "drain")
    told = [Order("", "drain")]
    assert rig.poll(session="s1", seq=1, wait_ms=1_000).orders == told
    assert rig.poll(session="s1", seq=1, wait_ms=1_000).orders == told
    assert rig.poll(session="s1", seq=2, wait_ms=1_000) is None
    assert rig.poll(session="s2", seq=1, wait_ms=1_000).orders == told


def test_a_worker_that_asks_for_jobs_hears_quit_again(rig: Rig) -> None:
    rig.poll(session="s")
    tell(rig, "quit")
    assert rig.poll(session="s").orders == [Order("", "quit")]
    assert rig.poll(session="s").orders == []
    rig.wait(2_000)
    assert rig.poll(session="s", jobs_max=0).orders == []
    assert rig.poll(session="s").orders == [Order("", "quit")]


def test_a_drain_holds_after_a_restart_until_it_is_taken_back(rig: Rig) -> None:
    rig.poll(session="s")
    tell(rig, "drain")
    rig.submit()
    rig.open()
    assert rig.poll(session="s").orders == [Order("", "drain")]
    assert not len(rig.poll(session="s").jobs)
    tell(rig, "")
    assert [type(effect) for effect in rig.effects] == [DocumentDropped, AuditNoted]
    assert rig.poll(session="s").jobs
    rig.open()
    rig.submit()
    assert rig.poll(session="s").jobs


def test_a_parked_poll_of_a_drained_worker_goes_home_when_it_may_have_jobs_again(rig: Rig) -> None:
    rig.poll(session="s")
    tell(rig, "drain")
    rig.poll(session="s")
    assert rig.poll(session="s", wait_ms=30_000) is None
    ticket = rig.tickets
    rig.submit()
    assert rig.answers() == {}
    tell(rig, "")
    assert rig.answers() == {ticket: PollReply()}


def test_a_worker_that_nobody_knows_is_told_nothing(rig: Rig) -> None:
    for order in ("drain", "quit", ""):
        found = tell(rig, order, "nobody")
        assert isinstance(found, Problem)
        assert found.code is ProblemCode.WORKER_UNKNOWN
        assert rig.effects == []


def test_undrain_of_a_worker_that_is_not_drained_changes_nothing(rig: Rig) -> None:
    rig.poll()
    found = tell(rig, "")
    assert isinstance(found, WorkerSeen)
    assert (found.order, rig.effects) == ("", [])


def test_orders_are_bounded_and_the_oldest_to_a_worker_that_is_gone_makes_room(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DOCUMENTS_MAX", 2)
    for worker in ("w1", "w2"):
        rig.poll(worker)
        tell(rig, "drain", worker)
    rig.poll("w3")
    found = tell(rig, "drain", "w3")
    assert isinstance(found, Problem)
    assert found.code is ProblemCode.DOCUMENTS_TOO_MANY
    rig.wait(limits.WORKER_MS_MAX + 100_000)
    rig.poll("w3")
    assert isinstance(tell(rig, "drain", "w3"), WorkerSeen)
    assert sorted(key[1] for key in rig.live.told) == ["w2", "w3"]
    rig.open()
    assert sorted(key[1] for key in rig.live.told) == ["w2", "w3"]


# What is seen -----------------------------------------------------------------------------------


def test_a_worker_shows_what_it_has_and_holds(rig: Rig) -> None:
    job = rig.submit(needs(cpu_milli=1_000, memory_mb=512))
    total = Amounts(4_000, 8_192)
    lease = rig.take(session="s", seq=1, total=total, free=total, key_id="k")
    rig.poll(
        jobs_max=0, session="s", seq=2, key_id="k", running=[lease],
        progress=[Progress(lease, progress=0.5, details="half")],
    )  # fmt: skip
    found = look(rig)
    assert (found.total, found.free) == (total, Amounts(3_000, 7_680))
    assert (found.session, found.key_id, found.running) == ("s", "k", 1)
    (held,) = found.leases
    assert (held.job_id, held.progress, held.details) == (job, 0.5, "half")
    rig.report(lease, Outcome.COMPLETED)
    assert look(rig).running == 0


def test_leases_of_an_earlier_start_and_of_polls_without_a_session_are_shown(rig: Rig) -> None:
    for session in ("s1", "s2", ""):
        rig.submit()
        rig.take(session=session)
    assert look(rig).running == 3
    rig.open()
    rig.poll(session="s1", jobs_max=0, total=Amounts())
    assert look(rig).running == 1


def test_a_change_of_its_profile_loses_no_lease(rig: Rig) -> None:
    rig.submit()
    rig.take()
    rig.poll(profile=Profile(wasm=True, labels=frozenset({"a=b"})))
    assert look(rig).running == 1


def test_a_worker_that_is_gone_is_seen_only_if_it_is_drained(rig: Rig) -> None:
    for worker in ("w1", "w2"):
        rig.poll(worker)
    tell(rig, "drain", "w1")
    rig.wait(limits.WORKER_MS_MAX + 2 * LEASE_MS + 120_000)
    page = rig.apply(FindWorkers(ROOT, ("", ""), 10))
    assert [(seen.worker, seen.order, seen.profile) for seen in page.workers] == [
        ("w1", "drain", None)
    ]


def test_lists_go_page_by_page_through_tenants_and_names(rig: Rig) -> None:
    for profile, worker in ((OF_B, "w1"), (OF_A, "w2"), (OF_A, "w1"), (Profile(), "w1")):
        rig.poll(worker, profile=profile)
    found, after, more = [], ("", ""), True
    while more:
        page = rig.apply(FindWorkers(ROOT, after, 1))
        found += [(seen.tenant, seen.worker) for seen in page.workers]
        after, more = found[-1], page.more
    assert found == [("", "w1"), ("a", "w1"), ("a", "w2"), ("b", "w1")]


# Tenants ----------------------------------------------------------------------------------------


def test_a_tenant_sees_and_tells_its_own_workers_only(rig: Rig) -> None:
    rig.poll("w", profile=OF_A)
    rig.poll("w", profile=OF_B)
    rig.poll("theirs", profile=OF_B)
    rig.poll("everybodys")
    page = rig.apply(FindWorkers(ADAM, ("", ""), 10))
    assert [(seen.tenant, seen.worker) for seen in page.workers] == [("a", "w")]
    assert look(rig, "w", ADAM).tenant == "a"
    missing = rig.apply(FindWorker(ADAM, None, "nobody"))
    for worker, tenant in (("theirs", None), ("w", "b"), ("everybodys", ""), ("everybodys", None)):
        assert rig.apply(FindWorker(ADAM, tenant, worker)) == missing
        assert rig.apply(OrderWorker(ADAM, tenant, worker, "drain")) == missing
    tell(rig, "drain", "w", ADAM)
    assert rig.poll("w", profile=OF_A).orders
    assert not rig.poll("w", profile=OF_B).orders


def test_a_name_that_several_tenants_have_needs_the_tenant(rig: Rig) -> None:
    rig.poll("w", profile=OF_A)
    rig.poll("w", profile=OF_B)
    found = tell(rig, "drain")
    assert isinstance(found, Problem)
    assert found.code is ProblemCode.REQUEST_MALFORMED
    assert look(rig, "w", tenant="b").tenant == "b"
    rig.poll("w")
    assert look(rig).tenant == ""


def test_another_workers_parked_poll_is_left_alone(rig: Rig) -> None:
    rig.poll("w", profile=OF_A, wait_ms=30_000)
    rig.poll("w", profile=OF_B, wait_ms=30_000)
    rig.apply(OrderWorker(ROOT, "b", "w", "drain"))
    assert [e.ticket for e in rig.effects if isinstance(e, Answered)] == [rig.tickets]
