"""Workers over HTTP: who is there, what they hold, drain and quit."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from http_tools import Server, open_server
from yarl import URL

WORKERS = "/api/v1/workers"


async def names(server: Server, query: str = "") -> list[str]:
    return [one["name"] for one in (await server.call("GET", WORKERS + query)).json["workers"]]


async def test_a_worker_is_listed_with_what_it_is_and_shown_with_what_it_holds(
    server: Server,
) -> None:
    job_id = await server.submit(requirements={"cpu_cores": 1, "labels": {"zone": "a"}})
    poll = {
        "session": "s1",
        "seq": 1,
        "serve": {"types": ["work"], "queues": ["default"], "wasm": True},
        "free": {"cpu_cores": 4, "memory_mb": 100, "gpu_count": 1, "gpu_type": "A100"},
        "total": {"cpu_cores": 8, "memory_mb": 200, "gpu_count": 1, "gpu_type": "A100"},
        "labels": {"zone": "a"},
    }
    lease = (await server.poll(**poll))["jobs"][0]["lease"]
    await server.call(
        "POST", f"/api/v1/leases/{lease}/progress", {"started": True, "progress": 0.25}
    )
    reply = await server.call("GET", WORKERS)
    (view,) = reply.json["workers"]
    assert (reply.json["count"], reply.json["next"]) == (1, None)
    assert view.pop("last_seen_at") is not None
    assert view == {
        "name": "w",
        "tenant_id": None,
        "status": "active",
        "order": None,
        "ordered_at": None,
        "ordered_by": None,
        "serve": {"types": ["work"], "queues": ["default"], "wasm": True},
        "labels": {"zone": "a"},
        "total": {
            "cpu_cores": 8.0,
            "memory_mb": 200,
            "storage_mb": 0,
            "gpu_count": 1.0,
            "gpu_type": "A100",
        },
        "free": {
            "cpu_cores": 3.0,
            "memory_mb": 100,
            "storage_mb": 0,
            "gpu_count": 1.0,
            "gpu_type": "A100",
        },
        "running": 1,
        "session": "s1",
        "key_id": None,
    }
    detail = (await server.call("GET", f"{WORKERS}/w")).json
    (held,) = detail["leases"]
    assert (held["job_id"], held["attempt"], held["progress"]) == (job_id, 1, 0.25)
    assert held["started_at"] is not None
    assert held["deadline"] is not None


async def test_drain_reaches_a_parked_poll_and_undrain_lets_it_have_jobs(server: Server) -> None:
    waiting = asyncio.create_task(server.poll(wait="30s", session="s"))
    while not server.node.pump.stats().parked_polls:
        await asyncio.sleep(0)
    reply = await server.call("POST", f"{WORKERS}/w/drain", X_User_ID="root")
    assert (reply.status, reply.json["status"], reply.json["order"]) == (200, "drained", "drain")
    assert reply.json["ordered_by"] == "root"
    assert "Commit-Position" in reply.headers
    assert (await waiting)["control"] == [{"do": "drain"}]
    job_id = await server.submit()
    assert (await server.poll(session="s"))["jobs"] == []
    waiting = asyncio.create_task(server.poll(wait="30s", session="s"))
    while not server.node.pump.stats().parked_polls:
        await asyncio.sleep(0)
    reply = await server.call("DELETE", f"{WORKERS}/w/drain")
    assert (reply.status, reply.json["status"]) == (200, "active")
    assert (await waiting)["jobs"] == []
    assert (await server.poll(session="s"))["jobs"][0]["job"]["id"] == job_id
    reply = await server.call("POST", f"{WORKERS}/w/quit")
    assert (reply.json["status"], reply.json["order"]) == ("draining", "quit")
    assert (await server.call("DELETE", f"{WORKERS}/w/drain")).json["order"] is None
    acts = [one["act"] for one in (await server.call("GET", "/api/v1/audit")).json["entries"]]
    assert acts == ["worker_drop", "worker_put", "worker_drop", "worker_put"]


async def test_a_drain_survives_a_restart(tmp_path: Path) -> None:
    config: Any = {"data_dir": tmp_path / "data", "accept_any_filesystem": True}
    server = await open_server(**config)
    await server.poll()
    await server.call("POST", f"{WORKERS}/w/drain")
    await server.submit()
    await server.close()
    server = await open_server(**config)
    try:
        (view,) = (await server.call("GET", WORKERS)).json["workers"]
        assert (view["name"], view["status"], view["serve"]) == ("w", "silent", None)
        answer = await server.poll()
        assert (answer["jobs"], answer["control"]) == ([], [{"do": "drain"}])
        await server.call("DELETE", f"{WORKERS}/w/drain")
        assert len((await server.poll())["jobs"]) == 1
    finally:
        await server.close()


async def test_lists_go_page_by_page(server: Server) -> None:
    for name in ("b", "a", "c"):
        await server.poll(worker=name)
    found, query = [], "?limit=2"
    while query:
        reply = (await server.call("GET", WORKERS + query)).json
        found.append([one["name"] for one in reply["workers"]])
        query = f"?limit=2&cursor={reply['next']}" if reply["next"] else ""
    assert found == [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    "query", ["?limit=0", "?limit=x", "?after=w", "?cursor=%C3%A9", "?cursor=x"]
)
async def test_a_bad_question_is_told(server: Server, query: str) -> None:
    reply = await server.call("GET", WORKERS + query)
    assert (reply.status, reply.code in ("request_malformed", "cursor_invalid")) == (400, True)


async def test_a_worker_that_nobody_knows_is_missing_on_every_route(server: Server) -> None:
    for method, path in (
        ("GET", "/w"),
        ("POST", "/w/drain"),
        ("POST", "/w/quit"),
        ("DELETE", "/w/drain"),
        ("GET", "/w?tenant=t"),
    ):
        reply = await server.call(method, WORKERS + path)
        assert (reply.status, reply.code) == (404, "worker_unknown"), path


async def test_names_of_all_kinds_can_be_drained(server: Server) -> None:
    for name in ("a/b", "ü" * 200, "x y", "\0", "a%b"):
        await server.poll(worker=name)
        path = URL(f"{WORKERS}/{quote(name, safe='')}/drain", encoded=True)
        assert (await server.send("POST", path)).status == 200, name  # type: ignore[arg-type]
        assert (await server.poll(worker=name))["control"] == [{"do": "drain"}], name
