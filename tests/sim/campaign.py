"""Run the deterministic simulation: the shipping server in a world made of a seed.

    tools/simulate                              seeds 1..400
    tools/simulate --seeds 1..1000 --steps 10000 --processes 2
    tools/simulate --seed 17 --steps 1500       one seed again, with its last events if it fails

Exits 1 at the first violation, and prints how to repeat it. Its seed is kept (`kept_seeds.txt`) and
run by the tests for ever.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter as now_s

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "trust"))

import figures

from sim.run import STEPS_DEFAULT, Result, collect_seldom, run, shrink

SHOW_EVERY_S = 10
KEPT = Path(__file__).with_name("kept_seeds.txt")


def main() -> int:
    arguments = _arguments()
    steps, without = arguments.steps, frozenset(filter(None, arguments.without.split(",")))
    first, last = arguments.seeds
    totals: Counter[str] = Counter()
    began = shown = now_s()
    busy_s = 0.0
    for result in _results(first, last, arguments, without):
        totals.update(result.counts)
        totals["steps"] += result.steps
        totals["seeds"] += 1
        busy_s += result.seconds
        if result.violation is not None:
            _leave(arguments.figures, totals, 1, first, now_s() - began)
            _tell(result, steps, without, shrinks=arguments.shrink)
            return 1
        now = now_s()
        if now - shown >= SHOW_EVERY_S:
            shown = now
            print(f"seed {result.seed}: {totals['steps']:,} steps, {now - began:.0f} s", flush=True)
        if arguments.seconds and now - began >= arguments.seconds:
            break
    wall_s = now_s() - began
    _leave(arguments.figures, totals, 0, first, wall_s)
    print(f"{totals.pop('seeds'):,} seeds, {totals['steps']:,} steps in {wall_s:.1f} s")
    print(f"{totals['steps'] / busy_s:,.0f} steps/s per process; no violation")
    if first == last:
        print(f"trace {result.trace:08x}")
    for name, count in sorted(totals.items()):
        print(f"  {name:<28}{count:>14,}")
    return 0


def _leave(
    directory: Path | None, totals: Counter[str], violations: int, first: int, wall_s: float
) -> None:
    steps, seeds = totals["steps"], totals["seeds"]
    figures.leave(directory, "simulation", steps, violations, first, wall_s, seeds=seeds)


def _results(
    first: int, last: int, arguments: argparse.Namespace, without: frozenset[str]
) -> Iterator[Result]:
    one = partial(run, steps=arguments.steps, without=without)
    seeds = range(first, last + 1)
    if arguments.processes == 1:
        collect_seldom()
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(arguments.processes, initializer=collect_seldom) as pool:
        try:
            yield from pool.map(one, seeds, chunksize=4)
        finally:
            pool.shutdown(cancel_futures=True)


def _tell(result: Result, steps: int, without: frozenset[str], *, shrinks: bool) -> None:
    print("\n".join(line[:400] for line in result.story))
    print(f"\nseed {result.seed}, step {result.steps}: {result.violation}")
    print(f"repeat: {_command(result.seed, steps, without)}")
    if not without:
        keep(KEPT, result.seed, steps, result.checker)
    if shrinks and not without:
        fewer, left_out = shrink(result, steps)
        print(f"smaller: {_command(result.seed, fewer, left_out)}")


def keep(file: Path, seed: int, steps: int, what: str) -> None:
    """Add a seed that has found something, once."""
    if (seed, steps) not in kept(file):
        with file.open("a") as out:
            out.write(f"{seed} {steps} {what}\n")


def kept(file: Path = KEPT) -> list[tuple[int, int]]:
    """Return seeds that have found something, with their steps."""
    lines = [line.split() for line in file.read_text().splitlines() if not line.startswith("#")]
    return [(int(seed), int(steps)) for seed, steps, *_ in lines]


def _command(seed: int, steps: int, without: frozenset[str]) -> str:
    more = f" --without {','.join(sorted(without))}" if without else ""
    return f"tools/simulate --seed {seed} --steps {steps}{more}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=_range, default=(1, 400), metavar="A..B")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument("--steps", type=int, default=STEPS_DEFAULT, help="before the drain")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0, help="stop after this long")
    parser.add_argument("--without", default="", help="faults to leave out, by commas")
    parser.add_argument("--shrink", action="store_true", help="look for a smaller failure")
    figures.offer(parser)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        arguments.seeds = (arguments.seed, arguments.seed)
    return arguments


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("..")
    return int(first), int(last or first)


if __name__ == "__main__":
    sys.exit(main())
