"""How a server ends, and what it refuses to begin."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from http_client import Http, LostError, NotSentError
from processes import EXIT_BUSY, Server, free_port

pytestmark = pytest.mark.e2e


def test_a_second_server_on_the_directory_is_refused_and_the_first_goes_on(disk: Path) -> None:
    first = Server(disk / "data", free_port())
    try:
        first.wait_ready()
        second = Server(disk / "data", free_port())
        try:
            assert second.wait() == EXIT_BUSY
        finally:
            second.kill()
        assert first.job(first.submit(name="a", type="noop"))["job"]["status"] == "queued"
    finally:
        first.kill()


async def _submit_until_gone(port: int, acked: list[str]) -> None:
    http = Http(port)
    try:
        while True:
            status, data = await http.ask("POST", "/api/v1/jobs", b'{"name":"a","type":"noop"}')
            if status == 200:
                acked.append(json.loads(data)["job_id"])
            else:
                assert json.loads(data)["code"] == "shutting_down", data
    except (LostError, NotSentError):
        http.close()


async def _park(port: int) -> tuple[int, bytes]:
    poll = {"worker": "w", "serve": {"types": ["other"]}, "max_jobs": 1, "wait": "60s"}
    return await Http(port).ask("POST", "/api/v1/work/poll", json.dumps(poll).encode())


def test_sigterm_answers_what_is_parked_and_keeps_what_was_acknowledged(disk: Path) -> None:
    server = Server(disk / "data", free_port())
    acked: list[str] = []

    async def under_load() -> tuple[int, bytes]:
        parked = asyncio.create_task(_park(server.port))
        clients = [asyncio.create_task(_submit_until_gone(server.port, acked)) for _ in range(8)]
        while len(acked) < 200:
            await asyncio.sleep(0.01)
        server.popen.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
        return await parked

    try:
        server.wait_ready()
        status, data = asyncio.run(under_load())
        assert (status, json.loads(data)["jobs"]) == (200, [])
        assert server.wait() == 0
    finally:
        server.kill()

    again = Server(disk / "data", free_port())
    try:
        again.wait_ready()
        for job_id in acked:
            assert again.job(job_id)["job"]["status"] == "queued"
        assert again.terminate() == 0
    finally:
        again.kill()
