"""The client library: submit jobs, watch them, read their results.

    from headrace.sdk import Client

    with Client() as client:
        job = client.submit("echo", params={"hello": "world"})
        print(client.wait(job.job_id).value)

`AsyncClient` has the same methods as coroutines.
"""

# Neither `typing` nor `__future__` is imported: each takes as long as all that is here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from headrace.sdk.client import TERMINAL, AsyncClient, Job
    from headrace.sdk.errors import SdkError, ServerProblem, ServerUnreachable, UsageError
    from headrace.sdk.sync import Client

_WHERE: "Final" = {
    "TERMINAL": "client",
    "AsyncClient": "client",
    "Client": "sync",
    "Job": "client",
    "SdkError": "errors",
    "ServerProblem": "errors",
    "ServerUnreachable": "errors",
    "UsageError": "errors",
}
__all__ = [
    "TERMINAL",
    "AsyncClient",
    "Client",
    "Job",
    "SdkError",
    "ServerProblem",
    "ServerUnreachable",
    "UsageError",
]


def __getattr__(name: str) -> "Any":
    # Looked up on demand: a program that only may submit something starts without asyncio.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"headrace.sdk.{_WHERE[name]}"), name)
