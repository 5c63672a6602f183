import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import http_writer
from http_tools import Server, open_server

from headrace.http import deadlines, decode
from headrace.wire import limits

HEAD = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(params=[True, False], ids=["lane", "no lane"])
def lane(request: pytest.FixtureRequest) -> bool:
    """All that is told here holds with the lane and without it."""
    return bool(request.param)


@pytest.fixture
async def server(lane: bool) -> AsyncIterator[Server]:
    opened = await open_server(lane=lane)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def hasty(lane: bool) -> AsyncIterator[Server]:
    """A server whose patience is short."""
    opened = await open_server(lane=lane, header_ms=150, idle_ms=300)
    try:
        yield opened
    finally:
        await opened.close()


async def test_a_silent_connection_is_closed(hasty: Server) -> None:
    assert (await hasty.raw(b"")).startswith(b"HTTP/1.1 408")
    assert hasty.site.meters.deadlines == 1


async def test_half_a_header_is_answered_with_a_problem_and_closed(hasty: Server) -> None:
    answer = await hasty.raw(HEAD)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


async def test_a_header_that_drips_is_not_waited_for(hasty: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)

    async def drip() -> None:
        for byte in HEAD:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.005)

    dripping = asyncio.create_task(drip())
    assert (await reader.read()).startswith(b"HTTP/1.1 408")
    dripping.cancel()
    writer.close()


async def test_a_later_header_has_its_own_deadline(hasty: Server) -> None:
    answer = await hasty.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /li")
    assert answer.startswith(b"HTTP/1.1 200")
    # Bytes that came while the first was being answered: idle time bounds them.
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b'"ok"}')
    before = hasty.site.meters.deadlines
    writer.write(b"GET /li")
    assert (await reader.read()).startswith(b"HTTP/1.1 408")
    assert hasty.site.meters.deadlines == before + 1
    writer.close()


