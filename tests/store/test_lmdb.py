"""Rows on disk: locks, crashes, full disks, filesystems."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import lmdb
import pytest
from store_samples import commit, finished, job_id_at, stored

from headrace.cli.serve import EXIT_STORE, EXIT_STORE_DAMAGED
from headrace.core.effects import CheckpointStored
from headrace.core.live import ROW_BYTES
from headrace.store import layout, open_store, pylmdb
from headrace.store import lmdb as rows_lmdb
from headrace.store._new_rows import NewRows
from headrace.store.contract import (
    ListQuery,
    StoreBroken,
    StoreBusy,
    StoreDamaged,
    StoreExposed,
    StoreFull,
    StoreTooNew,
    StoreUnsuitable,
    walk,
)
from headrace.store.layout import Table
from headrace.store.lmdb import DATA_FILE, LmdbKeyValue, filesystem_of
from headrace.store.pages import META_TXN_AT, check_pages, leaves_of
from headrace.store.store import Batch, Store

Make = Callable[[Path], Store]
JOB = job_id_at(1_000)


def run_python(program: str, *args: str, tells: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *args],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE if tells else None,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.fixture(params=["compiled", "plain"])
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use either way to LMDB."""
    if request.param == "plain":
        monkeypatch.setattr(rows_lmdb, "_environment", lambda: pylmdb.Environment)


@pytest.fixture
def make(environment: None) -> Iterator[Make]:
    """Open stores, and close them at the end."""
    opened: list[Store] = []

    def make(path: Path) -> Store:
        opened.append(open_store(path, accept_any_filesystem=True))
        opened[-1].restore()
        return opened[-1]

    yield make
    for store in opened:
        store.close()


def test_store_keeps_its_jobs_when_opened_again(tmp_path: Path, make: Make) -> None:
    store = make(tmp_path / "a" / "b")
    commit(store, stored(JOB, spec=b"spec"), stored(job_id_at(2)), finished(job_id_at(2)))
    store.close()
    again = make(tmp_path / "a" / "b")
    job = again.job(JOB)
    assert job is not None
    assert job.spec == b"spec"
    assert again.finished(job_id_at(2)) is not None
    assert again.position.epoch == 2


def test_files_are_for_their_owner_only(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "store")
    assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "store").iterdir()} == {0o600}


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_directory_in_which_others_may_write_is_refused(
    tmp_path: Path, make: Make, mode: int
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(mode)
    with pytest.raises(StoreExposed) as error:
        make(tmp_path / "store")
    assert f"chmod go-w {tmp_path / 'store'}" in str(error.value)
    assert list((tmp_path / "store").iterdir()) == []
    (tmp_path / "store").chmod(mode & ~0o022)
    make(tmp_path / "store")


def test_second_store_in_the_same_process_is_refused(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    with pytest.raises(StoreBusy):
        open_store(tmp_path, accept_any_filesystem=True)


def test_second_server_is_refused_until_the_first_has_ended(tmp_path: Path, make: Make) -> None:
    program = (
        "import sys; from pathlib import Path; from headrace.store import open_store;"
        "store = open_store(Path(sys.argv[1]), accept_any_filesystem=True);"
        "print('open', flush=True); sys.stdin.read()"
    )
    with run_python(program, str(tmp_path)) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreBusy) as error:
            open_store(tmp_path, accept_any_filesystem=True)
        assert error.value.path == str(tmp_path)
        other.kill()
    make(tmp_path)


def test_failed_open_lets_the_directory_go(tmp_path: Path) -> None:
    (tmp_path / DATA_FILE).write_bytes(b"no database" * 1_000)
    for _ in range(2):
        with pytest.raises(StoreDamaged):
            open_store(tmp_path, accept_any_filesystem=True)


@pytest.mark.parametrize("bytes_kept", [0, 1, 100])
def test_file_without_a_whole_header_is_damaged(
    tmp_path: Path, make: Make, bytes_kept: int
) -> None:
    """LMDB itself takes an empty file for a new one; to us it has lost all it had."""
    (tmp_path / DATA_FILE).write_bytes(b"\0" * bytes_kept)
    with pytest.raises(StoreDamaged):
        make(tmp_path)
    assert (tmp_path / DATA_FILE).stat().st_size == bytes_kept


def test_new_file_is_whole_before_it_has_its_name(tmp_path: Path, make: Make) -> None:
    """What a power cut left of an earlier try is thrown away."""
    draft = tmp_path / rows_lmdb.DRAFT_DIR
    draft.mkdir()
    (draft / DATA_FILE).write_bytes(b"half")
    store = make(tmp_path)
    assert not draft.exists()
    commit(store, stored(JOB))
    assert store.job(JOB) is not None


def test_newer_format_is_refused_without_a_changed_byte(tmp_path: Path) -> None:
    kv = LmdbKeyValue(tmp_path, accept_any_filesystem=True)
    Store(kv)
    row = layout.seal(layout.META, b"format", layout.number_key(layout.FORMAT + 1))
    kv.write(NewRows({layout.META: {b"format": row}}))
    kv.close()
    before = (tmp_path / DATA_FILE).read_bytes()
    with pytest.raises(StoreTooNew):
        open_store(tmp_path, accept_any_filesystem=True)
    assert (tmp_path / DATA_FILE).read_bytes() == before


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=4) as env, env.begin(write=True) as txn:
        txn.put(b"key", b"value", db=env.open_db(b"spec", txn=txn))
    with pytest.raises(StoreDamaged):
        open_store(tmp_path, accept_any_filesystem=True)


