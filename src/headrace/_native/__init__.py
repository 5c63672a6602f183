"""Compiled data structures, without I/O and without a clock.

`reference.py` holds a plain-Python twin of each; the tests compare the two.

**Invariant:** nothing here calls back into Python code, so a structure is never seen half changed.
"""

from headrace._native.heap import Heap
from headrace._native.jobs import JobTable
from headrace._native.match import MatchIndex
from headrace._native.timers import TimerIndex

__all__ = ["Heap", "JobTable", "MatchIndex", "TimerIndex"]
