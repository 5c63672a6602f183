"""`headrace watch`, against a real server and a real worker."""

import json
from typing import Any

import pytest

from headrace.cli.watch import Shown
from headrace.sdk.client import Event

pytestmark = pytest.mark.e2e


@pytest.mark.usefixtures("worker")
def test_a_job_is_followed_to_its_end_with_progress_and_result(headrace: Any) -> None:
    assert headrace("queues", "set", "watched", "--capacity", "1").returncode == 0
    assert headrace("queues", "pause", "watched").returncode == 0
    job_id = headrace(
        "submit", "sleep", "--queue", "watched", "--params", '{"seconds": 1}'
    ).stdout.strip()
    with headrace.begin("watch", job_id) as watch:
        assert watch.stdout is not None
        assert job_id in watch.stdout.readline()
        assert headrace("queues", "resume", "watched").returncode == 0
        shown = watch.stdout.read()
    assert watch.returncode == 0, shown
    assert "%" in shown
    assert "completed" in shown
    assert '"slept_s": 1' in shown


@pytest.mark.usefixtures("worker")
def test_a_log_is_shown_line_by_line_and_left_out_on_demand(headrace: Any, wasm_file: Any) -> None:
    job_id = headrace("submit", "fail", "--retries", "0").stdout.strip()
    done = headrace("watch", job_id)
    assert done.returncode == 1
    assert "ended as failed" in done.stderr
    assert "asked to fail" in done.stderr
    assert " | " not in headrace("watch", job_id, "--no-logs").stdout


@pytest.mark.usefixtures("worker")
def test_events_are_lines_of_json(headrace: Any) -> None:
    job_id = headrace("submit", "echo", "--params", "1").stdout.strip()
    done = headrace("watch", job_id, "--json")
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "snapshot"
    assert (events[-1]["status"], events[-1]["job_id"]) == ("completed", job_id)


def test_it_gives_up_when_told_so_and_the_job_goes_on(headrace: Any) -> None:
    job_id = headrace("submit", "echo", "--delay", "1h").stdout.strip()
    done = headrace("watch", job_id, "--timeout", "2s")
    assert done.returncode == 1
    assert f"job {job_id} is still scheduled" in done.stderr
    assert headrace("watch", "019300b1-0000-7000-8000-000000000001").returncode == 3
    assert headrace("watch", job_id, url="http://127.0.0.1:1").returncode == 4


def test_lines_of_a_log_are_whole_and_cannot_move_the_cursor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Shown()
    with shown:
        for text in ("one\ntw", "o\n", "\x1b[2Jthree\r"):
            shown.take(Event("log", {"log": text}))
    assert capsys.readouterr().out.splitlines() == [
        "         | one",
        "         | two",
        "         | �[2Jthree�",
    ]
