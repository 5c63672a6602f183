"""Each kind of trouble at its smallest, and the controls without which it would prove nothing."""

from pathlib import Path

import campaign
import grounds
import pytest
from grounds import GROUNDS, POINTS, AtPoints, Blocks, Mixed, Troubled

pytestmark = pytest.mark.e2e

SOME_POINTS = ("epoch to be committed", "pages to be synced", "committed, loop not told")
LIVES = ("points", "pauses", "points", "clock", "points", "memory")


def run_on(ground: Troubled, lives: int, disk: Path, **more: str) -> campaign.Report:
    return campaign.run(lives, 1, disk, ground_of=lambda _: ground, **more)


def test_a_server_in_all_kinds_of_trouble_loses_no_acknowledged_thing(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grounds, "POINT_S", grounds.PATIENCE_S)  # these moments do come
    ground = Mixed(disk, LIVES, SOME_POINTS)
    lives = [name for name in LIVES if not GROUNDS[name].lacking]
    report = run_on(ground, len(lives), disk)
    assert report.violations == []
    assert report.counts.jobs_acked > 50
    assert ground.met.total() >= len(lives)
    if "points" in lives:
        assert set(SOME_POINTS) <= ground.met.keys(), "a moment did not come"


def test_a_kill_can_come_at_15_named_moments() -> None:
    assert len(POINTS) >= 15


@pytest.mark.skipif(bool(AtPoints.lacking), reason=AtPoints.lacking)
def test_one_kill_before_the_pages_are_synced_finds_out_acks_before_the_commit(disk: Path) -> None:
    ground = AtPoints(disk, ("pages to be synced",))
    report = run_on(ground, 1, disk, defect="ack-before-commit")
    rules = {violation.rule for violation in report.violations}
    assert rules & campaign.DEFECTS["ack-before-commit"]


@pytest.mark.skipif(bool(Blocks.lacking), reason=Blocks.lacking)
def test_a_device_that_fails_ends_the_server_and_costs_nothing_acknowledged(disk: Path) -> None:
    ground = Blocks(disk)
    report = run_on(ground, 1, disk)
    assert report.violations == []
    assert ground.met == {"ended by itself": 1}
