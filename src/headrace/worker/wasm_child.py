"""The sandbox process: takes one WASM job at a time from its runner and answers with the outcome.

Started as `python -m headrace.worker.wasm_child CACHE_DIR PARENT_PID`, never forked. It reads
frames (`wasm_protocol`) on file descriptor 0 and answers on descriptor 1; both are moved away and
replaced by /dev/null before any guest runs, and every other descriptor is closed. When the runner
goes away the kernel kills this process.

One engine, and a fresh store for each job that is thrown away whatever happened in it. A guest is
stopped by an epoch deadline; what epochs cannot stop (a guest waiting in a host call) the runner
stops by killing this process.
"""

import contextlib
import ctypes
import gc
import hashlib
import os
import platform
import resource
import signal
import struct
import sys
import threading
import time
from collections import OrderedDict
from ctypes import byref
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec
import wasmtime
from wasmtime import _ffi as capi  # the C API: half the cost of a call through `wasmtime.Func`

from headrace.wire.wasm import ENGINE_FEATURES, ModuleInfo, ModuleRefused, inspect_module
from headrace.worker import wasm_wall
from headrace.worker.wasm_cache import CacheUnsafeError, CompiledCache
from headrace.worker.wasm_protocol import (
    COMPILE_CPU_S_MAX,
    ERROR_CHARS_MAX,
    FLUSH_BYTES,
    FLUSH_S,
    FRAME_BYTES_MAX,
    LENGTH,
    STDERR,
    STDOUT,
    Done,
    Loaded,
    Need,
    Output,
    Ready,
    Reply,
    Run,
)

WASMTIME_VERSION: Final = version("wasmtime")
STACK_BYTES_MAX: Final = 512 << 10
TABLE_ELEMENTS_MAX: Final = 10_000
MODULES_KEPT_MAX: Final = 32
MODULE_BYTES_KEPT_MAX: Final = 32 << 20  # of WASM; compiled code is about three times that
OPEN_FILES_MAX: Final = 64
FILE_BYTES_MAX: Final = 128 << 20  # only the compiled-code cache is ever written
ADDRESS_BYTES_MAX: Final = 12 << 30  # one memory alone reserves 4 GiB of addresses
COMPILE_DATA_BYTES_MAX: Final = 1 << 30
HOST_DATA_BYTES_MAX: Final = 256 << 20  # compiled code and buffers, beside the job's own memory
CPU_GRACE_S: Final = 5
CUT_MARK: Final = b"\n[output cut here]\n"

_INBOUND: Final = 3
_OUTBOUND: Final = 4
_STATM: Final = 5  # /proc/self/statm stays open: reading it is part of every answer
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITY_VERSION_3: Final = 0x2008_0522  # of linux/capability.h
_WASM_VALUE_FIELDS: Final = {0: "i32", 1: "i64", 2: "f32", 3: "f64"}  # the C API's kinds


class Channel:
    """The two descriptors to the runner. Frames may be sent from both threads."""

    def __init__(self, inbound: int, outbound: int) -> None:
        self._inbound = inbound
        self._outbound = outbound
        self._unread = bytearray()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Run)
        self._lock = threading.Lock()

    def receive(self) -> Run | None:
        """Wait for the next job; None when the runner has gone."""
        unread = self._unread
        wanted = LENGTH.size
        body_known = False
        while True:
            if len(unread) < wanted:
                data = os.read(self._inbound, max(wanted - len(unread), 1 << 16))
                if not data:
                    return None
                unread += data
            elif body_known:
                run = self._decoder.decode(memoryview(unread)[LENGTH.size : wanted])
                self._unread = unread[wanted:]
                return run
            else:
                body_bytes = LENGTH.unpack_from(unread)[0]
                assert body_bytes <= FRAME_BYTES_MAX, "the runner bounds its frames"
                wanted += body_bytes
                body_known = True

    def send(self, reply: Reply) -> None:
        frame = bytearray(LENGTH.size)
        self._encoder.encode_into(reply, frame, LENGTH.size)
        LENGTH.pack_into(frame, 0, len(frame) - LENGTH.size)
        with self._lock:
            view = memoryview(frame)
            while view:
                view = view[os.write(self._outbound, view) :]


