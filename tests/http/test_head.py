"""What is said of a header, and that aiohttp's parser says the same."""

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.core.commands import Caller
from headrace.http.head import HEAD_BYTES_MAX, Head, Passage, read_head

START = b"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
PLAIN = START + b"Content-Length: 12\r\n"


def passage_of(head: bytes) -> Passage | None:
    found = read_head(head + b"\r\n")
    assert found is not None
    return found.passage


def test_a_plain_header_has_all_that_a_handler_needs() -> None:
    head = (
        b"POST /api/v1/work/poll HTTP/1.1\r\nhost:127.0.0.1:80\r\nCONTENT-LENGTH:  12 \r\n"
        b"Content-Type: Application/JSON; charset=utf-8\r\nX-User-ID: admin\r\nX-Tenant-ID: t\r\n"
        b"Accept: */*\r\nIdempotency-Key: k\r\nConnection: Keep-Alive\r\nUser-Agent: \r\n"
        b"Authorization: Bearer x\r\n\r\n"
    )
    assert read_head(head) == Head(
        12,
        Passage(
            "work_poll",
            True,
            Caller("t", "admin", True),
            "*/*",
            "k",
            ("Bearer x", "admin", "t"),
        ),
    )


JOB = "01980000-0000-7000-8000-000000000000"
GET = b"GET /api/v1/jobs/%b HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("about", "route", "wait_ms"),
    [
        ("", "job_get", 0),
        ("?wait=30s", "job_get", 30_000),
        ("?wait=60000ms", "job_get", 60_000),
        ("/result", "job_result", 0),
        ("/result?wait=0s", "job_result", 0),
        ("/result?wait=250ms", "job_result", 250),
    ],
)
def test_a_job_and_how_long_its_end_is_waited_for_stand_in_the_target(
    about: str, route: str, wait_ms: int
) -> None:
    head = GET % (JOB + about).encode()
    passage = Passage(route, True, Caller(), None, None)
    expected = Head(0, passage, bytes.fromhex(JOB.replace("-", "")), wait_ms)
    assert read_head(head + b"\r\n") == expected
    assert read_head(head + b"Content-Length: 0\r\n\r\n") == expected
    assert read_head(head + b"Prefer: wait=5\r\n\r\n") == Head(0, None)
    assert read_head(head + b"Content-Length: 2\r\n\r\n") == Head(2, None)
    assert read_head(head + b"Content-Length: 02\r\n\r\n") is None


@pytest.mark.parametrize(
    "target",
    [
        JOB + "?wait=60001ms",
        JOB + "?wait=0.5",
        JOB + "?wait=1s&wait=1s",
        JOB + "?x=1",
        JOB + "/logs",
        JOB + "/result/",
        JOB.upper().replace("0", "A"),
        JOB.replace("-", "0"),
        "-" * 36,
    ],
)
def test_other_targets_that_begin_so_are_not_for_the_lane(target: str) -> None:
    assert passage_of(GET % target.encode()) is None


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Type: application/msgpack\r\n",
        b"Content-Type: text/plain\r\n",
        b"X-Unknown: 1\r\n",
        b"Origin: http://localhost\r\n",
        b"Content-Encoding: identity\r\n",
        b"X-User-ID: " + b"x" * 201 + b"\r\n",
    ],
)
def test_a_plain_header_with_anything_else_is_whole_but_not_for_the_lane(line: bytes) -> None:
    assert passage_of(PLAIN) is not None
    assert passage_of(PLAIN + line) is None


@pytest.mark.parametrize(
    "start",
    [
        b"GET /api/v1/jobs HTTP/1.1\r\n",
        b"PUT /api/v1/jobs HTTP/1.1\r\n",
        b"POST /api/v1/jobs?x=1 HTTP/1.1\r\n",
        b"POST /api/v1/jobs/ HTTP/1.1\r\n",
        b"POST http://localhost/api/v1/jobs HTTP/1.1\r\n",
        b"POST /api/v1/%6aobs HTTP/1.1\r\n",
    ],
)
def test_other_methods_and_targets_are_not_for_the_lane(start: bytes) -> None:
    assert passage_of(start + b"Host: localhost\r\nContent-Length: 12\r\n") is None


def test_without_a_host_or_a_length_a_request_is_not_for_the_lane() -> None:
    assert passage_of(START) is None
    assert passage_of(b"POST /api/v1/jobs HTTP/1.1\r\nContent-Length: 12\r\n") is None


