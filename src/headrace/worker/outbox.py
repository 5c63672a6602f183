"""What the worker has to tell the server: ends of attempts, and news of those that run.

Reports stay here until the server has acknowledged them, and are sent again as often as it takes.
News are gathered per lease for a moment, so that a chatty handler costs few requests; a short job
that ends within that moment never sends any. Logs are bounded here as they are on the server.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final

import msgspec

from headrace.wire import limits
from headrace.wire.schema import ABSENT, Emitted, Progress, Report
from headrace.worker.attempt import sendable
from headrace.worker.handlers import JobFeed
from headrace.worker.python_runner import call_in

STARTED_DELAY_S: Final = 0.02
PROGRESS_DELAY_S: Final = 0.1
LOG_DELAY_S: Final = 0.2
EVENT_DELAY_S: Final = 0.05
EVENTS_HELD_MAX: Final = 1_000
"""Of one job, between two polls; what comes faster is lost, and the log says so."""
EVENT_BYTES_PER_POLL_MAX: Final = 8 * limits.MIB
LOG_HELD_CHARS_MAX: Final = limits.LOG_BYTES_MAX // 8
"""Of one job, between two polls; a job that logs faster loses the rest, and the log says so."""
REPORTS_PER_POLL_MAX: Final = 1_000
REPORT_BYTES_PER_POLL_MAX: Final = 16 * limits.MIB
NEWS_PER_POLL_MAX: Final = 1_000

assert LOG_HELD_CHARS_MAX * 4 * 2 <= limits.LOG_BYTES_MAX, "as UTF-8, and put back once"
assert REPORTS_PER_POLL_MAX <= limits.POLL_REPORTS_MAX
assert NEWS_PER_POLL_MAX <= limits.POLL_RUNNING_MAX
assert (
    REPORT_BYTES_PER_POLL_MAX + EVENT_BYTES_PER_POLL_MAX + NEWS_PER_POLL_MAX * 4 * limits.KIB
    < limits.BODY_BYTES_MAX
)


class News(msgspec.Struct):
    """Of one lease, not yet sent."""

    due: float
    """`time.monotonic()`"""
    started: bool = False
    fraction: float | None = None
    details: str | None = None
    log: list[str] = []
    log_chars: int = 0
    dropped_chars: int = 0
    events: list[Emitted] = []
    dropped_events: int = 0


class Batch(msgspec.Struct, frozen=True):
    """What one poll carries."""

    reports: list[Report] = []
    progress: list[Progress] = []

    def __bool__(self) -> bool:
        return bool(self.reports or self.progress)


class Outbox:
    """Fed from any thread; emptied on the agent's loop, on which it is made."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        """Set when something should be sent now."""
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._reports: dict[str, Report] = {}
        self._news: dict[str, News] = {}
        self._due = float("inf")
        self._timer: asyncio.TimerHandle | None = None

    def report(self, report: Report) -> None:
        """Keep the end of an attempt until it is acknowledged. Called on the loop."""
        with self._lock:
            news = self._news.get(report.lease)
            if news is not None:
                if news.log or news.events or news.dropped_events:
                    news.due = time.monotonic()
                    news.started, news.fraction, news.details = False, None, None
                else:
                    del self._news[report.lease]  # its end says it all
        self._reports[report.lease] = report
        self.ready.set()

    def started(self, lease: str) -> None:
        def change(news: News) -> None:
            news.started = True

        self._change(lease, STARTED_DELAY_S, change)

    def feed_of(self, lease: str, on_checkpoint: Callable[[bytes], None]) -> "AttemptFeed":
        return AttemptFeed(self, lease, on_checkpoint)

    def progress(self, lease: str, fraction: float | None, details: str | None) -> None:
        def change(news: News) -> None:
            news.fraction = fraction if fraction is not None else news.fraction
            news.details = details if details is not None else news.details

        self._change(lease, PROGRESS_DELAY_S, change)

    def log(self, lease: str, text: str) -> None:
        def change(news: News) -> None:
            room = LOG_HELD_CHARS_MAX - news.log_chars
            kept = text[:room] if room < len(text) else text
            if kept:
                news.log.append(kept)
                news.log_chars += len(kept)
            news.dropped_chars += len(text) - len(kept)

        self._change(lease, LOG_DELAY_S, change)

    def emit(self, lease: str, name: str, data: bytes) -> None:
        event = Emitted(name=name, data=msgspec.Raw(data) if data else ABSENT)

        def change(news: News) -> None:
            if len(news.events) < EVENTS_HELD_MAX:
                news.events.append(event)
            else:
                news.dropped_events += 1

        self._change(lease, EVENT_DELAY_S, change)

    def forget(self, lease: str) -> None:
        """Drop the news of a lease that is not ours any more."""
        with self._lock:
            self._news.pop(lease, None)

    def _change(self, lease: str, delay_s: float, change: Callable[[News], None]) -> None:
        due = time.monotonic() + delay_s
        with self._lock:
            news = self._news.get(lease)
            if news is None:
                news = self._news[lease] = News(due)
            change(news)
            news.due = min(news.due, due)
            wake = due < self._due
            if wake:
                self._due = due
        if wake:
            call_in(self._loop, self._arm)

    def _arm(self) -> None:
        with self._lock:
            due = self._due
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due < float("inf"):
            self._timer = self._loop.call_later(max(0.0, due - time.monotonic()), self.ready.set)

    # The agent's side.

    @property
    def empty(self) -> bool:
        return not self._reports and not self._news

    @property
    def waiting(self) -> int:
        return len(self._reports)

    def compose(self, *, reports_max: int = REPORTS_PER_POLL_MAX) -> Batch:
        """Take what the next poll says. News are taken out; reports stay until acknowledged."""
        with self._lock:
            progress = []
            event_bytes = 0
            for lease in list(self._news)[:NEWS_PER_POLL_MAX]:
                news = self._news.pop(lease)
                told, rest = _cut(news.events, EVENT_BYTES_PER_POLL_MAX - event_bytes)
                event_bytes += sum(map(_event_bytes, told))
                news.events = told
                progress.append(_progress(lease, news))
                if rest:  # the next poll's
                    self._news[lease] = News(time.monotonic(), events=rest)
            self._due = min((news.due for news in self._news.values()), default=float("inf"))
        self._arm()
        # The server reads the news of a poll before its reports, so a last piece of log goes with
        # the report; and without it where one poll cannot carry all the news.
        reports: list[Report] = []
        held_back = False
        size = 0
        for report in self._reports.values():
            if report.lease in self._news:
                held_back = True
                continue
            size += _report_bytes(report)
            if reports and (size > REPORT_BYTES_PER_POLL_MAX or len(reports) >= reports_max):
                held_back = True
                break
            reports.append(report)
        if held_back or self._news:
            self.ready.set()
        else:
            self.ready.clear()
        return Batch(reports, progress)

    def acknowledged(self, lease: str) -> Report | None:
        return self._reports.pop(lease, None)

    def replace(self, report: Report) -> None:
        """Put another report in the place of one that the server cannot read."""
        self._reports[report.lease] = report
        self.ready.set()

    def put_back(self, progress: Iterable[Progress]) -> None:
        """Keep news that may not have arrived, older than what has come since."""
        for sent in progress:

            def change(news: News, sent: Progress = sent) -> None:
                news.started = news.started or sent.started
                news.fraction = sent.progress if news.fraction is None else news.fraction
                news.details = sent.details if news.details is None else news.details
                news.events = [*sent.events, *news.events]
                if sent.log is not None:
                    news.log.insert(0, sent.log)
                    news.log_chars += len(sent.log)  # beyond the bound nothing is added

            self._change(sent.lease, 0.0, change)


