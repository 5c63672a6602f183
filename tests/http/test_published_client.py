"""A published client in Go, byte for byte: what it sends is taken, what it gets it can read.

Its structs stand here as it decodes answers: unknown members are passed over, null leaves a zero,
numbers have Go's types.
"""

import base64
import json
from typing import Any

import msgspec
import pytest
from http_tools import EMPTY_MODULE, Server

MODULE = base64.b64encode(EMPTY_MODULE).decode()
ENDS = {"completed", "failed", "cancelled"}
"""Statuses at which it stops to poll."""


class Requirements(msgspec.Struct):
    cpu_cores: float = 0
    memory_mb: int = 0
    storage_mb: int = 0
    gpu_count: int = 0
    gpu_type: str = ""
    duration: int = 0
    """Nanoseconds in what it sends."""
    labels: dict[str, str] | None = None


class Spec(msgspec.Struct):
    id: str
    name: str
    owner: str
    entry_point: str
    arguments: list[str] | None
    environment: dict[str, str] | None
    requirements: Requirements
    priority: int
    max_retries: int
    timeout: int
    created_at: str
    updated_at: str
    wasm_module: str | None = None


class Result(msgspec.Struct):
    job_id: str
    status: str
    output: str | None = None
    error: str | None = None
    exit_code: int | None = None
    started_at: str | None = None
    finished_at: str | None = None
    worker_id: str | None = None
    metrics: dict[str, float] | None = None


class Details(msgspec.Struct):
    job: Spec
    result: Result


class Submitted(msgspec.Struct):
    job_id: str
    status: str


def request(method: str, path: str, body: Any = None, user: str = "user123") -> bytes:
    """Return a request as Go's client writes it."""
    data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1:8080", "User-Agent: Go-http-client/1.1"]
    if body is not None:
        lines += [f"Content-Length: {len(data)}", "Content-Type: application/json"]
    lines += ["Authorization: Bearer api-key", f"X-User-Id: {user}"]
    lines += ["Accept-Encoding: gzip", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + data


async def ask(
    server: Server, method: str, path: str, body: Any = None, user: str = "user123"
) -> tuple[int, bytes]:
    raw = await server.raw(request(method, path, body, user))
    head, _, data = raw.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), data


def job(**fields: Any) -> dict[str, Any]:
    """Return the body of its submit: nil maps and slices are null, durations nanoseconds."""
    return {
        "name": "hello.wasm",
        "wasm_module": MODULE,
        "entry_point": "_start",
        "arguments": None,
        "environment": None,
        "requirements": {"cpu_cores": 1, "memory_mb": 512, "storage_mb": 100, "duration": 0},
        "priority": 5,
        "timeout": "1h",
        **fields,
    }


async def submit(server: Server, **fields: Any) -> str:
    status, data = await ask(server, "POST", "/api/v1/jobs", job(**fields))
    assert status == 200, data
    return msgspec.json.decode(data, type=Submitted).job_id


async def details(server: Server, job_id: str) -> Details:
    status, data = await ask(server, "GET", f"/api/v1/jobs/{job_id}")
    assert status == 200, data
    return msgspec.json.decode(data, type=Details)


async def run(server: Server, **report: Any) -> None:
    free = {"cpu_cores": 8, "memory_mb": 8192, "storage_mb": 8192}
    (work,) = (await server.poll(free=free, serve={"wasm": True}))["jobs"]
    await server.poll(reports=[{"lease": work["lease"], **report}], max_jobs=0)


async def test_a_submit_is_answered_200_with_an_id_and_a_status(server: Server) -> None:
    status, data = await ask(server, "POST", "/api/v1/jobs", job(arguments=["a", "b"]))
    assert status == 200
    assert json.loads(data).keys() == {"job_id", "status"}
    found = await details(server, msgspec.json.decode(data, type=Submitted).job_id)
    assert (found.job.name, found.job.owner) == ("hello.wasm", "user123")
    assert (found.job.arguments, found.job.priority, found.job.timeout) == (["a", "b"], 5, 3_600)
    assert found.job.created_at.endswith("Z")
    assert found.result.status == "queued"


async def test_a_job_is_polled_to_its_end(server: Server) -> None:
    job_id = await submit(server)
    assert (await details(server, job_id)).result.status not in ENDS
    output = base64.b64encode(b"hello\n").decode()
    await run(server, outcome="completed", output=output, exit_code=0, metrics={"fuel": 1.5})
    found = (await details(server, job_id)).result
    assert found.status == "completed"
    assert base64.b64decode(found.output or "") == b"hello\n"
    assert (found.exit_code, found.worker_id, found.metrics) == (0, "w", {"fuel": 1.5})
    assert found.started_at is not None
    assert found.finished_at is not None
    status, data = await ask(server, "GET", f"/api/v1/jobs/{job_id}/result")
    assert (status, msgspec.json.decode(data, type=Result)) == (200, found)