class Watch(threading.Thread):
    """Ends a job at its deadline and sends output that waits too long.

    The thread sleeps until a planned time and is woken early only when something falls due before
    it, so a run of short jobs with long timeouts never wakes it.
    """

    def __init__(self, engine: wasmtime.Engine) -> None:
        super().__init__(daemon=True)
        self._engine = engine
        self._changed = threading.Condition(threading.Lock())
        self._deadline: float | None = None  # monotonic; set while a guest runs
        self._flush_due: float | None = None
        self._pending: OutputBuffer | None = None
        self._planned = float("inf")

    def arm(self, deadline: float) -> None:
        """Guard the guest that is about to run. The store's own deadline is set before this, so
        the tick for one job cannot reach another."""
        with self._changed:
            self._deadline = deadline
            if deadline < self._planned:
                self._changed.notify()

    def disarm(self) -> bool:
        """Say that the guest has ended; True when the deadline ended it."""
        with self._changed:
            expired = self._deadline is None
            self._deadline = None
            return expired

    def flush_later(self, pending: "OutputBuffer") -> None:
        due = time.monotonic() + FLUSH_S
        with self._changed:
            self._pending = pending
            self._flush_due = due
            if due < self._planned:
                self._changed.notify()

    def run(self) -> None:
        while True:
            pending = None
            with self._changed:
                now = time.monotonic()
                if self._deadline is not None and now >= self._deadline:
                    self._engine.increment_epoch()
                    self._deadline = None
                if self._flush_due is not None and now >= self._flush_due:
                    pending, self._pending, self._flush_due = self._pending, None, None
                if pending is None:
                    due = [at for at in (self._deadline, self._flush_due) if at is not None]
                    self._planned = min(due, default=float("inf"))
                    self._changed.wait(self._planned - now if due else None)
                    self._planned = now  # awake: nobody needs to notify
            if pending is not None:
                pending.flush()


class OutputBuffer:
    """What one job writes: cut at its bound, sent in pieces while it runs."""

    def __init__(self, channel: Channel, watch: Watch, bytes_max: int) -> None:
        self._channel = channel
        self._watch = watch
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._chunks: list[tuple[int, bytes]] = []
        self._held_bytes = 0
        self._closed = False
        self.written = {STDOUT: 0, STDERR: 0}

    def write_stdout(self, data: bytes) -> None:
        self._write(STDOUT, data)

    def write_stderr(self, data: bytes) -> None:
        self._write(STDERR, data)

    def _write(self, stream: int, data: bytes) -> None:
        before = self.written[stream]
        self.written[stream] = before + len(data)
        room = self._bytes_max - before
        if room < 0:
            return  # the guest may write on; nobody reads it
        if len(data) > room:
            data = data[:room] + CUT_MARK
        with self._lock:
            self._chunks.append((stream, data))
            self._held_bytes += len(data)
            held_bytes = self._held_bytes
        if held_bytes >= FLUSH_BYTES:
            self.flush()
        elif held_bytes == len(data):
            self._watch.flush_later(self)

    def flush(self) -> None:
        with self._lock:
            if self._chunks and not self._closed:
                for chunks in _frames(self._chunks):
                    self._channel.send(Output(chunks))
                self._chunks = []
                self._held_bytes = 0

    def close(self) -> list[tuple[int, bytes]]:
        """Return what was not sent; nothing is sent afterwards."""
        with self._lock:
            self._closed = True
            return self._chunks


def _frames(chunks: list[tuple[int, bytes]]) -> list[list[tuple[int, bytes]]]:
    """Split chunks so that a frame stays small however much the guest wrote at once."""
    frames: list[list[tuple[int, bytes]]] = [[]]
    room = FLUSH_BYTES
    for stream, data in chunks:
        for at in range(0, len(data), FLUSH_BYTES):
            piece = data[at : at + FLUSH_BYTES]
            if len(piece) > room:
                frames.append([])
                room = FLUSH_BYTES
            frames[-1].append((stream, piece))
            room -= len(piece)
    return frames


