"""Webhooks of a server that is killed: what it had committed is sent by the next one."""

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import Process, Server
from standardwebhooks import Webhook

pytestmark = pytest.mark.e2e

Serve = Callable[..., Server]
Work = Callable[..., Process]
WAIT_S = 60.0
FLAGS = (
    *("--webhook-http", "--webhook-ports", "0"),
    *("--webhook-allow-networks", "127.0.0.0/8"),
)


class Receiver:
    """Holds each request until `answers` is set; then it answers 204."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers = threading.Event()
        self._news = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._news:
                    receiver.got.append((headers, body))
                    receiver._news.notify_all()
                receiver.answers.wait(WAIT_S)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def until(self, holds: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(holds, WAIT_S), self.got

    def close(self) -> None:
        self.answers.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def ids(receiver: Receiver, name: str) -> set[str]:
    return {
        headers["webhook-id"]
        for headers, body in list(receiver.got)
        if json.loads(body)["type"] == name
    }


def test_events_of_a_server_killed_by_9_are_sent_by_the_next_under_the_same_id(
    serve: Serve, work: Work, disk: Path, receiver: Receiver
) -> None:
    server = serve(*FLAGS)
    hook = {"url": receiver.url, "events": ["scene.loaded", "job.*"], "secret": "webhook_secret"}
    status, _ = server.ask("POST", "/webhooks", hook)
    assert status == 201
    work(server, "steady")
    job_ids = [server.submit(type="emits") for _ in range(5)]
    for job_id in job_ids:
        server.wait_status(job_id, "completed")
    receiver.until(lambda: len(receiver.got) > 0)
    before = {headers["webhook-id"] for headers, _ in receiver.got}
    server.kill()
    receiver.answers.set()
    again = Server(disk / "data", server.port, *FLAGS)
    try:
        again.wait_ready()
        names = ("scene.loaded", "job.completed")
        receiver.until(lambda: all(len(ids(receiver, name)) == 5 for name in names))
    finally:
        again.kill()
    secret = base64.b64encode(b"webhook_secret").decode()
    for headers, body in receiver.got:
        Webhook(secret).verify(body, headers)
    seen = {headers["webhook-id"] for headers, _ in receiver.got}
    assert before <= seen
    assert len(seen) == 10, "each event has one id, however often it was sent"
    told = {json.loads(body)["data"]["job_id"] for _, body in receiver.got}
    assert told == set(job_ids)
