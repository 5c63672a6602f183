"""Lists as a node makes them."""

import asyncio

import pytest
from house import House

from headrace.core.job import Status
from headrace.runtime import listing
from headrace.runtime.listing import NOBODY, page_of
from headrace.store.contract import ListQuery


@pytest.mark.parametrize(("turn_s_max", "turns_min", "turns_max"), [(0, 3, 100), (60, 0, 0)])
async def test_others_have_their_turn_when_that_of_a_list_has_lasted(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    turn_s_max: float,
    turns_min: int,
    turns_max: int,
) -> None:
    monkeypatch.setattr(listing, "TURN_S_MAX", turn_s_max)
    await asyncio.gather(*(house.submit() for _ in range(600)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    page = await page_of(house.pump, house.store, ListQuery(limit=1_000))
    other.cancel()
    assert len(page.jobs) == 600
    assert turns_min <= turns <= turns_max


async def test_what_the_engine_has_none_of_is_not_looked_for(house: House) -> None:
    await asyncio.gather(*(house.submit() for _ in range(40)))
    query = ListQuery(statuses=frozenset({Status.SUSPENDED, Status.SCHEDULED, Status.LOCKED}))
    page = await page_of(house.pump, house.store, query)
    assert (page.jobs, page.next, page.examined) == ([], None, 0)
    await house.poll()
    assert len((await page_of(house.pump, house.store, query)).jobs) == 1


async def test_a_question_that_nothing_can_answer_costs_nothing(house: House) -> None:
    await house.submit()
    for query in (
        ListQuery(owner_id=NOBODY),
        ListQuery(types=frozenset()),
        ListQuery(statuses=frozenset()),
    ):
        assert (await page_of(house.pump, house.store, query)).examined == 0
