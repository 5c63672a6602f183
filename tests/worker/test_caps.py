"""What a worker lets an attempt leave behind is what its server said."""

import base64

import msgspec
import pytest

from headrace.wire.schema import ABSENT, Report
from headrace.worker.attempt import within


def report(result: bytes | None = None, output: bytes | None = None, **fields: object) -> Report:
    return Report(
        lease="l",
        outcome=fields.pop("outcome", "completed"),  # type: ignore[arg-type]
        result=ABSENT if result is None else msgspec.Raw(result),
        output=None if output is None else base64.b64encode(output).decode(),
    )


@pytest.mark.parametrize(
    "told",
    [report(), report(b"1" * 10), report(output=b"o" * 10), report(b"1" * 10, b"o" * 10)],
)
def test_what_is_within_its_caps_stays_as_it_is(told: Report) -> None:
    assert within(told, 10, 10) == told


def test_a_larger_result_fails_the_attempt_for_good() -> None:
    held = within(report(b"1" * 11, b"o" * 10), 10, 10)
    assert (held.outcome, held.code, held.permanent) == ("failed", "result_too_large", True)
    assert "11 bytes; 10 are allowed" in (held.error or "")
    assert held.result is ABSENT or bytes(held.result) == b""
    assert base64.b64decode(held.output or "") == b"o" * 10


def test_a_larger_result_of_a_failure_is_left_out() -> None:
    told = report(b"1" * 11, outcome="failed")
    assert within(told, 10, 10) == report(outcome="failed")


def test_larger_output_is_cut_and_says_so() -> None:
    held = within(report(b"1", b"o" * 11), 10, 10)
    assert (held.outcome, held.output_cut) == ("completed", True)
    assert base64.b64decode(held.output or "") == b"o" * 10
