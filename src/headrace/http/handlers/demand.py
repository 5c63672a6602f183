"""Demand for workers, in the words of the wire."""

from typing import Final

from aiohttp import web

from headrace.core.commands import FindDemand
from headrace.core.demand import ClassDemand, DemandSeen, Fit, Vector
from headrace.http.encode import answer
from headrace.http.identity import caller
from headrace.http.queries import number, one
from headrace.http.site import site_of
from headrace.http.views import labels_view
from headrace.wire import limits
from headrace.wire.durations import seconds
from headrace.wire.operator_routes import (
    ClassDemandView,
    DemandAnswer,
    DemandSum,
    FitWord,
    QueueDemandView,
)

_WORDS: Final[dict[Fit, FitWord]] = {
    Fit.BUSY: "busy",
    Fit.NEVER: "never",
    Fit.UNKNOWN: "unknown",
    Fit.HELD_BACK: "held_back",
}
WASM: Final = "wasm"


async def demand(request: web.Request) -> web.Response:
    limit = number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT
    seen: DemandSeen = await site_of(request).pump.ask(
        FindDemand(caller(request), one(request, "queue"), limit)
    )
    return answer(
        request,
        DemandAnswer(
            value=seen.wanted,
            busy=_sum(seen.sums[Fit.BUSY]),
            never=_sum(seen.sums[Fit.NEVER]),
            unknown=_sum(seen.sums[Fit.UNKNOWN]),
            held_back=_sum(seen.sums[Fit.HELD_BACK]),
            queues=[
                QueueDemandView(
                    queue=queue.queue,
                    ready=queue.ready,
                    running=queue.running,
                    capacity=queue.capacity,
                    paused=queue.paused,
                    wanted=queue.wanted,
                )
                for queue in seen.queues[: limits.LIST_LIMIT_MAX]
            ],
            classes=[_class(one) for one in seen.classes],
            classes_count=seen.classes_count,
            truncated=seen.truncated,
        ),
    )


def _sum(vector: Vector) -> DemandSum:
    return DemandSum(
        jobs=vector.jobs,
        cpu_cores=vector.cpu_milli / 1000,
        memory_mb=vector.memory_mb,
        storage_mb=vector.storage_mb,
        gpu_count=vector.gpu_milli / 1000,
    )


def _class(found: ClassDemand) -> ClassDemandView:
    need = found.requirements
    return ClassDemandView(
        queue=need.queue,
        type=need.kind or WASM,
        tenant_id=need.tenant or None,
        cpu_cores=need.amounts.cpu_milli / 1000,
        memory_mb=need.amounts.memory_mb,
        storage_mb=need.amounts.storage_mb,
        gpu_count=need.amounts.gpu_milli / 1000,
        gpu_type=sorted(need.gpu_models),
        labels=labels_view(need.labels),
        ready=found.ready,
        first_wait=seconds(found.first_wait_ms),
        fit=_WORDS[found.fit],
    )
