"""What is done to a request before it is sent: to its parts, or to its bytes.

A request whose parts were changed still says how long it is, so that what follows on the connection
is met, too. One whose bytes were changed is the last of its connection.
"""

import random
import re
from collections.abc import Callable, Sequence
from typing import Final

from recorded import CONTENT_TYPE, JSON, MSGPACK, Request

from headrace.http.examples import JOB_ID, LEASE
from headrace.wire.routes import ROUTES

TEXTS: Final = (
    *("", "0", "-1", "1", "null", "true", "[]", "{}", '""', "*", "%", "%00", "%0d%0a", "..", "/"),
    *("9" * 30, "1e400", "-0", "0.1", "NaN", "Infinity", "2147483648", "9223372036854775808"),
    *("é", "\x7f", "\u2028", "a" * 300, "a" * 5_000, "30s", "1h", "never", "0s", "99999d"),
    *("2030-01-31T12:00:00Z", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00Z", JOB_ID, LEASE),
    *("<script>", "'\"", "\\u0000", "\\ud800", "${x}", "{{7*7}}", "a,b", "a=b", ";", "?", "#", "&"),
)
JSONS: Final = tuple(
    text.encode()
    for text in (
        *("null", "true", "-1", "0", "1", "1e400", "0.5", "9" * 40, '""', '"a"', "[]", "{}"),
        *(
            '"' + "a" * 3_000 + '"',
            "[" * 80 + "]" * 80,
            '{"a":' * 70 + "1" + "}" * 70,
            '{"a":1,"a":2}',
            "NaN",
            '"\\u0000"',
        ),
        *('"\\ud800"', '"é\u2028"', "[null]", '{"":""}', '"30s"', '"2030-01-31T12:00:00Z"'),
    )
)
HEADERS: Final = (
    *("Accept", "Content-Encoding", "Content-Type", "Cookie", "Expect", "Host", "Idempotency-Key"),
    *("If-None-Match", "Last-Event-ID", "Origin", "Prefer", "Range", "Sec-Fetch-Site", "TE"),
    *("X-Tenant-ID", "X-User-ID", "X-Forwarded-For", "traceparent", "tracestate", "Upgrade"),
)
VALUES: Final = (
    *(JSON, MSGPACK, "application/wasm", "text/event-stream", "gzip", "bytes=0-5", "wait=1"),
    *(
        "*/*;q=0.1",
        "localhost",
        "http://localhost",
        "100-continue",
        "upgrade",
        "close",
        "keep-alive",
    ),
    *("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b,c=d", "headrace_session=x"),
)
QUERIES: Final = sorted(
    {param.name for route in ROUTES for param in route.params if param.place == "query"}
)
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
LIVE: Final = re.compile(f"{JOB_ID}|{LEASE}".encode())
_JSON_VALUE: Final = re.compile(
    rb'(?:"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|\{[^{}]*\}|\[[^][]*\])(?=\s*[,}\]])'
)
_JSON_NAME: Final = re.compile(rb'"(\w+)"\s*:')
RARE: Final = ("/openapi.json", "/docs", "/metrics", "/ui")
"""Begin targets whose answers are large."""
RARELY: Final = 0.05
_ONCE: Final = frozenset(
    {"authorization", "content-encoding", "content-type", "host", "origin", "range", "upgrade"}
)
"""Headers that may not come twice, or that change what follows."""
_SPOILS: Final = re.compile("[^\t -~\x80-\xff]")
LAST: Final = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def _spoils(request: Request) -> bool:
    """Say whether a request may take with it all that is sent behind it."""
    if _SPOILS.search(request.target) or not request.target.isascii():
        return True
    names = [name.lower() for name, _ in request.headers]
    if "host" not in names or any(names.count(name) > 1 for name in _ONCE):
        return True
    return any(_SPOILS.search(value) for _, value in request.headers)


class Mutator:
    """Makes requests from those of the corpus. All it does follows from its dice."""

    def __init__(self, dice: random.Random, corpus: Sequence[Request]) -> None:
        self.dice = dice
        self._corpus = corpus
        bodies = [request.body for request in corpus]
        self._names = sorted({name for body in bodies for name in _JSON_NAME.findall(body)})
        self._kinds: tuple[Callable[[Request], Request], ...] = (
            *(self._body,) * 6,
            *(self._target, self._query, self._header, self._header),
            *(self._method, self._strange_body, self._media),
        )

    def parts(self, ids: Sequence[bytes]) -> bytes:
        """Return a request that is HTTP, with a length that is right."""
        while _spoils(request := self._changed()):
            pass
        return self._live(self._framed(request), ids)

    def broken(self, ids: Sequence[bytes]) -> bytes:
        """Return what may be no HTTP."""
        data = self._live(self._framed(self._changed()), ids)
        for _ in range(self.dice.choice((0, 1, 1, 2, 5))):
            data = self._bytes(data)
        return data

    def _changed(self) -> Request:
        dice = self.dice
        request = dice.choice(self._corpus)
        while request.target.startswith(RARE) and dice.random() > RARELY:
            request = dice.choice(self._corpus)
        for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
            request = dice.choice(self._kinds)(request)
        return request

    def _framed(self, request: Request) -> bytes:
        dice = self.dice
        lines = "".join([f"{name}: {value}\r\n" for name, value in request.headers])
        head = f"{request.method} {request.target} HTTP/1.1\r\n{lines}"
        body = request.body
        if not body and request.method in ("GET", "HEAD", "DELETE"):
            return f"{head}\r\n".encode("latin-1", "replace")
        if dice.random() < 0.05:
            cuts = sorted(dice.randrange(len(body) + 1) for _ in range(3))
            parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
            framing, body = "Transfer-Encoding: chunked", chunks + b"0\r\n\r\n"
        else:
            framing = f"Content-Length: {len(body)}"
        return f"{head}{framing}\r\n\r\n".encode("latin-1", "replace") + body

    def _live(self, data: bytes, ids: Sequence[bytes]) -> bytes:
        """Put ids and leases that there are in the place of those of the examples.

        They are of equal length, so the framing stays right.
        """
        known = [one for one in ids if len(one) == len(JOB_ID)] if ids else []
        leases = [one for one in ids if len(one) == len(LEASE)] if ids else []

        def put(found: re.Match[bytes]) -> bytes:
            some = known if len(found[0]) == len(JOB_ID) else leases
            return self.dice.choice(some) if some else found[0]

        return LIVE.sub(put, data)

    # Parts --------------------------------------------------------------------------------------

    def _body(self, request: Request) -> Request:
        """Put another value in the place of one, add a field, or change bytes."""
        dice, body = self.dice, request.body
        found = [one.span() for one in _JSON_VALUE.finditer(body)] if len(body) < 5_000 else []
        kind = dice.random()
        if found and kind < 0.6:
            start, end = dice.choice(found)
            return request._replace(body=body[:start] + dice.choice(JSONS) + body[end:])
        if found and kind < 0.8 and body.endswith(b"}"):
            more = b',"%b":%b}' % (dice.choice(self._names), dice.choice(JSONS))
            return request._replace(body=body[:-1] + more)
        return request._replace(body=self._bytes(body))

    def _strange_body(self, request: Request) -> Request:
        return request._replace(body=self.dice.choice(self._corpus).body)

    def _media(self, request: Request) -> Request:
        kept = tuple(pair for pair in request.headers if pair[0] != CONTENT_TYPE)
        return request._replace(headers=(*kept, (CONTENT_TYPE, self.dice.choice(VALUES))))

    def _method(self, request: Request) -> Request:
        return request._replace(method=self.dice.choice(METHODS))

    def _target(self, request: Request) -> Request:
        dice = self.dice
        if dice.random() < 0.2:
            return request._replace(target=dice.choice(self._corpus).target)
        parts = request.target.split("/")
        parts[dice.randrange(1, len(parts))] = self._printable(dice.choice(TEXTS))
        return request._replace(target="/".join(parts))

    def _query(self, request: Request) -> Request:
        dice = self.dice
        word = f"{dice.choice(QUERIES)}={self._printable(dice.choice(TEXTS))}"
        joined = "&" if "?" in request.target else "?"
        return request._replace(target=f"{request.target}{joined}{word}")

    def _header(self, request: Request) -> Request:
        dice = self.dice
        headers = list(request.headers)
        if dice.random() < 0.3:
            del headers[dice.randrange(len(headers))]
        elif dice.random() < 0.3:
            name, value = dice.choice(headers)
            headers.append((name, value))
        else:
            value = dice.choice(VALUES) if dice.random() < 0.6 else dice.choice(TEXTS)
            headers.append((dice.choice(HEADERS), value.replace("\u2028", "\xe9")))
        return request._replace(headers=tuple(headers) or (("Host", "localhost"),))

    def _printable(self, text: str) -> str:
        """Mostly, what may stand in a target; else the connection ends there."""
        if self.dice.random() < 0.02:
            return text
        return "".join(char if "!" <= char <= "~" else f"%{ord(char) & 0xFF:02x}" for char in text)

    # Bytes --------------------------------------------------------------------------------------

    def _bytes(self, data: bytes) -> bytes:
        dice = self.dice
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice((1, 1, 2, 4, 16, 200)))
        kind = dice.randrange(7)
        if kind == 0:
            return data[:at] + bytes([dice.randrange(256)]) + data[end:]
        if kind == 1:
            return data[:at] + data[end:]
        if kind == 2:
            return data[:end] + data[at:]
        if kind == 3:
            return data[:at] + dice.choice(TEXTS).encode() + data[at:]
        if kind == 4:
            return data[:at]
        if kind == 5:
            return (
                data[:at]
                + dice.choice((b"\r\n", b"\n", b"\0", b"\r\n\r\n", b" ", b":"))
                + data[at:]
            )
        other = dice.choice(self._corpus).body or LAST
        return data[:at] + other[dice.randrange(len(other)) :]
