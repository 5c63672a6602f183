"""The simulation can find defects: each planted one falls within a few seeds.

`tools/mutants` prints the table: which checker, after how many seeds.
"""

import pytest

from sim.mutants import MUTANTS
from sim.run import run

STEPS = 1_500
SEEDS = 200


@pytest.mark.parametrize("name", MUTANTS)
def test_it_is_found(name: str) -> None:
    assert any(
        run(seed, STEPS, mutant=MUTANTS[name]).violation is not None for seed in range(1, SEEDS + 1)
    ), f"{name} survives {SEEDS} seeds"
