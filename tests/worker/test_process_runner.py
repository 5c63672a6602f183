"""Handlers in child processes: reused, killed, and nobody else's trouble."""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import process_handlers
import pytest

from headrace.wire.schema import Spec
from headrace.worker.attempt import Assignment, Ending, StopReason
from headrace.worker.handlers import Feed
from headrace.worker.process_runner import ChildPool, ProcessRun

WAIT_S = 30.0


class Heard(Feed):
    def __init__(self) -> None:
        self.text = ""
        self.saved: list[bytes] = []
        self.events: list[tuple[str, bytes]] = []

    def progress(self, fraction: float | None, details: str | None) -> None: ...

    def log(self, text: str) -> None:
        self.text += text

    def checkpoint(self, value: bytes) -> None:
        self.saved.append(value)

    def emit(self, name: str, data: bytes) -> None:
        self.events.append((name, data))


@pytest.fixture
async def pool() -> AsyncIterator[ChildPool]:
    pool = ChildPool(f"{Path(process_handlers.__file__).resolve()}:worker")
    yield pool
    await pool.close()
    assert pool.pids == []


def begin(pool: ChildPool, kind: str, params: Any = None) -> tuple[ProcessRun, Heard]:
    spec = Spec(id="j", name=kind, type=kind, params=msgspec.Raw(msgspec.json.encode(params)))
    heard = Heard()
    return ProcessRun(Assignment(lease="l", spec=spec, attempt=1), heard, pool), heard


async def end(run: ProcessRun) -> Ending:
    async with asyncio.timeout(WAIT_S):
        return await run.ended


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_child_is_used_again_and_its_output_is_the_jobs_log(pool: ChildPool) -> None:
    run, heard = begin(pool, "where", {"n": 1})
    first = msgspec.json.decode((await end(run)).result or b"")
    run, _ = begin(pool, "where")
    second = msgspec.json.decode((await end(run)).result or b"")
    assert first["params"] == {"n": 1}
    assert first["pid"] == second["pid"] != os.getpid()
    assert sorted(heard.text.split("\n")) == ["", "logged", "printed", "to stderr"]
    assert second["descriptors"] == first["descriptors"]
    assert heard.events == [("told.once", b"[1]")]


async def test_a_kill_ends_a_handler_that_computes_and_all_that_it_started(
    pool: ChildPool,
) -> None:
    run, heard = begin(pool, "spawn")
    await until(lambda: heard.text.endswith("\n"))
    grandchild = int(heard.text)
    assert alive(grandchild)
    run.kill()
    assert (await end(run)).outcome == "stopped"
    await until(lambda: not alive(grandchild))


async def test_killing_is_quick(pool: ChildPool, record_property: Any) -> None:
    spans = []
    for _ in range(5):
        run, heard = begin(pool, "spin")
        await until(lambda heard=heard: heard.text.endswith("\n"))
        begun = time.perf_counter()
        run.kill()
        await end(run)
        spans.append(time.perf_counter() - begun)
        assert not alive(int(heard.text))
    record_property("kill_ms_median", statistics.median(spans) * 1_000)


async def test_handlers_see_the_workers_environment_without_its_key(
    pool: ChildPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_API_KEY", "secret")
    monkeypatch.setenv("HEADRACE_API_KEY_FILE", "/where/it/is")
    monkeypatch.setenv("HEADRACE_OTHER", "seen")
    run, _ = begin(pool, "environment")
    seen = msgspec.json.decode((await end(run)).result or b"{}")
    assert seen.get("HEADRACE_OTHER") == "seen"
    assert not seen.keys() & {"HEADRACE_API_KEY", "HEADRACE_API_KEY_FILE"}


async def test_a_child_inherits_no_descriptor_of_the_worker(pool: ChildPool) -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    pipe = os.readlink(f"/proc/self/fd/{write_end}")
    run, _ = begin(pool, "descriptors")
    seen = msgspec.json.decode((await end(run)).result or b"[]")
    os.close(read_end)
    os.close(write_end)
    assert len(seen) <= 6, seen
    assert pipe not in seen


async def test_a_child_that_dies_takes_only_its_own_job_with_it(pool: ChildPool) -> None:
    run, _ = begin(pool, "die")
    ending = await end(run)
    after, _ = begin(pool, "where")
    assert (ending.outcome, ending.code) == ("failed", "handler_crashed")
    assert ending.error == "the handler's process ended, exit status 7"
    assert (await end(after)).outcome == "completed"


async def test_an_exit_in_a_handler_is_its_failure(pool: ChildPool) -> None:
    run, _ = begin(pool, "exit")
    ending = await end(run)
    assert (ending.outcome, ending.code) == ("failed", "handler_exited")


async def test_a_coroutine_runs_in_a_child_too(pool: ChildPool) -> None:
    run, _ = begin(pool, "coroutine")
    assert int((await end(run)).result or b"0") in pool.pids


async def test_a_request_to_stop_is_heard_while_the_handler_works(pool: ChildPool) -> None:
    run, heard = begin(pool, "careful")
    await until(lambda: heard.saved)
    run.ask_stop(StopReason.SUSPEND)
    ending = await end(run)
    assert ending.outcome == "stopped"
    assert msgspec.json.decode(ending.checkpoint or b"") == {"step": "last", "reason": "suspend"}


async def test_a_killed_handler_leaves_its_newest_checkpoint(pool: ChildPool) -> None:
    run, heard = begin(pool, "careful")
    await until(lambda: len(heard.saved) > 3)
    run.kill()
    ending = await end(run)
    assert ending.outcome == "stopped"
    assert int(ending.checkpoint or b"-1") >= 3


async def test_a_kill_before_the_child_is_ready_counts(pool: ChildPool) -> None:
    run, _ = begin(pool, "spin")
    run.kill()
    assert (await end(run)).outcome == "stopped"


async def test_a_module_that_cannot_be_imported_is_said_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "broken_module.py").write_text("import a_module_that_is_not_there\n")
    pool = ChildPool(f"{tmp_path}/broken_module.py:worker")
    run, _ = begin(pool, "where")
    ending = await end(run)
    await pool.close()
    assert (ending.outcome, ending.code) == ("failed", "worker_broken")
    assert "a_module_that_is_not_there" in (ending.error or "")
