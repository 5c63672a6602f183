"""What a handler's author sees: the registry, the context, and what a handler may raise.

    from headrace.worker import Worker

    worker = Worker()

    @worker.job("thumbnail", params=Thumbnail, run="process")
    def thumbnail(ctx, params):
        ctx.progress(0.5, "scaled")
        return {"width": params.width}

`headrace work module:worker` serves it. A handler takes `(ctx)` or `(ctx, params)`; what it
returns becomes the job's result. A class can be one too, with a method for each turn of its job's
life:

    @worker.job("render")
    class Render:
        def __init__(self, ctx, params): ...  # at each start, a resume too
        def resume(self, checkpoint): ...  # before run, if an earlier run left a checkpoint
        def run(self): ...  # may be `async`; returns the result
        def suspend(self): ...  # asked to stop for a while: returns the checkpoint

`run` and `__init__` are all that it needs. News of its state go by `ctx.progress`.

 Any exception fails the attempt, and the job is tried again as
its `max_retries` allows; `PermanentError`, `Retry` and `Snooze` say otherwise.

This module is imported by every child process, so it imports neither asyncio nor aiohttp.
"""

import importlib
import importlib.util
import inspect
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock
from types import ModuleType
from typing import Any, Final, Literal, TypeVar

import msgspec

from headrace.wire import limits
from headrace.wire.durations import duration_ms
from headrace.wire.events import check_emitted
from headrace.wire.schema import Spec
from headrace.worker.attempt import Assignment, Ending, StopReason, completed, cut_text, failed
from headrace.worker.tracing import attempt_span

Mode = Literal["async", "thread", "process"]
Function = TypeVar("Function", bound=Callable[..., Any])

TRACEBACK_CHARS_MAX: Final = 16 * limits.KIB
MEMORY_CODE: Final = "memory_limit"
_sleeping: Final = Lock()
"""So that all threads of an attempt that sleep wait for one event."""


class PermanentError(Exception):
    """The job cannot succeed: fail it without another try. `code` is for programs."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Retry(Exception):  # noqa: N818 - a request, not an error
    """The attempt failed; try again after `delay`, if tries are left.

    Units: seconds, or text such as "90s".
    """

    def __init__(self, delay: float | str, message: str = "the handler asked for a retry") -> None:
        super().__init__(message)
        self.delay_s = duration_ms(delay) / 1000


class Snooze(Exception):  # noqa: N818 - a request, not an error
    """It is too early: run the job again after `delay`. Costs no try.

    Units: seconds, or text such as "90s".
    """

    def __init__(self, delay: float | str) -> None:
        super().__init__("the handler asked to be run later")
        self.delay_s = duration_ms(delay) / 1000


class Stopped(Exception):  # noqa: N818 - what happened
    """Raise it when `ctx.should_stop()`; `ctx.sleep` raises it by itself.

    `checkpoint` (any JSON value) is handed to the next run after a suspend or a drain.
    """

    def __init__(self, checkpoint: Any = None) -> None:
        super().__init__("the handler stopped as it was asked to")
        self.checkpoint = checkpoint


class WorkerDefinitionError(Exception):
    """The worker module cannot be used as it is written; the message says what to change."""


class Feed(ABC):
    """Where an attempt's news go. Every method may be called from any thread."""

    @abstractmethod
    def progress(self, fraction: float | None, details: str | None) -> None: ...

    @abstractmethod
    def log(self, text: str) -> None: ...

    @abstractmethod
    def checkpoint(self, value: bytes) -> None: ...

    @abstractmethod
    def emit(self, name: str, data: bytes) -> None: ...


class JobFeed(Feed):
    """A feed that also hears when the job's time begins, for runs that have to prepare first."""

    @abstractmethod
    def started(self) -> None: ...


