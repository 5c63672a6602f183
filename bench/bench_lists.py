"""Lists, single jobs, stats and explain over a large store, while W4 runs beside them.

    python bench/bench_lists.py [--jobs 1000000] [--asks 200] [--dir DIR] [--store DIR] [--idle]

The store gets that many queued and as many finished jobs, of 50 owners: a thousand types, one in a
hundred thousand of a type, tag and label of its own, one in a thousand of the finished ones failed.
No worker of W4 serves them. Then `headrace serve` runs on it, W4 on one core of the client's, and
the questions are asked one at a time from a process of its own, each kind in turn. Told are the
time until the asker has the whole answer, and the time until the answer's last byte has arrived, as
the system has stamped it: three processes share the cores, and an asker that waits for its turn
with the answer at hand is not what a client on a machine of its own would see.

W4 runs alone for a while before and after. With `--idle` there is no W4. With `--store` the filled
store is kept there, and made only if it is not; what is measured is a copy of it, since W4 adds its
own jobs.
"""

import argparse
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from headrace.bench.measures import percentile
from headrace.bench.process import HOST, pin_client
from headrace.bench.workloads import Headrace
from headrace.core.effects import (
    ClassStored,
    Effect,
    Finished,
    JobFinished,
    JobsCompleted,
    JobsStored,
    OwnerStored,
)
from headrace.core.ids import id_text
from headrace.core.job import RECORD_BYTES, Event, Job, Status
from headrace.core.resources import Amounts, Requirements
from headrace.store import Store, open_store
from peers.peer import server_core
from rig import SCRATCH, machine, save

FIRST_MS = 1_700_000_000_000
A_MS = 10
"""Jobs of one millisecond."""
OWNERS = 50
TYPES = 1_000
RARE_EVERY = 100_000
FAILED_EVERY = 1_000
COMMIT_JOBS = 10_000
POLL_JOBS = 100
W4_JOBS = 20_000
"""At once; repeated as long as there are questions."""
ALONE_S = 10.0
"""How long W4 runs alone before and after them."""
SO_TIMESTAMPNS = 35
"""Has Linux say when what is read arrived; `socket` has no name for it."""
READ_BYTES = 1 << 20
COPY_BYTES = 1 << 26


def job_id(number: int) -> bytes:
    at_ms = FIRST_MS + number // A_MS
    return at_ms.to_bytes(6, "big") + b"\x70\0" + (1 << 63 | number).to_bytes(8, "big")


def owner_of(number: int) -> int:
    """Each commit is one owner's: so is a submit."""
    return number // COMMIT_JOBS % OWNERS


def spec_of(number: int, encode: Callable[[Any], bytes]) -> bytes:
    rare = number % RARE_EVERY == RARE_EVERY // 2
    spec: dict[str, Any] = {
        "id": id_text(job_id(number)),
        "name": f"job {number}",
        "type": "stock rare" if rare else f"stock {number % TYPES}",
        "params": {"text": "x" * 160},
        "queue": "stock",
        "timeout": 60,
        "tags": ["rare"] if rare else ["common"],
        "owner": f"user {owner_of(number)}",
        "created_at": "2023-11-14T22:13:20Z",
    }
    if rare:
        spec["requirements"] = {"labels": {"kind": "rare"}}
    return encode(spec)


