"""`headrace work` as a process: how it ends whatever its handlers do."""

import signal
from pathlib import Path

import pytest

from headrace.sdk import Client

from .processes import Process

pytestmark = pytest.mark.e2e

TASKS = """
import asyncio, time
from headrace.worker import Worker
worker = Worker()

@worker.job("{kind}-blocks")
async def blocks(ctx):
    time.sleep(600)

@worker.job("{kind}-refuses")
async def refuses(ctx):
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

@worker.job("{kind}-sleeps")
async def sleeps(ctx):
    await ctx.sleep(600)

@worker.job("{kind}-thread")
def thread(ctx):
    time.sleep(600)
"""


@pytest.mark.parametrize("handler", ["blocks", "refuses", "thread"])
def test_a_handler_that_does_not_stop_does_not_keep_the_worker(
    server_url: str, tmp_path: Path, handler: str
) -> None:
    tasks = tmp_path / "tasks.py"
    tasks.write_text(TASKS.format(kind=handler))
    worker = Process("work", str(tasks), "--url", server_url, "--no-wasm", "--drain", "100ms")
    with Client(server_url) as client:
        job_id = client.submit(f"{handler}-{handler}").job_id
        while client.get(job_id).status != "running":
            pass
        assert worker.stop(signal.SIGTERM) == 0
        job = client.get(job_id).job
        client.cancel(job_id)
    assert (job.status, job.stops, job.crashes) == ("queued", 1, 0), "it was given back"
    assert "its slot stays reserved" in worker.text


def test_a_second_signal_gives_everything_back_at_once(server_url: str, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.py"
    tasks.write_text(TASKS.format(kind="second-signal"))  # a type that no other worker serves
    worker = Process("work", str(tasks), "--url", server_url, "--no-wasm", "--drain", "10m")
    with Client(server_url) as client:
        job_id = client.submit("second-signal-sleeps").job_id
        while client.get(job_id).status != "running":
            pass
        worker.process.send_signal(signal.SIGINT)
        worker.match("draining")
        assert worker.stop(signal.SIGINT) == 0
        job = client.get(job_id).job
        client.cancel(job_id)
    assert (job.status, job.stops) == ("queued", 1)


def test_a_worker_waits_for_its_server(tmp_path: Path) -> None:
    worker = Process("work", "--url", "http://127.0.0.1:1", "--no-wasm")
    worker.match("cannot reach http://127.0.0.1:1")
    assert worker.stop() == 0
