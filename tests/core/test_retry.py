"""The delay before the next try."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.core.job import Job, Status
from headrace.core.retry import retry_delay_ms
from headrace.wire.limits import RETRIES_MAX, RETRY_CAP_MS, RETRY_DELAY_MS_MAX


def failed(
    failures: int, delay_ms: int, backoff_centi: int = 200, job_id: bytes = b"j" * 16
) -> Job:
    return Job(
        job_id,
        Status.LOCKED,
        5,
        0,
        0,
        0,
        1_000,
        delay_ms,
        backoff_centi,
        RETRIES_MAX,
        attempt=failures,
        failures=failures,
    )


def test_the_delay_grows_by_its_factor_up_to_the_cap() -> None:
    delays = [retry_delay_ms(failed(failures, 1_000, 300)) for failures in range(1, 9)]
    bare = [1_000, 3_000, 9_000, 27_000, 81_000, 243_000, RETRY_CAP_MS, RETRY_CAP_MS]
    assert all(b <= delay <= b * 1.1 for delay, b in zip(delays, bare, strict=True))


def test_a_longer_delay_asked_for_is_kept_and_not_grown() -> None:
    assert 600_000 <= retry_delay_ms(failed(5, 600_000)) <= 660_000


def test_a_factor_of_one_keeps_the_delay() -> None:
    assert 5_000 <= retry_delay_ms(failed(RETRIES_MAX, 5_000, 100)) <= 5_500


def test_a_factor_of_less_than_two_grows_the_delay_too() -> None:
    delays = [retry_delay_ms(failed(failures, 1_000, 150)) for failures in range(1, 5)]
    bare = [1_000, 1_500, 2_250, 3_375]
    assert all(b <= delay <= b * 1.1 for delay, b in zip(delays, bare, strict=True))


def test_what_is_added_is_of_the_job_and_its_attempt_in_every_version() -> None:
    job_id = bytes(range(16))
    delays = [retry_delay_ms(failed(failures, 60_000, 100, job_id)) for failures in (1, 2, 3)]
    assert delays == [63_012, 60_030, 63_048]


def test_no_delay_stays_none() -> None:
    assert retry_delay_ms(failed(9, 0)) == 0


def test_jobs_that_fail_together_come_back_apart() -> None:
    delays = {retry_delay_ms(failed(1, 60_000, job_id=bytes([n]) * 16)) for n in range(100)}
    assert len(delays) > 50


@given(
    st.integers(1, RETRIES_MAX),
    st.integers(0, RETRY_DELAY_MS_MAX),
    st.integers(100, 10_000),
    st.binary(min_size=16, max_size=16),
)
def test_the_delay_is_bounded_and_the_same_each_time(
    failures: int, delay_ms: int, backoff_centi: int, job_id: bytes
) -> None:
    job = failed(failures, delay_ms, backoff_centi, job_id)
    found = retry_delay_ms(job)
    assert found == retry_delay_ms(job)
    assert delay_ms <= found <= max(delay_ms, RETRY_CAP_MS) * 1.1
