"""The page of the contract names promises, invariants, tests and campaigns that there are."""

import re

import table
from campaigns import BY_NAME, CAMPAIGNS

from test_scope import INVARIANTS, NAMED, TESTS, functions

PAGE = table.PAGE.read_text()
PROMISES = re.findall(r"^### (C\d+) [^\n]+\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| (I\d+) \| .+ \|$", re.MULTILINE)


def test_every_promise_is_there_and_named_by_a_test_that_exists() -> None:
    assert [number for number, _ in PROMISES] == [f"C{number}" for number in range(1, 19)]
    for number, text in PROMISES:
        held = NAMED.findall(text.partition("\nHeld by ")[2])
        assert held, number
        for file, name in held:
            assert name in functions(TESTS / file), f"{number}: {file} has no {name}"


def test_every_invariant_is_told_and_no_other_is_named() -> None:
    """That each is checked somewhere is what `test_scope.py` looks at."""
    assert ROW.findall(PAGE) == INVARIANTS
    for number, text in PROMISES:
        assert set(re.findall(r"\bI\d+\b", text)) <= set(INVARIANTS), number


def test_campaigns_and_controls_that_are_named_exist() -> None:
    defects = {defect for campaign in CAMPAIGNS for defect in campaign.defects}
    for number, text in PROMISES:
        named = set(re.findall(r"`([\w-]+)`", text.partition("campaign")[2]))
        assert named <= BY_NAME.keys() | defects, number
    assert set(re.findall(r"^tools/trust ([a-z][\w-]*)", PAGE, re.MULTILINE)) <= BY_NAME.keys()
