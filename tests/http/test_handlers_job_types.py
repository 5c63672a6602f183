"""Job types and groups over HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from http_tools import Server, open_server

TYPES, GROUPS = "/api/v1/job-types", "/api/v1/job-groups"
RESIZE = {
    "group": "images",
    "name": "Resize an image",
    "description": "To one side",
    "timeout": "90s",
    "max_retries": 4,
    "retry_delay": 2,
    "retry_backoff": 1.5,
    "priority": "high",
    "requirements": {"cpu_cores": 0.5, "memory_mb": 64},
    "suspendable": False,
    "retention": "2h",
    "params_schema": {
        "type": "object",
        "required": ["size"],
        "properties": {"size": {"type": "integer", "minimum": 1}},
    },
}


async def put(server: Server, path: str, body: Any) -> Any:
    reply = await server.call("PUT", path, body)
    assert reply.status == 200, reply.body
    return reply.json


async def resize(server: Server) -> None:
    await put(server, f"{GROUPS}/images", {"queue": "download"})
    await put(server, f"{TYPES}/resize", RESIZE)


async def test_a_type_comes_back_as_it_was_put(server: Server) -> None:
    await resize(server)
    reply = await server.call("GET", f"{TYPES}/resize")
    view = reply.json
    assert view["params_schema"] == RESIZE["params_schema"]
    assert (view["id"], view["group"], view["queue"]) == ("resize", "images", "download")
    assert (view["timeout"], view["retry_delay"], view["retention"]) == (90, 2, 7_200)
    assert (view["priority"], view["suspendable"]) == (7, False)
    assert view["requirements"]["memory_mb"] == 64
    assert reply.headers["ETag"] == f'"{view["version"]}"'
    listed = (await server.call("GET", TYPES)).json
    assert (listed["job_types"], listed["count"], listed["next"]) == ([view], 1, None)
    (group,) = (await server.call("GET", GROUPS)).json["job_groups"]
    assert (group["id"], group["queue"]) == ("images", "download")
    assert (await server.call("GET", f"{GROUPS}/images")).json == group


async def test_a_bare_type_says_nothing(server: Server) -> None:
    view = await put(server, f"{TYPES}/bare", {})
    assert (view["name"], view["queue"], view["group"]) == ("bare", "default", None)
    assert view["timeout"] is view["params_schema"] is view["requirements"] is None
    assert view["suspendable"] is True
    view = await put(server, f"{TYPES}/bare", {"params_schema": None, "timeout": ""})
    assert view["params_schema"] is view["timeout"] is None


async def test_jobs_of_a_type_get_its_defaults(server: Server) -> None:
    await resize(server)
    job_id = await server.submit(type="resize", params={"size": 3})
    job = (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]
    assert (job["queue"], job["timeout"], job["max_retries"]) == ("download", 90, 4)
    assert (job["priority"], job["requirements"]) == (7, {"cpu_cores": 0.5, "memory_mb": 64})
    job_id = await server.submit(type="resize", params={"size": 3}, queue="default", timeout=5)
    job = (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]
    assert (job["queue"], job["timeout"]) == ("default", 5)


async def test_a_change_counts_for_the_next_job(server: Server) -> None:
    for timeout in (5, 6, 7):
        await put(server, f"{TYPES}/work", {"timeout": timeout})
        job_id = await server.submit()
        job = (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]
        assert job["timeout"] == timeout
    await server.call("DELETE", f"{TYPES}/work")
    job_id = await server.submit()
    assert (await server.call("GET", f"/api/v1/jobs/{job_id}")).json["job"]["timeout"] == 3600


async def test_params_that_do_not_fit_are_refused_with_pointers(server: Server) -> None:
    await resize(server)
    body = {"type": "resize", "params": {"size": "secret"}}
    for lane in ({}, {"X_Way": "aiohttp"}):
        reply = await server.call("POST", "/api/v1/jobs", body, **lane)
        assert (reply.status, reply.code) == (400, "params_invalid")
        assert reply.json["errors"] == [
            {"pointer": "/params/size", "reason": 'it is not of type "integer"'}
        ]
        assert reply.json["pointer"] == "/params/size"
        assert b"secret" not in reply.body
    reply = await server.call("POST", "/api/v1/jobs", {"type": "resize"})
    assert reply.json["pointer"] == "/params"


async def test_a_batch_tells_which_of_its_jobs_do_not_fit(server: Server) -> None:
    await resize(server)
    good = {"type": "resize", "params": {"size": 1}}
    bad = {"type": "resize", "params": {"size": 0}}
    reply = await server.call("POST", "/api/v1/jobs", [good, bad, good, bad])
    assert (reply.status, reply.code) == (400, "batch_invalid")
    assert [one["pointer"] for one in reply.json["problems"]] == [
        "/1/params/size",
        "/3/params/size",
    ]
    assert reply.json["problems"][0]["errors"][0]["pointer"] == "/1/params/size"
    assert (await server.call("GET", "/api/v1/jobs")).json["count"] == 0
    reply = await server.call("POST", "/api/v1/jobs", [good] * 3)
    assert reply.status == 200
    assert len(reply.json) == 3


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"group": "nobody"}, "field_invalid", "/group"),
        ({"timeout": "-1s"}, "field_invalid", "/timeout"),
        ({"timeout": "99999d"}, "field_invalid", "/timeout"),
        ({"max_retries": 1001}, "field_invalid", "/max_retries"),
        ({"retry_delay": "8d"}, "field_invalid", "/retry_delay"),
        ({"retry_backoff": 0.5}, "field_invalid", "/retry_backoff"),
        ({"priority": "urgent"}, "field_invalid", "/priority"),
        ({"requirements": {"cpu_cores": 1e30}}, "field_invalid", "/requirements/cpu_cores"),
        ({"retention": "-1s"}, "field_invalid", "/retention"),
        ({"name": "a\nb"}, "field_invalid", "/name"),
        ({"bogus": 1}, "field_invalid", "/bogus"),
        ({"params_schema": {"type": "nope"}}, "schema_refused", "/params_schema/type"),
        ({"params_schema": {"$ref": "http://x/y"}}, "schema_refused", "/params_schema"),
        ({"params_schema": 3}, "schema_refused", "/params_schema"),
    ],
)
async def test_settings_have_bounds(
    server: Server, body: dict[str, Any], code: str, pointer: str
) -> None:
    reply = await server.call("PUT", f"{TYPES}/t", body)
    assert (reply.status, reply.code) == (422 if code == "schema_refused" else 400, code)
    assert reply.json["pointer"] == pointer
    assert (await server.call("GET", f"{TYPES}/t")).status == 404


async def test_a_schema_too_large_to_keep_is_refused(server: Server) -> None:
    large = {"properties": {f"name{number}": {} for number in range(6_000)}}
    reply = await server.call("PUT", f"{TYPES}/t", {"params_schema": large})
    assert reply.status in (400, 422)


async def test_jobs_that_cannot_be_suspended_are_not(server: Server) -> None:
    await resize(server)
    job_id = await server.submit(type="resize", params={"size": 3})
    reply = await server.call("POST", f"/api/v1/jobs/{job_id}/suspend")
    assert (reply.status, reply.code) == (409, "job_state_conflict")
    assert reply.json["job_status"] == "queued"
    await put(server, f"{TYPES}/resize", {**RESIZE, "suspendable": True})
    reply = await server.call("POST", f"/api/v1/jobs/{job_id}/suspend")
    assert (reply.status, reply.json["status"]) == (200, "suspended")


async def test_a_group_with_types_stays(server: Server) -> None:
    await resize(server)
    reply = await server.call("DELETE", f"{GROUPS}/images")
    assert (reply.status, reply.code) == (409, "document_in_use")
    assert (await server.call("DELETE", f"{TYPES}/resize")).status == 200
    assert (await server.call("DELETE", f"{GROUPS}/images")).json["removed"] is True
    for path in (f"{TYPES}/resize", f"{GROUPS}/images"):
        for method in ("GET", "DELETE"):
            reply = await server.call(method, path)
            assert (reply.status, reply.code) == (404, "document_unknown")


async def test_conditions_guard_types_too(server: Server) -> None:
    first = await server.call("PUT", f"{TYPES}/t", {}, If_None_Match="*")
    assert (await server.call("PUT", f"{TYPES}/t", {}, If_None_Match="*")).status == 412
    await server.call("PUT", f"{TYPES}/t", {}, If_Match=first.headers["ETag"])
    reply = await server.call("DELETE", f"{TYPES}/t", If_Match=first.headers["ETag"])
    assert (reply.status, reply.code) == (412, "precondition_failed")


async def test_lists_come_in_pages(server: Server) -> None:
    await asyncio.gather(*(put(server, f"{TYPES}/t{number}", {}) for number in range(5)))
    page = (await server.call("GET", f"{TYPES}?limit=2")).json
    assert [one["id"] for one in page["job_types"]] == ["t0", "t1"]
    page = (await server.call("GET", f"{TYPES}?limit=9&after={page['next']}")).json
    assert [one["id"] for one in page["job_types"]] == ["t2", "t3", "t4"]


async def test_a_server_may_take_registered_types_only() -> None:
    server = await open_server(types="registered_only")
    reply = await server.call("POST", "/api/v1/jobs", {"type": "work"})
    assert (reply.status, reply.code) == (422, "type_unknown")
    assert (await server.call("PUT", f"{TYPES}/work", {})).status == 200
    await server.submit()
    await server.close()


async def test_types_outlive_the_process(tmp_path: Path) -> None:
    options = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    server = await open_server(**options)
    await resize(server)
    before = (await server.call("GET", TYPES)).json
    await server.close()
    server = await open_server(**options)
    assert (await server.call("GET", TYPES)).json == before
    reply = await server.call("POST", "/api/v1/jobs", {"type": "resize", "params": {}})
    assert reply.code == "params_invalid"
    await server.close()


async def test_jobs_of_a_type_may_be_kept_for_ever(server: Server) -> None:
    reply = await server.call("PUT", "/api/v1/job-types/book", {"retention": "never"})
    assert reply.json["retention"] == "never"
    assert (await server.call("GET", "/api/v1/job-types/book")).json["retention"] == "never"
    reply = await server.call("PUT", "/api/v1/job-types/book", {})
    assert reply.json["retention"] is None
    for bad in ("ever", -1, "4000d", 400_000_000):
        reply = await server.call("PUT", "/api/v1/job-types/book", {"retention": bad})
        assert (reply.status, reply.code) == (400, "field_invalid"), bad
