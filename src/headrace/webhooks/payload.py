"""What a receiver reads: `{"type", "timestamp", "data"}`, never larger than a message may be.

A part that does not fit is left out and named in `data.omitted`; the job's id says where to get it.
"""

from typing import Final

import msgspec

from headrace.webhooks.limits import ERROR_CHARS_MAX, PAYLOAD_BYTES_MAX
from headrace.wire.durations import rfc3339
from headrace.wire.events import EVENT_OF_STATUS, check_emitted

NULL: Final = msgspec.Raw(b"null")


class JobData(msgspec.Struct, kw_only=True):
    """`data` of the events that say where a job has got to."""

    job_id: str
    name: str | None = None
    type: str | None = None
    status: str
    queue: str | None = None
    tenant_id: str
    owner: str | None = None
    attempt: int
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    worker_id: str | None = None
    exit_code: int | None = None
    error: str | None = None
    code: str | None = None
    """Why it failed, as one word, such as `poison`."""
    result: msgspec.Raw = NULL
    omitted: list[str] = []
    """Names of members that were too large, `error` is then cut, `result` null; `job`: its record
    was removed before this was sent."""


class EmittedData(msgspec.Struct, kw_only=True):
    """`data` of an event that a handler emitted."""

    job_id: str
    type: str | None
    details: msgspec.Raw = NULL
    """As the handler gave it."""
    omitted: list[str] = []


class AuthData(msgspec.Struct, kw_only=True):
    """`data` of `auth.failed`. Never a key; at most the part of it that is no secret."""

    reason: str
    remote: str | None = None
    key_id: str | None = None
    count: int = 1
    """Failures that this event stands for; whoever tells of them gathers them first."""


Data = JobData | EmittedData | msgspec.Raw


class Message(msgspec.Struct, kw_only=True):
    """The body."""

    type: str
    timestamp: str | None
    data: Data


_encode: Final = msgspec.json.Encoder().encode


def job_payload(at_ms: int, data: JobData) -> bytes:
    """Return the body of the event that a job has reached its status."""
    name = EVENT_OF_STATUS[data.status]
    body = _body(name, at_ms, data)
    if len(body) > PAYLOAD_BYTES_MAX:
        data = msgspec.structs.replace(data, result=NULL, omitted=[*data.omitted, "result"])
        body = _body(name, at_ms, data)
    if len(body) > PAYLOAD_BYTES_MAX:
        error = (data.error or "")[:ERROR_CHARS_MAX]
        data = msgspec.structs.replace(data, error=error, omitted=[*data.omitted, "error"])
        body = _body(name, at_ms, data)
    return _bounded(body)


def emitted_payload(name: str, at_ms: int, data: EmittedData) -> bytes:
    """Return the body of an event that a handler emitted.

    Raises: ValueError when the name is not one that it may use.
    """
    check_emitted(name)
    body = _body(name, at_ms, data)
    if len(body) > PAYLOAD_BYTES_MAX:
        data = msgspec.structs.replace(data, details=NULL, omitted=[*data.omitted, "details"])
        body = _body(name, at_ms, data)
    return _bounded(body)


def told_payload(name: str, at_ms: int, data: bytes) -> bytes:
    """Return the body of an event whose `data` was encoded when it happened."""
    return _bounded(_body(name, at_ms, msgspec.Raw(data)))


def _body(name: str, at_ms: int, data: Data) -> bytes:
    return _encode(Message(type=name, timestamp=rfc3339(at_ms), data=data))


def _bounded(body: bytes) -> bytes:
    assert len(body) <= PAYLOAD_BYTES_MAX, "all that is left is short"
    return body
