import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

from http_tools import EMPTY_MODULE, Reply, Server, open_server

from headrace.wire import limits

SHA = hashlib.sha256(EMPTY_MODULE).hexdigest()
PATH = f"/api/v1/modules/{SHA}"
NEEDS = {"cpu_cores": 1, "memory_mb": 64}


async def test_a_module_is_put_once_and_read_back(server: Server) -> None:
    missing = await server.call("GET", PATH)
    assert (missing.status, missing.code) == (404, "module_unknown")
    assert (await server.call("HEAD", PATH)).status == 404
    first = await server.send("PUT", PATH, data=EMPTY_MODULE)
    assert first.json == {"sha256": SHA, "size_bytes": len(EMPTY_MODULE), "created": True}
    assert "Commit-Position" in first.headers
    again = await server.send(
        "PUT", PATH, data=EMPTY_MODULE, headers={"Content-Type": "application/wasm"}
    )
    assert again.json["created"] is False
    read = await server.send("GET", PATH)
    assert (read.body, read.headers["Content-Type"]) == (EMPTY_MODULE, "application/wasm")
    assert read.headers["ETag"] == f'"{SHA}"'
    head = await server.send("HEAD", PATH)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(EMPTY_MODULE)))


async def test_the_hash_in_the_path_must_be_the_bodys(server: Server) -> None:
    reply = await server.send("PUT", f"/api/v1/modules/{'0' * 64}", data=EMPTY_MODULE)
    assert (reply.status, reply.code) == (422, "module_hash_mismatch")


async def test_what_is_no_hash_names_no_module(server: Server) -> None:
    for name in ("x", SHA[:-1], SHA[:-1] + "g"):
        assert (await server.send("GET", f"/api/v1/modules/{name}")).code == "module_unknown"


async def test_what_is_no_module_is_not_stored(server: Server) -> None:
    for data, code in (
        (b"", "module_not_wasm"),
        (b"(module)", "module_not_wasm"),
        (b"\0asm\1\0\0\0", "module_entry_point_missing"),
        (EMPTY_MODULE + b"\xff", "module_malformed"),
    ):
        path = f"/api/v1/modules/{hashlib.sha256(data).hexdigest()}"
        reply = await server.send("PUT", path, data=data)
        assert (reply.status, reply.code) == (422, code)
        assert (await server.call("GET", path)).status == 404


async def test_a_module_has_a_largest_size(server: Server) -> None:
    reply = await server.send("PUT", PATH, data=bytes(limits.MODULE_BYTES_MAX + 1))
    assert (reply.status, reply.code) == (413, "module_too_large")


async def test_a_module_is_sent_as_bytes(server: Server) -> None:
    reply = await server.call("PUT", PATH, {})
    assert (reply.status, reply.code) == (415, "content_type_unsupported")


