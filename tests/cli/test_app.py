"""The command line as such: help, and what is imported for it."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from headrace import __version__
from headrace.cli.app import COMMANDS, app, show


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "\b" not in result.output, "a mark of the formatter, which needs an empty line above"


def test_help_lists_every_command() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    assert all(f"\n  {command} " in output for command in COMMANDS)


def test_an_error_on_a_terminal_ends_its_lines_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    said = "there is no way to do it that could be told in so few columns"
    show(click.UsageError(f"{said}\n{said}", click.Context(app, info_name="headrace")))
    lines = capsys.readouterr().err.splitlines()
    assert max(map(len, lines)) <= 40
    assert " ".join(" ".join(lines[:-1]).split()) == f"Error: {said} {said}"
    assert lines[-1] == "`headrace --help` says how it is used."
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    show(click.ClickException(said))
    assert capsys.readouterr().err == f"Error: {said}\n", "a pipe gets it as it is"


def test_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["version"]).output == f"headrace {__version__}\n"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("headrace.cli.app", {"aiohttp", "rich", "lmdb", "wasmtime", "msgspec"}),
        ("headrace.cli.submit", {"rich", "lmdb", "wasmtime", "headrace.core"}),
        ("headrace.cli.jobs", {"rich", "lmdb", "wasmtime", "headrace.core"}),
        ("headrace.cli.work", {"rich", "lmdb", "wasmtime", "headrace.core"}),
        ("headrace.worker.agent", {"lmdb", "wasmtime", "headrace.core", "headrace.sdk"}),
        ("headrace.worker.python_child", {"aiohttp", "asyncio", "lmdb", "wasmtime"}),
    ],
)
def test_a_part_imports_only_what_it_needs(module: str, absent: set[str]) -> None:
    code = f"import {module}, sys; print(' '.join(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not absent & set(output.split())
