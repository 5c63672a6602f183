"""The sandbox's processes, shared by the tests of a module."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from wasm_samples import is_gone

from headrace.worker.wasm_runner import WasmRunner


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for the module, so that the published modules are compiled once."""
    return tmp_path_factory.mktemp("wasm") / "compiled"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner(cache_dir: Path) -> AsyncIterator[WasmRunner]:
    async with WasmRunner(cache_dir) as runner:
        yield runner
        pids = runner.pids
    assert pids
    assert all(is_gone(pid) for pid in pids)
