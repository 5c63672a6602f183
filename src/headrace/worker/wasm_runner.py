"""Runs WASM jobs in a pool of warm sandbox processes.

The runner trusts no answer of a sandbox and waits for none: it kills the process when the job's
time is over, when the caller cancels, and when an answer makes no sense, and puts a fresh one in
its place. A sandbox that was killed, crashed, ran into a limit or has served many jobs is never
used again.

    take a process ─▶ Run ─▶ [Need ─▶ Run with bytes] ─▶ [Loaded] ─▶ Output… ─▶ Done ─▶ give back
                             └── compile deadline ──────┘└── job's timeout + grace ──┘
"""

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, cast

import msgspec

import headrace
from headrace.worker.wasm_cache import CacheUnsafeError, prepare_cache
from headrace.worker.wasm_protocol import (
    COMPILE_CPU_S_MAX,
    COMPILE_S_MAX,
    FRAME_BYTES_MAX,
    LENGTH,
    REPLY_BYTES_MAX,
    STDERR,
    STDOUT,
    STREAM_NAMES,
    Done,
    Loaded,
    Need,
    Output,
    Ready,
    Reply,
    Run,
)

Outcome = Literal["completed", "failed", "timeout"]
OutputCallback = Callable[[str, bytes], None]
StartCallback = Callable[[], None]
"""Called with "stdout" or "stderr" and bytes, on the event loop, while the job runs."""

TIMEOUT_GRACE_S: Final = 0.4
"""A sandbox ends a job at its deadline by itself; this long after it, it is killed. The contract
allows one second in all."""
START_S_MAX: Final = 30.0
JOBS_PER_PROCESS_MAX: Final = 1_000
RESTART_DELAYS_S: Final = (0.0, 0.1, 0.5, 2.0, 5.0)  # between starts that fail
MEMORY_BYTES_MAX: Final = 4 << 30  # all that a 32-bit memory can have
OUTPUT_BYTES_MAX: Final = 16 << 20  # held in this process, for each stream
ARGUMENT_BYTES_MAX: Final = 1 << 20  # arguments and environment together
STDIN_BYTES_MAX: Final = 8 << 20
CUT_MARK_BYTES: Final = 64  # what a sandbox may add to say that output was cut

assert STDIN_BYTES_MAX + ARGUMENT_BYTES_MAX * 4 < FRAME_BYTES_MAX

_LIMIT_CODES: Final = frozenset({"wasm_stack_overflow", "wasm_memory_limit", "wasm_table_limit"})


class SandboxError(Exception):
    """The runner itself cannot work: no process starts, or it is closed."""


class WasmJob(msgspec.Struct, frozen=True, kw_only=True):
    """What to run and within which bounds."""

    sha256: str  # of the module, hex
    module: bytes
    entry_point: str = "_start"
    name: str = "job"  # the program's name, argument zero
    arguments: list[str] = []
    environment: dict[str, str] = {}
    stdin: bytes = b""
    memory_mb: int = 64
    timeout_ms: int = 3_600_000  # from when the module is compiled
    output_bytes_max: int = 1 << 20  # for each stream


class WasmResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended. A guest that exits by itself has completed, with whatever exit code:
    whether that code means success is not the sandbox's to say."""

    outcome: Outcome
    exit_code: int | None = None
    code: str | None = None  # why it failed, for programs
    error: str | None = None  # why it failed, for people
    returned: list[int | float] = []  # what the entry point returned
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_bytes: int = 0  # written by the job; more than `stdout` holds when that was cut
    stderr_bytes: int = 0
    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    compile_ms: float = 0.0  # 0 when the module was in the sandbox's memory
    cache_hit: bool = False  # compiled code was in memory or on disk
    memory_peak_bytes: int | None = None  # of the module's own memory
    process_rss_bytes: int = 0  # of the sandbox process, at the end of the job


