"""Runs Python handlers: coroutines in a loop, functions in threads, functions in child processes.

Everything here is called on the agent's own event loop, which no handler ever runs on. How an
attempt is stopped differs:

    async    its task is cancelled; it sees CancelledError at its next await
    thread   only asked: it goes on until it looks at `ctx.should_stop()` or ends
    process  the child and everything it started are killed
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Final

from headrace.worker.attempt import Assignment, Ending, StopReason
from headrace.worker.handlers import Context, Feed, Handler, call_plain
from headrace.worker.handlers_async import AsyncContext, call_async

THREAD_IDLE_S: Final = 60.0


class Run(ABC):
    """One attempt in progress."""

    ended: "asyncio.Future[Ending]"
    """Set when nothing of the attempt runs any more."""

    @abstractmethod
    def ask_stop(self, reason: StopReason) -> None:
        """Tell the code; it may finish in its own way."""

    @abstractmethod
    def kill(self) -> None:
        """End it by the hardest means there are. May be called more than once."""


class AsyncRun(Run):
    """A coroutine in the handlers' loop, which is not the agent's."""

    def __init__(
        self,
        handler: Handler,
        assignment: Assignment,
        feed: Feed,
        handlers_loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._handlers_loop = handlers_loop
        self.ended = self._loop.create_future()
        self._context = AsyncContext(assignment, feed, Event(), handlers_loop)
        self._call = call_async(handler, self._context, assignment, feed)
        self._task: asyncio.Task[None] | None = None
        self._killed = False
        handlers_loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        if self._killed:
            self._call.close()
            self._tell(Ending(outcome="stopped"))
            return
        self._task = self._handlers_loop.create_task(self._whole())

    async def _whole(self) -> None:
        self._tell(await self._call)

    def _tell(self, ending: Ending) -> None:
        call_in(self._loop, lambda: set_once(self.ended, ending))

    def ask_stop(self, reason: StopReason) -> None:
        self._context.ask_stop(reason)

    def kill(self) -> None:
        self._killed = True
        call_in(self._handlers_loop, self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class ThreadRun(Run):
    """A function in a thread of the pool. It cannot be killed."""

    def __init__(
        self, handler: Handler, assignment: Assignment, feed: Feed, pool: "ThreadPool"
    ) -> None:
        loop = asyncio.get_running_loop()
        self.ended = loop.create_future()
        self._context = Context(assignment, feed, Event())

        def whole() -> None:
            ending = call_plain(handler, self._context, assignment, feed)
            call_in(loop, lambda: set_once(self.ended, ending))

        pool.submit(whole)

    def ask_stop(self, reason: StopReason) -> None:
        self._context.ask_stop(reason)

    def kill(self) -> None:
        """Nothing: Python has no way to end a thread. The agent keeps its slot reserved."""


class ThreadPool:
    """Daemon threads, as many as there is work; a stuck one does not keep the process alive.

    Idle ones end after `THREAD_IDLE_S`. The caller bounds the work.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()
        self._idle = 0

    def submit(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._work.put(call)
                return
        Thread(target=self._run, args=(call,), name="headrace-handler", daemon=True).start()

    def _run(self, call: Callable[[], None]) -> None:
        while True:
            call()
            del call  # it holds the job
            with self._lock:
                self._idle += 1
            try:
                call = self._work.get(timeout=THREAD_IDLE_S)
            except Empty:
                with self._lock:
                    if self._idle:
                        self._idle -= 1
                        return
                call = self._work.get()  # it was counted on in the meantime


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
    """Call in another thread's loop; nothing happens when that loop is closed."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        if not loop.is_closed():
            raise


def set_once(future: "asyncio.Future[Ending]", ending: Ending) -> None:
    if not future.done():
        future.set_result(ending)