# Crash ------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from headrace.store._new_rows import NewRows
from headrace.store.lmdb import LmdbKeyValue
kv = LmdbKeyValue(Path(sys.argv[1]), accept_any_filesystem=True)
first = int(sys.argv[2])
for batch in range(first, first + 100_000):
    mark = batch.to_bytes(4, "big")
    rows = {mark + bytes([n]): mark * 50 for n in range(50)}
    kv.write(NewRows({2: rows, 3: {b"last": mark, b"x" + mark: mark}}))
    print(batch, flush=True)
"""


def test_killed_writer_leaves_whole_batches_and_all_it_has_told(tmp_path: Path) -> None:
    first = 0
    for cycle in range(6):
        with run_python(WRITER, str(tmp_path), str(first)) as writer:
            assert writer.stdout is not None
            for _ in range(5 + cycle * 17):
                writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
            told = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        kv = LmdbKeyValue(tmp_path, accept_any_filesystem=True)
        last = int.from_bytes(kv.get(3, b"last") or b"", "big")
        assert last >= max(told, default=first)
        assert [key[:4] for key, _ in walk(kv, 2)] == [
            batch.to_bytes(4, "big") for batch in range(last + 1) for _ in range(50)
        ]
        assert kv.count(3) == last + 2
        kv.close()
        first = last + 1


# Appending --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_rows_behind_the_end_and_among_the_others_all_arrive(
    tmp_path: Path, seed: int, environment: None
) -> None:
    """Keys mostly rise, from a moving end: it is deleted, and jumped over, in the same commit."""
    choose = random.Random(seed)
    kv = LmdbKeyValue(tmp_path, accept_any_filesystem=True)
    model: dict[bytes, bytes] = {}
    end = 0
    for _ in range(120):
        rows: dict[bytes, bytes | None] = {}
        for _ in range(choose.choice([0, 1, 5, 300])):
            end += choose.choice([1, 1, 1, 50])
            rows[end.to_bytes(4, "big")] = bytes(choose.choice([0, 90, 90, 1_000, 9_000]))
        for number in (end, end - 1, choose.randrange(end + 1), choose.randrange(end + 1)):
            key = max(number, 0).to_bytes(4, "big")
            rows[key] = None if choose.random() < 0.6 else bytes(choose.choice([1, 90, 3_000]))
        if choose.random() < 0.05:
            rows |= dict.fromkeys(model)  # all of them go
        shuffled = list(rows.items())
        choose.shuffle(shuffled)
        kv.write(NewRows({2: dict(shuffled), 3: {}}))
        model |= {key: value for key, value in rows.items() if value is not None}
        for key in [key for key, value in rows.items() if value is None]:
            model.pop(key, None)
        assert kv.count(2) == len(model)
    assert list(walk(kv, 2)) == sorted(model.items())
    kv.close()
    check_pages(tmp_path / DATA_FILE, os.sysconf("SC_PAGE_SIZE"))


# Full and broken disks --------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount an ext4 of 16 MiB."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4 for a small filesystem")
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-qF", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], capture_output=True).returncode:
        pytest.skip("cannot mount a loop device here")
    yield mount
    subprocess.run(["umount", mount], check=True)


def commit_until_full(store: Store) -> Batch:
    """Store jobs until the disk is full; return the batch that did not fit."""
    for number in range(10_000):
        batch = store.stage([stored(job_id_at(2_000 + number), spec=b"s" * 50_000)], 1)
        try:
            store.write(batch)
        except StoreFull:
            return batch
        store.settle(batch)
    raise AssertionError("a disk of 16 MiB took 500 MB")


@pytest.mark.parametrize("odd_bytes", [0, 4_096, 20_480, 40_960])
def test_full_disk_applies_nothing_and_the_same_batch_succeeds_later(
    small_disk: Path, odd_bytes: int, environment: None
) -> None:
    """Whether the last write fits in part, which LMDB calls an I/O error, or not at all."""
    ballast = small_disk / "ballast"
    with closing(open_store(small_disk / "store")) as store:
        store.restore()
        commit(store, stored(JOB))
        space = os.statvfs(small_disk)
        with ballast.open("wb") as file:
            room = (1 << 20) + odd_bytes
            os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - room)
        batch = commit_until_full(store)
        refused = batch.changes.keys(layout.SPEC)[0]
        assert store.job(refused) is None
        assert store.job(JOB) is not None
        with pytest.raises(StoreFull):
            store.write(batch)
        ballast.unlink()
        store.write(batch)
        store.settle(batch)
        assert store.job(refused) is not None
        jobs = store.stats().jobs_live
    with closing(open_store(small_disk / "store")) as again:
        restored = again.restore()
        assert sum(len(page.rows) for page in restored.live()) == jobs * ROW_BYTES
        assert restored.corrupt == []


def test_failed_disk_is_final(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path)
    batch = store.stage([stored(JOB)], 1)

    class FailingEnvironment:
        def reader_check(self) -> None: ...

        def write(self, _: object) -> None:
            raise lmdb.Error("commit: Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(store._kv, "_env", FailingEnvironment())
        with pytest.raises(StoreBroken):
            store.write(batch)
    with pytest.raises(StoreBroken):
        store.write(batch)


def test_closed_environment_is_an_error_and_no_crash(tmp_path: Path, make: Make) -> None:
    store = make(tmp_path)
    commit(store, stored(JOB))
    store.close()
    with pytest.raises(StoreBroken):
        store.job(JOB)
    with pytest.raises(StoreBroken):
        store.list_jobs(ListQuery())


def test_reservation_of_addresses_falls_back(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_lmdb, "MAP_BYTES", 1 << 47)
    commit(make(tmp_path), stored(JOB))


def test_flipped_byte_of_the_file_never_changes_a_job(tmp_path: Path, make: Make) -> None:
    """Flip bytes inside values in the file itself; LMDB does not see them, the checksum does."""
    spec = b"the spec of this very job"
    store = make(tmp_path)
    commit(store, stored(JOB, spec=spec))
    store.close()
    data = (tmp_path / DATA_FILE).read_bytes()
    places = [at for at in range(len(data)) if data.startswith(spec, at)]
    assert places
    for offset in range(len(spec)):
        broken = bytearray(data)
        for at in places:
            broken[at + offset] ^= 1 << offset % 8
        (tmp_path / DATA_FILE).write_bytes(broken)
        kv = LmdbKeyValue(tmp_path, accept_any_filesystem=True)
        page = Store(kv).list_jobs(ListQuery())
        kv.close()
        assert (page.jobs, page.corrupt) == ([], [JOB])


CUTS = """
import os, sys, traceback
from pathlib import Path
from headrace.core.live import ROW_BYTES
from headrace.store import open_store
from headrace.store._new_rows import NewRows
from headrace.store.contract import ListQuery, RecordCorrupt, StoreDamaged

