"""What is measured, W1 to W5, and how headrace's clients do it.

| id | what |
|---|---|
| W1 | submit, one job a request, 64 connections |
| W2 | submit in batches of 100; W2k: of 1,000 |
| W3 | drain: jobs already queued, leased and completed in batches of up to 100 |
| W4 | submit and consume at once, batches of 100: jobs a second from end to end |
| W5 | an idle system, one job at a time: when its worker has it, when its result is seen |

A job is no work and about 200 bytes of JSON. `System` is all that a workload knows; the programs
of `bench/` have more of them, for what headrace is compared with.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import uvloop

from headrace.bench import http
from headrace.bench.connection import Asker, Connection, Crowd, repeat, together
from headrace.bench.http import HttpConnection
from headrace.bench.measures import Figures, percentile, quantiles
from headrace.bench.process import HeadraceServer, ServerProcess

BATCH: Final = 100
BATCH_LARGE: Final = 1_000
SINGLE_CONNECTIONS: Final = 64
SUBMITTERS: Final = 16
SUBMITTERS_BESIDE_WORKERS: Final = 4
WORKERS: Final = 8
WARM_UP: Final = 500
SETTLE_S: Final = 0.003
"""Between two jobs of W5, so that the worker waits again."""
SAMPLES_DROPPED: Final = 20
WAIT: Final = "5s"


class Pace(NamedTuple):
    """About how many jobs a second a system does. It makes runs of a wanted length, no more."""

    single: int
    batched: int
    drained: int
    both: int


class Latencies(NamedTuple):
    """Of W5, in seconds."""

    starts: list[float]
    results: list[float]


class System(Protocol):
    """A running system, empty at first, with the clients that suit it best."""

    @property
    def server(self) -> ServerProcess: ...

    @property
    def pace(self) -> Pace: ...

    def client_cpu_s(self) -> float:
        """CPU time of all that is not the server."""

    async def submit(self, number: int, batch: int) -> list[float]:
        """Have jobs acknowledged; return the seconds that each request took."""

    async def prepare(self, queued: int, coming: int) -> None:
        """Have workers stand ready for so many jobs, queued and to come; it is not timed."""

    async def drain(self, number: int) -> list[float]:
        """Take and complete jobs that are queued, until that many are acknowledged."""

    async def both(self, number: int) -> list[float]:
        """Submit jobs, and take and complete them beside it."""

    async def one_by_one(self, samples: int) -> Latencies: ...


# headrace ---------------------------------------------------------------------------------------


class Headrace:
    """`headrace serve` on an empty directory; every acknowledgement comes after a sync."""

    pace: ClassVar[Pace] = Pace(single=40_000, batched=220_000, drained=120_000, both=85_000)

    def __init__(self, data: Path, *flags: str, core: int | None = None) -> None:
        self.data = data
        self._core = core
        self._flags = flags
        self.server = HeadraceServer(data, *flags, core=core)

    def ready(self) -> "Headrace":
        self.server.ready()
        return self

    def restart(self) -> None:
        """Start it again on what a kill left, on the same port."""
        self.server = HeadraceServer(
            self.data, *self._flags, core=self._core, port=self.server.port
        )

    def client_cpu_s(self) -> float:
        return time.process_time()

    async def submit(self, number: int, batch: int) -> list[float]:
        connections = SINGLE_CONNECTIONS if batch == 1 else SUBMITTERS
        return await self._submit(number, batch, connections)

    async def _submit(self, number: int, batch: int, connections: int) -> list[float]:
        sent = http.submit(batch)
        return await repeat(HttpConnection, self.server.port, connections, sent, number // batch)

    async def prepare(self, queued: int, coming: int) -> None:
        pass  # our workers are connections

    async def drain(self, number: int) -> list[float]:
        return await self._work_off(number, "0s")

    async def both(self, number: int) -> list[float]:
        _, latencies = await together(
            self._submit(number, BATCH, SUBMITTERS_BESIDE_WORKERS), self._work_off(number, WAIT)
        )
        return list(latencies)

    async def _work_off(self, number: int, wait: str) -> list[float]:
        done = 0
        reported: dict[Connection, int] = {}
        name_of: dict[Connection, str] = {}

        def on_answer(connection: Connection, data: bytes, at: int) -> None:
            nonlocal done
            done += reported[connection]
            if done >= number:
                crowd.finish()
                return
            leases = http.LEASE.findall(data, at)
            reported[connection] = len(leases)
            connection.send(http.poll(name_of[connection], BATCH, wait, http.completed(leases)))

        async with Crowd() as crowd:
            opened = await crowd.open(HttpConnection, self.server.port, WORKERS, on_answer)
            for position, connection in enumerate(opened):
                name_of[connection], reported[connection] = f"w-{position}", 0
                connection.send(http.poll(name_of[connection], BATCH, wait))
            await crowd.done
            return crowd.latencies_s

    async def one_by_one(self, samples: int) -> Latencies:
        port = self.server.port
        submitter, worker, reader = [await Asker(HttpConnection).open(port) for _ in range(3)]
        found = Latencies([], [])
        for _ in range(samples):
            parked = worker.ask(http.poll("w", 1, "30s"))
            await asyncio.sleep(SETTLE_S)
            began_s = time.perf_counter()
            matched = http.JOB_ID.search(await submitter.ask(http.submit()))
            assert matched is not None
            seen = reader.ask(http.result(matched[1].decode(), "30s"))
            leases = http.LEASE.findall(await parked)
            start_s = worker.arrived_s - began_s
            await worker.ask(http.poll("w", 0, "0s", http.completed(leases)))
            await seen
            found.starts.append(start_s)
            found.results.append(reader.arrived_s - began_s)
        for asker in (submitter, worker, reader):
            await asker.close()
        return found


# Rows -------------------------------------------------------------------------------------------


class Meter:
    """Wall time of a stretch, and the share of a core that each side took in it."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._server_s = system.server.cpu_s()
        self._client_s = system.client_cpu_s()
        self._began_s = time.perf_counter()

    def stop(self) -> Figures:
        wall_s = time.perf_counter() - self._began_s
        return {
            "seconds": wall_s,
            "server_cpu": (self._system.server.cpu_s() - self._server_s) / wall_s,
            "client_cpu": (self._system.client_cpu_s() - self._client_s) / wall_s,
        }


