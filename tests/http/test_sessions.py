"""Signing in: what the cookie is like, what it opens, for whom it counts, and what ends it."""

import asyncio
import re
from typing import Any

import aiohttp
import pytest
from http_tools import Reply, Server

from headrace.http.identity import FAILURES_MAX
from headrace.http.sessions import Sessions
from headrace.wire import limits

SESSION = "/api/v1/session"
KEYS = "/api/v1/keys"
QUEUE = "/api/v1/queues/default"


class Browser:
    """Sends what a browser sends: its cookies, where the page is from, and the page's token."""

    def __init__(self, server: Server, host: str = "") -> None:
        self.server = server
        self.host = host or f"127.0.0.1:{server.port}"
        self.origin = f"http://{self.host}"
        self.cookies: dict[str, str] = {}
        self.said: list[str] = []
        self.token = ""

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        sent = {"Host": self.host, "Sec-Fetch-Site": "same-origin"}
        if method != "GET":
            sent |= {"Origin": self.origin, "X-CSRF-Token": self.token}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.server.call(method, path, body, **{k: v for k, v in sent.items() if v})
        for line in reply.headers.getall("Set-Cookie", []):
            self.said.append(line)
            name, value = line.split(";")[0].split("=", 1)
            if "Max-Age=0" in line:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value.strip('"')
        return reply

    async def sign_in(self, key: str) -> Reply:
        reply = await self.call("POST", SESSION, {"key": key})
        if reply.status == 200:
            self.token = reply.json["csrf_token"] or ""
        return reply


async def make_key(server: Server, key: str = "", **fields: Any) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    reply = await server.call("POST", KEYS, fields, **headers)
    assert reply.status == 200, reply.body
    return reply.json


@pytest.fixture
async def root(server: Server) -> str:
    return str((await make_key(server, scopes=["admin", "impersonate"], tenant="*"))["key"])


@pytest.fixture
async def browser(server: Server, root: str) -> Browser:
    """A browser that is signed in as an admin."""
    found = Browser(server)
    # The client's own cookies would hide what the tests send.
    server.session._cookie_jar = aiohttp.DummyCookieJar()
    assert (await found.sign_in(root)).status == 200
    return found


# The cookie -------------------------------------------------------------------------------------


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(browser: Browser) -> None:
    (said,) = browser.said
    parts = {part.strip() for part in said.split(";")[1:]}
    assert parts == {
        "HttpOnly",
        "SameSite=Strict",
        "Path=/",
        f"Max-Age={limits.SIGN_IN_MS // 1000}",
    }
    assert re.fullmatch(rf"headrace-{browser.server.port}=[\w-]{{43}}", said.split(";")[0])


async def test_a_page_that_came_by_tls_gets_a_cookie_for_tls_only(
    server: Server, root: str
) -> None:
    browser = Browser(server, "jobs.example")
    browser.origin = "https://jobs.example"
    await browser.sign_in(root)
    (said,) = browser.said
    assert said.startswith("__Host-headrace=")
    assert "Secure" in said
    assert "Domain" not in said
    assert (await browser.call("GET", "/api/v1/jobs")).status == 200


async def test_the_key_is_in_no_answer_and_no_cookie(browser: Browser, root: str) -> None:
    secret = root.rpartition("_")[2]
    told = await browser.call("GET", SESSION)
    assert secret not in told.body.decode() + str(browser.said) + str(browser.server.site.sessions)
    assert told.headers["Cache-Control"] == "no-store"


async def test_servers_on_ports_of_one_machine_have_cookies_of_their_own(browser: Browser) -> None:
    browser.cookies = {"headrace-1": next(iter(browser.cookies.values()))}
    assert (await browser.call("GET", "/api/v1/jobs")).status == 401


# Who it is --------------------------------------------------------------------------------------


