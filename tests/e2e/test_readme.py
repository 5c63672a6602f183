"""What README.md tells to type, typed."""

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
EMBEDDED = re.compile(r"<!-- embedded -->\s*```python\n(.*?)```", re.DOTALL)
CURL_WORKER = re.compile(r"<!-- curl-worker -->\s*```sh\n(.*?)```", re.DOTALL)


def test_the_curl_worker_of_the_readme_does_its_jobs(
    serve: Callable[..., Server], disk: Path
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    found = CURL_WORKER.search(README.read_text())
    assert found is not None, "README.md has no curl worker after its marker"
    server = serve()
    worker = Process(["sh", "-c", found[1]], disk / "curl.log", {"HEADRACE_URL": server.url})
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
    found = EMBEDDED.search(README.read_text())
    assert found is not None, "README.md has no embedded queue after its marker"
    done = subprocess.run(
        [sys.executable, "-c", found[1]], cwd=disk, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "144\n1\n"), done.stderr
