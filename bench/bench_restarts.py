"""W7 with many starts: kill -9, start, first new acknowledgement; of two trees in turn.

    python bench/bench_restarts.py [--jobs 1000000] [--rounds 30]
    python bench/bench_restarts.py --beside ../older      a checkout with a .venv of its own

Each tree fills a store once and is killed; then each start is followed by one submit and a kill.
One start of W7 says little here, single pairs differ by a quarter. The first round is not counted.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
FILL, START = "fill", "start"


def child(what: str, tree: Path, data: Path, jobs: int) -> None:
    """Fill a store or start on it, with all that the tree has of its own."""
    sys.path.insert(0, str(tree / "bench"))
    import uvloop

    from bench_e2e import fill
    from headrace.bench.process import pin_client
    from headrace.bench.workloads import BATCH
    from peers.ours import Ours

    pin_client()
    began_s = time.perf_counter()
    system = Ours(data)
    try:
        system.ready()
        if what == FILL:
            fill(system, jobs, BATCH)
        else:
            uvloop.run(system.submit(1, 1))
            print(time.perf_counter() - began_s)
    finally:
        system.server.kill()


def told(what: str, tree: Path, data: Path, jobs: int) -> str:
    python = tree / ".venv" / "bin" / "python"
    command = [str(python), __file__, "--child", what, str(tree), str(data), "--jobs", str(jobs)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tree}: {done.stderr[-2_000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--beside", type=Path, help="another checkout, built in its .venv")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        what, tree, data = args.child
        child(what, Path(tree), Path(data), args.jobs)
        return
    trees = [ROOT] if args.beside is None else [args.beside.resolve(), ROOT]
    args.dir.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=args.dir.resolve(), prefix="restarts-"))
    try:
        seconds = measured(trees, place, args.jobs, args.rounds)
    finally:
        shutil.rmtree(place)
    for tree, values in zip(trees, seconds, strict=True):
        print(f"{tree.name}: median {median(values):.3f} s, {min(values):.3f} to {max(values):.3f}")
    if args.beside:
        before, after = seconds
        pairs = [new / old for old, new in zip(before, after, strict=True)]
        print(f"medians {median(after) / median(before):.3f}, pairs {median(pairs):.3f} (median)")


def measured(trees: list[Path], place: Path, jobs: int, rounds: int) -> list[list[float]]:
    stores = [place / str(number) / "store" for number in range(len(trees))]
    for tree, store in zip(trees, stores, strict=True):
        store.mkdir(parents=True)
        told(FILL, tree, store, jobs)
    seconds: list[list[float]] = [[] for _ in trees]
    for number in range(rounds + 1):
        order = range(len(trees))
        for at in order if number % 2 else reversed(order):
            taken_s = float(told(START, trees[at], stores[at], jobs))
            if number:
                seconds[at].append(taken_s)
        if number:
            print(number, *(f"{values[-1]:.3f}" for values in seconds), "s", flush=True)
    return seconds


if __name__ == "__main__":
    main()