async def test_a_signed_in_browser_is_who_its_key_is(server: Server, root: str) -> None:
    made = await make_key(server, root, scopes=["read", "submit"], tenant="a", user="ann")
    browser = Browser(server)
    told = (await browser.sign_in(made["key"])).json
    assert (told["tenant_id"], told["user"], told["scopes"]) == ("a", "ann", ["submit", "read"])
    assert (told["signed_in"], told["open"], told["key_id"]) == (True, False, made["id"])
    assert (await browser.call("GET", SESSION)).json == told
    job = (await browser.call("POST", "/api/v1/jobs", {"type": "t"})).json
    found = (await browser.call("GET", f"/api/v1/jobs/{job['job_id']}")).json["job"]
    assert (found["owner"], found["tenant_id"]) == ("ann", "a")
    reply = await browser.call("POST", f"{QUEUE}/pause")
    assert (reply.status, reply.code) == (403, "scope_missing")


async def test_a_session_may_speak_for_others_as_its_key_may(browser: Browser) -> None:
    for_ann = {"X_User_ID": "ann", "X_Tenant_ID": "a"}
    assert (await browser.call("GET", "/api/v1/jobs", **for_ann)).status == 200
    told = (await browser.call("GET", SESSION, **for_ann)).json
    assert (told["tenant_id"], told["user"]) == ("a", "ann")


async def test_who_is_nobody_is_told_so_without_a_refusal(server: Server, root: str) -> None:
    told = (await Browser(server).call("GET", SESSION)).json
    assert (told["signed_in"], told["open"], told["csrf_token"]) == (False, False, None)


async def test_a_key_in_a_header_is_told_who_it_is_too(server: Server, root: str) -> None:
    told = (await server.call("GET", SESSION, Authorization=f"Bearer {root}")).json
    assert (told["signed_in"], told["all_tenants"], told["csrf_token"]) == (True, True, None)
    reply = await server.call("GET", SESSION, Authorization="Bearer x")
    assert (reply.status, reply.code) == (401, "unauthenticated")


async def test_without_keys_nobody_has_to_sign_in(server: Server) -> None:
    browser = Browser(server)
    told = (await browser.call("GET", SESSION)).json
    assert (told["signed_in"], told["open"], told["key_id"]) == (True, True, None)
    assert (await browser.call("POST", SESSION, {"key": "whatever"})).json == told
    assert (await browser.call("POST", f"{QUEUE}/pause")).status == 200
    assert not browser.said


# Wrong keys -------------------------------------------------------------------------------------


async def test_wrong_keys_are_refused_counted_and_slowed(server: Server, root: str) -> None:
    browser = Browser(server)
    replies = [await browser.sign_in("hr_wrong") for _ in range(FAILURES_MAX + 1)]
    assert {(reply.status, reply.code) for reply in replies[:-1]} == {(401, "unauthenticated")}
    assert (replies[-1].status, replies[-1].code) == (429, "auth_limited")
    assert not browser.said
    assert len(server.site.sessions) == 0
    assert (await browser.sign_in(root)).status == 200


async def test_a_key_that_was_revoked_signs_nobody_in(server: Server, root: str) -> None:
    made = await make_key(server, root, scopes=["read"], tenant="a")
    await server.call("DELETE", f"{KEYS}/{made['id']}", Authorization=f"Bearer {root}")
    reply = await Browser(server).sign_in(made["key"])
    assert (reply.status, reply.code) == (401, "unauthenticated")


# Other pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1", "Sec_Fetch_Site": "same-site"},
        {"Origin": "null", "Sec_Fetch_Site": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"X_CSRF_Token": ""},
        {"X_CSRF_Token": "x" * 43},
        {"X_CSRF_Token": "ünwanted"},
    ],
)
async def test_a_change_that_another_page_asks_for_is_refused(
    browser: Browser, headers: dict[str, str]
) -> None:
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    reply = await browser.call("POST", f"{QUEUE}/pause", **headers)
    assert (reply.status, reply.code) == (403, "forbidden")
    reply = await browser.call("DELETE", SESSION, **headers)
    assert (reply.status, reply.code) == (403, "forbidden")
    assert (await browser.call("GET", QUEUE)).json["paused"] is False
    assert (await browser.call("POST", f"{QUEUE}/pause")).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
