"""What a program sees of its queue: `Queue` for threads, `AsyncQueue` for coroutines."""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any, Final, Self, TypeVar

import msgspec
import uvloop

from headrace.core.commands import Act
from headrace.embedded.config import DRAIN_S_DEFAULT, QueueConfig
from headrace.embedded.errors import QueueClosed, error_of
from headrace.embedded.inner import LIST_MAX, Inner, Metrics
from headrace.embedded.listening import OnEvent
from headrace.sdk.client import Job
from headrace.sdk.errors import UsageError
from headrace.sdk.views import JobView
from headrace.wire.problems import Problem
from headrace.wire.routes import ProgressView
from headrace.worker.handlers import Mode, Worker, WorkerDefinitionError

TYPE_DEFAULT: Final = "job"
"""Of the jobs of a queue that was made with one function."""
_encode: Final = msgspec.json.Encoder().encode

Handler = Callable[..., Any]
Value = TypeVar("Value")


class _Face:
    """What both kinds of queue are made of: a thread with a loop, and on it the inner queue."""

    def __init__(
        self,
        config: QueueConfig | None = None,
        handler: Handler | Worker | None = None,
        *,
        run: Mode | None = None,
        on_event: OnEvent | None = None,
    ) -> None:
        """Open the queue; what a directory holds of an earlier time goes on at once.

        handler: a function `(ctx)` or `(ctx, params)` for all jobs; or a `Worker` with a function
        for each type; None: nothing is run here. run: as in `Worker.job`, of a function.
        on_event: a plain function that is told whatever happens to a job, when it is durable: one
        `Event` after the other, on a thread of their own.
        Raises: UsageError; StoreBusy and other StoreErrors of a directory.
        """
        self.config = config or QueueConfig()
        self._worker, self._type = _worker_of(handler, run)
        self._fixed = {"timeout": self.config.default_timeout}
        self._loop = uvloop.new_event_loop()
        self._handlers_loop: AbstractEventLoop = self._loop
        if any(one.mode == "async" for one in self._worker.handlers.values()):
            # A coroutine that blocks must not stop heartbeats and commits.
            self._handlers_loop = uvloop.new_event_loop()
            _thread(self._handlers_loop, "headrace-handlers")
        self._thread = _thread(self._loop, "headrace-queue")
        try:
            self._inner = self._ask(self._open(on_event)).result()
        except BaseException:
            self._end_loops()
            raise

    async def _open(self, on_event: OnEvent | None) -> Inner:
        inner = Inner(self.config, self._worker, on_event)
        await inner.start(self._handlers_loop)
        return inner

    def _end_loops(self) -> None:
        for loop in {self._loop, self._handlers_loop}:
            loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        self._loop.close()

    def _ask(self, call: Coroutine[Any, Any, Value]) -> "Future[Value]":
        """Run a coroutine on the queue's loop. Raises: QueueClosed."""
        translated = _translated(call)
        try:
            return asyncio.run_coroutine_threadsafe(translated, self._loop)
        except RuntimeError:
            translated.close()
            call.close()
            raise QueueClosed("the queue is shut down") from None

    def _look(self, call: Callable[[], Value]) -> "Future[Value]":
        async def looked() -> Value:
            return call()

        return self._ask(looked())

    def _job(self, params: Any, fields: Mapping[str, Any]) -> bytes:
        """Return a job as JSON. Raises: UsageError."""
        job = {**self._fixed, **fields}
        if job.get("type") is None:
            if self._type is None:
                raise UsageError("say the job's type: this queue has a handler for each")
            job["type"] = self._type
        if params is not None:
            job["params"] = params
        try:
            return _encode(job)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"JSON cannot carry it: {error}") from None

    def _jobs(self, jobs: Iterable[Mapping[str, Any]]) -> bytes:
        return b"[%b]" % b",".join(
            self._job(job.get("params"), {k: v for k, v in job.items() if k != "params"})
            for job in jobs
        )


