import asyncio
import base64
from typing import Any

import msgspec
import pytest
from http_tools import EMPTY_MODULE, Server

POLL = "/api/v1/work/poll"


async def parked(server: Server, polls: int = 1) -> None:
    while server.node.pump.stats().parked_polls != polls:
        await asyncio.sleep(0)


async def test_a_poll_gives_the_spec_as_it_is_stored(server: Server) -> None:
    job_id = await server.submit(params={"a": 1}, timeout="1m")
    answer = await server.poll()
    (work,) = answer["jobs"]
    assert work.keys() == {"lease", "job", "attempt", "deadline"}
    assert (work["job"]["id"], work["job"]["params"], work["attempt"]) == (job_id, {"a": 1}, 1)
    assert (answer["acks"], answer["control"]) == ([], [])
    assert (answer["lease_term"], answer["poll_again"]) == ("30s", "0s")


async def test_a_poll_that_waits_hears_of_a_job_at_once(server: Server) -> None:
    waiting = asyncio.create_task(server.poll(wait="60s"))
    await parked(server)
    job_id = await server.submit()
    assert (await waiting)["jobs"][0]["job"]["id"] == job_id


async def test_a_wait_without_work_ends_empty(server: Server) -> None:
    answer = await server.poll(wait="20ms")
    assert (answer["jobs"], answer["acks"], answer["control"]) == ([], [], [])


async def test_reports_are_acked_one_by_one(server: Server) -> None:
    for _ in range(3):
        await server.submit()
    leases = [work["lease"] for work in (await server.poll(max_jobs=3))["jobs"]]
    reports: list[dict[str, Any]] = [
        {"lease": leases[0], "outcome": "completed", "result": {"x": 1}},
        {"lease": leases[1], "outcome": "failed", "error": "e", "permanent": True},
        {"lease": leases[2], "outcome": "suspended", "checkpoint": {"at": 7}},
        {"lease": "nonsense", "outcome": "completed"},
    ]
    acks = (await server.poll(reports=reports, max_jobs=0))["acks"]
    assert acks[:3] == [
        {"lease": leases[0], "ok": True, "status": "completed"},
        {"lease": leases[1], "ok": True, "status": "failed"},
        {"lease": leases[2], "ok": True, "status": "suspended"},
    ]
    assert acks[3]["problem"]["code"] == "lease_unknown"
    assert (await server.poll(reports=reports[:1], max_jobs=0))["acks"] == acks[:1]


