"""The OpenAPI 3.1 document, made from `wire.routes` and the Structs of `wire.schema`.

The docstring under a field is its description; msgspec knows nothing of those, so they are read
from the source of its class.
"""

import ast
import inspect
import re
import sys
import types
import typing
from functools import cache
from typing import Any, Final

import msgspec

import headrace
from headrace.http.examples import PATHS, answer_example, request_example
from headrace.wire.keys import scope_words
from headrace.wire.problems import PROBLEMS, Problem, ProblemCode
from headrace.wire.root import ROOT
from headrace.wire.route import KEYED, scopes_of
from headrace.wire.routes import ALWAYS, ROUTES, WITH_BODY, Param, Route

_JSON: Final = "application/json"
_REF: Final = "#/components/schemas/{name}"
_PATH_PARAM: Final = re.compile(r"\{(\w+)\}")
_PATH_TEXT: Final = {
    "id": "Id of a job",
    "name": "The name, percent-encoded",
    "sha256": "sha256 of the module's bytes, in hex",
    "lease": "The lease, as the poll gave it",
    "delivery": "The webhook-id of a delivery",
    "version": "Of the dashboard's files, as its page names it",
    "file": "The name of a file",
    "page": "The name of a page",
}
TAGS: Final = {
    "jobs": "Submit jobs, look at them, and steer them. Durable when answered.",
    ROOT: "The same jobs for clients that expect 202, success and seconds since 1970.",
    "modules": "WASM modules, stored under the sha256 of their bytes; each tenant has its own.",
    "workers": "How workers get jobs and report: one call, or curl and single leases.",
    "queues": "What an operator sets of queues, and how much waits and runs.",
    "types": "Job types and their groups: defaults of jobs, and what their params must fit.",
    "keys": "API keys: who may do what, for which tenant.",
    "tenants": "What a tenant may use, and its share.",
    "events": "What happens to jobs, as it is committed: server-sent events.",
    "webhooks": "Signed notices to addresses of the tenant when jobs end.",
    "schedules": "Jobs that come again and again.",
    "batches": "Jobs that belong together, and what follows when all have ended.",
    "audit": "Who changed what when.",
    "operations": "Whether the server is well, and what it counts.",
    "dashboard": "The page for people at /ui, its files, and how a browser signs in.",
}
"""In the order of the page."""
_COMMIT_POSITION: Final = {
    "description": "shard:epoch:seq of the commit that the answer rests on",
    "schema": {"type": "string"},
}
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail", "advice", "code", "retryable"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong here"},
        "advice": {"type": "string", "description": "What to do next"},
        "code": {
            "type": "string",
            "enum": [code.name.lower() for code in ProblemCode],
            "description": "\n".join(
                f"{code.name.lower()}: {row.title}. {row.advice}." for code, row in PROBLEMS.items()
            ),
        },
        "retryable": {"type": "boolean"},
        "pointer": {"type": "string", "description": "JSON pointer into the body"},
        "retry_after_ms": {"type": "integer"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "reason": {"type": "string"}},
            },
            "description": "What is wrong with the params, some of it if it is much",
        },
        "problems": {
            "type": "array",
            "items": {"$ref": _REF.format(name="Problem")},
            "description": "Of a batch, one for each job that is not valid",
        },
    },
}
_ROOT_PROBLEM: Final[dict[str, Any]] = {
    "description": "A problem, with what clients of the root surface look for",
    "allOf": [
        {"$ref": _REF.format(name="Problem")},
        {
            "type": "object",
            "required": ["success", "error"],
            "properties": {"success": {"const": False}, "error": {"type": "string"}},
        },
    ],
}


@cache
def document() -> bytes:
    """Return the document as JSON. It is the same for every server of this version."""
    return msgspec.json.encode(build())


def build() -> dict[str, Any]:
    used = {route.tag for route in ROUTES}
    shadows = _Shadows()
    bodies = {route.name: shadows.of(route.body) for route in ROUTES}
    answers = {route.name: shadows.of(route.answer) for route in ROUTES}
    wanted = [t for t in (*bodies.values(), *answers.values()) if t is not None]
    shapes, components = msgspec.json.schema_components(wanted, ref_template=_REF)
    shape_of = dict(zip(map(id, wanted), shapes, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route,
            shape_of.get(id(bodies[route.name])),
            shape_of.get(id(answers[route.name])),
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "headrace",
            "version": headrace.__version__,
            "description": "A durable job queue server. JSON by default; MessagePack where"
            " Content-Type and Accept say application/msgpack. Of a member that an object has twice"
            " the last one counts.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": tag, "description": TAGS.get(tag, f"Routes about {tag}.")}
            for tag in dict.fromkeys([*(tag for tag in TAGS if tag in used), *sorted(used)])
        ],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM, "RootProblem": _ROOT_PROBLEM},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key. Without any keys, on loopback, nothing is needed.",
                }
            },
        },
    }


