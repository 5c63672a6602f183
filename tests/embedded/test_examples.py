"""What programs do with a queue inside, as short as they can write it."""

import time
from typing import Any

import msgspec

from headrace import Queue, QueueConfig
from headrace.worker import Context, PermanentError, Worker

S = 20.0


def test_basic_use() -> None:
    seen: list[str] = []
    with Queue(QueueConfig(), lambda ctx, data: seen.append(f"{ctx.job.priority} {data}")) as queue:
        queue.enqueue("some data", priority="high")
        queue.join(S)
    assert seen == ["7 some data"]


def test_sizes_small_medium_large() -> None:
    for workers, size, timeout in ((2, 100, "5m"), (10, 1_000, "30m"), (50, 10_000, "1h")):
        config = QueueConfig(max_workers=workers, max_queue_size=size, default_timeout=timeout)
        with Queue(config, lambda ctx: None) as queue:
            job = queue.wait(queue.enqueue(), S)
        assert job.completed
        assert job.job.timeout == {"5m": 300, "30m": 1800, "1h": 3600}[timeout]


def test_a_batch_that_looks_whether_it_should_stop() -> None:
    done: list[int] = []

    def handle(ctx: Context, items: list[int]) -> int:
        for item in items:
            if ctx.should_stop():
                break
            done.append(item)
        return len(done)

    with Queue(None, handle) as queue:
        assert queue.wait(queue.enqueue([1, 2, 3]), S).value == 3


def test_tiers_of_users_have_levels() -> None:
    level = {"enterprise": "critical", "pro": "high", "free": "low"}
    with Queue() as queue:
        ids = [queue.enqueue(priority=level.get(tier, "normal")) for tier in (*level, "other")]
        assert [queue.get(job_id).job.priority for job_id in ids] == [9, 7, 2, 5]


def test_a_busy_system_says_so() -> None:
    with Queue(QueueConfig(max_queue_size=1)) as queue:
        queue.enqueue()
        assert queue.is_full()


class CreateInstance(msgspec.Struct):
    name: str
    gpus: int = 1


def test_a_worker_with_a_handler_for_each_type() -> None:
    worker = Worker()

    @worker.job("create_instance", params=CreateInstance)
    def create(ctx: Context, params: CreateInstance) -> dict[str, Any]:
        if params.gpus > 8:
            raise PermanentError("no machine has so many")
        return {"instance": f"i-{params.name}"}

    @worker.job("monitor_instance")
    def monitor(ctx: Context, params: dict[str, Any]) -> str:
        ends = time.monotonic() + params["max_wait_s"]
        while time.monotonic() < ends:
            ctx.sleep(0.001)
        return "not ready"

    with Queue(QueueConfig(), worker) as queue:
        created = queue.enqueue({"name": "a", "gpus": 2}, type="create_instance", priority="high")
        refused = queue.enqueue({"name": "b", "gpus": 9}, type="create_instance")
        invalid = queue.enqueue({"nam": "c"}, type="create_instance")
        watched = queue.enqueue({"max_wait_s": 0.01}, type="monitor_instance")
        assert queue.wait(created, S).value == {"instance": "i-a"}
        assert (queue.wait(refused, S).status, queue.get(refused).job.attempt) == ("failed", 1)
        assert (queue.wait(invalid, S).status, queue.get(invalid).job.attempt) == ("failed", 1)
        assert queue.wait(watched, S).value == "not ready"
        assert queue.metrics().failed == 2
        assert len(queue.jobs(type="create_instance", status="failed")) == 2