def fill(store: Store, jobs: int) -> None:
    """Make as many queued jobs as finished ones; the finished are the older."""
    made: list[Effect] = [OwnerStored(n, "default", f"user {n}") for n in range(OWNERS)]
    # More memory than any worker has: nobody takes them.
    made.append(ClassStored(1, Requirements("stock", "stock", Amounts(0, 1 << 29, 0, 0))))
    encode = msgspec.json.Encoder().encode
    for first in (*range(0, jobs, COMMIT_JOBS), *range(jobs, 2 * jobs, COMMIT_JOBS)):
        count = min(COMMIT_JOBS, (jobs if first < jobs else 2 * jobs) - first)
        owner_id = owner_of(first)
        numbers = range(first, first + count)
        ids = [job_id(number) for number in numbers]
        joined = b"".join(ids)
        like = (5, 1, owner_id, (FIRST_MS + first) << 18, 60_000, 1_000, 200, 2)
        specs = [spec_of(n, encode) for n in numbers]
        records, _ = Job(ids[0], Status.QUEUED, *like).pack_alike(specs, 1)
        made.append(JobsStored(owner_id, joined, records, specs))
        if first < jobs:
            done, _ = Job(ids[0], Status.COMPLETED, *like, attempt=1).pack_alike(specs, 1)
            failed = Job(ids[0], Status.FAILED, *like, attempt=1).pack()
            for at in range(0, count, POLL_JOBS):
                some = min(POLL_JOBS, count - at)
                lost = (first + at) % FAILED_EVERY == 0
                at_ms = FIRST_MS + (first + at) // A_MS + 60_000
                if lost:
                    end = Finished(Status.FAILED, at_ms, failed, at_ms - 9, "w", "boom")
                    made.append(JobFinished(ids[at], Event.FAIL, end))
                begin, end_at = at + lost, at + some
                made.append(
                    JobsCompleted(
                        b"".join(ids[begin:end_at]),
                        done[begin * RECORD_BYTES : end_at * RECORD_BYTES],
                        at_ms,
                        "w",
                        [at_ms - 9] * (end_at - begin),
                        [b'{"result":1}'] * (end_at - begin),
                    )
                )
        batch = store.stage(made, FIRST_MS)
        store.write(batch)
        store.settle(batch)
        made = []


def make(place: Path, jobs: int) -> int:
    """Make a filled store, unless there is one of as many jobs; return its bytes."""
    store = open_store(place, accept_any_filesystem=True)
    store.restore()
    found = store.stats()
    if (found.jobs_live, found.jobs_finished) != (jobs, jobs):
        if found.jobs_live or found.jobs_finished:
            raise SystemExit(f"{place} has other jobs")
        began_s = time.perf_counter()
        fill(store, jobs)
        print(f"filled in {time.perf_counter() - began_s:.0f} s", flush=True)
    size = store.stats().bytes_used
    store.close()
    return size


def copy(source: Path, target: Path) -> None:
    """Copy a store, and leave in memory the pages of the copy alone: there is no room for both."""
    target.mkdir()
    for path in source.iterdir():
        with path.open("rb") as whole, (target / path.name).open("wb") as out:
            at = 0
            while sent := os.sendfile(out.fileno(), whole.fileno(), at, COPY_BYTES):
                at += sent
                os.posix_fadvise(whole.fileno(), 0, at, os.POSIX_FADV_DONTNEED)
            os.fsync(out.fileno())  # its pages are not for W4's commits to write


