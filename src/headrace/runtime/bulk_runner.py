"""Takes acts on many jobs through their steps: a page of the list, a commit, a pause, and again.

All that counts is in their documents (`core.bulk_acts`): what is here may end at any moment, and
goes on from them at the next start.
"""

import asyncio
import logging
from typing import Final

import msgspec
from msgspec.structs import replace

from headrace.core.commands import StepBulk
from headrace.core.ids import id_parse
from headrace.runtime.listing import page_of
from headrace.runtime.pump import Pump
from headrace.store import Store
from headrace.store.contract import ListQuery, StoreError
from headrace.wire.documents import BulkDocument, Kind
from headrace.wire.problems import Problem, ProblemCode

log = logging.getLogger(__name__)

STEP_JOBS: Final = 100
"""Jobs of one commit: 1 to 2 ms of the loop."""
PAUSE_S: Final = 0.004
"""Between two steps at least; the slower a step was, the longer."""
PAUSE_SHARE: Final = 1.0
AGAIN_S: Final = 1.0
"""Before a step is tried again that was refused for the moment."""
LOOK_S: Final = 1.0
"""What was begun, and nobody has told here, is found after at most this long."""
_ENDS: Final = frozenset({ProblemCode.SHUTTING_DOWN, ProblemCode.OUTCOME_UNKNOWN})

_query_decode = msgspec.json.Decoder(ListQuery).decode


class BulkRunner:
    """All acts on many jobs of one node, in turns."""

    def __init__(self, pump: Pump, store: Store) -> None:
        self._pump = pump
        self._store = store
        self._running: dict[str, None] = {}
        """Names of those under way, in the order of their turns."""
        self._seen = -1
        """Which changes of the documents have been looked at."""
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def begin(self, name: str) -> None:
        """Take one that is committed through its steps."""
        self._running[name] = None
        self._begun.set()

    async def run(self) -> None:
        """Go on with what is under way, for ever; or until the server stops."""
        loop = asyncio.get_running_loop()
        looked_s = -LOOK_S
        while True:
            if loop.time() >= looked_s + LOOK_S:  # who began one may have left before its answer
                looked_s = loop.time()
                self._look()
            if not self._running:
                self._begun.clear()
                timer = loop.call_later(LOOK_S, self._begun.set)
                await self._begun.wait()
                timer.cancel()
            for name in tuple(self._running):
                began_s = loop.time()
                try:
                    if not await self._step(name):
                        del self._running[name]
                except (Problem, StoreError) as error:
                    if isinstance(error, Problem) and error.code in _ENDS:
                        return
                    log.warning("a step of %s is tried again: %s", name, error)
                    await asyncio.sleep(AGAIN_S)
                await asyncio.sleep(max(PAUSE_S, PAUSE_SHARE * (loop.time() - began_s)))

    def _look(self) -> None:
        """Find what is under way, by the documents; if any has changed."""
        documents = self._store.documents
        if self._seen == (changes := documents.changes(Kind.BULK)):
            return
        self._seen = changes
        for name, document in documents.of(Kind.BULK).items():
            if name not in self._running and document.value().state == "running":
                self._running[name] = None

    async def _step(self, name: str) -> bool:
        """Take one step. Returns False when there is none to take."""
        document = self._store.documents.get(Kind.BULK, name)
        if document is None:
            return False
        value: BulkDocument = document.value()
        if value.state != "running":
            return False
        query = replace(
            _query_decode(value.query),
            before_id=id_parse(name),
            after=bytes.fromhex(value.place) or None,
            newest_first=False,
            limit=STEP_JOBS,
        )
        page = await page_of(self._pump, self._store, query)
        return bool(
            await self._pump.ask(
                StepBulk(
                    name,
                    value.steps,
                    [job.job_id for job in page.jobs],
                    page.next or b"",
                    page.examined,
                    len(page.corrupt),
                    page.next is None,
                )
            )
        )