class WasmRunner:
    """A pool of sandbox processes. Made, started, used and closed on one event loop."""

    def __init__(
        self,
        cache_dir: Path,
        *,
        processes: int = 1,
        spares: int = 1,
        jobs_per_process: int = JOBS_PER_PROCESS_MAX,
    ) -> None:
        """Describe a pool.

        processes: jobs that run at the same time. spares: further warm processes, so that the
        job after a killed one starts at once.
        """
        assert processes > 0
        assert spares >= 0
        assert jobs_per_process > 0
        self._cache_dir = cache_dir.absolute()
        self._warm_wanted = processes + spares
        self._jobs_per_process = jobs_per_process
        self._slots = asyncio.Semaphore(processes)
        self._idle: list[_Process] = []  # the last one used is taken first: its caches are warm
        self._waiters: deque[asyncio.Future[_Process]] = deque()
        self._alive: set[_Process] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._started = False
        self._closed = False

    async def start(self) -> None:
        """Start the processes and wait until one job could run.

        Raises: SandboxError.
        """
        try:
            await asyncio.to_thread(prepare_cache, self._cache_dir)
        except (CacheUnsafeError, OSError) as error:
            raise SandboxError(f"compiled-code cache: {error}") from error
        await self._start_one()
        self._started = True
        self._replenish()

    async def close(self) -> None:
        """End all processes and wait until they are gone. Jobs still running raise SandboxError."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(SandboxError("the runner was closed"))
        starting = list(self._starting)
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)
        gone = [process.gone.wait() for process in self._alive]
        for process in list(self._alive):
            process.fail(SandboxError("the runner was closed"))
            process.kill()
        await asyncio.gather(*gone)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def wall(self) -> list[str]:
        """What the kernel enforces on every process beside rlimits, such as "seccomp"."""
        walls = [set(process.wall) for process in self._alive if process.warm]
        return sorted(set.intersection(*walls)) if walls else []

    @property
    def pids(self) -> list[int]:
        """The processes alive now, for tests and for the operator."""
        return sorted(process.pid for process in self._alive)

    @property
    def warm_pids(self) -> list[int]:
        """The processes that are ready for jobs or have one."""
        return sorted(process.pid for process in self._alive if process.warm and process.usable)

    @property
    def running_pids(self) -> list[int]:
        """The processes that have a job now."""
        return sorted(process.pid for process in self._alive if process.busy)

    async def run(
        self,
        job: WasmJob,
        on_output: OutputCallback | None = None,
        on_start: StartCallback | None = None,
    ) -> WasmResult:
        """Run one job to its end, waiting for a free process first.

        `on_start` is called when the module is loaded and the job's time begins.

        Cancelling the task kills the job's process at once. An exception from `on_output` ends
        the job and is raised here.
        Raises: SandboxError.
        """
        assert self._started, "a runner is started before it is given jobs"
        problem = _job_problem(job)
        if problem is not None:
            return WasmResult(outcome="failed", code="job_invalid", error=problem)
        async with self._slots:
            if self._closed:
                raise SandboxError("the runner is closed")
            process = await self._take_process()
            try:
                return await process.run(job, on_output, on_start)
            finally:
                self._give_back(process)

    # Processes.

    async def _take_process(self) -> "_Process":
        """Take the process used last, or wait for the next one that becomes free."""
        while self._idle:
            process = self._idle.pop()
            if process.usable:
                return process
        waiter: asyncio.Future[_Process] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())  # it came too late for this job
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(waiter)

    def _offer(self, process: "_Process") -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(process)
                return
        self._idle.append(process)

    def _give_back(self, process: "_Process") -> None:
        if process.usable and process.jobs < self._jobs_per_process and not self._closed:
            self._offer(process)
        else:
            process.kill()
            self._replenish()

    def _replenish(self) -> None:
        warm = sum(process.warm and process.usable for process in self._alive)
        missing = self._warm_wanted - warm - len(self._starting)
        for _ in range(missing if not self._closed else 0):
            self._starting.add(asyncio.get_running_loop().create_task(self._start_in_background()))

    async def _start_in_background(self) -> None:
        """Start one process, however often it takes: waiting jobs depend on it."""
        failures = 0
        while True:
            await asyncio.sleep(RESTART_DELAYS_S[min(failures, len(RESTART_DELAYS_S) - 1)])
            try:
                await self._start_one()
            except SandboxError:
                failures += 1
            else:
                # In the same step as the process became warm, so that none is counted twice.
                self._starting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
                return

    async def _start_one(self) -> None:
        loop = asyncio.get_running_loop()
        process = _Process(self._process_gone)
        program = [sys.executable, "-P", "-s", "-m", "headrace.worker.wasm_child"]
        try:
            await loop.subprocess_exec(
                lambda: process,
                *program,
                str(self._cache_dir),
                str(os.getpid()),
                stderr=asyncio.subprocess.DEVNULL,
                close_fds=True,
                start_new_session=True,  # an interrupt from the terminal is for the worker
                cwd="/",
                env={"PYTHONPATH": str(Path(headrace.__file__).parent.parent), "LC_ALL": "C.UTF-8"},
            )
        except OSError as error:
            raise SandboxError(f"no sandbox process starts: {error}") from error
        self._alive.add(process)
        try:
            async with asyncio.timeout(START_S_MAX):
                await process.ready
        except (TimeoutError, asyncio.CancelledError) as error:
            process.kill()
            if isinstance(error, TimeoutError):
                raise SandboxError("a sandbox process did not get ready in time") from error
            raise
        process.warm = True
        self._offer(process)

    def _process_gone(self, process: "_Process") -> None:
        self._alive.discard(process)
        if process in self._idle:
            self._idle.remove(process)
            self._replenish()


class _Process(asyncio.SubprocessProtocol):
    """One sandbox process, seen from the runner."""

    def __init__(self, on_gone: "Callable[[_Process], None]") -> None:
        self.gone = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(_retrieve)
        self.warm = False  # True from when it is in the pool
        self.usable = True  # False from the first sign that it should not get another job
        self.wall: list[str] = []
        self.jobs = 0
        self.pid = 0
        self._on_gone = on_gone
        self._modules: set[str] = set()  # that it was given; it may have dropped some
        self._unread = bytearray()
        self._decoder = msgspec.msgpack.Decoder(Reply)
        self._encoder = msgspec.msgpack.Encoder()
        # Of the job that runs:
        self._job: WasmJob | None = None
        self._on_output: OutputCallback | None = None
        self._on_start: StartCallback | None = None
        self._done: asyncio.Future[WasmResult] | None = None
        self._loading = False
        self._loaded: Loaded | None = None
        self._killed_for: str | None = None
        self._started_s = 0.0  # on the loop's clock
        self._deadline: tuple[float, str] | None = None  # when, and what it means
        self._timer: asyncio.TimerHandle | None = None
        self._kept: dict[int, list[bytes]] = {}
        self._kept_bytes: dict[int, int] = {}

    @property
    def busy(self) -> bool:
        return self._done is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        self.pid = self._transport.get_pid()

    async def run(
        self, job: WasmJob, on_output: OutputCallback | None, on_start: StartCallback | None
    ) -> WasmResult:
        assert self._done is None, "one job at a time"
        self._job = job
        self._on_output = on_output
        self._on_start = on_start
        self._done = self._loop.create_future()
        self._loading = job.sha256 not in self._modules
        self._loaded = None
        self._kept = {STDOUT: [], STDERR: []}
        self._kept_bytes = {STDOUT: 0, STDERR: 0}
        self.jobs += 1
        if self.gone.is_set():
            self._crashed()
        else:
            self._send(with_module=self._loading)
        try:
            return await self._done
        except BaseException:
            self.kill()
            raise
        finally:
            self._deadline = None
            self._job = self._on_output = self._on_start = self._done = None

    def _send(self, *, with_module: bool) -> None:
        assert self._job is not None
        job = self._job
        run = Run(
            job.sha256,
            job.module if with_module else None,
            job.entry_point,
            [job.name, *job.arguments],
            list(job.environment.items()),
            job.stdin,
            min(job.memory_mb << 20, MEMORY_BYTES_MAX),
            job.timeout_ms,
            job.output_bytes_max,
        )
        frame = bytearray(LENGTH.size)
        self._encoder.encode_into(run, frame, LENGTH.size)
        LENGTH.pack_into(frame, 0, len(frame) - LENGTH.size)
        self._stdin.write(frame)
        if with_module:
            self._set_deadline(COMPILE_S_MAX, "module_compile_limit")
        else:
            self._start_job_time(job)

    # What the process says.

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        unread = self._unread
        unread += data
        at = 0
        try:
            while len(unread) - at >= LENGTH.size:
                size = LENGTH.unpack_from(unread, at)[0]
                if size > REPLY_BYTES_MAX:
                    raise _ProtocolError("a frame is too long")
                end = at + LENGTH.size + size
                if len(unread) < end:
                    break
                reply = self._decoder.decode(bytes(unread[at + LENGTH.size : end]))
                at = end
                self._receive(reply)
        except (_ProtocolError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._killed_for = "sandbox_crashed"
            self.kill()
            at = len(unread)
        del unread[:at]

    def _receive(self, reply: Reply) -> None:
        if isinstance(reply, Ready):
            self.wall = reply.wall
            if self.ready.done():
                raise _ProtocolError("it was ready before")
            if reply.problem:
                self.usable = False
                self.ready.set_exception(SandboxError(reply.problem))
            else:
                self.ready.set_result(None)
            return
        job = self._job
        if job is None or self._done is None or self._done.done():
            if self.usable:
                raise _ProtocolError("it speaks although nobody asked")
            return  # the end of a job that was given up
        if isinstance(reply, Done):
            self._take_output(job, reply.chunks)
            self._finish(job, reply)
        elif isinstance(reply, Output):
            self._take_output(job, reply.chunks)
        elif isinstance(reply, Loaded):
            self._loading = False
            self._loaded = reply
            self._modules.add(job.sha256)
            self._start_job_time(job)
        else:
            assert isinstance(reply, Need)
            if self._loading:
                raise _ProtocolError("it has the bytes")
            self._loading = True
            self._modules.discard(job.sha256)
            self._send(with_module=True)

    def _take_output(self, job: WasmJob, chunks: list[tuple[int, bytes]]) -> None:
        for stream, data in chunks:
            if stream not in self._kept:
                raise _ProtocolError("there is no such stream")
            self._kept_bytes[stream] += len(data)
            if self._kept_bytes[stream] > job.output_bytes_max + CUT_MARK_BYTES:
                raise _ProtocolError("it sends more output than asked for")
            self._kept[stream].append(data)
            if self._on_output is not None:
                try:
                    self._on_output(STREAM_NAMES[stream], data)
                except Exception as error:
                    self.fail(error)
                    self.kill()
                    return

    def _finish(self, job: WasmJob, done: Done) -> None:
        if self._done is None or self._done.done():
            return
        if done.outcome not in ("completed", "failed", "timeout"):
            raise _ProtocolError("there is no such outcome")
        if done.outcome == "timeout" or done.code in _LIMIT_CODES:
            self.usable = False
        loaded = self._loaded
        self._done.set_result(
            WasmResult(
                outcome=cast("Outcome", done.outcome),
                exit_code=done.exit_code,
                code=done.code,
                error=done.error,
                returned=done.returned,
                stdout=b"".join(self._kept[STDOUT]),
                stderr=b"".join(self._kept[STDERR]),
                stdout_bytes=done.stdout_bytes,
                stderr_bytes=done.stderr_bytes,
                wall_ms=done.wall_ms,
                cpu_ms=done.cpu_ms,
                compile_ms=loaded.compile_ms if loaded is not None else 0.0,
                cache_hit=loaded.cache_hit if loaded is not None else not self._loading,
                memory_peak_bytes=done.memory_peak_bytes,
                process_rss_bytes=done.process_rss_bytes,
            )
        )

    # Ends.

    def kill(self) -> None:
        """End the process now; nothing it says afterwards counts."""
        self.usable = False
        if not self.gone.is_set():
            with contextlib.suppress(ProcessLookupError):
                self._transport.kill()

    def fail(self, error: Exception) -> None:
        """End the job, if one runs, with an exception."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)

    def process_exited(self) -> None:
        self.usable = False
        if self._timer is not None:
            self._timer.cancel()
        self.gone.set()
        if not self.ready.done():
            status = self._transport.get_returncode()
            self.ready.set_exception(
                SandboxError(f"a sandbox process ended at its start, {_status_text(status)}")
            )
        self._on_gone(self)

    def connection_lost(self, exc: Exception | None) -> None:
        # Comes after `process_exited` and after all output was read, so that output is kept.
        self._crashed()

    def _crashed(self) -> None:
        if self._done is None or self._done.done() or self._job is None:
            return
        stdout, stderr = b"".join(self._kept[STDOUT]), b"".join(self._kept[STDERR])
        status = _status_text(self._transport.get_returncode())
        outcome: Outcome = "failed"
        code = self._killed_for or "sandbox_crashed"
        error = f"the sandbox process ended, {status}"
        if code == "timeout":
            outcome = "timeout"
            error = f"the job ran longer than {self._job.timeout_ms} ms and was killed"
        elif self._loading:
            code = "module_compile_limit"
            error = (
                f"compiling the module took more than {COMPILE_CPU_S_MAX} s of processor time, "
                f"{COMPILE_S_MAX} s in all, or too much memory"
            )
        self._done.set_result(
            WasmResult(
                outcome=outcome,
                code=code,
                error=error,
                stdout=stdout,
                stderr=stderr,
                stdout_bytes=len(stdout),
                stderr_bytes=len(stderr),
                wall_ms=0.0 if self._loading else (self._loop.time() - self._started_s) * 1_000,
                compile_ms=self._loaded.compile_ms if self._loaded is not None else 0.0,
            )
        )

    # One deadline at a time: until the module is compiled, or until the job's end.

    def _start_job_time(self, job: WasmJob) -> None:
        self._started_s = self._loop.time()
        if self._on_start is not None:
            on_start, self._on_start = self._on_start, None
            on_start()
        self._set_deadline(job.timeout_ms / 1_000 + TIMEOUT_GRACE_S, "timeout")

    def _set_deadline(self, delay_s: float, reason: str) -> None:
        """Kill the process then. A timer that is still set for an earlier time is kept and looks
        again when it fires, so a run of short jobs sets none."""
        now = self._loop.time()
        self._deadline = (now + delay_s, reason)
        if self._timer is None or self._timer.when() > now + delay_s:
            self._set_timer(now + delay_s)

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at_s, self._time_over)

    def _time_over(self) -> None:
        self._timer = None
        if self._deadline is None or self.gone.is_set():
            return
        at_s, reason = self._deadline
        if self._loop.time() < at_s:
            self._set_timer(at_s)
            return
        self._killed_for = reason
        self.kill()


