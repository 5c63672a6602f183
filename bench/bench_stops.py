"""How long until a process that was cancelled is gone, and until a dead worker's job runs again.

    python bench/bench_stops.py [--rounds 15]

Cancel: from the request to the end of the process that computes, of a WASM loop and of a Python
loop in a process of its own. Kill: from kill -9 of a worker with its whole group to the start of
its job at another worker; the lease term (1 s here) is part of it.
"""

import argparse
import base64
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import wasmtime

from headrace.bench.measures import percentile
from rig import ROOT, machine, save

sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "e2e")]

from cpu import busiest_child, wait_gone  # noqa: E402 - found only after the line above
from processes import HEADRACE, Process, Server, free_port  # noqa: E402

LEASE_S = 1.0
HANDLERS = ROOT / "tests" / "e2e" / "handlers_under_test.py"
LOOP = '(module (memory (export "memory") 1) (func (export "_start") (loop br 0)))'
JOBS = {
    "WASM loop": {
        "name": "loop",
        "wasm_module": base64.b64encode(wasmtime.wat2wasm(LOOP)).decode(),
        "requirements": {"cpu_cores": 0.1, "memory_mb": 16},
    },
    "Python loop": {"type": "spin"},
}


class Site:
    def __init__(self, dir_: Path, stack: ExitStack) -> None:
        self.dir = dir_
        self.stack = stack
        self.server = Server(dir_ / "data", free_port(), "--lease", f"{LEASE_S}s")
        stack.callback(self.server.kill)
        self.server.wait_ready()

    def work(self, name: str) -> Process:
        command = [*HEADRACE, "work", str(HANDLERS), "--url", self.server.url, "--name", name]
        flags = ["--cache", str(self.dir / "cache"), "--concurrency", "1"]
        worker = Process([*command, *flags], self.dir / f"{name}.log")
        self.stack.callback(worker.kill)
        return worker


def cancel_s(site: Site, worker: Process, job: dict[str, Any]) -> tuple[float, float]:
    """Returns seconds until the process is gone, and until the job's status says so."""
    job_id = site.server.submit(**job)
    site.server.wait_status(job_id, "running")
    child = busiest_child(worker.pid)
    began_s = time.perf_counter()
    site.server.ask("POST", f"/api/v1/jobs/{job_id}/cancel")
    wait_gone(child)
    gone_s = time.perf_counter() - began_s
    site.server.wait_status(job_id, "cancelled")
    return gone_s, time.perf_counter() - began_s


def rerun_s(site: Site, number: int) -> float:
    doomed = site.work(f"doomed-{number}")
    job_id = site.server.submit(type="hold_first")
    site.server.wait_status(job_id, "running")
    heir = site.work(f"heir-{number}")
    site.server.wait_status(site.server.submit(type="nap", params={"seconds": 0}), "completed")
    began_s = time.perf_counter()
    doomed.kill()
    site.server.wait_status(job_id, "completed")
    ended_s = time.perf_counter() - began_s
    heir.kill()
    return ended_s


def summed(values: list[float]) -> dict[str, float]:
    return {
        "rounds": len(values),
        "median_ms": percentile(values, 0.5) * 1_000,
        "max_ms": max(values) * 1_000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--name", default="stops", help="of the result file")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=args.dir) as dir_, ExitStack() as stack:
        site = Site(Path(dir_), stack)
        worker = site.work("w")
        for name, job in JOBS.items():
            measured = [cancel_s(site, worker, job) for _ in range(args.rounds)]
            rows[f"cancel a {name}: process gone"] = summed([gone for gone, _ in measured])
            rows[f"cancel a {name}: status says so"] = summed([said for _, said in measured])
        worker.terminate()
        reruns = [rerun_s(site, number) for number in range(max(1, args.rounds // 3))]
        rows[f"kill -9 of a worker, lease {LEASE_S:g} s: job ended elsewhere"] = summed(reruns)
    for name, row in rows.items():
        print(name, {key: round(value, 1) for key, value in row.items()})
    print(save(args.name, {"machine": machine(args.dir), "rows": rows}))


if __name__ == "__main__":
    main()