def _operation(route: Route, body: Any, answer: Any) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [
            *(
                {
                    "name": name,
                    "in": "path",
                    "required": True,
                    "description": _PATH_TEXT.get(name, f"The {name}"),
                    "schema": {"type": "string"},
                    "example": PATHS.get(name, "default"),
                }
                for name in _PATH_PARAM.findall(route.path)
            ),
            *map(_parameter, route.params),
        ],
        "responses": _responses(route, answer),
    }
    if not route.public:
        words = [word for scope in scopes_of(route) for word in scope_words(scope)]
        operation["security"] = [{"key": []}, {}]
        operation["x-scopes"] = words
    if route.body is bytes:
        operation["requestBody"] = {"required": True, "content": {route.body_media: {}}}
    elif route.body is not None:
        content = {"schema": body, "example": request_example(route.body)}
        operation["requestBody"] = {
            "required": True,
            "content": {route.body_media: content, "application/msgpack": content},
        }
    return operation


def _parameter(param: Param) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": param.type}
    if param.many:
        schema = {"type": "array", "items": schema}
    return {
        "name": param.name,
        "in": param.place,
        "description": param.summary,
        "required": False,
        "schema": schema,
    }


def _responses(route: Route, answer: Any) -> dict[str, Any]:
    success: dict[str, Any] = {"description": route.summary}
    if route.method != "HEAD":
        content: dict[str, Any] = {route.answer_media: {}}
        if answer is not None:
            shown = {"schema": answer, "example": answer_example(route.answer)}
            content = {route.answer_media: shown}
            if route.answer_media == _JSON:
                content["application/msgpack"] = shown
        success["content"] = content
    if route.method != "GET" and route.method != "HEAD":
        success["headers"] = {"Commit-Position": _COMMIT_POSITION}
    responses = {str(route.status): success}
    keyed = () if route.public else KEYED
    codes = {*ALWAYS, *keyed, *route.problems, *(WITH_BODY if route.body is not None else ())}
    problem = _REF.format(name="RootProblem" if route.tag == ROOT else "Problem")
    by_status: dict[int, list[ProblemCode]] = {}
    for code in sorted(codes):
        status = PROBLEMS[code].status
        if code is ProblemCode.MODULE_UNKNOWN and route.tag == "modules":
            status = 404
        if code is ProblemCode.JOB_STATE_CONFLICT and route.name == "root_delete":
            status = 400
        by_status.setdefault(status, []).append(code)
    for status, found in sorted(by_status.items()):
        shown = {**Problem(found[0], PROBLEMS[found[0]].title).members(), "status": status}
        if route.tag == ROOT:
            shown = {"success": False, "error": shown["detail"], **shown}
        responses[str(status)] = {
            "description": ", ".join(code.name.lower() for code in found),
            "content": {
                "application/problem+json": {"schema": {"$ref": problem}, "example": shown}
            },
        }
    return responses


class _Shadows:
    """Copies of Structs for the schema generator, which knows no `Raw`: any JSON stands for it."""

    def __init__(self) -> None:
        self._made: dict[type, type] = {}

    def of(self, kind: Any) -> Any:
        """Return the type with every Struct in it replaced."""
        if kind is msgspec.Raw:
            return Any
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self._struct(kind)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if not args or origin is typing.Literal:
            return kind
        if origin is typing.Annotated:
            return typing.Annotated[(self.of(args[0]), *args[1:])]
        replaced = tuple(map(self.of, args))
        if origin is types.UnionType or origin is typing.Union:
            return typing.Union[replaced]  # noqa: UP007 - made from a tuple
        return origin[replaced]

    def _struct(self, kind: type[msgspec.Struct]) -> type:
        if kind in self._made:
            return self._made[kind]
        hints = typing.get_type_hints(kind, include_extras=True)
        docs = field_docs(kind)
        fields: list[Any] = []
        for field in msgspec.structs.fields(kind):
            shape = self.of(hints[field.name])
            if field.name in docs:
                shape = typing.Annotated[shape, msgspec.Meta(description=docs[field.name])]
            if field.default is not msgspec.NODEFAULT:
                default = field.default
                fields.append(
                    (field.name, shape, None if isinstance(default, msgspec.Raw) else default)
                )
            elif field.default_factory is not msgspec.NODEFAULT:
                fields.append(
                    (field.name, shape, msgspec.field(default_factory=field.default_factory))
                )
            else:
                fields.append((field.name, shape))
        made = msgspec.defstruct(
            kind.__name__,
            fields,
            kw_only=True,
            forbid_unknown_fields=kind.__struct_config__.forbid_unknown_fields,
            namespace={"__doc__": kind.__doc__},
        )
        self._made[kind] = made
        return made


def field_docs(kind: type) -> dict[str, str]:
    """Return the texts that stand under the fields of a class and of those it is made from."""
    docs: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        if part.__module__.partition(".")[0] == "headrace":
            docs |= _docs_of_module(part.__module__).get(part.__name__, {})
    return docs


@cache
def _docs_of_module(name: str) -> dict[str, dict[str, str]]:
    """Return the texts of all classes of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[name]))
    return {
        node.name: {
            field.target.id: inspect.cleandoc(str(text.value.value))
            for field, text in zip(node.body, node.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        }
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
