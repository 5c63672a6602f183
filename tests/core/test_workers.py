"""What is remembered of workers."""

from headrace.core.commands import Poll
from headrace.core.resources import Amounts, Profile
from headrace.core.workers import SEQS_KEPT, KnownWorker, KnownWorkers, ParkedPolls, Session

BIG, SMALL = Amounts(cpu_milli=9), Amounts(cpu_milli=1)


def test_a_session_remembers_its_last_answers() -> None:
    session = Session("s")
    for seq in range(SEQS_KEPT + 1):
        session.remember(seq, b"lease %d" % seq)
    session.remember(SEQS_KEPT, b"one more")
    assert min(session.grants) == 1
    assert session.grants[SEQS_KEPT] == b"lease %done more" % SEQS_KEPT


def test_sessions_share_nothing() -> None:
    Session("a").grants[1] = b"lease"
    assert Session("b").grants == {}
    assert Session("a").held is not Session("b").held


def test_parked_polls_with_equal_offers_form_one_group_in_their_order() -> None:
    parked = ParkedPolls()
    for ticket, free in ((1, BIG), (2, SMALL), (3, BIG)):
        parked.add(Poll(ticket, "w", free=free, jobs_max=1), 0, 10, [])
    assert [list(group) for group in parked.groups.values()] == [[1, 3], [2]]
    parked.remove(1)
    parked.remove(2)
    assert [list(group) for group in parked.groups.values()] == [[3]]
    assert parked.remove(1) is None
    assert len(parked) == 1


def test_a_poll_for_no_jobs_waits_in_no_group() -> None:
    parked = ParkedPolls()
    parked.add(Poll(1, "w", jobs_max=0), 0, 10, [])
    assert parked.groups == {}
    assert parked.remove(1) is not None


def test_slots_come_again_and_name_their_poll() -> None:
    parked = ParkedPolls()
    slots = [parked.add(Poll(ticket, "w"), 0, 10, []).slot for ticket in (1, 2, 3)]
    assert slots == [0, 1, 2]
    parked.remove(2)
    assert parked.add(Poll(9, "w"), 0, 10, []).slot == 1
    assert [parked.ticket_of(slot) for slot in slots] == [1, 9, 3]


def test_the_version_rises_only_when_a_kind_of_worker_comes_or_goes() -> None:
    known = KnownWorkers()
    a, b = ("", "a"), ("", "b")

    def worker(total: Amounts) -> KnownWorker:
        return KnownWorker(Profile(), 0, total, 5)

    known.set(a, worker(BIG))
    version = known.version
    known.set(b, worker(BIG))
    known.forget(b)
    assert known.version == version
    known.set(b, worker(SMALL))
    assert known.version > version
    version = known.version
    known.forget(a)
    assert known.version > version
    assert known.totals == {(0, SMALL): {b: None}}
    assert known.forget(a) is None
