"""An answer before it is bytes on a connection: what handlers make, whatever carries it."""

from typing import NamedTuple

from aiohttp import web


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
