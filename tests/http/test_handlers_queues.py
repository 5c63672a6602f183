"""Queues over HTTP: settings, conditions, pause and resume, lists."""

import asyncio
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from http_tools import Server, open_server
from yarl import URL

QUEUES = "/api/v1/queues"


async def names(server: Server, query: str = "") -> list[str]:
    return [one["name"] for one in (await server.call("GET", QUEUES + query)).json["queues"]]


async def test_the_shipped_queues_are_listed_with_their_capacities(server: Server) -> None:
    reply = (await server.call("GET", QUEUES)).json
    assert {one["name"]: one["capacity"] for one in reply["queues"]} == {
        "compute": 1,
        "default": None,
        "download": 10,
        "maintenance": 5,
    }
    assert (reply["count"], reply["next"]) == (4, None)
    assert all(not one["paused"] and one["version"] == 0 for one in reply["queues"])


async def test_a_queue_tells_how_much_waits_and_runs(server: Server) -> None:
    for _ in range(3):
        await server.submit(queue="mine")
    await server.submit(queue="mine", delay="1h")
    await server.lease()
    view = (await server.call("GET", f"{QUEUES}/mine")).json
    assert (view["depth"], view["running"], view["capacity"]) == (2, 1, None)
    assert "mine" in await names(server)


async def test_a_put_sets_and_an_empty_one_goes_back_to_the_configuration(server: Server) -> None:
    reply = await server.call(
        "PUT", f"{QUEUES}/compute", {"capacity": 3, "description": "big"}, X_User_ID="root"
    )
    assert (reply.status, reply.json["capacity"]) == (200, 3)
    assert reply.json["changed_by"] == "root"
    assert reply.headers["ETag"] == f'"{reply.json["version"]}"'
    assert "Commit-Position" in reply.headers
    got = await server.call("GET", f"{QUEUES}/compute")
    assert got.json == reply.json
    assert got.headers["ETag"] == reply.headers["ETag"]
    reply = await server.call("PUT", f"{QUEUES}/compute", {"capacity": None})
    assert reply.json["capacity"] is None
    reply = await server.call("PUT", f"{QUEUES}/compute", {})
    assert (reply.json["capacity"], reply.json["description"]) == (1, "")


async def test_a_capacity_holds_at_once_and_its_rise_wakes_who_waits(server: Server) -> None:
    for _ in range(2):
        await server.submit(queue="compute")
    await server.lease()
    waiting = asyncio.create_task(server.poll(wait="20s"))
    await server.call("PUT", f"{QUEUES}/compute", {"capacity": 2})
    assert len((await waiting)["jobs"]) == 1


async def test_a_paused_queue_gives_nothing_until_it_is_resumed(server: Server) -> None:
    await server.call("PUT", f"{QUEUES}/default", {"capacity": 7, "description": "kept"})
    reply = await server.call("POST", f"{QUEUES}/default/pause")
    assert (reply.status, reply.json["paused"], reply.json["capacity"]) == (200, True, 7)
    job_id = await server.submit()
    assert (await server.poll())["jobs"] == []
    why = (await server.call("GET", f"/api/v1/jobs/{job_id}/explain")).json["reasons"]
    assert "its queue 'default' is paused" in why
    waiting = asyncio.create_task(server.poll(wait="20s"))
    reply = await server.call("POST", f"{QUEUES}/default/resume")
    assert (reply.json["paused"], reply.json["description"]) == (False, "kept")
    assert (await waiting)["jobs"][0]["job"]["id"] == job_id


async def test_a_pause_of_a_queue_that_nobody_knows_is_a_mistake(server: Server) -> None:
    for path in ("/compte/pause", "/compte/resume", "/compte"):
        reply = await server.call("GET" if path == "/compte" else "POST", QUEUES + path)
        assert (reply.status, reply.code) == (404, "document_unknown")


async def test_conditions_guard_against_overwriting(server: Server) -> None:
    path = f"{QUEUES}/q"
    reply = await server.call("PUT", path, {}, If_Match="*")
    assert (reply.status, reply.code) == (412, "precondition_failed")
    first = await server.call("PUT", path, {}, If_None_Match="*")
    assert first.status == 200
    assert (await server.call("PUT", path, {}, If_None_Match="*")).status == 412
    second = await server.call("PUT", path, {"capacity": 2}, If_Match=first.headers["ETag"])
    assert second.status == 200
    assert (await server.call("PUT", path, {}, If_Match=first.headers["ETag"])).status == 412
    assert (await server.call("DELETE", path, If_Match=first.headers["ETag"])).status == 412
    assert (await server.call("GET", path)).json["capacity"] == 2
    assert (await server.call("DELETE", path, If_Match=second.headers["ETag"])).status == 200
    assert (await server.call("GET", path)).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"If_Match": "7"},
        {"If_Match": '"x"'},
        {"If_None_Match": '"7"'},
        {"If_Match": "*", "If_None_Match": "*"},
    ],
)
async def test_conditions_are_etags(server: Server, headers: dict[str, str]) -> None:
    reply = await server.call("PUT", f"{QUEUES}/q", {}, **headers)
    assert (reply.status, reply.code) == (400, "request_malformed")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"capacity": -1}, "/capacity"),
        ({"capacity": 1.5}, "/capacity"),
        ({"paused": "yes"}, "/paused"),
        ({"description": "x" * 4097}, "/description"),
        ({"bogus": 1}, "/bogus"),
    ],
)
async def test_settings_have_bounds(server: Server, body: object, pointer: str) -> None:
    reply = await server.call("PUT", f"{QUEUES}/q", body)
    assert (reply.status, reply.code, reply.json["pointer"]) == (400, "field_invalid", pointer)


