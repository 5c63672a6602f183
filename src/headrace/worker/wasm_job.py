"""WASM jobs: fetch the module, run it in the sandbox, turn its end into the job's."""

import asyncio
import base64
import codecs
import logging
from pathlib import Path
from typing import Final

import msgspec

from headrace.wire import limits
from headrace.wire.schema import Spec
from headrace.worker.attempt import Assignment, Ending, StopReason, defect, failed
from headrace.worker.handlers import Feed, JobFeed
from headrace.worker.link import Refused, Server, Unreachable
from headrace.worker.modules import ModuleFiles, ModuleHashError
from headrace.worker.python_runner import Run, set_once
from headrace.worker.wasm_runner import (
    CUT_MARK_BYTES,
    SandboxError,
    WasmJob,
    WasmResult,
    WasmRunner,
)

MEMORY_MB_DEFAULT: Final = 256
FETCH_S_MAX: Final = 60.0
TROUBLE_DELAY_S: Final = 5.0
"""Before another try when the worker, not the job, is at fault."""
STDERR_TAIL_CHARS: Final = 2_000
WALLS: Final = {
    "landlock": "Landlock (files and TCP)",
    "seccomp": "seccomp (system calls)",
}
"""What a kernel may have to keep in a module that breaks out of wasmtime."""
STDOUT_BYTES_MAX: Final = limits.OUTPUT_BYTES_MAX - CUT_MARK_BYTES


log = logging.getLogger("headrace.worker")


class WasmJobs:
    """The sandboxes and modules of one worker. Used on one event loop."""

    def __init__(self, link: Server, cache_dir: Path, processes: int) -> None:
        self._modules = ModuleFiles(
            cache_dir / "modules", lambda sha256: link.module(sha256, FETCH_S_MAX)
        )
        self._runner = WasmRunner(cache_dir / "compiled", processes=processes)

    async def start(self) -> None:
        """Raises: SandboxError."""
        await self._runner.start()
        missing = [
            what
            for name, what in WALLS.items()
            if not any(stands.startswith(name) for stands in self._runner.wall)
        ]
        if missing:
            log.warning(
                "this kernel lacks %s: a module that broke out of wasmtime would be held by the "
                "sandbox's other limits only",
                " and ".join(missing),
            )

    async def close(self) -> None:
        await self._runner.close()

    def run(self, assignment: Assignment, feed: JobFeed) -> "WasmRun":
        return WasmRun(self, assignment, feed)

    async def execute(self, assignment: Assignment, feed: JobFeed) -> Ending:
        spec = assignment.spec
        try:
            module = await self._modules.get(spec.wasm_sha256)
            output = LogOutput(feed)
            result = await self._runner.run(job_of(spec, module), output.write, feed.started)
        except Refused as error:
            return failed(f"the module cannot be fetched: {error}", "module_unknown")
        except ModuleHashError as error:
            return failed(str(error), "module_hash_mismatch")
        except (Unreachable, SandboxError) as error:
            feed.log(f"[headrace: this worker cannot run it now: {error}]\n")
            return Ending(outcome="snoozed", retry_delay_s=TROUBLE_DELAY_S)
        return ending_of(spec, result)


class WasmRun(Run):
    def __init__(self, jobs: WasmJobs, assignment: Assignment, feed: JobFeed) -> None:
        loop = asyncio.get_running_loop()
        self.ended = loop.create_future()
        self._task = loop.create_task(self._whole(jobs, assignment, feed))

    async def _whole(self, jobs: WasmJobs, assignment: Assignment, feed: JobFeed) -> None:
        try:
            ending = await jobs.execute(assignment, feed)
        except asyncio.CancelledError:
            ending = Ending(outcome="stopped")
        except Exception as error:  # an attempt that never ends would hold its slot for ever
            ending = defect(error)
        set_once(self.ended, ending)

    def ask_stop(self, reason: StopReason) -> None:
        """A module hears nothing from outside: it is killed, and starts over when it resumes."""

    def kill(self) -> None:
        if not self._task.cancelled():
            self._task.cancel()


class LogOutput:
    """What the module writes becomes the job's log, as text, while it runs."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {"stdout": decoder("replace"), "stderr": decoder("replace")}

    def write(self, stream: str, data: bytes) -> None:
        self._feed.log(self._decoders[stream].decode(data))


def job_of(spec: Spec, module: bytes) -> WasmJob:
    """The job's own environment and nothing of the worker's."""
    return WasmJob(
        sha256=spec.wasm_sha256,
        module=module,
        entry_point=spec.entry_point or "_start",
        name=spec.name,
        arguments=spec.arguments,
        environment=spec.environment,
        stdin=(spec.stdin or "").encode(),
        memory_mb=int(spec.requirements.get("memory_mb") or MEMORY_MB_DEFAULT),
        timeout_ms=max(1, round((spec.timeout or limits.TIMEOUT_MS_DEFAULT / 1000) * 1000)),
        output_bytes_max=STDOUT_BYTES_MAX,
    )


def ending_of(spec: Spec, result: WasmResult) -> Ending:
    stdout = result.stdout[:STDOUT_BYTES_MAX]
    ending = Ending(
        outcome=result.outcome,
        output=base64.b64encode(stdout).decode(),
        output_cut=result.stdout_bytes > STDOUT_BYTES_MAX,
        exit_code=result.exit_code,
        error=result.error,
        code=result.code,
        metrics=metrics_of(result),
    )
    if result.outcome == "completed":
        if result.exit_code is not None and result.exit_code not in (spec.success_codes or [0]):
            ending.outcome = "failed"
            ending.code = "exit_code"
            ending.error = f"the module ended with exit code {result.exit_code}"
        elif result.returned:
            values = result.returned
            ending.result = msgspec.json.encode(values[0] if len(values) == 1 else values)
    if ending.outcome == "failed" and result.stderr:
        tail = result.stderr[-4 * STDERR_TAIL_CHARS :].decode("utf-8", "replace")
        ending.error = f"{ending.error}\n{tail[-STDERR_TAIL_CHARS:]}".strip()
    return ending


def metrics_of(result: WasmResult) -> dict[str, float]:
    metrics = {
        "wall_ms": round(result.wall_ms, 3),
        "cpu_ms": round(result.cpu_ms, 3),
        "compile_ms": round(result.compile_ms, 3),
        "module_cache_hit": float(result.cache_hit),
        "stdout_bytes": float(result.stdout_bytes),
        "stderr_bytes": float(result.stderr_bytes),
        "process_rss_bytes": float(result.process_rss_bytes),
    }
    if result.memory_peak_bytes is not None:
        metrics["memory_peak_bytes"] = float(result.memory_peak_bytes)
    return metrics
