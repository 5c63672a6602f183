"""Child processes for Python handlers: started by exec, reused while they behave, killed at once.

A child runs one job at a time. One that was killed, crashed or has run many jobs is not used
again. Killing means SIGKILL to the child's process group, so what the handler started goes too.
"""

import asyncio
import codecs
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

import headrace
from headrace.worker.attempt import Assignment, Ending, StopReason, defect, failed
from headrace.worker.handlers import MEMORY_CODE, Feed
from headrace.worker.python_protocol import (
    FRAME_BYTES_MAX,
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
from headrace.worker.python_runner import Run, set_once

JOBS_PER_CHILD_MAX: Final = 1_000
"""Then a fresh one, so that what handlers leak has an end."""
CHILD_START_S_MAX: Final = 60.0
CHILD_IDLE_S: Final = 60.0
OUTPUT_READ_BYTES: Final = 64 << 10
OUTPUT_READS_MAX: Final = 16
"""In one turn of the loop: a handler that prints without end must not have it for itself."""
PACKAGE_PARENT: Final = str(Path(headrace.__file__).resolve().parent.parent)
BOOTSTRAP: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from headrace.worker.python_child import main; main(int(sys.argv[2]))"
)
"""Finds this very package, whatever `PYTHONPATH` says."""
WITHHELD: Final = ("HEADRACE_API_KEY", "HEADRACE_API_KEY_FILE")
"""Of the worker's environment, what handlers do not get: its key may do more than any job may."""


class ChildBrokenError(Exception):
    """No child gets ready: the worker's module cannot be imported, or no process starts."""


