"""The client against a server that answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from headrace.sdk import AsyncClient, Client, ServerProblem, ServerUnreachable, UsageError
from headrace.sdk.connection import api_key_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VIEW = {
    "id": "j1",
    "name": "n",
    "type": "echo",
    "owner": "anonymous",
    "tenant_id": "default",
    "status": "completed",
    "priority": 5,
    "queue": "default",
    "tags": [],
    "params": {"a": 1},
    "wasm_sha256": None,
    "entry_point": None,
    "arguments": [],
    "environment": {},
    "requirements": {},
    "timeout": 3600,
    "max_retries": 2,
    "retry_delay": 1,
    "retry_backoff": 2,
    "idempotency_key": None,
    "attempt": 1,
    "failures": 0,
    "crashes": 0,
    "stops": 0,
    "progress": 1.0,
    "progress_details": None,
    "error": None,
    "locked_by": "w",
    "created_at": "2030-01-01T00:00:00.000Z",
    "updated_at": None,
    "scheduled_at": None,
    "start_before": None,
    "started_at": None,
    "finished_at": None,
    "a_field_of_a_later_version": 1,
}


def answer(status: str = "completed", **result: Any) -> dict[str, Any]:
    return {
        "job": {**VIEW, "status": status},
        "result": {"job_id": "j1", "status": status, **result},
    }


class Stub:
    """Answers each request with the next of its answers, and keeps the last one."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.requests: list[tuple[str, str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.method, request.path_qs, body))
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if found == "drop":
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if isinstance(found, web.Response):
            return found
        status, members = found if isinstance(found, tuple) else (200, found)
        return web.json_response(members, status=status)


@pytest.fixture
async def stub() -> AsyncIterator[Stub]:
    stub = Stub()
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", stub.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stub.url = f"http://127.0.0.1:{site.port}"
    yield stub
    await runner.cleanup()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.sdk.connection.RETRY_S_MIN", 0.001)


@pytest.fixture
async def client(stub: Stub) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(stub.url) as client:
        yield client


async def test_a_submit_that_got_no_answer_is_sent_again_with_the_same_key(
    stub: Stub, client: AsyncClient
) -> None:
    stub.answers = ["drop", "drop", {"job_id": "j1", "status": "queued"}]
    submitted = await client.submit("echo", {"a": 1}, priority=9)
    assert submitted.job_id == "j1"
    bodies = {body for _, _, body in stub.requests}
    assert len(stub.requests) >= 3
    assert len(bodies) == 1
    assert b'"idempotency_key":"' in bodies.pop()


async def test_a_submit_without_a_key_is_sent_once(stub: Stub, client: AsyncClient) -> None:
    stub.answers = [(503, {"code": "overloaded", "retryable": True})]
    with pytest.raises(ServerProblem):
        await client.submit("echo", idempotency_key=None)
    assert len(stub.requests) == 1


async def test_a_problem_is_raised_with_all_its_members(stub: Stub, client: AsyncClient) -> None:
    stub.answers = [
        (400, {"code": "field_invalid", "title": "T", "detail": "D", "pointer": "/queue"})
    ]
    with pytest.raises(ServerProblem) as caught:
        await client.submit("echo")
    problem = caught.value
    assert (problem.status, problem.code, problem.pointer) == (400, "field_invalid", "/queue")
    assert (problem.title, problem.detail, problem.retryable) == ("T", "D", False)
    assert len(stub.requests) == 1


async def test_patience_is_had_as_the_server_asks_but_not_for_long(
    stub: Stub, client: AsyncClient
) -> None:
    body = b'{"code": "queue_full", "retryable": true}'
    stub.answers = [web.Response(status=429, body=body, headers={"Retry-After": "30"})]
    with pytest.raises(ServerProblem) as caught:
        await client.get("j1")
    assert caught.value.retry_after_s == 30
    assert len(stub.requests) == 1


async def test_waiting_asks_until_the_job_has_ended(stub: Stub, client: AsyncClient) -> None:
    stub.answers = [answer("running"), answer("running"), answer(result={"x": [1]}, output="aGk=")]
    job = await client.wait("j1")
    assert (job.finished, job.completed, job.value, job.output) == (True, True, {"x": [1]}, b"hi")
    assert job.job.params == {"a": 1}
    assert [path for _, path, _ in stub.requests] == ["/api/v1/jobs/j1?wait=30000ms"] * 3


