"""The JSON of polls is read and written alike by the compiled functions and by their twins."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace._native import (
    RECORD_BYTES,
    TOKEN_CHARS,
    Job,
    acks_json,
    reference_leases,
    reports_read,
    work_json,
)
from headrace.core.job import Status
from headrace.wire.durations import rfc3339

TOKEN = "abcdefghi-" * 5 + "1234"
OTHER = TOKEN[::-1]
PLAIN: dict[str, Any] = {"lease": TOKEN, "outcome": "completed"}
RESULT_BYTES_MAX, DEPTH_MAX = 40, 4

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
members = st.one_of(
    st.tuples(st.just("lease"), st.sampled_from([TOKEN, TOKEN, OTHER, "short", "é" * 54, 5])),
    st.tuples(st.just("outcome"), st.sampled_from(["completed", "completed", "failed", 1])),
    st.tuples(st.just("result"), values),
    st.tuples(st.text(max_size=5), values),
)
spaces = st.sampled_from(["", " ", "\n\t "])
plain_items = st.sampled_from([[("lease", TOKEN), ("outcome", "completed")]])


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """JSON arrays of what may be reports, spaced anyhow, names twice or with escapes."""
    ascii_only = draw(st.booleans())

    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only)

    items = []
    for item in draw(st.lists(plain_items | st.lists(members, max_size=4), max_size=6)):
        pairs = [f"{text(k)}{draw(spaces)}:{draw(spaces)}{text(v)}" for k, v in item]
        comma = draw(spaces) + "," + draw(spaces)
        items.append("{" + draw(spaces) + comma.join(pairs) + draw(spaces) + "}")
    return ("[" + draw(spaces) + ",".join(items) + draw(spaces) + "]").encode()


@given(arrays())
def test_native_and_twin_read_alike(data: bytes) -> None:
    found = reports_read(data, RESULT_BYTES_MAX, DEPTH_MAX)
    assert found == reference_leases.reports_read(data, RESULT_BYTES_MAX, DEPTH_MAX)
    assert found is not None
    count = sum(len(each[1]) if isinstance(each, tuple) else 1 for each in found)
    assert count == len(json.loads(data))


def read(*reports: Any) -> Any:
    data = json.dumps(reports).encode()
    found = reports_read(data, RESULT_BYTES_MAX, DEPTH_MAX)
    assert found == reference_leases.reports_read(data, RESULT_BYTES_MAX, DEPTH_MAX)
    return found


def test_completions_are_read_in_runs() -> None:
    other = {"lease": "x", "outcome": "failed"}
    done = {"result": {"a": [1]}, "outcome": "completed", "lease": OTHER}
    tokens = (TOKEN + OTHER).encode()
    assert read(PLAIN, done, other, PLAIN) == [
        (tokens, [b"", b'{"result":{"a": [1]}}']),
        json.dumps(other).encode(),
        (TOKEN.encode(), [b""]),
    ]
    assert read() == []


@pytest.mark.parametrize(
    "different",
    [
        {"lease": TOKEN[1:]},
        {"lease": TOKEN + "A"},
        {"lease": "é" + TOKEN[1:]},
        {"lease": None},
        {"outcome": "failed"},
        {"outcome": "Completed"},
        {"result": "x" * RESULT_BYTES_MAX},
        {"result": "é"},
        {"result": 1e300},
        {"result": [[[[[]]]]]},
        {"error": ""},
        {"output": None},
    ],
)
def test_whatever_else_is_told_is_not_plain(different: dict[str, Any]) -> None:
    report = {**PLAIN, **different}
    assert read(report, PLAIN) == [json.dumps(report).encode(), (TOKEN.encode(), [b""])]


@pytest.mark.parametrize("name", ["lease", "outcome", "result"])
def test_a_member_told_twice_is_not_plain(name: str) -> None:
    text = json.dumps({**PLAIN, "result": 1})
    value = json.dumps({**PLAIN, "result": 1}[name])
    item = f'{text[:-1]},"{name}":{value}}}'.encode()
    assert reports_read(b"[" + item + b"]", RESULT_BYTES_MAX, DEPTH_MAX) == [item]


@pytest.mark.parametrize(
    "data",
    [b"", b"[", b"{}", b"null", b"[{}", b"[{},", b"[{}}", b"[{}]]", b"[1]", b"[{},1]", b"[,]"],
)
def test_what_is_no_array_of_objects_is_none(data: bytes) -> None:
    assert reports_read(data, RESULT_BYTES_MAX, DEPTH_MAX) is None
    assert reference_leases.reports_read(data, RESULT_BYTES_MAX, DEPTH_MAX) is None


def test_a_body_cut_anywhere_is_never_read_beyond_its_end() -> None:
    data = json.dumps([{**PLAIN, "result": {"a": "b"}}, {"x": "\\"}]).encode()
    for end in range(len(data)):
        assert reports_read(data[:end], RESULT_BYTES_MAX, DEPTH_MAX) is None


# Out --------------------------------------------------------------------------------------------

instants = st.integers(0, 253_402_300_799_999)
jobs = st.lists(
    st.tuples(
        st.integers(0, 2**32 - 1),
        instants,
        st.none() | st.binary(min_size=1, max_size=20),
        st.none() | st.binary(min_size=1, max_size=20),
    ),
    max_size=5,
)


def record_of(attempt: int) -> bytes:
    return Job(bytes(16), Status.LOCKED, 5, 0, 0, 0, 0, 0, 100, 0, attempt).pack()


@given(jobs)
@example([(0, 0, b"{}", None), (2**32 - 1, 1, b"{}", b"{}"), (1, 1, None, b"{}")])
def test_native_and_twin_write_alike(
    given_out: list[tuple[int, int, bytes | None, bytes | None]],
) -> None:
    arguments = (
        TOKEN.encode() * len(given_out),
        b"".join(record_of(attempt) for attempt, *_ in given_out),
        [at_ms for _, at_ms, *_ in given_out],
        [spec for _, _, spec, _ in given_out],
        {at: job[3] for at, job in enumerate(given_out) if job[3] is not None},
    )
    assert work_json(*arguments) == reference_leases.work_json(*arguments)


@given(instants)
@example(0)
@example(951_782_400_000)  # the 29th of February of a year that 400 divides
@example(4_107_542_400_000)  # the 1st of March of a year that only 100 divides
@example(253_402_300_799_999)
def test_instants_are_those_of_the_wire(at_ms: int) -> None:
    (work,) = json.loads(
        b"[" + work_json(TOKEN.encode(), record_of(1), [at_ms], [b"{}"], {}) + b"]"
    )
    assert work == {"lease": TOKEN, "job": {}, "attempt": 1, "deadline": rfc3339(at_ms) or ""}


@pytest.mark.parametrize("write", [work_json, reference_leases.work_json])
@pytest.mark.parametrize("at_ms", [-1, 253_402_300_800_000])
def test_an_instant_that_has_no_text_is_refused(write: Any, at_ms: int) -> None:
    with pytest.raises(ValueError, match="1970 to 9999"):
        write(TOKEN.encode(), record_of(1), [at_ms], [b"{}"], {})


def test_lengths_that_differ_are_a_defect() -> None:
    token, record = TOKEN.encode(), bytes(RECORD_BYTES)
    for arguments in (
        (token[1:], record, [1], [b""]),
        (token, record[1:], [1], [b""]),
        (token, record, [], [b""]),
    ):
        with pytest.raises(AssertionError):
            work_json(*arguments, {})


@given(st.integers(0, 4), st.binary(max_size=9), st.binary(max_size=9))
def test_acks_are_written_alike(count: int, before: bytes, behind: bytes) -> None:
    tokens = b"".join(b"%d" % at * TOKEN_CHARS for at in range(count))
    written = acks_json(tokens, before, behind)
    assert written == reference_leases.acks_json(tokens, before, behind)
