"""Examples for the OpenAPI document: what a request may look like, and its answer.

Requests stand here by their shape, so that each can be sent as it is; a test does. Answers are
made from their shapes, with a value for each field by its name.
"""

import types
import typing
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from headrace.wire import schema
from headrace.wire.document_routes import (
    GroupSettings,
    LimitSettings,
    NewKey,
    QueueSettings,
    TypeSettings,
)
from headrace.wire.root import RootSubmitted

JOB_ID: Final = "01a200b8-6f79-7000-8422-e65ef4ed6da2"
LEASE: Final = "AaIAuG95cACEIuZe9O1togEAAAABAAAAq1l6dY0WcZ1mVUVz8vJRXA"
INSTANT: Final = "2030-01-31T12:00:00.000Z"
SHA256: Final = "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"

REQUESTS: Final[dict[type, dict[str, Any]]] = {
    schema.SubmitJob: {
        "type": "send_mail",
        "params": {"to": "ann@example.org", "template": "welcome"},
        "priority": "high",
        "timeout": "10m",
        "max_retries": 3,
        "idempotency_key": "welcome-ann",
        "retention": "7d",
        "tags": ["mail"],
    },
    schema.PollRequest: {
        "worker": "w-7",
        "serve": {"types": ["send_mail"]},
        "free": {"cpu_cores": 4, "memory_mb": 8192},
        "max_jobs": 16,
        "wait": "30s",
        "running": [],
        "reports": [],
    },
    schema.LeaseReport: {"result": {"sent": True}},
    schema.LeaseProgress: {"started": True, "progress": 0.4, "details": "2 of 5"},
    QueueSettings: {"capacity": 5, "description": "Work at night"},
    LimitSettings: {"type": "send_mail", "concurrency": 10},
    GroupSettings: {"queue": "default", "description": "Mail of all kinds"},
    TypeSettings: {
        "name": "Send a mail",
        "timeout": "10m",
        "max_retries": 3,
        "retry_delay": "30s",
        "params_schema": {
            "type": "object",
            "required": ["to"],
            "properties": {"to": {"type": "string"}},
        },
    },
    NewKey: {"name": "mailer", "scopes": ["submit", "read"], "expires_in": "2160h"},
}
"""By the shape of the body; what is not here gets its required fields."""

PATHS: Final[dict[str, str]] = {
    "id": JOB_ID,
    "name": "default",
    "sha256": SHA256,
    "lease": LEASE,
    "page": "quick-start",
}
"""By the name of the parameter in the path."""

_VALUES: Final[dict[str, Any]] = {
    "id": JOB_ID,
    "job_id": JOB_ID,
    "lease": LEASE,
    "name": "send_mail",
    "type": "send_mail",
    "type_id": "send_mail",
    "url": "https://hooks.example.org/jobs",
    "events": ["completed", "failed"],
    "older_than": "24h",
    "queue": "default",
    "group": "mail",
    "owner": "ann",
    "user": "ann",
    "user_id": "ann",
    "changed_by": "ann",
    "tenant": "default",
    "tenant_id": "default",
    "worker": "w-7",
    "worker_id": "w-7",
    "locked_by": "w-7",
    "session": "s-1",
    "status": "running",
    "state": "running",
    "priority": 7,
    "tags": ["mail"],
    "params": {"to": "ann@example.org", "template": "welcome"},
    "result": {"sent": True},
    "output": "aGVsbG8K",
    "error": None,
    "code": None,
    "problem": None,
    "warning": None,
    "exit_code": 0,
    "metrics": {"cpu_seconds": 1.5},
    "requirements": {"cpu_cores": 1, "memory_mb": 512},
    "arguments": [],
    "environment": {},
    "wasm_sha256": None,
    "entry_point": None,
    "sha256": SHA256,
    "size_bytes": 36,
    "timeout": 600,
    "timeout_sec": 600,
    "max_retries": 3,
    "retry_delay": 30,
    "retry_delay_sec": 30,
    "retry_backoff": 2.0,
    "attempt": 1,
    "idempotency_key": "welcome-ann",
    "progress": 0.4,
    "progress_details": "2 of 5",
    "details": "2 of 5",
    "scheduled_at": None,
    "start_before": None,
    "finished_at": None,
    "completed_at": None,
    "eta": None,
    "expires_at": None,
    "revoked_at": None,
    "deadline": "2030-01-31T12:10:00.000Z",
    "lease_term": "30s",
    "poll_again": "0s",
    "result_max": 1_048_576,
    "output_max": 1_048_576,
    "next": None,
    "reason": None,
    "description": "Work at night",
    "capacity": 5,
    "version": 1,
    "key": "hr_abc123_…",
    "key_id": "abc123",
    "act": "queue_put",
    "at": INSTANT,
    "detail": "capacity 5",
    "message": "Job removed",
    "commit_position": "0:1:42",
    "last_commit_age": 0.2,
    "time": 1_896_091_200,
    "count": 1,
    "total": 1,
    "window": 300,
    "checkpoint": {"done": 2},
    "params_schema": {"type": "object"},
    "replayed": False,
    "output_cut": False,
    "paused": False,
    "success": True,
    "ok": True,
}
"""By the name of a field; what does not fit its type is not taken."""

