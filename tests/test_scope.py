"""The tables of promises name tests that there are, and have every row that is promised.

`SCOPE.md` is what the product does, `SECURITY.md` what must hold against people. The invariants of
the reliability contract have no table: each is named, by its number, where it is checked.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROW = re.compile(r"^\| ((?:S|X|SEC)[\d.]+) \| [^|]+ \| (.+) \|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
SCOPE = [
    *(f"S1.{number}" for number in range(1, 11)),
    *(f"S2.{number}" for number in range(1, 8)),
    *(f"S3.{number}" for number in range(2, 6)),
    *(f"S4.{number}" for number in range(1, 7)),
    *("S5.1", "S5.2", "S5.3"),
    *("X3", "X4", "X5", "X6", "X8", "X10", "X11", "X12"),
]
SECURITY = [f"SEC{number}" for number in range(1, 49)]
PROMISED = {"SCOPE.md": SCOPE, "SECURITY.md": SECURITY}
NOT_SO = "does not apply: "
"""Begins the reason in the place of tests."""
OVER_HTTP = ("http/", "e2e/", "cli/")
"""Tests there speak to a server over a socket."""
INVARIANTS = [f"I{number}" for number in range(1, 26)]
CHECKS = ("sim", "faults", "core", "store", "webhooks")
"""Where invariants are checked, below `tests`."""


def rows(table: str) -> dict[str, str]:
    return dict(ROW.findall((TESTS / table).read_text()))


@cache
def functions(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("table", PROMISED)
def test_every_promise_has_a_row(table: str) -> None:
    assert list(rows(table)) == PROMISED[table]


@pytest.mark.parametrize("table", PROMISED)
def test_every_test_that_is_named_exists(table: str) -> None:
    for row, tests in rows(table).items():
        named = NAMED.findall(tests)
        assert named or (table == "SECURITY.md" and tests.startswith(NOT_SO)), row
        for file, name in named:
            assert name in functions(TESTS / file), f"{row}: {file} has no {name}"


def test_every_row_of_the_scope_has_a_test_over_http() -> None:
    for row, tests in rows("SCOPE.md").items():
        bold = re.findall(r"\*\*`([\w/]+)\.py::", tests)
        assert bold, row
        assert all(file.startswith(OVER_HTTP) for file in bold), row


def test_every_invariant_is_named_where_it_is_checked() -> None:
    """In the docstring of a function, so that a title over many of them does not count."""
    named: set[str] = set()
    for place in CHECKS:
        for file in (TESTS / place).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    named.update(re.findall(r"\bI\d{1,2}\b", ast.get_docstring(node) or ""))
    assert [one for one in INVARIANTS if one not in named] == []
