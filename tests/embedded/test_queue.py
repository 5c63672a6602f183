"""The queue inside a program, as its threads see it."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from headrace import Queue, QueueFull
from headrace.embedded import QueueClosed
from headrace.sdk import ServerProblem, UsageError
from headrace.store.contract import StoreBusy
from headrace.worker import Context, PermanentError, Retry, Snooze, Stopped, Worker

from .conftest import MakeQueue

S = 20.0
"""Nothing here takes nearly as long."""


class Gate:
    """A handler that holds its jobs until it is told to let them go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun = threading.Semaphore(0)
        self.ran: list[Any] = []

    def __call__(self, ctx: Context, params: Any) -> Any:
        self.begun.release()
        while not self.open.wait(0.01):
            if ctx.should_stop():
                raise Stopped
        self.ran.append(params)
        return params


def test_a_handler_gets_the_params_and_returns_the_result(make_queue: MakeQueue) -> None:
    queue = make_queue(lambda ctx, params: {"double": params["n"] * 2})
    job = queue.wait(queue.enqueue({"n": 21}), S)
    assert job.completed
    assert job.value == {"double": 42}


def test_levels_go_in_their_order_and_equals_as_they_came(make_queue: MakeQueue) -> None:
    gate = Gate()
    queue = make_queue(gate, max_workers=1)
    queue.enqueue("first")
    gate.begun.acquire()
    for level in ("low", "normal", "critical", "high"):
        for number in range(3):
            queue.enqueue(f"{level} {number}", priority=level)
    gate.open.set()
    assert queue.join(S)
    assert gate.ran[1:] == [
        f"{level} {number}"
        for level in ("critical", "high", "normal", "low")
        for number in range(3)
    ]


def test_no_more_run_at_once_than_there_are_workers(make_queue: MakeQueue) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def handle(ctx: Context) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1

    queue = make_queue(handle, max_workers=3)
    queue.enqueue_many([{} for _ in range(30)])
    assert queue.join(S)
    assert most == 3


def test_a_full_queue_refuses_with_an_error_of_its_own(make_queue: MakeQueue) -> None:
    queue = make_queue(None, max_queue_size=2)
    queue.enqueue()
    assert not queue.is_full()
    queue.enqueue()
    assert queue.is_full()
    with pytest.raises(QueueFull) as caught:
        queue.enqueue()
    assert caught.value.retryable
    with pytest.raises(QueueFull):
        queue.enqueue_many([{}])
    assert queue.size() == 2


def test_a_failed_attempt_is_tried_again_and_a_permanent_error_is_not(
    make_queue: MakeQueue,
) -> None:
    worker, attempts = Worker(), []

    @worker.job("flaky")
    def flaky(ctx: Context) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt < 3:
            raise Retry(0.01)
        return "at last"

    @worker.job("hopeless")
    def hopeless(ctx: Context) -> None:
        raise PermanentError("bad input", code="bad")

    queue = make_queue(worker)
    job = queue.wait(queue.enqueue(type="flaky", max_retries=5), S)
    assert (job.value, attempts) == ("at last", [1, 2, 3])
    job = queue.wait(queue.enqueue(type="hopeless", max_retries=5), S)
    assert (job.status, job.job.attempt, job.error) == ("failed", 1, "bad input")
    assert queue.metrics().retried == 2


