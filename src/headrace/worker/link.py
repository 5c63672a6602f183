"""The worker's requests to the server, and what can go wrong with them.

LinkError
├── Unreachable   no answer, or one that says "later": try again
└── Refused       an answer that says no: the same request again would not help
"""

import asyncio
import os
import random
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from headrace import __version__
from headrace.wire import limits
from headrace.wire.schema import PollAnswer, PollRequest

ANSWER_BYTES_MAX: Final = 2 * limits.BODY_BYTES_MAX
BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 15.0
CONNECT_S_MAX: Final = 10.0


class LinkError(Exception):
    """The server did not do what was asked."""


class Unreachable(LinkError):  # noqa: N818 - a state, not an error
    """Nobody answers, or the server asks for patience.

    retry_after_s: what the server asked for; 0 for nothing.
    """

    def __init__(self, detail: str, retry_after_s: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Refused(LinkError):  # noqa: N818 - what happened
    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status = status
        self.code = code
        self.detail = detail


class Backoff:
    """Waiting times that double, each drawn between half and the whole of its bound."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311 - only spreads workers in time
        self._bound_s = BACKOFF_S_MIN

    def next_s(self, at_least_s: float = 0.0) -> float:
        bound_s = max(self._bound_s, at_least_s)
        self._bound_s = min(self._bound_s * 2, BACKOFF_S_MAX)
        return bound_s * self._random.uniform(0.5 if bound_s > at_least_s else 1.0, 1.0)

    def reset(self) -> None:
        self._bound_s = BACKOFF_S_MIN


class Server(Protocol):
    """What a worker asks of a server, however it reaches it. Raises: Unreachable, Refused."""

    async def poll(self, request: PollRequest, timeout_s: float) -> PollAnswer: ...

    async def module(self, sha256: str, timeout_s: float) -> bytes: ...

    async def close(self) -> None: ...


class Link:
    """One server, over kept-alive connections. Made and used on one event loop."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._url = url.rstrip("/")
        headers = {
            "User-Agent": f"headrace-worker/{__version__}",
            "Content-Type": "application/json",
        }
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S_MAX),
            connector=aiohttp.TCPConnector(limit=8, keepalive_timeout=60),
        )
        self._decoder = msgspec.json.Decoder(PollAnswer)

    async def close(self) -> None:
        await self._session.close()

    async def poll(self, request: PollRequest, timeout_s: float) -> PollAnswer:
        """Raises: Unreachable, Refused."""
        body = msgspec.json.encode(request)
        answer = await self._ask("POST", "/api/v1/work/poll", timeout_s, body)
        try:
            return self._decoder.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unreachable(f"the answer to a poll makes no sense: {error}") from error

    async def module(self, sha256: str, timeout_s: float) -> bytes:
        """Raises: Unreachable, Refused."""
        return await self._ask("GET", f"/api/v1/modules/{sha256}", timeout_s)

    async def _ask(
        self, method: str, path: str, timeout_s: float, body: bytes | None = None
    ) -> bytes:
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(method, self._url + path, data=body) as response,
            ):
                data = await response.read()
                status, headers = response.status, response.headers
        except TimeoutError:
            raise Unreachable(f"{self._url} did not answer within {timeout_s:.0f} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"cannot reach {self._url}: {_reason(error)}") from error
        if status == 200:
            return data
        raise _problem(status, data, headers.get("Retry-After"))


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        if (number := error.os_error.errno or 0) > 0:
            return os.strerror(number).lower()  # asyncio's words show a tuple for the address
        return error.strerror or str(error.os_error)  # its own text speaks of SSL where none is
    return str(error) or type(error).__name__


def _problem(status: int, data: bytes, retry_after: str | None) -> LinkError:
    try:
        members: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        members = {}
    detail = str(members.get("detail") or members.get("title") or f"HTTP status {status}")
    code = str(members.get("code") or "")
    if status in (408, 425, 429) or status >= 500 or members.get("retryable") is True:
        wait_s = 0.0
        if retry_after is not None and retry_after.isdigit():
            wait_s = min(float(retry_after), BACKOFF_S_MAX)
        return Unreachable(f"{detail} ({status} {code})", wait_s)
    return Refused(status, code, detail)
