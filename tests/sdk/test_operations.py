"""What operators do with the client, against a real server."""

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from headrace.http.app import make_app
from headrace.runtime.config import Config
from headrace.runtime.node import Node
from headrace.sdk import AsyncClient, ServerProblem, UsageError
from headrace.wire.routes import ROUTES

METHODS = {
    # route: method of the client
    "jobs_submit": "submit",
    "jobs_list": "list",
    "job_get": "get",
    "job_delete": "delete",
    "job_cancel": "cancel",
    "job_suspend": "suspend",
    "job_resume": "resume",
    "job_retry": "retry",
    "job_logs": "logs",
    "job_progress": "progress",
    "job_attempts": "attempts",
    "job_events": "events",
    "events": "events",
    "job_explain": "explain",
    "jobs_bulk": "start_bulk",
    "bulks_list": "bulks",
    "bulk_get": "bulk",
    "bulk_cancel": "cancel_bulk",
    "module_put": "put_module",
    "demand": "demand",
    "workers_list": "workers",
    "worker_get": "worker",
    "worker_drain": "drain_worker",
    "worker_undrain": "undrain_worker",
    "worker_quit": "quit_worker",
    "queues_list": "queues",
    "queue_get": "queue",
    "queue_put": "set_queue",
    "queue_delete": "delete_queue",
    "queue_pause": "pause_queue",
    "queue_resume": "resume_queue",
    "job_types_list": "job_types",
    "job_type_get": "job_type",
    "job_type_put": "set_job_type",
    "job_type_delete": "delete_job_type",
    "job_groups_list": "job_groups",
    "job_group_get": "job_group",
    "job_group_put": "set_job_group",
    "job_group_delete": "delete_job_group",
    "tenants_list": "tenants",
    "tenant_get": "tenant",
    "tenant_put": "set_tenant",
    "tenant_delete": "delete_tenant",
    "limits_list": "limits",
    "limit_get": "limit",
    "limit_put": "set_limit",
    "limit_delete": "delete_limit",
    "keys_list": "keys",
    "key_create": "create_key",
    "key_get": "key",
    "key_revoke": "revoke_key",
    "cleanup": "cleanup",
    "audit_list": "audit",
    "webhooks_list": "webhooks",
    "webhook_create": "add_webhook",
    "webhook_get": "webhook",
    "webhook_put": "set_webhook",
    "webhook_delete": "delete_webhook",
    "webhook_test": "test_webhook",
    "webhook_rotate": "rotate_webhook_secret",
    "deliveries_list": "deliveries",
    "delivery_replay": "replay_delivery",
    "jobs_secret": "rotate_jobs_secret",
    "stats": "stats",
    "stats_history": "stats_history",
    "readyz": "probe",
}
OTHERS = {
    # of workers
    *("work_poll", "lease_complete", "lease_fail", "lease_release", "lease_progress"),
    *("module_get", "module_head"),
    # of balancers, scrapers and people
    *(
        "health",
        "health_head",
        "livez",
        "livez_head",
        "readyz_head",
        "metrics",
        "openapi",
        "docs",
        "docs_page",
    ),
    # of browsers
    *("home", "ui", "ui_folder", "ui_file", "session_get", "session_begin", "session_end"),
    "stats_events",  # `stats_history` has it
    "job_result",  # `get` has it
}


