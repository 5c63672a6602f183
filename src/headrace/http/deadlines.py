"""The connection: aiohttp's, with the deadlines and the manners it lacks.

    connect ──▶ header ≤ 10 s ──▶ body (see `decode.read_bytes`) ──▶ answer ──▶ idle ≤ 75 s ─┐
                  ▲                                                  (read)                  │
                  └──────────────────────────────────────────────────────────────────────────┘

A header deadline begins with the connection, and again with the first bytes of each later request.
A header that comes whole, as nearly all do, costs no timer. What is not HTTP gets a problem and no
line in the log: a port scan must not fill the disk.

An answer that is not read is kept in memory, and a connection that is closed stays until the client
has read all: both have a deadline, and all answers that are not read share a bound.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

from aiohttp import HttpVersion10, HttpVersion11, hdrs, http_writer, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy, RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import _ErrInfo

from headrace.http.answers import SERVER_NAME
from headrace.http.errors import problem_response, response_of
from headrace.http.meters import Meters
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.root import is_root

assert HttpRequestParser is not HttpRequestParserPy, (
    "aiohttp runs on its pure Python parser, which has had most of the request smuggling defects:"
    " install a wheel with its C extensions"
)

if sys.version_info < (3, 12):
    # Header and body leave as they are: joined, each answer that is not read would be held twice.
    # aiohttp joins where asyncio's `writelines` is unsafe (3.12.0 on), or no better than that.
    http_writer.SKIP_WRITELINES = False

LINGER_S: Final = 5.0
"""How long the rest of a refused body is read, so that the client sees the answer."""
CLOSING_S: Final = 30.0
"""How long a closed connection may still have something to send; looked at as often."""
UNREAD_BYTES_MAX: Final = 256 * limits.MIB
"""Of answers that are not read, all together; who adds more is cut off. What an answer was made of
is kept until it is sent: this much takes twice as much memory."""
READ_BYTES: Final = 1 << 16
GATHERED_BYTES_MAX: Final = 4 * limits.KIB
"""Of a body, before its handler looks at what came; not counted as its budget's until then."""
GATHERED_PIECES_MAX: Final = 64
"""Each takes some memory of its own."""
HEADER_BYTES_MAX: Final = 8_190
HEADERS_MAX: Final = 128

_LATE: Final = (
    b"HTTP/1.1 408 Request Timeout\r\n"
    b"Content-Type: application/problem+json\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b"
)


_SPOKEN: Final = (HttpVersion11, HttpVersion10)


def framing_fault(message: RawRequestMessage) -> str | None:
    """Say what the parser let through though nobody can be sure of where the request ends.

    A version that is not ours has other rules. Transfer codings beside `chunked` are not undone
    here, and one in HTTP/1.0 is faulty by itself (RFC 9112, 6.1).
    """
    if message.version not in _SPOKEN:
        return "the version of HTTP is 1.1, or 1.0"
    if not message.headers.get(hdrs.EXPECT, "").isascii():
        return "an Expect is a word"  # aiohttp fails as it repeats it
    coding = message.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is None:
        return None
    if message.version != HttpVersion11:
        return "a Transfer-Encoding takes HTTP/1.1"
    return None if coding.strip().lower() == "chunked" else "the only Transfer-Encoding is chunked"


class Rest(StreamReader):
    """What a client still sends behind broken HTTP: aiohttp lingers for it, as for a refused body.

    Closed at once, the connection would be reset by what comes, and the answer lost with it.
    """

    async def readany(self) -> bytes:
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            transport.write_eof()  # the answer is whole; who waits for the end need not linger
        return await super().readany()


class Gathering:
    """Counts what comes of a body, and ends the wait for it when that is enough."""

    __slots__ = ("_lacking_bytes", "_lacking_pieces", "_patience")

    def __init__(self, patience: asyncio.Timeout, enough_bytes: int) -> None:
        self._patience = patience
        self._lacking_bytes = enough_bytes
        self._lacking_pieces = GATHERED_PIECES_MAX

    def add(self, size: int) -> None:
        self._lacking_bytes -= size
        self._lacking_pieces -= 1
        if (self._lacking_bytes <= 0 or not self._lacking_pieces) and not self._patience.expired():
            self._patience.reschedule(0)


