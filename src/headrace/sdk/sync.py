"""The client for programs without an event loop: the same methods, each waits for its answer."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, Self, TypeVar

from headrace.sdk.client import WAIT_PATIENCE_S, AsyncClient, Event, Job, Words
from headrace.sdk.connection import Duration
from headrace.sdk.views import JobsPage, JobView
from headrace.wire.bulk_routes import BulkView, BulkWord
from headrace.wire.document_routes import (
    AuditView,
    CleanupAnswer,
    GroupView,
    KeyView,
    LimitView,
    MadeKey,
    QueueView,
    TenantView,
    TypeView,
)
from headrace.wire.operator_routes import DemandAnswer, WorkerDetail, WorkerView
from headrace.wire.routes import AttemptView, ProgressAnswer
from headrace.wire.schema import Instant, Submitted
from headrace.wire.stats import HistoryAnswer
from headrace.wire.webhook_routes import (
    DeliveryView,
    MadeSecret,
    MadeWebhook,
    PingAnswer,
    ReplayAnswer,
    WebhookView,
    Whose,
)

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

    def _each(self, things: AsyncIterator[Value]) -> Iterator[Value]:
        async def following() -> Value | None:
            return await anext(things, None)

        try:
            while (thing := self._do(following())) is not None:
                yield thing
        finally:
            if isinstance(things, AsyncGenerator) and not self._loop.is_closed():
                self._do(things.aclose())  # else a stream that is left early stays open

    # Jobs ---------------------------------------------------------------------------------------

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

    def get(self, job_id: str, *, wait: Duration | None = None, patience_s: float = 0.0) -> Job:
        return self._do(self._client.get(job_id, wait=wait, patience_s=patience_s))

    def wait(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        return self._do(self._client.wait(job_id, timeout_s=timeout_s))

    def list(
        self,
        *,
        status: Words = (),
        type: Words = (),  # noqa: A002 - the field's name
        queue: Words = (),
        group: Words = (),
        tag: Words = (),
        label: Words = (),
        owner: str | None = None,
        name: str | None = None,
        name_prefix: str | None = None,
        submitted_after: Instant | None = None,
        submitted_before: Instant | None = None,
        finished_after: Instant | None = None,
        finished_before: Instant | None = None,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> JobsPage:
        return self._do(
            self._client.list(
                status=status,
                type=type,
                queue=queue,
                group=group,
                tag=tag,
                label=label,
                owner=owner,
                name=name,
                name_prefix=name_prefix,
                submitted_after=submitted_after,
                submitted_before=submitted_before,
                finished_after=finished_after,
                finished_before=finished_before,
                order=order,
                limit=limit,
                cursor=cursor,
            )
        )

    def jobs(self, *, most: int | None = None, **filters: Any) -> Iterator[JobView]:
        return self._each(self._client.jobs(most=most, **filters))

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

    def progress(self, job_id: str) -> ProgressAnswer:
        return self._do(self._client.progress(job_id))

    def attempts(self, job_id: str) -> Sequence[AttemptView]:
        return self._do(self._client.attempts(job_id))

    def logs(self, job_id: str, *, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        return self._each(self._client.logs(job_id, follow=follow, tail=tail))

    def events(
        self,
        job_id: str | None = None,
        *,
        logs: bool = False,
        status: Words = (),
        type: Words = (),  # noqa: A002 - the field's name
        queue: Words = (),
        owner: str | None = None,
        patience_s: float = WAIT_PATIENCE_S,
    ) -> Iterator[Event]:
        return self._each(
            self._client.events(
                job_id,
                logs=logs,
                status=status,
                type=type,
                queue=queue,
                owner=owner,
                patience_s=patience_s,
            )
        )

    # All else -----------------------------------------------------------------------------------

    def queues(self) -> Sequence[QueueView]:
        return self._do(self._client.queues())

    def queue(self, name: str) -> QueueView:
        return self._do(self._client.queue(name))

    def set_queue(
        self,
        name: str,
        *,
        capacity: int | None = None,
        paused: bool = False,
        backlog_max: int | None = None,
        description: str = "",
    ) -> QueueView:
        return self._do(
            self._client.set_queue(
                name,
                capacity=capacity,
                paused=paused,
                backlog_max=backlog_max,
                description=description,
            )
        )

    def pause_queue(self, name: str) -> QueueView:
        return self._do(self._client.pause_queue(name))

    def resume_queue(self, name: str) -> QueueView:
        return self._do(self._client.resume_queue(name))

    def delete_queue(self, name: str) -> None:
        self._do(self._client.delete_queue(name))

    def job_types(self) -> Sequence[TypeView]:
        return self._do(self._client.job_types())

    def job_type(self, name: str) -> TypeView:
        return self._do(self._client.job_type(name))

    def set_job_type(self, name: str, **settings: Any) -> TypeView:
        return self._do(self._client.set_job_type(name, **settings))

    def delete_job_type(self, name: str) -> None:
        self._do(self._client.delete_job_type(name))

    def job_groups(self) -> Sequence[GroupView]:
        return self._do(self._client.job_groups())

    def job_group(self, name: str) -> GroupView:
        return self._do(self._client.job_group(name))

    def set_job_group(
        self, name: str, *, queue: str | None = None, description: str = ""
    ) -> GroupView:
        return self._do(self._client.set_job_group(name, queue=queue, description=description))

    def delete_job_group(self, name: str) -> None:
        self._do(self._client.delete_job_group(name))

    def workers(self) -> Sequence[WorkerView]:
        return self._do(self._client.workers())

    def worker(self, name: str, *, tenant: str | None = None) -> WorkerDetail:
        return self._do(self._client.worker(name, tenant=tenant))

    def drain_worker(self, name: str, *, tenant: str | None = None) -> WorkerView:
        return self._do(self._client.drain_worker(name, tenant=tenant))

    def undrain_worker(self, name: str, *, tenant: str | None = None) -> WorkerView:
        return self._do(self._client.undrain_worker(name, tenant=tenant))

    def quit_worker(self, name: str, *, tenant: str | None = None) -> WorkerView:
        return self._do(self._client.quit_worker(name, tenant=tenant))

    def demand(self, *, queue: str | None = None, limit: int | None = None) -> DemandAnswer:
        return self._do(self._client.demand(queue=queue, limit=limit))

    def start_bulk(self, act: BulkWord, *, dry_run: bool = False, **filters: Any) -> BulkView:
        return self._do(self._client.start_bulk(act, dry_run=dry_run, **filters))

    def bulk(self, bulk_id: str) -> BulkView:
        return self._do(self._client.bulk(bulk_id))

    def bulks(self) -> Sequence[BulkView]:
        return self._do(self._client.bulks())

    def wait_bulk(self, bulk_id: str, *, timeout_s: float | None = None) -> BulkView:
        return self._do(self._client.wait_bulk(bulk_id, timeout_s=timeout_s))

    def cancel_bulk(self, bulk_id: str) -> BulkView:
        return self._do(self._client.cancel_bulk(bulk_id))

    def webhooks(self) -> Sequence[WebhookView]:
        return self._do(self._client.webhooks())

    def webhook(self, webhook_id: str) -> WebhookView:
        return self._do(self._client.webhook(webhook_id))

    def add_webhook(
        self,
        url: str,
        *,
        events: Sequence[str] = ("*",),
        jobs: Whose | None = None,
        description: str = "",
        enabled: bool = True,
        secret: str | None = None,
    ) -> MadeWebhook:
        return self._do(
            self._client.add_webhook(
                url,
                events=events,
                jobs=jobs,
                description=description,
                enabled=enabled,
                secret=secret,
            )
        )

    def set_webhook(
        self,
        webhook_id: str,
        url: str,
        *,
        events: Sequence[str] = ("*",),
        jobs: Whose | None = None,
        description: str = "",
        enabled: bool = True,
    ) -> WebhookView:
        return self._do(
            self._client.set_webhook(
                webhook_id, url, events=events, jobs=jobs, description=description, enabled=enabled
            )
        )

    def delete_webhook(self, webhook_id: str) -> None:
        self._do(self._client.delete_webhook(webhook_id))

    def test_webhook(self, webhook_id: str) -> PingAnswer:
        return self._do(self._client.test_webhook(webhook_id))

    def rotate_webhook_secret(
        self, webhook_id: str, *, secret: str | None = None, keep_old: Duration | None = None
    ) -> MadeSecret:
        return self._do(
            self._client.rotate_webhook_secret(webhook_id, secret=secret, keep_old=keep_old)
        )

    def rotate_jobs_secret(
        self, *, secret: str | None = None, keep_old: Duration | None = None
    ) -> MadeSecret:
        return self._do(self._client.rotate_jobs_secret(secret=secret, keep_old=keep_old))

    def deliveries(
        self, webhook_id: str, *, status: str | None = None, most: int | None = None
    ) -> Iterator[DeliveryView]:
        return self._each(self._client.deliveries(webhook_id, status=status, most=most))

    def replay_delivery(self, webhook_id: str, delivery_id: str) -> ReplayAnswer:
        return self._do(self._client.replay_delivery(webhook_id, delivery_id))

    def limits(self) -> Sequence[LimitView]:
        return self._do(self._client.limits())

    def limit(self, name: str) -> LimitView:
        return self._do(self._client.limit(name))

    def set_limit(
        self,
        name: str,
        *,
        type: str | None = None,  # noqa: A002 - the field's name
        tenant: str | None = None,
        tag: str | None = None,
        concurrency: int | None = None,
        starts: int | None = None,
        per: Duration | None = None,
        description: str = "",
    ) -> LimitView:
        return self._do(
            self._client.set_limit(
                name,
                type=type,
                tenant=tenant,
                tag=tag,
                concurrency=concurrency,
                starts=starts,
                per=per,
                description=description,
            )
        )

    def delete_limit(self, name: str) -> None:
        self._do(self._client.delete_limit(name))

    def tenants(self) -> Sequence[TenantView]:
        return self._do(self._client.tenants())

    def tenant(self, name: str) -> TenantView:
        return self._do(self._client.tenant(name))

    def set_tenant(self, name: str, **settings: Any) -> TenantView:
        return self._do(self._client.set_tenant(name, **settings))

    def delete_tenant(self, name: str) -> None:
        self._do(self._client.delete_tenant(name))

    def keys(self) -> Sequence[KeyView]:
        return self._do(self._client.keys())

    def key(self, key_id: str) -> KeyView:
        return self._do(self._client.key(key_id))

    def create_key(self, scopes: Sequence[str], **fields: Any) -> MadeKey:
        return self._do(self._client.create_key(scopes, **fields))

    def revoke_key(self, key_id: str) -> KeyView:
        return self._do(self._client.revoke_key(key_id))

    def cleanup(self, older_than: Duration) -> CleanupAnswer:
        return self._do(self._client.cleanup(older_than))

    def audit(self, *, most: int | None = None) -> Iterator[AuditView]:
        return self._each(self._client.audit(most=most))

    def stats(self) -> dict[str, Any]:
        return self._do(self._client.stats())

    def stats_history(self) -> HistoryAnswer:
        return self._do(self._client.stats_history())

    def probe(self) -> None:
        self._do(self._client.probe())

    def call(self, method: str, path: str, body: Any = None) -> Any:
        return self._do(self._client.call(method, path, body))