def questions(jobs: int) -> dict[str, Callable[[], str]]:
    """Return what is asked, by kind; each time with other values."""
    pick = random.Random(1).randrange
    base = "/api/v1/jobs"

    def fixed(query: str) -> Callable[[], str]:
        return lambda: f"{base}?{query}"

    def queued() -> str:
        return id_text(job_id(jobs + pick(jobs)))

    return {
        "all": fixed("limit=100"),
        "root list": lambda: "/jobs?limit=100",
        "page 30 of 100": fixed("page=30&limit=100"),
        "limit 1000": fixed("limit=1000"),
        "queued": fixed("status=queued"),
        "running": fixed("status=processing"),
        "suspended": fixed("status=suspended"),
        "completed": fixed("status=completed"),
        "failed": fixed("status=failed"),
        "of an owner": lambda: f"{base}?owner=user%20{pick(OWNERS)}",
        "failed, of an owner": lambda: f"{base}?owner=user%20{pick(OWNERS)}&status=failed",
        "of a type": lambda: f"{base}?type=stock%20{pick(TYPES)}",
        "of a rare type": fixed("type=stock%20rare"),
        "of no type": fixed("type=none&status=queued"),
        "of a tag": fixed("tag=rare"),
        "of a label": fixed("label=kind=rare"),
        "of a queue": fixed("queue=stock"),
        "of a name": lambda: f"{base}?name=job%20{pick(2 * jobs)}",
        "names that begin so": lambda: f"{base}?name_prefix=job%20{pick(9) + 1}",
        "submitted between": lambda: (
            f"{base}?submitted_after={FIRST_MS / 1000 + pick(2 * jobs // A_MS) / 1000}"
            f"&order=created_at"
        ),
        "finished between": lambda: (
            f"{base}?order=finished_at&finished_after={FIRST_MS / 1000 + pick(jobs // A_MS) / 1000}"
        ),
        "-finished_at": fixed("order=-finished_at"),
        "-finished_at, failed": fixed("order=-finished_at&status=failed"),
        "-scheduled_at": fixed("order=-scheduled_at"),
        "-scheduled_at, failed": fixed("order=-scheduled_at&status=failed"),
        "-started_at, running": fixed("order=-started_at&status=processing"),
        "priority (refused)": fixed("order=-priority"),
        "a job": lambda: f"{base}/{id_text(job_id(pick(2 * jobs)))}",
        "a result": lambda: f"{base}/{id_text(job_id(pick(jobs)))}/result",
        "explain": lambda: f"{base}/{queued()}/explain",
        "stats": lambda: "/api/v1/stats",
    }


class Asker:
    """One connection that asks, and knows when the answer arrived."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=60)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)

    def ask(self, path: str) -> tuple[int, bytes, float, float]:
        """Return status, body, and the milliseconds until it arrived and until we had it."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-User-ID: admin\r\n\r\n"
        began_ns = time.time_ns()
        self._socket.sendall(request.encode())
        came, wanted = b"", 1
        while len(came) < wanted:
            data, [(_, _, stamp), *_], _, _ = self._socket.recvmsg(READ_BYTES, 64)
            came += data
            end = came.find(b"\r\n\r\n") + 4
            if wanted == 1 and end > 3:
                wanted = end + int(came[:end].lower().split(b"content-length:")[1].split()[0])
        had_ns = time.time_ns()
        whole_s, rest_ns = struct.unpack("qq", stamp)
        arrived_ns = whole_s * 1_000_000_000 + rest_ns
        passed_ms = [(at - began_ns) / 1e6 for at in (arrived_ns, had_ns)]
        return int(came[9:12]), came[end:], passed_ms[0], passed_ms[1]


def ask_all(port: int, jobs: int, asks: int, only: str) -> dict[str, Any]:
    asker = Asker(port)
    arrived: dict[str, list[float]] = {}
    passed: dict[str, list[float]] = {}
    answered: dict[str, int] = {}
    for _ in range(asks):
        for kind, path_of in questions_once(jobs):
            if only not in kind:
                continue
            path = path_of()
            status, body, arrived_ms, passed_ms = asker.ask(path)
            arrived.setdefault(kind, []).append(arrived_ms)
            passed.setdefault(kind, []).append(passed_ms)
            if status not in (200, 400) or (status == 400) != ("refused" in kind):
                raise SystemExit(f"{kind}: {path}: {status} {body[:300]!r}")
            if "count" in (told := json.loads(body)):
                answered[kind] = told["count"]
    return {
        kind: {
            "asks": len(found),
            "jobs": answered.get(kind),
            "p50_ms": percentile(found, 0.5),
            "p99_ms": percentile(found, 0.99),
            "max_ms": max(found),
            "arrived_p50_ms": percentile(arrived[kind], 0.5),
            "arrived_p99_ms": percentile(arrived[kind], 0.99),
        }
        for kind, found in passed.items()
    }


_questions: dict[int, list[tuple[str, Callable[[], str]]]] = {}


def questions_once(jobs: int) -> list[tuple[str, Callable[[], str]]]:
    if jobs not in _questions:
        _questions[jobs] = list(questions(jobs).items())
    return _questions[jobs]


