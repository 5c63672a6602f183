"""All that a server counts, as its scrapers read it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from http_tools import Server, open_server
from prometheus_client.parser import text_string_to_metric_families

from headrace.http.meters import OTHER, QUEUES_SHOWN_MAX
from headrace.http.metrics import WAIT_BUCKETS_MS

ROOT = Path(__file__).parents[2]


async def scraped(server: Server) -> dict[str, Any]:
    """Return the families by name, without the prefix."""
    text = (await server.send("GET", "/metrics")).body.decode()
    families = text_string_to_metric_families(text)
    return {family.name.removeprefix("headrace_"): family for family in families}


async def value(server: Server, name: str, **labels: str) -> float:
    for family in (await scraped(server)).values():
        for sample in family.samples:
            if sample.name == f"headrace_{name}" and sample.labels == labels:
                return float(sample.value)
    raise AssertionError(f"no {name} {labels}")


async def test_what_embedders_of_queues_count_is_in_both(server: Server) -> None:
    first, *_ = [await server.submit(max_retries=1, retry_delay="10m") for _ in range(5)]
    await server.call("POST", f"/api/v1/jobs/{first}/cancel")
    leases = [work["lease"] for work in (await server.poll(max_jobs=3))["jobs"]]
    await server.poll(
        max_jobs=0,
        reports=[
            {"lease": leases[0], "outcome": "completed"},
            {"lease": leases[1], "outcome": "failed", "permanent": True},
        ],
    )
    jobs = (await server.call("GET", "/api/v1/stats")).json["jobs"]
    counts = {name: jobs[name] for name in jobs if not name.startswith("average")}
    assert counts == {
        "enqueued": 5,
        "dequeued": 3,
        "completed": 1,
        "failed": 1,
        "timeout": 0,
        "cancelled": 1,
        "skipped": 0,
        "retried": 0,
        "crashed": 0,
        "current_size": 1,
        "active_workers": 1,
    }
    for name in ("enqueued", "dequeued", "completed", "failed", "timeout", "cancelled", "retried"):
        assert await value(server, f"jobs_{name}_total") == jobs[name], name
    assert await value(server, "job_queue_depth") == 1
    assert await value(server, "workers_active") == 1
    await server.poll(max_jobs=0, reports=[{"lease": leases[2], "outcome": "failed"}])
    assert await value(server, "jobs_retried_total") == 1
    assert await value(server, "workers_active") == 0


async def test_waits_and_runs_have_averages_and_quantiles(server: Server) -> None:
    now_ms = server.node.clock.now_ms
    server.node.clock.now_ms = lambda: now_ms() + late_ms  # type: ignore[method-assign]
    late_ms = 0
    for _ in range(10):
        await server.submit(timeout="1h")
    late_ms = 2_000
    leases = [work["lease"] for work in (await server.poll(max_jobs=9))["jobs"]]
    late_ms = 5_000
    reports = [{"lease": lease, "outcome": "completed"} for lease in leases]
    await server.poll(max_jobs=0, reports=reports)
    stats = (await server.call("GET", "/api/v1/stats")).json
    assert stats["jobs"]["average_wait"] == pytest.approx(2, abs=0.5)
    assert stats["jobs"]["average_processing"] == pytest.approx(3, abs=0.5)
    wait, run = stats["recent"]["wait"], stats["recent"]["processing"]
    assert (wait["count"], run["count"], stats["recent"]["window"]) == (9, 9, 300)
    assert 2 <= wait["p50"] <= wait["p99"] < 2.6
    assert 3 <= run["p50"] <= run["p99"] < 3.9
    assert await value(server, "job_wait_seconds_bucket", le="1.024") == 0
    assert await value(server, "job_wait_seconds_bucket", le="4.096") == 9
    assert await value(server, "job_wait_seconds_count") == 9
    assert await value(server, "job_processing_seconds_bucket", le="2.0") == 0
    assert await value(server, "job_processing_seconds_bucket", le="4.0") == 9
    assert await value(server, "job_wait_recent_seconds", quantile="0.5") == wait["p50"]
    assert await value(server, "job_processing_average_seconds") == pytest.approx(run["average"])
    assert WAIT_BUCKETS_MS[-1] > 4 * 3_600_000


async def test_queues_that_an_operator_names_have_figures_of_their_own(server: Server) -> None:
    await server.call("PUT", "/api/v1/queues/slow", {"capacity": 1})
    for queue in ("slow", "slow", "slow", "by-a-client", "default"):
        await server.submit(queue=queue)
    await server.poll(max_jobs=10, serve={"queues": ["slow"]})
    assert await value(server, "queue_depth", queue="slow") == 2
    assert await value(server, "queue_running", queue="slow") == 1
    assert await value(server, "queue_capacity", queue="slow") == 1
    assert await value(server, "queue_depth", queue="default") == 1
    assert await value(server, "queue_depth", queue=OTHER) == 1
    assert await value(server, "queue_running", queue=OTHER) == 0
    stats = (await server.call("GET", "/api/v1/stats")).json
    (slow,) = [queue for queue in stats["queues"] if queue["name"] == "slow"]
    assert slow == {"name": "slow", "depth": 2, "running": 1, "capacity": 1}


async def test_queues_beyond_the_bound_are_counted_together() -> None:
    capacities = {f"q{number:03}": 1 for number in range(QUEUES_SHOWN_MAX + 20)}
    server = await open_server(queue_capacities=capacities)
    await server.submit(queue="q119")
    families = await scraped(server)
    assert len(families["queue_depth"].samples) == QUEUES_SHOWN_MAX + 1
    assert await value(server, "queue_depth", queue=OTHER) == 1
    await server.close()


async def test_the_loop_and_its_commits_are_measured(server: Server) -> None:
    await server.submit()
    assert await value(server, "commit_seconds_count") >= 1
    assert await value(server, "commit_effects_sum") >= 1
    server.node.pump._on_beat()
    assert await value(server, "loop_lag_seconds_count") >= 1


async def test_every_metric_says_what_it_is_and_in_what_unit(server: Server) -> None:
    await server.submit()
    families = await scraped(server)
    assert len(families) > 30
    for name, family in families.items():
        assert len(family.documentation) > 5, name
        for unit in ("seconds", "bytes"):
            assert (unit in name) == (f"in {unit}" in family.documentation), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's prometheus")
async def test_promtool_has_nothing_to_say(server: Server) -> None:
    await server.submit()
    text = (await server.send("GET", "/metrics")).body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_the_page_lists_every_metric() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "metrics-page", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
