"""Copies of a store: made while its server runs, and checked before one becomes a store again.

    backup/data.mdb        a committed state, without free pages
    backup/manifest.json   written last: what it is, how long, its SHA-256

A backup is a read of LMDB in a process of its own: the server and its commits do not wait for it,
their file grows by what changes meanwhile. Without a manifest it was cut off, and is none.

A restored store must never take a word from a worker of the time before: attempts that were under
way, or whose lease had run out and on which a late report would still count, are released, and the
epoch leaps over all that the old server may have used since.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import lmdb
import msgspec

from headrace import __version__
from headrace.core.commands import Outcome, Poll, Report
from headrace.core.effects import Effect
from headrace.core.engine import Engine
from headrace.core.live import Live
from headrace.runtime.clock import Clock
from headrace.runtime.config import Config
from headrace.store import layout
from headrace.store.contract import KeyValue, StoreDamaged, StoreError, StoreTooNew
from headrace.store.inspecting import Inspection, OnRows, inspect
from headrace.store.layout import MetaKey, NewRows, Table
from headrace.store.lmdb import DATA_FILE, LmdbKeyValue, sync_directory
from headrace.store.store import EPOCH_MAX, Store
from headrace.wire.limits import MIB

MANIFEST_FILE: Final = "manifest.json"
BACKUP_FORMAT: Final = 1
EPOCH_LEAP: Final = 1 << 16
"""More starts than a server has between a backup and its restore."""
COPY_BYTES: Final = 4 * MIB
TABLES_MAX: Final = 64
REPORTS_TOGETHER: Final = 1_000
OnBytes = Callable[[int, int], None]
"""Hears how many bytes are copied, of about how many."""


class BackupError(Exception):
    """It cannot be made or used; the message says why."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    headrace_backup: int
    """The format of this file."""
    format: int
    """Of the store."""
    version: str
    made_at: str
    position: str
    """Of the last commit that is in it."""
    bytes: int
    sha256: str


