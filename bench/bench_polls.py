"""Ten thousand workers that wait: memory of a parked poll, CPU while idle, and a wake-up's delay.

    python bench/bench_polls.py [--polls 10000] [--submits 300]

One connection a worker, all of one client process. Twice: workers that all serve the same types,
so any may get a job; and each with a type of its own, so only the right one may.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from headrace.bench import http
from headrace.bench.connection import Asker, Connection, Crowd
from headrace.bench.http import HttpConnection
from headrace.bench.measures import percentile
from headrace.bench.process import HeadraceServer, pin_client
from rig import SCRATCH, machine, raise_file_limit, save, served

IDLE_S = 10.0
SETTLE_S = 2.0
WAIT = "60s"
FILES_BESIDE = 200
CONNECT_AT_ONCE = 200


class Workers:
    """The waiting workers; each polls again when it is answered."""

    def __init__(self, port: int, own_types: bool) -> None:
        self.port = port
        self.own_types = own_types
        self.number_of: dict[Connection, int] = {}
        self.woken: asyncio.Future[tuple[int, float]] | None = None
        self.strays = 0

    def type_of(self, number: int) -> str:
        return f"type-{number}" if self.own_types else "noop"

    def park(self, connection: Connection, reports: bytes = b"") -> None:
        number = self.number_of[connection]
        connection.send(http.poll(f"worker-{number}", 1, WAIT, reports, self.type_of(number)))

    def on_answer(self, connection: Connection, data: bytes, at: int) -> None:
        arrived_s = time.perf_counter()
        jobs = msgspec.json.decode(data[at:])["jobs"]
        if not jobs:
            self.park(connection)
            return
        # The acknowledgement of this report is an answer without jobs, and parks it again.
        self.park(connection, http.completed([jobs[0]["lease"].encode()]))
        if self.woken is None or self.woken.done():
            self.strays += 1
        else:
            self.woken.set_result((self.number_of[connection], arrived_s))

    async def gather(self, polls: int) -> None:
        self.crowd = Crowd()
        for start in range(0, polls, CONNECT_AT_ONCE):
            number = min(CONNECT_AT_ONCE, polls - start)
            made = await self.crowd.open(HttpConnection, self.port, number, self.on_answer)
            for offset, connection in enumerate(made[start:]):
                self.number_of[connection] = start + offset
                self.park(connection)

    async def wake(self, submitter: Asker, number: int) -> float:
        """Submit for a worker. Returns milliseconds until it has the job."""
        self.woken = asyncio.get_running_loop().create_future()
        sent = http.submit(1, self.type_of(number))
        began_s = time.perf_counter()
        accepted = submitter.ask(sent)
        who, arrived_s = await self.woken
        await accepted
        assert not self.own_types or who == number, "the job went to another worker"
        return (arrived_s - began_s) * 1_000


async def measure(
    server: HeadraceServer, polls: int, submits: int, own_types: bool
) -> dict[str, Any]:
    workers = Workers(server.port, own_types)
    before = server.memory_bytes()
    began_s = time.perf_counter()
    await workers.gather(polls)
    while server.ask("GET", "/api/v1/stats")[1]["runtime"]["parked_polls"] < polls:
        await asyncio.sleep(0.05)
    gather_s = time.perf_counter() - began_s
    await asyncio.sleep(SETTLE_S)
    after = server.memory_bytes()
    idle_from_s = server.cpu_s()
    await asyncio.sleep(IDLE_S)
    idle_cpu = (server.cpu_s() - idle_from_s) / IDLE_S
    submitter = await Asker(HttpConnection).open(server.port)
    delays = []
    for round_ in range(submits):
        delays.append(await workers.wake(submitter, round_ * 7_919 % polls))
        await asyncio.sleep(0.005)
    return {
        "polls": polls,
        "gather_s": gather_s,
        "private_bytes_per_poll": (after["private"] - before["private"]) / polls,
        "rss_bytes_per_poll": (after["rss"] - before["rss"]) / polls,
        "idle_cpu": idle_cpu,
        "wake_p50_ms": percentile(delays, 0.5),
        "wake_p99_ms": percentile(delays, 0.99),
        "wake_max_ms": max(delays),
        "strays": workers.strays,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--polls", type=int, default=10_000)
    parser.add_argument("--submits", type=int, default=300)
    parser.add_argument("--dir", type=Path, default=SCRATCH)
    parser.add_argument("--name", default="polls", help="of the result file")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    polls = min(args.polls, raise_file_limit() - FILES_BESIDE)
    pin_client()
    results: dict[str, Any] = {
        "machine": machine(args.dir),
        "settings": {"polls": polls, "submits": args.submits},
        "rows": {},
    }
    for name, own_types in (("same types", False), ("own types", True)):
        with served(args.dir) as server:
            row = uvloop.run(measure(server, polls, args.submits, own_types))
        results["rows"][name] = row
        print(name, {key: round(value, 3) for key, value in row.items()}, flush=True)
    print(save(args.name, results))


if __name__ == "__main__":
    main()