class LoadedModule:
    """A compiled module with its imports resolved, ready to be instantiated."""

    def __init__(self, info: ModuleInfo, linked: wasmtime.InstancePre) -> None:
        self.info = info
        self.linked = linked
        memories = [name.encode() for name, kind in info.exports.items() if kind == "memory"]
        self.memory_name = memories[0] if memories else None


class JobFailedError(Exception):
    """The job cannot go on, for a reason that has a code."""

    def __init__(self, code: str, error: str) -> None:
        super().__init__(error)
        self.code = code


class NeedModuleError(Exception):
    """The runner believed that the module is here, and it is not."""


class Sandbox:
    """Everything that lives from job to job."""

    def __init__(self, channel: Channel, cache_dir: Path, wall: list[str]) -> None:
        config = wasmtime.Config()
        for feature, enabled in ENGINE_FEATURES.items():
            setattr(config, feature, enabled)
        config.strategy = "cranelift"
        config.parallel_compilation = False
        config.max_wasm_stack = STACK_BYTES_MAX
        config.epoch_interruption = True
        self.engine = wasmtime.Engine(config)
        self.linker = wasmtime.Linker(self.engine)
        self.linker.define_wasi()
        self.channel = channel
        self.cache: CompiledCache | None = None
        with contextlib.suppress(CacheUnsafeError, OSError):  # without it, only slower
            self.cache = CompiledCache(cache_dir, _settings_hash())
        self.modules: OrderedDict[str, LoadedModule] = OrderedDict()
        self.watch = Watch(self.engine)
        self.watch.start()
        self.wall = wall
        self.page_bytes = resource.getpagesize()
        self.data_bytes_base = self.data_bytes()
        self.data_bytes_max = 0
        self.cpu_s_max = 0

    def serve(self) -> None:
        self.channel.send(Ready(WASMTIME_VERSION, self.wall))
        while (run := self.channel.receive()) is not None:
            try:
                module = self.load(run)
            except NeedModuleError:
                self.channel.send(Need())
                continue
            except JobFailedError as failed:
                self.channel.send(self.done_early(failed))
                continue
            self.channel.send(self.run(run, module))

    # Loading.

    def load(self, run: Run) -> LoadedModule:
        """Raises: NeedModuleError, JobFailedError."""
        known = self.modules.get(run.sha256)
        if known is not None:
            self.modules.move_to_end(run.sha256)
            return known
        if run.module is None:
            raise NeedModuleError
        if hashlib.sha256(run.module).hexdigest() != run.sha256:
            raise JobFailedError("module_malformed", "the module's bytes do not have its sha256")
        self.limit(COMPILE_DATA_BYTES_MAX)
        self.limit_cpu(int(time.process_time()) + 1 + COMPILE_CPU_S_MAX)
        started = time.monotonic()
        try:
            info = inspect_module(run.module)
        except ModuleRefused as refused:
            raise JobFailedError(refused.code, refused.detail) from None
        module, cache_hit = self.compile(run.sha256, run.module)
        try:
            linked = self.linker.instantiate_pre(module)
        except wasmtime.WasmtimeError as error:
            raise JobFailedError("module_import_unknown", _text(error)) from None
        loaded = LoadedModule(info, linked)
        self.modules[run.sha256] = loaded
        self.forget_old_modules()
        self.channel.send(Loaded((time.monotonic() - started) * 1_000, cache_hit))
        return loaded

    def compile(self, sha256: str, data: bytes) -> tuple[wasmtime.Module, bool]:
        """Return the module and whether its code came from the cache."""
        if self.cache is not None:
            body = self.cache.read(sha256)
            if body is not None:
                try:
                    return wasmtime.Module.deserialize(self.engine, body), True
                except wasmtime.WasmtimeError:
                    self.cache.forget(sha256)  # made on a processor with other features
        try:
            module = wasmtime.Module(self.engine, data)
        except wasmtime.WasmtimeError as error:
            raise JobFailedError("module_malformed", _text(error)) from None
        if self.cache is not None:
            self.cache.write(sha256, module.serialize())
        return module, False

    def forget_old_modules(self) -> None:
        total = sum(module.info.size_bytes for module in self.modules.values())
        while len(self.modules) > 1 and (
            len(self.modules) > MODULES_KEPT_MAX or total > MODULE_BYTES_KEPT_MAX
        ):
            _, oldest = self.modules.popitem(last=False)
            total -= oldest.info.size_bytes
            oldest.linked.close()

    # Running.

    def run(self, run: Run, module: LoadedModule) -> Done:
        self.limit(run.memory_bytes + HOST_DATA_BYTES_MAX)
        needed = int(time.process_time()) + run.timeout_ms // 1_000 + 1 + CPU_GRACE_S
        if not needed <= self.cpu_s_max <= needed + 10:
            self.limit_cpu(needed + 10)
        output = OutputBuffer(self.channel, self.watch, run.output_bytes_max)
        guest = Guest(self.engine, module, run.entry_point)
        exit_code: int | None = None
        code = error = None
        outcome = "failed"
        expired = False
        cpu_started = time.process_time()
        started = time.monotonic()
        try:
            guest.prepare(run, output)
            self.watch.arm(started + run.timeout_ms / 1_000)
            try:
                guest.run()
            finally:
                expired = self.watch.disarm()
            outcome, exit_code = "completed", 0
        except wasmtime.ExitTrap as exit_trap:
            outcome, exit_code = "completed", exit_trap.code
        except wasmtime.Trap as trap:
            code, error = _trap_code(trap), _text(trap)
            if code == "wasm_trap_interrupt" and expired:
                outcome, code = "timeout", "timeout"
                error = f"the job ran longer than {run.timeout_ms} ms"
        except wasmtime.WasmtimeError as failure:
            error = _text(failure)
            code = _error_code(error)
        except JobFailedError as failed:
            code, error = failed.code, str(failed)
        wall_ms = (time.monotonic() - started) * 1_000
        cpu_ms = (time.process_time() - cpu_started) * 1_000
        memory_peak_bytes = guest.memory_bytes()
        if code is not None and outcome == "failed" and memory_peak_bytes is not None:
            share = memory_peak_bytes / run.memory_bytes
            if share > 0.9:
                error = f"{error}\n(memory stood at {share:.0%} of its limit)"
        rss_bytes = self.rss_bytes()
        guest.close()
        return Done(
            outcome,
            exit_code,
            code,
            error,
            guest.returned,
            output.close(),
            output.written[STDOUT],
            output.written[STDERR],
            wall_ms,
            cpu_ms,
            memory_peak_bytes,
            rss_bytes,
        )

    def done_early(self, failed: JobFailedError) -> Done:
        error = str(failed)
        return Done(
            "failed", None, failed.code, error, [], [], 0, 0, 0.0, 0.0, None, self.rss_bytes()
        )

    # The operating system's limits, as a second line behind wasmtime's.

    def limit(self, data_bytes: int) -> None:
        """Bound this process for what comes next.

        Writable memory bounds what a guest can make the host allocate; an allocation beyond it
        aborts the process.
        """
        data_bytes_max = self.data_bytes_base + data_bytes
        if data_bytes_max != self.data_bytes_max:
            self.data_bytes_max = data_bytes_max
            _set_soft_limit(resource.RLIMIT_DATA, data_bytes_max)

    def limit_cpu(self, cpu_s_max: int) -> None:
        """Bound processor time, which ends a compilation, and a guest should the runner hang."""
        self.cpu_s_max = cpu_s_max
        _set_soft_limit(resource.RLIMIT_CPU, cpu_s_max)

    def data_bytes(self) -> int:
        return int(os.pread(_STATM, 256, 0).split()[5]) * self.page_bytes

    def rss_bytes(self) -> int:
        return int(os.pread(_STATM, 256, 0).split()[1]) * self.page_bytes


