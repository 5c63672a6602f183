"""Mutants of deliveries: events that nobody hears of, or that are lost."""

from contextlib import ExitStack
from typing import Any
from unittest import mock

from headrace.core import controlling, engine, polling, reporting
from headrace.core import live as live_module
from headrace.core.announcing import Hooks
from headrace.core.commands import Mark
from headrace.core.effects import DeliveriesDue, DeliveryMoved
from headrace.core.job import Status
from headrace.core.live import Live
from headrace.store import layout
from headrace.store._new_rows import NewRows
from headrace.store.store import Store
from sim.planting import lossy, planted, put, translate


@planted
def delivery_in_next_commit(stack: ExitStack) -> None:
    """What is due is written one commit after what it tells."""
    later: list[DeliveriesDue] = []

    def due(_rows: Any, effect: DeliveriesDue) -> None:
        later.append(effect)

    def stage(self: Store, effects: Any, at_ms: int) -> Any:
        told, later[:] = later[:], []
        batch = old_stage(self, effects, at_ms)
        if batch.empty:
            later[:0] = told
        else:
            for effect in told:
                old(batch.changes, effect)
        return batch

    old = translate(stack, DeliveriesDue, due)
    old_stage = put(stack, Store, "stage", stage)


@planted
def delivery_dropped_at_a_start(stack: ExitStack) -> None:
    """A start takes the first delivery for one that was made."""

    def restore(self: Store) -> Any:
        rows = self._kv.scan(layout.OUTBOX, limit=1)
        if rows:
            self._kv.write(NewRows({layout.OUTBOX: {rows[0][0]: None}}))
        return old(self)

    old = put(stack, Store, "restore", restore)


@planted
def emitted_event_without_row(stack: ExitStack) -> None:
    """What a handler emits is heard, and not kept."""
    put(stack, polling, "emitted", lambda *_: None)


@planted
def completions_tell_nobody(stack: ExitStack) -> None:
    """Jobs that a poll completes together are told to nobody."""
    put(stack, reporting, "completed", lambda *_: None)


@planted
def ends_one_by_one_tell_nobody(stack: ExitStack) -> None:
    """Jobs that fail, time out or are cancelled are told to nobody."""

    def reached(live: Live, now_ms: int, job: Any, effects: Any) -> None:
        if job.status is Status.SUSPENDED:
            old(live, now_ms, job, effects)

    old = put(stack, live_module, "reached", reached)


@planted
def others_jobs_are_told(stack: ExitStack) -> None:
    """A webhook hears of all jobs of the tenant, whoever registered it."""

    def asked(self: Hooks, tenant: str, _user: str, event: str) -> Any:
        found = []
        for user in [one.user for one in self._by_tenant.get(tenant, {}).values()]:
            found += old(self, tenant, user, event)
        return list(dict.fromkeys(found))

    old = put(stack, Hooks, "asked", asked)


@planted
def url_forgotten_by_a_redrive(stack: ExitStack) -> None:
    """A job that is run again tells the URL that it names nothing."""
    real = controlling.Job

    def job(*given: Any, **fields: Any) -> Any:
        return real(*given, **{**fields, "has_webhook": False})

    class Unpacking:
        unpack = real.unpack

        def __new__(cls, *given: Any, **fields: Any) -> Any:
            return job(*given, **fields)

    put(stack, controlling, "Job", Unpacking)


@planted
def spec_read_before_it_is_stored(stack: ExitStack) -> None:
    """What a job that ends in the batch of its submit asks for is not found."""

    def spec_head(self: Live, job_id: bytes) -> Any:
        self.fresh_heads.clear()
        return old(self, job_id)

    old = put(stack, Live, "spec_head", spec_head)


@planted
def marked_delivery_stays(stack: ExitStack) -> None:
    """A delivery that is over waits on, on disk."""

    def loses(_effect: DeliveryMoved, table: int, _key: bytes, value: bytes | None) -> bool:
        return table == layout.OUTBOX and value is None

    lossy(stack, DeliveryMoved, loses)


@planted
def delivery_marked_twice(stack: ExitStack) -> None:
    """Two marks of one batch both count."""

    def mark(live: Live, now_ms: int, command: Any, effects: Any) -> bool:
        live.fresh_moved.clear()
        return old(live, now_ms, command, effects)

    old = engine._HANDLERS[Mark]
    stack.enter_context(mock.patch.dict(engine._HANDLERS, {Mark: mark}))


@planted
def counts_forgotten_at_a_start(stack: ExitStack) -> None:
    """After a start nobody knows how many deliveries wait, so their bound is not held."""
    put(stack, Hooks, "restore", lambda *_: None)


@planted
def event_numbers_begin_anew(stack: ExitStack) -> None:
    """A start knows only the numbers that wait, and gives those of delivered events out again."""

    def number(self: Hooks, _now_ms: int) -> int:
        self.number_last += 1
        return self.number_last

    put(stack, Hooks, "number", number)
