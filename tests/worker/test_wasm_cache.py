"""The compiled-code cache: nothing that somebody else wrote is ever read back."""

import os
from pathlib import Path

import pytest

from headrace.worker import wasm_cache
from headrace.worker.wasm_cache import CacheUnsafeError, CompiledCache, prepare_cache

NAME = "a" * 64


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    prepare_cache(tmp_path / "cache")
    return tmp_path / "cache"


def entry_of(directory: Path) -> Path:
    (entry,) = directory.glob("*.cwasm")
    return entry


def test_what_is_written_is_read(directory: Path) -> None:
    cache = CompiledCache(directory, "settings")
    assert cache.read(NAME) is None
    cache.write(NAME, b"code")
    assert cache.read(NAME) == b"code"
    cache.forget(NAME)
    assert cache.read(NAME) is None


def test_files_are_private(directory: Path) -> None:
    CompiledCache(directory, "settings").write(NAME, b"code")
    assert directory.stat().st_mode & 0o777 == 0o700
    for file in directory.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600


def test_preparing_twice_keeps_the_key_and_leaves_nothing_behind(directory: Path) -> None:
    key = (directory / "key").read_bytes()
    prepare_cache(directory)
    assert (directory / "key").read_bytes() == key
    assert [file.name for file in directory.iterdir()] == ["key"]


def test_every_changed_byte_is_noticed_and_the_entry_removed(directory: Path) -> None:
    cache = CompiledCache(directory, "settings")
    cache.write(NAME, b"some code")
    good = entry_of(directory).read_bytes()
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        cache.write(NAME, b"some code")
        entry_of(directory).write_bytes(bad)
        assert cache.read(NAME) is None
        assert not list(directory.glob("*.cwasm"))


@pytest.mark.parametrize("size", [0, 5, 32, 33])
def test_entry_cut_short_is_not_read(directory: Path, size: int) -> None:
    cache = CompiledCache(directory, "settings")
    cache.write(NAME, b"some code")
    entry_of(directory).write_bytes(entry_of(directory).read_bytes()[:size])
    assert cache.read(NAME) is None


def test_entry_under_another_name_is_not_read(directory: Path) -> None:
    cache = CompiledCache(directory, "settings")
    cache.write(NAME, b"code")
    entry_of(directory).rename(directory / f"{'b' * 64}-settings.cwasm")
    assert cache.read("b" * 64) is None


def test_entry_of_another_key_or_other_settings_is_not_read(directory: Path) -> None:
    CompiledCache(directory, "settings").write(NAME, b"code")
    assert CompiledCache(directory, "others").read(NAME) is None
    (directory / "key").write_bytes(os.urandom(32))
    assert CompiledCache(directory, "settings").read(NAME) is None


def test_directory_or_key_open_to_others_is_refused(directory: Path) -> None:
    (directory / "key").chmod(0o644)
    with pytest.raises(CacheUnsafeError):
        prepare_cache(directory)
    (directory / "key").chmod(0o600)
    directory.chmod(0o770)
    with pytest.raises(CacheUnsafeError):
        CompiledCache(directory, "settings")


def test_link_in_place_of_directory_or_key_is_refused(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    with pytest.raises(CacheUnsafeError):
        prepare_cache(tmp_path / "link")
    (directory / "key").rename(tmp_path / "elsewhere")
    (directory / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheUnsafeError):
        prepare_cache(directory)


def test_longest_unused_entries_are_removed_first(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm_cache, "CACHE_BYTES_MAX", 300)  # three entries
    cache = CompiledCache(directory, "settings")
    for age, letter in enumerate("abc"):
        cache.write(letter * 64, bytes(60))
        path = directory / f"{letter * 64}-settings.cwasm"
        os.utime(path, ns=(age, age))
    cache.read("a" * 64)  # used again, so no longer the oldest
    cache.write("d" * 64, bytes(60))
    names = {file.name[0] for file in directory.glob("*.cwasm")}
    assert names == {"a", "c", "d"}


def test_entry_that_is_too_large_is_not_kept(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wasm_cache, "ENTRY_BYTES_MAX", 10)
    CompiledCache(directory, "settings").write(NAME, bytes(11))
    assert not list(directory.glob("*.cwasm"))


def test_directory_that_went_away_costs_nothing_but_the_cache(directory: Path) -> None:
    cache = CompiledCache(directory, "settings")
    (directory / "key").unlink()
    directory.rmdir()
    cache.write(NAME, b"code")
    assert cache.read(NAME) is None
