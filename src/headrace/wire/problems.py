"""Every problem the server can answer with: one row per code.

Rows are in order of precedence: when two problems apply, the earlier row is reported.
Codes are wire format; a number is never reused. The answer is RFC 9457 `application/problem+json`
with `code` (the name in lower case), `retryable`, and where known `pointer` (RFC 6901, into the
body) and `retry_after_ms`.
"""

from enum import IntEnum, unique
from typing import Final

import msgspec


@unique
class ProblemCode(IntEnum):
    """A refusal's number; its lower-case name is the `code` on the wire."""

    # The request as such
    ROUTE_UNKNOWN = 100
    METHOD_NOT_ALLOWED = 101
    BODY_TOO_LARGE = 102
    BODY_TIMEOUT = 103
    CONTENT_TYPE_UNSUPPORTED = 104
    CONTENT_ENCODING_UNSUPPORTED = 105
    BODY_MALFORMED = 106
    REQUEST_MALFORMED = 107
    PRECONDITION_FAILED = 108
    # The caller
    AUTH_LIMITED = 180
    UNAUTHENTICATED = 181
    SCOPE_MISSING = 182
    RATE_LIMITED = 183
    FORBIDDEN = 200
    # The job
    FIELD_INVALID = 300
    SPEC_TOO_LARGE = 301
    BATCH_INVALID = 302
    PARAMS_INVALID = 303
    SCHEMA_REFUSED = 304
    MODULE_MALFORMED = 310
    MODULE_UNKNOWN = 311
    MODULE_HASH_MISMATCH = 312
    MODULE_NOT_WASM = 313
    MODULE_TOO_LARGE = 314
    MODULE_IMPORT_UNKNOWN = 315
    MODULE_ENTRY_POINT_MISSING = 316
    MODULE_FEATURE_UNSUPPORTED = 317
    REQUIREMENTS_NEVER_FIT = 320
    TYPE_UNKNOWN = 321
    IDEMPOTENCY_KEY_REUSED = 330
    # Objects and their state
    JOB_UNKNOWN = 400
    JOB_STATE_CONFLICT = 401
    JOB_NOT_FINISHED = 402
    LEASE_UNKNOWN = 410
    LEASE_STALE = 411
    LEASE_ALREADY_REPORTED = 412
    CURSOR_INVALID = 420
    LIST_TOO_WIDE = 421
    DOCUMENT_UNKNOWN = 430
    DOCUMENT_IN_USE = 431
    DOCUMENTS_TOO_MANY = 432
    WORKER_UNKNOWN = 440
    STREAMS_TOO_MANY = 441
    WEBHOOK_DISABLED = 450
    # What an operator lets wait
    QUOTA_REACHED = 490
    BACKLOG_FULL = 491
    # The server
    QUEUE_FULL = 500
    STORAGE_FULL = 501
    OVERLOADED = 502
    SHUTTING_DOWN = 503
    OUTCOME_UNKNOWN = 504
    RECORD_CORRUPT = 505
    INTERNAL = 599


class ProblemRow(msgspec.Struct, frozen=True):
    """What is fixed about a problem."""

    status: int
    title: str
    retryable: bool = False


