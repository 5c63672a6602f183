"""WASM modules by the sha256 of their bytes, each tenant's own."""

import asyncio
from typing import Final

from aiohttp import web

from headrace.core.commands import Module, PutModule
from headrace.core.module_keys import module_key
from headrace.http.decode import media_type, read_bytes
from headrace.http.encode import NO_SNIFF, answer
from headrace.http.identity import caller
from headrace.http.modules import digest_of, entry_points, is_sha256
from headrace.http.site import site_of
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.routes import ModuleAnswer

WASM: Final = "application/wasm"
_MEDIA: Final = frozenset({None, WASM, "application/octet-stream"})


async def module_put(request: web.Request) -> web.Response:
    site = site_of(request)
    sha256 = _sha256(request)
    if media_type(request.headers.get("Content-Type")) not in _MEDIA:
        raise Problem(
            ProblemCode.CONTENT_TYPE_UNSUPPORTED, f"send the bytes of the module as {WASM}"
        )
    data = await read_bytes(request, limits.MODULE_BYTES_MAX, ProblemCode.MODULE_TOO_LARGE)
    if await asyncio.to_thread(digest_of, data) != sha256:
        raise Problem(
            ProblemCode.MODULE_HASH_MISMATCH, "the path names the sha256 of the body, in hex"
        )
    created = False
    key = module_key(caller(request).tenant, bytes.fromhex(sha256))
    if not site.store.has_module_committed(key):
        info = await site.modules.new(key, data)
        module = Module(key, data, entry_points(info))
        created = await site.pump.ask(PutModule(module))
    return answer(
        request,
        ModuleAnswer(sha256=sha256, size_bytes=len(data), created=created),
        headers=site.committed(),
    )


async def module_get(request: web.Request) -> web.Response:
    return web.Response(body=_stored(request), headers=_headers(request), content_type=WASM)


async def module_head(request: web.Request) -> web.Response:
    return web.Response(body=_stored(request), headers=_headers(request), content_type=WASM)


def _stored(request: web.Request) -> bytes:
    """Return the caller's module; to a worker of all tenants, that of any."""
    site, who = site_of(request), caller(request)
    sha256 = bytes.fromhex(_sha256(request))
    if who.all_tenants:
        data = site.store.module_of_any(sha256)
    else:
        data = site.store.module(module_key(who.tenant, sha256))
    if data is None:
        raise _unknown()
    return data


def _headers(request: web.Request) -> dict[str, str]:
    """Content under its own hash never changes."""
    return {
        **NO_SNIFF,
        "ETag": f'"{_sha256(request)}"',
        "Cache-Control": "private, max-age=31536000, immutable",
    }


def _sha256(request: web.Request) -> str:
    text = request.match_info["sha256"].lower()
    if not is_sha256(text):
        raise _unknown()
    return text


def _unknown() -> Problem:
    """Here the module is what the path names, so it is 404; a job that names one gets 422."""
    return Problem(
        ProblemCode.MODULE_UNKNOWN, "a module is named by 64 hex digits", extra={"status": 404}
    )
