"""Every workload against a real server in memory, for a moment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from headrace.bench import http
from headrace.bench.workloads import ROWS, Headrace

pytestmark = pytest.mark.e2e

MOMENT_S = 0.02


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Headrace]:
    made = Headrace(tmp_path / "data", "--memory")
    try:
        yield made.ready()
    finally:
        made.server.kill()


@pytest.mark.parametrize("row", ROWS)
def test_a_workload_ends_with_its_figures(system: Headrace, row: str) -> None:
    figures = ROWS[row].run(system, MOMENT_S)
    assert figures["value"] > 0
    assert figures["client_cpu"] >= 0
    if ROWS[row].unit == "ms":
        assert len(figures["start_quantiles_ms"]) == 101
        assert figures["value"] <= figures["result_p50_ms"]
    else:
        assert figures["p50_ms"] <= figures["p99_ms"]


def test_what_was_drained_is_completed_and_nothing_else_is_left(system: Headrace) -> None:
    uvloop.run(system.submit(300, 100))
    uvloop.run(system.drain(300))
    stats = system.server.ask("GET", "/api/v1/stats")[1]
    assert stats["runtime"]["jobs"] == 0


def test_jobs_have_about_200_bytes_of_params() -> None:
    assert len(http.params()) == http.PARAMS_BYTES
