"""How fast the store alone takes jobs: submit, lease, finish; durable, on the disk it is given.

    python bench/bench_store.py [--path DIR] [--seconds S] [--json FILE]

One batch is what the server commits for that many jobs: submit stores spec, record and owner's
index row; lease replaces the record; finish moves it to the finished ones. `stage` is the time the
loop's thread pays, `write` that of the writer's thread. "busy" runs a thread that computes beside
it, at the default switch interval and at the one the server sets.

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

from headrace.core.effects import Effect, Finished, JobChanged, JobFinished, JobsStored, Trail
from headrace.core.job import Event, Job, Status
from headrace.store import Store, open_store

SPEC = json.dumps(
    {"id": "0" * 36, "name": "bench", "type": "noop", "params": {"text": "x" * 160}, "timeout": 60}
).encode()
BATCHES = (1, 100, 1_000)
SWITCH_DEFAULT_S = 5e-3
SWITCH_SERVER_S = 1e-4


def record_of(job_id: bytes, status: Status) -> bytes:
    return Job(job_id, status, 5, 1, 1, 7, 60_000, 1_000, 200, 2, attempt=1).pack()


def submit(job_id: bytes) -> Effect:
    return JobsStored(1, job_id, record_of(job_id, Status.QUEUED), [SPEC])


def lease(job_id: bytes) -> Effect:
    trail = Trail(updated_at_ms=1_790_000_000_000, worker="worker-1", session="session-1", seq=9)
    return JobChanged(job_id, Event.LEASE, record_of(job_id, Status.LOCKED), trail)


def finish(job_id: bytes) -> Effect:
    record = record_of(job_id, Status.COMPLETED)
    ended = Finished(Status.COMPLETED, 1_790_000_000_000, record, 1, "worker-1", body=b'{"r":1}')
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
    at = (1_790_000_000_000).to_bytes(6, "big") + b"\x70\0"
    return [at + (1 << 63 | first + n).to_bytes(8, "big") for n in range(count)]


def percentile(sorted_ms: list[float], share: float) -> float:
    return round(sorted_ms[min(int(len(sorted_ms) * share), len(sorted_ms) - 1)], 3)


def measure(
    store: Store, first: int, jobs: int, seconds: float
) -> tuple[int, list[dict[str, Any]]]:
    """Submit for a while, then lease and finish what was submitted. Return the next free id."""
    results = []
    batches: list[list[bytes]] = []
    for step, effect_of in STEPS.items():
        stage_s = write_s = 0.0
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
            batch = store.stage(effects, 1_790_000_000_000)
            staged = time.perf_counter()
            store.write(batch)
            written = time.perf_counter()
            store.settle(batch)
            stage_s += staged - began
            write_s += written - staged
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
                        f"  write {result['write_us_a_job']:8.2f} us/job"
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
    arguments = parser.parse_args()
    report = run(arguments.path, arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