class Rig:
    """A node behind a socket, a client of it, and a receiver of webhooks."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def open(self) -> None:
        config = Config(
            port=0,
            disk_reserve_mb=0,
            webhook_http=True,
            webhook_ports=[0],
            webhook_allow_networks=["127.0.0.0/8"],
        )
        self.node = Node(config)
        await self.node.start()
        self._server = web.AppRunner(make_app(self.node), shutdown_timeout=1)
        self._receiver = web.AppRunner(web.Application(), shutdown_timeout=0)
        self._receiver.app.router.add_post("/hook", self._hook)
        ports = []
        for runner in (self._server, self._receiver):
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            ports.append(runner.addresses[0][1])
        self.hook_url = f"http://127.0.0.1:{ports[1]}/hook"
        self.client = AsyncClient(f"http://127.0.0.1:{ports[0]}")

    async def close(self) -> None:
        await self.client.close()
        await self._server.cleanup()
        await self._receiver.cleanup()
        await self.node.stop()

    async def _hook(self, request: web.Request) -> web.Response:
        self.got.append((await request.json())["type"])
        return web.Response(status=204)

    async def poll(self, **fields: Any) -> Any:
        """Poll as a worker that takes anything."""
        return await self.client.call("POST", "/api/v1/work/poll", {"worker": "w1", **fields})


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    await rig.open()
    yield rig
    await rig.close()


def test_every_route_for_clients_and_operators_has_its_method() -> None:
    routes = {route.name for route in ROUTES if not route.name.startswith("root_")}
    assert METHODS.keys() | OTHERS == routes
    assert not METHODS.keys() & OTHERS
    methods = {name for name, _ in inspect.getmembers(AsyncClient, inspect.isfunction)}
    assert set(METHODS.values()) <= methods


async def test_many_jobs_are_counted_cancelled_and_deleted(rig: Rig) -> None:
    client = rig.client
    await client.submit_many([{"type": "a", "tags": ["x"]}] * 30 + [{"type": "b"}] * 5)
    seen = await client.start_bulk("cancel", dry_run=True, tag="x")
    seen = await client.wait_bulk(seen.id, timeout_s=20)
    assert (seen.state, seen.matched, seen.dry_run) == ("completed", 30, True)
    assert len((await client.list(status="queued")).jobs) == 35
    done = await client.wait_bulk((await client.start_bulk("cancel", type=["a"])).id)
    assert (done.done, done.skipped) == (30, 0)
    assert [bulk.id for bulk in await client.bulks()] == [seen.id, done.id]
    assert (await client.cancel_bulk(done.id)).state == "completed", "it is over"
    assert {job.type for job in (await client.list(status="queued", name_prefix="")).jobs} == {"b"}
    assert len((await client.list(type=("a", "b"), status="cancelled", limit=50)).jobs) == 30
    with pytest.raises(ServerProblem, match="colour"):
        await client.start_bulk("cancel", colour="red")


async def test_limits_and_tenants_are_set_shown_and_removed(rig: Rig) -> None:
    client = rig.client
    made = await client.set_limit("mail", type="mail", concurrency=2, starts=10, per="1m")
    assert (made.concurrency, made.rate and made.rate.starts, made.rate and made.rate.per) == (
        2,
        10,
        60,
    )
    assert [one.name for one in await client.limits()] == ["mail"]
    assert (await client.limit("mail")).type == "mail"
    await client.delete_limit("mail")
    assert await client.limits() == []
    tenant = await client.set_tenant("acme", weight=3, jobs_max=10, bytes_max=9_000)
    assert (tenant.weight, tenant.jobs_max, tenant.bytes_max, tenant.bytes) == (3, 10, 9_000, 0)
    assert "acme" in [one.name for one in await client.tenants()]
    assert (await client.tenant("acme")).weight == 3
    await client.delete_tenant("acme")
    with pytest.raises(UsageError):
        await client.tenant("..")


async def test_queues_types_and_groups_are_set_shown_and_removed(rig: Rig) -> None:
    client = rig.client
    queue = await client.set_queue("mail", capacity=4, backlog_max=7, description="out")
    assert (queue.capacity, queue.backlog_max) == (4, 7)
    assert (await client.pause_queue("mail")).paused
    assert (await client.queue("mail")).paused
    assert not (await client.resume_queue("mail")).paused
    await client.set_job_group("post", queue="mail")
    await client.set_job_type("letter", group="post", timeout="5m")
    assert (await client.job_type("letter")).queue == "mail"
    assert [one.id for one in await client.job_groups()] == ["post"]
    assert (await client.job_group("post")).queue == "mail"
    await client.delete_job_type("letter")
    await client.delete_job_group("post")
    await client.delete_queue("mail")
    assert await client.job_types() == []


async def test_workers_are_shown_and_told_and_demand_says_how_many_are_wanted(rig: Rig) -> None:
    client = rig.client
    await client.submit_many([{"type": "a"}] * 3)
    assert (await client.demand()).classes[0].ready == 3
    await rig.poll(max_jobs=1, free={"cpu_cores": 4})
    (one,) = await client.workers()
    assert (one.name, one.running, one.status) == ("w1", 1, "active")
    assert len((await client.worker("w1")).leases) == 1
    assert (await client.drain_worker("w1")).status == "draining"
    assert (await client.drain_worker("w1")).order == "drain"
    assert (await client.undrain_worker("w1")).status == "active"
    assert (await client.quit_worker("w1")).order == "quit"
    assert (await client.demand(queue="default", limit=1)).queues[0].queue == "default"


async def test_progress_is_told_with_its_history(rig: Rig) -> None:
    client = rig.client
    job_id = (await client.submit("a")).job_id
    (job,) = (await rig.poll(free={"cpu_cores": 4}))["jobs"]
    news = {"started": True, "progress": 0.25, "details": "a quarter"}
    await client.call("POST", f"/api/v1/leases/{job['lease']}/progress", news)
    told = await client.progress(job_id)
    assert (told.progress, told.details) == (0.25, "a quarter")
    assert [row.progress for row in told.history] == [0.25]


async def test_attempts_are_told_with_how_they_ended(rig: Rig) -> None:
    client = rig.client
    job_id = (await client.submit("a", retry_delay=0)).job_id
    assert list(await client.attempts(job_id)) == []
    for outcome in ("fail", "complete"):
        (job,) = (await rig.poll(free={"cpu_cores": 4}, wait="9s"))["jobs"]
        told = {"error": "e"} if outcome == "fail" else {}
        await client.call("POST", f"/api/v1/leases/{job['lease']}/{outcome}", told)
    told = await client.attempts(job_id)
    assert [(one.attempt, one.outcome, one.worker, one.error) for one in told] == [
        (1, "retry", "w1", "e"),
        (2, "completed", "w1", None),
    ]


async def test_webhooks_are_registered_tested_replayed_and_removed(rig: Rig) -> None:
    client = rig.client
    made = await client.add_webhook(rig.hook_url, events=["job.completed"], description="d")
    assert made.secret is not None
    assert (await client.test_webhook(made.id)).event == "webhook.ping"
    async with asyncio.timeout(20):
        while not [row async for row in client.deliveries(made.id, status="delivered")]:
            await asyncio.sleep(0.02)
        assert rig.got == ["webhook.ping"]
        (row,) = [row async for row in client.deliveries(made.id, most=1)]
        assert (await client.replay_delivery(made.id, row.id)).id == row.id
        while len(rig.got) < 2:
            await asyncio.sleep(0.02)
    secret = await client.rotate_webhook_secret(made.id, keep_old="1h")
    assert secret.secret not in (None, made.secret)
    assert (await client.rotate_jobs_secret()).secret is not None
    changed = await client.set_webhook(made.id, rig.hook_url, events=["job.*"], enabled=False)
    assert (changed.events, changed.enabled) == (["job.*"], False)
    assert [one.id for one in await client.webhooks()] == [made.id]
    await client.delete_webhook(made.id)
    with pytest.raises(ServerProblem):
        await client.webhook(made.id)


async def test_keys_are_made_shown_and_revoked_and_the_audit_log_says_so(rig: Rig) -> None:
    root = await rig.client.create_key(["admin"], tenant="*", name="root")
    async with AsyncClient(rig.client.url, api_key=root.key) as client:
        made = await client.create_key(["submit", "read"], tenant="acme", user="ann", name="ci")
        assert (await client.key(made.id)).status == "live"
        assert (await client.revoke_key(made.id)).status == "revoked"
        assert (await client.revoke_key(made.id)).status == "revoked", "a repeat does no harm"
        assert {one.id for one in await client.keys()} == {root.id, made.id}
        entries = [entry async for entry in client.audit()]
        assert made.id in [entry.name for entry in entries]
        assert [entry async for entry in client.audit(most=1)] == entries[:1]


async def test_finished_jobs_are_cleaned_up(rig: Rig) -> None:
    client = rig.client
    job_id = (await client.submit("a")).job_id
    await client.cancel(job_id)
    assert (await client.cleanup("1h")).deleted == 0
    await asyncio.sleep(0.02)
    done = await client.cleanup(0.01)
    assert (done.deleted, done.complete) == (1, True)


async def test_events_of_all_jobs_go_on_behind_the_end_of_one(rig: Rig) -> None:
    client = rig.client
    seen: list[tuple[str, Any]] = []

    async def listen() -> None:
        async for event in client.events(type="a"):
            seen.append((event.name, event.data.get("status")))

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(20):
        while len(seen) < 4:
            await client.submit("b")
            await client.cancel((await client.submit("a")).job_id)
            await asyncio.sleep(0.05)
    listening.cancel()
    assert {status for _, status in seen} == {"queued", "cancelled"}


async def test_the_last_hour_is_told_by_columns(rig: Rig) -> None:
    told = await rig.client.stats_history()
    assert told.every == 2
    assert {"at", "submitted", "wait_p99"} < told.columns.keys()


async def test_what_is_no_name_is_not_sent(rig: Rig) -> None:
    with pytest.raises(UsageError):
        await rig.client.queue("")
    with pytest.raises(ServerProblem):
        await rig.client.queue("a/../b")
