"""Restart: what the store holds is what the engine has."""

from collections.abc import Iterator
from typing import Any

from engine_rig import ALICE, LEASE_MS, STRANGER, Rig, leases, needs

from headrace.core.commands import Act, Grant, Order, Outcome, PollReply, Progress, Submit
from headrace.core.effects import ClassDropped, ClassStored
from headrace.core.job import Status
from headrace.core.live import ROW_BYTES
from headrace.store import layout
from headrace.store._new_rows import NewRows
from headrace.store.contract import LivePage
from headrace.wire.problems import ProblemCode


def state(rig: Rig) -> dict[str, Any]:
    """Return what must be equal before and after a restart."""
    live = rig.live
    return {
        "jobs": {job_id: live.jobs.record(live.jobs.find(job_id)) for job_id in live.jobs.ids()},
        "ready": sorted(
            job_id for job_id in live.jobs.ids() if live.jobs.find(job_id) in live.match
        ),
        "leases": {
            token: (lease.holder.worker, lease.holder.session)
            for token, lease in leases(live).items()
        },
        "classes": {
            entry.class_id: (entry.requirements, entry.jobs) for entry in live.classes.entries()
        },
        "queued": live.stats.queued,
        "live": live.stats.live,
        "owners": live.owners,
    }


def lived(rig: Rig) -> dict[str, bytes]:
    """Bring jobs into every status a live one can have; return them by name."""
    jobs = {}
    for status in ("locked", "running", "suspending", "canceling", "lapsed"):
        jobs[status] = rig.submit(needs(kind=status))
        token = rig.take(f"on {status}", session=f"session of {status}", seq=3)
        if status == "running":
            rig.poll(progress=[Progress(token, started=True)], jobs_max=0)
        if status == "suspending":
            rig.control(jobs[status], Act.SUSPEND)
    others = [token for token, lease in rig.leases.items() if lease.holder.worker != "on lapsed"]
    rig.wait(LEASE_MS - 1)
    rig.poll(running=others, jobs_max=0)
    rig.wait(1)
    rig.control(jobs["canceling"], Act.CANCEL)
    jobs["suspended"] = rig.submit(needs(kind="suspended"))
    rig.control(jobs["suspended"], Act.SUSPEND)
    jobs["resuming"] = rig.submit(needs(kind="resuming"))
    rig.control(jobs["resuming"], Act.SUSPEND)
    rig.control(jobs["resuming"], Act.RESUME)
    jobs["queued"] = rig.submit()
    jobs["delayed"] = rig.submit(delay_ms=60_000)
    jobs["scheduled"] = rig.submit(scheduled_at_ms=rig.wall_ms + 90_000)
    jobs["deadline"] = rig.submit(start_before_at_ms=rig.wall_ms + 70_000)
    return jobs


def test_a_restart_changes_nothing(rig: Rig) -> None:
    lived(rig)
    before = state(rig)
    rig.open()
    assert rig.effects == []
    assert state(rig) == before


def test_each_lease_lives_on_for_a_full_term_with_its_worker(rig: Rig) -> None:
    jobs = lived(rig)
    rig.wait(LEASE_MS - 10)
    rig.open()
    rig.wait(LEASE_MS - 1)
    assert {lease.job_id for lease in rig.leases.values()} == {
        jobs[name] for name in ("locked", "running", "suspending", "canceling")
    }
    rig.wait(1)
    assert not rig.leases
    assert rig.status(jobs["suspending"]) is Status.SUSPENDED
    assert rig.status(jobs["canceling"]) is Status.CANCELLED


def test_timers_go_on_after_a_restart(rig: Rig) -> None:
    jobs = lived(rig)
    rig.open()
    rig.wait(59_999)
    assert rig.status(jobs["delayed"]) is Status.SCHEDULED
    rig.wait(1)
    assert rig.status(jobs["delayed"]) is Status.QUEUED
    rig.wait(10_000)
    assert rig.status(jobs["deadline"]) is Status.SKIPPED
    rig.wait(20_000)
    assert rig.status(jobs["scheduled"]) is Status.QUEUED


def test_orders_are_told_again_after_a_restart(rig: Rig) -> None:
    lived(rig)
    rig.open()
    tokens = {lease.holder.worker: token for token, lease in rig.leases.items()}
    for word, name in (("suspend", "suspending"), ("cancel", "canceling")):
        token = tokens[f"on {name}"]
        reply = rig.poll(running=[token], jobs_max=0)
        assert reply == PollReply(orders=[Order(token, word)])
        reply = rig.poll(session=f"session of {name}", jobs_max=0)
        assert reply == PollReply(), "told a moment ago"


def test_a_repeat_of_the_last_answer_survives_a_restart(rig: Rig) -> None:
    jobs = lived(rig)
    rig.open()
    reply = rig.poll("on locked", session="session of locked", seq=3)
    assert [grant.job_id for grant in reply.jobs] == [jobs["locked"]]
    assert isinstance(reply.jobs[0], Grant)


