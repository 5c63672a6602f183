"""Fixtures of the HTTP tests."""

from collections.abc import AsyncIterator

import pytest
import uvloop
from http_tools import Server, open_server


@pytest.fixture(scope="session")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    """The loop that serves in production: it closes and pauses sockets in its own ways."""
    return uvloop.EventLoopPolicy()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A node in memory, served on a free port."""
    opened = await open_server()
    try:
        yield opened
    finally:
        await opened.close()
