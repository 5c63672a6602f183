"""Who takes acts on many jobs through their steps."""

import asyncio
from typing import Any

import msgspec
import pytest
from house import CALLER, House

from headrace.core.bulk_acts import ACTED_ON
from headrace.core.commands import Act, StartBulk, StepBulk
from headrace.core.ids import id_text
from headrace.core.job import Status
from headrace.runtime import bulk_runner
from headrace.runtime.bulk_runner import BulkRunner
from headrace.store.contract import ListQuery
from headrace.wire.documents import BulkDocument, Kind
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import JobFilter

NAME = id_text(b"\xff" * 6 + b"\x70\0\x80" + bytes(7))


async def begin(house: House, **fields: Any) -> None:
    statuses = ACTED_ON[Act.CANCEL]
    query = ListQuery(tenant=CALLER.tenant, statuses=statuses, **fields)
    value = BulkDocument(
        act="cancel",
        filter=JobFilter(),
        query=msgspec.Raw(msgspec.json.encode(query)),
        statuses=sorted(statuses),
        tenant="",
        user="",
    )
    await house.pump.ask(StartBulk(CALLER, NAME, value))


def told_of(house: House) -> BulkDocument:
    document = house.store.documents.get(Kind.BULK, NAME)
    assert document is not None
    value: BulkDocument = document.value()
    return value


async def until_done(house: House) -> None:
    async with asyncio.timeout(20):
        while told_of(house).state == "running":
            await asyncio.sleep(0.002)


async def test_what_was_under_way_at_a_start_goes_on(house: House) -> None:
    jobs = [await house.submit() for _ in range(3)]
    await begin(house)
    runner = BulkRunner(house.pump, house.store)
    runner.start()
    await until_done(house)
    await runner.stop()
    assert told_of(house).done == 3
    assert all(house.store.job(job).status is Status.CANCELLED for job in jobs)  # type: ignore[union-attr]


async def test_what_begins_later_is_taken_up(house: House) -> None:
    runner = BulkRunner(house.pump, house.store)
    runner.start()
    await house.submit()
    await asyncio.sleep(0.01)
    await begin(house)
    runner.begin(NAME)
    await until_done(house)
    await runner.stop()
    assert told_of(house).done == 1


async def test_what_nobody_has_told_of_is_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_runner, "LOOK_S", 0.01)
    runner = BulkRunner(house.pump, house.store)
    runner.start()
    await asyncio.sleep(0.03)
    await house.submit()
    await begin(house)  # and its client leaves before the answer
    await until_done(house)
    await runner.stop()
    assert told_of(house).done == 1


async def test_a_step_that_is_refused_for_the_moment_is_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_runner, "AGAIN_S", 0.005)
    await house.submit()
    await begin(house)
    ask = house.pump.ask
    refusals = [ProblemCode.OVERLOADED] * 2

    async def refusing(command: Any) -> Any:
        if isinstance(command, StepBulk) and refusals:
            raise Problem(refusals.pop(), "not now")
        return await ask(command)

    monkeypatch.setattr(house.pump, "ask", refusing)
    runner = BulkRunner(house.pump, house.store)
    runner.start()
    await until_done(house)
    await runner.stop()
    assert refusals == []
    assert told_of(house).done == 1