class Guest:
    """One instance of a module in a store of its own, for one job."""

    def __init__(self, engine: wasmtime.Engine, module: LoadedModule, entry_point: str) -> None:
        self.store = wasmtime.Store(engine)
        self.module = module
        self.entry_point = entry_point
        self.instance: capi.wasmtime_instance_t | None = None
        self.returned: list[int | float] = []

    def prepare(self, run: Run, output: OutputBuffer) -> None:
        """Raises: wasmtime.WasmtimeError."""
        wasi = wasmtime.WasiConfig()
        wasi.argv = run.arguments
        if run.environment:
            wasi.env = run.environment
        if run.stdin:
            # Handed over with ownership: wasmtime frees the copy.
            copy = capi.wasm_byte_vec_t()
            size = len(run.stdin)
            source = (ctypes.c_uint8 * size).from_buffer_copy(run.stdin)
            capi.wasm_byte_vec_new(
                byref(copy), size, ctypes.cast(source, ctypes.POINTER(capi.wasm_byte_t))
            )
            capi.wasi_config_set_stdin_bytes(wasi.ptr(), byref(copy))
        wasi.stdout_custom = output.write_stdout
        wasi.stderr_custom = output.write_stderr
        self.store.set_wasi(wasi)
        self.store.set_limits(
            memory_size=run.memory_bytes,
            table_elements=TABLE_ELEMENTS_MAX,
            instances=1,
            tables=4,
            memories=1,
        )
        self.store.set_epoch_deadline(1)  # the next tick; `Watch` ticks once, at the deadline

    def run(self) -> None:
        """Instantiate, which runs the start function, then call the entry point.

        Raises: wasmtime.Trap, wasmtime.WasmtimeError, JobFailedError.
        """
        exports = self.module.info.function_exports
        signature = exports.get(self.entry_point)
        if signature is None or signature[0]:
            error = f"no function {self.entry_point[:100]!r} without parameters is exported"
            raise JobFailedError("module_entry_point_missing", error)
        instance = capi.wasmtime_instance_t()
        trap = ctypes.POINTER(capi.wasm_trap_t)()
        self._check(
            capi.wasmtime_instance_pre_instantiate(
                self.module.linked.ptr(), self.store._context(), byref(instance), byref(trap)
            ),
            trap,
        )
        self.instance = instance
        if self.entry_point != "_start" and exports.get("_initialize") == (0, 0):
            self._call("_initialize", 0)  # a WASI reactor sets itself up there
        self._call(self.entry_point, signature[1])

    def _call(self, name: str, results_count: int) -> None:
        function = self._export(name.encode())
        results = (capi.wasmtime_val_t * results_count)() if results_count else None
        trap = ctypes.POINTER(capi.wasm_trap_t)()
        self._check(
            capi.wasmtime_func_call(
                self.store._context(),
                byref(function.of.func),
                None,
                0,
                results,
                results_count,
                byref(trap),
            ),
            trap,
        )
        if results is not None:
            fields = [_WASM_VALUE_FIELDS.get(int(value.kind)) for value in results]
            self.returned = [
                getattr(value.of, field)
                for value, field in zip(results, fields, strict=True)
                if field is not None
            ]

    def _export(self, name: bytes) -> capi.wasmtime_extern_t:
        item = capi.wasmtime_extern_t()
        assert self.instance is not None
        found = capi.wasmtime_instance_export_get(
            self.store._context(), byref(self.instance), name, len(name), byref(item)
        )
        assert found, "the outline of the module says it is there"
        return item

    def _check(self, error: Any, trap: Any) -> None:
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        if trap:
            raise wasmtime.Trap._from_ptr(trap)

    def memory_bytes(self) -> int | None:
        """The size of the guest's memory; it never shrinks, so at the end it is the peak."""
        if self.instance is None or self.module.memory_name is None:
            return None
        memory = self._export(self.module.memory_name)
        return int(capi.wasmtime_memory_data_size(self.store._context(), byref(memory.of.memory)))

    def close(self) -> None:
        self.store.close()


