"""The root surface: other shapes, the same jobs."""

import asyncio
from typing import Any

import msgspec
import pytest
from http_tools import Reply, Server

from headrace.core.job import STATUS_WORDS, Status
from headrace.http.handlers.root import FILTERS, SHOWN
from headrace.wire import limits

JOBS = "/jobs"
AGES_AGO_S = 1_600_000_000


async def submit(server: Server, **fields: Any) -> str:
    reply = await server.call("POST", JOBS, {"type": "work", **fields})
    assert reply.status == 202, reply.body
    return str(reply.json["job_id"])


async def get(server: Server, job_id: str) -> Any:
    reply = await server.call("GET", f"{JOBS}/{job_id}")
    assert (reply.status, reply.json["success"]) == (200, True)
    return reply.json["job"]


async def listed(server: Server, query: str = "", **headers: str) -> list[str]:
    reply = await server.call("GET", f"{JOBS}?{query}", **headers)
    assert reply.json["success"], reply.body
    assert reply.json["count"] == len(reply.json["jobs"])
    return [job["id"] for job in reply.json["jobs"]]


def refused(reply: Reply, status: int, code: str) -> Any:
    """Say that it is a problem, with what clients of this surface look for."""
    assert (reply.status, reply.code) == (status, code)
    assert reply.json["success"] is False
    assert isinstance(reply.json["error"], str)
    return reply.json


# Submit -----------------------------------------------------------------------------------------


async def test_a_submit_is_accepted_with_three_members(server: Server) -> None:
    reply = await server.call("POST", JOBS, {"type": "t", "parameters": {"a": [1]}})
    assert reply.status == 202
    job_id = reply.json["job_id"]
    assert reply.json == {"success": True, "job_id": job_id, "status": "queued"}
    assert reply.headers["Commit-Position"].startswith("0:")
    assert (await get(server, job_id))["params"] == {"a": [1]}


async def test_params_and_all_other_fields_are_those_of_the_api(server: Server) -> None:
    job = {"type": "t", "idempotency_key": "8f14", "params": {}, "priority": "high"}
    job_id = await submit(server, **job, timeout="90s", max_retries=7, retry_delay=5, tags=["x"])
    shown = await get(server, job_id)
    found = ("timeout_sec", "max_retries", "retry_delay_sec", "priority", "idempotency_key", "tags")
    assert [shown[name] for name in found] == [90, 7, 5, 7, "8f14", ["x"]]
    both = (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]
    assert (both["params"], both["timeout"]) == ({}, 90)


async def test_a_repeated_key_gives_the_same_job_on_both_surfaces(server: Server) -> None:
    job = {"type": "t", "idempotency_key": "k"}
    first = await server.call("POST", "/api/v1/jobs", job)
    again = await server.call("POST", JOBS, job)
    by_header = await server.call("POST", JOBS, {"type": "t"}, Idempotency_Key="k")
    for reply in (again, by_header):
        assert (reply.status, reply.json["job_id"]) == (202, first.json["job_id"])
        assert reply.json["replayed"] is True
        assert reply.headers["Idempotent-Replayed"] == "true"
    other = await server.call("POST", JOBS, {"type": "u", "idempotency_key": "k"})
    refused(other, 409, "idempotency_key_reused")


async def test_a_delayed_job_is_told_as_queued(server: Server) -> None:
    job_id = await submit(server, delay="1h")
    job = await get(server, job_id)
    assert (job["status"], job["state"]) == ("queued", "scheduled")
    assert job["eta"] == job["scheduled_at"]
    assert job["eta"] - job["created_at"] in (3_600, 3_601)


async def test_messagepack_is_spoken_here_too(server: Server) -> None:
    headers = dict.fromkeys(("Content-Type", "Accept"), "application/msgpack")
    body = msgspec.msgpack.encode({"type": "t"})
    reply = await server.send("POST", JOBS, data=body, headers=headers)
    assert reply.status == 202
    assert msgspec.msgpack.decode(reply.body)["success"] is True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "field_invalid"),
        (b'{"type": 1}', "field_invalid"),
        (b'{"type": "t", "colour": "red"}', "field_invalid"),
        (b'{"type": "t", "priority": "soon"}', "field_invalid"),
        (b'{"type": "t"', "body_malformed"),
        (b'[{"type": "t"}]', "body_malformed"),
        (b" \n[]", "body_malformed"),
        (b"", "body_malformed"),
    ],
)
async def test_a_body_that_is_no_job_is_a_400(server: Server, body: bytes, code: str) -> None:
    reply = await server.send("POST", JOBS, data=body, headers={"Content-Type": "application/json"})
    refused(reply, 400, code)
    assert await listed(server) == []


