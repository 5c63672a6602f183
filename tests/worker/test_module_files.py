"""Modules by their hash: fetched once, kept within bounds, and never believed."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from headrace.worker.modules import ModuleFiles, ModuleHashError


class Source:
    def __init__(self, *modules: bytes) -> None:
        self.modules = {hashlib.sha256(data).hexdigest(): data for data in modules}
        self.asked: list[str] = []

    async def fetch(self, sha256: str) -> bytes:
        self.asked.append(sha256)
        await asyncio.sleep(0)
        return self.modules[sha256]


async def test_requests_at_one_time_share_a_fetch(tmp_path: Path) -> None:
    source = Source(b"one")
    (sha256,) = source.modules
    files = ModuleFiles(tmp_path, source.fetch)
    assert await asyncio.gather(*(files.get(sha256) for _ in range(5))) == [b"one"] * 5
    assert await files.get(sha256) == b"one"
    assert source.asked == [sha256]


async def test_another_start_finds_the_module_on_disk(tmp_path: Path) -> None:
    source = Source(b"one")
    (sha256,) = source.modules
    await ModuleFiles(tmp_path, source.fetch).get(sha256)
    assert await ModuleFiles(tmp_path, source.fetch).get(sha256) == b"one"
    assert source.asked == [sha256]


async def test_a_file_that_was_changed_is_fetched_again(tmp_path: Path) -> None:
    source = Source(b"one")
    (sha256,) = source.modules
    await ModuleFiles(tmp_path, source.fetch).get(sha256)
    (tmp_path / f"{sha256}.wasm").write_bytes(b"two")
    assert await ModuleFiles(tmp_path, source.fetch).get(sha256) == b"one"
    assert len(source.asked) == 2


async def test_bytes_with_another_hash_are_refused_and_not_kept(tmp_path: Path) -> None:
    source = Source(b"one")
    (sha256,) = source.modules
    source.modules[sha256] = b"another"
    files = ModuleFiles(tmp_path, source.fetch)
    with pytest.raises(ModuleHashError):
        await files.get(sha256)
    source.modules[sha256] = b"one"
    assert await files.get(sha256) == b"one"
    assert [path.name for path in tmp_path.iterdir()] == [f"{sha256}.wasm"]


async def test_the_longest_unused_go_when_the_directory_is_full(tmp_path: Path) -> None:
    source = Source(*(bytes([number]) * 100 for number in range(5)))
    files = ModuleFiles(tmp_path, source.fetch, disk_bytes_max=250)
    for sha256 in source.modules:
        await files.get(sha256)
    kept = {path.stem for path in tmp_path.iterdir()}
    assert kept == set(list(source.modules)[-2:])


async def test_a_caller_that_gives_up_does_not_spoil_the_fetch(tmp_path: Path) -> None:
    source = Source(b"one")
    (sha256,) = source.modules
    files = ModuleFiles(tmp_path, source.fetch)
    impatient = asyncio.ensure_future(files.get(sha256))
    await asyncio.sleep(0)
    patient = asyncio.ensure_future(files.get(sha256))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == b"one"