async def test_a_checkpoint_comes_back_with_the_next_run(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    report = {"lease": lease, "outcome": "suspended", "checkpoint": {"at": [7]}}
    await server.poll(reports=[report], max_jobs=0)
    await server.call("POST", f"/api/v1/jobs/{job_id}/resume")
    (work,) = (await server.poll())["jobs"]
    assert (work["checkpoint"], work["attempt"]) == ({"at": [7]}, 2)


async def test_a_cancel_reaches_a_parked_poll(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    waiting = asyncio.create_task(server.poll(max_jobs=0, running=[lease], wait="60s"))
    await parked(server)
    await server.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    assert (await waiting)["control"] == [{"do": "cancel", "lease": lease}]
    lost = await server.poll(max_jobs=0, running=["gone"])
    assert lost["control"] == [{"do": "lost", "lease": "gone"}]


async def test_a_worker_gets_only_what_fits_and_what_it_serves(server: Server) -> None:
    needs = {"cpu_cores": 2, "memory_mb": 100, "gpu_count": 0.5, "gpu_type": "A100"}
    await server.submit(type="gpu", requirements={**needs, "labels": {"zone": "a"}}, queue="q")
    free = {"cpu_cores": 2, "memory_mb": 100, "gpu_count": 1, "gpu_type": "A100"}
    fitting: dict[str, Any] = {
        "free": free,
        "labels": {"zone": "a", "more": ""},
        "serve": {"types": ["gpu"], "queues": ["q"]},
    }
    for unfit in (
        {**fitting, "free": {**free, "cpu_cores": 1.9}},
        {**fitting, "free": {**free, "gpu_type": "T4"}},
        {**fitting, "labels": {}},
        {**fitting, "serve": {"types": ["cpu"]}},
        {**fitting, "serve": {"types": ["*"], "queues": ["other"]}},
    ):
        assert (await server.poll(**unfit))["jobs"] == []
    assert len((await server.poll(**fitting))["jobs"]) == 1


async def test_wasm_jobs_go_only_to_workers_that_run_them(server: Server) -> None:
    job = {
        "name": "n",
        "wasm_module": base64.b64encode(EMPTY_MODULE).decode(),
        "requirements": {"cpu_cores": 1, "memory_mb": 1},
    }
    await server.call("POST", "/api/v1/jobs", job)
    free = {"cpu_cores": 1, "memory_mb": 1}
    assert (await server.poll(free=free))["jobs"] == []
    (work,) = (await server.poll(free=free, serve={"wasm": True, "types": []}))["jobs"]
    assert "wasm_module" not in work["job"]


async def test_a_lost_answer_is_repeated_for_the_same_seq(server: Server) -> None:
    await server.submit()
    first = await server.poll(session="s", seq=1)
    again = await server.poll(session="s", seq=1)
    assert again["jobs"] == first["jobs"] != []


async def test_a_worker_that_goes_away_is_withdrawn(server: Server) -> None:
    waiting = asyncio.create_task(server.poll(wait="60s"))
    await parked(server)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await server.session.close()
    while server.node.pump.stats().parked_polls:
        await asyncio.sleep(0.001)


async def test_a_stopping_server_answers_parked_polls_and_refuses_new_ones(server: Server) -> None:
    waiting = [asyncio.create_task(server.poll(wait="60s", worker=f"w{i}")) for i in range(3)]
    await parked(server, 3)
    await server.site.drain()
    assert [answer["jobs"] for answer in await asyncio.gather(*waiting)] == [[], [], []]
    reply = await server.call("POST", POLL, {"worker": "w"})
    assert (reply.status, reply.code) == (503, "shutting_down")
    assert reply.headers["Retry-After"] == "1"
    assert (await server.call("GET", "/readyz")).status == 503


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"worker": ""}, "/worker"),
        ({"wait": "61s"}, "/wait"),
        ({"wait": "x"}, "/wait"),
        ({"free": {"cpu_cores": -1}}, "/free/cpu_cores"),
        ({"free": {"cpu_cores": 1e300}}, "/free/cpu_cores"),
        ({"total": {"gpu_count": 1e300}}, "/total/gpu_count"),
        ({"free": {"gpu_type": "a\n"}}, "/free/gpu_type"),
        ({"labels": {"a=": "b"}}, "/labels"),
        ({"max_jobs": 1001}, "/max_jobs"),
        ({"seq": 2**62}, "/seq"),
        ({"bogus": 1}, "/bogus"),
        ({"serve": {"tpyes": []}}, "/serve/tpyes"),
        ({"reports": [{"lease": "x", "outcome": "won"}]}, "/reports/0/outcome"),
        ({"reports": [{"lease": "x", "outcome": "failed", "output": "?"}]}, "/reports/0/output"),
        (
            {"reports": [{"lease": "x", "outcome": "failed", "output": "A" * 1_400_000}]},
            "/reports/0/output",
        ),
        (
            {"reports": [{"lease": "x", "outcome": "completed", "result": "A" * 1_100_000}]},
            "/reports/0/result",
        ),
        (
            {"reports": [{"lease": "x", "outcome": "suspended", "checkpoint": "A" * 1_100_000}]},
            "/reports/0/checkpoint",
        ),
        (
            {"reports": [{"lease": "x", "outcome": "failed", "retry_delay": "9d"}]},
            "/reports/0/retry_delay",
        ),
        ({"progress": [{"lease": "x", "progress": 2}]}, "/progress/0/progress"),
        ({"progress": [{"lease": "x", "log": "é" * 600_000}]}, "/progress/0/log"),
    ],
)
async def test_a_bad_field_of_a_poll_is_pointed_at(
    server: Server, fields: dict[str, Any], pointer: str
) -> None:
    reply = await server.call("POST", POLL, {"worker": "w", **fields})
    assert (reply.status, reply.code) == (400, "field_invalid")
    assert reply.json["pointer"] == pointer


