"""The sandbox's processes: killed, cancelled, replaced, shared out, and gone with their parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop
from wasm_samples import (
    ENDLESS,
    NOTHING,
    SLEEP_TEN_SECONDS,
    ends_as_timeout,
    is_gone,
    job,
    running_pid,
    until,
    writer,
)

from headrace.worker import wasm_runner
from headrace.worker.wasm_runner import SandboxError, WasmRunner

shared_loop = pytest.mark.asyncio(loop_scope="module")


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
    started = asyncio.Event()  # before it, a death is one of compiling
    endless = job(ENDLESS, timeout_ms=60_000)
    task = asyncio.create_task(runner.run(endless, on_start=started.set))
    await started.wait()
    os.kill(await running_pid(runner), signal.SIGKILL)
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
            started = asyncio.Event()
            task = asyncio.create_task(runner.run(job(ENDLESS), on_start=started.set))
            await started.wait()
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
