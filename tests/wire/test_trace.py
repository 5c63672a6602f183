"""What begins a trace, and what does not."""

import pytest

from headrace.wire.trace import NO_TRACE, STATE_CHARS_MAX, Trace, trace_of

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("parent", "state", "trace"),
    [
        (PARENT, None, Trace(PARENT)),
        (f" {PARENT} ", "a=1,b=2", Trace(PARENT, "a=1,b=2")),
        ("cc" + PARENT[2:], None, Trace("cc" + PARENT[2:])),
        ("cc" + PARENT[2:] + "-later", None, Trace("cc" + PARENT[2:])),
        (PARENT, "x" * STATE_CHARS_MAX, Trace(PARENT, "x" * STATE_CHARS_MAX)),
        (PARENT, "x" * (STATE_CHARS_MAX + 1), Trace(PARENT)),
        (PARENT, "a=\x1b", Trace(PARENT)),
    ],
)
def test_two_headers_are_a_trace(parent: str, state: str | None, trace: Trace) -> None:
    assert trace_of(parent, state) == trace


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "ff" + PARENT[2:],
        PARENT.upper(),
        PARENT[:-1],
        PARENT + "-later",
        "cc" + PARENT[2:] + "later",
        "00-" + "0" * 32 + PARENT[35:],
        PARENT[:36] + "0" * 16 + "-01",
    ],
)
def test_what_is_malformed_begins_none(parent: str | None) -> None:
    assert trace_of(parent, "a=1") == NO_TRACE
