"""Workers as operators see them, and what they have them told."""

import base64
import binascii
from typing import Final, Literal

from aiohttp import web
from msgspec.structs import asdict

from headrace.core.commands import (
    FindWorker,
    FindWorkers,
    LeaseSeen,
    OrderWorker,
    WorkerSeen,
    WorkersSeen,
)
from headrace.core.ids import id_text
from headrace.core.resources import Amounts, Profile
from headrace.http.encode import answer
from headrace.http.identity import caller
from headrace.http.queries import number, one
from headrace.http.site import site_of
from headrace.http.views import labels_view
from headrace.wire import limits
from headrace.wire.durations import rfc3339
from headrace.wire.operator_routes import (
    WorkerDetail,
    WorkerLeaseView,
    WorkersAnswer,
    WorkerView,
)
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import Resources, Serve

BEGIN: Final = ("", "")


async def workers_list(request: web.Request) -> web.Response:
    limit = number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT
    cursor = one(request, "cursor")
    after = BEGIN if cursor is None else _after(cursor)
    found: WorkersSeen = await site_of(request).pump.ask(FindWorkers(caller(request), after, limit))
    views = [worker_view(seen) for seen in found.workers]
    following = _cursor(found.workers[-1]) if found.more else None
    return answer(request, WorkersAnswer(workers=views, count=len(views), next=following))


async def worker_get(request: web.Request) -> web.Response:
    found: WorkerSeen = await site_of(request).pump.ask(
        FindWorker(caller(request), one(request, "tenant"), request.match_info["name"])
    )
    leases = [_lease(lease) for lease in found.leases]
    return answer(request, WorkerDetail(**asdict(worker_view(found)), leases=leases))


async def worker_drain(request: web.Request) -> web.Response:
    return await _order(request, "drain")


async def worker_quit(request: web.Request) -> web.Response:
    return await _order(request, "quit")


async def worker_undrain(request: web.Request) -> web.Response:
    return await _order(request, "")


async def _order(request: web.Request, order: str) -> web.Response:
    site = site_of(request)
    found: WorkerSeen = await site.pump.ask(
        OrderWorker(caller(request), one(request, "tenant"), request.match_info["name"], order)
    )
    return answer(request, worker_view(found), headers=site.committed())


# Views ------------------------------------------------------------------------------------------


def worker_view(seen: WorkerSeen) -> WorkerView:
    profile = seen.profile
    return WorkerView(
        name=seen.worker,
        tenant_id=seen.tenant or None,
        status=_status(seen),
        order=seen.order or None,  # type: ignore[arg-type]
        ordered_at=rfc3339(seen.ordered_at_ms),
        ordered_by=seen.ordered_by or None,
        serve=None if profile is None else _serve(profile),
        labels=None if profile is None else labels_view(profile.labels),
        total=None if profile is None else _resources(seen.total, profile),
        free=None if profile is None or seen.free is None else _resources(seen.free, profile),
        running=seen.running,
        last_seen_at=rfc3339(seen.seen_at_ms),
        session=seen.session or None,
        key_id=seen.key_id or None,
    )


def _status(seen: WorkerSeen) -> Literal["active", "draining", "drained", "silent"]:
    if seen.profile is None:
        return "silent"
    if not seen.order:
        return "active"
    return "draining" if seen.running else "drained"


def _serve(profile: Profile) -> Serve:
    return Serve(
        types=None if profile.types is None else sorted(profile.types),
        queues=None if profile.queues is None else sorted(profile.queues),
        wasm=profile.wasm,
    )


def _resources(amounts: Amounts, profile: Profile) -> Resources:
    return Resources(
        cpu_cores=amounts.cpu_milli / 1000,
        memory_mb=amounts.memory_mb,
        storage_mb=amounts.storage_mb,
        gpu_count=amounts.gpu_milli / 1000,
        gpu_type=profile.gpu_model or None,
    )


def _lease(lease: LeaseSeen) -> WorkerLeaseView:
    return WorkerLeaseView(
        job_id=id_text(lease.job_id),
        attempt=lease.attempt,
        progress=lease.progress,
        progress_details=lease.details or None,
        started_at=rfc3339(lease.started_at_ms),
        deadline=rfc3339(lease.deadline_at_ms),
    )


# Cursors ----------------------------------------------------------------------------------------


def _cursor(seen: WorkerSeen) -> str:
    return base64.urlsafe_b64encode(f"{seen.tenant}\0{seen.worker}".encode()).decode()


def _after(cursor: str) -> tuple[str, str]:
    """Return tenant and name behind which to go on; it opens nothing that one could not list."""
    try:
        tenant, _, worker = (
            base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition("\0")
        )
    except (binascii.Error, ValueError):
        raise Problem(ProblemCode.CURSOR_INVALID, "send next of the page before") from None
    return tenant, worker
