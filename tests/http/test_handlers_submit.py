import base64
import hashlib
from typing import Any

import pytest
from http_tools import EMPTY_MODULE, Server, open_server

from headrace.runtime.config import ResourcesMax
from headrace.wire import limits

MODULE_TEXT = base64.b64encode(EMPTY_MODULE).decode()
MODULE_SHA = hashlib.sha256(EMPTY_MODULE).hexdigest()
WASM: dict[str, Any] = {"name": "n", "requirements": {"cpu_cores": 1, "memory_mb": 64}}
JOBS = "/api/v1/jobs"


async def test_one_job_is_answered_with_its_id_status_and_commit(server: Server) -> None:
    reply = await server.call("POST", JOBS, {"type": "t"})
    assert reply.status == 200
    assert reply.json.keys() == {"job_id", "status"}
    assert reply.json["status"] == "queued"
    shard, epoch, seq = map(int, reply.headers["Commit-Position"].split(":"))
    assert (shard, epoch) == (0, 1)
    assert seq > 1


async def test_a_body_without_a_content_type_is_json(server: Server) -> None:
    reply = await server.raw(
        b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Length: 12\r\n\r\n"
        b'{"type":"t"}'
    )
    assert reply.startswith(b"HTTP/1.1 200")


async def test_a_batch_is_one_commit_and_answers_each(server: Server) -> None:
    before = server.node.pump.position.seq
    reply = await server.call("POST", JOBS, [{"type": "t"}, {"type": "u", "delay": 60}])
    assert [item["status"] for item in reply.json] == ["queued", "scheduled"]
    assert server.node.pump.position.seq == before + 1


async def test_an_empty_batch_takes_nothing(server: Server) -> None:
    reply = await server.call("POST", JOBS, [])
    assert (reply.status, reply.json) == (200, [])


async def test_a_batch_with_bad_jobs_takes_none_and_points_at_each(server: Server) -> None:
    batch = [{"type": "t"}, {"type": "t", "priority": "x"}, {"type": "t"}, {"name": "n"}]
    reply = await server.call("POST", JOBS, batch)
    assert (reply.status, reply.code) == (400, "batch_invalid")
    assert [item["pointer"] for item in reply.json["problems"]] == ["/1/priority", "/3/type"]
    assert (await server.call("GET", JOBS)).json["count"] == 0


async def test_a_batch_that_cannot_be_decoded_points_at_each_job_too(server: Server) -> None:
    batch = [{"type": 1}, {"type": "t"}, {"type": "t", "requirements": {"memory_mb": "x"}}]
    reply = await server.call("POST", JOBS, batch)
    pointers = [item["pointer"] for item in reply.json["problems"]]
    assert (reply.code, pointers) == ("batch_invalid", ["/0/type", "/2/requirements/memory_mb"])


async def test_a_batch_of_one_keeps_its_position_in_problems_of_the_engine() -> None:
    server = await open_server(resources_max=ResourcesMax(cpu_cores=1))
    try:
        job = {"type": "t", "requirements": {"cpu_cores": 2}}
        single = await server.call("POST", JOBS, job)
        batch = await server.call("POST", JOBS, [job])
        assert (single.status, single.code) == (422, "requirements_never_fit")
        assert single.json["pointer"] == "/requirements"
        assert batch.json["pointer"] == "/0/requirements"
    finally:
        await server.close()


async def test_no_job_gets_more_than_the_highest_priority_allowed() -> None:
    server = await open_server(priority_max=4)
    try:
        for asked, kept in (("critical", 4), (9, 4), (None, 4), (4, 4), (3, 3), (-1, 0)):
            job = await server.call("POST", JOBS, {"type": "t", "priority": asked})
            found = await server.call("GET", f"{JOBS}/{job.json['job_id']}")
            assert found.json["job"]["priority"] == kept
    finally:
        await server.close()


async def test_a_batch_beyond_its_bound_is_refused(server: Server) -> None:
    reply = await server.call("POST", JOBS, [{"type": "t"}] * (limits.SUBMIT_JOBS_MAX + 1))
    assert (reply.status, reply.code) == (413, "body_too_large")


