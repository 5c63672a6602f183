"""The programs of bench/ and tools/bench-compare run and judge. Nothing is timed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "bench"))

import report  # noqa: E402 - the programs of bench/ are no package
import targets  # noqa: E402
from headrace.bench.workloads import ROWS  # noqa: E402
from peers import SYSTEMS, Ours  # noqa: E402
from peers.peer import running  # noqa: E402

pytestmark = pytest.mark.e2e
MOMENT_S = 0.01
QUICK_PEERS = ("aiohttp", "redis-always", "beanstalkd-memory")


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_micro_benchmarks_run() -> None:
    suites = str(ROOT / "bench" / "micro")
    run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        suites,
        "--benchmark-disable",
    )


def test_the_harness_measures_headrace_and_a_peer_in_one_run(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    program = str(ROOT / "bench" / "bench_e2e.py")
    short = ("--seconds", str(MOMENT_S), "--runs", "2", "--depth", "2000")
    run(
        sys.executable,
        program,
        "--only",
        "W1,W6,W7",
        "--peers",
        "aiohttp",
        *short,
        "--out",
        str(out),
    )
    results = json.loads(out.read_text())
    assert list(results["rows"]["W1"]["systems"]) == ["aiohttp", "headrace"]
    assert len(results["rows"]["W1"]["systems"]["headrace"]["runs"]) == 2
    assert results["rows"]["W7"]["systems"]["headrace"]["lost"] == 0
    assert results["machine"]["commit"]
    judged = {(row["row"], row["what"]): row for row in results["targets"]}
    assert judged["W1", "of bare aiohttp"]["found"] > 0
    assert judged["W3", "drained"]["verdict"] == "not measured"
    page = report.written((ROOT / "bench" / "README.md").read_text(), {"e2e": results})
    assert "**headrace**" in page


@pytest.mark.parametrize("name", QUICK_PEERS)
def test_a_peer_does_the_same_workloads(name: str, tmp_path: Path) -> None:
    kind = SYSTEMS[name]
    if kind.is_missing():
        pytest.skip(f"{name} is not on this machine: {kind.install}")
    for row in sorted(kind.rows & ROWS.keys()):
        with running(kind, tmp_path) as system:
            assert ROWS[row].run(system, MOMENT_S)["value"] > 0


def test_every_system_says_what_its_answer_means_and_how_to_get_it() -> None:
    for kind in SYSTEMS.values():
        assert kind.label
        assert kind.durability
        assert kind.client
        assert kind.install or kind in (Ours, SYSTEMS["aiohttp"])


def results_of(row: str, **runs: list[float]) -> dict[str, Any]:
    systems = {
        name.replace("_", "-"): {"value": values[0], "runs": values}
        for name, values in runs.items()
    }
    return {"rows": {row: {"systems": systems}}}


def judged(results: dict[str, Any], row: str, what: str, kind: str = "must") -> dict[str, Any]:
    return next(
        found
        for found in targets.evaluate(results)
        if (found["row"], found["what"], found["kind"]) == (row, what, kind)
    )


def test_lists_of_a_large_store_are_asked_for_beside_work(tmp_path: Path) -> None:
    program = str(ROOT / "bench" / "bench_lists.py")
    few = (
        "--jobs",
        "2000",
        "--asks",
        "1",
        "--idle",
        "--dir",
        str(tmp_path),
        "--name",
        "lists_test",
    )
    said = run(sys.executable, program, *few)
    results = Path(said.splitlines()[-1])
    rows = json.loads(results.read_text())["rows"]
    results.unlink()
    assert rows["all"]["jobs"] == 100
    assert rows["failed"]["jobs"] == 2
    assert rows["of a rare type"]["jobs"] == 0


def test_a_ratio_is_the_median_of_the_ratios_run_by_run() -> None:
    results = results_of("W3", headrace=[100, 300, 100], redis_always=[50, 100, 200])
    found = judged(results, "W3", "of Redis Streams, always")
    assert found["found"] == 2
    assert found["verdict"] == "met"


def test_a_target_missed_is_told_with_its_distance() -> None:
    results = results_of("W2", headrace=[100], redis_always=[100], beanstalkd_memory=[40])
    assert judged(results, "W2", "of Redis Streams, always")["verdict"] == "missed by 20%"
    assert judged(results, "W2", "of beanstalkd in memory")["met"] is True
    assert judged(results, "W2", "submitted", "want")["verdict"] == "missed by 100%"
    results = results_of("W5", headrace=[1.5])
    assert judged(results, "W5", "start, p50")["verdict"] == "missed: 1.50 × the bound"


def test_the_quickest_framework_is_the_one_to_beat() -> None:
    results = results_of("W4", headrace=[600], rq=[10], dramatiq=[20], celery=[5])
    assert judged(results, "W4", "of the quickest framework")["found"] == 30


def test_two_saved_files_are_compared(tmp_path: Path) -> None:
    for name, median_s in (("old", 2e-6), ("new", 1e-6)):
        one = {"fullname": "bench/micro/test_codec.py::test_x", "stats": {"median": median_s}}
        (tmp_path / f"{name}.json").write_text(json.dumps({"benchmarks": [one]}))
    said = run(
        *(sys.executable, str(ROOT / "tools" / "bench-compare")),
        *(str(tmp_path / "old.json"), str(tmp_path / "new.json")),
    )
    assert said.splitlines()[1].split() == ["test_codec.py::test_x", "2.00", "1.00", "0.50"]


def test_pictures_are_drawn_of_what_there_is(tmp_path: Path) -> None:
    import plots

    about = {"label": "headrace", "durability": "fsync before each answer"}
    other = {"label": "other", "durability": "memory only"}
    line = list(range(1, 102))
    w5 = {"result_p50_ms": 1.0, "start_quantiles_ms": line, "result_quantiles_ms": line}
    rows = {
        row: {"systems": {"headrace": {"value": 9.0, **w5}, "other": {"value": 3.0, **w5}}}
        for row in ("W1", "W5", "W6")
    }
    e2e = {"systems": {"headrace": about, "other": other}, "rows": rows}
    costs = {"take_ns": 1.0, "batch_ns": 1.0, "take_p99_ns": 2.0}
    native = {"depth": [{"jobs": 10**n, **costs} for n in (3, 4)]}
    drawn = plots.draw({"e2e": e2e, "native": native}, tmp_path)
    assert [path.name for path in drawn] == [
        *("throughput.svg", "latency.svg", "memory.svg", "depth.svg")
    ]