async def test_another_page_may_not_look_either_nor_sign_in(
    browser: Browser, root: str, headers: dict[str, str]
) -> None:
    for path in ("/api/v1/jobs", SESSION):
        reply = await browser.call("GET", path, **headers)
        assert (reply.status, reply.code) == (403, "forbidden")
    reply = await browser.call("POST", SESSION, {"key": root}, **headers)
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_a_key_in_a_header_needs_no_token(browser: Browser, root: str) -> None:
    headers = {"Authorization": f"Bearer {root}", "X_CSRF_Token": "", "Origin": "https://x.example"}
    assert (await browser.call("POST", f"{QUEUE}/pause", **headers)).status == 200


# The end ----------------------------------------------------------------------------------------


async def test_signing_out_ends_the_session_itself(browser: Browser) -> None:
    kept = dict(browser.cookies)
    told = await browser.call("DELETE", SESSION)
    assert (told.status, told.json["signed_in"]) == (200, False)
    assert browser.cookies == {}
    browser.cookies = kept
    assert (await browser.call("GET", "/api/v1/jobs")).status == 401
    assert len(browser.server.site.sessions) == 0


async def test_a_session_ends_with_its_key_at_once_and_so_do_its_streams(
    server: Server, root: str
) -> None:
    made = await make_key(server, root, scopes=["read"], tenant="a")
    browser = Browser(server)
    await browser.sign_in(made["key"])
    following = asyncio.create_task(browser.call("GET", "/api/v1/stats/events"))
    while not len(server.site.streams):
        await asyncio.sleep(0)
    await server.call("DELETE", f"{KEYS}/{made['id']}", Authorization=f"Bearer {root}")
    await following
    assert (await browser.call("GET", "/api/v1/jobs")).status == 401
    assert (await browser.call("GET", SESSION)).json["signed_in"] is False
    assert len(server.site.sessions) == 0


async def test_a_session_ends_when_its_time_is_over(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_ms = browser.server.site.clock.wall_ms() + limits.SIGN_IN_MS
    monkeypatch.setattr(browser.server.site.clock, "wall_ms", lambda: later_ms)
    assert (await browser.call("GET", "/api/v1/jobs")).status == 401


async def test_a_session_ends_when_its_key_expires(
    server: Server, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make_key(server, root, scopes=["read"], tenant="a", expires_in="10s")
    browser = Browser(server)
    told = (await browser.sign_in(made["key"])).json
    assert told["expires_at"] == made["view"]["expires_at"], "the sooner of the two"
    later_ms = server.site.clock.wall_ms() + 10_000
    monkeypatch.setattr(server.site.identities, "_wall_ms", lambda: later_ms)
    assert (await browser.call("GET", "/api/v1/jobs")).status == 401


async def test_signing_in_again_ends_the_session_before(browser: Browser, root: str) -> None:
    await browser.sign_in(root)
    assert len(browser.server.site.sessions) == 1


def test_of_the_sessions_of_a_key_the_oldest_makes_room() -> None:
    sessions = Sessions()
    other, _ = sessions.begin("b", 0)
    values = [sessions.begin("a", 0)[0] for _ in range(limits.SIGN_INS_PER_KEY_MAX + 1)]
    assert len(sessions) == limits.SIGN_INS_PER_KEY_MAX + 1
    assert sessions.find(values[0], 1) is None
    assert sessions.find(values[1], 1) is not None
    assert sessions.find(other, 1) is not None
    sessions.end_of_key("a")
    assert len(sessions) == 1


@pytest.mark.parametrize("value", ["", "x", "x" * 5000, "\udcff", "é"])
async def test_what_is_no_session_opens_nothing(browser: Browser, value: str) -> None:
    name = next(iter(browser.cookies))
    text = f"{name}={value}".encode("utf-8", "surrogateescape").decode("latin-1")
    reply = await browser.call("GET", "/api/v1/jobs", Cookie=text)
    assert (reply.status, reply.code) == (401, "unauthenticated")
