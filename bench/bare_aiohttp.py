"""The reference of W1: aiohttp on uvloop that decodes the same body and answers, and nothing else.

python bench/bare_aiohttp.py PORT
"""

import sys

import msgspec
import uvloop
from aiohttp import web

from headrace.wire.schema import SubmitJob, Submitted

_decode = msgspec.json.Decoder(SubmitJob).decode
_ANSWER = msgspec.json.encode(Submitted(job_id="0" * 36, status="queued"))


async def submit(request: web.Request) -> web.Response:
    _decode(await request.read())
    return web.Response(body=_ANSWER, content_type="application/json")


async def ready(_: web.Request) -> web.Response:
    return web.Response()


def main(port: int) -> None:
    app = web.Application()
    app.router.add_post("/api/v1/jobs", submit)
    app.router.add_get("/readyz", ready)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
