"""The client library: submit jobs, watch them, read their results.

    from headrace.sdk import Client

    with Client() as client:
        job = client.submit("echo", params={"hello": "world"})
        print(client.wait(job.job_id).value)

`AsyncClient` has the same methods as coroutines.
"""

from headrace.sdk.client import TERMINAL, AsyncClient, Job
from headrace.sdk.errors import SdkError, ServerProblem, ServerUnreachable, UsageError
from headrace.sdk.sync import Client

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
