"""The agent's own loop: one poll after another, and what their answers ask for.

A poll that has news asks for no wait: its answer is the receipt. A poll without news is parked at
the server; when news come up, they go out at once in a second poll with the same `seq`, at which
the server lets go of the parked one. The same `seq` is sent until its answer is here, so jobs in
a lost answer come again.

Each poll is a heartbeat, and none is parked for longer than a third of the lease term. Should a
poll take longer than that, `_beat` sends one of its own beside it.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from headrace.wire import limits
from headrace.wire.durations import duration_ms
from headrace.wire.schema import (
    Order,
    PollAnswer,
    PollRequest,
    Report,
    Serve,
    Spec,
    Work,
)
from headrace.worker.agent_config import AgentConfig, AgentError
from headrace.worker.attempt import Assignment, StopReason, failed, within
from headrace.worker.handlers import Handler, Worker
from headrace.worker.ledger import Ledger
from headrace.worker.link import Backoff, Link, Refused, Server, Unreachable
from headrace.worker.outbox import REPORTS_PER_POLL_MAX, AttemptFeed, Batch, Outbox
from headrace.worker.process_runner import ChildPool, ProcessRun
from headrace.worker.python_runner import (
    AHEAD_WAIT_S_MAX,
    Ahead,
    AsyncRun,
    Run,
    ThreadPool,
    ThreadRun,
)
from headrace.worker.supervisor import DRAIN_GRACE_S, Attempt

if TYPE_CHECKING:
    from headrace.worker.wasm_job import WasmJobs

WAIT_S_MAX: Final = 30.0
BEATS_PER_TERM: Final = 3
ANSWER_S_MIN: Final = 1.0
UPLOAD_BYTES_PER_S: Final = 256 * limits.KIB
"""A poll with large reports may take longer by this rate."""
SETTLE_S: Final = 0.002
"""After jobs came: a short one's end goes out before the next poll is parked, not in one more."""
SETTLE_FULL_S: Final = 0.01
"""The same when there is no free slot, so that only a cancel could be waited for."""
RELEASE_GRACE_S: Final = 1.0
"""From the kill at the end of a drain until what still runs is reported as given back."""
GIVE_UP_S: Final = 10.0
"""How long a drained worker tries to reach the server with its last reports."""
SUPERSEDED_S_MAX: Final = 2.0
"""A parked poll that was overtaken is answered at once; something between here and the server that
holds the answer back shall not use up the connections."""
LEASES_SEEN_MAX: Final = 4_096
STARTED_LOOK_S: Final = 0.02
"""Between two looks at which jobs in threads have begun."""

assert WAIT_S_MAX * 1000 <= limits.WAIT_MS_MAX

log = logging.getLogger("headrace.worker")


