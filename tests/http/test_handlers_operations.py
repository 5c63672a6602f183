import asyncio
import time
from pathlib import Path

from http_tools import Server, open_server

from headrace.wire.limits import SWEEP_JOBS_MAX


async def test_health_is_the_published_answer(server: Server) -> None:
    reply = await server.call("GET", "/health")
    assert reply.json.keys() == {"status", "time"}
    assert reply.json["status"] == "healthy"
    assert abs(reply.json["time"] - time.time()) < 60
    assert (await server.call("HEAD", "/health")).status == 200


async def test_a_live_server_is_ready(server: Server) -> None:
    assert (await server.call("GET", "/livez")).json == {"status": "ok"}
    ready = (await server.call("GET", "/readyz")).json
    assert (ready["status"], ready["reason"]) == ("ready", None)
    assert ready["commit_position"] == str(server.node.pump.position)


async def test_a_failed_commit_shows_in_health_and_readiness() -> None:
    server = await open_server()
    server.node.pump.failed = True
    assert (await server.call("GET", "/health")).status == 503
    assert (await server.call("GET", "/readyz")).status == 503
    assert (await server.call("GET", "/livez")).status == 200
    reply = await server.call("POST", "/api/v1/jobs", {"type": "t"})
    assert (reply.status, reply.code) == (503, "outcome_unknown")
    server.node.pump.failed = False
    await server.close()


async def test_a_low_disk_refuses_jobs_and_nothing_else() -> None:
    server = await open_server()
    job_id = await server.submit()
    lease = await server.lease()
    server.node.pump.disk_low = True
    server.node.pump._check_disk = lambda: None  # type: ignore[method-assign]
    reply = await server.call("POST", "/api/v1/jobs", {"type": "t"})
    assert (reply.status, reply.code) == (507, "storage_full")
    assert reply.json["outcome"] == "not_applied"
    assert (await server.call("POST", f"/api/v1/leases/{lease}/complete")).status == 200
    assert (await server.call("DELETE", f"/api/v1/jobs/{job_id}")).status == 200
    await server.close()


async def test_an_overloaded_server_says_that_nothing_was_applied(server: Server) -> None:
    server.node.pump._pending += 10**9
    reply = await server.call("POST", "/api/v1/jobs", {"type": "t"})
    server.node.pump._pending -= 10**9
    assert (reply.status, reply.code) == (503, "overloaded")
    assert (reply.headers["Retry-After"], reply.json["outcome"]) == ("1", "not_applied")


async def test_stats_count_in_words(server: Server) -> None:
    await server.submit()
    await server.submit(delay="1h")
    stats = (await server.call("GET", "/api/v1/stats")).json
    assert stats["runtime"]["engine"]["live"]["queued"] == 1
    assert stats["runtime"]["engine"]["live"]["scheduled"] == 1
    assert stats["store"]["jobs_live"] == 2


async def test_metrics_have_the_published_names(server: Server) -> None:
    await server.submit()
    await server.submit()
    lease = await server.lease()
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    reply = await server.send("GET", "/metrics")
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = reply.body.decode().splitlines()
    for line in (
        "headrace_jobs_submitted_total 2.0",
        "headrace_jobs_completed_total 1.0",
        "headrace_jobs_failed_total 0.0",
        "headrace_job_queue_depth 1.0",
        "# TYPE headrace_job_processing_seconds histogram",
        'headrace_job_processing_seconds_bucket{le="1.0"} 1.0',
        'headrace_job_processing_seconds_bucket{le="512.0"} 1.0',
        "headrace_job_processing_seconds_count 1.0",
        'headrace_http_requests_total{route="jobs_submit",status="2xx"} 2.0',
        "# TYPE headrace_commit_seconds histogram",
    ):
        assert line in lines, line
    buckets = [line for line in lines if line.startswith("headrace_job_processing_seconds_bucket")]
    assert len(buckets) == 10 + 1


async def test_the_prefix_of_metrics_can_be_set() -> None:
    server = await open_server(metric_prefix="blackhole")
    text = (await server.send("GET", "/metrics")).body.decode()
    assert "blackhole_jobs_submitted_total 0.0" in text
    assert "headrace_" not in text
    await server.close()


async def test_labels_of_metrics_hold_no_text_of_clients(server: Server) -> None:
    canary = "canary-7f3a"
    await server.submit(type=canary, queue=canary, tags=[canary])
    await server.poll(worker=canary, serve={"types": [canary]})
    await server.call("GET", f"/{canary}")
    assert canary not in (await server.send("GET", "/metrics")).body.decode()


# Finished jobs go -------------------------------------------------------------------------------


async def finish(server: Server, **fields: object) -> str:
    job_id = await server.submit(**fields)
    lease = await server.lease()
    assert (
        await server.call("POST", f"/api/v1/leases/{lease}/complete", {"result": 1})
    ).status == 200
    return job_id


