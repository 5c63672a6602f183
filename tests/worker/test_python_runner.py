"""Threads for handlers, and the jobs that are taken ahead of them."""

import asyncio
import threading
import time
from typing import Any

import pytest

from headrace import Queue, QueueConfig
from headrace.wire.schema import Spec
from headrace.worker import Context
from headrace.worker.attempt import Assignment, Ending
from headrace.worker.handlers import Handler, JobFeed
from headrace.worker.python_runner import AHEAD_MAX, Ahead, ThreadPool, ThreadRun

S = 20.0


class Feed(JobFeed):
    def __init__(self) -> None:
        self.begun = 0

    def started(self) -> None:
        self.begun += 1

    def progress(self, fraction: float | None, details: str | None) -> None: ...
    def log(self, text: str) -> None: ...
    def checkpoint(self, value: bytes) -> None: ...
    def emit(self, name: str, data: bytes) -> None: ...


def run_of(pool: ThreadPool, function: Any, feed: JobFeed | None = None) -> ThreadRun:
    spec = Spec(id="x", name="x", type="x")
    assignment = Assignment(lease="l", spec=spec, attempt=1)
    handler = Handler("x", function, "thread", None, False)
    return ThreadRun(handler, assignment, feed or Feed(), pool)


async def ending_of(run: ThreadRun) -> Ending:
    async with asyncio.timeout(S):
        return await run.ended


async def test_as_many_run_as_there_are_threads_and_the_rest_in_their_order() -> None:
    pool = ThreadPool(2)
    gate, order, begun = threading.Event(), [], threading.Semaphore(0)

    def hold(ctx: Context) -> None:
        begun.release()
        gate.wait(S)

    held = [run_of(pool, hold) for _ in range(2)]
    await asyncio.to_thread(begun.acquire)
    await asyncio.to_thread(begun.acquire)
    rest = [run_of(pool, lambda ctx, n=n: order.append(n)) for n in range(5)]
    assert [run.waits for run in (*held, *rest)] == [False, False, *[True] * 5]
    gate.set()
    endings = [await ending_of(run) for run in (*held, *rest)]
    assert {ending.outcome for ending in endings} == {"completed"}
    assert sorted(order) == list(range(5))
    assert order[0] in (0, 1), "two threads take them in turn"


async def test_a_job_that_no_thread_has_taken_up_can_be_killed_and_never_begins() -> None:
    pool = ThreadPool(1)
    gate, begun, feed = threading.Event(), threading.Event(), Feed()

    def hold(ctx: Context) -> None:
        begun.set()
        gate.wait(S)

    first = run_of(pool, hold)
    await asyncio.to_thread(begun.wait, S)
    second = run_of(pool, lambda ctx: None, feed)
    second.kill()
    assert (await ending_of(second)).outcome == "stopped"
    first.kill()  # has begun: nothing can be done
    assert not first.ended.done()
    gate.set()
    assert (await ending_of(first)).outcome == "completed"
    assert (await ending_of(run_of(pool, lambda ctx: None))).outcome == "completed"
    assert feed.begun == 0


async def test_jobs_that_come_together_get_the_idle_threads_and_new_ones() -> None:
    pool = ThreadPool(2)
    gate = threading.Event()
    await ending_of(run_of(pool, lambda ctx: None))  # leaves a thread, idle
    held = run_of(pool, lambda ctx: gate.wait(S))
    assert (await ending_of(run_of(pool, lambda ctx: None))).outcome == "completed"
    assert not held.ended.done()
    gate.set()
    await ending_of(held)


async def test_a_start_is_told_only_when_it_is_asked_for() -> None:
    feed = Feed()
    run = run_of(ThreadPool(1), lambda ctx: None, feed)
    await ending_of(run)
    assert feed.begun == 0
    run.tell_start()
    assert feed.begun == 1


def test_jobs_are_taken_ahead_only_when_they_are_short() -> None:
    ahead = Ahead(4)
    assert ahead.jobs == 0
    for _ in range(200):
        ahead.note(0.0001)
    assert 100 < ahead.jobs <= AHEAD_MAX
    for _ in range(200):
        ahead.note(1.0)
    assert ahead.jobs == 0


def test_one_long_job_in_many_does_not_end_it_and_half_of_them_do() -> None:
    ahead = Ahead(4)
    for number in range(400):
        ahead.note(1.0 if number % 50 == 0 else 0.0001)
    assert ahead.jobs > 50
    for number in range(400):
        ahead.note(1.0 if number % 2 == 0 else 0.0001)
    assert ahead.jobs == 0


@pytest.mark.e2e
def test_what_was_taken_ahead_of_a_job_that_turns_out_long_is_given_back() -> None:
    """And costs its job nothing but a number."""
    gate, begun = threading.Event(), threading.Event()

    def handle(ctx: Context, params: Any) -> Any:
        if params == "long":
            begun.set()
            gate.wait(S)
        return params

    with Queue(QueueConfig(max_workers=1), handle) as queue:
        queue.enqueue_many([{"params": n} for n in range(500)])
        assert queue.join(S)
        many = [{"params": "long"}, *({"params": n} for n in range(50))]
        ids = queue.enqueue_many(many)
        assert begun.wait(S)
        ends = time.monotonic() + S
        while queue.metrics().active_workers > 1:  # the others wait in the queue again
            assert time.monotonic() < ends
            time.sleep(0.01)
        gate.set()
        jobs = [queue.wait(job_id, S) for job_id in ids]
    assert all(job.completed for job in jobs)
    assert all((job.job.failures, job.job.crashes) == (0, 0) for job in jobs)
