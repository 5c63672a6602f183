"""Compiled data structures, without I/O and without a clock.

`reference.py` and the files named like it hold a plain-Python twin of each; the tests compare the
two.

**Invariant:** nothing here calls back into Python code, so a structure is never seen half changed.
"""

from headrace._native.heap import Heap
from headrace._native.job_texts import JobTexts, job_texts, job_texts_each
from headrace._native.jobs import JobTable
from headrace._native.leases import SPAN_BUCKETS, Held, Holder, Lease, LeaseTable, span_bucket
from headrace._native.match import MatchIndex
from headrace._native.poll_texts import acks_json, reports_read, work_json
from headrace._native.record import (
    ID_BYTES,
    ORDER_BITS,
    RECORD_BYTES,
    RECORD_FORMAT,
    Job,
    learn_life,
)
from headrace._native.restart import take_ready
from headrace._native.text import (
    id_text,
    id_texts,
    ids_after,
    instant_text,
    json_is_plain,
)
from headrace._native.timers import TimerIndex
from headrace._native.token_text import TOKEN_CHARS, Tokens

__all__ = [
    "ID_BYTES",
    "ORDER_BITS",
    "RECORD_BYTES",
    "RECORD_FORMAT",
    "SPAN_BUCKETS",
    "TOKEN_CHARS",
    "Heap",
    "Held",
    "Holder",
    "Job",
    "JobTable",
    "JobTexts",
    "Lease",
    "LeaseTable",
    "MatchIndex",
    "TimerIndex",
    "Tokens",
    "acks_json",
    "id_text",
    "id_texts",
    "ids_after",
    "instant_text",
    "job_texts",
    "job_texts_each",
    "json_is_plain",
    "learn_life",
    "reports_read",
    "span_bucket",
    "take_ready",
    "work_json",
]
