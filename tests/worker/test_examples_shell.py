"""The handler that runs programs: only those that are named, and nothing of theirs stays."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from headrace import Queue, QueueConfig
from headrace.worker.examples import shell
from headrace.worker.examples.shell import OUTPUT_BYTES_MAX

S = 30.0


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shell.PROGRAMS_VARIABLE, f"/bin/sh,{sys.executable},/not/there")
    monkeypatch.setenv("A_SECRET", "of the worker")


def ended(timeout: float = S, **params: Any) -> Any:
    with Queue(QueueConfig(), shell.worker) as queue:
        return queue.wait(queue.enqueue(params, max_retries=0, timeout=timeout), S)


@pytest.mark.usefixtures("programs")
def test_a_program_gets_its_words_and_its_output_is_the_result() -> None:
    code = "import os, sys; print(sys.argv[1:], sorted(os.environ), sys.stdin.read())"
    job = ended(
        program=sys.executable,
        arguments=["-c", code, "$HOME; *", "`id`"],
        environment={"MODE": "fast"},
        stdin="in",
    )
    assert job.completed, job.error
    assert job.value["output"].startswith("['$HOME; *', '`id`']")
    assert "A_SECRET" not in job.value["output"]
    assert "MODE" in job.value["output"]
    assert job.value["output"].endswith(" in\n")


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("program", ["/bin/cat", "sh", "/bin/../bin/sh", "", "/bin/sh,"])
def test_a_program_that_nobody_named_is_not_run(program: str) -> None:
    job = ended(program=program)
    assert (job.status, job.job.attempt) == ("failed", 1)


def test_without_the_variable_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(shell.PROGRAMS_VARIABLE, raising=False)
    job = ended(program="/bin/sh", arguments=["-c", "true"])
    assert (job.status, job.result.code) == ("failed", "program_not_allowed")


@pytest.mark.usefixtures("programs")
def test_an_exit_code_fails_the_job_unless_it_is_a_success() -> None:
    job = ended(program="/bin/sh", arguments=["-c", "echo why >&2; exit 3"])
    assert job.status == "failed"
    assert "it ended with 3: why" in job.error
    job = ended(program="/bin/sh", arguments=["-c", "exit 3"], success_codes=[0, 3])
    assert job.value["exit_code"] == 3
    assert ended(program="/not/there").status == "failed"


@pytest.mark.usefixtures("programs")
def test_of_a_long_output_the_end_is_kept() -> None:
    code = "import sys; sys.stdout.write('x' * 5_000_000 + 'end')"
    job = ended(program=sys.executable, arguments=["-c", code])
    assert job.value["output_cut"]
    assert len(job.value["output"]) == OUTPUT_BYTES_MAX
    assert job.value["output"].endswith("end")


@pytest.mark.usefixtures("programs")
def test_what_a_program_has_started_ends_with_the_job(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! $$ > {pids}; wait"
    job = ended(timeout=1.0, program="/bin/sh", arguments=["-c", script])
    assert job.status == "timeout"
    ends = time.monotonic() + S
    for pid in map(int, pids.read_text().split()):
        while is_running(pid):
            assert time.monotonic() < ends, pid
            time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text()
