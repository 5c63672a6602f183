"""The agent against a server that can be made to misbehave."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fake_server import FakeServer, Lease, output_of

from headrace.worker import PermanentError, Retry, Snooze, Stopped, Worker
from headrace.worker.agent import Agent, AgentConfig, AgentError
from headrace.worker.ledger import Offer
from headrace.worker.supervisor import Attempt

WAIT_S = 20.0

worker = Worker()


class Params(msgspec.Struct, forbid_unknown_fields=True):
    count: int


@worker.job("add")
async def add(ctx: Any, params: Any) -> Any:
    return params[0] + params[1]


@worker.job("threaded")
def threaded(ctx: Any, params: Any) -> Any:
    ctx.progress(0.25, "a quarter")
    ctx.log("one line")
    return {"thread": threading.current_thread().name, "attempt": ctx.attempt}


@worker.job("strict", params=Params)
async def strict(ctx: Any, params: Params) -> int:
    return params.count


@worker.job("raise")
async def raising(ctx: Any, params: Any) -> None:
    raise {
        "plain": ValueError("no good"),
        "permanent": PermanentError("never", code="nope"),
        "retry": Retry("90s", "later please"),
        "snooze": Snooze(7),
        "exit": SystemExit(3),
    }[params]


@worker.job("unjson")
async def unjson(ctx: Any) -> object:
    return object()


@worker.job("wait")
async def wait(ctx: Any, params: Any) -> str:
    await ctx.sleep(60)
    return "slept"


@worker.job("wait-thread")
def wait_thread(ctx: Any, params: Any) -> str:
    ctx.checkpoint = {"at": 3}
    ctx.sleep(60)
    return "slept"


@worker.job("nap")
async def nap(ctx: Any, params: Any) -> str:
    await ctx.sleep(params)
    return "slept"


@worker.job("late-checkpoint")
def late_checkpoint(ctx: Any, params: Any) -> None:
    for step in range(6_000):
        if step == 10:
            ctx.log("ten")
            ctx.checkpoint = {"step": step}
        ctx.sleep(0.01)


@worker.job("stubborn")
async def stubborn(ctx: Any, params: Any) -> None:
    ctx.checkpoint = {"row": 1}
    while not ctx.should_stop():
        await asyncio.sleep(0.01)
    ctx.log(ctx.stop_reason)
    await asyncio.sleep(60)


@worker.job("checkpointed")
async def checkpointed(ctx: Any, params: Any) -> Any:
    if ctx.checkpoint is not None:
        return {"resumed": ctx.checkpoint}
    while not ctx.should_stop():
        await asyncio.sleep(0.01)
    raise Stopped(checkpoint={"row": 7})


@worker.job("deaf")
def deaf(ctx: Any, params: Any) -> str:
    for _ in range(int(params * 100)):
        time.sleep(0.01)
    return "at last"


@worker.job("block")
async def block(ctx: Any, params: Any) -> str:
    time.sleep(params)
    return "blocked the loop"


@worker.job("quick-log")
async def quick_log(ctx: Any, params: Any) -> str:
    ctx.log("short and sweet")
    return "done"


@asynccontextmanager
async def agent_for(
    server: FakeServer, tmp_path: Path, handlers: Worker = worker, **config: Any
) -> AsyncIterator[Agent]:
    config.setdefault("wasm", False)
    config.setdefault("total", Offer(cpu_milli=4_000, memory_mb=4_096))
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, **config), handlers)
    task = asyncio.get_running_loop().create_task(agent.run())
    try:
        yield agent
    finally:
        agent.release_now()
        server.down = False
        async with asyncio.timeout(WAIT_S):
            await task


async def finished(lease: Lease) -> Lease:
    async with asyncio.timeout(WAIT_S):
        await lease.reported.wait()
    return lease


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


async def test_a_coroutine_handler_returns_its_result(server: FakeServer, tmp_path: Path) -> None:
    async with agent_for(server, tmp_path):
        lease = await finished(await server.submit("add", [2, 3]))
    assert (lease.report.outcome, lease.result) == ("completed", 5)
    assert len(lease.reports) == 1
    assert not lease.started, "a job of a few milliseconds costs no word of its start"


async def test_a_plain_handler_runs_in_a_thread_and_its_log_arrives_before_its_end(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_for(server, tmp_path):
        lease = await finished(await server.submit("threaded", attempt=2))
    assert lease.result == {"thread": "headrace-handler", "attempt": 2}
    assert lease.log == "one line\n"


async def test_params_that_do_not_fit_the_struct_fail_for_good(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_for(server, tmp_path):
        good = await finished(await server.submit("strict", {"count": 4}))
        bad = await finished(await server.submit("strict", {"count": "four"}))
    assert good.result == 4
    assert (bad.report.outcome, bad.report.permanent) == ("failed", True)
    assert bad.report.code == "params_invalid"
    assert "count" in (bad.report.error or "")


@pytest.mark.parametrize(
    ("what", "outcome", "error", "code", "permanent", "delay"),
    [
        ("plain", "failed", "ValueError: no good", None, False, None),
        ("permanent", "failed", "never", "nope", True, None),
        ("retry", "failed", "later please", None, False, 90),
        ("snooze", "snoozed", None, None, False, 7),
        ("exit", "failed", "the handler called exit(3)", "handler_exited", False, None),
    ],
)
async def test_what_a_handler_raises_says_how_its_attempt_ends(
    server: FakeServer,
    tmp_path: Path,
    what: str,
    outcome: str,
    error: str | None,
    code: str | None,
    permanent: bool,
    delay: float | None,
) -> None:
    async with agent_for(server, tmp_path):
        lease = await finished(await server.submit("raise", what))
        after = await finished(await server.submit("add", [1, 1]))
    report = lease.report
    assert (report.outcome, report.error, report.code) == (outcome, error, code)
    assert (report.permanent, report.retry_delay) == (permanent, delay)
    assert ("Traceback" in lease.log) == (what in ("plain", "exit"))
    assert after.result == 2


async def test_a_result_that_json_cannot_carry_is_the_handlers_failure(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_for(server, tmp_path):
        lease = await finished(await server.submit("unjson"))
    assert lease.report.code == "result_invalid"


@pytest.mark.parametrize("kind", ["wait", "wait-thread"])
async def test_a_cancel_reaches_a_handler_that_sleeps(
    server: FakeServer, tmp_path: Path, kind: str
) -> None:
    async with agent_for(server, tmp_path):
        lease = await server.submit(kind)
        await until(lease.start_seen.is_set)
        await server.order(lease, "cancel")
        await finished(lease)
    assert lease.report.outcome == "cancelled"


@pytest.mark.parametrize("kind", ["wait", "wait-thread"])
async def test_the_worker_enforces_the_timeout(
    server: FakeServer, tmp_path: Path, kind: str
) -> None:
    async with agent_for(server, tmp_path):
        lease = await finished(await server.submit(kind, timeout=0.1))
    assert lease.report.outcome == "timeout"
    assert lease.report.error == "it ran longer than its timeout of 0.1 s"


async def test_a_suspend_ends_at_a_checkpoint_and_the_next_run_gets_it(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_for(server, tmp_path):
        first = await server.submit("checkpointed")
        await until(first.start_seen.is_set)
        await server.order(first, "suspend")
        await finished(first)
        checkpoint = msgspec.json.decode(first.report.checkpoint)
        second = await finished(await server.submit("checkpointed", checkpoint=checkpoint))
    assert (first.report.outcome, checkpoint) == ("suspended", {"row": 7})
    assert second.result == {"resumed": {"row": 7}}


async def test_a_lost_lease_is_stopped_without_a_report(server: FakeServer, tmp_path: Path) -> None:
    async with agent_for(server, tmp_path, concurrency=1):
        lease = await server.submit("wait")
        await until(lease.start_seen.is_set)
        await server.order(lease, "lost")
        after = await finished(await server.submit("add", [1, 2]))
    assert after.result == 3
    assert lease.reports == []


async def test_a_thread_that_ignores_a_cancel_is_reported_and_keeps_its_slot(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.worker.supervisor.STOP_GRACE_S", 0.1)
    over: list[str] = []
    original = Attempt._ended

    def ended(attempt: Attempt, future: Any) -> None:
        over.append(attempt.assignment.lease)
        original(attempt, future)

    monkeypatch.setattr(Attempt, "_ended", ended)
    async with agent_for(server, tmp_path, concurrency=1):
        lease = await server.submit("deaf", 1.0)
        await until(lease.start_seen.is_set)
        await server.order(lease, "cancel")
        await finished(lease)
        over_at_report = list(over)
        behind = await finished(await server.submit("add", [1, 1]))
    assert lease.report.outcome == "cancelled"
    assert over_at_report == []
    assert over == [lease.token, behind.token], "the next job waited for the slot"


async def test_a_handler_that_blocks_the_loop_stops_no_heartbeat(
    server: FakeServer, tmp_path: Path
) -> None:
    server.lease_term = "300ms"

    def run() -> None:  # the server must not share the blocked loop
        async def main() -> None:
            agent = Agent(
                AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False, total=Offer()), worker
            )
            task = asyncio.get_running_loop().create_task(agent.run())
            await asyncio.to_thread(stop.wait)
            agent.release_now()
            await task

        asyncio.run(main())

    stop = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        lease = await finished(await server.submit("block", 1.0))
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)
    assert lease.report.outcome == "completed"
    assert lease.beats >= 5


async def test_heartbeats_go_their_own_way_when_polls_are_stuck(
    server: FakeServer, tmp_path: Path
) -> None:
    server.lease_term = "300ms"
    async with agent_for(server, tmp_path):
        lease = await server.submit("wait")
        await until(lease.start_seen.is_set)
        server.stalled.set()
        beats = lease.beats
        await until(lambda: lease.beats >= beats + 3)
        await server.order(lease, "cancel")
        await until(lambda: lease.order is None)
        server.stalled.clear()
        await finished(lease)
    assert lease.report.outcome == "cancelled", "an order came with a heartbeat"


async def test_jobs_of_a_lost_answer_come_again_and_run_once(
    server: FakeServer, tmp_path: Path
) -> None:
    leases = [await server.submit("add", [number, 0]) for number in range(3)]
    server.lose_answers = 2
    async with agent_for(server, tmp_path):
        for lease in leases:
            await finished(lease)
    assert [lease.result for lease in leases] == [0, 1, 2]
    assert len({poll.seq for poll in server.polls[:3]}) == 1


async def test_a_report_is_sent_until_the_server_has_it(server: FakeServer, tmp_path: Path) -> None:
    async with agent_for(server, tmp_path):
        lease = await server.submit("checkpointed")
        await until(lease.start_seen.is_set)
        server.down = True
        await server.order(lease, "suspend")
        await until(lambda: lease.order is None or server.down)
        await asyncio.sleep(0.3)
        assert lease.reports == []
        server.down = False
        lease.order = "cancel"
        await finished(lease)
    assert lease.report.outcome in ("suspended", "cancelled")


async def test_a_stale_report_is_dropped(server: FakeServer, tmp_path: Path) -> None:
    server.ack_problem = {"code": "lease_stale", "retryable": False, "detail": "too late"}
    async with agent_for(server, tmp_path):
        lease = await server.submit("add", [1, 1])
        await until(lambda: any(poll.reports for poll in server.polls))
        server.ack_problem = None
        after = await finished(await server.submit("add", [2, 2]))
    assert after.result == 4
    assert lease.reports == []
    assert sum(len(poll.reports) for poll in server.polls) == 2


async def test_one_report_that_the_server_cannot_read_does_not_hold_up_the_others(
    server: FakeServer, tmp_path: Path
) -> None:
    server.refuse_report = "ValueError: no good"
    async with agent_for(server, tmp_path):
        good = [await server.submit("add", [1, number]) for number in range(3)]
        bad = await server.submit("raise", "plain")
        for lease in [*good, bad]:
            await finished(lease)
    assert [lease.result for lease in good] == [1, 2, 3]
    assert (bad.report.outcome, bad.report.code) == ("failed", "report_refused")


async def test_free_amounts_are_what_running_jobs_leave(server: FakeServer, tmp_path: Path) -> None:
    async with agent_for(server, tmp_path, concurrency=3):
        lease = await server.submit("wait", requirements={"cpu_cores": 1.5, "memory_mb": 1_000})
        await until(lease.start_seen.is_set)
        await until(lambda: server.polls[-1].max_jobs == 2)
        busy = server.polls[-1]
        await server.order(lease, "cancel")
        await finished(lease)
        await until(lambda: server.polls[-1].max_jobs == 3)
        idle = server.polls[-1]
    assert (busy.free.cpu_cores, busy.free.memory_mb) == (2.5, 3_096)
    assert (idle.free.cpu_cores, idle.free.memory_mb) == (4.0, 4_096)
    assert busy.total is not None
    assert busy.total.memory_mb == 4_096


async def test_a_full_worker_still_hears_a_cancel(server: FakeServer, tmp_path: Path) -> None:
    async with agent_for(server, tmp_path, concurrency=1):
        lease = await server.submit("wait")
        await until(lease.start_seen.is_set)
        await until(lambda: server.polls[-1].max_jobs == 0 and float(server.polls[-1].wait) > 0)
        await server.order(lease, "cancel")
        await finished(lease)
    assert lease.report.outcome == "cancelled"


async def test_a_drain_lets_jobs_finish_and_takes_no_more(
    server: FakeServer, tmp_path: Path
) -> None:
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False), worker)
    task = asyncio.get_running_loop().create_task(agent.run())
    running = await server.submit("deaf", 0.4)
    await until(running.start_seen.is_set)
    agent.drain(10)
    await until(lambda: server.polls[-1].max_jobs == 0)
    late = await server.submit("add", [1, 1])
    async with asyncio.timeout(WAIT_S):
        await task
    assert running.report.outcome == "completed"
    assert late.reports == []
    assert server.queue == [late]


async def test_a_drain_gives_back_what_was_on_its_way(server: FakeServer, tmp_path: Path) -> None:
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False), worker)
    task = asyncio.get_running_loop().create_task(agent.run())
    await until(lambda: bool(server.polls) and float(server.polls[-1].wait) > 0)
    given = server.give_unheard("add")
    agent.drain(10)
    async with asyncio.timeout(WAIT_S):
        await task
    assert given.report.outcome == "released"


async def test_a_server_that_says_drain_is_asked_on_and_one_that_says_quit_is_left(
    server: FakeServer, tmp_path: Path
) -> None:
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False, drain_s=0.1), worker)
    task = asyncio.get_running_loop().create_task(agent.run())
    server.orders_for_all = [{"do": "drain"}]
    await server.touch()
    await until(lambda: not server.orders_for_all)
    later = await server.submit("add", [1, 1])
    await finished(later)
    running = await server.submit("wait-thread")
    await until(running.start_seen.is_set)
    server.orders_for_all = [{"do": "quit"}]
    await server.touch()
    async with asyncio.timeout(WAIT_S):
        await task
    assert running.report.outcome == "released"


async def test_a_drain_gives_back_what_does_not_finish_with_its_checkpoint(
    server: FakeServer, tmp_path: Path
) -> None:
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False), worker)
    task = asyncio.get_running_loop().create_task(agent.run())
    sleeping = await server.submit("wait-thread")
    careful = await server.submit("checkpointed")
    await until(sleeping.start_seen.is_set)
    await until(careful.start_seen.is_set)
    agent.drain(0.1)
    async with asyncio.timeout(WAIT_S):
        await task
    assert sleeping.report.outcome == careful.report.outcome == "released"
    assert msgspec.json.decode(sleeping.report.checkpoint) == {"at": 3}
    assert msgspec.json.decode(careful.report.checkpoint) == {"row": 7}


async def test_a_drain_asks_a_job_with_a_checkpoint_at_once_and_lets_others_finish(
    server: FakeServer, tmp_path: Path
) -> None:
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False), worker)
    task = asyncio.get_running_loop().create_task(agent.run())
    saved = await server.submit("wait-thread")
    resumed = await server.submit("nap", 60, checkpoint={"row": 5})
    napping = await server.submit("nap", 0.5)
    soon = await server.submit("late-checkpoint")
    for lease in (saved, resumed, napping, soon):
        await until(lease.start_seen.is_set)
    agent.drain(WAIT_S * 2)
    async with asyncio.timeout(WAIT_S):
        await task
    assert saved.report.outcome == resumed.report.outcome == soon.report.outcome == "released"
    assert msgspec.json.decode(saved.report.checkpoint) == {"at": 3}
    assert msgspec.json.decode(soon.report.checkpoint) == {"step": 10}
    assert napping.report.outcome == "completed"


async def test_a_cancel_counts_for_more_than_the_drain_that_asked_before_it(
    server: FakeServer, tmp_path: Path
) -> None:
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False), worker)
    task = asyncio.get_running_loop().create_task(agent.run())
    lease = await server.submit("stubborn")
    await until(lease.start_seen.is_set)
    agent.drain(WAIT_S * 2)
    await until(lambda: lease.log == "drain\n")
    await server.order(lease, "cancel")
    async with asyncio.timeout(WAIT_S):
        await task
    assert lease.report.outcome == "cancelled"


async def test_the_server_can_ask_a_worker_to_quit(server: FakeServer, tmp_path: Path) -> None:
    agent = Agent(AgentConfig(url=server.url, cache_dir=tmp_path, wasm=False), worker)
    task = asyncio.get_running_loop().create_task(agent.run())
    await finished(await server.submit("add", [1, 1]))
    server.orders_for_all = [{"do": "quit"}]
    await server.touch()
    async with asyncio.timeout(WAIT_S):
        await task


async def test_a_worker_that_the_server_refuses_from_the_start_says_so(
    server: FakeServer, tmp_path: Path
) -> None:
    agent = Agent(
        AgentConfig(url=server.url + "/elsewhere", cache_dir=tmp_path, wasm=False), worker
    )
    with pytest.raises(AgentError, match="refuses this worker"):
        await agent.run()


async def test_progress_reaches_the_server_while_the_job_runs(
    server: FakeServer, tmp_path: Path
) -> None:
    handlers = Worker()

    @handlers.job("steps")
    async def steps(ctx: Any, params: Any) -> None:
        for step in range(50):
            ctx.progress(step / 50, f"step {step}")
            ctx.log(f"line {step}")
            await asyncio.sleep(0.01)

    async with agent_for(server, tmp_path, handlers):
        lease = await finished(await server.submit("steps"))
    fractions = [fraction for fraction, _ in lease.progress if fraction is not None]
    assert lease.started
    assert fractions == sorted(fractions)
    assert 2 <= len(fractions) < 50, "the newest of many is sent"
    assert lease.log == "".join(f"line {step}\n" for step in range(50))


async def test_the_log_of_a_short_job_comes_before_its_report(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_for(server, tmp_path):
        lease = await finished(await server.submit("quick-log"))
    assert lease.log == "short and sweet\n"


async def test_an_agent_without_anything_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="nothing to do"):
        Agent(AgentConfig(wasm=False, cache_dir=tmp_path), Worker())
    with pytest.raises(AgentError, match="no handler for job type 'nope'"):
        Agent(AgentConfig(wasm=False, cache_dir=tmp_path, types=["nope"]), worker)


WASM_EXIT_3 = (
    # (module (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
    #   (memory (export "memory") 1) (func (export "_start") (call 0 (i32.const 3))))
    b"\0asm\x01\0\0\0"
    b"\x01\x08\x02\x60\x01\x7f\0\x60\0\0"
    b"\x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\0\0"
    b"\x03\x02\x01\x01"
    b"\x05\x03\x01\0\x01"
    b"\x07\x13\x02\x06memory\x02\0\x06_start\0\x01"
    b"\x0a\x08\x01\x06\0\x41\x03\x10\0\x0b"
)


async def test_a_module_is_fetched_once_and_its_exit_code_decides(
    server: FakeServer, tmp_path: Path
) -> None:
    async with agent_for(server, tmp_path, Worker(), wasm=True, concurrency=1):
        failing = await finished(await server.submit_wasm(WASM_EXIT_3))
        fine = await finished(await server.submit_wasm(WASM_EXIT_3, success_codes=[0, 3]))
    assert (failing.report.outcome, failing.report.exit_code) == ("failed", 3)
    assert failing.report.code == "exit_code"
    assert (fine.report.outcome, fine.report.exit_code) == ("completed", 3)
    assert output_of(fine.report) == b""
    assert fine.report.metrics["wall_ms"] > 0
    assert server.module_fetches == 1
