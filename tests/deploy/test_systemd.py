"""The units: systemd takes them, they are locked down, and the program runs inside what is left."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from processes import HEADRACE, Process, Server, free_port, running_children

from headrace.cli.demo import module_that_prints
from headrace.sdk import Client

from .files import DEPLOY, need, option, seconds

UNITS = ["headrace.service", "headrace-worker.service"]
EXPOSURE_MAX = 20
"""In tenths; systemd calls up to 5.0 fine, and what is not told anything has 9.6."""
JOB_S_MAX = 120.0
DENY_WRITE_EXECUTE = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0);"  # PR_SET_MDWE
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Since Linux 6.3; before, the server runs without."""
ROOM_S = 10
"""Of a stop: beside the drain, for the store to close and children to end."""


def settings(unit: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / unit).read_text().splitlines():
        name, sign, value = line.partition("=")
        if sign and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_no_fault_in_a_unit(unit: str, tmp_path: Path) -> None:
    program = tmp_path / "headrace"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in UNITS:
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/usr/local/bin/headrace", str(program)))
    done = subprocess.run(
        [need("systemd-analyze"), "verify", "--man=no", tmp_path / unit],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_gives_up_what_it_does_not_need(unit: str) -> None:
    command = [need("systemd-analyze"), "security", "--offline=true"]
    command += [f"--threshold={EXPOSURE_MAX}", str(DEPLOY / "systemd" / unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:]
    assert "ignoring" not in done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_waits_longer_than_a_stop_may_take(unit: str) -> None:
    found = settings(unit)
    [command] = found["ExecStart"]
    drain_s = seconds(option(shlex.split(command), "--drain"))
    assert seconds(found["TimeoutStopSec"][0]) >= drain_s + ROOM_S


def test_the_signal_to_stop_reaches_the_worker_and_not_its_jobs() -> None:
    assert settings("headrace-worker.service")["KillMode"] == ["mixed"]


@cache
def group(name: str) -> frozenset[str]:
    """Return the system calls of a group of systemd's, groups in it included."""
    command = [need("systemd-analyze"), "syscall-filter", name]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words = [line.strip() for line in listed.splitlines()[1:] if line.strip()]
    found: set[str] = set()
    for word in words:
        if not word.startswith("#"):
            found |= group(word) if word.startswith("@") else {word}
    return frozenset(found)


def allowed(unit: str) -> set[str]:
    calls: set[str] = set()
    for line in settings(unit)["SystemCallFilter"]:
        words = line.removeprefix("~").split()
        named = {
            call for word in words for call in (group(word) if word.startswith("@") else [word])
        }
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def calls_made(trace: Path) -> set[str]:
    return set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", trace.read_text(), re.M))


@pytest.mark.e2e
def test_server_and_worker_need_no_more_than_their_units_allow(
    disk: Path, start: Callable[..., Process]
) -> None:
    tracer = [need("strace"), "-f", "-qq", "-o"]
    deny = (sys.executable, "-c", DENY_WRITE_EXECUTE)  # as MemoryDenyWriteExecute= of its unit
    traced = (*tracer, str(disk / "serve.trace"), *deny)
    server = Server(disk / "data", free_port(), prefix=traced)
    try:
        server.wait_ready()
        assert server.ask("GET", "/docs")[0] == 200
        command = [*HEADRACE, "work", "--url", server.url, "--cache", str(disk / "cache")]
        worker = start("work", *tracer, str(disk / "work.trace"), *command)
        with Client(server.url) as client:
            module = client.submit_wasm(module_that_prints("hi"), requirements={"memory_mb": 16})
            typed = client.submit("burn", {"seconds": 0.1}, requirements={"memory_mb": 64})
            for job in (module, typed):
                assert client.wait(job.job_id, timeout_s=JOB_S_MAX).completed, worker.output()
        for process in (worker, server):
            for pid in running_children(process.pid)[:1]:  # strace itself hears nothing
                with suppress(ProcessLookupError):
                    os.kill(pid, 15)
            assert process.wait() == 0, process.output()
    finally:
        server.kill()
    for unit, trace in zip(UNITS, ("serve.trace", "work.trace"), strict=True):
        made = calls_made(disk / trace)
        assert {"openat", "execve"} <= made
        assert made - allowed(unit) == set(), unit
    assert "landlock_restrict_self" in calls_made(disk / "work.trace")
