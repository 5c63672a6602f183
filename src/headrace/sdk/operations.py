"""What operators and owners of webhooks do: everything of a server that is not a job."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from headrace.sdk.connection import (
    Answer,
    Connection,
    Duration,
    decode,
    json_of,
    name_in_path,
)
from headrace.wire import bulk_routes, document_routes, operator_routes, webhook_routes
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

BULK_LOOK_S_MAX: Final = 1.0
"""Between two looks at how far an act on many jobs is; it begins with a twentieth."""

QUEUES: Final = "/api/v1/queues"
TYPES: Final = "/api/v1/job-types"
GROUPS: Final = "/api/v1/job-groups"
TENANTS: Final = "/api/v1/tenants"
LIMITS: Final = "/api/v1/limits"
KEYS: Final = "/api/v1/keys"
WORKERS: Final = "/api/v1/workers"
WEBHOOKS: Final = "/api/v1/webhooks"
BULK: Final = "/api/v1/bulk"


class Operations(Connection):
    """The methods of `AsyncClient` that are not about single jobs. What sets something sets all of
    it: what is left out goes back to its default."""

    # Queues -------------------------------------------------------------------------------------

    async def queues(self) -> Sequence[QueueView]:
        """Return all queues: their capacity, whether they are paused, what waits and runs."""
        return [
            queue
            async for data in self._pages(QUEUES)
            for queue in decode(data, document_routes.QueuesAnswer).queues
        ]

    async def queue(self, name: str) -> QueueView:
        return await self._ask("GET", _one(QUEUES, name), QueueView, again=True)

    async def set_queue(
        self,
        name: str,
        *,
        capacity: int | None = None,
        paused: bool = False,
        backlog_max: int | None = None,
        description: str = "",
    ) -> QueueView:
        """Set how many jobs of a queue run at once (None: no limit), whether it is paused, and how
        many may wait."""
        body = {
            "capacity": capacity,
            "paused": paused,
            "backlog_max": backlog_max,
            "description": description,
        }
        return await self._put(_one(QUEUES, name), QueueView, body)

    async def pause_queue(self, name: str) -> QueueView:
        """Give nothing of a queue out; what runs goes on."""
        return await self._ask("POST", f"{_one(QUEUES, name)}/pause", QueueView, again=True)

    async def resume_queue(self, name: str) -> QueueView:
        return await self._ask("POST", f"{_one(QUEUES, name)}/resume", QueueView, again=True)

    async def delete_queue(self, name: str) -> None:
        """Remove a queue that has no jobs."""
        await self._request("DELETE", _one(QUEUES, name))

    # Types and groups ---------------------------------------------------------------------------

    async def job_types(self) -> Sequence[TypeView]:
        """Return the registered job types."""
        return [
            one
            async for data in self._pages(TYPES)
            for one in decode(data, document_routes.TypesAnswer).job_types
        ]

    async def job_type(self, name: str) -> TypeView:
        return await self._ask("GET", _one(TYPES, name), TypeView, again=True)

    async def set_job_type(self, name: str, **settings: Any) -> TypeView:
        """Register or replace a job type. settings: as in `PUT /api/v1/job-types/{name}`."""
        return await self._put(_one(TYPES, name), TypeView, settings)

    async def delete_job_type(self, name: str) -> None:
        await self._request("DELETE", _one(TYPES, name))

    async def job_groups(self) -> Sequence[GroupView]:
        return [
            one
            async for data in self._pages(GROUPS)
            for one in decode(data, document_routes.GroupsAnswer).job_groups
        ]

    async def job_group(self, name: str) -> GroupView:
        return await self._ask("GET", _one(GROUPS, name), GroupView, again=True)

    async def set_job_group(
        self, name: str, *, queue: str | None = None, description: str = ""
    ) -> GroupView:
        """Make or replace a group of job types. queue: of jobs of its types that name none."""
        body = {"queue": queue, "description": description}
        return await self._put(_one(GROUPS, name), GroupView, body)

    async def delete_job_group(self, name: str) -> None:
        await self._request("DELETE", _one(GROUPS, name))

    # Workers ------------------------------------------------------------------------------------

    async def workers(self) -> Sequence[WorkerView]:
        """Return workers that were heard of lately, or told to drain."""
        return [
            one
            async for data in self._pages(WORKERS, by="cursor")
            for one in decode(data, operator_routes.WorkersAnswer).workers
        ]

    async def worker(self, name: str, *, tenant: str | None = None) -> WorkerDetail:
        """Return a worker and the jobs in its hands.

        tenant: of its key, where several tenants have a worker of that name.
        """
        query = _said(tenant=tenant)
        return await self._ask("GET", _one(WORKERS, name), WorkerDetail, query=query, again=True)

    async def drain_worker(self, name: str, *, tenant: str | None = None) -> WorkerView:
        """Give a worker no more jobs; what runs goes on."""
        return await self._order("POST", name, "drain", tenant)

    async def undrain_worker(self, name: str, *, tenant: str | None = None) -> WorkerView:
        """Give a worker jobs again."""
        return await self._order("DELETE", name, "drain", tenant)

    async def quit_worker(self, name: str, *, tenant: str | None = None) -> WorkerView:
        """Give a worker no more jobs, and have its process end."""
        return await self._order("POST", name, "quit", tenant)

    async def _order(self, method: str, name: str, order: str, tenant: str | None) -> WorkerView:
        path = f"{_one(WORKERS, name)}/{order}"
        return await self._ask(method, path, WorkerView, query=_said(tenant=tenant), again=True)

    async def demand(self, *, queue: str | None = None, limit: int | None = None) -> DemandAnswer:
        """Return what ready jobs ask for that no worker is free to give.

        limit: classes of equal jobs that are told.
        """
        query = _said(queue=queue, limit=limit)
        return await self._ask("GET", "/api/v1/demand", DemandAnswer, query=query, again=True)

    # Acts on many jobs --------------------------------------------------------------------------

    async def start_bulk(self, act: BulkWord, *, dry_run: bool = False, **filters: Any) -> BulkView:
        """Begin to cancel, suspend, resume, delete or retry all jobs that match.

        filters: status, type, queue, group, tag, label, owner, name, name_prefix,
        submitted_after and so on, as of `list`; without a status those that the act can be done
        to. dry_run: only count.
        """
        body = {"act": act, "dry_run": dry_run, "filter": _said(**filters)}
        return await self._ask("POST", "/api/v1/jobs/bulk", BulkView, json_of(body))

    async def bulk(self, bulk_id: str) -> BulkView:
        """Return how far an act on many jobs is."""
        return await self._ask("GET", _one(BULK, bulk_id), BulkView, again=True)

    async def bulks(self) -> Sequence[BulkView]:
        """Return acts on many jobs, the oldest first."""
        return [
            one
            async for data in self._pages(BULK)
            for one in decode(data, bulk_routes.BulksAnswer).bulks
        ]

    async def wait_bulk(self, bulk_id: str, *, timeout_s: float | None = None) -> BulkView:
        """Return an act on many jobs when it is over, or as it is when the time is over."""
        ends = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        look_s = BULK_LOOK_S_MAX / 20
        while True:
            view = await self.bulk(bulk_id)
            if view.state != "running" or time.monotonic() >= ends:
                return view
            await asyncio.sleep(min(look_s, max(0.0, ends - time.monotonic())))
            look_s = min(look_s * 2, BULK_LOOK_S_MAX)

    async def cancel_bulk(self, bulk_id: str) -> BulkView:
        """End an act on many jobs where it is; what is done stays done."""
        return await self._ask("POST", f"{_one(BULK, bulk_id)}/cancel", BulkView, again=True)

    # Webhooks -----------------------------------------------------------------------------------

    async def webhooks(self) -> Sequence[WebhookView]:
        return [
            one
            async for data in self._pages(WEBHOOKS)
            for one in decode(data, webhook_routes.WebhooksAnswer).webhooks
        ]

    async def webhook(self, webhook_id: str) -> WebhookView:
        """Return a webhook, and how it does."""
        return await self._ask("GET", _one(WEBHOOKS, webhook_id), WebhookView, again=True)

    async def add_webhook(
        self,
        url: str,
        *,
        events: Sequence[str] = ("*",),
        jobs: Whose | None = None,
        description: str = "",
        enabled: bool = True,
        secret: str | None = None,
    ) -> MadeWebhook:
        """Have events sent to a URL, signed as Standard Webhooks says.

        events: names such as `job.failed`, or `job.*`. jobs: `own`, or as an admin `tenant`.
        secret: None: the answer has one, which nobody can show again.
        """
        body = _webhook(url, events, jobs, description, enabled)
        body |= _said(secret=secret)
        return await self._ask("POST", WEBHOOKS, MadeWebhook, json_of(body))

    async def set_webhook(
        self,
        webhook_id: str,
        url: str,
        *,
        events: Sequence[str] = ("*",),
        jobs: Whose | None = None,
        description: str = "",
        enabled: bool = True,
    ) -> WebhookView:
        """Replace all of a webhook but its secret."""
        body = _webhook(url, events, jobs, description, enabled)
        return await self._put(_one(WEBHOOKS, webhook_id), WebhookView, body)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Remove a webhook; what waits for it is not sent."""
        await self._request("DELETE", _one(WEBHOOKS, webhook_id))

    async def test_webhook(self, webhook_id: str) -> PingAnswer:
        """Have a `webhook.ping` sent, whatever events it asks for."""
        return await self._ask("POST", f"{_one(WEBHOOKS, webhook_id)}/test", PingAnswer)

    async def rotate_webhook_secret(
        self, webhook_id: str, *, secret: str | None = None, keep_old: Duration | None = None
    ) -> MadeSecret:
        """Give a webhook a new secret. keep_old: how long the one before signs too; None: 24 h."""
        path = f"{_one(WEBHOOKS, webhook_id)}/rotate-secret"
        return await self._rotate(path, secret, keep_old)

    async def rotate_jobs_secret(
        self, *, secret: str | None = None, keep_old: Duration | None = None
    ) -> MadeSecret:
        """Make the secret that signs what goes to URLs that jobs of the tenant name."""
        return await self._rotate("/api/v1/webhook-secret", secret, keep_old)

    async def _rotate(self, path: str, secret: str | None, keep_old: Duration | None) -> MadeSecret:
        body = json_of(_said(secret=secret, keep_old=keep_old))
        return await self._ask("POST", path, MadeSecret, body)

    async def deliveries(
        self, webhook_id: str, *, status: str | None = None, most: int | None = None
    ) -> AsyncIterator[DeliveryView]:
        """Yield what waits for a webhook, then what is over, the newest first; at most `most`."""
        query = _said(status=status)
        told = 0
        async for data in self._pages(f"{_one(WEBHOOKS, webhook_id)}/deliveries", query):
            for one in decode(data, webhook_routes.DeliveriesAnswer).deliveries:
                if told == most:
                    return
                told += 1
                yield one

    async def replay_delivery(self, webhook_id: str, delivery_id: str) -> ReplayAnswer:
        """Send a delivery again, now, under the same webhook-id."""
        path = f"{_one(WEBHOOKS, webhook_id)}/deliveries/{name_in_path(delivery_id)}/replay"
        return await self._ask("POST", path, ReplayAnswer)

    # Limits and tenants -------------------------------------------------------------------------

    async def limits(self) -> Sequence[LimitView]:
        """Return the limits on how many jobs of a type, a tenant or a tag run and start."""
        return [
            one
            async for data in self._pages(LIMITS)
            for one in decode(data, document_routes.LimitsAnswer).limits
        ]

    async def limit(self, name: str) -> LimitView:
        return await self._ask("GET", _one(LIMITS, name), LimitView, again=True)

    async def set_limit(
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
        """Set a limit for jobs of a type, a tenant or a tag: how many run at once, or start within
        a time (`starts=10, per="1m"`), or both."""
        body = _said(type=type, tenant=tenant, tag=tag, concurrency=concurrency)
        body |= {"description": description}
        rate = _said(starts=starts, per=per)
        if rate:
            body["rate"] = rate
        return await self._put(_one(LIMITS, name), LimitView, body)

    async def delete_limit(self, name: str) -> None:
        await self._request("DELETE", _one(LIMITS, name))

    async def tenants(self) -> Sequence[TenantView]:
        """Return tenants: those with settings, and those with jobs."""
        return [
            one
            async for data in self._pages(TENANTS)
            for one in decode(data, document_routes.TenantsAnswer).tenants
        ]

    async def tenant(self, name: str) -> TenantView:
        return await self._ask("GET", _one(TENANTS, name), TenantView, again=True)

    async def set_tenant(self, name: str, **settings: Any) -> TenantView:
        """Set a tenant's share of the workers and its quotas.

        settings: weight, jobs_max, bytes_max, running_max, job_max, description, as in
        `PUT /api/v1/tenants/{name}`.
        """
        return await self._put(_one(TENANTS, name), TenantView, settings)

    async def delete_tenant(self, name: str) -> None:
        """Remove a tenant's settings; its jobs and keys stay."""
        await self._request("DELETE", _one(TENANTS, name))

    # Keys ---------------------------------------------------------------------------------------

    async def keys(self) -> Sequence[KeyView]:
        """Return API keys, without their secrets."""
        return [
            one
            async for data in self._pages(KEYS)
            for one in decode(data, document_routes.KeysAnswer).keys
        ]

    async def key(self, key_id: str) -> KeyView:
        return await self._ask("GET", _one(KEYS, key_id), KeyView, again=True)

    async def create_key(self, scopes: Sequence[str], **fields: Any) -> MadeKey:
        """Make an API key; nobody can show it again. fields: as in `POST /api/v1/keys`."""
        body = {"scopes": list(scopes), **fields}
        return await self._ask("POST", KEYS, MadeKey, json_of(body))

    async def revoke_key(self, key_id: str) -> KeyView:
        """Revoke an API key: it opens nothing any more, from now on."""
        return await self._ask("DELETE", _one(KEYS, key_id), KeyView, again=True)

    # The server ---------------------------------------------------------------------------------

    async def cleanup(self, older_than: Duration) -> CleanupAnswer:
        """Delete finished jobs that ended so long ago, some thousands of them at once; unless
        `complete`, there are more."""
        body = json_of({"older_than": older_than})
        return await self._ask("POST", "/api/v1/cleanup", CleanupAnswer, body, again=True)

    async def audit(self, *, most: int | None = None) -> AsyncIterator[AuditView]:
        """Yield who changed what and when, the newest first; at most `most`."""
        told = 0
        async for data in self._pages("/api/v1/audit", by="before"):
            for entry in decode(data, document_routes.AuditAnswer).entries:
                if told == most:
                    return
                told += 1
                yield entry

    async def stats(self) -> dict[str, Any]:
        return await self._ask("GET", "/api/v1/stats", dict[str, Any], again=True)

    async def stats_history(self) -> HistoryAnswer:
        """Return what the server was at in the last hour, by columns."""
        return await self._ask("GET", "/api/v1/stats/history", HistoryAnswer, again=True)

    async def probe(self) -> None:
        """Return if the server is ready. Raises: ServerProblem, ServerUnreachable."""
        await self._request("GET", "/readyz")

    async def _put(self, path: str, shape: type[Answer], settings: dict[str, Any]) -> Answer:
        return await self._ask("PUT", path, shape, json_of(settings), again=True)


def _one(collection: str, name: str) -> str:
    return f"{collection}/{name_in_path(name)}"


def _said(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _webhook(
    url: str, events: Sequence[str], jobs: Whose | None, description: str, enabled: bool
) -> dict[str, Any]:
    return {
        "url": url,
        "events": list(events),
        "jobs": jobs,
        "description": description,
        "enabled": enabled,
    }