async def test_an_idle_connection_is_closed(hasty: Server) -> None:
    answer = await hasty.raw(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert hasty.site.meters.deadlines == 0


async def test_a_parked_poll_outlives_header_and_idle_time(hasty: Server) -> None:
    body = b'{"worker":"w","wait":"700ms"}'
    answer = await hasty.raw(
        b"POST /api/v1/work/poll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_half_a_body_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, framing: bytes
) -> None:
    monkeypatch.setattr(limits, "BODY_MS_BASE", 50)
    answer = await server.raw(HEAD + framing + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"body_timeout"' in answer
    assert b"connection: close" in answer.lower()


async def test_a_body_that_drips_is_not_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_MS_BASE", 50)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HEAD + b"Content-Length: 5000\r\n\r\n")

    async def drip() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(0.005)

    dripping = asyncio.create_task(drip())
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 408")
    dripping.cancel()
    writer.close()


async def test_a_body_that_comes_at_a_fair_rate_is_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_MS_BASE", 100)
    monkeypatch.setattr(limits, "BODY_BYTES_PER_S_MIN", 1_000)
    body = b'{"type":"t","params":"' + b"x" * 2_000 + b'"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 400):
        writer.write(body[start : start + 400])
        await asyncio.sleep(0.03)
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def drip(server: Server, writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a byte at a time; each is there before the next is sent."""
    (connection,) = server.runner.server.connections
    content = connection._current_request.content
    for byte in data:
        before = content.total_bytes
        writer.write(bytes([byte]))
        while content.total_bytes == before:
            await asyncio.sleep(0)


async def under_way(server: Server, request: bytes) -> tuple[Any, asyncio.StreamWriter]:
    """Send the beginning of a request; return when its handler waits for the rest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    while not any(one._gathering is not None for one in server.runner.server.connections):
        await asyncio.sleep(0.001)
    return reader, writer


async def test_a_piece_of_a_body_wakes_no_task_until_there_are_many(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    wait = deadlines.Connection.wait_for_body

    async def counted(self: Any, content: Any, *options: Any) -> None:
        looked.append(content.total_bytes)
        await wait(self, content, *options)

    monkeypatch.setattr(deadlines.Connection, "wait_for_body", counted)
    body = b'{"type":"t","params":"' + b"x" * 100 + b'"}'
    reader, writer = await under_way(server, HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
    await drip(server, writer, body[:-1])
    assert len(looked) == 1 + len(body) // deadlines.GATHERED_PIECES_MAX
    writer.write(body[-1:])
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_much_of_a_body_is_counted_before_it_is_whole(server: Server) -> None:
    much = deadlines.GATHERED_BYTES_MAX
    _, writer = await under_way(server, HEAD + b"Content-Length: %d\r\n\r\n" % (much + 10))
    writer.write(b" " * much)
    while server.runner.app[decode.BODIES].used < much:
        await asyncio.sleep(0.001)
    writer.close()
    while server.runner.app[decode.BODIES].used:
        await asyncio.sleep(0.001)


async def test_a_body_is_refused_with_its_first_byte_too_many(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MODULE_BYTES_MAX", 20)
    head = b"PUT /api/v1/modules/%b HTTP/1.1\r\nHost: localhost\r\n" % (b"0" * 64)
    head += b"Content-Type: application/wasm\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader, writer = await under_way(server, head + b"64\r\n" + b"x" * 20)
    writer.write(b"x")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    get = b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
    paths = [b"/livez", b"/nope", b"/health"] * 20
    data = b"".join(get % (path, b"") for path in paths)
    answer = await server.raw(data + get % (b"/livez", b"Connection: close\r\n"))
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200"] * 20 + [b"200"]


async def test_a_client_may_ask_before_it_sends(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 12\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(b'{"type":"t"}')
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_other_expectations_are_ignored_where_there_is_a_route(server: Server) -> None:
    answer = await server.raw(
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200")
    answer = await server.raw(
        b"GET /nope HTTP/1.1\r\nHost: localhost\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    )
    assert b"application/problem+json" in answer


async def test_the_answer_to_a_refused_body_arrives_while_it_is_still_sent(
    server: Server,
) -> None:
    size = limits.BODY_BYTES_MAX + 1
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size + b" " * 100_000)
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")
    writer.close()


@pytest.mark.parametrize(
    "sent", [HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{", b"?\r\n"]
)
async def test_the_answer_to_broken_http_arrives_while_more_is_still_sent(
    server: Server, sent: bytes
) -> None:
    """Closed at once, the connection would be reset, and the answer might be lost with it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    answer = await asyncio.wait_for(reader.read(), deadlines.LINGER_S / 2)
    assert answer.split(b" ")[1] == b"400"
    for _ in range(5):
        writer.write(b"GET /livez HTTP/1.1\r\n" * 1_000)
        await writer.drain()
        await asyncio.sleep(0.01)
    assert not writer.is_closing()
    assert server.site.meters.parse_errors == 1
    writer.close()
    while server.runner.server.connections:
        await asyncio.sleep(0.001)


async def test_what_follows_broken_http_is_not_waited_for_for_ever(
    lane: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "LINGER_S", 0.05)
    server = await open_server(lane=lane)
    _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"?\r\n")
    while not server.site.meters.parse_errors or server.runner.server.connections:
        await asyncio.sleep(0.001)
    writer.close()
    await server.close()


async def unread(server: Server) -> asyncio.StreamWriter:
    """Ask for more than the system keeps for a client, and read nothing of it."""
    job_id = await server.submit(params="x" * 900_000)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    get = b"GET /api/v1/jobs/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % job_id.encode()
    writer.write(get * 20)
    return writer


async def test_a_client_that_does_not_read_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNREAD_MS_BASE", 50)
    monkeypatch.setattr(limits, "BODY_BYTES_PER_S_MIN", 100_000_000)
    writer = await unread(server)
    while not server.site.meters.unread:
        await asyncio.sleep(0.001)
    assert server.runner.server.unread_bytes == 0
    writer.close()


@pytest.mark.skipif(http_writer.SKIP_WRITELINES, reason="with this Python, aiohttp joins them")
async def test_an_answer_that_is_not_read_is_held_once(server: Server) -> None:
    size = len((await server.send("GET", "/openapi.json")).body)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    tracemalloc.start()
    try:
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        while not server.runner.server.unread_bytes:
            await asyncio.sleep(0.001)
        made = [trace for trace in tracemalloc.take_snapshot().traces if trace.size > size // 2]
    finally:
        tracemalloc.stop()
    assert not made, "the document is there already"
    writer.close()


async def test_answers_that_nobody_reads_share_a_bounded_memory(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = await unread(server)
    while not server.runner.server.unread_bytes:
        await asyncio.sleep(0.001)
    held = server.runner.server.unread_bytes
    monkeypatch.setattr(deadlines, "UNREAD_BYTES_MAX", held)
    beyond = await unread(server)
    while not server.site.meters.unread:
        await asyncio.sleep(0.001)
    assert server.runner.server.unread_bytes == held
    patient.close()
    beyond.close()


async def test_a_connection_that_is_closed_does_not_wait_for_ever_to_be_read(
    server: Server,
) -> None:
    writer = await unread(server)
    web = server.runner.server
    while not web.unread_bytes:
        await asyncio.sleep(0.001)
    stuck = next(one for one in web.connections if one._paused)
    stuck.force_close()
    web._sweep()
    assert stuck in web.connections
    web._sweep()
    while stuck in web.connections:
        await asyncio.sleep(0.001)
    writer.close()
