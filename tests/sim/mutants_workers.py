"""Mutants of what workers are told, and of what operators see of them."""

from contextlib import ExitStack
from typing import Any
from unittest import mock

from headrace.core import documenting, engine, fleet, polling, reporting
from headrace.core import live as live_module
from headrace.core.commands import FindWorkers
from headrace.wire.documents import Kind
from sim.planting import planted, put


@planted
def drain_forgotten_at_a_start(stack: ExitStack) -> None:
    """After a restart a drained worker gets jobs."""

    def restore(live: Any, found: Any) -> None:
        changed = {k: v for k, v in documenting.CHANGED.items() if k is not Kind.WORKER}
        with mock.patch.dict(documenting.CHANGED, changed, clear=True):
            old(live, found)

    old = put(stack, live_module, "restore_documents", restore)


@planted
def drained_poll_is_served_when_parked(stack: ExitStack) -> None:
    """A drained worker's poll waits among those that ask for jobs."""
    put(stack, polling, "replace", lambda value, **_: value)


@planted
def drain_wakes_nobody(stack: ExitStack) -> None:
    """A parked poll of a worker that is told to drain stays, and takes the next job."""
    put(stack, fleet, "call_home", lambda *_: None)


@planted
def drained_worker_is_not_told(stack: ExitStack) -> None:
    put(stack, polling, "order_to", lambda *_, **__: [])


@planted
def order_to_anothers_worker(stack: ExitStack) -> None:
    """A tenant's admin may tell any worker."""
    put(stack, fleet, "may_see", lambda *_: True)


@planted
def reports_for_any_tenant(stack: ExitStack) -> None:
    """A tenant's worker may end what another's has, one by one."""

    def report(live: Any, now_ms: int, told: Any, effects: list[Any], _tenant: str) -> Any:
        return old(live, now_ms, told, effects)

    old = put(stack, reporting, "report", report)


@planted
def completions_for_any_tenant(stack: ExitStack) -> None:
    """The many at once are not looked at, whose they are."""

    def complete(live: Any, now_ms: int, told: Any, effects: list[Any], acks: Any, _: str) -> None:
        old(live, now_ms, told, effects, acks)

    old = put(stack, reporting, "complete", complete)


@planted
def heartbeats_for_any_tenant(stack: ExitStack) -> None:
    """A tenant's worker keeps the leases of another's alive, and hears of their jobs."""
    put(stack, polling, "lease_named", lambda live, token, _tenant: live.leases.named(token))


@planted
def lists_show_every_tenant(stack: ExitStack) -> None:
    def find(live: Any, now_ms: int, command: FindWorkers, effects: list[Any]) -> Any:
        with mock.patch.object(fleet, "may_see", return_value=True):
            return old(live, now_ms, command, effects)

    old = fleet.find_workers
    stack.enter_context(mock.patch.dict(engine._HANDLERS, {FindWorkers: find}))
