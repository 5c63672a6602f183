"""`GET /api/v1/jobs/{id}/logs`: a job's log, whole, its tail, or as it grows."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from aiohttp import web

from headrace.core.commands import Caller
from headrace.http import queries
from headrace.http.handlers.events import last_id
from headrace.http.identity import caller
from headrace.http.site import Site, path_job_id, site_of
from headrace.http.streams import EVENTS, HEARTBEAT, RETRY, Stream, frame
from headrace.http.views import word
from headrace.wire.event_views import LogView
from headrace.wire.problems import Problem

TAIL_LINES_MAX: Final = 100_000
HEADERS: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_EVENT_STREAM: Final = "text/event-stream"
_POSITION_DIGITS_MAX: Final = 19
_encode: Final = msgspec.json.Encoder().encode


async def job_logs(request: web.Request) -> web.StreamResponse:
    site, who, job_id = site_of(request), caller(request), path_job_id(request)
    follow, for_s = queries.flag(request, "follow"), queries.for_s(request)
    tail = queries.number(request, "tail", 0, TAIL_LINES_MAX)
    stored, _ = site.read(who, job_id)
    if follow and _EVENT_STREAM in request.headers.get("Accept", ""):
        seen = _position(last_id(request))
        if seen >= 0 and stored.finished is not None and not site.store.logs(job_id, seen, 1):
            return web.Response(status=204)  # which tells a browser not to come back
        with Stream(request, site, for_s=for_s) as stream, _touched(site, job_id, stream):
            return await _events(stream, site, who, job_id, seen, tail)
    text, position = _written(site, job_id)
    if tail is not None:
        text = last_lines(text, tail)
    if not follow or stored.finished is not None:
        return web.Response(body=text, headers=HEADERS)
    with Stream(request, site, for_s=for_s) as stream, _touched(site, job_id, stream):
        response = await stream.begin(HEADERS)
        if text:
            await stream.write(text)
        while not stream.over:
            status = _status(site, who, job_id)
            while pieces := site.store.logs(job_id, position):
                position = pieces[-1][0]
                if chunk := b"".join(piece for _, piece in pieces):
                    await stream.write(chunk)
            if status is None or status.finished:
                break
            await stream.news()
    return response


class _Status(msgspec.Struct):
    word: str
    finished: bool


def _status(site: Site, who: Caller, job_id: bytes) -> _Status | None:
    """Return how a job stands, before its log is read; None: it was removed meanwhile."""
    try:
        stored, _ = site.read(who, job_id)
    except Problem:
        return None
    return _Status(word(stored.status), stored.finished is not None)


@contextmanager
def _touched(site: Site, job_id: bytes, stream: Stream) -> Iterator[None]:
    """Wake a stream when something of its job is committed."""
    site.pump.follow(job_id, stream)
    try:
        yield
    finally:
        site.pump.unfollow(job_id, stream)


async def _events(
    stream: Stream, site: Site, who: Caller, job_id: bytes, position: int, tail: int | None
) -> web.StreamResponse:
    """Send the log as events, each with the position of its last piece, behind which it resumes."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    response = await stream.begin(EVENTS)
    await stream.write(RETRY)
    if tail is not None and position < 0:
        text, position = _written(site, job_id)
        if shown := last_lines(text, tail):
            await stream.write(_log_frame(position, decoder.decode(shown)))
    while not stream.over:
        status = _status(site, who, job_id)
        while pieces := site.store.logs(job_id, position):
            position = pieces[-1][0]
            text_of_pieces = decoder.decode(b"".join(piece for _, piece in pieces))
            await stream.write(_log_frame(position, text_of_pieces))
        if status is None or status.finished:
            told = LogView(status="" if status is None else status.word)
            await stream.write(frame("end", str(position), _encode(told)))
            break
        await stream.news(beat=HEARTBEAT)
    return response


def _log_frame(position: int, text: str) -> bytes:
    return frame("log", str(position), _encode(LogView(log=text)))


def _position(text: str | None) -> int:
    """Return behind which piece of the log to go on; -1: from its beginning."""
    if text is None or len(text) > _POSITION_DIGITS_MAX or not (text.isascii() and text.isdigit()):
        return -1
    return min(int(text), (1 << 63) - 1)


def _written(site: Site, job_id: bytes) -> tuple[bytes, int]:
    """Return the log so far and the position of its last piece."""
    chunks: list[bytes] = []
    position = -1
    while pieces := site.store.logs(job_id, position):
        position = pieces[-1][0]
        chunks.extend(piece for _, piece in pieces)
    return b"".join(chunks), position


def last_lines(text: bytes, lines: int) -> bytes:
    """Return the last lines; a last one without its end counts."""
    if not lines:
        return b""
    at = len(text) - text.endswith(b"\n")
    for _ in range(lines):
        at = text.rfind(b"\n", 0, at)
        if at < 0:
            return text
    return text[at + 1 :]
