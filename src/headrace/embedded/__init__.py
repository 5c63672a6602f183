"""The queue inside a program: the server's engine and store, without a server.

    from headrace import Queue, QueueConfig

    def handle(ctx, params):
        return params["n"] ** 2

    with Queue(QueueConfig(max_workers=4), handle) as queue:
        job_id = queue.enqueue({"n": 12}, priority="high")
        print(queue.wait(job_id).value)

`Queue` may be used from any thread; `AsyncQueue` has the same methods as coroutines.
"""

from headrace.embedded.config import QueueConfig
from headrace.embedded.errors import QueueClosed, QueueFull
from headrace.embedded.inner import Metrics
from headrace.embedded.queue import AsyncQueue, Queue
from headrace.sdk.client import Event

__all__ = [
    "AsyncQueue",
    "Event",
    "Metrics",
    "Queue",
    "QueueClosed",
    "QueueConfig",
    "QueueFull",
]