class Connection(web.RequestHandler):
    """One connection of a client."""

    def __init__(self, manager: "Server", *, meters: Meters, **options: Any) -> None:
        super().__init__(manager, **options)
        self._meters = meters
        self._header_timer: asyncio.TimerHandle | None = None
        self._header_ms = manager.header_ms
        self._server = manager
        self._unread_timer: asyncio.TimerHandle | None = None
        self._unread_bytes = 0
        """Of the answer that the client does not read, when it began not to."""
        self._gathering: Gathering | None = None
        """Of the handler that waits for its body."""
        self._is_broken = False
        """What came is no HTTP, or too late: nothing that follows is looked at."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._header_start()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._header_done()
        self._unread_done()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        server = self._server
        self._unread_bytes = server.unwritten(self)
        server.unread_bytes += self._unread_bytes
        if server.unread_bytes > UNREAD_BYTES_MAX:
            late_ms = 0.0
        else:
            late_ms = limits.UNREAD_MS_BASE
            late_ms += self._unread_bytes * 1000 / limits.BODY_BYTES_PER_S_MIN
        self._unread_timer = self._loop.call_later(late_ms / 1000, self._unread_late)

    def resume_writing(self) -> None:
        self._unread_done()
        super().resume_writing()

    def _unread_late(self) -> None:
        self._meters.unread += 1
        self._unread_done()
        self._server.abort(self)

    def _unread_done(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None
            self._server.unread_bytes -= self._unread_bytes

    def data_received(self, data: bytes) -> None:
        if self._is_broken:
            return
        before = self._request_count
        super().data_received(data)
        if self._request_count != before:
            if self._header_timer is not None:
                self._header_done()
            message, _ = self._messages[-1]
            if isinstance(message, _ErrInfo):
                self._is_broken = True
                self._messages[-1] = message, Rest(self, READ_BYTES, loop=self._loop)
        elif (
            self._header_timer is None
            and data
            and self._waiter is not None  # idle: these bytes begin a request, and do not end it
            and not self._messages
        ):
            self._header_start()
        if self._gathering is not None:
            self._gathering.add(len(data))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume what is paused. aiohttp asks after each piece of a body, to parse nothing."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def wait_for_body(self, content: StreamReader, due_s: float, bytes_most: int) -> None:
        """Wait for the end of a body, for as much as is worth a look, or until it is due.

        Thousands of clients may send a byte at a time: a piece wakes no task, and moves no timer.
        """
        try:
            async with asyncio.timeout_at(due_s) as patience:
                self._gathering = Gathering(patience, min(bytes_most + 1, GATHERED_BYTES_MAX))
                await content.wait_eof()
        except TimeoutError:
            pass  # who waits knows from the clock whether it was this
        finally:
            self._gathering = None

    def _header_start(self) -> None:
        self._header_timer = self._loop.call_later(self._header_ms / 1000, self._header_late)

    def _header_done(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_late(self) -> None:
        self._header_timer = None
        self._meters.deadlines += 1
        if self.transport is not None:
            late = Problem(
                ProblemCode.BODY_TIMEOUT,
                f"no request came within {self._header_ms // 1000} s",
            )
            body = problem_response(late, root=True).body
            assert isinstance(body, bytes)
            self.transport.write(_LATE % (len(body), body))
            self.transport.write_eof()
        self._is_broken = True
        self._loop.call_later(LINGER_S, self.force_close)

    def linger_no_more(self) -> None:
        """Close after the answer: the rest of the body has had its time."""
        self._lingering_time = 0.0

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what did not reach a handler: broken HTTP, mostly."""
        if status == 500 and isinstance(exc, Exception):
            response = response_of(exc)
        else:
            self._meters.parse_errors += 1
            detail = "it is not valid HTTP/1.1"
            if isinstance(exc, LineTooLong):
                detail = f"a line of the header is longer than {HEADER_BYTES_MAX} bytes"
            problem = Problem(ProblemCode.REQUEST_MALFORMED, detail)
            response = problem_response(problem, root=True)  # of which surface, nobody knows
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun; the connection can only be closed")
        response.headers["Server"] = SERVER_NAME
        response.force_close()
        return response


class Server(web.Server):
    """Makes `Connection`s, or what `connect` makes of its arguments."""

    def __init__(
        self,
        *args: Any,
        meters: Meters,
        header_ms: int,
        connect: Callable[..., Connection],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._meters = meters
        self._connect = connect
        self.header_ms = header_ms
        self.unread_bytes = 0
        """Of all answers that clients do not read."""
        self._sweeper: asyncio.TimerHandle | None = None
        self._closing: set[web.RequestHandler] = set()
        """Connections that were being closed when it was last looked."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(CLOSING_S, self._sweep)

    def unwritten(self, handler: web.RequestHandler) -> int:
        """Return the bytes that a connection still has to send."""
        return self._connections[handler].get_write_buffer_size()

    def abort(self, handler: web.RequestHandler) -> None:
        """End a connection with all that it still has to send."""
        self._connections[handler].abort()

    def _sweep(self) -> None:
        """End connections that are closed, and whose clients do not read the rest."""
        closing = {one for one, wire in self._connections.items() if wire.is_closing()}
        for one in closing & self._closing:
            self.abort(one)
        self._closing = closing
        self._sweeper = None
        if self._connections:
            self._sweeper = self._loop.call_later(CLOSING_S, self._sweep)

    def __call__(self) -> Connection:
        return self._connect(self, meters=self._meters, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """Runs an application over `Connection`s."""

    def __init__(
        self,
        app: web.Application,
        meters: Meters,
        *,
        shutdown_timeout: float,
        header_ms: int = limits.HEADER_MS_MAX,
        idle_ms: int = limits.IDLE_MS_MAX,
        connect: Callable[..., Connection] = Connection,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout)
        self._meters = meters
        self._header_ms = header_ms
        self._idle_ms = idle_ms
        self._connect = connect

    async def _make_server(self) -> Server:
        app = self.app
        loop = asyncio.get_running_loop()
        app._set_loop(loop)
        app.on_startup.freeze()
        await app.startup()
        app.freeze()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            assert isinstance(request, web.Request)
            fault = framing_fault(request._message)
            if fault is not None:
                return self._refuse(request, fault)
            try:
                return await app._handle(request)
            except Exception as error:  # raised before the middlewares: a strange Expect
                return response_of(error, root=is_root(request.path))

        return Server(
            handle,
            request_factory=app._make_request,
            meters=self._meters,
            header_ms=self._header_ms,
            connect=self._connect,
            handler_cancellation=True,  # a client that goes away withdraws its poll
            loop=loop,
            debug=False,
            access_log=None,
            auto_decompress=False,  # an encoded body is refused, not unpacked
            keepalive_timeout=self._idle_ms / 1000,
            lingering_time=LINGER_S,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )

    def _refuse(self, request: web.Request, fault: str) -> web.Response:
        """Answer in our own version, whatever was asked in, and close."""
        self._meters.parse_errors += 1
        request._version = HttpVersion11
        problem = Problem(ProblemCode.REQUEST_MALFORMED, fault)
        response = problem_response(problem, root=is_root(request.path))
        response.headers["Server"] = SERVER_NAME
        response.force_close()
        return response
