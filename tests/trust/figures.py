"""What campaigns reached: one line of JSON a run, in the file beside this one.

A campaign run with `--record` adds its line; `tools/trust` adds them up and prints the table.
"""

import argparse
import datetime
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

FILE: Final = Path(__file__).with_name("figures.jsonl")
_ROOT: Final = Path(__file__).resolve().parents[2]


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One run of one campaign."""

    campaign: str
    figure: int
    """How much of what the campaign counts: kills, cuts, states, requests."""
    violations: int
    seed: int
    seconds: float
    commit: str
    machine: str
    on: str
    """The day."""
    control: str = ""
    """The defect that was planted, and had to be found out; then `violations` is how it was."""


def offer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--record", action="store_true", help=f"add the figures to {FILE.relative_to(_ROOT)}"
    )


def record(
    campaign: str, figure: int, violations: int, seed: int, seconds: float, *, control: str = ""
) -> None:
    line = Line(
        campaign=campaign,
        figure=figure,
        violations=violations,
        seed=seed,
        seconds=round(seconds, 1),
        commit=_commit(),
        machine=_machine(),
        on=datetime.datetime.now(datetime.UTC).date().isoformat(),
        control=control,
    )
    with FILE.open("ab") as out:
        out.write(msgspec.json.encode(line) + b"\n")


def read(file: Path = FILE) -> Iterator[Line]:
    if file.exists():
        for line in file.read_bytes().splitlines():
            yield msgspec.json.decode(line, type=Line)


def _commit() -> str:
    command = ["git", "rev-parse", "--short=9", "HEAD"]
    told = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def _machine() -> str:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = " ".join(line.partition(":")[2].split())
            break
    return f"{os.cpu_count()} × {model}, Linux {platform.release().split('-')[0]}"