class ChildPool:
    """The children of one worker module. Used on one event loop."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._idle: list[Child] = []
        self._alive: set[Child] = set()
        self._closed = False

    async def take(self) -> "Child":
        """Return an idle child, or a new one. Raises: ChildBrokenError."""
        while self._idle:
            child = self._idle.pop()
            child.busy()
            if child.usable:
                return child
        child = Child(self._target, self._gone)
        self._alive.add(child)
        try:
            async with asyncio.timeout(CHILD_START_S_MAX):
                await child.start()
        except TimeoutError:
            child.kill()
            raise ChildBrokenError("a child process did not get ready in time") from None
        except BaseException:
            child.kill()
            raise
        return child

    def give_back(self, child: "Child") -> None:
        if child.usable and child.jobs < JOBS_PER_CHILD_MAX and not self._closed:
            self._idle.append(child)
            child.idle(CHILD_IDLE_S)
        else:
            child.kill()

    def _gone(self, child: "Child") -> None:
        self._alive.discard(child)
        if child in self._idle:
            self._idle.remove(child)

    @property
    def pids(self) -> list[int]:
        """The processes alive now, for tests and for the operator."""
        return sorted(child.pid for child in self._alive if child.pid)

    async def close(self) -> None:
        """Kill all children and wait until they are gone."""
        self._closed = True
        children = list(self._alive)
        for child in children:
            child.kill()
        await asyncio.gather(*(child.gone.wait() for child in children))


class Child:
    """One process, seen from the worker."""

    def __init__(self, target: str, on_gone: "Callable[[Child], None]") -> None:
        self.usable = True
        self.jobs = 0
        self.pid = 0
        self.gone = asyncio.Event()
        """Set when the process has been reaped."""
        self.exit_status: int | None = None
        self._target = target
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._feed: Feed | None = None
        self._decoder: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)
        self._idle_timer: asyncio.TimerHandle | None = None
        self._output = -1
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and wait until the worker's module is imported there.

        Raises: ChildBrokenError.
        """
        ours, theirs = socket.socketpair()
        output, output_end = os.pipe()
        try:
            with theirs:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, fixed arguments
                    [sys.executable, "-c", BOOTSTRAP, PACKAGE_PARENT, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=output_end,
                    stderr=output_end,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # a group of its own, away from the terminal's signals
                    env={k: v for k, v in os.environ.items() if k not in WITHHELD},
                )
        except OSError as error:
            ours.close()
            os.close(output)
            raise ChildBrokenError(f"no child process starts: {error}") from error
        finally:
            os.close(output_end)
        self.pid = self._process.pid
        self._output = output
        os.set_blocking(output, False)
        self._loop.add_reader(output, self._read_output)
        self._reader, self._writer = await asyncio.open_connection(sock=ours)
        self._reaper = self._loop.create_task(self._reap())
        self._send(Hello(self._target, sys.path))
        answer = await self._receive()
        if isinstance(answer, Broken):
            raise ChildBrokenError(f"the worker's module cannot be imported: {answer.error}")
        if not isinstance(answer, Ready):
            await self.gone.wait()
            raise ChildBrokenError(f"a child process ended at its start, {self.status_text()}")

    async def run(self, assignment: Assignment, feed: Feed) -> Ending:
        """Run one job to its end, however that comes."""
        self.jobs += 1
        self._feed = feed
        self._text.reset()
        checkpoint: bytes | None = None
        try:
            self._send(
                Start(
                    assignment.lease,
                    msgspec.json.encode(assignment.spec),
                    assignment.attempt,
                    bytes(assignment.checkpoint),
                )
            )
            while True:
                message = await self._receive()
                if isinstance(message, Progress):
                    feed.progress(message.fraction, message.details)
                elif isinstance(message, Log):
                    self._read_output()  # printed before
                    feed.log(message.text)
                elif isinstance(message, Saved):
                    checkpoint = message.value
                    feed.checkpoint(message.value)
                elif isinstance(message, Emitted):
                    feed.emit(message.name, message.data)
                elif isinstance(message, Ended):
                    self._read_output()
                    ending = message.ending
                    if ending.code == MEMORY_CODE:
                        self.kill()  # who knows what could not be made in there
                    break
                else:
                    was_killed = not self.usable
                    self.kill()
                    await self.gone.wait()
                    self._read_output()
                    ending = (
                        Ending(outcome="stopped")
                        if was_killed
                        else failed(
                            f"the handler's process ended, {self.status_text()}", "handler_crashed"
                        )
                    )
                    break
            if ending.checkpoint is None:
                ending.checkpoint = checkpoint
            return ending
        finally:
            self._feed = None

    def ask_stop(self, reason: StopReason) -> None:
        self._send(Stop(reason))

    def kill(self) -> None:
        """End the process and its group now."""
        self.usable = False
        self.busy()
        if self._process is not None and not self.gone.is_set():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif self._process is None:
            self._end()

    def idle(self, idle_s: float) -> None:
        self._idle_timer = self._loop.call_later(idle_s, self.kill)

    def busy(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def status_text(self) -> str:
        status = self.exit_status
        if status is None:
            return "status unknown"
        return f"killed by signal {-status}" if status < 0 else f"exit status {status}"

    # Inside.

    def _send(self, message: ToChild) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame(message))

    async def _receive(self) -> FromChild | None:
        """Wait for a frame; None when the process is gone or talks nonsense."""
        try:
            size = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))[0]
            if size > FRAME_BYTES_MAX:
                return None
            return self._decoder.decode(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError):
            return None

    def _read_output(self) -> None:
        """Take what the handler printed, into the job's log."""
        for _ in range(OUTPUT_READS_MAX):
            if self._output < 0:
                return
            try:
                data = os.read(self._output, OUTPUT_READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close_output()
                return
            if self._feed is not None:
                text = self._text.decode(data)
                if text:
                    self._feed.log(text)

    def _close_output(self) -> None:
        if self._output >= 0:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = -1

    async def _reap(self) -> None:
        assert self._process is not None
        process = self._process
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        else:
            exited = self._loop.create_future()
            self._loop.add_reader(descriptor, _resolve, exited)
            try:
                await exited
            finally:
                self._loop.remove_reader(descriptor)
                os.close(descriptor)
        # While the process is not reaped its number, and so the group's, is nobody else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        self.exit_status = process.wait()
        self._end()

    def _end(self) -> None:
        self.usable = False
        self._read_output()
        self._close_output()
        if self._process is not None:
            self._writer.close()
        self.gone.set()
        self._on_gone(self)


class ProcessRun(Run):
    """One attempt in a child."""

    def __init__(self, assignment: Assignment, feed: Feed, pool: ChildPool) -> None:
        self.ended = asyncio.get_running_loop().create_future()
        self._pool = pool
        self._child: Child | None = None
        self._killed = False
        self._reason: StopReason | None = None
        self._task = asyncio.get_running_loop().create_task(self._whole(assignment, feed))

    async def _whole(self, assignment: Assignment, feed: Feed) -> None:
        try:
            ending = await self._execute(assignment, feed)
        except ChildBrokenError as error:
            ending = failed(str(error), "worker_broken")
        except Exception as error:  # an attempt that never ends would hold its slot for ever
            ending = defect(error)
        set_once(self.ended, ending)

    async def _execute(self, assignment: Assignment, feed: Feed) -> Ending:
        child = await self._pool.take()
        if self._killed:
            self._pool.give_back(child)
            return Ending(outcome="stopped")
        self._child = child
        try:
            running = child.run(assignment, feed)
            if self._reason is not None:
                asyncio.get_running_loop().call_soon(child.ask_stop, self._reason)
            return await running
        finally:
            self._child = None
            self._pool.give_back(child)

    def ask_stop(self, reason: StopReason) -> None:
        self._reason = reason
        if self._child is not None:
            self._child.ask_stop(reason)

    def kill(self) -> None:
        self._killed = True
        if self._child is not None:
            self._child.kill()


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
