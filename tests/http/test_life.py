"""Each row of the table of a job's life is gone through by HTTP: what is not reached is not there.

A client and a worker that does as it is told; what happened is read from what was committed.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

import pytest
from http_tools import EMPTY_MODULE, Server, open_server

from headrace.core.effects import (
    Effect,
    JobChanged,
    JobFinished,
    JobRedriven,
    JobsCompleted,
    JobsLeased,
    JobsStored,
    ids_split,
)
from headrace.core.job import LEASED, RECORD_BYTES, TERMINAL, TRANSITIONS, Event, Status

JOBS = "/api/v1/jobs"
_S, _E = Status, Event
TRIES: Final = 8
"""Of a row: a machine that is busy may let a short lease run out before its time."""

OUTCOMES: Final[dict[Event, dict[str, Any]]] = {
    _E.COMPLETE: {"outcome": "completed"},
    _E.RETRY: {"outcome": "failed", "error": "boom", "retry_delay": "1h"},
    _E.FAIL: {"outcome": "failed", "error": "boom", "permanent": True},
    _E.TIME_OUT: {"outcome": "timeout"},
    _E.CANCELED: {"outcome": "cancelled"},
    _E.CHECKPOINT: {"outcome": "suspended", "checkpoint": 7},
    _E.RELEASE: {"outcome": "released"},
    _E.SNOOZE: {"outcome": "snoozed", "retry_delay": "1h"},
}
ACTS: Final = {
    _E.CANCEL: "cancel",
    _E.SUSPEND: "suspend",
    _E.RESUME: "resume",
    _E.REDRIVE: "retry?force=1",
    _E.AWAIT: "retry",
}
LATE: Final = {_S.QUEUED, _S.SUSPENDED}
"""Where a worker's last word counts although its lease has run out."""
IN_SHORT: Final = {
    (start, event)
    for start, event in TRANSITIONS
    if event is _E.LAPSE or (event in OUTCOMES and start in LATE)
}
"""Rows that need a lease to run out."""
BY_CLOCK: Final = {(_S.SCHEDULED, _E.SKIP)}
"""A deadline to start lies behind the time a job is due, and comes before it only when the wall
clock jumps while a delay goes on: `core/test_passing.py` and the simulation let it."""


