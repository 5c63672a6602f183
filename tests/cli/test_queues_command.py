"""`headrace queues`, `types` and `completion` against a real server."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.e2e


def test_a_queue_is_limited_paused_and_resumed(headrace: Any) -> None:
    limited = headrace("queues", "set", "letters", "--capacity", "20", "--description", "by post")
    paused = headrace("queues", "pause", "letters")
    listed = json.loads(headrace("queues", "--json").stdout)
    shown = headrace("queues").stdout
    resumed = headrace("queues", "resume", "letters")
    unlimited = headrace("queues", "set", "letters", "--capacity", "none")
    assert limited.returncode == 0, limited.stderr
    assert "20" in limited.stdout
    assert "paused" in paused.stdout
    (letters,) = [queue for queue in listed if queue["name"] == "letters"]
    assert (letters["capacity"], letters["paused"]) == (20, True)
    assert "by post" in shown
    assert "default" in shown
    assert "paused" not in resumed.stdout
    assert "no limit" in unlimited.stdout


def test_a_name_is_sent_as_it_is_whatever_it_holds(headrace: Any) -> None:
    done = headrace("queues", "set", "a/b c?d", "--capacity", "1")
    assert done.returncode == 0, done.stderr
    assert "a/b c?d" in headrace("queues").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["queues", "set", "q", "--capacity", "many"], 2, "a number or none"),
        (["queues", "pause", "nobody-knows-it"], 3, "no"),
        (["queues", "stop"], 2, "No such command"),
    ],
)
def test_mistakes_are_told(headrace: Any, arguments: list[str], code: int, said: str) -> None:
    done = headrace(*arguments)
    assert done.returncode == code
    assert said in done.stderr


def test_registered_types_are_listed(headrace: Any, server_url: str) -> None:
    from headrace.sdk import Client

    assert headrace("types").returncode == 0
    with Client(server_url) as client:
        client.call("PUT", "/api/v1/job-types/letter", {"timeout": "5m"})
        assert [one.id for one in client.job_types()] == ["letter"]
    assert headrace("types").stdout.splitlines()[1].split() == ["letter", "default", "300", "s"]
    assert json.loads(headrace("types", "--json").stdout)[0]["id"] == "letter"


def test_jobs_of_all_pages_come_one_by_one(headrace: Any, server_url: str) -> None:
    from headrace.sdk import Client

    with Client(server_url) as client:
        jobs = [{"type": "paged", "delay": 3600, "tags": ["paged"]}] * 250
        ids = [one.job_id for one in client.submit_many(jobs)]
        found = [job.id for job in client.jobs(tag=["paged"], limit=100)]
        assert found == ids[::-1]
        assert [job.id for job in client.jobs(tag=["paged"], most=3)] == ids[:-4:-1]
        for job_id in ids:
            client.cancel(job_id)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_is_told_how_to_complete(headrace: Any, shell: str) -> None:
    assert "_HEADRACE_COMPLETE" in headrace("completion", shell).stdout


def test_words_are_completed() -> None:
    env = {
        **os.environ,
        "_HEADRACE_COMPLETE": "bash_complete",
        "COMP_WORDS": "headrace su",
        "COMP_CWORD": "1",
    }
    code = "from headrace.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60
    )
    assert done.stdout.split() == ["plain,submit", "plain,suspend"]
