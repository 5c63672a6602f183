import asyncio
from pathlib import Path
from typing import Any

import pytest
from http_tools import Server, open_server

from headrace.runtime import bulk_runner
from headrace.wire import limits

JOBS = "/api/v1/jobs"
BULK = f"{JOBS}/bulk"


async def begun(server: Server, act: str, **fields: Any) -> Any:
    headers = {name: fields.pop(name) for name in ("X_User_ID", "X_Tenant_ID") if name in fields}
    dry_run = fields.pop("dry_run", False)
    body = {"act": act, "filter": fields, "dry_run": dry_run}
    reply = await server.call("POST", BULK, body, **headers)
    assert reply.status == 202, reply.body
    assert reply.headers["Location"] == f"/api/v1/bulk/{reply.json['id']}"
    return reply.json


async def ended(server: Server, act: str, **fields: Any) -> Any:
    headers = {name: fields[name] for name in ("X_User_ID", "X_Tenant_ID") if name in fields}
    told = await begun(server, act, **fields)
    return await end_of(server, told["id"], **headers)


async def end_of(server: Server, name: str, **headers: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            told = (await server.call("GET", f"/api/v1/bulk/{name}", **headers)).json
            if told["state"] != "running":
                return told
            await asyncio.sleep(0.005)


async def statuses(server: Server, job_ids: list[str]) -> list[str]:
    return [
        (await server.call("GET", f"{JOBS}/{job_id}")).json["job"]["status"] for job_id in job_ids
    ]


async def test_all_that_match_are_cancelled_and_nothing_else(server: Server) -> None:
    meant = [await server.submit(type="a", tags=["x"]) for _ in range(7)]
    others = [await server.submit(type="a"), await server.submit(type="b", tags=["x"])]
    told = await ended(server, "cancel", type="a", tag=["x"])
    assert (told["state"], told["matched"], told["done"], told["skipped"]) == ("completed", 7, 7, 0)
    assert told["filter"] == {"type": "a", "tag": ["x"]}
    assert told["started_at"] <= told["finished_at"]
    assert await statuses(server, meant) == ["cancelled"] * 7
    assert await statuses(server, others) == ["queued"] * 2


async def test_more_jobs_than_one_step_takes_are_done_in_several(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_runner, "STEP_JOBS", 3)
    await server.call("POST", JOBS, [{"type": "a"}] * 20)
    commits = server.node.pump.stats().commits
    told = await ended(server, "cancel")
    assert (told["done"], told["matched"]) == (20, 20)
    assert server.node.pump.stats().commits >= commits + 7


async def test_jobs_are_suspended_and_resumed_and_records_deleted(server: Server) -> None:
    job_ids = [await server.submit() for _ in range(4)]
    assert (await ended(server, "suspend"))["done"] == 4
    assert await statuses(server, job_ids) == ["suspended"] * 4
    assert (await ended(server, "resume"))["done"] == 4
    assert await statuses(server, job_ids) == ["resuming"] * 4
    await ended(server, "cancel")
    assert (await ended(server, "delete", status="cancelled"))["done"] == 4
    assert (await server.call("GET", JOBS)).json["count"] == 0


async def test_what_failed_is_retried(server: Server) -> None:
    failed = await server.submit(max_retries=0)
    lease = await server.lease()
    await server.call("POST", f"/api/v1/leases/{lease}/fail", {"error": "boom"})
    cancelled = await server.submit()
    await server.call("POST", f"{JOBS}/{cancelled}/cancel")
    assert (await ended(server, "retry"))["done"] == 1
    assert await statuses(server, [failed, cancelled]) == ["queued", "cancelled"]
    finished = (await server.call("GET", f"{JOBS}?order=-finished_at")).json["jobs"]
    assert [job["id"] for job in finished] == [cancelled]


async def test_a_dry_run_counts_and_leaves_all_as_it_is(server: Server) -> None:
    job_ids = [await server.submit() for _ in range(3)]
    told = await ended(server, "cancel", dry_run=True)
    assert (told["dry_run"], told["matched"], told["done"]) == (True, 3, 3)
    assert await statuses(server, job_ids) == ["queued"] * 3


async def test_jobs_that_the_act_does_not_suit_are_skipped_and_counted_by_reason(
    server: Server,
) -> None:
    job_id = await server.submit()
    await server.submit(delay="1h")
    lease = await server.lease()
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    told = await ended(server, "cancel", status=["completed", "scheduled"])
    assert (told["matched"], told["done"], told["skipped"]) == (2, 1, 1)
    assert told["reasons"] == {"job_state_conflict": 1}
    assert await statuses(server, [job_id]) == ["completed"]


async def test_jobs_submitted_later_are_not_touched(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_runner, "STEP_JOBS", 1)
    early = [await server.submit() for _ in range(5)]
    told = await begun(server, "cancel")
    late = [await server.submit() for _ in range(5)]
    assert (await end_of(server, told["id"]))["done"] == 5
    assert await statuses(server, [*early, *late]) == ["cancelled"] * 5 + ["queued"] * 5


async def test_an_act_goes_on_after_a_restart_and_comes_to_no_job_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_runner, "STEP_JOBS", 1)
    monkeypatch.setattr(bulk_runner, "PAUSE_S", 0.02)
    config: dict[str, Any] = {"data_dir": tmp_path / "data", "accept_any_filesystem": True}
    server = await open_server(**config)
    job_ids = [await server.submit() for _ in range(12)]
    name = (await begun(server, "cancel"))["id"]
    async with asyncio.timeout(20):
        while (await server.call("GET", f"/api/v1/bulk/{name}")).json["done"] < 2:
            await asyncio.sleep(0.01)
    await server.close()
    server = await open_server(**config)
    late = await server.submit()
    told = await end_of(server, name)
    assert (told["matched"], told["done"], told["reasons"]) == (12, 12, {})
    assert await statuses(server, [*job_ids, late]) == ["cancelled"] * 12 + ["queued"]
    await server.close()


