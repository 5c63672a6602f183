"""The Python examples of a published job API run, as printed, against this server and a worker.

They are taken from the document at test time, and not kept here. Where one cannot run as printed,
its test says what was changed.
"""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from network import OwnNetwork, SharedNetwork, is_free
from processes import HEADRACE, Process, Server, disk_dir

pytestmark = pytest.mark.e2e

DOCUMENTS = Path(__file__).resolve().parents[3] / "shared" / "seeds"
PORT = 8080
"""The examples name it."""
RUNNING_MAX = 3
"""So does the document: jobs that run at once."""
PROGRAM_S_MAX = 60
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
SCENE = '[gd_scene format=3]\n\n[node name="{name}" type="Node3D"]\n'
FLASK = """
class Flask:
    def __init__(self, name):
        self.pages = {}
    def route(self, path):
        return lambda page: self.pages.setdefault(path, page)

def render_template(name, **values):
    return name, values
"""


# The examples -----------------------------------------------------------------------------------


def examples() -> list[str]:
    found = sorted(DOCUMENTS.glob("003_*.txt"))
    if not found:
        pytest.skip(f"the document with the examples is not in {DOCUMENTS}")
    return BLOCK.findall(found[0].read_text())


def example(mark: str) -> str:
    """Return the one example with a text in it, as printed."""
    (found,) = [text for text in examples() if mark in text]
    return found


def beginning() -> str:
    """Return what the first example sets up for all of them: imports, address, headers."""
    first = examples()[0]
    for statement in ast.parse(first).body:
        if isinstance(statement, ast.Assign) and "headers" in ast.unparse(statement.targets):
            return "".join(first.splitlines(keepends=True)[: statement.end_lineno])
    raise AssertionError("the first example sets no headers")


def test_there_are_as_many_examples_as_there_are_tests_for() -> None:
    assert len(examples()) == 10


# A server and a worker for them -----------------------------------------------------------------


