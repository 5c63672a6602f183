"""The table in `SCOPE.md` names tests that there are, and has every row that is promised."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| ([SX][\d.]+) \| [^|]+ \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
PROMISED = [
    *(f"S1.{number}" for number in range(1, 10)),
    *(f"S2.{number}" for number in range(1, 8)),
    *(f"S3.{number}" for number in range(2, 6)),
    *(f"S4.{number}" for number in range(1, 7)),
    *("S5.1", "S5.2"),
    *("X3", "X4", "X5", "X6", "X8", "X10", "X11"),
]
OVER_HTTP = ("http/", "e2e/", "cli/")
"""Tests there speak to a server over a socket."""


def rows() -> dict[str, str]:
    return dict(ROW.findall((TESTS / "SCOPE.md").read_text()))


def test_every_promise_has_a_row() -> None:
    assert list(rows()) == PROMISED


def test_every_test_that_is_named_exists() -> None:
    for row, tests in rows().items():
        named = NAMED.findall(tests)
        assert named, row
        for file, name in named:
            tree = ast.parse((TESTS / file).read_text())
            found = {
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert name in found, f"{row}: {file} has no {name}"


def test_every_row_has_a_test_over_http() -> None:
    for row, tests in rows().items():
        bold = re.findall(r"\*\*`([\w/]+)\.py::", tests)
        assert bold, row
        assert all(file.startswith(OVER_HTTP) for file in bold), row
