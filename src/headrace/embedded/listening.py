"""The events of an embedded queue, told to a function of the program on a thread of their own.

    commit ─▶ ring of events ◀── the next portion ── thread ─▶ on_event(event)

The function may be slow: the ring keeps what it was not told yet. What it is too slow for is lost,
and an event `reset` says so. What it raises is logged, and the next event is told.
"""

import asyncio
import logging
from collections.abc import Callable
from itertools import islice
from threading import Thread
from typing import Final

import msgspec

from headrace.core.effects import JobDeleted, LogAppended
from headrace.http.event_frames import Head, change_of, cursor_text, heads_of, step_event
from headrace.http.site import Site
from headrace.runtime.events import Cursor, Step
from headrace.sdk.client import Event
from headrace.wire import limits
from headrace.wire.event_views import EventView

log = logging.getLogger(__name__)

OnEvent = Callable[[Event], object]
MISSED: Final = "events came faster than they were heard; some are lost"


class Listening:
    """Made on the queue's loop, whose node has not begun yet: nothing is missed."""

    def __init__(self, site: Site, call: OnEvent) -> None:
        self._site = site
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._ended = False
        self._cursor = site.events.follow_all(self._news.set)
        self._thread = Thread(target=self._tell, name="headrace-events", daemon=True)
        self._thread.start()

    async def end(self, timeout_s: float) -> None:
        """Tell what has happened so far, and then no more; wait for that so long."""
        self._ended = True
        self._news.set()
        await asyncio.to_thread(self._thread.join, timeout_s)

    def _tell(self) -> None:
        while True:
            asked = self._next()
            try:
                events = asyncio.run_coroutine_threadsafe(asked, self._loop).result()
            except RuntimeError:  # the queue did not wait for a function that took so long
                asked.close()
                return
            if events is None:
                return
            for event in events:
                try:
                    self._call(event)
                except Exception:
                    log.exception("on_event raised; events go on")

    async def _next(self) -> list[Event] | None:
        """Wait for a portion of events; None: there are no more."""
        while True:
            read = self._site.events.read
            if not self._site.events.has(self._cursor):
                self._cursor = self._site.events.now()
                return [self._event("reset", self._cursor, EventView(reason=MISSED))]
            steps = list(islice(read(self._cursor), limits.STREAM_READ_MAX))
            if steps:
                self._cursor = Cursor(steps[-1].batch, steps[-1].number)
                if events := self._events(steps):
                    return events
            elif self._ended:
                return None
            else:
                self._news.clear()
                await self._news.wait()

    def _events(self, steps: list[Step]) -> list[Event]:
        told = [step for step in steps if type(step.effect) is not LogAppended]
        kept = (step.job_id for step in told if type(step.effect) is not JobDeleted)
        heads = heads_of(self._site.store, kept)
        return [
            self._event(*step_event(step, heads.get(step.job_id, Head()), change_of(step)))
            for step in told
        ]

    def _event(self, name: str, cursor: Cursor, view: EventView) -> Event:
        return Event(name, msgspec.to_builtins(view), cursor_text(self._site.epoch, cursor))
