"""Which process computes, and whether it is gone."""

import time
from pathlib import Path

from processes import running_children

LOOK_S = 0.1
LOOKS = 5
"""A child that only starts computes too, but not for so many looks on end."""
BUSY_SHARE = 0.3
"""Of a processor that others may use as well."""
TICKS_PER_S = 100


def cpu_ticks(pid: int) -> int:
    """User and system time of a process; -1 if it is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if fields[0] in "ZX" else int(fields[11]) + int(fields[12])


def busiest_child(pid: int, timeout_s: float = 30.0) -> int:
    """Return the descendant that computes without a pause."""
    due_s = time.monotonic() + timeout_s
    streak: dict[int, int] = {}
    while time.monotonic() < due_s:
        before = {child: cpu_ticks(child) for child in running_children(pid)}
        time.sleep(LOOK_S)
        streak = {
            child: streak.get(child, 0) + 1
            for child, ticks in before.items()
            if ticks >= 0 and cpu_ticks(child) - ticks >= TICKS_PER_S * LOOK_S * BUSY_SHARE
        }
        for child, looks in streak.items():
            if looks >= LOOKS:
                return child
    raise AssertionError("no child computes")


def wait_gone(pid: int, timeout_s: float = 30.0) -> float:
    """Return how long it took until the process was gone."""
    began_s = time.monotonic()
    while cpu_ticks(pid) >= 0:
        if time.monotonic() - began_s > timeout_s:
            raise AssertionError(f"process {pid} still runs")
        time.sleep(0.001)
    return time.monotonic() - began_s
