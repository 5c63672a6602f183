"""What happened lately, for whoever follows."""

from collections.abc import Iterator

import pytest

from headrace.core.commands import PollReply
from headrace.core.effects import (
    Answered,
    Effect,
    Finished,
    JobChanged,
    JobDeleted,
    JobFinished,
    JobsCompleted,
    JobsLeased,
    JobsStored,
    LogAppended,
    Noted,
    Trail,
)
from headrace.core.job import Event, Status
from headrace.runtime import events as events_module
from headrace.runtime.events import END, Cursor, Events, Step

A, B, C = (bytes([number]) * 16 for number in (1, 2, 3))
RECORD = bytes(68)


@pytest.fixture
def events() -> Events:
    return Events(lambda: 1_000)


class Ear:
    def __init__(self) -> None:
        self.steps: list[Step] = []

    def tell(self, step: Step) -> None:
        self.steps.append(step)


def changed(job_id: bytes) -> JobChanged:
    return JobChanged(job_id, Event.START, RECORD, Trail())


def leased(*job_ids: bytes) -> JobsLeased:
    return JobsLeased(b"".join(job_ids), RECORD * len(job_ids), Trail())


def jobs(steps: list[Step] | Iterator[Step]) -> list[bytes]:
    return [step.job_id for step in steps]


def test_nothing_is_kept_while_nobody_follows(events: Events) -> None:
    events.hear([changed(A)])
    assert not events._ring
    assert not events.has(Cursor(0, 0))


def test_a_follower_hears_of_its_job_alone_in_order(events: Events) -> None:
    ear = Ear()
    now = events.follow(B, ear)
    stored = JobsStored(1, A + B + C, RECORD * 3, [b"1", b"2", b"3"])
    done = JobsCompleted(C + B, RECORD * 2, 5, "w", [1, 1], [b"{}", b"{}"])
    effects: list[Effect] = [stored, changed(A), leased(A, B), Noted(B, 0.5, ""), done]
    events.hear(effects)
    assert [(step.number, step.position, type(step.effect)) for step in ear.steps] == [
        (1, 1, JobsStored),
        (5, 1, JobsLeased),
        (6, 0, Noted),
        (8, 1, JobsCompleted),
    ]
    assert list(events.read_job(B, now)) == ear.steps
    assert jobs(events.read(now)) == [A, B, C, A, A, B, B, C, B]
    events.unfollow(B, ear)
    events.hear([changed(B)])
    assert len(ear.steps) == 4


def test_reading_goes_on_behind_any_step(events: Events) -> None:
    events.follow_all(lambda: None)
    now = events.now()
    events.hear([leased(A, B, C), changed(A), leased(B, C)])
    events.hear([PollAnswered, changed(C)])
    events.hear([PollAnswered])
    every = list(events.read(now))
    assert jobs(every) == [A, B, C, A, B, C, C]
    for at, step in enumerate(every):
        cursor = Cursor(step.batch, step.number)
        assert list(events.read(cursor)) == every[at + 1 :]
        assert list(events.read_job(C, cursor)) == [
            one for one in every[at + 1 :] if one.job_id == C
        ]
    assert list(events.read(Cursor(every[0].batch, END))) == every[6:]
    assert list(events.read(events.now())) == []


PollAnswered = Answered(1, PollReply())


def test_what_no_event_tells_is_not_kept(events: Events) -> None:
    events.follow_all(lambda: None)
    finished = Finished(Status.COMPLETED, 1, RECORD, body=b"x" * 1_000)
    events.hear(
        [
            JobsStored(1, A, RECORD, [b"spec"], [(0, b"k", b"r")]),
            JobFinished(A, Event.COMPLETE, finished),
            JobsCompleted(B, RECORD, 5, "w", [1], [b"x" * 1_000]),
        ]
    )
    (batch,) = events._ring
    stored, one, many = batch.effects
    assert isinstance(stored, JobsStored)
    assert isinstance(one, JobFinished)
    assert isinstance(many, JobsCompleted)
    assert (stored.specs, stored.keys, one.finished.body, many.bodies) == ([], [], b"", [])
    assert finished.body, "the effect itself is as it was"
    assert batch.cost_bytes < 2_000


@pytest.mark.parametrize(
    ("bound", "most"), [("RING_STEPS_MAX", 10), ("RING_BYTES_MAX", 10 * 1_000)]
)
def test_the_ring_forgets_the_oldest_and_says_so(
    events: Events, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(events_module, bound, most)
    events.follow_all(lambda: None)
    cursors = []
    for _ in range(40):
        events.hear([LogAppended(A, 1, b"x" * 600)])
        cursors.append(Cursor(events.now().batch, 0))
    assert len(events._ring) == 10
    assert (events._steps, events._bytes) == (10, 10 * 1_000)
    kept = [cursor for cursor in cursors if events.has(cursor)]
    assert kept == cursors[-10:]
    assert len(list(events.read(kept[0]))) == 9


def test_who_comes_back_soon_has_missed_nothing(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    now = events.follow(A, ear)
    events.unfollow(A, ear)
    events.hear([JobDeleted(A, 1)])
    assert events.has(now)
    assert jobs(events.read_job(A, now)) == [A]
    monkeypatch.setattr(events_module.time, "monotonic", lambda: 1e12)
    events.hear([changed(B)])
    assert not events._ring
    assert not events.has(now)
    later = events.follow(A, ear)
    assert not events.has(now), "what was committed meanwhile is not known"
    assert events.has(later)


def test_who_follows_all_is_woken(events: Events) -> None:
    woken: list[int] = []

    def wake() -> None:
        woken.append(1)

    events.follow_all(wake)
    events.hear([changed(A)])
    events.hear([PollAnswered])
    assert woken == [1]
    events.unfollow_all(wake)
    events.hear([changed(A)])
    assert woken == [1]
