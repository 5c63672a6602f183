"""Plant defects one at a time and let the simulation look for them: is it able to find any?

    tools/mutants                       every mutant, up to 500 seeds each
    tools/mutants fence_ignored         these only

Prints which checker found each, and after how many seeds. Exits 1 if one survives.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "trust"))

import figures

from sim.mutants import MUTANTS
from sim.planting import found
from sim.run import STEPS_DEFAULT, collect_seldom, run

SEEDS_MAX = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="MUTANT", help="; ".join(MUTANTS))
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    parser.add_argument("--steps", type=int, default=STEPS_DEFAULT)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    figures.offer(parser)
    arguments = parser.parse_args()
    names = arguments.names or list(MUTANTS)
    print(f"{'mutant':<38}{'caught by':<30}{'seeds':>6}{'seconds':>9}")
    survivors, seeds_most = 0, 0
    began = time.perf_counter()
    with ProcessPoolExecutor(arguments.processes, initializer=collect_seldom) as pool:
        looked = pool.map(partial(look, seeds=arguments.seeds, steps=arguments.steps), names)
        for name, (checker, seeds, seconds) in zip(names, looked, strict=True):
            survivors += not checker
            seeds_most = max(seeds_most, seeds)
            print(f"{name:<38}{checker or 'SURVIVED':<30}{seeds:>6}{seconds:>9.1f}", flush=True)
    wall_s = time.perf_counter() - began
    caught = len(names) - survivors
    print(f"{caught} of {len(names)} caught, within {seeds_most} seeds, in {wall_s:.0f} s")
    figures.leave(arguments.figures, "mutants", caught, survivors, 1, wall_s, seeds=seeds_most)
    return 1 if survivors else 0


def look(name: str, *, seeds: int, steps: int) -> tuple[str, int, float]:
    """Return which checker found it, if one did, after how many seeds and seconds."""
    began = time.perf_counter()
    for seed in range(1, seeds + 1):
        result = run(seed, steps, mutant=MUTANTS[name])
        if found(result):
            return result.checker, seed, time.perf_counter() - began
    return "", seeds, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
