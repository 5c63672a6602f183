"""What a program is told of its jobs: by a function of its own, or a webhook that a job names."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import SimpleQueue
from typing import Any

import pytest

from headrace import AsyncQueue, Queue, QueueConfig
from headrace.embedded import Event
from headrace.runtime import events as ring
from headrace.worker import Context, PermanentError

S = 20.0
"""Nothing here takes nearly as long."""


def handle(ctx: Context, params: Any) -> Any:
    if params == "bad":
        raise PermanentError("no good", code="bad")
    return params


def test_a_program_hears_of_every_turn_of_its_jobs_in_order() -> None:
    heard: list[Event] = []
    with Queue(QueueConfig(max_workers=1), handle, on_event=heard.append) as queue:
        good = queue.enqueue("good", name="first", type="job")
        queue.wait(good, S)
        bad = queue.enqueue("bad", max_retries=3)
        queue.wait(bad, S)
        queue.delete(good)
        kept = queue.enqueue("late", delay="1h")
        queue.cancel(kept)
    of = {
        job_id: [
            (event.name, event.data.get("change"), event.data.get("status"))
            for event in heard
            if event.data["job_id"] == job_id
        ]
        for job_id in (good, bad, kept)
    }
    assert of[good] == [
        ("status", "submit", "queued"),
        ("status", "lease", "locked"),
        ("status", "complete", "completed"),
        ("deleted", None, None),
    ]
    assert of[bad][-1] == ("status", "fail", "failed")
    assert of[kept] == [("status", "submit", "scheduled"), ("status", "cancel", "cancelled")]
    end = next(event for event in heard if event.data.get("code"))
    assert (end.data["error"], end.data["code"], end.data["final"]) == ("no good", "bad", True)
    assert heard[0].data["name"] == "first"
    ids = [tuple(map(int, event.id.split("-"))) for event in heard]
    assert ids == sorted(ids)


def test_what_the_function_raises_costs_no_event() -> None:
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        raise ValueError("of the program")

    with Queue(None, handle, on_event=hear) as queue:
        queue.wait(queue.enqueue(1), S)
    assert [event.data["change"] for event in heard] == ["submit", "lease", "complete"]


def test_a_function_that_is_too_slow_stops_no_job_and_hears_that_it_has_missed_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ring, "RING_STEPS_MAX", 50)
    go, reset, heard = threading.Event(), threading.Event(), []

    def hear(event: Event) -> None:
        go.wait(S)
        heard.append(event)
        if event.name == "reset":
            reset.set()

    with Queue(None, handle, on_event=hear) as queue:
        queue.wait(queue.enqueue(0), S)
        queue.enqueue_many([{"params": number} for number in range(100)])
        assert queue.join(S)
        go.set()
        assert reset.wait(S)
        last = queue.enqueue("last")
        queue.wait(last, S)
    names = [event.name for event in heard]
    assert names.count("reset") == 1
    assert "lost" in heard[names.index("reset")].data["reason"]
    assert heard[-1].data["status"] == "completed"
    assert heard[-1].data["job_id"] == last


def test_a_function_that_never_returns_holds_up_the_end_for_its_deadline_only() -> None:
    never = threading.Event()
    queue = Queue(None, handle, on_event=lambda event: never.wait(60))
    queue.wait(queue.enqueue(1), S)
    assert queue.shutdown(0.1)
    never.set()


async def test_coroutines_have_it_too() -> None:
    heard: list[Event] = []
    async with AsyncQueue(None, handle, on_event=heard.append) as queue:
        await queue.wait(await queue.enqueue(1), S)
    assert [event.data["change"] for event in heard] == ["submit", "lease", "complete"]


@pytest.fixture
def receiver() -> Iterator[tuple[str, "SimpleQueue[dict[str, Any]]"]]:
    """An address that webhooks are sent to, and what came."""
    came: SimpleQueue[dict[str, Any]] = SimpleQueue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", came
        server.shutdown()
        thread.join()


def test_a_job_names_a_webhook_that_hears_of_its_end(
    receiver: tuple[str, "SimpleQueue[dict[str, Any]]"],
) -> None:
    url, came = receiver
    config = QueueConfig(
        webhook_http=True, webhook_ports=[0], webhook_allow_networks=["127.0.0.0/8"]
    )
    with Queue(config, handle) as queue:
        good = queue.enqueue("good", webhook_url=url)
        bad = queue.enqueue("bad", webhook_url=url)
        told = [came.get(timeout=S) for _ in range(2)]
    assert {(one["type"], one["data"]["job_id"]) for one in told} == {
        ("job.completed", good),
        ("job.failed", bad),
    }
