"""What fits a terminal."""

from typing import Any

import msgspec
import pytest

from headrace.cli import output
from headrace.sdk.views import JobView

JOB_ID = "01a200c0-5c4c-7000-8bac-56a9dc09a726"
FIELDS: dict[str, Any] = {field.name: None for field in msgspec.structs.fields(JobView)}
FIELDS |= {"id": JOB_ID, "name": "resize", "status": "completed", "priority": 5, "queue": "default"}
FIELDS |= {"attempt": 1, "progress": 1.0}


def listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *views: dict[str, Any]
) -> list[str]:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    output.print_jobs([JobView(**{**FIELDS, **view}) for view in views])
    return capsys.readouterr().out.splitlines()


def test_a_job_is_one_line_of_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = {"name": "a rather long name, é漢字 " * 4, "queue": "maintenance", "priority": 9}
    details = {"progress": 0.25, "progress_details": "a quarter of it is done " * 4, "attempt": 3}
    lines = listed(monkeypatch, capsys, {**long, **details, "status": "suspending"}, {})
    assert len(lines) == 3
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith(JOB_ID)
    assert "suspending" in lines[1]


def test_a_narrow_terminal_gets_no_column_that_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = listed(monkeypatch, capsys, {}, {"attempt": 0, "progress": 0.0})
    urgent = listed(monkeypatch, capsys, {}, {"priority": 9})
    assert usual[0].split() == ["job", "name", "status", "age"]
    assert urgent[0].split() == ["job", "name", "status", "prio", "age"]
