"""The lane: hot requests past aiohttp, on the same connections.

    bytes ──▶ plain, whole, a hot route, nothing under way? ── yes ──▶ Exchange ──▶ answer
                                  │ no                                     (no task, no future)
                                  ▼
                        aiohttp, byte for byte

aiohttp costs about 40 µs a request, more than all of a submit. The lane takes a request when it
comes whole in one piece and `head.read_head` understands all of it; it then does what the handlers
do, through the same functions, and answers in the same bytes. Everything else is aiohttp's: other
routes, every refusal that a header earns, everything that comes in pieces.

Both sides share a connection, so they must agree where a request ends. The lane follows the
framing of what it hands over while that is plain; where it is not, the connection is aiohttp's from
then on. aiohttp's own state says when it is idle; while the lane is busy, what arrives waits.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from aiohttp.helpers import rfc822_formatted_time

from headrace.core.commands import Poll
from headrace.http.answers import Answer
from headrace.http.app import SERVER_NAME
from headrace.http.deadlines import Connection, Server
from headrace.http.decode import check_utf8
from headrace.http.errors import problem_answer, problem_of
from headrace.http.handlers.jobs import job, result
from headrace.http.handlers.submit import submit
from headrace.http.handlers.work import poll
from headrace.http.head import HEAD_BYTES_MAX, ROUTES, Head, Passage, read_head
from headrace.http.hot import Asked, Handler, Look, Question
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

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


def connections_of(site: Site) -> Callable[..., Connection]:
    """Return what makes the connections of a site, as its configuration says."""
    return partial(LaneConnection, site=site) if site.config.lane else Connection


class LaneConnection(Connection):
    """A connection with a lane."""

    def __init__(self, manager: Server, *, site: Site, **options: Any) -> None:
        super().__init__(manager, **options)
        self._site = site
        self._exchange: Exchange | None = None
        """What is under way on the lane, until its answer is in the system's hands."""
        self._lacking = 0
        """Bytes that the request last handed over still lacks; 0: a request begins; or `LOST`."""
        self._held = b""
        self._settling = False
        """aiohttp has sent an answer, and is about to be idle."""

    # In -----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._exchange is not None or self._settling:
            self._hold(data)
        else:
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
            if passage is not None and self._lacking == len(data) and self._may_come(passage):
                if self._is_idle():
                    self._lacking = 0
                    self._take(passage, head, data[end:])
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

    def _may_come(self, passage: Passage) -> bool:
        return passage.here or self._site.config.insecure

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
        self._settling = True
        self._hold(data)
        self._loop.call_soon(self._settled)

    def _settled(self) -> None:
        self._settling = False
        self._go_on(may_settle=False)

    def _take(self, passage: Passage, head: Head, body: bytes) -> None:
        if self._header_timer is not None:
            self._header_done()
        self._request_in_progress = True  # `shutdown` waits for it
        self._exchange = Exchange(self, self._site, passage.route)
        self._exchange.begin(
            Asked(passage.caller, passage.accept, passage.key, body, head.job_id, head.wait_ms)
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

    def send(self, answer: Answer) -> None:
        """Send the answer of the exchange; it is over when the client reads fast enough."""
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(wire_bytes(answer))
        if self._paused:
            return
        if self._held:
            self._loop.call_soon(self._over)  # the pump is in the middle of telling replies
        else:
            self._over()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._over()

    def _over(self) -> None:
        """Be idle again, as aiohttp is after an answer of its own."""
        if self._exchange is None or not self._exchange.answered or self._paused:
            return
        self._exchange = None
        self._leave()
        transport = self.transport
        if self._force_close or transport is None:
            return
        if self._close:
            transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        self._go_on(may_settle=True)

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
            self._leave()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if self._exchange is None:
            super()._process_keepalive()
        else:
            self._keepalive_handle = None  # it is not idle; `_over` begins anew


class Exchange:
    """A request on the lane, from its body to its answer. The pump or a wait tells it the reply."""

    __slots__ = ("_connection", "_question", "_route", "_site", "_task", "_wait", "answered")

    def __init__(self, connection: LaneConnection, site: Site, route: str) -> None:
        self._connection: LaneConnection | None = connection
        self._site = site
        self._route = route
        self._question: Question | Look | None = None
        self._wait: EndWait | None = None
        self._task: asyncio.Task[Answer] | None = None
        self.answered = False

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
        if not task.cancelled():
            self._conclude(task.result)

    # What the pump calls ------------------------------------------------------------------------

    def set_result(self, reply: Any, /) -> None:
        question = self._question
        assert question is not None
        if isinstance(reply, Problem):
            self._tell(problem_answer(reply))
        else:
            self._conclude(partial(question.answer, reply))

    def done(self) -> bool:
        return self.answered or self._connection is None

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

    def _conclude(self, result: Callable[[], Answer]) -> None:
        try:
            answer = result()
        except Exception as error:
            answer = problem_answer(problem_of(error))
        self._tell(answer)

    def _tell(self, answer: Answer) -> None:
        self.answered = True
        self._forget()
        connection = self._connection
        if connection is None:
            return
        self._site.meters.count(self._route, answer.status)
        try:
            connection.send(answer)
        except Exception:  # must not end the pump's turn
            log.exception("an answer cannot be sent")
            connection.abort()

    def _forget(self) -> None:
        question, self._question = self._question, None
        if isinstance(question, Question) and isinstance(question.command, Poll):
            self._site.poll_ends(question.command)


def wire_bytes(answer: Answer) -> bytes:
    """Return an answer as aiohttp would send it."""
    lines = [f"{name}: {value}\r\n" for name, value in answer.headers.items()]
    head = (
        f"{_STATUS_LINES[answer.status]}{''.join(lines)}Server: {SERVER_NAME}\r\n"
        f"Content-Length: {len(answer.body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
    )
    return head.encode() + answer.body
