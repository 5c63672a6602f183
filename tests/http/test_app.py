"""All routes: the table, the router and the document agree, and no body makes the server fail."""

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import msgspec
import pytest
from http_tools import Server, open_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.dashboard import load
from headrace.http.handlers import HANDLERS
from headrace.http.openapi import build, document
from headrace.wire.problems import ProblemCode
from headrace.wire.routes import ROUTES, Route


def filled(route: Route) -> str:
    known = {
        "id": "01a200b8-6f79-7000-8422-e65ef4ed6da2",
        "sha256": "0" * 64,
        "lease": "x",
        "name": "default",
        "delivery": "x",
        "version": load().version,
        "file": "app.js",
        "page": "api",
    }
    return re.sub(r"\{(\w+)\}", lambda found: known[found[1]], route.path)


async def test_the_router_has_the_routes_of_the_table_and_no_others(server: Server) -> None:
    router = server.runner.app.router
    routed = {
        (route.method, route.resource.canonical) for route in router.routes() if route.resource
    }
    assert routed == {(route.method, route.path) for route in ROUTES}
    assert HANDLERS.keys() == {route.name for route in ROUTES}


def test_the_document_has_the_routes_of_the_table_and_no_others() -> None:
    found = build()
    documented = {
        (method.upper(), path) for path, item in found["paths"].items() for method in item
    }
    assert documented == {(route.method, route.path) for route in ROUTES}


def test_the_document_refers_only_to_what_it_holds() -> None:
    text = document().decode()
    assert json.loads(text)["openapi"] == "3.1.0"
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert referred == json.loads(text)["components"]["schemas"].keys()


def test_the_document_names_every_parameter_and_problem() -> None:
    document = build()
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        names = {parameter["name"] for parameter in operation["parameters"]}
        in_path = set(re.findall(r"\{(\w+)\}", route.path))
        assert names == {param.name for param in route.params} | in_path
        text = json.dumps(operation["responses"])
        assert all(code.name.lower() in text for code in route.problems)


def test_requests_in_the_document_say_that_unknown_fields_are_refused() -> None:
    schemas = build()["components"]["schemas"]
    assert schemas["SubmitJob"]["additionalProperties"] is False
    assert schemas["SubmitJob"]["properties"]["params"] == {"default": None}
    assert "additionalProperties" not in schemas["JobView"]


DOCUMENTED = {code for route in ROUTES for code in route.problems}


def test_every_problem_is_documented_somewhere() -> None:
    from headrace.wire.route import ALWAYS, KEYED, WITH_BODY

    of_the_server = {
        ProblemCode.ROUTE_UNKNOWN,
        ProblemCode.METHOD_NOT_ALLOWED,
    }
    assert DOCUMENTED | {*ALWAYS, *KEYED, *WITH_BODY} | of_the_server == set(ProblemCode)


# Paths and methods ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/api", "/api/v1", "/api/v1/", "/api/v1/jobs/", "/api/v2/jobs", "/%00"]
)
async def test_other_paths_are_unknown(server: Server, path: str) -> None:
    reply = await server.send("GET", path)
    assert (reply.status, reply.code) == (404, "route_unknown")
    assert reply.headers["Server"] == "headrace"


async def test_other_methods_are_refused_with_those_allowed(server: Server) -> None:
    by_path: dict[str, set[str]] = {}
    for route in ROUTES:
        by_path.setdefault(filled(route), set()).add(route.method)
    [a_job] = [filled(route) for route in ROUTES if route.name == "job_get"]
    by_path["/api/v1/jobs/bulk"] |= by_path[a_job]  # to the router, it may be an id as well
    for path, allowed in by_path.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - allowed:
            reply = await server.send(method, path)
            assert (reply.status, reply.code) == (405, "method_not_allowed"), (method, path)
            assert reply.headers["Allow"] == ", ".join(sorted(allowed))


async def test_unknown_query_parameters_are_refused_everywhere(server: Server) -> None:
    for route in ROUTES:
        reply = await server.send(route.method, filled(route) + "?bogus=1", data=b"{}")
        assert reply.status == 400, route.name
        if route.method != "HEAD":
            assert reply.code == "request_malformed"


@pytest.mark.parametrize("header", ["X-User-ID", "X-Tenant-ID"])
async def test_names_in_headers_have_bounds(server: Server, header: str) -> None:
    for value in ("x" * 201, "a\tb"):
        reply = await server.send("GET", "/api/v1/jobs", headers={header: value})
        assert (reply.status, reply.code) == (400, "request_malformed")


# Defects ----------------------------------------------------------------------------------------


async def test_a_defect_is_answered_with_an_incident_and_told_to_the_log(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.site.store, "job", broken)
    reply = await server.call("GET", "/api/v1/jobs/01a200b8-6f79-7000-8422-e65ef4ed6da2")
    assert (reply.status, reply.code) == (500, "internal")
    assert "secret" not in reply.body.decode()
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert reply.json["incident"] in record.getMessage()
    assert record.exc_info is not None


