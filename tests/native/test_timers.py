"""Timers come due in (due, handle) order, each at the instant set last."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._native import TimerIndex
from headrace._native.reference_heap import TimerIndex as TimerIndexTwin

EITHER = pytest.mark.parametrize("make", [TimerIndex, TimerIndexTwin], ids=["native", "twin"])

instants = st.integers(0, 12) | st.sampled_from([2**63 - 1])
operations = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "cancel", "pop"]),
        st.integers(0, 30),
        instants,
    ),
    max_size=120,
)


def apply(timers: TimerIndex | TimerIndexTwin, name: str, handle: int, at_ms: int) -> object:
    if name == "set":
        return timers.set(handle, at_ms)
    if name == "cancel":
        return timers.cancel(handle)
    return timers.pop_due(at_ms, handle // 4)


@given(operations)
@settings(max_examples=200, deadline=None)
def test_native_and_twin_agree(steps: list[tuple[str, int, int]]) -> None:
    native, twin = TimerIndex(), TimerIndexTwin()
    for name, handle, at_ms in steps:
        assert apply(native, name, handle, at_ms) == apply(twin, name, handle, at_ms)
        assert native.due_ms() == twin.due_ms()
        assert native.due_of(handle) == twin.due_of(handle)
        assert len(native) == len(twin)
        native.check()


@EITHER
def test_a_timer_set_again_moves(make: type[TimerIndex | TimerIndexTwin]) -> None:
    timers = make()
    timers.set(5, 100)
    timers.set(3, 100)
    timers.set(4, 50)
    timers.set(4, 200)

    due = [timers.pop_due(99, 10), timers.pop_due(100, 1), timers.pop_due(1_000, 10)]

    assert due == [[], [3], [5, 4]]
    assert timers.due_ms() is None


@EITHER
def test_an_instant_before_zero_is_refused(make: type[TimerIndex | TimerIndexTwin]) -> None:
    timers = make()

    with pytest.raises(OverflowError):
        timers.set(1, -1)
    with pytest.raises(OverflowError):
        timers.set(1, 2**63)

    assert timers.pop_due(-1, 10) == []
    assert len(timers) == 0
    assert timers.memory_bytes() >= 0
    timers.check()
