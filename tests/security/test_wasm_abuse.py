"""Hostile modules: at the door, in a worker, and in a sandbox that no door stands before.

`tools/wasm-abuse` puts every row of the tables to a server and a worker. Here most of them go to
a pool of sandboxes in this process, which is quicker.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from wasm_abuse import CONTROLS, DEFECTS, GOOD, Site, abuse, disk_dir
from wasm_refused import REFUSED, Refused
from wasm_runs import BOUNDS, COMPILE_BOMBS, ENDLESS, FAILED, LIMIT, RUNS, SELF, TRAPS, Run

from headrace.wire.schema import Spec
from headrace.worker import wasm_runner
from headrace.worker.attempt import Ending
from headrace.worker.wasm_job import ending_of, job_of
from headrace.worker.wasm_runner import WasmRunner

SERVED = (*ENDLESS[::6], *TRAPS[::6], *BOUNDS[::3], *SELF[::9])
"""What a server and a worker get of each kind."""
IN_SANDBOX = tuple(row for row in RUNS if row not in SERVED)
CHILD_BYTES_MAX = 400 << 20


def test_tables_have_rows_of_every_kind() -> None:
    assert len(REFUSED) + len(RUNS) + len(COMPILE_BOMBS) >= 250
    assert len({row.name for row in (*REFUSED, *RUNS, *COMPILE_BOMBS)}) >= 250


@pytest.mark.e2e
def test_hostile_modules_are_refused_or_end_and_leave_nothing() -> None:
    with disk_dir() as disk:
        site = Site(disk)
        try:
            told = abuse(site, (*REFUSED, *SERVED))
        finally:
            site.close()
    assert told.violations == []
    assert told.cases == len(REFUSED) + len(SERVED)


@pytest.mark.e2e
def test_a_server_and_a_worker_without_their_limits_are_found_out() -> None:
    rows = [row for defect in DEFECTS for row in CONTROLS[defect]]
    with disk_dir() as disk:
        site = Site(disk, server_defects="door-open,server-compiles", worker_defects="limits-off")
        try:
            told = abuse(site, rows)
        finally:
            site.close()
    found = "\n".join(told.violations)
    for row in rows:
        assert row.name in found
    assert "the server has compiled something" in found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WasmRunner]:
    async with WasmRunner(tmp_path_factory.mktemp("abuse") / "compiled") as runner:
        yield runner


async def end(runner: WasmRunner, data: bytes, row: Run | None = None) -> Ending:
    """Run a module; the sandbox must be well after it."""
    sha256 = hashlib.sha256(data).hexdigest()
    spec = Spec(id="j", name="n", wasm_sha256=sha256, **({} if row is None else row.job))
    result = await runner.run(job_of(spec, data))
    assert result.process_rss_bytes < CHILD_BYTES_MAX
    good = await runner.run(job_of(Spec(id="g", name="g", wasm_sha256=GOOD_SHA256), GOOD))
    assert good.outcome == "completed"
    return ending_of(spec, result)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


GOOD_SHA256 = hashlib.sha256(GOOD).hexdigest()
shared_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
@shared_loop
async def test_a_sandbox_refuses_what_the_door_should_have(
    runner: WasmRunner, row: Refused
) -> None:
    ending = await end(runner, row.make())
    assert (ending.outcome, ending.code) == (FAILED, row.code)


@pytest.mark.parametrize("row", IN_SANDBOX, ids=lambda row: row.name)
@shared_loop
async def test_a_hostile_job_ends_as_its_row_says(runner: WasmRunner, row: Run) -> None:
    ending = await end(runner, row.make(), row)
    told = (ending.outcome, ending.code)
    if not row.status:
        assert told in (("completed", None), (FAILED, "wasm_error")), ending
    else:
        assert told in [(row.status, code) for code in row.codes or (None,)], ending
    if row.result is not None:
        assert msgspec.json.decode(ending.result or b"null") == row.result
    if row.is_cut:
        assert ending.output_cut


@pytest.mark.parametrize(
    "row", [row for row in COMPILE_BOMBS if LIMIT in row.codes], ids=lambda row: row.name
)
@shared_loop
async def test_a_compile_bomb_ends_with_its_process(
    runner: WasmRunner, row: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm_runner, "COMPILE_S_MAX", 0.3)  # they take seconds at least
    data = row.make()
    spec = Spec(id="j", name="n", wasm_sha256=hashlib.sha256(data).hexdigest())
    running = asyncio.create_task(runner.run(job_of(spec, data)))
    await until(lambda: running.done() or bool(runner.running_pids))
    pids = runner.running_pids
    result = await running
    assert (result.outcome, result.code) == (FAILED, LIMIT)
    assert pids
    await until(lambda: not set(pids) & set(runner.pids))


async def test_nothing_of_the_sandboxes_is_left(tmp_path: Path) -> None:
    async with WasmRunner(tmp_path / "c") as runner:
        await end(runner, GOOD)
        pids = runner.pids
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
