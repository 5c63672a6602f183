"""Limits under load and over kill -9, and the controls without which it would prove nothing."""

from pathlib import Path

import limits_load
import pytest
from limits_load import Seen, busiest, peak

pytestmark = pytest.mark.e2e


def test_no_limit_is_exceeded_under_load_and_over_a_kill(disk: Path) -> None:
    outcome = limits_load.run(6.0, 1, disk)
    assert outcome.found == []
    assert outcome.counts["given"] > 100
    assert outcome.counts["lost"] > 0, "the kill met no request"
    reached = [name for name, (seen, most) in outcome.peaks.items() if seen == most]
    assert len(reached) >= 4, outcome.peaks


@pytest.mark.parametrize("defect", limits_load.DEFECTS)
def test_a_server_that_ignores_limits_is_found_out(disk: Path, defect: str) -> None:
    assert any(limits_load.run(4.0, seed, disk, defect).found for seed in range(1, 7))


def test_what_overlaps_for_sure_is_counted() -> None:
    seen = [Seen({}, 0, 1, 4), Seen({}, 0, 2, 3), Seen({}, 0, 3, 5), Seen({}, 0, 9)]
    assert peak(seen, lambda _: 1) == 2
    assert peak(seen[1:], lambda one: one.got_s) == 9


def test_what_started_within_a_span_for_sure_is_counted() -> None:
    seen = [Seen({}, 0, 0.1), Seen({}, 0.5, 1.1), Seen({}, 0.9, 0.99), Seen({}, 1.0, 1.4)]
    assert busiest(seen, 1.0) == 3
