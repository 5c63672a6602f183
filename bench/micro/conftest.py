"""Benchmarks of the parts, for changes: see `tools/bench-compare`.

Each has a state that is the same in every round; what prepares it is not timed.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from parts import ROUNDS, Parts, Rounds
from pytest_benchmark.fixture import BenchmarkFixture

DISK = Path(__file__).parents[2] / "build"
"""The disk of the repository: where temporary files lie may be no disk at all."""


@pytest.fixture
def parts() -> Iterator[Parts]:
    made = Parts()
    yield made
    made.close()


@pytest.fixture
def parts_on_disk() -> Iterator[Parts]:
    DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=DISK, prefix="micro-") as dir_:
        made = Parts(Path(dir_) / "data")
        yield made
        made.close()


@pytest.fixture
def rounds(benchmark: BenchmarkFixture) -> Rounds:
    """Time one call after each preparation: `rounds(work, prepare)`.

    `prepare` returns what `work` is called with.
    """

    def timed(work: Callable[[Any], Any], prepare: Callable[[], Any], number: int = ROUNDS) -> None:
        if benchmark.disabled:
            number = 1
        benchmark.pedantic(work, setup=lambda: ((prepare(),), {}), rounds=number, warmup_rounds=1)

    return timed
