"""The client as coroutines, over one connection pool.

Calls that may be repeated without harm are repeated when the server cannot be reached or asks for
patience. A submit is one of them: without an idempotency key it gets one of its own.
"""

import asyncio
import base64
import codecs
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headrace.sdk.connection import (
    ANSWER_S_MAX,
    CONNECT_S_MAX,
    Duration,
    decode,
    json_of,
    problem_of,
)
from headrace.sdk.errors import ServerProblem, ServerUnreachable, UsageError
from headrace.sdk.operations import Operations
from headrace.sdk.views import JobAnswer, JobsPage, JobView
from headrace.wire import limits
from headrace.wire.durations import duration_ms
from headrace.wire.routes import AttemptsAnswer, AttemptView, ProgressAnswer
from headrace.wire.schema import Instant, ResultView, Submitted

TERMINAL: Final = frozenset({"completed", "failed", "timeout", "cancelled", "skipped"})
INLINE_MODULE_BYTES_MAX: Final = 64 * limits.KIB
"""A larger module is uploaded once and named by its hash."""
WASM_REQUIREMENTS: Final = {"cpu_cores": 1, "memory_mb": 256}
"""Of a module that is submitted without; the server wants both said."""
WAIT_S: Final = 30.0
"""Of one request that waits for a job's end."""
WAIT_PATIENCE_S: Final = 60.0
"""How long a wait goes on while a server that has answered before does not: at its restart."""
WAIT_LOOK_S: Final = 0.5
"""Between two looks for it."""
SILENCE_S_MAX: Final = 60.0
"""A stream of events beats four times as often; one that is silent for so long is dead."""
PAGE_JOBS: Final = 100

assert WAIT_S * 1000 <= limits.WAIT_MS_MAX
assert WAIT_S < ANSWER_S_MAX

Words = Sequence[str] | str
"""One, or several."""


class Job:
    """A job and its result as the server answered, with the values decoded."""

    def __init__(self, body: bytes) -> None:
        answer = decode(body, JobAnswer)
        self.body = body
        """JSON, as it came."""
        self.job: JobView = answer.job
        self.result: ResultView = answer.result

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def status(self) -> str:
        return self.job.status

    @property
    def finished(self) -> bool:
        return self.job.status in TERMINAL

    @property
    def completed(self) -> bool:
        return self.job.status == "completed"

    @property
    def value(self) -> Any:
        """What the handler returned; None without."""
        raw = bytes(self.result.result)
        return msgspec.json.decode(raw) if raw else None

    @property
    def output(self) -> bytes:
        """What a module wrote to its standard output."""
        return base64.b64decode(self.result.output or "")

    @property
    def error(self) -> str | None:
        return self.result.error or self.job.error


class Event(NamedTuple):
    """One thing that happened to a job."""

    name: str
    """snapshot, status, progress, log, deleted; or reset: events may have been missed."""
    data: dict[str, Any]
    """As the server says it: `status`, `progress`, `final`, and so on."""
    id: str = ""


