"""Every bound of webhooks, with its unit and its reason."""

from typing import Final

from headrace.wire.limits import (
    DAY_MS,
    HOUR_MS,
    KIB,
    SECOND_MS,
    WEBHOOK_SECRET_CHARS_MAX,
)

_MINUTE_MS: Final = 60 * SECOND_MS

# Registration -----------------------------------------------------------------------------------
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
SECRET_BYTES_NEW: Final = 32
"""As long as the hash; more adds nothing."""
SECRETS_MAX: Final = 4
"""Of one endpoint, while they are rotated: one signature each in a header of bounded length."""
PHRASE_CHARS_MIN: Final = 8
PHRASE_CHARS_MAX: Final = WEBHOOK_SECRET_CHARS_MAX
"""A secret of the caller's own, without the prefix."""
MESSAGE_ID_CHARS_MAX: Final = 64

# One delivery -----------------------------------------------------------------------------------
PAYLOAD_BYTES_MAX: Final = 20_000 - 1
"""Standard Webhooks asks for less than 20 KB; what is larger is left out, and fetched by id."""
ERROR_CHARS_MAX: Final = 1_000
"""Of a job's error, once the payload is too large."""
ANSWER_BYTES_MAX: Final = 64 * KIB
"""Read of the answer's body and thrown away, so that the receiver sees a clean end."""
ANSWER_MS_MAX: Final = 2 * SECOND_MS
"""Spent on that; the status has decided before."""
TOTAL_MS_MAX: Final = 20 * SECOND_MS
CONNECT_MS_MAX: Final = 5 * SECOND_MS

# Retries ----------------------------------------------------------------------------------------
RETRY_MS: Final = (
    0,
    5 * SECOND_MS,
    5 * _MINUTE_MS,
    30 * _MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
)
"""Before each try, after the one before it."""
TRIES_MAX: Final = len(RETRY_MS)
JITTER_PART: Final = 0.1
"""Added to a wait, at most: those who failed together do not come back together."""
RETRY_AFTER_MS_MAX: Final = DAY_MS
"""A receiver may ask for a longer wait than the schedule's, up to this."""
AGE_MS_MAX: Final = 6 * DAY_MS
"""Behind an endpoint that fails, deliveries wait their turn; after this they are given up."""

# One endpoint -----------------------------------------------------------------------------------
COOLDOWN_MS: Final = (5 * SECOND_MS, 15 * SECOND_MS, _MINUTE_MS, 5 * _MINUTE_MS)
"""An endpoint's own wait after its first, second, … failure in a row; the last one stays."""
ENDPOINT_FLIGHTS_MAX: Final = 8
"""At once to one endpoint that answers; while it fails, one."""
HOST_FLIGHTS_MAX: Final = 16
"""At once to one host from one tenant and lane, whatever the number of endpoints there: a tenant
does not flood a host through us."""
SLOW_MS: Final = 2 * SECOND_MS
"""An answer that took longer moves its endpoint away from the quick ones."""
LINES_MAX: Final = 100_000
"""Endpoints remembered that have nothing pending."""
GIVE_UP_PAGE: Final = 100
"""Deliveries given up in one commit."""

assert RETRY_MS[0] == 0
assert sum(RETRY_MS) * (1 + JITTER_PART) + RETRY_AFTER_MS_MAX < AGE_MS_MAX, "all tries have time"
assert CONNECT_MS_MAX < TOTAL_MS_MAX
assert SLOW_MS < TOTAL_MS_MAX
assert SECRET_BYTES_MIN <= SECRET_BYTES_NEW <= SECRET_BYTES_MAX
