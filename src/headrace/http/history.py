"""The last hour in samples, so that who opens the dashboard sees what came before.

A sample is taken every two seconds from counters that are kept anyway. Rates, waits and run times
are those of its two seconds: what the counters have grown by since the sample before.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from headrace.core.job import Status
from headrace.core.stats import span_quantiles
from headrace.wire.stats import HistoryAnswer, Sample

if TYPE_CHECKING:
    from headrace.runtime.pump import Pump

EVERY_S: Final = 2.0
SAMPLES: Final = 1_800
"""An hour; 16 numbers each."""
_COLUMNS: Final = Sample.__struct_fields__


class Follower(Protocol):
    """Who wants to know of new samples."""

    def touch(self) -> None:
        """There is one. Neither raises nor waits."""


class _Counters(msgspec.Struct, frozen=True):
    """What a sample is the difference of."""

    at_ms: int
    submitted: int
    started: int
    completed: int
    failed: int
    waits: list[int]
    """By `span_bucket`."""
    runs: list[int]


class History:
    """The samples of one server. In memory only."""

    def __init__(self, pump: "Pump", wall_ms: Callable[[], int]) -> None:
        self._pump = pump
        self._wall_ms = wall_ms
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self._before: _Counters | None = None
        self._followers: set[Follower] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.count = 0
        """Samples taken since the start: the number of the newest."""

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def follow(self, follower: Follower) -> None:
        self._followers.add(follower)

    def unfollow(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def newest(self) -> Sample | None:
        return self._samples[-1] if self._samples else None

    def answer(self) -> HistoryAnswer:
        """Return all samples, by columns. Cost: 1 ms when there is an hour of them."""
        columns = {name: [getattr(sample, name) for sample in self._samples] for name in _COLUMNS}
        return HistoryAnswer(every=EVERY_S, columns=columns)

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._look)
        self.take()

    def take(self) -> None:
        """Take a sample; the first look only begins the first one."""
        before, now = self._before, self._counters()
        if before is not None and now.at_ms > before.at_ms:
            self._samples.append(self._sample(before, now))
            self.count += 1
            for follower in self._followers:
                follower.touch()
        self._before = now

    def _counters(self) -> _Counters:
        stats = self._pump.stats().engine
        ended = stats.finished_total
        return _Counters(
            at_ms=self._wall_ms(),
            submitted=stats.submitted_total,
            started=stats.leased_total,
            completed=ended[Status.COMPLETED],
            failed=ended[Status.FAILED] + ended[Status.TIMEOUT],
            waits=self._pump.waits.whole()[0],
            runs=self._pump.runs.whole()[0],
        )

    def _sample(self, before: _Counters, now: _Counters) -> Sample:
        runtime = self._pump.stats()
        live = runtime.engine.live
        span_s = (now.at_ms - before.at_ms) / 1000

        def rate(counted: int, counted_before: int) -> float:
            return round((counted - counted_before) / span_s, 3)

        wait_p50, wait_p99 = _quantiles_s(before.waits, now.waits)
        run_p50, run_p99 = _quantiles_s(before.runs, now.runs)
        return Sample(
            at=now.at_ms / 1000,
            submitted=rate(now.submitted, before.submitted),
            started=rate(now.started, before.started),
            completed=rate(now.completed, before.completed),
            failed=rate(now.failed, before.failed),
            queued=live[Status.QUEUED] + live[Status.RESUMING],
            running=runtime.leases,
            scheduled=live[Status.SCHEDULED],
            initializing=live[Status.INITIALIZING],
            suspended=live[Status.SUSPENDED],
            workers=runtime.workers,
            workers_busy=runtime.workers_busy,
            wait_p50=wait_p50,
            wait_p99=wait_p99,
            run_p50=run_p50,
            run_p99=run_p99,
            commits=runtime.commits,
        )


def _quantiles_s(before: list[int], now: list[int]) -> tuple[float | None, float | None]:
    """Return half and all but 1 % of what was counted in between, in seconds."""
    grown = {
        bucket: count - was
        for bucket, (was, count) in enumerate(zip(before, now, strict=True))
        if count > was
    }
    if not grown:
        return None, None
    p50_ms, p99_ms = span_quantiles(grown, (50, 99))
    return p50_ms / 1000, p99_ms / 1000
