import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks import Webhook

from headrace.runtime.clock import Clock
from headrace.webhooks import sending
from headrace.webhooks.addresses import AddressRefused, AddressRules
from headrace.webhooks.contract import Answer, Lane, Post
from headrace.webhooks.deliverer import Deliverer
from headrace.webhooks.sending import HttpSender, Lookups
from headrace.webhooks.signing import signed_headers
from headrace.webhooks.urls import UrlRules

from .rig import SECRET, FakeEndpoints, FakeOutbox

ANY_PORT = UrlRules(http=True, ports=None)
LOOPBACK = AddressRules(allow=["127.0.0.1/32"])
REFUSED = "the address is not allowed for webhooks"


class FakeResolver(AbstractResolver):
    """Answers each question with the next of its answers, and the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        hosts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not hosts:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        known = {"hostname": host, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST}
        return [
            ResolveResult(
                **known, host=each, family=socket.AF_INET6 if ":" in each else socket.AF_INET
            )
            for each in hosts
        ]

    async def close(self) -> None:
        pass


class Receiver:
    """Listens on loopback; keeps what it was sent."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.peers: set[object] = set()
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] = self._fine
        self.port = 0

    async def _fine(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append((headers, await request.read()))
        return await self.answer(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"


async def _serve(receiver: Receiver, tls: ssl.SSLContext | None = None) -> web.AppRunner:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    receiver.port = runner.addresses[0][1]
    return runner


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    runner = await _serve(receiver)
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def sender() -> AsyncIterator[HttpSender]:
    async with HttpSender(ANY_PORT, LOOPBACK) as sender:
        yield sender


def _post(url: str, body: bytes = b'{"type":"x"}', at_ms: int | None = None) -> Post:
    at_ms = Clock().wall_ms() if at_ms is None else at_ms
    headers = signed_headers([SECRET], "m1", at_ms, body)
    return Post(url=url, headers=headers, body=body, lane=Lane.NEW)


async def test_a_request_arrives_as_it_was_signed(sender: HttpSender, receiver: Receiver) -> None:
    body = '{"type":"job.completed","data":{"name":"Ω"}}'.encode()
    assert await sender.send(_post(receiver.url, body)) == Answer(status=204)
    ((headers, got),) = receiver.got
    assert got == body
    assert Webhook(SECRET).verify(got, headers)["data"] == {"name": "Ω"}
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "headrace-webhooks"


async def test_a_redirect_is_not_followed(sender: HttpSender, receiver: Receiver) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("/elsewhere")

    receiver.answer = answer
    assert (await sender.send(_post(receiver.url))).status == 307
    assert len(receiver.got) == 1


async def test_no_cookie_comes_back_and_no_connection_is_used_twice(
    sender: HttpSender, receiver: Receiver
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.Response(status=200)
        response.set_cookie("a", "b")
        return response

    receiver.answer = answer
    for _ in range(3):
        await sender.send(_post(receiver.url))
    assert all("cookie" not in headers for headers, _ in receiver.got)
    assert len(receiver.peers) == 3


async def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with HttpSender(ANY_PORT, LOOPBACK) as sender:
        assert (await sender.send(_post(receiver.url))).status == 204


async def test_retry_after_is_handed_on(sender: HttpSender, receiver: Receiver) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "7"})

    receiver.answer = answer
    assert await sender.send(_post(receiver.url)) == Answer(status=429, retry_after="7")


# Addresses --------------------------------------------------------------------------------------


async def test_an_address_that_is_not_allowed_is_not_connected_to(receiver: Receiver) -> None:
    for url in (receiver.url, f"http://[::ffff:127.0.0.1]:{receiver.port}/"):
        async with HttpSender(ANY_PORT, AddressRules()) as sender:
            answer = await sender.send(_post(url))
            assert answer == Answer(error="this address is not allowed for webhooks")
            with pytest.raises(aiohttp.ClientConnectorError) as failed:
                await sender._session(Lane.NEW).post(url)
            assert isinstance(failed.value.os_error, AddressRefused), "no resolver is asked here"
    assert receiver.peers == set()


@pytest.mark.parametrize("host", ["hooks.example", "localhost"])
@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["169.254.169.254"]],
)
async def test_a_name_that_leads_to_a_denied_address_is_not_connected_to(
    receiver: Receiver, host: str, addresses: list[str]
) -> None:
    resolver = FakeResolver(addresses)
    async with HttpSender(ANY_PORT, AddressRules(), resolver=resolver) as sender:
        answer = await sender.send(_post(f"http://{host}:{receiver.port}/"))
    assert answer == Answer(error=REFUSED)
    assert resolver.asked == [host]
    assert receiver.peers == set()


