"""The crash campaign at its smallest, and the control without which it would prove nothing."""

from pathlib import Path

import campaign
import pytest
from processes import disk_dir

pytestmark = pytest.mark.e2e


def test_kill_9_under_load_loses_no_acknowledged_thing(disk: Path) -> None:
    report = campaign.run(4, seed=1, base=disk)
    assert report.violations == []
    assert report.counts.jobs_acked > 100
    assert report.counts.reports_acked > 100
    assert report.counts.unknown > 0, "no kill met a request"


def test_the_checker_finds_a_server_that_acknowledges_before_the_commit() -> None:
    with disk_dir() as disk:
        report = campaign.control(campaign.CONTROL_CYCLES, 1, disk)
    assert "acked_submit_lost" in {violation.rule for violation in report.violations}
