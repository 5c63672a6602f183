"""What the end-to-end benchmarks share: pinned servers, a quick client, CPU and memory by /proc."""

import asyncio
import http.client
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"
SERVER_CORE, CLIENT_CORE = 0, 1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
READY_S_MAX = 300.0
PARAMS_BYTES = 200


# Servers ----------------------------------------------------------------------------------------


class Served:
    """A server process on its core, and what it has cost."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.port = port
        self._log = log
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                ["taskset", "-c", str(SERVER_CORE), *command], stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_ready(self, path: str = "/readyz") -> "Served":
        due_s = time.monotonic() + READY_S_MAX
        while time.monotonic() < due_s:
            with suppress(OSError, http.client.HTTPException):
                if self.ask("GET", path)[0] == 200:
                    return self
            if self._popen.poll() is not None:
                raise SystemExit(f"the server ended:\n{self._log.read_text()[-3_000:]}")
            time.sleep(0.002)
        raise SystemExit("the server does not get ready")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            data = answer.read()
            is_json = "json" in (answer.getheader("Content-Type") or "")
            return answer.status, json.loads(data) if is_json else data
        finally:
            connection.close()

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def memory_bytes(self) -> dict[str, int]:
        """`rss` counts pages of the store's file that happen to be mapped; `private` does not."""
        found = {}
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            for key, name in (("VmRSS:", "rss"), ("RssAnon:", "private")):
                if line.startswith(key):
                    found[name] = int(line.split()[1]) * 1024
        return found

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> None:
        self._popen.terminate()
        try:
            self._popen.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def headrace(data: Path, port: int, *flags: str) -> Served:
    command = [sys.executable, "-m", "headrace", "serve", "--data", str(data)]
    command += ["--port", str(port), "--log-level", "warning", *flags]
    return Served(command, port, data.with_name(data.name + ".log"))


@contextmanager
def served(base: Path, *flags: str) -> Iterator[Served]:
    """A ready server on an empty directory below `base`; both gone afterwards."""
    with tempfile.TemporaryDirectory(dir=base, prefix="bench-") as dir_:
        server = headrace(Path(dir_) / "data", free_port(), *flags)
        try:
            yield server.wait_ready()
        finally:
            server.kill()


@contextmanager
def bare_aiohttp(base: Path) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(dir=base, prefix="bench-") as dir_:
        port = free_port()
        command = [sys.executable, str(ROOT / "bench" / "bare_aiohttp.py"), str(port)]
        server = Served(command, port, Path(dir_) / "log")
        try:
            yield server.wait_ready("/readyz")
        finally:
            server.kill()


# The client -------------------------------------------------------------------------------------

OnAnswer = Callable[["Connection", bytes, int], None]


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request under way: bytes out, a callback for the answer.

    The callback gets the whole answer and where its body begins.
    """

    def __init__(self, on_answer: OnAnswer) -> None:
        self.on_answer = on_answer
        self._partial = b""
        self._need = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send = transport.write

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        if len(data) < self._need:
            self._partial = data
            return
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._partial = data
            return
        at = data.find(b"ontent-Length: ", 0, head_end) + 15
        self._need = head_end + 4 + int(data[at : data.find(b"\r", at)])
        if len(data) < self._need:
            self._partial = data
            return
        self._partial, self._need = b"", 0
        if data[9:12] != b"200":
            raise SystemExit(f"the server answered {data[:500]!r}")
        self.on_answer(self, data, head_end + 4)

    def connection_lost(self, exc: Exception | None) -> None:
        pass


async def connect(port: int, number: int, on_answer: OnAnswer) -> list[Connection]:
    loop = asyncio.get_running_loop()
    made = []
    for _ in range(number):
        _, protocol = await loop.create_connection(lambda: Connection(on_answer), "127.0.0.1", port)
        made.append(protocol)
    return made


class Asker:
    """A connection for one request after another, awaited."""

    def __init__(self) -> None:
        self._future: asyncio.Future[bytes]
        self.arrived_s = 0.0

    async def open(self, port: int) -> "Asker":
        self._connection = (await connect(port, 1, self._answered))[0]
        return self

    def _answered(self, _: Connection, data: bytes, body_at: int) -> None:
        self.arrived_s = time.perf_counter()
        self._future.set_result(data[body_at:])

    def ask(self, sent: bytes) -> "asyncio.Future[bytes]":
        self._future = asyncio.get_running_loop().create_future()
        self._connection.send(sent)
        return self._future


def request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def job(type_: str = "noop") -> bytes:
    return b'{"name":"bench","type":"%s","params":{"text":"%s"}}' % (
        type_.encode(),
        b"x" * (PARAMS_BYTES - 11),
    )


def submit_one(type_: str = "noop") -> bytes:
    return request("POST", "/api/v1/jobs", job(type_))


def submit_many(number: int) -> bytes:
    return request("POST", "/api/v1/jobs", b"[" + b",".join([job()] * number) + b"]")


def poll(worker: str, jobs_max: int, wait: str, reports: bytes = b"", type_: str = "noop") -> bytes:
    body = b'{"worker":"%s","serve":{"types":["%s"]},"max_jobs":%d,"wait":"%s","reports":[%s]}' % (
        worker.encode(),
        type_.encode(),
        jobs_max,
        wait.encode(),
        reports,
    )
    return request("POST", "/api/v1/work/poll", body)


# Measures ---------------------------------------------------------------------------------------


def pin_client() -> None:
    os.sched_setaffinity(0, {CLIENT_CORE})


def raise_file_limit() -> int:
    """Children inherit it. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Meter:
    """Wall time of a stretch, and the share of a core that each side took in it."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._server_s = server.cpu_s()
        self._client_s = time.process_time()
        self._began_s = time.perf_counter()

    def stop(self) -> dict[str, float]:
        wall_s = time.perf_counter() - self._began_s
        return {
            "seconds": wall_s,
            "server_cpu": (self._server.cpu_s() - self._server_s) / wall_s,
            "client_cpu": (time.process_time() - self._client_s) / wall_s,
        }


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(run[key] for run in runs) for key in runs[0]}


def machine(base: Path) -> dict[str, Any]:
    """What a reader must know to read the numbers."""
    cpu = "unknown"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    filesystem = subprocess.run(
        ["df", "--output=fstype", str(base)], capture_output=True, text=True, check=False
    ).stdout.split()[-1]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "commit": commit,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": filesystem,
        "load_before": round(os.getloadavg()[0], 2),
    }


def save(name: str, results: dict[str, Any]) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    return path