async def test_a_name_whose_answer_changes_is_checked_each_time(receiver: Receiver) -> None:
    """Loopback's second address stands in for a public one."""
    rules = AddressRules(allow=["127.0.0.1/32"])
    resolver = FakeResolver(["127.0.0.1"], ["127.0.0.2"])
    async with HttpSender(ANY_PORT, rules, resolver=resolver) as sender:
        url = f"http://hooks.example:{receiver.port}/"
        assert (await sender.send(_post(url))).status == 204
        sender._session(Lane.NEW).connector.clear_dns_cache()
        assert await sender.send(_post(url)) == Answer(error=REFUSED)
    assert len(resolver.asked) == 2
    assert len(receiver.peers) == 1


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.1", "0x7f000001", "0177.0.0.1"])
async def test_other_forms_of_an_address_reach_nothing(receiver: Receiver, host: str) -> None:
    """Refused by their text; and past that check, by the client or at connect."""
    url = f"http://{host}:{receiver.port}/"
    resolver = FakeResolver(["127.0.0.1"])
    async with HttpSender(ANY_PORT, AddressRules(), resolver=resolver) as sender:
        assert "host is a name" in (await sender.send(_post(url))).error
        with pytest.raises((aiohttp.ClientConnectorError, aiohttp.InvalidURL)):
            await sender._session(Lane.NEW).post(url)
    assert receiver.peers == set()


async def test_the_server_s_own_listener_is_not_reached_where_loopback_is_allowed(
    receiver: Receiver,
) -> None:
    rules = AddressRules(allow=["127.0.0.0/8"], own=[("0.0.0.0", receiver.port)])
    async with HttpSender(ANY_PORT, rules, resolver=FakeResolver(["127.0.0.1"])) as sender:
        answer = await sender.send(_post(f"http://me.example:{receiver.port}/"))
    assert answer == Answer(error=REFUSED)
    assert receiver.peers == set()


async def test_what_is_allowed_is_asked_again_at_each_request(receiver: Receiver) -> None:
    async with HttpSender(UrlRules(), LOOPBACK) as sender:
        assert "begins with https://" in (await sender.send(_post(receiver.url))).error
    assert receiver.peers == set()


async def test_names_are_looked_up_on_threads_of_their_own() -> None:
    lookups = Lookups()
    found = await lookups.resolve("localhost", 80)
    await lookups.close()
    assert {each["host"] for each in found} <= {"127.0.0.1", "::1"}
    assert found


# Receivers that misbehave -----------------------------------------------------------------------


async def test_an_endless_body_is_not_read_to_its_end(
    sender: HttpSender, receiver: Receiver
) -> None:
    written = 0
    over = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(bytes(1 << 16))
                written += 1 << 16
        finally:
            over.set()

    receiver.answer = answer
    assert (await sender.send(_post(receiver.url))).status == 200
    await over.wait()
    assert written < 64 << 20, "what the sockets' buffers hold, and no more"


async def test_a_body_that_never_ends_to_come_does_not_undo_the_status(
    sender: HttpSender, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 10
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    monkeypatch.setattr(sending, "ANSWER_MS_MAX", 20)
    receiver.answer = answer
    assert (await sender.send(_post(receiver.url))).status == 200


async def test_an_encoded_body_is_not_unpacked(sender: HttpSender, receiver: Receiver) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"no gzip", headers={"Content-Encoding": "gzip"})

    receiver.answer = answer
    assert (await sender.send(_post(receiver.url))).status == 200
    assert receiver.got[0][0]["accept-encoding"] == "identity"
    assert not sender._session(Lane.NEW).auto_decompress


async def test_a_receiver_that_says_nothing_is_given_up(receiver: Receiver) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    receiver.answer = answer
    async with HttpSender(ANY_PORT, LOOPBACK, total_ms=50) as sender:
        assert await sender.send(_post(receiver.url)) == Answer(error="no answer in time")