_ANSWERS: Final[dict[type, dict[str, Any]]] = {
    schema.Submitted: {"status": "queued"},
    schema.JobView: {
        "status": "completed",
        "progress": 1.0,
        "progress_details": None,
        "locked_by": None,
        "finished_at": INSTANT,
    },
    schema.ResultView: {"status": "completed", "finished_at": INSTANT},
    RootSubmitted: {"status": "queued"},
}
"""Where a field's value is another than by its name."""
_ARRAYS: Final = frozenset({"control"})
"""Lists that mostly are empty."""


def request_example(kind: Any) -> Any:
    """Return a body that can be sent."""
    for one in _alternatives(kind):
        if one in REQUESTS:
            return REQUESTS[one]
    return answer_example(kind, required=True)


def answer_example(kind: Any, *, required: bool = False) -> Any:
    """`required`: only the fields that must be there."""
    return _example("", kind, required)


def _example(name: str, kind: Any, required: bool) -> Any:
    kind = _alternatives(kind)[0]
    value = _VALUES.get(name, UNSET)
    if kind is msgspec.Raw or kind is Any:
        return {"any": "JSON"} if value is UNSET else value
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        made = {
            field.encode_name: _field(field.name, hints[field.name], required)
            for field in msgspec.structs.fields(kind)
            if not required or field.required
        }
        made |= {} if required else _ANSWERS.get(kind, {})
        if kind.__struct_config__.omit_defaults:
            made = {
                field.encode_name: made[field.encode_name]
                for field in msgspec.structs.fields(kind)
                if field.encode_name in made
                and (field.required or made[field.encode_name] != field.default)
            }
        return made
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return value if value in args else args[0]
    if origin in (list, tuple):
        if value is not UNSET:
            return value
        return [] if name in _ARRAYS else [_example("", args[0], required)]
    if origin is dict or kind is dict:
        return {} if value is UNSET else value
    if value is not UNSET and value is not None and _fits(value, kind):
        return value
    plain = {str: INSTANT if name.endswith("_at") else "text", int: 1, float: 0.5, bool: False}
    return plain.get(kind)


def _field(name: str, kind: Any, required: bool) -> Any:
    value = _VALUES.get(name, UNSET)
    if value is None and type(None) in typing.get_args(_bare(kind)):
        return None
    return _example(name, kind, required)


def _fits(value: Any, kind: type) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _bare(kind: Any) -> Any:
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    return kind


def _alternatives(kind: Any) -> list[Any]:
    """Return what a type may be, without None and bounds."""
    kind = _bare(kind)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return [
            one
            for part in typing.get_args(kind)
            if part not in (type(None), UnsetType)
            for one in _alternatives(part)
        ]
    return [kind]