class Place:
    """A server with a worker on the port of the examples, and programs beside them."""

    def __init__(self, network: OwnNetwork | SharedNetwork, server: Server, path: Path) -> None:
        self._network = network
        self._server = server
        self._path = path

    def run(self, program: str, *, fails: bool = False) -> str:
        """Run a program to its end; return what it printed."""
        file = self._path / "example.py"
        file.write_text(program)
        env = {name: text for name, text in os.environ.items() if "proxy" not in name.lower()}
        done = self._network.call(
            subprocess.run,
            [sys.executable, "-u", str(file)],
            capture_output=True,
            text=True,
            timeout=PROGRAM_S_MAX,
            check=False,
            env={**env, "PYTHONPATH": str(self._path / "stubs")},
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return str(done.stdout if not fails else done.stderr)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return self._network.call(self._server.ask, method, path, body)

    def submit(self, **job: Any) -> str:
        status, answer = self.ask("POST", "/jobs", job)
        assert status == 202, answer
        return str(answer["job_id"])

    def ended(self, job_id: str) -> Any:
        """Return a job when it has ended."""
        status, answer = self.ask("GET", f"/jobs/{job_id}?wait=20s")
        assert (status, answer["success"]) == (200, True)
        assert answer["job"]["completed_at"] is not None, answer
        return answer["job"]

    def listed(self, query: str) -> list[str]:
        return [job["id"] for job in self.ask("GET", f"/jobs?{query}")[1]["jobs"]]

    @contextmanager
    def full(self) -> Iterator[list[str]]:
        """Hold as many jobs as may run at once, and give the ids of those and of one more."""
        jobs = [self.submit(type="held", priority=9) for _ in range(RUNNING_MAX + 1)]
        serve = {"worker": "holder", "serve": {"types": ["held"]}, "max_jobs": 10}
        taken = self.ask("POST", "/api/v1/work/poll", serve)[1]["jobs"]
        assert [work["job"]["id"] for work in taken] == jobs[:RUNNING_MAX]
        yield jobs
        for job_id in jobs:
            self.ask("POST", f"/jobs/{job_id}/cancel")
        reports = [{"lease": work["lease"], "outcome": "cancelled"} for work in taken]
        self.ask(
            "POST", "/api/v1/work/poll", {"worker": "holder", "reports": reports, "max_jobs": 0}
        )


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    pytest.importorskip("requests", reason="the examples speak through requests")
    examples()
    network: OwnNetwork | SharedNetwork
    try:
        network = OwnNetwork()
    except OSError as error:
        if not is_free(PORT):
            pytest.skip(f"port {PORT} is taken, and no network of its own to be had: {error}")
        network = SharedNetwork()
    with ExitStack() as stack:
        stack.callback(network.close)
        path = stack.enter_context(disk_dir())
        game = path / "game"
        game.mkdir()
        for name in ("vr_main", "node_3d", "test_scene", *(f"scene{i}" for i in range(50))):
            (game / f"{name}.tscn").write_text(SCENE.format(name=name))
        (path / "stubs").mkdir()
        (path / "stubs" / "flask.py").write_text(FLASK)
        capacity = ("--queue", f"default={RUNNING_MAX}")
        server = network.call(Server, path / "data", PORT, *capacity)
        stack.callback(server.kill)
        network.call(server.wait_ready)
        worker = network.call(
            Process,
            [*HEADRACE, "work", "headrace.worker.examples.godot:worker", "--no-wasm"],
            path / "worker.log",
            {"HEADRACE_GODOT_PROJECT": str(game), "HEADRACE_URL": f"http://127.0.0.1:{PORT}"},
        )
        stack.callback(worker.kill)
        yield Place(network, server, path)


# As printed -------------------------------------------------------------------------------------


def test_scenes_are_preloaded_and_their_result_is_shown(place: Place) -> None:
    said = place.run(examples()[0])
    assert "Job submitted: " in said
    assert "Status: completed, Progress: 100%" in said
    assert "'scenes_loaded': 3, 'total_scenes': 3" in said


def test_a_large_batch_is_submitted_and_done(place: Place) -> None:
    said = place.run(beginning() + example("operations = ["))
    job = place.ended(said.split()[-1])
    assert (job["status"], job["progress"]) == ("completed", 1)
    assert (job["result"]["total"], job["result"]["failed"]) == (50, 0)
    assert "message" in job["result"]


def test_a_job_is_cancelled_while_it_waits(place: Place) -> None:
    with place.full():
        said = place.run(beginning() + example("requests.delete"))
    assert said == "Job cancelled successfully\n"
    (newest,) = place.listed("type=cache_warming&limit=1")
    assert place.ended(newest)["status"] == "cancelled"


def test_polling_with_growing_waits_returns_the_job_or_gives_up(place: Place) -> None:
    job_id = place.submit(type="cache_warming", parameters={})
    polls = beginning() + example("def poll_job_with_backoff")
    said = place.run(polls + f"\nprint(poll_job_with_backoff({job_id!r})['result'])\n")
    assert "'cache_warmed': True" in said
    with place.full() as held:
        said = place.run(polls + f"\npoll_job_with_backoff({held[-1]!r}, max_wait=1)\n", fails=True)
    assert "TimeoutError" in said


def test_a_submit_is_tried_again_but_not_when_it_is_refused(place: Place) -> None:
    submits = beginning() + example("def submit_job_with_retry")
    said = place.run(submits + "\nprint(submit_job_with_retry({'type': 'cache_warming'}))\n")
    assert place.ended(said.strip())["status"] == "completed"
    said = place.run(submits + "\nsubmit_job_with_retry({'parameters': {}})\n", fails=True)
    assert "ValueError: {'success': False, 'error': " in said


# As printed, with what they only name -----------------------------------------------------------


def test_a_dashboard_shows_jobs_of_any_number_and_one(place: Place) -> None:
    """Flask is not served: a stand-in of its two names calls the pages and keeps what they show."""
    job_id = place.submit(type="cache_warming", parameters={})
    place.ended(job_id)
    said = place.run(
        beginning()
        + example("from flask import")
        + "\nimport json\nprint(json.dumps([*app.pages['/jobs'](),"
        + f" *app.pages['/jobs/<job_id>']({job_id!r})]))\n"
    )
    page, listed, detail, shown = json.loads(said)
    assert (page, detail) == ("jobs.html", "job_detail.html")
    assert job_id in [job["id"] for job in listed["jobs"]]
    assert {"id", "type", "status", "progress", "created_at"} <= listed["jobs"][0].keys()
    assert (shown["job"]["id"], shown["job"]["status"]) == (job_id, "completed")


def test_a_failed_job_tells_its_error(place: Place) -> None:
    """The function and the id that it only names are made here."""
    missing = [{"action": "load", "scene_path": "res://missing.tscn"}]
    job_id = place.submit(type="batch_operations", params={"operations": missing, "mode": "stop"})
    assert place.ended(job_id)["status"] == "failed"
    named = (
        f"\njob_id = {job_id!r}\ndef get_job_status(job_id):\n"
        "    url = f'{API_URL}/jobs/{job_id}'\n"
        "    return requests.get(url, headers=headers).json()['job']\n"
    )
    said = place.run(beginning() + named + example("get_job_status("))
    assert said.startswith("Job failed: operation 1 of 1 did not succeed")


def test_a_webhook_is_registered_and_a_job_submitted(place: Place) -> None:
    """The function that it only names is made here."""
    named = "\ndef submit_job(anything):\n    print('submitted')\n"
    assert place.run(beginning() + named + example("/webhooks")) == "submitted\n"
    status, answer = place.ask("GET", "/webhooks")
    assert (status, answer["success"]) == (200, True)
    assert "scene.validated" in json.dumps(answer)
    assert "webhook_secret" not in json.dumps(answer)


# In their nearest valid form --------------------------------------------------------------------


def test_several_jobs_are_watched_to_their_ends(place: Place) -> None:
    """It names jobs 1, 2 and 3. Ids are not counted here, so real ones stand in their place."""
    ids = [place.submit(type="cache_warming", parameters={}) for _ in range(3)]
    printed = example("def monitor_jobs")
    assert printed.count('job_ids = ["1", "2", "3"]') == 1
    said = place.run(beginning() + printed.replace('["1", "2", "3"]', json.dumps(ids)))
    for job_id in ids:
        assert f"Job {job_id}: completed (100%)" in said


def test_jobs_are_submitted_and_watched_side_by_side(place: Place) -> None:
    """It has a brace too many where it is printed, and is no Python before that is taken out."""
    printed = example("ThreadPoolExecutor")
    with pytest.raises(SyntaxError) as error:
        ast.parse(printed)
    lines = printed.splitlines(keepends=True)
    assert error.value.lineno is not None
    assert error.value.offset is not None
    line, column = error.value.lineno - 1, error.value.offset - 1
    assert lines[line][column] == "}"
    lines[line] = lines[line][:column] + lines[line][column + 1 :]
    assert place.run(beginning() + "".join(lines)) == "Completed 10 jobs\n"


# What its text says beside ----------------------------------------------------------------------


def test_no_more_jobs_run_at_once_than_the_queue_may_hold(place: Place) -> None:
    with place.full() as jobs:
        assert sorted(place.listed("status=running")) == sorted(jobs[:RUNNING_MAX])
        assert place.listed("type=held&status=queued") == jobs[RUNNING_MAX:]
        behind = place.submit(type="cache_warming")
        status, refusal = place.ask("DELETE", f"/jobs/{jobs[0]}")
        assert (status, refusal["error"]) == (400, "Can only cancel queued jobs")
        assert place.ask("GET", f"/jobs/{behind}")[1]["job"]["status"] == "queued"
    assert place.ended(behind)["status"] == "completed"