async def test_each_job_of_a_batch_that_no_worker_fits_is_warned_of(server: Server) -> None:
    await server.poll(free={"cpu_cores": 1}, total={"cpu_cores": 1})
    job = {"type": "t", "requirements": {"cpu_cores": 2}}
    first, second, third = (await server.call("POST", JOBS, [job, job, {"type": "t"}])).json
    assert first["job_id"] != second["job_id"]
    assert first["warning"] == second["warning"]
    assert first["warning"]["code"] == "never_fits"
    assert "warning" not in third


async def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    server = await open_server(queue_size=1)
    try:
        await server.submit()
        reply = await server.call("POST", JOBS, {"type": "t"})
        assert (reply.status, reply.code) == (429, "queue_full")
        assert reply.headers["Retry-After"] == "1"
        assert reply.json["retryable"]
    finally:
        await server.close()


# Idempotency ------------------------------------------------------------------------------------


async def test_a_repeated_key_replays_the_first_answer(server: Server) -> None:
    first = await server.call("POST", JOBS, {"type": "t"}, Idempotency_Key="k")
    again = await server.call("POST", JOBS, {"type": "t"}, Idempotency_Key="k")
    by_field = await server.call("POST", JOBS, {"idempotency_key": "k", "type": "t"})
    assert "Idempotent-Replayed" not in first.headers
    for reply in (again, by_field):
        assert (reply.status, reply.json["job_id"]) == (200, first.json["job_id"])
        assert reply.headers["Idempotent-Replayed"] == "true"


async def test_a_key_with_another_request_is_a_conflict(server: Server) -> None:
    await server.call("POST", JOBS, {"type": "t"}, Idempotency_Key="k")
    reply = await server.call("POST", JOBS, {"type": "t", "priority": 1}, Idempotency_Key="k")
    assert (reply.status, reply.code) == (409, "idempotency_key_reused")
    assert reply.json["pointer"] == "/idempotency_key"


async def test_a_replay_in_a_batch_is_marked(server: Server) -> None:
    batch = [{"type": "t", "idempotency_key": "k"}, {"type": "t"}]
    first = (await server.call("POST", JOBS, batch)).json
    again = (await server.call("POST", JOBS, batch)).json
    assert again[0] == {**first[0], "replayed": True}
    assert again[1]["job_id"] != first[1]["job_id"]


async def test_keys_of_tenants_are_apart(server: Server) -> None:
    first = await server.call("POST", JOBS, {"type": "t"}, Idempotency_Key="k", X_Tenant_ID="a")
    other = await server.call("POST", JOBS, {"type": "t"}, Idempotency_Key="k", X_Tenant_ID="b")
    assert first.json["job_id"] != other.json["job_id"]


@pytest.mark.parametrize("key", ["", "x" * 257])
async def test_a_key_has_bounds(server: Server, key: str) -> None:
    reply = await server.call("POST", JOBS, {"type": "t"}, Idempotency_Key=key)
    assert (reply.status, reply.code) == (400, "request_malformed")


async def test_the_key_header_is_for_a_single_job(server: Server) -> None:
    reply = await server.call("POST", JOBS, [{"type": "t"}], Idempotency_Key="k")
    assert (reply.status, reply.code) == (400, "request_malformed")


async def test_header_and_field_must_agree(server: Server) -> None:
    body = {"type": "t", "idempotency_key": "a"}
    reply = await server.call("POST", JOBS, body, Idempotency_Key="b")
    assert (reply.code, reply.json["pointer"]) == ("field_invalid", "/idempotency_key")


# Modules ----------------------------------------------------------------------------------------


async def test_an_inline_module_is_stored_by_its_hash(server: Server) -> None:
    job_id = (await server.call("POST", JOBS, {**WASM, "wasm_module": MODULE_TEXT})).json["job_id"]
    job = (await server.call("GET", f"{JOBS}/{job_id}")).json["job"]
    assert (job["wasm_sha256"], job["entry_point"], job["type"]) == (MODULE_SHA, "_start", None)
    stored = await server.send("GET", f"/api/v1/modules/{MODULE_SHA}")
    assert stored.body == EMPTY_MODULE


