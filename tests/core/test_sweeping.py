"""Finished jobs go when their time is over."""

import pytest
from engine_rig import ADMIN, ALICE, MakeRig, Rig, job_id, needs

from headrace.core import sweeping
from headrace.core.commands import Act, Cleanup, NewJobs, Outcome, PutDocument, Submit, Sweep, Tick
from headrace.core.effects import AuditNoted, Effect, JobDeleted
from headrace.core.live import EngineConfig
from headrace.core.sweeping import NOT_KNOWN, Ended, Keeping
from headrace.store.store import Batch
from headrace.wire.documents import Kind, TypeDocument, body_of
from headrace.wire.limits import DAY_MS, HOUR_MS, SWEEP_JOBS_MAX

KEEP_MS = DAY_MS
YEAR_MS = 365 * DAY_MS


def submit(rig: Rig, kind: str = "echo", count: int = 1) -> list[bytes]:
    """Submit jobs whose ids say when."""
    ids = []
    for _ in range(count):
        rig.ids += 1
        job = rig.wall_ms.to_bytes(6, "big") + job_id(rig.ids)[6:]
        spec = b'{"id":"%d","type":"%b"}' % (rig.ids, kind.encode())
        new = NewJobs(job, [spec], needs(kind=kind), 5, 3_600_000, 1_000, 200, 2)
        rig.apply(Submit(ALICE, [new]))
        ids.append(job)
    return ids


def finish(rig: Rig, kind: str = "echo", count: int = 1) -> list[bytes]:
    """Submit jobs and complete them."""
    ids = submit(rig, kind, count)
    for _ in ids:
        rig.report(rig.take(), Outcome.COMPLETED)
    return ids


def sweep(rig: Rig) -> list[bytes]:
    """Sweep all; return the jobs that went."""
    rig.apply(Tick(rig.wall_ms))
    gone: list[bytes] = []
    after: bytes | None = b""
    while after is not None:
        reply = rig.apply(Sweep(after))
        deleted = [effect.job_id for effect in rig.effects if isinstance(effect, JobDeleted)]
        assert len(deleted) == reply.deleted <= SWEEP_JOBS_MAX
        gone += deleted
        after = reply.next_id
    return gone


def pass_time(rig: Rig, ms: int) -> None:
    rig.now_ms += ms


def test_a_job_stays_as_long_as_it_is_to_be_kept_and_not_longer(rig: Rig) -> None:
    (job,) = finish(rig)
    pass_time(rig, KEEP_MS - 1)
    assert sweep(rig) == []
    pass_time(rig, 1)
    assert sweep(rig) == [job]
    assert rig.store.job(job) is None
    assert sweep(rig) == []


def test_the_time_counts_from_the_end_and_not_from_the_submit(rig: Rig) -> None:
    (job,) = submit(rig)
    pass_time(rig, 10 * KEEP_MS)
    assert sweep(rig) == []
    rig.report(rig.take(), Outcome.COMPLETED)
    pass_time(rig, KEEP_MS - 1)
    assert sweep(rig) == []
    pass_time(rig, 1)
    assert sweep(rig) == [job]


def test_live_jobs_stay_however_old(rig: Rig) -> None:
    jobs = submit(rig, count=2)
    rig.control(jobs[1], Act.SUSPEND)
    pass_time(rig, 10 * KEEP_MS)
    assert sweep(rig) == []
    assert [rig.live.jobs.find(job) >= 0 for job in jobs] == [True] * 2


def test_a_sweep_goes_on_over_parts(rig: Rig) -> None:
    jobs = finish(rig, count=3 * SWEEP_JOBS_MAX + 1)
    pass_time(rig, KEEP_MS)
    assert sweep(rig) == jobs


def test_a_type_says_how_long_its_jobs_are_kept(rig: Rig) -> None:
    for name, keep_ms in (("short", HOUR_MS), ("long", 3 * DAY_MS), ("ever", -1)):
        body = body_of(TypeDocument(retention_ms=keep_ms))
        rig.apply(PutDocument(ADMIN, Kind.TYPE, name, body))
    jobs = {kind: finish(rig, kind)[0] for kind in ("short", "echo", "long", "ever")}
    gone = {}
    for hours in range(0, 24 * 30, 1):
        for job in sweep(rig):
            gone[job] = hours
        pass_time(rig, HOUR_MS)
        if hours == 100:
            rig.open()
    assert gone == {jobs["short"]: 1, jobs["echo"]: 24, jobs["long"]: 72}
    rig.apply(PutDocument(ADMIN, Kind.TYPE, "ever", body_of(TypeDocument())))
    assert sweep(rig) == [jobs["ever"]], "what was passed over is looked at when a rule changes"


