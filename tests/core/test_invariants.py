"""The invariants find what they name: each is broken on purpose, one at a time."""

from collections.abc import Callable

import pytest
from engine_rig import START_MS, Rig, needs

from headrace.core import invariants
from headrace.core.commands import Act
from headrace.core.job import Status
from headrace.core.live import EngineConfig, Live
from headrace.core.resources import Profile
from headrace.core.workers import Held, Session


@pytest.fixture
def rig() -> Rig:
    """An engine with a job in every place: ready, leased, scheduled twice, suspended; a parked
    poll, a session, and a queue with a capacity."""
    rig = Rig(EngineConfig(queue_capacities={"narrow": 1}))
    rig.submit(needs(queue="narrow"))
    rig.poll(session="s", seq=1)
    rig.submit(needs(queue="narrow"))
    rig.submit(delay_ms=5_000, start_before_at_ms=START_MS + 60_000)
    rig.submit(scheduled_at_ms=START_MS + 5_000)
    suspended = rig.submit(delay_ms=1)
    rig.control(suspended, Act.SUSPEND)
    rig.poll("other", wait_ms=10_000, profile=Profile(queues=frozenset({"elsewhere"})))
    rig.poll(session="s", seq=2, wait_ms=10_000)
    return rig


def _handle(live: Live, status: Status) -> int:
    return next(h for h in map(live.jobs.find, live.jobs.ids()) if live.load(h).status is status)


def _forget_ready(live: Live) -> None:
    live.match.remove(_handle(live, Status.QUEUED))


def _forget_timer(live: Live) -> None:
    live.timers_due.cancel(_handle(live, Status.SCHEDULED))


def _keep_timer(live: Live) -> None:
    live.timers_due_wall.set(_handle(live, Status.SUSPENDED), START_MS)


def _forget_deadline(live: Live) -> None:
    live.timers_skip_wall.pop_due(START_MS + 60_000, 1)


def _shift_lease_timer(live: Live) -> None:
    lease = next(iter(live.leases))
    lease.expires_ms += 1


def _close_attempt(live: Live) -> None:
    lease = next(iter(live.leases))
    job = live.load(lease.handle)
    job.attempt_open = False
    live.jobs.set(lease.handle, job.pack())


def _count_status(live: Live) -> None:
    live.stats.live[Status.QUEUED] += 1


def _count_queued(live: Live) -> None:
    live.stats.queue("narrow", 1)


def _leak_lease(live: Live) -> None:
    live.match.lease(0)


def _count_class(live: Live) -> None:
    live.classes.entries()[0].jobs += 1


def _forget_session(live: Live) -> None:
    live.sessions["s"].held = Held()


def _invent_session(live: Live) -> None:
    live.sessions["t"] = Session("t", ticket=99)


def _shift_poll_timer(live: Live) -> None:
    next(iter(live.parked.by_ticket.values())).until_ms += 1


def _count_worker(live: Live) -> None:
    key = next(iter(live.workers.totals))
    live.workers.totals[key]["", "nobody"] = None


BREAKS: list[tuple[Callable[[Live], None], Callable[[Live], None]]] = [
    (_forget_ready, invariants.one_place_each),
    (_forget_timer, invariants.one_place_each),
    (_keep_timer, invariants.one_place_each),
    (_forget_deadline, invariants.skip_timers_exact),
    (_shift_lease_timer, invariants.one_live_lease),
    (_close_attempt, invariants.one_live_lease),
    (_count_status, invariants.counters_match),
    (_count_queued, invariants.counters_match),
    (_leak_lease, invariants.counters_match),
    (_count_class, invariants.classes_counted),
    (_forget_session, invariants.sessions_and_polls_agree),
    (_invent_session, invariants.sessions_and_polls_agree),
    (_shift_poll_timer, invariants.sessions_and_polls_agree),
    (_count_worker, invariants.workers_counted),
]


def test_a_sound_engine_passes_with_a_job_in_every_place(rig: Rig) -> None:
    statuses = {rig.live.load(rig.live.jobs.find(i)).status for i in rig.live.jobs.ids()}
    assert statuses == {Status.QUEUED, Status.LOCKED, Status.SCHEDULED, Status.SUSPENDED}
    assert len(rig.live.parked) == 2
    invariants.check(rig.engine)


def test_an_empty_engine_passes() -> None:
    invariants.check(Rig().engine)


@pytest.mark.parametrize(("break_it", "finds"), BREAKS, ids=lambda f: f.__name__.strip("_"))
def test_it_is_found_by_the_invariant_that_names_it(
    rig: Rig, break_it: Callable[[Live], None], finds: Callable[[Live], None]
) -> None:
    break_it(rig.live)
    with pytest.raises(AssertionError):
        finds(rig.live)
    with pytest.raises(AssertionError):
        invariants.check(rig.engine)