async def test_a_stored_module_is_named_by_its_hash(server: Server) -> None:
    await server.call("POST", JOBS, {**WASM, "wasm_module": MODULE_TEXT})
    server.site.modules._known.clear()
    reply = await server.call("POST", JOBS, {**WASM, "wasm_sha256": MODULE_SHA})
    assert reply.status == 200


async def test_a_module_and_its_hash_may_come_together(server: Server) -> None:
    both = {**WASM, "wasm_module": MODULE_TEXT, "wasm_sha256": MODULE_SHA}
    assert (await server.call("POST", JOBS, both)).status == 200
    wrong = {**both, "wasm_sha256": "0" * 64}
    reply = await server.call("POST", JOBS, wrong)
    assert (reply.status, reply.code) == (422, "module_hash_mismatch")
    assert reply.json["pointer"] == "/wasm_sha256"


async def test_an_unknown_module_is_pointed_at(server: Server) -> None:
    reply = await server.call("POST", JOBS, {**WASM, "wasm_sha256": "0" * 64})
    assert (reply.status, reply.code) == (422, "module_unknown")
    assert reply.json["pointer"] == "/wasm_sha256"


async def test_the_entry_point_of_a_known_module_is_checked(server: Server) -> None:
    await server.call("POST", JOBS, {**WASM, "wasm_module": MODULE_TEXT})
    reply = await server.call(
        "POST", JOBS, {**WASM, "wasm_sha256": MODULE_SHA, "entry_point": "nope"}
    )
    assert (reply.status, reply.code) == (422, "module_entry_point_missing")
    assert reply.json["pointer"] == "/entry_point"


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("", 400, "field_invalid"),
        ("***", 400, "field_invalid"),
        ("AAAA", 422, "module_not_wasm"),
        (base64.b64encode(b"\0asm\1\0\0\0").decode(), 422, "module_entry_point_missing"),
        (base64.b64encode(EMPTY_MODULE + b"\xff").decode(), 422, "module_malformed"),
        (base64.b64encode(EMPTY_MODULE[:-1] + b"\x1a").decode(), 422, "module_malformed"),
        ("A" * (limits.MODULE_BYTES_MAX * 4 // 3 + 8), 413, "module_too_large"),
    ],
)
async def test_what_is_no_module_is_refused(
    server: Server, text: str, status: int, code: str
) -> None:
    reply = await server.call("POST", JOBS, {**WASM, "wasm_module": text})
    assert (reply.status, reply.code) == (status, code)
    assert reply.json["pointer"] == "/wasm_module"


async def test_a_batch_verifies_one_module_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.http import modules

    seen: list[int] = []
    validated = modules._validated
    monkeypatch.setattr(modules, "_validated", lambda data: (seen.append(1), validated(data))[1])
    batch = [{**WASM, "wasm_module": MODULE_TEXT}] * 20
    assert (await server.call("POST", JOBS, batch)).status == 200
    assert seen == [1]


async def test_a_large_inline_module_is_taken(server: Server) -> None:
    padding = b"\0" + _leb(300_000) + b"\x01x" + bytes(299_998)  # a custom section
    text = base64.b64encode(EMPTY_MODULE[:8] + padding + EMPTY_MODULE[8:]).decode()
    assert (await server.call("POST", JOBS, {**WASM, "wasm_module": text})).status == 200


