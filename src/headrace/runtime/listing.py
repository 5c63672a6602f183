"""Lists of jobs as a running node makes them: with what the engine knows, and in turns."""

import asyncio
from typing import Final

from msgspec.structs import replace

from headrace.core.job import TERMINAL
from headrace.runtime.pump import Pump
from headrace.store import Store
from headrace.store.contract import ListQuery, Page

NOBODY: Final = -1
"""An owner id that no job has."""


async def page_of(pump: Pump, store: Store, query: ListQuery) -> Page:
    """Return a page of jobs; others have their turn about every ms. Raises: `OrderTooWide`."""
    empty = frozenset[object]()
    if query.owner_id == NOBODY or query.types == empty or query.statuses == empty:
        return Page([], None, 0)
    if query.statuses is not None and not query.retrying_only and query.statuses - TERMINAL:
        query = replace(query, live_ids=pump.live_ids(query.statuses - TERMINAL))
    for page in store.list_steps(query):
        if page is not None:
            return page
        await asyncio.sleep(0)
    raise AssertionError("a list ends with a page")
