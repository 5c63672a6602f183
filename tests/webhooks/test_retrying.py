from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from headrace.webhooks.limits import RETRY_AFTER_MS_MAX, TRIES_MAX
from headrace.webhooks.retrying import asked_ms, cooldown_ms, is_success, retry_ms

WALL_MS = 1_800_000_000_000


def test_the_schedule_is_the_published_one() -> None:
    waits = [retry_ms(tries, 0) for tries in range(1, TRIES_MAX + 1)]
    minute, hour = 60_000, 3_600_000
    assert waits == [
        *(5_000, 5 * minute, 30 * minute, 2 * hour, 5 * hour),
        *(10 * hour, 14 * hour, 20 * hour, 24 * hour, None),
    ]


def test_jitter_only_adds() -> None:
    assert retry_ms(2, 0.5) == 315_000
    assert cooldown_ms(1, 0.5) == 5_250


def test_an_endpoint_that_goes_on_failing_is_left_alone_for_longer_up_to_a_bound() -> None:
    assert [cooldown_ms(n, 0) for n in (1, 2, 3, 4, 5, 1_000)] == [
        *(5_000, 15_000, 60_000, 300_000, 300_000, 300_000),
    ]


def test_only_2xx_is_success() -> None:
    good = [status for status in range(600) if is_success(status)]
    assert good == list(range(200, 300))


@pytest.mark.parametrize(
    ("status", "header", "ms"),
    [
        (429, "7", 7_000),
        (503, " 120 ", 120_000),
        (429, "9" * 5_000, RETRY_AFTER_MS_MAX),
        (503, "864000", RETRY_AFTER_MS_MAX),
        (500, "7", 0),
        (429, "", 0),
        (429, "-7", 0),
        (429, "7.5", 0),
        (429, "soon", 0),
        (429, "٧", 0),
        (429, "Fri, 99 Foo 2027 99:99:99 GMT", 0),
        (429, format_datetime(datetime.fromtimestamp(WALL_MS / 1000 + 90, UTC)), 90_000),
        (429, format_datetime(datetime.fromtimestamp(WALL_MS / 1000 - 90, UTC)), 0),
        (429, "Fri, 01 Jan 9999 00:00:00 GMT", RETRY_AFTER_MS_MAX),
        (429, "Fri, 15 Jan 2027 08:01:00", 60_000),
    ],
)
def test_retry_after_is_heard_within_bounds(status: int, header: str, ms: int) -> None:
    assert asked_ms(status, header, WALL_MS) == ms
