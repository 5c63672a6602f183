"""Tenants share by their weights, whatever each of them asks for; within one it is first come."""

import msgspec
import pytest
from engine_rig import LEASE_MS, PLENTY, Rig, needs
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.commands import Act, Caller, Outcome, PutDocument, Submit
from headrace.core.fairness import IDLE_MAX, PLACE_MAX, STEP, Lines
from headrace.core.resources import Profile
from headrace.wire.documents import Kind

ROOT = Caller("acme", "root", admin=True)


def submit(rig: Rig, tenant: str, count: int = 1, *, gpu_milli: int = 0, **fields: int) -> bytes:
    """Submit jobs of a tenant that are alike; return the id of the first."""
    needed = msgspec.structs.replace(needs(gpu_milli=gpu_milli), tenant=tenant)
    new = rig.new(needed, count=count, **fields)
    rig.apply(Submit(Caller(tenant), [new]))
    return new.job_ids[:16]


def weigh(rig: Rig, tenant: str, weight: int) -> None:
    rig.apply(PutDocument(ROOT, Kind.TENANT, tenant, b'{"weight":%d}' % weight))


def tenants(rig: Rig, jobs: int, *, at_once: int = 1) -> str:
    """Give out so many jobs; return their tenants, a letter each."""
    found = ""
    while len(found) < jobs:
        grants = rig.poll(jobs_max=min(at_once, jobs - len(found))).jobs
        assert len(grants), found
        for grant in grants:
            requirements = rig.live.classes.entry(rig.job(grant.job_id).class_id).requirements
            found += requirements.tenant or "-"
        for grant in grants:
            rig.report(grant.lease, Outcome.COMPLETED)
    return found


def test_one_tenant_is_served_first_come_first_served(rig: Rig) -> None:
    first = [submit(rig, "a", 2), submit(rig, "a"), submit(rig, "a")]
    given = [grant.job_id for grant in rig.poll(jobs_max=4).jobs]
    assert [given[0], *given[2:]] == first


@pytest.mark.parametrize("at_once", [1, 3])
def test_two_tenants_with_jobs_waiting_take_turns(rig: Rig, at_once: int) -> None:
    submit(rig, "a", 50)
    submit(rig, "b", 50)
    shared = tenants(rig, 90, at_once=at_once)
    for at in range(0, 90, 10):
        assert abs(shared[at : at + 10].count("a") - 5) <= 1, shared


def test_who_comes_to_a_long_line_of_another_tenant_is_next(rig: Rig) -> None:
    submit(rig, "a", 5_000)
    tenants(rig, 10)
    for _ in range(5):
        job = submit(rig, "b")
        assert rig.poll().jobs[0].job_id == job
        assert tenants(rig, 3) == "aaa"


def test_who_comes_with_many_jobs_waits_its_turn_with_each(rig: Rig) -> None:
    submit(rig, "a", 100)
    tenants(rig, 10)
    submit(rig, "b", 100)
    assert tenants(rig, 20).count("b") in (10, 11)


def test_who_always_comes_again_at_once_gets_no_more_than_its_share(rig: Rig) -> None:
    submit(rig, "a", 100)
    found = ""
    for _ in range(40):
        if not rig.live.classes.lines.ready("b"):
            submit(rig, "b")
        found += tenants(rig, 1)
    assert found.count("b") in (20, 21), found


def test_turns_that_were_not_asked_for_are_not_saved_up(rig: Rig) -> None:
    submit(rig, "b")
    assert tenants(rig, 1) == "b"
    submit(rig, "a", 100)
    assert tenants(rig, 50) == 50 * "a"
    submit(rig, "b", 20)
    assert tenants(rig, 20).count("b") in (10, 11)


def test_a_line_that_was_cancelled_does_not_count_against_its_tenant(rig: Rig) -> None:
    submit(rig, "a", 100)
    job_ids = [submit(rig, "b") for _ in range(50)]
    for job_id in job_ids:
        rig.control(job_id, Act.CANCEL, Caller("b"))
    tenants(rig, 2)
    submit(rig, "b", 10)
    assert tenants(rig, 20).count("b") in (9, 10)