class Life:
    """A server, its jobs' steps, and who takes them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.taken: set[tuple[Status, Event]] = set()
        self._status: dict[bytes, Status] = {}
        self._numbers = count()
        server.node.pump.on_effects.append(self._see_all)

    def _see_all(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._see(effect)

    def _see(self, effect: Effect) -> None:
        if isinstance(effect, JobsStored | JobsLeased | JobsCompleted):
            for position, job_id in enumerate(ids_split(effect.job_ids)):
                status = Status(effect.records[position * RECORD_BYTES + 1])
                if isinstance(effect, JobsLeased):
                    self._step(job_id, _E.LEASE, status)
                elif isinstance(effect, JobsCompleted):
                    self._step(job_id, _E.COMPLETE, status)
                else:
                    self._status[job_id] = status
        elif isinstance(effect, JobChanged | JobRedriven):
            self._step(effect.job_id, effect.event, Status(effect.record[1]))
        elif isinstance(effect, JobFinished):
            self._step(effect.job_id, effect.event, effect.finished.status)

    def _step(self, job_id: bytes, event: Event, status: Status) -> None:
        start = self._status[job_id]
        assert TRANSITIONS[start, event] is status
        self.taken.add((start, event))
        self._status[job_id] = status

    # What clients and workers do ------------------------------------------------------------------

    async def act(self, job_id: str, act: str) -> None:
        reply = await self.server.call("POST", f"{JOBS}/{job_id}/{act}")
        assert reply.status in (200, 409), reply.body

    async def take(self, kind: str, *, started: bool) -> str:
        poll = {"worker": kind, "serve": {"types": [kind]}, "wait": 10}
        reply = await self.server.call("POST", "/api/v1/work/poll", poll)
        lease = str(reply.json["jobs"][0]["lease"])
        if started:
            path = f"/api/v1/leases/{lease}/progress"
            await self.server.call("POST", path, {"started": True})
        return lease

    async def report(self, lease: str, event: Event) -> None:
        told = {"worker": "w", "max_jobs": 0, "reports": [{"lease": lease, **OUTCOMES[event]}]}
        await self.server.call("POST", "/api/v1/work/poll", told)

    async def until(self, job_id: str, statuses: set[Status]) -> None:
        words = {status.name.lower() for status in statuses}
        while True:
            job = (await self.server.call("GET", f"{JOBS}/{job_id}")).json["job"]
            if job["status"] in words:
                return
            await asyncio.sleep(0.01)

    async def go_through(self, start: Status, event: Event) -> None:
        """Bring a new job to a status, and let the event happen."""
        kind = f"kind-{next(self._numbers)}"
        fields: dict[str, Any] = {"type": kind}
        if event is _E.SKIP and start is not _S.INITIALIZING:
            fields["start_before"] = time.time() + 0.3
        if start is _S.INITIALIZING or event is _E.AWAIT:
            await self._waiting(start, event, kind)
            return
        if start is _S.SKIPPED:
            fields["start_before"] = time.time() + 0.05
        if start is _S.SCHEDULED:
            fields["delay"] = "50ms" if event is _E.DUE else "1h"
        job_id = await self.server.submit(**fields)
        lease = ""
        if start in (_S.SUSPENDED, _S.RESUMING) and not (
            start is _S.SUSPENDED and event in OUTCOMES
        ):
            await self.act(job_id, "suspend")
            if start is _S.RESUMING:
                await self.act(job_id, "resume")
        elif start in LEASED | {_S.COMPLETED, _S.FAILED, _S.TIMEOUT} or (
            event in OUTCOMES and start in LATE
        ):
            lease = await self.take(kind, started=start is _S.RUNNING)
            if start is _S.SUSPENDING or start is _S.SUSPENDED:
                await self.act(job_id, "suspend")
            elif start is _S.CANCELING:
                await self.act(job_id, "cancel")
            elif start in TERMINAL:
                ends = {_S.COMPLETED: _E.COMPLETE, _S.FAILED: _E.FAIL, _S.TIMEOUT: _E.TIME_OUT}
                await self.report(lease, ends[start])
            elif start is _S.QUEUED:
                await self.until(job_id, {_S.LOCKED})
        elif start is _S.CANCELLED:
            await self.act(job_id, "cancel")
        if start in LATE | {_S.SKIPPED}:
            await self.until(job_id, {start})
        await self._let_happen(event, job_id, kind, lease)

    async def _let_happen(self, event: Event, job_id: str, kind: str, lease: str) -> None:
        if event in ACTS:
            await self.act(job_id, ACTS[event])
        elif event in OUTCOMES:
            await self.report(lease, event)
        elif event is _E.LEASE:
            await self.take(kind, started=False)
        elif event is _E.START:
            await self.server.call("POST", f"/api/v1/leases/{lease}/progress", {"started": True})
        elif event is _E.SKIP:
            await self.until(job_id, {_S.SKIPPED})
        elif event is _E.DUE:
            await self.until(job_id, {_S.QUEUED})
        else:
            assert event is _E.LAPSE
            await self.until(job_id, {_S.QUEUED, _S.SUSPENDED, _S.CANCELLED})

    async def _waiting(self, start: Status, event: Event, kind: str) -> None:
        """A job that runs after another, or on a module that comes later."""
        first = await self.server.submit(type=f"{kind}-first")
        fields: dict[str, Any] = {"type": kind, "after": [first]}
        if _E.FAIL is event or start is _S.FAILED:
            needs = {"cpu_cores": 1, "memory_mb": 64}
            module = EMPTY_MODULE + b"\x00\x02\x01" + bytes([65 + start])  # a section of its own
            sha256 = hashlib.sha256(module).hexdigest()
            fields = {"name": kind, "requirements": needs, "entry_point": "main", "after": [first]}
            fields |= {"wasm_sha256": sha256, "await_module": True}
        if event is _E.DEFER:
            fields["delay"] = "1h"
        reply = await self.server.call("POST", JOBS, fields)
        job_id = reply.json["job_id"]
        if event is _E.CANCEL or start is _S.CANCELLED:
            await self.act(job_id, "cancel")
        elif event is _E.FAIL or start is _S.FAILED:
            await self.server.send("PUT", f"/api/v1/modules/{sha256}", data=module)
            await self.until(job_id, {_S.FAILED})
        elif event is _E.SKIP or start is _S.SKIPPED:
            await self.act(first, "cancel")
            await self.until(job_id, {_S.SKIPPED})
            await self.act(first, "retry")
        else:
            await self.report(await self.take(f"{kind}-first", started=False), _E.COMPLETE)
            await self.until(job_id, {_S.QUEUED, _S.SCHEDULED})
        if event is _E.AWAIT:
            await self.act(job_id, "retry")


@asynccontextmanager
async def life(**config: Any) -> AsyncIterator[Life]:
    server = await open_server(**config)
    try:
        yield Life(server)
    finally:
        await server.close()


@pytest.mark.parametrize("short", [False, True], ids=["", "leases-run-out"])
async def test_each_row_of_the_table_is_reached_by_http(short: bool) -> None:
    wanted = IN_SHORT if short else TRANSITIONS.keys() - IN_SHORT - BY_CLOCK
    async with life(lease_ms=200 if short else 30_000, crashes_max=100) as it:
        missing = wanted
        for _ in range(TRIES):
            for start, event in sorted(missing):
                async with asyncio.timeout(20):
                    await it.go_through(start, event)
            missing = wanted - it.taken
            if not missing:
                break
        assert sorted(missing) == []
