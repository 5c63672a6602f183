"""Every problem the server can answer with: one row per code.

Rows are in order of precedence: when two problems apply, the earlier row is reported.
Codes are wire format; a number is never reused. The answer is RFC 9457 `application/problem+json`
with `code` (the name in lower case), `advice`, `retryable`, and where known `pointer` (RFC 6901,
into the body) and `retry_after_ms`.

The answers, the page `/docs/problems` and the OpenAPI document are made from this table.
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
    """What it means, in a few words."""
    advice: str
    """What whoever reads it should do next."""
    retryable: bool = False


PROBLEMS: Final[dict[ProblemCode, ProblemRow]] = {
    ProblemCode.ROUTE_UNKNOWN: ProblemRow(
        404,
        "No such path",
        "Compare method and path with GET /openapi.json or /docs/api; the API is below /api/v1",
    ),
    ProblemCode.METHOD_NOT_ALLOWED: ProblemRow(
        405,
        "The path does not take this method",
        "Use one of the methods that the Allow header of the answer names",
    ),
    ProblemCode.BODY_TOO_LARGE: ProblemRow(
        413,
        "The body is too large",
        "Send fewer jobs at once, or store a large module with PUT /api/v1/modules/{sha256}",
    ),
    ProblemCode.BODY_TIMEOUT: ProblemRow(
        408,
        "The body did not arrive in time",
        "Send it again over a faster connection; nothing was applied",
        retryable=True,
    ),
    ProblemCode.CONTENT_TYPE_UNSUPPORTED: ProblemRow(
        415,
        "The content type is not supported",
        "Send application/json, or application/msgpack where the API tells of it",
    ),
    ProblemCode.CONTENT_ENCODING_UNSUPPORTED: ProblemRow(
        415,
        "Encoded bodies are not accepted",
        "Send the body as it is, without Content-Encoding",
    ),
    ProblemCode.BODY_MALFORMED: ProblemRow(
        400,
        "The body cannot be decoded",
        "Check that the body is one whole JSON value in UTF-8; detail says where it is not",
    ),
    ProblemCode.REQUEST_MALFORMED: ProblemRow(
        400,
        "The request is malformed",
        "Mend the parameter or header that detail names; GET /openapi.json tells their form",
    ),
    ProblemCode.PRECONDITION_FAILED: ProblemRow(
        412,
        "The precondition does not hold",
        "Read it anew, make the change on what is there now, send its version in If-Match",
    ),
    ProblemCode.AUTH_LIMITED: ProblemRow(
        429,
        "Too many wrong keys from this address",
        "Stop sending the wrong key, and wait for retry_after_ms; the right key works at once",
        retryable=True,
    ),
    ProblemCode.UNAUTHENTICATED: ProblemRow(
        401,
        "A valid API key is needed",
        "Send Authorization: Bearer hr_…; ask an admin for a key, or make one with headrace keys"
        " create",
    ),
    ProblemCode.SCOPE_MISSING: ProblemRow(
        403,
        "The API key does not allow this",
        "Use a key with the scope that detail names, or ask an admin for one",
    ),
    ProblemCode.RATE_LIMITED: ProblemRow(
        429,
        "It is asked too often",
        "Wait for retry_after_ms; send more jobs in one request, or ask the operator for a higher"
        " rate",
        retryable=True,
    ),
    ProblemCode.FORBIDDEN: ProblemRow(
        403,
        "Only the owner or an admin may do this",
        "See detail for who may do it, mostly the job's owner or an admin; use a key of theirs",
    ),
    ProblemCode.FIELD_INVALID: ProblemRow(
        400,
        "A field is not valid",
        "Mend the field at pointer as detail says; nothing was applied",
    ),
    ProblemCode.SPEC_TOO_LARGE: ProblemRow(
        413,
        "The job is too large",
        "Make the params smaller: keep large data elsewhere and give the job its address",
    ),
    ProblemCode.BATCH_INVALID: ProblemRow(
        400,
        "Jobs of the batch are not valid; none was taken",
        "Mend the jobs that problems names by their place, and send the whole batch again",
    ),
    ProblemCode.PARAMS_INVALID: ProblemRow(
        400,
        "The params do not fit the job type",
        "Mend what errors names; GET /api/v1/job-types/{name} shows the schema that they must fit",
    ),
    ProblemCode.SCHEMA_REFUSED: ProblemRow(
        422,
        "The schema cannot be used",
        "Write the schema without what detail names, and register the type again",
    ),
    ProblemCode.MODULE_MALFORMED: ProblemRow(
        422,
        "The WASM module is malformed",
        "Build the module again and check it with wasm-tools validate; the file may be cut",
    ),
    ProblemCode.MODULE_UNKNOWN: ProblemRow(
        422,
        "No module with this sha256 is stored",
        "Store it with PUT /api/v1/modules/{sha256}, or submit with await_module: true",
    ),
    ProblemCode.MODULE_HASH_MISMATCH: ProblemRow(
        422,
        "The body does not have this sha256",
        "Compute the sha256 of the very bytes that are sent; they may have changed on their way",
    ),
    ProblemCode.MODULE_NOT_WASM: ProblemRow(
        422,
        "The module is not a WASM binary",
        "Send the binary .wasm file, not its text form, a component or a native program",
    ),
    ProblemCode.MODULE_TOO_LARGE: ProblemRow(
        413,
        "The module is over a size limit",
        "Build without debug information, and optimise the module for size (wasm-opt -Oz)",
    ),
    ProblemCode.MODULE_IMPORT_UNKNOWN: ProblemRow(
        422,
        "The module imports what is not offered",
        "Build for WASI preview 1 (wasm32-wasip1), without the import that detail names",
    ),
    ProblemCode.MODULE_ENTRY_POINT_MISSING: ProblemRow(
        422,
        "The entry point is not exported",
        "Name an exported function as entry_point, or build a command that exports _start",
    ),
    ProblemCode.MODULE_FEATURE_UNSUPPORTED: ProblemRow(
        422,
        "The module needs a refused feature",
        "Build without the feature that detail names",
    ),
    ProblemCode.REQUIREMENTS_NEVER_FIT: ProblemRow(
        422,
        "No worker could ever run this job",
        "Ask for less, or start a worker that has what detail names",
    ),
    ProblemCode.TYPE_UNKNOWN: ProblemRow(
        422,
        "No job type of this name is registered",
        "Register the type with PUT /api/v1/job-types/{name}, or mend its name",
    ),
    ProblemCode.IDEMPOTENCY_KEY_REUSED: ProblemRow(
        409,
        "The idempotency key belongs to another request",
        "Use a new key for a new request; for the same one send the very same body",
    ),
    ProblemCode.JOB_UNKNOWN: ProblemRow(
        404,
        "No such job",
        "Check the id and whose key is used; a finished job goes when its retention is over",
    ),
    ProblemCode.JOB_STATE_CONFLICT: ProblemRow(
        409,
        "The job's status does not allow this",
        "Look at job_status: it is done already, or another act fits the job as it is now",
    ),
    ProblemCode.JOB_NOT_FINISHED: ProblemRow(
        409,
        "The job has not finished",
        "Wait for the end with GET /api/v1/jobs/{id}?wait=60s, then ask again",
    ),
    ProblemCode.LEASE_UNKNOWN: ProblemRow(
        404,
        "No such lease",
        "Drop the work and poll for more: the lease is over, or the id is wrong",
    ),
    ProblemCode.LEASE_STALE: ProblemRow(
        409,
        "The job was given to another worker, or has ended",
        "Stop the work and drop its result: the job goes on elsewhere, or has ended",
    ),
    ProblemCode.LEASE_ALREADY_REPORTED: ProblemRow(
        409,
        "The attempt was reported otherwise",
        "Keep the first report, and poll for more",
    ),
    ProblemCode.CURSOR_INVALID: ProblemRow(
        400,
        "The cursor is not one of this server's",
        "Begin at the first page, and send next as it came, with the same filters and key",
    ),
    ProblemCode.LIST_TOO_WIDE: ProblemRow(
        400,
        "Too many jobs to put them in this order",
        "Narrow the list by status, owner or time, or order it by created_at",
    ),
    ProblemCode.DOCUMENT_UNKNOWN: ProblemRow(
        404,
        "Nothing has this name",
        "Check the name against the list of its kind; it may have been removed",
    ),
    ProblemCode.DOCUMENT_IN_USE: ProblemRow(
        409,
        "Something still needs it",
        "Remove or end first what detail says needs it",
    ),
    ProblemCode.DOCUMENTS_TOO_MANY: ProblemRow(
        409,
        "There are as many as there may be",
        "Remove some that nobody needs, then make the new one",
    ),
    ProblemCode.WORKER_UNKNOWN: ProblemRow(
        404,
        "No such worker",
        "Compare the name with GET /api/v1/workers; those not heard of for long are left out",
    ),
    ProblemCode.STREAMS_TOO_MANY: ProblemRow(
        429,
        "Too many streams are open",
        "Close a stream that nobody reads, or ask now and then in its place",
        retryable=True,
    ),
    ProblemCode.WEBHOOK_DISABLED: ProblemRow(
        409,
        "The webhook is disabled",
        "See why in disabled_reason, mend the receiver, and enable the webhook",
    ),
    ProblemCode.QUOTA_REACHED: ProblemRow(
        429,
        "The tenant has as many jobs as it may",
        "Wait until jobs of the tenant have ended, or ask the operator for a larger quota",
        retryable=True,
    ),
    ProblemCode.BACKLOG_FULL: ProblemRow(
        429,
        "Too many jobs of the queue wait",
        "Wait for retry_after_ms; start more workers for the queue, or raise its backlog_max",
        retryable=True,
    ),
    ProblemCode.QUEUE_FULL: ProblemRow(
        429,
        "The queue is full",
        "Wait for retry_after_ms; start more workers, or raise queue_size",
        retryable=True,
    ),
    ProblemCode.STORAGE_FULL: ProblemRow(
        507,
        "The disk is nearly full",
        "Free space on the server's disk, or delete finished jobs with POST /api/v1/cleanup",
        retryable=True,
    ),
    ProblemCode.OVERLOADED: ProblemRow(
        503,
        "Too much is waiting for the disk",
        "Wait for retry_after_ms and send it again, slower; nothing was applied",
        retryable=True,
    ),
    ProblemCode.SHUTTING_DOWN: ProblemRow(
        503,
        "The server is stopping",
        "Wait until the server is back, and send it again with the same Idempotency-Key",
        retryable=True,
    ),
    ProblemCode.OUTCOME_UNKNOWN: ProblemRow(
        503,
        "It is not known whether this was applied",
        "Send it again with the same Idempotency-Key or lease: it is applied once",
        retryable=True,
    ),
    ProblemCode.RECORD_CORRUPT: ProblemRow(
        500,
        "The stored record is damaged",
        "Tell the operator: stop the server, run headrace inspect, restore a backup if need be",
    ),
    ProblemCode.INTERNAL: ProblemRow(
        500,
        "A defect of the server",
        "Tell the operator: the server's log has the reason. Repeat it with the same"
        " Idempotency-Key",
    ),
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
            "advice": self.row.advice,
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
