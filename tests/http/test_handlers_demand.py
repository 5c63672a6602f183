"""Demand, explain and never-fit over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_tools import Server, open_server

from headrace.core import demand

DEMAND = "/api/v1/demand"
JOBS = "/api/v1/jobs"
NEEDS = {"cpu_cores": 2, "memory_mb": 512, "labels": {"zone": "a"}}


async def test_demand_is_a_number_for_autoscalers_and_vectors_by_class(server: Server) -> None:
    for _ in range(2):
        await server.submit(requirements=NEEDS)
    await server.submit(queue="other")
    found = (await server.call("GET", DEMAND)).json
    assert (found["value"], found["truncated"], found["classes_count"]) == (3, False, 2)
    first = found["classes"][0]
    assert first.pop("first_wait") >= 0
    assert first == {
        "queue": "default",
        "type": "work",
        "tenant_id": None,
        "cpu_cores": 2.0,
        "memory_mb": 512,
        "storage_mb": 0,
        "gpu_count": 0.0,
        "gpu_type": [],
        "labels": {"zone": "a"},
        "ready": 2,
        "fit": "unknown",
    }
    assert found["unknown"] == {
        "jobs": 3,
        "cpu_cores": 4.0,
        "memory_mb": 1024,
        "storage_mb": 0,
        "gpu_count": 0.0,
    }
    await server.poll(total={"cpu_cores": 1}, serve={"queues": ["default"]}, max_jobs=0)
    found = (await server.call("GET", f"{DEMAND}?queue=default")).json
    assert (found["value"], found["never"]["jobs"], found["busy"]["jobs"]) == (2, 2, 0)
    assert [queue["queue"] for queue in found["queues"]] == ["default"]
    assert (await server.call("GET", f"{DEMAND}?queue=nobodys")).json["value"] == 0


async def test_a_pause_is_told_apart_from_a_lack_of_workers(server: Server) -> None:
    await server.submit()
    await server.call("POST", "/api/v1/queues/default/pause")
    found = (await server.call("GET", DEMAND)).json
    assert (found["value"], found["held_back"]["jobs"]) == (0, 1)
    assert found["queues"][0]["paused"]


async def test_what_is_too_much_to_look_at_is_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for memory_mb in range(3):
        await server.submit(requirements={"memory_mb": memory_mb})
    monkeypatch.setattr(demand, "CLASSES_MAX", 2)
    found = (await server.call("GET", f"{DEMAND}?limit=1")).json
    assert (found["truncated"], len(found["classes"]), found["classes_count"]) == (True, 1, 2)
    assert (await server.call("GET", f"{DEMAND}?limit=0")).code == "request_malformed"


async def test_explain_tells_programs_what_it_tells_people(server: Server) -> None:
    await server.poll(worker="w-7", total={"cpu_cores": 4}, max_jobs=0)
    job_id = await server.submit(requirements={"cpu_cores": 8})
    found = (await server.call("GET", f"{JOBS}/{job_id}/explain")).json
    detail = "it needs 8 cpu_cores, the largest suitable worker has 4 cpu_cores"
    assert found["reasons"] == [detail]
    assert found["causes"] == [
        {
            "code": "too_large",
            "detail": detail,
            "dimension": "cpu_cores",
            "needs": 8.0,
            "most": 4.0,
            "worker": "w-7",
        }
    ]
    assert (found["position_min"], found["position_max"]) == (0, 0)


@pytest.fixture(params=[True, False], ids=["lane", "aiohttp"])
async def strict(request: Any) -> AsyncIterator[Server]:
    """A server that refuses what fits neither its workers nor its one shape."""
    shapes = {"pool": "cpu_cores=4; memory=1GiB; label.zone=a"}
    opened = await open_server(lane=request.param, never_fit="refuse", worker_shapes=shapes)
    try:
        yield opened
    finally:
        await opened.close()


async def test_what_can_never_fit_is_refused_with_the_dimension(strict: Server) -> None:
    await strict.submit(requirements={"cpu_cores": 4, "labels": {"zone": "a"}})
    for body, pointer in (
        ({"type": "t", "requirements": {"cpu_cores": 5}}, "/requirements"),
        (
            [{"type": "t"}, {"type": "t", "requirements": {"cpu_cores": 5}}],
            "/1/requirements",
        ),
    ):
        reply = await strict.call("POST", JOBS, body)
        assert (reply.status, reply.code) == (422, "requirements_never_fit")
        assert reply.json["pointer"] == pointer
        assert reply.json["causes"][0]["dimension"] == "cpu_cores"
    assert strict.node.pump.stats().jobs == 1
    await strict.poll(total={"cpu_cores": 8}, max_jobs=0)
    await strict.submit(requirements={"cpu_cores": 8})
