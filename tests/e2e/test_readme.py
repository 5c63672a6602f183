"""What README.md tells to type, typed."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import HEADRACE, Process, Server, free_port

pytestmark = pytest.mark.e2e

README = Path(__file__).resolve().parents[2] / "README.md"


def printed(marker: str) -> str:
    """Return the code after a marker."""
    found = re.search(rf"<!-- {marker} -->\s*```\w+\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None, f"README.md has no {marker} after its marker"
    return found[1]


def test_the_curl_worker_of_the_readme_does_its_jobs(
    serve: Callable[..., Server], disk: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    server = serve()
    worker = Process(
        ["sh", "-c", printed("curl-worker")], disk / "curl.log", {"HEADRACE_URL": server.url}
    )
    try:
        for text in ("hello", "again, world", 'say "hi"'):
            job_id = server.submit(type="shout", params={"text": text})
            ended = server.wait_status(job_id, "completed")
            assert ended["result"]["result"] == {"text": text.upper()}
            assert ended["result"]["worker_id"] == "sh-1"
        odd = server.submit(type="shout", params={"text": "two\nlines"})
        assert server.wait_status(odd, "failed")["result"]["error"] == "odd text"
    finally:
        worker.kill()


def test_the_first_command_of_the_readme_runs_two_jobs_and_ends(disk: Path) -> None:
    up = [*HEADRACE, "up", "--once", "--data", str(disk / "up"), "--port", str(free_port())]
    done = subprocess.run(up, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Hello from a WASM module" in done.stdout
    assert done.stdout.count("completed") == 2
    assert sys.executable == HEADRACE[0]


def test_the_queue_inside_a_program_of_the_readme_runs_its_job(disk: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", printed("embedded")],
        cwd=disk,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "144\n1\n"), done.stderr


def test_a_job_is_submitted_by_curl_and_from_python_as_the_readme_has_it(
    serve: Callable[..., Server], disk: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    server = serve()
    command = [*HEADRACE, "work", "--url", server.url, "--no-wasm"]
    worker = Process(command, disk / "echo.log")
    try:
        script = printed("quickstart").replace("http://127.0.0.1:8080", server.url)
        done = subprocess.run(
            ["sh", "-c", script], cwd=disk, capture_output=True, text=True, timeout=60
        )
        submitted, ended = done.stdout.split("}{", 1)
        assert '"status":"queued"' in submitted
        assert '"result":{"hello":"world"}' in ended, done
        done = subprocess.run(
            [sys.executable, "-c", printed("sdk")],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "HEADRACE_URL": server.url},
        )
        assert done.stdout == "{'hello': 'world'}\n", done
        for arguments, said in (
            (["submit", "echo", "--params", '{"hello": "world"}', "--wait"], '"hello": "world"'),
            (["list"], "echo"),
            (["top", "--once", "--interval", "0.2"], "completed"),
        ):
            done = subprocess.run(
                [*HEADRACE, *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                env={**os.environ, "HEADRACE_URL": server.url},
            )
            assert (done.returncode, said in done.stdout) == (0, True), done
    finally:
        worker.kill()


def test_the_worker_of_the_readme_does_its_job(serve: Callable[..., Server], disk: Path) -> None:
    (disk / "mymodule.py").write_text(printed("worker"))
    server = serve()
    command = [*HEADRACE, "work", f"{disk}/mymodule.py:worker", "--url", server.url, "--no-wasm"]
    worker = Process(command, disk / "resize.log")
    try:
        job_id = server.submit(type="resize", params={"path": "a.png", "width": 320})
        ended = server.wait_status(job_id, "completed")
        assert ended["result"]["result"] == {"width": 320}
        assert server.ask("GET", f"/api/v1/jobs/{job_id}/logs")[1] == b"resizing a.png\n"
    finally:
        worker.kill()
