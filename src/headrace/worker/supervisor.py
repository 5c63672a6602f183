"""Watches one attempt from its grant to the last of its code: timeout, cancel, suspend, drain.

An attempt is *reported* once, and it is *over* when nothing of it runs any more. Mostly these come
together. A handler in a thread that ignores the request to stop is reported after
`STOP_GRACE_S`, so that the client has its answer; its slot and its resources stay reserved until
the thread ends.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from headrace.wire.schema import Report
from headrace.worker.attempt import Assignment, Ending, StopReason, report_of
from headrace.worker.outbox import AttemptFeed
from headrace.worker.python_runner import Run, call_in

STOP_GRACE_S: Final = 5.0
"""How long a handler may take to stop. Below the server's grace for a timeout and a cancel."""
DRAIN_GRACE_S: Final = 1.0
"""To raise `Stopped` with a checkpoint before an attempt is killed for a shutdown."""
SANDBOX_EXTRA_S: Final = 4.0
"""The sandbox itself counts a module's time, from when it is compiled; this is for its trouble."""

log = logging.getLogger("headrace.worker")


class Attempt:
    """One attempt. All on the agent's loop."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        on_report: Callable[[Report], None],
        on_over: Callable[["Attempt"], None],
    ) -> None:
        self.assignment = assignment
        self.reason: StopReason | None = None
        self.reported = False
        self.checkpoint: bytes | None = None
        """The newest that the handler has set."""
        self._draining = False
        self._drain_asked = False
        self._feed: AttemptFeed | None = None
        self.run: Run | None = None
        self._on_report = on_report
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []

    def begin(self, run: Run, feed: AttemptFeed) -> None:
        self.run, self._feed = run, feed
        run.ended.add_done_callback(self._ended)
        timeout_s = float(self.assignment.spec.timeout)
        if timeout_s > 0:
            if not self.assignment.spec.type:
                timeout_s += SANDBOX_EXTRA_S
            self._timers.append(self._loop.call_later(timeout_s, self.stop, StopReason.TIMEOUT))

    def keep(self, checkpoint: bytes) -> None:
        """The handler has set a checkpoint. May be called from any thread."""
        self.checkpoint = checkpoint
        if self._draining and not self._drain_asked:
            call_in(self._loop, self._ask_for_drain)

    def drain(self) -> None:
        """The worker shuts down. An attempt with a checkpoint is asked to stop at once: it loses
        nothing by it. Any other goes on until `stop(StopReason.DRAIN)` at the drain's end."""
        self._draining = True
        if self.checkpoint is not None or bytes(self.assignment.checkpoint):
            self._ask_for_drain()

    def refuse(self, ending: Ending) -> None:
        """It cannot be run here at all."""
        self._report(report_of(self.assignment.lease, ending, None))
        self._on_over(self)

    def stop(self, reason: StopReason) -> None:
        """Ask it to stop; the first reason counts, except that losing the lease beats all."""
        if self.reason is not None and (
            self.reason is not StopReason.SUSPEND or reason is StopReason.SUSPEND
        ):
            if reason is StopReason.LOST:
                self._lose()
            return
        self.reason = reason
        if reason is StopReason.LOST:
            self._lose()
        assert self.run is not None
        if self.run.ended.done():
            return
        self.run.ask_stop(reason)
        if reason is StopReason.SUSPEND:
            if not self.assignment.spec.type:
                self.run.kill()  # a module cannot write a checkpoint: it starts over
        elif reason is StopReason.DRAIN:
            self._timers.append(self._loop.call_later(DRAIN_GRACE_S, self._kill))
        else:
            self._kill()

    def release_now(self) -> None:
        """Give the job back without waiting for its code."""
        if self.run is None or self.run.ended.done():
            return
        if self.reason is None or self.reason is StopReason.SUSPEND:
            self.reason = StopReason.DRAIN
            self.run.ask_stop(self.reason)
        self.run.kill()

    def overdue(self) -> None:
        """Report an attempt whose code does not stop."""
        if self.reported or self.run is None or self.run.ended.done():
            return
        assert self.reason is not None
        log.warning(
            "job %s (%s) does not stop for %s; its slot stays reserved until it ends. "
            "A handler that computes for long is better run as run='process'",
            self.assignment.spec.id,
            self.assignment.spec.type,
            self.reason.value,
        )
        ending = Ending(outcome="stopped", checkpoint=self.checkpoint)
        if self.reason is StopReason.TIMEOUT:
            ending.error = f"{self._timeout_text()}; its handler has not stopped"
        self._report(report_of(self.assignment.lease, ending, self.reason))

    def _ask_for_drain(self) -> None:
        # Not a reason yet: a cancel, a timeout or a suspend may still come, and counts for more.
        if self.run is not None and self.reason is None and not self.run.ended.done():
            self._drain_asked = True
            self.run.ask_stop(StopReason.DRAIN)

    def _kill(self) -> None:
        assert self.run is not None
        if not self.run.ended.done():
            self.run.kill()
            self._timers.append(self._loop.call_later(STOP_GRACE_S, self.overdue))

    def _lose(self) -> None:
        self.reason = StopReason.LOST
        self.reported = True  # nobody wants to hear of it
        if self._feed is not None:
            self._feed.close()

    def _ended(self, ended: "asyncio.Future[Ending]") -> None:
        for timer in self._timers:
            timer.cancel()
        if not self.reported:
            ending = ended.result()
            if self.reason is None and self._drain_asked:
                self.reason = StopReason.DRAIN
            stopped_for = ending.outcome in ("stopped", "failed") and self.reason
            if stopped_for is StopReason.TIMEOUT:
                ending.error = self._timeout_text()
                ending.code = None
            if ending.checkpoint is None and ending.outcome in ("stopped", "snoozed"):
                ending.checkpoint = self.checkpoint
            self._report(report_of(self.assignment.lease, ending, self.reason))
        self._on_over(self)

    def _report(self, report: Report) -> None:
        self.reported = True
        if self._feed is not None:
            self._feed.close()
        self._on_report(report)

    def _timeout_text(self) -> str:
        return f"it ran longer than its timeout of {self.assignment.spec.timeout:g} s"