class _ProtocolError(Exception):
    """A sandbox said something it never says; it is no longer ours."""


def _retrieve(future: asyncio.Future[None]) -> None:
    """Take note of an exception that nobody may be waiting for."""
    if not future.cancelled():
        future.exception()


def _status_text(status: int | None) -> str:
    if status is None:
        return "status unknown"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def _job_problem(job: WasmJob) -> str | None:
    """Say what a sandbox could not be told, or None."""
    texts = [job.name, job.entry_point, *job.arguments]
    for name, value in job.environment.items():
        if not name or "=" in name:
            return "an environment variable's name is empty or contains '='"
        texts += (name, value)
    text = "".join(texts)
    if "\0" in text:
        return "an argument or an environment variable contains a NUL character"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "an argument or an environment variable is not Unicode text"
    if size > ARGUMENT_BYTES_MAX:
        return f"arguments and environment have {size} bytes; {ARGUMENT_BYTES_MAX} are allowed"
    if len(job.stdin) > STDIN_BYTES_MAX:
        return f"the input has {len(job.stdin)} bytes; {STDIN_BYTES_MAX} are allowed"
    if not 0 <= job.output_bytes_max <= OUTPUT_BYTES_MAX:
        return f"the output bound is not within 0 and {OUTPUT_BYTES_MAX} bytes"
    if job.memory_mb < 1 or job.timeout_ms < 1:
        return "memory and timeout must be positive"
    return None
