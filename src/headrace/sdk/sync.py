"""The client for programs without an event loop: the same methods, each waits for its answer."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Self, TypeVar

from headrace.sdk.client import AsyncClient, Duration, Event, Job
from headrace.sdk.views import JobsPage, JobView
from headrace.wire.document_routes import QueueView, TypeView
from headrace.wire.schema import Submitted

Value = TypeVar("Value")


class Client:
    """As `AsyncClient`. It has a thread of its own; methods may be called from any thread."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
    ) -> None:
        self._client = AsyncClient(url, api_key=api_key, user=user, tenant=tenant)
        self.url = self._client.url
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._do(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _do(self, call: Coroutine[Any, Any, Value]) -> Value:
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt from the keyboard
            raise

    def submit(
        self,
        type: str | None = None,  # noqa: A002 - the field's name
        params: Any = None,
        **fields: Any,
    ) -> Submitted:
        return self._do(self._client.submit(type, params, **fields))

    def submit_many(self, jobs: Sequence[Mapping[str, Any]]) -> list[Submitted]:
        return self._do(self._client.submit_many(jobs))

    def submit_wasm(
        self, module: bytes | str | Path, arguments: Sequence[str] = (), **fields: Any
    ) -> Submitted:
        return self._do(self._client.submit_wasm(module, arguments, **fields))

    def put_module(self, data: bytes) -> str:
        return self._do(self._client.put_module(data))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self._do(self._client.call(method, path, body))

    def get(self, job_id: str, *, wait: Duration | None = None, patience_s: float = 0.0) -> Job:
        return self._do(self._client.get(job_id, wait=wait, patience_s=patience_s))

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        return self._do(self._client.wait(job_id, timeout_s=timeout_s))

    def list(self, **filters: Any) -> JobsPage:
        return self._do(self._client.list(**filters))

    def jobs(self, *, most: int | None = None, **filters: Any) -> Iterator[JobView]:
        jobs = self._client.jobs(most=most, **filters)
        while (job := self._do(_next(jobs))) is not None:
            yield job

    def cancel(self, job_id: str) -> str:
        return self._do(self._client.cancel(job_id))

    def suspend(self, job_id: str) -> str:
        return self._do(self._client.suspend(job_id))

    def resume(self, job_id: str) -> str:
        return self._do(self._client.resume(job_id))

    def retry(self, job_id: str, *, force: bool = False) -> str:
        return self._do(self._client.retry(job_id, force=force))

    def delete(self, job_id: str) -> None:
        self._do(self._client.delete(job_id))

    def explain(self, job_id: str) -> dict[str, Any]:
        return self._do(self._client.explain(job_id))

    def queues(self) -> Sequence[QueueView]:
        return self._do(self._client.queues())

    def set_queue(
        self, name: str, *, capacity: int | None = None, paused: bool = False, description: str = ""
    ) -> QueueView:
        return self._do(
            self._client.set_queue(name, capacity=capacity, paused=paused, description=description)
        )

    def pause_queue(self, name: str) -> QueueView:
        return self._do(self._client.pause_queue(name))

    def resume_queue(self, name: str) -> QueueView:
        return self._do(self._client.resume_queue(name))

    def job_types(self) -> Sequence[TypeView]:
        return self._do(self._client.job_types())

    def stats(self) -> dict[str, Any]:
        return self._do(self._client.stats())

    def logs(self, job_id: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        pieces: AsyncIterator[str] = self._client.logs(job_id, follow=follow, tail=tail)
        while True:
            piece = self._do(_next(pieces))
            if piece is None:
                return
            yield piece

    def events(self, job_id: str, *, logs: bool = False) -> Iterator[Event]:
        happened: AsyncIterator[Event] = self._client.events(job_id, logs=logs)
        while (event := self._do(_next(happened))) is not None:
            yield event


async def _next(things: AsyncIterator[Value]) -> Value | None:
    return await anext(things, None)
