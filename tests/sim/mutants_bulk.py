"""Mutants of acts on many jobs."""

from contextlib import ExitStack
from typing import Any

import msgspec

from headrace.core import bulk_acts
from headrace.core.commands import Caller, Control
from headrace.core.job import Status
from headrace.core.live import Live
from headrace.runtime import bulk_runner
from sim.planting import planted, put


@planted
def bulk_reaches_later_jobs(stack: ExitStack) -> None:
    """Nobody looks whether a job was submitted before the act."""
    for module in (bulk_acts, bulk_runner):
        put(stack, module, "id_parse", lambda _text: b"\xff" * 16)


@planted
def bulk_forgets_its_place(stack: ExitStack) -> None:
    """A step is stored without the place that it came to."""

    def body_of(value: Any) -> bytes:
        return old(msgspec.structs.replace(value, place="") if hasattr(value, "place") else value)

    old = put(stack, bulk_acts, "body_of", body_of)


@planted
def bulk_is_over_after_a_restart(stack: ExitStack) -> None:
    """What was under way at a start takes one step more, and calls that the last."""

    async def run(self: Any) -> None:
        self._hurried = True
        await old(self)

    def step_of(name: str, step: int, job_ids: list[bytes], place: bytes, *rest: Any) -> Any:
        if step:
            return old_step(name, step, [], place, rest[0], rest[1], True)
        return old_step(name, step, job_ids, place, *rest)

    old = put(stack, bulk_runner.BulkRunner, "run", run)
    old_step = put(stack, bulk_runner, "StepBulk", step_of)


@planted
def bulk_crosses_tenants(stack: ExitStack) -> None:
    """The act is done in the name of each job's owner, whoever began it."""

    def decode(data: Any) -> Any:
        return msgspec.structs.replace(old_decode(data), tenant=None, owner_id=None)

    def control(live: Live, now_ms: int, command: Control, effects: list[Any]) -> Any:
        job = bulk_acts._job(live, command.job_id)
        tenant, user = live.owner_names[job.owner_id] if job is not None else ("", "")
        command.caller = Caller(tenant, user)
        return old(live, now_ms, command, effects)

    old_decode = put(stack, bulk_runner, "_query_decode", decode)
    old = put(stack, bulk_acts, "control", control)


@planted
def bulk_does_not_look_again(stack: ExitStack) -> None:
    """What a job was when it was found counts, not what it is when its turn comes."""

    def act(live: Live, now_ms: int, value: Any, caller: Caller, _: Any, *rest: Any) -> str:
        return str(old(live, now_ms, value, caller, frozenset(Status), *rest))

    old = put(stack, bulk_acts, "_act", act)
