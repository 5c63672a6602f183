"""The Alibaba "openb" trace replayed on the engine: right, and how fast.

    python bench/trace_replay.py [--nodes all|30] [--compress N] [--no-oracle] [--json FILE]

Every node of the trace is a worker with a session, every pod a job: submitted at its creation,
running for as long as it did in the trace. Nodes poll in a fixed circle: after an arrival one
after the other from where the last job went, until one gets something; after an end the node
that became freer. Each answer is compared with a linear scan over a plain list, which shares no
code with the engine.

A second of the trace is a millisecond here; `--compress` divides the times between arrivals, so
that jobs have to wait for each other. The 30 nodes are one of each of the 27 shapes and three more
of the commonest.

What the numbers do not say: nothing is stored, encoded or sent, and the pods are a sample of what
the cluster ran.
"""

import argparse
import csv
import json
import platform
import subprocess
import time
from bisect import insort
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, NamedTuple

from headrace.core.commands import Caller, NewJobs, Outcome, Poll, Report, Submit
from headrace.core.effects import Finished
from headrace.core.engine import Engine
from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts, Profile, Requirements
from headrace.core.sweeping import Ended

TRACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces"
FITS_NO_NODE = "openb-pod-1639"
PRIORITY_OF = {"LS": 8, "Guaranteed": 6, "Burstable": 4, "BE": 2}
COMPRESS = {"all": 1, "30": 5}
"""By set of nodes: with 30 nodes and arrivals five times as fast, over a thousand jobs wait."""
START_MS = 1_700_000_000_000
CALLER = Caller("trace", "openb")


class Pod(NamedTuple):
    """One job of the trace. Units: milli, MiB, milli of a GPU, seconds."""

    name: str
    cpu: int
    memory: int
    gpu: int
    models: frozenset[str]
    priority: int
    created: int
    runs: int


class Node(NamedTuple):
    name: str
    cpu: int
    memory: int
    gpu: int
    model: str


def read_pods(path: Path = TRACES) -> list[Pod]:
    with (path / "openb_pod_list_gpuspec33.csv").open() as file:
        return [_pod(row) for row in csv.DictReader(file)]


def _pod(row: dict[str, str]) -> Pod:
    count = int(row["num_gpu"])
    began = row["scheduled_time"] or row["creation_time"]
    return Pod(
        row["name"],
        int(row["cpu_milli"]),
        int(row["memory_mib"]),
        int(row["gpu_milli"]) if count == 1 else count * 1_000,
        frozenset(row["gpu_spec"].split("|")) - {""},
        PRIORITY_OF[row["qos"]],
        int(row["creation_time"]),
        int(row["deletion_time"]) - int(began),
    )


def read_nodes(path: Path = TRACES) -> list[Node]:
    with (path / "openb_node_list_all_node.csv").open() as file:
        return [
            Node(
                row["sn"],
                int(row["cpu_milli"]),
                int(row["memory_mib"]),
                int(row["gpu"]) * 1_000,
                row["model"],
            )
            for row in csv.DictReader(file)
        ]


def some_nodes(nodes: list[Node], count: int = 30) -> list[Node]:
    """Return one node of each shape, and more of the commonest shapes up to `count`."""
    by_shape: dict[tuple[Any, ...], list[Node]] = {}
    for node in nodes:
        by_shape.setdefault(node[1:], []).append(node)
    chosen = [same[0] for same in by_shape.values()]
    commonest = sorted(by_shape.values(), key=len, reverse=True)
    chosen += [same[1] for same in commonest[: count - len(chosen)]]
    return sorted(chosen)


# The oracle -------------------------------------------------------------------------------------


