import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.commands import Caller, NewJobs
from headrace.core.intake import (
    TEMPLATES_MAX,
    Translator,
    job_texts,
    milli,
    new_job,
    submission,
    too_deep,
)
from headrace.core.module_keys import module_key
from headrace.core.resources import Amounts, Requirements
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import Spec, SubmitJob

NOW_MS = 1_900_000_000_000
ID = bytes(range(16))
SHA = "ab" * 32
WASM: dict[str, Any] = {"name": "n", "requirements": {"cpu_cores": 1, "memory_mb": 64}}

_decode = msgspec.json.Decoder(SubmitJob).decode


def take(body: dict[str, Any] | bytes, *, sha: str = "", user: str = "ann") -> NewJobs:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return new_job(_decode(data), ID, submission(Caller("acme", user), NOW_MS), sha)


def refuse(body: dict[str, Any] | bytes, *, sha: str = "") -> Problem:
    with pytest.raises(Problem) as caught:
        take(body, sha=sha)
    return caught.value


def spec(new: NewJobs) -> Spec:
    return msgspec.json.decode(new.specs[0], type=Spec)


def test_a_typed_job_that_says_nothing_else_gets_the_defaults() -> None:
    new = take({"type": "mail"})
    assert new == NewJobs(
        job_ids=ID,
        specs=new.specs,
        requirements=Requirements("default", "mail", Amounts(), tenant="acme"),
        priority=5,
        timeout_ms=3_600_000,
        retry_delay_ms=1_000,
        retry_backoff_centi=200,
        retries_max=2,
    )
    assert json.loads(new.specs[0]) == {
        "id": "00010203-0405-0607-0809-0a0b0c0d0e0f",
        "name": "mail",
        "type": "mail",
        "max_retries": 2,
        "retry_delay": 1,
        "retry_backoff": 2.0,
        "timeout": 3600,
        "tenant": "acme",
        "owner": "ann",
        "created_at": "2030-03-17T17:46:40.000Z",
    }


def test_a_wasm_job_keeps_the_hash_and_is_not_retried_by_default() -> None:
    new = take({**WASM, "arguments": ["a"], "environment": {"K": "v"}, "stdin": "in"}, sha=SHA)
    stored = spec(new)
    assert new.module_key == module_key("acme", bytes.fromhex(SHA))
    assert new.retries_max == 0
    assert new.requirements == Requirements("default", "", Amounts(1000, 64), tenant="acme")
    assert (stored.wasm_sha256, stored.entry_point, stored.arguments) == (SHA, "_start", ["a"])
    assert (stored.environment, stored.stdin) == ({"K": "v"}, "in")
    assert b"wasm_module" not in new.specs[0]


def test_params_are_stored_as_they_came() -> None:
    new = take(b'{"type":"t","params":{"a" : 1.50, "b":"\xc3\xa9"}}')
    assert b'"params":{"a" : 1.50, "b":"\xc3\xa9"}' in new.specs[0]


def test_parameters_is_an_alias() -> None:
    assert spec(take({"type": "t", "parameters": [1]})).params == msgspec.Raw(b"[1]")


def test_null_params_are_kept_apart_from_no_params() -> None:
    assert b'"params":null' in take({"type": "t", "params": None}).specs[0]
    assert b"params" not in take({"type": "t"}).specs[0]


@pytest.mark.parametrize(
    ("given_", "kept"),
    [(0, 0), (9, 9), (-5, 0), (10**30, 9), ("critical", 9), ("high", 7), ("normal", 5), ("low", 2)],
)
def test_priorities_are_clamped_and_have_names(given_: Any, kept: int) -> None:
    assert take({"type": "t", "priority": given_}).priority == kept


def test_only_the_default_tenant_without_a_key_has_none_in_its_class() -> None:
    for caller, tenant in (
        (Caller(), ""),
        (Caller("acme"), "acme"),
        (Caller(key_id="k"), "default"),
        (Caller("acme", key_id="k"), "acme"),
    ):
        new = new_job(_decode(b'{"type":"t"}'), ID, submission(caller, NOW_MS), "")
        assert new.requirements.tenant == tenant


def test_requirements_become_whole_amounts() -> None:
    new = take(
        {
            "type": "t",
            "queue": "q",
            "requirements": {
                "cpu_cores": 0.1,
                "memory_mb": 5,
                "storage_mb": 6,
                "gpu_count": 0.0001,
                "gpu_type": ["A100", "H100"],
                "duration": "90m",
                "labels": {"zone": "a"},
            },
        }
    )
    assert new.requirements == Requirements(
        "q", "t", Amounts(100, 5, 6, 1), frozenset({"A100", "H100"}), frozenset({"zone=a"}), "acme"
    )
    assert spec(new).requirements["duration"] == 5400


