"""Many workers that wait: a job reaches the right one, and nobody else hears of it."""

import asyncio
import json
from collections.abc import Callable

import pytest
from http_client import Http
from processes import Server

pytestmark = pytest.mark.e2e

POLLS = 200
WOKEN = range(0, POLLS, 10)


async def park(port: int, number: int) -> list[str]:
    """Wait as a worker with a type of its own. Returns the types of the jobs it got."""
    http = Http(port)
    poll = {
        "worker": f"w-{number}",
        "serve": {"types": [f"type-{number}"]},
        "max_jobs": 5,
        "wait": "20s",
    }
    status, data = await http.ask("POST", "/api/v1/work/poll", json.dumps(poll).encode(), "", 60)
    assert status == 200, data
    http.close()
    return [work["job"]["type"] for work in json.loads(data)["jobs"]]


async def crowd(server: Server) -> None:
    polls = [asyncio.create_task(park(server.port, number)) for number in range(POLLS)]
    ask = asyncio.to_thread
    while (await ask(server.ask, "GET", "/api/v1/stats"))[1]["runtime"]["parked_polls"] < POLLS:
        await asyncio.sleep(0.01)
    for number in WOKEN:
        await ask(server.submit, type=f"type-{number}")
        assert await polls[number] == [f"type-{number}"]
    stats = (await ask(server.ask, "GET", "/api/v1/stats"))[1]
    assert stats["runtime"]["parked_polls"] == POLLS - len(WOKEN)
    server.popen.terminate()
    for number, jobs in enumerate(await asyncio.gather(*polls)):
        assert (jobs != []) == (number in WOKEN)


def test_a_job_wakes_the_one_worker_that_serves_it(serve: Callable[..., Server]) -> None:
    server = serve()
    asyncio.run(crowd(server))
    assert server.wait() == 0