def _trap_code(trap: wasmtime.Trap) -> str:
    code = trap.trap_code
    if code is wasmtime.TrapCode.STACK_OVERFLOW:
        return "wasm_stack_overflow"
    return f"wasm_trap_{code.name.lower()}" if code is not None else "wasm_trap"


def _error_code(error: str) -> str:
    """A code for what wasmtime tells only in words."""
    if "exceeds memory limits" in error:
        return "wasm_memory_limit"
    if "exceeds table limits" in error:
        return "wasm_table_limit"
    if "invalid exit status" in error:
        return "wasm_exit_code_invalid"
    return "wasm_error"


def _text(error: Exception) -> str:
    """What wasmtime says, with the cause before the backtrace."""
    try:
        text = str(error)
    except UnicodeDecodeError:  # a backtrace with a function name that is not UTF-8
        return type(error).__name__
    where, _, causes = text.partition("\n\nCaused by:\n")
    if causes:
        text = "\n".join(line.strip() for line in causes.splitlines() if line.strip())
        text = f"{text}\n{where}"
    return text[:ERROR_CHARS_MAX].rstrip()


def _settings_hash() -> str:
    """What compiled code depends on besides the module. wasmtime checks it again."""
    settings = (
        WASMTIME_VERSION,
        platform.machine(),
        sorted(ENGINE_FEATURES.items()),
        STACK_BYTES_MAX,
    )
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:16]


