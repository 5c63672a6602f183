"""Every bound of the protocol, with its unit and its reason.

A request beyond a bound is refused with a problem that names it; nothing here is silently clamped
except priority, which published clients send out of range.
"""

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
SECOND_MS: Final = 1_000
HOUR_MS: Final = 3_600 * SECOND_MS
DAY_MS: Final = 24 * HOUR_MS

# Bodies -----------------------------------------------------------------------------------------
BODY_BYTES_MAX: Final = 64 * MIB
"""One request body: a batch of jobs, a module, or a poll full of results."""
JSON_DEPTH_MAX: Final = 64
"""Nesting of a body; a decoder of any client language survives it."""
SPEC_BYTES_MAX: Final = 1 * MIB
"""One job as stored, without its module: what a lease answer carries for it."""
MODULE_BYTES_MAX: Final = 4 * MIB
"""One WASM module; compile time grows with it (bounded again in `wire.wasm`)."""
SUBMIT_JOBS_MAX: Final = 10_000
"""Jobs of one submit: one commit, so one pause for everybody else."""

# A job ------------------------------------------------------------------------------------------
NAME_CHARS_MAX: Final = 200
KEY_CHARS_MAX: Final = 256
"""Idempotency key."""
ARGUMENTS_MAX: Final = 1_024
ENVIRONMENT_MAX: Final = 256
LABELS_MAX: Final = 64
TAGS_MAX: Final = 32
GPU_TYPES_MAX: Final = 32
SUCCESS_CODES_MAX: Final = 64
PRIORITY_MIN: Final = 0
PRIORITY_MAX: Final = 9
PRIORITY_DEFAULT: Final = 5
CPU_MILLI_MAX: Final = 1_000_000_000
MEMORY_MB_MAX: Final = 1 << 30
STORAGE_MB_MAX: Final = 1 << 30
GPU_MILLI_MAX: Final = 1_000_000_000
AFTER_MAX: Final = 100
"""Jobs that one job waits for: what is left of them is written anew whenever one of them ends."""
AWAITING_MODULE_MAX: Final = 10_000
"""Jobs of a tenant that wait for modules that were announced, which may never come."""
RETRIES_MAX: Final = 1_000
RETRIES_DEFAULT: Final = 2
"""Typed jobs: three attempts in all. WASM jobs: `RETRIES_DEFAULT_WASM`."""
RETRIES_DEFAULT_WASM: Final = 0
"""A sandboxed module that failed once on its input fails again on the same input."""
RETRY_DELAY_MS_DEFAULT: Final = 1 * SECOND_MS
RETRY_DELAY_MS_MAX: Final = 7 * DAY_MS
RETRY_CAP_MS: Final = 300 * SECOND_MS
"""Exponential growth of the delay stops here; a longer delay asked for is kept, but not grown."""
RETRY_BACKOFF_DEFAULT: Final = 2.0
RETRY_BACKOFF_MAX: Final = 100.0
TIMEOUT_MS_MIN: Final = 1
TIMEOUT_MS_MAX: Final = 30 * DAY_MS
TIMEOUT_MS_DEFAULT: Final = HOUR_MS
DELAY_MS_MAX: Final = 366 * DAY_MS
ERROR_CHARS_MAX: Final = 16 * KIB
OUTPUT_BYTES_MAX: Final = 1 * MIB
"""Output and result of one attempt, each; a worker cuts its output and marks the cut."""
OUTPUT_CAP_BYTES_MIN: Final = 1 * KIB
"""The least of output, and of a result, that an operator can allow."""
LOG_BYTES_MAX: Final = 1 * MIB
"""Log kept per job, at most; the cut is marked."""
LOG_CAP_BYTES_MIN: Final = 1 * KIB
"""The least that an operator can allow."""
LOG_CHUNK_BYTES_MAX: Final = 64 * KIB
"""Longer chunks are stored in parts."""
METRICS_MAX: Final = 64
DETAILS_CHARS_MAX: Final = 4 * KIB
PROGRESS_KEPT: Final = 100
"""Reports of progress of a job that are on disk."""
PROGRESS_EVERY_MS: Final = SECOND_MS
"""Of one job, at most: news in between is in memory only, until the attempt ends."""
PROGRESS_DETAILS_CHARS: Final = 500
"""Of the details of each, on disk."""