def test_names_of_other_machines_are_told_apart() -> None:
    elsewhere = passage_of(PLAIN.replace(b"localhost", b"jobs.example"))
    assert elsewhere is not None
    assert not elsewhere.here


@pytest.mark.parametrize(
    "head",
    [
        PLAIN + b"Content-Length: 12\r\n",
        PLAIN + b"Host: localhost\r\n",
        START + b"Transfer-Encoding: chunked\r\n",
        PLAIN + b"Transfer-Encoding: chunked\r\n",
        PLAIN + b"Expect: 100-continue\r\n",
        PLAIN + b"Upgrade: websocket\r\n",
        PLAIN + b"Connection: close\r\n",
        PLAIN + b"Connection: keep-alive, x\r\n",
        START + b"Content-Length: +12\r\n",
        START + b"Content-Length: 012\r\n",
        START + b"Content-Length: 1 2\r\n",
        START + b"Content-Length: 0x1\r\n",
        START + b"Content-Length: 99999999999\r\n",
        START + b"Content-Length:\r\n",
        PLAIN + b"A: b\x00c\r\n",
        PLAIN + b"A: b\tc\r\n",
        PLAIN + b"A: \xc3\xa9\r\n",
        PLAIN + b"A : b\r\n",
        PLAIN + b" folded\r\n",
        PLAIN + b"A: b\n",
        PLAIN + b"nonsense\r\n",
        PLAIN + b": b\r\n",
        PLAIN.replace(b"1.1", b"1.0"),
        PLAIN.replace(b"POST", b"post"),
        PLAIN.replace(b"POST ", b"POST  "),
        PLAIN.replace(b"POST ", b"CONNECT "),
        b"\r\n" + PLAIN,
    ],
)
def test_of_what_is_not_plain_nothing_is_said(head: bytes) -> None:
    assert read_head(head + b"\r\n") is None


# Agreement --------------------------------------------------------------------------------------

PIECES = [
    *(b"POST", b"GET", b"PUT", b"FOO", b"CONNECT", b" ", b"  ", b"\t", b"\r\n", b"\n", b"\r"),
    *(b"/api/v1/jobs", b"/x?y=1", b"*", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b":", b": "),
    *(b"Host", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection"),
    *(b"Upgrade", b"X", b"localhost", b"0", b"3", b"12", b"03", b"+3", b"3, 3", b"chunked"),
    *(b"close", b"keep-alive", b"upgrade", b"\x00", b"\x7f", b"\x80", b"a;b", b'"', b"(", b"_"),
]
LINES = st.lists(
    st.sampled_from(
        [
            *(b"Content-Length: 3", b"Content-Length: 0", b"content-length:3", b"Host: localhost"),
            *(b"A: b", b"A:", b"B: c:d", b"Connection: keep-alive", b"Accept: */*", b"C!#: ~"),
        ]
    )
    | st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join),
    max_size=5,
)
STARTS = st.sampled_from(
    [
        *(b"POST /api/v1/jobs HTTP/1.1", b"GET /x HTTP/1.1", b"DELETE /a?b HTTP/1.1"),
        *(b"GET /api/v1/jobs/%b%b HTTP/1.1" % (JOB.encode(), end) for end in (b"", b"?wait=1s")),
    ]
) | st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)


@pytest.fixture(scope="module")
def loop() -> Any:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@settings(max_examples=2_000, deadline=None)
@given(start=STARTS, lines=LINES)
def test_the_parser_of_aiohttp_agrees_about_every_plain_header(
    loop: asyncio.AbstractEventLoop, start: bytes, lines: list[bytes]
) -> None:
    data = b"\r\n".join([start, *lines]) + b"\r\n\r\n"
    end = data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX) + 4
    head = read_head(data[:end])
    if head is None:
        return
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    body, next_one = b"x" * head.body_bytes, b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
    try:
        messages, upgraded, _ = parser.feed_data(data[:end] + body + next_one)
    except HttpProcessingError:
        return  # it refuses more, and closes
    assert not upgraded
    assert [message.path for message, _ in messages][1:] == ["/next"]
    message, payload = messages[0]
    assert payload.is_eof() or payload.total_bytes == 0 == head.body_bytes
    assert payload.total_bytes == head.body_bytes
    assert message.should_close is False
    assert not message.chunked
    assert message.compression is None or head.passage is None
