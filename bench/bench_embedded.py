"""The queue inside a program, beside what else could be there: enqueue no-op jobs, then run them.

    python bench/bench_embedded.py [--jobs 100000] [--runs 3] [--only headrace-disk,huey]

Each system in a process of its own, in turn, medians of the runs; eight threads run the jobs. What
each keeps differs, and stands in the table: only headrace and what is called "fsync" has a job on
disk when its enqueue returns. huey and persist-queue come from `pip install 'headrace[bench]'`.
Systems that sync for each job get fewer jobs, so that they end: 1 in 50.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rig import SCRATCH, machine, save

THREADS = 8
PARAMS = {"payload": "x" * 180}
BATCH = 1_000
FEWER = 50
Rates = tuple[float, float]
"""Jobs a second: enqueued; and run, from the first start to the last end."""


def headrace(path: Path | None, jobs: int, batch: int) -> Rates:
    from headrace import Queue, QueueConfig

    config = QueueConfig(path=path, max_workers=THREADS)
    with Queue(config) as waiting:  # without a handler: they only go in
        begun = time.perf_counter()
        if batch == 1:
            for _ in range(jobs):
                waiting.enqueue(PARAMS)
        else:
            for _ in range(0, jobs, batch):
                waiting.enqueue_many([{"params": PARAMS}] * batch)
        enqueued = jobs / (time.perf_counter() - begun)
        if path is None:
            return enqueued, 0.0
    begun = time.perf_counter()
    with Queue(config, lambda ctx, params: None) as running:
        assert running.join(600.0)
        return enqueued, jobs / (time.perf_counter() - begun)


def headrace_memory(_: Path, jobs: int) -> Rates:
    from headrace import Queue, QueueConfig

    enqueued, _ = headrace(None, jobs, BATCH)
    go = threading.Event()

    def handle(ctx: Any, params: Any) -> None:
        go.wait()

    with Queue(QueueConfig(max_workers=THREADS), handle) as running:
        for _ in range(0, jobs, BATCH):
            running.enqueue_many([{"params": PARAMS}] * BATCH)
        begun = time.perf_counter()
        go.set()
        assert running.join(600.0)
        return enqueued, jobs / (time.perf_counter() - begun)


def standard_library(_: Path, jobs: int) -> Rates:
    waiting: queue.PriorityQueue[tuple[int, int, Any]] = queue.PriorityQueue()
    begun = time.perf_counter()
    for number in range(jobs):
        waiting.put((5, number, PARAMS))
    enqueued = jobs / (time.perf_counter() - begun)

    def work() -> None:
        while True:
            try:
                waiting.get_nowait()
            except queue.Empty:
                return
            waiting.task_done()

    return enqueued, jobs / _ran(work)


def huey_sqlite(dir_: Path, jobs: int) -> Rates:
    from huey import SqliteHuey

    app = SqliteHuey(filename=str(dir_ / "huey.db"), fsync=True, results=False)

    @app.task()
    def noop(params: Any) -> None:
        pass

    begun = time.perf_counter()
    for _ in range(jobs):
        noop(PARAMS)
    enqueued = jobs / (time.perf_counter() - begun)

    def work() -> None:
        while (task := app.dequeue()) is not None:
            app.execute(task)

    return enqueued, jobs / _ran(work)


def persist_queue(dir_: Path, jobs: int) -> Rates:
    import persistqueue

    waiting = persistqueue.SQLiteAckQueue(str(dir_ / "persist"), multithreading=True)
    begun = time.perf_counter()
    for _ in range(jobs):
        waiting.put(PARAMS)
    enqueued = jobs / (time.perf_counter() - begun)

    def work() -> None:
        while True:
            try:
                item = waiting.get(block=False)
            except persistqueue.exceptions.Empty:
                return
            waiting.ack(item)

    return enqueued, jobs / _ran(work)


def _ran(work: Callable[[], None]) -> float:
    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


class System(NamedTuple):
    shown: str
    keeps: str
    run: Callable[[Path, int], Rates]
    fewer: int = 1


SYSTEMS = {
    "headrace-memory": System("headrace, in memory", "memory only", headrace_memory),
    "headrace-disk": System(
        "headrace, on disk, by 1,000",
        "fsync before enqueue returns",
        lambda dir_, jobs: headrace(dir_ / "jobs", jobs, BATCH),
    ),
    "headrace-single": System(
        "headrace, on disk, one by one",
        "fsync before enqueue returns",
        lambda dir_, jobs: headrace(dir_ / "jobs", jobs, 1),
        FEWER,
    ),
    "stdlib": System("PriorityQueue + threads", "memory only", standard_library),
    "huey": System("huey, SQLite", "fsync for each job", huey_sqlite, FEWER),
    "persist-queue": System("persist-queue, SQLite", "SQLite's defaults", persist_queue, FEWER),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure queues inside a program.")
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=",".join(SYSTEMS), help="systems, commas between")
    parser.add_argument("--out", type=Path, help="where the JSON goes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.jobs)
        return
    names = args.only.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        parser.error(f"no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    rates: dict[str, list[Rates]] = {name: [] for name in names}
    for _ in range(args.runs):
        for name in names:
            found = measured(name, max(1, args.jobs // SYSTEMS[name].fewer))
            if found is not None:
                rates[name].append(found)
    rows = []
    for name, runs in rates.items():
        system = SYSTEMS[name]
        if not runs:
            print(f"{system.shown}: left out; pip install 'headrace[bench]'", file=sys.stderr)
            continue
        rows.append(
            {
                "system": system.shown,
                "keeps": system.keeps,
                "jobs": max(1, args.jobs // system.fewer),
                "enqueued_per_s": round(statistics.median(run[0] for run in runs)),
                "run_per_s": round(statistics.median(run[1] for run in runs)),
                "runs": runs,
            }
        )
    for row in rows:
        print(
            f"{row['system']:32} {row['keeps']:30} {row['enqueued_per_s']:>10,} enqueued/s"
            f" {row['run_per_s']:>10,} run/s"
        )
    save("embedded", {"machine": machine(SCRATCH), "rows": rows}, args.out)


def measured(name: str, jobs: int) -> Rates | None:
    """Measure in a process of its own. None: what it needs is not installed."""
    command = [sys.executable, __file__, "--one", name, "--jobs", str(jobs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        if "ModuleNotFoundError" in done.stderr:
            return None
        raise SystemExit(done.stderr)
    enqueued, run = json.loads(done.stdout)
    return enqueued, run


def one(name: str, jobs: int) -> None:
    dir_ = Path(tempfile.mkdtemp(prefix="embedded-", dir=SCRATCH))
    try:
        print(json.dumps(SYSTEMS[name].run(dir_, jobs)))
    finally:
        shutil.rmtree(dir_)


if __name__ == "__main__":
    main()
