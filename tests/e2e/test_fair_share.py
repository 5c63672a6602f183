"""Tenants share a worker: whoever asks for little waits little, whatever others have in line."""

import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from processes import Process, Server

pytestmark = pytest.mark.e2e

Serve = Callable[..., Server]
Work = Callable[..., Process]

NAP_S = 0.2
SLOTS = 4


class Tenant:
    """What somebody does with a key of one tenant."""

    def __init__(self, server: Server, name: str, root: str) -> None:
        self.server = server
        self.headers = {"Authorization": f"Bearer {make_key(server, name, root)}"}

    def submit(self, jobs: int = 1) -> list[str]:
        body = [{"name": "n", "type": "nap", "params": {"seconds": NAP_S}}] * jobs
        status, answer = self.server.ask("POST", "/api/v1/jobs", body, headers=self.headers)
        assert status == 200, answer
        return [job["job_id"] for job in answer]

    def waited_s(self, job_id: str) -> float:
        """Return how long a job waited for its start."""
        path = f"/api/v1/jobs/{job_id}?wait=30s"
        status, answer = self.server.ask("GET", path, headers=self.headers)
        assert status == 200, answer
        job = answer["job"]
        assert job["status"] == "completed", job
        return (moment(job["started_at"]) - moment(job["created_at"])).total_seconds()

    def completed(self) -> int:
        path = "/api/v1/jobs?status=completed&limit=1000"
        status, answer = self.server.ask("GET", path, headers=self.headers)
        assert status == 200, answer
        return int(answer["count"])


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def make_key(server: Server, tenant: str, root: str, *scopes: str) -> str:
    body: dict[str, Any] = {"tenant": tenant, "user": "u", "scopes": scopes or ["submit", "read"]}
    headers = {"Authorization": f"Bearer {root}"} if root else {}
    status, answer = server.ask("POST", "/api/v1/keys", body, headers=headers)
    assert status == 200, answer
    return str(answer["key"])


def start(server: Server, work: Work, root: str, name: str) -> Process:
    key = make_key(server, "*", root, "work")
    return work(server, name, "--concurrency", str(SLOTS), "--api-key", key)


def test_who_asks_for_little_waits_little_beside_a_thousand_times_its_load(
    serve: Serve, work: Work
) -> None:
    server = serve()
    root = make_key(server, "*", "", "admin")
    a, b = Tenant(server, "a", root), Tenant(server, "b", root)
    a.submit(5_000)
    start(server, work, root, "w")
    b.waited_s(*b.submit())  # by then the worker is at work
    waits = []
    for _ in range(5):
        waits.append(b.waited_s(*b.submit()))
    assert statistics.median(waits) <= 2 * NAP_S, waits

    server.kill()
    server = serve()
    a, b = Tenant(server, "a", root), Tenant(server, "b", root)
    start(server, work, root, "w-after")
    b.waited_s(*b.submit())
    waits = [b.waited_s(*b.submit()) for _ in range(5)]
    assert statistics.median(waits) <= 2 * NAP_S, waits


def test_weights_are_shares_of_what_a_worker_does(serve: Serve, work: Work) -> None:
    server = serve()
    root = make_key(server, "*", "", "admin")
    a, b = Tenant(server, "a", root), Tenant(server, "b", root)
    path, headers = "/api/v1/tenants/a", {"Authorization": f"Bearer {root}"}
    status, answer = server.ask("PUT", path, {"weight": 3}, headers=headers)
    assert (status, answer["weight"]) == (200, 3)
    b.submit(500)
    a.submit(500)
    start(server, work, root, "w")
    due = time.monotonic() + 30
    while a.completed() + b.completed() < 80 and time.monotonic() < due:
        time.sleep(0.1)
    of_a, of_b = a.completed(), b.completed()
    assert of_a + of_b >= 80
    assert 0.7 <= of_a / (of_a + of_b) <= 0.8, (of_a, of_b)
