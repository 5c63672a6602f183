"""Mutants of retention: what goes too early, and what never goes."""

from contextlib import ExitStack
from typing import Any
from unittest import mock

import msgspec

from headrace.core import documenting, engine, expiring, sweeping
from headrace.core.commands import Sweep
from headrace.core.effects import ExpiriesSet
from headrace.core.sweeping import FOREVER_MS, Keeping
from headrace.store import expiries, layout
from headrace.store.store import Store
from headrace.wire.documents import Kind
from sim.planting import planted, put, translate


@planted
def retention_from_the_submit(stack: ExitStack) -> None:
    """A job's time counts from when it was submitted."""

    def ended(self: Store, *args: Any, **more: Any) -> Any:
        found, end = old(self, *args, **more)
        return [
            one._replace(at_ms=min(one.at_ms, int.from_bytes(one.job_id[:6], "big")))
            for one in found
        ], end

    old = put(stack, Store, "ended", ended)


@planted
def jump_ahead_believed_at_once(stack: ExitStack) -> None:
    """A wall clock that jumps ahead makes jobs old."""

    def pass_time(self: Keeping, now_ms: int, wall_ms: int) -> None:
        self.now_ms, self._seen_ms = wall_ms, now_ms

    put(stack, Keeping, "pass_time", pass_time)


@planted
def type_keeps_nothing(stack: ExitStack) -> None:
    """What a type says of its jobs is not heard."""
    hooks = {Kind.QUEUE: documenting.queue_changed}
    stack.enter_context(mock.patch.dict(documenting.CHANGED, hooks, clear=True))


@planted
def swept_whatever_happens_meanwhile(stack: ExitStack) -> None:
    """A sweep deletes what the batch at hand has deleted, or is about."""
    put(stack, sweeping, "may_go", lambda *_: True)

    def ended(self: Store, *args: Any, **more: Any) -> Any:
        pending, self._pending = self._pending, type(self._pending)()
        try:
            return old(self, *args, **more)
        finally:
            self._pending = pending

    old = put(stack, Store, "ended", ended)


@planted
def passed_over_for_ever(stack: ExitStack) -> None:
    """What a sweep has once kept is never looked at again."""

    def looked_at(self: Keeping, start: bytes, stop: bytes, due_ms: int, jobs: int) -> None:
        self._add(sweeping.Stretch(start, stop, FOREVER_MS, jobs))

    put(stack, Keeping, "looked_at", looked_at)


@planted
def jobs_that_end_late_passed_over(stack: ExitStack) -> None:
    """A sweep forgets that live jobs among those it passes over may end."""

    def looked_at(self: Keeping, start: bytes, stop: bytes, due_ms: int, jobs: int) -> None:
        self._add(sweeping.Stretch(start, stop, due_ms, jobs))

    put(stack, Keeping, "looked_at", looked_at)


@planted
def first_part_is_all(stack: ExitStack) -> None:
    """A sweep ends with its first part."""

    def sweep(*args: Any) -> Any:
        return msgspec.structs.replace(old(*args), next_id=None)

    old = engine._HANDLERS[Sweep]
    stack.enter_context(mock.patch.dict(engine._HANDLERS, {Sweep: sweep}))


@planted
def own_time_is_the_servers(stack: ExitStack) -> None:
    """What a job says of how long it is kept is not heard."""
    put(stack, sweeping, "has_retention", lambda _record: False)


@planted
def own_time_of_completions_forgotten(stack: ExitStack) -> None:
    """Jobs that complete as most do are never over, if they said when."""
    put(stack, expiring, "jobs_completed", lambda *_: None)


@planted
def own_time_not_stored(stack: ExitStack) -> None:
    """When a job is over is in no commit."""
    translate(stack, ExpiriesSet, lambda *_: None)


@planted
def own_time_of_an_earlier_end(stack: ExitStack) -> None:
    """A job that ran again goes when the end before would have been over."""
    put(stack, expiries, "drop", lambda *_: None)

    def record_of(read: expiries.ReadRow, job_id: bytes, _at_ms: int) -> bytes:
        done = read(layout.DONE, job_id)
        return b"" if done is None else layout.ended_unpack(done)[1]

    put(stack, expiries, "record_of", record_of)


@planted
def never_is_at_once(stack: ExitStack) -> None:
    """A job that is to stay for ever is over with its end."""

    def expires(finished_at_ms: int, retention: Any) -> int | None:
        return finished_at_ms if retention == "never" else old(finished_at_ms, retention)

    old = put(stack, expiring, "expires_ms", expires)
    put(stack, expiries, "expires_ms", expires)
