"""`headrace work --reload`: a worker that starts anew when its code changes. For development.

The worker is a child process. A change of any Python file beside its module asks it to stop: what
runs has a moment to end, the rest is given back and runs on the new code. A worker that does not
start, for a mistake in its code, is tried again at the next change.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import click

from headrace.cli.app import EXIT_OK

FLAG: Final = "--reload"
LOOK_S: Final = 0.3
END_S: Final = 2.0
"""For running jobs to end, before they are given back."""
FILES_MAX: Final = 5_000
PASSED_OVER: Final = frozenset({"__pycache__", "node_modules", "build", "dist", "venv"})

Seen = dict[str, tuple[int, int]]
"""Time of change and size, by path."""


def work_reloading(target: str | None, arguments: Sequence[str]) -> int:
    """Run `headrace work` with these arguments until interrupted, anew at each change."""
    directory = watched(target)
    stop: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        stop.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)
    seen = look(directory)
    child = _start(arguments)
    try:
        while not stop:
            time.sleep(LOOK_S)
            now = look(directory)
            if now == seen:
                continue
            changed = sorted(set(now.items()) ^ set(seen.items()))
            seen = now
            _end(child)  # before we say so: what is submitted from then on runs on the new code
            click.echo(f"headrace: {Path(changed[0][0]).name} has changed, starting anew", err=True)
            child = _start(arguments)
    finally:
        _end(child)
    return EXIT_OK


def watched(target: str | None) -> Path:
    """Return the directory whose Python files count."""
    name = (target or "").rpartition(":")[0] or target or ""
    return Path(name).resolve().parent if name.endswith(".py") else Path.cwd()


def look(directory: Path) -> Seen:
    """Return what the Python files below a directory are now, some thousands at most."""
    seen: Seen = {}
    for folder, folders, files in os.walk(directory):
        folders[:] = [
            name for name in folders if name not in PASSED_OVER and not name.startswith(".")
        ]
        for file in files:
            if not file.endswith(".py"):
                continue
            path = os.path.join(folder, file)
            try:
                status = os.stat(path)
            except OSError:
                continue  # it goes at this moment
            seen[path] = status.st_mtime_ns, status.st_size
            if len(seen) == FILES_MAX:
                return seen
    return seen


def _start(arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S603 - this program, with the words that it was given
        [sys.executable, "-m", "headrace", "work", *arguments],
        env={name: value for name, value in os.environ.items() if name != "HEADRACE_RELOAD"},
        start_new_session=True,  # a Ctrl-C comes to us, and we end it
    )


def _end(child: "subprocess.Popen[bytes]") -> None:
    for patience_s in (END_S, END_S):
        if child.poll() is not None:
            return
        child.terminate()  # a second time: give back at once
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    if child.poll() is None:
        child.kill()
        child.wait()
