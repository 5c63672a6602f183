"""Single submits that come at once are carried together, and each is answered for itself."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from http_tools import Server, open_server

from headrace.core.commands import SubmitEach
from headrace.http import singles
from headrace.store.contract import StoreFull
from headrace.wire.problems import Problem, ProblemCode

JOB = b'{"type":"t"}'


class Clients:
    """Connections of which each sends one request, all in one turn of the server's loop."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.commands: list[SubmitEach] = []
        post = server.node.pump.post

        def noted(command: Any, taker: Any) -> None:
            if isinstance(command, SubmitEach):
                self.commands.append(command)
            post(command, taker)

        monkeypatch.setattr(server.node.pump, "post", noted)

    @property
    def together(self) -> list[tuple[str, int]]:
        """Of each command, whose it was and of how many jobs."""
        return [
            (command.caller.user, sum(len(new.specs) for new in command.jobs))
            for command in self.commands
        ]

    async def send(self, *requests: tuple[bytes, str]) -> list[tuple[int, dict[str, str], Any]]:
        """Send each body with more lines of a header; return (status, headers, body) of each."""
        pairs = [await asyncio.open_connection("127.0.0.1", self.server.port) for _ in requests]
        await asyncio.sleep(0.01)
        listening = self.server.runner.server
        assert listening is not None
        served = {connection.peername: connection for connection in listening.connections}
        for (_, writer), (body, lines) in zip(pairs, requests, strict=True):
            head = f"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n{lines}"
            served[writer.get_extra_info("sockname")].data_received(
                f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            )
        answers = []
        for reader, writer in pairs:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            body = await reader.readexactly(int(headers["Content-Length"]))
            answers.append((int(head[0].split(" ")[1]), headers, json.loads(body)))
            writer.close()
        return answers


@pytest.fixture
async def clients(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clients]:
    server = await open_server(queue_size=5)
    yield Clients(server, monkeypatch)
    await server.close()


async def test_what_comes_at_once_is_one_command_and_each_hears_of_its_own(
    clients: Clients,
) -> None:
    bodies = [b'{"type":"t","name":"n%d"}' % number for number in range(5)]
    answers = await clients.send(*((body, "") for body in bodies))
    assert clients.together == [("anonymous", 5)]
    for number, (status, headers, body) in enumerate(answers):
        assert status == 200
        assert headers["Commit-Position"] == "0:1:2"
        reply = await clients.server.call("GET", f"/api/v1/jobs/{body['job_id']}")
        assert reply.json["job"]["name"] == f"n{number}"
    assert clients.server.site.meters.requests["jobs_submit", "2xx"] == 5


async def test_each_caller_has_a_command_of_its_own(clients: Clients) -> None:
    ann, bob = "X-User-ID: ann\r\n", "X-User-ID: bob\r\n"
    answers = await clients.send((JOB, ann), (JOB, bob), (JOB, ann))
    assert clients.together == [("ann", 2), ("bob", 1)]
    headers = {"X_User_ID": "bob"}
    seen = [
        (await clients.server.call("GET", f"/api/v1/jobs/{body['job_id']}", **headers)).status
        for _, _, body in answers
    ]
    assert seen == [403, 200, 403]


async def test_what_is_not_plain_goes_alone_and_the_others_together(clients: Clients) -> None:
    answers = await clients.send(
        (JOB, ""),
        (b"{", ""),
        (b'{"type":"\xff"}', ""),
        (b'{"type":"t","wasm_sha256":"x"}', ""),
        (b'{"type":""}', ""),
        (b"[" + JOB + b"]", ""),
        (JOB, "Idempotency-Key: k\r\n"),
        (JOB, "Accept: application/vnd.api, text/html\r\n"),
    )
    assert clients.together == [("anonymous", 2)]
    assert [status for status, _, _ in answers] == [200, 400, 400, 400, 400, 200, 200, 200]


async def test_one_that_is_refused_leaves_the_others(clients: Clients) -> None:
    key = b'{"type":"t","idempotency_key":"k"}'
    reused = b'{"type":"u","idempotency_key":"k"}'
    answers = await clients.send(*((body, "") for body in (key, reused, JOB, key)))
    assert [status for status, _, _ in answers] == [200, 409, 200, 200]
    assert answers[1][2]["pointer"] == "/idempotency_key"
    assert "Idempotent-Replayed" not in answers[0][1]
    assert answers[3][1]["Idempotent-Replayed"] == "true"
    assert answers[3][2] == {**answers[0][2], "replayed": True}


async def test_a_full_queue_refuses_the_last(clients: Clients) -> None:
    answers = await clients.send(*((JOB, "") for _ in range(7)))
    assert [status for status, _, _ in answers] == [200] * 5 + [429] * 2
    counts = clients.server.site.meters.requests
    assert (counts["jobs_submit", "2xx"], counts["jobs_submit", "4xx"]) == (5, 2)


async def test_a_job_that_no_worker_can_run_is_told_so(clients: Clients) -> None:
    await clients.server.poll(serve={"types": ["other"]})
    (first, second) = await clients.send((JOB, ""), (b'{"type":"other"}', ""))
    assert first[2]["warning"]["code"] == "never_fits"
    assert "warning" not in second[2]


