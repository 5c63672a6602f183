"""The dashboard's page and its files, as they are in the package."""

import asyncio
from typing import Final

from aiohttp import hdrs, web

from headrace.dashboard import File, Files, load
from headrace.wire.problems import Problem, ProblemCode

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src '{style}'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""`Content-Security-Policy`. With the last two the browser refuses any text that is to become
markup, whatever a defect of ours does with it."""
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE_HEADERS: Final = {
    **HEADERS,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
FOR_EVER: Final = "private, max-age=31536000, immutable"


async def home(_request: web.Request) -> web.Response:
    return _to("ui")


async def ui_folder(_request: web.Request) -> web.Response:
    return _to("../ui")


def _to(place: str) -> web.Response:
    """Lead to a place beside this one, so that it is right below a proxy's path, too."""
    return web.Response(
        status=307,
        headers={"Location": place, "Cache-Control": "no-cache"},
        content_type="text/html",
    )


async def ui(request: web.Request) -> web.Response:
    files = await _files()
    policy = POLICY.format(style=files.style_hash)
    return _response(request, files.page, {**PAGE_HEADERS, "Content-Security-Policy": policy})


async def ui_file(request: web.Request) -> web.Response:
    files, version = await _files(), request.match_info["version"]
    file = files.by_name.get(request.match_info["file"])
    if version != files.version or file is None:
        raise Problem(
            ProblemCode.ROUTE_UNKNOWN, "no file of the dashboard has this name; load /ui again"
        )
    return _response(request, file, {**HEADERS, "Cache-Control": FOR_EVER})


async def _files() -> Files:
    """Return the files; the first time they are read and packed beside the loop."""
    return load() if load.cache_info().currsize else await asyncio.to_thread(load)


def _response(request: web.Request, file: File, headers: dict[str, str]) -> web.Response:
    taken = request.headers.get(hdrs.ACCEPT_ENCODING, "").replace(" ", "").split(",")
    packed = file.packed if "gzip" in taken else b""
    etag = f"{file.etag}-gzip" if packed else file.etag
    headers = {**headers, "ETag": f'"{etag}"', "Vary": hdrs.ACCEPT_ENCODING}
    if f'"{etag}"' in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = file.media
    if packed:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=packed or file.body, headers=headers)
