"""Counters that are right at any moment and cost nothing to read."""

from typing import Final

import msgspec

from headrace.core.job import TERMINAL, Status

RUN_BUCKETS_S: Final = tuple(1 << k for k in range(10))
"""Upper bounds of the run time histogram: 1·2^k seconds."""


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
