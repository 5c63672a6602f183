import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.commands import Caller, NewJob
from headrace.core.intake import Translator, milli, new_job, submission, too_deep
from headrace.core.resources import Amounts, Requirements
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import Spec, SubmitJob

NOW_MS = 1_900_000_000_000
ID = bytes(range(16))
SHA = "ab" * 32
WASM: dict[str, Any] = {"name": "n", "requirements": {"cpu_cores": 1, "memory_mb": 64}}

_decode = msgspec.json.Decoder(SubmitJob).decode


def take(body: dict[str, Any] | bytes, *, sha: str = "", user: str = "ann") -> NewJob:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return new_job(_decode(data), ID, submission(Caller("acme", user), NOW_MS), sha)


def refuse(body: dict[str, Any] | bytes, *, sha: str = "") -> Problem:
    with pytest.raises(Problem) as caught:
        take(body, sha=sha)
    return caught.value


def spec(new: NewJob) -> Spec:
    return msgspec.json.decode(new.spec, type=Spec)


def test_a_typed_job_that_says_nothing_else_gets_the_defaults() -> None:
    new = take({"type": "mail"})
    assert new == NewJob(
        job_id=ID,
        spec=new.spec,
        requirements=Requirements("default", "mail", Amounts()),
        priority=5,
        timeout_ms=3_600_000,
        retry_delay_ms=1_000,
        retry_backoff_centi=200,
        retries_max=2,
    )
    assert json.loads(new.spec) == {
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
    assert new.module_sha256 == bytes.fromhex(SHA)
    assert new.retries_max == 0
    assert new.requirements == Requirements("default", "", Amounts(1000, 64))
    assert (stored.wasm_sha256, stored.entry_point, stored.arguments) == (SHA, "_start", ["a"])
    assert (stored.environment, stored.stdin) == ({"K": "v"}, "in")
    assert b"wasm_module" not in new.spec


def test_params_are_stored_as_they_came() -> None:
    new = take(b'{"type":"t","params":{"a" : 1.50, "b":"\xc3\xa9"}}')
    assert b'"params":{"a" : 1.50, "b":"\xc3\xa9"}' in new.spec


def test_parameters_is_an_alias() -> None:
    assert spec(take({"type": "t", "parameters": [1]})).params == msgspec.Raw(b"[1]")


def test_null_params_are_kept_apart_from_no_params() -> None:
    assert b'"params":null' in take({"type": "t", "params": None}).spec
    assert b"params" not in take({"type": "t"}).spec


@pytest.mark.parametrize(
    ("given_", "kept"),
    [(0, 0), (9, 9), (-5, 0), (10**30, 9), ("critical", 9), ("high", 7), ("normal", 5), ("low", 2)],
)
def test_priorities_are_clamped_and_have_names(given_: Any, kept: int) -> None:
    assert take({"type": "t", "priority": given_}).priority == kept


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
        "q", "t", Amounts(100, 5, 6, 1), frozenset({"A100", "H100"}), frozenset({"zone=a"})
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
        "params": JSON,
        "parameters": JSON,
        "priority": st.integers(-2, 12),
        "queue": st.sampled_from(["default", "q"]),
        "tags": st.lists(st.sampled_from(["x", "y"]), max_size=2),
        "requirements": st.fixed_dictionaries({}, optional={"cpu_cores": st.integers(0, 3)}),
        "delay": st.sampled_from(["0s", "1m"]),
        "idempotency_key": st.sampled_from(["k", "l"]),
        "timeout": st.sampled_from(["1m", "bad"]),
    },
)


@given(st.lists(FIELDS, max_size=8), st.booleans())
def test_a_batch_is_translated_as_its_jobs_one_by_one(
    bodies: list[dict[str, Any]], alike: bool
) -> None:
    if alike:
        bodies = bodies[:1] * 5
    come = submission(Caller("acme", "ann"), NOW_MS)
    together = Translator(come)

    def said(translate: Any, body: dict[str, Any]) -> NewJob | Problem:
        try:
            return translate(_decode(json.dumps(body).encode()), ID)  # type: ignore[no-any-return]
        except Problem as problem:
            return problem

    for body in bodies:
        one = said(Translator(come).new_job, body)
        assert said(together.new_job, body) == one
        if isinstance(one, NewJob):
            again = msgspec.json.encode(spec(one))
            assert again == one.spec, "the parts join to what the encoder writes"
