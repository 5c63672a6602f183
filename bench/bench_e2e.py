"""A real server, durable on its disk, driven over HTTP: workloads W1 to W7.

    python bench/bench_e2e.py                 quick: a minute or two
    python bench/bench_e2e.py --full          a million jobs, five runs of each
    python bench/bench_e2e.py --only W1,W5 --runs 5

Server on core 0, client on core 1. Every acknowledgement comes after an fsync. Each run has a new
server and an empty directory. Results go to bench/results/e2e.json; `bench/report.py` makes the
table. What the numbers do not say stands at the top of bench/README.md.
"""

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from rig import (
    ROOT,
    Asker,
    Connection,
    Meter,
    Served,
    bare_aiohttp,
    connect,
    free_port,
    headrace,
    machine,
    medians,
    percentile,
    pin_client,
    poll,
    request,
    save,
    served,
    submit_many,
    submit_one,
)

Figures = dict[str, float]
W1_CONNECTIONS = 64
SUBMITTERS = 16
WORKERS = 8
BATCH = 100
BATCH_LARGE = 1_000
WARM_UP = 500
WORD_SAID = b'{"lease":"%s","outcome":"completed"}'
_LEASE = re.compile(rb'"lease":"([\w-]{54})","job"')


class Sizes(msgspec.Struct):
    runs: int
    single: int
    """Jobs of W1."""
    batched: int
    """Jobs of W2, W3, W4."""
    samples: int
    """Of W5."""
    depth: int
    """Jobs of W6 and W7."""


QUICK = Sizes(runs=3, single=10_000, batched=60_000, samples=300, depth=100_000)
FULL = Sizes(runs=5, single=50_000, batched=400_000, samples=2_000, depth=1_000_000)


# Loops of the client ----------------------------------------------------------------------------


async def repeat(port: int, connections: int, sent: bytes, number: int) -> None:
    """Send the same request until `number` are answered, one under way on each connection."""
    done = asyncio.get_running_loop().create_future()
    to_send, answered = number, 0

    def on_answer(connection: Connection, _data: bytes, _at: int) -> None:
        nonlocal to_send, answered
        answered += 1
        if to_send:
            to_send -= 1
            connection.send(sent)
        elif answered == number:
            done.set_result(None)

    opened = await connect(port, connections, on_answer)
    for connection in opened[:number]:
        to_send -= 1
        connection.send(sent)
    await done
    for connection in opened:
        connection.transport.abort()


async def work_off(port: int, number: int, wait: str) -> None:
    """Lease and complete until `number` completions are acknowledged, a hundred at a time."""
    done = asyncio.get_running_loop().create_future()
    completed = 0
    reported: dict[Connection, int] = {}
    names = cycle(f"w-{n}" for n in range(WORKERS))

    def on_answer(connection: Connection, data: bytes, at: int) -> None:
        nonlocal completed
        completed += reported[connection]
        if completed >= number:
            if not done.done():
                done.set_result(None)
            return
        leases = _LEASE.findall(data, at)
        reported[connection] = len(leases)
        reports = b",".join([WORD_SAID % lease for lease in leases])
        connection.send(poll(name_of[connection], BATCH, wait, reports))

    opened = await connect(port, WORKERS, on_answer)
    name_of = dict(zip(opened, names, strict=False))
    for connection in opened:
        reported[connection] = 0
        connection.send(poll(name_of[connection], BATCH, wait))
    await done
    for connection in opened:
        connection.transport.abort()


def rate(server: Served, number: int, work: Any) -> Figures:
    async def timed() -> Figures:
        meter = Meter(server)
        await work
        return meter.stop()

    figures = uvloop.run(timed())
    return {"value": number / figures.pop("seconds"), **figures}


# Workloads --------------------------------------------------------------------------------------


def w1(base: Path, sizes: Sizes) -> Figures:
    with served(base) as server:
        uvloop.run(repeat(server.port, W1_CONNECTIONS, submit_one(), WARM_UP))
        return rate(
            server,
            sizes.single,
            repeat(server.port, W1_CONNECTIONS, submit_one(), sizes.single),
        )


def w1_reference(base: Path, sizes: Sizes) -> Figures:
    with bare_aiohttp(base) as server:
        uvloop.run(repeat(server.port, W1_CONNECTIONS, submit_one(), WARM_UP))
        return rate(
            server,
            sizes.single,
            repeat(server.port, W1_CONNECTIONS, submit_one(), sizes.single),
        )


