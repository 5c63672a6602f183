import asyncio

import pytest
from http_tools import Server, open_server

from headrace.http.handlers.logs import last_lines
from headrace.wire import limits

JOBS = "/api/v1/jobs"


async def say(server: Server, lease: str, text: str) -> None:
    reply = await server.call("POST", f"/api/v1/leases/{lease}/progress", {"log": text})
    assert reply.status == 200, reply.body


async def test_the_log_is_plain_text(server: Server) -> None:
    job_id = await server.submit()
    assert (await server.send("GET", f"{JOBS}/{job_id}/logs")).body == b""
    lease = await server.lease()
    await say(server, lease, "one\n")
    await say(server, lease, "två\n")
    reply = await server.send("GET", f"{JOBS}/{job_id}/logs")
    assert reply.body == "one\ntvå\n".encode()
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_tail_is_the_last_lines(server: Server) -> None:
    job_id = await server.submit()
    await say(server, await server.lease(), "1\n2\n3\n4")
    for lines, text in ((0, b""), (1, b"4"), (2, b"3\n4"), (9, b"1\n2\n3\n4")):
        assert (await server.send("GET", f"{JOBS}/{job_id}/logs?tail={lines}")).body == text
    for bad in ("-1", "x", "100001", ""):
        assert (await server.call("GET", f"{JOBS}/{job_id}/logs?tail={bad}")).status == 400


@pytest.mark.parametrize("lines", range(5))
@pytest.mark.parametrize(
    "text", [b"", b"\n", b"a", b"a\n", b"a\nb", b"a\nb\n", b"\n\n\n", b"a\n\nb"]
)
def test_last_lines_are_those_of_splitlines(text: bytes, lines: int) -> None:
    assert last_lines(text, lines) == b"".join(
        text.splitlines(keepends=True)[-lines:] if lines else []
    )


async def test_following_streams_each_piece_until_the_job_ends(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    await say(server, lease, "before\n")
    async with server.session.get(f"{JOBS}/{job_id}/logs?follow=1") as response:
        content = response.content
        assert await content.readline() == b"before\n"
        for text in ("one\n", "two\n"):
            await say(server, lease, text)
            assert await content.readline() == text.encode()
        await server.call("POST", f"/api/v1/leases/{lease}/complete")
        assert await content.read() == b""


async def test_following_a_tail_begins_with_it(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    await say(server, lease, "1\n2\n")
    async with server.session.get(f"{JOBS}/{job_id}/logs?follow=true&tail=1") as response:
        assert await response.content.readline() == b"2\n"
        await say(server, lease, "3\n")
        assert await response.content.readline() == b"3\n"


async def test_following_an_ended_job_ends_at_once(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    await say(server, lease, "x")
    await server.call("POST", f"/api/v1/leases/{lease}/complete")
    assert (await server.send("GET", f"{JOBS}/{job_id}/logs?follow=1")).body == b"x"


async def test_following_goes_on_over_attempts(server: Server) -> None:
    job_id = await server.submit(retry_delay=0)
    lease = await server.lease()
    async with server.session.get(f"{JOBS}/{job_id}/logs?follow=1") as response:
        await server.call("POST", f"/api/v1/leases/{lease}/fail", {"error": "boom"})
        assert b"attempt 1 ended: boom" in await response.content.readline()
        second = (await server.poll(wait="10s"))["jobs"][0]["lease"]
        await say(server, second, "again\n")
        assert await response.content.readline() == b"again\n"


async def test_a_follower_that_goes_away_leaves_nothing_behind(server: Server) -> None:
    job_id = await server.submit()
    async with server.session.get(f"{JOBS}/{job_id}/logs?follow=1"):
        while not server.node.pump._watches:
            await asyncio.sleep(0)
    await server.session.close()
    while server.node.pump._watches:
        await asyncio.sleep(0.001)


async def test_a_stopping_server_ends_its_streams() -> None:
    server = await open_server()
    job_id = await server.submit()
    async with server.session.get(f"{JOBS}/{job_id}/logs?follow=1") as response:
        while not server.site._waits:
            await asyncio.sleep(0)
        await server.site.drain()
        assert await response.content.read() == b""
    await server.close()


async def test_the_cut_of_a_log_is_marked(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    for _ in range(2):
        await say(server, lease, "x" * (limits.LOG_BYTES_MAX - 1_000))
    text = (await server.send("GET", f"{JOBS}/{job_id}/logs?tail=2")).body
    assert b"[headrace: the log is cut here" in text


@pytest.mark.parametrize("flag", ["2", "maybe"])
async def test_a_flag_is_yes_or_no(server: Server, flag: str) -> None:
    job_id = await server.submit()
    reply = await server.call("GET", f"{JOBS}/{job_id}/logs?follow={flag}")
    assert (reply.status, reply.code) == (400, "request_malformed")


async def test_an_operator_can_allow_shorter_logs() -> None:
    server = await open_server(log_bytes_max=2_000)
    try:
        job_id = await server.submit()
        lease = await server.lease()
        for _ in range(2):
            news = {"log": "x" * 1_500}
            reply = await server.call("POST", f"/api/v1/leases/{lease}/progress", news)
            assert reply.status == 200
        log = (await server.call("GET", f"/api/v1/jobs/{job_id}/logs")).body
        assert 1_500 < len(log) < 2_100
        assert not log.endswith(b"x"), "its end says that it was cut"
    finally:
        await server.close()
