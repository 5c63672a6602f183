"""Jobs that say themselves how long they are kept go when that is over."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from engine_rig import ALICE, MakeRig, Rig, job_id, needs

from headrace.core.commands import (
    Act,
    Cleanup,
    Completions,
    Control,
    NewJobs,
    Outcome,
    Poll,
    PutDocument,
    Submit,
    Sweep,
    Tick,
)
from headrace.core.effects import ExpiriesSet, ExpiryDropped, JobDeleted
from headrace.core.expiring import expires_ms, may_go
from headrace.core.job import Status
from headrace.core.live import EngineConfig
from headrace.store import layout
from headrace.store._new_rows import NewRows
from headrace.wire.documents import Kind, TypeDocument, body_of
from headrace.wire.limits import DAY_MS, SWEEP_JOBS_MAX

YEAR_MS = 365 * DAY_MS


def submit(rig: Rig, retention: Any, count: int = 1, **fields: Any) -> list[bytes]:
    """Submit jobs that are alike, with ids that say when."""
    numbers = range(rig.ids + 1, rig.ids + 1 + count)
    rig.ids += count
    ids = [rig.wall_ms.to_bytes(6, "big") + job_id(number)[6:] for number in numbers]
    told: dict[str, Any] = {"name": "", "type": "echo"}
    if retention is not None:
        told["retention"] = retention
    specs = [msgspec.json.encode({"id": f"{number}", **told}) for number in numbers]
    like = (needs(), 5, 3_600_000, 1_000, 200, 0)
    new = NewJobs(b"".join(ids), specs, *like, retention=retention, **fields)
    rig.apply(Submit(ALICE, [new]))
    return ids


def sweep(rig: Rig) -> list[bytes]:
    """Sweep all; return the jobs that went."""
    rig.apply(Tick(rig.wall_ms))
    gone: list[bytes] = []
    after: bytes | None = b""
    while after is not None:
        reply = rig.apply(Sweep(after))
        gone += [effect.job_id for effect in rig.effects if isinstance(effect, JobDeleted)]
        after = reply.next_id
    return gone


def rows(rig: Rig) -> int:
    return rig.kv.count(layout.EXPIRIES)


def completed(rig: Rig) -> None:
    rig.report(rig.take(), Outcome.COMPLETED)


def failed(rig: Rig) -> None:
    rig.report(rig.take(), Outcome.FAILED)


def cancelled(rig: Rig) -> None:
    rig.control(next(iter(rig.live.jobs.ids())), Act.CANCEL)


@pytest.mark.parametrize("end", [completed, failed, cancelled])
def test_a_job_goes_when_its_own_time_is_over_however_it_ended(
    rig: Rig, end: Callable[[Rig], None]
) -> None:
    (job,) = submit(rig, 1.5)
    end(rig)
    rig.open()
    rig.now_ms += 1_499
    assert sweep(rig) == []
    rig.now_ms += 1
    assert sweep(rig) == [job]
    assert (rows(rig), rig.store.job(job)) == (0, None)


def test_its_own_time_goes_before_that_of_its_type_and_of_the_server(rig: Rig) -> None:
    rig.apply(PutDocument(ALICE, Kind.TYPE, "echo", body_of(TypeDocument(retention_ms=10))))
    (own,), (ever,), (of_type,) = (submit(rig, kept) for kept in (1, "never", None))
    for _ in range(3):
        completed(rig)
    rig.now_ms += 100
    assert sweep(rig) == [of_type]
    rig.now_ms += YEAR_MS
    assert sweep(rig) == [own]
    assert rig.store.job(ever) is not None


def test_jobs_that_one_poll_completes_are_each_kept_as_they_say(rig: Rig) -> None:
    mixed = [submit(rig, kept)[0] for kept in (None, 2, "never", 1)]
    leases = "".join(grant.lease for grant in rig.poll(jobs_max=9).jobs).encode()
    rig.apply(Poll(1, "w", reports=[Completions(leases, [b""] * 4)]))
    (expiries,) = [effect for effect in rig.effects if isinstance(effect, ExpiriesSet)]
    assert expiries.jobs == [(mixed[1], rig.wall_ms + 2_000), (mixed[3], rig.wall_ms + 1_000)]
    rig.now_ms += 1_000
    assert sweep(rig) == [mixed[3]]


def test_one_that_ends_in_the_batch_of_its_submit_is_kept_as_it_says(rig: Rig) -> None:
    """Nothing of it can be read yet."""
    new = NewJobs(
        job_id(9), [b'{"id":"9","retention":5}'], needs(), 5, 9_000, 1_000, 200, 0, retention=5
    )
    effects = rig.engine.apply(rig.now_ms, Submit(ALICE, [new]))[1]
    effects += rig.engine.apply(rig.now_ms, Control(ALICE, job_id(9), Act.CANCEL))[1]
    assert ExpiriesSet([(job_id(9), rig.wall_ms + 5_000)]) in effects


def test_many_go_in_bounded_parts(rig: Rig) -> None:
    ids = submit(rig, 1, count=2 * SWEEP_JOBS_MAX + 3)
    leases = "".join(grant.lease for grant in rig.poll(jobs_max=1_000).jobs).encode()
    rig.apply(Poll(1, "w", reports=[Completions(leases, [b""] * len(ids))]))
    rig.now_ms += 1_000
    rig.apply(Tick(rig.wall_ms))
    deleted = []
    after: bytes | None = b""
    while after is not None:
        reply = rig.apply(Sweep(after))
        deleted.append(reply.deleted)
        after = reply.next_id
    assert deleted == [SWEEP_JOBS_MAX, SWEEP_JOBS_MAX, 3]
    assert (rows(rig), rig.live.stats.swept_total) == (0, len(ids))


def test_a_job_that_runs_again_is_kept_from_its_next_end_on(rig: Rig) -> None:
    (job,) = submit(rig, 1)
    failed(rig)
    rig.now_ms += 999
    rig.control(job, Act.RETRY)
    assert rows(rig) == 0
    rig.now_ms += 1
    assert sweep(rig) == []
    completed(rig)
    rig.now_ms += 999
    assert sweep(rig) == []
    rig.now_ms += 1
    assert sweep(rig) == [job]


def test_a_row_of_no_end_that_there_was_goes_alone(rig: Rig) -> None:
    (job,) = submit(rig, 60)
    completed(rig)
    rig.effects = [ExpiriesSet([(job, 1), (job_id(77), 2)])]
    rig.commit()
    rig.apply(Tick(rig.wall_ms))
    rig.apply(Sweep())
    assert rig.effects == [ExpiryDropped(job, 1), ExpiryDropped(job_id(77), 2)]
    assert (rows(rig), rig.store.job(job) is not None) == (1, True)


def test_what_waits_for_its_end_hears_of_it_before_it_goes(rig: Rig) -> None:
    (job,) = submit(rig, 0)
    later = rig.submit(after=[job])
    completed(rig)
    assert rig.apply(Sweep()).deleted == 0
    rig.wait(1)
    assert (sweep(rig), rig.status(later)) == ([job], Status.QUEUED)


def test_an_operator_s_cleanup_takes_it_before_its_time(rig: Rig) -> None:
    (job,), (ever,) = submit(rig, 60), submit(rig, "never")
    completed(rig)
    completed(rig)
    rig.now_ms += 10
    rig.apply(Tick(rig.wall_ms))
    assert rig.apply(Cleanup(ALICE, 5)).deleted == 2
    assert (rows(rig), rig.store.job(job), rig.store.job(ever)) == (0, None, None)


def test_one_whose_spec_is_damaged_is_kept_as_the_server_says(make_rig: MakeRig) -> None:
    rig = make_rig(EngineConfig(retention_ms=7_000))
    (job,) = submit(rig, 1)
    lease = rig.take()
    sealed = rig.kv.get(layout.SPEC, job)
    assert sealed is not None
    rig.kv.write(NewRows({layout.SPEC: {job: b"????" + sealed[4:]}}))
    rig.report(lease, Outcome.COMPLETED)
    assert ExpiriesSet([(job, rig.wall_ms + 7_000)]) in rig.effects
    rig.now_ms += 6_999
    assert sweep(rig) == []
    rig.now_ms += 1
    assert sweep(rig) == [job]
    assert sweep(rig) == []
    assert rows(rig) == 0


def test_when_it_is_over_is_told_by_what_it_says() -> None:
    assert expires_ms(5, 1.5) == 1_505
    assert expires_ms(5, 0) == 5
    assert expires_ms(5, "never") is None
    assert expires_ms(5, None) is None


def test_a_job_in_the_first_place_of_the_table_stays_like_any_other(rig: Rig) -> None:
    first_id = rig.submit()
    assert rig.engine.live.jobs.find(first_id) == 0
    assert first_id not in rig.engine.live.fresh()
    assert not may_go(rig.engine.live, first_id)