async def test_a_failure_and_a_cancel_are_ends_with_their_words(server: Server) -> None:
    failed, cancelled = await submit(server), await submit(server)
    await run(server, outcome="failed", error="out of fuel", exit_code=134)
    status, data = await ask(server, "POST", f"/api/v1/jobs/{cancelled}/cancel")
    assert (status, json.loads(data)["status"]) == (200, "cancelled")
    first, second = (
        (await details(server, failed)).result,
        (await details(server, cancelled)).result,
    )
    assert (first.status, first.error, first.exit_code) == ("failed", "out of fuel", 134)
    assert second.status == "cancelled"


async def test_jobs_are_listed_by_owner_and_status(server: Server) -> None:
    job_id = await submit(server)
    for query in ("", "?owner=user123", "?owner=user123&status=pending", "?status=queued"):
        status, data = await ask(server, "GET", f"/api/v1/jobs{query}")
        found = json.loads(data)
        assert (status, found["count"]) == (200, 1)
        assert [msgspec.convert(found["jobs"][0], Spec).id] == [job_id]
    status, data = await ask(server, "GET", "/api/v1/jobs", user="other")
    assert json.loads(data)["count"] == 0


async def test_another_user_is_forbidden_and_the_admin_is_not(server: Server) -> None:
    job_id = await submit(server)
    for method, tail in (("GET", ""), ("POST", "/cancel"), ("GET", "/result"), ("GET", "/logs")):
        path = f"/api/v1/jobs/{job_id}{tail}"
        assert (await ask(server, method, path, user="other"))[0] == 403
    assert (await ask(server, "GET", f"/api/v1/jobs/{job_id}", user="admin"))[0] == 200
    assert (await ask(server, "GET", "/api/v1/jobs/unknown"))[0] == 404


async def test_health_tells_the_time_as_a_number(server: Server) -> None:
    status, data = await ask(server, "GET", "/health")
    found = json.loads(data)
    assert (status, found["status"], type(found["time"])) == (200, "healthy", int)


# What its language makes of values --------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "timeout"),
    [
        ("", 3_600),
        (0, 3_600),
        ("90s", 90),
        ("1h30m", 5_400),
        (2 * 10**9, 2),
        (5_400 * 10**9, 5_400),
    ],
)
async def test_a_timeout_is_text_or_nanoseconds_and_zero_is_an_hour(
    server: Server, sent: Any, timeout: int
) -> None:
    assert (await details(server, await submit(server, timeout=sent))).job.timeout == timeout


@pytest.mark.parametrize(("priority", "kept"), [(0, 0), (9, 9), (10, 9), (-1, 0), (2**63 - 1, 9)])
async def test_a_priority_out_of_range_is_taken_to_its_end(
    server: Server, priority: int, kept: int
) -> None:
    assert (await details(server, await submit(server, priority=priority))).job.priority == kept


async def test_fields_that_were_never_set_come_as_zeros(server: Server) -> None:
    zeros = {
        "type": "",
        "wasm_sha256": "",
        "queue": "",
        "idempotency_key": "",
        "stdin": "",
        "retry_delay": 0,
        "delay": "",
        "max_retries": 0,
        "scheduled_at": "0001-01-01T00:00:00Z",
        "start_before": "0001-01-01T00:00:00Z",
        "entry_point": "",
    }
    needs = {"cpu_cores": 1, "memory_mb": 1, "storage_mb": 0, "gpu_count": 0, "gpu_type": ""}
    job_id = await submit(
        server, **zeros, requirements={**needs, "duration": 90 * 10**9, "labels": None}
    )
    found = json.loads((await ask(server, "GET", f"/api/v1/jobs/{job_id}"))[1])["job"]
    assert (found["status"], found["queue"], found["entry_point"]) == (
        "queued",
        "default",
        "_start",
    )
    assert (found["scheduled_at"], found["start_before"], found["type"]) == (None, None, None)
    assert (found["idempotency_key"], found["requirements"]["duration"]) == (None, 90)


async def test_a_typed_job_may_bring_an_empty_module(server: Server) -> None:
    body = {"type": "t", "wasm_module": "", "name": "n", "retry_delay": "", "start_before": ""}
    assert (await ask(server, "POST", "/api/v1/jobs", body))[0] == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"wasm_module": ""},
        {"wasm_module": None},
        {"requirements": {"cpu_cores": 0, "memory_mb": 512}},
        {"requirements": {"cpu_cores": 1, "memory_mb": 0}},
        {"timeout": "soon"},
        {"timeout": 10**17},
    ],
)
async def test_what_it_may_not_leave_out_is_a_400(server: Server, fields: dict[str, Any]) -> None:
    status, data = await ask(server, "POST", "/api/v1/jobs", job(**fields))
    assert (status, json.loads(data)["code"]) == (400, "field_invalid")