class Queue(_Face):
    """A durable priority queue and its workers in this process. Every method is safe to call from
    any thread.

    Jobs run on threads (or as `Worker.job` says); what a handler raises, returns and logs is
    treated as by `headrace work`. A job is on disk when `enqueue` returns, if the queue has a path.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()

    # Jobs in ------------------------------------------------------------------------------------

    def enqueue(self, params: Any = None, **fields: Any) -> str:
        """Take a job; return its id. Durable when this returns.

        fields: as in `POST /api/v1/jobs`, such as type, priority (critical, high, normal, low, or
        9..0), timeout, max_retries, retry_delay, delay, queue, tags, idempotency_key.
        Raises: QueueFull; ServerProblem, which says which field is wrong; QueueClosed.
        """
        return self.enqueue_soon(params, **fields).result()

    def enqueue_soon(self, params: Any = None, **fields: Any) -> "Future[str]":
        """As `enqueue`, without waiting for the disk: the future has the id when it is durable."""
        return self._inner.enqueues.add(self._job(params, fields))

    def enqueue_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[str]:
        """Take jobs, all or none, in one commit. Each is `{"params": …, **fields}`."""
        return self._ask(self._inner.enqueue_many(self._jobs(jobs))).result()

    # Jobs as they are ---------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Return a job as it is now. Raises: ServerProblem, code `job_unknown`."""
        return self._ask(self._inner.get(job_id)).result()

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Return a job when it has ended, or as it is when the time is over."""
        return self._ask(self._inner.wait(job_id, timeout_s)).result()

    def jobs(
        self,
        *,
        type: str | Sequence[str] = (),  # noqa: A002 - the field's name
        status: str | Sequence[str] = (),
        limit: int = LIST_MAX,
    ) -> list[JobView]:
        """Return jobs of types and in statuses, the newest first, at most `limit`."""
        return self._look(lambda: self._inner.jobs(_words(type), _words(status), limit)).result()

    def log(self, job_id: str) -> str:
        """Return what a job has logged so far."""
        return self._look(lambda: self._inner.log(job_id)).result()

    def progress(self, job_id: str) -> list[ProgressView]:
        """Return the reports of a job's progress, the oldest first, one a second at most."""
        return self._look(lambda: self._inner.progress(job_id)).result()

    def explain(self, job_id: str) -> list[str]:
        """Return why a job waits: sentences, the most telling first."""
        return self._ask(self._inner.explain(job_id)).result()

    def cancel(self, job_id: str) -> str:
        """Cancel a job, running or not; return its status after it."""
        return self._ask(self._inner.act(job_id, Act.CANCEL)).result()

    def suspend(self, job_id: str) -> str:
        """Let a job pause: its checkpoint is handed to the run after `resume`."""
        return self._ask(self._inner.act(job_id, Act.SUSPEND)).result()

    def resume(self, job_id: str) -> str:
        return self._ask(self._inner.act(job_id, Act.RESUME)).result()

    def retry(self, job_id: str, *, force: bool = False) -> str:
        """Run a job that has ended again, with all its tries; with `force` also one that
        completed. One that waits for its next try runs now. Return its status after it."""
        return self._ask(self._inner.act(job_id, Act.RETRY, force=force)).result()

    def delete(self, job_id: str) -> None:
        """Remove the record of a job that has ended."""
        self._ask(self._inner.act(job_id, Act.DELETE)).result()

    # The queue ----------------------------------------------------------------------------------

    def size(self) -> int:
        """Return how many jobs wait, those of a later time included."""
        return self._inner.size()

    def is_empty(self) -> bool:
        return self._inner.size() == 0

    def is_full(self) -> bool:
        """Say whether the next `enqueue` would raise `QueueFull`."""
        most = self.config.max_queue_size
        return most > 0 and self._inner.unfinished() >= most

    def cleanup(self, older_than: float | str) -> int:
        """Delete jobs that ended so long ago, however long they were to be kept; return how many.

        older_than: seconds, or text such as "12h".
        """
        return self._ask(self._inner.cleanup(older_than)).result()

    def metrics(self) -> Metrics:
        return self._look(self._inner.metrics).result()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until all jobs have ended. Returns False if the time is over before."""
        return self._ask(self._inner.join(timeout_s)).result()

    def shutdown(self, timeout_s: float = DRAIN_S_DEFAULT) -> bool:
        """Take no more jobs, let running ones end, and close. Jobs that wait stay on disk.

        Running jobs that do not end in time are given back: with a path, the next start runs them
        again. Returns False then. May be called again.
        """
        if self._loop.is_closed():
            return True
        ended = self._ask(self._inner.shutdown(timeout_s)).result()
        if not self._loop.is_closed():
            self._end_loops()
        return ended


class AsyncQueue(_Face):
    """As `Queue`, for programs with an event loop: the same methods as coroutines."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    async def _await(self, call: Coroutine[Any, Any, Value]) -> Value:
        return await asyncio.wrap_future(self._ask(call))

    async def enqueue(self, params: Any = None, **fields: Any) -> str:
        return await asyncio.wrap_future(self._inner.enqueues.add(self._job(params, fields)))

    async def enqueue_many(self, jobs: Iterable[Mapping[str, Any]]) -> list[str]:
        return await self._await(self._inner.enqueue_many(self._jobs(jobs)))

    async def get(self, job_id: str) -> Job:
        return await self._await(self._inner.get(job_id))

    async def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        return await self._await(self._inner.wait(job_id, timeout_s))

    async def jobs(
        self,
        *,
        type: str | Sequence[str] = (),  # noqa: A002 - the field's name
        status: str | Sequence[str] = (),
        limit: int = LIST_MAX,
    ) -> list[JobView]:
        look = self._look(lambda: self._inner.jobs(_words(type), _words(status), limit))
        return await asyncio.wrap_future(look)

    async def log(self, job_id: str) -> str:
        return await asyncio.wrap_future(self._look(lambda: self._inner.log(job_id)))

    async def progress(self, job_id: str) -> list[ProgressView]:
        return await asyncio.wrap_future(self._look(lambda: self._inner.progress(job_id)))

    async def explain(self, job_id: str) -> list[str]:
        return await self._await(self._inner.explain(job_id))

    async def cancel(self, job_id: str) -> str:
        return await self._await(self._inner.act(job_id, Act.CANCEL))

    async def suspend(self, job_id: str) -> str:
        return await self._await(self._inner.act(job_id, Act.SUSPEND))

    async def resume(self, job_id: str) -> str:
        return await self._await(self._inner.act(job_id, Act.RESUME))

    async def retry(self, job_id: str, *, force: bool = False) -> str:
        return await self._await(self._inner.act(job_id, Act.RETRY, force=force))

    async def delete(self, job_id: str) -> None:
        await self._await(self._inner.act(job_id, Act.DELETE))

    def size(self) -> int:
        return self._inner.size()

    def is_empty(self) -> bool:
        return self._inner.size() == 0

    def is_full(self) -> bool:
        most = self.config.max_queue_size
        return most > 0 and self._inner.unfinished() >= most

    async def cleanup(self, older_than: float | str) -> int:
        return await self._await(self._inner.cleanup(older_than))

    async def metrics(self) -> Metrics:
        return await asyncio.wrap_future(self._look(self._inner.metrics))

    async def join(self, timeout_s: float | None = None) -> bool:
        return await self._await(self._inner.join(timeout_s))

    async def shutdown(self, timeout_s: float = DRAIN_S_DEFAULT) -> bool:
        if self._loop.is_closed():
            return True
        ended = await self._await(self._inner.shutdown(timeout_s))
        if not self._loop.is_closed():
            await asyncio.to_thread(self._end_loops)
        return ended


async def _translated(call: Coroutine[Any, Any, Value]) -> Value:
    try:
        return await call
    except Problem as problem:
        raise error_of(problem) from None


def _thread(loop: AbstractEventLoop, name: str) -> Thread:
    thread = Thread(target=loop.run_forever, name=name, daemon=True)
    thread.start()
    return thread


def _worker_of(handler: Handler | Worker | None, run: Mode | None) -> tuple[Worker, str | None]:
    """Return the handlers, and the type of a job that names none. Raises: UsageError."""
    if handler is None:
        return Worker(), TYPE_DEFAULT
    if isinstance(handler, Worker):
        if run is not None:
            raise UsageError("run goes with a function; a Worker's handlers have their own")
        types = list(handler.handlers)
        return handler, types[0] if len(types) == 1 else None
    worker = Worker()
    try:
        worker.job(TYPE_DEFAULT, run=run)(handler)
    except WorkerDefinitionError as error:
        raise UsageError(str(error)) from None
    return worker, TYPE_DEFAULT


def _words(given: str | Sequence[str]) -> Sequence[str]:
    return (given,) if isinstance(given, str) else given
