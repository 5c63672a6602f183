"""The workers that docs/workers.md prints do their jobs, obey, and lose nothing at their end."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from processes import Process, Server

pytestmark = pytest.mark.e2e

PAGE = Path(__file__).resolve().parents[2] / "src" / "headrace" / "docs" / "workers.md"
COMMANDS = {"node": ("worker.mjs", ["node"]), "go": ("worker.go", ["go", "run"])}
START_S_MAX = 120.0
"""`go run` compiles first."""


@pytest.fixture
def start(
    serve: Callable[..., Server], disk: Path
) -> Iterator[Callable[[str], tuple[Server, Process]]]:
    with ExitStack() as stack:

        def begin(language: str) -> tuple[Server, Process]:
            file, command = COMMANDS[language]
            if shutil.which(command[0]) is None:
                pytest.skip(f"{command[0]} is not installed")
            found = re.search(
                rf"<!-- {language}-worker -->\s*```\w+\n(.*?)```", PAGE.read_text(), re.S
            )
            assert found is not None, f"no worker of {language} after its marker"
            (disk / file).write_text(found[1])
            if language == "go":  # so that a signal reaches the worker and not its compiler
                binary = str(disk / "go-worker")
                build = Process(["go", "build", "-o", binary, str(disk / file)], disk / "build.log")
                assert build.wait(START_S_MAX) == 0, build.output()
                command = [binary]
            else:
                command = [*command, str(disk / file)]
            server = serve()
            worker = Process(command, disk / "worker.log", {"HEADRACE_URL": server.url})
            stack.callback(worker.kill)
            return server, worker

        yield begin


@pytest.mark.parametrize("language", COMMANDS)
def test_a_worker_of_another_language_is_a_whole_one(
    start: Callable[[str], tuple[Server, Process]], language: str
) -> None:
    server, worker = start(language)
    ids = [
        server.submit(type="reverse", params={"text": f"{n} ŝtrâßê", "ms": n % 3})
        for n in range(40)
    ]
    for number, job_id in enumerate(ids):
        ended = server.wait_status(job_id, "completed")
        assert ended["result"]["result"] == {"text": f"{number} ŝtrâßê"[::-1]}
        assert ended["result"]["worker_id"] == f"{language}-1"
    wrong = server.submit(type="reverse", params={})
    failed = server.wait_status(wrong, "failed")
    assert (failed["job"]["attempt"], failed["result"]["error"]) == (1, "text is missing")
    long = server.submit(type="reverse", params={"text": "x", "ms": 600_000})
    until(lambda: server.ask("GET", f"/api/v1/jobs/{long}")[1]["job"]["status"] == "locked")
    assert server.ask("POST", f"/api/v1/jobs/{long}/cancel")[0] == 200
    server.wait_status(long, "cancelled")
    last = server.submit(type="reverse", params={"text": "ab", "ms": 700})
    until(lambda: server.ask("GET", f"/api/v1/jobs/{last}")[1]["job"]["status"] == "locked")
    assert worker.terminate() == 0, worker.output()
    ended = server.wait_status(last, "completed")
    assert (ended["result"]["result"], ended["job"]["attempt"]) == ({"text": "ba"}, 1)


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)
