"""The one ack barrier: no reply leaves before what it rests on is committed."""

import asyncio
from typing import Any, ClassVar

import pytest
from house import CALLER, House, MakeHouse, watching

from headrace.core.commands import (
    Act,
    Caller,
    Control,
    Explain,
    Outcome,
    PollReply,
    Progress,
    Report,
    Submit,
)
from headrace.core.job import Status
from headrace.core.live import EngineConfig
from headrace.runtime import pump as pump_module
from headrace.runtime.pump import Pump
from headrace.store import Store
from headrace.store.contract import StoreBroken, StoreFull
from headrace.wire.problems import Problem, ProblemCode


async def turns(count: int = 20) -> None:
    """Let everything run that can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def arrived(house: House) -> None:
    """Wait until a write stands at the gate."""
    await until(lambda: house.gate.arrived.acquire(blocking=False))


async def until(done: Any) -> None:
    """Wait for a condition; the suite's timeout is the bound."""
    while not done():
        await asyncio.sleep(0.001)


def close_gate(house: House) -> None:
    house.gate.open.clear()
    while house.gate.arrived.acquire(blocking=False):
        pass


async def code_of(asked: Any) -> ProblemCode:
    with pytest.raises(Problem) as caught:
        await asked
    return caught.value.code


# The barrier ------------------------------------------------------------------------------------


async def test_an_ack_leaves_only_after_its_write(house: House) -> None:
    close_gate(house)
    submit = asyncio.create_task(house.submit())
    await arrived(house)
    await turns()
    assert not submit.done()
    house.gate.open.set()
    assert house.committed(await submit)


async def test_a_reply_without_effects_waits_for_what_it_could_see(house: House) -> None:
    close_gate(house)
    new = house.new(key_digest=b"k" * 16, request_digest=b"r" * 16)
    first = asyncio.create_task(house.pump.ask(Submit(CALLER, [new])))
    await arrived(house)
    replay = asyncio.create_task(house.pump.ask(Submit(CALLER, [new])))
    explain = asyncio.create_task(house.pump.ask(Explain(CALLER, new.job_ids)))
    await turns()
    assert not replay.done()
    assert not explain.done()
    house.gate.open.set()
    (replayed,) = await replay
    assert replayed.replayed
    assert (await explain).status is Status.QUEUED
    assert first.done()


async def test_why_a_job_waits_is_told_while_only_others_are_written(house: House) -> None:
    job_id = await house.submit()
    close_gate(house)
    other = asyncio.create_task(house.submit())
    await arrived(house)
    explained = await house.pump.ask(Explain(CALLER, job_id))
    assert (explained.status, explained.position_min) == (Status.QUEUED, 0)
    assert not other.done()
    # From here on something is done to this job, and is not on disk.
    poll = asyncio.create_task(house.poll())
    await turns()
    explain = asyncio.create_task(house.pump.ask(Explain(CALLER, job_id)))
    await turns()
    assert not explain.done()
    house.gate.open.set()
    assert [grant.job_id for grant in (await poll).jobs] == [job_id]
    assert (await explain).status is Status.LOCKED
    await other


async def test_a_stranger_is_not_told_why_a_job_waits(house: House) -> None:
    job_id = await house.submit()
    with pytest.raises(Problem):
        await house.pump.ask(Explain(Caller("another", "user"), job_id))


async def test_a_job_is_told_only_after_its_lease_is_written(house: House) -> None:
    poll = asyncio.create_task(house.poll(wait_ms=60_000))
    await turns()
    close_gate(house)
    submit = asyncio.create_task(house.submit())
    await arrived(house)
    await turns()
    assert not poll.done()
    house.gate.open.set()
    job_id = await submit
    assert [grant.job_id for grant in (await poll).jobs] == [job_id]
    record = Store(house.kv).job(job_id)
    assert record is not None
    assert record.status is Status.LOCKED


async def test_what_arrives_during_a_write_is_one_commit(house: House) -> None:
    await house.submit()
    before = house.pump.position.seq
    close_gate(house)
    first = asyncio.create_task(house.submit())
    await arrived(house)
    others = [asyncio.create_task(house.submit()) for _ in range(10)]
    await turns()
    house.gate.open.set()
    await asyncio.gather(first, *others)
    assert house.pump.position.seq == before + 2