def test_a_go_duration_is_read_as_nanoseconds() -> None:
    new = take({"type": "t", "requirements": {"duration": 3_600_000_000_000, "gpu_type": ""}})
    assert spec(new).requirements == {"duration": 3600}
    assert new.requirements.gpu_models == frozenset()


@given(st.integers(0, 1_000_000))
def test_thousandths_survive_floats(value: int) -> None:
    assert milli(value / 1000, "", limits.CPU_MILLI_MAX, up=True) == value
    assert milli(value / 1000, "", limits.CPU_MILLI_MAX, up=False) == value


def test_needs_are_rounded_up_and_offers_down() -> None:
    assert milli(0.0004, "", 1000, up=True) == 1
    assert milli(0.0004, "", 1000, up=False) == 0


def test_a_delay_is_relative_and_a_schedule_is_not() -> None:
    delayed, scheduled = (
        take({"type": "t", "delay": "1m"}),
        take({"type": "t", "scheduled_at": "2030-03-17T18:00:00Z"}),
    )
    assert (delayed.delay_ms, delayed.scheduled_at_ms) == (60_000, 0)
    assert spec(delayed).scheduled_at == "2030-03-17T17:47:40.000Z"
    assert (scheduled.delay_ms, scheduled.scheduled_at_ms) == (0, 1_900_000_800_000)


@pytest.mark.parametrize("timeout", [None, "", 0])
def test_no_timeout_means_the_default(timeout: Any) -> None:
    assert take({"type": "t", "timeout": timeout}).timeout_ms == limits.TIMEOUT_MS_DEFAULT


BAD_JOBS: list[tuple[dict[str, Any], str]] = [
    ({}, "/type"),
    ({"type": "a\nb"}, "/type"),
    ({"type": "t", "name": "\x1b[31m"}, "/name"),
    ({"type": "t", "queue": "q\0"}, "/queue"),
    ({"type": "t", "tags": ["ok", "a\tb"]}, "/tags/1"),
    ({"type": "t", "params": 1, "parameters": 1}, "/parameters"),
    ({"type": "t", "entry_point": "main"}, "/entry_point"),
    ({"type": "t", "arguments": ["a"]}, "/arguments"),
    ({"type": "t", "environment": {"A": "b"}}, "/environment"),
    ({"type": "t", "stdin": "x"}, "/stdin"),
    ({"type": "t", "success_codes": [1]}, "/success_codes"),
    ({"type": "t", "priority": "urgent"}, "/priority"),
    ({"type": "t", "timeout": "soon"}, "/timeout"),
    ({"type": "t", "timeout": -1}, "/timeout"),
    ({"type": "t", "timeout": 10**400}, "/timeout"),
    ({"type": "t", "timeout": "31d"}, "/timeout"),
    ({"type": "t", "timeout": 0.0001}, "/timeout"),
    ({"type": "t", "retry_delay": "8d"}, "/retry_delay"),
    ({"type": "t", "delay": "367d"}, "/delay"),
    ({"type": "t", "delay": 1, "scheduled_at": 2_000_000_000}, "/delay"),
    ({"type": "t", "scheduled_at": "tomorrow"}, "/scheduled_at"),
    ({"type": "t", "scheduled_at": "2030-01-01T00:00:00"}, "/scheduled_at"),
    ({"type": "t", "scheduled_at": 10**400}, "/scheduled_at"),
    ({"type": "t", "scheduled_at": 5_000_000_000}, "/scheduled_at"),
    ({"type": "t", "delay": "2h", "start_before": (NOW_MS + 3_600_000) / 1000}, "/start_before"),
    ({"type": "t", "idempotency_key": "a\nb"}, "/idempotency_key"),
    ({"type": "t", "requirements": {"cpu_cores": 1e9}}, "/requirements/cpu_cores"),
    ({"type": "t", "requirements": {"gpu_count": 1e300}}, "/requirements/gpu_count"),
    ({"type": "t", "requirements": {"duration": "x"}}, "/requirements/duration"),
    ({"type": "t", "requirements": {"gpu_type": [""]}}, "/requirements/gpu_type/0"),
    ({"type": "t", "requirements": {"gpu_type": ["g"] * 33}}, "/requirements/gpu_type"),
    ({"type": "t", "requirements": {"labels": {"a=b": "c"}}}, "/requirements/labels"),
    ({"type": "t", "requirements": {"labels": {"": "c"}}}, "/requirements/labels"),
    (
        {"type": "t", "requirements": {"labels": {str(i): "" for i in range(65)}}},
        "/requirements/labels",
    ),
]
BAD_WASM: list[tuple[dict[str, Any], str]] = [
    ({"requirements": WASM["requirements"]}, "/name"),
    ({"name": "n"}, "/requirements/cpu_cores"),
    ({"name": "n", "requirements": {"cpu_cores": 1}}, "/requirements/memory_mb"),
    ({"name": "n", "requirements": {"memory_mb": 1}}, "/requirements/cpu_cores"),
    ({**WASM, "type": "t"}, "/type"),
    ({**WASM, "params": {}}, "/params"),
    ({**WASM, "parameters": {}}, "/parameters"),
    ({**WASM, "arguments": ["ok", "a\0"]}, "/arguments/1"),
    ({**WASM, "environment": {"A=B": "x"}}, "/environment"),
    ({**WASM, "environment": {"A": "x\0"}}, "/environment"),
    ({**WASM, "environment": {"": "x"}}, "/environment"),
    ({**WASM, "entry_point": "a\0"}, "/entry_point"),
]


