"""Log lines: where they go, how they look, and that they hold nobody up."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.runtime import logs
from headrace.runtime.logs import (
    JobLogger,
    JsonLines,
    ManyRecord,
    RotatingFile,
    TextLines,
    escaped,
    formatter_of,
    logging_to,
)

log = logging.getLogger("headrace.under_test")


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("headrace.x", logging.INFO, "", 0, message, arguments, None)
    made.created = 1_900_000_000.25
    made.__dict__.update(fields)
    return made


def raised(message: str) -> logging.LogRecord:
    made = record("it failed")
    try:
        raise ValueError(message)
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    return made


# One line an event ------------------------------------------------------------------------------


def test_a_line_of_text_has_time_level_logger_message_and_fields() -> None:
    line = TextLines().format(record("did %s", "it", job_id="j-1", n=3, words="a b"))
    assert line == '2030-03-17T17:46:40.250Z INFO headrace.x: did it job_id=j-1 n=3 words="a b"'


def test_a_line_of_json_is_one_object() -> None:
    event = record("did %s", "it", n=3, ok=True, odd=float("nan"), path=Path("p"))
    assert json.loads(JsonLines().format(event)) == {
        "time": "2030-03-17T17:46:40.250Z",
        "level": "info",
        "logger": "headrace.x",
        "message": "did it",
        "n": 3,
        "ok": True,
        "odd": "nan",
        "path": "p",
    }


@pytest.mark.parametrize("form", ["text", "json"])
@given(text=st.text())
def test_no_text_breaks_a_line_or_reaches_the_terminal_raw(form: Any, text: str) -> None:
    line = formatter_of(form).format(record("said %s", text, field=text))
    assert line.isprintable()
    assert line.encode()


def test_forged_lines_are_seen_for_what_they_are() -> None:
    line = TextLines().format(record("user %s", "x\r\n2030 CRITICAL root: \x1b[31mfire\x9b"))
    assert line.endswith(r"user x\r\n2030 CRITICAL root: \x1b[31mfire\x9b")
    assert escaped("\u202e\ud800\u2028") == r"\u202e\ud800\u2028"


def test_a_traceback_is_indented_so_that_no_line_of_it_looks_like_a_record() -> None:
    lines = TextLines().format(raised("x\n2030 CRITICAL root: fire\x1b")).split("\n")
    assert lines[0].endswith("it failed")
    assert all(line.startswith("    ") for line in lines[1:])
    assert lines[-1] == r"    2030 CRITICAL root: fire\x1b"
    event = json.loads(JsonLines().format(raised("oh")))
    assert event["traceback"].endswith("ValueError: oh")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("before", ["", "x", "\n"])
def test_keys_and_secrets_are_cut_out_of_whatever_is_logged(form: Any, before: str) -> None:
    secrets = ["hr_abcDEF0123_" + "s3cret" * 8, "whsec_" + "c2Vjcm+/" * 4]
    for secret in secrets:
        for event in (record("%s", before + secret), record("x", key=secret), raised(secret)):
            line = formatter_of(form).format(event)
            assert "cret" not in line
            assert "c2Vj" not in line


# Where they go ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield tmp_path / "logs"
    assert (root.level, root.handlers[:]) == before


def test_console_and_file_have_levels_of_their_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "job.log"
    with logging_to(JobLogger(console_level="warning", file=file), "text"):
        log.debug("quiet")
        log.warning("loud %d", 1)
    assert [line.partition(": ")[2] for line in file.read_text().splitlines()] == [
        "quiet",
        "loud 1",
    ]
    assert capsys.readouterr().err.count("\n") == 1
    assert file.stat().st_mode & 0o007 == 0, "nobody else reads who runs what"


def test_without_a_file_what_is_below_the_level_costs_nothing(folder: Path) -> None:
    with logging_to(JobLogger(), "text"):
        assert not log.isEnabledFor(logging.DEBUG)
        assert log.isEnabledFor(logging.INFO)
    assert not folder.exists()


def test_what_arguments_say_is_settled_when_it_is_logged(folder: Path) -> None:
    mutable = ["before"]
    with logging_to(JobLogger(console_level="error", file=folder / "job.log"), "json"):
        log.info("list %s", mutable)
        mutable[0] = "after"
        try:
            raise ValueError("oh")
        except ValueError:
            log.exception("failed")
    events = [json.loads(line) for line in (folder / "job.log").read_text().splitlines()]
    assert events[0]["message"] == "list ['before']"
    assert "ValueError: oh" in events[1]["traceback"]


def test_many_events_in_one_record_are_lines_of_their_own(folder: Path) -> None:
    def lines(events: list[int]) -> Iterator[tuple[str, dict[str, Any]]]:
        for event in events:
            yield "event", {"n": event}

    many = ManyRecord(log.name, logging.DEBUG, [1, 2], lines)
    with logging_to(JobLogger(file=folder / "job.log"), "json"):
        log.handle(many)
    events = [json.loads(line) for line in (folder / "job.log").read_text().splitlines()]
    assert [(event["message"], event["n"]) for event in events] == [("event", 1), ("event", 2)]
    assert many.getMessage() == "event n=1\nevent n=2", "what other handlers show"


class Stuck(logging.Handler):
    """A console nobody reads, until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.go.wait(30)
        self.lines.append(record.getMessage())