def rate(system: System, number: int, work: Coroutine[Any, Any, list[float]]) -> Figures:
    """`value`: jobs a second. Latencies are those of requests, where the client sees them."""

    async def timed() -> Figures:
        meter = Meter(system)
        latencies_s = await work
        figures = meter.stop()
        if latencies_s:
            figures["p50_ms"] = percentile(latencies_s, 0.5) * 1_000
            figures["p99_ms"] = percentile(latencies_s, 0.99) * 1_000
        return figures

    figures: Figures = uvloop.run(timed())
    return {"value": number / figures["seconds"], "jobs": number, **figures}


def w1(system: System, seconds: float) -> Figures:
    number = _jobs(system.pace.single, seconds, 1)
    uvloop.run(system.submit(min(number, WARM_UP), 1))
    return rate(system, number, system.submit(number, 1))


def w2(system: System, seconds: float) -> Figures:
    return _submit_batches(system, seconds, BATCH)


def w2k(system: System, seconds: float) -> Figures:
    return _submit_batches(system, seconds, BATCH_LARGE)


def _submit_batches(system: System, seconds: float, batch: int) -> Figures:
    uvloop.run(system.submit(4 * batch, batch))
    number = _jobs(system.pace.batched, seconds, batch)
    return rate(system, number, system.submit(number, batch))


def w3(system: System, seconds: float) -> Figures:
    number = _jobs(system.pace.drained, seconds, BATCH)
    uvloop.run(system.submit(number, BATCH))
    uvloop.run(system.prepare(number, 0))
    return rate(system, number, system.drain(number))


def w4(system: System, seconds: float) -> Figures:
    number = _jobs(system.pace.both, seconds, BATCH)
    uvloop.run(system.prepare(0, number))
    return rate(system, number, system.both(number))


def w5(system: System, seconds: float) -> Figures:
    """`value`: the median from submit to the worker, in milliseconds."""
    samples = max(SAMPLES_DROPPED, round(seconds * 150))
    uvloop.run(system.prepare(0, 0))

    async def timed() -> tuple[Latencies, Figures]:
        meter = Meter(system)
        found = await system.one_by_one(samples + SAMPLES_DROPPED)
        return found, meter.stop()

    latencies, figures = uvloop.run(timed())
    starts, results = ([s * 1_000 for s in of[SAMPLES_DROPPED:]] for of in latencies)
    return {
        "value": percentile(starts, 0.5),
        "start_p99_ms": percentile(starts, 0.99),
        "result_p50_ms": percentile(results, 0.5),
        "result_p99_ms": percentile(results, 0.99),
        "start_quantiles_ms": quantiles(starts),
        "result_quantiles_ms": quantiles(results),
        **figures,
    }


def _jobs(pace: int, seconds: float, batch: int) -> int:
    """Return how many jobs a run of about that length has: whole batches."""
    return max(1, round(pace * seconds / batch)) * batch


class Row(NamedTuple):
    title: str
    what: str
    unit: str
    run: Callable[[Any, float], Figures]


ROWS: Final = {
    "W1": Row(
        "submit singly",
        f"submit, one job a request, {SINGLE_CONNECTIONS} connections",
        "jobs/s",
        w1,
    ),
    "W2": Row(
        "submit by 100", f"submit in batches of {BATCH}, {SUBMITTERS} connections", "jobs/s", w2
    ),
    "W2k": Row(
        "submit by 1,000",
        f"submit in batches of {BATCH_LARGE:,}, {SUBMITTERS} connections",
        "jobs/s",
        w2k,
    ),
    "W3": Row("drain", f"drain: lease and complete, batches of up to {BATCH}", "jobs/s", w3),
    "W4": Row("submit and drain", f"submit and consume at once, batches of {BATCH}", "jobs/s", w4),
    "W5": Row(
        "one job, idle,", "idle, one at a time: submit to start at its worker, p50", "ms", w5
    ),
}
