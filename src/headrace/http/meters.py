"""What is counted for `/metrics`, which `metrics` puts into Prometheus' words when asked for."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from headrace.core.stats import SpanView
from headrace.wire.documents import Kind

if TYPE_CHECKING:
    from headrace.runtime.node import Node

COMMIT_BUCKETS_S: Final = tuple(0.0001 * 2**k for k in range(16))
"""0.1 ms to 3.3 s."""
EFFECT_BUCKETS: Final = tuple(float(4**k) for k in range(9))
LAG_BUCKETS_S: Final = tuple(0.001 * 4**k for k in range(7))
"""1 ms to 4 s."""
QUEUES_SHOWN_MAX: Final = 100
"""Queues with figures of their own; those behind them are counted together."""
DEFAULT: Final = "default"
"""The queue that is always there."""
OTHER: Final = "(other)"
"""In the place of a queue's name: all those without figures of their own."""
_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")


class Meters:
    """Counts what HTTP and the pump see. One per server."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self.requests: dict[tuple[str, str], int] = {}
        """By route and class of status."""
        self.commits = Meter(COMMIT_BUCKETS_S)
        self.effects = Meter(EFFECT_BUCKETS)
        self.lag = Meter(LAG_BUCKETS_S)
        self.parse_errors = 0
        self.deadlines = 0
        """Connections closed because a header did not arrive in time."""
        self.unread = 0
        """Connections cut off because an answer was not read in time."""
        node.pump.on_commit = self._on_commit
        node.pump.on_lag = self.lag.add

    def count(self, route: str, status: int, requests: int = 1) -> None:
        key = (route, _CLASSES[status // 100 - 1])
        self.requests[key] = self.requests.get(key, 0) + requests

    def _on_commit(self, duration_s: float, effects: int) -> None:
        self.commits.add(duration_s)
        self.effects.add(effects)

    def queues(self) -> list[str]:
        """Return the queues that have figures of their own."""
        documents = self._node.store.documents.of(Kind.QUEUE)
        named = {*self._node.config.queue_capacities, *documents} - {DEFAULT, OTHER}
        return [DEFAULT, *sorted(named)[: QUEUES_SHOWN_MAX - 1]]


class Meter:
    """A histogram that is counted here."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


def spans_of(view: SpanView) -> tuple[int, int, int]:
    """Return the quantiles, in the order of their names."""
    return view.p50_ms, view.p90_ms, view.p99_ms
