"""The registry, and what a worker's author is told."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.wire.schema import Spec
from headrace.worker import Context, PermanentError, Stopped, Worker, WorkerDefinitionError
from headrace.worker.attempt import Assignment, Ending, StopReason, completed, report_of
from headrace.worker.handlers import Feed, call_plain, load_worker
from headrace.worker.handlers_async import call_async


class Climb:
    """A job in methods."""

    def __init__(self, ctx: Context, params: Any) -> None:
        self.ctx, self.params = ctx, params
        self.step = 0

    def resume(self, checkpoint: Any) -> None:
        self.step = checkpoint

    def run(self) -> Any:
        self.ctx.sleep(0)
        return self.step, self.params

    def suspend(self) -> Any:
        return self.step + 1


class AsyncClimb(Climb):
    async def run(self) -> Any:
        return super().run()


class Silent(Feed):
    def __init__(self) -> None:
        self.checkpoints: list[bytes] = []
        self.fractions: list[float | None] = []
        self.events: list[tuple[str, bytes]] = []

    def progress(self, fraction: float | None, details: str | None) -> None:
        self.fractions.append(fraction)

    def log(self, text: str) -> None: ...

    def checkpoint(self, value: bytes) -> None:
        self.checkpoints.append(value)

    def emit(self, name: str, data: bytes) -> None:
        self.events.append((name, data))


def context(checkpoint: bytes = b"", timeout: float = 0) -> tuple[Context, Silent]:
    feed = Silent()
    spec = Spec(id="j", name="n", type="t", timeout=timeout)
    assignment = Assignment(lease="l", spec=spec, attempt=3, checkpoint=msgspec.Raw(checkpoint))
    return Context(assignment, feed), feed


def test_how_a_handler_runs_is_taken_from_how_it_is_written() -> None:
    worker = Worker()

    @worker.job("a")
    async def coroutine(ctx: Any) -> None: ...

    @worker.job("b")
    def plain(ctx: Any, params: Any) -> None: ...

    @worker.job("c", run="process")
    def child(ctx: Any) -> None: ...

    modes = {name: handler.mode for name, handler in worker.handlers.items()}
    assert modes == {"a": "async", "b": "thread", "c": "process"}
    assert [handler.takes_params for handler in worker.handlers.values()] == [False, True, False]


def test_wrong_definitions_are_told_at_once() -> None:
    worker = Worker()

    def plain(ctx: Any) -> None: ...

    async def coroutine(ctx: Any) -> None: ...

    def nothing() -> None: ...

    def three(ctx: Any, params: Any, more: Any) -> None: ...

    worker.job("taken")(plain)
    for name, function, mode, said in (
        ("taken", plain, None, "two handlers"),
        ("x", plain, "async", "async def"),
        ("x", coroutine, "thread", "run='async'"),
        ("x", nothing, None, "must take"),
        ("x", three, None, "must take"),
    ):
        with pytest.raises(WorkerDefinitionError, match=said):
            worker.job(name, run=mode)(function)  # type: ignore[arg-type]
    with pytest.raises(WorkerDefinitionError, match="1 to 200"):
        worker.job("")
    with pytest.raises(WorkerDefinitionError, match="importable"):
        Worker().find_target()


def test_params_are_decoded_by_their_struct() -> None:
    class Params(msgspec.Struct):
        n: int = 1

    worker = Worker()

    @worker.job("t", params=Params)
    def handler(ctx: Any, params: Params) -> None: ...

    def arguments(raw: bytes) -> tuple[Any, ...]:
        spec = Spec(id="j", name="n", type="t", params=msgspec.Raw(raw))
        return worker.handlers["t"].arguments(Assignment(lease="l", spec=spec, attempt=1))

    assert arguments(b'{"n": 4}') == (Params(4),)
    assert arguments(b"") == (Params(1),), "absent params are an empty object"
    with pytest.raises(PermanentError) as caught:
        arguments(b'{"n": "4"}')
    assert caught.value.code == "params_invalid"


def test_a_worker_is_found_by_module_and_by_file(tmp_path: Path) -> None:
    file = tmp_path / "some_tasks.py"
    file.write_text(
        "from headrace.worker import Worker\nworker = Worker()\nother = 3\n"
        "@worker.job('t')\ndef t(ctx): ...\n"
    )
    by_file = load_worker(str(file))
    assert list(by_file.handlers) == ["t"]
    assert by_file.find_target() == f"{file}:worker"
    assert load_worker(f"{file}:worker") is by_file
    assert "echo" in load_worker("headrace.worker.builtin:worker").handlers
    for target, said in (
        (f"{file}:other", "is not a Worker"),
        (f"{file}:none", "does not exist"),
        ("no_such_module_here", "there is no module"),
        (str(tmp_path / "none.py"), "there is no file"),
    ):
        with pytest.raises(WorkerDefinitionError, match=said):
            load_worker(target)


def test_a_missing_import_of_the_module_itself_is_not_hidden(tmp_path: Path) -> None:
    file = tmp_path / "broken_tasks.py"
    file.write_text("import a_library_that_is_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_installed"):
        load_worker(str(file))


def test_a_context_knows_its_attempt_and_keeps_its_checkpoint() -> None:
    ctx, feed = context(b'{"row": 5}', timeout=60)
    assert (ctx.attempt, ctx.job.id, ctx.checkpoint) == (3, "j", {"row": 5})
    assert ctx.deadline is not None
    assert 0 < (ctx.remaining_s() or 0) <= 60
    ctx.checkpoint = {"row": 6}
    ctx.progress(0.5)
    assert (ctx.checkpoint, feed.checkpoints, feed.fractions) == ({"row": 6}, [b'{"row":6}'], [0.5])
    with pytest.raises(ValueError, match="fraction"):
        ctx.progress(50)


def test_a_request_to_stop_ends_a_sleep() -> None:
    ctx, _ = context()
    assert not ctx.should_stop()
    assert ctx.stop_reason is None
    ctx.sleep(0)
    ctx.ask_stop(StopReason.SUSPEND)
    assert ctx.should_stop()
    assert ctx.stop_reason == "suspend"
    with pytest.raises(Stopped):
        ctx.sleep(60)


@pytest.mark.parametrize(
    ("ended", "reason", "outcome"),
    [
        ("completed", None, "completed"),
        ("completed", StopReason.CANCEL, "completed"),
        ("completed", StopReason.TIMEOUT, "completed"),
        ("failed", None, "failed"),
        ("failed", StopReason.CANCEL, "cancelled"),
        ("failed", StopReason.TIMEOUT, "timeout"),
        ("failed", StopReason.SUSPEND, "failed"),
        ("failed", StopReason.DRAIN, "failed"),
        ("snoozed", None, "snoozed"),
        ("timeout", None, "timeout"),
        ("stopped", None, "failed"),
        ("stopped", StopReason.CANCEL, "cancelled"),
        ("stopped", StopReason.TIMEOUT, "timeout"),
        ("stopped", StopReason.SUSPEND, "suspended"),
        ("stopped", StopReason.DRAIN, "released"),
    ],
)
def test_an_ending_and_the_reason_to_stop_make_the_report(
    ended: Any, reason: StopReason | None, outcome: str
) -> None:
    assert report_of("l", Ending(outcome=ended), reason).outcome == outcome


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("x" * (1 << 20), "result_too_large"),
        ({1, 2}, None),
        (float("nan"), None),
        (object(), "result_invalid"),
        ("\ud800", "result_invalid"),
    ],
)
def test_a_result_is_json_of_a_bounded_size(value: Any, code: str | None) -> None:
    ending = completed(value)
    assert ending.code == code
    assert ending.outcome == ("completed" if code is None else "failed")


def test_a_result_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert completed(loop).code == "result_invalid"


def test_an_event_is_checked_before_it_is_told() -> None:
    ctx, feed = context()
    ctx.emit("scene.loaded", {"nodes": 3})
    ctx.emit("scene.saved")
    assert feed.events == [("scene.loaded", b'{"nodes":3}'), ("scene.saved", b"")]
    for name, data in (("job.completed", None), ("a b", None), ("a", "x" * 17_000)):
        with pytest.raises(ValueError, match="event"):
            ctx.emit(name, data)
    assert len(feed.events) == 2


def test_a_stop_wakes_every_thread_of_an_attempt_and_lets_none_sleep_after_it() -> None:
    ctx, _ = context()
    woken = threading.Semaphore(0)

    def sleep() -> None:
        with pytest.raises(Stopped):
            ctx.sleep(60)
        woken.release()

    threads = [threading.Thread(target=sleep) for _ in range(4)]
    for thread in threads[:3]:
        thread.start()
    ctx.ask_stop(StopReason.CANCEL)  # before, between and after their sleeps begin
    threads[3].start()
    for thread in threads:
        thread.join(60)
    assert all(woken.acquire(blocking=False) for _ in threads)
    assert (ctx.should_stop(), ctx.stop_reason) == (True, "cancel")


# Classes ----------------------------------------------------------------------------------------


def ending(kind: type, reason: StopReason | None = None, checkpoint: bytes = b"7") -> Ending:
    """Run an attempt of a class, which is asked to stop before it begins."""
    worker = Worker()
    worker.job("climb")(kind)
    handler = worker.handlers["climb"]
    feed = Silent()
    spec = Spec(id="j", name="n", type="climb", params=msgspec.Raw(b"1"))
    assignment = Assignment(lease="l", spec=spec, attempt=1, checkpoint=msgspec.Raw(checkpoint))
    ctx = Context(assignment, feed)
    if reason is not None:
        ctx.ask_stop(reason)
    if handler.mode == "async":
        return asyncio.run(call_async(handler, ctx, assignment, feed))  # type: ignore[arg-type]
    return call_plain(handler, ctx, assignment, feed)


@pytest.mark.parametrize("kind", [Climb, AsyncClimb])
def test_a_class_begins_where_an_earlier_run_left_it_and_leaves_its_own_checkpoint(
    kind: type,
) -> None:
    assert ending(kind).result == b"[7,1]"
    assert ending(kind, checkpoint=b"").result == b"[0,1]"
    for reason in (StopReason.SUSPEND, StopReason.DRAIN):
        stopped = ending(kind, reason)
        assert (stopped.outcome, stopped.checkpoint) == ("stopped", b"8")
    assert ending(kind, StopReason.CANCEL).checkpoint is None


def test_a_class_needs_no_more_than_run() -> None:
    class Plain:
        def __init__(self, ctx: Context) -> None:
            self.ctx = ctx

        def run(self) -> Any:
            self.ctx.sleep(0)
            return self.ctx.checkpoint

    assert ending(Plain).result == b"7"
    assert ending(Plain, StopReason.SUSPEND).checkpoint is None
    with pytest.raises(WorkerDefinitionError, match="`run`"):
        Worker().job("none")(type("None_", (), {"__init__": lambda self, ctx: None}))
