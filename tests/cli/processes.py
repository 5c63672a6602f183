"""`headrace` as processes: long ones whose words are awaited, and short ones."""

import os
import re
import signal
import subprocess
import sys
import threading

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

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start it, to be read from while it runs."""
        return subprocess.Popen(
            [sys.executable, "-m", "headrace", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HEADRACE_URL": self.url},
        )
