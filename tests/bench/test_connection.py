"""The client of the load, against servers that answer in pieces, wrongly, or not at all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from headrace.bench import http
from headrace.bench.connection import Asker, repeat, together
from headrace.bench.http import HttpConnection
from headrace.bench.process import BenchError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell"
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(reply: Reply) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await reply(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def whole(writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def in_pieces(writer: asyncio.StreamWriter) -> None:
    for at in range(0, len(OK), 7):
        writer.write(OK[at : at + 7])
        await writer.drain()
        await asyncio.sleep(0)


@pytest.mark.parametrize("reply", [whole, in_pieces])
async def test_every_request_is_answered_and_timed(reply: Reply) -> None:
    async with answering(reply) as port:
        latencies_s = await repeat(HttpConnection, port, 3, http.request("GET", "/"), 10)
    assert len(latencies_s) == 10
    assert min(latencies_s) > 0


async def test_fewer_requests_than_connections_are_as_many_as_asked_for() -> None:
    async with answering(whole) as port:
        assert len(await repeat(HttpConnection, port, 8, http.request("GET", "/"), 2)) == 2


async def test_an_answer_that_is_a_problem_ends_the_run_and_is_shown() -> None:
    async def refuse(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 429 Too Many\r\nContent-Length: 4\r\n\r\nfull")

    async with answering(refuse) as port:
        with pytest.raises(BenchError, match="429"):
            await repeat(HttpConnection, port, 2, http.request("GET", "/"), 10)


async def test_a_server_that_hangs_up_ends_the_run() -> None:
    async def hang_up(writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with answering(hang_up) as port:
        with pytest.raises(BenchError, match="closed a connection"):
            await repeat(HttpConnection, port, 2, http.request("GET", "/"), 10)


async def test_an_asker_gets_bodies_one_after_the_other_and_hears_of_the_end() -> None:
    answers = 0

    async def twice(writer: asyncio.StreamWriter) -> None:
        nonlocal answers
        answers += 1
        if answers > 2:
            writer.close()
        else:
            writer.write(OK)

    async with answering(twice) as port:
        asker = await Asker(HttpConnection).open(port)
        assert await asker.ask(http.request("GET", "/")) == b"well"
        assert await asker.ask(http.request("GET", "/")) == b"well"
        with pytest.raises(BenchError):
            await asker.ask(http.request("GET", "/"))
        with pytest.raises(BenchError):
            await asker.ask(http.request("GET", "/"))
        await asker.close()


async def test_the_first_failure_of_several_works_is_the_one_that_is_raised() -> None:
    async def fail() -> None:
        raise BenchError("first")

    with pytest.raises(BenchError, match="first"):
        await together(asyncio.sleep(60), fail())
