"""The shapes of `/api/v1/stats`. Units: seconds; counts are since the start of the process."""

from typing import Any

import msgspec


class JobFigures(msgspec.Struct, kw_only=True):
    enqueued: int
    """Jobs accepted."""
    dequeued: int
    """Times a job was given to a worker."""
    completed: int
    failed: int
    """Jobs that failed for good."""
    timeout: int
    """Jobs that ran out of their time."""
    cancelled: int
    skipped: int
    """Jobs that ended without a run."""
    retried: int
    """Attempts that failed and are tried again."""
    crashed: int
    """Leases that lapsed: workers not heard of."""
    current_size: int
    """Jobs ready to run, now."""
    active_workers: int
    """Workers that hold jobs, now."""
    average_wait: float
    """Seconds from ready to lease."""
    average_processing: float
    """Seconds from lease to the end of an attempt."""


class SpanFigures(msgspec.Struct, kw_only=True):
    """Seconds. Quantiles are at most an eighth too high."""

    count: int
    average: float
    p50: float
    p90: float
    p99: float


class RecentFigures(msgspec.Struct, kw_only=True):
    window: int | float
    """Seconds that are looked back on."""
    wait: SpanFigures
    """From ready to lease."""
    processing: SpanFigures
    """From lease to the end of an attempt."""


class QueueFigures(msgspec.Struct, kw_only=True):
    name: str
    depth: int
    """Jobs that wait for a worker and for nothing else."""
    running: int
    """Jobs that workers hold."""
    capacity: int | None
    """Jobs that may run at once; null: no limit."""


class Sample(msgspec.Struct, kw_only=True):
    """How the server does, over the seconds before `at`."""

    at: float
    """Seconds since 1970."""
    submitted: float
    """Jobs a second, as the next three."""
    started: float
    """Times a job was given to a worker."""
    completed: float
    failed: float
    """Jobs that failed for good, or ran out of their time."""
    queued: int
    """Jobs that wait for a worker and for nothing else, now."""
    running: int
    """Jobs that workers hold, now."""
    scheduled: int
    initializing: int
    suspended: int
    workers: int
    """Workers heard of lately."""
    workers_busy: int
    wait_p50: float | None
    """Seconds from ready to lease, of what started within this sample; null: nothing did."""
    wait_p99: float | None
    run_p50: float | None
    """Seconds from lease to end, of what ended within this sample; null: nothing did."""
    run_p99: float | None
    commits: int
    """Since the start: the same number says that nothing has changed."""


class HistoryAnswer(msgspec.Struct, kw_only=True):
    every: float
    """Seconds from one sample to the next."""
    columns: dict[str, list[float | int | None]]
    """By the name of a field of a sample: its values, oldest first."""


class StatsAnswer(msgspec.Struct, kw_only=True):
    jobs: JobFigures
    recent: RecentFigures
    queues: list[QueueFigures]
    """Those that an operator has named, a hundred at most."""
    runtime: dict[str, Any]
    """The server's own counters, for people; names may change."""
    store: dict[str, Any]