def backup(data_dir: Path, to: Path) -> Manifest:
    """Copy the store of a directory, whether a server has it open or not.

    Raises: BackupError, StoreError, OSError.
    """
    if not (data_dir / DATA_FILE).is_file():
        raise BackupError(f"{data_dir} holds no store: there is no {DATA_FILE}")
    _take_directory(to)
    file = to / DATA_FILE
    try:
        with lmdb.open(str(data_dir), readonly=True, create=False, max_dbs=TABLES_MAX) as env:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                env.copyfd(descriptor, compact=True)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        with lmdb.open(str(to), readonly=True, lock=False, max_dbs=TABLES_MAX) as env:
            found, commit = _read_meta(env)
    except lmdb.Error as error:
        raise StoreDamaged(f"it cannot be copied: {error}") from error
    with file.open("rb") as copied:
        sha256 = hashlib.file_digest(copied, "sha256").hexdigest()
    manifest = Manifest(
        headrace_backup=BACKUP_FORMAT,
        format=found,
        version=__version__,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        position=f"{commit.shard}:{commit.epoch}:{commit.seq}",
        bytes=file.stat().st_size,
        sha256=sha256,
    )
    _write_whole(to / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def restore(
    source: Path,
    data_dir: Path,
    *,
    accept_any_filesystem: bool = False,
    on_bytes: OnBytes = lambda _done, _all: None,
    on_rows: OnRows = lambda _done, _all: None,
) -> tuple[Manifest, Inspection, int]:
    """Make a store of a backup, in a directory that is empty or is not there.

    All is done beside it; the directory is put in place when the store is whole. Returns what the
    backup and a look at its rows told, and how many attempts were under way.
    Raises: BackupError, StoreError, OSError.
    """
    manifest = read_manifest(source)
    if data_dir.exists() and (not data_dir.is_dir() or any(data_dir.iterdir())):
        raise BackupError(f"{data_dir} is not empty: a store is restored where there is none")
    data_dir = data_dir.absolute()
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    draft = data_dir.parent / f".{data_dir.name}.restoring"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    try:
        _copy(source / DATA_FILE, draft / DATA_FILE, manifest, on_bytes)
        found = inspect(draft, on_rows)
        if found.faults_total:
            raise StoreDamaged(
                f"{found.faults_total} faults in the backup, such as: {found.faults[0]}"
            )
        released = _begin_anew(draft, accept_any_filesystem)
        (draft / "lock.mdb").unlink(missing_ok=True)
        draft.rename(data_dir)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_directory(data_dir.parent)
    return manifest, found, released


def read_manifest(source: Path) -> Manifest:
    """Raises: BackupError, StoreTooNew."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST_FILE).read_bytes(), type=Manifest)
    except OSError:
        raise BackupError(
            f"{source} is no backup, or one that was cut off: it has no {MANIFEST_FILE}"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupError(f"{source / MANIFEST_FILE} cannot be read: {error}") from None
    if manifest.headrace_backup != BACKUP_FORMAT:
        raise BackupError(f"backups of format {manifest.headrace_backup} are not known here")
    if manifest.format > layout.FORMAT:
        raise StoreTooNew(manifest.format, layout.FORMAT)
    return manifest


def _copy(source: Path, target: Path, manifest: Manifest, on_bytes: OnBytes) -> None:
    """Copy the file, and refuse it if it is not what the manifest says."""
    digest, done = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with source.open("rb") as read, open(descriptor, "wb") as written:
            while piece := read.read(COPY_BYTES):
                digest.update(piece)
                written.write(piece)
                done += len(piece)
                on_bytes(done, manifest.bytes)
            written.flush()
            os.fsync(descriptor)
    except FileNotFoundError:
        raise BackupError(f"{source} is missing") from None
    if done != manifest.bytes:
        raise BackupError(f"{source} has {done} bytes, and had {manifest.bytes} when it was made")
    if digest.hexdigest() != manifest.sha256:
        raise BackupError(f"{source} is not what it was when it was made: its SHA-256 differs")


def _begin_anew(path: Path, accept_any_filesystem: bool) -> int:
    """Have no word of before count. Return how many attempts were under way."""
    kv = LmdbKeyValue(path, accept_any_filesystem=accept_any_filesystem)
    try:
        raise_epoch(kv)
        store = Store(kv)
        restored = store.restore()
        clock = Clock(after_ms=restored.at_ms)
        engine = Engine(Config().engine(), store, restored.secret, restored.epoch)
        now_ms = clock.now_ms()
        effects = engine.restore(restored, now_ms, clock.wall_ms())
        leases = len(engine.live.leases)
        effects.extend(release_attempts(engine, now_ms))
        batch = store.stage(effects, now_ms)
        if not batch.empty:
            store.write(batch)
        return leases
    finally:
        kv.close()


def raise_epoch(kv: KeyValue) -> None:
    """Let the epoch leap over all that the server which is left behind may have used."""
    value = kv.get(layout.META, MetaKey.EPOCH)
    assert value is not None, "it was looked at"
    epoch = int.from_bytes(layout.unseal(layout.META, MetaKey.EPOCH, value), "big")
    if epoch + EPOCH_LEAP >= EPOCH_MAX:
        raise StoreDamaged(f"epoch {epoch} is one of the last")
    leapt = layout.number_key(epoch + EPOCH_LEAP)
    epoch_row = layout.seal(layout.META, MetaKey.EPOCH, leapt)
    kv.write(NewRows({layout.META: {MetaKey.EPOCH: epoch_row}}))


def release_attempts(engine: Engine, now_ms: int) -> list[Effect]:
    """Release all attempts on which a report would count, with a lease or after one."""
    tokens = open_attempts(engine.live)
    effects: list[Effect] = []
    for at in range(0, len(tokens), REPORTS_TOGETHER):
        told: list[Report] = [
            Report(token, Outcome.RELEASED) for token in tokens[at : at + REPORTS_TOGETHER]
        ]
        _, more = engine.apply(now_ms, Poll(at, "", reports=[*told]))
        effects.extend(more)
    return effects


def open_attempts(live: Live) -> list[str]:
    """Return the tokens of these attempts."""
    tokens = []
    for job_id in live.jobs.ids():
        job = live.load(live.jobs.find(job_id))
        if job.attempt_open:
            tokens.append(live.tokens.text(job_id, job.attempt, job.epoch))
    return tokens


def _read_meta(env: "lmdb.Environment") -> tuple[int, layout.CommitRecord]:
    table = env.open_db(Table.META.name.lower().encode(), create=False)
    with env.begin(db=table) as transaction:
        rows = [transaction.get(key) for key in (MetaKey.FORMAT, MetaKey.COMMIT)]
    try:
        found, commit = (
            layout.unseal(layout.META, key, row)
            for key, row in zip((MetaKey.FORMAT, MetaKey.COMMIT), rows, strict=True)
            if row is not None
        )
    except (StoreError, ValueError) as error:
        raise StoreDamaged(f"the copy does not say what it is: {error}") from error
    return int.from_bytes(found, "big"), layout.commit_unpack(commit)


def _take_directory(path: Path) -> None:
    """Make a directory, or take one that is empty."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(path.iterdir()):
        raise BackupError(f"{path} is not empty: each backup has a directory of its own")


def _write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, durably."""
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    draft.rename(path)
    sync_directory(path.parent)
