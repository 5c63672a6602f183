"""Real server and worker processes, started and ended by tests and campaigns."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from forked import Forked

READY_S_MAX = 60.0
END_S_MAX = 30.0
HEADRACE = [sys.executable, "-m", "headrace"]
LYING = [sys.executable, str(Path(__file__).with_name("lying_server.py"))]
"""A server with the defect that the variable DEFECT names: what a checker must notice."""
EXIT_BUSY = 75
EXIT_BROKEN_DISK = 74


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def disk_dir() -> Iterator[Path]:
    """A directory on the disk where the repository's build lies, which is not a tmpfs.

    pytest's own temporary directory may lie in memory, where a server refuses to keep jobs.
    """
    base = Path(__file__).resolve().parents[2] / "build" / "tests"
    base.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=base, prefix="data-") as name:
        yield Path(name)


class Process:
    """A child in its own process group, its output in a file."""

    def __init__(
        self,
        command: list[str],
        log: Path,
        env: dict[str, str] | None = None,
        *,
        is_forked: bool = False,
    ) -> None:
        """`is_forked`: the words are those of `headrace`, which this process becomes."""
        self.log = log
        self.popen: subprocess.Popen[bytes] | Forked
        if is_forked:
            self.popen = Forked(command, log)
            return
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def signal_group(self, number: int) -> None:
        """The group still exists after its leader has ended, if a child of it does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill(self) -> None:
        self.signal_group(signal.SIGKILL)
        self.popen.wait(END_S_MAX)

    def terminate(self) -> int:
        """Ask the leader to end, and return its exit code."""
        self.popen.terminate()
        return self.popen.wait(END_S_MAX)

    def wait(self, timeout_s: float = END_S_MAX) -> int:
        return self.popen.wait(timeout_s)

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Server(Process):
    """`headrace serve` on a port of its own, with a small client that waits and asks."""

    def __init__(
        self,
        data_dir: Path,
        port: int,
        *flags: str,
        command: list[str] | None = None,
        prefix: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        log: Path | None = None,
        is_forked: bool = False,
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        base = [] if is_forked else HEADRACE if command is None else command
        super().__init__(
            [*prefix, *base, "serve", "--data", str(data_dir), "--port", str(port), *flags],
            log or data_dir.with_name(data_dir.name + ".log"),
            env,
            is_forked=is_forked,
        )

    def wait_ready(self, timeout_s: float = READY_S_MAX) -> "Server":
        due = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/readyz", timeout_s=5)[0] == 200:
                    return self
            if self.popen.poll() is not None:
                raise AssertionError(f"the server ended: {self.output()[-4_000:]}")
            if time.monotonic() > due:
                raise AssertionError(f"the server is not ready: {self.output()[-4_000:]}")
            time.sleep(0.01)

    def is_ready(self) -> bool:
        """Wait until it is; False if it has ended before."""
        try:
            self.wait_ready()
        except AssertionError:
            if self.popen.poll() is None:
                raise
            return False
        return True

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> tuple[int, Any]:
        """One request on a connection of its own. Returns status and the decoded answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            kind = {} if raw is None else {"Content-Type": "application/json"}
            connection.request(method, path, raw, {**kind, **(headers or {})})
            answer = connection.getresponse()
            data = answer.read()
            if "json" in (answer.getheader("Content-Type") or ""):
                return answer.status, json.loads(data)
            return answer.status, data
        finally:
            connection.close()

    def submit(self, **job: Any) -> str:
        status, answer = self.ask("POST", "/api/v1/jobs", {"name": "test", **job})
        assert status in (200, 201, 202), (status, answer)
        return str(answer["job_id"])

    def job(self, job_id: str, wait: str = "") -> dict[str, Any]:
        """The job; with `wait`, when it has ended or the time is over."""
        query = f"?wait={wait}" if wait else ""
        status, answer = self.ask("GET", f"/api/v1/jobs/{job_id}{query}", timeout_s=90)
        assert status == 200, (status, answer)
        return dict(answer)

    def wait_status(self, job_id: str, *statuses: str, timeout_s: float = 30.0) -> dict[str, Any]:
        due = time.monotonic() + timeout_s
        while True:
            answer = self.job(job_id)
            if answer["job"]["status"] in statuses:
                return answer
            if time.monotonic() > due:
                raise AssertionError(f"not {statuses} in {timeout_s} s: {answer['job']}")
            time.sleep(0.01)


def running_children(pid: int) -> list[int]:
    """Every process below `pid`, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = (entry / "stat").read_text()
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    below: list[int] = []
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        below.extend(level)
    return below
