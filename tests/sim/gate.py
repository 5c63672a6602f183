"""Plant defects one at a time and let the simulation look for them: is it able to find any?

    tools/mutants                       every mutant, up to 500 seeds each
    tools/mutants fence_ignored         these only

Prints which checker found each, and after how many seeds. Exits 1 if one survives.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sim.mutants import MUTANTS
from sim.run import STEPS_DEFAULT, run

SEEDS_MAX = 500


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="MUTANT", help="; ".join(MUTANTS))
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    parser.add_argument("--steps", type=int, default=STEPS_DEFAULT)
    arguments = parser.parse_args()
    survivors = 0
    print(f"{'mutant':<34}{'caught by':<30}{'seeds':>6}{'seconds':>9}")
    for name in arguments.names or MUTANTS:
        began = time.perf_counter()
        found = ""
        for seed in range(1, arguments.seeds + 1):
            result = run(seed, arguments.steps, mutant=MUTANTS[name])
            if result.violation is not None:
                found = result.checker
                break
        survivors += not found
        seconds = time.perf_counter() - began
        print(f"{name:<34}{found or 'SURVIVED':<30}{seed:>6}{seconds:>9.1f}", flush=True)
    print(f"{len(arguments.names or MUTANTS)} mutants, {survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
