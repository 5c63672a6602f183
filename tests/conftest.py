"""Fixtures for all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair, not a property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_WASM_DIR = Path(__file__).resolve().parents[2] / "shared" / "data" / "wasm"


@pytest.fixture(scope="session")
def wasm_dir() -> Path:
    """Published modules that nobody here wrote; they lie beside the repository, not in it."""
    if not _WASM_DIR.is_dir():
        pytest.skip("the published WASM modules (shared/data/wasm) are not beside the repository")
    return _WASM_DIR
