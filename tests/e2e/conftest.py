"""Fixtures of the end-to-end tests: servers and workers as processes of their own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))

from processes import HEADRACE, Process, Server, disk_dir, free_port

HANDLERS = Path(__file__).with_name("handlers_under_test.py")


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory on a real disk."""
    with disk_dir() as path:
        yield path


@pytest.fixture
def serve(disk: Path) -> Iterator[Callable[..., Server]]:
    """Start a ready server with these flags; killed at the end of the test."""
    with ExitStack() as stack:

        def start(*flags: str) -> Server:
            server = Server(disk / "data", free_port(), *flags)
            stack.callback(server.kill)
            return server.wait_ready()

        yield start


@pytest.fixture
def work(disk: Path) -> Iterator[Callable[..., Process]]:
    """Start a worker for a server; the handlers are those of `handlers_under_test`."""
    with ExitStack() as stack:

        def start(server: Server, name: str, *flags: str) -> Process:
            command = [*HEADRACE, "work", str(HANDLERS), "--url", server.url, "--name", name]
            cache = ["--cache", str(disk / "cache")]
            worker = Process([*command, *cache, *flags], disk / f"{name}.log")
            stack.callback(worker.kill)
            return worker

        yield start