def _set_soft_limit(kind: int, soft: int) -> None:
    """Set a limit that may be raised again for the next job, as far as this user may."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def lock_down(parent_pid: int, cache_dir: Path) -> tuple[Channel, list[str]]:
    """Give up what this process does not need, before it sees any guest.

    Returns the channel to the runner and what the kernel enforces from here on.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_SET_PDEATHSIG, signal.SIGKILL)):
        if libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent_pid:
        sys.exit(0)  # the runner died before the kernel was told to watch it
    os.dup2(0, _INBOUND, inheritable=False)
    os.dup2(1, _OUTBOUND, inheritable=False)
    os.closerange(_OUTBOUND + 1, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 16))
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)
    for kind, soft in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES_MAX),
        (resource.RLIMIT_FSIZE, FILE_BYTES_MAX),
        (resource.RLIMIT_AS, ADDRESS_BYTES_MAX),
    ):
        _, hard = resource.getrlimit(kind)
        bound = soft if hard == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(kind, (bound, bound))
    drop_capabilities(libc)
    os.environ.clear()
    os.umask(0o077)
    # Opened before the files are out of reach.
    statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    assert statm == _STATM, "the third descriptor after the standard ones"
    return Channel(_INBOUND, _OUTBOUND), wasm_wall.put_up(cache_dir)


def drop_capabilities(libc: ctypes.CDLL) -> None:
    """Root without them is held to its limits, and to what files say of their owners.

    Where there are none, nothing is asked for: a container may deny even that.
    """
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    held = ctypes.create_string_buffer(24)  # of two words each: effective, permitted, inheritable
    if libc.capget(header, held) == 0 and not any(held.raw):
        return
    if libc.capset(header, bytes(24)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def main() -> None:
    cache_dir, parent_pid = Path(sys.argv[1]), int(sys.argv[2])
    try:
        channel, wall = lock_down(parent_pid, cache_dir)
        sandbox = Sandbox(channel, cache_dir, wall)
    except (wasm_wall.WallError, OSError, ValueError) as error:
        # Said instead of being ready: standard error leads nowhere.
        reason = f"{type(error).__name__}: {error}"
        Channel(_INBOUND, _OUTBOUND).send(Ready(WASMTIME_VERSION, [], reason))
        sys.exit(1)
    gc.collect()
    gc.freeze()  # what start-up made stays; collections during jobs need not walk it
    sandbox.serve()


if __name__ == "__main__":
    main()
