"""A server as a process on a core of its own, which ends with us, and what it has cost."""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

HOST: Final = "127.0.0.1"
READY_S_MAX: Final = 120.0
LOOK_S: Final = 0.002
STOP_S_MAX: Final = 30.0
LOG_CHARS_SHOWN: Final = 2_000
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PR_SET_PDEATHSIG: Final = 1
ENDING: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
_libc: Final = ctypes.CDLL(None)


class BenchError(Exception):
    """Something that is measured did not work; the message is for the person."""


def cores() -> tuple[int, int] | None:
    """Return the server's and the client's core; None where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else None


def pin_client() -> None:
    if (pair := cores()) is not None:
        os.sched_setaffinity(0, {pair[1]})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _as_installed(env: Mapping[str, str]) -> dict[str, str]:
    """Without what keeps Python from its bytecode, which every installation has."""
    return {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}


class ServerProcess:
    """A process and its children. They end when this process does, however it does.

    `core`: where it runs; None for anywhere. `user`: whose rights it has; empty for ours.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        core: int | None = None,
        user: str = "",
        env: dict[str, str] | None = None,
    ) -> None:
        def in_child() -> None:  # between fork and exec; there are no threads in a load generator
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if core is not None:
                os.sched_setaffinity(0, {core})
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

        self._log = log
        with log.open("ab") as out, _signals_held():
            self._popen = subprocess.Popen(  # noqa: S603 - the commands are ours
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=_as_installed(os.environ if env is None else env),
                user=user or None,
                preexec_fn=in_child,
                start_new_session=True,  # Ctrl-C is for us, who end it; and a group to kill
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def wait_ready(self, is_ready: Callable[[], bool]) -> None:
        due_s = time.monotonic() + READY_S_MAX
        while time.monotonic() < due_s:
            if is_ready():
                return
            self.check()
            time.sleep(LOOK_S)
        raise BenchError(f"the server is not ready after {READY_S_MAX:.0f} s:\n{self.log_end()}")

    def check(self) -> None:
        """Raises: BenchError if it has ended."""
        if self._popen.poll() is not None:
            raise BenchError(f"the server ended:\n{self.log_end()}")

    def log_end(self) -> str:
        return self._log.read_text(errors="replace")[-LOG_CHARS_SHOWN:].strip()

    def cpu_s(self) -> float:
        """CPU time so far, of its children too, those that have ended included."""
        ticks = sum(sum(_stat(pid)[11:13]) for pid in self._family())
        return (ticks + sum(_stat(self.pid)[13:15])) / TICKS_PER_S

    def memory_bytes(self) -> dict[str, int]:
        """`rss` counts pages of files that happen to be mapped; `private` does not."""
        found = {"rss": 0, "private": 0}
        for pid in self._family():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                for key, name in (("VmRSS:", "rss"), ("RssAnon:", "private")):
                    if line.startswith(key):
                        found[name] += int(line.split()[1]) * 1024
        return found

    def _family(self) -> Iterator[int]:
        waiting = [self.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            with suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting.extend(map(int, (task / "children").read_text().split()))

    def kill(self) -> None:
        """kill -9, of its children too."""
        if self._popen.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()

    def stop(self) -> None:
        """Ask it to end, as an operator would."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.kill()


def _stat(pid: int) -> list[int]:
    """Return the numbers of /proc/PID/stat after the state; none for a process that has gone.

    Shape: utime, stime, cutime, cstime are at 11 to 14.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return [0] * 15
    return [0, *map(int, fields[1:15])]


class HeadraceServer(ServerProcess):
    """`headrace serve` on a data directory."""

    def __init__(self, data: Path, *flags: str, core: int | None = None, port: int = 0) -> None:
        import headrace

        self.port = port or free_port()
        command = [sys.executable, "-m", "headrace", "serve", "--data", str(data)]
        command += ["--port", str(self.port), "--log-level", "warning", *flags]
        # The child runs the code of this process, and takes no settings from our environment.
        env = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        package = str(Path(headrace.__file__).resolve().parent.parent)
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (package, env.get("PYTHONPATH"))))
        super().__init__(command, data.with_name(data.name + ".log"), core=core, env=env)

    def ready(self, path: str = "/readyz") -> "HeadraceServer":
        """Wait until it serves."""
        self.wait_ready(lambda: answers(self.port, path))
        return self

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return ask(self.port, method, path, body)


def answers(port: int, path: str) -> bool:
    try:
        return ask(port, "GET", path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Ask on a connection of its own; return the status and what was answered."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    try:
        raw = None if body is None else json.dumps(body)
        connection.request(method, path, raw, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, json.loads(data) if is_json else data
    finally:
        connection.close()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals wait: one that came inside of a fork would be lost in its hooks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, so that it tidies up.

    Also where Ctrl-C is ignored, as in what a shell's script runs in the background.
    """

    def interrupt(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)  # whose handler knows how to end a loop that runs

    before = {number: signal.signal(number, interrupt) for number in ENDING - {signal.SIGINT}}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
