"""`GET /api/v1/jobs/{id}/logs`: a job's log, whole, its tail, or as it grows."""

from typing import Final

from aiohttp import web

from headrace.core.commands import Caller
from headrace.http import queries
from headrace.http.identity import caller
from headrace.http.site import Site, path_job_id, site_of
from headrace.wire.problems import Problem

TAIL_LINES_MAX: Final = 100_000
FOLLOW_LOOK_S: Final = 15.0
"""A stream looks again after this long without news."""
HEADERS: Final = {
    "Content-Type": "text/plain; charset=utf-8",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


async def job_logs(request: web.Request) -> web.StreamResponse:
    site, who, job_id = site_of(request), caller(request), path_job_id(request)
    follow = queries.flag(request, "follow")
    tail = queries.number(request, "tail", 0, TAIL_LINES_MAX)
    stored, _ = site.read(who, job_id)
    text, position = _written(site, job_id)
    if tail is not None:
        text = last_lines(text, tail)
    if not follow or stored.finished is not None:
        return web.Response(body=text, headers=HEADERS)
    with site.rates.held_open(who.key_id):
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        if text:
            await response.write(text)
        await _follow(response, site, who, job_id, position)
    return response


async def _follow(
    response: web.StreamResponse, site: Site, who: Caller, job_id: bytes, position: int
) -> None:
    """Send what is committed after `position`, until the job has ended."""
    with site.pump.watch(job_id) as watch:
        while True:
            try:
                stored, _ = site.read(who, job_id)
            except Problem:
                return  # removed meanwhile
            while pieces := site.store.logs(job_id, position):
                position = pieces[-1][0]
                chunk = b"".join(piece for _, piece in pieces)
                if chunk:
                    await response.write(chunk)
            if stored.finished is not None or site.draining:
                return
            await site.wait(watch.changed(FOLLOW_LOOK_S))


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
