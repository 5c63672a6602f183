"""A provider of machines that has none, to try the handlers of `instances` with.

    python -m headrace.worker.examples.provider [--port 9090] [--ready-s 2] [--trouble 0.2]

    POST /instances          makes one; the same Idempotency-Key gives the same
    GET /instances/{id}      creating, then running after --ready-s; "failed" in its name: failed
    DELETE /instances/{id}

With --trouble that share of requests is answered with 503, so that retries can be watched.
"""

import argparse
import random
import secrets
import time
from typing import Any, Final

from aiohttp import web

INSTANCES_MAX: Final = 10_000
ADDRESS: Final = "192.0.2.{}"
"""Of a network that is for documents."""


class Provider:
    """Instances by id."""

    def __init__(self, ready_s: float = 2.0, trouble: float = 0.0, seed: int = 0) -> None:
        self.ready_s = ready_s
        self.trouble = trouble
        self.instances: dict[str, dict[str, Any]] = {}
        self.by_key: dict[str, str] = {}
        self._dice = random.Random(seed)  # noqa: S311 - troubles are no secrets

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post("/instances", self.create),
                web.get("/instances/{id}", self.get),
                web.delete("/instances/{id}", self.delete),
            ]
        )
        return app

    async def create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        key = request.headers.get("Idempotency-Key", "")
        known = self.by_key.get(key) if key else None
        if known is None:
            if len(self.instances) >= INSTANCES_MAX:
                return web.json_response({"error": "sold out"}, status=429)
            known = f"i-{secrets.token_hex(6)}"
            self.instances[known] = {"name": str(asked["name"]), "made_s": time.monotonic()}
            if key:
                self.by_key[key] = known
        if self._dice.random() < self.trouble:  # made all the same: so it goes
            return web.json_response({"error": "try again"}, status=503)
        return web.json_response(self._shown(known), status=201)

    async def get(self, request: web.Request) -> web.Response:
        if self._dice.random() < self.trouble:
            return web.json_response({"error": "try again"}, status=503)
        if request.match_info["id"] not in self.instances:
            return web.json_response({"error": "no such instance"}, status=404)
        return web.json_response(self._shown(request.match_info["id"]))

    async def delete(self, request: web.Request) -> web.Response:
        self.instances.pop(request.match_info["id"], None)
        return web.Response(status=204)

    def _shown(self, instance_id: str) -> dict[str, Any]:
        instance = self.instances[instance_id]
        shown = {"id": instance_id, "name": instance["name"], "status": "creating"}
        if time.monotonic() - instance["made_s"] >= self.ready_s:
            if "failed" in instance["name"]:
                return {**shown, "status": "failed", "error": "no machine of this product is free"}
            number = list(self.instances).index(instance_id) % 254 + 1
            return {**shown, "status": "running", "address": ADDRESS.format(number)}
        return shown


def main() -> None:
    parser = argparse.ArgumentParser(description="A provider of machines to try handlers with.")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--ready-s", type=float, default=2.0)
    parser.add_argument("--trouble", type=float, default=0.0)
    args = parser.parse_args()
    provider = Provider(args.ready_s, args.trouble)
    web.run_app(provider.app(), host="127.0.0.1", port=args.port)


if __name__ == "__main__":
    main()
