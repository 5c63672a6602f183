"""Handlers that make an instance at a provider of machines, and wait until it is ready.

    HEADRACE_PROVIDER_URL=http://127.0.0.1:9090 headrace work headrace.worker.examples.instances

`python -m headrace.worker.examples.provider` is a provider to try them with. Making an instance
costs money and may be asked for twice (a worker can die between the request and its report), so the
request carries the job's id as its idempotency key: the provider makes one instance for it. Waiting
holds no thread and no slot: the job is snoozed between two looks.
"""

import os
import time
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from headrace.worker.examples.web import HOSTS_VARIABLE, HttpAnswer, ask
from headrace.worker.handlers import PermanentError, Snooze, Worker, WorkerDefinitionError
from headrace.worker.handlers_async import AsyncContext

URL_VARIABLE: Final = "HEADRACE_PROVIDER_URL"
READY: Final = "running"
BROKEN: Final = frozenset({"failed", "terminated"})
ANSWER_S_MAX: Final = 30.0

Name = Annotated[str, Meta(min_length=1, max_length=100)]

worker = Worker()


class CreateInstance(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    product: Name
    template: Name | None = None
    gpu_count: Annotated[int, Meta(ge=0, le=64)] = 1
    storage_gb: Annotated[int, Meta(ge=1, le=65_536)] = 60
    region: Name | None = None


class MonitorInstance(msgspec.Struct, forbid_unknown_fields=True):
    instance_id: Name
    max_wait_s: Annotated[float, Meta(gt=0, le=86_400)] = 600.0
    look_s: Annotated[float, Meta(ge=0.01, le=3_600)] = 5.0
    """Between two looks."""


class Instance(msgspec.Struct):
    """As the provider tells it."""

    id: str
    status: str
    address: str | None = None
    error: str | None = None


@worker.job("create_instance", params=CreateInstance)
async def create_instance(ctx: AsyncContext, params: CreateInstance) -> dict[str, Any]:
    """Ask the provider for an instance; it is being made when the job completes."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": ctx.job.id}
    answer = await ask(
        "POST", f"{provider_url()}/instances", headers, msgspec.json.encode(params), ANSWER_S_MAX
    )
    instance = _instance(answer)
    ctx.log(f"instance {instance.id} is {instance.status}")
    return {"instance_id": instance.id, "status": instance.status}


@worker.job("monitor_instance", params=MonitorInstance)
async def monitor_instance(ctx: AsyncContext, params: MonitorInstance) -> dict[str, Any]:
    """Look until the instance is ready, at most `max_wait_s` from the first look on."""
    first_at: float = ctx.checkpoint or time.time()
    ctx.checkpoint = first_at
    path = f"{provider_url()}/instances/{_segment(params.instance_id)}"
    instance = _instance(await ask("GET", path, {}, None, ANSWER_S_MAX))
    waited_s = time.time() - first_at
    if instance.status == READY:
        return {"status": READY, "address": instance.address, "waited_s": round(waited_s, 3)}
    if instance.status in BROKEN:
        raise PermanentError(
            f"the instance is {instance.status}: {instance.error or 'no reason was given'}",
            code="instance_broken",
        )
    if waited_s >= params.max_wait_s:
        raise PermanentError(
            f"the instance is still {instance.status} after {params.max_wait_s:g} s",
            code="instance_not_ready",
        )
    ctx.progress(min(0.99, waited_s / params.max_wait_s), instance.status)
    raise Snooze(min(params.look_s, max(0.0, params.max_wait_s - waited_s)))


def provider_url() -> str:
    """Return the provider's address; its host is one that this worker may speak to.

    Raises: WorkerDefinitionError.
    """
    url = os.environ.get(URL_VARIABLE, "").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise WorkerDefinitionError(f"{URL_VARIABLE} names the provider, as in https://example.com")
    host = url.split("://", 1)[1].split("/", 1)[0]
    named = os.environ.get(HOSTS_VARIABLE, "")
    if host not in named.split(","):
        os.environ[HOSTS_VARIABLE] = f"{named},{host}".strip(",")
    return url


def _instance(answer: HttpAnswer) -> Instance:
    try:
        return msgspec.json.decode(answer.body, type=Instance)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the provider's answer makes no sense: {error}") from None


def _segment(text: str) -> str:
    if not all(char.isalnum() or char in "-_." for char in text) or text.strip(".") == "":
        raise PermanentError("instance_id is not an id of a provider", code="params_invalid")
    return text
