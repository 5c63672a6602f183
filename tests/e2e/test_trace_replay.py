"""The openb trace: dispatches equal a linear scan's, and over HTTP all that fits finishes."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "bench"))

import trace_http  # noqa: E402 - the programs of bench/ are no package
import trace_replay  # noqa: E402

pytestmark = pytest.mark.skipif(
    not trace_replay.TRACES.is_dir(),
    reason="the openb trace (shared/data/traces) is not beside the repository",
)


@pytest.mark.parametrize(("which", "nodes", "waiting_min"), [("all", 1_523, 1), ("30", 30, 1_000)])
def test_the_sequence_of_dispatches_equals_a_linear_scans(
    which: str, nodes: int, waiting_min: int
) -> None:
    report = trace_replay.run(which, trace_replay.COMPRESS[which], check=True)
    assert (report["nodes"], report["pods"]) == (nodes, 8_152)
    assert report["never_dispatched"] == [trace_replay.FITS_NO_NODE]
    assert [*report["warned"]] == [trace_replay.FITS_NO_NODE]
    assert report["waiting_max"] > waiting_min, "jobs had to wait for each other"


def test_an_engine_that_takes_another_job_is_found_out() -> None:
    """The comparison itself: one priority changed on one side must be seen."""
    pods = trace_replay.read_pods()[:2_000]
    nodes = trace_replay.some_nodes(trace_replay.read_nodes())
    replay = trace_replay.Replay(pods, nodes, 1_000, check=True)
    assert replay.oracle is not None
    submit = replay.oracle.submit
    replay.oracle.submit = lambda pod: submit(pod._replace(priority=5))  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="a linear scan finds"):
        replay.run()


@pytest.mark.parametrize(("count", "durable"), [(1_523, False), (30, True)])
async def test_over_http_all_that_fits_finishes_and_what_does_not_is_named(
    count: int, durable: bool, tmp_path: Path
) -> None:
    nodes = trace_replay.read_nodes()
    if count < len(nodes):
        nodes = trace_replay.some_nodes(nodes, count)
    pods = trace_replay.read_pods()
    report = await trace_http.replay(pods, nodes, tmp_path if durable else None)
    assert (report["nodes"], report["completed"], report["left"]) == (count, 8_151, 1)
    assert report["leased_total"] == 8_151, "each job was given out once"
    name = trace_replay.FITS_NO_NODE
    assert [*report["warned"]] == [name]
    assert report["warned"][name]["code"] == "never_fits"
    assert "it needs 120 cpu_cores" in report["warned"][name]["detail"]
    explained = report["explained"][name]
    assert (explained["status"], explained["workers_known"]) == ("queued", count)
    assert explained["workers_fit"] == 0
    assert "it needs 120 cpu_cores" in explained["reasons"][0]
