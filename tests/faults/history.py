"""What a client did and saw: one line an operation, written by the load, read by the checker.

Times are of the monotonic clock, which all processes of a machine share. An operation took effect
at one moment between `began_s` and `ended_s` (ok), not at all (fail), or, if its answer was lost
(info), at some moment after `began_s` or never.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

OK: Literal["ok"] = "ok"
FAIL: Literal["fail"] = "fail"
INFO: Literal["info"] = "info"

Result = Literal["ok", "fail", "info"]


class Given(msgspec.Struct, omit_defaults=True):
    """A job that a poll's answer held."""

    lease: str
    job_id: str
    attempt: int
    name: str
    intact: bool = True
    """The parameters are those that belong to the name."""


class Told(msgspec.Struct, omit_defaults=True):
    """A report of an attempt."""

    lease: str
    outcome: str
    value: str = ""
    """Its result; no two reports have the same, unless one is the repetition of the other. Empty:
    it has none."""
    again: bool = False
    """An answered report was followed by this one, with another value, which must not count."""


class Acked(msgspec.Struct, omit_defaults=True):
    """The answer to a report: the status of the job after it, or the problem's code."""

    lease: str
    status: str = ""
    code: str = ""


class Op(msgspec.Struct, omit_defaults=True, kw_only=True):
    kind: Literal[
        *("submit", "poll", "report", "cancel", "read", "retry", "suspend", "resume"),
        *("bulk", "document", "drain", "webhook"),
    ]
    began_s: float = 0.0
    ended_s: float = 0.0
    result: Result = INFO
    http: int = 0
    """Status of the answer; 0 for none."""
    names: list[str] = []
    """submit: of the jobs, each name belongs to one job that is to be."""
    after: dict[str, list[str]] = {}
    """submit: by name, ids of the jobs that a job runs after."""
    tags: dict[str, str] = {}
    """submit: by name, the tag of a job."""
    ids: list[str] = []
    """submit, ok: of the jobs; bulk, webhook, ok: its own; of an act on one job: of the job."""
    name: str = ""
    """poll, drain: of the worker; bulk: the tag; document: its path."""
    jobs_max: int = 0
    """poll."""
    told: list[Told] = []
    running: list[str] = []
    """poll, ok: leases that it keeps alive: nothing else was told of them."""
    given: list[Given] = []
    acked: list[Acked] = []
    status: str = ""
    """cancel, read, retry, suspend, resume, ok: of the job."""
    value: str = ""
    """read, ok: the job's result; bulk: the act; document, drain: what it says, empty: dropped;
    retry: the query."""


class Final(msgspec.Struct, omit_defaults=True):
    """A job as the store has it after the drain."""

    job_id: str
    name: str
    status: str
    attempt: int
    failures: int = 0
    crashes: int = 0
    value: str = ""
    code: str = ""
    intact: bool = True


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Op).decode


class Writer:
    def __init__(self, path: Path) -> None:
        self._out = path.open("ab", buffering=1 << 12)

    def add(self, op: Op) -> None:
        self._out.write(_encode(op) + b"\n")

    def close(self) -> None:
        self._out.close()


def read(paths: Iterable[Path]) -> Iterator[Op]:
    for path in paths:
        with path.open("rb") as lines:
            for line in lines:
                yield _decode(line)