class Tenants:
    """Keys of two tenants, and one of all."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.keys: dict[str, str] = {}

    async def make(self) -> "Tenants":
        words = ["admin", "submit", "read", "work"]
        for tenant in ("*", "a", "b"):
            by = self._by("*") if self.keys else {}
            made = await self.server.call(
                "POST", "/api/v1/keys", {"tenant": tenant, "scopes": words}, **by
            )
            self.keys[tenant] = made.json["key"]
        return self

    def _by(self, tenant: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[tenant]}"}

    async def call(self, tenant: str, method: str, path: str, body: Any = None) -> Reply:
        return await self.server.call(method, path, body, **self._by(tenant))

    async def put(self, tenant: str) -> Any:
        reply = await self.server.send("PUT", PATH, data=EMPTY_MODULE, headers=self._by(tenant))
        assert reply.status == 200, reply.body
        return reply.json

    async def named(self, tenant: str, **fields: Any) -> Reply:
        """Submit a job that names the module."""
        job = {"name": "n", "wasm_sha256": SHA, "requirements": NEEDS, **fields}
        return await self.call(tenant, "POST", "/api/v1/jobs", job)


async def missing(tenants: Tenants, tenant: str) -> list[Any]:
    """Return all that is answered about a module to one who does not have it."""
    replies = [await tenants.call(tenant, method, PATH) for method in ("GET", "HEAD")]
    replies += [await tenants.named(tenant), await tenants.named(tenant, entry_point="x")]
    batch = [{"name": "n", "wasm_sha256": SHA, "requirements": NEEDS}]
    replies.append(await tenants.call(tenant, "POST", "/api/v1/jobs", batch))
    return [(reply.status, reply.body) for reply in replies]


async def test_anothers_module_answers_as_a_missing_one(server: Server) -> None:
    tenants = await Tenants(server).make()
    never = await missing(tenants, "b")
    assert [status for status, _ in never] == [404, 404, 422, 422, 400]
    assert (await tenants.put("a"))["created"] is True
    assert await missing(tenants, "b") == never
    assert (await tenants.named("a")).status == 200
    assert (await tenants.call("a", "GET", PATH)).body == EMPTY_MODULE
    assert (await tenants.put("a"))["created"] is False
    # Who stores the same bytes is told nothing of the others, and has them from then on.
    assert (await tenants.put("b"))["created"] is True
    assert (await tenants.named("b")).status == 200


async def test_no_hash_that_is_asked_for_is_the_key_of_anothers_module(server: Server) -> None:
    tenants = await Tenants(server).make()
    await tenants.put("a")
    (key,) = [key for key, _ in server.node.store._kv.scan(14)]
    for name in (key.hex(), key[:32].hex(), key[-32:].hex()):
        reply = await tenants.call("b", "GET", f"/api/v1/modules/{name}")
        assert (reply.status, reply.code) == (404, "module_unknown")


async def test_an_inline_module_is_the_tenants_that_sent_it(server: Server) -> None:
    tenants = await Tenants(server).make()
    module = base64.b64encode(EMPTY_MODULE).decode()
    inline = {"name": "n", "wasm_module": module, "requirements": NEEDS}
    for tenant in ("a", "a", "b"):
        assert (await tenants.call(tenant, "POST", "/api/v1/jobs", inline)).status == 200
    assert len(server.node.store._kv.scan(14)) == 2, "once in each tenant"


async def test_an_announced_module_is_that_of_the_jobs_tenant(server: Server) -> None:
    tenants = await Tenants(server).make()
    job_id = (await tenants.named("a", await_module=True)).json["job_id"]
    path = f"/api/v1/jobs/{job_id}"
    await tenants.put("b")
    told = (await tenants.call("a", "GET", f"{path}/explain")).json
    assert (told["status"], told["causes"][0]["wasm_sha256"]) == ("initializing", SHA)
    await tenants.put("a")
    while (await tenants.call("a", "GET", path)).json["job"]["status"] == "initializing":
        await asyncio.sleep(0.001)


async def test_a_worker_reads_what_its_jobs_need(server: Server) -> None:
    tenants = await Tenants(server).make()
    await tenants.put("a")
    await tenants.named("a")
    poll = {"worker": "w", "serve": {"wasm": True}, "free": {"cpu_cores": 8, "memory_mb": 9_000}}
    for tenant, jobs in (("b", 0), ("*", 1)):
        answer = await tenants.call(tenant, "POST", "/api/v1/work/poll", poll)
        assert len(answer.json["jobs"]) == jobs, answer.body
    assert answer.json["jobs"][0]["job"]["wasm_sha256"] == SHA
    assert (await tenants.call("*", "GET", PATH)).body == EMPTY_MODULE


async def test_whose_a_module_is_outlives_the_process(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_dir": tmp_path / "d", "accept_any_filesystem": True}
    tenants = await Tenants(await open_server(**options)).make()
    never = await missing(tenants, "b")
    await tenants.put("a")
    await tenants.server.close()
    tenants.server = await open_server(**options)
    assert await missing(tenants, "b") == never
    assert (await tenants.named("a")).status == 200
    await tenants.server.close()