class Context:
    """What a handler knows about its attempt, and how it speaks. Safe to use from any thread.

    Handlers that are coroutines get an `AsyncContext`, whose `sleep` is awaited.
    """

    def __init__(self, assignment: Assignment, feed: Feed) -> None:
        self._assignment = assignment
        self._feed = feed
        self._stop_reason: StopReason | None = None
        self._stopped: Event | None = None
        """Made by the first sleep: most attempts are over before they would."""
        self._checkpoint: Any = (
            msgspec.json.decode(assignment.checkpoint) if bytes(assignment.checkpoint) else None
        )
        self._ends = time.monotonic() + assignment.spec.timeout if assignment.spec.timeout else None

    @property
    def job(self) -> Spec:
        return self._assignment.spec

    @property
    def traceparent(self) -> str | None:
        """Of the trace that the submit was part of (W3C Trace Context); None: of none."""
        return self.job.traceparent or None

    @property
    def tracestate(self) -> str | None:
        return self.job.tracestate or None

    @property
    def attempt(self) -> int:
        """1 for the first delivery. `f"{ctx.job.id}:{ctx.attempt}"` fences outside effects."""
        return self._assignment.attempt

    @property
    def deadline(self) -> datetime | None:
        """When the attempt is stopped for its timeout."""
        remaining_s = self.remaining_s()
        if remaining_s is None:
            return None
        return datetime.fromtimestamp(time.time() + remaining_s, UTC)

    def remaining_s(self) -> float | None:
        """Seconds until the deadline, never below 0; None without one."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def progress(self, fraction: float, details: str | None = None) -> None:
        """Tell how far it is, 0..1. Cheap: only the newest of many is sent."""
        if not 0 <= fraction <= 1:
            raise ValueError("progress is a fraction between 0 and 1")
        if details is not None:
            details = cut_text(details, limits.DETAILS_CHARS_MAX)
        self._feed.progress(fraction, details)

    def log(self, text: str) -> None:
        """Append a line to the job's log."""
        self._feed.log(text if text.endswith("\n") else text + "\n")

    def emit(self, name: str, data: Any = None) -> None:
        """Tell webhooks that ask for it of an event of the handler's own, such as `scene.loaded`.

        `data` is any JSON value; None: none. An event may be told twice if a connection breaks.
        """
        encoded = b"" if data is None else msgspec.json.encode(data)
        if len(encoded) > limits.EVENT_DATA_BYTES_MAX:
            raise ValueError(f"an event has at most {limits.EVENT_DATA_BYTES_MAX} bytes of JSON")
        self._feed.emit(check_emitted(name), encoded)

    @property
    def checkpoint(self) -> Any:
        """What an earlier run left, or this one has set; None for nothing.

        Set it now and then: the newest value goes along when the job is suspended, snoozed or
        handed to another worker.
        """
        return self._checkpoint

    @checkpoint.setter
    def checkpoint(self, value: Any) -> None:
        encoded = msgspec.json.encode(value)
        if len(encoded) > limits.OUTPUT_BYTES_MAX:
            raise ValueError(f"a checkpoint has at most {limits.OUTPUT_BYTES_MAX} bytes of JSON")
        self._checkpoint = value
        self._feed.checkpoint(encoded)

    def should_stop(self) -> bool:
        """True once the attempt is to stop; `stop_reason` tells why. Then raise `Stopped`.

        When the worker shuts down, an attempt that has a checkpoint is asked at once. One without
        may finish; it is asked when the drain is over, a second before it is killed.
        """
        return self._stop_reason is not None

    @property
    def stop_reason(self) -> str | None:
        """`cancel`, `timeout`, `suspend`, `drain`, `lost`, or None."""
        return self._stop_reason

    def ask_stop(self, reason: StopReason) -> None:
        """For the runner: the attempt is to stop."""
        self._stop_reason = reason
        if self._stopped is not None:  # else a sleep that begins now looks at the reason first
            self._stopped.set()

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond a request to stop. Raises `Stopped`."""
        with _sleeping:
            stopped = self._stopped = self._stopped or Event()
        if self._stop_reason is None:
            stopped.wait(seconds)
        if self._stop_reason is not None:
            raise Stopped


class Handler(msgspec.Struct, frozen=True):
    """One job type and the function for it."""

    name: str
    function: Callable[..., Any]
    mode: Mode
    params: Any
    """A type that msgspec decodes the params to; None for plain JSON values."""
    takes_params: bool

    def arguments(self, assignment: Assignment) -> tuple[Any, ...]:
        """Return what the function takes after its context. Raises: PermanentError."""
        raw = bytes(assignment.spec.params)
        try:
            if self.params is not None:
                value = msgspec.json.decode(raw or b"{}", type=self.params)
            else:
                value = msgspec.json.decode(raw) if raw else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PermanentError(f"the params are not valid: {error}", code="params_invalid") from (
                None
            )
        return (value,) if self.takes_params else ()


class Worker:
    """A set of handlers. Make one at the top of a module and decorate functions with it."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.target: str | None = None
        """`module:attribute` or `file.py:attribute`: how a child process finds it."""

    def job(
        self, name: str, *, params: Any = None, run: Mode | None = None
    ) -> Callable[[Function], Function]:
        """Register a function as the handler of a job type.

        params: a msgspec Struct (or any type msgspec knows) that the job's params must fit.
        run: `async` in the event loop (the default for `async def`), `thread` (the default for
        `def`; stops only if it looks at `ctx.should_stop()`), or `process` (a child process that
        is killed on cancel and timeout: the choice for anything that computes for long; it sees the
        worker's environment without HEADRACE_API_KEY and HEADRACE_API_KEY_FILE).
        """
        if not 0 < len(name) <= limits.NAME_CHARS_MAX:
            raise WorkerDefinitionError(
                f"the name of a job type has 1 to {limits.NAME_CHARS_MAX} characters"
            )

        def register(function: Function) -> Function:
            if name in self.handlers:
                raise WorkerDefinitionError(f"there are two handlers for {name!r}")
            takes_params = _takes_params(name, function)
            call: Callable[..., Any] = function
            if inspect.isclass(function):
                call = _function_of(name, function)
            is_async = inspect.iscoroutinefunction(call)
            mode = run or ("async" if is_async else "thread")
            if mode == "async" and not is_async:
                raise WorkerDefinitionError(
                    f"handler {name!r}: run='async' needs `async def`; "
                    "for a plain function say run='thread' or run='process'"
                )
            if mode == "thread" and is_async:
                raise WorkerDefinitionError(
                    f"handler {name!r} is `async def`: say run='async' or run='process'"
                )
            self.handlers[name] = Handler(name, call, mode, params, takes_params)
            return function

        return register

    def find_target(self) -> str:
        """Return how a child process imports this worker.

        Raises: WorkerDefinitionError when it is not a variable of a module.
        """
        if self.target is not None:
            return self.target
        for handler in self.handlers.values():
            module = sys.modules.get(handler.function.__module__)
            for attribute, value in vars(module).items() if module is not None else ():
                if value is self:
                    name = handler.function.__module__
                    if name == "__main__":
                        path = getattr(module, "__file__", None)
                        if path is None:
                            break
                        name = str(Path(path).resolve())
                    target = f"{name}:{attribute}"
                    self.target = target
                    return target
        raise WorkerDefinitionError(
            "handlers with run='process' need a Worker that is a variable of an importable module"
        )


