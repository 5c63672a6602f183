"""A real server, and a worker, as processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Command, Process


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


@pytest.fixture
def wasm_file(tmp_path: Path) -> Path:
    from headrace.cli.demo import module_that_prints

    path = tmp_path / "hello.wasm"
    path.write_bytes(module_that_prints("hello there"))
    return path
