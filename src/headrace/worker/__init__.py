"""The worker: probes its host, polls for jobs, runs them in a sandbox or in Python handlers.

from headrace.worker import PermanentError, Worker
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.worker.handlers import (
        Context,
        PermanentError,
        Retry,
        Snooze,
        Stopped,
        Worker,
        WorkerDefinitionError,
    )
    from headrace.worker.handlers_async import AsyncContext

__all__ = [
    "AsyncContext",
    "Context",
    "PermanentError",
    "Retry",
    "Snooze",
    "Stopped",
    "Worker",
    "WorkerDefinitionError",
]


def __getattr__(name: str) -> Any:
    # Looked up on demand: a sandbox process imports this package and needs none of it.
    if name == "AsyncContext":
        from headrace.worker.handlers_async import AsyncContext

        return AsyncContext
    if name in __all__:
        from headrace.worker import handlers

        return getattr(handlers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
