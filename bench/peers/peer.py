"""What every system that takes part is, and what several of them share."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from headrace.bench.connection import Connection, Crowd, OnAnswer
from headrace.bench.process import BenchError, ServerProcess, cores
from headrace.bench.workloads import Latencies, Pace

SYNCED = "fsync before each answer"
ALL_ROWS = frozenset({"W1", "W2", "W2k", "W3", "W4", "W5", "W6", "W7"})


class Peer:
    """A system that is running when it was made and `ready`; `headrace.bench.workloads.System`."""

    name: ClassVar[str]
    label: ClassVar[str]
    durability: ClassVar[str]
    """What an acknowledgement promises."""
    client: ClassVar[str]
    """How it is driven."""
    rows: ClassVar[frozenset[str]] = ALL_ROWS
    pace: ClassVar[Pace]
    depth_max: ClassVar[int] = 1_000_000
    """Of W6 and W7, for those that are slow to fill."""
    programs: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    """Of Python."""
    install: ClassVar[str] = ""
    server: ServerProcess

    def __init__(self, dir_: Path) -> None:
        self.dir = dir_
        self.start()

    @classmethod
    def is_missing(cls) -> bool:
        return not all(map(program, cls.programs)) or not all(map(find_spec, cls.packages))

    @classmethod
    def version(cls) -> str:
        """Of the server, in its own words."""
        return first_line(str(program(cls.programs[0])), "--version") if cls.programs else ""

    def start(self) -> None:
        """Start the server on its directory; again after a kill."""
        raise AssertionError("a system has its own")

    def ready(self) -> Self:
        return self

    def close(self) -> None:
        self.server.kill()

    def client_cpu_s(self) -> float:
        return time.process_time()

    def count(self) -> int:
        """Return how many jobs it holds."""
        raise AssertionError("a system that keeps jobs has its own")

    async def submit(self, number: int, batch: int) -> list[float]:
        raise AssertionError("a system has its own")

    async def prepare(self, queued: int, coming: int) -> None:
        pass  # most have their workers in this process

    async def drain(self, number: int) -> list[float]:
        raise AssertionError("a system that gives jobs out has its own")

    async def both(self, number: int) -> list[float]:
        raise AssertionError("a system that gives jobs out has its own")

    async def one_by_one(self, samples: int) -> Latencies:
        raise AssertionError("a system that gives jobs out has its own")


AnyPeer = TypeVar("AnyPeer", bound=Peer)


@contextmanager
def running(kind: type[AnyPeer], base: Path) -> Iterator[AnyPeer]:
    """A ready system on an empty directory below `base`; both gone afterwards."""
    with tempfile.TemporaryDirectory(dir=base.resolve(), prefix=f"{kind.name}-") as dir_:
        system = kind(Path(dir_))
        try:
            yield system.ready()
        finally:
            system.close()


def server_core() -> int | None:
    pair = cores_at_start
    return pair and pair[0]


cores_at_start = cores()
"""Taken before the client is pinned to its own."""


def program(name: str) -> str | None:
    """Return where a program is; servers of Debian also lie where only root looks."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().partition("\n")[0]


class LinesConnection(Connection):
    """Answers of a known number of lines, as of text protocols."""

    lines = 1

    def take(self, data: bytes) -> None:
        if data.count(b"\r\n") < self.lines:
            self._partial = data
            return
        self._partial = b""
        if _REFUSED.search(data):
            raise BenchError(f"the server answered {data[:300]!r}")
        self.answered(data, 0)


_REFUSED = re.compile(rb"^(?:-[A-Z]|OUT_OF|BAD_|EXPECTED|NOT_|DRAINING|JOB_TOO)", re.MULTILINE)


def lines(number: int) -> type[LinesConnection]:
    """Return connections whose answers have so many lines."""
    return type("LinesConnection", (LinesConnection,), {"lines": number})


Next = Callable[[bytes], tuple[bytes, bytes, int]]
"""Of an answer with jobs: what to send, how that is acknowledged, and how many jobs it ends."""


class WorkConnection(Connection):
    """Answers that hold jobs, behind the acknowledgements of the jobs before.

    Acknowledgements count when they come: the jobs behind them may be waited for.
    """

    def __init__(self, crowd: Crowd, on_answer: OnAnswer) -> None:
        super().__init__(crowd, on_answer)
        self.expected, self.ends = b"", 0
        self.on_done: Callable[[int], None]

    def take(self, data: bytes) -> None:
        if self.expected:
            if len(data) < len(self.expected):
                self._partial = data
                return
            if not data.startswith(self.expected):
                raise BenchError(f"the server answered {data[:300]!r}")
            data, self.expected = data[len(self.expected) :], b""
            self.on_done(self.ends)
        if self.is_whole(data):
            self._partial = b""
            self.answered(data, 0)
        else:
            self._partial = data

    def is_whole(self, data: bytes) -> bool:
        """Say whether all jobs that were asked for, or that there are, have come."""
        raise AssertionError("a protocol has its own")


async def work_off(
    kind: type[WorkConnection], port: int, number: int, first: Sequence[bytes], next_: Next
) -> list[float]:
    """Take and end jobs until `number` ends are acknowledged, on a connection for each `first`."""
    done = 0

    def on_done(ended: int) -> None:
        nonlocal done
        done += ended
        if done >= number:
            crowd.finish()

    def on_answer(connection: WorkConnection, data: bytes, _at: int) -> None:
        sent, connection.expected, connection.ends = next_(data)
        connection.send(sent)

    async with Crowd() as crowd:
        opened = await crowd.open(kind, port, len(first), on_answer)
        for connection, sent in zip(opened, first, strict=True):
            connection.on_done = on_done
            connection.send(sent)
        await crowd.done
        return crowd.latencies_s
