"""What runs of campaigns reached: a file of JSON for each, in a directory that it is told.

A campaign that is run with `--figures DIR` leaves a file there; `tools/trust` runs campaigns so,
adds the files up, and prints the table.
"""

import argparse
import datetime
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = Path(__file__).with_name("figures.jsonl")
"""What is kept for good: the table is made of it."""
SHIPPED: Final = ("src/headrace", "ext", "setup.py")
"""What a campaign tests: the commit that counts is the last that changed it."""
SIMULATED: Final = frozenset({"simulation", "mutants"})
"""Campaigns that run no process: of what is shipped they run all but these packages."""
FACES: Final = ("bench", "cli", "dashboard", "docs", "embedded", "http", "sdk", "worker")


class Figures(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One run of one campaign, or of one of its controls."""

    campaign: str
    amount: int
    """How much of what the campaign counts: lives, cuts, states, steps, requests."""
    violations: int
    seed: int
    """The first; or where in a fixed order of cases it began."""
    seeds: int = 1
    """How many, one after the other."""
    seconds: float
    control: str = ""
    """The defect that was planted. Then `violations` is by how many it was found out: 0 is bad."""
    commit: str = ""
    """The last that changed what is shipped; `+` behind it: and it has been changed since."""
    machine: str = ""
    on: str = ""
    """The day."""


def offer(parser: argparse.ArgumentParser, defects: Iterable[str] = ()) -> None:
    """Give a campaign's parser the options that it has as one: where its figures go, and which of
    these defects to plant."""
    parser.add_argument("--figures", type=Path, metavar="DIR", help="leave a file of figures there")
    if defects:
        parser.add_argument(
            "--control",
            choices=tuple(defects),
            default="",
            help="a product with this defect instead: exit 0 only if it is found out",
        )


def leave(
    directory: Path | None,
    campaign: str,
    amount: int,
    violations: int,
    seed: int,
    seconds: float,
    *,
    seeds: int = 1,
    control: str = "",
) -> None:
    """Write the figures of a run, if a directory was named."""
    if directory is None:
        return
    figures = Figures(
        campaign=campaign,
        amount=amount,
        violations=violations,
        seed=seed,
        seeds=seeds,
        seconds=round(seconds, 1),
        control=control,
        commit=commit(campaign),
        machine=machine(),
        on=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    directory.mkdir(parents=True, exist_ok=True)
    kind = f"{campaign}-not-{control}" if control else campaign
    # Two runs with one seed are two files.
    name = f"{kind}-{seed}-{time.time_ns():x}.json"
    draft = directory / f"{name}.draft"
    draft.write_bytes(msgspec.json.encode(figures) + b"\n")
    draft.rename(directory / name)


def collected(directory: Path) -> list[Figures]:
    """Return the figures of all runs that left some there."""
    return in_order(
        msgspec.json.decode(file.read_bytes(), type=Figures) for file in directory.glob("*.json")
    )


def kept(file: Path) -> list[Figures]:
    """Return the figures in a file that has a run a line."""
    if not file.exists():
        return []
    return [msgspec.json.decode(line, type=Figures) for line in file.read_bytes().splitlines()]


def keep(file: Path, figures: Iterable[Figures]) -> None:
    """Add figures to such a file; those that are there already are not there twice."""
    whole = in_order(set(kept(file)) | set(figures))
    draft = file.with_suffix(".draft")
    draft.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in whole))
    draft.rename(file)


def in_order(figures: Iterable[Figures]) -> list[Figures]:
    return sorted(
        figures,
        key=lambda one: (one.campaign, one.control, one.on, one.seed, one.commit, one.seconds),
    )


@cache
def commit(campaign: str) -> str:
    paths = list(SHIPPED)
    if campaign in SIMULATED:
        paths += [f":!src/headrace/{name}" for name in FACES]
    last = _git("log", "-1", "--format=%h", "--abbrev=9", "--", *paths)
    changed = _git("status", "--porcelain", "--", *paths)
    return f"{last or 'unknown'}{'+' if changed else ''}"


def _git(*words: str) -> str:
    told = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip()


@cache
def machine() -> str:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = " ".join(line.partition(":")[2].split())
            break
    return f"{os.cpu_count()} × {model}, Linux {platform.release().split('-')[0]}"
