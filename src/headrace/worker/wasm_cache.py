"""Compiled modules on disk, so that a module is compiled once per host and configuration.

Deserializing compiled code trusts it like a shared library. So an entry is read only when its
authentication code is right, the key is a file that only this user reads, and a directory that
others may write is refused. Uploads never come here: entries are made by the sandbox from bytes
whose sha256 is their name.

Shape: `<sha256 of the module>-<hash of version and settings>.cwasm` = 32 bytes HMAC-SHA256 over
name and body, then the body. `key` holds 32 random bytes.
"""

import contextlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32
MAC_BYTES: Final = 32
ENTRY_BYTES_MAX: Final = 64 << 20  # a 4 MiB module compiles to less than half of this
CACHE_BYTES_MAX: Final = 512 << 20
_KEY_NAME: Final = "key"
_SUFFIX: Final = ".cwasm"

assert ENTRY_BYTES_MAX < CACHE_BYTES_MAX


class CacheUnsafeError(Exception):
    """The cache directory or its key is open to others, so nothing in it can be trusted."""


def prepare_cache(directory: Path) -> None:
    """Make the directory and its key, or check the ones that are there.

    Raises: CacheUnsafeError, OSError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(directory, stat.S_IFDIR)
    key = directory / _KEY_NAME
    if not key.exists():
        # A link never replaces a key another worker made in the meantime, unlike a rename.
        draft = directory / f".key-{os.getpid()}-{secrets.token_hex(4)}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(draft, key)
        draft.unlink()
    _check_private(key, stat.S_IFREG)


def _check_private(path: Path, kind: int) -> None:
    found = path.lstat()
    if stat.S_IFMT(found.st_mode) != kind:
        raise CacheUnsafeError(f"{path.name} of the compiled-code cache is not what it should be")
    if found.st_uid != os.geteuid():
        raise CacheUnsafeError(f"{path.name} of the compiled-code cache belongs to another user")
    if found.st_mode & 0o077:
        raise CacheUnsafeError(f"{path.name} of the compiled-code cache is open to other users")


class CompiledCache:
    """One directory, one configuration. Several processes may use the directory at once."""

    def __init__(self, directory: Path, settings_hash: str) -> None:
        """Open a directory that `prepare_cache` made.

        Raises: CacheUnsafeError, OSError.
        """
        _check_private(directory, stat.S_IFDIR)
        key_path = directory / _KEY_NAME
        _check_private(key_path, stat.S_IFREG)
        self._directory = directory
        self._settings_hash = settings_hash
        self._key = key_path.read_bytes()
        if len(self._key) != KEY_BYTES:
            raise CacheUnsafeError("the key of the compiled-code cache has the wrong length")

    def read(self, sha256: str) -> bytes | None:
        """Return the compiled code, or None when there is none that can be trusted."""
        path = self._path(sha256)
        try:
            with path.open("rb") as file:
                entry = file.read(MAC_BYTES + ENTRY_BYTES_MAX)
            os.utime(path)  # so that the oldest is the longest unused
        except OSError:
            return None
        body = entry[MAC_BYTES:]
        if not hmac.compare_digest(entry[:MAC_BYTES], self._mac(path.name, body)):
            self.forget(sha256)
            return None
        return body

    def write(self, sha256: str, body: bytes | bytearray) -> None:
        """Keep compiled code; a full disk only costs the next process its time."""
        if len(body) > ENTRY_BYTES_MAX:
            return
        path = self._path(sha256)
        draft = self._directory / f".{path.name}-{os.getpid()}"
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
                f.write(self._mac(path.name, body))
                f.write(body)
            draft.rename(path)
            self._evict()
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink()

    def forget(self, sha256: str) -> None:
        """Remove an entry that proved useless."""
        with contextlib.suppress(OSError):
            self._path(sha256).unlink()

    def _path(self, sha256: str) -> Path:
        assert len(sha256) == 64, "names in the cache are hashes"
        assert sha256.isalnum(), "names in the cache are hashes"
        return self._directory / f"{sha256}-{self._settings_hash}{_SUFFIX}"

    def _mac(self, name: str, body: bytes | bytearray) -> bytes:
        mac = hmac.new(self._key, name.encode() + b"\0", "sha256")
        mac.update(body)
        return mac.digest()

    def _evict(self) -> None:
        """Remove the longest unused entries until the directory is within its bound."""
        entries = []
        for item in os.scandir(self._directory):
            if item.name.endswith(_SUFFIX):
                with contextlib.suppress(OSError):
                    found = item.stat(follow_symlinks=False)
                    entries.append((found.st_mtime_ns, found.st_size, item.path))
        entries.sort()
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= CACHE_BYTES_MAX:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= size