@pytest.mark.parametrize(("body", "pointer"), BAD_JOBS)
def test_a_bad_field_of_a_typed_job_is_pointed_at(body: dict[str, Any], pointer: str) -> None:
    problem = refuse(body)
    assert (problem.code, problem.pointer) == (ProblemCode.FIELD_INVALID, pointer)


@pytest.mark.parametrize(("body", "pointer"), BAD_WASM)
def test_a_bad_field_of_a_wasm_job_is_pointed_at(body: dict[str, Any], pointer: str) -> None:
    problem = refuse(body, sha=SHA)
    assert (problem.code, problem.pointer) == (ProblemCode.FIELD_INVALID, pointer)


@pytest.mark.parametrize(
    "params",
    [
        b"1e999",
        b"1" + b"0" * 5000,
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'"\xff"',
    ],
)
def test_params_that_some_client_could_not_read_are_refused(params: bytes) -> None:
    assert refuse(b'{"type":"t","params":%b}' % params).pointer == "/params"


def test_a_spec_beyond_its_bound_is_refused() -> None:
    problem = refuse({"type": "t", "params": "x" * limits.SPEC_BYTES_MAX})
    assert problem.code is ProblemCode.SPEC_TOO_LARGE


# Idempotency ------------------------------------------------------------------------------------


def digests(body: dict[str, Any] | bytes, **options: Any) -> tuple[bytes, bytes]:
    new = take(body, **options)
    return new.key_digest, new.request_digest


def test_the_same_request_in_another_order_of_members_has_the_same_digest() -> None:
    assert digests(b'{"type":"t","idempotency_key":"k","params":{"a":1,"b":2}}') == digests(
        b'{"params":{"b":2, "a":1},"idempotency_key":"k","type":"t"}'
    )


@pytest.mark.parametrize(
    "change",
    [{"params": 2}, {"priority": 1}, {"delay": 5}, {"timeout": 9}, {"tags": ["x"]}, {"type": "u"}],
)
def test_any_other_request_has_another_digest(change: dict[str, Any]) -> None:
    base = {"type": "t", "idempotency_key": "k", "params": 1}
    first, second = digests(base), digests({**base, **change})
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_keys_are_apart_by_queue_and_requests_by_user() -> None:
    base = {"type": "t", "idempotency_key": "k"}
    assert digests(base)[0] != digests({**base, "queue": "q"})[0]
    assert digests(base)[1] != digests(base, user="bob")[1]


def test_without_a_key_nothing_is_digested() -> None:
    assert digests({"type": "t"}) == (b"", b"")


# Depth ------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\a', max_size=5) | st.integers(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@given(JSON, st.integers(0, 6))
def test_depth_is_told_as_a_recursive_count_tells_it(value: Any, most: int) -> None:
    assert too_deep(json.dumps(value).encode(), most) == (depth_of(value) > most)


# Batches ----------------------------------------------------------------------------------------

FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["a", 'é"\\', "b" * 50])},
    optional={
        "name": st.sampled_from(["n", '"quoted"', 'type":"x']),
        "params": JSON | st.sampled_from(["é", 1e20]),
        "parameters": JSON,
        "priority": st.integers(-2, 12),
        "queue": st.sampled_from(["default", "q"]),
        "tags": st.lists(st.sampled_from(["x", "y"]), max_size=2),
        "requirements": st.fixed_dictionaries({}, optional={"cpu_cores": st.integers(0, 3)}),
        "delay": st.sampled_from(["0s", "1m"]),
        "start_before": st.sampled_from([(NOW_MS + 60_000) / 1000]),
        "idempotency_key": st.sampled_from(["k", "l"]),
        "timeout": st.sampled_from(["1m", "bad"]),
    },
)
COME = submission(Caller("acme", "ann"), NOW_MS)