async def test_a_batch_behind_a_commit_stays_open_while_news_come(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump_module, "GATHER_S_MAX", 60.0)
    await house.submit()
    before = house.pump.position.seq
    close_gate(house)
    first, *others = [asyncio.get_running_loop().create_future() for _ in range(7)]
    house.pump.post(Submit(CALLER, [house.new()]), first)
    await arrived(house)
    house.pump.post(Submit(CALLER, [house.new()]), others[0])
    await asyncio.sleep(0.2)  # the write takes so long, and the batch stays open for twice of it
    house.gate.open.set()
    await first
    for other in others[1:]:
        house.pump.post(Submit(CALLER, [house.new()]), other)
        await asyncio.sleep(0)
    await asyncio.gather(*others)
    assert house.pump.position.seq == before + 2


async def test_a_large_batch_does_not_stay_open(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump_module, "GATHER_S_MAX", 60.0)
    monkeypatch.setattr(pump_module, "GATHER_BYTES_MAX", 2 * len(house.new().specs[0]))
    await house.submit()
    before = house.pump.position.seq
    close_gate(house)
    first, *others = [asyncio.get_running_loop().create_future() for _ in range(4)]
    house.pump.post(Submit(CALLER, [house.new()]), first)
    await arrived(house)
    for other in others[:2]:
        house.pump.post(Submit(CALLER, [house.new()]), other)
    await asyncio.sleep(0.2)
    house.gate.open.set()
    await first
    house.pump.post(Submit(CALLER, [house.new()]), others[2])
    await asyncio.gather(*others)
    assert house.pump.position.seq == before + 3


async def test_news_without_end_do_not_keep_a_batch_open(house: House) -> None:
    close_gate(house)
    first = asyncio.create_task(house.submit())
    await arrived(house)
    second = asyncio.create_task(house.submit())
    await turns()
    house.gate.open.set()
    while not second.done():
        house.pump.note()
        await asyncio.sleep(0)
    assert house.committed(await first)
    assert house.committed(await second)


async def test_what_comes_while_nothing_is_written_is_written_at_once(house: House) -> None:
    await house.submit()
    await asyncio.sleep(2 * pump_module.GATHER_S_MAX)
    close_gate(house)
    submit = asyncio.create_task(house.submit())
    for _ in range(2):
        await asyncio.sleep(0)
        house.pump.note()
    await asyncio.sleep(0)
    assert house.pump._in_flight is not None
    house.gate.open.set()
    await submit


async def test_a_refusal_is_raised(house: House) -> None:
    assert await code_of(house.pump.ask(Control(CALLER, b"?" * 16, Act.CANCEL))) is (
        ProblemCode.JOB_UNKNOWN
    )


# Failure ----------------------------------------------------------------------------------------


async def test_a_failed_write_is_unknown_to_everybody_and_the_end(house: House) -> None:
    parked = asyncio.create_task(house.poll(wait_ms=60_000, jobs_max=0))
    await turns()
    close_gate(house)
    in_flight = asyncio.create_task(house.submit())
    await arrived(house)
    behind = asyncio.create_task(house.submit())
    await turns()
    house.gate.errors.append(StoreBroken("the test says so"))
    house.gate.open.set()
    for asked in (in_flight, behind, parked, house.submit()):
        assert await code_of(asked) is ProblemCode.OUTCOME_UNKNOWN
    assert house.pump.failed
    assert house.pump.failure.is_set()


async def test_a_failure_is_told_once_whatever_becomes_of_the_write(house: House) -> None:
    class Taker:
        told: ClassVar[list[Any]] = []

        def set_result(self, reply: Any, /) -> None:
            self.told.append(reply)

        def done(self) -> bool:
            return False

        def cancelled(self) -> bool:
            return False

    close_gate(house)
    house.pump.post(Submit(CALLER, [house.new()]), Taker())
    await arrived(house)
    house.pump._fail()
    house.pump._on_beat()
    await turns()
    house.gate.open.set()
    await until(lambda: house.pump._in_flight is None)
    await turns()
    assert [type(reply) for reply in Taker.told] == [Problem]


async def test_a_defect_of_the_engine_ends_the_server_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(_now_ms: int, _command: object) -> None:
        raise AssertionError("a defect")

    monkeypatch.setattr(house.engine, "apply", apply)
    assert await code_of(house.submit()) is ProblemCode.OUTCOME_UNKNOWN
    assert house.pump.failed


async def test_a_full_disk_is_waited_out_and_no_time_passes(house: House) -> None:
    close_gate(house)
    house.gate.errors.extend(StoreFull("the test says so") for _ in range(3))
    submit = asyncio.create_task(house.submit(key_digest=b"k" * 16, request_digest=b"r" * 16))
    await arrived(house)
    house.gate.open.set()
    assert await code_of(submit) is ProblemCode.OUTCOME_UNKNOWN
    assert house.clock.held
    assert house.pump.disk_low
    behind = asyncio.create_task(house.poll())
    assert [grant.job_id for grant in (await behind).jobs] != []
    assert not house.clock.held
    assert not house.pump.failed
    assert house.gate.errors == []


