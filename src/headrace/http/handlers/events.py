"""`GET /api/v1/jobs/{id}/events` and `GET /api/v1/events`: what happens to jobs, as it happens."""

from collections import deque
from itertools import islice
from typing import Final

import msgspec
from aiohttp import web

from headrace.core.commands import Caller
from headrace.core.effects import JobDeleted, LogAppended
from headrace.core.job import TERMINAL, Status
from headrace.http import queries
from headrace.http.event_frames import (
    Change,
    Head,
    change_of,
    cursor_parse,
    cursor_text,
    heads_of,
    reset_frame,
    snapshot_frame,
    step_frame,
)
from headrace.http.identity import caller
from headrace.http.site import Site, path_job_id, site_of
from headrace.http.streams import EVENTS, RETRY, Stream, pour
from headrace.runtime.events import Cursor, Step
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

LAST_EVENT_ID: Final = "Last-Event-ID"


# One job ----------------------------------------------------------------------------------------


async def job_events(request: web.Request) -> web.StreamResponse:
    site, who, job_id = site_of(request), caller(request), path_job_id(request)
    logs, for_s, seen = queries.flag(request, "logs"), queries.for_s(request), last_id(request)
    stored, spec = site.read(who, job_id)
    head = Head(spec.name, spec.type, spec.queue, spec.tenant, spec.owner)
    with Stream(request, site, for_s=for_s) as stream:
        feed = JobFeed(site, stream, head, logs=logs)
        # From here to the first wait nothing is committed: what is read fits what is followed.
        now = site.events.follow(job_id, feed)
        try:
            after = None if seen is None else cursor_parse(seen, site.epoch)
            if after is not None and site.events.has(after):
                feed.missed.extend(site.events.read_job(job_id, after))
                if stored.finished is not None and not feed.missed:
                    return web.Response(status=204)  # which tells a browser not to come back
            else:
                cursor, at_ms = cursor_text(site.epoch, now), site.clock.wall_ms()
                [progress] = site.progress([stored])
                if seen is not None:
                    feed.first += reset_frame(cursor, at_ms)
                feed.first += snapshot_frame(cursor, stored, head, progress, at_ms)
            feed.ended = stored.finished is not None
            response = await stream.begin(EVENTS)
            await stream.write(RETRY)
            await pour(stream, feed.take)
        finally:
            site.events.unfollow(job_id, feed)
    return response


class JobFeed:
    """The events of one job that its client has not been sent."""

    def __init__(self, site: Site, stream: Stream, head: Head, *, logs: bool) -> None:
        self._epoch = site.epoch
        self._stream = stream
        self._head = head
        self._logs = logs
        self.first = b""
        self.missed: deque[Step] = deque()
        """Before it came back; the ring bounds them."""
        self._steps: deque[Step] = deque()
        self.ended = False
        """Behind what is here, nothing more comes."""

    def tell(self, step: Step) -> None:
        self._steps.append(step)
        if len(self._steps) > limits.STREAM_STEPS_MAX:
            self._stream.cancel()  # its client is too slow; it may come back for the rest
        self._stream.touch()

    def take(self) -> tuple[bytes, bool] | None:
        """Return what is to be sent, and whether there is more; None at the end."""
        if self.first:
            frames, self.first = self.first, b""
            return frames, True
        steps = self.missed or self._steps
        if not steps:
            return None if self.ended else (b"", False)
        frames = b""
        for _ in range(min(len(steps), limits.STREAM_READ_MAX)):
            step = steps.popleft()
            if type(step.effect) is LogAppended and not self._logs:
                continue
            change = change_of(step)
            frames += step_frame(self._epoch, step, self._head, change)
            if type(step.effect) is JobDeleted:
                return frames, self._end()
            if change is not None and change.status in TERMINAL and not self.missed:
                return frames, self._end()
        return frames, True

    def _end(self) -> bool:
        self.ended = True
        self._steps.clear()
        return True


# All of them ------------------------------------------------------------------------------------


