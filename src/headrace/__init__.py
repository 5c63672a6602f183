"""headrace: a durable job queue server that needs no database beside it."""

# Neither `typing` nor `__future__` is imported: each takes as long as all that is here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from headrace.embedded import AsyncQueue, Queue, QueueConfig, QueueFull
    from headrace.sdk import AsyncClient, Client

__all__ = ["AsyncClient", "AsyncQueue", "Client", "Queue", "QueueConfig", "QueueFull"]
__version__ = "0.1.0"

_CLIENTS = ("AsyncClient", "Client")


def __getattr__(name: str) -> "Any":
    # Looked up on demand: a client needs none of the server, and a sandbox neither.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("headrace.sdk" if name in _CLIENTS else "headrace.embedded"), name)
