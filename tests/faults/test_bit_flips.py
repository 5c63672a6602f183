"""A few flips of a store's file, and the control without which they would prove nothing."""

from pathlib import Path

import bit_flips
import pytest
from bit_flips import MISPLACED, Look, Start, way_of

pytestmark = pytest.mark.e2e


def test_flips_are_refused_or_named_and_change_nothing_else(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bit_flips, "LOADS_S", (0.5,))
    image = bit_flips.made(1, disk)
    report = bit_flips.check(image, 80, 1)
    assert report.found == []
    assert report.jobs > 30
    assert report.ways["named"] > 5
    assert report.inspected == report.ways["named"] + report.ways["refused"]
    trusting = bit_flips.check(image, 40, 1, defect="checksums-ignored")
    assert "changed" in {found.way for found in trusting.found}


@pytest.mark.parametrize(
    ("start", "look", "way"),
    [
        (Start(refused="StoreDamaged"), Look("a page"), "refused"),
        ("the child ended with 65", Look("a page"), "refused"),
        ("the child ended with -6", Look("a page"), "ended"),
        ("the child ended with 74", Look("a page"), "refused"),
        ("the child ended with 74", "the child ended with 74", "refused"),
        ("the child ended with 74", Look(), "ended"),
        ("the child ended with -7", Look("a page"), "ended"),
        (Start(gone=["job"]), Look("a page"), "changed"),
        (Start(), "the child ended with -11", "ended"),
        (Start(), f"the child ended with -{27}", "circles"),
        ("KeyError in restore: 5", Look("a page"), "raises"),
        (Start(named=1), Look("a row"), "named"),
        (Start(missed=["key"]), Look("a row"), "overlooked"),
        (Start(missed=["key"]), Look(), "changed"),
        (Start(named=1, changed=["job"]), Look("a row"), "changed"),
        (Start(), Look("a row"), "inspected"),
        (Start(), Look(), "unread"),
    ],
)
def test_what_comes_of_a_flip_is_told_by_both_looks(
    start: Start | str, look: Look | str, way: str
) -> None:
    assert way_of(start, look)[0] == way


@pytest.mark.parametrize(
    ("start", "look", "way"),
    [
        (Start(gone=["job"]), Look("a page"), "hidden"),
        (Start(gone=["job"]), Look(), "changed"),
        (Start(gone=["job"], changed=["job"]), Look("a page"), "changed"),
    ],
)
def test_a_misplaced_page_may_hide_jobs_where_a_look_tells(
    start: Start, look: Look, way: str
) -> None:
    assert way_of(start, look, MISPLACED)[0] == way
