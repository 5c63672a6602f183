"""Runs Python handlers: coroutines in a loop, functions in threads, functions in child processes.

Everything here is called on the agent's own event loop, which no handler ever runs on. How an
attempt is stopped differs:

    async    its task is cancelled; it sees CancelledError at its next await
    thread   only asked: it goes on until it looks at `ctx.should_stop()` or ends
    process  the child and everything it started are killed
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from threading import Condition, Lock, Thread
from typing import Final

from headrace.worker.attempt import Assignment, Ending, StopReason
from headrace.worker.exits import leave
from headrace.worker.handlers import Context, Feed, Handler, JobFeed, call_plain
from headrace.worker.handlers_async import AsyncContext, call_async

THREAD_IDLE_S: Final = 60.0
AHEAD_S: Final = 0.005
"""So much work may wait for the threads."""
AHEAD_MAX: Final = 256
AHEAD_RUN_S_MIN: Final = 20e-6
"""No job takes less, with all that is around it."""
AHEAD_UP: Final = 1.3
AHEAD_DOWN: Final = AHEAD_UP ** (-1 / 3)
"""One job that was longer outweighs three that were shorter."""
AHEAD_WAIT_S_MAX: Final = 0.1
"""A job that was taken ahead and found no thread for so long is given back."""


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
        self._context = AsyncContext(assignment, feed, handlers_loop)
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
    """A function in a thread of the pool. It cannot be killed once it has begun."""

    def __init__(
        self, handler: Handler, assignment: Assignment, feed: JobFeed, pool: "ThreadPool"
    ) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self.taken_s = time.monotonic()
        self.run_s = 0.0
        """How long the function took."""
        self._handler = handler
        self._assignment = assignment
        self._context = Context(assignment, feed)
        self._feed = feed
        self._turn = [True]
        """Whoever pops it decides: the thread, that it begins; `kill`, that it never does."""
        self._pool = pool
        pool.submit(self)

    def whole(self) -> None:
        """The thread's part."""
        try:
            self._turn.pop()
        except IndexError:
            return
        begun_s = time.monotonic()
        ending = call_plain(self._handler, self._context, self._assignment, self._feed)
        self.run_s = time.monotonic() - begun_s
        self._pool.ended(self, ending)

    @property
    def waits(self) -> bool:
        """Whether no thread has taken it up yet."""
        return bool(self._turn)

    def tell_start(self) -> None:
        """Say that a thread has taken it up. Not the thread's to do: most jobs end before anybody
        would look."""
        self._feed.started()

    def ask_stop(self, reason: StopReason) -> None:
        self._context.ask_stop(reason)

    def kill(self) -> None:
        """Nothing, once it has begun: Python has no way to end a thread. The agent keeps its slot
        reserved."""
        try:
            self._turn.pop()
        except IndexError:
            return
        set_once(self.ended, Ending(outcome="stopped"))


class ThreadPool:
    """Daemon threads, as many as there is work, up to a bound; a stuck one does not keep the
    process alive. Idle ones end after `THREAD_IDLE_S`. Made on the loop that hears of the endings.
    """

    def __init__(self, threads_max: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads_max = threads_max
        self._pid = os.getpid()
        self._work: deque[ThreadRun] = deque()
        self._there_is_work = Condition(Lock())
        self._threads = 0
        self._idle = 0
        self._wake_due = False
        self._endings: deque[tuple[ThreadRun, Ending]] = deque()
        self._told = False
        """The loop knows that there are endings."""

    def submit(self, run: ThreadRun) -> None:
        """Have a thread run it. Threads are woken for all that comes in a turn of the loop
        together: one that is awake takes the interpreter from the loop."""
        self._work.append(run)
        if not self._wake_due:
            self._wake_due = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._wake_due = False
        with self._there_is_work:
            waiting = len(self._work)
            self._there_is_work.notify(waiting)
            # What is more than there are threads, those take that get done.
            new = max(0, min(waiting - self._idle, self._threads_max - self._threads))
            self._threads += new
        for _ in range(new):
            Thread(target=self._run, name="headrace-handler", daemon=True).start()

    def ended(self, run: ThreadRun, ending: Ending) -> None:
        """Tell the loop; many that end at once are told together."""
        self._endings.append((run, ending))
        if not self._told:
            self._told = True
            call_in(self._loop, self._tell)

    def _tell(self) -> None:
        self._told = False
        while self._endings:
            run, ending = self._endings.popleft()
            set_once(run.ended, ending)

    def _run(self) -> None:
        while True:
            with self._there_is_work:
                while not self._work:
                    self._idle += 1
                    woken = self._there_is_work.wait(THREAD_IDLE_S)
                    self._idle -= 1
                    if not woken and not self._work:
                        self._threads -= 1
                        return
                run = self._work.popleft()
            run.whole()
            if os.getpid() != self._pid:
                leave(0)  # a copy that came back from the handler: no more jobs are its to run
            del run  # it holds the job


class Ahead:
    """How many jobs may be here before there is a thread for them.

    Short jobs would each wait for a poll otherwise. So many are taken ahead as threads get done
    within `AHEAD_S`, by how long jobs took of late: a job that comes meanwhile, however urgent,
    waits no longer than that. None, when jobs are long.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self.doubt()

    def doubt(self) -> None:
        """Take jobs one by one, until some dozens were short: at the start, and when some that were
        taken ahead found no thread."""
        self._run_s = AHEAD_S * AHEAD_MAX  # three of four jobs took less of late

    def note(self, run_s: float) -> None:
        # A quantile, not a mean: a thread that waits for the interpreter once is no long job.
        self._run_s *= AHEAD_UP if run_s > self._run_s else AHEAD_DOWN

    @property
    def jobs(self) -> int:
        return min(AHEAD_MAX, int(self._threads * AHEAD_S / max(self._run_s, AHEAD_RUN_S_MIN)))


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
