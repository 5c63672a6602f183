"""The lane answers as aiohttp does, byte for byte, and takes what it should."""

import asyncio
import base64
import gc
import json
import re
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec
import pytest
from http_tools import EMPTY_MODULE, Server, open_server

from headrace.http import deadlines, lane, singles
from headrace.http.head import Passage
from headrace.http.lane import Exchange, LaneConnection
from headrace.http.waits import EndWait
from headrace.wire import limits

JOBS, POLL = "/api/v1/jobs", "/api/v1/work/poll"
LAST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
JOB = b'{"type":"t"}'
MODULE = base64.b64encode(EMPTY_MODULE).decode()


def request(
    body: bytes = JOB, *lines: bytes, start: bytes = b"POST /api/v1/jobs HTTP/1.1"
) -> bytes:
    head = [start, b"Host: localhost", b"Content-Type: application/json"]
    return b"\r\n".join([*head, *lines, b"Content-Length: %d" % len(body), b"", body])


def poll(**fields: Any) -> bytes:
    body = msgspec.json.encode({"worker": "w", **fields})
    return request(body, start=b"POST /api/v1/work/poll HTTP/1.1")


def plain(*head: bytes, body: bytes = JOB) -> bytes:
    return b"\r\n".join([*head, b"", body])


def get(target: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET /api/v1/jobs/%b HTTP/1.1" % target, HOST, *lines, b"", b""])


NO_JOB = b"01980000-0000-7000-8000-000000000000"
START = b"POST /api/v1/jobs HTTP/1.1"
HOST = b"Host: localhost"
TYPE = b"Content-Type: application/json"
WASM = {"name": "n", "requirements": {"cpu_cores": 1, "memory_mb": 64}}

TAKEN: dict[str, list[bytes]] = {
    "submit": [request()],
    "poll": [poll()],
    "submit, poll, report": [request(), poll(max_jobs=5), poll(reports=[])],
    "poll that waits": [poll(wait="20ms")],
    "poll with words for no lease": [poll(reports=[{"lease": "x", "outcome": "completed"}])],
    "poll with a bad report": [poll(reports=[{"lease": "x", "outcome": "done"}])],
    "poll with a session": [poll(session="s", seq=1), poll(session="s", seq=1)],
    "poll that is not valid": [poll(free={"cpu_cores": -1}), poll(wait="1y"), poll(bogus=1)],
    "batch": [request(b"[" + b",".join([JOB] * 7) + b"]"), request(b" \n[]")],
    "batch with bad jobs": [request(b'[{"type":"t"},{"type":1},{"name":"n"}]')],
    "batch and a key": [request(b"[]", b"Idempotency-Key: k")],
    "batch of many": [request(b"[" + b",".join([JOB] * 1_200) + b"]")],
    "key": [request(JOB, b"Idempotency-Key: k"), request(JOB, b"Idempotency-Key: k")],
    "key of another": [request(JOB, b"Idempotency-Key: k"), request(b"{}", b"Idempotency-Key: k")],
    "empty key": [request(JOB, b"Idempotency-Key:")],
    "long key": [request(JOB, b"Idempotency-Key: " + b"k" * 300)],
    "user": [request(JOB, b"X-User-ID: ann", b"X-Tenant-ID: acme")],
    "empty user": [request(JOB, b"X-User-ID: ", b"X-Tenant-ID:")],
    "MessagePack asked for": [request(JOB, b"Accept: application/msgpack"), poll()],
    "anything asked for": [request(JOB, b"Accept: */*", b"Accept-Encoding: gzip")],
    "no content type": [plain(START, HOST, b"Content-Length: 12")],
    "another charset": [
        plain(START, HOST, TYPE + b"; charset=latin-1", b"Content-Length: 12"),
    ],
    "names in any case": [plain(START, b"hOST:localhost", b"CONTENT-LENGTH:12 ")],
    "no body": [request(b"")],
    "not JSON": [request(b"{"), request(b"nope"), request(b'{"type":"t"} x')],
    "not UTF-8": [request(b'{"type":"\xff"}'), request(b'{"type":"t","params":"\xed\xa0\x80"}')],
    "too deep": [request(b'{"type":"t","params":' + b"[" * 5_000 + b"]" * 5_000 + b"}")],
    "unknown field": [request(b'{"type":"t","bogus":1}')],
    "wrong fields": [
        request(b'{"type":7}'),
        request(b'{"type":"t","priority":"x"}'),
        request(b"7"),
    ],
    "inline module": [request(msgspec.json.encode({**WASM, "wasm_module": MODULE}))],
    "broken module": [request(msgspec.json.encode({**WASM, "wasm_module": "AAAA"}))],
    "unknown module": [request(msgspec.json.encode({**WASM, "wasm_sha256": "0" * 64}))],
    "large": [request(b'{"type":"t","params":"%b"}' % (b"x" * 20_000))],
    "too large in a field": [request(b'{"type":"t","name":"%b"}' % (b"x" * 5_000))],
    "no such job": [get(NO_JOB), get(NO_JOB + b"/result?wait=30s"), get(NO_JOB + b"?wait=5ms")],
    "a job with no body": [get(NO_JOB, b"Content-Length: 0", TYPE), get(NO_JOB, b"X-User-ID: x")],
}
"""Requests that the lane takes, all of them, one after the other."""

PASSED: dict[str, list[bytes]] = {
    "another route": [
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        LAST[:-21] + b"\r\n",
    ],
    "another method": [request(start=b"PUT /api/v1/jobs HTTP/1.1")],
    "a body where none belongs": [request(start=b"GET /livez HTTP/1.1")],
    "a lease": [request(b"{}", start=b"POST /api/v1/leases/x/complete HTTP/1.1")],
    "a query": [request(start=b"POST /api/v1/jobs?x=1 HTTP/1.1")],
    "a job by no id": [get(b"01980000-0000-7000-8000-00000000000x"), get(b"-" * 36)],
    "a job's log": [get(NO_JOB + b"/logs"), get(NO_JOB + b"/"), get(NO_JOB + b"/result/")],
    "a wait in other words": [get(NO_JOB + b"?wait=0.1"), get(NO_JOB + b"?wait=1s&wait=1s")],
    "a wait out of bounds": [get(NO_JOB + b"?wait=61s"), get(NO_JOB + b"/result?wait=60001ms")],
    "a wait by preference": [get(NO_JOB, b"Prefer: wait=1")],
    "another parameter": [get(NO_JOB + b"?x=1"), get(NO_JOB + b"/result?wait=1s&x=1")],
    "a job, and a body": [get(NO_JOB, b"Content-Length: 12") + JOB],
    "an encoded target": [request(start=b"POST /api/v1/%6aobs HTTP/1.1")],
    "a whole address": [request(start=b"POST http://localhost/api/v1/jobs HTTP/1.1")],
    "MessagePack": [
        plain(
            START,
            HOST,
            b"Content-Type: application/msgpack",
            b"Content-Length: 8",
            body=msgspec.msgpack.encode({"type": "t"}),
        )
    ],
    "text": [plain(START, HOST, b"Content-Type: text/plain", b"Content-Length: 12")],
    "unknown header": [request(JOB, b"X-Unknown: 1")],
    "origin": [request(JOB, b"Origin: http://localhost")],
    "strange origin": [request(JOB, b"Origin: http://evil.example")],
    "strange host": [plain(START, b"Host: evil.example", b"Content-Length: 12")],
    "no host": [plain(START, b"Content-Length: 12")],
    "a long user": [request(JOB, b"X-User-ID: " + b"x" * 201)],
    "encoded": [
        request(JOB, b"Content-Encoding: gzip"),
        request(JOB, b"Content-Encoding: identity"),
    ],
    "a long header": [request(JOB, b"User-Agent: " + b"x" * 3_000)],
    "no length": [plain(START, HOST, body=b"")],
    "chunked": [
        plain(START, HOST, b"Transfer-Encoding: chunked", body=b"c\r\n%b\r\n0\r\n\r\n" % JOB)
    ],
    "a tab": [request(JOB, b"User-Agent: a\tb")],
    "a letter": [request(JOB, b"User-Agent: \xc3\xa9")],
    "the last of a connection": [request(JOB, b"Connection: close")],
    "of the last version": [request(start=b"POST /api/v1/jobs HTTP/1.0")],
    "with an empty line first": [b"\r\n" + request()],
    "with an expectation": [request(JOB, b"Expect: miracles")],
    "with an upgrade": [request(JOB, b"Upgrade: x", b"Connection: upgrade")],
    "two lengths": [request(JOB, b"Content-Length: 12")],
    "other lengths": [request(JOB, b"Content-Length: 3")],
    "length and chunks": [request(JOB, b"Transfer-Encoding: chunked")],
    "a length with a sign": [plain(START, HOST, b"Content-Length: +12")],
    "a length with a zero": [plain(START, HOST, b"Content-Length: 012")],
    "no length at all": [plain(START, HOST, b"Content-Length:")],
    "a length beyond the body": [plain(START, HOST, b"Content-Length: 17")],
    "a length before its end": [plain(START, HOST, b"Content-Length: 7")],
    "a length beyond all": [
        plain(START, HOST, b"Content-Length: %d" % (limits.BODY_BYTES_MAX + 1), body=b""),
    ],
    "a space before the colon": [plain(START, HOST, b"Content-Length : 12")],
    "a folded line": [plain(START, HOST, b"X: a", b" b", b"Content-Length: 12")],
    "a bare newline": [request().replace(b"\r\n", b"\n", 1)],
    "many headers": [request(JOB, *[b"A%d: b" % n for n in range(200)])],
    "a small method": [request(start=b"post /api/v1/jobs HTTP/1.1")],
    "not HTTP": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
}
"""Requests that are aiohttp's."""

_VARYING = [
    (rb"\r\nDate: [^\r]+", rb"\r\nDate: -"),
    (rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", rb"{id}"),
    (rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rb"{instant}"),
    (rb'"lease":"[\w-]{54}"', rb'"lease":"{lease}"'),
    (rb"Commit-Position: 0:1:\d+", rb"Commit-Position: -"),
]


def same(answers: bytes) -> bytes:
    """Return answers without what differs from time to time and server to server."""
    for pattern, instead in _VARYING:
        answers = re.sub(pattern, instead, answers)
    return answers


class Talk(asyncio.Protocol):
    """A client's side of a connection: `came` is all that came until its end."""

    def __init__(self) -> None:
        self.came = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.came += data

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ConnectionResetError) and not self.came:
            self.came = b"(reset)"
        self.ended.set_result(None)


async def talk(server: Server, chunks: list[bytes], pause_s: float = 0.005) -> bytes:
    """Send chunks on one connection, apart; return all that comes until it is closed.

    What is sent to a connection that is closed may have it reset behind the answer, or not.
    """
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(Talk, "127.0.0.1", server.port)
    for position, chunk in enumerate(chunks):
        if position:
            await asyncio.sleep(pause_s)
        if not transport.is_closing():
            transport.write(chunk)
    await client.ended
    return client.came


async def converse(server: Server, messages: list[bytes]) -> bytes:
    """Send requests, each after the answer to the one before, and `LAST`; return all answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = await served_by(server, writer)
    answers = []
    for message in messages:
        await settled(connection)
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        assert length is not None
        answers += [head, await reader.readexactly(int(length[1]))]
    writer.write(LAST)
    answers.append(await reader.read())
    writer.close()
    return b"".join(answers)


class Both:
    """Two servers, one with the lane; `takes` are the requests that took it."""

    def __init__(self, on: Server, off: Server, takes: list[str]) -> None:
        self.on, self.off, self.takes = on, off, takes

    async def agree(self, chunks: list[bytes], pause_s: float = 0.005) -> bytes:
        return await self._agree(talk(self.on, chunks, pause_s), talk(self.off, chunks, pause_s))

    async def agree_in_turn(self, messages: list[bytes]) -> bytes:
        return await self._agree(converse(self.on, messages), converse(self.off, messages))

    async def _agree(self, *answers: Coroutine[Any, Any, bytes]) -> bytes:
        with_lane, without = await asyncio.gather(*answers)
        assert same(with_lane) == same(without)
        return with_lane


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    taken: list[str] = []
    take = LaneConnection._take

    def noted(self: LaneConnection, passage: Passage, *more: Any) -> None:
        taken.append(passage.route)
        take(self, passage, *more)

    monkeypatch.setattr(LaneConnection, "_take", noted)
    return taken


@pytest.fixture
async def both(takes: list[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Both]:
    monkeypatch.setattr(deadlines, "LINGER_S", 0.2)
    on = await open_server(lane=True, idle_ms=1_000)
    off = await open_server(lane=False, idle_ms=1_000)
    try:
        yield Both(on, off, takes)
    finally:
        await on.close()
        await off.close()


async def served_by(server: Server, writer: asyncio.StreamWriter) -> Any:
    """Return the server's side of a connection."""
    name = writer.get_extra_info("sockname")
    while True:
        assert server.runner.server is not None
        for connection in server.runner.server.connections:
            if connection.peername == name:
                return connection
        await asyncio.sleep(0.001)


async def settled(connection: Any) -> None:
    """Wait until the server's side is idle."""
    while connection._waiter is None or connection._waiter.done() or connection._messages:
        await asyncio.sleep(0)


# Equal answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAKEN)
async def test_what_takes_the_lane_is_answered_as_without_it(both: Both, name: str) -> None:
    answers = await both.agree_in_turn(TAKEN[name])
    assert answers.count(b"HTTP/1.1 ") == len(TAKEN[name]) + 1
    assert len(both.takes) == len(TAKEN[name])


@pytest.mark.parametrize("name", PASSED)
async def test_what_does_not_is_aiohttps(both: Both, name: str) -> None:
    await both.agree([b"", *PASSED[name], LAST])
    assert both.takes == []


@pytest.mark.parametrize("name", [*TAKEN, *PASSED])
async def test_what_is_sent_ahead_is_answered_in_order(both: Both, name: str) -> None:
    """In one piece, it is aiohttp's."""
    messages = {**TAKEN, **PASSED}[name]
    await both.agree([b"", b"".join([*messages, LAST])])
    assert both.takes == []


@pytest.mark.parametrize(
    "whole",
    [
        request(JOB, b"Idempotency-Key: k", b"X-User-ID: ann"),
        poll(),
        request(b"{"),
        request(JOB, b"Content-Length: 3"),
    ],
)
async def test_a_request_in_two_pieces_is_answered_alike_wherever_it_is_cut(
    both: Both, whole: bytes
) -> None:
    await both.agree([whole + LAST])  # so that all the others find its key used
    cuts = [[b"", whole[:cut], whole[cut:] + LAST] for cut in range(1, len(whole))]
    answers = await asyncio.gather(*(both.agree(chunks, 0.05) for chunks in cuts))
    assert both.takes == []
    assert len(set(map(same, answers))) == 1


async def test_a_request_and_a_piece_of_the_next_are_answered_alike(both: Both) -> None:
    whole = request()
    cuts = [[b"", whole, whole[:cut], whole[cut:] + LAST] for cut in range(1, len(whole), 7)]
    await asyncio.gather(*(both.agree(chunks, 0.05) for chunks in cuts))


@pytest.mark.parametrize("about", [b"", b"/result"])
async def test_a_wait_for_the_end_of_a_job_is_answered_as_without_it(
    both: Both, about: bytes
) -> None:
    def waits_long(wait: object) -> bool:
        return isinstance(wait, EndWait) and wait._look.wait_ms == 30_000

    async def wait_until_it_ends(server: Server) -> bytes:
        job_id = (await server.submit()).encode()
        sent = [get(job_id + about + wait) for wait in (b"", b"?wait=1ms", b"?wait=30s")]
        answers = asyncio.create_task(converse(server, sent))
        while not any(waits_long(wait) for wait in server.site._waits):
            await asyncio.sleep(0.001)
        lease = await server.lease()
        await server.call("POST", f"/api/v1/leases/{lease}/complete", {"result": 7})
        assert not server.site._waits
        assert not server.node.pump._watches
        return await answers + await converse(server, sent)

    answers = await both._agree(wait_until_it_ends(both.on), wait_until_it_ends(both.off))
    assert both.takes.count("job_result" if about else "job_get") == 6
    assert answers.count(b'"result":7') == 4


async def test_what_took_the_lane_leaves_nothing_to_the_garbage_collector(server: Server) -> None:
    job_id = (await server.submit()).encode()
    gc.collect()
    gc.disable()
    try:
        sent = [get(job_id), get(job_id + b"?wait=1ms"), get(NO_JOB), request(), poll()]
        await converse(server, sent)
        left = [it for it in gc.get_objects() if isinstance(it, Exchange | EndWait)]
    finally:
        gc.enable()
    assert left == []


async def test_both_count_the_same(both: Both) -> None:
    for messages in TAKEN.values():
        await both.agree_in_turn(messages)
    for messages in PASSED.values():
        await both.agree([*messages, LAST])
    assert both.takes
    on, off = both.on.site.meters, both.off.site.meters
    assert on.requests == off.requests
    assert (on.parse_errors, on.deadlines) == (off.parse_errors, off.deadlines)


async def test_a_server_behind_a_proxy_takes_any_host(takes: list[str]) -> None:
    server = await open_server(insecure=True)
    sent = plain(START, b"Host: jobs.example", b"Content-Length: 12")
    assert (await converse(server, [sent])).count(b"HTTP/1.1 200") == 2
    assert len(takes) == 1
    await server.close()


# One connection, two parsers --------------------------------------------------------------------


async def test_a_connection_comes_back_to_the_lane(both: Both) -> None:
    """After whole requests of aiohttp's, and after a plain one in pieces."""
    get = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    large = request(b'{"type":"t","params":"%b"}' % (b"x" * 1_000_000))
    for passed in (get, *PASSED["unknown header"], large):
        both.takes.clear()
        await both.agree_in_turn([request(), passed, poll()])
        assert both.takes == ["jobs_submit", "work_poll"]


@pytest.mark.parametrize(
    "odd", ["chunked", "with an empty line first", "a length with a zero", "a letter"]
)
async def test_a_connection_whose_framing_is_not_plain_stays_aiohttps(both: Both, odd: str) -> None:
    await both.agree_in_turn([request(), *PASSED[odd], request()])
    assert both.takes == ["jobs_submit"]


async def test_what_comes_while_a_poll_waits_waits_too(both: Both) -> None:
    answers = await both.agree([b"", poll(wait="100ms"), request(), poll(), LAST])
    assert re.findall(rb'"jobs":\[(.)', answers) == [b"]", b"{"]
    assert both.takes[:1] == ["work_poll"]


async def test_a_client_that_sends_much_ahead_is_not_read_from(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HELD_BYTES_MAX", 1_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = await served_by(server, writer)
    await settled(connection)
    writer.write(poll(wait="60s"))
    while not server.node.pump.stats().parked_polls:
        await asyncio.sleep(0.001)
    assert connection._exchange is not None
    number = 50
    ahead = request(b'{"type":"t","params":"%b"}' % (b"x" * 100_000))
    writer.write(ahead * number + LAST)
    while len(connection._held) <= 1_000:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert len(connection._held) < 2_000_000
    await server.submit()
    answers = await reader.read()
    assert answers.count(b"HTTP/1.1 200") == number + 2
    writer.close()


async def test_a_client_that_does_not_read_gets_no_further(server: Server) -> None:
    for _ in range(100):
        await server.submit(params="x" * 60_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_000)
    connection = await served_by(server, writer)
    await settled(connection)
    writer.write(poll(max_jobs=100))
    while not connection._paused:
        await asyncio.sleep(0.001)
    assert connection._exchange is not None
    assert connection._request_in_progress
    writer.write(request())
    while not connection._held:
        await asyncio.sleep(0.001)
    submitted = server.node.pump.stats().engine.submitted_total
    await asyncio.sleep(0.01)
    assert server.node.pump.stats().engine.submitted_total == submitted
    writer.write(LAST)
    answers = await reader.read()
    assert answers.count(b"HTTP/1.1 200") == 3
    assert len(answers) > 6_000_000
    writer.close()


# Ends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", [True, False])
async def test_a_wait_whose_client_went_away_is_over(lane: bool) -> None:
    server = await open_server(lane=lane)
    job_id = (await server.submit()).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(get(job_id + b"/result?wait=60s"))
    while not server.site._waits:
        await asyncio.sleep(0.001)
    writer.transport.abort()
    while server.site._waits:
        await asyncio.sleep(0.001)
    assert not server.node.pump._watches
    await server.close()


@pytest.mark.parametrize("lane", [True, False])
async def test_a_poll_whose_client_went_away_is_withdrawn(lane: bool) -> None:
    server = await open_server(lane=lane)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(poll(wait="60s"))
    while not server.node.pump.stats().parked_polls:
        await asyncio.sleep(0.001)
    writer.transport.abort()
    while server.node.pump.stats().parked_polls:
        await asyncio.sleep(0.001)
    assert server.site._polls == {}
    assert server.site.meters.requests == {}
    await server.close()


async def test_a_module_whose_client_went_away_is_left(server: Server) -> None:
    """The same, where the handler is a coroutine: nobody complains of it."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = await served_by(server, writer)
    await settled(connection)
    begun = connection.data_received
    begun(request(msgspec.json.encode({**WASM, "wasm_module": MODULE})))
    while connection._exchange is None:
        await asyncio.sleep(0)
    task = connection._exchange._task
    assert task is not None
    writer.transport.abort()
    await asyncio.wait({task})
    assert connection._exchange is None or task.done()


async def test_a_job_whose_worker_went_away_as_it_was_given_goes_to_another(
    server: Server,
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = await served_by(server, writer)
    await settled(connection)
    job_id = await server.submit()
    connection.data_received(poll())
    connection.connection_lost(None)
    while not (work := await server.poll(wait="1s"))["jobs"]:
        pass
    assert work["jobs"][0]["job"]["id"] == job_id
    writer.close()


@pytest.mark.parametrize("lane", [True, False])
async def test_a_stopping_server_answers_what_is_parked_and_closes(lane: bool) -> None:
    server = await open_server(lane=lane)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(poll(wait="60s"))
    while not server.node.pump.stats().parked_polls:
        await asyncio.sleep(0.001)
    closing = asyncio.create_task(server.close())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["jobs"] == []
    await closing
    writer.close()


async def test_a_connection_is_closed_when_idle_for_long_after_an_answer_of_the_lane() -> None:
    server = await open_server(idle_ms=200)
    answers = await talk(server, [b"", request()])
    assert answers.startswith(b"HTTP/1.1 200")
    assert server.site.meters.deadlines == 0
    await server.close()


async def test_a_defect_on_the_lane_is_answered_as_one(
    server: Server, monkeypatch: pytest.MonkeyPatch, takes: list[str]
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("headrace.http.handlers.work.polls.poll_answer", broken)
    answers = await converse(server, [poll(), request()])
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"500", b"200", b"200"]
    assert b"secret" not in answers
    assert takes == ["work_poll", "jobs_submit"]


@pytest.mark.parametrize("sent", [request(), request(b"{}"), poll()])
async def test_an_answer_that_cannot_be_sent_ends_the_connection_only(
    server: Server, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no words")

    with monkeypatch.context() as patch:
        patch.setattr(lane, "wire_bytes", broken)
        patch.setattr(singles, "wire_bytes", broken)
        assert await talk(server, [b"", sent]) in (b"", b"(reset)")
    assert await server.submit()
    assert not server.node.pump.failed
