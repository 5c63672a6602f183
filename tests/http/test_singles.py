"""Single submits that come at once are carried together, and each is answered for itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_tools import Server, open_server

from headrace.core.commands import SubmitEach
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