async def test_a_queue_with_jobs_is_not_removed(server: Server) -> None:
    await server.call("PUT", f"{QUEUES}/q", {"capacity": 0})
    job_id = await server.submit(queue="q")
    reply = await server.call("DELETE", f"{QUEUES}/q")
    assert (reply.status, reply.code) == (409, "document_in_use")
    assert (await server.call("PUT", f"{QUEUES}/q", {})).json["capacity"] is None
    await server.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    assert (await server.call("DELETE", f"{QUEUES}/q")).json == {"name": "q", "removed": True}
    assert (await server.call("DELETE", f"{QUEUES}/q")).status == 404
    reply = await server.call("DELETE", f"{QUEUES}/compute")
    assert (reply.status, reply.code) == (409, "document_in_use")


async def test_lists_come_in_pages(server: Server) -> None:
    for number in range(3):
        await server.call("PUT", f"{QUEUES}/q{number}", {})
    everything = await names(server)
    assert everything == sorted(everything)
    page = (await server.call("GET", f"{QUEUES}?limit=4")).json
    assert [one["name"] for one in page["queues"]] == everything[:4]
    rest = (await server.call("GET", f"{QUEUES}?after={page['next']}&limit=100")).json
    assert [one["name"] for one in rest["queues"]] == everything[4:]
    assert rest["next"] is None
    assert (await server.call("GET", f"{QUEUES}?limit=0")).status == 400


@pytest.mark.parametrize("name", ["a/b", "ä ö", "%", "a?b#c", "x" * 200])
async def test_any_name_that_a_job_may_use_can_be_set(server: Server, name: str) -> None:
    path = f"{QUEUES}/{quote(name, safe='')}"
    reply = await server.send("PUT", URL(path, encoded=True), json={"capacity": 1})
    assert reply.status == 200, reply.body
    assert reply.json["name"] == name
    await server.submit(queue=name)
    assert name in await names(server)


async def test_names_that_no_job_may_use_are_unknown(server: Server) -> None:
    for name in ("a%00b", "a%0Ab", "x" * 201):
        reply = await server.send("PUT", f"{QUEUES}/{name}", json={})
        assert reply.status == 404, name


async def test_settings_outlive_the_process(tmp_path: Path) -> None:
    options = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    server = await open_server(**options)
    await server.call("PUT", f"{QUEUES}/compute", {"capacity": 4, "paused": True})
    before = (await server.call("GET", f"{QUEUES}/compute")).json
    await server.close()
    server = await open_server(**options, queue_capacities={"compute": 9, "new": 2})
    assert (await server.call("GET", f"{QUEUES}/compute")).json == before
    await server.submit(queue="compute")
    assert (await server.poll())["jobs"] == []
    assert (await server.call("GET", f"{QUEUES}/new")).json["capacity"] == 2
    audit = (await server.call("GET", "/api/v1/audit")).json
    assert [entry["act"] for entry in audit["entries"]] == ["queue_put"]
    await server.close()


async def test_many_pauses_and_resumes_at_once_lose_nothing(server: Server) -> None:
    await server.call("PUT", f"{QUEUES}/q", {"capacity": 3})
    acts = ["pause", "resume"] * 3
    replies = await asyncio.gather(*(server.call("POST", f"{QUEUES}/q/{act}") for act in acts))
    assert all(reply.status in (200, 412) for reply in replies)
    assert (await server.call("GET", f"{QUEUES}/q")).json["capacity"] == 3


async def test_messagepack_works_as_json_does(server: Server) -> None:
    reply = await server.send(
        "PUT",
        f"{QUEUES}/q",
        data=msgspec.msgpack.encode({"capacity": 2}),
        headers={"Content-Type": "application/msgpack", "Accept": "application/msgpack"},
    )
    assert msgspec.msgpack.decode(reply.body)["capacity"] == 2


# Audit ------------------------------------------------------------------------------------------


async def test_the_audit_log_tells_who_did_what_newest_first(server: Server) -> None:
    await server.call("PUT", f"{QUEUES}/q", {}, X_User_ID="ann", X_Tenant_ID="acme")
    await server.call("POST", f"{QUEUES}/q/pause", X_User_ID="bob")
    await server.call("DELETE", f"{QUEUES}/q")
    reply = (await server.call("GET", "/api/v1/audit?limit=2")).json
    assert [(one["act"], one["name"], one["user"]) for one in reply["entries"]] == [
        ("queue_drop", "q", "anonymous"),
        ("queue_put", "q", "bob"),
    ]
    (last,) = (await server.call("GET", f"/api/v1/audit?before={reply['next']}")).json["entries"]
    assert (last["number"], last["tenant_id"], last["user"]) == (1, "acme", "ann")
    assert last["key_id"] is None
