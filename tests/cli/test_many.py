"""`headrace submit` of many jobs, against a real server and a real worker."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.many import Tally

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("worker")]


def lines(*jobs: Any) -> str:
    return "".join(json.dumps(job) + "\n" for job in jobs)


def test_each_line_of_a_file_is_a_job_and_its_end_is_waited_for(
    headrace: Any, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text(lines(*({"type": "echo", "params": n} for n in range(1_200))) + "\n \n")
    done = headrace("submit", str(file), "--tag", "many", "--wait")
    assert done.returncode == 0, done.stderr
    ids = done.stdout.split()
    assert len(set(ids)) == 1_200
    assert "1,200 jobs submitted in " in done.stderr
    assert "headrace: 1200 completed" in done.stderr
    first = json.loads(headrace("get", ids[0], "--json").stdout)
    assert (first["result"]["result"], first["job"]["tags"]) == (0, ["many"])


@pytest.mark.parametrize(("jobs", "shown"), [(3, 3), (21, 0)])
def test_on_a_terminal_ids_do_not_chase_progress_away(
    jobs: int,
    shown: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    tally = Tally()
    for number in range(jobs):
        tally.take(f"job-{number}")
    assert capsys.readouterr().out == "", "while it goes on"
    tally.tell(stopped=False)
    out, err = capsys.readouterr()
    assert len(out.split()) == shown
    assert f"{jobs} jobs submitted" in err


def test_a_pipe_of_jobs_is_read_to_its_end_and_jobs_go_before_options(headrace: Any) -> None:
    stdin = lines({"type": "echo", "priority": "low"}, {"type": "echo"})
    done = headrace("submit", "-", "--priority", "high", stdin=stdin)
    shown = [json.loads(headrace("get", one, "--json").stdout) for one in done.stdout.split()]
    assert [job["job"]["priority"] for job in shown] == [2, 7]


def test_wrong_lines_are_named_and_nothing_of_their_batch_is_taken(headrace: Any) -> None:
    stdin = lines({"type": "echo"}, {"type": "echo", "timeout": "soon"}, {"typ": "echo"})
    done = headrace("submit", "-", "--tag", "wrong", stdin=stdin)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "line 2: timeout: " in done.stderr
    assert "line 3: " in done.stderr
    assert "0 jobs submitted; 2 refused; stopped there, --skip-wrong goes on" in done.stderr


def test_wrong_lines_can_be_left_out(headrace: Any) -> None:
    stdin = lines({"type": "echo"}, {"type": "echo", "timeout": "soon"}) + "{oops\n[]\n"
    stdin += lines({"type": "echo"})
    done = headrace("submit", "-", "--skip-wrong", "--wait", stdin=stdin)
    assert done.returncode == 3, "something was refused"
    assert len(done.stdout.split()) == 2
    for number in (2, 3, 4):
        assert f"line {number}: " in done.stderr
    assert "2 jobs submitted; 3 refused" in done.stderr
    assert "2 completed" in done.stderr


def test_jobs_that_do_not_complete_are_told_and_are_exit_code_1(headrace: Any) -> None:
    stdin = lines({"type": "echo"}, {"type": "fail", "max_retries": 0})
    done = headrace("submit", "-", "--wait", stdin=stdin)
    assert done.returncode == 1
    assert "ended as failed" in done.stderr
    assert "1 completed, 1 failed" in done.stderr


def test_a_directory_of_modules_is_a_job_each(headrace: Any, wasm_file: Path) -> None:
    (wasm_file.parent / "broken.wasm").write_bytes(b"no module")
    done = headrace("submit", f"{wasm_file.parent}/", "--memory-mb", "16", "--wait")
    assert done.returncode == 3
    assert len(done.stdout.split()) == 1
    assert "broken.wasm: " in done.stderr
    assert "1 completed" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["not-there.ndjson"], "cannot read"),
        (["-", "--key", "k"], "single job"),
        (["-", "--json"], "single job"),
        (["echo", "--skip-wrong"], "for many jobs"),
    ],
)
def test_what_cannot_be_meant_is_said(headrace: Any, arguments: list[str], said: str) -> None:
    done = headrace("submit", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_directory_without_modules_is_a_mistake(headrace: Any, tmp_path: Path) -> None:
    done = headrace("submit", str(tmp_path))
    assert done.returncode == 2
    assert "there is no *.wasm" in done.stderr
