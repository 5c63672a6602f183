"""`headrace up` and `headrace serve` as processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from .processes import Process

pytestmark = pytest.mark.e2e


def up(*arguments: str, path: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "headrace", "up", "--data", str(path / "data"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def children_of(pid: int) -> list[int]:
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def test_up_once_runs_both_jobs_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = up("--once", path=tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "hello completed: Hello from a WASM module" in out
    assert "sleep completed: {'slept_s': 2.0}" in out
    assert (tmp_path / "data" / "data.mdb").is_file(), "where serve and backup look for it"


def test_up_takes_another_port_when_its_own_is_taken_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good
        process = up(path=tmp_path)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        text = "".join(lines)
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert "Port 8080 is taken" in text
    assert "curl" in text
    assert process.returncode == 0
    assert len(children) == 2
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_serve_keeps_jobs_through_a_restart_and_stops_on_sigterm(tmp_path: Path) -> None:
    data = str(tmp_path / "jobs")
    server = Process("serve", "--data", data, "--port", "0", "--accept-any-filesystem")
    url = server.match(r"http://[\d.:]+")[0]
    request = urllib.request.Request(
        url + "/api/v1/jobs",
        data=b'{"type": "nobody-runs-this"}',
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:
        job_id = json.load(response)["job_id"]
    assert server.stop() == 0
    server = Process("serve", "--data", data, "--port", "0", "--accept-any-filesystem")
    url = server.match(r"http://[\d.:]+")[0]
    with urllib.request.urlopen(f"{url}/api/v1/jobs/{job_id}") as response:
        assert json.load(response)["job"]["status"] == "queued"
    assert server.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0", "--memory"], "--insecure"),
        (["--lease", "1ms", "--memory"], "lease"),
        (["--queue", "q", "--memory"], "NAME=VALUE"),
        (["--queue", "q=many", "--memory"], "whole number"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_exit_code_2(
    arguments: list[str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr


def test_serve_takes_its_settings_from_the_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "serve"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "HEADRACE_MEMORY": "1", "HEADRACE_HOST": "0.0.0.0"},
    )
    assert done.returncode == 2
    assert "--insecure" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["not_a_module_anywhere"], "there is no module 'not_a_module_anywhere'"),
        (["missing.py"], "there is no file 'missing.py'"),
        (["headrace.worker.builtin:nobody"], "'nobody'"),
        (["--types", "nope"], "there is no handler for job type 'nope'"),
        (["--url", "localhost:8080"], "is not an address"),
    ],
)
def test_a_worker_that_is_wrongly_started_says_why(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "work", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