class Filters(msgspec.Struct, frozen=True):
    """Which jobs and changes one wants to hear of."""

    tenant: str
    owner: str | None
    types: frozenset[str] | None
    queues: frozenset[str] | None
    statuses: frozenset[Status] | None
    logs: bool

    def may_be(self, site: Site, step: Step, change: Change | None) -> bool:
        """Say whether a step may be wanted, before its job's spec is read."""
        if type(step.effect) is LogAppended and not self.logs:
            return False
        if self.statuses is not None and (change is None or change.status not in self.statuses):
            return False
        return change is None or self._is_mine(*site.pump.owner_name(change.owner_id))

    def wants(self, head: Head) -> bool:
        return (
            self._is_mine(head.tenant, head.owner)
            and (self.types is None or head.type in self.types)
            and (self.queues is None or head.queue in self.queues)
        )

    def wants_deleted(self, site: Site, effect: JobDeleted) -> bool:
        """The spec is gone: with filters on what it says, it is not told."""
        mine = self._is_mine(*site.pump.owner_name(effect.owner_id))
        return mine and self.types is None and self.queues is None and self.statuses is None

    def _is_mine(self, tenant: str, user: str) -> bool:
        return tenant == self.tenant and (self.owner is None or user == self.owner)


async def events(request: web.Request) -> web.StreamResponse:
    site, who = site_of(request), caller(request)
    filters = _filters(request, who)
    for_s, seen = queries.for_s(request), last_id(request)
    with Stream(request, site, for_s=for_s) as stream:
        now = site.events.follow_all(stream.touch)
        try:
            feed = Feed(site, filters, now)
            after = None if seen is None else cursor_parse(seen, site.epoch)
            if after is not None and site.events.has(after):
                feed.cursor = after
            elif seen is not None:
                feed.first = reset_frame(cursor_text(site.epoch, now), site.clock.wall_ms())
            response = await stream.begin(EVENTS)
            await stream.write(RETRY)
            await pour(stream, feed.take)
        finally:
            site.events.unfollow_all(stream.touch)
    return response


class Feed:
    """A reader of the ring. One that falls behind its end is cut off."""

    def __init__(self, site: Site, filters: Filters, cursor: Cursor) -> None:
        self._site = site
        self._filters = filters
        self.cursor = cursor
        self.first = b""

    def take(self) -> tuple[bytes, bool] | None:
        if self.first:
            frames, self.first = self.first, b""
            return frames, True
        site, filters = self._site, self._filters
        if not site.events.has(self.cursor):
            return None
        steps = list(islice(site.events.read(self.cursor), limits.STREAM_READ_MAX))
        if not steps:
            self.cursor = site.events.now()
            return b"", False
        self.cursor = Cursor(steps[-1].batch, steps[-1].number)
        told = [(step, change_of(step)) for step in steps]
        told = [(step, change) for step, change in told if filters.may_be(site, step, change)]
        heads = heads_of(
            site.store, [step.job_id for step, _ in told if type(step.effect) is not JobDeleted]
        )
        frames = b""
        for step, change in told:
            if type(step.effect) is JobDeleted:
                if filters.wants_deleted(site, step.effect):
                    _, user = site.pump.owner_name(step.effect.owner_id)
                    frames += step_frame(site.epoch, step, Head(owner=user, queue=""), None)
                continue
            head = heads.get(step.job_id)
            if head is not None and filters.wants(head):
                frames += step_frame(site.epoch, step, head, change)
        return frames, True


def _filters(request: web.Request, who: Caller) -> Filters:
    owner = queries.one(request, "owner") or None
    if not who.admin:
        if owner not in (None, who.user):
            raise Problem(ProblemCode.FORBIDDEN, "only an admin may follow the jobs of others")
        owner = who.user
    statuses, _ = queries.statuses(queries.names(request, "status"))
    return Filters(
        who.tenant,
        owner,
        queries.types(request),
        queries.names(request, "queue"),
        statuses,
        queries.flag(request, "logs"),
    )


def last_id(request: web.Request) -> str | None:
    return request.headers.get(LAST_EVENT_ID) or queries.one(request, "last_event_id") or None
