"""Kill a program with a queue inside again and again, and check what it was told against what the
queue kept. `tools/crash --embedded` is this program.

Rules: an acknowledged job is there and ends (acked_lost); it ends with its own result
(wrong_result); an attempt runs once (attempt_ran_twice); nothing is there that nobody enqueued, and
nothing twice (two_jobs).
"""

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

PROGRAM = Path(__file__).with_name("embedded_program.py")
RUN_S = (0.05, 0.8)
START_S_MAX = 30.0
DRAIN_S_MAX = 120.0
NUMBERS_A_CYCLE = 1_000_000
OPEN = b"open\n"
"""A line of the history: the first of each life."""


class EmbeddedReport(msgspec.Struct):
    seed: int
    kills: int
    acked: int
    stored: int
    ran: int
    violations: list[str]
    seconds: float


def run(kills: int, seed: int, base: Path, *, eager: bool = False) -> EmbeddedReport:
    """A campaign in a new directory below `base`, which stays if something is found."""
    began_s = time.monotonic()
    dice = random.Random(seed)
    dir_ = Path(tempfile.mkdtemp(prefix="embedded-", dir=base))
    history = dir_ / "history"
    history.touch()
    for cycle in range(kills):
        before = history.stat().st_size
        child = _start(dir_, history, cycle * NUMBERS_A_CYCLE, "eager" if eager else "load")
        try:
            _until_open(child, history, before)
            time.sleep(dice.uniform(*RUN_S))
        finally:
            child.kill()
            child.wait()
    drain = _start(dir_, history, 0, "drain")
    try:
        code = drain.wait(DRAIN_S_MAX)
    finally:
        drain.kill()
    report = check(history)
    report.seed, report.kills = seed, kills
    if code != 0:
        report.violations.append(f"not_drained: exit code {code}")
    report.seconds = time.monotonic() - began_s
    if eager or not report.violations:
        shutil.rmtree(dir_)
    return report


def check(history: Path) -> EmbeddedReport:
    acked: dict[str, str] = {}
    ended: dict[str, list[str]] = {}
    ran: Counter[str] = Counter()
    for line in history.read_text().splitlines():
        word, *rest = line.split(" ")
        if word == "acked":
            acked[rest[0]] = rest[1]
        elif word == "ran":
            ran[rest[1]] += 1
        elif word == "ended":
            ended.setdefault(rest[0], []).append(" ".join(rest[1:]))
    violations = [f"attempt_ran_twice: {attempt}" for attempt, times in ran.items() if times > 1]
    violations += [f"two_jobs: {number}" for number, jobs in ended.items() if len(jobs) > 1]
    for number, job_id in acked.items():
        if number not in ended:
            violations.append(f"acked_lost: {number}")
        elif job_id and ended[number][0].split(" ")[0] != job_id:
            violations.append(f"two_jobs: {number}")
    for number, jobs in ended.items():
        if jobs[0].split(" ")[1:] != ["completed", str(int(number) * 2)]:
            violations.append(f"wrong_result: {number} {jobs[0]}")
    return EmbeddedReport(0, 0, len(acked), len(ended), ran.total(), violations, 0.0)


def _start(dir_: Path, history: Path, first: int, mode: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(dir_ / "jobs"), str(history), str(first), mode]
    )


def _until_open(child: "subprocess.Popen[bytes]", history: Path, before: int) -> None:
    """Wait until a line says so, behind so many bytes."""
    ends = time.monotonic() + START_S_MAX
    with history.open("rb") as lines:
        lines.seek(before)
        while OPEN not in lines.readline():
            if child.poll() is not None or time.monotonic() > ends:
                raise AssertionError("the queue did not open")
            time.sleep(0.01)


def show(report: EmbeddedReport) -> None:
    print(
        f"{report.kills} kills of a program with a queue inside: {report.acked} jobs acknowledged,"
        f" {report.stored} in the store, {report.ran} runs"
    )
    print(f"{len(report.violations)} violations, seed {report.seed}, {report.seconds:.0f} s")
    for line in report.violations[:20]:
        print(" ", line)
