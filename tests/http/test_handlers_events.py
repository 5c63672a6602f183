"""Server-sent events of one job and of all."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from http_tools import Server, open_server

from headrace.core.effects import Noted
from headrace.http import streams
from headrace.http.handlers import events as handler
from headrace.runtime import events as ring
from headrace.sdk import AsyncClient, Client, ServerProblem
from headrace.sdk.client import Event
from headrace.wire import limits

JOBS = "/api/v1/jobs"
EVENTS = "/api/v1/events"


class Reader:
    """A client of one stream."""

    def __init__(self, response: Any) -> None:
        self.response = response
        self.last_id = ""

    async def raw(self) -> bytes:
        """Return the next block, whatever it is; empty at the end."""
        lines = b""
        async with asyncio.timeout(10):
            while line := await self.response.content.readline():
                if line == b"\n":
                    break
                lines += line
        return lines

    async def next(self) -> tuple[str, dict[str, Any]] | None:
        """Return the next event and its data; None at the end."""
        while block := await self.raw():
            fields = dict(line.split(": ", 1) for line in block.decode().splitlines())
            if "data" in fields:
                self.last_id = fields["id"]
                return fields["event"], json.loads(fields["data"])
        return None

    async def changes(self, number: int) -> list[tuple[str, str]]:
        """Return what so many events say: their names, and the change or the status."""
        found = []
        for _ in range(number):
            told = await self.next()
            assert told is not None
            found.append((told[0], told[1].get("change") or told[1].get("status") or ""))
        return found


@asynccontextmanager
async def opened(server: Server, path: str, **headers: str) -> AsyncIterator[Reader]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.session.get(path, headers=names) as response:
        assert response.status == 200, await response.read()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        yield Reader(response)


async def say(server: Server, lease: str, **news: Any) -> None:
    reply = await server.call("POST", f"/api/v1/leases/{lease}/progress", news)
    assert reply.status == 200, reply.body


async def end(server: Server, lease: str) -> None:
    assert (await server.call("POST", f"/api/v1/leases/{lease}/complete")).status == 200


# One job ----------------------------------------------------------------------------------------


async def test_a_job_is_told_from_where_it_stands_to_its_end(server: Server) -> None:
    job_id = await server.submit(name="n", queue="q")
    async with opened(server, f"{JOBS}/{job_id}/events") as reader:
        first = await reader.next()
        assert first is not None
        name, data = first
        assert name == "snapshot"
        assert (data["job_id"], data["status"], data["attempt"]) == (job_id, "queued", 0)
        assert (data["type"], data["name"], data["queue"]) == ("work", "n", "q")
        assert (data["owner"], data["at"][-1]) == ("anonymous", "Z")
        lease = await server.lease()
        await say(server, lease, started=True, progress=0.5, details="half", log="not asked for")
        await end(server, lease)
        assert await reader.next() is not None
        assert await reader.changes(1) == [("status", "start")]
        told = await reader.next()
        assert told is not None
        assert (told[0], told[1]["progress"], told[1]["details"]) == ("progress", 0.5, "half")
        last = await reader.next()
        assert last is not None
        assert (last[0], last[1]["change"], last[1]["final"]) == ("status", "complete", True)
        assert last[1]["worker"] == "w"
        assert await reader.next() is None
    assert not server.node.events._of_job
    assert len(server.site.streams) == 0


async def test_retries_tell_why(server: Server) -> None:
    job_id = await server.submit(max_retries=1, retry_delay=0)
    async with opened(server, f"{JOBS}/{job_id}/events") as reader:
        await reader.next()
        for _ in range(2):
            lease = (await server.poll(wait="10s"))["jobs"][0]["lease"]
            await server.call("POST", f"/api/v1/leases/{lease}/fail", {"error": "boom"})
        told = [await reader.next() for _ in range(5)]
    changes = [
        (data["change"], data["status"], data.get("error")) for _, data in filter(None, told)
    ]
    assert changes == [
        ("lease", "locked", None),
        ("retry", "scheduled", "boom"),
        ("due", "queued", "boom"),
        ("lease", "locked", None),
        ("fail", "failed", "boom"),
    ]


async def test_logs_come_if_they_are_asked_for(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    async with opened(server, f"{JOBS}/{job_id}/events?logs=1") as reader:
        await reader.next()
        await say(server, lease, log="one\ntwo\n")
        told = await reader.next()
        assert told is not None
        assert (told[0], told[1]["log"]) == ("log", "one\ntwo\n")
        assert told[1]["position"] > 0


async def test_an_ended_job_is_told_once_and_browsers_do_not_come_back(server: Server) -> None:
    job_id = await server.submit()
    await end(server, await server.lease())
    async with opened(server, f"{JOBS}/{job_id}/events") as reader:
        told = await reader.next()
        assert told is not None
        assert (told[0], told[1]["status"], told[1]["final"]) == ("snapshot", "completed", True)
        assert await reader.next() is None
    reply = await server.call("GET", f"{JOBS}/{job_id}/events", Last_Event_ID=reader.last_id)
    assert (reply.status, reply.body) == (204, b"")


async def test_who_comes_back_hears_what_was_missed_once(server: Server) -> None:
    job_id = await server.submit()
    async with opened(server, f"{JOBS}/{job_id}/events") as reader:
        await reader.next()
        lease = await server.lease()
        assert await reader.changes(1) == [("status", "lease")]
    await say(server, lease, started=True)
    await say(server, lease, progress=0.25)
    path = f"{JOBS}/{job_id}/events?last_event_id={reader.last_id}"
    async with opened(server, path) as again:
        assert await again.changes(1) == [("status", "start")]
        await end(server, lease)
        assert await again.changes(2) == [("progress", ""), ("status", "complete")]
        assert await again.next() is None


@pytest.mark.parametrize("seen", ["9-1-1", "x", "1-1", "-1-1-1", "1-9999999-1", "1" * 200])
async def test_who_has_missed_too_much_is_told_so(server: Server, seen: str) -> None:
    job_id = await server.submit()
    async with opened(server, f"{JOBS}/{job_id}/events", Last_Event_ID=seen) as reader:
        told = await reader.next()
        assert told is not None
        assert (told[0], "job_id" in told[1]) == ("reset", False)
        assert await reader.changes(1) == [("snapshot", "queued")]
        await server.lease()
        assert await reader.changes(1) == [("status", "lease")]
    async with opened(server, EVENTS, Last_Event_ID=seen) as reader:
        told = await reader.next()
        assert told is not None
        assert told[0] == "reset"


async def test_a_deleted_job_ends_its_stream(server: Server) -> None:
    job_id = await server.submit()
    async with opened(server, EVENTS) as every:
        await every.raw()
        await server.call("POST", f"{JOBS}/{job_id}/cancel")
        await server.call("DELETE", f"{JOBS}/{job_id}")
        assert await every.changes(2) == [("status", "cancel"), ("deleted", "")]


# All jobs ---------------------------------------------------------------------------------------


async def test_all_that_happens_is_told_with_type_queue_and_owner(server: Server) -> None:
    async with opened(server, EVENTS) as reader:
        await reader.raw()
        job_id = await server.submit(queue="q")
        await end(server, await server.lease())
        told = [await reader.next() for _ in range(3)]
        assert [data["change"] for _, data in filter(None, told)] == ["submit", "lease", "complete"]
        for _, data in filter(None, told):
            assert (data["job_id"], data["type"], data["queue"]) == (job_id, "work", "q")
            assert data["owner"] == "anonymous"


async def test_a_stream_has_filters(server: Server) -> None:
    async with (
        opened(server, f"{EVENTS}?type=mail,wasm") as by_type,
        opened(server, f"{EVENTS}?queue=q") as by_queue,
        opened(server, f"{EVENTS}?status=completed,failed") as by_status,
    ):
        for reader in (by_type, by_queue, by_status):
            await reader.raw()
        plain = await server.submit()
        mail = await server.submit(type="mail", queue="q")
        await end(server, await server.lease())
        await end(server, await server.lease())
        for reader in (by_type, by_queue):
            told = [await reader.next() for _ in range(3)]
            assert {data["job_id"] for _, data in filter(None, told)} == {mail}
        told = [await by_status.next() for _ in range(2)]
        assert [data["job_id"] for _, data in filter(None, told)] == [plain, mail]
    reply = await server.call("GET", f"{EVENTS}?status=odd")
    assert (reply.status, reply.code) == (400, "request_malformed")


async def test_each_hears_of_its_own_an_admin_of_the_tenants(server: Server) -> None:
    people = {"ann": "a", "bob": "a", "admin": "a", "eve": "b"}
    readers: dict[str, Reader] = {}
    opens = {
        name: opened(server, f"{EVENTS}?logs=1", X_User_ID=name, X_Tenant_ID=tenant)
        for name, tenant in people.items()
    }
    for name, context in opens.items():
        readers[name] = await context.__aenter__()
        await readers[name].raw()
    ids = {}
    for name, tenant in people.items():
        reply = await server.call(
            "POST", JOBS, {"type": "work"}, X_User_ID=name, X_Tenant_ID=tenant
        )
        ids[name] = reply.json["job_id"]
    for _ in people:
        lease = await server.lease()
        await say(server, lease, progress=0.5, log="x")
    for name in people:
        mine = [ids[name]] if name != "admin" else [ids[one] for one in ("ann", "bob", "admin")]
        told = [await readers[name].next() for _ in range(4 * len(mine))]
        assert {data["job_id"] for _, data in filter(None, told)} == set(mine)
    for context in opens.values():
        await context.__aexit__(None, None, None)
    reply = await server.call("GET", f"{EVENTS}?owner=bob", X_User_ID="ann")
    assert (reply.status, reply.code) == (403, "forbidden")


async def test_a_reader_of_all_resumes(server: Server) -> None:
    async with opened(server, EVENTS) as reader:
        await reader.raw()
        jobs = [await server.submit() for _ in range(3)]
        await reader.next()
    async with opened(server, EVENTS, Last_Event_ID=reader.last_id) as again:
        told = [await again.next() for _ in range(2)]
        assert [data["job_id"] for _, data in filter(None, told)] == jobs[1:]


async def test_a_large_batch_is_told_whole(server: Server) -> None:
    async with opened(server, EVENTS) as reader:
        await reader.raw()
        number = 3 * limits.STREAM_READ_MAX + 7
        reply = await server.call("POST", JOBS, [{"type": "work"}] * number)
        ids = [one["job_id"] for one in reply.json]
        told = [await reader.next() for _ in range(number)]
        assert [data["job_id"] for _, data in filter(None, told)] == ids


# Ends -------------------------------------------------------------------------------------------


async def test_a_stream_beats_and_ends_when_it_is_to(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.01)
    async with opened(server, f"{EVENTS}?for=200ms") as reader:
        assert await reader.raw() == b"retry: 2000\n"
        assert await reader.raw() == b": still here\n"
        while await reader.raw():
            pass
    for bad in ("x", "-1"):
        assert (await server.call("GET", f"{EVENTS}?for={bad}")).status == 400


async def test_a_follower_too_slow_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "STREAM_STEPS_MAX", 3)
    job_id = await server.submit()
    lease = await server.lease()
    held = asyncio.Event()
    write = streams.Stream.write

    async def slow(self: streams.Stream, data: bytes) -> None:
        await write(self, data)
        if b"snapshot" in data:
            await held.wait()

    monkeypatch.setattr(streams.Stream, "write", slow)
    async with opened(server, f"{JOBS}/{job_id}/events") as reader:
        await reader.next()
        for at in range(5):
            await say(server, lease, progress=at / 10)
        held.set()
        assert await reader.next() is None
    async with opened(server, f"{JOBS}/{job_id}/events", Last_Event_ID=reader.last_id) as again:
        assert await again.changes(3) == [("progress", "")] * 3


async def test_a_reader_behind_the_ring_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "RING_STEPS_MAX", 4)
    late = asyncio.Event()
    take = handler.Feed.take

    def behind(self: handler.Feed) -> Any:
        while late.is_set() and server.node.events.has(self.cursor):
            server.node.events.hear([Noted(b"x" * 16, 0.5, "")])
        return take(self)

    monkeypatch.setattr(handler.Feed, "take", behind)
    async with opened(server, EVENTS) as reader:
        await reader.raw()
        late.set()
        await server.submit()
        assert await reader.next() is None


async def test_a_client_that_does_not_read_is_cut_off(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "WRITE_S_MAX", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_024)
    writer.write(f"GET {EVENTS}?logs=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert b"200" in await reader.readline()
    async with asyncio.timeout(30):
        while len(server.site.streams):
            await server.submit()
            lease = await server.lease()
            await say(server, lease, log="x" * 1_000_000)
            await end(server, lease)
    writer.close()


async def test_streams_are_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_TENANT_MAX", 2)
    job_id = await server.submit()
    async with opened(server, EVENTS), opened(server, f"{JOBS}/{job_id}/events"):
        for path in (EVENTS, f"{JOBS}/{job_id}/events", f"{JOBS}/{job_id}/logs?follow=1"):
            reply = await server.call("GET", path)
            assert (reply.status, reply.code) == (429, "streams_too_many")
            assert "Retry-After" in reply.headers
        async with opened(server, EVENTS, X_Tenant_ID="other"):
            monkeypatch.setattr(limits, "STREAMS_MAX", 3)
            reply = await server.call("GET", EVENTS, X_Tenant_ID="third")
            assert reply.code == "streams_too_many"
    async with asyncio.timeout(5):
        while len(server.site.streams):
            await asyncio.sleep(0.001)
    assert not server.site.streams._by_tenant


async def test_a_stopping_server_ends_its_streams() -> None:
    server = await open_server()
    job_id = await server.submit()
    async with (
        opened(server, EVENTS) as every,
        opened(server, f"{JOBS}/{job_id}/events") as one,
    ):
        await one.next()
        await server.site.drain()
        assert await every.next() is None
        assert await one.next() is None
    await server.close()


async def test_a_revoked_key_hears_no_more(server: Server) -> None:
    async def make(**fields: Any) -> dict[str, Any]:
        root = {} if not keys else {"Authorization": f"Bearer {keys['root']['key']}"}
        reply = await server.send("POST", "/api/v1/keys", json=fields, headers=root)
        return dict(reply.json)

    keys: dict[str, dict[str, Any]] = {}
    async with opened(server, EVENTS) as keyless:
        await keyless.raw()
        keys["root"] = await make(scopes=["admin"])
        assert await keyless.next() is None, "the first key ends what was open without one"
    keys["ann"] = await make(scopes=["submit", "read"], tenant="a", user="ann")
    keys["bob"] = await make(scopes=["read"], tenant="a", user="bob")
    bearer = {name: f"Bearer {key['key']}" for name, key in keys.items()}
    reply = await server.call("POST", JOBS, {"type": "work"}, Authorization=bearer["ann"])
    job = f"{JOBS}/{reply.json['job_id']}"
    async with (
        opened(server, EVENTS, Authorization=bearer["ann"]) as every,
        opened(server, f"{job}/events", Authorization=bearer["ann"]) as one,
        server.session.get(f"{job}/logs?follow=1", headers={"Authorization": bearer["ann"]}) as log,
        opened(server, EVENTS, Authorization=bearer["bob"]) as other,
    ):
        await one.next()
        await every.raw()
        await other.raw()
        path = f"/api/v1/keys/{keys['ann']['id']}"
        assert (await server.call("DELETE", path, Authorization=bearer["root"])).status == 200
        assert await every.next() is None
        assert await one.next() is None
        assert await log.content.read() == b""
        assert len(server.site.streams) == 1, "another's goes on"


# Logs as events ---------------------------------------------------------------------------------


async def test_a_log_comes_as_events_and_resumes(server: Server) -> None:
    job_id = await server.submit()
    lease = await server.lease()
    await say(server, lease, log="one\n")
    path = f"{JOBS}/{job_id}/logs?follow=1"
    async with opened(server, path, Accept="text/event-stream") as reader:
        assert await reader.next() == ("log", {"log": "one\n"})
    await say(server, lease, log="two\n")
    seen = {"Accept": "text/event-stream", "Last_Event_ID": reader.last_id}
    async with opened(server, path, **seen) as reader:
        assert await reader.next() == ("log", {"log": "two\n"})
        await say(server, lease, log="å\n")
        assert await reader.next() == ("log", {"log": "å\n"})
        await end(server, lease)
        assert await reader.next() == ("end", {"status": "completed"})
        assert await reader.next() is None
    seen["Last_Event_ID"] = reader.last_id
    reply = await server.call("GET", path, **seen)
    assert (reply.status, reply.body) == (204, b"")
    async with opened(server, f"{path}&tail=1", Accept="text/event-stream") as reader:
        assert await reader.next() == ("log", {"log": "å\n"})


# The client -------------------------------------------------------------------------------------


async def test_the_client_follows_a_job_over_a_broken_connection(server: Server) -> None:
    job_id = await server.submit()
    async with AsyncClient(f"http://127.0.0.1:{server.port}") as client:
        told: list[Event] = []
        async for event in client.events(job_id, logs=True):
            told.append(event)
            if event.name == "snapshot":
                lease = await server.lease()
            elif event.data.get("change") == "lease":
                for stream in tuple(server.site.streams._open):
                    stream.cancel()
                await say(server, lease, log="x" * 200_000)
                await end(server, lease)
        names = [(event.name, event.data.get("change")) for event in told]
        assert names[:2] == [("snapshot", None), ("status", "lease")]
        assert names[-1] == ("status", "complete")
        assert "".join(event.data.get("log", "") for event in told) == "x" * 200_000
        assert [event.name async for event in client.events(job_id)] == ["snapshot"]
        with pytest.raises(ServerProblem, match="job_unknown"):
            await anext(client.events("01a200b8-6f79-7000-8422-e65ef4ed6da2"))


def test_the_client_without_a_loop_follows_too() -> None:
    ready: list[tuple[int, str]] = []
    done = threading.Event()

    async def serve() -> None:
        server = await open_server()
        job_id = await server.submit()
        await end(server, await server.lease())
        ready.append((server.port, job_id))
        while not done.is_set():
            await asyncio.sleep(0.01)
        await server.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        while not ready:
            time.sleep(0.01)
        port, job_id = ready[0]
        with Client(f"http://127.0.0.1:{port}") as client:
            (event,) = client.events(job_id)
            assert (event.name, event.data["status"]) == ("snapshot", "completed")
    finally:
        done.set()
        thread.join()