async def test_a_job_for_later_is_told_as_such(clients: Clients) -> None:
    answers = await clients.send((JOB, ""), (b'{"type":"t","delay":"1h"}', ""))
    assert [body["status"] for _, _, body in answers] == ["queued", "scheduled"]


async def test_what_is_refused_at_the_door_is_refused_to_each(clients: Clients) -> None:
    clients.server.node.pump.disk_low = True
    answers = await clients.send((JOB, ""), (JOB, ""))
    assert [status for status, _, _ in answers] == [507, 507]


async def test_a_client_that_went_away_costs_the_others_nothing(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job stays: it may have been told already, for all that is known."""
    listening = clients.server.runner.server
    assert listening is not None
    _, writer = await asyncio.open_connection("127.0.0.1", clients.server.port)
    await asyncio.sleep(0.01)
    (gone,) = listening.connections
    sent = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n" + JOB
    gone.data_received(sent)
    gone.transport.abort()
    gone.connection_lost(None)
    ((status, _, _),) = await clients.send((JOB, ""))
    assert status == 200
    assert clients.server.node.pump.stats().engine.submitted_total == 2
    assert clients.server.site.meters.requests["jobs_submit", "2xx"] == 1
    writer.close()


async def test_a_commit_that_fails_is_told_to_each(clients: Clients) -> None:
    pump = clients.server.node.pump
    sending = asyncio.create_task(clients.send((JOB, ""), (JOB, "")))
    while not clients.commands:
        await asyncio.sleep(0)
    pump._fail()
    answers = await sending
    unknown = Problem(ProblemCode.OUTCOME_UNKNOWN, "").row.status
    assert [status for status, _, _ in answers] == [unknown, unknown]


async def test_what_comes_after_a_failure_is_told_at_once(clients: Clients) -> None:
    pump = clients.server.node.pump
    pump._fail()
    pump._beat.cancel()  # type: ignore[union-attr]
    ((status, _, _),) = await clients.send((JOB, ""))
    assert status == Problem(ProblemCode.OUTCOME_UNKNOWN, "").row.status


async def test_what_cannot_be_taken_is_cut_off_and_others_are_not(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = clients.server.site.translator

    def of(caller: Any) -> Any:
        if caller.user == "bob":
            raise MemoryError
        return translator(caller)

    monkeypatch.setattr(clients.server.site, "translator", of)
    bob = asyncio.create_task(clients.send((JOB, "X-User-ID: bob\r\n")))
    ann = asyncio.create_task(clients.send((JOB, "X-User-ID: ann\r\n")))
    ((status, _, _),) = await ann
    assert status == 200
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await bob


# While the disk does not write ------------------------------------------------------------------


@pytest.fixture
def full(clients: Clients) -> Iterator[threading.Event]:
    """The disk has no space until the event is set."""
    store, space = clients.server.node.store, threading.Event()
    write = store.write

    def refuse(batch: Any) -> None:
        if not space.is_set():
            raise StoreFull("the test says so")
        write(batch)

    store.write = refuse  # type: ignore[method-assign]
    yield space
    space.set()


async def test_while_a_full_disk_is_waited_for_each_is_refused_at_once(
    clients: Clients, full: threading.Event
) -> None:
    pump = clients.server.node.pump
    ((status, _, _),) = await clients.send((JOB, ""))
    assert status == Problem(ProblemCode.OUTCOME_UNKNOWN, "").row.status
    answers = await clients.send((JOB, ""), (JOB, ""))
    assert [status for status, _, _ in answers] == [507, 507]
    taken = pump.stats().engine.submitted_total
    full.set()
    while pump.write_age_ms or pump.disk_low:
        await asyncio.sleep(0.01)
    ((status, _, _),) = await clients.send((JOB, ""))
    assert status == 200
    assert pump.stats().engine.submitted_total == taken + 1


@pytest.mark.usefixtures("full")
async def test_those_put_by_when_the_disk_turns_out_to_be_full_are_refused(
    clients: Clients,
) -> None:
    pump, store = clients.server.node.pump, clients.server.node.store
    refuse, gate = store.write, threading.Event()
    store.write = lambda batch: (gate.wait(), refuse(batch))  # type: ignore
    first = asyncio.create_task(clients.send((JOB, "")))
    while not pump.write_age_ms:
        await asyncio.sleep(0.001)
    second = asyncio.create_task(clients.send((JOB, "")))
    await asyncio.sleep(0.05)
    gate.set()
    assert [status for status, _, _ in await second] == [507]
    await first


async def test_bodies_that_a_slow_disk_keeps_waiting_are_counted(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singles, "PUT_BY_BYTES_MAX", 3 * len(JOB))
    pump, store, gate = clients.server.node.pump, clients.server.node.store, threading.Event()
    write = store.write
    store.write = lambda batch: (gate.wait(), write(batch))  # type: ignore
    first = asyncio.create_task(clients.send((JOB, "")))
    while not pump.write_age_ms:
        await asyncio.sleep(0.001)
    others = asyncio.create_task(clients.send(*[(JOB, "")] * 4))
    while pump.stats().pending_commands < 2:
        await asyncio.sleep(0.001)
    gate.set()
    assert [status for status, _, _ in await first + await others] == [200] * 5
