"""`/metrics`: counters that others keep, shown in Prometheus' words when asked for.

Labels hold statuses, routes, status classes and the queues that an operator has named: never a
client's words, so their number is bounded. `src/headrace/docs/metrics.md` lists all metrics.

Imported by the first request for them: a start need not wait for the library.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from headrace.core.job import Status
from headrace.core.stats import RUN_BUCKETS_S, WINDOW_MS, span_bound_ms
from headrace.http.meters import OTHER, Meters, spans_of
from headrace.http.views import word

if TYPE_CHECKING:
    from headrace.runtime.node import Node

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
WAIT_BUCKETS_MS: Final = tuple(4**k for k in range(13))
"""1 ms to 4.7 hours."""
_QUANTILES: Final = ("0.5", "0.9", "0.99")
_WINDOW: Final = f"{WINDOW_MS // 60_000} minutes"


class Metrics(Collector):
    """All figures of a server, as they are when it is asked."""

    def __init__(self, node: "Node", meters: Meters) -> None:
        self._node = node
        self._meters = meters
        self._prefix = node.config.metric_prefix

    def text(self) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._jobs()
        yield from self._queues()
        yield from self._server()
        yield from self._webhooks()

    def _jobs(self) -> Iterator[Metric]:
        runtime = self._node.pump.stats()
        stats = runtime.engine
        finished = stats.finished_total
        yield from self._counters(
            ("jobs_submitted", "Jobs accepted", stats.submitted_total),
            ("jobs_enqueued", "The same as jobs_submitted", stats.submitted_total),
            ("jobs_leased", "Times a job was given to a worker", stats.leased_total),
            ("jobs_dequeued", "The same as jobs_leased", stats.leased_total),
            ("jobs_completed", "Jobs that completed", finished[Status.COMPLETED]),
            ("jobs_failed", "Jobs that failed for good", finished[Status.FAILED]),
            ("jobs_timeout", "Jobs that ran out of their time", finished[Status.TIMEOUT]),
            ("jobs_cancelled", "Jobs cancelled", finished[Status.CANCELLED]),
            ("jobs_skipped", "Jobs that ended without a run", finished[Status.SKIPPED]),
            ("jobs_retried", "Attempts that failed and are tried again", stats.retried_total),
            ("jobs_redriven", "Jobs that had ended and run again", stats.redriven_total),
            ("jobs_crashed", "Leases that lapsed: workers not heard of", stats.crashed_total),
            ("jobs_swept", "Finished jobs deleted after their retention", stats.swept_total),
        )
        yield from self._gauges(
            ("job_queue_depth", "Jobs ready to run", sum(stats.queued.values())),
            ("leases", "Jobs in workers' hands", runtime.leases),
            ("workers", "Workers heard of lately", runtime.workers),
            ("workers_active", "Workers that hold jobs", runtime.workers_busy),
            ("parked_polls", "Polls that wait for work", runtime.parked_polls),
        )
        live = self._gauge("jobs_live", "Jobs that have not ended, by status", "status")
        for status, count in stats.live.items():
            live.add_metric([word(status)], count)
        yield live
        yield _histogram(
            f"{self._prefix}_job_processing_seconds",
            "From lease to end of an attempt, in seconds",
            [float(bound) for bound in RUN_BUCKETS_S],
            [*stats.run_buckets, stats.run_count - sum(stats.run_buckets)],
            stats.run_ms_total / 1000,
        )
        waits, waits_ms = self._node.pump.waits.whole()
        runs, runs_ms = self._node.pump.runs.whole()
        yield _histogram(
            f"{self._prefix}_job_wait_seconds",
            "From ready to lease, in seconds",
            [bound_ms / 1000 for bound_ms in WAIT_BUCKETS_MS],
            _regrouped(waits, WAIT_BUCKETS_MS),
            waits_ms / 1000,
        )
        for name, text, view, counts, total_ms in (
            ("job_wait", "From ready to lease", runtime.wait, waits, waits_ms),
            ("job_processing", "From lease to end of an attempt", runtime.run, runs, runs_ms),
        ):
            yield GaugeMetricFamily(
                f"{self._prefix}_{name}_average_seconds",
                f"{text}, average of the last {_WINDOW}, in seconds",
                view.average_ms / 1000,
            )
            recent = SummaryMetricFamily(
                f"{self._prefix}_{name}_recent_seconds",
                f"{text}, quantiles of the last {_WINDOW}, in seconds",
                sum(counts),
                total_ms / 1000,
            )
            for quantile, found_ms in zip(_QUANTILES, spans_of(view), strict=True):
                recent.add_sample(recent.name, {"quantile": quantile}, found_ms / 1000)
            yield recent

    def _queues(self) -> Iterator[Metric]:
        """Of queues that an operator has named, and the rest together: clients name others."""
        depth = self._gauge("queue_depth", "Jobs of a queue that are ready to run", "queue")
        running = self._gauge("queue_running", "Jobs of a queue in workers' hands", "queue")
        capacity = self._gauge(
            "queue_capacity", "Jobs of a queue that may run at once, if there is a limit", "queue"
        )
        runtime = self._node.pump.stats()
        depth_rest, running_rest = sum(runtime.engine.queued.values()), runtime.leases
        for name in self._meters.queues():
            waiting, held = self._node.pump.queue_counts(name)
            depth_rest, running_rest = depth_rest - waiting, running_rest - held
            depth.add_metric([name], waiting)
            running.add_metric([name], held)
            most = self._node.pump.queue_capacity(name)
            if most is not None:
                capacity.add_metric([name], most)
        depth.add_metric([OTHER], depth_rest)
        running.add_metric([OTHER], running_rest)
        yield from (depth, running, capacity)

    def _server(self) -> Iterator[Metric]:
        runtime = self._node.pump.stats()
        stored = self._node.store.stats()
        yield from self._gauges(
            ("pending_commands", "Commands that wait for a commit", runtime.pending_commands),
            ("store_bytes", "Size of the store, in bytes", stored.bytes_used),
            ("store_bytes_free", "Space left for the store, in bytes", stored.bytes_free),
            ("store_jobs_live", "Unfinished jobs in the store", stored.jobs_live),
            ("store_jobs_finished", "Finished jobs kept in the store", stored.jobs_finished),
        )
        yield from self._counters(
            ("corrupt_records", "Rows met that fail their checksum", stored.corrupt_records),
            (
                "stalled_seconds",
                "Time in which no lease could lapse, in seconds",
                runtime.stalled_ms / 1000,
            ),
            ("http_parse_errors", "Requests that were not HTTP", self._meters.parse_errors),
            ("http_deadlines", "Connections closed for a late header", self._meters.deadlines),
            (
                "http_unread",
                "Connections cut off since an answer was not read",
                self._meters.unread,
            ),
        )
        requests = CounterMetricFamily(
            f"{self._prefix}_http_requests",
            "Requests answered, by route and class of status",
            labels=["route", "status"],
        )
        for (route, status), count in sorted(self._meters.requests.items()):
            requests.add_metric([route, status], count)
        yield requests
        for name, text, meter in (
            ("commit_seconds", "Duration of a commit, in seconds", self._meters.commits),
            ("commit_effects", "Changes made durable by one commit", self._meters.effects),
            (
                "loop_lag_seconds",
                "How late the event loop comes to a timer, in seconds",
                self._meters.lag,
            ),
        ):
            yield _histogram(
                f"{self._prefix}_{name}", text, list(meter.bounds), meter.counts, meter.total
            )

    def _webhooks(self) -> Iterator[Metric]:
        sent = self._node.hooks.totals()
        yield from self._gauges(
            ("webhook_deliveries_pending", "Deliveries to webhooks that wait", sent.pending),
            ("webhook_requests_in_flight", "Requests to webhooks that are out", sent.in_flight),
        )
        yield from self._counters(
            ("webhook_deliveries", "Deliveries that receivers have", sent.delivered),
            ("webhook_failures", "Requests to webhooks without success", sent.failed),
            ("webhook_given_up", "Deliveries given up", sent.dead),
            (
                "webhook_dropped",
                "Deliveries not made, since too many waited",
                self._node.hooks.dropped,
            ),
            ("webhook_disabled", "Webhooks disabled by their receivers", sent.disabled),
        )

    def _counters(self, *rows: tuple[str, str, float]) -> Iterator[Metric]:
        for name, text, value in rows:
            yield CounterMetricFamily(f"{self._prefix}_{name}", text, value)

    def _gauges(self, *rows: tuple[str, str, float]) -> Iterator[Metric]:
        for name, text, value in rows:
            yield GaugeMetricFamily(f"{self._prefix}_{name}", text, value)

    def _gauge(self, name: str, text: str, label: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._prefix}_{name}", text, labels=[label])


def _regrouped(counts: list[int], bounds_ms: Sequence[int]) -> list[int]:
    """Return the counts of `span_bucket`s by larger ones, whose bounds are bounds of theirs."""
    grouped = [0] * (len(bounds_ms) + 1)
    for bucket, count in enumerate(counts):
        if count:
            grouped[bisect_left(bounds_ms, span_bound_ms(bucket))] += count
    return grouped


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
