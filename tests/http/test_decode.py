import asyncio
from typing import Any

import msgspec
import pytest
from http_tools import Server

from headrace.http import decode
from headrace.http.decode import json_of_msgpack, media_type, problem_of
from headrace.wire import limits
from headrace.wire.problems import Problem

JOBS = "/api/v1/jobs"
JSON = {"Content-Type": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}


def nested(depth: int) -> bytes:
    return b'{"type":"t","params":' + b"[" * depth + b"]" * depth + b"}"


async def test_an_empty_body_is_called_empty(server: Server) -> None:
    for path in (JOBS, "/api/v1/work/poll"):
        reply = await server.send("POST", path, data=b"", headers=JSON)
        assert reply.code == "body_malformed"
        assert reply.json["detail"].startswith("the body is empty; send JSON")


BAD_BODIES: list[tuple[bytes, str, str | None]] = [
    # body, code, pointer
    (b"", "body_malformed", None),
    (b" ", "body_malformed", None),
    (b"{", "body_malformed", None),
    (b"}", "body_malformed", None),
    (b"nul", "body_malformed", None),
    (b"{'type':'t'}", "body_malformed", None),
    (b'{"type":"t",}', "body_malformed", None),
    (b'{"type":"t"}{', "body_malformed", None),
    (b'{"type":"t"} x', "body_malformed", None),
    (b'{"type":"t" "name":"n"}', "body_malformed", None),
    (b'{type:"t"}', "body_malformed", None),
    (b'{"type":"t\x01"}', "body_malformed", None),
    (b'{"type":"\\x41"}', "body_malformed", None),
    (b'{"type":"\\u12"}', "body_malformed", None),
    (b'{"type":"\\ud800"}', "body_malformed", None),
    (b'{"type":"\\udc00"}', "body_malformed", None),
    (b'{"type":"t","params":"\\ud800"}', "body_malformed", None),
    (b'{"type":"t","params":01}', "body_malformed", None),
    (b'{"type":"t","params":.5}', "body_malformed", None),
    (b'{"type":"t","params":+1}', "body_malformed", None),
    (b'{"type":"t","params":NaN}', "body_malformed", None),
    (b'{"type":"t","params":-Infinity}', "body_malformed", None),
    (b'{"type":"t","params":[1,]}', "body_malformed", None),
    (b'{"type":"t","params":}', "body_malformed", None),
    (b'{"type":"t","timeout":NaN}', "body_malformed", None),
    (b'{"type":"t","timeout":Infinity}', "body_malformed", None),
    (b'\xef\xbb\xbf{"type":"t"}', "body_malformed", None),
    (b'\xff\xfe{\x00"\x00', "body_malformed", None),
    (b'{"type":"\xff"}', "body_malformed", None),
    (b'{"type":"\xc0\xaf"}', "body_malformed", None),
    (b'{"type":"\xed\xa0\x80"}', "body_malformed", None),
    (b'{"type":"t","params":"\xff"}', "body_malformed", None),
    (b'{"type":"t","\xff":1}', "body_malformed", None),
    (nested(100_000), "body_malformed", None),
    (b"[" * 100_000, "body_malformed", None),
    (b'{"a":' * 100_000, "field_invalid", "/a"),
    (nested(65), "field_invalid", "/params"),
    (nested(900), "field_invalid", "/params"),
    (b'{"type":"t","params":1e999}', "field_invalid", "/params"),
    (b'{"type":"t","params":-1e999}', "field_invalid", "/params"),
    (b'{"type":"t","params":1' + b"0" * 5_000 + b"}", "field_invalid", "/params"),
    (b'{"type":"t","timeout":1e999}', "field_invalid", "/timeout"),
    (b'{"type":"t","timeout":1' + b"0" * 400 + b"}", "field_invalid", "/timeout"),
    (b'{"type":"t","priority":1' + b"0" * 5_000 + b"}", "field_invalid", "/priority"),
    (b'{"type":"t","priority":5.5}', "field_invalid", "/priority"),
    (b'{"type":"t","priority":true}', "field_invalid", "/priority"),
    (b'{"type":"t","priority":[]}', "field_invalid", "/priority"),
    (b'{"type":"t","max_retries":-1}', "field_invalid", "/max_retries"),
    (b'{"type":"t","max_retries":1e2}', "field_invalid", "/max_retries"),
    (b'{"type":"t","requirements":{"cpu_cores":-0.1}}', "field_invalid", "/requirements/cpu_cores"),
    (b'{"type":"t","requirements":{"cpu":1}}', "field_invalid", "/requirements/cpu"),
    (b'{"type":"t","requirements":[]}', "field_invalid", "/requirements"),
    (b'{"type":"t","tags":{"a":1}}', "field_invalid", "/tags"),
    (b'{"type":"t","tags":["a",7]}', "field_invalid", "/tags/1"),
    (b'{"type":"t","tags":[' + b'"a",' * 32 + b'"a"]}', "field_invalid", "/tags"),
    (b'{"type":"t","environment":{"a":1}}', "field_invalid", "/environment"),
    (b'{"type":"t","tyqe":1}', "field_invalid", "/tyqe"),
    (b'{"type":"t","a/b~c":1}', "field_invalid", "/a~1b~0c"),
    (b'{"type":"t","":1}', "field_invalid", "/"),
    (b'{"type":"' + b"x" * 201 + b'"}', "field_invalid", "/type"),
    (b'{"type":null}', "field_invalid", "/type"),
    (b'{"name":"n"}', "field_invalid", "/type"),
    (b'{"wasm_sha256":"xyz"}', "field_invalid", "/wasm_sha256"),
    (b'{"name":"n","wasm_module":5}', "field_invalid", "/wasm_module"),
    (b"null", "field_invalid", ""),
    (b"5", "field_invalid", ""),
    (b'"type"', "field_invalid", ""),
    (b"[5]", "batch_invalid", None),
    (b"[[]]", "batch_invalid", None),
    (b"[{}]", "batch_invalid", None),
    (b"[null]", "batch_invalid", None),
    (b'[{"type":"t"}', "body_malformed", None),
    (b'[{"type":"t"},]', "body_malformed", None),
    (b'{"type":"t","params":"' + b"x" * limits.SPEC_BYTES_MAX + b'"}', "spec_too_large", ""),
]