def _function_of(name: str, kind: type[Any]) -> Callable[..., Any]:
    """Return a handler that leads a job through the methods of a class."""
    run = getattr(kind, "run", None)
    if not callable(run):
        raise WorkerDefinitionError(f"handler {name!r} is a class: it needs a method `run`")

    def begun(context: Context, arguments: tuple[Any, ...]) -> Any:
        job = kind(context, *arguments)
        if context.checkpoint is not None and hasattr(job, "resume"):
            job.resume(context.checkpoint)
        return job

    def left(context: Context, job: Any, stopped: Stopped) -> None:
        for_a_while = context.stop_reason in (StopReason.SUSPEND, StopReason.DRAIN)
        if for_a_while and stopped.checkpoint is None and hasattr(job, "suspend"):
            stopped.checkpoint = job.suspend()

    async def call_run(context: Context, *arguments: Any) -> Any:
        job = begun(context, arguments)
        try:
            return await job.run()
        except Stopped as stopped:
            left(context, job, stopped)
            raise

    def call_plain_run(context: Context, *arguments: Any) -> Any:
        job = begun(context, arguments)
        try:
            return job.run()
        except Stopped as stopped:
            left(context, job, stopped)
            raise

    function = call_run if inspect.iscoroutinefunction(run) else call_plain_run
    function.__module__, function.__doc__ = kind.__module__, kind.__doc__
    return function


