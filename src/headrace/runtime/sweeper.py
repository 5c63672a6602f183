"""When finished jobs are looked for whose time is over. Which they are, the engine decides.

A sweep is many small commands with pauses between them, so that nobody waits behind it.
"""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from headrace.core.commands import Sweep, Swept
from headrace.wire.problems import Problem

if TYPE_CHECKING:
    from headrace.runtime.pump import Pump

log = logging.getLogger(__name__)

FIRST_S_MAX: Final = 600.0
"""After a start; a machine's clock that is wrong then has been set right by now."""
PAUSE_S: Final = 0.001
"""After a part that deleted nothing: a thousandth of a second for 0.1 ms of work."""
PAUSE_DELETED_S: Final = 0.010
"""After a part that deleted jobs, 1 to 2 ms of work: 6,000 jobs a second at most."""
AGAIN_S: Final = 1.0
"""After a refusal: the disk is busy."""


def pause_s(swept: Swept) -> float:
    """Return how long to leave the loop to others after a part."""
    return PAUSE_DELETED_S if swept.deleted else PAUSE_S


class Sweeper:
    def __init__(self, pump: "Pump", every_ms: int) -> None:
        self._pump = pump
        self._every_s = every_ms / 1000
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(min(self._every_s, FIRST_S_MAX))
        while True:
            deleted = await self.sweep()
            if deleted:
                log.info("%d finished jobs deleted, their time was over", deleted)
            await asyncio.sleep(self._every_s)

    async def sweep(self) -> int:
        """Look at all that may be over; return how many jobs were deleted."""
        deleted, next_id = 0, b""
        while not self._pump.failed:
            try:
                swept: Swept = await self._pump.ask(Sweep(next_id))
            except Problem as refusal:
                log.debug("a sweep has to wait: %s", refusal)
                await asyncio.sleep(AGAIN_S)
                continue
            deleted += swept.deleted
            if swept.next_id is None:
                break
            next_id = swept.next_id
            await asyncio.sleep(pause_s(swept))
        return deleted