@pytest.mark.parametrize(("body", "code", "pointer"), BAD_BODIES)
async def test_a_bad_body_is_refused_with_its_reason(
    server: Server, body: bytes, code: str, pointer: str | None
) -> None:
    reply = await server.send("POST", JOBS, data=body, headers=JSON)
    assert (reply.status, reply.code) == (413 if code == "spec_too_large" else 400, code)
    assert reply.json.get("pointer") == pointer
    assert len(reply.body) < 1_500, "nothing is echoed"


@pytest.mark.parametrize("shape", ["%s", "[%s]", "[%s,%s]"])
async def test_of_a_member_that_comes_twice_the_last_counts(server: Server, shape: str) -> None:
    job = b'{"type":"one","priority":1,"params":[1],"type":"two","params":[2],"priority":7}'
    body = shape.encode() % ((job,) * shape.count("%s"))
    answer = (await server.send("POST", JOBS, data=body, headers=JSON)).json
    for told in answer if isinstance(answer, list) else [answer]:
        found = (await server.call("GET", f"{JOBS}/{told['job_id']}")).json["job"]
        assert (found["type"], found["params"], found["priority"]) == ("two", [2], 7)
    document = (await server.call("GET", "/openapi.json")).json
    assert "twice the last one counts" in document["info"]["description"]


async def test_the_table_is_long_enough() -> None:
    assert len(BAD_BODIES) >= 60


async def test_values_of_clients_are_not_repeated(server: Server) -> None:
    canary = "canary-3f9c"
    for body in (
        {"type": "t", "priority": canary},
        {"type": "t", "timeout": canary},
        {"type": "t", "scheduled_at": canary},
        {"type": "t", "wasm_sha256": canary},
        {"type": "t", "max_retries": canary},
        {"name": canary},
        canary,
    ):
        assert canary not in (await server.call("POST", JOBS, body)).body.decode()
    poll = {"worker": "w", "reports": [{"lease": "l", "outcome": canary}]}
    reply = await server.call("POST", "/api/v1/work/poll", poll)
    assert canary not in reply.body.decode()


async def test_the_name_of_an_unknown_field_is_cut_and_cleaned(server: Server) -> None:
    reply = await server.call("POST", JOBS, {"type": "t", "\x1b[31m" + "x" * 10_000: 1})
    assert reply.code == "field_invalid"
    assert len(reply.body) < 600
    assert "\\u001b" not in reply.body.decode()