ATTEMPTS_KEPT: Final = 100
"""Attempts of a job whose ends are on disk; the newest."""
ATTEMPT_ERROR_CHARS: Final = 1_000
"""Of the error of each, on disk."""

# Finished jobs ----------------------------------------------------------------------------------
RETENTION_MS_DEFAULT: Final = DAY_MS
RETENTION_OWN_MS_MAX: Final = 30 * DAY_MS
"""That a job may ask for, unless an operator says otherwise."""
CLEANUP_EVERY_MS_DEFAULT: Final = HOUR_MS
CLEANUP_EVERY_MS_MIN: Final = 100
CLEANUP_EVERY_MS_MAX: Final = DAY_MS
SWEEP_JOBS_MAX: Final = 64
"""Finished jobs that one part of a sweep looks at, and so deletes: a pause for everybody else."""

# What operators set -----------------------------------------------------------------------------
DOCUMENT_NAME_BYTES_MAX: Final = 480
"""UTF-8; a key of the store has 511."""
DOCUMENT_BYTES_MAX: Final = 64 * KIB
"""One document as stored: all of them are in memory."""
DOCUMENTS_MAX: Final = 10_000
"""Documents of one kind."""
DESCRIPTION_CHARS_MAX: Final = 4 * KIB
OPERATOR_SPAN_MS_MAX: Final = 3_650 * DAY_MS
"""Of any duration that an operator sets, such as the life of a key."""
QUEUE_CAPACITY_MAX: Final = 1_000_000_000
"""Also of other numbers of jobs that an operator sets."""
TENANT_BYTES_MAX: Final = 1 << 50
"""Of jobs of a tenant that have not ended, as an operator may set it."""
RATE_MS_MIN: Final = 10
RATE_MS_MAX: Final = HOUR_MS
"""Span of a rate: after a restart nothing that it limits starts for as long."""
LIMITS_OF_ONE_MAX: Final = 8
"""Limits on one type, tenant or tag: each counts every start."""
TENANT_WEIGHT_MAX: Final = 1_000
TENANT_WEIGHT_DEFAULT: Final = 1
AUDIT_ENTRIES_MAX: Final = 100_000
"""Acts of admins that are kept; older ones go."""

# Events and webhooks ----------------------------------------------------------------------------
EVENT_CHARS_MAX: Final = 128
EVENT_SEGMENTS_MAX: Final = 8
"""Finding who asked for an event looks up one pattern a segment."""
EVENT_DATA_BYTES_MAX: Final = 16 * KIB
"""JSON that a handler sends with an event; a delivery stays below 20 KB."""
EVENTS_PER_NEWS_MAX: Final = 64
"""Events in one report of news."""
EVENT_PATTERNS_MAX: Final = 64
"""Of one webhook."""
WEBHOOK_URL_CHARS_MAX: Final = 2_048
WEBHOOK_SECRET_CHARS_MAX: Final = 256
WEBHOOKS_PER_TENANT_MAX: Final = 100
"""One event of a tenant becomes at most so many deliveries."""
DELIVERIES_PENDING_MAX: Final = 100_000
"""Waiting for one endpoint; what comes beyond is not sent, and counted. A receiver that is away for
days must not fill the disk."""
DELIVERIES_PER_TENANT_MAX: Final = 250_000
"""Waiting for all endpoints of a tenant."""
DELIVERIES_KEPT: Final = 200
"""Deliveries of a webhook that are over and can be looked at, or sent again; the newest."""
WEBHOOK_OLD_SECRET_MS: Final = DAY_MS
"""After a new secret, the one before signs too for so long, unless told otherwise."""
AUTH_EVENT_MS: Final = 60 * SECOND_MS
"""Failed authentications within it are told in one event."""

# Acts on many jobs ------------------------------------------------------------------------------
BULKS_RUNNING_MAX: Final = 10
"""Acts on many jobs of one tenant that are under way."""
BULKS_KEPT_MAX: Final = 100
"""The same, with those that have ended; the oldest of these go."""