def test_a_stuck_console_holds_nobody_up_and_the_lost_lines_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    monkeypatch.setattr(logs, "_console", lambda *_: stuck)
    monkeypatch.setattr(logs, "LINES_MAX", 10)
    with logging_to(JobLogger(), "text"):
        for number in range(15):
            log.info("line %d", number)
        log.error("trouble still has room")
        stuck.go.set()
    assert sorted(stuck.lines) == [
        "5 log lines were lost: they came faster than they go out",
        *(f"line {number}" for number in range(10)),
        "trouble still has room",
    ]


def test_the_end_does_not_wait_for_a_stuck_console(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck()
    monkeypatch.setattr(logs, "_console", lambda *_: stuck)
    monkeypatch.setattr(logs, "END_S_MAX", 0.01)
    with logging_to(JobLogger(), "text"):
        log.info("nobody reads this")
    assert stuck.lines == []
    stuck.go.set()


# The file ---------------------------------------------------------------------------------------


def rotating(path: Path, **settings: Any) -> RotatingFile:
    path.parent.mkdir(exist_ok=True)
    handler = RotatingFile(path, JobLogger(**settings))
    handler.maxBytes = 100
    handler.setFormatter(TextLines())
    return handler


def names(path: Path) -> list[str]:
    return sorted(found.name for found in path.parent.iterdir())


@pytest.mark.parametrize("backups", [0, 1, 3])
def test_a_full_file_is_rotated_and_so_many_backups_stay(folder: Path, backups: int) -> None:
    path = folder / "job.log"
    handler = rotating(path, max_backups=backups)
    for number in range(10):
        handler.emit(record(f"{number} " + "x" * 100))
    handler.close()
    assert names(path) == ["job.log", *(f"job.log.{number + 1}" for number in range(backups))]
    assert " 9 " in path.read_text()
    if backups:
        assert " 8 " in (folder / "job.log.1").read_text()


def test_backups_go_when_they_are_too_old(folder: Path) -> None:
    path = folder / "job.log"
    handler = rotating(path, max_backups=5, max_age_days=2)
    for name, age_days in (("job.log.1", 1), ("job.log.2", 3), ("job.log.x", 9), ("other.1", 9)):
        (folder / name).write_text("")
        then_s = time.time() - age_days * logs.DAY_S
        os.utime(folder / name, (then_s, then_s))
    handler.emit(record("x"))
    handler.close()
    assert names(path) == ["job.log", "job.log.1", "job.log.x", "other.1"]


def test_a_restart_goes_on_in_the_same_file(folder: Path) -> None:
    path = folder / "job.log"
    for number in range(2):
        handler = rotating(path)
        handler.emit(record(f"start {number}"))
        handler.close()
    assert path.read_text().count("start") == 2


def test_a_file_that_cannot_be_written_is_told_once_and_raises_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = rotating(folder / "job.log")
    handler.stream.close()
    handler.stream = open("/dev/full", "w")  # noqa: SIM115 - the handler closes it
    for _ in range(3):
        handler.emit(record("x"))
    handler.stream = None
    handler.close()
    assert capsys.readouterr().err.count("No space left") == 1
