"""One running node: store, engine and pump, opened and closed in order."""

import logging
import sys
from typing import Final

from headrace.core.engine import Engine
from headrace.runtime import job_lines
from headrace.runtime.bulk_runner import BulkRunner
from headrace.runtime.clock import STALL_MS_MAX, Clock
from headrace.runtime.config import Config, ConfigError
from headrace.runtime.events import Events
from headrace.runtime.pump import Pump
from headrace.runtime.sweeper import Sweeper
from headrace.runtime.webhooks import Webhooks
from headrace.store import open_store
from headrace.wire.documents import Kind
from headrace.wire.limits import MIB

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S: Final = 1e-4
"""The writer thread takes the GIL back when a commit is done, and waits this long for a busy loop
to let go of it. (Without `store._lmdb` it waits so for each row.)"""


class Node:
    """A server without its doors: HTTP, the embedded queue and tests all speak to `pump`."""

    def __init__(self, config: Config) -> None:
        directory = config.data_dir
        config.check(has_keys=directory is not None and directory.exists())
        self.config = config
        if config.data_dir is not None:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
        self.store = open_store(config.data_dir, accept_any_filesystem=config.accept_any_filesystem)
        restored = self.store.restore()
        documents = self.store.documents
        if not (documents.of(Kind.KEY) or Kind.KEY in documents.damaged):
            try:
                config.check()
            except ConfigError:
                self.store.close()
                raise
        self.clock = Clock(min(STALL_MS_MAX, config.lease_ms // 4), restored.at_ms)
        self.engine = Engine(config.engine(), self.store, restored.secret, restored.epoch)
        self._effects = self.engine.restore(restored, self.clock.now_ms(), self.clock.wall_ms())
        if restored.corrupt:
            log.error("%d stored rows fail their checksum and were left out", len(restored.corrupt))
        self.pump = Pump(self.engine, self.store, self.clock, config.disk_reserve_mb * MIB)
        self.events = Events(self.clock.wall_ms)
        self.pump.on_effects.append(self.events.hear)
        self.sweeper = Sweeper(self.pump, config.cleanup_every_ms)
        self.hooks = Webhooks(
            config, self.store, self.pump, self.clock, restored.secret, self.engine.live.hooks
        )
        self.bulk = BulkRunner(self.pump, self.store)

    async def start(self) -> None:
        if job_lines.wanted():
            self.pump.on_effects.append(job_lines.log_effects)
        self.pump.on_effects.append(self.hooks.committed)
        self.pump.start(self._effects)
        self.sweeper.start()
        self.hooks.start()
        self.bulk.start()

    async def stop(self) -> None:
        """Commit what was taken, then close the store. Nothing may be asked any more."""
        self.sweeper.stop()
        await self.hooks.stop()
        await self.bulk.stop()
        await self.pump.stop()
        self.store.close()