async def test_a_job_that_is_too_large_is_a_413(server: Server) -> None:
    params = {"text": "x" * limits.SPEC_BYTES_MAX}
    reply = await server.call("POST", JOBS, {"type": "t", "params": params})
    refused(reply, 413, "spec_too_large")


async def test_refusals_before_and_beside_the_handler_have_the_shape_too(server: Server) -> None:
    refused(await server.call("GET", f"{JOBS}?colour=red"), 400, "request_malformed")
    refused(await server.send("PATCH", JOBS), 405, "method_not_allowed")
    refused(await server.call("GET", f"{JOBS}/a/b"), 404, "route_unknown")
    elsewhere = await server.call("GET", "/api/v1/jobs/x")
    assert "success" not in elsewhere.json


# Look -------------------------------------------------------------------------------------------


async def test_a_job_is_shown_through_its_life(server: Server) -> None:
    job_id = await submit(server)
    job = await get(server, job_id)
    assert (job["id"], job["job_id"], job["type"], job["progress"]) == (job_id, job_id, "work", 0)
    assert (job["status"], job["state"]) == ("queued", "queued")
    nothing_yet = ("started_at", "completed_at", "result", "error", "eta", "locked_by", "details")
    assert all(job[name] is None for name in nothing_yet)
    assert (job["tenant_id"], job["user_id"]) == ("default", "anonymous")
    created_at = job["created_at"]
    assert created_at == job["scheduled_at"] == job["updated_at"] > AGES_AGO_S

    lease = await server.lease()
    job = await get(server, job_id)
    assert (job["status"], job["state"], job["locked_by"]) == ("running", "locked", "w")
    news = {"started": True, "progress": 0.67, "details": "two of three"}
    await server.call("POST", f"/api/v1/leases/{lease}/progress", news)
    job = await get(server, job_id)
    assert (job["status"], job["state"]) == ("running", "running")
    assert (job["progress"], job["progress_details"]) == (0.67, "two of three")
    assert job["started_at"] >= created_at

    done = {"result": {"scenes_loaded": 3}}
    await server.call("POST", f"/api/v1/leases/{lease}/complete", done)
    job = await get(server, job_id)
    assert (job["status"], job["progress"], job["error"]) == ("completed", 1, None)
    assert job["result"] == {"scenes_loaded": 3}
    assert job["completed_at"] == job["updated_at"] >= job["started_at"]
    assert all(type(job[name]) is int for name in ("created_at", "started_at", "completed_at"))


async def test_a_failed_job_shows_its_error_and_how_often_it_was_tried(server: Server) -> None:
    job_id = await submit(server, max_retries=1, retry_delay=0)
    for tried in range(2):
        assert (await get(server, job_id))["retries"] == 0
        lease = await server.lease()
        assert (await get(server, job_id))["retries"] == tried
        failure = {"error": "no such file", "code": "missing", "retry_delay": 0}
        await server.call("POST", f"/api/v1/leases/{lease}/fail", failure)
    job = await get(server, job_id)
    assert (job["status"], job["error"], job["details"]) == ("failed", "no such file", "missing")
    assert (job["retries"], job["result"]) == (1, None)


async def test_a_job_that_timed_out_ends_the_loops_of_clients_that_know_only_failed(
    server: Server,
) -> None:
    job_id = await submit(server)
    lease = await server.lease()
    report = {"lease": lease, "outcome": "timeout", "error": "too slow"}
    await server.poll(reports=[report], max_jobs=0)
    job = await get(server, job_id)
    assert (job["status"], job["state"], job["error"]) == ("failed", "timeout", "too slow")


def test_every_status_is_told_by_one_of_the_words_and_found_by_it() -> None:
    ends = {SHOWN[status] for status in Status if status >= Status.COMPLETED}
    assert ends == {"completed", "failed", "cancelled"}
    assert all(status in FILTERS[shown] for status, shown in SHOWN.items())
    assert FILTERS.keys() >= STATUS_WORDS.keys()
    assert all(FILTERS[word] == STATUS_WORDS[word] for word in ("waiting", "pending", "processing"))


