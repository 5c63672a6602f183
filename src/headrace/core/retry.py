"""When a failed attempt is tried again."""

from headrace.core.job import Job
from headrace.wire.limits import RETRY_CAP_MS


def retry_delay_ms(job: Job) -> int:
    """Return the delay before the next try, `job.failures` counting the one just failed.

    It grows by the back-off factor with each failure up to `RETRY_CAP_MS`; up to a tenth is added
    so that jobs that failed together do not come back together. The addition comes from the job's
    id and attempt, so that a replay makes the same choice.
    """
    base_ms = job.retry_delay_ms
    cap_ms = max(base_ms, RETRY_CAP_MS)
    factor = job.retry_backoff_centi / 100
    delay_ms = float(base_ms)
    for _ in range(job.failures - 1):
        delay_ms *= factor
        if delay_ms >= cap_ms or factor <= 1:
            break
    delay_ms = min(delay_ms, cap_ms)
    spread = (int.from_bytes(job.job_id[-4:], "big") * 2_654_435_761 + job.attempt * 40_503) % 1000
    return int(delay_ms + delay_ms * spread / 10_000)