def test_without_a_retention_nothing_goes(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(retention_ms=None))
    finish(rig)
    pass_time(rig, YEAR_MS)
    assert sweep(rig) == []
    (mail,) = finish(rig, "mail")
    rig.apply(PutDocument(ADMIN, Kind.TYPE, "mail", body_of(TypeDocument(retention_ms=0))))
    pass_time(rig, 1)
    assert sweep(rig) == [mail]


def test_what_is_kept_long_is_not_looked_at_each_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.apply(PutDocument(ADMIN, Kind.TYPE, "ever", body_of(TypeDocument(retention_ms=-1))))
    finish(rig, "ever", count=3 * SWEEP_JOBS_MAX)
    pass_time(rig, KEEP_MS)
    looked: list[int] = []
    ended = rig.store.ended

    def counted(*args: object, **more: object) -> object:
        found = ended(*args, **more)  # type: ignore[arg-type]
        looked.append(len(found[0]))
        return found

    monkeypatch.setattr(rig.store, "ended", counted)
    for _ in range(24):
        sweep(rig)
        pass_time(rig, HOUR_MS)
    assert sum(looked) == 3 * SWEEP_JOBS_MAX, "once in the shortest retention"
    sweep(rig)
    assert sum(looked) == 6 * SWEEP_JOBS_MAX, "a job among them may have ended since"


def test_a_job_that_ends_among_those_passed_over_goes_in_time(rig: Rig) -> None:
    rig.apply(PutDocument(ADMIN, Kind.TYPE, "ever", body_of(TypeDocument(retention_ms=-1))))
    (late,) = submit(rig)
    finish_ever = submit(rig, "ever", count=3)
    lease = rig.take()
    for _ in finish_ever:
        rig.report(rig.take(), Outcome.COMPLETED)
    pass_time(rig, KEEP_MS)
    assert sweep(rig) == []
    rig.report(lease, Outcome.COMPLETED)
    for _ in range(24):
        assert sweep(rig) == []
        pass_time(rig, HOUR_MS)
    assert sweep(rig) == [late]


def test_a_job_that_ended_in_the_same_batch_goes_in_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (late,) = submit(rig)
    lease = rig.take()
    pass_time(rig, KEEP_MS)
    pending: list[Effect] = []
    with monkeypatch.context() as patch:
        patch.setattr(rig, "commit", lambda: pending.extend(rig.effects))
        rig.report(lease, Outcome.COMPLETED)
        pass_time(rig, 1_000)
        assert sweep(rig) == []
    rig.effects = pending
    rig.commit()
    pass_time(rig, KEEP_MS - 1_000)
    assert sweep(rig) == [late]


def test_a_job_whose_end_is_not_committed_yet_goes_in_time(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (late,) = submit(rig)
    lease = rig.take()
    pass_time(rig, KEEP_MS)
    batches: list[Batch] = []

    def stage() -> None:
        batches.append(rig.store.stage(rig.effects, rig.wall_ms))
        rig.engine.staged()

    with monkeypatch.context() as patch:
        patch.setattr(rig, "commit", stage)
        rig.report(lease, Outcome.COMPLETED)
        pass_time(rig, 1_000)
        assert sweep(rig) == []
    for batch in batches:
        rig.store.write(batch)
        rig.store.settle(batch)
    pass_time(rig, KEEP_MS - 1_000)
    assert sweep(rig) == [late]


def test_stretches_grow_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "STRETCH_JOBS", 10)
    keeping = Keeping(DAY_MS)
    for at in range(100):
        keeping.looked_at(b"%03d" % at, b"%03d" % (at + 1), 5 + at, 1)
    assert [(s.start, s.stop, s.due_ms) for s in keeping._made] == [
        (b"%03d" % at, b"%03d" % (at + 10), 5 + at) for at in range(0, 100, 10)
    ]


# Clocks -----------------------------------------------------------------------------------------


def test_a_clock_that_jumps_ahead_deletes_nothing_at_once(rig: Rig) -> None:
    jobs = finish(rig, count=3)
    rig.wall_offset_ms = YEAR_MS
    assert sweep(rig) == []
    pass_time(rig, HOUR_MS)
    assert sweep(rig) == [], "there is time to set it right"
    rig.wall_offset_ms = 0
    pass_time(rig, KEEP_MS - HOUR_MS - 1)
    assert sweep(rig) == []
    pass_time(rig, 1)
    assert sweep(rig) == jobs


