import inspect

import msgspec
import pytest

from headrace.wire import schema
from headrace.wire.schema import ABSENT, Request

REQUESTS = [
    kind
    for _, kind in inspect.getmembers(schema, inspect.isclass)
    if issubclass(kind, Request) and kind is not Request
]


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_request_refuses_fields_it_does_not_know(kind: type[Request]) -> None:
    assert kind.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_integer_of_a_request_has_bounds(kind: type[Request]) -> None:
    unbounded = {("SubmitJob", "priority")}  # clamped, as published clients need it
    for field in msgspec.inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        inner = getattr(field.type, "types", (field.type,))
        for shape in inner:
            is_int = isinstance(shape, msgspec.inspect.IntType)
            alone = not any(isinstance(other, msgspec.inspect.FloatType) for other in inner)
            if is_int and alone and (kind.__name__, field.name) not in unbounded:
                assert shape.ge is not None, field.name
                assert shape.le is not None or shape.lt is not None, field.name


def test_a_field_of_any_json_tells_absent_from_null() -> None:
    decode = msgspec.json.Decoder(schema.SubmitJob).decode
    assert decode(b"{}").params == ABSENT
    assert decode(b'{"params":null}').params == msgspec.Raw(b"null")


def test_absent_values_are_left_out_of_what_is_stored() -> None:
    assert msgspec.json.encode(schema.ReportBody()) == b"{}"
    assert b"params" not in msgspec.json.encode(schema.Spec(id="i", name="n"))


def test_a_report_body_takes_no_field_of_a_poll() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `lease`"):
        msgspec.json.decode(b'{"lease":"x"}', type=schema.LeaseReport)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (schema.Requirements, b'{"cpu_cores":-1}'),
        (schema.Requirements, b'{"memory_mb":1.5}'),
        (schema.Requirements, b'{"memory_mb":1073741825}'),
        (schema.SubmitJob, b'{"name":""}'),
        (schema.SubmitJob, b'{"max_retries":1001}'),
        (schema.SubmitJob, b'{"retry_backoff":0.5}'),
        (schema.SubmitJob, b'{"wasm_sha256":"AB"}'),
        (schema.SubmitJob, b'{"success_codes":[256]}'),
        (schema.PollRequest, b"{}"),
        (schema.PollRequest, b'{"worker":"w","max_jobs":1001}'),
        (schema.PollRequest, b'{"worker":"w","seq":-1}'),
        (schema.LeaseProgress, b'{"progress":1.01}'),
        (schema.Report, b'{"lease":"l","outcome":"done"}'),
        (schema.ReportBody, b'{"exit_code":2147483648}'),
    ],
)
def test_values_beyond_their_bounds_are_refused(kind: type[Request], body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=kind)