async def test_lists_are_filtered_by_the_words_that_are_shown(server: Server) -> None:
    running, delayed, queued, gone = [
        await submit(server, priority=priority, delay=delay)
        for priority, delay in ((9, 0), (5, "1h"), (5, 0), (5, 0))
    ]
    assert await server.lease()
    await server.call("DELETE", f"{JOBS}/{gone}")
    assert await listed(server) == [gone, queued, delayed, running]
    assert await listed(server, "order=scheduled_at") == [running, queued, gone, delayed]
    assert await listed(server, "page=2&limit=2&order=-scheduled_at") == [queued, running]
    assert await listed(server, "status=running") == [running]
    assert await listed(server, "status=running,cancelled") == [gone, running]
    assert await listed(server, "status=queued") == [queued, delayed]
    assert await listed(server, "status=waiting") == [queued, delayed]
    assert await listed(server, "status=scheduled") == [delayed]
    assert await listed(server, "status=retrying") == []
    assert await listed(server, "type=work&status=canceled,failed") == [gone]
    assert await listed(server, X_User_ID="bob") == []
    refused(await server.call("GET", f"{JOBS}?status=done"), 400, "request_malformed")


async def test_pages_follow_by_cursor(server: Server) -> None:
    mine = [await submit(server) for _ in range(3)][::-1]
    first = (await server.call("GET", f"{JOBS}?limit=2")).json
    second = (await server.call("GET", f"{JOBS}?limit=2&cursor={first['next']}")).json
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == mine
    assert "result" not in first["jobs"][0]
    assert "next" not in second


async def test_a_wait_ends_with_the_job(server: Server) -> None:
    job_id = await submit(server)
    lease = await server.lease()
    waiting = asyncio.create_task(server.call("GET", f"{JOBS}/{job_id}?wait=30s"))
    while not server.site._waits:
        await asyncio.sleep(0)
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    assert (await waiting).json["job"]["status"] == "completed"


# Control ----------------------------------------------------------------------------------------


async def test_delete_cancels_what_waits_and_removes_what_has_ended(server: Server) -> None:
    job_id = await submit(server)
    reply = await server.call("DELETE", f"{JOBS}/{job_id}")
    assert reply.status == 200
    assert reply.json == {"success": True, "message": "Job cancelled", "job_id": job_id}
    assert "Commit-Position" in reply.headers
    assert (await get(server, job_id))["status"] == "cancelled"
    reply = await server.call("DELETE", f"{JOBS}/{job_id}")
    assert (reply.status, reply.json["message"]) == (200, "Job removed")
    refused(await server.call("DELETE", f"{JOBS}/{job_id}"), 404, "job_unknown")
    refused(await server.call("GET", f"{JOBS}/{job_id}"), 404, "job_unknown")


async def test_delete_of_a_running_job_is_a_400_that_tells_another_way(server: Server) -> None:
    job_id = await submit(server)
    lease = await server.lease()
    reply = await server.call("DELETE", f"{JOBS}/{job_id}")
    problem = refused(reply, 400, "job_state_conflict")
    assert problem["error"] == "Can only cancel queued jobs"
    assert problem["job_status"] == "locked"
    cancelled = await server.call("POST", problem["cancel"])
    assert cancelled.json == {
        "success": True,
        "job_id": job_id,
        "status": "running",
        "state": "canceling",
    }
    await server.poll(reports=[{"lease": lease, "outcome": "cancelled"}], max_jobs=0)
    assert (await get(server, job_id))["status"] == "cancelled"


async def test_a_job_is_suspended_and_resumed(server: Server) -> None:
    job_id = await submit(server)
    reply = await server.call("POST", f"{JOBS}/{job_id}/suspend")
    assert (reply.json["status"], reply.json["state"]) == ("suspended", "suspended")
    assert await listed(server, "status=suspended") == [job_id]
    reply = await server.call("POST", f"{JOBS}/{job_id}/resume")
    assert (reply.json["status"], reply.json["state"]) == ("queued", "resuming")
    reply = await server.call("POST", f"{JOBS}/{job_id}/cancel")
    assert (reply.status, reply.json["status"]) == (200, "cancelled")
    reply = await server.call("POST", f"{JOBS}/{job_id}/resume")
    refused(reply, 409, "job_state_conflict")


ID_ROUTES = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("POST", "/suspend"),
    ("POST", "/resume"),
]


