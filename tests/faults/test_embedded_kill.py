"""The crash campaign of the embedded queue at its smallest, and its control."""

from pathlib import Path

import embedded_campaign
import pytest

pytestmark = pytest.mark.e2e


def test_kill_9_of_a_program_loses_no_acknowledged_job(disk: Path) -> None:
    report = embedded_campaign.run(3, seed=1, base=disk)
    assert report.violations == []
    assert report.acked > 20
    assert report.ran >= report.acked


def test_the_checker_finds_out_acks_before_the_commit(disk: Path) -> None:
    for seed in range(10):
        report = embedded_campaign.run(1, seed=seed, base=disk, eager=True)
        if any(violation.startswith("acked_lost") for violation in report.violations):
            return
    pytest.fail("the defect was not found out")
