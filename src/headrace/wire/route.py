"""What a route is, and what many of them share."""

from typing import Any, Final, Literal

import msgspec

from headrace.wire.keys import Scope
from headrace.wire.problems import ProblemCode as P

Method = Literal["GET", "HEAD", "POST", "PUT", "DELETE"]


class Param(msgspec.Struct, frozen=True):
    """A parameter of the query, or a header."""

    name: str
    summary: str
    type: Literal["string", "integer", "boolean"] = "string"
    place: Literal["query", "header"] = "query"
    many: bool = False
    """May be repeated."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    method: Method
    path: str
    summary: str
    tag: str
    params: tuple[Param, ...] = ()
    body: Any = None
    """A type of `wire.schema`, or None."""
    body_media: str = "application/json"
    """Beside JSON, MessagePack is always accepted."""
    answer: Any = None
    """A type of the JSON answer, or None."""
    answer_media: str = "application/json"
    status: int = 200
    public: bool = False
    """Answered without a key."""
    scopes: tuple[Scope, ...] = ()
    """One of them a key must have; none: `READ` for what only reads, else `SUBMIT`."""
    of_server: bool = False
    """It is about what belongs to the server: the key must be for all tenants."""
    problems: tuple[P, ...] = ()
    """Beside `ALWAYS`, and beside `WITH_BODY` where there is a body."""


def scopes_of(route: Route) -> tuple[Scope, ...]:
    """Return the scopes one of which a key must have; none for a public route."""
    if route.public:
        return ()
    return route.scopes or ((Scope.READ,) if route.method in ("GET", "HEAD") else (Scope.SUBMIT,))


ALWAYS: Final = (P.REQUEST_MALFORMED, P.INTERNAL)
KEYED: Final = (P.AUTH_LIMITED, P.UNAUTHENTICATED, P.SCOPE_MISSING, P.RATE_LIMITED)
"""Of every route that is not public."""
WITH_BODY: Final = (
    P.BODY_TOO_LARGE,
    P.BODY_TIMEOUT,
    P.CONTENT_TYPE_UNSUPPORTED,
    P.CONTENT_ENCODING_UNSUPPORTED,
    P.BODY_MALFORMED,
    P.FIELD_INVALID,
)
COMMITS: Final = (P.STORAGE_FULL, P.OVERLOADED, P.SHUTTING_DOWN, P.OUTCOME_UNKNOWN)
"""Of every route that changes something."""
WHO: Final = (
    Param("X-User-ID", "Who asks, without keys or with scope impersonate", place="header"),
    Param("X-Tenant-ID", "Whose jobs, without keys or with scope impersonate", place="header"),
)

# Of routes about jobs ---------------------------------------------------------------------------

MODULE_REFUSALS: Final = (
    P.MODULE_MALFORMED,
    P.MODULE_HASH_MISMATCH,
    P.MODULE_NOT_WASM,
    P.MODULE_TOO_LARGE,
    P.MODULE_IMPORT_UNKNOWN,
    P.MODULE_ENTRY_POINT_MISSING,
    P.MODULE_FEATURE_UNSUPPORTED,
)
FULL: Final = (P.QUOTA_REACHED, P.BACKLOG_FULL, P.QUEUE_FULL)
"""Of what makes live jobs."""
SUBMIT_REFUSALS: Final = (
    P.SPEC_TOO_LARGE,
    P.BATCH_INVALID,
    P.PARAMS_INVALID,
    P.TYPE_UNKNOWN,
    *MODULE_REFUSALS,
    P.MODULE_UNKNOWN,
    P.REQUIREMENTS_NEVER_FIT,
    P.IDEMPOTENCY_KEY_REUSED,
    *FULL,
    *COMMITS,
)
OF_A_JOB: Final = (P.JOB_UNKNOWN, P.FORBIDDEN, P.RECORD_CORRUPT)

WAIT: Final = (
    Param("wait", "Answer when the job has ended, or after this long: 30s, at most 60s"),
    Param("Prefer", "wait=30 asks for the same", place="header"),
)
TRACE: Final = (
    Param("traceparent", "W3C Trace Context: kept with the job, for its worker", place="header"),
    Param("tracestate", "W3C Trace Context, beside traceparent", place="header"),
)
KEY: Final = Param("Idempotency-Key", "Of a single job; as the field", place="header")
FILTERS: Final = (
    Param("owner", "Of whom; for others than oneself only as an admin"),
    Param("status", "Words of a status, by commas or repeated", many=True),
    Param("type", "Job types; wasm for WASM jobs", many=True),
    Param("queue", "Queues", many=True),
    Param("group", "Job groups: of the types that belong to them now", many=True),
    Param("name", "The exact name"),
    Param("name_prefix", "How the name begins"),
    Param("tag", "Tags that the job has, all of them", many=True),
    Param("label", "Labels that it requires, all of them: key, or key=value", many=True),
    Param("submitted_after", "RFC 3339 or epoch seconds, inclusive"),
    Param("submitted_before", "RFC 3339 or epoch seconds, exclusive"),
    Param("finished_after", "The same of its end: finished jobs only"),
    Param("finished_before", "The same of its end: finished jobs only"),
    Param(
        "order",
        "With - before it for newest, or most, first; -created_at if not said. created_at (or"
        " submitted_at), scheduled_at (when it was asked to run) and finished_at (finished jobs"
        " only) order any number of jobs; started_at, updated_at and priority up to 2048 that"
        " the index of owners or statuses has",
    ),
    Param("limit", "1 to 1000, default 100", type="integer"),
    Param("cursor", "next of the page before, with the same filters"),
    Param("page", "Number of the page from 1, for the first 5000 jobs; else use cursor", "integer"),
)
LIST_REFUSALS: Final = (P.FORBIDDEN, P.CURSOR_INVALID, P.LIST_TOO_WIDE, P.RECORD_CORRUPT)
CONTROLS: Final = (
    ("cancel", "Cancel a job; a running one when its worker has stopped", ()),
    ("suspend", "Set a job aside; a running one at its next checkpoint", ()),
    ("resume", "Let a suspended job run again", ()),
    (
        "retry",
        "Run a job that has ended again, with all its tries; one that waits for its time, now",
        (Param("force", "1: also one that completed", type="boolean"),),
    ),
)
"""Act, summary, parameters."""