def look(path, jobs):
    when = "start"
    try:
        store = open_store(path, accept_any_filesystem=True)
        restored = store.restore()
        rows = sum(len(page.rows) for page in restored.live())
        found = rows // ROW_BYTES + len(restored.corrupt)
        when = "later"
        for n in range(jobs):
            store.job((1000 + n).to_bytes(6, "big") + bytes.fromhex("70008000000000000000"))
        page = store.list_jobs(ListQuery(limit=1000))
        assert found == jobs and len(page.jobs) + len(page.corrupt) == jobs, (found, len(page.jobs))
        print("whole")
    except (StoreDamaged, RecordCorrupt) as error:
        print(when, type(error).__name__)

path, jobs, pages = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
data = (path / "data.mdb").read_bytes()
for page in range(1, pages):
    (path / "data.mdb").write_bytes(data[:4096 * page + 100 * (page % 2)])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            look(path, jobs)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, page
"""


def test_file_cut_off_anywhere_is_refused_and_kills_nobody(tmp_path: Path, make: Make) -> None:
    store = make(tmp_path)
    for n in range(199):  # the last one is long, with pages of its own
        commit(store, stored(job_id_at(1_000 + n), spec=b"s" * (5_000 if n % 9 == 0 else 200)))
    for _ in range(20):  # so that the roots move down into freed pages
        commit(store, CheckpointStored(JOB, b"1"))
    store.close()
    pages = (tmp_path / DATA_FILE).stat().st_size // 4_096
    with run_python(CUTS, str(tmp_path), "199", str(pages)) as cuts:
        assert cuts.stdout is not None
        told = cuts.stdout.read().splitlines()
    assert cuts.returncode == 0
    assert set(told) == {"start StoreDamaged", "whole"}
    assert len(told) == pages - 1


def test_a_header_that_would_undo_a_commit_is_refused(tmp_path: Path, make: Make) -> None:
    """LMDB goes by the header with the higher number, and has no checksum over either.

    Two bits of the two numbers may go unseen: those after which they follow each other as well.
    """
    store = make(tmp_path)
    for number in range(5):
        commit(store, stored(job_id_at(1_000 + number)))
        page_bytes = store._kv.page_bytes()
        store.close()
        file = tmp_path / DATA_FILE
        whole = file.read_bytes()
        headers = [whole[:page_bytes], whole[page_bytes : 2 * page_bytes]]
        spoilt = [2 * headers[:1], 2 * headers[1:], headers[::-1]]
        for page in (0, 1):
            for bit in range(64):
                one = [bytearray(header) for header in headers]
                one[page][META_TXN_AT + bit // 8] ^= 1 << bit % 8
                numbers = [int.from_bytes(header[META_TXN_AT:][:8], "little") for header in one]
                if abs(numbers[0] - numbers[1]) != 1:
                    spoilt.append([bytes(header) for header in one])
        assert len(spoilt) >= 3 + 126
        for header in spoilt:
            file.write_bytes(b"".join(header) + whole[2 * page_bytes :])
            with pytest.raises(StoreDamaged, match="are of commits"):
                make(tmp_path)
        file.write_bytes(whole)
        store = make(tmp_path)
        assert store._kv.count(layout.LIVE) == number + 1


def test_another_page_in_the_place_of_the_list_of_tables_is_no_empty_store(
    tmp_path: Path, make: Make
) -> None:
    store = make(tmp_path)
    commit(store, *(stored(job_id_at(1_000 + n)) for n in range(400)))
    page_bytes = store._kv.page_bytes()
    store.close()
    file = tmp_path / DATA_FILE
    data = bytearray(file.read_bytes())
    with file.open("rb") as pages:
        [*_, leaf] = leaves_of(pages.fileno(), page_bytes, b"live")
    assert b"by_owner" in data
    for at in range(2 * page_bytes, len(data), page_bytes):
        if b"by_owner" in data[at : at + page_bytes]:
            data[at : at + page_bytes] = data[leaf * page_bytes :][:page_bytes]
    file.write_bytes(data)
    with pytest.raises(StoreDamaged, match="is not a page of a tree"):
        make(tmp_path)


@pytest.mark.parametrize("table", [table for table in Table if table is not Table.SPEC])
def test_store_without_one_of_its_tables_is_damaged(
    tmp_path: Path, make: Make, table: Table
) -> None:
    store = make(tmp_path)
    commit(store, stored(JOB))
    store.close()
    with lmdb.open(str(tmp_path), max_dbs=32) as env, env.begin(write=True) as txn:
        txn.drop(env.open_db(table.name.lower().encode(), txn=txn), delete=True)
    with pytest.raises(StoreDamaged):
        make(tmp_path)


# Filesystems ------------------------------------------------------------------------------------


def test_directory_in_memory_is_refused_unless_accepted() -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or filesystem_of(shared) != "tmpfs":
        pytest.skip("needs a tmpfs at /dev/shm")
    path = shared / f"headrace-test-{os.getpid()}"
    try:
        with pytest.raises(StoreUnsuitable) as error:
            open_store(path)
        assert error.value.filesystem == "tmpfs"
        open_store(path, accept_any_filesystem=True).close()
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize(
    "name",
    ["tmpfs", "ramfs", "nfs", "nfs4", "9p", "overlay", "fuseblk", "fuse.sshfs", "cifs", "virtiofs"],
)
def test_filesystem_that_may_lose_a_commit_is_unsuitable(name: str) -> None:
    assert rows_lmdb.UNSUITABLE.fullmatch(name)


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "zfs", "f2fs", ""])
def test_local_filesystem_is_suitable(name: str) -> None:
    assert not rows_lmdb.UNSUITABLE.fullmatch(name)


START = """
import sys
from pathlib import Path
from headrace.store import open_store
store = open_store(Path(sys.argv[1]), accept_any_filesystem=True)
print(sum(1 for _ in store.restore().live()))
"""


def test_an_emptied_page_ends_a_start_as_damage_does_and_not_by_a_signal(tmp_path: Path) -> None:
    store = open_store(tmp_path, accept_any_filesystem=True)
    store.restore()
    commit(store, *(stored(job_id_at(1_000 + n)) for n in range(400)))
    page_bytes = store._kv.page_bytes()
    store.close()
    file = tmp_path / DATA_FILE
    with file.open("r+b") as data:
        leaves = leaves_of(data.fileno(), page_bytes, Table.LIVE.name.lower().encode())
        assert len(leaves) > 2
        data.seek(leaves[1] * page_bytes)
        data.write(bytes(page_bytes))
    with run_python(START, str(tmp_path), tells=True) as start:
        _, said = start.communicate(timeout=60)
    assert start.returncode == EXIT_STORE_DAMAGED
    assert "the store is damaged" in said
    assert "headrace restore" in said


CUT_OFF = """
import os, sys
from pathlib import Path
from headrace.store import open_store
from headrace.store.lmdb import DATA_FILE
store = open_store(Path(sys.argv[1]), accept_any_filesystem=True)
os.truncate(Path(sys.argv[1]) / DATA_FILE, 2 * store._kv.page_bytes())
print(sum(1 for _ in store.restore().live()))
"""


def test_a_page_that_cannot_be_read_ends_the_process_with_a_reason(tmp_path: Path) -> None:
    store = open_store(tmp_path, accept_any_filesystem=True)
    store.restore()
    commit(store, *(stored(job_id_at(1_000 + n)) for n in range(400)))
    store.close()
    with run_python(CUT_OFF, str(tmp_path), tells=True) as start:
        _, said = start.communicate(timeout=60)
    assert start.returncode == EXIT_STORE
    assert "a page of the store cannot be read" in said
    assert "headrace inspect" in said


@pytest.mark.parametrize("reverse", [False, True])
def test_a_misplaced_page_leads_no_reader_in_a_circle(
    tmp_path: Path, make: Make, reverse: bool
) -> None:
    store = make(tmp_path)
    commit(store, *(stored(job_id_at(1_000 + n)) for n in range(800)))
    page_bytes = store._kv.page_bytes()
    store.close()
    with (tmp_path / DATA_FILE).open("r+b") as data:
        leaves = leaves_of(data.fileno(), page_bytes, Table.BY_OWNER.name.lower().encode())
        assert len(leaves) > 3
        from_, to = (leaves[2], leaves[1]) if reverse else (leaves[1], leaves[2])
        data.seek(from_ * page_bytes)
        page = data.read(page_bytes)
        data.seek(to * page_bytes)
        data.write(page)
    again = make(tmp_path)
    with pytest.raises(StoreDamaged):
        list(walk(again._kv, Table.BY_OWNER, reverse=reverse))
