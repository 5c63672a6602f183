"""Real requests, which the fuzz begins with: those of the SDK, recorded, and one of every route.

The SDK's go through a proxy that keeps what it passes on. Those of the routes are the examples of
the API's document, which a test sends as they are. Ids and leases in them give way to live ones.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from headrace.http.examples import PATHS, request_example
from headrace.sdk import AsyncClient
from headrace.wire.route import Route
from headrace.wire.routes import ROUTES

EMPTY_MODULE: Final = bytes.fromhex(
    "0061736d0100000001040160000003020100070a01065f73746172740000" + "0a040102000b"
)
CONTENT_TYPE: Final = "Content-Type"
JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
WAIT: Final = "20ms"


class Request(NamedTuple):
    """A request in its parts; its length is told when it is sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


def of_routes(key: str) -> Iterator[Request]:
    """Yield requests of each route, on both surfaces."""
    for route in ROUTES:
        target = re.sub(r"\{(\w+)\}", lambda found: PATHS.get(found[1], "x"), route.path)
        if route.answer_media == "text/event-stream":
            target += "?for=10ms"
        headers = (("Host", "localhost"), ("Authorization", f"Bearer {key}"))
        yield Request(route.method, target, headers, b"")
        queries = [param.name for param in route.params if param.place == "query"]
        if queries:
            words = "&".join(f"{name}={_value(name)}" for name in queries)
            yield Request(route.method, f"{target.partition('?')[0]}?{words}", headers, b"")
        yield from _with_bodies(route, target, headers)


def _value(name: str) -> str:
    known = {
        "wait": WAIT,
        "for": "10ms",
        "limit": "5",
        "page": "1",
        "tail": "5",
        "status": "queued",
    }
    return known.get(name, "1" if name in ("follow", "force") else "mail")


def _with_bodies(
    route: Route, target: str, headers: tuple[tuple[str, str], ...]
) -> Iterator[Request]:
    if route.body is bytes:
        target = target.replace(PATHS["sha256"], hashlib.sha256(EMPTY_MODULE).hexdigest())
        media = ((CONTENT_TYPE, route.body_media),)
        yield Request(route.method, target, headers + media, EMPTY_MODULE)
    elif route.body is not None:
        example: Any = request_example(route.body)
        if isinstance(example, dict) and "wait" in example:
            example = {**example, "wait": WAIT}
        for media_type, encode in ((JSON, msgspec.json.encode), (MSGPACK, msgspec.msgpack.encode)):
            media = ((CONTENT_TYPE, media_type),)
            yield Request(route.method, target, headers + media, encode(example))
    if route.name == "jobs_submit":
        module = base64.b64encode(EMPTY_MODULE).decode()
        bodies: list[Any] = [
            [{"type": "a"}, {"type": "b", "after": [0]}, {"name": "w", "wasm_module": module}],
            {"name": "w", "wasm_module": module, "requirements": {"cpu_cores": 1, "memory_mb": 64}},
            {"type": "t", "delay": "1h", "tags": ["a"], "webhook_url": "https://localhost/x"},
        ]
        for body in bodies:
            yield Request(
                route.method, target, (*headers, (CONTENT_TYPE, JSON)), json.dumps(body).encode()
            )


async def of_clients(port: int, key: str) -> list[Request]:
    """Have the SDK do its work through a proxy; return what it sent."""
    sent: list[bytearray] = []

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None
    ) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(1 << 16):
                if kept is not None:
                    kept += part
                writer.write(part)
            writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        sent.append(bytearray())
        await asyncio.gather(pass_on(reader, forth, sent[-1]), pass_on(back, writer, None))

    proxy = await asyncio.start_server(meet, "127.0.0.1", 0)
    proxy_port = proxy.sockets[0].getsockname()[1]
    async with AsyncClient(f"http://127.0.0.1:{proxy_port}", api_key=key) as client:
        await _work(client)
    proxy.close()
    return [request for connection in sent for request in _requests(bytes(connection))]


async def _work(client: AsyncClient) -> None:
    job = await client.submit("mail", {"to": "ann"}, priority=7, tags=["a"], idempotency_key="k-1")
    await client.submit_many([{"type": "mail", "params": {"n": n}} for n in range(3)])
    await client.submit_wasm(EMPTY_MODULE, name="w")
    await client.get(job.job_id)
    await client.list(status="queued", limit=5)
    for act in (client.suspend, client.resume, client.cancel, client.retry, client.explain):
        await act(job.job_id)
    await client.progress(job.job_id)
    await client.attempts(job.job_id)
    await client.set_queue("q", capacity=3)
    await client.pause_queue("q")
    await client.resume_queue("q")
    await client.set_job_type("t", timeout="1m")
    await client.set_limit("l", type="t", concurrency=2)
    await client.set_tenant("acme", jobs_max=100)
    await client.start_bulk("cancel", dry_run=True, type="mail")
    await client.webhooks()
    await client.demand()
    await client.stats()


def _requests(came: bytes) -> Iterator[Request]:
    while came:
        head, _, came = came.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin-1").split("\r\n")
        method, target, _version = start.split(" ")
        named = [line.partition(": ") for line in lines]
        headers = tuple((name, value) for name, _, value in named if name != "Content-Length")
        size = next((int(value) for name, _, value in named if name == "Content-Length"), 0)
        yield Request(method, target, headers, came[:size])
        came = came[size:]
