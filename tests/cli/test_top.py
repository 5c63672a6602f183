"""`headrace top`: the picture, and the command against a real server."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from headrace.cli.top import Screen, spark
from headrace.sdk import ServerProblem
from headrace.sdk.views import JobsPage, JobView
from headrace.wire.document_routes import QueueView

WORKER = {
    "name": "w-1",
    "status": "draining",
    "running": 3,
    "free": {"cpu_cores": 1.5, "memory_mb": 512},
    "total": {"cpu_cores": 4.0, "memory_mb": 8_192},
}


class Stub:
    """Answers as a server would, with counters that rise by ten at each look."""

    def __init__(self, *, forbidden: bool = False) -> None:
        self.looks = 0
        self.forbidden = forbidden

    async def stats(self) -> dict[str, Any]:
        self.looks += 1
        jobs = dict.fromkeys(("enqueued", "dequeued", "completed", "failed"), self.looks * 10)
        span = {"p50": 0.002, "p99": 1.5}
        live = dict.fromkeys(
            ("queued", "resuming", "locked", "running", "scheduled", "suspended"), 7
        )
        return {
            "jobs": jobs,
            "recent": {"wait": span, "processing": span},
            "runtime": {"engine": {"live": live}},
        }

    async def queues(self) -> list[QueueView]:
        if self.forbidden:
            raise ServerProblem(403, {"code": "forbidden"})
        return [
            QueueView(
                **dict.fromkeys(QueueView.__struct_fields__)
                | {
                    "name": name,
                    "capacity": capacity,
                    "paused": paused,
                    "depth": depth,
                    "running": 0,
                }
            )
            for name, capacity, paused, depth in (
                ("idle", None, False, 0),
                ("default", None, False, 0),
                ("mail", 3, True, 12_345),
            )
        ]

    async def call(self, method: str, path: str) -> dict[str, Any]:
        if self.forbidden:
            raise ServerProblem(403, {"code": "forbidden"})
        return {"workers": [WORKER]}

    async def list(self, **_: Any) -> JobsPage:
        job = JobView(
            **dict.fromkeys(JobView.__struct_fields__)
            | {
                "name": "a name that is longer than " + "any that is " * 9 + "shown",
                "locked_by": "far.some.where.in.a.large.network.example",
                "progress": 0.25,
                "progress_details": "step 1 of 4",
            }
        )
        return JobsPage(jobs=[job], count=1)


def text_of(screen: Screen, width: int) -> str:
    out = Console(file=StringIO(), width=width)
    out.print(screen.picture(width))
    assert isinstance(out.file, StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("width", [80, 200])
async def test_a_picture_fits_its_width_and_tells_what_matters(width: int) -> None:
    screen, stub = Screen("http://127.0.0.1:8080"), Stub()
    for _ in range(3):
        await screen.look(stub)  # type: ignore[arg-type]
    text = text_of(screen, width)
    assert max(map(len, text.splitlines())) <= width
    for said in (
        "14 waiting",
        "14 running",
        "p50 2 ms  p99 1.5 s",
        "mail",
        "12,345",
        "paused",
        "draining",
        "a name that is longer",
        "far.some",
        " 25%",
        "step 1 of 4",
    ):
        assert said in text, said
    assert "1.5 of 4" in text
    assert "idle" not in text, "a queue without jobs tells nothing"


async def test_what_this_caller_may_not_see_is_left_out() -> None:
    screen = Screen("http://127.0.0.1:8080")
    await screen.look(Stub(forbidden=True))  # type: ignore[arg-type]
    text = text_of(screen, 80)
    assert "w-1" not in text
    assert "14 waiting" in text


async def test_trouble_is_shown_and_the_last_figures_stay() -> None:
    screen = Screen("http://127.0.0.1:8080")
    await screen.look(Stub())  # type: ignore[arg-type]
    screen.trouble = "cannot reach the server"
    text = text_of(screen, 80)
    assert "cannot reach the server" in text
    assert "14 waiting" in text


def test_bars_are_as_high_as_their_share_of_the_most() -> None:
    assert spark([0, 1, 2, 4], 10) == "▁▃▅█"
    assert spark([1, 2, 4], 2) == "▅█"
    assert spark([0, 0], 5) == "▁▁"
    assert spark([], 5) == ""


@pytest.mark.e2e
def test_one_picture_of_a_server_is_printed(headrace: Any, worker: Any) -> None:
    done = headrace("top", "--once", "--interval", "0.2")
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout
    assert "default" in done.stdout


@pytest.mark.e2e
def test_a_server_that_is_not_there_is_said(headrace: Any) -> None:
    done = headrace("top", "--once", url="http://127.0.0.1:9")
    assert done.returncode == 4
    assert "cannot reach" in done.stderr
