"""Limits and quotas over HTTP: set, told, held, explained, and there after a restart."""

from pathlib import Path
from typing import Any

import pytest
from http_tools import Server, open_server

LIMITS = "/api/v1/limits"


async def jobs(server: Server, count: int, **fields: Any) -> list[str]:
    """Submit jobs of type echo; return their ids."""
    reply = await server.call("POST", "/api/v1/jobs", [{"type": "echo", **fields}] * count)
    assert reply.status == 200, reply.json
    return [one["job_id"] for one in reply.json]


async def given(server: Server, **fields: Any) -> list[dict[str, Any]]:
    reply = await server.call(
        "POST", "/api/v1/work/poll", {"worker": "w", "max_jobs": 50, **fields}
    )
    assert reply.status == 200, reply.json
    return list(reply.json["jobs"])


async def test_a_limit_is_put_told_listed_and_removed(server: Server) -> None:
    body = {
        "type": "echo",
        "concurrency": 2,
        "rate": {"starts": 5, "per": "1m"},
        "description": "d",
    }
    reply = await server.call("PUT", f"{LIMITS}/few", body, X_User_ID="root")
    assert (reply.status, reply.json["version"]) == (200, int(reply.headers["ETag"].strip('"')))
    expected = {
        "name": "few",
        "type": "echo",
        "tenant": None,
        "tag": None,
        "concurrency": 2,
        "rate": {"starts": 5, "per": 60, "left": 5},
        "description": "d",
        "running": 0,
        "changed_by": "root",
    }
    assert {name: reply.json[name] for name in expected} == expected
    await jobs(server, 3)
    assert len(await given(server)) == 2
    told = (await server.call("GET", f"{LIMITS}/few")).json
    assert (told["running"], told["rate"]["left"]) == (2, 3)
    assert (await server.call("GET", LIMITS)).json["limits"] == [told]
    reply = await server.call("DELETE", f"{LIMITS}/few")
    assert reply.json == {"name": "few", "removed": True}
    assert (await server.call("GET", f"{LIMITS}/few")).code == "document_unknown"
    assert len(await given(server)) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"concurrency": 1}, ""),
        ({"type": "a", "tag": "b", "concurrency": 1}, ""),
        ({"type": "a"}, ""),
        ({"type": "", "concurrency": 1}, "/type"),
        ({"type": "a\n", "concurrency": 1}, "/type"),
        ({"type": "a", "concurrency": -1}, "/concurrency"),
        ({"type": "a", "rate": {"starts": 0, "per": "1s"}}, "/rate/starts"),
        ({"type": "a", "rate": {"starts": 1, "per": "2h"}}, "/rate/per"),
        ({"type": "a", "rate": {"starts": 1, "per": 0}}, "/rate/per"),
        ({"type": "a", "rate": {"starts": 1}}, "/rate/per"),
        ({"type": "a", "concurrency": 1, "more": 1}, "/more"),
    ],
)
async def test_a_bad_limit_is_refused_with_its_place(
    server: Server, body: dict[str, Any], pointer: str
) -> None:
    reply = await server.call("PUT", f"{LIMITS}/l", body)
    assert reply.status == 400
    assert reply.json["pointer"] == pointer
    assert (await server.call("GET", LIMITS)).json["count"] == 0


async def test_a_tag_limits_jobs_submitted_after_it(server: Server) -> None:
    before = await jobs(server, 2, tags=["nightly"])
    await server.call("PUT", f"{LIMITS}/t", {"tag": "nightly", "concurrency": 1})
    after = await jobs(server, 3, tags=["other", "nightly"])
    single = await server.call("POST", "/api/v1/jobs", {"type": "echo", "tags": ["nightly"]})
    assert single.status == 200
    got = [one["job"]["id"] for one in await given(server)]
    assert got == [*before, after[0]]


async def test_a_waiting_job_is_explained_by_its_limit(server: Server) -> None:
    await server.call("PUT", f"{LIMITS}/one", {"type": "echo", "concurrency": 1})
    first, second = await jobs(server, 2)
    assert [one["job"]["id"] for one in await given(server)] == [first]
    told = (await server.call("GET", f"/api/v1/jobs/{second}/explain")).json
    assert told["reasons"] == ["limit 'one' of type 'echo': 1 of 1 jobs run"]
    (limit,) = told["limits"]
    assert (limit["name"], limit["kind"], limit["holds"]) == ("one", "limit", True)
    assert (limit["running"], limit["concurrency"], limit["starts"]) == (1, 1, None)


async def test_limits_and_quotas_outlive_the_process(tmp_path: Path) -> None:
    options = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    server = await open_server(**options)
    await server.call("PUT", f"{LIMITS}/one", {"type": "echo", "concurrency": 2})
    await server.call("PUT", "/api/v1/queues/default", {"backlog_max": 3})
    await jobs(server, 3)
    assert len(await given(server, max_jobs=1)) == 1
    await server.close()
    server = await open_server(**options)
    assert (await server.call("GET", f"{LIMITS}/one")).json["running"] == 1
    assert len(await given(server)) == 1
    queue = (await server.call("GET", "/api/v1/queues/default")).json
    assert (queue["backlog"], queue["backlog_max"], queue["running"]) == (1, 3, 2)
    await server.close()


async def test_a_queue_with_a_full_backlog_answers_when_to_try_again(server: Server) -> None:
    await server.call("PUT", "/api/v1/queues/q", {"backlog_max": 2})
    await jobs(server, 2, queue="q")
    reply = await server.call("POST", "/api/v1/jobs", {"type": "echo", "queue": "q"})
    assert (reply.status, reply.code, reply.json["pointer"]) == (429, "backlog_full", "/queue")
    assert reply.headers["Retry-After"] == "1"
    assert reply.json["retryable"] is True
    await jobs(server, 1)
