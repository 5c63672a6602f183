"""What runs on an embedded queue's own loop: a node, the doors of a site, and a worker's agent.

It is a server without a listener and a worker without a network: the same engine, store, commands
and agent, so that every rule of theirs holds here.
"""

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from headrace.core.commands import Act, Caller, Control, Explain, Explanation
from headrace.core.ids import id_parse
from headrace.core.intake import span_ms
from headrace.core.job import STATUS_WORDS, Status
from headrace.core.stats import SpanView
from headrace.embedded.config import QueueConfig
from headrace.embedded.enqueues import Enqueues
from headrace.embedded.link import LocalLink
from headrace.embedded.listening import Listening, OnEvent
from headrace.http.handlers import jobs as job_handlers
from headrace.http.handlers.operations import clean_up
from headrace.http.handlers.submit import submit
from headrace.http.hot import Asked, ask, look
from headrace.http.meters import spans_of
from headrace.http.site import Site
from headrace.http.views import word
from headrace.runtime.node import Node
from headrace.sdk.client import Job
from headrace.sdk.errors import UsageError
from headrace.sdk.views import JobView
from headrace.store.contract import ListQuery
from headrace.wire import limits
from headrace.wire.routes import ProgressView
from headrace.wire.schema import Submitted
from headrace.worker.agent_config import AgentConfig
from headrace.worker.agent_loop import AgentLoop
from headrace.worker.handlers import Worker
from headrace.worker.ledger import Offer

log = logging.getLogger(__name__)

WORKER_NAME: Final = "embedded"
SESSION: Final = "embedded"
WAIT_MS: Final = 30_000
"""Of one look at a job that is waited for."""
EVENTS_S_MIN: Final = 1.0
"""At the end, for events that were not told yet."""
LIST_MAX: Final = limits.LIST_LIMIT_MAX
ME: Final = Caller()
EVERYTHING: Final = Offer(
    cpu_milli=limits.CPU_MILLI_MAX,
    memory_mb=limits.MEMORY_MB_MAX,
    storage_mb=limits.STORAGE_MB_MAX,
    gpu_milli=limits.GPU_MILLI_MAX,
)
"""A queue in a program does not count resources; `max_workers` and queues bound what runs."""

assert WAIT_MS <= limits.WAIT_MS_MAX
_submitted: Final = msgspec.json.Decoder(list[Submitted]).decode
_encode: Final = msgspec.json.Encoder().encode
_view: Final = msgspec.json.Decoder(JobView).decode


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took in the last five minutes, in seconds; quantiles are at most an eighth
    too high."""

    count: int
    average_s: float
    p50_s: float
    p90_s: float
    p99_s: float


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the start; sizes are of now."""

    enqueued: int
    dequeued: int
    """Attempts begun."""
    completed: int
    failed: int
    timeout: int
    cancelled: int
    retried: int
    """Attempts that failed and are tried again."""
    current_size: int
    """Jobs that wait, those of a later time included."""
    active_workers: int
    """Jobs that run."""
    average_wait_s: float
    """Ready to given out."""
    average_processing_s: float
    """Given out to the end."""
    recent_wait: Span
    recent_processing: Span
    """The two of late."""