@pytest.mark.parametrize(("method", "tail"), ID_ROUTES)
async def test_strangers_meet_the_same_fences_here(server: Server, method: str, tail: str) -> None:
    made = await server.call("POST", JOBS, {"type": "t"}, X_User_ID="ann", X_Tenant_ID="acme")
    path = f"{JOBS}/{made.json['job_id']}{tail}"
    foreign = await server.call(method, path, X_User_ID="ann", X_Tenant_ID="other")
    no_id = await server.call(method, f"{JOBS}/1{tail}")
    refused(foreign, 404, "job_unknown")
    assert foreign.body == no_id.body
    mate = await server.call(method, path, X_User_ID="bob", X_Tenant_ID="acme")
    refused(mate, 403, "forbidden")


async def test_any_bearer_token_is_taken_in_open_mode(server: Server) -> None:
    reply = await server.call("POST", JOBS, {"type": "t"}, Authorization="Bearer your_api_token")
    assert reply.status == 202


# Types and groups -------------------------------------------------------------------------------

RESIZE = {
    "group": "pictures",
    "name": "Resize a picture",
    "description": "To a width",
    "timeout": "90s",
    "max_retries": 4,
    "retry_delay": 2.5,
    "suspendable": False,
    "params_schema": {"type": "object", "required": ["width"]},
}


async def made(server: Server, path: str, body: Any) -> None:
    reply = await server.call("PUT", f"/api/v1/{path}", body, X_User_ID="admin")
    assert reply.status == 200, reply.body


async def test_job_types_are_listed_and_shown(server: Server) -> None:
    await made(server, "job-groups/pictures", {"queue": "compute", "description": "All of them"})
    await made(server, "job-types/resize", RESIZE)
    await made(server, "job-types/plain", {})
    reply = await server.call("GET", "/job-types/resize")
    assert reply.status == 200
    assert reply.json == {
        "success": True,
        "job_type": {
            "id": "resize",
            "type_id": "resize",
            "name": "Resize a picture",
            "group": "pictures",
            "queue": "compute",
            "description": "To a width",
            "timeout_sec": 90,
            "max_retries": 4,
            "retry_delay_sec": 2.5,
            "suspendable": False,
            "params_schema": RESIZE["params_schema"],
        },
    }
    reply = await server.call("GET", "/job-types?page=1&limit=10")
    assert [found["id"] for found in reply.json["job_types"]] == ["plain", "resize"]
    assert (reply.json["success"], reply.json["count"], reply.json["total"]) == (True, 2, 2)
    reply = await server.call("GET", "/job-types?page=2&limit=1")
    assert [found["id"] for found in reply.json["job_types"]] == ["resize"]
    assert (reply.json["count"], reply.json["total"]) == (1, 2)
    assert (await server.call("GET", "/job-types?page=3&limit=1")).json["job_types"] == []


async def test_a_job_of_a_type_gets_what_the_type_says(server: Server) -> None:
    await made(server, "job-groups/pictures", {"queue": "compute"})
    await made(server, "job-types/resize", RESIZE)
    reply = await server.call("POST", JOBS, {"type": "resize", "params": {}})
    assert reply.status in (400, 422)
    assert reply.json["success"] is False
    job = await get(server, await submit(server, type="resize", params={"width": 1}))
    assert (job["queue"], job["timeout_sec"], job["max_retries"]) == ("compute", 90, 4)


async def test_job_groups_are_listed_and_shown(server: Server) -> None:
    await made(server, "job-groups/pictures", {"queue": "compute", "description": "All of them"})
    shown = {
        "id": "pictures",
        "name": "pictures",
        "queue": "compute",
        "description": "All of them",
    }
    reply = await server.call("GET", "/job-groups/pictures")
    assert reply.json == {"success": True, "job_group": shown}
    reply = await server.call("GET", "/job-groups?page=1&limit=10")
    assert reply.json == {"success": True, "job_groups": [shown], "count": 1, "total": 1}


@pytest.mark.parametrize("path", ["/job-types", "/job-groups"])
async def test_what_is_no_type_or_group_is_a_404_and_no_page_a_400(
    server: Server, path: str
) -> None:
    refused(await server.call("GET", f"{path}/none"), 404, "document_unknown")
    for query in ("page=0", "limit=0", "limit=1001", "page=x", "after=a"):
        refused(await server.call("GET", f"{path}?{query}"), 400, "request_malformed")
    refused(await server.send("PUT", f"{path}/a", data=b"{}"), 405, "method_not_allowed")


async def test_what_is_not_understood_as_http_is_refused_in_both_shapes(server: Server) -> None:
    for path in ("/job-types?page=" + "9" * 9_000, "/api/v1/jobs?limit=" + "9" * 9_000):
        refused(await server.call("GET", path), 400, "request_malformed")
