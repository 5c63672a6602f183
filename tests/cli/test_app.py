"""The command line as such: help, and what is imported for it."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from headrace import __version__
from headrace.cli.app import COMMANDS, app


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "\b" not in result.output, "a mark of the formatter, which needs an empty line above"


def test_help_lists_every_command() -> None:
    output = CliRunner().invoke(app, ["--help"]).output
    assert all(f"\n  {command} " in output for command in COMMANDS)


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