async def test_waiting_goes_on_through_a_restart_of_the_server(
    stub: Stub, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.sdk.client.WAIT_LOOK_S", 0.001)
    stopping = (503, {"code": "shutting_down", "retryable": True})
    stub.answers = [answer("running"), *[stopping] * 5, *["drop"] * 10, answer(result=1)]
    assert (await client.wait("j1")).value == 1


async def test_waiting_ends_when_the_server_stays_away(
    stub: Stub, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.sdk.client.WAIT_LOOK_S", 0.001)
    monkeypatch.setattr("headrace.sdk.client.WAIT_PATIENCE_S", 0.05)
    stub.answers = [answer("running"), "drop"]
    with pytest.raises(ServerUnreachable):
        await client.wait("j1")


async def test_waiting_ends_when_the_server_forgot_the_job(stub: Stub, client: AsyncClient) -> None:
    stub.answers = [answer("running"), (404, {"code": "job_unknown"})]
    with pytest.raises(ServerProblem):
        await client.wait("j1")


async def test_waiting_ends_with_the_callers_patience(stub: Stub, client: AsyncClient) -> None:
    stub.answers = [answer("running")]
    job = await client.wait("j1", timeout_s=0.0)
    assert (job.finished, job.value) == (False, None)


async def test_a_large_module_is_uploaded_and_named_by_its_hash(
    stub: Stub, client: AsyncClient, tmp_path: Path
) -> None:
    stub.answers = [{"job_id": "j1", "status": "queued"}]
    small, large = tmp_path / "small.wasm", tmp_path / "large.wasm"
    small.write_bytes(b"\0asm")
    large.write_bytes(b"\0asm" + bytes(100_000))
    await client.submit_wasm(small, ["a"], requirements={"memory_mb": 8})
    await client.submit_wasm(large)
    methods = [(method, path.split("/")[3]) for method, path, _ in stub.requests]
    assert methods == [("POST", "jobs"), ("PUT", "modules"), ("POST", "jobs")]
    assert b'"name":"small"' in stub.requests[0][2]
    assert b'"requirements":{"cpu_cores":1,"memory_mb":8}' in stub.requests[0][2]
    assert b"wasm_sha256" in stub.requests[2][2]


async def test_lists_repeat_a_filter_for_each_value(stub: Stub, client: AsyncClient) -> None:
    stub.answers = [{"jobs": [VIEW], "count": 1, "next": "c"}]
    page = await client.list(status=["queued", "running"], limit=5)
    assert stub.requests[0][1] == "/api/v1/jobs?status=queued&status=running&limit=5"
    assert (page.jobs[0].id, page.next) == ("j1", "c")


async def test_logs_are_text_even_when_a_character_is_cut_in_two(
    stub: Stub, client: AsyncClient
) -> None:
    stub.answers = [web.Response(body="größer\n".encode(), content_type="text/plain"), answer()]
    assert "".join([piece async for piece in client.logs("j1", follow=True)]) == "größer\n"


async def test_a_log_that_breaks_off_is_said_so(stub: Stub, client: AsyncClient) -> None:
    stub.answers = [web.Response(text="one\n"), answer("running")]
    pieces = client.logs("j1", follow=True)
    assert await anext(pieces) == "one\n"
    with pytest.raises(ServerUnreachable, match="broke off"):
        await anext(pieces)


@pytest.mark.parametrize("job_id", ["", "../x", "a/b", "a?b"])
async def test_what_is_no_job_id_is_not_sent(stub: Stub, client: AsyncClient, job_id: str) -> None:
    with pytest.raises(UsageError):
        await client.get(job_id)
    assert stub.requests == []


async def test_a_server_that_is_not_there_is_said_so() -> None:
    async with AsyncClient("http://127.0.0.1:1") as client:
        with pytest.raises(ServerUnreachable):
            await client.cancel("j1")
    with pytest.raises(UsageError):
        AsyncClient("ftp://somewhere")


async def test_something_else_than_a_headrace_server_is_said_so(
    stub: Stub, client: AsyncClient
) -> None:
    stub.answers = [web.Response(text="<html>")]
    with pytest.raises(ServerUnreachable, match="not the answer of a headrace server"):
        await client.stats()


async def test_the_plain_client_does_the_same(stub: Stub) -> None:
    stub.answers = [answer(result=7)]

    def use() -> Any:
        with Client(stub.url) as client:
            return client.wait("j1").value, list(client.logs("j1"))

    value, pieces = await asyncio.to_thread(use)
    assert value == 7
    assert len(pieces) == 1


def test_a_key_comes_from_the_environment_or_the_file_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("hr_of_file\n")
    named = {"HEADRACE_API_KEY_FILE": str(file)}
    assert api_key_of({}) is None
    assert api_key_of(named) == "hr_of_file"
    assert api_key_of({**named, "HEADRACE_API_KEY": "hr_itself"}) == "hr_itself"
    with pytest.raises(UsageError, match=r"HEADRACE_API_KEY_FILE: .*none"):
        api_key_of({"HEADRACE_API_KEY_FILE": str(tmp_path / "none")})