def test_a_clock_that_stays_ahead_is_believed_in_the_end(rig: Rig) -> None:
    jobs = finish(rig)
    rig.wall_offset_ms = YEAR_MS
    hours = 0
    while not (gone := sweep(rig)):
        pass_time(rig, HOUR_MS)
        hours += 1
    assert gone == jobs
    assert hours == 2


def test_a_clock_that_is_set_back_deletes_nothing(rig: Rig) -> None:
    finish(rig)
    pass_time(rig, KEEP_MS)
    rig.wall_offset_ms = -YEAR_MS
    assert sweep(rig) == []


def test_a_job_that_ends_after_the_clock_was_set_back_goes_in_time(rig: Rig) -> None:
    (job,) = submit(rig)
    rig.wall_offset_ms = 3 * HOUR_MS
    pass_time(rig, KEEP_MS)
    assert sweep(rig) == []
    rig.wall_offset_ms = 0
    assert sweep(rig) == []
    rig.control(job, Act.CANCEL)
    pass_time(rig, KEEP_MS - 1)
    assert sweep(rig) == []
    pass_time(rig, 1)
    assert sweep(rig) == [job]


def test_a_server_that_comes_back_after_a_year_deletes_nothing_at_once(rig: Rig) -> None:
    jobs = finish(rig)
    pass_time(rig, YEAR_MS)
    rig.open()
    assert sweep(rig) == []
    pass_time(rig, 3 * HOUR_MS)
    assert sweep(rig) == jobs


def test_a_damaged_row_is_kept_and_one_of_unknown_type_as_long_as_any() -> None:
    keeping = Keeping(10)
    assert keeping.over_ms(Ended(b"", NOT_KNOWN, b"", "")) > 1 << 50
    keeping.of_type("long", 500)
    assert keeping.over_ms(Ended(b"", 1_000, bytes(68), None)) == 1_500
    assert keeping.over_ms(Ended(b"", 1_000, bytes(68), "x")) == 1_010
    keeping.of_type("long", None)
    assert keeping.over_ms(Ended(b"", 1_000, bytes(68), None)) == 1_010


# What is in hand at the same time ---------------------------------------------------------------


def test_a_job_deleted_in_the_same_batch_is_not_deleted_twice(rig: Rig) -> None:
    (job,) = finish(rig)
    pass_time(rig, KEEP_MS)
    rig.apply(Tick(rig.wall_ms))
    effects = rig.engine.apply(rig.now_ms, Sweep())[1]
    assert effects == [JobDeleted(job, 0)]
    assert rig.engine.apply(rig.now_ms, Sweep())[1] == []
    batch = rig.store.stage(effects, rig.wall_ms)
    rig.engine.staged()
    assert rig.engine.apply(rig.now_ms, Sweep())[1] == [], "staged, and not written yet"
    rig.store.write(batch)
    rig.store.settle(batch)
    assert rig.engine.apply(rig.now_ms, Sweep())[1] == []


def test_its_idempotency_key_goes_with_it(rig: Rig) -> None:
    digest = b"k" * 16
    first = rig.submit(key_digest=digest, request_digest=b"r" * 16)
    rig.report(rig.take(), Outcome.COMPLETED)
    pass_time(rig, KEEP_MS)
    sweep(rig)
    assert rig.submit(key_digest=digest, request_digest=b"r" * 16) != first


# Cleanup ----------------------------------------------------------------------------------------


def test_an_operator_has_all_deleted_that_ended_long_ago(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(retention_ms=None))
    old = finish(rig, count=2)
    pass_time(rig, HOUR_MS)
    finish(rig)
    live = submit(rig)
    reply = rig.apply(Cleanup(ADMIN, HOUR_MS))
    assert (reply.deleted, reply.next_id is None) == (2, False)
    noted, *deleted = rig.effects
    assert [effect.job_id for effect in deleted if isinstance(effect, JobDeleted)] == old
    assert isinstance(noted, AuditNoted)
    assert (noted.entry.act, noted.entry.detail) == ("cleanup", "older than 1h")
    assert rig.apply(Cleanup(ADMIN, HOUR_MS, reply.next_id)).next_id is None
    assert rig.effects == [], "noted once"
    assert rig.live.jobs.find(live[0]) >= 0
