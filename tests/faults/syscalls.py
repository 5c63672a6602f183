"""What strace saw: which bytes were on the disk when an answer left.

LMDB commits in three steps: the pages (writev or pwrite64), fdatasync, then the meta page through
a second descriptor that was opened with O_DSYNC. Only after the third is the commit durable.
"""

import re
import shutil
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import NamedTuple

import pytest

CALLS = "fdatasync,fsync,pwrite64,pwritev,pwritev2,writev,write,sendto,sendmsg"
STRINGS_BYTES = 4_000_000
"""Longer than any batch of a test, or strace would cut what is looked for."""
DATA_FILE = "data.mdb"

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_CALL = re.compile(r"(\w+)\((?:(\d+)<([^>]*)>)?(.*)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_WORD = re.compile(r'[\w-]{8,}(?:\\",\\"ok\\":true)?')
"""What can be looked for: an id or a value between quotes; a lease also as its ack has it."""
_ENDED = re.compile(r"<(\d+\.\d+)>$")
_UNFINISHED = "<unfinished ...>"


class Call(NamedTuple):
    began_s: float
    ended_s: float
    name: str
    fd: int
    file: str
    text: str


def strace(trace: Path, *more: str, calls: str = CALLS) -> tuple[str, ...]:
    """The words before a command that trace it into a file. Skips the test without strace."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    options = ("-f", "-y", "-ttt", "-T", "-s", str(STRINGS_BYTES), "-o", str(trace))
    return ("strace", *options, "-e", f"trace={calls}", *more)


def parse(trace: Path) -> list[Call]:
    calls: list[Call] = []
    begun: dict[str, tuple[float, str]] = {}
    for line in trace.read_text(errors="replace").splitlines():
        if (parts := _LINE.match(line)) is None:
            continue
        pid, at_s, rest = parts[1], float(parts[2]), parts[3]
        if rest.endswith(_UNFINISHED):
            begun[pid] = (at_s, rest.removesuffix(_UNFINISHED))
            continue
        began_s, ended_s = at_s, at_s
        if (resumed := _RESUMED.match(rest)) is not None:
            if pid not in begun:
                continue
            began_s, head = begun.pop(pid)
            rest = head + resumed[2]
        elif (ended := _ENDED.search(rest)) is not None:
            ended_s = at_s + float(ended[1])
        if (call := _CALL.match(rest)) is not None and call[2] is not None:
            calls.append(Call(began_s, ended_s, call[1], int(call[2]), call[3], call[4]))
    return sorted(calls)


def durable_at_s(calls: Iterable[Call], words: Iterable[str]) -> dict[str, float]:
    """For each word: when the commit that holds its page was whole on the disk."""
    waiting = set(words)
    assert all(map(_WORD.fullmatch, waiting))
    written: set[str] = set()
    synced: set[str] = set()
    durable: dict[str, float] = {}
    data_fd = -1
    for call in sorted(calls, key=lambda call: call.ended_s):
        if not call.file.endswith(DATA_FILE):
            continue
        if call.name == "fdatasync":
            if "= 0" in call.text:
                synced |= written
                written.clear()
            data_fd = call.fd
        elif call.fd == data_fd or "writev" in call.name:
            found = waiting.intersection(_WORD.findall(call.text))
            waiting -= found
            written |= found
        else:
            durable.update(dict.fromkeys(synced, call.ended_s))
            synced.clear()
    return durable


def told_at_s(calls: Iterable[Call], words: Iterable[str]) -> dict[str, float]:
    """For each word: when the first answer that holds it began to leave through a socket."""
    waiting = set(words)
    assert all(map(_WORD.fullmatch, waiting))
    told: dict[str, float] = {}
    for call in calls:
        if call.file.startswith("socket:") or call.file.startswith("TCP"):
            found = waiting.intersection(_WORD.findall(call.text))
            waiting -= found
            told.update(dict.fromkeys(found, call.began_s))
    return told


def early(calls: list[Call], proofs: dict[str, str]) -> list[str]:
    """I15: return the answers that left before what they say was durable.

    `proofs` maps what only the answer holds to what the committed page must hold.
    """
    durable = durable_at_s(calls, proofs.values())
    told = told_at_s(calls, proofs)
    assert told.keys() == proofs.keys(), "an answer is not in the trace"
    return [answer for answer, proof in proofs.items() if told[answer] < durable.get(proof, inf)]
