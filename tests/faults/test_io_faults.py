"""A few cells of the matrix of failing calls, and the control that shows that they would tell."""

from pathlib import Path

import io_faults
import pytest
import syscalls
from io_faults import CALLS, ERRORS, Cell, matrix

pytestmark = pytest.mark.e2e

SOME = [
    Cell("writev", "EIO", 12, False),
    Cell("fdatasync", "ENOSPC", 9, False),
    Cell("writev", "EDQUOT", 5, True),
    Cell("rename", "ENOSPC", 1, False, new=True),
]


@pytest.fixture(autouse=True)
def can_inject(tmp_path: Path) -> None:
    syscalls.strace(tmp_path / "trace")


def test_calls_that_fail_end_or_hold_up_the_server_and_cost_nothing_acknowledged(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_faults, "WAIT_S", io_faults.PATIENCE_S)  # these do come
    report = io_faults.run(SOME, 1, disk)
    assert report.violations == []
    assert report.reached.total() == len(SOME)
    assert report.jobs_acked > 50


def test_a_server_that_takes_failed_writes_for_done_is_found_out(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_faults, "PATIENCE_S", 1.0)
    report = io_faults.run(io_faults.BROKEN_CELLS[:1], 1, disk, defect="errors-ignored")
    rules = {violation.rule for violation in report.violations}
    assert io_faults.DEFECTS["errors-ignored"] <= rules


def test_the_matrix_has_every_call_with_every_error_once_and_for_ever() -> None:
    cells = matrix()
    assert len(set(cells)) == len(cells) > 2_000
    assert {cell.call for cell in cells} == set(CALLS)
    assert {(cell.error, cell.for_ever) for cell in cells if cell.call == "writev"} == {
        (error, for_ever) for error in ERRORS for for_ever in (False, True)
    }
