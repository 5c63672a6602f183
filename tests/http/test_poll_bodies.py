"""Polls mean the same whether their reports are read in runs or one by one."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._native import Job
from headrace.core.commands import (
    Ack,
    Completed,
    Completions,
    Grants,
    Order,
    Outcome,
    PollReply,
    Report,
)
from headrace.core.job import Status
from headrace.http import polls
from headrace.http.decode import decode
from headrace.wire import limits, schema
from headrace.wire.durations import rfc3339
from headrace.wire.problems import Problem, ProblemCode

TOKEN = "abcdefghi-" * 5 + "1234"
PLAIN: dict[str, Any] = {"lease": TOKEN, "outcome": "completed"}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
members = {
    "result": values,
    "output": st.sampled_from(["aGk=", "?", None]),
    "exit_code": st.integers(-(2**31), 2**31),
    "metrics": st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False), max_size=2),
    "error": st.text(max_size=5),
    "permanent": st.booleans(),
    "retry_delay": st.sampled_from([1, "2s", "never"]),
    "checkpoint": values,
    "bogus": values,
}
reports = st.lists(
    st.just(PLAIN)
    | st.fixed_dictionaries({**{name: st.just(PLAIN[name]) for name in PLAIN}, "result": values})
    | st.fixed_dictionaries(
        {
            "lease": st.sampled_from([TOKEN, TOKEN[::-1], "short", "é" * 54, ""]),
            "outcome": st.sampled_from([*polls.OUTCOMES, "won"]),
        },
        optional=members,
    ),
    max_size=6,
)


def body_of(told: list[Any], **fields: Any) -> bytes:
    return json.dumps({"worker": "w", "reports": told, **fields}, ensure_ascii=False).encode()


def one_by_one(data: bytes) -> list[Report] | dict[str, Any]:
    """Return the reports, or the problem, without any run."""
    try:
        body = decode(msgspec.json.Decoder(schema.PollRequest), data)
    except Problem as problem:
        return problem.members()
    made: list[Report] = []
    for told in body.reports:
        try:
            made.append(polls.report_command(told, told.lease, polls.OUTCOMES[told.outcome]))
        except Problem as problem:
            return {**problem.members(), "pointer": f"/reports/{len(made)}{problem.pointer}"}
    return made


def in_runs(data: bytes) -> list[Report] | dict[str, Any]:
    try:
        command = polls.poll_command(data, 1)
    except Problem as problem:
        return problem.members()
    found: list[Report] = []
    for told in command.reports:
        if isinstance(told, Completions):
            found += [told.report(position) for position in range(len(told))]
        else:
            found.append(told)
    return found


@given(reports)
def test_reports_read_in_runs_are_those_read_one_by_one(told: list[Any]) -> None:
    data = body_of(told)
    assert in_runs(data) == one_by_one(data)


def test_completions_that_follow_each_other_are_one_run() -> None:
    failed = {"lease": "x", "outcome": "failed"}
    command = polls.poll_command(body_of([PLAIN, {**PLAIN, "result": 5}, failed, PLAIN]), 1)
    token = TOKEN.encode()
    assert command.reports == [
        Completions(token * 2, [b"", b'{"result":5}']),
        Report("x", Outcome.FAILED),
        Completions(token, [b""]),
    ]


@pytest.mark.parametrize("plain", [0, 1, 3])
@pytest.mark.parametrize(
    ("different", "pointer"),
    [
        ({"outcome": "won"}, "/outcome"),
        ({"output": "?"}, "/output"),
        ({"result": "A" * limits.OUTPUT_BYTES_MAX}, "/result"),
        ({"bogus": 1}, "/bogus"),
        ({"retry_delay": "9d"}, "/retry_delay"),
    ],
)
def test_a_problem_behind_a_run_is_pointed_at(
    plain: int, different: dict[str, Any], pointer: str
) -> None:
    data = body_of([*[PLAIN] * plain, {**PLAIN, **different}, PLAIN])
    with pytest.raises(Problem) as raised:
        polls.poll_command(data, 1)
    assert raised.value.pointer == f"/reports/{plain}{pointer}"


def test_a_result_beyond_the_cap_fails_its_attempt_and_no_other() -> None:
    caps = polls.Caps(result_bytes=1_024)
    fits, large = '"' + "x" * 1_022 + '"', '"' + "x" * 1_023 + '"'
    told = [{**PLAIN, "result": json.loads(result)} for result in (fits, large)]
    failed, none = {**PLAIN, "outcome": "failed"}, {"result": json.loads(large)}
    found = polls.poll_command(body_of([*told, {**failed, **none}, PLAIN]), 1, caps).reports
    token = TOKEN.encode()
    error = "the result has 1025 bytes; 1024 are allowed: store it elsewhere and return where"
    assert found == [
        Completions(token, [b'{"result":%b}' % fits.encode()]),
        Report(TOKEN, Outcome.FAILED, b"", True, error, "result_too_large"),
        Report(TOKEN, Outcome.FAILED),
        Completions(token, [b""]),
    ]


def test_output_beyond_the_cap_is_cut_and_said_to_be() -> None:
    caps = polls.Caps(output_bytes=1_024)
    for size, cut in ((1_024, False), (1_025, True)):
        told = schema.LeaseReport(output=base64.b64encode(b"o" * size).decode())
        body = json.loads(polls.report_command(told, "x", Outcome.FAILED, caps).body)
        assert base64.b64decode(body["output"]) == b"o" * 1_024
        assert body.get("output_cut", False) is cut


def test_as_many_reports_are_taken_as_are_allowed() -> None:
    most = limits.POLL_REPORTS_MAX
    (run,) = polls.poll_command(body_of([PLAIN] * most), 1).reports
    assert isinstance(run, Completions)
    assert len(run) == most
    for told in ([PLAIN] * (most + 1), [*[PLAIN] * most, {**PLAIN, "error": "e"}]):
        with pytest.raises(Problem) as raised:
            polls.poll_command(body_of(told), 1)
        assert raised.value.code is ProblemCode.FIELD_INVALID
        assert raised.value.pointer == "/reports"


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b'{"worker":"w","reports":[}', b'{"worker":"w","reports":{}}', b'{"reports":[]}'],
)
def test_what_is_no_poll_is_told_by_the_decoder_of_the_whole(data: bytes) -> None:
    with pytest.raises(Problem) as raised:
        polls.poll_command(data, 1)
    with pytest.raises(Problem) as expected:
        decode(msgspec.json.Decoder(schema.PollRequest), data)
    assert raised.value.members() == expected.value.members()


# Answers ----------------------------------------------------------------------------------------


def job(attempt: int, *, has_checkpoint: bool = False) -> bytes:
    fields = {"attempt": attempt, "has_checkpoint": has_checkpoint}
    return Job(bytes(16), Status.LOCKED, 5, 0, 0, 0, 0, 0, 100, 0, **fields).pack()


def test_an_answer_is_written_as_the_schema_would() -> None:
    problem = Problem(ProblemCode.LEASE_UNKNOWN, "who?")
    acks: list[Ack | Completed] = [
        Completed(TOKEN.encode() * 2),
        Ack("x", Status.QUEUED),
        Ack("y", problem=problem),
        Completed(TOKEN.encode()),
    ]
    grants = Grants(
        TOKEN.encode() * 3, bytes(48), job(1) + job(2) + job(70, has_checkpoint=True), [0, 5, 5]
    )
    specs = [b'{"a":1}', None, b'{"b":"\xc3\xa9"}']
    work = polls.work_json(grants, specs, {2: b"[7]"})
    reply = PollReply(acks, grants, [Order("z", "lost")])
    written = msgspec.json.encode(polls.poll_answer(reply, work, 30_000))
    done = schema.Ack(lease=TOKEN, ok=True, status="completed")
    assert written == msgspec.json.encode(
        schema.PollAnswer(
            acks=[
                done,
                done,
                schema.Ack(lease="x", ok=True, status="queued"),
                schema.Ack(lease="y", problem=problem.members()),
                done,
            ],
            jobs=[
                schema.Work(lease=TOKEN, job=msgspec.Raw(specs[0] or b""), attempt=1, deadline=""),
                schema.Work(
                    lease=TOKEN,
                    job=msgspec.Raw(specs[2] or b""),
                    attempt=70,
                    deadline=rfc3339(5) or "",
                    checkpoint=msgspec.Raw(b"[7]"),
                ),
            ],
            control=[schema.Order(do="lost", lease="z")],
            lease_term="30s",
        )
    )


def test_an_answer_that_says_nothing_is_whole_too() -> None:
    written = msgspec.json.encode(polls.poll_answer(PollReply(), b"", 1_500))
    assert written == msgspec.json.encode(
        schema.PollAnswer(acks=[], jobs=[], control=[], lease_term="1500ms")
    )
