"""A real server, and workers, as processes of their own."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

START_S_MAX = 30


class Process:
    """A `headrace` process whose standard error is read as it comes."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.text = ""
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.text += line
                self._changed.notify_all()
        with self._changed:
            self.text += "\n[end]"
            self._changed.notify_all()

    def match(self, pattern: str) -> re.Match[str]:
        """Wait until the process has said something."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: re.search(pattern, self.text) or "[end]" in self.text, START_S_MAX
            )
        match = re.search(pattern, self.text)
        assert found, self.text
        assert match, self.text
        return match

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(START_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    server = Process("serve", "--memory", "--port", "0", "--log-level", "warning")
    try:
        yield server.match(r"http://[\d.:]+")[0]
    finally:
        assert server.stop() == 0


@pytest.fixture(scope="session")
def worker(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    cache = tmp_path_factory.mktemp("cache")
    worker = Process("work", "--url", server_url, "--cache", str(cache), "--concurrency", "2")
    try:
        worker.match("connected to")
        yield worker
    finally:
        assert worker.stop() == 0


@pytest.fixture
def headrace(server_url: str) -> "Command":
    return Command(server_url)


class Command:
    """The command line, as a person runs it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(
        self, *arguments: str, stdin: str = "", url: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "headrace", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=START_S_MAX,
            check=False,
            env={**os.environ, "HEADRACE_URL": url or self.url},
        )


@pytest.fixture
def wasm_file(tmp_path: Path) -> Path:
    from headrace.cli.demo import module_that_prints

    path = tmp_path / "hello.wasm"
    path.write_bytes(module_that_prints("hello there"))
    return path