async def test_a_poll_in_messagepack_is_answered_in_it(server: Server) -> None:
    job_id = await server.submit(params={"a": [1, None, "é"]})
    media = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}
    body = msgspec.msgpack.encode({"worker": "w", "max_jobs": 1})
    reply = await server.send("POST", POLL, data=body, headers=media)
    assert reply.headers["Content-Type"] == "application/msgpack"
    (work,) = msgspec.msgpack.decode(reply.body)["jobs"]
    assert (work["job"]["id"], work["job"]["params"]) == (job_id, {"a": [1, None, "é"]})
    report = {"lease": work["lease"], "outcome": "completed", "output": b"hi"}
    body = msgspec.msgpack.encode({"worker": "w", "max_jobs": 0, "reports": [report]})
    assert (await server.send("POST", POLL, data=body, headers=media)).status == 200
    result = (await server.call("GET", f"/api/v1/jobs/{job_id}/result")).json
    assert result["output"] == "aGk="


# Single-purpose forms ---------------------------------------------------------------------------


async def test_a_lease_is_completed_by_itself_and_twice(server: Server) -> None:
    job_id = await server.submit()
    path = f"/api/v1/leases/{await server.lease()}/complete"
    for _ in range(2):
        reply = await server.call("POST", path, {"result": 5})
        assert (reply.status, reply.json["status"]) == (200, "completed")
        assert "Commit-Position" in reply.headers
    assert (await server.call("GET", f"/api/v1/jobs/{job_id}/result")).json["result"] == 5
    other = await server.call("POST", path.replace("complete", "fail"))
    assert (other.status, other.code) == (409, "lease_already_reported")


async def test_an_empty_body_is_enough(server: Server) -> None:
    await server.submit()
    reply = await server.send("POST", f"/api/v1/leases/{await server.lease()}/complete")
    assert reply.json["ok"]


async def test_a_failure_says_when_to_try_again(server: Server) -> None:
    await server.submit()
    path = f"/api/v1/leases/{await server.lease()}/fail"
    assert (await server.call("POST", path, {"retry_delay": 0})).json["status"] == "scheduled"
    second = (await server.poll(wait="10s"))["jobs"][0]
    assert second["attempt"] == 2
    path = f"/api/v1/leases/{second['lease']}/fail"
    assert (await server.call("POST", path, {"permanent": True})).json["status"] == "failed"


async def test_a_lease_is_given_back_now_or_for_later(server: Server) -> None:
    await server.submit()
    path = f"/api/v1/leases/{await server.lease()}/release"
    assert (await server.call("POST", path)).json["status"] == "queued"
    path = f"/api/v1/leases/{await server.lease()}/release"
    assert (await server.call("POST", path, {"retry_delay": "1h"})).json["status"] == "scheduled"


async def test_progress_tells_what_the_worker_shall_do(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    path = f"/api/v1/leases/{lease}/progress"
    assert (await server.call("POST", path, {"started": True})).json == {"lease": lease, "ok": True}
    await server.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    reply = await server.call("POST", path, {"progress": 0.5})
    assert reply.json["control"] == [{"do": "cancel", "lease": lease}]


async def test_leases_that_are_not_held_are_told_apart(server: Server) -> None:
    job_id = await server.submit()
    first = await server.lease()
    await server.call("POST", f"/api/v1/leases/{first}/release")
    await server.lease()
    stale = await server.call("POST", f"/api/v1/leases/{first}/complete")
    assert (stale.status, stale.code) == (409, "lease_stale")
    unknown = await server.call("POST", "/api/v1/leases/nonsense/complete")
    assert (unknown.status, unknown.code) == (404, "lease_unknown")
    late = await server.call("POST", f"/api/v1/leases/{first}/progress", {"progress": 1})
    assert (late.status, late.code) == (409, "lease_stale")
    assert (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]["status"] == "locked"
