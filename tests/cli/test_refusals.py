"""What `headrace serve` does not begin with: how it ends, what it says and leaves as it was."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from headrace.cli.app import app
from headrace.store import layout
from headrace.store.lmdb import DATA_FILE, LmdbKeyValue
from headrace.store.store import Store

MEMORY = Path("/dev/shm")


def served(data: Path, *more: str) -> tuple[int, str]:
    words = ["serve", "--data", str(data), "--port", "0", "--disk-reserve", "0", *more]
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a new store."""
    kv = LmdbKeyValue(tmp_path / "data", accept_any_filesystem=True)
    Store(kv)
    kv.close()
    return tmp_path / "data"


def test_a_damaged_store_is_refused_and_the_way_back_is_named(data: Path) -> None:
    file = data / DATA_FILE
    file.write_bytes(file.read_bytes()[:10_000])
    before = file.read_bytes()
    code, said = served(data, "--accept-any-filesystem")
    assert code == 65
    assert "damaged" in said
    assert "headrace restore BACKUP" in said
    assert file.read_bytes() == before


def test_a_store_of_a_later_version_is_refused_and_left_as_it_was(data: Path) -> None:
    kv = LmdbKeyValue(data, accept_any_filesystem=True)
    later = layout.seal(layout.META, b"format", layout.number_key(layout.FORMAT + 1))
    kv.write(layout.NewRows({layout.META: {b"format": later}}))
    kv.close()
    before = (data / DATA_FILE).read_bytes()
    code, said = served(data, "--accept-any-filesystem")
    assert code == 78
    assert "nothing was changed" in said
    assert (data / DATA_FILE).read_bytes() == before


@pytest.fixture
def in_memory() -> Iterator[Path]:
    if not MEMORY.is_dir():
        pytest.skip("there is no filesystem in memory")
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


def test_a_directory_in_memory_is_refused_and_stays_empty(in_memory: Path) -> None:
    code, said = served(in_memory)
    assert code == 74
    assert "tmpfs" in said
    assert list(in_memory.iterdir()) == []