PROBLEMS: Final[dict[ProblemCode, ProblemRow]] = {
    ProblemCode.ROUTE_UNKNOWN: ProblemRow(404, "No such path"),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemRow(405, "The path does not take this method"),
    ProblemCode.BODY_TOO_LARGE: ProblemRow(413, "The body is too large"),
    ProblemCode.BODY_TIMEOUT: ProblemRow(408, "The body did not arrive in time", True),
    ProblemCode.CONTENT_TYPE_UNSUPPORTED: ProblemRow(415, "The content type is not supported"),
    ProblemCode.CONTENT_ENCODING_UNSUPPORTED: ProblemRow(415, "Encoded bodies are not accepted"),
    ProblemCode.BODY_MALFORMED: ProblemRow(400, "The body cannot be decoded"),
    ProblemCode.REQUEST_MALFORMED: ProblemRow(400, "The request is malformed"),
    ProblemCode.PRECONDITION_FAILED: ProblemRow(412, "The precondition does not hold"),
    ProblemCode.AUTH_LIMITED: ProblemRow(429, "Too many wrong keys from this address", True),
    ProblemCode.UNAUTHENTICATED: ProblemRow(401, "A valid API key is needed"),
    ProblemCode.SCOPE_MISSING: ProblemRow(403, "The API key does not allow this"),
    ProblemCode.RATE_LIMITED: ProblemRow(429, "It is asked too often", True),
    ProblemCode.FORBIDDEN: ProblemRow(403, "Only the owner or an admin may do this"),
    ProblemCode.FIELD_INVALID: ProblemRow(400, "A field is not valid"),
    ProblemCode.SPEC_TOO_LARGE: ProblemRow(413, "The job is too large"),
    ProblemCode.BATCH_INVALID: ProblemRow(400, "Jobs of the batch are not valid; none was taken"),
    ProblemCode.PARAMS_INVALID: ProblemRow(400, "The params do not fit the job type"),
    ProblemCode.SCHEMA_REFUSED: ProblemRow(422, "The schema cannot be used"),
    ProblemCode.MODULE_MALFORMED: ProblemRow(422, "The WASM module is malformed"),
    ProblemCode.MODULE_UNKNOWN: ProblemRow(422, "No module with this sha256 is stored"),
    ProblemCode.MODULE_HASH_MISMATCH: ProblemRow(422, "The body does not have this sha256"),
    ProblemCode.MODULE_NOT_WASM: ProblemRow(422, "The module is not a WASM binary"),
    ProblemCode.MODULE_TOO_LARGE: ProblemRow(413, "The module is over a size limit"),
    ProblemCode.MODULE_IMPORT_UNKNOWN: ProblemRow(422, "The module imports what is not offered"),
    ProblemCode.MODULE_ENTRY_POINT_MISSING: ProblemRow(422, "The entry point is not exported"),
    ProblemCode.MODULE_FEATURE_UNSUPPORTED: ProblemRow(422, "The module needs a refused feature"),
    ProblemCode.REQUIREMENTS_NEVER_FIT: ProblemRow(422, "No worker could ever run this job"),
    ProblemCode.TYPE_UNKNOWN: ProblemRow(422, "No job type of this name is registered"),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: ProblemRow(
        409, "The idempotency key belongs to another request"
    ),
    ProblemCode.JOB_UNKNOWN: ProblemRow(404, "No such job"),
    ProblemCode.JOB_STATE_CONFLICT: ProblemRow(409, "The job's status does not allow this"),
    ProblemCode.JOB_NOT_FINISHED: ProblemRow(409, "The job has not finished"),
    ProblemCode.LEASE_UNKNOWN: ProblemRow(404, "No such lease"),
    ProblemCode.LEASE_STALE: ProblemRow(409, "The job was given to another worker, or has ended"),
    ProblemCode.LEASE_ALREADY_REPORTED: ProblemRow(409, "The attempt was reported otherwise"),
    ProblemCode.CURSOR_INVALID: ProblemRow(400, "The cursor is not one of this server's"),
    ProblemCode.LIST_TOO_WIDE: ProblemRow(400, "Too many jobs to put them in this order"),
    ProblemCode.DOCUMENT_UNKNOWN: ProblemRow(404, "Nothing has this name"),
    ProblemCode.DOCUMENT_IN_USE: ProblemRow(409, "Something still needs it"),
    ProblemCode.DOCUMENTS_TOO_MANY: ProblemRow(409, "There are as many as there may be"),
    ProblemCode.WORKER_UNKNOWN: ProblemRow(404, "No such worker"),
    ProblemCode.STREAMS_TOO_MANY: ProblemRow(429, "Too many streams are open", True),
    ProblemCode.WEBHOOK_DISABLED: ProblemRow(409, "The webhook is disabled"),
    ProblemCode.QUOTA_REACHED: ProblemRow(429, "The tenant has as many jobs as it may", True),
    ProblemCode.BACKLOG_FULL: ProblemRow(429, "Too many jobs of the queue wait", True),
    ProblemCode.QUEUE_FULL: ProblemRow(429, "The queue is full", True),
    ProblemCode.STORAGE_FULL: ProblemRow(507, "The disk is nearly full", True),
    ProblemCode.OVERLOADED: ProblemRow(503, "Too much is waiting for the disk", True),
    ProblemCode.SHUTTING_DOWN: ProblemRow(503, "The server is stopping", True),
    ProblemCode.OUTCOME_UNKNOWN: ProblemRow(503, "It is not known whether this was applied", True),
    ProblemCode.RECORD_CORRUPT: ProblemRow(500, "The stored record is damaged"),
    ProblemCode.INTERNAL: ProblemRow(500, "A defect of the server"),
}

assert PROBLEMS.keys() == set(ProblemCode), "every code has exactly one row"


class Problem(Exception):  # noqa: N818 - an expected outcome, not an error of this program
    """An expected refusal. Core code returns it as a value; the shell may raise it.

    `detail` says what is wrong and what to do; it never repeats input beyond a name.
    `pointer` is a JSON pointer into the request body; `retry_after_ms` a hint for the client.
    `extra` holds further members of the answer, such as the job's current `job_status`.
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        pointer: str | None = None,
        retry_after_ms: int | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer
        self.retry_after_ms = retry_after_ms
        self.extra = extra or {}

    def move_to(self, place: str) -> None:
        """What was looked at stands at `place` in the body."""
        self.pointer = f"{place}{self.pointer or ''}"
        errors = self.extra.get("errors")
        if isinstance(errors, list):
            for error in errors:
                error["pointer"] = f"{place}{error['pointer']}"

    @property
    def row(self) -> ProblemRow:
        return PROBLEMS[self.code]

    def members(self) -> dict[str, object]:
        """Return the members of the problem+json object, RFC 9457 ones first."""
        name = self.code.name.lower()
        members: dict[str, object] = {
            "type": f"urn:headrace:problem:{name}",
            "title": self.row.title,
            "status": self.row.status,
            "detail": self.detail,
            "code": name,
            "retryable": self.row.retryable,
        }
        if self.pointer is not None:
            members["pointer"] = self.pointer
        if self.retry_after_ms is not None:
            members["retry_after_ms"] = self.retry_after_ms
        members.update(self.extra)
        return members

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self.members() == other.members()

    def __hash__(self) -> int:
        return hash((self.code, self.detail))