def text(bodies: list[dict[str, Any]]) -> bytes:
    return json.dumps(bodies, ensure_ascii=False).encode()


def alike(body: bytes, translator: Translator) -> list[NewJobs] | None:
    """Return the jobs of a body, as far as they need not be looked at one by one; ids count up."""
    runs = job_texts(body, 10_000, 100)
    assert runs is not None
    new: list[NewJobs] = []
    at = 0
    for run in runs:
        ids = b"".join(number.to_bytes(16, "big") for number in range(at, at + len(run)))
        jobs = translator.new_jobs(run, ids)
        if jobs is None:
            return None
        new.append(jobs)
        at += len(run)
    return new


def apart(new: NewJobs) -> list[NewJobs]:
    return [
        msgspec.structs.replace(new, job_ids=new.job_ids[16 * at : 16 * at + 16], specs=[spec_])
        for at, spec_ in enumerate(new.specs)
    ]


@given(st.lists(FIELDS, min_size=1, max_size=8), st.booleans())
def test_jobs_taken_as_alike_are_those_that_each_one_would_be(
    bodies: list[dict[str, Any]], repeat: bool
) -> None:
    if repeat:
        bodies = [{**bodies[0], "params": body.get("params")} for body in bodies]
    if any("params" in body and "parameters" in body for body in bodies):
        return
    together = alike(text(bodies), Translator(COME, {}))
    one_by_one: list[NewJobs] = []
    for number, body in enumerate(bodies):
        job = _decode(text([body])[1:-1])
        try:
            one_by_one.append(new_job(job, number.to_bytes(16, "big"), COME))
        except Problem:
            assert together is None
            return
    for new in one_by_one:
        assert msgspec.json.encode(spec(new)) == new.specs[0], "what the encoder writes"
    if any("idempotency_key" in body for body in bodies):
        assert together is None
        return
    assert together is not None
    assert [job for new in together for job in apart(new)] == one_by_one


def test_what_was_learnt_of_a_frame_holds_at_another_time() -> None:
    templates: dict[bytes, Any] = {}
    body = text([{"type": "t", "params": 1}])
    later = submission(COME.caller, NOW_MS + 5)
    first = alike(body, Translator(COME, templates))
    (kept,) = templates.values()
    again = alike(body, Translator(later, templates))
    assert list(templates.values()) == [kept]
    assert first is not None
    assert again is not None
    assert b"17:46:40.000Z" in first[0].specs[0]
    assert again[0].specs[0] == first[0].specs[0].replace(b"40.000Z", b"40.005Z")


@pytest.mark.parametrize(
    "field",
    [
        {"delay": "1m"},
        {"scheduled_at": "2030-03-17T18:00:00Z"},
        {"start_before": "2030-03-18T00:00Z"},
    ],
)
def test_what_depends_on_the_time_is_not_kept(field: dict[str, Any]) -> None:
    templates: dict[bytes, Any] = {}
    assert alike(text([{"type": "t", **field}]), Translator(COME, templates)) is not None
    assert templates == {}


def test_only_so_many_frames_are_kept() -> None:
    templates: dict[bytes, Any] = {}
    translator = Translator(COME, templates)
    for number in range(3 * TEMPLATES_MAX):
        assert alike(text([{"type": f"t{number}"}]), translator) is not None
        assert 0 < len(templates) <= TEMPLATES_MAX


@pytest.mark.parametrize(
    "job",
    [
        {"type": "t", "params": "x" * limits.SPEC_BYTES_MAX},
        {"type": "t", "params": float("1e300")},
        {"type": "t", "idempotency_key": "k"},
        {"name": "n", "wasm_sha256": SHA},
        {"name": "n", "wasm_module": ""},
        {"type": "t", "typo": 1},
        {"type": ""},
        {},
    ],
)
def test_jobs_that_have_to_be_looked_at_are_told_apart(job: dict[str, Any]) -> None:
    taken = alike(text([{"type": "t"}, job]), Translator(COME, {}))
    assert (taken is None) == (job != {"type": "t", "params": 1e300})


def test_a_number_beyond_all_decoders_is_looked_at() -> None:
    assert alike(b'[{"type":"t","params":1e999}]', Translator(COME, {})) is None
