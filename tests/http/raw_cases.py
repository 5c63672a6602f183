"""The table of what can be wrong, or odd, in the bytes of a connection, and what is answered.

A row is sent on a connection of its own. `want` are the statuses that come, in order, and then how
the connection stands: `open` (it answers another request), `closed` (it is at its end), or `unread`
(the rest of a body is still read, and not answered).

Where HTTP leaves a choice, this is ours: of pieces that come together, one that is broken has all
of them refused, and none of them done; a client that closes its half is taken for gone, as it is
when it withdraws a poll.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from headrace.wire import limits

HOST: Final = b"Host: localhost"
JSON: Final = b"Content-Type: application/json"
JOB: Final = b'{"type":"t"}'
CHUNKED: Final = b"Transfer-Encoding: chunked"
IN_CHUNKS: Final = b"c\r\n" + JOB + b"\r\n0\r\n\r\n"
LIVE: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
NO_JOB: Final = b"/api/v1/jobs/01980000-0000-7000-8000-000000000000"


class Case(NamedTuple):
    sent: bytes | Sequence[bytes]
    """In pieces, if there are several."""
    want: str
    half_closes: bool = False
    """The client says that it sends no more, once it has the answers that it wants."""


def get(target: bytes, *lines: bytes, start: bytes = b"GET %b HTTP/1.1") -> bytes:
    return b"\r\n".join([start % target, HOST, *lines, b"", b""])


def head(*lines: bytes, start: bytes = b"POST /api/v1/jobs HTTP/1.1") -> bytes:
    return b"\r\n".join([start, *lines, b"", b""])


def post(*lines: bytes, body: bytes = JOB) -> bytes:
    """A submit whose framing is told in `lines`."""
    return head(HOST, JSON, *lines) + body


def sized(*lines: bytes, body: bytes = JOB, size: int | None = None) -> bytes:
    """A submit with a length."""
    length = b"Content-Length: %d" % (len(body) if size is None else size)
    return post(*lines, length, body=body)


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(*lines, CHUNKED, body=body)


SMUGGLED: Final = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What must never be answered: it stands inside a body."""