class LinearScan:
    """What the engine must equal: one list in the order of priority and age, read from its front.

    What was passed over stays passed over within a poll: the node only gets fuller.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[int, int, Pod]] = []
        self.submitted = 0

    def submit(self, pod: Pod) -> None:
        self.submitted += 1
        insort(self.waiting, (-pod.priority, self.submitted, pod))

    def poll(self, node: Node, cpu: int, memory: int, gpu: int) -> list[str]:
        taken = []
        for entry in self.waiting:
            pod = entry[2]
            if pod.cpu > cpu or pod.memory > memory or pod.gpu > gpu:
                continue
            if pod.models and node.model not in pod.models:
                continue
            cpu, memory, gpu = cpu - pod.cpu, memory - pod.memory, gpu - pod.gpu
            taken.append(entry)
        if taken:
            self.waiting = [entry for entry in self.waiting if entry not in taken]
        return [pod.name for _, _, pod in taken]


# The engine -------------------------------------------------------------------------------------


class NoArchive:
    """Nothing is kept, and nothing is asked for twice."""

    def finished(self, _job_id: bytes) -> Finished | None:
        return None

    def key(self, _digest: bytes) -> tuple[bytes, bytes] | None:
        return None

    def has_module(self, _sha256: bytes) -> bool:
        return False

    def ended(self, *_: object, **__: object) -> tuple[list[Ended], None]:
        return [], None

    def noted(self, _job_id: bytes) -> int:
        return 0

    def owner_of(self, _job_id: bytes) -> int | None:
        return None

    def trail(self, _job_id: bytes) -> None:
        return None

    def log_bytes(self, _job_id: bytes) -> int:
        return 0


class Worker:
    """A node with what is free of it."""

    def __init__(self, place: int, node: Node) -> None:
        self.place = place
        self.node = node
        self.cpu, self.memory, self.gpu = node.cpu, node.memory, node.gpu
        self.total = Amounts(node.cpu, node.memory, 0, node.gpu)
        self.profile = Profile(gpu_model=node.model)
        self.seq = 0


class Replay:
    """Drives an engine through the trace. `check` compares each answer with the oracle's."""

    def __init__(self, pods: list[Pod], nodes: list[Node], compress: int, *, check: bool) -> None:
        self.pods = pods
        self.compress = compress
        config = EngineConfig(lease_ms=1 << 40)
        self.engine = Engine(config, NoArchive(), b"trace", 1)
        self.oracle = LinearScan() if check else None
        self.workers = [Worker(*each) for each in enumerate(nodes)]
        self.pod_of: dict[bytes, Pod] = {}
        self.now_ms = START_MS
        self.next_worker = 0
        self.ends: list[tuple[int, int, int, str, Pod]] = []
        """Heap of (when, place in the sequence of dispatches, place of the worker, lease)."""
        self.polls = 0
        self.waiting_max = 0
        self.running_max = 0
        self.dispatched: list[tuple[str, str]] = []
        """(node, pod) in order."""
        self.warned: dict[str, str] = {}
        """Why a pod fits no node, as the submit's answer says."""

    def run(self) -> None:
        for worker in self.workers:
            self.poll(worker, [])  # they announce themselves
        for number, pod in enumerate(self.pods):
            arrives_ms = START_MS + pod.created // self.compress
            while self.ends and self.ends[0][0] <= arrives_ms:
                self.end()
            self.now_ms = arrives_ms
            self.submit(number, pod)
            self.ask_around()
        while self.ends:
            self.end()

    def submit(self, number: int, pod: Pod) -> None:
        job_id = b"trace".ljust(8, b"\0") + number.to_bytes(8, "big")
        self.pod_of[job_id] = pod
        needs = Requirements("default", "pod", Amounts(pod.cpu, pod.memory, 0, pod.gpu), pod.models)
        job = NewJobs(job_id, [b"{}"], needs, pod.priority, (1 << 32) - 1, 1_000, 200, 0)
        (reply,) = self.apply(Submit(CALLER, [job]))
        if reply.never_fits:
            self.warned[pod.name] = reply.never_fits
        if self.oracle is not None:
            self.oracle.submit(pod)

    def ask_around(self) -> None:
        """Let the nodes poll in their circle until one of them gets a job."""
        count = len(self.workers)
        for step in range(count):
            place = (self.next_worker + step) % count
            if self.poll(self.workers[place], []):
                self.next_worker = (place + 1) % count
                return

    def end(self) -> None:
        """Let the next job end, and its node ask for more."""
        self.now_ms, _, place, lease, pod = heappop(self.ends)
        worker = self.workers[place]
        worker.cpu += pod.cpu
        worker.memory += pod.memory
        worker.gpu += pod.gpu
        self.poll(worker, [Report(lease, Outcome.COMPLETED)])

    def poll(self, worker: Worker, reports: list[Report]) -> int:
        """Ask for one node; return how many jobs came."""
        worker.seq += 1
        self.polls += 1
        free = Amounts(worker.cpu, worker.memory, 0, worker.gpu)
        reply = self.apply(
            Poll(
                0,
                worker.node.name,
                session=worker.node.name,
                seq=worker.seq,
                profile=worker.profile,
                free=free,
                total=worker.total,
                jobs_max=1_000,
                reports=reports,
            )
        )
        got = [self.pod_of[grant.job_id] for grant in reply.jobs]
        if self.oracle is not None:
            expected = self.oracle.poll(worker.node, worker.cpu, worker.memory, worker.gpu)
            found = [pod.name for pod in got]
            assert found == expected, (
                f"poll {self.polls} of {worker.node.name}: {found}, a linear scan finds {expected}"
            )
            self.waiting_max = max(self.waiting_max, len(self.oracle.waiting))
        for pod, grant in zip(got, reply.jobs, strict=True):
            worker.cpu -= pod.cpu
            worker.memory -= pod.memory
            worker.gpu -= pod.gpu
            assert min(worker.cpu, worker.memory, worker.gpu) >= 0, "a node was overfilled"
            ends_ms = self.now_ms + pod.runs
            heappush(self.ends, (ends_ms, len(self.dispatched), worker.place, grant.lease, pod))
            self.dispatched.append((worker.node.name, pod.name))
            self.running_max = max(self.running_max, len(self.ends))
        return len(got)

    def apply(self, command: Submit | Poll) -> Any:
        reply, _ = self.engine.apply(self.now_ms, command)
        self.engine.settle(self.now_ms)
        self.engine.staged()
        return reply


def run(which: str, compress: int, *, check: bool) -> dict[str, Any]:
    """Replay the whole trace; return what there is to report."""
    pods, nodes = read_pods(), read_nodes()
    chosen = nodes if which == "all" else some_nodes(nodes, int(which))
    replay = Replay(pods, chosen, compress, check=check)
    began = time.perf_counter()
    replay.run()
    seconds = time.perf_counter() - began
    return {
        "nodes": len(chosen),
        "compress": compress,
        "oracle": check,
        "pods": len(pods),
        "dispatched": len(replay.dispatched),
        "never_dispatched": sorted(
            {pod.name for pod in pods} - {pod for _, pod in replay.dispatched}
        ),
        "warned": replay.warned,
        "polls": replay.polls,
        "waiting_max": replay.waiting_max if check else None,
        "running_max": replay.running_max,
        "seconds": round(seconds, 2),
        "commands_per_s": round((replay.polls + len(pods)) / seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--nodes", default="all", help='"all", or how many')
    parser.add_argument("--compress", type=int, help="divide the times between arrivals")
    parser.add_argument("--no-oracle", action="store_true", help="the engine's time alone")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    compress = arguments.compress or COMPRESS.get(arguments.nodes, COMPRESS["30"])
    report = run(arguments.nodes, compress, check=not arguments.no_oracle)
    report["machine"] = f"{platform.machine()}, Python {platform.python_version()}"
    report["commit"] = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
