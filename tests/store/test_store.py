"""The store over either kind of rows."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import check_indexes
from store_samples import ENDINGS, commit, content, finished, job_id_at, record_of, stored

from headrace.core.commands import PollReply
from headrace.core.effects import (
    Answered,
    CheckpointStored,
    ClassDropped,
    ClassStored,
    Effect,
    JobChanged,
    JobDeleted,
    LogAppended,
    ModuleStored,
    Noted,
    OwnerStored,
    ProgressStored,
    Trail,
)
from headrace.core.job import Event, Status
from headrace.core.resources import Amounts, Requirements
from headrace.store import Store, layout, open_store
from headrace.store._new_rows import NewRows
from headrace.store.contract import (
    KeyValue,
    ListQuery,
    Order,
    Position,
    RecordCorrupt,
    Row,
    StoreDamaged,
    StoredProgress,
    StoreTooNew,
    prefix_end,
)
from headrace.store.layout import MetaKey, Table
from headrace.store.lmdb import LmdbKeyValue
from headrace.store.memory import MemoryKeyValue

JOB = job_id_at(1_000)
OTHER = job_id_at(1_000, 1)
KEY = b"k" * 16
SHA = b"s" * 32


def flip(kv: KeyValue, table: int, key: bytes) -> None:
    value = kv.get(table, key)
    assert value is not None
    kv.write(NewRows({table: {key: value[:-1] + bytes([value[-1] ^ 1])}}))


# A job's way ------------------------------------------------------------------------------------


def test_committed_job_is_read_back(store: Store) -> None:
    effect = stored(JOB, owner_id=7, spec=b'{"a":1}')
    commit(store, effect)
    job = store.job(JOB)
    assert job is not None
    assert (job.owner_id, job.spec, job.record) == (7, b'{"a":1}', effect.records)
    assert (job.status, job.trail, job.finished) == (Status.QUEUED, None, None)
    assert store.spec(JOB) == b'{"a":1}'
    assert (store.record(JOB), store.record(OTHER)) == (effect.records, None)
    assert store.specs([OTHER, JOB]) == [None, b'{"a":1}']
    assert store.job(OTHER) is None


def test_changed_job_has_its_new_record_and_trail(store: Store) -> None:
    commit(store, stored(JOB))
    record = record_of(JOB, Status.LOCKED, attempt=1)
    trail = Trail(updated_at_ms=4, worker="w", session="s", seq=3)
    commit(store, JobChanged(JOB, Event.LEASE, record, trail))
    job = store.job(JOB)
    assert job is not None
    assert (job.status, job.record, job.trail) == (Status.LOCKED, record, trail)
    assert store.record(JOB) == record


@pytest.mark.parametrize("size", [0, 10, layout.BODY_INLINE_BYTES_MAX, 100_000])
def test_finished_job_keeps_its_result_byte_for_byte(store: Store, size: int) -> None:
    body = bytes(n * 7 & 0xFF for n in range(size))
    ended = finished(JOB, Status.COMPLETED, body)
    commit(store, stored(JOB))
    commit(store, ended)
    job = store.job(JOB)
    assert job is not None
    assert job.finished == ended.finished == store.finished(JOB)
    assert (job.status, job.trail, job.record) == (Status.COMPLETED, None, ended.finished.record)
    assert store.stats().jobs_live == 0
    assert store.stats().jobs_finished == 1


def test_deleted_job_leaves_no_row(store: Store, kv: KeyValue) -> None:
    commit(store, stored(OTHER))
    before = content(kv)
    commit(store, stored(JOB, key=KEY))
    commit(store, LogAppended(JOB, 0, b"a"), LogAppended(JOB, 9, b"b"), CheckpointStored(JOB, b"1"))
    commit(store, finished(JOB, Status.FAILED, b"x" * 5_000))
    commit(store, JobDeleted(JOB, 1))
    assert content(kv) == before
    assert store.key(KEY) is None


def test_job_may_come_and_go_in_one_batch(store: Store, kv: KeyValue) -> None:
    before = content(kv)
    log = LogAppended(JOB, 1, b"log")
    commit(store, stored(JOB, key=KEY), log, finished(JOB), JobDeleted(JOB, 1))
    assert content(kv) == before


def test_deletion_sees_batches_that_are_not_written_yet(store: Store, kv: KeyValue) -> None:
    before = content(kv)
    batches = [
        store.stage([stored(JOB, key=KEY)], 1),
        store.stage([LogAppended(JOB, 1, b"log"), finished(JOB)], 2),
        store.stage([JobDeleted(JOB, 1)], 3),
    ]
    assert store.stats().pending == 3
    for batch in batches:
        store.write(batch)
    for batch in batches:
        store.settle(batch)
    assert content(kv) == before


def test_deletion_leaves_a_key_that_is_another_jobs(store: Store) -> None:
    commit(store, stored(JOB, key=KEY), finished(JOB))
    commit(store, stored(OTHER, key=KEY))
    commit(store, JobDeleted(JOB, 1))
    assert store.key(KEY) == (OTHER, b"r" * 16)


# What is seen when ------------------------------------------------------------------------------


def test_staged_effects_are_seen_by_the_engine_and_not_by_handlers(store: Store) -> None:
    ended = finished(JOB, body=b"x" * 5_000)
    batch = store.stage([stored(JOB, key=KEY), ModuleStored(SHA, b"\0asm"), ended], 5)
    for _ in range(2):
        assert store.owner_of(JOB) == 1
        assert store.key(KEY) == (JOB, b"r" * 16)
        assert store.finished(JOB) == ended.finished
        assert store.has_module(SHA)
        if store.stats().pending:
            assert store.job(JOB) is None
            assert store.spec(JOB) is None
            assert store.module(SHA) is None
            assert not store.has_module_committed(SHA)
            assert store.list_jobs(ListQuery()).jobs == []
            store.write(batch)
            store.settle(batch)
    assert store.job(JOB) is not None
    assert store.module(SHA) == b"\0asm"
    assert store.has_module_committed(SHA)


def test_staged_deletion_hides_the_committed_job_from_the_engine(store: Store) -> None:
    commit(store, stored(JOB, key=KEY), finished(JOB))
    batch = store.stage([JobDeleted(JOB, 1)], 5)
    assert (store.finished(JOB), store.key(KEY), store.owner_of(JOB)) == (None, None, None)
    assert store.job(JOB) is not None
    store.write(batch)
    store.settle(batch)
    assert store.job(JOB) is None


def test_newest_of_several_staged_batches_counts(store: Store) -> None:
    first = store.stage([stored(JOB, key=KEY), finished(JOB)], 1)
    second = store.stage([JobDeleted(JOB, 1), stored(OTHER, key=KEY)], 2)
    assert store.key(KEY) == (OTHER, b"r" * 16)
    store.write(first)
    store.settle(first)
    assert store.key(KEY) == (OTHER, b"r" * 16)
    assert store.finished(JOB) is None
    store.write(second)
    store.settle(second)
    assert store.key(KEY) == (OTHER, b"r" * 16)


def test_effects_for_the_shell_make_no_commit(store: Store) -> None:
    position = store.position
    batch = store.stage([Answered(1, PollReply()), Noted(JOB, 0.5, "half")], 5)
    store.write(batch)
    store.settle(batch)
    assert batch.empty
    assert batch.position == position
    assert store.stats().commits == 0


def test_position_rises_with_each_commit_and_restart(kv: KeyValue) -> None:
    store = Store(kv)
    assert store.restore().position == Position(0, 1, 1)
    assert str(commit(store, stored(JOB)).position) == "0:1:2"
    assert commit(store, finished(JOB)).position == Position(0, 1, 3)
    again = Store(kv)
    assert again.restore().position == Position(0, 2, 4)


def test_the_engines_clock_of_the_last_commit_outlives_starts_without_one(kv: KeyValue) -> None:
    store = Store(kv)
    assert store.restore().at_ms == 0
    commit(store, stored(JOB), at_ms=77)
    assert Store(kv).restore().at_ms == 77
    assert Store(kv).restore().at_ms == 77


def test_commit_record_chains_the_batches(kv: KeyValue) -> None:
    def record(*effects: Effect) -> layout.CommitRecord:
        commit(store, *effects, at_ms=77)
        value = kv.get(layout.META, MetaKey.COMMIT)
        assert value is not None
        return layout.commit_unpack(layout.unseal(layout.META, MetaKey.COMMIT, value))

    store = Store(kv)
    store.restore()
    first = record(stored(JOB))
    second = record(stored(OTHER))
    assert (first.shard, first.epoch, first.seq, first.at_ms) == (0, 1, 2, 77)
    assert second.seq == 3
    assert len({first.chain, second.chain, bytes(16)}) == 3


# Logs, checkpoints, classes, owners -------------------------------------------------------------


def test_log_is_read_in_pieces_from_a_position(store: Store) -> None:
    commit(store, stored(JOB), *(LogAppended(JOB, n * 10, b"%d" % n) for n in range(5)))
    commit(store, LogAppended(OTHER, 0, b"not mine"))
    pieces = [(0, b"0"), (10, b"1"), (20, b"2"), (30, b"3"), (40, b"4")]
    assert store.logs(JOB) == pieces
    assert store.logs(JOB, 10) == pieces[2:]
    assert store.logs(JOB, 9, limit=2) == pieces[1:3]
    assert store.logs(JOB, 40) == []
    assert store.log_bytes(JOB) == 5


def test_last_report_of_progress_is_told_of_many_jobs_at_once(store: Store) -> None:
    told = [ProgressStored(JOB, n, 5 + n, 2, n / 4, "so far") for n in range(3)]
    commit(store, stored(JOB), stored(OTHER), LogAppended(OTHER, 0, b"a log"), *told)
    last = StoredProgress(2, 7, 2, 0.5, "so far")
    assert store.progress_last([OTHER, JOB, OTHER]) == [None, last, None]
    assert store.progress(JOB) == [last]
    assert store.progress_last([]) == []


def test_last_checkpoint_counts(store: Store) -> None:
    assert store.checkpoint(JOB) is None
    commit(store, CheckpointStored(JOB, b"1"))
    commit(store, CheckpointStored(JOB, b"2"))
    assert store.checkpoint(JOB) == b"2"


def test_restore_returns_what_was_committed(kv: KeyValue) -> None:
    store = Store(kv)
    first = store.restore()
    assert (first.epoch, first.classes, first.owners, list(first.live())) == (1, {}, {}, [])
    asked = Requirements("q", "t", Amounts(1, 2, 3, 4), frozenset({"a100", "h100"}))
    gone = Requirements("q", "u", Amounts())
    trail = Trail(worker="w")
    locked = record_of(JOB, Status.LOCKED, attempt=1)
    commit(store, OwnerStored(1, "tenant", "user"), ClassStored(1, asked), ClassStored(2, gone))
    commit(store, stored(JOB), stored(OTHER), stored(job_id_at(1)), ClassDropped(2))
    commit(store, JobChanged(JOB, Event.LEASE, locked, trail), finished(job_id_at(1)))
    again = Store(kv)
    second = again.restore()
    assert second.secret == first.secret
    assert len(second.secret) == layout.SECRET_BYTES
    assert (second.epoch, second.classes, second.owners) == (2, {1: asked}, {1: ("tenant", "user")})
    queued = record_of(OTHER, Status.QUEUED)
    [page] = second.live()
    assert page.rows == JOB + locked + OTHER + queued
    assert (page.trail(JOB), page.trail(OTHER)) == (trail, Trail())
    assert second.corrupt == []
    assert store.job(JOB) == again.job(JOB)


def test_each_store_has_its_own_secret() -> None:
    assert open_store(None).restore().secret != open_store(None).restore().secret


def test_store_is_not_written_before_its_epoch_has_risen(kv: KeyValue) -> None:
    with pytest.raises(AssertionError):
        Store(kv).stage([stored(JOB)], 1)


def test_epoch_has_risen_on_disk_before_restore_returns(kv: KeyValue) -> None:
    epochs = [Store(kv).restore().epoch for _ in range(3)]
    assert epochs == [1, 2, 3]


# Damage -----------------------------------------------------------------------------------------


def test_corrupt_row_fails_its_job_and_no_other(store: Store, kv: KeyValue) -> None:
    commit(store, stored(JOB), stored(OTHER))
    for table in (layout.SPEC, layout.LIVE):
        flip(kv, table, JOB)
        with pytest.raises(RecordCorrupt) as error:
            store.job(JOB)
        assert (error.value.table, error.value.key) == (table, JOB)
        flip(kv, table, JOB)
        assert store.job(JOB) is not None
    flip(kv, layout.LIVE, JOB)
    assert store.record(JOB) is None
    assert store.job(OTHER) is not None
    page = store.list_jobs(ListQuery(newest_first=False))
    assert [job.job_id for job in page.jobs] == [OTHER]
    assert page.corrupt == [JOB]
    assert store.stats().corrupt_records == 4


@pytest.mark.parametrize("table", [layout.DONE, layout.BODIES])
def test_corrupt_result_is_never_returned(store: Store, kv: KeyValue, table: int) -> None:
    commit(store, stored(JOB), finished(JOB, body=b"x" * 5_000))
    flip(kv, table, JOB)
    with pytest.raises(RecordCorrupt):
        store.finished(JOB)
    with pytest.raises(RecordCorrupt):
        store.job(JOB)


@pytest.mark.parametrize("table", [layout.SPEC, layout.LIVE, layout.DONE, layout.BODIES])
def test_missing_row_of_a_job_is_not_taken_for_no_job(
    store: Store, kv: KeyValue, table: int
) -> None:
    commit(store, stored(JOB))
    if table != layout.LIVE:
        commit(store, finished(JOB, body=b"x" * 5_000))
    kv.write(NewRows({table: {JOB: None}}))
    with pytest.raises(RecordCorrupt):
        store.job(JOB)
    if table == layout.BODIES:
        with pytest.raises(RecordCorrupt):
            store.finished(JOB)


def test_restore_reports_corrupt_rows_and_returns_the_others(kv: KeyValue) -> None:
    store = Store(kv)
    store.restore()
    asked = Requirements("q", "t", Amounts())
    commit(store, stored(JOB), stored(OTHER), OwnerStored(1, "t", "u"), OwnerStored(2, "t", "v"))
    commit(store, ClassStored(1, asked), ClassStored(2, asked))
    flip(kv, layout.LIVE, JOB)
    flip(kv, layout.CLASSES, layout.number_key(2))
    flip(kv, layout.OWNERS, layout.number_key(1))
    restored = Store(kv).restore()
    assert [page.rows for page in restored.live()] == [OTHER + record_of(OTHER, Status.QUEUED)]
    assert restored.classes == {1: asked}
    assert (restored.owners, restored.owners_next) == ({2: ("t", "v")}, 3)
    assert sorted(restored.corrupt) == [
        (layout.LIVE, JOB),
        (layout.CLASSES, layout.number_key(2)),
        (layout.OWNERS, layout.number_key(1)),
    ]
    assert kv.get(layout.LIVE, JOB) is not None


def test_numbers_of_corrupt_owners_are_not_free(kv: KeyValue) -> None:
    store = Store(kv)
    assert store.restore().owners_next == 0
    commit(store, *(OwnerStored(number, "t", f"user {number}") for number in range(3)))
    for lost, sound in ((2, {0, 1}), (0, {1}), (1, set())):
        flip(kv, layout.OWNERS, layout.number_key(lost))
        restored = Store(kv).restore()
        assert (restored.owners.keys(), restored.owners_next) == (sound, 3)


@pytest.mark.parametrize("spoil", [lambda rows: rows[:-1], lambda rows: rows[::-1]])
def test_restore_refuses_lost_and_disordered_rows(
    monkeypatch: pytest.MonkeyPatch, spoil: Callable[[list[Row]], list[Row]]
) -> None:
    kv = MemoryKeyValue()
    store = Store(kv)
    store.restore()
    commit(store, stored(JOB), stored(OTHER))
    restored = Store(kv).restore()
    scan = kv.scan
    monkeypatch.setattr(kv, "scan", lambda *args, **kwargs: spoil(scan(*args, **kwargs)))
    with pytest.raises(StoreDamaged):
        list(restored.live())


@pytest.mark.parametrize("table", [layout.SPEC, layout.DONE, layout.BODIES, layout.KEYS])
def test_corrupt_job_can_be_deleted(store: Store, kv: KeyValue, table: int) -> None:
    commit(store, stored(JOB, key=KEY), finished(JOB, body=b"x" * 5_000), LogAppended(JOB, 1, b"x"))
    flip(kv, table, KEY if table == layout.KEYS else JOB)
    commit(store, JobDeleted(JOB, 1))
    left = {table: rows for table, rows in content(kv).items() if rows}
    # When it ended stood in the row that is corrupt; an id without its job counts for nothing.
    assert left.keys() <= ({"KEYS", "BY_FINISHED"} if table == layout.DONE else {"KEYS"})
    assert store.list_jobs(ListQuery(order=Order.FINISHED)).jobs == []
    assert store.job(JOB) is None


@pytest.mark.parametrize(
    "key", [MetaKey.FORMAT, MetaKey.SECRET, MetaKey.EPOCH, MetaKey.COMMIT], ids=bytes.decode
)
def test_store_without_its_sound_meta_rows_is_damaged(kv: KeyValue, key: bytes) -> None:
    commit_one = Store(kv)
    commit_one.restore()
    commit(commit_one, stored(JOB))
    flip(kv, layout.META, key)
    with pytest.raises(StoreDamaged):
        Store(kv)
    kv.write(NewRows({layout.META: {key: None}}))
    with pytest.raises(StoreDamaged):
        Store(kv)


def test_newer_format_is_refused_and_left_as_it_is(kv: KeyValue) -> None:
    Store(kv).restore()
    newer = layout.number_key(layout.FORMAT + 1)
    row = layout.seal(layout.META, MetaKey.FORMAT, newer)
    kv.write(NewRows({layout.META: {MetaKey.FORMAT: row}}))
    before = kv.scan(layout.META)
    with pytest.raises(StoreTooNew) as error:
        Store(kv)
    assert (error.value.found, error.value.known) == (layout.FORMAT + 1, layout.FORMAT)
    assert kv.scan(layout.META) == before


# Any effects ------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "change", "finish", "delete", "log", "checkpoint", "commit"]),
        st.integers(0, 5),
        st.integers(0, 4),
    ),
    max_size=40,
)


def effects_of(steps: list[tuple[str, int, int]]) -> list[list[Effect]]:
    """Return batches of effects as an engine could say them: only for jobs that are there."""
    batches: list[list[Effect]] = [[]]
    live: set[int] = set()
    done: set[int] = set()
    for at, (step, number, choice) in enumerate(steps):
        job_id = job_id_at(1_000 + number, number)
        owner_id = number % 2
        batch = batches[-1]
        if step == "commit":
            batches.append([])
        elif step == "submit" and number not in live | done:
            key = bytes([number]) * 16 if choice else b""
            batch.append(stored(job_id, owner_id=owner_id, key=key, spec=b"s%d" % at))
            live.add(number)
        elif step == "change" and number in live:
            record = record_of(job_id, Status.LOCKED, attempt=at)
            batch.append(JobChanged(job_id, Event.LEASE, record, Trail(seq=choice)))
        elif step == "finish" and number in live:
            status = sorted(ENDINGS)[choice]
            batch.append(finished(job_id, status, b"b" * (choice * 500)))
            live.remove(number)
            done.add(number)
        elif step == "delete" and number in done:
            batch.append(JobDeleted(job_id, owner_id))
            done.remove(number)
        elif step == "log" and number in live | done:
            batch.append(LogAppended(job_id, at, b"l" * choice))
        elif step == "checkpoint" and number in live:
            batch.append(CheckpointStored(job_id, b"c" * choice))
    return batches


@settings(max_examples=80, deadline=None)
@given(STEPS, st.integers(1, 3))
def test_both_kinds_hold_the_same_jobs_after_any_effects(
    steps: list[tuple[str, int, int]], pending_max: int
) -> None:
    with TemporaryDirectory() as directory:
        disk = LmdbKeyValue(Path(directory), accept_any_filesystem=True)
        contents = []
        for kv in (disk, MemoryKeyValue()):
            store = Store(kv)
            store.restore()
            staged = []
            for batch in effects_of(steps):
                staged.append(store.stage(batch, 1))
                store.write(staged[-1])
                if len([batch for batch in staged if not batch.empty]) >= pending_max:
                    store.settle(staged.pop(0))
            check_indexes(kv)
            contents.append(content(kv))
        assert contents[0] == contents[1]
        disk.close()


def test_prefix_of_a_job_ends_before_the_next_job() -> None:
    end = prefix_end(JOB)
    assert end is not None
    assert layout.log_key(JOB, 2**64 - 1) < end <= layout.log_key(OTHER, 0)


def test_ended_jobs_are_told_oldest_first_without_what_is_in_hand(store: Store) -> None:
    jobs = [job_id_at(at) for at in range(5)]
    for job_id in jobs:
        commit(store, stored(job_id, spec=b'{"type":"mail"}'), finished(job_id))
    found, end = store.ended(b"", jobs[4], 3, types=True)
    assert [(one.job_id, one.at_ms, one.type) for one in found] == [
        (job_id, 9, "mail") for job_id in jobs[:3]
    ]
    assert found[0].record == record_of(jobs[0], Status.COMPLETED, attempt=1)
    assert end is not None
    batch = store.stage([JobDeleted(jobs[3], 1)], 5)
    assert store.ended(end, jobs[4], 3, types=False) == ([], jobs[3] + b"\0")
    store.write(batch)
    store.settle(batch)
    assert store.ended(end, jobs[4], 3, types=False) == ([], None)
    found, _ = store.ended(end, prefix_end(jobs[4]) or b"", 3, types=False)
    assert [(one.job_id, one.type) for one in found] == [(jobs[4], None)]


def test_a_damaged_row_tells_nothing_of_its_end(store: Store, kv: KeyValue) -> None:
    commit(store, stored(JOB), finished(JOB), stored(OTHER), finished(OTHER))
    flip(kv, Table.DONE, JOB)
    flip(kv, Table.SPEC, OTHER)
    (first, second), _ = store.ended(b"", b"\xff" * 16, 9, types=True)
    assert (first.at_ms, first.type) == (-1, None)
    assert (second.at_ms, second.type) == (9, None)
    assert store.corrupt_records == 2
