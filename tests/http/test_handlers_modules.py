import hashlib

from http_tools import EMPTY_MODULE, Server

from headrace.wire import limits

SHA = hashlib.sha256(EMPTY_MODULE).hexdigest()
PATH = f"/api/v1/modules/{SHA}"


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
