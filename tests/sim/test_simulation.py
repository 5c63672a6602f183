"""A short run of the simulation. `tools/simulate` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

from sim.campaign import keep, kept
from sim.run import run
from sim.settings import FAULTS, RESTORE, settings_of

SEEDS = 60
STEPS = 1_500
GROUP = 10


@pytest.mark.parametrize("first", range(1, SEEDS + 1, GROUP))
def test_nothing_is_violated_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + GROUP):
        result = run(seed, STEPS)
        assert result.violation is None, (
            f"{result.violation}\nrepeat: tools/simulate --seed {seed} --steps {STEPS}"
        )


def test_seeds_that_have_found_something_find_it_no_more() -> None:
    for seed, steps in kept():
        result = run(seed, steps)
        assert result.violation is None, f"seed {seed}, {steps} steps: {result.violation}"


def test_a_seed_that_finds_something_is_kept_once(tmp_path: Path) -> None:
    file = tmp_path / "seeds"
    file.write_text("# seeds\n7 100 drains\n")
    keep(file, 7, 100, "drains")
    keep(file, 8, 100, "no_lost_job")
    assert kept(file) == [(7, 100), (8, 100)]


def test_a_long_life_with_many_restarts_goes_well() -> None:
    result = run(7, 12_000)
    assert result.violation is None, str(result.violation)


def test_the_same_seed_gives_the_same_trace_in_another_process() -> None:
    """I25: what the simulation finds can be found again."""
    seed, steps = 5, 2_000
    here = run(seed, steps)
    code = f"from sim.run import run; print(run({seed}, {steps}).trace)"
    tests = Path(__file__).parent.parent
    there = subprocess.run(
        [sys.executable, "-c", code], cwd=tests, capture_output=True, text=True, check=True
    )
    assert int(there.stdout) == here.trace
    assert run(seed + 1, steps).trace != here.trace


def test_the_seeds_of_the_short_run_turn_on_every_fault() -> None:
    turned_on = {kind for seed in range(1, SEEDS + 1) for kind in settings_of(seed).rates}
    assert turned_on == {*FAULTS, RESTORE}
    assert any(settings_of(seed).lmdb for seed in range(1, SEEDS + 1))
