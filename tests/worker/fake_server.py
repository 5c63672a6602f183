"""A server for the agent's tests: the worker protocol in memory, and ways to make it misbehave."""

import asyncio
import base64
import hashlib
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

from headrace.wire.schema import PollRequest, Report


class Lease:
    def __init__(self, token: str, spec: dict[str, Any], attempt: int) -> None:
        self.token = token
        self.spec = spec
        self.attempt = attempt
        self.checkpoint: Any = None
        self.order: str | None = None
        self.started = False
        self.progress: list[tuple[float | None, str | None]] = []
        self.log = ""
        self.beats = 0
        self.reports: list[Report] = []
        self.reported = asyncio.Event()
        self.start_seen = asyncio.Event()

    @property
    def report(self) -> Report:
        return self.reports[0]

    @property
    def result(self) -> Any:
        return msgspec.json.decode(self.report.result)


class FakeServer:
    """Grants jobs in order to whoever polls; parks; repeats lost answers by seq."""

    def __init__(self) -> None:
        self.lease_term = "30s"
        self.queue: list[Lease] = []
        self.leases: dict[str, Lease] = {}
        self.modules: dict[str, bytes] = {}
        self.module_fetches = 0
        self.polls: list[PollRequest] = []
        self.orders_for_all: list[dict[str, str]] = []
        self.lose_answers = 0
        """That many polls are worked on, and their answers are lost."""
        self.down = False
        """Answer 503 to everything."""
        self.stalled = asyncio.Event()
        """Set: polls of sessions are not answered."""
        self.refuse_report = ""
        """Refuse a poll with a report that has this error text."""
        self.ack_problem: dict[str, Any] | None = None
        self._changed = asyncio.Condition()
        self._grants: dict[tuple[str, int], list[Lease]] = {}
        self._current: dict[str, int] = {}
        self._polls_seen = 0
        self.url = ""

    async def __aenter__(self) -> "FakeServer":
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/api/v1/work/poll", self._poll)
        app.router.add_get("/api/v1/modules/{sha256}", self._module)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def submit(
        self, kind: str, params: Any = None, *, checkpoint: Any = None, **fields: Any
    ) -> Lease:
        number = len(self.leases) + len(self.queue) + 1
        spec = {"id": f"job-{number}", "name": kind or "module", "type": kind, "timeout": 60}
        if params is not None:
            spec["params"] = params
        spec.update(fields)
        lease = Lease(f"lease-{number}", spec, fields.pop("attempt", 1))
        spec.pop("attempt", None)
        lease.checkpoint = checkpoint
        self.queue.append(lease)
        await self.touch()
        return lease

    def give_unheard(self, kind: str) -> Lease:
        """Give a job to the poll that is parked; its answer stays on the way."""
        number = len(self.leases) + len(self.queue) + 1
        spec = {"id": f"job-{number}", "name": kind, "type": kind, "timeout": 60}
        lease = self.leases[f"lease-{number}"] = Lease(f"lease-{number}", spec, 1)
        self._grants[self.polls[-1].session, self.polls[-1].seq] = [lease]
        return lease

    async def submit_wasm(self, module: bytes, **fields: Any) -> Lease:
        sha256 = hashlib.sha256(module).hexdigest()
        self.modules[sha256] = module
        return await self.submit("", wasm_sha256=sha256, entry_point="_start", **fields)

    async def order(self, lease: Lease, do: str) -> None:
        lease.order = do
        await self.touch()

    async def touch(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _module(self, request: web.Request) -> web.Response:
        self.module_fetches += 1
        return web.Response(body=self.modules[request.match_info["sha256"]])

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.json_response({"detail": "stopping", "retryable": True}, status=503)
        poll = msgspec.json.decode(await request.read(), type=PollRequest)
        if self.refuse_report and any(r.error == self.refuse_report for r in poll.reports):
            return web.json_response({"detail": "bad report", "code": "field_invalid"}, status=400)
        if poll.session and self.stalled.is_set():
            await asyncio.sleep(3_600)
        self.polls.append(poll)
        self._polls_seen += 1
        number = self._polls_seen
        if poll.session:
            self._current[poll.session] = number
            await self.touch()
        for token in poll.running:
            if token in self.leases:
                self.leases[token].beats += 1
        for news in poll.progress:
            lease = self.leases[news.lease]
            if lease.reports:
                raise AssertionError("news after the report are lost at a real server")
            lease.started = lease.started or news.started
            if news.started:
                lease.start_seen.set()
            if news.progress is not None or news.details is not None:
                lease.progress.append((news.progress, news.details))
            lease.log += news.log or ""
        acks = [self._ack(report) for report in poll.reports]
        answer = await self._answer(poll, number, acks)
        if self.lose_answers > 0:
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.close()
        return web.json_response(answer)

    def _ack(self, report: Report) -> dict[str, Any]:
        if self.ack_problem is not None:
            return {"lease": report.lease, "problem": self.ack_problem}
        lease = self.leases[report.lease]
        lease.reports.append(report)
        lease.reported.set()
        return {"lease": report.lease, "ok": True}

    async def _answer(self, poll: PollRequest, number: int, acks: list[Any]) -> dict[str, Any]:
        jobs: list[Lease] = []
        orders: list[dict[str, str]] = []

        def look() -> bool:
            nonlocal jobs, orders
            if poll.session and self._current[poll.session] != number:
                return True
            repeated = self._grants.get((poll.session, poll.seq))
            if repeated is not None:
                jobs = repeated
            elif poll.max_jobs and self.queue:
                jobs, self.queue = self.queue[: poll.max_jobs], self.queue[poll.max_jobs :]
                self._grants[poll.session, poll.seq] = jobs
                self.leases.update({lease.token: lease for lease in jobs})
            orders = [
                {"lease": token, "do": self.leases[token].order or ""}
                for token in poll.running
                if token in self.leases and self.leases[token].order
            ]
            for order in orders:
                self.leases[order["lease"]].order = None
            orders += self.orders_for_all
            self.orders_for_all = []
            return bool(jobs or orders or acks)

        if not look() and float(poll.wait) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(float(poll.wait)), self._changed:
                    await self._changed.wait_for(look)
        return {
            "acks": acks,
            "jobs": [_work(lease) for lease in jobs],
            "control": orders,
            "lease_term": self.lease_term,
            "poll_again": "0s",
        }


def _work(lease: Lease) -> dict[str, Any]:
    work = {
        "lease": lease.token,
        "job": lease.spec,
        "attempt": lease.attempt,
        "deadline": "2030-01-01T00:00:00Z",
    }
    if lease.checkpoint is not None:
        work["checkpoint"] = lease.checkpoint
    return work


def output_of(report: Report) -> bytes:
    return base64.b64decode(report.output or "")
