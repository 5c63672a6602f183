import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from headrace.http.serving import EXIT_IO_ERROR, EXIT_OK, serve
from headrace.runtime.config import Config, ConfigError
from headrace.runtime.node import Node


async def started(**config: Any) -> tuple[Node, "asyncio.Task[int]", str]:
    node = Node(Config(port=0, disk_reserve_mb=0, drain_s=5.0, **config))
    ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(node, lambda host, port: ready.set_result((host, port))))
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    host, port = await ready
    return node, serving, f"http://{host}:{port}"


@pytest.mark.parametrize("lane", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sends_parked_workers_home_and_stops(
    number: signal.Signals, lane: bool
) -> None:
    node, serving, url = await started(lane=lane)
    async with aiohttp.ClientSession(url) as client:
        poll = {"worker": "w", "wait": "60s"}
        waiting = asyncio.create_task(client.post("/api/v1/work/poll", json=poll))
        while not node.pump.stats().parked_polls:
            await asyncio.sleep(0.001)
        os.kill(os.getpid(), number)
        answer = await waiting
        assert (answer.status, (await answer.json())["jobs"]) == (200, [])
        assert await serving == EXIT_OK
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("/livez")


@pytest.mark.parametrize("lane", [True, False])
async def test_requests_under_way_are_answered_before_the_stop(lane: bool) -> None:
    node, serving, url = await started(lane=lane)
    async with aiohttp.ClientSession(url) as client:
        submits = [
            asyncio.create_task(client.post("/api/v1/jobs", json={"type": "t"})) for _ in range(20)
        ]
        while not node.pump.stats().engine.submitted_total:
            await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        answers = await asyncio.gather(*submits, return_exceptions=True)
        assert await serving == EXIT_OK
    acked = sum(not isinstance(answer, BaseException) for answer in answers)
    assert 0 < acked <= node.pump.stats().engine.submitted_total


@pytest.mark.parametrize("lane", [True, False])
async def test_a_failed_commit_ends_the_process_with_its_own_code(lane: bool) -> None:
    node, serving, url = await started(lane=lane)
    async with aiohttp.ClientSession(url) as client:
        poll = {"worker": "w", "wait": "60s"}
        waiting = asyncio.create_task(client.post("/api/v1/work/poll", json=poll))
        while not node.pump.stats().parked_polls:
            await asyncio.sleep(0.001)

        def broken(_batch: Any) -> None:
            raise OSError("the disk is gone")

        node.store.write = broken  # type: ignore[method-assign]
        answer = await client.post("/api/v1/jobs", json={"type": "t"})
        assert (answer.status, (await answer.json())["code"]) == (503, "outcome_unknown")
        assert (await waiting).status in {200, 503}
        assert await serving == EXIT_IO_ERROR


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    config = {"data_dir": tmp_path, "accept_any_filesystem": True}
    _, serving, url = await started(**config)
    async with aiohttp.ClientSession(url) as client:
        answer = await client.post("/api/v1/jobs", json={"type": "t", "params": {"a": 1}})
        submitted = await answer.json()
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    _, serving, url = await started(**config)
    async with aiohttp.ClientSession(url) as client:
        answer = await client.get(f"/api/v1/jobs/{submitted['job_id']}")
        assert (await answer.json())["job"]["params"] == {"a": 1}
        answer = await client.post("/api/v1/work/poll", json={"worker": "w"})
        assert (await answer.json())["jobs"][0]["job"]["id"] == submitted["job_id"]
    os.kill(os.getpid(), signal.SIGTERM)
    await serving


async def test_a_port_in_use_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node = Node(Config(port=taken.getsockname()[1], disk_reserve_mb=0))
        with pytest.raises(ConfigError, match="cannot listen on"):
            await serve(node)


def test_strangers_are_kept_out_unless_told_otherwise() -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        Config(host="0.0.0.0").check()
    Config(host="0.0.0.0", insecure=True).check()