@pytest.mark.parametrize(("weights", "shares"), [((3, 1), (75, 25)), ((1, 4), (20, 80))])
def test_weights_are_shares(rig: Rig, weights: tuple[int, int], shares: tuple[int, int]) -> None:
    for tenant, weight in zip("ab", weights, strict=True):
        weigh(rig, tenant, weight)
        submit(rig, tenant, 150)
    shared = tenants(rig, 100, at_once=7)
    assert abs(shared.count("a") - shares[0]) <= 2, shared
    rig.open()
    shared = tenants(rig, 50)
    assert abs(shared.count("a") - shares[0] // 2) <= 2, shared
    submit(rig, "a", 100)
    submit(rig, "b", 100)
    tenants(rig, 50)
    shared = tenants(rig, 50)
    assert abs(shared.count("a") - shares[0] // 2) <= 2, shared


def test_a_weight_counts_for_jobs_that_come_after_it(rig: Rig) -> None:
    weigh(rig, "a", 4)
    weigh(rig, "a", 1)
    submit(rig, "a", 50)
    submit(rig, "b", 50)
    weigh(rig, "a", 4)
    assert tenants(rig, 20).count("a") in (9, 10, 11)
    rig.apply(PutDocument(ROOT, Kind.TENANT, "b", b"{}"))
    submit(rig, "a", 100)
    tenants(rig, 80)
    assert rig.live.classes.lines.acquire("b").step == STEP


def test_priority_goes_before_fairness(rig: Rig) -> None:
    submit(rig, "b", 10)
    submit(rig, "a", 10, priority=9)
    assert tenants(rig, 12) == 10 * "a" + "bb"


def test_after_a_restart_they_go_on_in_turn(rig: Rig) -> None:
    submit(rig, "a", 60)
    tenants(rig, 10)
    submit(rig, "b", 30)
    tenants(rig, 10)
    rig.open()
    assert tenants(rig, 10).count("b") in (4, 5)
    submit(rig, "b", 5)
    submit(rig, "c", 10)
    shared = tenants(rig, 12)
    assert all(shared.count(tenant) in (3, 4, 5) for tenant in "abc"), shared


def test_a_job_that_comes_back_keeps_its_place(rig: Rig) -> None:
    first = submit(rig, "a", 10)
    submit(rig, "b", 10)
    assert rig.take() is not None
    tenants(rig, 4)
    assert rig.job(first).attempt == 1
    rig.wait(LEASE_MS)
    assert rig.poll().jobs[0].job_id == first


def test_a_job_gets_its_place_when_it_is_due(rig: Rig) -> None:
    late = submit(rig, "b", delay_ms=1_000)
    submit(rig, "a", 20)
    tenants(rig, 10)
    rig.wait(1_000)
    assert rig.poll().jobs[0].job_id == late


def test_a_job_that_is_resumed_stands_behind_its_own(rig: Rig) -> None:
    job = submit(rig, "a")
    rig.control(job, Act.SUSPEND, Caller("a"))
    submit(rig, "a", 3)
    rig.control(job, Act.RESUME, Caller("a"))
    given = [grant.job_id for grant in rig.poll(jobs_max=4).jobs]
    assert given[-1] == job
    assert rig.job(job).due_ms == rig.now_ms


def test_jobs_without_a_tenant_are_of_the_default_one(rig: Rig) -> None:
    submit(rig, "", 20)
    submit(rig, "default", 20)
    submit(rig, "b", 20)
    assert tenants(rig, 20).count("b") in (9, 10, 11)
    assert sorted(rig.live.classes.lines.used()) == ["b", "default"]


def test_what_does_not_fit_a_worker_holds_nobody_up(rig: Rig) -> None:
    submit(rig, "a", 50, gpu_milli=1_000)
    submit(rig, "a", 10)
    submit(rig, "b", 10)
    free = msgspec.structs.replace(PLENTY, gpu_milli=0)
    grants = rig.poll(jobs_max=20, free=free, profile=Profile()).jobs
    assert len(grants) == 20


def test_nothing_is_kept_of_tenants_that_are_gone(rig: Rig) -> None:
    for number in range(IDLE_MAX + 10):
        submit(rig, f"t{number}", priority=number % 10)
        (grant,) = rig.poll().jobs
        rig.report(grant.lease, Outcome.COMPLETED)
    assert len(rig.live.classes.lines.lines()) <= IDLE_MAX
    assert rig.live.classes.lines.used() == []


def test_places_end_before_an_order_does() -> None:
    lines = Lines()
    line = lines.acquire("a")
    lines.stand(line, 5, PLACE_MAX - 1, 10_000)
    assert lines.place(line, 5) == PLACE_MAX


@given(
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    asks=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), max_size=80),
)
@settings(max_examples=200, deadline=None)
def test_no_tenant_gets_more_than_its_share_while_another_waits(
    weights: list[int], asks: list[tuple[int, int]]
) -> None:
    """The bound of start-time fair queueing: while two tenants have jobs waiting all along, what
    they got in parts of their weights differs by at most a job of each.

    An ask is so many jobs of a tenant, and then one job is given out.
    """
    lines = Lines()
    table = [lines.acquire(str(number)) for number in range(len(weights))]
    for number, weight in enumerate(weights):
        lines.weigh(str(number), weight)
    waiting: list[list[int]] = [[] for _ in weights]
    since: dict[tuple[int, int], tuple[float, float]] = {}
    got = [0.0] * len(weights)
    for who, jobs in asks:
        if who < len(weights) and jobs:
            line = table[who]
            place = lines.place(line, 5)
            lines.stand(line, 5, place, jobs)
            waiting[who] += [place + at * line.step for at in range(jobs)]
        ready = [number for number, places in enumerate(waiting) if places]
        pairs = [(a, b) for a in ready for b in ready if a < b]
        since = {pair: since.get(pair, (got[pair[0]], got[pair[1]])) for pair in pairs}
        if not ready:
            continue
        first = min(ready, key=lambda number: waiting[number][0])
        lines.reached[5] = waiting[first].pop(0)
        lines.leave(table[first], 1)
        got[first] += 1 / weights[first]
        for (a, b), (a_then, b_then) in since.items():
            ahead = abs((got[a] - a_then) - (got[b] - b_then))
            assert ahead <= 1 / weights[a] + 1 / weights[b] + 0.01, (a, b)
