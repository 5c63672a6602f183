"""Power cuts at their smallest, and the control without which they would prove nothing."""

from pathlib import Path

import powercut
import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", autouse=True)
def can_cut() -> None:
    if reason := powercut.lacking():
        pytest.skip(reason)


@pytest.mark.parametrize("filesystem", powercut.FILESYSTEMS)
def test_a_power_cut_loses_no_acknowledged_thing(disk: Path, filesystem: str) -> None:
    report = powercut.run(filesystem, 2, seed=1, base=disk)
    assert report.violations == []
    assert report.counts.jobs_acked > 50
    assert report.counts.reports_acked > 50


def test_a_server_that_does_not_wait_for_its_disk_is_found_out(disk: Path) -> None:
    found, _ = powercut.control("no-sync", "xfs", 1, disk)
    assert found