async def test_a_damaged_record_is_reported_as_such(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.store.contract import RecordCorrupt

    def damaged(*_: Any) -> None:
        raise RecordCorrupt(4, b"k")

    monkeypatch.setattr(server.site.store, "job", damaged)
    reply = await server.call("GET", "/api/v1/jobs/01a200b8-6f79-7000-8422-e65ef4ed6da2")
    assert (reply.status, reply.code) == (500, "record_corrupt")


async def test_a_damaged_spec_does_not_cost_a_worker_its_other_jobs(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.store.contract import RecordCorrupt

    first, second = await server.submit(), await server.submit()
    spec = server.site.store.spec

    def damaged(job_ids: list[bytes]) -> None:
        raise RecordCorrupt(4, job_ids[0])

    def one(job_id: bytes) -> bytes | None:
        if job_id.hex() == first.replace("-", ""):
            raise RecordCorrupt(4, job_id)
        return None if job_id.hex() == "" else specs[job_id.hex()]

    specs = {second.replace("-", ""): spec(bytes.fromhex(second.replace("-", "")))}
    monkeypatch.setattr(server.site.store, "specs", damaged)
    monkeypatch.setattr(server.site.store, "spec", one)
    (work,) = (await server.poll(max_jobs=2))["jobs"]
    assert work["job"]["id"] == second


# Fuzz -------------------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["1h", "default", "*", "2030-01-01T00:00:00Z", "A100", "completed", "0" * 64])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def fields_of(kind: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def bodies() -> Iterator[st.SearchStrategy[Any]]:
    """Objects with the fields of each request and values of any kind."""
    from headrace.wire import schema

    requirements = st.dictionaries(st.sampled_from(fields_of(schema.Requirements)), VALUES)
    resources = st.dictionaries(st.sampled_from(fields_of(schema.Resources)), VALUES)
    job = st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(fields_of(schema.SubmitJob), VALUES),
            "type": st.text(max_size=5) | VALUES,
            "requirements": requirements | VALUES,
        },
    )
    yield job
    yield st.lists(job, max_size=3)
    rest = set(fields_of(schema.PollRequest)) - {"wait", "worker"}
    yield st.fixed_dictionaries(
        {"worker": st.text(max_size=5)},
        optional={
            **dict.fromkeys(rest, VALUES),
            "free": resources,
            "reports": st.lists(
                st.dictionaries(st.sampled_from(fields_of(schema.Report)), VALUES), max_size=2
            ),
        },
    )
    yield VALUES


ANY_BODY = st.one_of(*bodies())
POSTS = [route for route in ROUTES if route.body is not None]


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[asyncio.AbstractEventLoop, Server]]:
    """One server for all examples, on a loop of its own."""
    loop = asyncio.new_event_loop()
    opened = loop.run_until_complete(open_server())
    yield loop, opened
    loop.run_until_complete(opened.close())
    loop.close()


def check(running: tuple[asyncio.AbstractEventLoop, Server], route: Route, **sent: Any) -> None:
    loop, server = running
    try:
        reply = loop.run_until_complete(server.send(route.method, filled(route), **sent))
    except aiohttp.ClientError as error:  # pragma: no cover - the message names the example
        raise AssertionError(f"{route.name}: {error!r}") from error
    assert reply.status < 500, reply.body
    if reply.status >= 400:
        assert reply.code
    else:
        json.loads(reply.body)


FUZZ = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(route=st.sampled_from(POSTS), body=ANY_BODY)
def test_no_json_body_makes_the_server_fail(running: Any, route: Route, body: Any) -> None:
    data = json.dumps(body).encode()
    check(running, route, data=data, headers={"Content-Type": "application/json"})


@FUZZ
@given(route=st.sampled_from(POSTS), body=ANY_BODY, cut=st.integers(0, 200), noise=st.binary())
def test_no_broken_json_makes_the_server_fail(
    running: Any, route: Route, body: Any, cut: int, noise: bytes
) -> None:
    data = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    data = data[:cut] + noise + data[cut + 1 :]
    check(running, route, data=data, headers={"Content-Type": "application/json"})


@FUZZ
@given(route=st.sampled_from(POSTS), data=st.binary(max_size=200) | VALUES)
def test_no_messagepack_makes_the_server_fail(running: Any, route: Route, data: Any) -> None:
    if not isinstance(data, bytes):
        try:
            data = msgspec.msgpack.encode(data)
        except (OverflowError, UnicodeEncodeError):
            return
    check(running, route, data=data, headers={"Content-Type": "application/msgpack"})


@FUZZ
@given(
    query=st.dictionaries(
        st.sampled_from(
            [param.name for route in ROUTES if route.name == "jobs_list" for param in route.params]
        ),
        st.text(max_size=12)
        | st.sampled_from(["1", "-created_at", "queued", "retrying,completed"]),
        max_size=4,
    ),
    user=st.sampled_from(["", "admin", "ann"]),
    route=st.sampled_from([route for route in ROUTES if route.name in {"jobs_list", "root_list"}]),
)
def test_no_query_makes_the_server_fail(
    running: Any, query: dict[str, str], user: str, route: Route
) -> None:
    check(running, route, params=query, headers={"X-User-ID": user})
