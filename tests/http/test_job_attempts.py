"""`GET /api/v1/jobs/{id}/attempts`: by whom a job was tried, and how each attempt ended."""

import asyncio
from pathlib import Path
from typing import Any

from http_tools import Server, open_server

from headrace.wire.limits import ATTEMPTS_KEPT

JOBS = "/api/v1/jobs"


async def attempts(server: Server, job_id: str) -> list[Any]:
    reply = await server.call("GET", f"{JOBS}/{job_id}/attempts")
    assert reply.status == 200, reply.body
    return list(reply.json["attempts"])


async def attempt(server: Server, act: str, **body: Any) -> None:
    """Have a worker begin an attempt and end it in some way."""
    (work,) = (await server.poll(wait="9s"))["jobs"]
    reply = await server.call("POST", f"/api/v1/leases/{work['lease']}/{act}", body)
    assert reply.status == 200, reply.body


def told(found: list[Any]) -> list[tuple[int, str, str | None]]:
    return [(one["attempt"], one["outcome"], one["error"]) for one in found]


async def test_each_attempt_is_told_with_its_worker_and_its_end(server: Server) -> None:
    job_id = await server.submit(max_retries=9, retry_delay=0)
    assert await attempts(server, job_id) == []
    await attempt(server, "fail", error="no disk")
    await attempt(server, "release")
    await attempt(server, "release", retry_delay=0.001)
    lease = await server.lease_soon()
    found = await attempts(server, job_id)
    assert told(found) == [
        (1, "retry", "no disk"),
        (2, "release", None),
        (3, "snooze", None),
        (4, "running", None),
    ]
    assert {one["worker"] for one in found} == {"w"}
    assert [one["ended_at"] is None for one in found] == [False, False, False, True]
    await server.call("POST", f"/api/v1/leases/{lease}/progress", {"started": True})
    assert (await attempts(server, job_id))[-1]["started_at"] is not None
    await server.call("POST", f"/api/v1/leases/{lease}/complete", {})
    last = (await attempts(server, job_id))[-1]
    assert (last["attempt"], last["outcome"]) == (4, "completed")
    assert last["started_at"] <= last["ended_at"]


async def test_a_job_that_failed_for_good_tells_it_once_and_after_a_retry_still(
    server: Server,
) -> None:
    job_id = await server.submit()
    await attempt(server, "fail", error="bad", code="odd", permanent=True)
    found = await attempts(server, job_id)
    assert told(found) == [(1, "failed", "bad")]
    assert found[0]["code"] == "odd"
    await server.call("POST", f"{JOBS}/{job_id}/retry")
    assert told(await attempts(server, job_id)) == [(1, "failed", "bad")]
    await attempt(server, "complete")
    assert told(await attempts(server, job_id)) == [
        (1, "failed", "bad"),
        (2, "completed", None),
    ]


async def test_a_worker_that_was_not_heard_of_is_named() -> None:
    server = await open_server(lease_ms=200)
    job_id = await server.submit()
    await server.lease()
    async with asyncio.timeout(20):
        while not (found := [one for one in await attempts(server, job_id) if one["ended_at"]]):
            await asyncio.sleep(0.02)
    assert (found[0]["outcome"], found[0]["code"], found[0]["worker"]) == ("lapse", "crash", "w")
    await server.close()


async def test_a_job_that_ended_while_it_waited_had_no_attempt(server: Server) -> None:
    job_id = await server.submit()
    await server.call("POST", f"{JOBS}/{job_id}/cancel")
    assert await attempts(server, job_id) == []


async def test_the_newest_attempts_are_kept_and_go_with_the_job(server: Server) -> None:
    job_id = await server.submit()
    for _ in range(ATTEMPTS_KEPT + 3):
        await attempt(server, "release")
    found = await attempts(server, job_id)
    assert [one["attempt"] for one in found] == list(range(4, ATTEMPTS_KEPT + 4))
    await server.call("POST", f"{JOBS}/{job_id}/cancel")
    await server.call("DELETE", f"{JOBS}/{job_id}")
    reply = await server.call("GET", f"{JOBS}/{job_id}/attempts")
    assert (reply.status, reply.code) == (404, "job_unknown")
    assert server.node.store.attempts(bytes.fromhex(job_id.replace("-", ""))) == []


async def test_attempts_outlive_the_process_and_do_not_disturb_progress(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    server = await open_server(**options)
    job_id = await server.submit(retry_delay=0)
    await attempt(server, "fail", error="e")
    await server.close()
    server = await open_server(**options)
    assert told(await attempts(server, job_id)) == [(1, "retry", "e")]
    lease = await server.lease_soon()
    news = {"started": True, "progress": 0.5, "log": "hello\n"}
    await server.call("POST", f"/api/v1/leases/{lease}/progress", news)
    history = (await server.call("GET", f"{JOBS}/{job_id}/progress")).json["history"]
    assert [(one["attempt"], one["progress"]) for one in history] == [(2, 0.5)]
    log = (await server.call("GET", f"{JOBS}/{job_id}/logs")).body.decode()
    assert log.endswith("hello\n")
    await server.close()
