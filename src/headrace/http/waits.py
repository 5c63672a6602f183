"""Clients that wait for the end of a job: told in the moment in which it is committed.

No task sleeps for them. A wait is an entry in the pump's list of who watches a job, and a timer;
whichever comes first (the end of the job, of the client's patience, of the server) reads the job
once and tells it.
"""

import asyncio
from typing import TYPE_CHECKING

from headrace.http.errors import problem_of
from headrace.http.site import Site
from headrace.runtime.pump import Taker

if TYPE_CHECKING:
    from headrace.http.hot import Look


class EndWait:
    """One wait. Its taker hears (job, spec), or a `Problem`, once."""

    __slots__ = ("_look", "_site", "_taker", "_timer")

    def __init__(self, site: Site, look: "Look", taker: Taker) -> None:
        self._site = site
        self._look = look
        self._taker = taker
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Tell what there is if nothing is to be waited for. Raises: Problem, RecordCorrupt."""
        site, look = self._site, self._look
        may_wait = look.wait_ms > 0 and not site.draining
        if not may_wait or not site.pump.is_live_for(look.caller, look.job_id):
            found = site.read(look.caller, look.job_id)
            if found[0].finished is not None or not may_wait:
                self._taker.set_result(found)
                return
        site.rates.enter(look.caller.key_id)
        site.pump.follow(look.job_id, self)
        site.wait_begins(self)
        self._timer = asyncio.get_running_loop().call_later(look.wait_ms / 1000, self.cancel)

    def touch(self) -> None:
        """Look whether the job has ended. The pump calls this in the middle of a release."""
        if not self._site.pump.is_live(self._look.job_id):
            self._tell(at_any_rate=False)

    def cancel(self) -> None:
        """Wait no longer: tell the job as it is."""
        self._tell(at_any_rate=True)

    def forget(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._site.pump.unfollow(self._look.job_id, self)
            self._site.wait_ends(self)
            self._site.rates.leave(self._look.caller.key_id)

    def _tell(self, *, at_any_rate: bool) -> None:
        try:
            reply = self._site.read(self._look.caller, self._look.job_id)
        except Exception as error:
            self.forget()
            self._say(problem_of(error))
            return
        if reply[0].finished is not None or at_any_rate:
            self.forget()
            self._say(reply)

    def _say(self, reply: object) -> None:
        if not self._taker.done():
            self._taker.set_result(reply)
