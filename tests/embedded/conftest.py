"""Queues for the tests, shut down at their end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import Queue, QueueConfig

MakeQueue = Callable[..., Queue]


@pytest.fixture
def make_queue() -> Iterator[MakeQueue]:
    """Make a queue: `make_queue(handler, **fields of QueueConfig)`."""
    made: list[Queue] = []

    def make(handler: Any = None, **fields: Any) -> Queue:
        queue = Queue(QueueConfig(**fields), handler)
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.shutdown(0.0)


@pytest.fixture
def path(tmp_path: Path) -> dict[str, Any]:
    """The fields of a queue that keeps its jobs."""
    return {"path": tmp_path / "jobs", "accept_any_filesystem": True}