class Load:
    """W4, again and again until it is told to stop."""

    def __init__(self, system: Headrace) -> None:
        self._system = system
        self._over = threading.Event()
        self.jobs = 0
        self.seconds = 0.0

    def run(self) -> None:
        began_s = time.perf_counter()
        while not self._over.is_set():
            uvloop.run(self._system.both(W4_JOBS))
            self.jobs += W4_JOBS
        self.seconds = time.perf_counter() - began_s

    def stop(self) -> None:
        self._over.set()

    def rate(self) -> int:
        return round(self.jobs / self.seconds)


def load_alone(system: Headrace) -> int:
    """Return W4's jobs a second without questions."""
    load = Load(system)
    threading.Timer(ALONE_S, load.stop).start()
    load.run()
    return load.rate()


def measure(place: Path, jobs: int, asks: int, only: str, *, idle: bool) -> dict[str, Any]:
    began_s = time.perf_counter()
    system = Headrace(place, core=server_core()).ready()
    print(f"ready after {time.perf_counter() - began_s:.1f} s", flush=True)
    command = [sys.executable, __file__, "--probe", str(system.server.port)]
    command += ["--jobs", str(jobs), "--asks", str(asks), "--only", only]
    w4 = {"before": 0, "beside": 0, "after": 0}
    try:
        if not idle:
            w4["before"] = load_alone(system)
        probe = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if not idle:
            load = Load(system)
            threading.Thread(target=lambda: (probe.wait(), load.stop())).start()
            load.run()
            w4["beside"] = load.rate()
            w4["after"] = load_alone(system)
        out, _ = probe.communicate()
        if probe.returncode:
            raise SystemExit(out)
        private = system.server.memory_bytes()["private"]
    finally:
        system.server.stop()
    return {"rows": json.loads(out), "w4_jobs_per_s": w4, "private_bytes": private}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1_000_000, help="queued, and as many finished")
    parser.add_argument("--asks", type=int, default=200, help="of each kind of question")
    parser.add_argument("--only", default="", help="questions whose name has this in it")
    parser.add_argument("--dir", type=Path, default=SCRATCH)
    parser.add_argument("--store", type=Path, help="where the filled store is kept")
    parser.add_argument("--name", default="lists", help="of the result file")
    parser.add_argument("--idle", action="store_true", help="without W4 beside")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.probe:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # it follows whoever rests
        print(json.dumps(ask_all(args.probe, args.jobs, args.asks, args.only)))
        return
    args.dir.mkdir(parents=True, exist_ok=True)
    about = machine(args.dir)
    with tempfile.TemporaryDirectory(dir=args.dir) as directory:
        place = Path(directory) / "data"
        if args.store is None:
            size = make(place, args.jobs)
        else:
            size = make(args.store, args.jobs)
            copy(args.store, place)
        a_job = round(size / (2 * args.jobs))
        print(f"{args.jobs:,} queued, {args.jobs:,} finished: {a_job} bytes a job", flush=True)
        pin_client()
        found = measure(place, args.jobs, args.asks, args.only, idle=args.idle)
    for when, rate in found["w4_jobs_per_s"].items():
        print(f"W4 {when}: {rate:,} jobs/s")
    shown = ("p50_ms", "p99_ms", "max_ms", "arrived_p50_ms", "arrived_p99_ms")
    heads = ("p50 ms", "p99 ms", "max ms", "arrived p50", "arrived p99")
    print(f"{'question':24}{'jobs':>6}", *(f"{head:>12}" for head in heads))
    for kind, row in found["rows"].items():
        jobs = "" if row["jobs"] is None else row["jobs"]
        print(f"{kind:24}{jobs:>6}", *(f"{row[column]:12.2f}" for column in shown))
    settings = {"jobs": args.jobs, "asks": args.asks, "idle": args.idle}
    settings["bytes_a_job"] = a_job
    print(save(args.name, {"machine": about, "settings": settings, **found}))


if __name__ == "__main__":
    main()
