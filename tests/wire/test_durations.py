import contextlib
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.wire.durations import (
    SECONDS_MAX,
    duration_ms,
    duration_text,
    instant_ms,
    rfc3339,
    seconds,
)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (1.5, 1500),
        ("90s", 90_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("250ms", 250),
        ("1h0m0.5s", 3_600_500),
        ("1000000us", 1000),
        ("1000000µs", 1000),
        ("1000000000ns", 1000),
        (" 5s ", 5000),
        ("2.5", 2500),
        ("0", 0),
    ],
)
def test_a_duration_is_seconds_or_text_with_units(value: float | str, ms: int) -> None:
    assert duration_ms(value) == ms


@pytest.mark.parametrize(
    "value",
    [
        "",
        "s",
        "1x",
        "1h 30m",
        "-1s",
        "1h30",
        "one hour",
        "1e400",
        "nan",
        "inf",
        "9" * 65,
        -1,
        -0.001,
        math.nan,
        math.inf,
        SECONDS_MAX + 1,
        "99999999999d",
    ],
)
def test_anything_else_is_no_duration(value: float | str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_ms(value)


@given(st.text(max_size=80))
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert duration_ms(text) >= 0


def test_whole_seconds_are_integers_on_the_wire() -> None:
    assert repr(seconds(3000)) == "3"
    assert repr(seconds(1500)) == "1.5"


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("2030-01-31T12:00:00Z", 1_896_091_200_000),
        ("2030-01-31T13:00:00+01:00", 1_896_091_200_000),
        ("2030-01-31T12:00:00.250Z", 1_896_091_200_250),
        (1_896_091_200, 1_896_091_200_000),
        (0, 0),
    ],
)
def test_an_instant_has_an_offset_or_is_epoch_seconds(value: float | str, ms: int) -> None:
    assert instant_ms(value) == ms


@pytest.mark.parametrize(
    "value",
    ["", "now", "2030-01-31", "2030-01-31T12:00:00", "2030-13-01T00:00:00Z", -1, math.nan, 1e11],
)
def test_anything_else_is_no_instant(value: float | str) -> None:
    with pytest.raises(ValueError, match="instant"):
        instant_ms(value)


@given(st.text(max_size=40))
def test_no_text_of_an_instant_raises_anything_but_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        instant_ms(text)


@given(st.integers(1, 9_000_000_000_000))
def test_instants_come_back_from_their_text(ms: int) -> None:
    text = rfc3339(ms)
    assert text is not None
    assert abs(instant_ms(text) - ms) == 0
    assert datetime.fromisoformat(text).tzinfo == UTC


def test_zero_is_not_yet() -> None:
    assert rfc3339(0) is None


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (250, "250ms"), (30_000, "30s"), (5_400_000, "1h30m"), (86_400_000, "1d")],
)
def test_a_duration_is_shown_in_the_fewest_units(ms: int, text: str) -> None:
    assert duration_text(ms) == text


def test_the_longest_text_and_the_last_instant_are_taken() -> None:
    assert duration_ms("5".zfill(64)) == 5_000
    with pytest.raises(ValueError, match="a duration is"):
        duration_ms("5".zfill(65))
    assert instant_ms(SECONDS_MAX) == SECONDS_MAX * 1_000


@given(st.integers(0, int(SECONDS_MAX) * 1000))
def test_a_duration_shown_reads_as_itself(ms: int) -> None:
    assert duration_ms(duration_text(ms)) == ms
