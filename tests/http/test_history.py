"""The last hour in samples: rates, depths, waits and runs between one look and the next."""

import asyncio
import json
from typing import Any

import pytest
from http_tools import Server

from headrace.http.history import SAMPLES


async def sample(server: Server, monkeypatch: pytest.MonkeyPatch, later_s: float) -> Any:
    """Take a sample, so many seconds after the look before it; return it as it is told."""
    history = server.site.history
    assert history._before is not None
    at_ms = history._before.at_ms + round(later_s * 1000)
    monkeypatch.setattr(history, "_wall_ms", lambda: at_ms)
    history.take()
    columns = (await server.call("GET", "/api/v1/stats/history")).json["columns"]
    return {name: column[-1] for name, column in columns.items()}


async def test_rates_are_what_came_between_two_looks(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        await server.submit()
    leases = [work["lease"] for work in (await server.poll(max_jobs=4))["jobs"]]
    for lease in leases[:2]:
        await server.call("POST", f"/api/v1/leases/{lease}/complete", {})
    failed = {"error": "e", "permanent": True}
    await server.call("POST", f"/api/v1/leases/{leases[2]}/fail", failed)
    told = await sample(server, monkeypatch, 2)
    assert (told["submitted"], told["started"]) == (3, 2)
    assert (told["completed"], told["failed"]) == (1, 0.5)
    assert (told["queued"], told["running"]) == (2, 1)
    assert (told["workers"], told["workers_busy"]) == (1, 1)
    assert 0 <= told["wait_p50"] <= told["wait_p99"]
    assert 0 <= told["run_p50"] <= told["run_p99"]
    told = await sample(server, monkeypatch, 2)
    assert (told["submitted"], told["queued"]) == (0, 2)
    assert told["wait_p50"] is None, "nothing started"


async def test_an_hour_is_kept_and_no_more(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    history = server.site.history
    assert history._before is not None
    begun_ms = history._before.at_ms
    for number in range(SAMPLES + 10):
        at_ms = begun_ms + 2_000 * (number + 1)
        monkeypatch.setattr(history, "_wall_ms", lambda at_ms=at_ms: at_ms)
        history.take()
    columns = (await server.call("GET", "/api/v1/stats/history")).json["columns"]
    assert {len(column) for column in columns.values()} == {SAMPLES}
    assert columns["at"][-1] == (begun_ms + 2_000 * (SAMPLES + 10)) / 1000


async def test_a_clock_that_went_back_makes_no_sample(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sample(server, monkeypatch, 2)
    await sample(server, monkeypatch, -5)
    columns = (await server.call("GET", "/api/v1/stats/history")).json["columns"]
    assert len(columns["at"]) == 1


async def test_each_new_sample_is_told_as_it_is_taken(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sample(server, monkeypatch, 2)
    async with server.session.get("/api/v1/stats/events") as response:
        told: list[Any] = []
        async with asyncio.timeout(20):
            async for line in response.content:
                if line.startswith(b"data: "):
                    told.append(json.loads(line[6:]))
                    if len(told) == 2:
                        break
                    await server.submit()
                    await sample(server, monkeypatch, 4)
    assert [one["submitted"] for one in told] == [0, 0.25]


async def test_a_stream_that_may_not_last_ends(server: Server) -> None:
    reply = await server.send("GET", "/api/v1/stats/events?for=0")
    assert reply.headers["Content-Type"].startswith("text/event-stream")
