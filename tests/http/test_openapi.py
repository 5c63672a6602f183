"""The OpenAPI document says what the server does, and its page shows all of it to people."""

import base64
import hashlib
import html
import json
import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from http_tools import Server
from openapi_spec_validator import OpenAPIV31SpecValidator

from headrace.http.docs import page
from headrace.http.openapi import build, document, field_docs
from headrace.wire import schema
from headrace.wire.routes import ROUTES, Route

FOUND = build()
OPERATIONS = [
    (path, method, operation)
    for path, operations in FOUND["paths"].items()
    for method, operation in operations.items()
]


def contents() -> list[tuple[str, dict[str, Any]]]:
    """Return every media type of every request and answer, with where it is."""
    found = []
    for _, _, operation in OPERATIONS:
        places = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for place, held in places.items():
            for media, content in held.get("content", {}).items():
                found.append((f"{operation['operationId']} {place} {media}", content))
    return found


def test_a_validator_of_openapi_finds_nothing() -> None:
    assert list(OpenAPIV31SpecValidator(json.loads(document())).iter_errors()) == []


def test_every_json_body_has_an_example_that_fits_its_schema() -> None:
    whole = {"components": FOUND["components"]}
    for where, content in contents():
        if "schema" not in content:
            continue
        assert "example" in content, where
        validator = jsonschema_rs.validator_for({**content["schema"], **whole})
        errors = [error.message for error in validator.iter_errors(content["example"])]
        assert not errors, (where, errors)


def test_every_answer_of_a_problem_is_a_problem() -> None:
    for _, _, operation in OPERATIONS:
        for status, answer in operation["responses"].items():
            assert answer["description"]
            if status >= "400":
                example = answer["content"]["application/problem+json"]["example"]
                assert str(example["status"]) == status


def test_every_operation_has_a_tag_that_is_described_and_a_summary_of_its_own() -> None:
    described = {tag["name"]: tag["description"] for tag in FOUND["tags"]}
    assert all(described.values()), described
    for _, _, operation in OPERATIONS:
        assert set(operation["tags"]) <= described.keys()
        assert operation["summary"]


def test_what_needs_a_key_says_so_and_with_which_scope() -> None:
    assert FOUND["components"]["securitySchemes"].keys() == {"key"}
    public = {route.name for route in ROUTES if route.public}
    for _, _, operation in OPERATIONS:
        assert ("security" in operation) == (operation["operationId"] not in public)
        assert ("x-scopes" in operation) == ("security" in operation)


def test_the_text_under_a_field_is_its_description() -> None:
    assert field_docs(schema.Report)["permanent"] == "Do not try again."
    properties = FOUND["components"]["schemas"]["Report"]["properties"]
    assert properties["permanent"]["description"] == "Do not try again."


@pytest.mark.parametrize("media", ["application/json", "application/msgpack"])
@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.body not in (None, bytes)], ids=lambda route: route.name
)
async def test_the_example_of_a_request_is_taken(server: Server, route: Route, media: str) -> None:
    operation = FOUND["paths"][route.path][route.method.lower()]
    path = route.path
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    example = operation["requestBody"]["content"][media]["example"]
    if "wait" in example:
        example = {**example, "wait": "1ms"}  # nobody submits a job
    encode = msgspec.json.encode if media == "application/json" else msgspec.msgpack.encode
    headers = {"Content-Type": media}
    reply = await server.send(route.method, path, data=encode(example), headers=headers)
    not_there = {404, 409} if "{" in route.path else set()
    assert reply.status in {route.status, *not_there}, reply.body


# The page ---------------------------------------------------------------------------------------


async def test_the_page_needs_nothing_but_itself(server: Server) -> None:
    reply = await server.send("GET", "/docs/api")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = reply.body.decode()
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    policy = reply.headers["Content-Security-Policy"]
    assert len(style) == 1
    assert policy.endswith(f"style-src 'sha256-{digest}'")
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not re.findall(r"<(?:script|img|link|iframe|object)|\son\w+=|\sstyle=|url\(", text)
    links = set(re.findall(r'(?:href|src)="([^"]*)"', text))
    assert all(link.startswith("#") or link in ("/openapi.json", "../docs") for link in links)
    assert "prefers-color-scheme: dark" in style[0]


def test_the_page_has_every_route_once_and_every_link_leads_somewhere() -> None:
    text = page().decode()
    ids = re.findall(r'id="([\w-]+)"', text)
    assert len(ids) == len(set(ids))
    assert {route.name for route in ROUTES} <= set(ids)
    assert set(re.findall(r'href="#([\w-]+)"', text)) <= set(ids)


def test_the_page_shows_paths_parameters_fields_problems_and_commands() -> None:
    text = html.unescape(page().decode())
    for path, _, operation in OPERATIONS:
        assert f"<code>{path}</code>" in text
        assert operation["summary"] in text
        for parameter in operation["parameters"]:
            assert parameter["description"] in text
    for words in (
        "curl -X POST http://127.0.0.1:8080/api/v1/jobs",
        "reports[].lease",
        "queue_full",
    ):
        assert words in text
