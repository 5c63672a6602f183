"""Lists of jobs as a running node makes them: with what the engine knows, and in turns."""

import asyncio
from time import perf_counter
from typing import Final

from msgspec.structs import replace

from headrace.core.job import TERMINAL
from headrace.runtime.pump import Pump
from headrace.store import Store
from headrace.store.contract import ListQuery, Page

NOBODY: Final = -1
"""An owner id that no job has."""
TURN_S_MAX: Final = 0.01
"""The loop of a busy server comes round in about as much: a list that gave others their turn more
often would wait longer than it works."""


class Turn:
    """What one request may do at once; others have their turn when it has lasted."""

    def __init__(self) -> None:
        self._ends_s = perf_counter() + TURN_S_MAX

    async def pause_if_over(self) -> None:
        if perf_counter() >= self._ends_s:
            await asyncio.sleep(0)
            self._ends_s = perf_counter() + TURN_S_MAX


async def page_of(pump: Pump, store: Store, query: ListQuery, turn: Turn | None = None) -> Page:
    """Return a page of jobs. Raises: `OrderTooWide`."""
    empty = frozenset[object]()
    if query.owner_id == NOBODY or query.types == empty or query.statuses == empty:
        return Page([], None, 0)
    if query.statuses is not None and not query.retrying_only and query.statuses - TERMINAL:
        query = replace(query, live_ids=pump.live_ids(query.statuses - TERMINAL))
    turn = turn or Turn()
    for page in store.list_steps(query):
        if page is not None:
            return page
        await turn.pause_if_over()
    raise AssertionError("a list ends with a page")
