"""The Alibaba "openb" trace over HTTP: a server in this process, and its nodes as workers.

    python bench/trace_http.py [--nodes all|30] [--data-dir DIR] [--json FILE]

Each node announces itself, then polls: jobs that fit it come, are reported as completed with the
next poll, and so on. The pods are submitted in batches, in the order of their creation. All that
fit some node finish; the server names the one that fits none.

What the numbers do not say: server and workers share one core and one event loop, so this is no
measure of the server alone; jobs run for no time.
"""

import argparse
import asyncio
import json
import platform
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from headrace.core.job import Status
from headrace.http.app import make_app
from headrace.runtime.config import Config
from headrace.runtime.node import Node
from trace_replay import Node as TraceNode
from trace_replay import Pod, read_nodes, read_pods, some_nodes

BATCH = 500
JOBS_PER_POLL = 16
WAIT = "20s"


def job_of(pod: Pod) -> dict[str, Any]:
    requirements: dict[str, Any] = {
        "cpu_cores": pod.cpu / 1000,
        "memory_mb": pod.memory,
        "gpu_count": pod.gpu / 1000,
    }
    if pod.models:
        requirements["gpu_type"] = sorted(pod.models)
    return {
        "name": pod.name,
        "type": "pod",
        "priority": pod.priority,
        "requirements": requirements,
    }


class TraceWorker:
    """One node: polls, completes at once what it gets, and polls again."""

    def __init__(self, node: TraceNode, client: aiohttp.ClientSession) -> None:
        self.client = client
        self.completed = 0
        self.seq = 0
        resources: dict[str, Any] = {
            "cpu_cores": node.cpu / 1000,
            "memory_mb": node.memory,
            "gpu_count": node.gpu / 1000,
        }
        if node.model:
            resources["gpu_type"] = node.model
        self.body = {
            "worker": node.name,
            "session": node.name,
            "serve": {"types": ["pod"]},
            "free": resources,
            "total": resources,
        }

    async def poll(self, max_jobs: int, wait: str, reports: list[dict[str, Any]]) -> Any:
        self.seq += 1
        body = {
            **self.body,
            "seq": self.seq,
            "max_jobs": max_jobs,
            "wait": wait,
            "reports": reports,
        }
        async with self.client.post("/api/v1/work/poll", json=body) as response:
            answer = await response.json(content_type=None)
            assert response.status == 200, answer
            return answer

    async def run(self, changed: asyncio.Event) -> None:
        reports: list[dict[str, Any]] = []
        while True:
            answer = await self.poll(JOBS_PER_POLL, WAIT, reports)
            for ack in answer["acks"]:
                assert ack.get("status") == "completed", ack
            self.completed += len(answer["acks"])
            if answer["acks"]:
                changed.set()
            reports = [{"lease": work["lease"], "outcome": "completed"} for work in answer["jobs"]]


async def submit_all(client: aiohttp.ClientSession, pods: list[Pod]) -> dict[str, dict[str, Any]]:
    """Return the answer for each pod, by its name."""
    answers: dict[str, dict[str, Any]] = {}
    for begin in range(0, len(pods), BATCH):
        batch = pods[begin : begin + BATCH]
        async with client.post("/api/v1/jobs", json=[job_of(pod) for pod in batch]) as response:
            answer = await response.json(content_type=None)
            assert response.status == 200, answer
        for pod, submitted in zip(batch, answer, strict=True):
            answers[pod.name] = submitted
    return answers


async def replay(pods: list[Pod], nodes: list[TraceNode], data_dir: Path | None) -> dict[str, Any]:
    """Serve, work and submit until what can finish has; return what there is to report."""
    config = Config(data_dir=data_dir, accept_any_filesystem=True, disk_reserve_mb=0)
    node = Node(config)
    await node.start()
    runner = web.AppRunner(make_app(node), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2_048)
    await site.start()
    port = runner.addresses[0][1]
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=connector) as client:
            return await _replay(pods, nodes, node, client)
    finally:
        await runner.cleanup()
        await node.stop()


async def _replay(
    pods: list[Pod], nodes: list[TraceNode], node: Node, client: aiohttp.ClientSession
) -> dict[str, Any]:
    workers = [TraceWorker(each, client) for each in nodes]
    began = time.perf_counter()
    await asyncio.gather(*(worker.poll(0, "0s", []) for worker in workers))
    announced = time.perf_counter()
    changed = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker.run(changed)) for worker in workers]
        answers = await submit_all(client, pods)
        submitted = time.perf_counter()
        warned = {name: each["warning"] for name, each in answers.items() if "warning" in each}
        expected = len(pods) - len(warned)
        while sum(worker.completed for worker in workers) < expected:
            changed.clear()
            await changed.wait()
        finished = time.perf_counter()
        for task in tasks:
            task.cancel()
    explained = {}
    for name in warned:
        async with client.get(f"/api/v1/jobs/{answers[name]['job_id']}/explain") as response:
            explained[name] = await response.json(content_type=None)
    stats = node.pump.stats()
    return {
        "nodes": len(nodes),
        "pods": len(pods),
        "completed": stats.engine.finished_total[Status.COMPLETED],
        "left": stats.jobs,
        "leased_total": stats.engine.leased_total,
        "warned": warned,
        "explained": explained,
        "polls": sum(worker.seq for worker in workers),
        "announce_s": round(announced - began, 2),
        "submit_s": round(submitted - announced, 2),
        "drain_s": round(finished - submitted, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--nodes", default="all", help='"all", or how many')
    parser.add_argument("--data-dir", type=Path, help="directory of the store; memory if not given")
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    nodes = read_nodes()
    if arguments.nodes != "all":
        nodes = some_nodes(nodes, int(arguments.nodes))
    report = asyncio.run(replay(read_pods(), nodes, arguments.data_dir))
    report["machine"] = f"{platform.machine()}, Python {platform.python_version()}"
    text = json.dumps(report, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
