"""How often may be asked: buckets, the same way by both ways through a connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_tools import Server, open_server
from hypothesis import given
from hypothesis import strategies as st

from headrace.http import lane
from headrace.http.rates import PEERS_MAX, Bucket, Rates
from headrace.runtime.config import RatesConfig
from headrace.wire import limits
from headrace.wire.keys import RateLimit
from headrace.wire.problems import Problem, ProblemCode

SLOW = {"per_second": 0.001, "burst": 3}
JOBS, POLL = "/api/v1/jobs", "/api/v1/work/poll"


# Buckets ----------------------------------------------------------------------------------------


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = Bucket("requests", RateLimit(10, 3))
    for _ in range(3):
        bucket.take(1, 1_000)
    with pytest.raises(Problem) as raised:
        bucket.take(1, 1_000)
    assert raised.value.code is ProblemCode.RATE_LIMITED
    assert raised.value.retry_after_ms == 100
    bucket.take(1, 1_100)
    assert bucket.lacks_ms(1, 1_100) == 100


def test_a_refusal_takes_nothing_and_tells_what_is_left() -> None:
    bucket = Bucket("jobs", RateLimit(1, 10))
    bucket.take(8, 0)
    for _ in range(2):
        with pytest.raises(Problem) as raised:
            bucket.take(5, 0)
        assert raised.value.retry_after_ms == 3_000
        assert raised.value.extra["limit"] == {
            "name": "jobs",
            "per_second": 1,
            "burst": 10,
            "left": 2,
        }


def test_more_than_a_bucket_holds_needs_a_full_one_and_is_paid_off() -> None:
    bucket = Bucket("jobs", RateLimit(10, 5))
    bucket.take(100, 0)
    assert bucket.lacks_ms(1, 0) == 9_600
    assert bucket.lacks_ms(1, 9_600) == 0
    assert bucket.lacks_ms(100, 9_600) == 400


def test_without_a_burst_it_is_one_second() -> None:
    assert [Bucket("x", RateLimit(rate)).burst for rate in (0.1, 1, 2.5)] == [1, 1, 3]


@given(
    st.floats(0.1, 1_000),
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 500), st.integers(1, 10)), max_size=60),
)
def test_no_more_gets_through_than_burst_and_rate(
    per_second: float, burst: int, asked: list[tuple[int, int]]
) -> None:
    bucket = Bucket("requests", RateLimit(per_second, burst))
    now_ms = taken = debt = 0
    for pause_ms, tokens in asked:
        now_ms += pause_ms
        try:
            bucket.take(tokens, now_ms)
        except Problem as problem:
            wait_ms = problem.retry_after_ms or 0
        else:
            wait_ms = None
        if wait_ms is not None:
            assert wait_ms > 0
            assert bucket.lacks_ms(tokens, now_ms + wait_ms) == 0
        else:
            taken += tokens
            debt = max(debt, tokens - burst)
        assert taken <= burst + per_second * now_ms / 1000 + max(0, debt) + 1e-6


def test_buckets_of_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = Rates(RatesConfig(open=1.0, open_burst=1))
    for number in range(PEERS_MAX + 5):
        rate = rates.of_peer(f"{number}", 0)
        assert rate.requests is not None
        rate.requests.take(1, 0)
    assert len(rates._by_peer) <= PEERS_MAX
    assert rates.of_peer("0", 5_000).requests is not None


# Over HTTP --------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["lane", "aiohttp"])
async def keyed(request: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """A server with a key for all, and a way to ask with others."""
    server = await open_server(lane=request.param)
    try:
        yield Keyed(server)
    finally:
        await server.close()


class Keyed:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.root = ""

    async def make(self, **fields: Any) -> str:
        """Make a key; the first one is for all that follows."""
        body = {"scopes": ["admin", "submit", "read", "work"], "tenant": "*", **fields}
        headers = {"Authorization": f"Bearer {self.root}"} if self.root else {}
        reply = await self.server.call("POST", "/api/v1/keys", body, **headers)
        assert reply.status == 200, reply.body
        key = str(reply.json["key"])
        self.root = self.root or key
        return key

    async def raw(self, key: str, path: str, body: Any = None) -> bytes:
        """Ask once on a connection of its own; return all that was sent, without its date."""
        data = b"" if body is None else json.dumps(body).encode()
        head = [
            f"{'GET' if body is None else 'POST'} {path} HTTP/1.1".encode(),
            b"Host: localhost",
            b"Content-Type: application/json",
            b"Authorization: Bearer " + key.encode(),
            b"Content-Length: %d" % len(data),
        ]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        writer.write(b"\r\n".join([*head, b"", data]))
        answer = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line.split(b":")[1])
            for line in answer.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        answer += await reader.readexactly(size)
        writer.close()
        return b"\r\n".join(
            line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:")
        )


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(keyed: Keyed) -> None:
    await keyed.make()
    key = await keyed.make(requests=SLOW)
    answers = [await keyed.raw(key, POLL, {"worker": "w"}) for _ in range(5)]
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"200", b"429", b"429"]
    head, _, body = answers[-1].partition(b"\r\n\r\n")
    said = json.loads(body)
    assert (said["code"], said["retryable"]) == ("rate_limited", True)
    assert said["limit"]["name"] == "requests"
    retry_s = -(-said["retry_after_ms"] // 1000)
    assert b"\r\nRetry-After: %d\r\n" % retry_s in head
    assert b'\r\nRateLimit-Policy: "requests";q=3;w=3000\r\n' in head
    assert b'\r\nRateLimit: "requests";r=0;t=%d' % retry_s in head
    other = await keyed.make()
    assert (await keyed.raw(other, POLL, {"worker": "w"}))[9:12] == b"200"
    assert (await keyed.raw(key, "/readyz"))[9:12] == b"200"


async def test_a_batch_takes_a_token_for_each_job_and_one_request(keyed: Keyed) -> None:
    await keyed.make()
    key = await keyed.make(jobs={"per_second": 0.001, "burst": 10}, requests=SLOW)
    batch = [{"type": "t"}] * 8
    assert (await keyed.raw(key, JOBS, batch))[9:12] == b"200"
    refused = await keyed.raw(key, JOBS, batch)
    assert refused[9:12] == b"429"
    assert b'"name":"jobs"' in refused
    assert b'"left":2' in refused
    assert (await keyed.raw(key, JOBS, {"type": "t"}))[9:12] == b"200"
    assert keyed.server.node.pump.stats().jobs == 9


async def test_single_jobs_take_tokens_too(keyed: Keyed) -> None:
    await keyed.make()
    key = await keyed.make(jobs=SLOW)
    answers = [await keyed.raw(key, JOBS, {"type": "t"}) for _ in range(4)]
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"200", b"429"]
    assert (await keyed.raw(key, "/jobs", {"type": "t"}))[9:12] == b"429"


async def test_both_ways_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.runtime.clock import Clock

    monkeypatch.setattr(Clock, "now_ms", lambda _self: 1_000_000)
    said = []
    for is_lane in (True, False):
        server = await open_server(lane=is_lane)
        try:
            keyed = Keyed(server)
            await keyed.make()
            key = await keyed.make(jobs=SLOW, requests={"per_second": 0.5, "burst": 5})
            said.append([await keyed.raw(key, JOBS, {"type": "t"}) for _ in range(7)][3:])
        finally:
            await server.close()
    assert said[0] == said[1]
    assert b"jobs" in said[0][0]
    assert b"requests" in said[0][-1]


async def test_the_lane_refuses_who_asks_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    old = lane.LaneConnection._take

    def take(self: Any, passage: Any, *rest: Any) -> None:
        taken.append(passage.route)
        old(self, passage, *rest)

    monkeypatch.setattr(lane.LaneConnection, "_take", take)
    server = await open_server()
    try:
        keyed = Keyed(server)
        await keyed.make()
        key = await keyed.make(requests=SLOW)
        answers = [await keyed.raw(key, POLL, {"worker": "w"}) for _ in range(5)]
        assert [answer[9:12] for answer in answers] == [b"200"] * 3 + [b"429"] * 2
        assert taken == ["work_poll"] * 5
        assert server.site.meters.requests["work_poll", "4xx"] == 2
    finally:
        await server.close()


async def test_the_configuration_limits_keys_that_say_nothing() -> None:
    server = await open_server(rates=RatesConfig(requests=0.001, requests_burst=2))
    try:
        keyed = Keyed(server)
        root = await keyed.make(requests={"per_second": 1_000, "burst": 1_000})
        key = await keyed.make()
        answers = [await keyed.raw(key, POLL, {"worker": "w"}) for _ in range(3)]
        assert [answer[9:12] for answer in answers] == [b"200", b"200", b"429"]
        assert (await keyed.raw(root, POLL, {"worker": "w"}))[9:12] == b"200"
    finally:
        await server.close()


async def test_without_keys_addresses_may_be_limited() -> None:
    server = await open_server(rates=RatesConfig(open=0.001, open_burst=2))
    try:
        replies = [await server.call("POST", POLL, {"worker": "w"}) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert replies[2].code == "rate_limited"
        assert (await server.call("GET", "/health")).status == 200
    finally:
        await server.close()


async def test_what_a_key_has_open_is_bounded(
    keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OPEN_PER_KEY_MAX", 2)
    await keyed.make()
    key = await keyed.make()
    submitted = await keyed.raw(key, JOBS, {"type": "t", "queue": "q"})
    job_id = json.loads(submitted.partition(b"\r\n\r\n")[2])["job_id"]
    poll = {"worker": "w", "wait": "20s", "serve": {"queues": ["none"]}}
    waits = [
        asyncio.create_task(keyed.raw(key, POLL, poll)),
        asyncio.create_task(keyed.raw(key, f"{JOBS}/{job_id}?wait=20s")),
    ]
    rates = keyed.server.site.rates
    while sum(rates._open.values()) < 2:
        await asyncio.sleep(0.001)
    assert (await keyed.raw(key, POLL, poll))[9:12] == b"429"
    assert (await keyed.raw(key, f"{JOBS}/{job_id}?wait=1s"))[9:12] == b"429"
    assert (await keyed.raw(key, f"{JOBS}/{job_id}/logs?follow=1"))[9:12] == b"429"
    assert (await keyed.raw(key, f"{JOBS}/{job_id}/events"))[9:12] == b"429"
    assert (await keyed.raw(key, "/api/v1/events"))[9:12] == b"429"
    await keyed.server.site.drain()
    for wait in waits:
        assert (await wait)[9:12] == b"200"
    assert rates._open == {}


async def test_a_full_backlog_says_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.runtime import pump

    server = await open_server(queue_size=1)
    try:
        await server.submit()
        reply = await server.call("POST", JOBS, {"type": "t"})
        assert (reply.status, reply.code) == (429, "queue_full")
        assert reply.headers["Retry-After"] == "1"
        server.node.pump.disk_low = True
        reply = await server.call("POST", JOBS, {"type": "t"})
        assert (reply.status, reply.code) == (507, "storage_full")
        assert reply.headers["Retry-After"] == "5"
        monkeypatch.setattr(pump, "PENDING_MAX", 0)
        reply = await server.call("POST", JOBS, {"type": "t"})
        assert (reply.status, reply.code) == (503, "overloaded")
        assert reply.headers["Retry-After"] == "1"
    finally:
        await server.close()