def test_a_snooze_costs_no_try(make_queue: MakeQueue) -> None:
    def handle(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise Snooze(0.01)
        return ctx.attempt

    queue = make_queue(handle)
    assert queue.wait(queue.enqueue(max_retries=0), S).value == 2


def test_a_handler_sees_its_timeout_and_the_job_ends_as_such(make_queue: MakeQueue) -> None:
    seen: list[str | None] = []

    def handle(ctx: Context) -> None:
        try:
            ctx.sleep(S)
        finally:
            seen.append(ctx.stop_reason)

    queue = make_queue(handle, default_timeout=0.05)
    job = queue.wait(queue.enqueue(), S)
    assert (job.status, seen) == ("timeout", ["timeout"])
    assert queue.metrics().timeout == 1


def test_cancel_reaches_a_running_handler(make_queue: MakeQueue) -> None:
    gate = Gate()
    queue = make_queue(gate)
    job_id = queue.enqueue()
    gate.begun.acquire()
    queue.cancel(job_id)
    assert queue.wait(job_id, S).status == "cancelled"


def test_suspend_keeps_the_checkpoint_for_the_run_after_resume(make_queue: MakeQueue) -> None:
    begun = threading.Event()

    def handle(ctx: Context) -> Any:
        if ctx.checkpoint is not None:
            return ctx.checkpoint
        ctx.checkpoint = {"page": 7}
        begun.set()
        ctx.sleep(S)
        return None

    queue = make_queue(handle)
    job_id = queue.enqueue()
    assert begun.wait(S)
    queue.suspend(job_id)
    assert queue.join(S), "a suspended job is nothing to wait for"
    assert queue.get(job_id).status == "suspended"
    queue.resume(job_id)
    assert queue.wait(job_id, S).value == {"page": 7}


def test_jobs_are_listed_by_type_and_status(make_queue: MakeQueue) -> None:
    queue = make_queue(None)
    first = queue.enqueue(type="create_instance")
    second = queue.enqueue(type="send_webhook")
    third = queue.enqueue(type="create_instance")
    queue.cancel(third)
    assert [job.id for job in queue.jobs(type="create_instance", status="waiting")] == [first]
    assert [job.id for job in queue.jobs()] == [third, second, first]
    assert [job.id for job in queue.jobs(limit=1)] == [third]
    with pytest.raises(UsageError, match="status is one of"):
        queue.jobs(status="lost")


def test_a_job_logs_and_tells_its_progress(make_queue: MakeQueue) -> None:
    gate = threading.Event()

    def handle(ctx: Context) -> None:
        ctx.log("half way")
        ctx.progress(0.5, "scaled")
        gate.wait(S)

    queue = make_queue(handle)
    job_id = queue.enqueue()
    until(lambda: queue.get(job_id).job.progress == 0.5)
    assert queue.get(job_id).job.progress_details == "scaled"
    gate.set()
    queue.wait(job_id, S)
    assert queue.log(job_id) == "half way\n"


def test_what_waits_can_be_explained(make_queue: MakeQueue) -> None:
    queue = make_queue(None)
    assert queue.explain(queue.enqueue(delay="1h"))


def test_metrics_count_what_happened(make_queue: MakeQueue) -> None:
    def handle(ctx: Context, params: Any) -> None:
        time.sleep(0.02)
        if params == "bad":
            raise PermanentError("no")

    queue = make_queue(handle)
    queue.enqueue("bad")
    queue.enqueue_many([{"params": "good"}] * 4)
    assert queue.join(S)
    metrics = queue.metrics()
    assert (metrics.enqueued, metrics.dequeued) == (5, 5)
    assert (metrics.completed, metrics.failed) == (4, 1)
    assert (metrics.current_size, metrics.active_workers) == (0, 0)
    assert metrics.average_processing_s >= 0.02
    recent = metrics.recent_processing
    assert recent.count == 5
    assert 0.02 <= recent.p50_s <= recent.p90_s <= recent.p99_s
    assert metrics.recent_wait.count == 5


def test_metrics_can_be_switched_off(make_queue: MakeQueue) -> None:
    with pytest.raises(UsageError, match="enable_metrics"):
        make_queue(None, enable_metrics=False).metrics()


def test_many_threads_enqueue_at_once_and_nothing_is_lost(make_queue: MakeQueue) -> None:
    ran: list[int] = []
    queue = make_queue(lambda ctx, params: ran.append(params))

    def enqueue(start: int) -> None:
        for number in range(start, start + 50):
            queue.enqueue(number)

    threads = [threading.Thread(target=enqueue, args=(at * 50,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.join(S)
    assert sorted(ran) == list(range(400))


def test_jobs_of_one_thread_keep_their_order_whatever_they_say(make_queue: MakeQueue) -> None:
    ran: list[int] = []
    queue = make_queue(lambda ctx, params: ran.append(params), max_workers=1)
    some = [
        queue.enqueue_soon(number, **({"idempotency_key": f"k{number}"} if number % 3 else {}))
        for number in range(60)
    ]
    assert len({future.result(S) for future in some}) == 60
    assert queue.join(S)
    assert ran == list(range(60))


def test_the_same_key_gives_the_same_job(make_queue: MakeQueue) -> None:
    queue = make_queue(None)
    assert queue.enqueue(1, idempotency_key="k") == queue.enqueue(1, idempotency_key="k")
    with pytest.raises(ServerProblem) as caught:
        queue.enqueue(2, idempotency_key="k")
    assert caught.value.code == "idempotency_key_reused"


def test_a_mistake_in_one_job_is_told_to_its_caller_alone(make_queue: MakeQueue) -> None:
    queue = make_queue(None)
    good, bad, other = (
        queue.enqueue_soon(1),
        queue.enqueue_soon(1, timeout="never"),
        queue.enqueue_soon(1, unknown_field=1),
    )
    assert good.result(S)
    with pytest.raises(ServerProblem) as caught:
        bad.result(S)
    assert caught.value.pointer == "/timeout"
    with pytest.raises(ServerProblem, match="unknown_field"):
        other.result(S)
    with pytest.raises(UsageError, match="JSON"):
        queue.enqueue(object())
    with pytest.raises(ServerProblem) as caught:
        queue.get("01234567-0123-7123-8123-0123456789ab")
    assert caught.value.code == "job_unknown"
    with pytest.raises(UsageError, match="not a job's id"):
        queue.get("7")


def test_a_queue_of_several_types_wants_the_type_said(make_queue: MakeQueue) -> None:
    worker = Worker()
    for name in ("a", "b"):
        worker.job(name)(lambda ctx: None)
    with pytest.raises(UsageError, match="type"):
        make_queue(worker).enqueue()


def test_a_handler_that_takes_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="must take"):
        Queue(None, lambda: None)


def test_queues_within_the_queue_bound_what_runs(make_queue: MakeQueue) -> None:
    gate = Gate()
    queue = make_queue(gate, max_workers=4, queues={"slow": 1})
    queue.enqueue_many([{"queue": "slow"}, {"queue": "slow"}, {}])
    gate.begun.acquire()
    gate.begun.acquire()
    until(lambda: queue.metrics().active_workers == 2)
    assert not gate.begun.acquire(timeout=0.05)
    gate.open.set()
    assert queue.join(S)


# Life -------------------------------------------------------------------------------------------


def test_what_waits_is_there_after_a_new_start(make_queue: MakeQueue, path: dict[str, Any]) -> None:
    queue = make_queue(None, **path)
    job_ids = queue.enqueue_many([{"params": number} for number in range(10)])
    queue.shutdown()
    ran: list[int] = []
    queue = make_queue(lambda ctx, params: ran.append(params), max_workers=1, **path)
    assert queue.join(S)
    assert ran == list(range(10))
    assert all(queue.get(job_id).completed for job_id in job_ids)


def test_shutdown_lets_running_jobs_end_and_no_others_begin(make_queue: MakeQueue) -> None:
    gate = Gate()
    queue = make_queue(gate, max_workers=1)
    for number in range(3):
        queue.enqueue(number)
    gate.begun.acquire()
    done = threading.Thread(target=lambda: (time.sleep(0.05), gate.open.set()))
    done.start()
    assert queue.shutdown(S)
    assert gate.ran == [0]
    done.join()
    with pytest.raises(QueueClosed):
        queue.enqueue()
    with pytest.raises(QueueClosed):
        queue.metrics()
    assert queue.shutdown(), "a second time does nothing"


def test_shutdown_gives_up_at_its_deadline_and_the_job_runs_again(
    make_queue: MakeQueue, path: dict[str, Any]
) -> None:
    gate = Gate()
    queue = make_queue(gate, **path)
    job_id = queue.enqueue("x")
    gate.begun.acquire()
    assert not queue.shutdown(0.05)
    gate.open.set()
    queue = make_queue(gate, **path)
    job = queue.wait(job_id, S)
    assert (job.completed, job.job.failures, job.job.crashes) == (True, 0, 0)


def test_a_directory_has_one_queue_at_a_time(make_queue: MakeQueue, path: dict[str, Any]) -> None:
    make_queue(None, **path)
    with pytest.raises(StoreBusy):
        make_queue(None, **path)


def test_several_queues_live_in_one_process(make_queue: MakeQueue) -> None:
    one = make_queue(lambda ctx, params: ("one", params))
    two = make_queue(lambda ctx, params: ("two", params))
    assert one.wait(one.enqueue(1), S).value == ["one", 1]
    assert two.wait(two.enqueue(2), S).value == ["two", 2]


def test_a_coroutine_that_blocks_stops_no_enqueue(make_queue: MakeQueue) -> None:
    begun, end = threading.Event(), threading.Event()

    async def handle(ctx: Any) -> str:
        begun.set()
        end.wait(S)  # as nobody should
        await asyncio.sleep(0)
        return "ended"

    queue = make_queue(handle)
    job_id = queue.enqueue()
    assert begun.wait(S)
    assert queue.enqueue(delay=60)
    end.set()
    assert queue.wait(job_id, S).value == "ended"


def test_a_handler_that_exits_or_raises_oddly_harms_only_its_job(make_queue: MakeQueue) -> None:
    def handle(ctx: Context, params: str) -> Any:
        if params == "exit":
            raise SystemExit(3)
        if params == "interrupt":
            raise KeyboardInterrupt
        if params == "odd":
            return object()
        return params

    queue = make_queue(handle)
    ids = [queue.enqueue(params, max_retries=0) for params in ("exit", "interrupt", "odd", "fine")]
    assert [queue.wait(job_id, S).status for job_id in ids] == [*["failed"] * 3, "completed"]


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_a_job_that_has_ended_runs_again(make_queue: MakeQueue) -> None:
    broken = [True]

    def handle(ctx: Context) -> str:
        if broken[0]:
            raise PermanentError("the provider is away")
        return "done"

    queue = make_queue(handle)
    job_id = queue.enqueue()
    assert queue.wait(job_id, S).status == "failed"
    broken[0] = False
    assert queue.retry(job_id) == "queued"
    assert queue.wait(job_id, S).value == "done"
    with pytest.raises(ServerProblem, match="job_state_conflict"):
        queue.retry(job_id)
    queue.retry(job_id, force=True)
    assert queue.wait(job_id, S).value == "done"


def test_progress_is_kept_with_its_history(make_queue: MakeQueue) -> None:
    seen = threading.Event()

    def handle(ctx: Context) -> None:
        ctx.progress(0.5, "half of it")
        seen.wait(S)

    queue = make_queue(handle)
    job_id = queue.enqueue()
    ends = time.monotonic() + S
    while not queue.progress(job_id) and time.monotonic() < ends:
        time.sleep(0.01)
    seen.set()
    assert [(row.progress, row.details) for row in queue.progress(job_id)] == [(0.5, "half of it")]


def test_jobs_that_have_ended_are_deleted_on_demand_and_after_their_time(
    make_queue: MakeQueue,
) -> None:
    queue = make_queue(lambda ctx: None)
    ids = queue.enqueue_many([{}] * 3)
    assert queue.join(S)
    assert queue.cleanup("1h") == 0
    time.sleep(0.05)
    assert queue.cleanup(0.01) == 3
    with pytest.raises(ServerProblem, match="job_unknown"):
        queue.get(ids[0])
    with pytest.raises(UsageError, match="retention"):
        make_queue(None, retention="soon")
    assert make_queue(None, retention="12h").config.node().retention_ms == 12 * 3_600_000
