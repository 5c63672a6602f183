"""What server-sent events say, and the parameters of who asks for them."""

from typing import Final, Literal

import msgspec

from headrace.wire.route import WHO, Param

EventName = Literal["snapshot", "status", "progress", "log", "deleted", "reset", "end"]


class EventView(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The data of one event about a job. The stream's field `event` says which it is:

    `snapshot`: how the job stands as the stream begins. `status`: it has changed. `progress`: news
    from its worker. `log`: a piece of its log. `deleted`: its record is gone. `reset`: events may
    have been missed; no job is named.
    """

    at: str | None = None
    """When it was committed."""
    job_id: str | None = None
    type: str | None = None
    """Null for a WASM job."""
    name: str | None = None
    queue: str | None = None
    owner: str | None = None
    status: str | None = None
    """After the change."""
    change: str | None = None
    """What happened: submit, lease, start, complete, retry, fail, …"""
    final: bool = False
    """The job has ended."""
    attempt: int | None = None
    worker: str | None = None
    error: str | None = None
    code: str | None = None
    progress: float | None = None
    details: str | None = None
    position: int | None = None
    """Of a piece of the log; rises."""
    log: str | None = None
    reason: str | None = None
    """Of a reset."""


class LogView(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The data of an event of a log: of `log`, a piece of it; of `end`, how the job ended."""

    log: str = ""
    status: str = ""


LAST_ID: Final = (
    Param("Last-Event-ID", "Go on behind this event, if it is not too old", place="header"),
    Param("last_event_id", "The same, for who cannot send the header"),
)
FOR: Final = Param("for", "End the stream after so long: 30s")
EVENT_PARAMS: Final = (
    *WHO,
    *LAST_ID,
    Param("logs", "1: pieces of logs, too", type="boolean"),
    FOR,
)
EVENT_FILTERS: Final = (
    Param("owner", "Of whom; for others than oneself only as an admin"),
    Param("status", "Only changes to these statuses", many=True),
    Param("type", "Job types; wasm for WASM jobs", many=True),
    Param("queue", "Queues", many=True),
)
