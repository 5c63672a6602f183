"""A header that comes again is known again; anything that differs but in the length is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.commands import Caller
from headrace.http._wire import HeadForm
from headrace.http.head import HEAD_BYTES_MAX, Passage, form_of, read_head
from headrace.wire import limits

HEAD = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nAccept: */*\r\n\r\n"


def form(head: bytes = HEAD) -> HeadForm:
    found = read_head(head)
    assert found is not None
    made = form_of(head, found)
    assert made is not None
    return made


def test_the_same_header_with_another_length_has_its_body() -> None:
    for body in (b"", b"x", b"x" * 12, b"x" * 5_000):
        assert form().body(HEAD.replace(b"12", b"%d" % len(body)) + body) == body


def test_a_header_that_names_a_job_is_not_remembered() -> None:
    job_id = b"01a2015d-4633-7000-92c1-6386cd05daab"
    for lines in (b"\r\n", b"Content-Length: 0\r\n\r\n"):
        head = b"GET /api/v1/jobs/%b HTTP/1.1\r\nHost: localhost\r\n%b" % (job_id, lines)
        found = read_head(head)
        assert found is not None
        assert found.passage is not None
        assert form_of(head, found) is None


def test_equal_headers_are_of_one_form() -> None:
    assert form() is form(HEAD.replace(b"12", b"345"))
    assert form() is not form(HEAD.replace(b"*/*", b"*/x"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        HEAD + b"x" * 11,
        HEAD + b"x" * 13,
        HEAD.replace(b"12", b"012") + b"x" * 12,
        HEAD.replace(b"12", b"+12") + b"x" * 12,
        HEAD.replace(b"12", b"") + b"x" * 12,
        HEAD.replace(b"12", b"00"),
        HEAD.replace(b"12", b" 12") + b"x" * 12,
        HEAD.replace(b"12", b"12 ") + b"x" * 12,
        HEAD.replace(b"12", b"1\x002") + b"x" * 12,
        HEAD.replace(b"12", b"4294967308") + b"x" * 12,
        HEAD.replace(b"12", b"18446744073709551628") + b"x" * 12,
        HEAD.replace(b"localhost", b"localhosu") + b"x" * 12,
        HEAD.replace(b"*/*", b"*/x") + b"x" * 12,
        HEAD[:-2] + b"x" * 12,
        HEAD[:-2] + b"X: y\r\n\r\n" + b"x" * 12,
        HEAD[:-40],
    ],
)
def test_anything_else_has_none(data: bytes) -> None:
    assert form().body(data) is None


def test_its_bounds_are_those_of_headers_that_are_read() -> None:
    at_most = limits.BODY_BYTES_MAX
    assert form().body(HEAD.replace(b"12", b"%d" % at_most) + b"x" * at_most) is not None
    assert form().body(HEAD.replace(b"12", b"%d" % (at_most + 1)) + b"x" * (at_most + 1)) is None
    agent = b"User-Agent: " + b"a" * (HEAD_BYTES_MAX - len(HEAD) - 14) + b"\r\n\r\n"
    longest = HEAD[:-2] + agent
    assert len(longest) == HEAD_BYTES_MAX
    assert form(longest).body(longest + b"x" * 12) is not None
    assert form(longest).body(longest.replace(b"12", b"123") + b"x" * 123) is None


PASSAGE = Passage("jobs_submit", True, Caller(), None, None)


@given(
    st.sampled_from([b"a: ", b"Content-Length:", b""]),
    st.binary(max_size=8),
    st.sampled_from([b"\r\n\r\n", b" \r\n"]),
    st.lists(st.sampled_from([b"0", b"1", b"2", b"9", b"x", b"\r\n\r\n", b"a: "]), max_size=6),
)
def test_it_reads_as_its_description_says(
    before: bytes, digits: bytes, behind: bytes, rest: list[bytes]
) -> None:
    one = HeadForm(before, behind, PASSAGE, head_bytes_max=20, body_bytes_max=9)
    data = before + digits + behind + b"".join(rest)
    found = one.body(data)
    expected = None
    for size in range(10):
        head = before + b"%d" % size + behind
        if data.startswith(head) and len(data) == len(head) + size and len(head) <= 20:
            expected = data[len(head) :]
    assert found == expected
