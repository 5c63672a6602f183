"""The lane: hot requests past aiohttp, on the same connections.

    bytes ──▶ plain, whole, a hot route, nothing under way? ── yes ─┬▶ Exchange ─┬▶ answer
                                  │ no                              └▶ Singles ──┘
                                  ▼
                        aiohttp, byte for byte

aiohttp costs about 40 µs a request, more than all of a submit. The lane takes a request when it
comes whole in one piece and `head.read_head` understands all of it; it then does what the handlers
do, through the same functions, and answers in the same bytes. Everything else is aiohttp's: other
routes, every refusal that a header earns but that of who asks too often, everything that comes in
pieces. A client's next request mostly has the header of its last, so that is looked for first.

Both sides share a connection, so they must agree where a request ends. The lane follows the
framing of what it hands over while that is plain; where it is not, the connection is aiohttp's from
then on. aiohttp's own state says when it is idle; while the lane is busy, what arrives waits.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from headrace.core.commands import Poll
from headrace.http._wire import HeadForm
from headrace.http.answers import Answer, wire_bytes
from headrace.http.deadlines import Connection, Server
from headrace.http.decode import check_utf8
from headrace.http.errors import problem_answer, problem_of
from headrace.http.handlers.jobs import job, result
from headrace.http.handlers.submit import submit
from headrace.http.handlers.work import poll
from headrace.http.head import HEAD_BYTES_MAX, ROUTES, Passage, form_of, read_head
from headrace.http.hot import Asked, Handler, Look, Question
from headrace.http.singles import Singles
from headrace.http.site import Site
from headrace.http.waits import EndWait
from headrace.wire.problems import Problem

log = logging.getLogger("headrace.http")

HELD_BYTES_MAX: Final = 64 * 1024
"""Of what a client sends ahead, before its answer; with more, it is not read from."""
LOST: Final = -1
"""In the place of a number of bytes: where requests begin is not known any more."""

HANDLERS: Final[dict[str, Handler]] = {
    "jobs_submit": submit,
    "work_poll": poll,
    "job_get": job,
    "job_result": result,
}
assert HANDLERS.keys() == set(ROUTES)


def connections_of(site: Site) -> Callable[..., Connection]:
    """Return what makes the connections of a site, as its configuration says."""
    if not site.config.lane or site.watches:
        return Connection
    return partial(LaneConnection, site=site, singles=Singles(site))


class LaneConnection(Connection):
    """A connection with a lane."""

    def __init__(self, manager: Server, *, site: Site, singles: Singles, **options: Any) -> None:
        super().__init__(manager, **options)
        self._site = site
        self._singles = singles
        self._form: HeadForm | None = None
        """Of the header of the last request that took the lane."""
        self._busy = False
        """What arrives waits: a request is under way on the lane, until its answer is in the
        system's hands; or aiohttp has sent an answer, and is about to be idle."""
        self._answered = False
        """The request under way is answered, but the client does not read."""
        self._exchange: Exchange | None = None
        """Of the request under way, if it goes alone."""
        self._lacking = 0
        """Bytes that the request last handed over still lacks; 0: a request begins; or `LOST`."""
        self._held = b""

    # In -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._busy:
            self._hold(data)
            return
        form = self._form
        if form is not None and self._lacking == 0:
            body = form.body(data)
            if body is not None and self._is_idle():
                passage = self._let_in(form.passage)
                if passage is not None:
                    self._take(passage, body)
                    return
        self._receive(data)

    def _receive(self, data: bytes, *, may_settle: bool = True) -> None:
        if not data or self._lacking == LOST:
            super().data_received(data)
            return
        begins = self._lacking == 0
        if begins:
            end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX) + 4
            head = read_head(data[:end]) if end > 4 else None
            if head is None:
                self._lacking = LOST
                super().data_received(data)
                return
            passage = head.passage
            self._lacking = end + head.body_bytes
            if passage is not None and self._lacking == len(data):
                passage = self._let_in(passage)
            if passage is not None and self._lacking == len(data):
                if self._is_idle():
                    self._lacking = 0
                    self._form = form_of(data[:end], head)
                    self._take(passage, data[end:], head.job_id, head.wait_ms)
                    return
                if may_settle and not self._request_in_progress and not self._messages:
                    self._lacking = 0
                    self._settle(data)
                    return
        self._lacking = max(self._lacking - len(data), LOST)  # LOST: the next one has begun
        before = self._request_count
        super().data_received(data)
        if self._request_count - before != begins:
            self._lacking = LOST  # aiohttp sees it otherwise, and it decides

    def _let_in(self, passage: Passage) -> Passage | None:
        """Return the passage with who it is; None, for whom aiohttp's way has the words."""
        site = self._site
        if not site.identities.is_open():
            return site.passages.of(passage)
        if site.rates.limits_peers:
            return None
        return passage if passage.here or site.config.insecure else None

    def _is_idle(self) -> bool:
        """Say whether nothing is under way."""
        waiter = self._waiter
        return (
            waiter is not None
            and not waiter.done()
            and not self._messages
            and not self._close
            and not self._force_close
        )

    def _settle(self, data: bytes) -> None:
        """Give aiohttp one turn of the loop to be idle.

        The answer to its last request leaves before it is; a quick client would always come too
        early, and never see the lane again.
        """
        self._busy = True
        self._hold(data)
        self._loop.call_soon(self._settled)

    def _settled(self) -> None:
        self._busy = False
        self._go_on(may_settle=False)

    def _take(self, passage: Passage, body: bytes, job_id: bytes = b"", wait_ms: int = 0) -> None:
        if self._header_timer is not None:
            self._header_done()
        self._busy = True
        self._request_in_progress = True  # `shutdown` waits for it
        rate = passage.rate
        if rate is not None and rate.requests is not None:
            try:
                rate.requests.take(1, self._site.clock.now_ms())
            except Problem as problem:  # of who asks too often, each must cost others little
                answer = problem_answer(problem)
                self._site.meters.count(passage.route, answer.status)
                self.tell(answer)
                return
        if passage.is_single and body.startswith(b"{"):
            self._singles.add(self, passage, body)
        else:
            self.go_alone(passage, body, job_id, wait_ms)

    def go_alone(
        self, passage: Passage, body: bytes, job_id: bytes = b"", wait_ms: int = 0
    ) -> None:
        self._exchange = Exchange(self, self._site, passage.route)
        self._exchange.begin(
            Asked(passage.caller, passage.accept, passage.key, body, job_id, wait_ms)
        )

    def _hold(self, data: bytes) -> None:
        before = len(self._held)
        self._held += data
        if before <= HELD_BYTES_MAX < len(self._held) and self.transport is not None:
            self.transport.pause_reading()

    def _go_on(self, *, may_settle: bool) -> None:
        """Receive what was held."""
        held, self._held = self._held, b""
        if held and self.transport is not None:
            if len(held) > HELD_BYTES_MAX:
                self.transport.resume_reading()
            self._receive(held, may_settle=may_settle)

    # Out ----------------------------------------------------------------------------------------

    def tell(self, answer: Answer) -> None:
        self.send(wire_bytes(answer), self._loop.time())

    def send(self, data: bytes, now_s: float) -> None:
        """Send the answer; the request is over when the client reads fast enough."""
        self._answered = True
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)
        if self._paused:
            return
        if self._held:
            self._loop.call_soon(self._over)  # the pump is in the middle of telling replies
        else:
            self._be_idle(now_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._over()

    def _over(self) -> None:
        """End the request if it is answered and read, and go on with what was held."""
        if self._answered and not self._paused and self._be_idle(self._loop.time()):
            self._go_on(may_settle=True)

    def _be_idle(self, now_s: float) -> bool:
        """Be as aiohttp is after an answer of its own. Returns whether the connection goes on."""
        self._busy = self._answered = False
        self._exchange = None
        self._leave()
        transport = self.transport
        if self._force_close or transport is None:
            return False
        if self._close:
            transport.close()
            return False
        self._next_keepalive_close_time = now_s + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        return True

    def _leave(self) -> None:
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    # Ends ---------------------------------------------------------------------------------------

    def connection_lost(self, exc: BaseException | None) -> None:
        exchange, self._exchange, self._held = self._exchange, None, b""
        if exchange is not None:
            exchange.cancel()
        if self._busy:
            self._leave()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if not self._busy:
            super()._process_keepalive()
        else:
            self._keepalive_handle = None  # it is not idle; `_over` begins anew


class Exchange:
    """A request on the lane, from its body to its answer. The pump or a wait tells it the reply."""

    __slots__ = ("_connection", "_question", "_route", "_site", "_task", "_wait")

    def __init__(self, connection: LaneConnection, site: Site, route: str) -> None:
        self._connection: LaneConnection | None = connection
        self._site = site
        self._route = route
        self._question: Question | Look | None = None
        self._wait: EndWait | None = None
        self._task: asyncio.Task[Answer] | None = None

    def begin(self, asked: Asked) -> None:
        try:
            check_utf8(asked.body)
            begun = HANDLERS[self._route](self._site, asked)
            if isinstance(begun, Question):
                self._ask(begun)
            elif isinstance(begun, Look):
                self._question = begun
                self._wait = EndWait(self._site, begun, self)
                self._wait.begin()
            else:
                self._task = asyncio.get_running_loop().create_task(begun)
                self._task.add_done_callback(self._on_task)
        except Exception as error:
            self._tell(problem_answer(problem_of(error)))

    def _ask(self, question: Question) -> None:
        command = question.command
        if isinstance(command, Poll):
            self._site.poll_begins(command)
        self._question = question
        self._site.pump.post(command, self)

    def _on_task(self, task: asyncio.Task[Answer]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._tell(task.result())
        else:
            assert isinstance(error, Exception), error
            self._tell(problem_answer(problem_of(error)))

    # What the pump calls ------------------------------------------------------------------------

    def set_result(self, reply: Any, /) -> None:
        question = self._question
        assert question is not None
        try:
            answer = problem_answer(reply) if type(reply) is Problem else question.answer(reply)
        except Exception as error:
            answer = problem_answer(problem_of(error))
        self._tell(answer)

    def done(self) -> bool:
        return self._connection is None

    def cancelled(self) -> bool:
        return self._connection is None

    # The end ------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Forget the client: it went away."""
        self._connection = None
        if self._task is not None:
            self._task.cancel()
        if self._wait is not None:
            self._wait.forget()
        if isinstance(self._question, Question):
            self._site.pump.forsake(self._question.command)
        self._forget()

    def _tell(self, answer: Answer) -> None:
        self._forget()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._site.meters.count(self._route, answer.status)
        try:
            connection.tell(answer)
        except Exception:  # must not end the pump's turn
            log.exception("an answer cannot be sent")
            connection.abort()

    def _forget(self) -> None:
        question, self._question = self._question, None
        self._wait = None  # it knows us: both would be left to the garbage collector
        if isinstance(question, Question) and isinstance(question.command, Poll):
            self._site.poll_ends(question.command)
