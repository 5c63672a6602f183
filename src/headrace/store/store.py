"""The store: effects in, jobs out.

A batch goes three steps, and the order is the promise of durability::

    stage    loop thread      effects become rows; the engine's reads see them from here on
    write    one other thread rows are on disk when it returns; only then may a reply leave
    settle   loop thread      the batch is seen in the committed rows, and forgotten here

Batches are staged, written and settled in one order. A write that failed as `StoreFull` may be
tried again with the same batch; after any other failure memory is ahead of the disk and the
process must stop.
"""

import secrets
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Final

import msgspec

from headrace.core.deliveries import Delivery
from headrace.core.documenting import DocumentTable
from headrace.core.effects import (
    Answered,
    Effect,
    Finished,
    JobDeleted,
    JobRedriven,
    Noted,
    OwnerStored,
    Trail,
    ids_split,
)
from headrace.core.expiring import Expired, has_retention
from headrace.core.job import RECORD_BYTES, TERMINAL
from headrace.core.sweeping import NOT_KNOWN, Ended
from headrace.store import expiries, layout, lists, outbox
from headrace.store._rows import unseal_records, unseal_specs
from headrace.store.attempts import AttemptEnd, unpack
from headrace.store.contract import (
    KeyValue,
    ListQuery,
    LivePage,
    Page,
    Position,
    RecordCorrupt,
    Restored,
    Row,
    Stats,
    StoreDamaged,
    StoredJob,
    StoredProgress,
    StoreTooNew,
    after,
    prefix_end,
    walk,
)
from headrace.store.layout import MetaKey, NewRows, Table
from headrace.store.memory import MemoryKeyValue
from headrace.store.owners import Owners
from headrace.wire.documents import AuditEntry, Kind

SHARD: Final = 0
"""Of this server; more come with clusters."""
LOG_READ_MAX: Final = 1_000
"""Pieces of a log returned at once."""
EPOCH_MAX: Final = (1 << 32) - 1
RESTORE_ROWS: Final = 4_096
"""Live jobs read at once at a start: the page and its copies stay in a processor's cache."""
_MISSING: Final = object()
_NOT_STORED: Final = (Answered, Noted)


class Batch:
    """What one turn of the loop changed; one commit."""

    __slots__ = ("at_ms", "changes", "position")

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self.changes = NewRows()
        self.position = Position(SHARD, 0, 0)
        """Of this commit; of the one before, if there is nothing to commit."""

    @property
    def empty(self) -> bool:
        return not self.changes

    @property
    def rows(self) -> int:
        return len(self.changes)


