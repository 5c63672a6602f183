"""The crash campaign at its smallest, and the controls without which it would prove nothing."""

from pathlib import Path

import campaign
import pytest

pytestmark = pytest.mark.e2e

EARLY = "ack-before-commit"
"""Found out by one kill at the right moment: `test_grounds.py`."""


@pytest.mark.parametrize(("load", "kills"), [("mixed", 4), ("batches", 2)])
def test_kill_9_under_load_loses_no_acknowledged_thing(disk: Path, load: str, kills: int) -> None:
    report = campaign.run(kills, seed=1, base=disk, load=load)
    assert report.violations == []
    assert report.counts.jobs_acked > 100
    assert report.counts.reports_acked > 100
    assert report.counts.unknown > 0, "no kill met a request"
    if load == "mixed":
        assert report.counts.acts.total() > 5


@pytest.mark.parametrize("defect", [name for name in campaign.DEFECTS if name != EARLY])
def test_the_checker_finds_out_a_server_that_lies(disk: Path, defect: str) -> None:
    found, report = campaign.control(defect, campaign.CONTROL_CYCLES, 1, disk)
    assert found, report
