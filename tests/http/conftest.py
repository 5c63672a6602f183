"""Fixtures of the HTTP tests."""

from collections.abc import AsyncIterator

import pytest
from http_tools import Server, open_server


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A node in memory, served on a free port."""
    opened = await open_server()
    try:
        yield opened
    finally:
        await opened.close()