def w2(batch: int) -> Callable[[Path, Sizes], Figures]:
    def run(base: Path, sizes: Sizes) -> Figures:
        sent = submit_many(batch)
        with served(base) as server:
            uvloop.run(repeat(server.port, 4, sent, 4))
            number = max(1, sizes.batched // batch)
            return rate(server, number * batch, repeat(server.port, SUBMITTERS, sent, number))

    return run


def w3(base: Path, sizes: Sizes) -> Figures:
    with served(base) as server:
        number = sizes.batched // BATCH
        uvloop.run(repeat(server.port, SUBMITTERS, submit_many(BATCH), number))
        return rate(server, number * BATCH, work_off(server.port, number * BATCH, "0s"))


def w4(base: Path, sizes: Sizes) -> Figures:
    number = sizes.batched // BATCH

    async def both(port: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work_off(port, number * BATCH, "5s"))
            tasks.create_task(repeat(port, 4, submit_many(BATCH), number))

    with served(base) as server:
        return rate(server, number * BATCH, both(server.port))


def w5(base: Path, sizes: Sizes) -> Figures:
    """One job at a time through an idle server: when its worker has it, when its result is seen."""
    with served(base) as server:
        starts, results = uvloop.run(one_by_one(server.port, sizes.samples))
    return {
        "value": percentile(starts, 0.5),
        "start_p99_ms": percentile(starts, 0.99),
        "result_p50_ms": percentile(results, 0.5),
        "result_p99_ms": percentile(results, 0.99),
    }


async def one_by_one(port: int, samples: int) -> tuple[list[float], list[float]]:
    submitter, worker, reader = [await Asker().open(port) for _ in range(3)]
    starts, results = [], []
    for number in range(samples + 20):
        parked = worker.ask(poll("w", 1, "30s"))
        await asyncio.sleep(0.003)
        began_s = time.perf_counter()
        accepted = submitter.ask(submit_one())
        job_id = msgspec.json.decode(await accepted)["job_id"]
        seen = reader.ask(request("GET", f"/api/v1/jobs/{job_id}/result?wait=30s"))
        given = await parked
        start_s = worker.arrived_s - began_s
        lease = _LEASE.findall(given)[0]
        await worker.ask(poll("w", 0, "0s", WORD_SAID % lease))
        await seen
        if number >= 20:
            starts.append(start_s * 1_000)
            results.append((reader.arrived_s - began_s) * 1_000)
    return starts, results


def w6_w7(base: Path, sizes: Sizes) -> dict[str, Figures]:
    """Fill, weigh, kill -9, start again, count."""
    with tempfile.TemporaryDirectory(dir=base, prefix="bench-") as dir_:
        data = Path(dir_) / "data"
        server = headrace(data, free_port()).wait_ready()
        try:
            fill(server, 10 * BATCH_LARGE)
            before = server.memory_bytes()
            fill(server, sizes.depth - 10 * BATCH_LARGE)
            after = server.memory_bytes()
            weighed = sizes.depth - 10 * BATCH_LARGE
            disk_bytes = sum(file.stat().st_blocks * 512 for file in data.iterdir())
        finally:
            server.kill()
        began_s = time.perf_counter()
        server = headrace(data, server.port).wait_ready()
        try:
            ready_s = time.perf_counter() - began_s
            status, answer = server.ask("POST", "/api/v1/jobs", {"type": "noop"})
            serving_s = time.perf_counter() - began_s
            assert status == 200, answer
            stats = server.ask("GET", "/api/v1/stats")[1]
            jobs = min(int(stats["runtime"]["jobs"]), int(stats["store"]["jobs_live"]))
        finally:
            server.kill()
        began_s = time.perf_counter()
        empty = headrace(Path(dir_) / "empty", free_port()).wait_ready()
        empty_s = time.perf_counter() - began_s
        empty.kill()
    return {
        "W6": {
            "value": (after["private"] - before["private"]) / weighed,
            "rss_bytes_per_job": (after["rss"] - before["rss"]) / weighed,
            "disk_bytes_per_job": disk_bytes / sizes.depth,
        },
        "W7": {
            "value": serving_s,
            "ready_s": ready_s,
            "empty_ready_s": empty_s,
            "lost": sizes.depth + 1 - jobs,
        },
    }


def fill(server: Served, number: int) -> None:
    uvloop.run(repeat(server.port, 4, submit_many(BATCH_LARGE), number // BATCH_LARGE))


ROWS: dict[str, tuple[str, str, Callable[[Path, Sizes], Any]]] = {
    "W1ref": ("bare aiohttp: decode the same body, answer, keep nothing", "jobs/s", w1_reference),
    "W1": ("submit, one job a request, 64 connections", "jobs/s", w1),
    "W2": ("submit in batches of 100, 16 connections", "jobs/s", w2(BATCH)),
    "W2k": ("submit in batches of 1,000, 16 connections", "jobs/s", w2(BATCH_LARGE)),
    "W3": ("drain: lease and complete, batches of up to 100, 8 workers", "jobs/s", w3),
    "W4": ("submit and consume at once, batches of 100", "jobs/s", w4),
    "W5": ("idle, one at a time: submit to a parked worker's start, p50", "ms", w5),
    "W6": ("memory a queued job", "bytes", w6_w7),
    "W7": ("kill -9 with that many queued: start to the first new acknowledgement", "s", w6_w7),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default="", help="rows, with commas")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--depth", type=int, help="jobs of W6 and W7")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--name", default="e2e", help="of the result file")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    sizes = FULL if args.full else QUICK
    if args.runs:
        sizes = msgspec.structs.replace(sizes, runs=args.runs)
    if args.depth:
        sizes = msgspec.structs.replace(sizes, depth=args.depth)
    pin_client()
    results = {"machine": machine(args.dir), "settings": msgspec.to_builtins(sizes), "rows": {}}
    wanted = args.only.split(",") if args.only else list(ROWS)
    runs: dict[str, list[Figures]] = {}
    # Row by row inside a run, so that rows which are compared share the machine's moods.
    for _ in range(sizes.runs):
        for name in wanted:
            if name == "W7" and "W6" in wanted:
                continue
            figures = ROWS[name][2](args.dir, sizes)
            for row, values in figures.items() if name in ("W6", "W7") else ((name, figures),):
                runs.setdefault(row, []).append(values)
                print(row, {key: round(value, 3) for key, value in values.items()}, flush=True)
    for name, values in runs.items():
        what, unit, _ = ROWS[name]
        for run in values:
            if run.get("server_cpu"):
                run["per_cpu_s"] = run["value"] / run["server_cpu"]
        row = {"what": what, "unit": unit, **medians(values)}
        row["runs"] = [run["value"] for run in values]
        results["rows"][name] = row
    print(save(args.name, results))


if __name__ == "__main__":
    main()