class Inner:
    """All methods belong to the loop on which it was made, but `enqueues.add`."""

    def __init__(
        self, config: QueueConfig, worker: Worker, on_event: OnEvent | None = None
    ) -> None:
        """Open the store. Raises: StoreError, UsageError."""
        self.config = config
        self.node = Node(config.node())
        self.site = Site(self.node)
        self.enqueues = Enqueues(self.site)
        self._listening = None if on_event is None else Listening(self.site, on_event)
        self._worker = worker
        self._agent: asyncio.Task[None] | None = None
        self._agent_loop: AgentLoop | None = None
        self._moved = asyncio.Event()
        """Set by each commit."""
        self._closing: asyncio.Task[bool] | None = None

    async def start(self, handlers_loop: asyncio.AbstractEventLoop) -> None:
        await self.node.start()
        counted = self.node.pump.on_commit

        def on_commit(duration_s: float, effects: int) -> None:
            counted(duration_s, effects)
            self._moved.set()

        self.node.pump.on_commit = on_commit
        if not self._worker.handlers:
            return
        config = AgentConfig(
            name=WORKER_NAME,
            concurrency=self.config.max_workers,
            total=EVERYTHING,
            wasm=False,
        )
        self._agent_loop = AgentLoop(
            config,
            self._worker,
            dict(self._worker.handlers),
            f"{SESSION}-{self.node.engine.live.epoch}",
            handlers_loop,
            LocalLink(self.site),
        )
        self._agent = asyncio.get_running_loop().create_task(self._agent_loop.run())
        self._agent.add_done_callback(_tell_defect)

    # Jobs in ------------------------------------------------------------------------------------

    async def enqueue_many(self, jobs: bytes) -> list[str]:
        """Take an array of jobs, all or none. Raises: ServerProblem, QueueClosed."""
        begun = submit(self.site, Asked(ME, None, body=jobs))
        answer = await (begun if asyncio.iscoroutine(begun) else ask(self.site, begun))
        return [one.job_id for one in _submitted(answer.body)]

    # Jobs as they are ---------------------------------------------------------------------------

    async def get(self, job_id: str, wait_ms: int = 0) -> Job:
        asked = Asked(ME, None, job_id=_id(job_id), wait_ms=wait_ms)
        return Job((await look(self.site, job_handlers.job(self.site, asked))).body)

    async def wait(self, job_id: str, timeout_s: float | None) -> Job:
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_ms = WAIT_MS
            if ends is not None:
                left_ms = min(WAIT_MS, max(0, round((ends - time.monotonic()) * 1000)))
            job = await self.get(job_id, left_ms)
            if job.finished or left_ms == 0 or self.site.draining:
                return job

    def jobs(self, types: Sequence[str], statuses: Sequence[str], most: int) -> list[JobView]:
        """Return jobs, the newest first."""
        wanted: set[Status] = set()
        for status in statuses:
            known = STATUS_WORDS.get(status)
            if known is None:
                raise UsageError(f"status is one of {', '.join(STATUS_WORDS)}")
            wanted |= known
        query = ListQuery(
            tenant=ME.tenant,
            statuses=frozenset(wanted) or None,
            types=frozenset(types) or None,
            limit=min(most, LIST_MAX),
        )
        found: list[JobView] = []
        while len(found) < most:
            page = self.site.store.list_jobs(query)
            views = self.site.views(page.jobs[: most - len(found)], ME.tenant)
            found += [_view(_encode(view)) for view in views]
            if page.next is None:
                break
            query = msgspec.structs.replace(query, after=page.next)
        return found

    def log(self, job_id: str) -> str:
        """Return a job's log, as far as it is written."""
        wanted = _id(job_id)
        self.site.read(ME, wanted)
        pieces = []
        position = -1
        while rows := self.site.store.logs(wanted, position):
            position = rows[-1][0]
            pieces += [piece for _, piece in rows]
        return b"".join(pieces).decode("utf-8", "replace")

    def progress(self, job_id: str) -> list[ProgressView]:
        """Return the reports of a job's progress, the oldest first."""
        wanted = _id(job_id)
        self.site.read(ME, wanted)
        return job_handlers.progress_kept(self.site, wanted)

    async def act(self, job_id: str, act: Act, *, force: bool = False) -> str:
        """Return the status after it."""
        status: Status = await self.site.pump.ask(Control(ME, _id(job_id), act, force))
        return word(status)

    async def cleanup(self, older_than: float | str) -> int:
        """Delete finished jobs that ended so long ago; return how many."""
        older_than_ms = span_ms(older_than, "/older_than", limits.OPERATOR_SPAN_MS_MAX)
        return (await clean_up(self.site, ME, older_than_ms, math.inf)).deleted

    async def explain(self, job_id: str) -> list[str]:
        """Return why a job waits: sentences, the most telling first."""
        found: Explanation = await self.site.pump.ask(Explain(ME, _id(job_id)))
        return found.reasons

    # The queue ----------------------------------------------------------------------------------

    def size(self) -> int:
        """Return how many jobs wait: for a worker, for their time, or suspended."""
        return len(self.node.engine.live.jobs) - self.running()

    def unfinished(self) -> int:
        return len(self.node.engine.live.jobs)

    def running(self) -> int:
        return len(self.node.engine.live.leases)

    def metrics(self) -> Metrics:
        if not self.config.enable_metrics:
            raise UsageError("this queue was made with enable_metrics=False")
        runtime = self.node.pump.stats()
        stats = runtime.engine
        finished = stats.finished_total
        return Metrics(
            enqueued=stats.submitted_total,
            dequeued=stats.leased_total,
            completed=finished[Status.COMPLETED],
            failed=finished[Status.FAILED],
            timeout=finished[Status.TIMEOUT],
            cancelled=finished[Status.CANCELLED],
            retried=stats.retried_total,
            current_size=self.size(),
            active_workers=self.running(),
            average_wait_s=_average_s(stats.wait_ms_total, stats.leased_total),
            average_processing_s=_average_s(stats.run_ms_total, stats.run_count),
            recent_wait=_span(runtime.wait),
            recent_processing=_span(runtime.run),
        )

    async def join(self, timeout_s: float | None) -> bool:
        """Wait until no job is unfinished, suspended ones aside. Returns False if time is over."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.unfinished() > self.node.pump.stats().engine.live[Status.SUSPENDED]:
                    self._moved.clear()
                    await self._moved.wait()
                return True
        except TimeoutError:
            return False

    async def shutdown(self, timeout_s: float) -> bool:
        """Take no more jobs, let those that run end, close the store.

        Returns False if some did not end in time and were given back. Called again, waits for the
        first call.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(timeout_s))
        return await asyncio.shield(self._closing)

    async def _close(self, timeout_s: float) -> bool:
        self.enqueues.close()
        ended = True
        ends = time.monotonic() + timeout_s
        if self._agent_loop is not None and self._agent is not None:
            self._agent_loop.drain(timeout_s)
            await asyncio.wait({self._agent})
            ended = time.monotonic() < ends
        await self.site.drain()
        if self._listening is not None:
            await self._listening.end(max(EVENTS_S_MIN, ends - time.monotonic()))
        await self.node.stop()
        return ended


def _tell_defect(agent: "asyncio.Task[None]") -> None:
    if not agent.cancelled() and (error := agent.exception()) is not None:
        log.error("the queue's worker has ended: %s", error, exc_info=error)


def _span(view: SpanView) -> Span:
    p50_ms, p90_ms, p99_ms = spans_of(view)
    return Span(
        count=view.count,
        average_s=view.average_ms / 1000,
        p50_s=p50_ms / 1000,
        p90_s=p90_ms / 1000,
        p99_s=p99_ms / 1000,
    )


def _average_s(ms_total: int, count: int) -> float:
    return ms_total / count / 1000 if count else 0.0


def _id(text: str) -> bytes:
    job_id = id_parse(text)
    if job_id is None:
        raise UsageError(f"{text!r} is not a job's id")
    return job_id
