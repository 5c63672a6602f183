"""The same job for RQ, Dramatiq and Celery: how it is sent, and their own worker that runs it.

    python -m peers.framework_tasks rq|dramatiq|celery PORT        one worker process

`stored`: whether what the job returns is kept for a client to see.
"""

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from peers.noop import noop

RESULT_MS_MAX = 30_000
THREADS = 8


class RqTasks:
    def __init__(self, port: int) -> None:
        import redis
        import rq

        self._redis = redis.Redis(port=port)
        self._queue = rq.Queue("jobs", connection=self._redis)
        self._data = rq.Queue.prepare_data

    def send(self, text: str, stored: bool = False) -> Callable[[], Any]:
        ttl = 500 if stored else 0
        job = self._queue.enqueue("peers.noop.noop", text, result_ttl=ttl)
        return lambda: job.latest_result(timeout=RESULT_MS_MAX // 1_000)

    def send_many(self, texts: Sequence[str]) -> None:
        data = [self._data("peers.noop.noop", args=(text,), result_ttl=0) for text in texts]
        self._queue.enqueue_many(data)

    def work(self) -> None:
        import rq

        # The worker without a process for each job, which would be ten times slower.
        rq.SimpleWorker([self._queue], connection=self._redis).work(logging_level="WARNING")


class DramatiqTasks:
    def __init__(self, port: int) -> None:
        import dramatiq
        from dramatiq.brokers.redis import RedisBroker
        from dramatiq.results import Results
        from dramatiq.results.backends import RedisBackend

        url = f"redis://127.0.0.1:{port}/0"
        broker = RedisBroker(url=url)
        broker.add_middleware(Results(backend=RedisBackend(url=url)))
        dramatiq.set_broker(broker)
        self._broker = broker
        self._actor = dramatiq.actor(noop, actor_name="noop")
        self._stored = dramatiq.actor(noop, actor_name="stored", store_results=True)

    def send(self, text: str, stored: bool = False) -> Callable[[], Any]:
        message = (self._stored if stored else self._actor).send(text)
        return lambda: message.get_result(block=True, timeout=RESULT_MS_MAX)

    def send_many(self, texts: Sequence[str]) -> None:
        for text in texts:
            self._actor.send(text)

    def work(self) -> None:
        import dramatiq

        dramatiq.Worker(self._broker, worker_threads=THREADS).start()
        threading.Event().wait()


class CeleryTasks:
    def __init__(self, port: int) -> None:
        import celery

        url = f"redis://127.0.0.1:{port}/0"
        self._app = celery.Celery("bench", broker=url, backend=url)
        self._app.conf.update(
            task_acks_late=True,  # at least once, as the others
            worker_prefetch_multiplier=100,
            worker_hijack_root_logger=False,
        )
        self._task = self._app.task(noop, name="noop", ignore_result=True)
        self._stored = self._app.task(noop_again, name="stored")

    def send(self, text: str, stored: bool = False) -> Callable[[], Any]:
        result = (self._stored if stored else self._task).delay(text)
        return lambda: result.get(timeout=RESULT_MS_MAX / 1_000)

    def send_many(self, texts: Sequence[str]) -> None:
        for text in texts:
            self._task.delay(text)

    def work(self) -> None:
        flags = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self._app.worker_main(["worker", "-P", "solo", "-l", "WARNING", *flags])


def noop_again(text: str) -> str:
    """The same under another name: Celery takes a function once."""
    return noop(text)


TASKS: dict[str, Callable[[int], Any]] = {
    "rq": RqTasks,
    "dramatiq": DramatiqTasks,
    "celery": CeleryTasks,
}

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    TASKS[sys.argv[1]](int(sys.argv[2])).work()