# Leases and polls -------------------------------------------------------------------------------
LEASE_MS_MIN: Final = 100
LEASE_MS_DEFAULT: Final = 30 * SECOND_MS
LEASE_MS_MAX: Final = HOUR_MS
WAIT_MS_MAX: Final = 60 * SECOND_MS
POLL_JOBS_MAX: Final = 1_000
POLL_REPORTS_MAX: Final = 10_000
POLL_RUNNING_MAX: Final = 10_000
SERVE_NAMES_MAX: Final = 1_000
CRASHES_MAX_DEFAULT: Final = 3
"""Lapsed leases after which a job is poison."""
CANCEL_GRACE_MS: Final = 30 * SECOND_MS
"""A cancel that the worker has not confirmed by then is final without it."""
TIMEOUT_GRACE_MS: Final = 10 * SECOND_MS
"""The worker enforces a job's timeout; this long after it the server does."""
SESSION_MS_MAX: Final = 10 * 60 * SECOND_MS
"""A worker session that says nothing and holds nothing for this long is forgotten."""
WORKER_MS_MAX: Final = 2 * WAIT_MS_MAX
"""A worker that has not polled for this long is no longer counted on to run anything."""
WORKERS_KNOWN_MAX: Final = 20_000
"""Worker profiles remembered to say whether a job fits any of them."""

# Lists ------------------------------------------------------------------------------------------
LIST_LIMIT_DEFAULT: Final = 100
LIST_LIMIT_MAX: Final = 1_000
LIST_EXAMINED_MAX: Final = 2_048
"""Jobs one list page looks at, 2 us each; a page may be short, its cursor goes on."""
LIST_SORTED_MAX: Final = 2_048
"""Jobs that are looked at for an order that no index has; beyond it such a list is refused."""
FILTER_WORDS_MAX: Final = 100
"""Words of one filter, such as types."""
LIST_SKIPPED_MAX: Final = 5_000
"""Jobs before the page that `page` names; behind them only a cursor leads."""

# Streams ---------------------------------------------------------------------------------------
STREAMS_MAX: Final = 2_000
"""Logs and events that are followed at once: a task and a buffer of 64 KiB each."""
STREAMS_TENANT_MAX: Final = 500
STREAM_STEPS_MAX: Final = 2_000
"""Events of one job that its follower has not been sent yet; it is cut off."""
STREAM_READ_MAX: Final = 256
"""Events that are written for one follower before others get their turn."""

# The dashboard ---------------------------------------------------------------------------------
SIGN_IN_MS: Final = 12 * HOUR_MS
"""A browser that has shown a key shows it again after so long: a working day."""
SIGN_INS_PER_KEY_MAX: Final = 32
"""Browsers that are signed in with one key; the oldest of them makes room."""

# Connections ------------------------------------------------------------------------------------
HEADER_MS_MAX: Final = 10 * SECOND_MS
BODY_MS_BASE: Final = 30 * SECOND_MS
BODY_BYTES_PER_S_MIN: Final = 64 * KIB
IDLE_MS_MAX: Final = 75 * SECOND_MS
UNREAD_MS_BASE: Final = 30 * SECOND_MS
"""A client that does not read its answer for so long, and longer by its size at the least rate of a
body, is cut off."""
OPEN_PER_KEY_MAX: Final = 10_000
"""Polls, waits and streams that one API key has open at a time."""

assert LEASE_MS_MIN < LEASE_MS_DEFAULT < LEASE_MS_MAX
assert SPEC_BYTES_MAX < BODY_BYTES_MAX
assert OUTPUT_CAP_BYTES_MIN < OUTPUT_BYTES_MAX
assert MODULE_BYTES_MAX * 4 // 3 + SPEC_BYTES_MAX < BODY_BYTES_MAX, "an inline module fits a body"
assert OUTPUT_BYTES_MAX * 4 // 3 * 2 < BODY_BYTES_MAX, "a report fits a body"
assert TIMEOUT_MS_MAX < 1 << 32, "stored in 32 bits"
assert SPEC_BYTES_MAX < 1 << 24, "stored in 24 bits"
assert RETRY_DELAY_MS_MAX < 1 << 32, "stored in 32 bits"
assert RETRIES_MAX < 1 << 16, "stored in 16 bits"
assert max(CPU_MILLI_MAX, MEMORY_MB_MAX, STORAGE_MB_MAX, GPU_MILLI_MAX) < 1 << 31, "the match index"
assert LIST_LIMIT_MAX <= LIST_EXAMINED_MAX
assert DELIVERIES_PENDING_MAX <= DELIVERIES_PER_TENANT_MAX
assert DELIVERIES_KEPT < 1 << 16, "a place in the ring has two bytes"
