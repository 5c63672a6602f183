"""`/metrics`: counters that others keep, shown in Prometheus' words when asked for.

Labels hold statuses, routes and status classes: words of this program, never a client's, so their
number is bounded.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from headrace.core.job import Status
from headrace.core.stats import RUN_BUCKETS_S
from headrace.http.views import word

if TYPE_CHECKING:
    from headrace.runtime.node import Node

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
COMMIT_BUCKETS_S: Final = tuple(0.0001 * 2**k for k in range(16))
"""0.1 ms to 3.3 s."""
_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")


class Meters(Collector):
    """Counts what HTTP sees, and reads the rest from the node. One per server."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._prefix = node.config.metric_prefix
        self._requests: dict[tuple[str, str], int] = {}
        self._commits = [0] * (len(COMMIT_BUCKETS_S) + 1)
        self._commit_s_total = 0.0
        self._effects = 0
        self.parse_errors = 0
        self.deadlines = 0
        """Connections closed because a header did not arrive in time."""
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        node.pump.on_commit = self._on_commit

    def count(self, route: str, status: int, requests: int = 1) -> None:
        key = (route, _CLASSES[status // 100 - 1])
        self._requests[key] = self._requests.get(key, 0) + requests

    def _on_commit(self, duration_s: float, effects: int) -> None:
        self._commits[bisect_left(COMMIT_BUCKETS_S, duration_s)] += 1
        self._commit_s_total += duration_s
        self._effects += effects

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._jobs()
        yield from self._server()

    def _jobs(self) -> Iterator[Metric]:
        stats = self._node.pump.stats().engine
        finished = stats.finished_total
        totals = (
            ("jobs_submitted", "Jobs accepted", stats.submitted_total),
            ("jobs_completed", "Jobs that completed", finished[Status.COMPLETED]),
            ("jobs_failed", "Jobs that failed for good", finished[Status.FAILED]),
            ("jobs_timeout", "Jobs that ran out of their time", finished[Status.TIMEOUT]),
            ("jobs_cancelled", "Jobs cancelled", finished[Status.CANCELLED]),
            ("jobs_skipped", "Jobs whose deadline to start passed", finished[Status.SKIPPED]),
            ("jobs_leased", "Jobs given to a worker", stats.leased_total),
            ("jobs_retried", "Attempts that failed and are tried again", stats.retried_total),
            ("jobs_crashed", "Leases that lapsed", stats.crashed_total),
        )
        for name, text, value in totals:
            yield CounterMetricFamily(f"{self._prefix}_{name}", text, value)
        depth = sum(stats.queued.values())
        yield GaugeMetricFamily(f"{self._prefix}_job_queue_depth", "Jobs ready to run", depth)
        live = GaugeMetricFamily(
            f"{self._prefix}_jobs_live", "Jobs that have not ended", labels=["status"]
        )
        for status, count in stats.live.items():
            live.add_metric([word(status)], count)
        yield live
        yield _histogram(
            f"{self._prefix}_job_processing_seconds",
            "From lease to end of an attempt",
            [float(bound) for bound in RUN_BUCKETS_S],
            [*stats.run_buckets, stats.run_count - sum(stats.run_buckets)],
            stats.run_ms_total / 1000,
        )
        yield CounterMetricFamily(
            f"{self._prefix}_job_wait_seconds",
            "From ready to leased, summed over jobs_leased_total",
            stats.wait_ms_total / 1000,
        )

    def _server(self) -> Iterator[Metric]:
        runtime = self._node.pump.stats()
        stored = self._node.store.stats()
        gauges = (
            ("workers", "Workers heard of lately", runtime.workers),
            ("parked_polls", "Polls that wait for work", runtime.parked_polls),
            ("leases", "Jobs in workers' hands", runtime.leases),
            ("pending_commands", "Commands that wait for a commit", runtime.pending_commands),
            ("store_bytes", "Size of the store", stored.bytes_used),
            ("store_bytes_free", "Space left for the store", stored.bytes_free),
            ("store_jobs_finished", "Finished jobs kept", stored.jobs_finished),
        )
        for name, text, value in gauges:
            yield GaugeMetricFamily(f"{self._prefix}_{name}", text, value)
        counters: tuple[tuple[str, str, float], ...] = (
            ("corrupt_records", "Rows met that fail their checksum", stored.corrupt_records),
            ("effects_committed", "Effects made durable", self._effects),
            ("stalled_seconds", "Time in which no lease could lapse", runtime.stalled_ms / 1000),
            ("http_parse_errors", "Requests that were not HTTP", self.parse_errors),
            ("http_deadlines", "Connections closed for a late header", self.deadlines),
        )
        for name, text, total in counters:
            yield CounterMetricFamily(f"{self._prefix}_{name}", text, total)
        requests = CounterMetricFamily(
            f"{self._prefix}_http_requests", "Requests answered", labels=["route", "status"]
        )
        for (route, status), count in sorted(self._requests.items()):
            requests.add_metric([route, status], count)
        yield requests
        yield _histogram(
            f"{self._prefix}_commit_seconds",
            "Duration of a commit",
            list(COMMIT_BUCKETS_S),
            self._commits,
            self._commit_s_total,
        )


def _histogram(
    name: str, text: str, bounds: list[float], counts: list[int], total: float
) -> HistogramMetricFamily:
    """`counts`: per bucket, the last one beyond all bounds."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip([*map(_bound_text, bounds), "+Inf"], counts, strict=True):
        below += count
        buckets.append((bound, below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=total)


def _bound_text(bound: float) -> str:
    return repr(float(f"{bound:.6g}"))
