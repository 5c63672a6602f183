"""End to end: promises that no other test shows over HTTP, and what holds for every route."""

from http_tools import Server

from headrace.http.examples import PATHS, request_example
from headrace.wire.keys import Scope
from headrace.wire.routes import ROUTES, Route

ORDER = ("PUT", "POST", "DELETE")
"""What is acted on has to be there."""


async def test_levels_by_name_are_served_in_their_order_over_http(server: Server) -> None:
    for level in ("low", "critical", "normal", "high", "low", "critical"):
        await server.submit(name=level, priority=level)
    works = (await server.poll(max_jobs=10))["jobs"]
    names = ["critical", "critical", "high", "normal", "low", "low"]
    assert [work["job"]["name"] for work in works] == names
    assert [work["job"].get("priority", 5) for work in works] == [9, 9, 7, 5, 2, 2]


def admin_routes() -> list[Route]:
    found = [
        route
        for route in ROUTES
        if route.method in ORDER and (route.of_server or route.scopes == (Scope.ADMIN,))
    ]
    return sorted(found, key=lambda route: ORDER.index(route.method))


async def test_every_act_of_an_admin_is_in_the_audit_log(server: Server) -> None:
    scopes = {"scopes": ["admin", "submit", "read", "work"], "tenant": "*"}
    made = (await server.call("POST", "/api/v1/keys", scopes)).json
    spare = await server.call("POST", "/api/v1/keys", scopes, Authorization=f"Bearer {made['key']}")
    bearer = {"Authorization": f"Bearer {made['key']}"}
    await server.call("POST", "/api/v1/work/poll", {"worker": "default"}, **bearer)
    acts = 2
    for route in admin_routes():
        named = {**PATHS, "name": spare.json["id"] if route.name == "key_revoke" else "default"}
        path = route.path.format(**named)
        body = None if route.body is None else request_example(route.body)
        reply = await server.call(route.method, path, body, **bearer)
        assert reply.status < 300, (route.name, reply.body)
        acts += 1
        audit = (await server.call("GET", "/api/v1/audit?limit=1000", **bearer)).json
        assert audit["count"] == acts, (route.name, audit["entries"][0])
        assert audit["entries"][0]["key_id"] == made["id"]
