"""News and reports between two polls."""

import asyncio

import pytest

from headrace.wire import limits
from headrace.wire.schema import Progress, Report
from headrace.worker import outbox as module
from headrace.worker.outbox import Outbox


def done(lease: str, **fields: object) -> Report:
    return Report(lease=lease, outcome="completed", **fields)  # type: ignore[arg-type]


async def test_a_report_stays_until_it_is_acknowledged() -> None:
    outbox = Outbox()
    outbox.report(done("a"))
    assert outbox.ready.is_set()
    assert outbox.compose().reports == outbox.compose().reports == [done("a")]
    assert not outbox.ready.is_set()
    outbox.acknowledged("a")
    assert outbox.empty


async def test_the_end_of_an_attempt_says_all_but_its_log() -> None:
    outbox = Outbox()
    outbox.started("quiet")
    outbox.progress("quiet", 0.5, "half")
    outbox.report(done("quiet"))
    outbox.started("chatty")
    outbox.log("chatty", "one\n")
    outbox.log("chatty", "two\n")
    outbox.report(done("chatty"))
    batch = outbox.compose()
    assert batch.progress == [Progress(lease="chatty", log="one\ntwo\n")]
    assert batch.reports == [done("quiet"), done("chatty")]


async def test_news_wait_a_moment_and_the_newest_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_DELAY_S", 0.01)
    outbox = Outbox()
    for step in range(10):
        outbox.progress("a", step / 10, f"step {step}")
    assert not outbox.ready.is_set()
    async with asyncio.timeout(10):
        await outbox.ready.wait()
    assert outbox.compose().progress == [Progress(lease="a", progress=0.9, details="step 9")]
    assert outbox.empty


async def test_news_that_may_not_have_arrived_go_before_newer_ones() -> None:
    outbox = Outbox()
    outbox.started("a")
    outbox.progress("a", 0.1, "old")
    outbox.log("a", "first ")
    sent = outbox.compose().progress
    outbox.progress("a", 0.2, None)
    outbox.log("a", "second")
    outbox.put_back(sent)
    assert outbox.compose().progress == [
        Progress(lease="a", started=True, progress=0.2, details="old", log="first second")
    ]


async def test_a_log_that_comes_too_fast_is_cut_and_says_so() -> None:
    outbox = Outbox()
    for _ in range(100):
        outbox.log("a", "ü" * 10_000)
    (news,) = outbox.compose().progress
    assert news.log is not None
    assert "characters of log came too fast" in news.log
    assert len(news.log.encode()) < limits.LOG_BYTES_MAX


async def test_text_that_is_not_unicode_does_not_stop_the_poll() -> None:
    outbox = Outbox()
    outbox.log("a", "bad \ud800 text")
    (news,) = outbox.compose().progress
    assert (news.log or "").encode() == b"bad ? text"


async def test_a_poll_carries_a_bounded_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPORT_BYTES_PER_POLL_MAX", 5_000)
    outbox = Outbox()
    for number in range(4):
        outbox.report(done(str(number), output="x" * 2_000))
    sizes = []
    while not outbox.empty:
        batch = outbox.compose()
        assert outbox.ready.is_set() == (len(batch.reports) < outbox.waiting)
        sizes.append(len(batch.reports))
        for report in batch.reports:
            outbox.acknowledged(report.lease)
    assert sizes == [2, 2]


async def test_one_report_larger_than_the_bound_is_still_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REPORT_BYTES_PER_POLL_MAX", 100)
    outbox = Outbox()
    outbox.report(done("a", output="x" * 2_000))
    assert len(outbox.compose().reports) == 1


async def test_a_closed_attempt_says_nothing_more() -> None:
    outbox = Outbox()
    feed = outbox.feed_of("a", lambda _: None)
    feed.close()
    feed.log("late")
    feed.progress(1.0, None)
    assert outbox.empty


async def test_what_is_said_in_another_thread_wakes_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LOG_DELAY_S", 0.01)
    outbox = Outbox()
    await asyncio.to_thread(outbox.log, "a", "from a thread")
    async with asyncio.timeout(10):
        await outbox.ready.wait()
    assert outbox.compose().progress[0].log == "from a thread"


async def test_events_go_before_the_end_in_polls_of_a_bounded_size() -> None:
    outbox = Outbox()
    for number in range(150):
        outbox.emit("a", f"e{number}", b"1")
    outbox.report(done("a"))
    seen: list[str] = []
    for reports in ([], [], [done("a")]):
        batch = outbox.compose()
        assert batch.reports == reports
        (told,) = batch.progress
        assert len(told.events) <= 64
        seen += [event.name for event in told.events]
    assert seen == [f"e{number}" for number in range(150)]


async def test_one_poll_carries_a_bounded_size_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVENT_BYTES_PER_POLL_MAX", 300)
    outbox = Outbox()
    for lease in ("a", "b"):
        for _ in range(2):
            outbox.emit(lease, "e", b'"' + b"x" * 98 + b'"')
    sizes = [[len(told.events) for told in outbox.compose().progress] for _ in range(2)]
    assert sizes == [[2, 0], [2]]
    assert outbox.empty


async def test_events_that_come_too_fast_are_counted_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "EVENTS_HELD_MAX", 2)
    outbox = Outbox()
    for number in range(5):
        outbox.emit("a", f"e{number}", b"")
    (told,) = outbox.compose().progress
    assert [event.name for event in told.events] == ["e0", "e1"]
    assert "3 events" in (told.log or "")


async def test_events_that_may_not_have_arrived_are_told_again_in_order() -> None:
    outbox = Outbox()
    outbox.emit("a", "first", b"")
    sent = outbox.compose().progress
    outbox.emit("a", "second", b"")
    outbox.put_back(sent)
    (told,) = outbox.compose().progress
    assert [event.name for event in told.events] == ["first", "second"]
