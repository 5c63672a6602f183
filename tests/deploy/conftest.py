"""What the tests of deployment share: the files, and real processes on a real disk."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

from processes import Process, disk_dir


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory on a real disk."""
    with disk_dir() as path:
        yield path


@pytest.fixture
def start(disk: Path) -> Iterator[Callable[..., Process]]:
    """Start a command with its output in a file; killed at the end of the test."""
    with ExitStack() as stack:

        def begin(name: str, *command: str, **env: str) -> Process:
            process = Process([*command], disk / f"{name}.log", env)
            stack.callback(process.kill)
            return process

        yield begin