class AsyncClient(Operations):
    """One server. Use it as a context manager, or call `close`."""

    # Submit -------------------------------------------------------------------------------------

    async def submit(
        self,
        type: str | None = None,  # noqa: A002 - the field's name
        params: Any = None,
        **fields: Any,
    ) -> Submitted:
        """Submit one job. Durable when this returns.

        fields: as in `POST /api/v1/jobs`; for a WASM job `name` and `wasm_module` or
        `wasm_sha256`.
        """
        job = dict(fields)
        if type is not None:
            job["type"] = type
            if params is not None:
                job["params"] = params
        elif params is not None:
            raise UsageError("params go with a type")
        key = job.setdefault("idempotency_key", secrets.token_hex(16))
        if key is None:
            del job["idempotency_key"]
        return await self._ask(
            "POST", "/api/v1/jobs", Submitted, json_of(job), again=key is not None
        )

    async def submit_many(self, jobs: Sequence[Mapping[str, Any]]) -> list[Submitted]:
        """Submit jobs, all or none, in one commit."""
        if not 0 < len(jobs) <= limits.SUBMIT_JOBS_MAX:
            raise UsageError(f"one submit takes 1 to {limits.SUBMIT_JOBS_MAX} jobs")
        again = all(job.get("idempotency_key") for job in jobs)
        body = json_of([dict(job) for job in jobs])
        return await self._ask("POST", "/api/v1/jobs", list[Submitted], body, again=again)

    async def submit_wasm(
        self, module: bytes | str | Path, arguments: Sequence[str] = (), **fields: Any
    ) -> Submitted:
        """Submit a WASM module, as bytes or as the path of a file.

        Requirements that are not given: one core, 256 MB.
        """
        data, name = module_of(module)
        fields.setdefault("name", name)
        fields["requirements"] = {**WASM_REQUIREMENTS, **(fields.get("requirements") or {})}
        if len(data) <= INLINE_MODULE_BYTES_MAX:
            fields["wasm_module"] = base64.b64encode(data).decode()
        else:
            fields["wasm_sha256"] = await self.put_module(data)
        fields.setdefault("entry_point", "_start")
        return await self.submit(arguments=list(arguments), **fields)

    async def put_module(self, data: bytes) -> str:
        """Store a module, unless it is there; return its sha256."""
        if len(data) > limits.MODULE_BYTES_MAX:
            raise UsageError(f"a module has at most {limits.MODULE_BYTES_MAX} bytes")
        sha256 = hashlib.sha256(data).hexdigest()
        path = f"/api/v1/modules/{sha256}"
        await self._request("PUT", path, data, content_type="application/wasm", again=True)
        return sha256

    # Jobs ---------------------------------------------------------------------------------------

    async def get(
        self, job_id: str, *, wait: Duration | None = None, patience_s: float = 0.0
    ) -> Job:
        """Return a job; with `wait` when it has ended, or after so long.

        patience_s: how long to go on while a server that has answered before does not, as at its
        restart.
        """
        query = {} if wait is None else {"wait": _wait_text(wait)}
        path = f"/api/v1/jobs/{_segment(job_id)}"
        away_at: float | None = None
        while True:
            try:
                return Job(await self._request("GET", path, query=query, again=True))
            except (ServerUnreachable, ServerProblem) as error:
                now = time.monotonic()
                away_at = now if away_at is None else away_at
                over = not self._answered or now - away_at >= patience_s
                if over or (isinstance(error, ServerProblem) and not error.retryable):
                    raise
            await asyncio.sleep(WAIT_LOOK_S)

    async def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Wait for a job's end, also through a restart of the server. Returns the job as it is
        when `timeout_s` is over."""
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = float("inf") if ends is None else max(0.0, ends - time.monotonic())
            job = await self.get(
                job_id, wait=min(WAIT_S, left_s), patience_s=min(WAIT_PATIENCE_S, left_s)
            )
            if job.finished or (ends is not None and time.monotonic() >= ends):
                return job

    async def list(
        self,
        *,
        status: Words = (),
        type: Words = (),  # noqa: A002 - the field's name
        queue: Words = (),
        group: Words = (),
        tag: Words = (),
        label: Words = (),
        owner: str | None = None,
        name: str | None = None,
        name_prefix: str | None = None,
        submitted_after: Instant | None = None,
        submitted_before: Instant | None = None,
        finished_after: Instant | None = None,
        finished_before: Instant | None = None,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> JobsPage:
        """Return one page of jobs, the newest first. The filters hold together.

        tag: all of them; label: that it requires, `key` or `key=value`. order: as in
        `GET /api/v1/jobs`, such as `-finished_at`.
        """
        query: list[tuple[str, str]] = []
        for key, values in (
            ("status", status),
            ("type", type),
            ("queue", queue),
            ("group", group),
            ("tag", tag),
            ("label", label),
        ):
            words = (values,) if isinstance(values, str) else values
            query += ((key, word) for word in words)
        query += (
            (key, str(value))
            for key, value in (
                ("owner", owner),
                ("name", name),
                ("name_prefix", name_prefix),
                ("submitted_after", submitted_after),
                ("submitted_before", submitted_before),
                ("finished_after", finished_after),
                ("finished_before", finished_before),
                ("limit", limit),
                ("cursor", cursor),
                ("order", order),
            )
            if value is not None
        )
        return await self._ask("GET", "/api/v1/jobs", JobsPage, query=query, again=True)

    async def jobs(self, *, most: int | None = None, **filters: Any) -> AsyncIterator[JobView]:
        """Yield jobs, the newest first, page by page as they are asked for; at most `most`.

        filters: as of `list`.
        """
        filters.setdefault("limit", limits.LIST_LIMIT_MAX if most is None else PAGE_JOBS)
        told = 0
        while True:
            page = await self.list(**filters)
            for job in page.jobs:
                if told == most:
                    return
                told += 1
                yield job
            if page.next is None:
                return
            filters["cursor"] = page.next

    async def cancel(self, job_id: str) -> str:
        """Cancel a job; return its status after it."""
        return await self._act(job_id, "cancel")

    async def suspend(self, job_id: str) -> str:
        return await self._act(job_id, "suspend")

    async def resume(self, job_id: str) -> str:
        return await self._act(job_id, "resume")

    async def retry(self, job_id: str, *, force: bool = False) -> str:
        """Run a job that has ended again, with all its tries; with `force` also one that
        completed. One that waits for its time runs now."""
        return await self._act(job_id, "retry", {"force": "1"} if force else None)

    async def delete(self, job_id: str) -> None:
        """Remove a finished job's record."""
        await self._request("DELETE", f"/api/v1/jobs/{_segment(job_id)}")

    async def _act(self, job_id: str, act: str, query: dict[str, str] | None = None) -> str:
        path = f"/api/v1/jobs/{_segment(job_id)}/{act}"
        answer = await self._ask("POST", path, dict[str, Any], query=query)
        return str(answer.get("status"))

    async def explain(self, job_id: str) -> dict[str, Any]:
        """Return why a job waits."""
        path = f"/api/v1/jobs/{_segment(job_id)}/explain"
        return await self._ask("GET", path, dict[str, Any], again=True)

    async def progress(self, job_id: str) -> ProgressAnswer:
        """Return how far a job is, and the reports of its progress, one a second at most."""
        path = f"/api/v1/jobs/{_segment(job_id)}/progress"
        return await self._ask("GET", path, ProgressAnswer, again=True)

    async def attempts(self, job_id: str) -> Sequence[AttemptView]:
        """Return by which workers the job was tried, and how each attempt ended; oldest first."""
        path = f"/api/v1/jobs/{_segment(job_id)}/attempts"
        return (await self._ask("GET", path, AttemptsAnswer, again=True)).attempts

    async def logs(
        self, job_id: str, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[str]:
        """Yield the job's log in pieces; with `follow` as it grows, until the job has ended.

        Raises: ServerUnreachable also when the log of a job that goes on breaks off.
        """
        query = {}
        if follow:
            query["follow"] = "1"
        if tail is not None:
            query["tail"] = str(tail)
        import aiohttp

        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        path = f"/api/v1/jobs/{_segment(job_id)}/logs"
        try:
            async with self._open().get(
                self.url + path,
                params=query,
                headers={"Accept": "text/plain"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX),
            ) as response:
                if response.status != 200:
                    raise problem_of(response.status, await response.read(), response.headers)
                async for piece in response.content.iter_any():
                    text = decoder.decode(piece)
                    if text:
                        yield text
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        if follow and not (await self.get(job_id)).finished:
            raise ServerUnreachable(f"{self.url}: the log broke off, the job goes on")

    async def events(
        self,
        job_id: str | None = None,
        *,
        logs: bool = False,
        status: Words = (),
        type: Words = (),  # noqa: A002 - the field's name
        queue: Words = (),
        owner: str | None = None,
        patience_s: float = WAIT_PATIENCE_S,
    ) -> AsyncIterator[Event]:
        """Yield what happens to a job, from how it stands now to its end; without a job what
        happens to all of the caller's, or of the tenant's for an admin, and never end.

        A stream that breaks off goes on where it was. After a restart of the server there is an
        event `reset`, and of a job one that says how it stands.
        status, type, queue, owner: without a job, of which jobs. patience_s: how long to go on
        while a server that has answered before does not.
        """
        import aiohttp

        path = "/api/v1/events"
        if job_id is not None:
            path = f"/api/v1/jobs/{_segment(job_id)}/events"
        query = [("logs", "1")] if logs else []
        for key, values in (("status", status), ("type", type), ("queue", queue), ("owner", owner)):
            words = (values,) if isinstance(values, str) else values or ()
            query += ((key, word) for word in words)
        last_id, away_at = "", 0.0
        while True:
            try:
                async with self._open().get(
                    self.url + path,
                    params=query,
                    headers={"Accept": "text/event-stream", "Last-Event-ID": last_id},
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=CONNECT_S_MAX, sock_read=SILENCE_S_MAX
                    ),
                ) as response:
                    if response.status == 204:
                        return
                    if response.status != 200:
                        raise problem_of(response.status, await response.read(), response.headers)
                    self._answered, away_at = True, 0.0
                    async for event in _events_of(response.content.iter_any()):
                        last_id = event.id or last_id
                        yield event
                        ended = event.name == "deleted" or event.data.get("final")
                        if ended and job_id is not None:
                            return
            except (aiohttp.ClientError, OSError, TimeoutError, ServerProblem) as error:
                away_at = away_at or time.monotonic()
                over = not self._answered or time.monotonic() - away_at >= patience_s
                if isinstance(error, ServerProblem):
                    if over or not error.retryable:
                        raise
                elif over:
                    raise self._unreachable(error) from error
            await asyncio.sleep(WAIT_LOOK_S)


async def _events_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Read server-sent events as headrace writes them: one line of data each."""
    text = b""
    async for piece in pieces:
        *blocks, text = (text + piece).split(b"\n\n")
        for block in blocks:
            fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n"))
            if b"data" in fields:
                data = decode(fields[b"data"], dict[str, Any])
                yield Event(fields[b"event"].decode(), data, fields[b"id"].decode())


def module_of(module: bytes | str | Path) -> tuple[bytes, str]:
    """Return a module's bytes and a name for the job. Raises: UsageError."""
    if isinstance(module, bytes):
        return module, "module"
    path = Path(module)
    try:
        return path.read_bytes(), path.stem
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None


def _wait_text(wait: Duration) -> str:
    try:
        return f"{min(duration_ms(wait), limits.WAIT_MS_MAX)}ms"
    except ValueError as error:
        raise UsageError(str(error)) from None


def _segment(job_id: str) -> str:
    if not job_id or not all(char.isalnum() or char in "-_" for char in job_id):
        raise UsageError(f"{job_id!r} is not a job's id")
    return job_id
