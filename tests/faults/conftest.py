"""Fixtures of the tests that break things, and where their helpers lie."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from processes import disk_dir


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory on a real disk."""
    with disk_dir() as path:
        yield path
