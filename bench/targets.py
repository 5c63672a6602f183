"""What headrace is to reach, and whether it does. Ratios are taken run by run; their median counts.

python bench/targets.py          judges bench/results/e2e.json and the results beside it
"""

import sys
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

from rig import load

Results = dict[str, Any]
OURS = "headrace"
FRAMEWORKS = ("rq", "dramatiq", "celery")
KIB = 1_024


class Target(NamedTuple):
    row: str
    kind: str
    """must, or want."""
    what: str
    unit: str
    bound: float
    at_least: bool
    found: Callable[[Results], float | None]


def ours(row: str, key: str = "value") -> Callable[[Results], float | None]:
    def found(results: Results) -> float | None:
        value: float | None = systems(results, row).get(OURS, {}).get(key)
        return value

    return found


def ratio(row: str, *peers: str) -> Callable[[Results], float | None]:
    """Of headrace to a peer; of several, to the quickest."""

    def found(results: Results) -> float | None:
        measured = systems(results, row)
        runs = [measured[peer]["runs"] for peer in peers if peer in measured]
        if not runs or OURS not in measured:
            return None
        best = [max(values) for values in zip(*runs, strict=False)]
        pairs = zip(measured[OURS]["runs"], best, strict=False)
        return median(mine / theirs for mine, theirs in pairs)

    return found


def systems(results: Results, row: str) -> dict[str, Any]:
    found: dict[str, Any] = results.get("rows", {}).get(row, {}).get("systems", {})
    return found


def restart(jobs: int, key: str = "value") -> Callable[[Results], float | None]:
    """Of W7 with so many jobs, from the full run or from `--scale`."""

    def found(results: Results) -> float | None:
        for candidate in (results, load("scale") or {}):
            measured = systems(candidate, "W7").get(OURS)
            if measured is not None and measured["jobs"] == jobs:
                return float(measured[key])
        return None

    return found


def native(
    section: str, key: str, pick: Callable[[list[float]], float] = max, **where: Any
) -> Callable[[Results], float | None]:
    """Of bench/results/native.json: one figure of the rows that fit."""

    def found(_: Results) -> float | None:
        rows = (load("native") or {}).get(section, [])
        values = [
            row[key]
            for row in rows
            if key in row and all(row.get(name) == value for name, value in where.items())
        ]
        return pick(values) if values else None

    return found


def depth_growth(results: Results) -> float | None:
    small = native("depth", "take_ns", jobs=1_000)(results)
    large = native("depth", "take_ns", jobs=10_000_000)(results)
    return None if small is None or large is None else large / small


def parked(key: str, per: float = 1) -> Callable[[Results], float | None]:
    def found(_: Results) -> float | None:
        rows = [
            row for row in (load("polls") or {}).get("rows", {}).values() if row["polls"] >= 9_000
        ]
        return max(row[key] for row in rows) / per if rows else None

    return found


REDIS, BEANSTALKD = "redis-always", "beanstalkd-memory"
TARGETS = (
    Target("W1", "must", "of bare aiohttp", "×", 2.0, True, ratio("W1", "aiohttp")),
    Target("W1", "want", "of Redis Streams, always", "×", 1.0, True, ratio("W1", REDIS)),
    Target("W2", "must", "of Redis Streams, always", "×", 1.25, True, ratio("W2", REDIS)),
    Target("W2", "must", "of beanstalkd in memory", "×", 2.0, True, ratio("W2", BEANSTALKD)),
    Target("W2", "want", "submitted", "jobs/s", 500_000, True, ours("W2")),
    Target("W3", "must", "of Redis Streams, always", "×", 1.0, True, ratio("W3", REDIS)),
    Target("W3", "want", "drained", "jobs/s", 250_000, True, ours("W3")),
    Target("W4", "must", "of Redis Streams, always", "×", 1.0, True, ratio("W4", REDIS)),
    Target("W4", "must", "of beanstalkd in memory", "×", 2.0, True, ratio("W4", BEANSTALKD)),
    Target("W4", "must", "of the quickest framework", "×", 20.0, True, ratio("W4", *FRAMEWORKS)),
    Target("W4", "want", "end to end", "jobs/s", 150_000, True, ours("W4")),
    Target("W5", "must", "start, p50", "ms", 1.0, False, ours("W5")),
    Target("W5", "must", "result, p50", "ms", 1.6, False, ours("W5", "result_p50_ms")),
    Target("W5", "must", "start, p99", "ms", 5.0, False, ours("W5", "start_p99_ms")),
    Target("W5", "must", "result, p99", "ms", 5.0, False, ours("W5", "result_p99_ms")),
    Target("W5", "want", "start, p50", "ms", 0.34, False, ours("W5")),
    Target("W5", "want", "result, p50", "ms", 0.57, False, ours("W5", "result_p50_ms")),
    Target("W6", "must", "a queued job", "bytes", 160, False, ours("W6")),
    Target("W6", "want", "a queued job", "bytes", 100, False, ours("W6")),
    Target("W7", "must", "restart with 10⁶ jobs", "s", 1.0, False, restart(10**6)),
    Target("W7", "must", "restart with 10⁷ jobs", "s", 5.0, False, restart(10**7)),
    Target("W7", "must", "jobs lost", "jobs", 0, False, ours("W7", "lost")),
    Target("W7", "want", "restart with 10⁶ jobs", "s", 0.3, False, restart(10**6)),
    Target(
        *("W8", "must", "a take at 10⁶ jobs, 100 classes", "ns", 400, False),
        native("depth", "take_ns", jobs=10**6),
    ),
    Target(
        *("W8", "must", "the same in a batch of 100", "ns", 150, False),
        native("depth", "batch_ns", jobs=10**6),
    ),
    Target("W8", "must", "a take at 10⁷ over one at 10³", "×", 3.0, False, depth_growth),
    Target(
        *("W8", "must", "p99 of a take, 10⁵ classes", "ns", 20_000, False),
        native("classes", "take_p99_ns", classes=10**5),
    ),
    Target(
        *("idle", "must", "a parked poll", "KiB", 15, False), parked("private_bytes_per_poll", KIB)
    ),
    Target("idle", "must", "wake-up, p99", "ms", 50, False, parked("wake_p99_ms")),
)


def evaluate(results: Results) -> list[dict[str, Any]]:
    """Return a row for each target; `met` is None where nothing was measured."""
    judged = []
    for target in TARGETS:
        found = target.found(results)
        met = None
        if found is not None:
            met = found >= target.bound if target.at_least else found <= target.bound
        sign = "≥" if target.at_least else "≤"
        judged.append(
            {
                "row": target.row,
                "kind": target.kind,
                "what": target.what,
                "unit": target.unit,
                "bound": f"{sign} {target.bound:,g}",
                "found": found,
                "met": met,
                "verdict": verdict(target, found, met),
            }
        )
    return judged


def verdict(target: Target, found: float | None, met: bool | None) -> str:
    if found is None:
        return "not measured"
    if met:
        return "met"
    if not target.bound:
        return f"missed by {found:,.0f}"
    away = found / target.bound
    return f"missed by {1 - away:.0%}" if target.at_least else f"missed: {away:.2f} × the bound"


def main() -> int:
    results = load("e2e")
    if results is None:
        print("there is no bench/results/e2e.json; bench/bench_e2e.py writes it")
        return 2
    for row in evaluate(results):
        found = "" if row["found"] is None else f"{row['found']:,.2f}"
        print(
            f"{row['row']:<5}{row['kind']:<5}{row['what']:<34}"
            f"{row['bound'] + ' ' + row['unit']:<18}{found:>12}  {row['verdict']}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
