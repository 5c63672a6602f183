"""A child process that runs Python handlers, one job at a time, for its worker.

Started by exec, never forked. The handler has the main
thread; a second thread listens, so that a request to stop is heard while the handler computes. When
the worker goes away, so does this process, with all that it started.

What the handler prints goes, as descriptors 1 and 2, into a pipe that the worker reads.
"""

import inspect
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import NoReturn

import msgspec

from headrace.wire import limits
from headrace.wire.schema import Spec
from headrace.worker.attempt import Assignment, Ending, StopReason, cut_text
from headrace.worker.handlers import (
    MEMORY_CODE,
    Context,
    Feed,
    Handler,
    Worker,
    call_plain,
    load_worker,
)
from headrace.worker.python_protocol import (
    LENGTH,
    Broken,
    Emitted,
    Ended,
    FromChild,
    Hello,
    Log,
    Progress,
    Ready,
    Saved,
    Start,
    Stop,
    ToChild,
    frame,
)

STATM_DATA = 5
"""The place of data and stacks in /proc/self/statm."""
LOG_FRAME_CHARS = limits.LOG_BYTES_MAX // 4


class Channel:
    """The socket to the worker. Frames may be sent from any thread."""

    def __init__(self, channel: socket.socket) -> None:
        self._socket = channel
        self._pid = os.getpid()
        self._file = channel.makefile("rb")
        self._lock = Lock()
        self._decoder = msgspec.msgpack.Decoder(ToChild)

    @property
    def is_ours(self) -> bool:
        """False in a copy of this process that the handler has made by fork."""
        return os.getpid() == self._pid

    def send(self, message: FromChild) -> None:
        if not self.is_ours:
            return  # its words, between those of the process, would be taken for another job's
        data = frame(message)
        with self._lock:
            self._socket.sendall(data)

    def receive(self) -> ToChild | None:
        """Wait for a frame; None when the worker has gone."""
        head = self._file.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return None
        size = LENGTH.unpack(head)[0]
        body = self._file.read(size)
        return self._decoder.decode(body) if len(body) == size else None


class ChannelFeed(Feed):
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def progress(self, fraction: float | None, details: str | None) -> None:
        self._channel.send(Progress(fraction, details))

    def log(self, text: str) -> None:
        for start in range(0, len(text), LOG_FRAME_CHARS):
            self._channel.send(Log(text[start : start + LOG_FRAME_CHARS]))

    def checkpoint(self, value: bytes) -> None:
        self._channel.send(Saved(value))

    def emit(self, name: str, data: bytes) -> None:
        self._channel.send(Emitted(name, data))


class Current:
    """The job that runs now, for both threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._context: Context | None = None
        self._reason: StopReason | None = None

    def begin(self) -> None:
        with self._lock:
            self._context = self._reason = None

    def enter(self, context: Context) -> None:
        """The handler is about to run. A request to stop may have come before this."""
        with self._lock:
            self._context = context
            if self._reason is not None:
                context.ask_stop(self._reason)

    def stop(self, reason: StopReason) -> None:
        with self._lock:
            self._reason = reason
            if self._context is not None:
                self._context.ask_stop(reason)


def main(descriptor: int) -> None:
    """Serve the worker at the other end of a socket until it goes away."""
    channel_socket = socket.socket(fileno=descriptor)
    channel_socket.set_inheritable(False)  # what the handler starts must not keep it open
    sys.argv = sys.argv[:1]
    channel = Channel(channel_socket)
    hello = channel.receive()
    if hello is None:
        return
    assert isinstance(hello, Hello)
    sys.path[:] = hello.sys_path
    try:
        worker = load_worker(hello.target)
    except BaseException as error:  # importing runs the user's code
        text = "".join(traceback.format_exception(error))
        channel.send(Broken(cut_text(f"{type(error).__name__}: {error}\n{text}", 8_000)))
        return
    channel.send(Ready())
    current = Current()
    starts: SimpleQueue[Start] = SimpleQueue()
    Thread(target=listen, args=(channel, current, starts), daemon=True).start()
    while True:
        ending = run_one(channel, current, worker, starts.get())
        if not channel.is_ours:
            os._exit(0)  # a forked copy that came back from the handler: the job is not its to end
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the handler closed it
                stream.flush()
        channel.send(Ended(ending))


def listen(channel: Channel, current: Current, starts: "SimpleQueue[Start]") -> None:
    while True:
        try:
            message = channel.receive()
        except (OSError, msgspec.DecodeError):
            message = None
        if message is None:
            leave()
        if isinstance(message, Start):
            current.begin()
            starts.put(message)
        elif isinstance(message, Stop):
            current.stop(message.reason)


def leave() -> NoReturn:
    """End this process and everything in its group, whatever the handler is doing."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def run_one(channel: Channel, current: Current, worker: Worker, start: Start) -> Ending:
    assignment = Assignment(
        lease=start.lease,
        spec=msgspec.json.decode(start.spec, type=Spec),
        attempt=start.attempt,
        checkpoint=msgspec.Raw(start.checkpoint),
    )
    feed = ChannelFeed(channel)
    handler = worker.handlers[assignment.spec.type]
    reserved_mb = int(assignment.spec.requirements.get("memory_mb") or 0)
    with memory_limit(reserved_mb):
        ending = call(handler, assignment, feed, current)
    if ending.code == MEMORY_CODE and reserved_mb:
        ending.error = f"it needed more memory than the {reserved_mb} MB that the job reserves"
    return ending


@contextmanager
def memory_limit(more_mb: int) -> Iterator[None]:
    """Let this process grow by so much; 0: as it likes.

    What it may write to is bounded: stacks of threads count whole, what is only reserved does not.
    Source: setrlimit(2) on RLIMIT_DATA, since Linux 4.7.
    """
    if not more_mb:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    pages = int(Path("/proc/self/statm").read_text().split()[STATM_DATA])
    most = pages * resource.getpagesize() + more_mb * limits.MIB
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def call(handler: Handler, assignment: Assignment, feed: Feed, current: Current) -> Ending:
    if inspect.iscoroutinefunction(handler.function):
        return run_coroutine(handler, assignment, feed, current)
    context = Context(assignment, feed)
    current.enter(context)
    return call_plain(handler, context, assignment, feed)


def run_coroutine(handler: Handler, assignment: Assignment, feed: Feed, current: Current) -> Ending:
    import asyncio  # only here: most children never need it

    from headrace.worker.handlers_async import AsyncContext, call_async

    async def call() -> Ending:
        context = AsyncContext(assignment, feed, asyncio.get_running_loop())
        current.enter(context)
        return await call_async(handler, context, assignment, feed)

    return asyncio.run(call())