REQUEST_LINES: Final = {
    "no HTTP at all": Case(b"GARBAGE\r\n\r\n", "400 closed"),
    "a hello of TLS": Case(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400 closed"),
    "the preface of HTTP/2": Case(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 closed"),
    "version 9.9": Case(get(b"/livez", start=b"GET %b HTTP/9.9"), "400 closed"),
    "version 2.0": Case(get(b"/livez", start=b"GET %b HTTP/2.0"), "400 closed"),
    "version 1.2": Case(get(b"/livez", start=b"GET %b HTTP/1.2"), "400 closed"),
    "version 1.10": Case(get(b"/livez", start=b"GET %b HTTP/1.10"), "400 closed"),
    "version 0.9 by name": Case(get(b"/livez", start=b"GET %b HTTP/0.9"), "400 closed"),
    "version 1.0": Case(get(b"/livez", start=b"GET %b HTTP/1.0"), "200 closed"),
    "version 1.0 that wants to stay": Case(
        get(b"/livez", b"Connection: keep-alive", start=b"GET %b HTTP/1.0"), "200 open"
    ),
    "no version": Case(get(b"/livez", start=b"GET %b"), "400 closed"),
    "a version in small letters": Case(get(b"/livez", start=b"GET %b http/1.1"), "400 closed"),
    "another protocol": Case(get(b"/livez", start=b"GET %b ICY/1.1"), "400 closed"),
    "RTSP": Case(get(b"/livez", start=b"DESCRIBE %b RTSP/1.0"), "405 closed"),
    "a space too many": Case(get(b"/livez", start=b"GET  %b HTTP/1.1"), "200 open"),
    "a space before the line": Case(b" " + LIVE, "400 closed"),
    "a space behind the version": Case(get(b"/livez", start=b"GET %b HTTP/1.1 "), "400 closed"),
    "a tab for a space": Case(get(b"/livez", start=b"GET\t%b HTTP/1.1"), "400 closed"),
    "no target": Case(get(b"", start=b"GET%b HTTP/1.1"), "400 closed"),
    "a method that there is not": Case(get(b"/livez", start=b"BREW %b HTTP/1.1"), "400 closed"),
    "a method in small letters": Case(get(b"/livez", start=b"get %b HTTP/1.1"), "400 closed"),
    "a long method": Case(get(b"/livez", start=b"G" * 9_000 + b" %b HTTP/1.1"), "400 closed"),
    "a method with brackets": Case(get(b"/livez", start=b"G(T %b HTTP/1.1"), "400 closed"),
    "a method of WebDAV": Case(get(b"/livez", start=b"PROPFIND %b HTTP/1.1"), "405 open"),
    "TRACE": Case(get(b"/livez", b"A: secret", start=b"TRACE %b HTTP/1.1"), "405 open"),
    "OPTIONS of all": Case(get(b"*", start=b"OPTIONS %b HTTP/1.1"), "404 open"),
    "OPTIONS of a path": Case(get(b"/livez", start=b"OPTIONS %b HTTP/1.1"), "405 open"),
    "CONNECT": Case(get(b"localhost:80", start=b"CONNECT %b HTTP/1.1"), "404 open"),
    "CONNECT, and HTTP behind it, since there is no tunnel": Case(
        get(b"127.0.0.1:22", start=b"CONNECT %b HTTP/1.1") + LIVE, "404 200 open"
    ),
    "CONNECT, and what is meant for a tunnel": Case(
        get(b"127.0.0.1:22", start=b"CONNECT %b HTTP/1.1") + b"SSH-2.0-x\r\n", "404 400 closed"
    ),
    "a NUL in the target": Case(get(b"/\x00"), "400 closed"),
    "a control character in the target": Case(get(b"/a\x07"), "400 closed"),
    "a letter in the target": Case(get(b"/\xc3\xa9"), "400 closed"),
    "a long target": Case(get(b"/" + b"a" * 20_000), "400 closed"),
    "a long query": Case(get(b"/api/v1/jobs?name=" + b"a" * 20_000), "400 closed"),
    "an empty line before": Case(b"\r\n\r\n" + LIVE, "200 open"),
    "a return alone in the line": Case(get(b"/li\rvez"), "400 closed"),
}

TARGETS: Final = {
    "a whole address": Case(get(b"http://localhost/livez"), "200 open"),
    "a whole address of another": Case(get(b"http://evil.example/livez"), "200 open"),
    "an address without a scheme": Case(get(b"//evil.example/livez"), "404 open"),
    "an address of a file": Case(get(b"file:///etc/passwd"), "400 closed"),
    "an address with a user": Case(get(b"http://a:b@localhost/livez"), "200 open"),
    "an address with a bad port": Case(get(b"http://localhost:99999/livez"), "400 closed"),
    "an address that never closes": Case(get(b"http://[::1/livez"), "400 closed"),
    "a target without a slash": Case(get(b"livez"), "400 closed"),
    "a star": Case(get(b"*"), "400 closed"),
    "dots": Case(get(b"/../../etc/passwd"), "404 open"),
    "dots that are encoded": Case(get(b"/ui/%2e%2e/%2e%2e/etc/passwd"), "404 open"),
    "slashes that are encoded": Case(get(b"/ui/..%2f..%2fetc%2fpasswd"), "404 open"),
    "dots encoded twice": Case(get(b"/ui/%252e%252e/app.js"), "404 open"),
    "slashes the other way": Case(get(b"/ui/..\\..\\etc\\passwd"), "404 open"),
    "an encoded NUL": Case(get(b"/ui/x/app.js%00.png"), "404 open"),
    "half an encoding": Case(get(b"/livez%"), "404 open"),
    "no encoding": Case(get(b"/livez%zz"), "404 open"),
    "UTF-8 too long": Case(get(b"/%c0%ae%c0%ae/livez"), "404 open"),
    "an encoded line": Case(get(b"/livez%0d%0aX:%20y"), "404 open"),
    "an encoded line in a query": Case(get(b"/api/v1/jobs?name=%0d%0aX:%20y"), "200 open"),
    "slashes one after the other": Case(get(b"//livez"), "404 open"),
    "a dot": Case(get(b"/./livez"), "404 open"),
    "a slash at the end": Case(get(b"/livez/"), "404 open"),
    "a path in capitals": Case(get(b"/LIVEZ"), "404 open"),
    "parameters of a path": Case(get(b"/livez;a=b"), "404 open"),
    "a fragment": Case(get(b"/livez#x"), "200 open"),
    "a path that is encoded": Case(get(b"/%6civez"), "200 open"),
    "a query that is not known": Case(get(b"/livez?x=1"), "400 open"),
    "a query of many": Case(get(b"/api/v1/jobs?" + b"status=queued&" * 500), "400 open"),
    "a query of nothing": Case(get(b"/livez?&&&"), "200 open"),
    "a lone surrogate in a query": Case(get(b"/api/v1/jobs?name=%ed%a0%80"), "200 open"),
    "a number of many digits": Case(get(b"/api/v1/jobs?limit=" + b"9" * 5_000), "400 open"),
    "a number in other digits": Case(get(b"/api/v1/jobs?limit=%D9%A1"), "400 open"),
    "an id of another form": Case(get(b"/api/v1/jobs/../../livez"), "404 open"),
    "an id with a NUL": Case(get(NO_JOB + b"%00"), "404 open"),
}

HEADERS: Final = {
    "a space before the colon": Case(get(b"/livez", b"A : b"), "400 closed"),
    "Host with a space before the colon": Case(
        head(b"Host : localhost", start=b"GET /livez HTTP/1.1"), "400 closed"
    ),
    "no colon": Case(get(b"/livez", b"A"), "400 closed"),
    "no name": Case(get(b"/livez", b": b"), "400 closed"),
    "a name with a space": Case(get(b"/livez", b"A b: c"), "400 closed"),
    "a name with a NUL": Case(get(b"/livez", b"A\x00: c"), "400 closed"),
    "a name with a letter": Case(get(b"/livez", b"\xc3\xa9: c"), "400 closed"),
    "a name with brackets": Case(get(b"/livez", b"A[]: c"), "400 closed"),
    "a value with a NUL": Case(get(b"/livez", b"A: b\x00c"), "400 closed"),
    "a value with a control character": Case(get(b"/livez", b"A: b\x01c"), "400 closed"),
    "a value with a return": Case(get(b"/livez", b"A: b\rc"), "400 closed"),
    "a value with a newline": Case(get(b"/livez", b"A: b\nc: d"), "400 closed"),
    "a value with a tab": Case(get(b"/livez", b"A: b\tc"), "200 open"),
    "a value of other letters": Case(get(b"/livez", b"A: \xc3\xa9\xff"), "200 open"),
    "an empty value": Case(get(b"/livez", b"A:"), "200 open"),
    "a folded line": Case(get(b"/livez", b"A: b", b" c"), "400 closed"),
    "a folded line by a tab": Case(get(b"/livez", b"A: b", b"\tc"), "400 closed"),
    "a folded length": Case(post(b"Content-Length:", b" 12"), "400 closed"),
    "a folded first line": Case(head(b" " + HOST, start=b"GET /livez HTTP/1.1"), "400 closed"),
    "newlines alone": Case(LIVE.replace(b"\r\n", b"\n"), "400 closed"),
    "a newline alone": Case(LIVE.replace(b"\r\n", b"\n", 1), "400 closed"),
    "a newline alone at the end": Case(LIVE[:-2] + b"\n", "400 closed"),
    "returns alone": Case(LIVE.replace(b"\r\n", b"\r"), "400 closed"),
    "many headers": Case(get(b"/livez", *[b"A: b"] * 1_000), "400 closed"),
    "a long value": Case(get(b"/livez", b"A: " + b"b" * 20_000), "400 closed"),
    "a long name": Case(get(b"/livez", b"A" * 20_000 + b": b"), "400 closed"),
    "a header without an end": Case(get(b"/livez")[:-2] + b"A: " + b"b" * 200_000, "400 closed"),
    "headers without an end": Case(get(b"/livez")[:-2] + b"A: b\r\n" * 30_000, "400 closed"),
    "no Host": Case(b"GET /livez HTTP/1.1\r\n\r\n", "400 closed"),
    "no Host in version 1.0": Case(b"GET /livez HTTP/1.0\r\n\r\n", "200 closed"),
    "Host twice": Case(get(b"/livez", HOST), "400 closed"),
    "Host twice, and not the same": Case(get(b"/livez", b"Host: evil.example"), "400 closed"),
    "an empty Host": Case(head(b"Host:", start=b"GET /livez HTTP/1.1"), "421 open"),
    "Host of another": Case(head(b"Host: evil.example", start=b"GET /livez HTTP/1.1"), "421 open"),
    "Host with a path": Case(head(b"Host: localhost/x", start=b"GET /livez HTTP/1.1"), "421 open"),
    "Host with a user": Case(
        head(b"Host: localhost@evil.example", start=b"GET /livez HTTP/1.1"), "421 open"
    ),
    "Content-Type twice": Case(sized(b"Content-Type: text/plain"), "400 closed"),
    "a content type of nothing": Case(
        head(HOST, b"Content-Type: ;;;", b"Content-Length: 12") + JOB, "415 open"
    ),
    "a body that is encoded": Case(sized(b"Content-Encoding: gzip"), "415 open"),
    "a body of bytes that grow": Case(
        sized(b"Content-Encoding: deflate", body=b"x\x9c\xed\xc1\x01\r\x00\x00\x00\xc2\xa0"),
        "415 open",
    ),
    "a body that is encoded in some way": Case(sized(b"Content-Encoding: \xff"), "415 open"),
    "Connection of many words": Case(get(b"/livez", b"Connection: a, close, b"), "200 closed"),
    "Connection that names Host": Case(get(b"/livez", b"Connection: host"), "200 open"),
    "close and keep-alive": Case(get(b"/livez", b"Connection: close, keep-alive"), "200 closed"),
    "an upgrade to HTTP/2": Case(
        get(b"/livez", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings:"),
        "200 open",
    ),
    "an upgrade to a socket": Case(
        get(
            b"/api/v1/events",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ).replace(b"/events", b"/stats"),
        "200 open",
    ),
    "an upgrade of a submit": Case(sized(b"Connection: upgrade", b"Upgrade: x"), "200 open"),
    "an expectation": Case(sized(b"Expect: 100-continue"), "100 200 open"),
    "an expectation in other letters": Case(sized(b"Expect: \xe9"), "400 closed"),
    "an expectation in other letters of nothing": Case(
        get(b"/nope", b"Expect: \xe9"), "400 closed"
    ),
    "an expectation that nobody knows": Case(sized(b"Expect: miracles"), "200 open"),
    "an expectation, and a body too large": Case(
        head(HOST, JSON, b"Expect: 100-continue", b"Content-Length: 999999999"), "413 unread"
    ),
    "a range": Case(get(b"/docs", b"Range: bytes=0-1"), "200 open"),
    "many ranges": Case(get(b"/ui", b"Range: bytes=" + b"0-1," * 900 + b"0-1"), "200 open"),
    "a range of nothing": Case(get(b"/openapi.json", b"Range: bytes=9-1,x"), "200 open"),
    "another's method": Case(sized(b"X-HTTP-Method-Override: DELETE"), "200 open"),
    "another's path": Case(get(b"/livez", b"X-Original-URL: /metrics"), "200 open"),
    "another's address": Case(get(b"/livez", b"X-Forwarded-For: 127.0.0.1"), "200 open"),
    "a key that is no key": Case(get(b"/api/v1/jobs", b"Authorization: \xff\xfe"), "200 open"),
    "a user with a line": Case(get(b"/api/v1/jobs", b"X-User-ID: a\x0bb"), "400 closed"),
    "a long user": Case(get(b"/api/v1/jobs", b"X-User-ID: " + b"u" * 300), "400 open"),
    "cookies of nothing": Case(get(b"/api/v1/jobs", b"Cookie: ;;;=;\xff=\xff"), "200 open"),
    "a strange origin": Case(sized(b"Origin: http://evil.example"), "403 open"),
    "the origin null": Case(sized(b"Origin: null"), "403 open"),
    "a wait by preference": Case(get(NO_JOB, b"Prefer: wait=-1"), "404 open"),
}

LENGTHS: Final = {
    "no length": Case(post(body=b""), "400 open"),
    "an empty length": Case(post(b"Content-Length:", body=b""), "400 closed"),
    "a length below 0": Case(post(b"Content-Length: -1"), "400 closed"),
    "a length with a sign": Case(post(b"Content-Length: +12"), "400 closed"),
    "a length with a zero": Case(post(b"Content-Length: 012"), "200 open"),
    "a length in hex": Case(post(b"Content-Length: 0xc"), "400 closed"),
    "a length with a fraction": Case(post(b"Content-Length: 12.0"), "400 closed"),
    "a length with a power": Case(post(b"Content-Length: 1e1"), "400 closed"),
    "a length with a space inside": Case(post(b"Content-Length: 1 2"), "400 closed"),
    "a length with a line": Case(post(b"Content-Length: 12\x0b"), "400 closed"),
    "a length with a separator": Case(post(b"Content-Length: 1_2"), "400 closed"),
    "a length in other digits": Case(post(b"Content-Length: \xd9\xa1"), "400 closed"),
    "a length beyond 64 bits": Case(post(b"Content-Length: 18446744073709551617"), "400 closed"),
    "a length of many digits": Case(post(b"Content-Length: " + b"9" * 5_000), "400 closed"),
    "a length beyond all": Case(
        head(HOST, JSON, b"Content-Length: %d" % (limits.BODY_BYTES_MAX + 1)), "413 unread"
    ),
    "a length of a GET": Case(get(b"/livez", b"Content-Length: 5") + b"GET /", "200 open"),
    "a length of a GET of a job": Case(
        get(NO_JOB, b"Content-Length: %d" % len(SMUGGLED)) + SMUGGLED, "404 open"
    ),
    "a length twice": Case(post(b"Content-Length: 12", b"Content-Length: 12"), "400 closed"),
    "two lengths": Case(post(b"Content-Length: 12", b"Content-Length: 0"), "400 closed"),
    "lengths in a list": Case(post(b"Content-Length: 12, 12"), "400 closed"),
    "other lengths in a list": Case(post(b"Content-Length: 0, 12"), "400 closed"),
    "a length in two headers by a list": Case(
        post(b"Content-Length: 12", b"Content-Length: 12, 12"), "400 closed"
    ),
    "a length of another name": Case(post(b"Content_Length: 12", body=b""), "400 open"),
    "a length shorter than the body": Case(sized(size=3), "400 closed"),
    "a length of none, and a body": Case(sized(body=SMUGGLED, size=0), "400 200 open"),
}

SMUGGLING: Final = {
    "length, then chunks": Case(
        post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED), "400 closed"
    ),
    "chunks, then length": Case(
        post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED), "400 closed"
    ),
    "length of all, and chunks": Case(
        post(b"Content-Length: %d" % len(b"0\r\n\r\n" + SMUGGLED), CHUNKED, body=b"0\r\n\r\n")
        + SMUGGLED,
        "400 closed",
    ),
    "chunked twice": Case(post(CHUNKED, CHUNKED, body=IN_CHUNKS), "400 closed"),
    "chunked twice in a list": Case(
        post(b"Transfer-Encoding: chunked, chunked", body=IN_CHUNKS), "400 closed"
    ),
    "chunked and identity": Case(
        post(b"Transfer-Encoding: chunked, identity", body=IN_CHUNKS), "400 closed"
    ),
    "identity": Case(post(b"Transfer-Encoding: identity", body=b""), "400 closed"),
    "identity and a length": Case(
        post(b"Transfer-Encoding: identity", b"Content-Length: 12"), "400 closed"
    ),
    "gzip": Case(post(b"Transfer-Encoding: gzip", body=b""), "400 closed"),
    "gzip, then chunked": Case(
        post(b"Transfer-Encoding: gzip, chunked", body=IN_CHUNKS), "400 closed"
    ),
    "chunked, then gzip": Case(post(b"Transfer-Encoding: chunked, gzip", body=b""), "400 closed"),
    "nearly chunked": Case(post(b"Transfer-Encoding: xchunked", body=IN_CHUNKS), "400 closed"),
    "chunkedx": Case(post(b"Transfer-Encoding: chunkedx", body=IN_CHUNKS), "400 closed"),
    "chunked in capitals": Case(post(b"Transfer-Encoding: ChUnKeD", body=IN_CHUNKS), "200 open"),
    "chunked in quotes": Case(post(b'Transfer-Encoding: "chunked"', body=IN_CHUNKS), "400 closed"),
    "chunked behind a tab": Case(post(b"Transfer-Encoding:\tchunked", body=IN_CHUNKS), "200 open"),
    "chunked behind a line": Case(
        post(b"Transfer-Encoding: \x0bchunked", body=IN_CHUNKS), "400 closed"
    ),
    "chunked with a comma": Case(post(b"Transfer-Encoding: chunked,", body=b""), "400 closed"),
    "chunked with a parameter": Case(
        post(b"Transfer-Encoding: chunked;a=b", body=IN_CHUNKS), "400 closed"
    ),
    "chunked by a space before the colon": Case(
        post(b"Transfer-Encoding : chunked", b"Content-Length: 0", body=IN_CHUNKS), "400 closed"
    ),
    "chunked on a folded line": Case(
        post(b"Transfer-Encoding:", b" chunked", b"Content-Length: 0", body=IN_CHUNKS), "400 closed"
    ),
    "chunked behind a newline in a value": Case(
        post(b"A: b\nTransfer-Encoding: chunked", b"Content-Length: 0", body=IN_CHUNKS),
        "400 closed",
    ),
    "chunked by another name": Case(
        post(b"Transfer_Encoding: chunked", b"Content-Length: 12"), "200 open"
    ),
    "chunked in version 1.0": Case(
        head(HOST, JSON, CHUNKED, start=b"POST /api/v1/jobs HTTP/1.0") + IN_CHUNKS, "400 closed"
    ),
    "chunks of a GET": Case(get(b"/livez", CHUNKED) + b"0\r\n\r\n", "200 open"),
    "an empty Transfer-Encoding": Case(post(b"Transfer-Encoding:", body=b""), "400 closed"),
}

CHUNKS: Final = {
    "chunks": Case(chunked(IN_CHUNKS), "200 open"),
    "chunks of one byte": Case(
        chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in JOB) + b"0\r\n\r\n"), "200 open"
    ),
    "chunks, byte by byte": Case([bytes([byte]) for byte in chunked(IN_CHUNKS)], "200 open"),
    "a size in capitals": Case(chunked(b"C\r\n" + JOB + b"\r\n0\r\n\r\n"), "200 open"),
    "a size with zeros": Case(chunked(b"000c\r\n" + JOB + b"\r\n000\r\n\r\n"), "200 open"),
    "a size that is none": Case(chunked(b"zz\r\n{}\r\n0\r\n\r\n"), "400 closed"),
    "a size below 0": Case(chunked(b"-1\r\n{}\r\n0\r\n\r\n"), "400 closed"),
    "a size with a sign": Case(chunked(b"+c\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a size with 0x": Case(chunked(b"0xc\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a size with a separator": Case(chunked(b"0_c\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a size with a space before": Case(chunked(b" c\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a size with a space behind": Case(chunked(b"c \r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a size beyond 64 bits": Case(chunked(b"1" + b"0" * 16 + b"\r\n{}"), "400 closed"),
    "a size of many digits": Case(chunked(b"0" * 9_000 + IN_CHUNKS), "200 open"),
    "no size": Case(chunked(b"\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a chunk longer than its size": Case(chunked(b"3\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a chunk without its end": Case(chunked(b"c\r\n" + JOB + b"0\r\n\r\n"), "400 closed"),
    "a chunk that ends with a newline": Case(
        chunked(b"c\r\n" + JOB + b"\n0\r\n\r\n"), "400 closed"
    ),
    "a size that ends with a newline": Case(chunked(b"c\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "a size that ends with a return": Case(chunked(b"c\r" + JOB + b"\r\n0\r\n\r\n"), "400 closed"),
    "an extension": Case(chunked(b"c;a=b\r\n" + JOB + b"\r\n0\r\n\r\n"), "200 open"),
    "an extension in quotes": Case(chunked(b'c;a="b"\r\n' + JOB + b"\r\n0\r\n\r\n"), "200 open"),
    "an extension with a newline": Case(
        chunked(b"c;a\nb\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"
    ),
    "an extension with a NUL": Case(
        chunked(b"c;a=\x00\r\n" + JOB + b"\r\n0\r\n\r\n"), "400 closed"
    ),
    "an extension without an end": Case(
        chunked(b"c;" + b"a" * 200_000), "closed", half_closes=True
    ),
    "a trailer": Case(chunked(b"c\r\n" + JOB + b"\r\n0\r\nA: b\r\n\r\n"), "200 open"),
    "a trailer with a length": Case(
        chunked(b"c\r\n" + JOB + b"\r\n0\r\nContent-Length: 5\r\n\r\n"), "400 closed"
    ),
    "a trailer that is none": Case(chunked(b"c\r\n" + JOB + b"\r\n0\r\nA\r\n\r\n"), "400 closed"),
    "a trailer without an end": Case(
        chunked(b"c\r\n" + JOB + b"\r\n0\r\n" + b"A: b\r\n" * 30_000), "400 closed"
    ),
    "a long trailer": Case(
        chunked(b"c\r\n" + JOB + b"\r\n0\r\nA: " + b"b" * 200_000 + b"\r\n\r\n"), "400 closed"
    ),
    "an empty body in chunks": Case(chunked(b"0\r\n\r\n"), "400 open"),
    "a large chunk": Case(chunked(b"3fffffff\r\n" + b" " * 100_000), "closed", half_closes=True),
}

CONNECTIONS: Final = {
    "many at once": Case(LIVE * 100, "200 " * 100 + "open"),
    "a submit and what follows": Case(sized() + LIVE + sized(), "200 200 200 open"),
    "a bad one between good ones": Case(LIVE + b"?\r\n\r\n" + LIVE, "400 closed"),
    "something behind the last": Case(
        get(b"/livez", b"Connection: close") + SMUGGLED, "400 closed"
    ),
    "something behind a refusal": Case(post(b"Content-Length: -1") + SMUGGLED, "400 closed"),
    "empty lines between": Case(LIVE + b"\r\n\r\n" + LIVE, "200 200 open"),
    "a body behind a HEAD": Case(
        get(b"/livez", b"Content-Length: 4", start=b"HEAD %b HTTP/1.1") + b"abcd", "200 open"
    ),
    "HEAD": Case(get(b"/livez", start=b"HEAD %b HTTP/1.1"), "200 open"),
    "HEAD of what there is not": Case(get(b"/nope", start=b"HEAD %b HTTP/1.1"), "404 open"),
    "two pieces of a header": Case([LIVE[:9], LIVE[9:]], "200 open"),
    "two pieces of a line's end": Case([LIVE[:-1], LIVE[-1:]], "200 open"),
    "a header, then its body": Case([sized()[:-12], JOB], "200 open"),
    "nothing": Case(b"", "closed", half_closes=True),
    "a half of a line": Case(b"GET /li", "closed", half_closes=True),
    "a half of a header": Case(get(b"/livez")[:-2], "closed", half_closes=True),
    "a half of a body": Case(sized()[:-4], "closed", half_closes=True),
    "a half of a chunk": Case(chunked(b"c\r\n{"), "closed", half_closes=True),
    "a half behind a whole": Case(LIVE + b"GET /li", "200 closed", half_closes=True),
}

BODIES: Final = {
    "a body of NULs": Case(sized(body=b"\x00" * 1_000), "400 open"),
    "a body that is no UTF-8": Case(sized(body=b'{"type":"\xff"}'), "400 open"),
    "a body with a mark of order": Case(sized(body=b"\xef\xbb\xbf" + JOB), "400 open"),
    "a body in UTF-16": Case(sized(body=JOB.decode().encode("utf-16")), "400 open"),
    "a body that is deep": Case(sized(body=b"[" * 100_000), "400 open"),
    "a body of one long number": Case(
        sized(body=b'{"type":"t","priority":' + b"9" * 100_000 + b"}"), "400 open"
    ),
    "a body of not a number": Case(sized(body=b'{"type":"t","params":NaN}'), "400 open"),
    "a body that is half": Case(sized(body=b'{"type":"t"'), "400 open"),
    "a body that is two": Case(sized(body=JOB * 2), "400 open"),
    "MessagePack that says more than it has": Case(
        head(HOST, b"Content-Type: application/msgpack", b"Content-Length: 5")
        + b"\xdd\xff\xff\xff\xff",
        "400 open",
    ),
    "MessagePack that is deep": Case(
        head(HOST, b"Content-Type: application/msgpack", b"Content-Length: 50000")
        + b"\x91" * 50_000,
        "400 open",
    ),
    "a large body that is refused": Case(
        sized(body=b'{"type":"t","params":"' + b"x" * 3_000_000 + b'"}'), "413 open"
    ),
    "a form": Case(
        head(HOST, b"Content-Type: multipart/form-data; boundary=x", b"Content-Length: 5")
        + b"--x--",
        "415 open",
    ),
}

CASES: Final = {
    name: case
    for table in (REQUEST_LINES, TARGETS, HEADERS, LENGTHS, SMUGGLING, CHUNKS, CONNECTIONS, BODIES)
    for name, case in table.items()
}
