"""A real node behind a real socket, and a client for it."""

import asyncio
import json
from typing import Any

import aiohttp
from aiohttp import web

from headrace.http.app import make_app
from headrace.http.deadlines import Runner
from headrace.http.lane import connections_of
from headrace.http.site import SITE, Site
from headrace.runtime.config import Config
from headrace.runtime.node import Node

EMPTY_MODULE = bytes.fromhex(
    "0061736d01000000"  # magic, version
    "010401600000"  # one type: () -> ()
    "03020100"  # one function of it
    "070a01065f73746172740000"  # export "_start"
    "0a040102000b"  # its body: end
)


class Reply:
    """What a server answered."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the problem; that it is one in all its members is checked here."""
        assert self.headers["Content-Type"] == "application/problem+json", self.body
        members = self.json
        assert members["status"] == self.status
        assert {"type", "title", "detail", "code", "retryable"} <= members.keys()
        assert "Traceback" not in self.body.decode()
        return str(members["code"])


class Server:
    """One node and one client. `call` sends JSON, `send` anything."""

    def __init__(self, node: Node, site: Site, runner: Runner, port: int) -> None:
        self.node = node
        self.site = site
        self.runner = runner
        self.port = port
        self.session = aiohttp.ClientSession(f"http://127.0.0.1:{port}")

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        async with self.session.request(method, path, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return await self.send(method, path, headers=names)
        return await self.send(method, path, json=body, headers=names)

    async def submit(self, **fields: Any) -> str:
        """Submit a typed job; return its id."""
        reply = await self.call("POST", "/api/v1/jobs", {"type": "work", **fields})
        assert reply.status == 200, reply.body
        return str(reply.json["job_id"])

    async def poll(self, **fields: Any) -> Any:
        """Poll as a worker that takes anything; return the answer."""
        reply = await self.call("POST", "/api/v1/work/poll", {"worker": "w", **fields})
        assert reply.status == 200, reply.body
        return reply.json

    async def lease(self) -> str:
        """Take one job; return its lease."""
        return str((await self.poll())["jobs"][0]["lease"])

    async def raw(self, data: bytes) -> bytes:
        """Send bytes on a connection of their own; return all that comes until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()

    async def lease_soon(self) -> str:
        """Take one job as soon as it is ready; return its lease."""
        return str((await self.poll(wait="9s"))["jobs"][0]["lease"])

    async def close(self) -> None:
        await self.session.close()
        await self.runner.cleanup()
        await self.node.stop()


async def open_server(*, header_ms: int = 10_000, idle_ms: int = 75_000, **config: Any) -> Server:
    config.setdefault("disk_reserve_mb", 0)
    node = Node(Config(port=0, drain_s=5.0, **config))
    await node.start()
    app = make_app(node)
    runner = Runner(
        app,
        app[SITE].meters,
        shutdown_timeout=5.0,
        header_ms=header_ms,
        idle_ms=idle_ms,
        connect=connections_of(app[SITE]),
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return Server(node, app[SITE], runner, site.port)
