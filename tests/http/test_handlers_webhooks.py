"""Webhooks over real HTTP: registered, sent to a receiver on loopback, verified, replayed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from http_tools import Reply, Server, open_server
from standardwebhooks import Webhook

WEBHOOKS = "/api/v1/webhooks"
ALLOWED: dict[str, Any] = {
    "webhook_http": True,
    "webhook_ports": [0],
    "webhook_allow_networks": ["127.0.0.0/8"],
}


class Got:
    """One request that a receiver got."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers = headers
        self.body = body
        self.id = headers["webhook-id"]
        self.message = json.loads(body)
        self.type = self.message["type"]
        self.data = self.message["data"]

    def verified(self, secret: str) -> bool:
        if not secret.startswith("whsec_"):
            import base64

            secret = base64.b64encode(secret.encode()).decode()
        return bool(Webhook(secret).verify(self.body, self.headers) == self.message)


class Receiver:
    """Listens on loopback, answers as it is told, and keeps what it was sent."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.status = 204
        self._news = asyncio.Event()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(headers, await request.read()))
        self._news.set()
        return web.Response(status=self.status)

    async def until(self, count: int) -> list[Got]:
        async with asyncio.timeout(20):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()
        return self.got


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


@pytest.fixture
async def hooked() -> AsyncIterator[Server]:
    """A server that may send to loopback."""
    opened = await open_server(**ALLOWED)
    yield opened
    await opened.close()


async def register(server: Server, url: str, **fields: Any) -> Any:
    headers = fields.pop("headers", {})
    reply = await server.call("POST", WEBHOOKS, {"url": url, **fields}, **headers)
    assert reply.status == 200, reply.body
    return reply.json


async def deliveries(server: Server, name: str, **query: Any) -> Any:
    options = {"params": query} if query else {}
    reply = await server.send("GET", f"{WEBHOOKS}/{name}/deliveries", **options)
    assert reply.status == 200, reply.body
    return reply.json


async def settled(server: Server, name: str, status: str, count: int) -> list[Any]:
    """Wait until so many deliveries of a webhook have a status."""
    async with asyncio.timeout(20):
        while True:
            found = (await deliveries(server, name, status=status))["deliveries"]
            if len(found) >= count:
                return list(found)
            await asyncio.sleep(0)


async def complete(server: Server, job_id: str, **report: Any) -> None:
    work = (await server.poll())["jobs"][0]
    assert work["job"]["id"] == job_id
    reply = await server.call("POST", f"/api/v1/leases/{work['lease']}/complete", report)
    assert reply.status == 200, reply.body


# Ends of jobs -----------------------------------------------------------------------------------


async def test_a_completed_job_is_told_signed_and_marked_delivered(
    hooked: Server, receiver: Receiver
) -> None:
    made = await register(hooked, receiver.url, events=["job.completed"])
    job_id = await hooked.submit()
    await complete(hooked, job_id, result={"answer": 42})
    (got,) = await receiver.until(1)
    assert got.verified(made["secret"])
    assert got.type == "job.completed"
    assert got.data["job_id"] == job_id
    assert got.data["result"] == {"answer": 42}
    assert (got.data["type"], got.data["status"], got.data["attempt"]) == ("work", "completed", 1)
    (told,) = await settled(hooked, made["id"], "delivered", 1)
    assert (told["id"], told["job_id"], told["tries"]) == (got.id, job_id, 1)
    assert told["last"]["status"] == 204
    assert (await hooked.call("GET", f"{WEBHOOKS}/{made['id']}")).json["pending"] == 0


async def test_each_end_and_a_suspension_are_events(hooked: Server, receiver: Receiver) -> None:
    await register(hooked, receiver.url, events=["job.*"])
    fails, stops, waits = [await hooked.submit(max_retries=0) for _ in range(3)]
    for expected in (fails, stops):
        work = (await hooked.poll())["jobs"][0]
        assert work["job"]["id"] == expected
        outcome = {"outcome": "failed", "error": "no", "code": "bad"}
        if expected == stops:
            outcome = {"outcome": "timeout"}
        await hooked.poll(max_jobs=0, reports=[{"lease": work["lease"], **outcome}])
    await hooked.call("POST", f"/api/v1/jobs/{waits}/suspend")
    await hooked.call("POST", f"/api/v1/jobs/{waits}/suspend")
    await hooked.call("POST", f"/api/v1/jobs/{waits}/cancel")
    got = {(one.type, one.data["job_id"]): one for one in await receiver.until(4)}
    assert got.keys() == {
        ("job.failed", fails),
        ("job.timeout", stops),
        ("job.suspended", waits),
        ("job.cancelled", waits),
    }
    failed = got["job.failed", fails].data
    assert (failed["error"], failed["code"]) == ("no", "bad")


async def test_what_nobody_asked_for_leaves_no_row(hooked: Server, receiver: Receiver) -> None:
    await register(hooked, receiver.url, events=["job.failed"])
    await register(hooked, receiver.url, events=["*"], headers={"X_Tenant_ID": "other"})
    await register(hooked, receiver.url, events=["*"], headers={"X_User_ID": "somebody"})
    await complete(hooked, await hooked.submit())
    assert hooked.node.store.outbox_count() == 0
    assert receiver.got == []


async def test_an_admin_hears_of_all_jobs_of_the_tenant(hooked: Server, receiver: Receiver) -> None:
    made = await register(hooked, receiver.url, headers={"X_User_ID": "admin"})
    assert made["webhook"]["jobs"] == "tenant"
    job_id = await hooked.submit()
    await hooked.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    (got,) = await receiver.until(1)
    assert (got.data["job_id"], got.data["owner"]) == (job_id, "anonymous")
    reply = await hooked.call("POST", WEBHOOKS, {"url": receiver.url, "jobs": "tenant"})
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_a_large_result_is_left_out_and_said_to_be(
    hooked: Server, receiver: Receiver
) -> None:
    await register(hooked, receiver.url)
    job_id = await hooked.submit()
    await complete(hooked, job_id, result="x" * 30_000)
    (got,) = await receiver.until(1)
    assert len(got.body) < 20_000
    assert (got.data["result"], got.data["omitted"]) == (None, ["result"])


async def test_a_deleted_job_is_told_of_by_what_is_known(
    hooked: Server, receiver: Receiver
) -> None:
    receiver.status = 500
    made = await register(hooked, receiver.url)
    job_id = await hooked.submit()
    await hooked.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    await receiver.until(1)
    await hooked.call("DELETE", f"/api/v1/jobs/{job_id}")
    receiver.status = 204
    await replayed(hooked, made["id"], receiver.got[0].id)
    got = (await receiver.until(2))[1]
    assert got.id == receiver.got[0].id
    assert (got.data["status"], got.data["omitted"]) == ("cancelled", ["job"])


# A job's own URL --------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["webhook_url", "webhookUrl"])
async def test_a_job_names_its_own_url(hooked: Server, receiver: Receiver, field: str) -> None:
    admin = {"X_User_ID": "admin"}
    made = (await hooked.call("POST", "/api/v1/webhook-secret", **admin)).json
    plain = await hooked.submit()
    job_id = await hooked.submit(**{field: receiver.url})
    await complete(hooked, plain)
    await complete(hooked, job_id, result=1)
    (got,) = await receiver.until(1)
    assert got.verified(made["secret"])
    assert (got.data["job_id"], got.data["result"]) == (job_id, 1)


async def test_a_batch_whose_jobs_name_a_url_is_told_of_each(
    hooked: Server, receiver: Receiver
) -> None:
    job = {"type": "work", "webhook_url": receiver.url}
    reply = await hooked.call("POST", "/api/v1/jobs", [job] * 5 + [{"type": "work"}] * 5)
    ids = [one["job_id"] for one in reply.json]
    work = (await hooked.poll(max_jobs=10))["jobs"]
    reports = [{"lease": one["lease"], "outcome": "completed"} for one in work]
    await hooked.poll(max_jobs=0, reports=reports)
    got = await receiver.until(5)
    assert {one.data["job_id"] for one in got} == set(ids[:5])
    assert len({one.id for one in got}) == 5


async def test_a_job_cancelled_at_once_is_told_of(hooked: Server, receiver: Receiver) -> None:
    job_id = await hooked.submit(webhook_url=receiver.url)
    await hooked.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    assert (await receiver.until(1))[0].type == "job.cancelled"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"webhook_url": "https://10.0.0.1/"}, "/webhook_url"),
        ({"webhookUrl": "ftp://example.com/"}, "/webhookUrl"),
        ({"webhook_url": "https://a/", "webhookUrl": "https://a/"}, "/webhookUrl"),
        ({"callback_url": "https://example.com/"}, "/callback_url"),
    ],
)
async def test_a_job_cannot_name_any_url(
    server: Server, fields: dict[str, str], pointer: str
) -> None:
    for body in ({"type": "t", **fields}, [{"type": "t", **fields}] * 2):
        reply = await server.call("POST", "/api/v1/jobs", body)
        assert reply.status == 400
        told = reply.json if isinstance(body, dict) else reply.json["problems"][0]
        assert told["pointer"].endswith(pointer)


# Handlers' own events ---------------------------------------------------------------------------


async def test_a_handler_s_event_reaches_who_asked_for_it(
    hooked: Server, receiver: Receiver
) -> None:
    made = await register(hooked, receiver.url, events=["scene.loaded"], secret="webhook_secret")
    assert made["secret"] is None
    job_id = await hooked.submit()
    lease = await hooked.lease()
    events = [
        {"name": "scene.loaded", "data": {"nodes": 3}},
        {"name": "scene.other"},
        {"name": "scene.loaded"},
    ]
    await hooked.poll(max_jobs=0, progress=[{"lease": lease, "events": events}])
    body = {"events": [{"name": "scene.loaded", "data": [1]}]}
    await hooked.call("POST", f"/api/v1/leases/{lease}/progress", body)
    got = await receiver.until(3)
    assert {one.type for one in got} == {"scene.loaded"}
    assert [one.data["details"] for one in got].count({"nodes": 3}) == 1
    assert all(one.data["job_id"] == job_id for one in got)
    assert all(one.verified("webhook_secret") for one in got)


@pytest.mark.parametrize(
    ("event", "pointer"),
    [
        ({"name": "job.completed"}, "/name"),
        ({"name": "a b"}, "/name"),
        ({"name": "a", "data": "x" * 17_000}, "/data"),
        ({"name": "a", "more": 1}, "/more"),
    ],
)
async def test_an_event_has_bounds(server: Server, event: Any, pointer: str) -> None:
    body = {"worker": "w", "progress": [{"lease": "x", "events": [event]}]}
    reply = await server.call("POST", "/api/v1/work/poll", body)
    assert (reply.status, reply.code) == (400, "field_invalid")
    assert reply.json["pointer"] == f"/progress/0/events/0{pointer}"


# Failures, replays, ends ------------------------------------------------------------------------


async def replayed(server: Server, name: str, message: str) -> None:
    reply = await server.call("POST", f"{WEBHOOKS}/{name}/deliveries/{message}/replay")
    assert (reply.status, reply.json) == (200, {"id": message, "status": "pending"})


async def test_a_failed_try_waits_and_can_be_asked_for_again(
    hooked: Server, receiver: Receiver
) -> None:
    receiver.status = 503
    made = await register(hooked, receiver.url)
    await hooked.call("POST", f"/api/v1/jobs/{await hooked.submit()}/cancel")
    (first,) = await receiver.until(1)
    async with asyncio.timeout(20):
        while not (told := (await deliveries(hooked, made["id"]))["deliveries"])[0]["tries"]:
            await asyncio.sleep(0)
    assert (told[0]["status"], told[0]["last"]["status"]) == ("pending", 503)
    assert told[0]["last"]["error"] == "answered 503"
    assert told[0]["next_try_at"] is not None
    receiver.status = 204
    await replayed(hooked, made["id"], first.id)
    (_, second) = await receiver.until(2)
    assert second.id == first.id
    await settled(hooked, made["id"], "delivered", 1)
    await replayed(hooked, made["id"], first.id)
    await receiver.until(3)
    (told,) = await settled(hooked, made["id"], "delivered", 1)
    assert told["id"] == first.id, "it is there once"


async def test_a_receiver_that_is_gone_is_disabled_and_can_be_enabled(
    hooked: Server, receiver: Receiver
) -> None:
    receiver.status = 410
    made = await register(hooked, receiver.url)
    path = f"{WEBHOOKS}/{made['id']}"
    await hooked.call("POST", f"/api/v1/jobs/{await hooked.submit()}/cancel")
    (failed,) = await settled(hooked, made["id"], "failed", 1)
    told = (await hooked.call("GET", path)).json
    assert told["enabled"] is False
    assert "410" in told["disabled_reason"]
    await hooked.call("POST", f"/api/v1/jobs/{await hooked.submit()}/cancel")
    assert hooked.node.store.outbox_count() == 0
    for act in ("test", f"deliveries/{failed['id']}/replay"):
        reply = await hooked.call("POST", f"{path}/{act}")
        assert (reply.status, reply.code) == (409, "webhook_disabled")
    receiver.status = 204
    reply = await hooked.call("PUT", path, {"url": receiver.url})
    assert reply.json["enabled"] is True
    await replayed(hooked, made["id"], failed["id"])
    await settled(hooked, made["id"], "delivered", 1)


async def test_a_ping_is_sent_whatever_is_asked_for(hooked: Server, receiver: Receiver) -> None:
    made = await register(hooked, receiver.url, events=["a"])
    reply = await hooked.call("POST", f"{WEBHOOKS}/{made['id']}/test")
    assert reply.json == {"event": "webhook.ping", "status": "pending"}
    (got,) = await receiver.until(1)
    assert (got.type, got.data) == ("webhook.ping", {"webhook_id": made["id"]})


async def test_both_secrets_sign_for_a_while_after_a_new_one(
    hooked: Server, receiver: Receiver
) -> None:
    made = await register(hooked, receiver.url)
    path = f"{WEBHOOKS}/{made['id']}"
    again = (await hooked.call("POST", f"{path}/rotate-secret", {})).json
    assert again["secret"] != made["secret"]
    await hooked.call("POST", f"{path}/test")
    (got,) = await receiver.until(1)
    assert got.verified(again["secret"])
    assert got.verified(made["secret"])
    last = (await hooked.call("POST", f"{path}/rotate-secret", {"keep_old": 0})).json
    await hooked.call("POST", f"{path}/test")
    got = (await receiver.until(2))[1]
    assert got.verified(last["secret"])
    assert len(got.headers["webhook-signature"].split()) == 1


async def test_deliveries_come_in_pages(hooked: Server, receiver: Receiver) -> None:
    made = await register(hooked, receiver.url)
    for _ in range(3):
        await hooked.call("POST", f"{WEBHOOKS}/{made['id']}/test")
    await settled(hooked, made["id"], "delivered", 3)
    receiver.status = 500
    for _ in range(2):
        await hooked.call("POST", f"{WEBHOOKS}/{made['id']}/test")
    # Those that wait are in the order in which they are due, which a try changes.
    async with asyncio.timeout(20):
        while any(not one["tries"] for one in await settled(hooked, made["id"], "pending", 2)):
            await asyncio.sleep(0)
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = await deliveries(hooked, made["id"], limit=2, **after)
        seen += [one["id"] for one in page["deliveries"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(seen) == len(set(seen)) == 5
    reply = await hooked.send("GET", f"{WEBHOOKS}/{made['id']}/deliveries", params={"after": "x"})
    assert (reply.status, reply.code) == (400, "cursor_invalid")


async def test_a_removed_webhook_leaves_nothing(hooked: Server, receiver: Receiver) -> None:
    receiver.status = 500
    made = await register(hooked, receiver.url)
    await hooked.call("POST", f"{WEBHOOKS}/{made['id']}/test")
    await receiver.until(1)
    reply = await hooked.call("DELETE", f"{WEBHOOKS}/{made['id']}")
    assert reply.json == {"name": made["id"], "removed": True}
    assert (await hooked.call("GET", f"{WEBHOOKS}/{made['id']}")).status == 404
    async with asyncio.timeout(20):
        while hooked.node.store.outbox_count():
            await asyncio.sleep(0)


# Who may ----------------------------------------------------------------------------------------


async def test_anothers_webhook_answers_as_a_missing_one(
    hooked: Server, receiver: Receiver
) -> None:
    made = await register(hooked, receiver.url, headers={"X_User_ID": "ann", "X_Tenant_ID": "a"})
    missing = "wh_" + "0" * 32
    settings = {"url": receiver.url}
    for who in ({"X_User_ID": "bob", "X_Tenant_ID": "a"}, {"X_User_ID": "admin"}):
        for method, rest, body in (
            ("GET", "", None),
            ("PUT", "", settings),
            ("DELETE", "", None),
            ("POST", "/test", None),
            ("POST", "/rotate-secret", {}),
            ("GET", "/deliveries", None),
            ("POST", "/deliveries/msg_x/replay", None),
        ):
            theirs = await hooked.call(method, f"{WEBHOOKS}/{made['id']}{rest}", body, **who)
            none = await hooked.call(method, f"{WEBHOOKS}/{missing}{rest}", body, **who)
            assert (theirs.status, theirs.code) == (404, "document_unknown"), (method, rest)
            assert theirs.body == none.body
        for path in (WEBHOOKS, "/webhooks"):
            assert (await hooked.call("GET", path, **who)).json["count"] == 0
    admin = {"X_User_ID": "admin", "X_Tenant_ID": "a"}
    assert (await hooked.call("GET", WEBHOOKS, **admin)).json["count"] == 1


async def test_secrets_are_in_no_later_answer(hooked: Server, receiver: Receiver) -> None:
    made = await register(hooked, receiver.url)
    assert made["secret"].startswith("whsec_")
    path = f"{WEBHOOKS}/{made['id']}"
    replies: list[Reply] = [
        await hooked.call("GET", path),
        await hooked.call("GET", WEBHOOKS),
        await hooked.call("GET", "/webhooks"),
        await hooked.call("GET", f"/webhooks/{made['id']}"),
        await hooked.call("PUT", path, {"url": receiver.url}),
        await hooked.call("GET", "/metrics"),
        await hooked.call("GET", "/api/v1/audit"),
    ]
    for reply in replies:
        assert reply.status == 200
        assert made["secret"].encode() not in reply.body


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "http://example.com/"}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": "https://user:hunter2@example.com/"}, "/url"),
        ({"url": "https://example.com/", "events": []}, "/events"),
        ({"url": "https://example.com/", "events": ["a*"]}, "/events"),
        ({"url": "https://example.com/", "secret": "short"}, "/secret"),
        ({"url": "https://example.com/", "secret": "whsec_AAAA"}, "/secret"),
        ({"url": "https://example.com/", "bogus": 1}, "/bogus"),
    ],
)
async def test_what_is_wrong_is_pointed_at(server: Server, body: Any, pointer: str) -> None:
    reply = await server.call("POST", WEBHOOKS, body)
    assert (reply.status, reply.code, reply.json["pointer"]) == (400, "field_invalid", pointer)
    assert "hunter2" not in reply.json["detail"]


async def test_a_tenant_has_a_bounded_number_of_webhooks(server: Server) -> None:
    from headrace.wire.limits import WEBHOOKS_PER_TENANT_MAX

    names = [
        (await register(server, "https://example.com/"))["id"]
        for _ in range(WEBHOOKS_PER_TENANT_MAX)
    ]
    reply = await server.call("POST", WEBHOOKS, {"url": "https://example.com/"})
    assert (reply.status, reply.code) == (409, "documents_too_many")
    path = f"{WEBHOOKS}/{names[0]}"
    assert (await server.call("PUT", path, {"url": "https://example.org/"})).status == 200
    await register(server, "https://example.com/", headers={"X_Tenant_ID": "b"})


async def test_conditions_hold_for_a_webhook(server: Server) -> None:
    made = await register(server, "https://example.com/")
    path, version = f"{WEBHOOKS}/{made['id']}", made["webhook"]["version"]
    body = {"url": "https://example.org/"}
    reply = await server.call("PUT", path, body, If_Match=f'"{version + 1}"')
    assert (reply.status, reply.code) == (412, "precondition_failed")
    reply = await server.call("PUT", path, body, If_Match=f'"{version}"')
    assert (reply.status, reply.json["url"]) == (200, "https://example.org/")


# Failed authentication --------------------------------------------------------------------------


async def test_failed_authentication_is_told_once_however_often_it_fails(
    hooked: Server, receiver: Receiver
) -> None:
    await register(hooked, receiver.url, events=["auth.failed"], headers={"X_User_ID": "admin"})
    await register(hooked, receiver.url, events=["auth.failed"])
    made = (await hooked.call("POST", "/api/v1/keys", {"scopes": ["admin"]})).json
    for _ in range(5):
        reply = await hooked.call("GET", "/api/v1/jobs", Authorization="Bearer wrong")
        assert reply.status == 401
    (got,) = await receiver.until(1)
    assert (got.type, got.data["count"], got.data["remote"]) == ("auth.failed", 1, "127.0.0.1")
    assert b"wrong" not in got.body
    assert made["key"].encode() not in got.body
    hooked.site.alarms.close()
    got = (await receiver.until(2))[1]
    assert got.data["count"] == 4
    assert len(receiver.got) == 2


# The root surface, restarts ---------------------------------------------------------------------


async def test_the_root_surface_registers_too(hooked: Server, receiver: Receiver) -> None:
    body = {"url": receiver.url, "events": ["job.cancelled"], "secret": "webhook_secret"}
    reply = await hooked.call("POST", "/webhooks", body)
    assert (reply.status, reply.json["success"]) == (201, True)
    name = reply.json["webhook_id"]
    assert "webhook_secret" not in reply.body.decode()
    await hooked.call("POST", f"/api/v1/jobs/{await hooked.submit()}/cancel")
    (got,) = await receiver.until(1)
    assert got.verified("webhook_secret")
    assert (await hooked.call("GET", f"/webhooks/{name}")).json["webhook"]["url"] == receiver.url
    reply = await hooked.call("DELETE", f"/webhooks/{name}")
    assert reply.json == {"success": True, "message": "Webhook removed", "webhook_id": name}
    assert (await hooked.call("GET", "/webhooks")).json["count"] == 0


async def test_what_waits_is_sent_after_a_restart_under_the_same_id(
    tmp_path: Path, receiver: Receiver
) -> None:
    options: dict[str, Any] = {
        **ALLOWED,
        "data_dir": tmp_path / "d",
        "accept_any_filesystem": True,
    }
    receiver.status = 500
    server = await open_server(**options)
    made = await register(server, receiver.url)
    job_id = await server.submit(webhook_url=receiver.url + "/own")
    await server.call("POST", f"/api/v1/jobs/{job_id}/cancel")
    before = {one.id for one in await receiver.until(2)}
    await server.close()
    receiver.status = 204
    server = await open_server(**options)
    try:
        assert (await server.call("GET", f"{WEBHOOKS}/{made['id']}")).json["pending"] == 1
        for one in (await deliveries(server, made["id"]))["deliveries"]:
            await replayed(server, made["id"], one["id"])
        await settled(server, made["id"], "delivered", 1)
        assert {one.id for one in receiver.got} == before
    finally:
        await server.close()


async def test_dead_endpoints_hold_up_no_other(hooked: Server, receiver: Receiver) -> None:
    """Those that refuse connections take their places in a lane of their own."""
    dead = [f"http://127.0.0.1:1/{number}" for number in range(300)]
    jobs = [{"type": "work", "webhook_url": url} for url in dead]
    reply = await hooked.call("POST", "/api/v1/jobs", jobs)
    assert reply.status == 200
    work = (await hooked.poll(max_jobs=300))["jobs"]
    reports = [{"lease": one["lease"], "outcome": "completed"} for one in work]
    acks = (await hooked.poll(max_jobs=0, reports=reports))["acks"]
    assert len(acks) == 300
    await register(hooked, receiver.url, headers={"X_Tenant_ID": "other"})
    reply = await hooked.call("POST", "/api/v1/jobs", {"type": "work"}, X_Tenant_ID="other")
    await hooked.call("POST", f"/api/v1/jobs/{reply.json['job_id']}/cancel", X_Tenant_ID="other")
    await receiver.until(1)
    assert hooked.node.store.outbox_count() >= 299, "the dead still wait"
