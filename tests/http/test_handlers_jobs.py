import asyncio
from pathlib import Path
from typing import Any

import pytest
from http_tools import Reply, Server, open_server

from headrace.store._new_rows import NewRows
from headrace.store.layout import Table
from headrace.wire import limits
from headrace.wire.durations import instant_ms

JOBS = "/api/v1/jobs"


async def get(server: Server, job_id: str, **headers: str) -> Reply:
    return await server.call("GET", f"{JOBS}/{job_id}", **headers)


async def test_a_job_is_shown_with_its_spec_and_its_status(server: Server) -> None:
    job_id = await server.submit(params={"a": [1, None]}, tags=["x"], priority="high")
    answer = (await get(server, job_id)).json
    job = answer["job"]
    assert (job["id"], job["type"], job["name"]) == (job_id, "work", "work")
    assert (job["params"], job["tags"], job["priority"]) == ({"a": [1, None]}, ["x"], 7)
    assert (job["status"], job["attempt"], job["progress"]) == ("queued", 0, 0)
    assert (job["owner"], job["tenant_id"]) == ("anonymous", "default")
    assert job["created_at"].endswith("Z")
    assert answer["result"] == {
        "job_id": job_id,
        "status": "queued",
        "result": None,
        "output": None,
        "output_cut": False,
        "error": None,
        "code": None,
        "exit_code": None,
        "started_at": None,
        "finished_at": None,
        "worker_id": None,
        "metrics": {},
    }


