"""What operators and their machines ask."""

from typing import Final

from aiohttp import web

from headrace.http.encode import JSON, answer
from headrace.http.metrics import CONTENT_TYPE
from headrace.http.openapi import document
from headrace.http.site import Site, site_of
from headrace.http.views import plain
from headrace.wire.durations import seconds
from headrace.wire.routes import HealthAnswer, Ok, ReadyAnswer

STUCK_MS: Final = 10_000
"""A commit in flight for this long means that commits do not get through."""


async def health(request: web.Request) -> web.Response:
    site = site_of(request)
    healthy = not site.pump.failed
    found = HealthAnswer(
        status="healthy" if healthy else "unhealthy", time=site.clock.wall_ms() // 1000
    )
    return answer(request, found, status=200 if healthy else 503)


async def livez(request: web.Request) -> web.Response:
    return answer(request, Ok())


async def readyz(request: web.Request) -> web.Response:
    site = site_of(request)
    reason = _not_ready(site)
    found = ReadyAnswer(
        status="ready" if reason is None else "not_ready",
        reason=reason,
        commit_position=str(site.pump.position),
        last_commit_age=seconds(site.pump.last_commit_age_ms),
    )
    return answer(request, found, status=200 if reason is None else 503)


def _not_ready(site: Site) -> str | None:
    if site.pump.failed:
        return "a commit failed; the server stops"
    if site.draining:
        return "the server is stopping"
    if site.pump.write_age_ms > STUCK_MS:
        return "the disk does not finish a commit"
    return None


async def stats(request: web.Request) -> web.Response:
    site = site_of(request)
    return answer(
        request, {"runtime": plain(site.pump.stats()), "store": plain(site.store.stats())}
    )


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=site_of(request).meters.text(), headers={"Content-Type": CONTENT_TYPE})


async def openapi(_request: web.Request) -> web.Response:
    return web.Response(body=document(), content_type=JSON)
