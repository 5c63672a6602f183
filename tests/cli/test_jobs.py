"""The commands against a real server and a real worker."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("worker")]


def test_submit_and_wait_print_the_result(headrace: Any) -> None:
    done = headrace("submit", "echo", "--params", '{"hello": "world"}', "--wait")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"hello": "world"})


def test_params_are_read_from_a_file_and_from_standard_input(headrace: Any, tmp_path: Path) -> None:
    file = tmp_path / "params.json"
    file.write_text("[1, 2]")
    from_file = headrace("submit", "echo", "--params", f"@{file}", "--wait")
    from_stdin = headrace("submit", "echo", "--params", "-", "--wait", stdin='"text"')
    assert json.loads(from_file.stdout) == [1, 2]
    assert json.loads(from_stdin.stdout) == "text"


def test_a_module_runs_and_its_output_is_the_commands(headrace: Any, wasm_file: Path) -> None:
    done = headrace("submit", str(wasm_file), "--memory-mb", "16", "--wait", "--", "a", "-b")
    assert (done.returncode, done.stdout) == (0, "hello there\n")


def test_a_job_that_fails_is_exit_code_1_with_its_reason(headrace: Any) -> None:
    failed = headrace("submit", "fail", "--retries", "0", "--wait")
    assert failed.returncode == 1
    assert "asked to fail" in failed.stderr
    assert failed.stdout == ""


def test_a_job_is_shown_listed_and_its_log_printed(headrace: Any) -> None:
    job_id = headrace("submit", "echo", "--name", "a name", "--tag", "t1").stdout.strip()
    assert headrace("wait", job_id).returncode == 0
    shown = headrace("get", job_id).stdout
    answer = json.loads(headrace("get", job_id, "--json").stdout)
    listed = headrace("list", "--tag", "t1").stdout
    page = json.loads(headrace("list", "--tag", "t1", "--json").stdout)
    log = headrace("logs", "-f", job_id).stdout
    assert "a name" in shown
    assert "completed" in shown
    assert answer["job"]["id"] == answer["result"]["job_id"] == job_id
    assert job_id in listed
    assert [job["id"] for job in page["jobs"]] == [job_id]
    assert log == f"echo of {job_id}, attempt 1\n"


def test_how_long_a_job_is_kept_is_said_at_its_submit(headrace: Any) -> None:
    for said, kept in (("7d", 604_800), ("90m", 5_400)):
        job_id = headrace("submit", "echo", "--retention", said).stdout.strip()
        assert json.loads(headrace("get", job_id, "--json").stdout)["job"]["retention"] == kept
    wrong = headrace("submit", "echo", "--retention", "often")
    assert wrong.returncode != 0
    assert "/retention" in wrong.stderr


def test_a_running_job_is_cancelled(headrace: Any) -> None:
    job_id = headrace("submit", "burn", "--params", '{"seconds": 600}').stdout.strip()
    cancelled = headrace("cancel", job_id)
    ended = headrace("wait", job_id)
    assert cancelled.returncode == 0
    assert cancelled.stdout.startswith(f"{job_id} cancel")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "ended as cancelled" in ended.stderr


def test_a_job_that_cannot_be_cancelled_keeps_no_other_from_it(headrace: Any) -> None:
    first = headrace("submit", "echo", "--delay", "1h").stdout.strip()
    second = headrace("submit", "echo", "--delay", "1h").stdout.strip()
    done = headrace("cancel", first, "01a200c0-5c4c-7000-8bac-56a9dc09a726", second)
    assert done.returncode == 3
    assert done.stdout == f"{first} cancelled\n{second} cancelled\n"
    assert "01a200c0-5c4c-7000-8bac-56a9dc09a726: No such job" in done.stderr


def test_a_waiting_job_is_explained_suspended_and_resumed(headrace: Any) -> None:
    job_id = headrace("submit", "echo", "--label", "zone=nowhere").stdout.strip()
    explained = headrace("explain", job_id)
    answer = json.loads(headrace("explain", job_id, "--json").stdout)
    suspended = headrace("suspend", job_id)
    resumed = headrace("resume", job_id)
    again = headrace("resume", job_id)
    headrace("cancel", job_id)
    ended = headrace("explain", job_id)
    assert explained.stdout.startswith(f"queued: {answer['reasons'][0]}\n")
    assert "workers that fit: 0 of 1 known" in explained.stdout
    assert suspended.stdout == f"{job_id} suspended\n"
    assert resumed.stdout == f"{job_id} resuming\n"
    assert (again.returncode, again.stdout) == (0, resumed.stdout)
    assert ended.stdout.startswith("cancelled: it does not wait\n")


def test_a_dead_job_is_found_and_runs_again(headrace: Any) -> None:
    headrace("submit", "fail", "--retries", "0", "--tag", "retried", "--wait")
    dead = headrace("list", "--status", "dead", "--tag", "retried", "--json").stdout
    job_id = json.loads(dead)["jobs"][0]["id"]
    again = headrace("retry", job_id)
    assert (again.returncode, again.stdout) == (0, f"{job_id} queued\n")
    ended = headrace("wait", job_id)
    assert (ended.returncode, json.loads(ended.stdout)) == (0, {"attempt": 2})
    done = headrace("submit", "echo", "--wait", "--tag", "done").returncode
    completed = json.loads(headrace("list", "--tag", "done", "--json").stdout)["jobs"][0]["id"]
    refused, forced = headrace("retry", completed), headrace("retry", "--force", completed)
    assert (done, refused.returncode, forced.returncode) == (0, 3, 0)
    assert "force" in refused.stderr


def test_a_job_keeps_its_progress_through_a_suspend(headrace: Any, server_url: str) -> None:
    from headrace.sdk import Client

    with Client(server_url) as client:
        job_id = client.submit("sleep", {"seconds": 2}).job_id
        while client.get(job_id).job.progress < 0.2:
            pass
        client.suspend(job_id)
        while client.get(job_id).status != "suspended":
            pass
        client.resume(job_id)
        log_before = client.get(job_id)
        ended = client.wait(job_id, timeout_s=30)
    assert log_before.status in ("resuming", "locked", "running")
    assert (ended.status, ended.job.attempt, ended.job.stops) == ("completed", 2, 1)


def test_waiting_has_an_end_of_its_own(headrace: Any) -> None:
    job_id = headrace("submit", "sleep", "--delay", "1h").stdout.strip()
    waited = headrace("wait", job_id, "--timeout", "50ms")
    headrace("cancel", job_id)
    assert waited.returncode == 1
    assert "is still scheduled" in waited.stderr


def test_the_same_key_gives_the_same_job(headrace: Any) -> None:
    first = headrace("submit", "echo", "--key", "k-1").stdout
    assert first == headrace("submit", "echo", "--key", "k-1").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["submit", "echo", "--params", "{oops"], 2, "is not JSON"),
        (["submit", "echo", "--", "argument"], 2, "give a typed job --params"),
        (["submit", "not-there.wasm"], 2, "there is no file"),
        (["submit", "./README.md"], 2, "is not a WASM file"),
        (["submit", "echo", "--verbose"], 2, "go after --"),
        (["submit", "echo", "--timeout", "soon"], 2, '"1h30m"'),
        (["submit", "echo", "--label", "nolabel"], 2, "NAME=VALUE"),
        (["submit", "echo", "--priority", "urgent"], 3, "priority"),
        (["sumbit"], 2, "Did you mean 'submit'"),
        (["lst"], 2, "Did you mean 'list'"),
        (["suspend", "01a200c0-5c4c-7000-8bac-56a9dc09a726"], 3, "headrace list"),
        (["get", "../../etc"], 2, "is not a job's id"),
        (["get", "01a200c0-5c4c-7000-8bac-56a9dc09a726"], 3, "headrace list"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    headrace: Any, arguments: list[str], code: int, said: str
) -> None:
    done = headrace(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_a_server_that_is_not_there_is_exit_code_4(headrace: Any) -> None:
    done = headrace("list", url="http://127.0.0.1:1")
    assert done.returncode == 4
    assert "headrace serve" in done.stderr


def test_a_job_runs_after_another_and_a_module_may_come_later(headrace: Any) -> None:
    first = headrace("submit", "echo", "--delay", "1h").stdout.strip()
    second = headrace("submit", "echo", "--after", first, "--after-any-end").stdout.strip()
    shown = json.loads(headrace("get", second, "--json").stdout)["job"]
    assert (shown["after"], shown["after_any_end"]) == ([first], True)
    sha256 = "ab" * 32
    absent = headrace("submit", f"sha256:{sha256}")
    assert absent.returncode == 3
    assert "module_unknown" in absent.stderr
    waits = headrace("submit", f"sha256:{sha256}", "--await-module", "--", "one")
    shown = json.loads(headrace("get", waits.stdout.strip(), "--json").stdout)["job"]
    assert (shown["wasm_sha256"], shown["arguments"]) == (sha256, ["one"])
    assert headrace("submit", "echo", "--await-module").returncode == 2
