"""Answers that go on: who may have how many, what ends them, and how events are written.

A stream ends when there is nothing more to say, when its client has gone or reads too slowly, when
its key is revoked or runs out, and when the server stops.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from aiohttp import web

from headrace.http.identity import identity
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

if TYPE_CHECKING:
    from headrace.http.site import Site

HEARTBEAT_S: Final = 15.0
"""A stream without news says so: proxies keep it open, and clients notice when it is gone."""
WRITE_S_MAX: Final = 30.0
"""A client that does not take what is written for so long is cut off."""
HEARTBEAT: Final = b": still here\n\n"
RETRY: Final = b"retry: 2000\n\n"
"""Browsers come back after so many milliseconds."""
EVENTS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


def frame(event: str, cursor: str, data: bytes) -> bytes:
    """Return one event. `data` is JSON, so it has no line breaks."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (cursor.encode(), event.encode(), data)


class Streams:
    """All streams of one server."""

    def __init__(self) -> None:
        self._open: set[Stream] = set()
        self._by_tenant: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def add(self, stream: "Stream") -> None:
        """Raises: Problem, if there are too many."""
        tenant = stream.tenant
        if (
            len(self._open) >= limits.STREAMS_MAX
            or self._by_tenant[tenant] >= limits.STREAMS_TENANT_MAX
        ):
            raise Problem(
                ProblemCode.STREAMS_TOO_MANY,
                f"{limits.STREAMS_TENANT_MAX} of a tenant and {limits.STREAMS_MAX} in all may be"
                " open at once; close one, or ask now and then",
                retry_after_ms=5_000,
            )
        self._open.add(stream)
        self._by_tenant[tenant] += 1

    def remove(self, stream: "Stream") -> None:
        self._open.discard(stream)
        self._by_tenant[stream.tenant] -= 1
        if not self._by_tenant[stream.tenant]:
            del self._by_tenant[stream.tenant]

    def end(self, of_key: str) -> None:
        """End the streams that were opened with a key; empty: without one."""
        for stream in tuple(self._open):
            if stream.key_id == of_key:
                stream.cancel()


class Stream:
    """One answer that goes on, as a context: within it the client has its place."""

    def __init__(self, request: web.Request, site: "Site", *, for_s: float | None = None) -> None:
        who = identity(request)
        self.tenant = who.caller.tenant
        self.key_id = who.caller.key_id
        self._expires_at_ms = who.expires_at_ms
        self._request = request
        self._site = site
        self._over = False
        self._until_s = None if for_s is None else asyncio.get_running_loop().time() + for_s
        self._news = asyncio.Event()
        self._response = web.StreamResponse()

    def __enter__(self) -> Self:
        self._site.streams.add(self)
        try:
            self._site.rates.enter(self.key_id)
        except Problem:
            self._site.streams.remove(self)
            raise
        self._site.wait_begins(self)
        if self._site.draining:
            self.cancel()
        return self

    def __exit__(self, *_: object) -> None:
        self._site.wait_ends(self)
        self._site.rates.leave(self.key_id)
        self._site.streams.remove(self)

    def cancel(self) -> None:
        """End it: the client hears no more."""
        self._over = True
        self._news.set()

    def touch(self) -> None:
        """There is something to look at. Neither raises nor waits."""
        self._news.set()

    @property
    def over(self) -> bool:
        """Say whether nothing more is to be sent."""
        if self._until_s is not None and asyncio.get_running_loop().time() >= self._until_s:
            return True
        if self._expires_at_ms and self._site.clock.wall_ms() >= self._expires_at_ms:
            return True
        return self._over

    async def begin(self, headers: dict[str, str]) -> web.StreamResponse:
        self._response.headers.update(headers)
        await self._response.prepare(self._request)
        return self._response

    async def write(self, data: bytes) -> None:
        """Send; a client that does not take it is cut off."""
        try:
            async with asyncio.timeout(WRITE_S_MAX):
                await self._response.write(data)
        except ConnectionError:
            self.cancel()
        except TimeoutError:
            self.cancel()
            if self._request.transport is not None:
                self._request.transport.abort()

    async def news(self, *, beat: bytes = b"") -> None:
        """Wait until there is something to look at, or for a while; then send `beat`."""
        wait_s = HEARTBEAT_S
        if self._until_s is not None:
            wait_s = min(wait_s, max(0.0, self._until_s - asyncio.get_running_loop().time()))
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            if beat and not self.over:
                await self.write(beat)
        self._news.clear()


async def pour(stream: Stream, take: Callable[[], tuple[bytes, bool] | None]) -> None:
    """Send what `take` gives (and it says whether there is more), until it gives None."""
    while not stream.over and (taken := take()) is not None:
        data, more = taken
        if data:
            await stream.write(data)
        if more:
            await asyncio.sleep(0)
        else:
            await stream.news(beat=HEARTBEAT)
