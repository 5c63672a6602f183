"""headrace and what it is compared with, in one run on one machine: workloads W1 to W7.

    python bench/bench_e2e.py                                quick: one short run of everything
    python bench/bench_e2e.py --full                         a million jobs, five runs of each
    python bench/bench_e2e.py --only W3,W4 --peers redis-always --runs 3
    python bench/bench_e2e.py --peers none                   headrace alone
    python bench/bench_e2e.py --scale                        W6 and W7 with ten million jobs

Server on core 0, clients on core 1. In each run every workload is done by each system in turn, each
time by a new server on an empty directory, so that what is compared shares the machine's moods.
Results go to bench/results/e2e.json (of a part: part.json; of --scale: scale.json);
`bench/report.py` makes tables and plots. What is missing on this machine is named with the command
that installs it. What the numbers do not say stands at the top of bench/README.md.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from headrace.bench.measures import Figures, medians
from headrace.bench.process import BenchError, cores, ended_by_signals, pin_client
from headrace.bench.workloads import BATCH, BATCH_LARGE, ROWS
from peers import SYSTEMS, Ours, Peer
from peers.peer import running
from rig import SCRATCH, machine, save
from targets import evaluate

DEPTH_ROWS = {
    "W6": ("memory a queued job", "bytes"),
    "W7": ("kill -9 with that many queued: start to the first new acknowledgement", "s"),
}
EVERY_ROW = [*ROWS, *DEPTH_ROWS]
WARM_UP_JOBS = 48_000
"""Queued before W6 weighs for the first time: buffers are then as large as they get."""
DEPTH_SCALE = 10_000_000


class Settings(msgspec.Struct):
    runs: int
    seconds: float
    """About how long a workload lasts in each run."""
    depth: int
    """Jobs of W6 and W7."""


QUICK = Settings(runs=1, seconds=0.5, depth=300_000)
FULL = Settings(runs=5, seconds=1.0, depth=1_000_000)


# W6 and W7 --------------------------------------------------------------------------------------


def at_depth(system: Peer, depth: int) -> dict[str, Figures]:
    """Fill, weigh, kill -9, start again, count."""
    depth = min(depth, type(system).depth_max)
    batch = BATCH_LARGE if "W2k" in system.rows else BATCH
    first = min(WARM_UP_JOBS, depth // 2)
    fill(system, first, batch)
    before = system.server.memory_bytes()
    fill(system, depth - first, batch)
    after = system.server.memory_bytes()
    weighed = depth - first
    found: dict[str, Figures] = {}
    if "W6" in system.rows:
        found["W6"] = {
            "value": (after["private"] - before["private"]) / weighed,
            "rss_bytes_per_job": (after["rss"] - before["rss"]) / weighed,
            "jobs": depth,
        }
    if isinstance(system, Ours):
        found["W6"]["disk_bytes_per_job"] = system.disk_bytes() / depth
    if "W7" in system.rows:
        system.server.kill()
        began_s = time.perf_counter()
        system.start()
        system.ready()
        ready_s = time.perf_counter() - began_s
        uvloop.run(system.submit(1, 1))
        serving_s = time.perf_counter() - began_s
        found["W7"] = {
            "value": serving_s,
            "ready_s": ready_s,
            "lost": depth + 1 - system.count(),
            "jobs": depth,
        }
    return found


def fill(system: Peer, number: int, batch: int) -> None:
    uvloop.run(system.submit(number // batch * batch, batch))
    if rest := number % batch:
        uvloop.run(system.submit(rest, 1))


def empty_start_s(kind: type[Peer], base: Path) -> float:
    began_s = time.perf_counter()
    with running(kind, base):
        return time.perf_counter() - began_s


# Runs -------------------------------------------------------------------------------------------


class Comparison:
    """What was measured so far, by row and by system, run by run."""

    def __init__(self, settings: Settings, base: Path) -> None:
        self.settings = settings
        self.base = base
        self.began_s = time.monotonic()
        self.runs: dict[str, dict[str, list[Figures]]] = {}
        self.failed: list[dict[str, str]] = []
        self.empty_start_s: dict[str, float] = {}

    def run(self, rows: list[str], systems: list[type[Peer]]) -> None:
        for row in rows:
            if row == "W7" and "W6" in rows:
                continue  # one filling serves both
            for kind in systems:
                wanted = {"W6", "W7"} & set(rows) if row in DEPTH_ROWS else {row}
                if wanted & kind.rows:
                    self._cell(row, kind, wanted)

    def _cell(self, row: str, kind: type[Peer], wanted: set[str]) -> None:
        try:
            with running(kind, self.base) as system:
                found = self._measure(row, system)
            if "W7" in found and kind.name not in self.empty_start_s:
                self.empty_start_s[kind.name] = empty_start_s(kind, self.base)
        except BenchError as error:
            self.failed.append({"row": row, "system": kind.name, "error": str(error)})
            print(f"{row:<4}{kind.name:<18}failed: {error}", flush=True)
            return
        for name in sorted(wanted & found.keys()):
            self.runs.setdefault(name, {}).setdefault(kind.name, []).append(found[name])
            print(line(name, kind.name, found[name]), flush=True)

    def _measure(self, row: str, system: Peer) -> dict[str, Figures]:
        if row in DEPTH_ROWS:
            return at_depth(system, self.settings.depth)
        return {row: ROWS[row].run(system, self.settings.seconds)}

    def results(self, systems: list[type[Peer]], missing: list[type[Peer]]) -> dict[str, Any]:
        rows: dict[str, Any] = {}
        for name in EVERY_ROW:
            if name in self.runs:
                what, unit = (
                    DEPTH_ROWS[name] if name in DEPTH_ROWS else (ROWS[name].what, ROWS[name].unit)
                )
                rows[name] = {
                    "what": what,
                    "unit": unit,
                    "systems": {
                        system: {**summary(runs), "runs": [run["value"] for run in runs]}
                        for system, runs in self.runs[name].items()
                    },
                }
        for system, empty_s in self.empty_start_s.items():
            if system in rows.get("W7", {}).get("systems", {}):
                rows["W7"]["systems"][system]["empty_start_s"] = empty_s
        return {
            "settings": msgspec.to_builtins(self.settings),
            "seconds": round(time.monotonic() - self.began_s),
            "systems": {
                kind.name: {
                    "label": kind.label,
                    "durability": kind.durability,
                    "client": kind.client,
                    "version": kind.version(),
                }
                for kind in systems
            },
            "missing": [{"system": kind.name, "install": kind.install} for kind in missing],
            "failed": self.failed,
            "rows": rows,
        }


def summary(runs: list[Figures]) -> Figures:
    found = medians(runs)
    if found.get("server_cpu") and "jobs" in found:
        # Where other programs took part of the server's core this tells more than the rate.
        found["per_cpu_s"] = medians(
            [{"rate": run["value"] / max(run["server_cpu"], 0.01)} for run in runs]
        )["rate"]
    return found


def line(row: str, system: str, figures: Figures) -> str:
    value, unit = figures["value"], DEPTH_ROWS[row][1] if row in DEPTH_ROWS else ROWS[row].unit
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
    cpu = ""
    if "server_cpu" in figures:
        cpu = f"   server {figures['server_cpu']:>4.0%}  client {figures['client_cpu']:>4.0%}"
    lost = f"   lost {figures['lost']:.0f}" if "lost" in figures else ""
    return f"{row:<4}{system:<18}{shown:>10} {unit:<7}{cpu}{lost}"


def chosen(text: str, known: list[str], what: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if name in names]


def main() -> int:
    peers = [name for name in SYSTEMS if name != Ours.name]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="five runs, a million jobs")
    parser.add_argument("--scale", action="store_true", help="W6 and W7 with ten million jobs")
    parser.add_argument("--only", default="", help=f"of {','.join(EVERY_ROW)}")
    parser.add_argument("--peers", default="", help=f"none, or of {','.join(peers)}")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seconds", type=float, help="of a workload in each run")
    parser.add_argument("--depth", type=int, help="jobs of W6 and W7")
    parser.add_argument("--dir", type=Path, default=SCRATCH, help="whose disk is used")
    parser.add_argument("--out", type=Path, help="result file, in place of the usual one")
    args = parser.parse_args()
    settings = FULL if args.full else QUICK
    rows = chosen(args.only, EVERY_ROW, "workload") if args.only else EVERY_ROW
    if args.scale:
        settings = msgspec.structs.replace(settings, depth=DEPTH_SCALE, runs=1)
        rows, args.peers = ["W6", "W7"], args.peers or "none"
    given = {"runs": args.runs, "seconds": args.seconds, "depth": args.depth}
    settings = msgspec.structs.replace(settings, **{k: v for k, v in given.items() if v})
    names = peers if not args.peers else [] if args.peers == "none" else None
    names = chosen(args.peers, peers, "peer") if names is None else names
    part = "part" if args.only or args.peers else "e2e"
    name = "scale" if args.scale else part
    wanted = [kind for kind in SYSTEMS.values() if kind is Ours or kind.name in names]
    missing = [kind for kind in wanted if kind.is_missing()]
    for kind in missing:
        print(f"{kind.name} is left out; to have it: {kind.install}")
    systems = [kind for kind in wanted if kind not in missing]

    args.dir.mkdir(parents=True, exist_ok=True)
    about = machine(args.dir)
    if cores() is None:
        print("one processor only: server and client share it, which says little on either")
    pin_client()
    comparison = Comparison(settings, args.dir)

    def finish() -> None:
        results = {"machine": about, **comparison.results(systems, missing)}
        results["targets"] = evaluate(results)
        print(save(name, results, args.out))

    interrupted(lambda: run_all(comparison, rows, systems), finish)
    return int(bool(comparison.failed))


def run_all(comparison: Comparison, rows: list[str], systems: list[type[Peer]]) -> None:
    for number in range(comparison.settings.runs):
        print(f"run {number + 1} of {comparison.settings.runs}", flush=True)
        comparison.run(rows, systems)


def interrupted(work: Callable[[], None], finish: Callable[[], None]) -> None:
    """Do the work; keep what there is of it when it is broken off."""
    with ended_by_signals():
        try:
            work()
        except KeyboardInterrupt:
            finish()
            raise SystemExit(130) from None
    finish()


if __name__ == "__main__":
    sys.exit(main())
