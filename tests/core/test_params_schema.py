"""Schemas of params: what they accept, how they say what is wrong, and which are refused."""

import json
from typing import Any

import pytest

from headrace.core.params_schema import ERRORS_MAX, ParamsSchema, compile_schema
from headrace.wire.problems import Problem, ProblemCode

TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "left": {"$ref": "#/$defs/node"},
                "right": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "additionalProperties": {"$ref": "#/$defs/node"},
        }
    },
    "$ref": "#/$defs/node",
}


def made(schema: Any) -> ParamsSchema:
    return compile_schema(json.dumps(schema).encode())


def refusal(schema: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        made(schema)
    problem = caught.value
    assert problem.code is ProblemCode.SCHEMA_REFUSED
    assert problem.pointer is not None
    assert problem.pointer.startswith("/params_schema")
    return problem


def test_params_fit_or_not() -> None:
    schema = made({"required": ["to"], "properties": {"to": {"type": "string"}}})
    assert schema.accepts(b'{"to":"x"}')
    assert not schema.accepts(b'{"to":1}')
    assert not schema.accepts(b"{}")
    assert not schema.accepts(b""), "params that were not sent are an empty object"
    assert made(True).accepts(b"1")
    assert not made(False).accepts(b"1")


def test_what_is_wrong_has_a_pointer_and_no_value() -> None:
    schema = made(
        {
            "properties": {
                "a/b": {"items": {"type": "integer"}},
                "e": {"enum": ["x" * 1_000]},
            },
            "additionalProperties": False,
        }
    )
    told = schema.wrong(b'{"a/b":[1,"secret"],"e":"secret","more":"secret"}')
    assert {one.pointer for one in told} == {"/a~1b/1", "/e", ""}
    assert all(0 < len(one.reason) <= 200 and "secret" not in one.reason for one in told)
    assert any("'more'" in one.reason for one in told)
    assert schema.wrong(b'{"a/b":[1]}') == []


def test_of_many_mistakes_some_are_told() -> None:
    schema = made({"items": {"type": "integer"}})
    assert len(schema.wrong(json.dumps(["x"] * 1_000).encode())) == ERRORS_MAX


@pytest.mark.parametrize(
    ("params", "fits"), [(b"1", True), (b"1.0", True), (b"1.5", False), (b"1" + b"0" * 40, True)]
)
def test_integers_are_integers_of_any_size(params: bytes, fits: bool) -> None:
    assert made({"type": "integer"}).accepts(params) is fits


def test_a_tree_may_refer_to_itself() -> None:
    value: Any = {}
    for _ in range(20):
        value = {"left": value, "right": None, "children": [{}, {}]}
    schema = made(TREE)
    assert schema.accepts(json.dumps(value).encode())
    assert not schema.accepts(b'{"left":{"children":[3]}}')


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://127.0.0.1:9/x.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json"},
        {"$ref": "#anchor"},
        {"properties": {"a": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}},
        {"$ref": 3},
    ],
)
def test_nothing_is_fetched(schema: Any) -> None:
    refusal(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"$dynamicRef": "#n"},
        {"$defs": {"a": {"$id": "http://x/y"}}},
        {"$anchor": "x"},
        {"type": "nope"},
        {"minimum": "3"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#/$defs/" + "~0" * 5},
        [],
        3,
    ],
)
def test_what_is_no_schema_of_ours_is_refused(schema: Any) -> None:
    refusal(schema)


@pytest.mark.parametrize(
    "data",
    [b'{"const":1e400}', b'{"const":"\\ud800"}', b'{"const":' + b"[" * 9_999 + b"]" * 9_999 + b"}"],
)
def test_what_no_decoder_reads_is_refused(data: bytes) -> None:
    with pytest.raises(Problem) as caught:
        compile_schema(data)
    assert caught.value.code is ProblemCode.SCHEMA_REFUSED


def test_values_inside_a_schema_are_not_taken_for_schemas() -> None:
    made({"const": {"$ref": "http://x"}, "default": {"$id": "x"}, "enum": [{"$anchor": 1}]})


def test_a_schema_may_name_its_dialect_and_itself() -> None:
    schema = "https://json-schema.org/draft/2020-12/schema"
    made({"$schema": schema, "$id": "https://example.org/x", "type": "object"})


@pytest.mark.parametrize(
    "pattern", ["(a)\\1", "^(?=a)b", "((a{1,100}){1,100}){1,100}", "(\\w{1,1000}){1,500}", "("]
)
def test_patterns_that_could_take_long_are_refused(pattern: str) -> None:
    assert "pattern" in refusal({"properties": {"a": {"pattern": pattern}}}).detail
    refusal({"patternProperties": {pattern: True}})


def test_patterns_do_not_go_back() -> None:
    schema = made({"pattern": "^(a+)+$"})
    assert not schema.accepts(b'"' + b"a" * 100_000 + b'!"'), "going back, it would take for ever"


def test_the_number_of_patterns_is_bounded() -> None:
    refusal({"patternProperties": {f"^{number}$": True for number in range(65)}})


def doubling(levels: int) -> dict[str, Any]:
    """Return a schema of which each part refers to the next twice."""
    parts: dict[str, Any] = {
        f"p{at}": {"allOf": [{"$ref": f"#/$defs/p{at + 1}"}] * 2} for at in range(levels)
    }
    parts[f"p{levels}"] = {"type": "integer"}
    return {"$defs": parts, "$ref": "#/$defs/p0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"not": {"$ref": "#"}},
        doubling(12),
        doubling(60),
        {"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
        {"items": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}},
        {"additionalProperties": {"$ref": "#"}, "patternProperties": {"a": {"$ref": "#"}}},
        {"propertyNames": {"$ref": "#"}, "allOf": [{"$ref": "#/allOf/0"}]},
    ],
)
def test_parts_that_multiply_are_refused(schema: Any) -> None:
    refusal(schema)


def test_parts_that_do_not_multiply_much_are_taken() -> None:
    assert made(doubling(5)).accepts(b"1")


def test_a_schema_is_not_nested_without_end() -> None:
    schema: Any = {}
    for _ in range(50):
        schema = {"not": schema}
    assert "deeper" in refusal(schema).detail


def test_a_wide_schema_is_walked_quickly() -> None:
    made({"properties": {f"name{number}": {"type": "integer"} for number in range(1_500)}})
    refusal(
        {
            "properties": {f"n{number}": {"$ref": "#"} for number in range(1_500)},
            "anyOf": [{"properties": {f"n{number}": {"$ref": "#"} for number in range(100)}}],
        }
    )
