"""WASM modules as the worker keeps them: in memory, on disk, and fetched once.

A module's name is the sha256 of its bytes, and bytes from the server or from disk are used only
when they have that hash.
"""

import asyncio
import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from headrace.wire import limits

MEMORY_BYTES_MAX: Final = 8 * limits.MODULE_BYTES_MAX
DISK_BYTES_MAX: Final = 256 * limits.MIB
_SUFFIX: Final = ".wasm"

assert limits.MODULE_BYTES_MAX < MEMORY_BYTES_MAX < DISK_BYTES_MAX


class ModuleHashError(Exception):
    """What came is not the module that was asked for."""


class ModuleFiles:
    """Modules of one directory. Used on one event loop; several workers may share the directory."""

    def __init__(
        self,
        directory: Path,
        fetch: Callable[[str], Awaitable[bytes]],
        disk_bytes_max: int = DISK_BYTES_MAX,
    ) -> None:
        self._directory = directory
        self._fetch = fetch
        self._disk_bytes_max = disk_bytes_max
        self._memory: OrderedDict[str, bytes] = OrderedDict()
        self._memory_bytes = 0
        self._fetching: dict[str, asyncio.Task[bytes]] = {}

    async def get(self, sha256: str) -> bytes:
        """Return a module's bytes; equal requests at one time share a fetch.

        Raises: ModuleHashError, and what `fetch` raises.
        """
        data = self._memory.get(sha256)
        if data is not None:
            self._memory.move_to_end(sha256)
            return data
        task = self._fetching.get(sha256)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(sha256))
            self._fetching[sha256] = task
            task.add_done_callback(lambda _: self._fetching.pop(sha256, None))
        return await asyncio.shield(task)

    async def _load(self, sha256: str) -> bytes:
        data = await asyncio.to_thread(self._read, sha256)
        if data is None:
            data = await self._fetch(sha256)
            if hashlib.sha256(data).hexdigest() != sha256:
                raise ModuleHashError(f"the server's bytes for module {sha256} have another hash")
            await asyncio.to_thread(self._write, sha256, data)
        self._memory[sha256] = data
        self._memory_bytes += len(data)
        while self._memory_bytes > MEMORY_BYTES_MAX:
            self._memory_bytes -= len(self._memory.popitem(last=False)[1])
        return data

    def _path(self, sha256: str) -> Path:
        assert len(sha256) == 64, "a module's name is a hash"
        assert sha256.isalnum(), "a module's name is a hash"
        return self._directory / (sha256 + _SUFFIX)

    def _read(self, sha256: str) -> bytes | None:
        path = self._path(sha256)
        try:
            data = path.read_bytes()
            os.utime(path)  # so that the oldest is the longest unused
        except OSError:
            return None
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
        with suppress(OSError):
            path.unlink()
        return None

    def _write(self, sha256: str, data: bytes) -> None:
        """Keep a module; a full disk only costs the next start a fetch."""
        draft = self._directory / f".{sha256}-{secrets.token_hex(4)}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(data)
            draft.rename(self._path(sha256))
            self._evict()
        except OSError:
            with suppress(OSError):
                draft.unlink()

    def _evict(self) -> None:
        entries = []
        for item in os.scandir(self._directory):
            if item.name.endswith(_SUFFIX):
                with suppress(OSError):
                    found = item.stat(follow_symlinks=False)
                    entries.append((found.st_mtime_ns, found.st_size, item.path))
        entries.sort()
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self._disk_bytes_max:
                return
            with suppress(OSError):
                os.unlink(path)
            total -= size
