"""The reference of W1: aiohttp that decodes the same body, answers, and keeps nothing."""

import sys
from pathlib import Path

from headrace.bench import http
from headrace.bench.connection import repeat
from headrace.bench.http import HttpConnection
from headrace.bench.process import ServerProcess, answers, free_port
from headrace.bench.workloads import SINGLE_CONNECTIONS, Pace
from peers.peer import Peer, server_core

PROGRAM = Path(__file__).parents[1] / "bare_aiohttp.py"


class BareAiohttp(Peer):
    name = "aiohttp"
    label = "bare aiohttp"
    durability = "keeps nothing"
    client = "the same requests"
    rows = frozenset({"W1"})
    pace = Pace(single=20_000, batched=0, drained=0, both=0)

    @classmethod
    def version(cls) -> str:
        import aiohttp

        return f"aiohttp {aiohttp.__version__}"

    def start(self) -> None:
        self.port = free_port()
        command = [sys.executable, str(PROGRAM), str(self.port)]
        self.server = ServerProcess(command, self.dir / "log", core=server_core())

    def ready(self) -> "BareAiohttp":
        self.server.wait_ready(lambda: answers(self.port, "/readyz"))
        return self

    async def submit(self, number: int, batch: int) -> list[float]:
        assert batch == 1
        return await repeat(HttpConnection, self.port, SINGLE_CONNECTIONS, http.submit(), number)