async def gone(server: Server, job_id: str) -> None:
    async with asyncio.timeout(10):
        while (await server.call("GET", f"/api/v1/jobs/{job_id}")).status != 404:
            await asyncio.sleep(0.01)


async def test_a_finished_job_is_gone_after_its_time_on_both_surfaces(tmp_path: Path) -> None:
    server = await open_server(
        data_dir=tmp_path, accept_any_filesystem=True, retention_ms=300, cleanup_every_ms=100
    )
    await server.call("PUT", "/api/v1/job-types/kept", {"retention": "never"})
    kept = await finish(server, type="kept")
    job_id = await finish(server, idempotency_key="k")
    lease_log = await server.submit()
    lease = await server.lease()
    await server.call("POST", f"/api/v1/leases/{lease}/progress", {"log": "x"})
    assert (await server.call("GET", f"/jobs/{job_id}")).status == 200
    await gone(server, job_id)
    assert (await server.call("GET", f"/jobs/{job_id}")).status == 404
    assert (await server.call("GET", f"/api/v1/jobs/{job_id}/result")).code == "job_unknown"
    assert await server.submit(idempotency_key="k") != job_id, "its key is gone with it"
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    await gone(server, lease_log)
    listed = (await server.call("GET", "/api/v1/jobs?status=completed")).json["jobs"]
    assert [job["id"] for job in listed] == [kept]
    assert (await server.call("GET", "/api/v1/stats")).json["runtime"]["engine"]["swept_total"] == 2
    await server.close()


async def test_a_job_is_kept_as_long_as_it_says_itself(tmp_path: Path) -> None:
    options = {"data_dir": tmp_path, "accept_any_filesystem": True, "cleanup_every_ms": 100}
    server = await open_server(**options)
    usual, week = await finish(server), await finish(server, retention="7d")
    brief = await finish(server, retention=0.5)
    batch = [{"type": "t", "params": n, "retention": 0} for n in range(3)]
    alike = [one["job_id"] for one in (await server.call("POST", "/api/v1/jobs", batch)).json]
    for _ in alike:
        await server.call("POST", f"/api/v1/leases/{await server.lease()}/complete")
    reply = await server.call("POST", "/jobs", {"type": "t", "retention": "200ms"})
    await server.call("POST", f"/api/v1/leases/{await server.lease()}/complete")
    await gone(server, reply.json["job_id"])
    view = (await server.call("GET", f"/api/v1/jobs/{week}")).json["job"]
    assert view["retention"] == 7 * 86_400
    await server.close()
    server = await open_server(**options)
    for job_id in (brief, *alike):
        await gone(server, job_id)
    for job_id, kept in ((usual, None), (week, 7 * 86_400)):
        shown = (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]
        assert (shown["status"], shown["retention"]) == ("completed", kept)
    await server.close()


async def test_what_a_job_may_ask_to_be_kept_has_a_bound(server: Server) -> None:
    for bad in ("31d", "never", "-1s", "soon", 86_400 * 31):
        reply = await server.call("POST", "/api/v1/jobs", {"type": "t", "retention": bad})
        assert (reply.status, reply.code) == (400, "field_invalid"), bad
        assert reply.json["pointer"] == "/retention"
    assert "30d" in reply.json["detail"]
    free = await open_server(retention_ms_max=None)
    job_id = await free.submit(retention="never")
    assert (await free.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]["retention"] == "never"
    await free.close()


async def test_cleanup_deletes_what_ended_long_ago_and_says_how_much(server: Server) -> None:
    for _ in range(SWEEP_JOBS_MAX + 2):
        last = await finish(server)
    live = await server.submit()
    reply = await server.call("POST", "/api/v1/cleanup", {"older_than": "1h"})
    assert reply.json == {"deleted": 0, "complete": True}
    reply = await server.call("POST", "/api/v1/cleanup", {"older_than": 0})
    assert reply.json == {"deleted": SWEEP_JOBS_MAX + 2, "complete": True}
    assert "Commit-Position" in reply.headers
    assert (await server.call("GET", f"/jobs/{last}")).status == 404
    assert (await server.call("GET", f"/jobs/{live}")).status == 200
    audit = (await server.call("GET", "/api/v1/audit")).json["entries"]
    assert [(one["act"], one["detail"]) for one in audit] == [
        ("cleanup", "older than 0s"),
        ("cleanup", "older than 1h"),
    ]


async def test_cleanup_says_what_is_wrong_with_its_body(server: Server) -> None:
    for bad in ({}, {"older_than": "soon"}, {"older_than": -1}, {"older_than": "1h", "x": 1}):
        reply = await server.call("POST", "/api/v1/cleanup", bad)
        assert (reply.status, reply.code) == (400, "field_invalid")
