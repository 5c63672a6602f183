"""Jobs that threads enqueue one by one, carried to the engine together.

    thread ─┐                   ┌ one command, each job ┐             ┌─▶ its future
    thread ─┼─▶ the list ──────▶┤ taken by itself       ├──▶ commit ──┼─▶ its future
    thread ─┘   (call_soon once)└───────────────────────┘             └─▶ its future

While a commit is under way the next jobs gather, so a disk that is slow makes commits larger, not
jobs slower.
"""

import asyncio
from concurrent.futures import Future
from threading import Lock
from typing import Any, Final

import msgspec

from headrace.core.commands import Caller, NewJobs, SubmitEach, Submitted
from headrace.core.ids import ID_BYTES, id_text
from headrace.core.intake import job_texts_each, new_job
from headrace.embedded.errors import QueueClosed, error_of
from headrace.http.decode import decode
from headrace.http.site import Site
from headrace.wire.problems import Problem
from headrace.wire.schema import SubmitJob

TOGETHER_MAX: Final = 2_000
"""Of one command, so that a turn of the loop stays short."""

_job_decoder: Final = msgspec.json.Decoder(SubmitJob)


class Enqueues:
    """Made on the queue's loop; `add` may be called from any thread."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._lock = Lock()
        self._waiting: list[tuple[bytes, Future[str]]] = []
        self._called = False
        """The loop knows that something waits."""
        self._under_way = False
        self._closed = False

    def add(self, body: bytes) -> "Future[str]":
        """Take a job, as JSON. The future has its id when it is durable. Raises: QueueClosed."""
        future: Future[str] = Future()
        with self._lock:
            if self._closed:
                raise QueueClosed("the queue is shut down")
            self._waiting.append((body, future))
            call = not self._called
            self._called = True
        if call:
            self._loop.call_soon_threadsafe(self._go)
        return future

    def close(self) -> None:
        """Take no more; what was taken goes its way."""
        with self._lock:
            self._closed = True

    def _go(self) -> None:
        if self._under_way:
            return  # `_ended` comes back here
        with self._lock:
            waiting = self._waiting[:TOGETHER_MAX]
            del self._waiting[:TOGETHER_MAX]
            self._called = bool(self._waiting)
        if not waiting:
            return
        jobs, futures = self._jobs(waiting)
        if not jobs:
            self._loop.call_soon(self._go)
            return
        self._under_way = True
        taker = _Taker(self, futures)
        try:
            self._site.pump.post(SubmitEach(Caller(), jobs), taker)
        except Problem as problem:
            taker.set_result(problem)

    def _jobs(
        self, waiting: list[tuple[bytes, "Future[str]"]]
    ) -> tuple[list[NewJobs], list["Future[str]"]]:
        """Return the jobs, and the futures of those that are no mistakes, both in order."""
        translator = self._site.translator(Caller())
        runs, others = job_texts_each([body for body, _ in waiting], len(waiting))
        alike: list[NewJobs] = []
        if not others:
            for texts in runs:
                ids = self._site.ids.make_many(translator.come.now_ms, len(texts))
                new = translator.new_jobs(texts, ids)
                if new is None:
                    break
                alike.append(new)
            else:
                return alike, [future for _, future in waiting]
        jobs: list[NewJobs] = []
        futures: list[Future[str]] = []
        come = translator.come
        for body, future in waiting:
            try:
                job = decode(_job_decoder, body)
                jobs.append(new_job(job, self._site.ids.make(come.now_ms), come))
            except Problem as problem:
                future.set_exception(error_of(problem))
            else:
                futures.append(future)
        return jobs, futures

    def _ended(self) -> None:
        self._under_way = False
        self._go()


class _Taker:
    """Hears the reply of the pump."""

    def __init__(self, enqueues: Enqueues, futures: list["Future[str]"]) -> None:
        self._enqueues = enqueues
        self._futures = futures

    def done(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def set_result(self, replies: "Problem | list[Submitted | Problem]", /) -> Any:
        told = iter(self._futures)
        if isinstance(replies, Problem):
            replies = [replies] * len(self._futures)
        for reply in replies:
            if isinstance(reply, Problem):
                next(told).set_exception(error_of(reply))
                continue
            for at in range(0, len(reply.job_ids), ID_BYTES):
                next(told).set_result(id_text(reply.job_ids[at : at + ID_BYTES]))
        self._enqueues._ended()
