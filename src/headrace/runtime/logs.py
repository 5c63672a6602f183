"""Where log lines go: the console and a file that is rotated, each with its level.

    logger ─▶ queue (bounded) ─▶ one thread: format, escape ─▶ console, file

The event loop only formats the message and puts it in the queue; a slow disk or a stuck pipe holds
up no request. What does not fit in the queue is counted, and the count is told. One event is one
line whatever is in it: control characters are escaped, tracebacks are indented.
"""

import contextlib
import copy
import json
import logging
import logging.handlers
import math
import os
import queue
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from headrace.runtime.settings import Mark
from headrace.wire.durations import rfc3339

LINES_MAX: Final = 100_000
"""Events that wait for the thread; beyond them, those below WARNING are dropped."""
COMPLAINT_S: Final = 60.0
"""How often it is said that the file cannot be written."""
END_S_MAX: Final = 5.0
"""What is still to be written at the end has this long."""
PRUNE_S: Final = 3_600.0
DAY_S: Final = 86_400
FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750

Level = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]


class JobLogger(msgspec.Struct, frozen=True, kw_only=True):
    """The section `job_logger`."""

    console_level: Annotated[Level, Mark("Least level on the console.", name="log_level")] = "info"
    file_level: Annotated[
        Level, Mark("Least level in the log file; debug has lines for each job.")
    ] = "debug"
    file: Annotated[Path | None, Mark("Log file; without one there is only the console.")] = None
    max_size_mb: Annotated[
        int, Meta(ge=1, le=1_000_000), Mark("Megabytes at which the log file is rotated.")
    ] = 1_000
    max_backups: Annotated[int, Meta(ge=0, le=10_000), Mark("Rotated log files that are kept.")] = 3
    max_age_days: Annotated[
        int, Meta(ge=0, le=36_500), Mark("Days after which a rotated log file goes. 0: never.")
    ] = 28


@contextmanager
def logging_to(settings: JobLogger, form: LogFormat) -> Iterator[None]:
    """Send all log records where the settings say, until the end; then everything is written.

    Raises: OSError if the file cannot be opened.
    """
    formatter = formatter_of(form)
    handlers: list[logging.Handler] = [_console(formatter, settings.console_level)]
    if settings.file is not None:
        handlers.append(_file(formatter, settings, settings.file))
    into = _Intake()
    out = _Outlet(into, *handlers)
    root = logging.getLogger()
    level, were = root.level, root.handlers[:]
    root.handlers[:] = [into]
    root.setLevel(min(handler.level for handler in handlers))
    quiet()
    out.start()
    try:
        yield
    finally:
        root.handlers[:] = were
        root.setLevel(level)
        if out.end():
            for handler in handlers:
                handler.close()


def log_to_console(level: Level, form: LogFormat = "text") -> None:
    """Send all log records to the console, at once: for workers and tools."""
    logging.basicConfig(level=level.upper(), handlers=[_console(formatter_of(form), level)])
    quiet()


def quiet() -> None:
    """Leave out what libraries say of each request and each loop."""
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.INFO)


def _console(formatter: logging.Formatter, level: Level) -> logging.Handler:
    handler = _Console(sys.stderr)
    handler.setFormatter(formatter)
    handler.setLevel(level.upper())
    return handler


def _file(formatter: logging.Formatter, settings: JobLogger, path: Path) -> logging.Handler:
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    handler = RotatingFile(path, settings)
    handler.setFormatter(formatter)
    handler.setLevel(settings.file_level.upper())
    return handler


# From the loop to the thread --------------------------------------------------------------------


class ManyRecord(logging.LogRecord):
    """Several events in one record, made cheaply where they happen and taken apart in the thread.

    Other handlers than ours show them as lines of one message.
    """

    def __init__(self, name: str, level: int, events: list[Any], lines: Any) -> None:
        super().__init__(name, level, "", 0, "", None, None)
        self.events = events
        self._lines = lines
        """From the events to (message, fields)."""

    def getMessage(self) -> str:  # noqa: N802 - the name is logging's
        return "\n".join(
            " ".join([message, *(f"{name}={value}" for name, value in fields.items())])
            for message, fields in self._lines(self.events)
        )

    def records(self) -> Iterator[logging.LogRecord]:
        for message, fields in self._lines(self.events):
            record = logging.LogRecord(self.name, self.levelno, "", 0, message, None, None)
            record.created, record.msecs = self.created, self.msecs
            record.__dict__.update(fields)
            yield record


