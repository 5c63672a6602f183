"""A cancel ends the process that computes, not only the job's status."""

import base64
from collections.abc import Callable

import pytest
import wasmtime
from cpu import busiest_child, wait_gone
from processes import Process, Server

pytestmark = pytest.mark.e2e

Serve = Callable[..., Server]
Work = Callable[..., Process]

ENDLESS = base64.b64encode(
    wasmtime.wat2wasm('(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))')
).decode()
SMALL = {"cpu_cores": 0.1, "memory_mb": 16}


def cancel(server: Server, job_id: str) -> None:
    status, answer = server.ask("POST", f"/api/v1/jobs/{job_id}/cancel")
    assert status == 200, answer


def test_a_cancelled_wasm_loop_is_gone_and_the_worker_takes_the_next_job(
    serve: Serve, work: Work
) -> None:
    server = serve()
    worker = work(server, "w", "--concurrency", "1")
    job_id = server.submit(wasm_module=ENDLESS, requirements=SMALL)
    server.wait_status(job_id, "running")
    child = busiest_child(worker.pid)
    cancel(server, job_id)
    wait_gone(child)
    assert server.wait_status(job_id, "cancelled")["job"]["attempt"] == 1
    following = server.submit(type="nap", params={"seconds": 0})
    server.wait_status(following, "completed")


def test_a_cancelled_python_loop_in_a_process_is_gone_and_the_worker_takes_the_next_job(
    serve: Serve, work: Work
) -> None:
    server = serve()
    work(server, "w", "--concurrency", "1")
    job_id = server.submit(type="spin")
    child = told_pid(server, job_id)
    cancel(server, job_id)
    wait_gone(child)
    assert server.wait_status(job_id, "cancelled")["job"]["attempt"] == 1
    following = server.submit(type="nap", params={"seconds": 0})
    server.wait_status(following, "completed")


def told_pid(server: Server, job_id: str) -> int:
    """The handler tells its process as the details of its progress."""
    for _ in range(3_000):
        job = server.job(job_id)["job"]
        if job["progress_details"]:
            return int(job["progress_details"])
    raise AssertionError(f"no progress: {job}")