class Store:
    """One shard's jobs. `stage`, `settle` and all reads belong to one thread, `write` to any one.

    Opening refuses a newer format without changing it, and makes the store if there is none.
    """

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        self._pending: deque[Batch] = deque()
        """Staged and not settled, oldest first: what the engine's reads look at first."""
        self._owners = Owners()
        self.documents = DocumentTable()
        """As committed."""
        self._commits = 0
        self._commit_ms = 0.0
        self.corrupt_records = 0
        """Times a row failed its checksum since start."""
        if self._kv.get(layout.META, MetaKey.FORMAT) is None:
            self._create()
        self._check_format()
        self._secret = self._meta(MetaKey.SECRET)
        self._epoch = int.from_bytes(self._meta(MetaKey.EPOCH), "big")
        try:
            commit = layout.commit_unpack(self._meta(MetaKey.COMMIT))
        except msgspec.MsgspecError as error:
            raise StoreDamaged(f"row {MetaKey.COMMIT!r} of META: {error}") from error
        self._seq = commit.seq
        self._at_ms = commit.at_ms
        self._chain = commit.chain
        self._restored = False

    def _create(self) -> None:
        if used := [table.name for table in Table if self._kv.count(table)]:
            raise StoreDamaged(f"it has rows in {', '.join(used)} and no format")
        rows = NewRows()
        for key, payload in (
            (MetaKey.FORMAT, layout.number_key(layout.FORMAT)),
            (MetaKey.SECRET, secrets.token_bytes(layout.SECRET_BYTES)),
            (MetaKey.EPOCH, layout.number_key(0)),
            (MetaKey.COMMIT, layout.commit_pack(layout.CommitRecord(SHARD, 0, 0, 0, bytes(16)))),
        ):
            rows.put(layout.META, key, payload)
        self._kv.write(rows)

    def _check_format(self) -> None:
        found = int.from_bytes(self._meta(MetaKey.FORMAT), "big")
        if found > layout.FORMAT:
            raise StoreTooNew(found, layout.FORMAT)
        if found < layout.FORMAT:
            raise StoreDamaged(f"format {found} was never written by any version")
        for table in Table:
            self._kv.count(table)  # which refuses a table that is missing

    def _meta(self, key: bytes) -> bytes:
        value = self._kv.get(layout.META, key)
        if value is None:
            raise StoreDamaged(f"row {key!r} of META is missing")
        try:
            return layout.unseal(layout.META, key, value)
        except RecordCorrupt as error:
            raise StoreDamaged(f"row {key!r} of META fails its checksum") from error

    # Writing ------------------------------------------------------------------------------------

    def stage(self, effects: Iterable[Effect], at_ms: int) -> Batch:
        """Translate effects to the rows of one commit. `at_ms`: the engine's clock."""
        assert self._restored, "a store is restored before it is written: the epoch must rise"
        batch = Batch(at_ms)
        rows = batch.changes
        self._pending.append(batch)  # first, so that a deletion sees what came before it
        translations = layout.TRANSLATIONS
        for effect in effects:
            translation = translations.get(type(effect))
            if translation is not None:
                if type(effect) is JobRedriven:
                    self._unlist_finished(rows, effect.job_id)
                translation(rows, effect)
                if type(effect) is OwnerStored:
                    self._owners.add(effect.owner_id, (effect.tenant, effect.user))
            elif type(effect) is JobDeleted:
                self._stage_deletion(rows, effect)
            else:
                assert isinstance(effect, _NOT_STORED), effect
        if rows:
            self._seq += 1
            self._chain = blake2b(self._chain + rows.link(), digest_size=16).digest()
            self._at_ms = at_ms
            self._stage_commit(rows)
        else:
            self._pending.pop()
        batch.position = self.position
        return batch

    @property
    def position(self) -> Position:
        """The last commit staged."""
        return Position(SHARD, self._epoch, self._seq)

    def _stage_commit(self, rows: NewRows) -> None:
        commit = layout.CommitRecord(SHARD, self._epoch, self._seq, self._at_ms, self._chain)
        packed = layout.commit_pack(commit)
        rows.put(layout.META, MetaKey.COMMIT, packed)

    def _stage_deletion(self, rows: NewRows, effect: JobDeleted) -> None:
        """Find what the effect does not say: status, idempotency key, pieces of the log.

        A corrupt row must not keep its job for ever: it is taken away by guess.
        """
        job_id = effect.job_id
        statuses = TERMINAL
        key_digest = b""
        scheduled_at_ms: int | None = None
        try:
            if (done := self._row(layout.DONE, job_id)) is not None:
                statuses = frozenset({layout.finished_unpack(done).status})
        except (RecordCorrupt, msgspec.MsgspecError):
            pass  # `_row` has counted it, and all statuses are tried
        try:
            if (spec := self._row(layout.SPEC, job_id)) is not None:
                envelope = layout.envelope_unpack(spec)
                key_digest = envelope.key_digest
                scheduled_at_ms = lists.scheduled_at_ms(envelope.spec)
            held = self.key(key_digest) if key_digest else None
            if held is not None and held[0] != job_id:
                key_digest = b""  # it has become another job's
        except RecordCorrupt:
            pass  # the key, if there is one, stays and names a job that is gone
        self._unlist_finished(rows, job_id)
        log_keys = self._log_keys(job_id)
        layout.job_deleted(
            rows, job_id, effect.owner_id, statuses, key_digest, scheduled_at_ms, log_keys
        )

    def _unlist_finished(self, rows: NewRows, job_id: bytes) -> None:
        """Take a job out of its row of BY_FINISHED; drop the row that names no other.

        Of a job whose end cannot be read it stays there, and counts for nothing.
        """
        try:
            done = self._row(layout.DONE, job_id)
            finished = None if done is None else layout.finished_unpack(done)
        except (RecordCorrupt, msgspec.MsgspecError):
            finished = None
        if finished is None:
            return
        if has_retention(finished.record):
            expiries.drop(rows, self._row, job_id, finished.finished_at_ms)
        table = layout.BY_FINISHED
        start = bytes([finished.status]) + layout.ms_key(finished.finished_at_ms)
        known: dict[bytes, bytes | None] = dict(walk(self._kv, table, start, prefix_end(start)))
        for batch in self._pending:
            known.update(batch.changes.items(table, start))
        for key, value in known.items():
            if value is None or len(value) < 4 + layout.JOB_ID_BYTES:
                continue
            ids = ids_split(value[4:])
            if job_id in ids:
                ids.remove(job_id)
                if ids:
                    rows.put(table, key, b"".join(ids))
                else:
                    rows.set(table, key, None)

    def _log_keys(self, job_id: bytes) -> list[bytes]:
        keys = [key for one in self._pending for key in one.changes.keys(layout.LOGS, job_id)]
        keys += (key for key, _ in walk(self._kv, layout.LOGS, job_id, prefix_end(job_id)))
        return keys

    def write(self, batch: Batch) -> None:
        """Commit. Durable on return. Raises: `StoreFull` (may be tried again), `StoreBroken`."""
        if batch.empty:
            return
        began = perf_counter()
        self._kv.write(batch.changes)
        self._commit_ms = (perf_counter() - began) * 1_000
        self._commits += 1

    def settle(self, batch: Batch) -> None:
        """Forget a written batch: its rows are read from the committed ones now."""
        if batch.empty:
            return
        assert self._pending, "settled twice, or never staged"
        assert self._pending[0] is batch, "batches are settled in the order of their staging"
        self._pending.popleft()
        for key, value in batch.changes.items(layout.DOCUMENTS):
            if value is None:
                self.documents.drop(*layout.document_key_parse(key))
            else:
                self.documents.put(layout.document_unpack(key, value[4:]))

    # The engine's reads (`Archive`): staged rows first ------------------------------------------

    def finished(self, job_id: bytes) -> Finished | None:
        payload = self._row(layout.DONE, job_id)
        if payload is None:
            return None
        finished = layout.finished_unpack(payload)
        if layout.body_apart(payload):
            body = self._row(layout.BODIES, job_id)
            if body is None:
                raise self._corrupt(layout.BODIES, job_id)
            finished.body = body
        return finished

    def key(self, digest: bytes) -> tuple[bytes, bytes] | None:
        payload = self._row(layout.KEYS, digest)
        return None if payload is None else layout.key_unpack(payload)

    def has_module(self, key: bytes) -> bool:
        return self._row(layout.MODULE_SIZES, key) is not None

    def owner_of(self, job_id: bytes) -> int | None:
        payload = self._row(layout.SPEC, job_id)
        return None if payload is None else layout.envelope_unpack(payload).owner_id

    def spec_of(self, job_id: bytes) -> bytes | None:
        payload = self._row(layout.SPEC, job_id)
        return None if payload is None else layout.envelope_unpack(payload).spec

    def trail(self, job_id: bytes) -> Trail | None:
        payload = self._row(layout.LIVE, job_id)
        return None if payload is None else layout.live_unpack(payload)[1]

    def noted(self, job_id: bytes) -> int:
        start, stop = layout.progress_key(job_id, 0), layout.attempt_key(job_id, 0)
        rows = self._kv.scan(layout.LOGS, start, stop, reverse=True, limit=1)
        numbers = [layout.progress_number(key) for key, _ in rows]
        for batch in self._pending:
            for key in batch.changes.keys(layout.LOGS, job_id):
                if start <= key < stop:
                    numbers.append(layout.progress_number(key))
        return max(numbers, default=-1) + 1 if numbers else 0

    def ended(
        self, start: bytes, stop: bytes, limit: int, *, types: bool
    ) -> tuple[list[Ended], bytes | None]:
        """Return finished jobs with start <= id < stop, oldest id first, and where to go on.

        As committed; those whose end is staged to change are left out. A damaged row tells nothing
        of when its job ended, or of its type. `types`: tell them, at the cost of reading the specs.
        """
        rows = self._kv.scan(layout.DONE, start, stop, limit=limit)
        if not rows:
            return [], None
        rows_kept = [row for row in rows if not self._is_staged(layout.DONE, row[0])]
        specs: list[bytes | None] = [None] * len(rows_kept)
        if types:
            [specs] = self._kv.get_columns((layout.SPEC,), [job_id for job_id, _ in rows_kept])
        found = []
        for (job_id, value), spec in zip(rows_kept, specs, strict=True):
            at_ms, record, job_type = NOT_KNOWN, b"", None
            try:
                at_ms, record = layout.ended_unpack(layout.unseal(layout.DONE, job_id, value))
                if spec is not None:
                    envelope = layout.envelope_unpack(layout.unseal(layout.SPEC, job_id, spec))
                    job_type = layout.spec_type(envelope.spec)
            except (RecordCorrupt, msgspec.MsgspecError):
                self.corrupt_records += 1
            found.append(Ended(job_id, at_ms, record, job_type))
        return found, after(rows[-1][0])

    def ends_staged(self, start: bytes, stop: bytes) -> bool:
        return any(
            start <= job_id < stop
            for batch in self._pending
            for job_id in batch.changes.keys(layout.DONE)
        )

    def expired(
        self, after_key: bytes, until_ms: int, limit: int
    ) -> tuple[list[Expired], bytes | None]:
        """Return jobs behind a key whose own time is over by then, and where to go on."""
        is_staged = partial(self._is_staged, layout.DONE)
        return expiries.over(self._kv, self._row, is_staged, after_key, until_ms, limit)

    def delivery_waits(self, endpoint: bytes, due_ms: int, number: int) -> bool:
        return self._row(layout.OUTBOX, layout.outbox_key(endpoint, due_ms, number)) is not None

    def delivery_over(self, endpoint: bytes, slot: int) -> Delivery | None:
        payload = self._row(layout.SENT, layout.sent_key(endpoint, slot))
        return None if payload is None else layout.sent_unpack(payload)[1]

    def deliveries_over(self, endpoint: bytes) -> int:
        """Return how many were over ever, as committed: asked before the first that is now."""
        found = outbox.over(self._kv, endpoint)
        return found[0][0] + 1 if found else 0

    def _row(self, table: int, key: bytes) -> bytes | None:
        """Return a payload, staged or committed."""
        for batch in reversed(self._pending):
            value = batch.changes.get(table, key, _MISSING)
            if value is not _MISSING:
                assert value is None or isinstance(value, bytes)
                return None if value is None else value[4:]
        return self._committed(table, key)

    def _is_staged(self, table: int, key: bytes) -> bool:
        return any(batch.changes.holds(table, key) for batch in self._pending)

    # Committed reads ----------------------------------------------------------------------------

    def _committed(self, table: int, key: bytes) -> bytes | None:
        return self._unseal(table, key, self._kv.get(table, key))

    def _unseal(self, table: int, key: bytes, value: bytes | None) -> bytes | None:
        if value is None:
            return None
        try:
            return layout.unseal(table, key, value)
        except RecordCorrupt:
            self.corrupt_records += 1
            raise

    def _corrupt(self, table: int, key: bytes) -> RecordCorrupt:
        self.corrupt_records += 1
        return RecordCorrupt(table, key)

    def job(self, job_id: bytes) -> StoredJob | None:
        """Return a job with its whole result. Raises `RecordCorrupt`."""
        tables = (layout.SPEC, layout.LIVE, layout.DONE, layout.BODIES)
        columns = self._kv.get_columns(tables, [job_id])
        spec, live, done, body = (
            self._unseal(table, job_id, value)
            for table, (value,) in zip(tables, columns, strict=True)
        )
        if spec is None:
            if live is not None or done is not None:
                raise self._corrupt(layout.SPEC, job_id)
            return None
        if live is None and done is None:
            raise self._corrupt(layout.LIVE, job_id)
        envelope = layout.envelope_unpack(spec)
        found = StoredJob(job_id, envelope.owner_id, envelope.spec, live, done)
        if found.finished is not None and done is not None and layout.body_apart(done):
            if body is None:
                raise self._corrupt(layout.BODIES, job_id)
            found.finished.body = body
        return found

    def record(self, job_id: bytes) -> bytes | None:
        """Return the record of a live job; None for no such job, or for a corrupt row."""
        try:
            payload = self._committed(layout.LIVE, job_id)
        except RecordCorrupt:
            return None
        return None if payload is None else payload[:RECORD_BYTES]

    def spec(self, job_id: bytes) -> bytes | None:
        return self.specs([job_id])[0]

    def specs(self, job_ids: list[bytes]) -> list[bytes | None]:
        """Return the specs of several jobs, as stored. Raises `RecordCorrupt`."""
        [values] = self._kv.get_columns((layout.SPEC,), job_ids)
        try:
            return unseal_specs(layout.SPEC, job_ids, values)
        except RecordCorrupt:
            self.corrupt_records += 1
            raise

    def checkpoint(self, job_id: bytes) -> bytes | None:
        return self._committed(layout.CHECKPOINTS, job_id)

    def module(self, key: bytes) -> bytes | None:
        """Return a module by its key (`module_keys`)."""
        return self._committed(layout.MODULES, key)

    def module_of_any(self, sha256: bytes) -> bytes | None:
        """Return a module of whichever tenant: its bytes are the same."""
        stop = sha256 + b"\xff" * len(sha256)
        for key, _ in self._kv.scan(layout.MODULE_SIZES, sha256, stop, limit=1):
            return self._committed(layout.MODULES, key)
        return None

    def has_module_committed(self, key: bytes) -> bool:
        return self._committed(layout.MODULE_SIZES, key) is not None

    def logs(
        self, job_id: bytes, after_position: int = -1, limit: int = LOG_READ_MAX
    ) -> list[tuple[int, bytes]]:
        """Return pieces of a log behind a position, in order; may be fewer than there are."""
        start = layout.log_key(job_id, after_position + 1)
        rows = self._kv.scan(layout.LOGS, start, layout.progress_key(job_id, 0), limit=limit)
        return [
            (layout.log_position(key), self._unseal(layout.LOGS, key, value) or b"")
            for key, value in rows
        ]

    def log_bytes(self, job_id: bytes) -> int:
        """Return how much log a job has, without the checksums."""
        rows = walk(self._kv, layout.LOGS, job_id, layout.progress_key(job_id, 0))
        return sum(len(value) - 4 for _, value in rows)

    def progress(
        self, job_id: bytes, limit: int = 1, *, newest_first: bool = True
    ) -> list[StoredProgress]:
        """Return reports of a job's progress."""
        start, stop = layout.progress_key(job_id, 0), layout.attempt_key(job_id, 0)
        rows = self._kv.scan(layout.LOGS, start, stop, reverse=newest_first, limit=limit)
        return list(map(self._progress, rows))

    def progress_last(self, job_ids: Sequence[bytes]) -> list[StoredProgress | None]:
        """Return the last report of the progress of each job."""
        ranges = [(layout.progress_key(id_, 0), layout.attempt_key(id_, 0)) for id_ in job_ids]
        rows = self._kv.get_lasts(layout.LOGS, ranges)
        return [None if row is None else self._progress(row) for row in rows]

    def _progress(self, row: Row) -> StoredProgress:
        key, value = row
        payload = self._unseal(layout.LOGS, key, value) or b""
        return StoredProgress(layout.progress_number(key), *layout.progress_unpack(payload))

    def attempts(self, job_id: bytes) -> list[AttemptEnd]:
        """Return how a job's attempts ended, oldest first; those that completed are not told."""
        start, stop = layout.attempt_key(job_id, 0), prefix_end(job_id)
        rows = walk(self._kv, layout.LOGS, start, stop)
        return [unpack(self._unseal(layout.LOGS, key, value) or b"") for key, value in rows]

    def audit(self, before: int | None, limit: int) -> list[AuditEntry]:
        """Return entries of the audit log below a number, newest first."""
        stop = None if before is None else layout.audit_key(before)
        rows = self._kv.scan(layout.AUDIT, stop=stop, reverse=True, limit=limit)
        payloads = (self._unseal(layout.AUDIT, key, value) for key, value in rows)
        return [layout.audit_unpack(payload) for payload in payloads if payload is not None]

    def outbox_page(
        self, endpoint: bytes, limit: int, after: Delivery | None = None
    ) -> list[Delivery]:
        """Return what waits for an endpoint, what is due first at the beginning."""
        key = b""
        if after is not None:
            key = layout.outbox_key(after.endpoint, after.due_ms, after.number)
        return outbox.waiting(self._kv, endpoint, limit, key)

    def outbox_first(self) -> Iterable[Delivery]:
        """Yield for each endpoint that something waits for what is due there first."""
        return outbox.waiting_first(self._kv)

    def outbox_count(self) -> int:
        return self._kv.count(layout.OUTBOX)

    def sent(self, endpoint: bytes) -> list[tuple[int, int, Delivery]]:
        """Return (number, slot, delivery) of what is over, the newest first."""
        return outbox.over(self._kv, endpoint)

    def list_jobs(self, query: ListQuery) -> Page:
        """Return a page of jobs. Looks at `LIST_EXAMINED_MAX` of them at most, never at all.

        Raises: `OrderTooWide`.
        """
        return next(page for page in self.list_steps(query) if page is not None)

    def list_steps(self, query: ListQuery) -> Iterator[Page | None]:
        """Yield None a few times, about every ms, then a page of jobs.

        Raises: `OrderTooWide`.
        """
        for page in lists.list_steps(self._kv, query, self._owners.meant(query)):
            if page is not None:
                self.corrupt_records += len(page.corrupt)
            yield page

    def last_id(self) -> bytes:
        """Return the greatest id of all jobs that are known; empty if there is none."""
        last = self._kv.scan(layout.SPEC, reverse=True, limit=1)
        return last[0][0] if last else b""

    # Start and end ------------------------------------------------------------------------------

    def restore(self) -> Restored:
        """Raise the epoch, durably, and return what the engine starts from."""
        assert not self._restored, "restored twice"
        if self._epoch >= EPOCH_MAX:
            raise StoreDamaged(f"epoch {self._epoch} is the last one")
        self._epoch += 1
        self._seq += 1
        rows = NewRows()
        epoch = layout.number_key(self._epoch)
        rows.put(layout.META, MetaKey.EPOCH, epoch)
        self._chain = blake2b(self._chain + rows.link(), digest_size=16).digest()
        self._stage_commit(rows)
        self._kv.write(rows)
        self._restored = True
        corrupt: list[tuple[int, bytes]] = []
        classes = {
            int.from_bytes(key, "big"): layout.class_unpack(payload)
            for key, payload in self._sound_rows(layout.CLASSES, corrupt)
        }
        for key, payload in self._sound_rows(layout.OWNERS, corrupt):
            self._owners.add(int.from_bytes(key, "big"), layout.owner_unpack(payload))
        self._owners.all_known = len(self._owners.who) == self._kv.count(layout.OWNERS)
        for key, payload in self._sound_rows(layout.DOCUMENTS, corrupt):
            self.documents.put(layout.document_unpack(key, payload))
        self.documents.damaged = {key[0] for table, key in corrupt if table == layout.DOCUMENTS}
        waiting: Counter[tuple[bytes, str]] = Counter()
        number_last = 0
        for _, payload in self._sound_rows(layout.OUTBOX, corrupt):
            one = layout.delivery_unpack(payload)
            waiting[one.endpoint, one.tenant] += 1
            number_last = max(number_last, one.number)
        last = self._kv.scan(layout.AUDIT, reverse=True, limit=1)
        return Restored(
            epoch=self._epoch,
            secret=self._secret,
            position=self.position,
            at_ms=self._at_ms,
            classes=classes,
            owners=dict(self._owners.who),
            documents=[one for kind in Kind for one in self.documents.of(kind).values()],
            deliveries_waiting=[(*key, count) for key, count in waiting.items()],
            delivery_last=number_last,
            audit_last=int.from_bytes(last[0][0], "big") if last else 0,
            # Numbers begin at 0 and no row is ever deleted: the rows tell how many there are.
            owners_next=max(self._kv.count(layout.OWNERS), max(self._owners.who, default=-1) + 1),
            jobs_live=self._kv.count(layout.LIVE),
            live=lambda: self._live(corrupt),
            waits={
                job_id: layout.waits_unpack(payload)
                for job_id, payload in self._sound_rows(layout.AFTER, corrupt)
            },
            corrupt=corrupt,
        )

    def _live(self, corrupt: list[tuple[int, bytes]]) -> Iterator[LivePage]:
        """Yield the jobs of LIVE as `_sound_rows` would, a page at a time."""
        last = b""
        seen = 0
        for page in self._kv.walk_packed(layout.LIVE, RESTORE_ROWS):
            rows, trails, unsound, last, count = unseal_records(
                layout.LIVE, page, last, layout.JOB_ID_BYTES, RECORD_BYTES
            )
            seen += count
            self.corrupt_records += len(unsound)
            corrupt.extend((layout.LIVE, key) for key in unsound)
            yield LivePage(rows, trails)
        self._check_count(layout.LIVE, seen)

    def _sound_rows(
        self, table: int, corrupt: list[tuple[int, bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and payload of each row; a corrupt one is reported and left where it is.

        Raises: `StoreDamaged` if rows are missing, or come twice.
        """
        last = b""
        seen = 0
        for key, value in walk(self._kv, table):
            if key <= last:
                raise StoreDamaged(f"rows of table {table} are out of order at {key.hex()}")
            last = key
            seen += 1
            try:
                payload = layout.unseal(table, key, value)
            except RecordCorrupt:
                self.corrupt_records += 1
                corrupt.append((table, key))
            else:
                yield key, payload
        self._check_count(table, seen)

    def _check_count(self, table: int, seen: int) -> None:
        told = self._kv.count(table)
        if seen != told:
            raise StoreDamaged(f"table {table} has {seen} rows and tells {told}")

    def bytes_free(self) -> int:
        """Return what the file system has left; a system call."""
        return self._kv.bytes_free()

    def stats(self) -> Stats:
        return Stats(
            bytes_used=self._kv.bytes_used(),
            bytes_free=self._kv.bytes_free(),
            commits=self._commits,
            commit_ms=self._commit_ms,
            pending=len(self._pending),
            corrupt_records=self.corrupt_records,
            jobs_live=self._kv.count(layout.LIVE),
            jobs_finished=self._kv.count(layout.DONE),
        )

    def close(self) -> None:
        self._kv.close()


def open_store(path: Path | None, *, accept_any_filesystem: bool = False) -> Store:
    """Open the store in a directory, which is made if it is not there. None: in memory.

    Raises: `StoreBusy`, `StoreUnsuitable`, `StoreExposed`, `StoreTooNew`, `StoreDamaged`,
    `StoreBroken`.
    """
    if path is None:
        return Store(MemoryKeyValue())
    from headrace.store.lmdb import LmdbKeyValue  # a store in memory needs no LMDB

    kv = LmdbKeyValue(path, accept_any_filesystem=accept_any_filesystem)
    try:
        return Store(kv)
    except BaseException:
        kv.close()
        raise
