"""A look at a store that no server has open: every page, every row, and what tables say of others.

Nothing is written, the epoch included. Rows are read by the page, so a store of any size can be
looked at; each row is asked for a handful of others. What is wrong is told in sentences, the first
`FAULTS_SHOWN`, and all of it is counted.

Cost: about 10 µs a row.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from headrace.core.job import TERMINAL
from headrace.store import layout
from headrace.store.contract import (
    KeyValue,
    Position,
    RecordCorrupt,
    StoreDamaged,
    StoreTooNew,
    walk,
)
from headrace.store.layout import JOB_ID_BYTES, MetaKey, Table
from headrace.store.lmdb import DATA_FILE, LmdbKeyValue
from headrace.store.pages import PageDamaged, check_pages

FAULTS_SHOWN: Final = 50
TOGETHER: Final = 500
"""Rows whose other rows are asked for at once."""
OnRows = Callable[[int, int], None]
"""Hears how many rows were looked at, of how many."""


class Inspection(msgspec.Struct):
    """What was found."""

    format: int
    epoch: int
    position: str
    """Of the last commit."""
    bytes: int
    jobs_live: int = 0
    jobs_finished: int = 0
    rows: dict[str, int] = {}
    """By table."""
    faults_total: int = 0
    faults: list[str] = []
    """The first ones."""

    def tell(self, fault: str) -> None:
        self.faults_total += 1
        if len(self.faults) < FAULTS_SHOWN:
            self.faults.append(fault)


def inspect(path: Path, on_rows: OnRows = lambda _done, _all: None) -> Inspection:
    """Look at the store in a directory.

    Raises: `StoreBusy` while a server has it, `StoreTooNew`, `StoreDamaged` where nothing more can
    be told, and other `StoreError`s.
    """
    file = path / DATA_FILE
    if not file.is_file():
        raise StoreDamaged(f"{path} holds no {DATA_FILE}")
    kv = LmdbKeyValue(path, accept_any_filesystem=True)
    try:
        try:
            check_pages(file, kv.page_bytes(), every_leaf=True)
        except (PageDamaged, struct.error) as error:
            raise StoreDamaged(f"{DATA_FILE}: {error}") from error
        return _Look(kv, on_rows).whole()
    finally:
        kv.close()


class _Look:
    def __init__(self, kv: KeyValue, on_rows: OnRows) -> None:
        self._kv = kv
        self._on_rows = on_rows
        counts = {table.name.lower(): kv.count(table) for table in Table}
        found = int.from_bytes(self._meta(MetaKey.FORMAT), "big")
        if found > layout.FORMAT:
            raise StoreTooNew(found, layout.FORMAT)
        try:
            commit = layout.commit_unpack(self._meta(MetaKey.COMMIT))
        except msgspec.MsgspecError as error:
            raise StoreDamaged(f"the record of the last commit: {error}") from error
        position = Position(commit.shard, commit.epoch, commit.seq)
        epoch = int.from_bytes(self._meta(MetaKey.EPOCH), "big")
        self.found = Inspection(found, epoch, str(position), kv.bytes_used(), rows=counts)
        self.found.jobs_live, self.found.jobs_finished = counts["live"], counts["done"]
        self._seen = 0
        self._all = sum(counts.values())

    def _meta(self, key: bytes) -> bytes:
        value = self._kv.get(layout.META, key)
        if value is None:
            raise StoreDamaged(f"row {key!r} of META is missing")
        try:
            return layout.unseal(layout.META, key, value)
        except RecordCorrupt as error:
            raise StoreDamaged(f"row {key!r} of META fails its checksum") from error

    def whole(self) -> Inspection:
        apart = {
            layout.SPEC: self._specs,
            layout.DONE: self._ends,
            layout.BY_FINISHED: self._lists_of_ends,
            layout.LIVE: self._of_jobs,
            layout.AFTER: self._of_jobs,
            layout.LOGS: self._of_jobs,
            layout.CHECKPOINTS: self._of_jobs,
            layout.BY_OWNER: self._of_jobs,
            layout.BY_STATUS: self._of_jobs,
            layout.BY_SCHEDULED: self._of_jobs,
            layout.EXPIRIES: self._of_jobs,
        }
        for table in Table:
            look = apart.get(int(table), lambda _table, _rows: None)
            rows = self._rows(table)
            while portion := list(islice(rows, TOGETHER)):
                look(table, portion)
                self._on_rows(self._seen, self._all)
        self._compare_counts()
        return self.found

    def _rows(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and payload; of a row that fails its checksum it tells."""
        last = b""
        for key, value in walk(self._kv, table):
            self._seen += 1
            if key <= last:
                raise StoreDamaged(f"rows of {table.name} are out of order at {key.hex()}")
            last = key
            try:
                yield key, layout.unseal(table, key, value)
            except RecordCorrupt:
                self.found.tell(f"row {key.hex()} of {table.name} fails its checksum")

    def _column(self, table: int, keys: list[bytes]) -> list[bytes | None]:
        return self._kv.get_columns([table], keys)[0] if keys else []

    def _missing(self, table: Table, keys: Iterable[bytes], of: str) -> None:
        known = sorted(set(keys))
        for key, value in zip(known, self._column(table, known), strict=True):
            if value is None:
                self.found.tell(f"{of} {key.hex()} is not in {table.name}")

    def _specs(self, _table: Table, rows: list[tuple[bytes, bytes]]) -> None:
        """Each job lives or is done; its owner's list has it, and its key leads to it."""
        ids = [key for key, _ in rows]
        live, done = self._kv.get_columns([layout.LIVE, layout.DONE], ids)
        owners, keys = [], []
        for (job_id, payload), alive, ended in zip(rows, live, done, strict=True):
            if (alive is None) == (ended is None):
                word = "neither" if alive is None else "both"
                self.found.tell(f"job {job_id.hex()} is in {word} of LIVE and DONE")
            try:
                envelope = layout.envelope_unpack(payload)
            except (struct.error, ValueError, IndexError) as error:
                self.found.tell(f"the spec of job {job_id.hex()} cannot be read: {error}")
                continue
            owners.append(layout.by_owner_key(envelope.owner_id, job_id))
            if envelope.key_digest:
                keys.append(envelope.key_digest)
        self._missing(Table.BY_OWNER, owners, "owner and job")
        self._missing(Table.KEYS, keys, "the idempotency key")

    def _ends(self, _table: Table, rows: list[tuple[bytes, bytes]]) -> None:
        """Each end has its status's row, and its body where it says."""
        statuses, bodies = [], []
        for job_id, payload in rows:
            try:
                ending = layout.finished_unpack(payload)
            except msgspec.MsgspecError as error:
                self.found.tell(f"the end of job {job_id.hex()} cannot be read: {error}")
                continue
            if ending.status not in TERMINAL:
                self.found.tell(f"job {job_id.hex()} is done and {ending.status.name}")
            statuses.append(layout.by_status_key(ending.status, job_id))
            if layout.body_apart(payload):
                bodies.append(job_id)
        self._missing(Table.BY_STATUS, statuses, "status and job")
        self._missing(Table.BODIES, bodies, "the body of job")

    def _lists_of_ends(self, _table: Table, rows: list[tuple[bytes, bytes]]) -> None:
        for key, payload in rows:
            if len(payload) % JOB_ID_BYTES or not payload:
                self.found.tell(f"row {key.hex()} of BY_FINISHED names no whole ids")

    def _of_jobs(self, table: Table, rows: list[tuple[bytes, bytes]]) -> None:
        first = table in (Table.LIVE, Table.AFTER, Table.LOGS, Table.CHECKPOINTS)
        ids = (key[:JOB_ID_BYTES] if first else key[-JOB_ID_BYTES:] for key, _ in rows)
        self._missing(Table.SPEC, ids, f"{table.name} tells of a job: its spec")

    def _compare_counts(self) -> None:
        rows = self.found.rows
        for one, other in (
            ("by_owner", "spec"),
            ("by_status", "done"),
            ("modules", "module_sizes"),
        ):
            if rows[one] != rows[other]:
                self.found.tell(f"{one} has {rows[one]} rows, and {other} {rows[other]}")
        if rows["live"] + rows["done"] != rows["spec"]:
            self.found.tell(
                f"{rows['live']} live and {rows['done']} finished jobs are not {rows['spec']}"
            )
