"""An answer before it is bytes on a connection: what handlers make, whatever carries it."""

from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time

SERVER_NAME: Final = "headrace"
"""Versions of what runs here are nobody's business."""

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    """In the order in which they are sent; `Content-Type` is one of them."""
    body: bytes
    closes: bool = False
    """The connection ends with it."""

    def response(self) -> web.Response:
        """Return it in aiohttp's words."""
        response = web.Response(status=self.status, headers=self.headers, body=self.body)
        if self.closes:
            response.force_close()
        return response


def wire_bytes(answer: Answer) -> bytes:
    """Return an answer as aiohttp would send it."""
    status, headers, body, _ = answer
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    head = (
        f"{_STATUS_LINES[status]}{lines}Server: {SERVER_NAME}\r\n"
        f"Content-Length: {len(body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"
    )
    return head.encode() + body
