"""Percentiles, medians, and what a reader must know to read the numbers."""

import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

Figures = dict[str, Any]


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def quantiles(values: Sequence[float], parts: int = 100) -> list[float]:
    """Return the least value, the largest, and those between at equal shares."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [ordered[round(last * part / parts)] for part in range(parts + 1)]


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each number, and of lists of numbers place by place."""
    found: Figures = {}
    for key, value in runs[0].items():
        if isinstance(value, list):
            rows = zip(*(run[key] for run in runs), strict=True)
            found[key] = [median(places) for places in rows]
        elif isinstance(value, str):
            found[key] = value
        else:
            found[key] = median(run[key] for run in runs)
    return found


def machine(base: Path) -> Figures:
    """`base`: the directory whose disk is written to."""
    from headrace.store.lmdb import filesystem_of

    cpu = platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": filesystem_of(base.resolve()),
        "load_before": round(os.getloadavg()[0], 2),
    }
