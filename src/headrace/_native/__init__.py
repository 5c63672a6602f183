"""Compiled data structures, without I/O and without a clock.

`reference.py` and `reference_text.py` hold a plain-Python twin of each; the tests compare the two.

**Invariant:** nothing here calls back into Python code, so a structure is never seen half changed.
"""

from headrace._native.heap import Heap
from headrace._native.job_texts import JobTexts, job_texts, job_texts_each
from headrace._native.jobs import JobTable
from headrace._native.match import MatchIndex
from headrace._native.record import ORDER_BITS, RECORD_BYTES, RECORD_FORMAT, Job, learn_life
from headrace._native.restart import take_ready
from headrace._native.text import id_text, id_texts, ids_after, json_is_plain
from headrace._native.timers import TimerIndex
from headrace._native.token_text import Tokens

__all__ = [
    "ORDER_BITS",
    "RECORD_BYTES",
    "RECORD_FORMAT",
    "Heap",
    "Job",
    "JobTable",
    "JobTexts",
    "MatchIndex",
    "TimerIndex",
    "Tokens",
    "id_text",
    "id_texts",
    "ids_after",
    "job_texts",
    "job_texts_each",
    "json_is_plain",
    "learn_life",
    "take_ready",
]
