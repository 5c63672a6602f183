"""Counters that are right at any moment and cost nothing to read."""

from collections import deque
from typing import Final

import msgspec

from headrace._native import SPAN_BUCKETS, span_bucket
from headrace.core.job import TERMINAL, Status

RUN_BUCKETS_S: Final = tuple(1 << k for k in range(10))
"""Upper bounds of the run time histogram: 1·2^k seconds."""
SLICE_MS: Final = 30_000
SLICES: Final = 10
WINDOW_MS: Final = SLICE_MS * SLICES
"""What is recent: the last slices, of which the newest is under way."""


def span_bound_ms(bucket: int) -> int:
    """Return the longest duration in a bucket of `span_bucket`."""
    shift = max(0, bucket // 8 - 1)
    return (bucket - 8 * shift + 1) << shift


class SpanView(msgspec.Struct, frozen=True):
    """What durations were of late. Units: milliseconds; quantiles at most an eighth too high."""

    count: int = 0
    average_ms: float = 0.0
    p50_ms: int = 0
    p90_ms: int = 0
    p99_ms: int = 0


class _Slice(msgspec.Struct):
    """The durations of one stretch of time, by bucket."""

    number: int
    total_ms: int = 0
    counts: dict[int, int] = {}


class Spans:
    """A histogram of durations, since the start and over a window that slides.

    Only the newest slice is added to; those before it are put together when somebody reads.
    Cost: O(distinct buckets of a batch) to add to; to read, of the buckets in the window.
    """

    def __init__(self) -> None:
        self._before = _Slice(-1)
        """All that is older than the slices."""
        self._newest = _Slice(-1)
        self._slices: deque[_Slice] = deque([self._newest])

    def add(self, now_ms: int, counts: dict[int, int], total_ms: int) -> None:
        """Count the jobs of a batch by bucket."""
        newest = self._newest
        if now_ms // SLICE_MS != newest.number:
            newest = self._turn(now_ms // SLICE_MS)
        found = newest.counts
        for bucket, jobs in counts.items():
            found[bucket] = found.get(bucket, 0) + jobs
        newest.total_ms += total_ms

    def add_alike(self, now_ms: int, span_ms: int, jobs: int = 1) -> None:
        newest = self._newest
        if now_ms // SLICE_MS != newest.number:
            newest = self._turn(now_ms // SLICE_MS)
        bucket = span_bucket(span_ms)
        newest.counts[bucket] = newest.counts.get(bucket, 0) + jobs
        newest.total_ms += span_ms * jobs

    def _turn(self, number: int) -> _Slice:
        """Begin a slice."""
        if len(self._slices) == SLICES:
            _put_together(self._before, self._slices.popleft())
        self._newest = _Slice(number)
        self._slices.append(self._newest)
        return self._newest

    def whole(self) -> tuple[list[int], int]:
        """Return how many there were since the start by bucket, and their sum in ms."""
        whole = _Slice(-1)
        for part in (self._before, *self._slices):
            _put_together(whole, part)
        counts = [0] * SPAN_BUCKETS
        for bucket, jobs in whole.counts.items():
            counts[bucket] = jobs
        return counts, whole.total_ms

    def recent(self, now_ms: int) -> SpanView:
        oldest = now_ms // SLICE_MS - SLICES
        total_ms = 0
        counts: dict[int, int] = {}
        for part in self._slices:
            if part.number > oldest:
                total_ms += part.total_ms
                for bucket, jobs in part.counts.items():
                    counts[bucket] = counts.get(bucket, 0) + jobs
        jobs = sum(counts.values())
        if not jobs:
            return SpanView()
        p50_ms, p90_ms, p99_ms = span_quantiles(counts, (50, 90, 99))
        return SpanView(jobs, total_ms / jobs, p50_ms, p90_ms, p99_ms)


def span_quantiles(counts: dict[int, int], percents: tuple[int, ...]) -> list[int]:
    """Return durations in ms below which so many of a hundred are, by counts of `span_bucket`."""
    jobs = sum(counts.values())
    return _quantiles(counts, [-(-jobs * part // 100) for part in percents])


def _put_together(whole: _Slice, part: _Slice) -> None:
    for bucket, jobs in part.counts.items():
        whole.counts[bucket] = whole.counts.get(bucket, 0) + jobs
    whole.total_ms += part.total_ms


def _quantiles(counts: dict[int, int], ranks: list[int]) -> list[int]:
    """Return the bounds of the buckets with the jobs of these ranks, from 1, rising."""
    found: list[int] = []
    below = 0
    for bucket, jobs in sorted(counts.items()):
        below += jobs
        while len(found) < len(ranks) and ranks[len(found)] <= below:
            found.append(span_bound_ms(bucket))
    return found


class EngineStats(msgspec.Struct):
    """`live` is exact, restarts included; totals count since the start."""

    live: dict[Status, int] = msgspec.field(
        default_factory=lambda: {status: 0 for status in Status if status not in TERMINAL}
    )
    finished_total: dict[Status, int] = msgspec.field(
        default_factory=lambda: {status: 0 for status in Status if status in TERMINAL}
    )
    queued: dict[str, int] = {}
    """Jobs ready to be leased, by queue; queues without any are absent."""
    submitted_total: int = 0
    leased_total: int = 0
    retried_total: int = 0
    crashed_total: int = 0
    redriven_total: int = 0
    """Jobs that had ended and were asked to run again."""
    swept_total: int = 0
    """Finished jobs deleted because their time was over."""
    wait_ms_total: int = 0
    """Ready to leased, over `leased_total`."""
    run_ms_total: int = 0
    """Leased to the end, over jobs that a worker ended."""
    run_count: int = 0
    run_buckets: list[int] = msgspec.field(default_factory=lambda: [0] * len(RUN_BUCKETS_S))
    """Runs within each bound of `RUN_BUCKETS_S`, not cumulated."""

    def moved(self, old: Status, new: Status, jobs: int = 1) -> None:
        self.live[old] -= jobs
        if new in TERMINAL:
            self.finished_total[new] += jobs
        else:
            self.live[new] += jobs

    def redriven(self, new: Status) -> None:
        self.redriven_total += 1
        self.live[new] += 1

    def queue(self, queue: str, change: int) -> None:
        queued = self.queued
        count = queued.get(queue, 0) + change
        if count:
            queued[queue] = count
        else:
            del queued[queue]

    def ran(self, run_ms: int, jobs: int = 1) -> None:
        self.run_ms_total += run_ms * jobs
        self.run_count += jobs
        position = 0 if run_ms <= 1000 else ((run_ms - 1) // 1000).bit_length()
        if position < len(self.run_buckets):
            self.run_buckets[position] += jobs


class RuntimeStats(msgspec.Struct, frozen=True):
    """O(1) counters of the running node."""

    engine: EngineStats
    jobs: int
    leases: int
    workers: int
    parked_polls: int
    classes: int
    pending_commands: int
    commits: int
    stalled_ms: int
    workers_busy: int
    wait: SpanView
    """From ready to leased, of late."""
    run: SpanView
    """From leased to the end, of late."""
