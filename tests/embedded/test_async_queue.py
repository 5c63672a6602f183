"""The queue inside a program with an event loop: the same methods as coroutines."""

import asyncio
import inspect
from typing import Any

import pytest

from headrace import AsyncQueue, Queue, QueueConfig, QueueFull
from headrace.embedded import QueueClosed
from headrace.worker import AsyncContext

S = 20.0


async def test_coroutines_enqueue_wait_and_look() -> None:
    async def handle(ctx: AsyncContext, params: Any) -> Any:
        await asyncio.sleep(0)
        ctx.log("seen")
        return params

    async with AsyncQueue(QueueConfig(), handle) as queue:
        ids = await asyncio.gather(*(queue.enqueue(number) for number in range(20)))
        jobs = await asyncio.gather(*(queue.wait(job_id, S) for job_id in ids))
        assert [job.value for job in jobs] == list(range(20))
        many = await queue.enqueue_many([{"params": "a"}, {"params": "b"}])
        assert await queue.join(S)
        assert (await queue.get(many[1])).value == "b"
        assert await queue.log(many[1]) == "seen\n"
        assert len(await queue.jobs(status="completed")) == 22
        assert (await queue.metrics()).completed == 22
        await queue.delete(many[0])
        assert queue.is_empty()
        assert not queue.is_full()
    with pytest.raises(QueueClosed):
        await queue.enqueue()
    assert await queue.shutdown()


async def test_controls_and_refusals() -> None:
    async with AsyncQueue(QueueConfig(max_queue_size=2)) as queue:
        job_id = await queue.enqueue(delay="1h")
        assert await queue.explain(job_id)
        assert await queue.suspend(job_id) == "suspended"
        assert await queue.resume(job_id) == "resuming"
        assert await queue.cancel(job_id) == "cancelled"
        await queue.enqueue_many([{}, {}])
        with pytest.raises(QueueFull):
            await queue.enqueue()
        assert queue.size() == 2
        with pytest.raises(QueueFull):
            await queue.retry(job_id)
        assert await queue.progress(job_id) == []
        assert await queue.cleanup("1h") == 0


def test_both_faces_have_the_same_methods() -> None:
    def methods(face: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(face, inspect.isfunction)
            if not name.startswith("_")
        }

    threads, coroutines = methods(Queue), methods(AsyncQueue)
    del threads["enqueue_soon"]  # what a coroutine that is not awaited is
    assert threads == coroutines
