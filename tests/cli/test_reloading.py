"""`headrace work --reload`: the code that runs is the code that was saved last."""

import os
import signal
from pathlib import Path

import pytest

from headrace.cli.reloading import look, watched
from headrace.sdk import Client

from .processes import Process

TASKS = """
from headrace.worker import Worker
worker = Worker()

@worker.job("version")
def version(ctx):
    return {}
"""


@pytest.mark.e2e
def test_a_change_is_run_and_a_mistake_is_lived_through(server_url: str, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.py"
    tasks.write_text(TASKS.format(1))
    worker = Process("work", str(tasks), "--url", server_url, "--no-wasm", "--reload")
    try:
        with Client(server_url) as client:

            def version() -> int:
                job = client.wait(client.submit("version").job_id, timeout_s=60)
                assert job.completed, (job.status, job.error, worker.text)
                return int(job.value)

            assert version() == 1
            tasks.write_text("this is no Python\n")
            worker.match("SyntaxError|invalid syntax")
            job_id = client.submit("version").job_id
            tasks.write_text(TASKS.format(22))
            assert client.wait(job_id, timeout_s=30).value == 22
            tasks.write_text(TASKS.format(333))
            worker.match(r"(?s)(has changed.*){3}")
            assert version() == 333
    finally:
        assert worker.stop(signal.SIGTERM) == 0
    assert "Traceback" not in worker.text.rpartition("has changed")[2]


def test_the_files_that_count_are_those_beside_the_module(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / ".venv").mkdir()
    for name in ("tasks.py", "pkg/part.py", "pkg/notes.txt", ".venv/lib.py"):
        (tmp_path / name).write_text("1")
    assert watched(f"{tmp_path}/tasks.py:worker") == tmp_path
    assert watched(f"{tmp_path}/tasks.py") == tmp_path
    assert watched("tasks:worker") == Path.cwd()
    seen = look(tmp_path)
    assert sorted(os.path.relpath(path, tmp_path) for path in seen) == ["pkg/part.py", "tasks.py"]
    (tmp_path / "pkg/part.py").write_text("22")
    assert look(tmp_path) != seen
