"""What the server was at: the samples of the last hour, and each new one."""

from typing import Final

import msgspec
from aiohttp import web

from headrace.http import queries
from headrace.http.encode import answer
from headrace.http.site import site_of
from headrace.http.streams import EVENTS, RETRY, Stream, frame, pour

_encode: Final = msgspec.json.Encoder().encode


async def stats_history(request: web.Request) -> web.Response:
    return answer(request, site_of(request).history.answer())


async def stats_events(request: web.Request) -> web.StreamResponse:
    history, told = site_of(request).history, 0

    def take() -> tuple[bytes, bool]:
        """Return the newest sample, if it was not sent yet; a slow reader misses those before."""
        nonlocal told
        newest = history.newest()
        if newest is None or told == history.count:
            return b"", False
        told = history.count
        return frame("sample", str(told), _encode(newest)), False

    with Stream(request, site_of(request), for_s=queries.for_s(request)) as stream:
        history.follow(stream)
        try:
            response = await stream.begin(EVENTS)
            await stream.write(RETRY)
            await pour(stream, take)
        finally:
            history.unfollow(stream)
    return response
