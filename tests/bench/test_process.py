"""Server processes: on their core, watched, and gone with the one that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headrace.bench.process import BenchError, ServerProcess

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT = (
    "import subprocess, sys, time; "
    "child = subprocess.Popen([sys.executable, '-c', 'sum(range(10**9))']); time.sleep(60)"
)


def is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    due_s = time.monotonic() + 10
    while is_there(pid):
        assert time.monotonic() < due_s, "the process is still there"
        time.sleep(0.01)


def test_a_server_runs_on_the_core_it_is_given(tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    server = ServerProcess(SLEEP, tmp_path / "log", core=core)
    try:
        assert os.sched_getaffinity(server.pid) == {core}
    finally:
        server.kill()


def test_the_cpu_of_children_counts_and_they_are_killed_with_it(tmp_path: Path) -> None:
    server = ServerProcess([sys.executable, "-c", PARENT], tmp_path / "log")
    try:
        server.wait_ready(lambda: server.cpu_s() > 0.3)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        assert len(children) == 1
        assert server.memory_bytes()["rss"] > server.memory_bytes()["private"] > 0
    finally:
        server.kill()
    wait_until_gone(int(children[0]))


def test_a_server_that_ends_early_is_told_with_what_it_said(tmp_path: Path) -> None:
    server = ServerProcess([sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path / "log")
    with pytest.raises(BenchError, match="no luck"):
        server.wait_ready(lambda: False)


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from headrace.bench.process import ServerProcess; "
        f"print(ServerProcess({SLEEP!r}, pathlib.Path({str(tmp_path / 'log')!r})).pid, flush=True);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert is_there(pid)
        starter.send_signal(signal.SIGKILL)
    wait_until_gone(pid)
