"""Requests and answers: one connection pool to one server, repeats where they do no harm."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import quote

import msgspec

from headrace import __version__
from headrace.sdk.errors import ServerProblem, ServerUnreachable, UsageError
from headrace.wire import limits

if TYPE_CHECKING:
    import aiohttp

URL_DEFAULT: Final = "http://127.0.0.1:8080"
URL_VARIABLE: Final = "HEADRACE_URL"
API_KEY_VARIABLE: Final = "HEADRACE_API_KEY"
API_KEY_FILE_VARIABLE: Final = "HEADRACE_API_KEY_FILE"
ANSWER_S_MAX: Final = 60.0
CONNECT_S_MAX: Final = 10.0
TRIES_MAX: Final = 4
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0

Answer = TypeVar("Answer")
Duration = float | str


def api_key_of(environ: Mapping[str, str]) -> str | None:
    """Return the key that the environment holds or names the file of. Raises: UsageError."""
    key = environ.get(API_KEY_VARIABLE)
    path = environ.get(API_KEY_FILE_VARIABLE)
    if key or not path:
        return key
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{API_KEY_FILE_VARIABLE}: {path} cannot be read: {error}") from None


class _Page(msgspec.Struct):
    """What all pages of lists have."""

    next: str | int | None = None


class Connection:
    """One server. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        user: str | None = None,
        tenant: str | None = None,
    ) -> None:
        """url: else from HEADRACE_URL. api_key: else from HEADRACE_API_KEY, or the file that
        HEADRACE_API_KEY_FILE names. user, tenant: who asks, of a server in open mode.

        Raises: UsageError.
        """
        url = url or os.environ.get(URL_VARIABLE) or URL_DEFAULT
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"{url!r} is not an address such as {URL_DEFAULT}")
        self.url = url.rstrip("/")
        self._headers = {"User-Agent": f"headrace-sdk/{__version__}", "Accept": "application/json"}
        api_key = api_key or api_key_of(os.environ)
        for name, value in (
            ("Authorization", f"Bearer {api_key}" if api_key else None),
            ("X-User-ID", user),
            ("X-Tenant-ID", tenant),
        ):
            if value:
                self._headers[name] = value
        self._session: aiohttp.ClientSession | None = None
        self._answered = False
        """The server has answered something."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for anything that has no method here, in JSON; it is not asked for again."""
        data = None if body is None else json_of(body)
        return msgspec.json.decode(await self._request(method, path, data))

    async def _pages(
        self, path: str, query: Mapping[str, str] | None = None, *, by: str = "after"
    ) -> AsyncIterator[bytes]:
        """Yield all pages of a list. by: the parameter that takes `next`."""
        asked = {"limit": str(limits.LIST_LIMIT_MAX), **(query or {})}
        while True:
            data = await self._request("GET", path, query=asked, again=True)
            yield data
            following = decode(data, _Page).next
            if following is None:
                return
            asked[by] = str(following)

    async def _ask(
        self,
        method: str,
        path: str,
        shape: type[Answer],
        body: bytes | None = None,
        *,
        query: Any = None,
        again: bool = False,
    ) -> Answer:
        return decode(await self._request(method, path, body, query=query, again=again), shape)

    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Any = None,
        content_type: str = "application/json",
        again: bool = False,
    ) -> bytes:
        """Return the answer's body. again: a repeat does no harm."""
        wait_s = RETRY_S_MIN
        for tries_left in range(TRIES_MAX - 1, -1, -1):
            try:
                return await self._request_once(method, path, body, query, content_type)
            except ServerUnreachable:
                if not again or not tries_left:
                    raise
                pause_s = wait_s
            except ServerProblem as problem:
                if not again or not tries_left or not problem.retryable:
                    raise
                pause_s = max(wait_s, problem.retry_after_s or 0.0)
                if pause_s > RETRY_S_MAX:
                    raise  # the caller knows better whether that is worth waiting for
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads clients
            wait_s = min(wait_s * 3, RETRY_S_MAX)
        raise AssertionError("the last try returns or raises")

    async def _request_once(
        self, method: str, path: str, body: bytes | None, query: Any, content_type: str
    ) -> bytes:
        import aiohttp

        headers = {} if body is None else {"Content-Type": content_type}
        try:
            async with self._open().request(
                method, self.url + path, data=body, params=query or None, headers=headers
            ) as response:
                data = await response.read()
                self._answered = True
                if 200 <= response.status < 300:
                    return data
                raise problem_of(response.status, data, response.headers)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from None  # it says all; theirs are fifty lines

    def _open(self) -> "aiohttp.ClientSession":
        import aiohttp  # with the first request: it takes most of what importing this package took

        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(total=ANSWER_S_MAX, sock_connect=CONNECT_S_MAX),
            )
        return self._session

    def _unreachable(self, error: BaseException) -> ServerUnreachable:
        return ServerUnreachable(f"{self.url}: {_reason(error)}")


def decode(body: bytes, shape: type[Answer]) -> Answer:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ServerUnreachable(f"this is not the answer of a headrace server: {error}") from error


def problem_of(status: int, data: bytes, headers: Mapping[str, str]) -> ServerProblem:
    try:
        members = msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        members = {}
    members.setdefault("retryable", status in (408, 425, 429, 502, 503, 504))
    retry_after = headers.get("Retry-After", "")
    return ServerProblem(status, members, float(retry_after) if retry_after.isdigit() else None)


def json_of(value: Any) -> bytes:
    """Raises: UsageError."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"JSON cannot carry it: {error}") from None


def name_in_path(name: str) -> str:
    """Return a name as a part of a path. Raises: UsageError."""
    if name in ("", ".", ".."):
        raise UsageError(f"{name!r} is not a name")
    return quote(name, safe="")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):
        if (number := error.os_error.errno or 0) > 0:
            return os.strerror(number).lower()  # asyncio's words show a tuple for the address
        return error.strerror or str(error.os_error)
    return str(error) or type(error).__name__