async def test_a_name_without_an_address_is_said_so() -> None:
    async with HttpSender(ANY_PORT, LOOPBACK, resolver=FakeResolver([])) as sender:
        answer = await sender.send(_post("http://gone.example/"))
    assert answer == Answer(error="the host's name has no address")


async def test_a_closed_port_is_said_so(sender: HttpSender) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = await sender.send(_post(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert answer == Answer(error="no connection")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", "the connection was closed without an answer"),
        (b"SSH-2.0-x\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 20_000 + b"\r\n\r\n", "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1_000 + b"\r\n", "the answer is not HTTP"),
    ],
)
async def test_an_answer_that_is_no_http_is_said_so(
    sender: HttpSender, answer: bytes, error: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b'{"type":"x"}'))
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await sender.send(_post(f"http://127.0.0.1:{port}/")) == Answer(error=error)


async def test_an_error_without_a_name_is_an_answer_too(
    sender: HttpSender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(lane: Lane) -> aiohttp.ClientSession:
        raise ZeroDivisionError

    monkeypatch.setattr(sender, "_session", broken)
    post = _post("http://127.0.0.1:1/?canary")
    assert await sender.send(post) == Answer(error="the request failed")
    assert "ZeroDivisionError" in caplog.text
    assert "canary" not in caplog.text


# TLS --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """For `hooks.example`, signed by nobody."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    here = tmp_path_factory.mktemp("tls")
    key, chain = here / "key.pem", here / "cert.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=hooks.example"),
            *("-addext", "subjectAltName=DNS:hooks.example", "-keyout", key, "-out", chain),
        ],
        check=True,
        capture_output=True,
    )
    return key, chain


@pytest.mark.parametrize(
    ("trusted", "host", "answer"),
    [
        (True, "hooks.example", Answer(status=204)),
        (True, "other.example", None),
        (False, "hooks.example", None),
    ],
)
async def test_a_receiver_must_be_who_it_says(
    certificate: tuple[Path, Path], trusted: bool, host: str, answer: Answer | None
) -> None:
    key, chain = certificate
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(chain, key)
    ours = ssl.create_default_context(cafile=str(chain)) if trusted else None
    receiver = Receiver()
    runner = await _serve(receiver, theirs)
    resolver = FakeResolver(["127.0.0.1"])
    try:
        async with HttpSender(ANY_PORT, LOOPBACK, resolver=resolver, tls=ours) as sender:
            got = await sender.send(_post(f"https://{host}:{receiver.port}/"))
    finally:
        await runner.cleanup()
    refused = Answer(error="no secure connection: TLS or the certificate failed")
    assert got == (answer or refused)
    assert len(receiver.got) == (answer is not None)


async def test_a_port_that_speaks_no_tls_is_said_so(sender: HttpSender, receiver: Receiver) -> None:
    answer = await sender.send(_post(receiver.url.replace("http:", "https:")))
    assert answer == Answer(error="no secure connection: TLS or the certificate failed")


# All together -----------------------------------------------------------------------------------


async def test_receivers_that_hang_delay_none_that_answers(
    sender: HttpSender, receiver: Receiver
) -> None:
    """All on one host, and more than the host may have at once."""
    hanging = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/hangs":
            hanging.set()
            await asyncio.Event().wait()
        return web.Response(status=200)

    receiver.answer = answer
    base = f"http://127.0.0.1:{receiver.port}"
    outbox, endpoints = FakeOutbox(), FakeEndpoints()
    clock = Clock()
    deliverer = Deliverer(outbox, endpoints, sender, clock)
    running = asyncio.create_task(deliverer.run())

    def put(endpoint: str, message: str, path: str) -> None:
        endpoints.put(endpoint, url=base + path)
        now_ms = clock.now_ms()
        outbox.put(endpoint, message, due_ms=now_ms, since_ms=now_ms)
        deliverer.expect(endpoint, "t")

    put("healthy", "m0", "/healthy")
    await outbox.until(lambda outbox: len(outbox.marks) == 1)
    for number in range(40):
        put(f"hanging{number}", "m", "/hangs")
    await hanging.wait()
    for number in range(1, 51):
        put("healthy", f"m{number}", "/healthy")
    await outbox.until(lambda outbox: len(outbox.marks) == 51)
    assert {mark[:2] for mark in outbox.marks} == {("delivered", "healthy")}
    await deliverer.stop(0)
    await running
    assert len(outbox.rows) == 40, "what hung is still pending"