def _takes_params(name: str, function: Callable[..., Any]) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return True
    positional = [
        parameter
        for parameter in parameters
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if not positional or sum(1 for p in positional if p.default is p.empty) > 2:
        raise WorkerDefinitionError(f"handler {name!r} must take (ctx) or (ctx, params)")
    return len(positional) >= 2


def load_worker(target: str) -> Worker:
    """Import `module:attribute` or `path/file.py:attribute`; the attribute defaults to `worker`.

    Raises: WorkerDefinitionError with a sentence for the person at the keyboard.
    """
    name, _, attribute = target.rpartition(":") if ":" in target else (target, "", "worker")
    module = _load_file(Path(name)) if name.endswith(".py") else _load_module(name)
    found = getattr(module, attribute, None)
    if not isinstance(found, Worker):
        what = "is not a Worker" if hasattr(module, attribute) else "does not exist"
        raise WorkerDefinitionError(
            f"{attribute!r} of {name!r} {what}; write `{attribute} = Worker()` there, "
            "or name another variable as module:variable"
        )
    if name.endswith(".py"):
        name = str(Path(name).resolve())
    found.target = f"{name}:{attribute}"
    return found


def _load_module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise WorkerDefinitionError(
                f"there is no module {name!r}; run this in the directory that holds it, "
                "or name the file, as in path/tasks.py:worker"
            ) from None
        raise


def _load_file(path: Path) -> ModuleType:
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path.resolve()):
        return loaded
    if not path.is_file():
        raise WorkerDefinitionError(f"there is no file {str(path)!r}")
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # as `python file.py` does
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def ending_of_exception(error: BaseException, feed: Feed) -> Ending:
    """Return how an attempt ended whose handler raised. The traceback goes to the job's log.

    Never raises, though an exception may be one that cannot even be printed.
    """
    try:
        return _ending_of_exception(error, feed)
    except BaseException as odd:  # of the user's code: its `__str__`, a checkpoint without JSON
        return failed(
            f"the handler raised {type(error).__name__}, and telling of it {type(odd).__name__}",
            "handler_odd",
        )


def _ending_of_exception(error: BaseException, feed: Feed) -> Ending:
    if isinstance(error, Stopped):
        ending = Ending(outcome="stopped")
        if error.checkpoint is not None:
            ending.checkpoint = msgspec.json.encode(error.checkpoint)
        return ending
    if isinstance(error, Snooze):
        return Ending(outcome="snoozed", retry_delay_s=error.delay_s)
    if isinstance(error, Retry):
        ending = failed(str(error))
        ending.retry_delay_s = error.delay_s
        return ending
    if isinstance(error, PermanentError):
        return failed(str(error), error.code, permanent=True)
    text = "".join(traceback.format_exception(error))
    feed.log(text[-TRACEBACK_CHARS_MAX:])
    if isinstance(error, SystemExit):
        return failed(f"the handler called exit({error.code!r})", "handler_exited")
    if isinstance(error, MemoryError):
        return failed("the handler ran out of memory", MEMORY_CODE)
    message = str(error)
    return failed(f"{type(error).__name__}: {message}" if message else type(error).__name__)


def call_plain(handler: Handler, context: Context, assignment: Assignment, feed: Feed) -> Ending:
    """Run a plain function to its end in this thread. Never raises."""
    try:
        with attempt_span(assignment):
            return completed(handler.function(context, *handler.arguments(assignment)))
    except BaseException as error:  # whatever a handler raises ends its attempt only
        return ending_of_exception(error, feed)
