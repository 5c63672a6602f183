"""headrace itself, as it is in this tree."""

from headrace import __version__
from headrace.bench.workloads import Headrace, Latencies
from peers.peer import SYNCED, Peer, server_core


class Ours(Peer):
    name = "headrace"
    label = "headrace"
    durability = SYNCED
    client = "HTTP requests made beforehand, one under way on each connection"
    pace = Headrace.pace
    depth_max = 10_000_000

    @classmethod
    def version(cls) -> str:
        return f"headrace {__version__}"

    def start(self) -> None:
        self._load = Headrace(self.dir / "data", core=server_core())
        self.server = self._load.server

    def ready(self) -> "Ours":
        self._load.ready()
        return self

    def disk_bytes(self) -> int:
        return sum(file.stat().st_blocks * 512 for file in self._load.data.iterdir())

    def count(self) -> int:
        """Return what memory and disk agree on."""
        stats = self._load.server.ask("GET", "/api/v1/stats")[1]
        return min(int(stats["runtime"]["jobs"]), int(stats["store"]["jobs_live"]))

    async def submit(self, number: int, batch: int) -> list[float]:
        return await self._load.submit(number, batch)

    async def drain(self, number: int) -> list[float]:
        return await self._load.drain(number)

    async def both(self, number: int) -> list[float]:
        return await self._load.both(number)

    async def one_by_one(self, samples: int) -> Latencies:
        return await self._load.one_by_one(samples)