class AttemptFeed(JobFeed):
    """The news of one attempt. Nothing passes once the attempt is closed."""

    def __init__(self, outbox: Outbox, lease: str, on_checkpoint: Callable[[bytes], None]) -> None:
        self._outbox = outbox
        self._lease = lease
        self._on_checkpoint = on_checkpoint
        self._log_chars_left: int = limits.LOG_BYTES_MAX
        self._closed = False

    def started(self) -> None:
        self._outbox.started(self._lease)

    def progress(self, fraction: float | None, details: str | None) -> None:
        if not self._closed:
            self._outbox.progress(self._lease, fraction, details)

    def log(self, text: str) -> None:
        if self._closed or not text or self._log_chars_left < 0:
            return
        self._log_chars_left -= len(text)  # the server cuts exactly, and marks the cut
        self._outbox.log(self._lease, text)

    def checkpoint(self, value: bytes) -> None:
        if not self._closed:
            self._on_checkpoint(value)

    def emit(self, name: str, data: bytes) -> None:
        if not self._closed:
            self._outbox.emit(self._lease, name, data)

    def close(self) -> None:
        self._closed = True


def _progress(lease: str, news: News) -> Progress:
    log = "".join(news.log)
    if news.dropped_chars:
        log += f"\n[headrace: {news.dropped_chars} characters of log came too fast and are lost]\n"
    if news.dropped_events:
        log += f"\n[headrace: {news.dropped_events} events came too fast and are lost]\n"
    return Progress(
        lease=lease,
        started=news.started,
        progress=news.fraction,
        details=None if news.details is None else sendable(news.details),
        log=sendable(log) or None,
        events=news.events,
    )


def _cut(events: list[Emitted], room: int) -> tuple[list[Emitted], list[Emitted]]:
    """Part events into what one poll carries of a lease, and the rest."""
    for count, event in enumerate(events):
        room -= _event_bytes(event)
        if count >= limits.EVENTS_PER_NEWS_MAX or room < 0:
            return events[:count], events[count:]
    return events, []


def _event_bytes(event: Emitted) -> int:
    return len(event.name) + len(bytes(event.data)) + 32


def _report_bytes(report: Report) -> int:
    return (
        len(bytes(report.result))
        + len(bytes(report.checkpoint))
        + len(report.output or "")
        + len(report.error or "")
        + 200
    )
