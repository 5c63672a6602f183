"""The log of requests: one line each, with ids and times, and nothing that a client wrote."""

import logging
from typing import Any

import pytest
from http_tools import open_server

CANARY = "canary-5d1e"


async def test_each_request_has_a_line_with_its_ids_route_status_and_time(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "headrace.access")
    server = await open_server(access_log=True)
    made = await server.call("POST", "/api/v1/keys", {"scopes": ["admin", "submit", "read"]})
    bearer = {"Authorization": f"Bearer {made.json['key']}"}
    body = {"type": CANARY, "params": {"secret": CANARY}, "tags": [CANARY]}
    job = await server.call("POST", "/api/v1/jobs", body, **bearer)
    job_id = job.json["job_id"]
    await server.call("GET", f"/api/v1/jobs/{job_id}?wait=0s", **bearer)
    await server.call("GET", f"/api/v1/jobs?name={CANARY}", **bearer)
    await server.call("GET", f"/{CANARY}?{CANARY}=1")
    refused = await server.call("GET", f"/api/v1/jobs/{job_id}", Authorization=f"Bearer {CANARY}")
    lines = [record for record in caplog.records if record.name == "headrace.access"]
    assert [(line.route, line.method, line.status) for line in lines] == [
        ("key_create", "POST", 200),
        ("jobs_submit", "POST", 200),
        ("job_get", "GET", 200),
        ("jobs_list", "GET", 200),
        ("unrouted", "GET", 404),
        ("job_get", "GET", 401),
    ]
    assert all(line.ms >= 0 for line in lines)
    assert lines[1].key_id == made.json["id"]
    assert lines[2].job_id == job_id
    assert lines[5].request_id == refused.headers["X-Request-Id"]
    told = "".join(str(line.__dict__) for line in lines)
    assert CANARY not in told
    assert made.json["key"] not in told
    await server.close()


async def test_a_trace_is_named_in_the_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace.access")
    server = await open_server(access_log=True)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await server.call("POST", "/api/v1/jobs", {"type": "t"}, traceparent=parent)
    (line,) = (vars(record) for record in caplog.records if record.name == "headrace.access")
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    await server.close()


async def test_without_it_nothing_is_logged_and_the_lane_is_taken(caplog: Any) -> None:
    caplog.set_level(logging.INFO, "headrace.access")
    server = await open_server()
    assert not server.site.watches
    await server.submit()
    assert not [record for record in caplog.records if record.name == "headrace.access"]
    await server.close()
