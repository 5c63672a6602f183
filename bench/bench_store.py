"""How fast the store alone takes jobs: submit, lease, finish; durable, on the disk it is given.

    python bench/bench_store.py [--path DIR] [--seconds S] [--jobs N] [--owners N] [--json FILE]

One batch is what the server commits for that many jobs: submit stores spec, record and owner's
index row; lease replaces the record; finish moves it to the finished ones. `stage` is the time the
loop's thread pays, `write` that of the writer's thread; of both the time that passed, and of
`write` its CPU as well, kernel included, since most of the rest is the disk's. "busy" runs a thread
that computes beside it, at the default switch interval and at the one the server sets.

With `--jobs` a store of that many waiting and that many finished jobs is made, listed and opened
again: "cold" after its pages were taken out of the page cache, "warm" with them in it.

What the numbers do not say: nothing here is decoded, matched or answered, and the disk of a
virtual machine may acknowledge a sync early.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from headrace.core.effects import (
    ClassStored,
    Effect,
    Finished,
    JobChanged,
    JobFinished,
    JobsStored,
    OwnerStored,
    Trail,
)
from headrace.core.engine import Engine
from headrace.core.job import Event, Job, Status
from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts, Requirements
from headrace.store import Store, open_store
from headrace.store.contract import ListQuery

SPEC = json.dumps(
    {"id": "0" * 36, "name": "bench", "type": "noop", "params": {"text": "x" * 160}, "timeout": 60}
).encode()
BATCHES = (1, 100, 1_000)
SWITCH_DEFAULT_S = 5e-3
SWITCH_SERVER_S = 1e-4
AT_MS = 1_790_000_000_000
COMMIT_JOBS = 300
"""Of the large store: about what the server commits at once under load."""
LISTS = 50
"""Pages asked for of each kind of list."""


def record_of(job_id: bytes, status: Status, owner_id: int = 1) -> bytes:
    return Job(job_id, status, 5, 1, owner_id, 7, 60_000, 1_000, 200, 2, attempt=1).pack()


def submit(job_id: bytes, owner_id: int = 1) -> Effect:
    return JobsStored(owner_id, job_id, record_of(job_id, Status.QUEUED, owner_id), [SPEC])


def lease(job_id: bytes) -> Effect:
    trail = Trail(updated_at_ms=1_790_000_000_000, worker="worker-1", session="session-1", seq=9)
    return JobChanged(job_id, Event.LEASE, record_of(job_id, Status.LOCKED), trail)


def finish(job_id: bytes, status: Status = Status.COMPLETED, owner_id: int = 1) -> Effect:
    record = record_of(job_id, status, owner_id)
    ended = Finished(status, AT_MS, record, 1, "worker-1", body=b'{"r":1}')
    return JobFinished(job_id, Event.COMPLETE, ended)


STEPS = {"submit": submit, "lease": lease, "finish": finish}


class Busy:
    """A thread that holds the GIL whenever it can, as a loaded event loop does."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            for _ in range(1_000):
                number = number * 31 % 1_000_003

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def ids_from(first: int, count: int) -> list[bytes]:
    return [
        (AT_MS + n // 1_000).to_bytes(6, "big") + b"\x70\0" + (1 << 63 | n).to_bytes(8, "big")
        for n in range(first, first + count)
    ]


def percentile(sorted_ms: list[float], share: float) -> float:
    return round(sorted_ms[min(int(len(sorted_ms) * share), len(sorted_ms) - 1)], 3)


def measure(
    store: Store, first: int, jobs: int, seconds: float
) -> tuple[int, list[dict[str, Any]]]:
    """Submit for a while, then lease and finish what was submitted. Return the next free id."""
    results = []
    batches: list[list[bytes]] = []
    for step, effect_of in STEPS.items():
        stage_s = write_s = write_cpu_s = 0.0
        rows = 0
        commit_ms = []
        deadline = time.perf_counter() + seconds
        done = 0
        while done < len(batches) if step != "submit" else time.perf_counter() < deadline:
            if step == "submit":
                batches.append(ids_from(first, jobs))
                first += jobs
            effects = [effect_of(job_id) for job_id in batches[done]]
            done += 1
            began = time.perf_counter()
            batch = store.stage(effects, AT_MS)
            staged, staged_cpu = time.perf_counter(), time.thread_time()
            store.write(batch)
            written, written_cpu = time.perf_counter(), time.thread_time()
            store.settle(batch)
            stage_s += staged - began
            write_s += written - staged
            write_cpu_s += written_cpu - staged_cpu
            commit_ms.append((written - staged) * 1_000)
            rows += batch.rows
        commit_ms.sort()
        results.append(
            {
                "step": step,
                "jobs_a_commit": jobs,
                "commits": done,
                "jobs_per_s": round(done * jobs / (stage_s + write_s)),
                "rows_per_s": round(rows / (stage_s + write_s)),
                "stage_us_a_job": round(stage_s / (done * jobs) * 1e6, 2),
                "write_us_a_job": round(write_s / (done * jobs) * 1e6, 2),
                "write_cpu_us_a_job": round(write_cpu_s / (done * jobs) * 1e6, 2),
                "write_ms_p50": percentile(commit_ms, 0.5),
                "write_ms_p99": percentile(commit_ms, 0.99),
            }
        )
    return first, results


def reads(store: Store, first: int) -> dict[str, float]:
    """Return microseconds a call of the reads that a server does per job."""
    job_ids = ids_from(first - 1_000, 1_000)
    timings = {}
    for name, call in {
        "finished": lambda: [store.finished(job_id) for job_id in job_ids],
        "job": lambda: [store.job(job_id) for job_id in job_ids],
        "spec": lambda: [store.spec(job_id) for job_id in job_ids],
        "specs_of_100": lambda: [store.specs(job_ids[n : n + 100]) for n in range(0, 1_000, 100)],
    }.items():
        began = time.perf_counter()
        call()
        timings[f"{name}_us_a_job"] = round((time.perf_counter() - began) * 1e3, 2)
    return timings


# A large store ----------------------------------------------------------------------------------


def fill(store: Store, jobs: int, owners: int) -> None:
    """Make as many waiting as finished jobs; every tenth of these failed. Half are one owner's."""
    made: list[Effect] = [OwnerStored(n, "default", f"user {n}") for n in range(owners)]
    made.append(ClassStored(1, Requirements("default", "noop", Amounts(1_000, 128, 0, 0))))
    for first in range(0, 2 * jobs, COMMIT_JOBS):
        job_ids = ids_from(first, min(COMMIT_JOBS, 2 * jobs - first))
        for n, job_id in enumerate(job_ids, first):
            owner_id = 0 if n % 2 else n // 2 * 2_654_435_761 % (1 << 32) % owners
            made.append(submit(job_id, owner_id))
            if n < jobs:
                status = Status.COMPLETED if n % 10 else Status.FAILED
                made.append(finish(job_id, status, owner_id))
        batch = store.stage(made, AT_MS)
        store.write(batch)
        store.settle(batch)
        made = []


def lists(store: Store, jobs: int) -> list[dict[str, Any]]:
    """Time pages of lists from many places."""
    rows = []
    for what, query in {
        "all": ListQuery(),
        "of an owner": ListQuery(owner_id=1),
        "of a tenant": ListQuery(tenant="default"),
        "completed": ListQuery(statuses=frozenset({Status.COMPLETED})),
        "failed": ListQuery(statuses=frozenset({Status.FAILED})),
        "queued": ListQuery(statuses=frozenset({Status.QUEUED})),
        "failed, of an owner": ListQuery(owner_id=1, statuses=frozenset({Status.FAILED})),
        "of a name that none has": ListQuery(name="none"),
    }.items():
        passed_ms = []
        for n in range(LISTS):
            [after] = ids_from(n * 2 * jobs // LISTS, 1)
            began = time.perf_counter()
            store.list_jobs(replace(query, after=after, newest_first=n % 2 == 0))
            passed_ms.append((time.perf_counter() - began) * 1_000)
        passed_ms.sort()
        rows.append(
            {"list": what, "ms_p50": percentile(passed_ms, 0.5), "ms_max": percentile(passed_ms, 1)}
        )
        print(f"list {what:24} p50 {rows[-1]['ms_p50']:8.3f} max {rows[-1]['ms_max']:8.3f} ms")
    return rows


def restart(path: Path, page_cache: str) -> dict[str, Any]:
    """Open and restore a store as a server does."""
    file = os.open(path / "data.mdb", os.O_RDONLY)
    if page_cache == "cold":
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    began, began_cpu = time.perf_counter(), time.process_time()
    store = open_store(path, accept_any_filesystem=True)
    restored = store.restore()
    engine = Engine(EngineConfig(), store, restored.secret, restored.epoch)
    engine.restore(restored, AT_MS, AT_MS)
    row = {
        "page_cache": page_cache,
        "jobs": len(engine.live.jobs),
        "s": round(time.perf_counter() - began, 2),
        "cpu_s": round(time.process_time() - began_cpu, 2),
    }
    store.close()
    print(f"restart, page cache {page_cache}: {row['s']} s, CPU {row['cpu_s']} s")
    return row


def large(path: Path | None, jobs: int, owners: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=path) as directory:
        place = Path(directory) / "store"
        store = open_store(place, accept_any_filesystem=True)
        store.restore()
        fill(store, jobs, owners)
        bytes_a_job = round(store.stats().bytes_used / (2 * jobs))
        print(f"{jobs:,} waiting, {jobs:,} finished: {bytes_a_job} bytes on disk a job")
        listed = lists(store, jobs)
        store.close()
        restarts = [restart(place, page_cache) for page_cache in ("cold", "warm", "cold", "warm")]
    return {
        "jobs": jobs,
        "owners": owners,
        "bytes_a_job": bytes_a_job,
        "lists": listed,
        "restarts": restarts,
    }


def commit_of_repository() -> str:
    head = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(head, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def run(path: Path | None, seconds: float) -> dict[str, Any]:
    results: list[dict[str, Any]] = []
    timings: dict[str, float] = {}
    for beside, interval_s in (
        ("idle", SWITCH_DEFAULT_S),
        ("busy", SWITCH_DEFAULT_S),
        ("busy", SWITCH_SERVER_S),
    ):
        sys.setswitchinterval(interval_s)
        with tempfile.TemporaryDirectory(dir=path) as directory:
            store = open_store(Path(directory) / "store", accept_any_filesystem=True)
            store.restore()
            first = 0
            for jobs in BATCHES:
                if beside == "busy":
                    with Busy():
                        first, measured = measure(store, first, jobs, seconds)
                else:
                    first, measured = measure(store, first, jobs, seconds)
                for result in measured:
                    result |= {"beside": beside, "switch_interval_ms": interval_s * 1_000}
                    results.append(result)
                    print(
                        f"{beside:5} {interval_s * 1_000:4.1f} ms  {jobs:5} jobs a commit"
                        f"  {result['step']:7} {result['jobs_per_s']:9,} jobs/s"
                        f" {result['rows_per_s']:11,} rows/s"
                        f"  stage {result['stage_us_a_job']:6.2f}"
                        f"  write {result['write_us_a_job']:8.2f}"
                        f", CPU {result['write_cpu_us_a_job']:6.2f} us/job"
                        f"  p50 {result['write_ms_p50']:8.3f} p99 {result['write_ms_p99']:8.3f} ms"
                    )
            if beside == "idle":
                timings = reads(store, first)
                print("reads, us a job:", timings)
            store.close()
    return {
        "bench": "store",
        "commit": commit_of_repository(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "durability": "fsync in each commit",
        "spec_bytes": len(SPEC),
        "results": results,
        "reads": timings,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--path", type=Path, help="directory on the disk to measure")
    parser.add_argument("--seconds", type=float, default=1.0, help="of submits per batch size")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--jobs", type=int, default=0, help="waiting and finished, to list")
    parser.add_argument("--owners", type=int, default=50, help="of those jobs")
    arguments = parser.parse_args()
    report = run(arguments.path, arguments.seconds)
    if arguments.jobs:
        report["large"] = large(arguments.path, arguments.jobs, arguments.owners)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
