"""Planted defects of jobs that wait for others, and for modules that were announced."""

from contextlib import ExitStack
from typing import Any

import msgspec

from headrace.core import awaiting, controlling, submitting
from headrace.core.awaiting import Awaiting, Ended
from headrace.core.effects import Effect, Waits, WaitsDropped, WaitsStored
from headrace.core.job import Status
from headrace.core.live import Live
from sim.planting import planted, put, translate


@planted
def dependencies_ignored(stack: ExitStack) -> None:
    """A job that is to run after others is queued with them."""
    put(stack, submitting, "submit_waits", lambda *_: Waits([]))


@planted
def any_end_is_a_good_end(stack: ExitStack) -> None:
    """A job runs although one that it runs after failed."""

    def tell(
        live: Live, now_ms: int, job_id: bytes, waits: Waits, ended: Ended, effects: list[Effect]
    ) -> None:
        good = msgspec.structs.replace(ended, status=Status.COMPLETED)
        old(live, now_ms, job_id, waits, good, effects)

    old = put(stack, awaiting, "tell", tell)


@planted
def one_of_many_is_enough(stack: ExitStack) -> None:
    """A job that is to run after several runs after the first of them."""

    def tell(
        live: Live, now_ms: int, job_id: bytes, waits: Waits, ended: Ended, effects: list[Effect]
    ) -> None:
        tenant, _ = live.owner_names[live.load(live.jobs.find(job_id)).owner_id]
        live.awaiting.drop(job_id, tenant)
        alone = Waits([ended.key], waits.any_end, waits.entry_point)
        live.awaiting.waits[job_id] = alone
        live.awaiting.announced.update([tenant] if alone.module() else [])
        old(live, now_ms, job_id, alone, ended, effects)

    old = put(stack, awaiting, "tell", tell)


@planted
def waits_are_not_stored(stack: ExitStack) -> None:
    """What a job waits for is in memory alone."""
    translate(stack, WaitsStored, lambda _rows, _effect: None)


@planted
def waits_stay_on_disk(stack: ExitStack) -> None:
    """What a job waited for stays stored when it has come."""
    translate(stack, WaitsDropped, lambda _rows, _effect: None)


@planted
def restart_forgets_what_is_waited_for(stack: ExitStack) -> None:
    """At a start nobody knows what the jobs that wait are to run after."""

    def restore_waits(self: Live, initializing: list[bytes], _stored: Any) -> None:
        old(self, initializing, {})

    old = put(stack, Live, "restore_waits", restore_waits)


@planted
def a_skip_is_no_end(stack: ExitStack) -> None:
    """Those that run after a skipped job wait for ever."""

    def end(self: Awaiting, key: bytes, status: Status, entry_points: Any = None) -> None:
        if status is not Status.SKIPPED:
            old(self, key, status, entry_points)

    old = put(stack, Awaiting, "end", end)


@planted
def a_module_comes_unnoticed(stack: ExitStack) -> None:
    """Jobs wait on for a module that has been stored."""

    def end(self: Awaiting, key: bytes, status: Status, entry_points: Any = None) -> None:
        if len(key) == 16:
            old(self, key, status, entry_points)

    old = put(stack, Awaiting, "end", end)


@planted
def redrive_forgets_dependencies(stack: ExitStack) -> None:
    """A job that was skipped runs when it is retried, whatever it was to run after."""
    put(stack, controlling, "redrive_waits", lambda *_, **__: Waits([]))