async def test_progress_of_a_running_job_is_shown(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    news = {"started": True, "progress": 0.25, "details": "a quarter"}
    await server.call("POST", f"/api/v1/leases/{lease}/progress", news)
    job = (await get(server, job_id)).json["job"]
    assert (job["status"], job["progress"]) == ("running", 0.25)
    assert (job["progress_details"], job["locked_by"]) == ("a quarter", "w")
    assert job["started_at"] is not None


async def test_the_result_of_a_finished_job_is_shown(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    path = f"{JOBS}/{job_id}/result"
    early = await server.call("GET", path)
    assert (early.status, early.code) == (409, "job_not_finished")
    assert early.json["job_status"] == "locked"
    done = {"result": {"n": 1}, "output": "aGk=", "exit_code": 3, "metrics": {"s": 1.5}}
    await server.call("POST", f"/api/v1/leases/{lease}/complete", done)
    result = (await server.call("GET", path)).json
    assert done.items() <= result.items()
    assert (result["status"], result["worker_id"]) == ("completed", "w")
    job = (await get(server, job_id)).json
    assert job["result"] == result
    assert job["job"]["progress"] == 1
    assert job["job"]["finished_at"] == result["finished_at"]


async def test_a_failed_job_shows_its_error(server: Server) -> None:
    job_id = await server.submit(max_retries=0)
    lease = await server.lease()
    await server.call("POST", f"/api/v1/leases/{lease}/fail", {"error": "boom", "code": "oops"})
    answer = (await get(server, job_id)).json
    assert (answer["job"]["status"], answer["job"]["error"]) == ("failed", "boom")
    assert (answer["result"]["error"], answer["result"]["code"]) == ("boom", "oops")


# Waiting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["query", "prefer"])
async def test_a_wait_ends_with_the_job(server: Server, how: str) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    path = f"{JOBS}/{job_id}" + ("?wait=30s" if how == "query" else "")
    headers = {} if how == "query" else {"Prefer": "respond-async, wait=30"}
    waiting = asyncio.create_task(server.send("GET", path, headers=headers))
    while not server.site._waits:
        await asyncio.sleep(0)
    await server.call("POST", f"/api/v1/leases/{lease}/progress", {"progress": 0.5})
    assert not waiting.done()
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    assert (await waiting).json["job"]["status"] == "completed"


async def test_a_wait_that_is_over_shows_the_job_as_it_is(server: Server) -> None:
    job_id = await server.submit()
    reply = await server.call("GET", f"{JOBS}/{job_id}?wait=30ms")
    assert reply.json["job"]["status"] == "queued"


async def test_a_wait_for_a_result_says_that_there_is_none_yet(server: Server) -> None:
    job_id = await server.submit()
    reply = await server.call("GET", f"{JOBS}/{job_id}/result?wait=0.03")
    assert reply.code == "job_not_finished"


async def test_a_stopping_server_lets_nobody_wait(server: Server) -> None:
    job_id = await server.submit()
    waiting = asyncio.create_task(server.call("GET", f"{JOBS}/{job_id}?wait=60s"))
    while not server.site._waits:
        await asyncio.sleep(0)
    await server.site.drain()
    assert (await waiting).json["job"]["status"] == "queued"
    late = await server.call("GET", f"{JOBS}/{job_id}?wait=60s")
    assert late.json["job"]["status"] == "queued"


async def test_nobody_may_wait_for_the_job_of_another(server: Server) -> None:
    job_id = await server.submit()
    path = f"{JOBS}/{job_id}/result?wait=60s"
    assert (await server.call("GET", path, X_User_ID="bob")).code == "forbidden"
    assert (await server.call("GET", path, X_Tenant_ID="acme")).code == "job_unknown"
    assert not server.site._waits


async def test_a_wait_ends_when_the_job_is_cancelled(server: Server) -> None:
    job_id = await server.submit()
    waiting = asyncio.create_task(server.call("GET", f"{JOBS}/{job_id}?wait=60s"))
    while not server.site._waits:
        await asyncio.sleep(0)
    await server.call("POST", f"{JOBS}/{job_id}/cancel")
    assert (await waiting).json["job"]["status"] == "cancelled"


async def test_a_wait_for_a_job_whose_row_is_damaged_says_so(server: Server) -> None:
    job_id = await server.submit()
    waiting = asyncio.create_task(server.call("GET", f"{JOBS}/{job_id}?wait=60s"))
    while not server.site._waits:
        await asyncio.sleep(0)
    key = bytes.fromhex(job_id.replace("-", ""))
    kv = server.node.store._kv
    spoilt = b"x" + (kv.get(Table.SPEC, key) or b"")[1:]
    kv.write(NewRows({Table.SPEC: {key: spoilt}}))
    await server.site.drain()
    assert (await waiting).code == "record_corrupt"
    assert not server.node.pump._watches


@pytest.mark.parametrize("wait", ["61s", "x", "-1", "1e400", ""])
async def test_a_wait_has_bounds(server: Server, wait: str) -> None:
    job_id = await server.submit()
    reply = await server.call("GET", f"{JOBS}/{job_id}?wait={wait}")
    assert (reply.status, reply.code) == (400, "request_malformed")


# Control ----------------------------------------------------------------------------------------


async def test_a_waiting_job_is_cancelled_then_removed(server: Server) -> None:
    job_id = await server.submit()
    early = await server.call("DELETE", f"{JOBS}/{job_id}")
    assert (early.status, early.code) == (409, "job_state_conflict")
    assert early.json["job_status"] == "queued"
    cancelled = await server.call("POST", f"{JOBS}/{job_id}/cancel")
    assert cancelled.json == {"job_id": job_id, "status": "cancelled"}
    assert "Commit-Position" in cancelled.headers
    assert (await server.call("DELETE", f"{JOBS}/{job_id}")).status == 200
    assert (await get(server, job_id)).code == "job_unknown"


async def test_a_job_is_suspended_and_resumed(server: Server) -> None:
    job_id = await server.submit()
    assert (await server.call("POST", f"{JOBS}/{job_id}/suspend")).json["status"] == "suspended"
    assert (await server.poll())["jobs"] == []
    assert (await server.call("POST", f"{JOBS}/{job_id}/resume")).json["status"] == "resuming"
    again = await server.call("POST", f"{JOBS}/{job_id}/suspend")
    assert again.json["status"] == "suspended"


async def test_what_the_table_does_not_allow_is_a_conflict(server: Server) -> None:
    job_id = await server.submit()
    reply = await server.call("POST", f"{JOBS}/{job_id}/resume")
    assert (reply.status, reply.code) == (409, "job_state_conflict")


async def test_explain_says_why_a_job_waits(server: Server) -> None:
    job_id = await server.submit()
    found = (await server.call("GET", f"{JOBS}/{job_id}/explain")).json
    assert (found["status"], found["workers_known"]) == ("queued", 0)
    assert found["reasons"] == ["no worker has asked for work lately"]


# Who may ----------------------------------------------------------------------------------------

ID_ROUTES = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("POST", "/suspend"),
    ("POST", "/resume"),
    ("GET", "/result"),
    ("GET", "/logs"),
    ("GET", "/logs?follow=1"),
    ("GET", "/explain"),
]


@pytest.mark.parametrize(("method", "tail"), ID_ROUTES)
async def test_another_tenants_job_is_no_job_and_another_users_is_forbidden(
    server: Server, method: str, tail: str
) -> None:
    submitted = await server.call("POST", JOBS, {"type": "t"}, X_User_ID="ann", X_Tenant_ID="acme")
    path = f"{JOBS}/{submitted.json['job_id']}{tail}"
    missing = f"{JOBS}/00000000-0000-7000-8000-000000000000{tail}"
    foreign = await server.call(method, path, X_User_ID="ann", X_Tenant_ID="other")
    unknown = await server.call(method, missing, X_User_ID="ann", X_Tenant_ID="other")
    no_id = await server.call(method, f"{JOBS}/nonsense{tail}")
    assert (foreign.status, foreign.code) == (404, "job_unknown")
    assert foreign.body == unknown.body == no_id.body
    admin_elsewhere = await server.call(method, path, X_User_ID="admin", X_Tenant_ID="other")
    assert admin_elsewhere.body == foreign.body
    mate = await server.call(method, path, X_User_ID="bob", X_Tenant_ID="acme")
    assert (mate.status, mate.code) == (403, "forbidden")


async def test_the_admin_of_a_tenant_may_see_and_control_its_jobs(server: Server) -> None:
    submitted = await server.call("POST", JOBS, {"type": "t"}, X_User_ID="ann")
    job_id = submitted.json["job_id"]
    assert (await get(server, job_id, X_User_ID="admin")).status == 200
    reply = await server.call("POST", f"{JOBS}/{job_id}/cancel", X_User_ID="admin")
    assert reply.json["status"] == "cancelled"


# Lists ------------------------------------------------------------------------------------------


async def listed(server: Server, query: str = "", **headers: str) -> list[str]:
    reply = await server.call("GET", f"{JOBS}?{query}", **headers)
    assert reply.status == 200, reply.body
    assert reply.json["count"] == len(reply.json["jobs"])
    return [job["id"] for job in reply.json["jobs"]]


async def test_a_list_holds_the_callers_jobs_newest_first(server: Server) -> None:
    mine = [await server.submit() for _ in range(3)]
    await server.call("POST", JOBS, {"type": "t"}, X_User_ID="bob")
    await server.call("POST", JOBS, {"type": "t"}, X_Tenant_ID="other")
    assert await listed(server) == mine[::-1]
    assert await listed(server, "order=created_at") == mine
    assert await listed(server, "order=%2Bscheduled_at") == mine
    assert await listed(server, "order=-scheduled_at") == mine[::-1]
    assert await listed(server, X_User_ID="nobody") == []


async def test_an_admin_lists_the_tenant_and_may_name_an_owner(server: Server) -> None:
    mine = await server.submit()
    bobs = (await server.call("POST", JOBS, {"type": "t"}, X_User_ID="bob")).json["job_id"]
    await server.call("POST", JOBS, {"type": "t"}, X_Tenant_ID="other")
    assert await listed(server, X_User_ID="admin") == [bobs, mine]
    assert await listed(server, "owner=bob", X_User_ID="admin") == [bobs]
    assert await listed(server, "owner=bob", X_User_ID="bob") == [bobs]
    assert await listed(server, "owner=stranger", X_User_ID="admin") == []
    reply = await server.call("GET", f"{JOBS}?owner=bob", X_User_ID="ann")
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_lists_are_filtered(server: Server) -> None:
    a = await server.submit(type="a", queue="q1", tags=["x", "y"], name="first")
    b = await server.submit(type="b", queue="q2", tags=["x"])
    delayed = await server.submit(type="b", delay="1h")
    assert await listed(server, "type=a") == [a]
    assert await listed(server, "type=a,b&queue=q2") == [b]
    assert await listed(server, "type=a&type=b") == [delayed, b, a]
    assert await listed(server, "tag=x") == [b, a]
    assert await listed(server, "tag=x,y") == [a]
    assert await listed(server, "name=first") == [a]
    assert await listed(server, "status=queued") == [b, a]
    assert await listed(server, "status=scheduled") == [delayed]
    assert await listed(server, "status=waiting") == [delayed, b, a]
    assert await listed(server, "status=pending&order=created_at") == [a, b, delayed]
    assert await listed(server, "status=completed,canceled") == []
    assert await listed(server, "type=wasm") == []
    assert await listed(server, "submitted_after=4000000000") == []
    assert await listed(server, "submitted_before=2000-01-01T00:00:00Z") == []
    assert len(await listed(server, "submitted_after=0&submitted_before=4000000000.5")) == 3


async def test_lists_are_filtered_by_group_label_and_the_beginning_of_a_name(
    server: Server,
) -> None:
    for group in ("one", "two"):
        await server.call("PUT", f"/api/v1/job-groups/{group}", {}, X_User_ID="admin")
    for kind, group in (("a", "one"), ("b", "one"), ("c", "two")):
        path = f"/api/v1/job-types/{kind}"
        assert (await server.call("PUT", path, {"group": group})).status == 200
    eu = {"labels": {"zone": "eu"}}
    a = await server.submit(type="a", name="fetch 1", requirements=eu)
    b = await server.submit(type="b", name='fetch "2"')
    c = await server.submit(type="c", requirements={"labels": {"zone": "us"}})
    assert await listed(server, "group=one") == [b, a]
    assert await listed(server, "group=one,two&type=b,c") == [c, b]
    assert await listed(server, "group=none") == []
    assert await listed(server, "label=zone") == [c, a]
    assert await listed(server, "label=zone=eu") == [a]
    assert await listed(server, "label=zone=eu,arch") == []
    assert await listed(server, "name_prefix=fetch") == [b, a]
    assert await listed(server, "name_prefix=fetch%20%22") == [b]


async def test_lists_have_the_order_that_is_asked_for(server: Server) -> None:
    now = await server.submit(priority=3)
    later = await server.submit(delay="2h", priority=9)
    sooner = await server.submit(delay="1h", priority=1)
    assert await listed(server, "order=-scheduled_at") == [later, sooner, now]
    assert await listed(server, "order=scheduled_at") == [now, sooner, later]
    assert await listed(server, "order=-priority") == [later, now, sooner]
    assert await listed(server, "order=submitted_at") == [now, later, sooner]
    first = await server.call("GET", f"{JOBS}?order=-scheduled_at&limit=2")
    cursor = first.json["next"]
    assert await listed(server, f"order=-scheduled_at&cursor={cursor}") == [now]
    await server.call("POST", f"{JOBS}/{later}/cancel")
    await asyncio.sleep(0.002)
    lease = await server.lease()
    await server.call("POST", f"/api/v1/leases/{lease}/progress", {"started": True})
    assert await listed(server, "order=-started_at") == [now, sooner, later]
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    assert await listed(server, "order=-finished_at") == [now, later]
    assert await listed(server, "order=finished_at&limit=1&page=2") == [now]
    assert await listed(server, "order=updated_at&status=completed,cancelled") == [later, now]
    assert await listed(server, "finished_after=0") == [later, now]
    assert await listed(server, "finished_before=2000-01-01T00:00:00Z") == []


async def test_an_order_over_too_many_jobs_names_the_way_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LIST_SORTED_MAX", 2)
    for _ in range(3):
        await server.submit()
    reply = await server.call("GET", f"{JOBS}?order=priority")
    assert (reply.status, reply.code) == (400, "list_too_wide")
    assert "submitted_after" in reply.json["detail"]


async def test_running_and_retrying_jobs_are_listed(server: Server) -> None:
    job_id = await server.submit()
    await server.submit(delay="1h")
    lease = await server.lease()
    assert await listed(server, "status=locked") == [job_id]
    assert await listed(server, "status=processing") == [job_id]
    assert await listed(server, "status=running") == []
    await server.call("POST", f"/api/v1/leases/{lease}/fail", {"retry_delay": "1h"})
    assert await listed(server, "status=retrying") == [job_id]
    assert len(await listed(server, "status=retrying,scheduled")) == 2
    retried = (await get(server, job_id)).json["job"]
    assert retried["scheduled_at"] > retried["created_at"]


async def test_pages_follow_one_another_by_cursor_and_by_number(server: Server) -> None:
    mine = [await server.submit() for _ in range(5)][::-1]
    found: list[str] = []
    cursor: Any = ""
    while cursor is not None:
        reply = await server.call("GET", f"{JOBS}?limit=2{cursor and '&cursor=' + cursor}")
        found += [job["id"] for job in reply.json["jobs"]]
        cursor = reply.json["next"]
    assert found == mine
    assert await listed(server, "limit=2&page=1") == mine[:2]
    assert await listed(server, "limit=2&page=3") == mine[4:]
    assert await listed(server, "limit=2&page=9") == []


async def test_a_cursor_is_bound_to_its_question_and_its_asker(server: Server) -> None:
    for _ in range(3):
        await server.submit()
    cursor = (await server.call("GET", f"{JOBS}?limit=1")).json["next"]
    assert (await server.call("GET", f"{JOBS}?limit=2&cursor={cursor}")).status == 200
    for path, headers in (
        (f"{JOBS}?limit=1&type=work&cursor={cursor}", {}),
        (f"{JOBS}?limit=1&cursor={cursor}", {"X_User_ID": "bob"}),
        (f"{JOBS}?cursor={'B' if cursor[0] == 'A' else 'A'}{cursor[1:]}", {}),
        (f"{JOBS}?cursor=", {}),
        (f"{JOBS}?cursor=%C3%A9", {}),
        (f"{JOBS}?cursor={'A' * 5000}", {}),
    ):
        reply = await server.call("GET", path, **headers)
        assert (reply.status, reply.code) == (400, "cursor_invalid"), path


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "limit=%D9%A1",
        "limit=1&limit=2",
        "page=0",
        "page=5001",
        "page=400&limit=1000",
        "order=colour",
        "order=finished_at&status=queued",
        "finished_after=never",
        "page=1000000&limit=10",
        "status=done",
        "submitted_after=yesterday",
        "submitted_before=1e400",
        "statuses=queued",
        "a=b",
        "type=" + ",".join(map(str, range(101))),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(server: Server, query: str) -> None:
    reply = await server.call("GET", f"{JOBS}?{query}")
    assert (reply.status, reply.code) == (400, "request_malformed")


# Run again --------------------------------------------------------------------------------------


async def failed(server: Server) -> str:
    """Return a job that failed for good."""
    job_id = await server.submit(max_retries=0)
    body = {"error": "boom", "code": "oops"}
    await server.call("POST", f"/api/v1/leases/{await server.lease()}/fail", body)
    return job_id


async def test_a_dead_job_is_found_and_runs_again_as_the_same_job(server: Server) -> None:
    job_id = await failed(server)
    assert await listed(server, "status=dead") == [job_id]
    reply = await server.call("POST", f"{JOBS}/{job_id}/retry")
    assert (reply.status, reply.json) == (200, {"job_id": job_id, "status": "queued"})
    assert await listed(server, "status=dead") == []
    answer = (await get(server, job_id)).json
    assert (answer["job"]["status"], answer["result"]["finished_at"]) == ("queued", None)
    assert (answer["job"]["error"], answer["job"]["failures"]) == ("boom", 0)
    log = (await server.call("GET", f"{JOBS}/{job_id}/logs")).body.decode()
    assert log == "[headrace: failed: boom; run again for anonymous]\n"
    (work,) = (await server.poll())["jobs"]
    assert (work["job"]["id"], work["attempt"]) == (job_id, 2)
    await server.call("POST", f"/api/v1/leases/{work['lease']}/complete", {"result": 7})
    assert (await get(server, job_id)).json["result"]["result"] == 7


async def test_a_job_that_completed_runs_again_only_by_force(server: Server) -> None:
    job_id = await server.submit()
    await server.call("POST", f"/api/v1/leases/{await server.lease()}/complete", {"result": 7})
    refused = await server.call("POST", f"{JOBS}/{job_id}/retry")
    assert (refused.status, refused.code) == (409, "job_state_conflict")
    assert (await server.call("POST", f"{JOBS}/{job_id}/retry?force=2")).status == 400
    forced = await server.call("POST", f"/jobs/{job_id}/retry?force=1")
    assert forced.json["state"] == "queued"
    assert (await get(server, job_id)).json["result"]["result"] is None


async def test_who_waits_for_a_redriven_job_hears_of_its_new_end(server: Server) -> None:
    job_id = await failed(server)
    await server.call("POST", f"{JOBS}/{job_id}/retry")
    waiting = asyncio.create_task(server.call("GET", f"{JOBS}/{job_id}?wait=30s"))
    while not server.site._waits:
        await asyncio.sleep(0)
    await server.call("POST", f"/api/v1/leases/{await server.lease()}/complete")
    assert (await waiting).json["job"]["status"] == "completed"


# Progress ---------------------------------------------------------------------------------------


async def say(server: Server, lease: str, **news: Any) -> None:
    reply = await server.call("POST", f"/api/v1/leases/{lease}/progress", news)
    assert reply.status == 200, reply.body


async def progress_of(server: Server, job_id: str) -> tuple[float, str | None]:
    job = (await server.call("GET", f"{JOBS}/{job_id}")).json["job"]
    listed = (await server.call("GET", JOBS)).json["jobs"]
    assert (job["progress"], job["progress_details"]) in [
        (one["progress"], one["progress_details"]) for one in listed
    ]
    told = (await server.call("GET", f"{JOBS}/{job_id}/progress")).json
    assert (told["progress"], told["details"]) == (job["progress"], job["progress_details"])
    root = (await server.call("GET", f"/jobs/{job_id}")).json["job"]
    assert root["progress"] == job["progress"]
    return job["progress"], job["progress_details"]


async def test_progress_has_a_history_and_an_estimate(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PROGRESS_EVERY_MS", 0)
    job_id = await server.submit()
    assert (await server.call("GET", f"{JOBS}/{job_id}/progress")).json == {
        "job_id": job_id,
        "status": "queued",
        "attempt": 0,
        "progress": 0.0,
        "details": None,
        "eta": None,
        "history": [],
    }
    lease = await server.lease()
    await say(server, lease, started=True, progress=0.2, details="a")
    await asyncio.sleep(0.02)
    await say(server, lease, progress=0.6, details="b")
    told = (await server.call("GET", f"{JOBS}/{job_id}/progress")).json
    assert [(one["progress"], one["details"], one["attempt"]) for one in told["history"]] == [
        (0.2, "a", 1),
        (0.6, "b", 1),
    ]
    first, last = (instant_ms(one["at"]) for one in told["history"])
    assert instant_ms(told["eta"]) == pytest.approx(last + (last - first), abs=2)
    job = (await server.call("GET", f"{JOBS}/{job_id}")).json["job"]
    assert job["eta"] == told["eta"]
    assert instant_ms(job["updated_at"]) == last
    assert await progress_of(server, job_id) == (0.6, "b")
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    assert await progress_of(server, job_id) == (1.0, None), "the history still tells"


async def test_a_job_that_waits_again_shows_how_far_it_was(server: Server) -> None:
    retried = await server.submit(retry_delay="1h")
    lease = await server.lease()
    await say(server, lease, progress=0.25, details="a quarter")
    await say(server, lease, progress=0.5)
    await server.call("POST", f"/api/v1/leases/{lease}/fail", {"error": "x"})
    assert await progress_of(server, retried) == (0.5, "a quarter")
    suspended = await server.submit()
    lease = await server.lease()
    await say(server, lease, progress=0.75)
    await server.call("POST", f"{JOBS}/{suspended}/suspend")
    report = {"lease": lease, "outcome": "suspended", "checkpoint": {"at": 3}}
    await server.poll(reports=[report], max_jobs=0)
    assert await progress_of(server, suspended) == (0.75, None)
    await server.call("POST", f"{JOBS}/{suspended}/resume")
    await server.lease()
    assert await progress_of(server, suspended) == (0.75, None), "it goes on from there"
    again = await server.submit(retry_delay=0)
    lease = await server.lease()
    await say(server, lease, progress=0.75)
    await server.call("POST", f"/api/v1/leases/{lease}/fail", {"error": "x"})
    await server.poll(wait="5s")
    assert await progress_of(server, again) == (0.0, None), "it begins anew"


async def test_a_restart_does_not_forget_progress(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_dir": tmp_path, "accept_any_filesystem": True}
    server = await open_server(**options)
    job_id = await server.submit()
    lease = await server.lease()
    await say(server, lease, started=True, progress=0.5, details="half")
    await server.close()
    server = await open_server(**options)
    assert await progress_of(server, job_id) == (0.5, "half")
    await say(server, lease, progress=0.75)
    assert await progress_of(server, job_id) == (0.75, None)
    await server.close()
