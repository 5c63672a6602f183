"""Small modules as text, and what the sandbox's tests share."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from functools import cache

import wasmtime

from headrace.worker.wasm_runner import WasmJob, WasmResult, WasmRunner

WASI = "wasi_snapshot_preview1"
ENDLESS = '(module (func (export "_start") (loop br 0)))'
NOTHING = '(module (memory (export "memory") 1) (func (export "_start")))'
SLEEP_TEN_SECONDS = f"""
(module
  (import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 10000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))
"""


def writer(
    loop: str, text: str = "hello\\n", size: int = 6, fd: int = 1, afterwards: str = ""
) -> str:
    """A module that writes a text once, or for ever."""
    return f"""
(module
  (import "{WASI}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 32)
  (data (i32.const 64) "{text}")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const {size}))
    (loop
      (drop (call $write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 32)))
      {loop})
    {afterwards}))
"""


def exits(code: int) -> str:
    return f"""(module (import "{WASI}" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const {code}))))"""


@cache
def compiled(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def job(module: bytes | str, *arguments: str, **fields: object) -> WasmJob:
    data = compiled(module) if isinstance(module, str) else module
    sha256 = hashlib.sha256(data).hexdigest()
    return WasmJob(sha256=sha256, module=data, arguments=list(arguments), **fields)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def running_pid(runner: WasmRunner) -> int:
    await until(lambda: bool(runner.running_pids))
    return runner.running_pids[0]


async def ends_as_timeout(runner: WasmRunner, endless: WasmJob) -> WasmResult:
    """The contract: timeout within the limit and one second, and the next job runs."""
    await runner.run(job(NOTHING))  # a process is warm
    started = time.monotonic()
    result = await runner.run(endless)
    took_ms = (time.monotonic() - started) * 1_000 - result.compile_ms
    assert (result.outcome, result.code, result.exit_code) == ("timeout", "timeout", None)
    assert endless.timeout_ms <= took_ms < endless.timeout_ms + 1_000
    assert (await runner.run(job(NOTHING))).outcome == "completed"
    return result
