"""The rows under the store: what is durable, how long a commit takes, and how a disk fails."""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from headrace.store._new_rows import NewRows
from headrace.store.contract import KeyValue, StoreBroken, StoreFull
from headrace.store.lmdb import LmdbKeyValue
from headrace.store.memory import MemoryKeyValue
from sim.settings import Settings
from sim.world import World

SHARED_MEMORY: Final = Path("/dev/shm")
SLOW_MS: Final = (1_500, 6_000)
FULL_MS: Final = (300, 3_000)


class Rows:
    """`KeyValue` with faults, over one that outlives the server's crashes."""

    def __init__(self, kv: KeyValue, disk: "Disk") -> None:
        self.kv = kv
        self._disk = disk
        self.get = kv.get
        self.get_columns = kv.get_columns
        self.get_lasts = kv.get_lasts
        self.scan = kv.scan
        self.walk_packed = kv.walk_packed
        self.count = kv.count
        self.close = kv.close
        self.wrote = False
        self.full = False

    def write(self, rows: NewRows) -> None:
        disk = self._disk
        self.wrote = False
        self.full = disk.full_until > disk.world.now
        if self.full:
            raise StoreFull("simulated")
        if disk.break_next:
            disk.break_next = False
            if disk.world.chance(0.5):
                self.kv.write(rows)
                self.wrote = True
            raise StoreBroken("simulated")
        self.kv.write(rows)
        self.wrote = True

    def bytes_used(self) -> int:
        """Counting them costs a walk over tables with each beat, and nothing here depends on it."""
        return 0

    def bytes_free(self) -> int:
        return 0 if self._disk.low or self._disk.full_until > self._disk.world.now else sys.maxsize


class Disk:
    """What is written here is there after a crash."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self._commit_ms = settings.commit_ms
        self._memory = None if settings.lmdb else MemoryKeyValue()
        self._path: Path | None = None
        if settings.lmdb:
            base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
            self._path = Path(tempfile.mkdtemp(prefix="headrace-sim-", dir=base))
        self.full_until = 0
        self.low = False
        self.break_next = False
        self.slow_next = False

    def open(self) -> Rows:
        if self._memory is not None:
            return Rows(self._memory, self)
        assert self._path is not None
        return Rows(LmdbKeyValue(self._path, accept_any_filesystem=True), self)

    def latency_ms(self) -> int:
        if self.slow_next:
            self.slow_next = False
            return self.world.between(*SLOW_MS)
        return self.world.between(0, self._commit_ms)

    def heal(self) -> None:
        self.full_until = 0
        self.low = self.break_next = self.slow_next = False

    def remove(self) -> None:
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)


class WriteQueue:
    """Stands where the pump has its queue to the writer thread; a write is an event here."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._ready: list[Any] = []
        self.writing: Any = None
        self._full_since: int | None = None

    def put(self, batch: Any) -> None:
        if batch is None:
            return
        assert self.writing is None, "one write at a time"
        self.writing = batch
        server = self._server
        latency_ms = server.disk.latency_ms()
        server.world.at(latency_ms, self._write, batch, server.world.now, loop=server.loop)

    def _write(self, batch: Any, began_at: int) -> None:
        server = self._server
        self._ready.append(batch)
        self.writing = None
        server.rows.wrote = False
        server.pump._write_all()
        noticed_at = max(began_at + server.stall_ms * 3 // 2, server.loop.stalled_until)
        server.model.froze(noticed_at, server.world.now)
        if server.rows.full and self._full_since is None:
            self._full_since = server.world.now
        if server.rows.wrote:
            if self._full_since is not None:
                server.model.froze(self._full_since, server.world.now)
                self._full_since = None
            server.wrote(batch)

    def get(self) -> Any:
        return self._ready.pop() if self._ready else None