async def test_submits_are_refused_as_long_as_a_commit_waits_for_space(house: House) -> None:
    """Also where the file system tells of free space, as with a quota."""
    house.gate.errors.extend(StoreFull("the test says so") for _ in range(3))
    assert await code_of(house.submit()) is ProblemCode.OUTCOME_UNKNOWN
    house.pump._check_disk()
    assert await code_of(house.submit()) is ProblemCode.STORAGE_FULL
    assert (await house.poll()).jobs != []
    house.pump._check_disk()
    assert not house.pump.disk_low
    await house.submit()


async def test_jobs_told_to_nobody_because_the_disk_was_full_are_released(house: House) -> None:
    job_id = await house.submit()
    house.gate.errors.append(StoreFull("the test says so"))
    assert await code_of(house.poll()) is ProblemCode.OUTCOME_UNKNOWN
    grant = (await house.poll(wait_ms=60_000)).jobs[0]
    assert (grant.job_id, grant.attempt) == (job_id, 2)


async def test_a_full_disk_does_not_keep_a_server_from_stopping(house: House) -> None:
    house.gate.errors.extend(StoreFull("the test says so") for _ in range(1_000))
    assert await code_of(house.submit()) is ProblemCode.OUTCOME_UNKNOWN
    await house.pump.stop()
    assert house.pump.failed


async def test_a_stuck_write_stops_the_engines_clock(make_house: MakeHouse) -> None:
    house = await make_house(EngineConfig(lease_ms=100))
    close_gate(house)
    submit = asyncio.create_task(house.submit())
    await until(lambda: house.clock.held)
    house.gate.open.set()
    await submit
    assert not house.clock.held


# Bounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["PENDING_MAX", "PENDING_BYTES_MAX"])
async def test_more_than_can_wait_is_refused_and_not_applied(
    house: House, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(pump_module, bound, 2)  # two jobs, or their two bytes
    close_gate(house)
    waiting = [asyncio.create_task(house.submit()) for _ in range(2 if "MAX" in bound else 1)]
    if bound == "PENDING_BYTES_MAX":
        assert await code_of(waiting.pop()) is ProblemCode.OVERLOADED
    await arrived(house)
    assert await code_of(house.submit()) is ProblemCode.OVERLOADED
    house.gate.open.set()
    await asyncio.gather(*waiting)
    assert len(house.engine.live.jobs) == len(waiting)
    assert await house.submit(), "room again"
    assert house.pump.stats().pending_commands == 0


async def test_parked_polls_do_not_count_as_waiting_for_the_disk(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump_module, "PENDING_MAX", 2)
    polls = []
    for _ in range(5):
        polls.append(asyncio.create_task(house.poll(wait_ms=60_000, jobs_max=0)))
        await turns()
    assert house.pump.stats().parked_polls == 5
    assert await house.submit()
    for poll in polls:
        poll.cancel()


async def test_with_little_space_submits_are_refused_and_all_else_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await house.submit()
    monkeypatch.setattr(house.pump, "_disk_reserve_bytes", 1 << 80)
    await until(lambda: house.pump.disk_low)
    assert await code_of(house.submit()) is ProblemCode.STORAGE_FULL
    lease = (await house.poll()).jobs[0].lease
    reply = await house.poll(reports=[Report(lease, Outcome.COMPLETED)], jobs_max=0)
    assert reply.acks[0].status is Status.COMPLETED
    assert await house.pump.ask(Control(CALLER, job_id, Act.DELETE)) is Status.COMPLETED
    monkeypatch.setattr(house.pump, "_disk_reserve_bytes", 0)
    await until(lambda: not house.pump.disk_low)
    await house.submit()


async def test_acks_leave_though_nobody_can_say_what_space_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> int:
        raise FileNotFoundError("the test has moved it away")

    with monkeypatch.context() as patch:
        patch.setattr(house.store, "bytes_free", unknown)
        assert await asyncio.wait_for(house.submit(), 5)
        assert await code_of(house.submit()) is ProblemCode.STORAGE_FULL
        assert (await asyncio.wait_for(house.poll(), 5)).jobs != []
    await until(lambda: not house.pump.disk_low)
    await house.submit()


async def test_the_commit_that_takes_the_last_space_is_the_last(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come before the next beat, which looks too."""
    assert house.pump._beat is not None
    house.pump._beat.cancel()
    await house.submit()
    assert not house.pump.disk_low
    monkeypatch.setattr(house.pump, "_disk_reserve_bytes", 1 << 80)
    await house.submit()
    assert await code_of(house.submit()) is ProblemCode.STORAGE_FULL


# Workers that go away ---------------------------------------------------------------------------


async def test_the_poll_of_a_client_that_is_gone_is_withdrawn(house: House) -> None:
    poll = asyncio.create_task(house.poll(wait_ms=60_000))
    await until(lambda: house.pump.stats().parked_polls == 1)
    poll.cancel()
    await until(lambda: house.pump.stats().parked_polls == 0)
    job_id = await house.submit()
    assert (await house.poll()).jobs[0].job_id == job_id


async def test_a_poll_cancelled_before_it_was_applied_is_withdrawn_too(house: House) -> None:
    poll = asyncio.create_task(house.poll(wait_ms=60_000))
    await asyncio.sleep(0)
    poll.cancel()
    await turns()
    await until(lambda: house.pump.stats().parked_polls == 0)


@pytest.mark.parametrize("wait_ms", [0, 60_000])
async def test_jobs_of_a_poller_that_is_gone_are_released_at_once(
    house: House, wait_ms: int
) -> None:
    parked = wait_ms > 0
    if not parked:
        await house.submit()
    poll = asyncio.create_task(house.poll(wait_ms=wait_ms))
    if parked:
        await until(lambda: house.pump.stats().parked_polls == 1)
    close_gate(house)
    submit = asyncio.create_task(house.submit()) if parked else None
    await arrived(house)
    poll.cancel()
    await turns()
    house.gate.open.set()
    if submit is not None:
        await submit
    grant = (await house.poll(wait_ms=60_000)).jobs[0]
    assert grant.attempt == 2
    job = house.engine.live.load(house.engine.live.jobs.find(grant.job_id))
    assert (job.crashes, job.stops) == (0, 1), "a planned stop, no crash"


async def test_jobs_of_a_session_that_is_gone_wait_for_its_repeat(house: House) -> None:
    job_id = await house.submit()
    close_gate(house)
    poll = asyncio.create_task(house.poll(session="s", seq=1))
    await arrived(house)
    poll.cancel()
    await turns()
    house.gate.open.set()
    grant = (await house.poll(session="s", seq=1)).jobs[0]
    assert (grant.job_id, grant.attempt) == (job_id, 1)


async def test_a_second_poll_of_a_session_sends_the_first_one_home(house: House) -> None:
    first = asyncio.create_task(house.poll(session="s", seq=1, wait_ms=60_000))
    await turns()
    second = asyncio.create_task(house.poll(session="s", seq=2, wait_ms=60_000))
    assert await first == PollReply()
    second.cancel()


# Time -------------------------------------------------------------------------------------------


async def test_what_is_due_happens_without_any_command(house: House) -> None:
    job_id = await house.submit(delay_ms=60_000)
    poll = asyncio.create_task(house.poll(wait_ms=3_600_000))
    await turns()
    house.clock.at_ms += 60_000
    assert (await poll).jobs[0].job_id == job_id


async def test_heartbeats_that_have_arrived_count_before_time_passes(
    make_house: MakeHouse,
) -> None:
    """The server was busy for long: what waited for it at the door came in time."""
    house = await make_house(EngineConfig(lease_ms=30_000))
    await house.submit()
    lease = (await house.poll()).jobs[0].lease
    poll = asyncio.create_task(house.poll(running=[lease], jobs_max=0))
    await asyncio.sleep(0)  # it stands in the inbox; a turn that was due before is over
    house.clock.at_ms += 30_000
    assert await poll == PollReply()
    assert house.engine.live.leases.named(lease) is not None


# Watching and reading ---------------------------------------------------------------------------


async def test_a_watch_tells_of_each_change_once_it_is_committed(house: House) -> None:
    job_id = await house.submit()
    with watching(house.pump, job_id) as watch:
        assert not await watch.changed(0)
        close_gate(house)
        poll = asyncio.create_task(house.poll())
        await arrived(house)
        assert not await watch.changed(0)
        house.gate.open.set()
        assert await watch.changed(60)
        lease = (await poll).jobs[0].lease
        await house.poll(progress=[Progress(lease, progress=0.5)], jobs_max=0)
        assert await watch.changed(60)
        assert house.pump.progress(job_id) == (0.5, "")
        await house.poll(progress=[Progress(lease, log=b"line")], jobs_max=0)
        assert await watch.changed(60)
        await house.poll(reports=[Report(lease, Outcome.COMPLETED)], jobs_max=0)
        assert await watch.changed(60)
        assert not await watch.changed(0)
    assert house.pump.progress(job_id) is None
    assert house.pump._watches == {}


async def test_other_jobs_do_not_wake_a_watch(house: House) -> None:
    job_id = await house.submit()
    with watching(house.pump, job_id) as watch, watching(house.pump, job_id) as second:
        await house.submit()
        assert not await watch.changed(0)
        await house.pump.ask(Control(CALLER, job_id, Act.CANCEL))
        assert await watch.changed(60)
        assert await second.changed(60)


async def test_what_is_waited_for_is_told_before_the_acks_of_the_same_commit(house: House) -> None:
    """Work begins, and a result is seen, before the one who brought it hears of its ack."""
    told: list[str] = []

    class Listener:
        def __init__(self, name: str) -> None:
            self.name = name

        def touch(self) -> None:
            told.append(self.name)

        def set_result(self, _: Any, /) -> None:
            told.append(self.name)

        def done(self) -> bool:
            return False

        cancelled = done

    new = house.new()
    listener = Listener("watcher")
    house.pump.follow(new.job_ids, listener)
    house.pump.post(house.poll_command(wait_ms=60_000), Listener("worker"))
    await turns()
    house.pump.post(Submit(CALLER, [new]), Listener("client"))
    await until(lambda: len(told) >= 3)
    house.pump.unfollow(new.job_ids, listener)
    assert told == ["watcher", "worker", "client"]


async def test_who_may_see_a_live_job_is_known_without_the_store(house: House) -> None:
    job_id = await house.submit()
    assert house.pump.is_live(job_id)
    assert house.pump.is_live_for(CALLER, job_id)
    assert house.pump.is_live_for(Caller("acme", "admin", True), job_id)
    assert not house.pump.is_live_for(Caller("acme", "bob"), job_id)
    assert not house.pump.is_live_for(Caller("other", "alice", True), job_id)
    await house.pump.ask(Control(CALLER, job_id, Act.CANCEL))
    assert not house.pump.is_live(job_id)
    assert not house.pump.is_live_for(CALLER, job_id)


async def test_ids_of_leased_jobs_are_known_without_the_store(house: House) -> None:
    jobs = [await house.submit() for _ in range(3)]
    await house.poll(jobs_max=2)
    assert house.pump.live_ids(frozenset({Status.LOCKED, Status.RUNNING})) == jobs[:2]
    assert house.pump.live_ids(frozenset({Status.RUNNING})) == []
    assert house.pump.live_ids(frozenset({Status.LOCKED, Status.QUEUED})) is None


async def test_the_position_rises_with_each_commit_and_no_other(house: House) -> None:
    await house.submit()
    first = house.pump.position
    await house.poll(jobs_max=0)
    assert house.pump.position == first
    await house.submit()
    assert house.pump.position == first._replace(seq=first.seq + 1)
    assert house.store.position == house.pump.position


async def test_counters_are_those_of_the_engine(house: House) -> None:
    await house.submit()
    await house.poll()
    stats = house.pump.stats()
    assert (stats.jobs, stats.leases, stats.workers, stats.classes) == (1, 1, 1, 1)
    assert stats.engine.live[Status.LOCKED] == 1


# The end ----------------------------------------------------------------------------------------


async def test_stop_commits_everything_that_was_taken(house: House) -> None:
    close_gate(house)
    first = asyncio.create_task(house.submit())
    await arrived(house)
    second = asyncio.create_task(house.submit())
    await turns()
    stop = asyncio.create_task(house.pump.stop())
    await turns()
    assert not stop.done()
    house.gate.open.set()
    await stop
    for submit in (first, second):
        assert house.committed(await submit)
    assert await code_of(house.submit()) is ProblemCode.SHUTTING_DOWN


async def test_stop_sends_every_poll_home(house: House) -> None:
    parked = asyncio.create_task(house.poll(wait_ms=60_000))
    await until(lambda: house.pump.stats().parked_polls == 1)
    arriving = asyncio.create_task(house.poll(wait_ms=60_000))
    await asyncio.sleep(0)
    await house.pump.stop()
    assert await parked == PollReply()
    assert await arriving == PollReply()


async def test_the_effects_of_a_restart_are_committed_first(house: House) -> None:
    """A pump that begins with effects writes them without being asked."""
    pump: Pump = house.pump
    await house.submit()
    assert pump.position.seq >= 2