def _leb(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


async def test_a_batch_is_told_all_that_is_wrong_with_it_at_once(server: Server) -> None:
    batch = [{"type": "t"}, {"type": "a", "priority": "x"}, {"type": "b", "max_retries": -1}]
    reply = await server.call("POST", JOBS, batch)
    pointers = [item["pointer"] for item in reply.json["problems"]]
    assert (reply.code, pointers) == ("batch_invalid", ["/1/priority", "/2/max_retries"])


# Jobs that wait for others ----------------------------------------------------------------------


async def status_of(server: Server, job_id: str) -> str:
    return str((await server.call("GET", f"{JOBS}/{job_id}")).json["job"]["status"])


async def complete(server: Server) -> None:
    await server.call("POST", f"/api/v1/leases/{await server.lease()}/complete")


async def test_jobs_of_an_array_run_after_each_other_by_number(server: Server) -> None:
    batch = [
        {"type": "work"},
        {"type": "work", "after": [0]},
        {"type": "work", "after": [0, 1], "after_any_end": True},
    ]
    reply = await server.call("POST", JOBS, batch)
    assert [item["status"] for item in reply.json] == ["queued", "initializing", "initializing"]
    first, second, third = (item["job_id"] for item in reply.json)
    shown = (await server.call("GET", f"{JOBS}/{third}")).json["job"]
    assert (shown["after"], shown["after_any_end"]) == ([first, second], True)
    explained = (await server.call("GET", f"{JOBS}/{second}/explain")).json
    assert explained["reasons"] == [f"it runs after job {first}, which is queued"]
    await complete(server)
    assert await status_of(server, second) == "queued"
    await complete(server)
    assert await status_of(server, third) == "queued"


async def test_a_job_after_one_that_fails_is_skipped_and_says_why(server: Server) -> None:
    first = await server.submit(max_retries=0)
    last = await server.submit(after=[first])
    await server.call("POST", f"/api/v1/leases/{await server.lease()}/fail", {"error": "boom"})
    answer = (await server.call("GET", f"{JOBS}/{last}?wait=10s")).json
    assert (answer["job"]["status"], answer["result"]["code"]) == ("skipped", "dependency")
    assert answer["result"]["error"] == f"it was to run after job {first}, which ended as failed"
    assert (await server.call("GET", f"/jobs/{last}")).json["job"]["state"] == "skipped"


async def test_the_same_request_with_a_key_is_the_same_job_whatever_its_array_was_given(
    server: Server,
) -> None:
    batch = [{"type": "work"}, {"type": "work", "after": [0], "idempotency_key": "k"}]
    first, again = [(await server.call("POST", JOBS, batch)).json for _ in range(2)]
    assert first[0]["job_id"] != again[0]["job_id"]
    assert (again[1]["job_id"], again[1]["replayed"]) == (first[1]["job_id"], True)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"after": ["x"]}, "/after/0"),
        ({"after": ["01a200c0-5c4c-7000-8bac-56a9dc09a726"]}, "/after/0"),
        ({"after": [0]}, "/after/0"),
        ({"after": [-1]}, "/after/0"),
        ({"after": [None]}, "/after/0"),
        ({"after": ["01a200c0-5c4c-7000-8bac-56a9dc09a726"] * 101}, "/after"),
        ({"after_any_end": True}, "/after_any_end"),
        ({"await_module": True}, "/await_module"),
    ],
)
async def test_what_cannot_be_waited_for_is_refused(
    server: Server, fields: dict[str, Any], pointer: str
) -> None:
    reply = await server.call("POST", JOBS, {"type": "t", **fields})
    assert (reply.status, reply.code, reply.json["pointer"]) == (400, "field_invalid", pointer)
    reply = await server.call("POST", JOBS, [{"type": "t", **fields}])
    assert reply.status in (400, 422)


async def test_a_module_may_be_announced_and_come_later(server: Server) -> None:
    job = {**WASM, "wasm_sha256": MODULE_SHA, "await_module": True}
    early = await server.call("POST", JOBS, job)
    missing = await server.call("POST", JOBS, {**job, "entry_point": "main"})
    assert {reply.json["status"] for reply in (early, missing)} == {"initializing"}
    stored = await server.send("PUT", f"/api/v1/modules/{MODULE_SHA}", data=EMPTY_MODULE)
    assert stored.status == 200
    assert await status_of(server, early.json["job_id"]) == "queued"
    ended = (await server.call("GET", f"{JOBS}/{missing.json['job_id']}/result?wait=10s")).json
    assert (ended["status"], ended["code"]) == ("failed", "module_entry_point_missing")
    assert (await server.call("POST", JOBS, job)).json["status"] == "queued"
