"""The server's answers as this library hands them on: those of `wire.schema`, with the params
decoded."""

from typing import Any

import msgspec

from headrace.wire import schema


class JobView(schema.JobView, kw_only=True):
    """A job: its spec, and where it stands."""

    params: Any = None
    # What older servers do not say:
    traceparent: str | None = None
    tracestate: str | None = None
    after: list[str] = msgspec.field(default_factory=list)
    after_any_end: bool = False


class JobAnswer(msgspec.Struct, kw_only=True):
    job: JobView
    result: schema.ResultView


class JobsPage(msgspec.Struct, kw_only=True):
    jobs: list[JobView]
    count: int
    next: str | None = None
    """Cursor of the next page; None at the end. A page may be short and still have one."""
