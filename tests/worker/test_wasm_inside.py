"""What a sandbox's process cannot do, tried by a program that the runner takes for a sandbox."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.worker import wasm_job, wasm_runner
from headrace.worker.wasm_job import WasmJobs
from headrace.worker.wasm_runner import SandboxError, WasmRunner

PROGRAM = Path(__file__).with_name("inside_sandbox.py")


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
async def told(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What the program found, started beside an open door, a key and a pipe to be inherited."""
    cache = tmp_path / "compiled"
    cache.mkdir(mode=0o700)
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    python.chmod(stat.S_IRWXU)
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_canary")
    monkeypatch.setattr(wasm_runner.sys, "executable", str(python))
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        (cache / "told").write_text(f"{listener.getsockname()[1]} {other.pid}")
        runner = WasmRunner(cache, spares=0)
        with pytest.raises(SandboxError) as caught:
            await runner.start()
        await runner.close()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        os.close(read_end)
        os.close(write_end)
    found: dict[str, Any] = json.loads(str(caught.value))
    return found


async def test_a_sandbox_reaches_nothing_of_the_machine(told: dict[str, Any]) -> None:
    outcomes, wall = told["outcomes"], told["wall"]
    assert told["environment"] == [["LC_ALL", "PYTHONPATH"], []]
    assert told["descriptors"] == [0, 1, 2, 3, 4, 5]
    assert told["core"] == [0, 0]
    assert outcomes.pop("raise a limit") != "done"
    assert outcomes.pop("become somebody else") == "EPERM"
    by_landlock = [name for name in outcomes if name.startswith(("read", "list", "write"))]
    denied = {name: outcomes.pop(name) for name in by_landlock}
    if any(name.startswith("landlock") for name in wall):
        assert set(denied.values()) == {"EACCES"}, denied
    if "seccomp" in wall:
        assert set(outcomes.values()) == {"EPERM"}, outcomes


async def test_a_kernel_without_a_wall_is_said_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing(self: WasmRunner) -> None: ...

    monkeypatch.setattr(WasmRunner, "start", nothing)
    jobs = WasmJobs(None, tmp_path, 1)  # type: ignore[arg-type]
    for wall, missing in (
        (["landlock 6", "seccomp"], ()),
        (["seccomp"], ("landlock",)),
        ([], ("landlock", "seccomp")),
    ):
        monkeypatch.setattr(WasmRunner, "wall", wall)
        caplog.clear()
        await jobs.start()
        words = " and ".join(wasm_job.WALLS[name] for name in missing)
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == bool(missing)
        assert not missing or f"lacks {words}:" in said[0]