class AgentLoop:
    """Made and used on the loop of the agent's thread."""

    def __init__(
        self,
        config: AgentConfig,
        worker: Worker,
        handlers: dict[str, Handler],
        session: str,
        handlers_loop: asyncio.AbstractEventLoop,
        link: Server | None = None,
    ) -> None:
        """`link`: to the server; None: to that of `config.url`, over HTTP."""
        assert config.total is not None, "complete() was called"
        self.loop = asyncio.get_running_loop()
        self._config = config
        self._worker = worker
        self._handlers = handlers
        self._session = session
        self._handlers_loop = handlers_loop
        self._serve = Serve(types=sorted(handlers), queues=config.queues, wasm=config.wasm)
        self._ledger = Ledger(config.total, config.concurrency)
        self._ahead: Ahead | None = None
        if not config.wasm and all(handler.mode == "thread" for handler in handlers.values()):
            self._ahead = Ahead(config.concurrency)
        self._outbox = Outbox()
        self._link: Server = link or Link(config.url, config.api_key)
        self._threads = ThreadPool(config.concurrency)
        self._waiting: dict[str, ThreadRun] = {}
        """By lease, oldest first: those that did not begin yet, as far as the last look knows."""
        self._look_due = False
        self._children: ChildPool | None = None
        self._wasm: WasmJobs | None = None
        self._attempts: dict[str, Attempt] = {}
        self._seen: dict[str, None] = {}
        """Leases heard of lately, oldest first: an answer may come twice."""
        self._seq = 1
        self._lease_s = limits.LEASE_MS_DEFAULT / 1000
        self._result_bytes_max = self._output_bytes_max = limits.OUTPUT_BYTES_MAX
        self._beat_at = time.monotonic()
        """When the last heartbeat was sent that was answered."""
        self._greeted = False
        """The server has answered a poll."""
        self._away = False
        """The server did not answer the last poll."""
        self._superseded: set[asyncio.Task[PollAnswer]] = set()
        self._one_by_one = False
        """The server refused several reports together; find the one it cannot read."""
        self._draining = False
        self._left = False
        """The last poll, that asks for nothing, is over: no job can be on its way to us."""
        self._give_up_at = float("inf")
        self._hurry = asyncio.Event()
        """Cuts a pause short: a drain has begun or come to its end."""

    # The life of the loop.

    async def run(self) -> None:
        """Poll until drained. Raises: AgentError."""
        beats = self.loop.create_task(self._beat())
        try:
            if self._config.wasm:
                await self._start_wasm()
            if any(handler.mode == "process" for handler in self._handlers.values()):
                self._children = ChildPool(self._worker.find_target())
            await self._poll_until_drained()
        finally:
            beats.cancel()
            for call in list(self._superseded):
                call.cancel()
            for attempt in list(self._attempts.values()):
                attempt.stop(StopReason.LOST)
            if self._children is not None:
                await self._children.close()
            if self._wasm is not None:
                await self._wasm.close()
            await self._link.close()

    async def _start_wasm(self) -> None:
        from headrace.worker.wasm_job import WasmJobs  # imports nothing a plain worker needs
        from headrace.worker.wasm_runner import SandboxError

        assert self._config.cache_dir is not None, "complete() was called"
        self._wasm = WasmJobs(self._link, self._config.cache_dir, self._config.concurrency)
        try:
            await self._wasm.start()
        except SandboxError as error:
            raise AgentError(
                f"the WASM sandbox does not start: {error}. With --no-wasm this worker serves "
                "typed jobs only"
            ) from error

    def drain(self, drain_s: float) -> None:
        """Take no more jobs; after `drain_s` give back what still runs."""
        if not self._draining:
            self._draining = True
            running = len(self._unreported())
            log.info("draining: %d jobs run; they have %g s", running, drain_s)
            for attempt in self._unreported():
                attempt.drain()
        if drain_s != float("inf"):
            self.loop.call_later(drain_s, self._drain_over, StopReason.DRAIN)
        self._hurry.set()
        self._outbox.ready.set()

    def release_now(self) -> None:
        self._draining = True
        for attempt in list(self._attempts.values()):
            attempt.release_now()
        self._drain_over(None)

    def _drain_over(self, reason: StopReason | None) -> None:
        grace_s = RELEASE_GRACE_S
        if reason is not None:
            grace_s += DRAIN_GRACE_S
            for attempt in self._unreported():
                attempt.stop(reason)
        self.loop.call_later(grace_s, self._report_rest)
        self._give_up_at = min(self._give_up_at, time.monotonic() + grace_s + GIVE_UP_S)
        self._hurry.set()
        self._outbox.ready.set()

    def _report_rest(self) -> None:
        for attempt in self._unreported():
            attempt.overdue()

    def _unreported(self) -> list[Attempt]:
        return [attempt for attempt in self._attempts.values() if not attempt.reported]

    def _drained(self) -> bool:
        if not self._is_leaving():
            return False
        done = self._outbox.empty and (self._left or not self._greeted)
        return done or time.monotonic() >= self._give_up_at

    def _is_leaving(self) -> bool:
        return self._draining and not self._unreported()

    # Polls.

    async def _poll_until_drained(self) -> None:
        backoff = Backoff()
        while not self._drained():
            leaves = self._is_leaving()
            batch = self._outbox.compose(
                reports_max=1 if self._one_by_one else REPORTS_PER_POLL_MAX
            )
            try:
                answer = await self._exchange(batch)
            except Unreachable as error:
                self._outbox.put_back(batch.progress)
                self._note_away(error)
                self._left = leaves
                await self._pause(backoff.next_s(error.retry_after_s))
                continue
            except Refused as error:
                self._take_refusal(error, batch)
                self._left = leaves
                await self._pause(backoff.next_s())
                continue
            if answer is None:
                continue  # there is something to say; the seq stays
            self._left = leaves
            self._seq += 1
            self._note_back()
            kept = self._take(answer, batch)
            if kept:
                await self._pause(backoff.next_s())
            else:
                backoff.reset()
                await self._settle(answer)
        if not self._outbox.empty:
            log.error("gave up on %d reports that the server did not take", self._outbox.waiting)

    async def _exchange(self, batch: Batch) -> PollAnswer | None:
        """Send one poll. None: it was parked, and now there is something to say.

        Who leaves says so with the number of a poll that is parked: what the server has given to
        that one comes with the answer, and goes back.
        """
        request = self._request(batch)
        sent_at = time.monotonic()
        timeout_s = float(request.wait) + max(ANSWER_S_MIN, self._lease_s / BEATS_PER_TERM)
        if batch or self._is_leaving():
            timeout_s += sum(map(_upload_bytes, batch.reports)) / UPLOAD_BYTES_PER_S
            answer = await self._link.poll(request, timeout_s)
            self._beat_at = sent_at
            return answer
        call = self.loop.create_task(self._link.poll(request, timeout_s))
        ready = self.loop.create_task(self._outbox.ready.wait())
        try:
            await asyncio.wait((call, ready), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            call.cancel()
            raise
        finally:
            ready.cancel()
        if call.done():
            answer = call.result()
            self._beat_at = sent_at
            return answer
        self._superseded.add(call)
        call.add_done_callback(self._take_superseded)
        self.loop.call_later(SUPERSEDED_S_MAX, call.cancel)
        return None

    def _request(self, batch: Batch) -> PollRequest:
        slots = 0 if self._draining else self._slots()
        running = [lease for lease, attempt in self._attempts.items() if not attempt.reported]
        wait_s = 0.0
        may_wait = not batch and not self._is_leaving()
        if may_wait and not self._away and self._greeted:  # else it is good to know soon
            wait_s = min(WAIT_S_MAX, self._lease_s / BEATS_PER_TERM) if running else WAIT_S_MAX
        assert self._config.total is not None
        return PollRequest(
            worker=self._config.name,
            session=self._session,
            serve=self._serve,
            free=self._ledger.free().resources(),
            total=self._config.total.resources(),
            labels=self._config.labels,
            max_jobs=slots,
            wait=wait_s,
            seq=self._seq,
            reports=batch.reports,
            progress=batch.progress,
            running=running,
        )

    def _slots(self) -> int:
        """Return how many jobs are asked for."""
        ahead = 0 if self._ahead is None else self._ahead.jobs
        return min(self._ledger.slots_free_of(ahead), limits.POLL_JOBS_MAX)

    def _take_superseded(self, call: "asyncio.Task[PollAnswer]") -> None:
        """The server answers a poll that another one has overtaken, mostly with nothing."""
        self._superseded.discard(call)
        if not call.cancelled() and call.exception() is None:
            self._take(call.result(), Batch())

    async def _settle(self, answer: PollAnswer) -> None:
        again_s = duration_ms(answer.poll_again) / 1000
        if answer.jobs:
            again_s = max(again_s, SETTLE_S if self._slots() else SETTLE_FULL_S)
        if again_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._outbox.ready.wait()

    async def _pause(self, pause_s: float) -> None:
        self._hurry.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(pause_s, max(0.1, self._give_up_at - time.monotonic()))):
                await self._hurry.wait()

    async def _beat(self) -> None:
        """Send heartbeats of their own while no other poll does."""
        while True:
            term_s = self._lease_s / BEATS_PER_TERM
            await asyncio.sleep(term_s / 4)
            running = [lease for lease, attempt in self._attempts.items() if not attempt.reported]
            if not running or time.monotonic() - self._beat_at < term_s * 1.25:
                continue
            sent_at = time.monotonic()
            request = PollRequest(
                worker=self._config.name,
                serve=self._serve,
                labels=self._config.labels,
                max_jobs=0,
                running=running,
            )
            with suppress(Unreachable, Refused):
                answer = await self._link.poll(request, max(ANSWER_S_MIN, term_s))
                self._beat_at = max(self._beat_at, sent_at)
                self._take(answer, Batch())

    def _report(self, report: Report) -> None:
        self._outbox.report(within(report, self._result_bytes_max, self._output_bytes_max))

    # Answers.

    def _take(self, answer: PollAnswer, batch: Batch) -> bool:
        """Do what an answer says. Return True when reports have to be sent again later."""
        self._lease_s = max(limits.LEASE_MS_MIN, duration_ms(answer.lease_term)) / 1000
        self._result_bytes_max = answer.result_max
        self._output_bytes_max = answer.output_max
        kept = {report.lease for report in batch.reports}
        for ack in answer.acks:
            if ack.problem is not None and ack.problem.get("retryable") is True:
                continue
            kept.discard(ack.lease)
            report = self._outbox.acknowledged(ack.lease)
            if ack.problem is not None and report is not None:
                log.warning(
                    "the server has no use for a report (%s): %s",
                    report.outcome,
                    ack.problem.get("detail") or ack.problem.get("code"),
                )
        for work in answer.jobs:
            self._begin(work)
        for order in answer.control:
            self._obey(order)
        return bool(kept)

    def _obey(self, order: Order) -> None:
        if order.do == "drain":
            log.info("the server has this worker drain: no new jobs until it is told otherwise")
            return  # it goes on asking, and is given jobs again when somebody takes the order back
        if order.do == "quit":
            log.info("the server has this worker quit")
            self.drain(self._config.drain_s)
            return
        attempt = self._attempts.get(order.lease or "")
        if attempt is None:
            return
        log.info("job %s: %s", attempt.assignment.spec.id, order.do)
        attempt.stop(StopReason(order.do))
        if order.do == "lost":
            self._outbox.forget(attempt.assignment.lease)

    def _take_refusal(self, error: Refused, batch: Batch) -> None:
        """The server says no to a whole poll.

        Raises: AgentError when it never said anything else.
        """
        if not self._greeted:
            raise AgentError(f"the server refuses this worker: {error}")
        log.error("the server refuses a poll: %s", error)
        if error.status not in (400, 413, 422):
            self._outbox.put_back(batch.progress)  # not about what the poll says
        elif len(batch.reports) > 1:
            self._one_by_one = True
            self._outbox.put_back(batch.progress)
        elif batch.reports:
            report = batch.reports[0]
            self._one_by_one = False
            self._outbox.put_back(batch.progress)
            if report.code == "report_refused":
                self._outbox.acknowledged(report.lease)
            else:
                self._outbox.replace(
                    Report(
                        lease=report.lease,
                        outcome="failed",
                        error=f"the server refused this attempt's report: {error.detail[:1_000]}",
                        code="report_refused",
                    )
                )
        # News alone that the server cannot read are dropped: they are no part of the outcome.

    def _note_away(self, error: Unreachable) -> None:
        if not self._away:
            log.warning("%s; trying again, jobs go on", error)
        self._away = True

    def _note_back(self) -> None:
        if self._away or not self._greeted:
            log.info("connected to %s as %s", self._config.url, self._config.name)
        self._away = False
        self._greeted = True

    # Attempts.

    def _begin(self, work: Work) -> None:
        if work.lease in self._seen:
            return
        self._seen[work.lease] = None
        if len(self._seen) > LEASES_SEEN_MAX:
            for lease in list(self._seen)[: LEASES_SEEN_MAX // 2]:
                if lease not in self._attempts:
                    del self._seen[lease]
        if self._draining:
            self._outbox.report(Report(lease=work.lease, outcome="released"))
            return
        try:
            spec = msgspec.json.decode(work.job, type=Spec)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = f"the worker cannot read the job: {error}"
            self._outbox.report(
                Report(lease=work.lease, outcome="failed", error=text, code="spec_unreadable")
            )
            return
        assignment = Assignment(
            lease=work.lease, spec=spec, attempt=work.attempt, checkpoint=work.checkpoint
        )
        attempt = Attempt(assignment, on_report=self._report, on_over=self._over)
        self._attempts[work.lease] = attempt
        self._ledger.reserve(work.lease, spec.requirements)
        feed = self._outbox.feed_of(work.lease, attempt.keep)
        run = self._run_of(assignment, feed)
        if run is None:
            attempt.refuse(
                failed(f"this worker does not run jobs of type {spec.type!r}", "handler_missing")
            )
            return
        if isinstance(run, ThreadRun):  # a look will find it begun, if it takes so long
            self._waiting[work.lease] = run
            self._look_soon()
        elif spec.type:
            feed.started()
        attempt.begin(run, feed)

    def _look_soon(self) -> None:
        if not self._look_due:
            self._look_due = True
            self.loop.call_later(STARTED_LOOK_S, self._look_at_waiting)

    def _look_at_waiting(self) -> None:
        """Tell of those that have begun. Give back those that were taken ahead, and then found no
        thread: others may have one."""
        self._look_due = False
        overdue_s = time.monotonic() - AHEAD_WAIT_S_MAX
        for lease, run in list(self._waiting.items()):
            if not run.waits:
                del self._waiting[lease]
                run.tell_start()
            elif run.taken_s <= overdue_s:
                self._attempts[lease].release_now()
                if self._ahead is not None:
                    self._ahead.doubt()
        if self._waiting:
            self._look_soon()

    def _run_of(self, assignment: Assignment, feed: AttemptFeed) -> Run | None:
        if not assignment.spec.type:
            return self._wasm.run(assignment, feed) if self._wasm is not None else None
        handler = self._handlers.get(assignment.spec.type)
        if handler is None:
            return None
        if handler.mode == "async":
            return AsyncRun(handler, assignment, feed, self._handlers_loop)
        if handler.mode == "thread":
            return ThreadRun(handler, assignment, feed, self._threads)
        assert self._children is not None
        return ProcessRun(assignment, feed, self._children)

    def _over(self, attempt: Attempt) -> None:
        """Nothing of the attempt runs any more: its slot and its resources are free."""
        lease = attempt.assignment.lease
        del self._attempts[lease]
        run = attempt.run
        if isinstance(run, ThreadRun):
            self._waiting.pop(lease, None)
            if self._ahead is not None and run.run_s:
                self._ahead.note(run.run_s)
        self._ledger.release(lease)
        self._outbox.ready.set()  # the parked poll offers too little


def _upload_bytes(report: Report) -> int:
    return len(report.output or "") + len(bytes(report.result)) + len(bytes(report.checkpoint))