class _Intake(logging.handlers.QueueHandler):
    """Puts records in the queue. `handle` holds the handler's lock, so counts have one writer."""

    queue: "queue.SimpleQueue[Any]"

    def __init__(self) -> None:
        super().__init__(cast(Any, queue.SimpleQueue()))
        self.put = 0
        self.done = 0
        """Written by the thread alone."""
        self.lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Settle the message now: what its arguments say may change."""
        if isinstance(record, ManyRecord):
            return record
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = _PLAIN.formatException(record.exc_info)
            record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        lines = len(record.events) if isinstance(record, ManyRecord) else 1
        # Reports of trouble still have room when chatter has filled its part.
        most = LINES_MAX if record.levelno < logging.WARNING else 2 * LINES_MAX
        if self.put - self.done + lines > most:
            self.lost += lines
        else:
            self.put += lines
            self.queue.put(record)


class _Outlet(logging.handlers.QueueListener):
    """The thread."""

    def __init__(self, intake: _Intake, *handlers: logging.Handler) -> None:
        super().__init__(cast(Any, intake.queue), *handlers, respect_handler_level=True)
        self._intake = intake
        self._told = 0

    def end(self) -> bool:
        """Write what is waiting. False: the console or the disk is stuck, and is not waited for."""
        self.enqueue_sentinel()
        thread = self._thread
        assert thread is not None
        thread.join(END_S_MAX)
        return not thread.is_alive()

    def handle(self, record: logging.LogRecord) -> None:
        if isinstance(record, ManyRecord):
            for one in record.records():
                super().handle(one)
            self._intake.done += len(record.events)
        else:
            super().handle(record)
            self._intake.done += 1
        if (lost := self._intake.lost) != self._told:
            text = f"{lost - self._told} log lines were lost: they came faster than they go out"
            self._told = lost
            name, level = "headrace.logs", logging.WARNING
            super().handle(logging.LogRecord(name, level, "", 0, text, None, None))


# To the console and the file --------------------------------------------------------------------


class _Complaining:
    """A handler that cannot write says so once a minute, and loses the line."""

    _complained_at_s = float("-inf")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        now_s = time.monotonic()
        error = sys.exc_info()[1]
        if now_s - self._complained_at_s >= COMPLAINT_S and sys.stderr is not None:
            self._complained_at_s = now_s
            try:
                sys.stderr.write(f"headrace: a log line is lost: {escaped(str(error))}\n")
            except (OSError, ValueError):
                return


class _Console(_Complaining, logging.StreamHandler[Any]):
    pass


class RotatingFile(_Complaining, logging.handlers.RotatingFileHandler):
    """`job.log`, and before it `job.log.1` to `job.log.N`, the higher the older."""

    def __init__(self, path: Path, settings: JobLogger) -> None:
        self._backups = settings.max_backups
        self._age_s = settings.max_age_days * DAY_S
        self._pruned_at_s = float("-inf")
        super().__init__(
            path,
            maxBytes=settings.max_size_mb * 1_000_000,
            backupCount=max(1, self._backups),  # with 0 the base class never rotates
            encoding="utf-8",
            errors="backslashreplace",
        )

    def _open(self) -> Any:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.baseFilename, flags, FILE_MODE)
        return open(descriptor, self.mode, encoding=self.encoding, errors=self.errors)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - logging's name
        """The line that reaches the limit still goes to the old file; so no line is formatted
        only to be measured.
        """
        if self.stream is None:
            self.stream = self._open()
        return os.fstat(self.stream.fileno()).st_size >= self.maxBytes

    def emit(self, record: logging.LogRecord) -> None:
        now_s = time.monotonic()
        if now_s - self._pruned_at_s >= PRUNE_S:
            self._pruned_at_s = now_s
            self._prune()
        super().emit(record)

    def doRollover(self) -> None:  # noqa: N802 - the name is logging's
        super().doRollover()
        self._prune()

    def _prune(self) -> None:
        """Remove the backups that are too many or too old."""
        path = Path(self.baseFilename)
        oldest_s = time.time() - self._age_s if self._age_s else 0.0
        with contextlib.suppress(OSError):  # another process may have been quicker
            for backup in list(path.parent.iterdir()):
                number = backup.name.removeprefix(path.name + ".")
                if number == backup.name or not number.isdecimal():
                    continue
                if int(number) > self._backups or backup.stat().st_mtime < oldest_s:
                    backup.unlink()


# One line an event ------------------------------------------------------------------------------

_SECRET: Final = re.compile(r"(hr_[0-9A-Za-z]{1,32}_|whsec_)[0-9A-Za-z+/=]{8,}")
_OWN: Final = frozenset(
    {*logging.LogRecord("", 0, "", 0, "", None, None).__dict__, "message", "asctime", "taskName"}
)
_BARE: Final = re.compile(r"[\w.:/@+-]+")
_PLAIN: Final = logging.Formatter()


def escaped(text: str) -> str:
    """Return the text on one line, with nothing in it that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def formatter_of(form: LogFormat) -> logging.Formatter:
    return JsonLines() if form == "json" else TextLines()


class _Lines(logging.Formatter):
    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return what was logged as `extra`."""
        return {name: value for name, value in record.__dict__.items() if name not in _OWN}

    def traceback(self, record: logging.LogRecord) -> str:
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        stack = self.formatStack(record.stack_info) if record.stack_info else ""
        return "\n".join(part for part in (record.exc_text, stack) if part)

    def moment(self, record: logging.LogRecord) -> str:
        return rfc3339(round(record.created * 1000)) or ""


class TextLines(_Lines):
    """`2030-01-31T12:00:00.000Z INFO headrace.http: what happened name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{self.moment(record)} {record.levelname} {escaped(record.name)}: "
        words = [head + escaped(record.getMessage())]
        for name, value in self.fields(record).items():
            text = str(value)
            shown = text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
            words.append(f"{escaped(name)}={escaped(shown)}")
        lines = [" ".join(words)]
        # No line of a traceback starts where a record does.
        lines += ["    " + escaped(line) for line in self.traceback(record).splitlines()]
        return _SECRET.sub(r"\1…", "\n".join(lines))


class JsonLines(_Lines):
    """One JSON object a line; what it does not know is text."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": self.moment(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if traceback := self.traceback(record):
            event["traceback"] = traceback
        for name, value in self.fields(record).items():
            known = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
            event.setdefault(name, value if known else str(value))
        # ASCII: no odd character reaches a terminal, and half a surrogate pair is no error.
        return _SECRET.sub(r"\1…", json.dumps(event))