def test_a_late_report_counts_across_restarts(rig: Rig) -> None:
    rig.submit()
    token = rig.take()
    rig.open()
    rig.wait(LEASE_MS)
    rig.open()
    assert rig.report(token, Outcome.COMPLETED).status is Status.COMPLETED
    rig.open()
    assert rig.report(token, Outcome.COMPLETED).status is Status.COMPLETED


def test_a_new_attempt_after_a_restart_has_a_token_of_the_new_epoch(rig: Rig) -> None:
    job_id = rig.submit()
    rig.take()
    rig.open()
    rig.wait(LEASE_MS)
    rig.take()
    job = rig.job(job_id)
    assert (job.attempt, job.epoch) == (2, 2)


def test_room_in_a_queue_is_counted_after_a_restart(rig: Rig) -> None:
    rig.submit(needs(queue="compute"))
    rig.take()
    rig.open()
    assert rig.live.classes.queue_leases("compute") == 1


def test_jobs_far_in_the_future_do_not_move_the_line(rig: Rig) -> None:
    rig.submit(delay_ms=86_400_000)
    rig.open()
    assert rig.job(rig.submit()).order == 0


def test_the_line_goes_on_where_it_was_after_a_restart(rig: Rig) -> None:
    jobs = [rig.submit(priority=priority) for priority in (5, 9, 5)]
    taken = rig.poll().jobs[0].job_id
    rig.open()
    jobs += [rig.submit(priority=priority) for priority in (9, 5)]
    assert taken == jobs[1]
    rig.wait(LEASE_MS)  # the lease of the first lapses: it goes back to its place
    given = [grant.job_id for grant in rig.poll(jobs_max=9).jobs]
    assert given == [jobs[1], jobs[3], jobs[0], jobs[2], jobs[4]]


def test_a_stored_class_without_jobs_is_dropped(rig: Rig) -> None:
    rig.submit()
    rig.effects = [ClassStored(7, needs(kind="unused"))]
    rig.commit()
    rig.open()
    assert rig.effects == [ClassDropped(7)]


def test_a_job_whose_class_row_is_corrupt_is_left_alone_and_so_is_its_number(rig: Rig) -> None:
    lost = rig.submit(needs(kind="lost"))
    kept = rig.submit(needs(kind="kept"))
    flip(rig, layout.CLASSES, layout.number_key(0))
    rig.open()
    assert [*rig.live.jobs.ids()] == [kept]
    assert rig.live.stats.live[Status.QUEUED] == 1
    new = rig.job(rig.submit(needs(kind="new")))
    assert new.class_id == 2
    assert rig.store.spec(lost) is not None


def test_nobody_becomes_an_owner_whose_row_is_corrupt(rig: Rig) -> None:
    job_id = rig.submit()
    flip(rig, layout.OWNERS, layout.number_key(0))
    rig.open()
    rig.apply(Submit(STRANGER, [rig.new()]))
    for caller in (ALICE, STRANGER):
        assert rig.control(job_id, Act.CANCEL, caller).code is ProblemCode.JOB_UNKNOWN
    assert rig.poll().jobs[0].job_id == job_id, "it is still run"


def test_nobody_becomes_the_last_owner_whose_row_is_corrupt_and_whose_jobs_have_ended(
    rig: Rig,
) -> None:
    job_id = rig.submit()
    rig.report(rig.take(), Outcome.COMPLETED)
    flip(rig, layout.OWNERS, layout.number_key(0))
    rig.open()
    rig.apply(Submit(STRANGER, [rig.new()]))
    assert rig.live.owners == {(STRANGER.tenant, STRANGER.user): 1}
    for caller in (ALICE, STRANGER):
        assert rig.control(job_id, Act.DELETE, caller).code is ProblemCode.JOB_UNKNOWN


def flip(rig: Rig, table: int, key: bytes) -> None:
    """Damage one row."""
    value = rig.kv.get(table, key)
    assert value is not None
    rig.kv.write(NewRows({table: {key: value[:-1] + bytes([value[-1] ^ 1])}}))


def test_what_was_restored_is_read_to_its_end(rig: Rig) -> None:
    """A store reads its live jobs lazily; the engine takes them all before it gives effects."""
    for _ in range(3):
        rig.submit()
    read: list[bytes] = []
    store = type(rig.store)(rig.kv)
    restored = store.restore()

    class Watched:
        at_ms, audit_last = restored.at_ms, restored.audit_last
        documents, waits = restored.documents, restored.waits
        classes, owners = restored.classes, restored.owners
        deliveries_waiting, delivery_last = restored.deliveries_waiting, restored.delivery_last
        owners_next, jobs_live = restored.owners_next, restored.jobs_live

        @staticmethod
        def live() -> Iterator[LivePage]:
            for page in restored.live():
                read.append(page.rows)
                yield page
            read.append(b"end")

    engine = type(rig.engine)(rig.config, store, restored.secret, restored.epoch)
    engine.restore(Watched(), rig.now_ms, rig.wall_ms)
    assert len(b"".join(read[:-1])) == ROW_BYTES * len(engine.live.jobs) == ROW_BYTES * 3
    assert read[-1] == b"end"