@pytest.mark.parametrize(
    "media",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x", "json"],
)
async def test_other_media_are_refused(server: Server, media: str) -> None:
    reply = await server.send("POST", JOBS, data=b'{"type":"t"}', headers={"Content-Type": media})
    assert (reply.status, reply.code) == (415, "content_type_unsupported")


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_json_is_known_in_its_spellings(server: Server, media: str) -> None:
    reply = await server.send("POST", JOBS, data=b'{"type":"t"}', headers={"Content-Type": media})
    assert reply.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x"])
async def test_encoded_bodies_are_refused_unread(server: Server, encoding: str) -> None:
    headers = {**JSON, "Content-Encoding": encoding}
    reply = await server.send("POST", JOBS, data=b"\x1f\x8b" + bytes(50), headers=headers)
    assert (reply.status, reply.code) == (415, "content_encoding_unsupported")


async def test_a_body_beyond_the_bound_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chunks() -> Any:
        for _ in range(80):
            yield b" " * limits.MIB

    reply = await server.send("POST", JOBS, data=chunks(), headers=JSON)
    assert (reply.status, reply.code) == (413, "body_too_large")


async def test_bodies_that_arrive_share_a_bounded_memory(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "BODIES_BYTES_MAX", 100_000)

    async def slowly(size: int) -> Any:
        yield b'{"type":"t","params":"'
        await asyncio.sleep(0.01)
        yield b"x" * size
        yield b'"}'

    over = await server.send("POST", JOBS, data=slowly(200_000), headers=JSON)
    assert (over.status, over.code) == (503, "overloaded")
    for _ in range(3):
        assert (await server.send("POST", JOBS, data=slowly(60_000), headers=JSON)).status == 200
    assert server.runner.app[decode.BODIES].used == 0


# MessagePack ------------------------------------------------------------------------------------


async def test_a_job_in_messagepack_is_stored_as_json(server: Server) -> None:
    body = msgspec.msgpack.encode({"type": "t", "params": {"a": 1.5, "b": [None, "é"]}})
    reply = await server.send("POST", JOBS, data=body, headers=MSGPACK)
    assert reply.headers["Content-Type"] == "application/json"
    job = (await server.call("GET", f"{JOBS}/{reply.json['job_id']}")).json["job"]
    assert job["params"] == {"a": 1.5, "b": [None, "é"]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xff\xff",
        b"\x81\xa4type",
        msgspec.msgpack.encode({"type": "t", "params": float("nan")}),
        msgspec.msgpack.encode({"type": "t", "params": [1, {"a": float("inf")}]}),
        msgspec.msgpack.encode({"type": "t", "params": msgspec.msgpack.Ext(5, b"x")}),
        b"\x81\xa4type\xa1\xff",
        b"\x91" * 100_000 + b"\xc0",
        b"\x82\xa4type\xa1t\xa6params" + b"\x91" * 900 + b"\xc0",
        msgspec.msgpack.encode({"type": "t"}) + b"\x00",
    ],
)
async def test_messagepack_without_an_equal_in_json_is_refused(server: Server, body: bytes) -> None:
    reply = await server.send("POST", JOBS, data=body, headers=MSGPACK)
    assert (reply.status, reply.code) == (400, "body_malformed")


async def test_messagepack_of_the_wrong_shape_is_pointed_at(server: Server) -> None:
    for value, pointer in (
        ({"type": "t", "requirements": {"cpu_cores": "x"}}, "/requirements/cpu_cores"),
        ({"type": b"t" * 300}, "/type"),
        ({"type": "t", "timeout": 2**64 - 1}, "/timeout"),
    ):
        body = msgspec.msgpack.encode(value)
        reply = await server.send("POST", JOBS, data=body, headers=MSGPACK)
        assert (reply.code, reply.json["pointer"]) == ("field_invalid", pointer)


async def test_what_messagepack_cannot_carry_is_answered_as_json(server: Server) -> None:
    job_id = await server.submit(params=10**30)
    reply = await server.send("GET", f"{JOBS}/{job_id}", headers={"Accept": "application/msgpack"})
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json["job"]["params"] == 10**30


def test_binary_becomes_base64_text() -> None:
    assert json_of_msgpack(msgspec.msgpack.encode({"a": b"hi"})) == b'{"a":"aGk="}'


def test_a_media_type_is_read_without_its_parameters() -> None:
    assert media_type("Application/JSON ; charset=x") == "application/json"
    assert media_type(None) is None


def test_an_error_of_another_kind_is_a_malformed_body() -> None:
    assert isinstance(problem_of(ValueError("x")), Problem)
    assert problem_of(ValueError("secret")).detail == "the body cannot be decoded"
