"""API keys: who comes in, what they may do, and what they see of other tenants.

The matrix is made from the routes: each route × each scope × each tenant.
"""

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from http_tools import EMPTY_MODULE, Reply, Server, open_server

from headrace.dashboard import load
from headrace.http.identity import FAILURES_MAX
from headrace.runtime.config import ConfigError
from headrace.wire.keys import SCOPE_WORDS, parse_scopes
from headrace.wire.keys import allows as key_allows
from headrace.wire.route import scopes_of
from headrace.wire.routes import ROUTES, Route

KEYS = "/api/v1/keys"


class Keyed:
    """A server with keys. `call` takes the key's name."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.keys: dict[str, str] = {}

    async def make(self, name: str, *, by: str = "root", **fields: Any) -> Any:
        reply = await self.call(by, "POST", KEYS, {"name": name, **fields})
        assert reply.status == 200, reply.body
        self.keys[name] = reply.json["key"]
        return reply.json

    async def call(
        self, name: str | None, method: str, path: str, body: Any = None, **headers: str
    ) -> Reply:
        if name is not None and name in self.keys:
            headers["Authorization"] = f"Bearer {self.keys[name]}"
        return await self.server.call(method, path, body, **headers)


@pytest.fixture
async def keyed(server: Server) -> Keyed:
    """Keys: root (admin of all), ann and bob (all but admin) of two tenants, wim (work)."""
    found = Keyed(server)
    await found.make("root", scopes=["admin", "impersonate"], tenant="*", user="root")
    for name, tenant in (("ann", "a"), ("bob", "b")):
        await found.make(name, tenant=tenant, user=name, scopes=["submit", "read"])
    await found.make("adam", tenant="a", user="adam", scopes=["admin"])
    await found.make("wim", tenant="*", user="wim", scopes=["work"])
    return found


async def job_of(keyed: Keyed, name: str, **fields: Any) -> str:
    reply = await keyed.call(name, "POST", "/api/v1/jobs", {"type": "t", **fields})
    assert reply.status == 200, reply.body
    return str(reply.json["job_id"])


# Coming in --------------------------------------------------------------------------------------


async def test_without_keys_anybody_is_let_in_and_the_first_key_ends_that(server: Server) -> None:
    keyed = Keyed(server)
    assert (await keyed.call(None, "GET", "/api/v1/jobs", Authorization="Bearer x")).status == 200
    await keyed.make("root", scopes=["admin"])
    reply = await keyed.call(None, "GET", "/api/v1/jobs")
    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="headrace"'
    assert (await keyed.call("root", "GET", "/api/v1/jobs")).status == 200


async def test_a_secret_is_shown_once_and_kept_nowhere(keyed: Keyed, caplog: Any) -> None:
    made = await keyed.make("new", tenant="a", scopes=["read"], expires_in="1h")
    secret = made["key"].rpartition("_")[2][:43]
    assert made["view"]["status"] == "live"
    for path in (KEYS, f"{KEYS}/{made['id']}", "/api/v1/audit", "/metrics", "/api/v1/stats"):
        assert secret not in (await keyed.call("root", "GET", path)).body.decode(), path
    document = keyed.server.node.store.documents.of(4)[made["id"]]  # type: ignore[index]
    assert secret.encode() not in document.body
    assert secret not in caplog.text


@pytest.mark.parametrize(
    "text",
    ["", "x", "hr_", "hr_0000000000_" + "0" * 49, "hr_" + "é" * 10 + "_" + "0" * 49],
)
@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "Basic ", ""])
async def test_what_is_no_key_is_refused(keyed: Keyed, text: str, scheme: str) -> None:
    for method, path, body in (
        ("GET", "/api/v1/jobs", None),
        ("POST", "/api/v1/jobs", {"type": "t"}),
        ("POST", "/api/v1/work/poll", {"worker": "w"}),
    ):
        reply = await keyed.call(
            None, method, path, body, Authorization=(scheme + text).encode().decode("latin-1")
        )
        assert (reply.status, reply.code) == (401, "unauthenticated")
        assert text not in reply.body.decode() or len(text) < 4


async def test_a_key_with_a_wrong_secret_is_refused_as_an_unknown_one(keyed: Keyed) -> None:
    from headrace.wire.keys import ApiKey, parse_key

    key = parse_key(keyed.keys["ann"])
    wrong = ApiKey(key.id, "0" * 43).text()
    unknown = ApiKey("0" * 10, key.secret).text()
    replies = [
        await keyed.call(None, "GET", "/api/v1/jobs", Authorization=f"Bearer {text}")
        for text in (wrong, unknown)
    ]
    assert [reply.status for reply in replies] == [401, 401]
    assert replies[0].body == replies[1].body


async def test_revocation_counts_at_once_also_for_polls_that_wait(keyed: Keyed) -> None:
    poll = {"worker": "w", "wait": "30s"}
    waiting = asyncio.create_task(keyed.call("wim", "POST", "/api/v1/work/poll", poll))
    while not keyed.server.node.pump.stats().parked_polls:
        await asyncio.sleep(0)
    listed = (await keyed.call("root", "GET", KEYS)).json["keys"]
    wim = next(one for one in listed if one["name"] == "wim")
    assert wim["last_used_at"] is not None
    reply = await keyed.call("root", "DELETE", f"{KEYS}/{wim['id']}")
    assert (reply.status, reply.json["status"]) == (200, "revoked")
    assert (await waiting).json["jobs"] == []
    reply = await keyed.call("wim", "POST", "/api/v1/work/poll", poll)
    assert (reply.status, reply.code) == (401, "unauthenticated")
    again = await keyed.call("root", "DELETE", f"{KEYS}/{wim['id']}")
    assert again.json["revoked_at"] == reply_time(await keyed.call("root", "GET", KEYS), wim["id"])


def reply_time(reply: Reply, key_id: str) -> str:
    return str(next(one["revoked_at"] for one in reply.json["keys"] if one["id"] == key_id))


async def test_a_key_ends_when_it_expires(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    await keyed.make("brief", tenant="a", user="ann", scopes=["read", "submit"], expires_in="10s")
    for path in ("/api/v1/jobs",) * 2:
        assert (await keyed.call("brief", "GET", path)).status == 200
    await job_of(keyed, "brief")
    identities = keyed.server.site.identities
    later_ms = keyed.server.node.clock.wall_ms() + 10_000
    monkeypatch.setattr(identities, "_wall_ms", lambda: later_ms)
    assert (await keyed.call("brief", "GET", "/api/v1/jobs")).status == 401
    assert (await keyed.call("brief", "POST", "/api/v1/jobs", {"type": "t"})).status == 401


async def test_two_keys_of_one_user_are_good_until_the_old_one_is_revoked(keyed: Keyed) -> None:
    old = await keyed.make("old", tenant="a", user="ada", scopes=["read", "submit"])
    await keyed.make("new", tenant="a", user="ada", scopes=["read", "submit"])
    job_id = await job_of(keyed, "old")
    for name in ("old", "new"):
        assert (await keyed.call(name, "GET", f"/api/v1/jobs/{job_id}")).status == 200
    assert (await keyed.call("root", "DELETE", f"{KEYS}/{old['id']}")).status == 200
    found = [(await keyed.call(name, "GET", "/api/v1/jobs")).status for name in ("old", "new")]
    assert found == [401, 200]


async def test_guessing_is_slowed_and_right_keys_still_come_in(keyed: Keyed) -> None:
    replies = [
        await keyed.call(None, "GET", "/api/v1/jobs", Authorization="Bearer wrong")
        for _ in range(FAILURES_MAX + 2)
    ]
    assert {reply.status for reply in replies[:FAILURES_MAX]} == {401}
    assert (replies[-1].status, replies[-1].code) == (429, "auth_limited")
    assert int(replies[-1].headers["Retry-After"]) > 0
    assert (await keyed.call("ann", "GET", "/api/v1/jobs")).status == 200
    assert (await keyed.call(None, "GET", "/api/v1/jobs")).status == 401, "no key is no guess"


async def test_what_is_public_needs_no_key(keyed: Keyed) -> None:
    for route in ROUTES:
        if route.public:
            body = {} if route.body is not None else None
            reply = await keyed.call(None, route.method, filled(route, "x"), body)
            # Who signs in shows a key in the body.
            assert reply.status == (400 if route.body is not None else 200), route.name


async def test_with_keys_other_names_of_the_machine_and_other_origins_are_fine(
    keyed: Keyed,
) -> None:
    headers = {"Host": "queue.example", "Origin": "https://elsewhere.example"}
    assert (await keyed.call("ann", "GET", "/api/v1/jobs", **headers)).status == 200
    assert (await keyed.call("ann", "POST", "/api/v1/jobs", {"type": "t"}, **headers)).status == 200


async def test_right_keys_take_the_lane_and_wrong_ones_do_not(keyed: Keyed) -> None:
    passages = keyed.server.site.passages
    await job_of(keyed, "ann")
    assert [let_in.caller.user for _, let_in in passages._known.values()] == ["ann"]
    await keyed.call("wim", "POST", "/api/v1/jobs", {"type": "t"})
    await keyed.call(None, "POST", "/api/v1/jobs", {"type": "t"}, Authorization="Bearer x")
    assert len(passages._known) == 1


# Who one is -------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X_User_ID", "X_Tenant_ID"])
async def test_headers_are_believed_only_with_impersonate(keyed: Keyed, header: str) -> None:
    for method, body in (("GET", None), ("POST", {"type": "t"})):
        reply = await keyed.call("ann", method, "/api/v1/jobs", body, **{header: "other"})
        assert (reply.status, reply.code) == (403, "scope_missing")
        assert reply.json["scope"] == "impersonate"
    own = {"X_User_ID": "ann", "X_Tenant_ID": "a"}
    assert (await keyed.call("ann", "GET", "/api/v1/jobs", **own)).status == 200


async def test_a_key_may_speak_for_others(keyed: Keyed) -> None:
    scopes = ["submit", "read", "impersonate"]
    await keyed.make("gate", tenant="*", user="gate", scopes=scopes)
    await keyed.make("inner", tenant="a", user="inner", scopes=scopes)
    for key in ("gate", "inner"):
        for_ann = {"X_User_ID": "ann", "X_Tenant_ID": "a"}
        reply = await keyed.call(key, "POST", "/api/v1/jobs", {"type": "t"}, **for_ann)
        job = (await keyed.call("ann", "GET", f"/api/v1/jobs/{reply.json['job_id']}")).json["job"]
        assert (job["owner"], job["tenant_id"]) == ("ann", "a")
    reply = await keyed.call("inner", "GET", "/api/v1/jobs", X_Tenant_ID="b")
    assert (reply.status, reply.code) == (403, "scope_missing")


async def test_jobs_carry_the_tenant_and_user_of_the_key(keyed: Keyed) -> None:
    job_id = await job_of(keyed, "ann")
    job = (await keyed.call("ann", "GET", f"/api/v1/jobs/{job_id}")).json["job"]
    assert (job["owner"], job["tenant_id"]) == ("ann", "a")
    reply = await keyed.call("adam", "GET", f"/api/v1/jobs/{job_id}")
    assert reply.status == 200, "an admin sees all jobs of the tenant"


async def test_users_of_a_tenant_do_not_see_each_others_jobs(keyed: Keyed) -> None:
    await keyed.make("amy", tenant="a", user="amy", scopes=["read", "submit"])
    job_id = await job_of(keyed, "ann")
    reply = await keyed.call("amy", "GET", f"/api/v1/jobs/{job_id}")
    assert (reply.status, reply.code) == (403, "forbidden")


# Workers ----------------------------------------------------------------------------------------


async def polled(keyed: Keyed, name: str, **fields: Any) -> list[str]:
    body = {"worker": "w", "max_jobs": 10, **fields}
    reply = await keyed.call(name, "POST", "/api/v1/work/poll", body)
    assert reply.status == 200, reply.body
    return [work["job"]["id"] for work in reply.json["jobs"]]


async def test_a_worker_of_a_tenant_gets_jobs_of_that_tenant_only(keyed: Keyed) -> None:
    await keyed.make("wa", tenant="a", user="wa", scopes=["work"])
    await keyed.make("wb", tenant="b", user="wb", scopes=["work"])
    mine, theirs = await job_of(keyed, "ann"), await job_of(keyed, "bob")
    other = await job_of(keyed, "bob", type="rare", requirements={"cpu_cores": 1})
    free = {"cpu_cores": 8}
    assert await polled(keyed, "wa", free=free) == [mine]
    assert await polled(keyed, "wa", free=free) == []
    assert set(await polled(keyed, "wb", free=free)) == {theirs, other}
    more = [await job_of(keyed, name) for name in ("ann", "bob")]
    assert set(await polled(keyed, "wim")) == set(more)


async def test_a_parked_worker_wakes_for_its_tenant_only(keyed: Keyed) -> None:
    await keyed.make("wa", tenant="a", user="wa", scopes=["work"])
    waiting = asyncio.create_task(polled(keyed, "wa", wait="30s"))
    while not keyed.server.node.pump.stats().parked_polls:
        await asyncio.sleep(0)
    await job_of(keyed, "bob")
    mine = await job_of(keyed, "ann")
    assert await waiting == [mine]


async def test_sessions_of_tenants_are_apart(keyed: Keyed) -> None:
    await keyed.make("wa", tenant="a", user="wa", scopes=["work"])
    await keyed.make("wb", tenant="b", user="wb", scopes=["work"])
    mine = await job_of(keyed, "ann")
    same = {"session": "s", "seq": 1}
    assert await polled(keyed, "wa", **same) == [mine]
    assert await polled(keyed, "wb", **same) == []
    assert await polled(keyed, "wim", **same) == []
    assert await polled(keyed, "wa", **same) == [mine]


async def test_a_lease_of_another_tenants_job_is_answered_as_one_that_never_was(
    keyed: Keyed,
) -> None:
    poll, many = "/api/v1/work/poll", {"worker": "w", "max_jobs": 10}
    for name in ("wa", "wb"):
        await keyed.make(name, tenant=name[1], user=name, scopes=["work"])
    held = {}
    for owner, worker in (("ann", "wa"), ("bob", "wim")):
        for _ in range(3):
            await job_of(keyed, owner)
        reply = await keyed.call(worker, "POST", poll, many)
        held[owner] = [(work["lease"], work["job"]["id"]) for work in reply.json["jobs"]]

    async def said(lease: str) -> list[Any]:
        """Say all that can be said of a lease with a key of another tenant; return the answers."""
        reports = [
            {"lease": lease, "outcome": "completed"},
            {"lease": lease, "outcome": "failed", "error": "e"},
            {"lease": lease, "outcome": "suspended", "checkpoint": 7},
        ]
        news = {"started": True, "progress": 0.5, "log": "x"}
        asked = [
            (f"/api/v1/leases/{lease}/progress", news),
            *((f"/api/v1/leases/{lease}/{act}", {}) for act in ("release", "fail", "complete")),
            *((poll, {"worker": "x", "reports": [report] * 2}) for report in reports),
            (poll, {"worker": "x", "running": [lease], "wait": "9s"}),
            (poll, {"worker": "x", "progress": [{"lease": lease, **news}]}),
        ]
        replies = [await keyed.call("wb", "POST", path, body) for path, body in asked]
        return [(reply.status, reply.body.replace(lease.encode(), b"?")) for reply in replies]

    (lease, job_id), *others = held["ann"]
    before = (await keyed.call("ann", "GET", f"/api/v1/jobs/{job_id}")).json
    never = await said("A" * len(lease))
    assert await said(lease) == never
    assert (await keyed.call("ann", "GET", f"/api/v1/jobs/{job_id}")).json == before
    assert (await keyed.call("ann", "GET", f"/api/v1/jobs/{job_id}/logs")).body == b""
    # One's own, and all for a key of all tenants; the same after its end.
    reports = [{"lease": one, "outcome": "completed"} for one, _ in (held["bob"][0], *held["ann"])]
    body = {"worker": "wb", "max_jobs": 0, "reports": reports}
    acks = (await keyed.call("wb", "POST", poll, body)).json["acks"]
    assert [ack.get("ok", False) for ack in acks] == [True, False, False, False]
    done = await keyed.call("wa", "POST", f"/api/v1/leases/{lease}/complete", {"result": 1})
    assert (done.status, done.json["status"]) == (200, "completed")
    assert await said(lease) == never
    reports = [{"lease": one, "outcome": "completed"} for one, _ in (*others, *held["bob"][1:])]
    acks = (await keyed.call("wim", "POST", poll, {**body, "reports": reports})).json["acks"]
    assert [ack["ok"] for ack in acks] == [True] * 4


async def test_jobs_from_before_the_first_key_go_to_workers_of_all_tenants(server: Server) -> None:
    early = await server.submit()
    keyed = Keyed(server)
    await keyed.make("root", scopes=["admin"])
    await keyed.make("wd", tenant="default", user="wd", scopes=["work"])
    assert await polled(keyed, "wd") == []
    assert await polled(keyed, "root") == [early]


# Making keys ------------------------------------------------------------------------------------


async def test_an_admin_of_a_tenant_makes_keys_of_that_tenant_only(keyed: Keyed) -> None:
    made = await keyed.make("more", by="adam", scopes=["read"])
    assert made["view"]["tenant_id"] == "a"
    for tenant in ("b", "*"):
        body = {"tenant": tenant, "scopes": ["read"]}
        reply = await keyed.call("adam", "POST", KEYS, body)
        assert (reply.status, reply.code) == (403, "forbidden")
    reply = await keyed.call("adam", "POST", KEYS, {"scopes": ["impersonate"]})
    assert (reply.status, reply.code) == (403, "forbidden")
    listed = (await keyed.call("adam", "GET", KEYS)).json["keys"]
    assert {one["tenant_id"] for one in listed} == {"a"}


async def test_anothers_key_is_no_key(keyed: Keyed) -> None:
    listed = (await keyed.call("root", "GET", KEYS)).json["keys"]
    bob = next(one["id"] for one in listed if one["name"] == "bob")
    for method in ("GET", "DELETE"):
        reply = await keyed.call("adam", method, f"{KEYS}/{bob}")
        missing = await keyed.call("adam", method, f"{KEYS}/0000000000")
        assert (reply.status, reply.code) == (404, "document_unknown")
        assert reply.body == missing.body
    assert (await keyed.call("bob", "GET", "/api/v1/jobs")).status == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["king"]}, "/scopes/0"),
        ({}, "/scopes"),
        ({"scopes": ["read"], "tenant": "a\nb"}, "/tenant"),
        ({"scopes": ["read"], "user": "a\nb"}, "/user"),
        ({"scopes": ["read"], "name": "a\nb"}, "/name"),
        ({"scopes": ["read"], "expires_in": "1ms"}, "/expires_in"),
        ({"scopes": ["read"], "requests": {"per_second": 0, "burst": 1}}, "/requests/per_second"),
        ({"scopes": ["read"], "jobs": {"per_second": 1, "burst": -1}}, "/jobs/burst"),
        ({"scopes": ["read"], "jobs": {"per_second": 1, "often": 1}}, "/jobs/often"),
        ({"scopes": ["read"], "bogus": 1}, "/bogus"),
    ],
)
async def test_fields_of_a_key_have_bounds(server: Server, body: Any, pointer: str) -> None:
    reply = await server.call("POST", KEYS, body)
    assert (reply.status, reply.code, reply.json["pointer"]) == (400, "field_invalid", pointer)
    assert (await server.call("GET", KEYS)).json["count"] == 0


async def test_the_audit_log_names_the_key(keyed: Keyed) -> None:
    await keyed.call("root", "PUT", "/api/v1/queues/q", {})
    (entry,) = (await keyed.call("root", "GET", "/api/v1/audit?limit=1")).json["entries"]
    listed = (await keyed.call("root", "GET", KEYS)).json["keys"]
    assert entry["key_id"] == next(one["id"] for one in listed if one["name"] == "root")


# The server -------------------------------------------------------------------------------------


async def test_keys_outlive_the_process_and_open_other_addresses(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    keyed = Keyed(await open_server(**options))
    await keyed.make("root", scopes=["admin"])
    await keyed.server.close()
    keyed.server = await open_server(**options, host="0.0.0.0")
    assert (await keyed.call("root", "GET", "/api/v1/jobs")).status == 200
    assert (await keyed.call(None, "GET", "/api/v1/jobs")).status == 401
    await keyed.server.close()


async def test_without_keys_other_addresses_stay_shut(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    await (await open_server(**options)).close()
    with pytest.raises(ConfigError, match="headrace keys create"):
        await open_server(**options, host="0.0.0.0")
    await (await open_server(**options)).close()


async def test_a_damaged_key_does_not_open_the_server(server: Server) -> None:
    from headrace.wire.documents import Kind

    server.node.store.documents.damaged.add(int(Kind.KEY))
    server.site.identities._stamp = -1
    assert (await server.call("GET", "/api/v1/jobs")).status == 401


# The matrix -------------------------------------------------------------------------------------


def filled(route: Route, job_id: str) -> str:
    known = {"id": job_id, "sha256": "0" * 64, "lease": "x", "name": "none", "delivery": "x"}
    known |= {"version": load().version, "file": "app.js", "page": "api"}
    path = re.sub(r"\{(\w+)\}", lambda found: known[found[1]], route.path)
    return path + "?for=0" if route.answer_media == "text/event-stream" else path


async def test_every_route_asks_for_its_scope(keyed: Keyed) -> None:
    for word in SCOPE_WORDS:
        await keyed.make(f"only {word}", tenant="*", user="u", scopes=[word])
    for route in ROUTES:
        wanted = scopes_of(route)
        for word in SCOPE_WORDS:
            may = not wanted or any(key_allows(parse_scopes([word]), one) for one in wanted)
            path = filled(route, "01a200b8-6f79-7000-8422-e65ef4ed6da2")
            body = {} if route.body is not None else None
            reply = await keyed.call(f"only {word}", route.method, path, body)
            told = f"{route.name} with {word}: {reply.status} {reply.body[:200]!r}"
            if may:
                assert reply.status not in (401, 403), told
            else:
                assert reply.status == 403, told
                if route.method != "HEAD":
                    assert reply.code == "scope_missing", told
                    assert reply.json["scope"] in [str(one.name).lower() for one in wanted], told


async def test_what_belongs_to_the_server_takes_a_key_for_all_tenants(keyed: Keyed) -> None:
    for route in ROUTES:
        if route.of_server:
            body = {} if route.body is not None else None
            reply = await keyed.call("adam", route.method, filled(route, "x"), body)
            assert (reply.status, reply.code) == (403, "scope_missing"), route.name
            assert reply.json["tenant"] == "*"


async def test_anothers_job_answers_on_every_route_as_a_missing_one(keyed: Keyed) -> None:
    await keyed.make("boss", tenant="b", user="boss", scopes=["admin"])
    missing = "01a200b8-6f79-7000-8422-e65ef4ed6da2"
    for route in ROUTES:
        if "{id}" not in route.path:
            continue
        for ended in (False, True):
            job_id = await job_of(keyed, "ann")
            if ended:
                await keyed.call("ann", "POST", f"/api/v1/jobs/{job_id}/cancel")
            for name in ("bob", "boss"):
                body = {} if route.body is not None else None
                theirs = await keyed.call(name, route.method, filled(route, job_id), body)
                none = await keyed.call(name, route.method, filled(route, missing), body)
                assert theirs.status == none.status == 404, (route.name, name)
                assert theirs.body == none.body, (route.name, name)
            mine = await keyed.call("ann", "GET", f"/api/v1/jobs/{job_id}")
            assert mine.json["job"]["status"] == ("cancelled" if ended else "queued")


async def test_anothers_module_answers_on_every_route_as_a_missing_one(keyed: Keyed) -> None:
    """By each scope: those that may not come are told the same, too."""
    sha256 = hashlib.sha256(EMPTY_MODULE).hexdigest()
    path = f"/api/v1/modules/{sha256}"
    for word in SCOPE_WORDS:
        if word not in ("impersonate",):
            await keyed.make(f"b {word}", tenant="b", user="u", scopes=[word])

    async def said() -> list[Any]:
        job = {"name": "n", "wasm_sha256": sha256}
        replies = []
        for name in [name for name in keyed.keys if name.startswith("b")]:
            for route in ROUTES:
                if "{sha256}" in route.path and route.method != "PUT":
                    replies.append(await keyed.call(name, route.method, path))
            replies.append(await keyed.call(name, "POST", "/api/v1/jobs", job))
        return [(reply.status, reply.body) for reply in replies]

    never = await said()
    by_ann = {"Authorization": f"Bearer {keyed.keys['ann']}"}
    stored = await keyed.server.send("PUT", path, data=EMPTY_MODULE, headers=by_ann)
    assert stored.status == 200
    assert await said() == never
    assert {status for status, _ in never} == {404, 422, 403}
    assert (await keyed.call("ann", "GET", path)).body == EMPTY_MODULE


async def test_lists_hold_only_what_is_the_tenants(keyed: Keyed) -> None:
    mine = await job_of(keyed, "ann")
    await job_of(keyed, "bob")
    for path in ("/api/v1/jobs", "/jobs"):
        for name in ("ann", "adam"):
            text = (await keyed.call(name, "GET", path)).body.decode()
            assert mine in text, (path, name)
            assert (await keyed.call(name, "GET", path)).json["count"] == 1


async def test_equal_idempotency_keys_of_tenants_are_apart(keyed: Keyed) -> None:
    ids = [await job_of(keyed, name, idempotency_key="k") for name in ("ann", "bob", "ann")]
    assert ids[0] == ids[2] != ids[1]