async def test_a_cancelled_act_stops_where_it_is(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_runner, "STEP_JOBS", 1)
    monkeypatch.setattr(bulk_runner, "PAUSE_S", 0.05)
    job_ids = [await server.submit() for _ in range(30)]
    name = (await begun(server, "cancel"))["id"]
    told = (await server.call("POST", f"/api/v1/bulk/{name}/cancel")).json
    assert told["state"] == "cancelled"
    await asyncio.sleep(0.12)
    assert (await end_of(server, name)) == told
    assert (await statuses(server, job_ids)).count("cancelled") == told["done"] < 30


async def test_an_act_reaches_and_shows_nothing_of_another_tenant_or_user(server: Server) -> None:
    mine = await server.submit()
    await server.call("POST", JOBS, {"type": "t"}, X_User_ID="bob")
    await server.call("POST", JOBS, {"type": "t"}, X_Tenant_ID="acme")
    acme = await ended(server, "cancel", X_Tenant_ID="acme", X_User_ID="admin")
    assert acme["done"] == 1
    bob = await ended(server, "cancel", X_User_ID="bob")
    assert bob["done"] == 1
    assert await statuses(server, [mine]) == ["queued"]
    for name in (acme["id"], bob["id"], "none"):
        for method, path in (("GET", ""), ("POST", "/cancel")):
            reply = await server.call(method, f"/api/v1/bulk/{name}{path}")
            assert (reply.status, reply.code) == (404, "document_unknown")
    assert (await server.call("GET", "/api/v1/bulk")).json["bulks"] == []
    listed = (await server.call("GET", "/api/v1/bulk", X_User_ID="admin")).json
    assert [one["id"] for one in listed["bulks"]] == [bob["id"]]
    reply = await server.call("POST", BULK, {"act": "cancel", "filter": {"owner": "bob"}})
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_what_an_admin_does_to_many_jobs_is_in_the_audit_log(server: Server) -> None:
    await server.submit()
    told = await ended(server, "cancel", type="work", X_User_ID="admin")
    log = (await server.call("GET", "/api/v1/audit", X_User_ID="admin")).json["entries"]
    assert (log[0]["act"], log[0]["name"], log[0]["user"]) == ("bulk_cancel", told["id"], "admin")
    assert log[0]["detail"] == '{"type":"work"}'


async def test_acts_are_bounded_and_old_ones_go(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BULKS_KEPT_MAX", 2)
    names = [(await ended(server, "cancel"))["id"] for _ in range(3)]
    listed = (await server.call("GET", "/api/v1/bulk")).json["bulks"]
    assert [one["id"] for one in listed] == names[1:]
    monkeypatch.setattr(limits, "BULKS_RUNNING_MAX", 0)
    reply = await server.call("POST", BULK, {"act": "cancel", "filter": {}})
    assert (reply.status, reply.code) == (409, "documents_too_many")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"act": "explode", "filter": {}}, "/act"),
        ({"act": "cancel"}, "/filter"),
        ({"act": "cancel", "filter": {"status": "done"}}, "/filter/status"),
        ({"act": "cancel", "filter": {"submitted_after": "never"}}, "/filter/submitted_after"),
        ({"act": "cancel", "filter": {"colour": "red"}}, "/filter/colour"),
        ({"act": "cancel", "filter": {"type": ["x" * 70_000]}}, "/filter"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    server: Server, body: Any, pointer: str
) -> None:
    reply = await server.call("POST", BULK, body)
    assert (reply.status, reply.code) == (400, "field_invalid"), reply.body
    assert reply.json.get("pointer", "") == pointer
