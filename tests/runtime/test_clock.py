"""The engine's time: monotonic, and still while nothing could be heard."""

import pytest

from headrace.runtime import clock as module
from headrace.runtime.clock import STALL_MS_MAX, Clock


class Hands:
    """Both clocks of the machine, moved by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mono_ms = 5_000
        self.wall_ms = 1_700_000_000_000
        monkeypatch.setattr(module.time, "monotonic_ns", lambda: self.mono_ms * 1_000_000)
        monkeypatch.setattr(module.time, "time_ns", lambda: self.wall_ms * 1_000_000)

    def move(self, ms: int) -> None:
        self.mono_ms += ms
        self.wall_ms += ms


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    return Hands(monkeypatch)


def test_the_engines_time_begins_at_the_wall_clocks(hands: Hands) -> None:
    assert Clock().now_ms() == Clock().wall_ms() == hands.wall_ms


def test_from_start_to_start_it_does_not_go_back(hands: Hands) -> None:
    later_ms = hands.wall_ms + 3_600_000
    assert Clock(after_ms=later_ms).now_ms() == later_ms + 1
    assert Clock(after_ms=hands.wall_ms).now_ms() == hands.wall_ms + 1
    assert Clock(after_ms=hands.wall_ms - 1).now_ms() == hands.wall_ms


def test_a_jump_of_the_wall_clock_does_not_move_it(hands: Hands) -> None:
    clock = Clock()
    began = clock.now_ms()
    hands.wall_ms += 86_400_000
    hands.move(300)
    assert clock.now_ms() == began + 300
    hands.wall_ms -= 2 * 86_400_000
    hands.move(300)
    assert clock.now_ms() == began + 600
    assert clock.stalled_ms == 0


def test_it_stands_still_while_the_process_did_not_run(hands: Hands) -> None:
    clock = Clock()
    began = clock.now_ms()
    hands.move(60_000)
    assert clock.now_ms() == began + STALL_MS_MAX
    assert clock.stalled_ms == 60_000 - STALL_MS_MAX
    hands.move(STALL_MS_MAX)
    assert clock.now_ms() == began + 2 * STALL_MS_MAX


def test_it_stands_still_while_held(hands: Hands) -> None:
    clock = Clock()
    hands.move(100)
    clock.hold()
    held = clock.now_ms()
    for _ in range(5):
        hands.move(500)
        assert clock.now_ms() == held
    clock.go()
    hands.move(100)
    assert clock.now_ms() == held + 100
    assert clock.stalled_ms == 2_500


def test_it_never_goes_back(hands: Hands) -> None:
    clock = Clock()
    seen = []
    for step in (0, 10, 5_000, 0, 900, 1_001):
        hands.move(step)
        seen.append(clock.now_ms())
        clock.hold()
        seen.append(clock.now_ms())
        clock.go()
    assert seen == sorted(seen)
