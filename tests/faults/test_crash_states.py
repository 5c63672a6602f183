"""Crash states at their smallest, and the controls without which they would prove nothing."""

import random
import shutil
from pathlib import Path

import crash_states
import pytest
from crash_states import Record, Told, Written

pytestmark = pytest.mark.e2e

RECORD_S = 1.0


@pytest.fixture(autouse=True)
def can_record() -> None:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler for the recorder")


def test_no_state_lacks_what_was_acknowledged_or_has_half_a_commit(disk: Path) -> None:
    data = crash_states.recorded(1, disk, seconds=RECORD_S)
    report = crash_states.check(crash_states.parse(data), 150, 1)
    assert report.found == []
    assert report.commits > 10
    assert report.answers > 30
    ignoring = crash_states.parse(data, syncs=False)
    assert crash_states.check(ignoring, 30, 1).found, "a disk that ignores syncs looks well"


def test_answers_that_go_before_their_commit_are_found_out(disk: Path) -> None:
    defect = "ack-before-commit"
    data = crash_states.recorded(1, disk, defect=defect, seconds=RECORD_S)
    report = crash_states.check(crash_states.parse(data), 30, 1)
    assert crash_states.found_out(report, defect)


# How states are made ----------------------------------------------------------------------------

OLD, NEW, META = b"o" * 8_192, b"n" * 8_192, b"m" * 100
SYNCED = Record(
    [
        Written(0, b"", True),
        Written(0, OLD, False),
        None,
        Written(0, NEW, False),
        Told((1, 7), (b"j" * 16,)),
        None,
        Written(10_000, META, True),
        Told((1, 8), ()),
        Written(0, OLD, False),
    ]
)


def states(way: str, cut: int) -> list[crash_states.State]:
    found = crash_states.states_of(SYNCED, 3_000, random.Random(1))
    return [state for state in found if (state.way, state.cut) == (way, cut)]


def test_states_with_one_key_are_one_file() -> None:
    made = list(crash_states.states_of(SYNCED, 500, random.Random(1)))
    images = {state.key: state.image for state in made}
    assert len(images) < len(made)
    assert all(images[state.key] == state.image for state in made)


def test_what_was_synced_is_there_and_what_was_not_may_be() -> None:
    assert {state.image for state in states("none", 3)} == {OLD}
    assert {state.image for state in states("all", 3)} == {NEW}
    halves = {state.image for state in states("pages", 3)}
    assert halves == {a * 4_096 + b * 4_096 for a in (b"o", b"n") for b in (b"o", b"n")}
    assert all(len(state.image) == 8_192 for state in states("sectors", 3))
    assert len({state.image for state in states("sectors", 3)}) > 20
    assert {state.image[:8_192] for state in states("none", 6)} == {NEW}


def test_what_was_written_in_step_is_there_when_it_returned() -> None:
    assert {len(state.image) for state in states("none", 6)} == {8_192}
    assert {len(state.image) for state in states("all", 6)} == {10_100}
    assert {state.image[10_000:] for state in states("none", 8)} == {META}
    assert {(state.earliest, state.latest) for state in states("none", 6)} == {(0, 1)}
    assert {(state.earliest, state.latest) for state in states("none", 7)} == {(1, 1)}


def test_what_was_told_counts_from_the_moment_it_leaves() -> None:
    assert {(state.acked, state.jobs) for state in states("none", 4)} == {((0, 0), ())}
    assert {(state.acked, state.jobs) for state in states("none", 5)} == {((1, 7), (b"j" * 16,))}
