"""Seen from outside, through strace: no answer leaves before its commit is on the disk."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import syscalls
from http_client import Http, LostError, NotSentError
from processes import (
    EXIT_BROKEN_DISK,
    LYING,
    Server,
    free_port,
    running_children,
)

pytestmark = pytest.mark.e2e

CLIENTS = 8
ROUNDS = 12
ANSWERS_MIN = CLIENTS * ROUNDS * 3
SUBMITTERS = 3
"""And so many workers."""
BATCH = 100
BATCH_ROUNDS = 10
GOOD_COMMITS = 30
Load = Callable[[int, dict[str, str]], Coroutine[Any, Any, None]]


async def post(http: Http, path: str, body: Any) -> Any:
    status, data = await http.ask("POST", path, json.dumps(body).encode())
    assert status == 200, (path, status, data)
    return json.loads(data)


async def client(port: int, number: int, proofs: dict[str, str]) -> None:
    """Submit, lease and complete, and note how each answer can be found and proved."""
    http = Http(port)
    kind = f"type-{number}"
    for round_ in range(ROUNDS):
        jobs = [{"name": f"{kind}-{round_}-{item}", "type": kind} for item in range(3)]
        taken = await post(http, "/api/v1/jobs", jobs if round_ % 2 else jobs[0])
        for job in taken if isinstance(taken, list) else [taken]:
            proofs[job["job_id"]] = job["job_id"]
        poll = {"worker": kind, "serve": {"types": [kind]}, "max_jobs": 10}
        given = (await post(http, "/api/v1/work/poll", poll))["jobs"]
        for one in given:
            value = f"value-{one['job']['name']}"
            body = {"result": {"value": value}}
            lease = one["lease"]
            await post(http, f"/api/v1/leases/{lease}/complete", body)
            # The poll's answer has the lease too, but not followed by this.
            proofs[f'{lease}\\",\\"ok\\":true'] = value
    http.close()


async def all_clients(port: int, proofs: dict[str, str]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(CLIENTS):
            tasks.create_task(client(port, number, proofs))


class Batches:
    """W4 of the benchmark: a hundred jobs a request, submitted and consumed at once."""

    def __init__(self, port: int, proofs: dict[str, str]) -> None:
        self.port = port
        self.proofs = proofs
        self.submitting = SUBMITTERS

    async def submit(self, number: int) -> None:
        http = Http(self.port)
        for round_ in range(BATCH_ROUNDS):
            names = [f"job-{number}-{round_}-{item}" for item in range(BATCH)]
            jobs = [{"name": name, "type": "noop"} for name in names]
            for job in await post(http, "/api/v1/jobs", jobs):
                self.proofs[job["job_id"]] = job["job_id"]
        self.submitting -= 1
        http.close()

    async def work(self, number: int) -> None:
        http = Http(self.port)
        value_of: dict[str, str] = {}
        while self.submitting or value_of:
            answer = await post(
                http,
                "/api/v1/work/poll",
                {
                    "worker": f"worker-{number}",
                    "max_jobs": BATCH,
                    "wait": "200ms",
                    "reports": [
                        {"lease": lease, "outcome": "completed", "result": {"value": value}}
                        for lease, value in value_of.items()
                    ],
                },
            )
            for ack in answer["acks"]:
                self.proofs[f'{ack["lease"]}\\",\\"ok\\":true'] = value_of[ack["lease"]]
            value_of = {one["lease"]: f"value-{one['job']['id']}" for one in answer["jobs"]}
        http.close()


async def in_batches(port: int, proofs: dict[str, str]) -> None:
    load = Batches(port, proofs)
    async with asyncio.TaskGroup() as tasks:
        for number in range(SUBMITTERS):
            tasks.create_task(load.submit(number))
            tasks.create_task(load.work(number))


def traced(
    disk: Path,
    load: Load,
    command: list[str] | None = None,
    env: dict[str, str] | None = None,
) -> tuple[list[syscalls.Call], dict[str, str]]:
    trace = disk / "trace"
    prefix = syscalls.strace(trace)
    server = Server(disk / "data", free_port(), command=command, prefix=prefix, env=env)
    proofs: dict[str, str] = {}
    try:
        server.wait_ready()
        asyncio.run(load(server.port, proofs))
        os.kill(running_children(server.pid)[0], signal.SIGTERM)
        assert server.wait() == 0
    finally:
        server.kill()
    return syscalls.parse(trace), proofs


LOADS = {"singly": all_clients, "in batches": in_batches}


@pytest.mark.parametrize("load", LOADS)
def test_every_answer_leaves_after_its_commit_is_on_the_disk(disk: Path, load: str) -> None:
    calls, proofs = traced(disk, LOADS[load])
    assert len(proofs) >= ANSWERS_MIN
    assert syscalls.early(calls, proofs) == []
    if load == "in batches":
        commits = sum(call.name == "fdatasync" for call in calls)
        assert commits < len(proofs) / 20, "they were no batches"


@pytest.mark.parametrize("load", LOADS)
def test_the_trace_shows_a_server_that_answers_too_early(disk: Path, load: str) -> None:
    calls, proofs = traced(disk, LOADS[load], LYING, {"DEFECT": "ack-before-commit"})
    assert syscalls.early(calls, proofs) != []


async def submit_until_it_breaks(port: int) -> tuple[list[str], list[str]]:
    """Ids that were acknowledged, and codes of the refusals that followed."""
    acked: list[str] = []
    codes: list[str] = []

    async def one(number: int) -> None:
        http = Http(port)
        try:
            while True:
                job = json.dumps({"name": f"job-{number}", "type": "noop"}).encode()
                status, data = await http.ask("POST", "/api/v1/jobs", job)
                answer = json.loads(data)
                if status == 200:
                    acked.append(answer["job_id"])
                else:
                    codes.append(answer["code"])
                    assert answer["outcome"] == "unknown", answer
        except (LostError, NotSentError):
            http.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(one(number))
    return acked, codes


def test_a_disk_error_ends_the_server_and_loses_nothing_acknowledged(disk: Path) -> None:
    trace = disk / "trace"
    inject = ("-e", f"inject=fdatasync:error=EIO:when={GOOD_COMMITS}+")
    prefix = syscalls.strace(trace, *inject)
    server = Server(disk / "data", free_port(), prefix=prefix)
    try:
        server.wait_ready()
        acked, codes = asyncio.run(submit_until_it_breaks(server.port))
        assert server.wait() == EXIT_BROKEN_DISK, server.output()[-2_000:]
    finally:
        server.kill()
    assert len(acked) >= GOOD_COMMITS - 5
    assert set(codes) <= {"outcome_unknown"}
    calls = syscalls.parse(trace)
    broke_s = min(c.ended_s for c in calls if c.name == "fdatasync" and "EIO" in c.text)
    told = syscalls.told_at_s(calls, acked)
    assert max(told.values()) < broke_s, "acknowledged after the disk had failed"

    again = Server(disk / "data", free_port())
    try:
        again.wait_ready()
        for job_id in acked:
            assert again.job(job_id)["job"]["status"] == "queued"
        assert again.terminate() == 0
    finally:
        again.kill()


def test_a_stalled_disk_costs_no_lease(disk: Path) -> None:
    """A commit takes longer than a lease; the worker's beats go unanswered, and it keeps its job.

    The clock of the leases stands still from the second second of a stall on.
    """
    trace = disk / "trace"
    stall = ("-e", "inject=fdatasync:delay_enter=4000000:when=3")
    prefix = syscalls.strace(trace, *stall, calls="fdatasync")
    server = Server(disk / "data", free_port(), "--lease", "2500ms", prefix=prefix)
    try:
        server.wait_ready()
        job_id = server.submit(name="held", type="held")
        poll = {"worker": "w", "serve": {"types": ["held"]}, "max_jobs": 1}
        lease = server.ask("POST", "/api/v1/work/poll", poll)[1]["jobs"][0]["lease"]
        server.submit(name="stalled", type="other")
        beat = {"worker": "w", "max_jobs": 0, "running": [lease]}
        assert server.ask("POST", "/api/v1/work/poll", beat)[1]["control"] == []
        job = server.job(job_id)["job"]
        assert (job["crashes"], job["attempt"]) == (0, 1)
    finally:
        server.kill()
