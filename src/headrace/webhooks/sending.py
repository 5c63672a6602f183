"""The one file that connects: a request to an address that the rules allow, read no further than
needed.

Each lane has a session, a connector and threads for names of its own: a thousand names that never
resolve hold up only their like. A connection serves one request; none is shared between tenants,
and none has been closed by the other side meanwhile, which for a POST would look like a failure.
"""

import asyncio
import logging
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from headrace.webhooks.addresses import AddressRefused, AddressRules
from headrace.webhooks.contract import Answer, Lane, Post
from headrace.webhooks.limits import (
    ANSWER_BYTES_MAX,
    ANSWER_MS_MAX,
    CONNECT_MS_MAX,
    TOTAL_MS_MAX,
)
from headrace.webhooks.urls import UrlRules, check_url

LOOKUP_THREADS: Final = 8
"""Of each lane; started as needed."""
HEADERS: Final = {
    "User-Agent": "headrace-webhooks",
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",  # nothing is unpacked here, so nothing can blow up
}
_CHUNK_BYTES: Final = 16 * 1024

_log: Final = logging.getLogger(__name__)


class Lookups(AbstractResolver):
    """Names to addresses, on threads of its own.

    The loop's own threads serve others too, and a lookup that hangs cannot be called off.
    """

    def __init__(self, threads: int = LOOKUP_THREADS) -> None:
        self._threads = ThreadPoolExecutor(threads, "webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads, _lookup, host, port, family
        )
        return [
            ResolveResult(
                hostname=host,
                host=str(where[0]),
                port=port,
                family=found,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found, _, protocol, _, where in infos
            if found in (socket.AF_INET, socket.AF_INET6)
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str, port: int, family: socket.AddressFamily) -> list[tuple[Any, ...]]:
    return list(
        socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
    )


class HttpSender:
    """Makes requests; `contract.Sender`."""

    def __init__(
        self,
        urls: UrlRules,
        addresses: AddressRules,
        *,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
        total_ms: int = TOTAL_MS_MAX,
    ) -> None:
        """`resolver` takes the place of threads and the system's names; `tls` of its roots."""
        self._urls = urls
        self._addresses = addresses
        self._resolver = resolver
        self._tls: ssl.SSLContext | bool = True if tls is None else tls
        self._timeout = aiohttp.ClientTimeout(
            total=total_ms / 1000, sock_connect=CONNECT_MS_MAX / 1000
        )
        self._sessions: dict[Lane, aiohttp.ClientSession] = {}
        self._lookups: list[Lookups] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        for lookups in self._lookups:
            await lookups.close()
        self._lookups.clear()

    async def send(self, post: Post) -> Answer:
        """Make one request. The status decides; what becomes of the body changes nothing."""
        try:
            # Again, since what is allowed may have changed since it was registered.
            url = check_url(post.url, self._urls, self._addresses)
        except ValueError as refused:
            return Answer(error=str(refused))
        try:
            async with self._session(post.lane).post(
                url, data=post.body, headers=post.headers, allow_redirects=False
            ) as response:
                await _read_some(response)
                return Answer(
                    status=response.status, retry_after=response.headers.get("Retry-After", "")
                )
        except Exception as error:
            reason = _reason(error)
            if not reason:
                _log.exception("a webhook's request failed in a way that has no name here")
                reason = "the request failed"
            return Answer(error=reason)

    def _session(self, lane: Lane) -> aiohttp.ClientSession:
        session = self._sessions.get(lane)
        if session is None:
            session = self._sessions[lane] = self._new_session()
        return session

    def _new_session(self) -> aiohttp.ClientSession:
        resolver = self._resolver
        if resolver is None:
            resolver = Lookups()
            self._lookups.append(resolver)
        connector = aiohttp.TCPConnector(
            resolver=resolver,
            socket_factory=self._addresses.socket_for,
            ssl=self._tls,
            force_close=True,
            limit=0,  # the dispatcher bounds what is out; waiting here would be unseen
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )


async def _read_some(response: aiohttp.ClientResponse) -> None:
    """Read a short body to its end, for a receiver that would log a broken connection."""
    left = ANSWER_BYTES_MAX
    try:
        async with asyncio.timeout(ANSWER_MS_MAX / 1000):
            while left > 0:
                chunk = await response.content.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    return
                left -= len(chunk)
    except (aiohttp.ClientError, OSError, TimeoutError):
        pass
    response.close()


def _reason(error: Exception) -> str:
    """Say why no answer came, without addresses; empty for what should not happen.

    More exact ones first: these classes inherit from each other.
    """
    if isinstance(error, aiohttp.ClientConnectorError) and _is_refused(error.os_error):
        return "the address is not allowed for webhooks"
    for kinds, reason in _REASONS:
        if isinstance(error, kinds):
            return reason
    return ""


def _is_refused(error: OSError) -> bool:
    return isinstance(error, AddressRefused)


_REASONS: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...]] = (
    (TimeoutError, "no answer in time"),
    (aiohttp.ClientConnectorDNSError, "the host's name has no address"),
    (
        (aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError),
        "no secure connection: TLS or the certificate failed",
    ),
    (aiohttp.ClientConnectorError, "no connection"),
    (aiohttp.InvalidURL, "the URL cannot be used"),
    (aiohttp.ServerDisconnectedError, "the connection was closed without an answer"),
    ((aiohttp.ClientPayloadError, aiohttp.ClientResponseError), "the answer is not HTTP"),
    ((aiohttp.ClientError, OSError), "the connection broke"),
    (UnicodeError, "the host's name cannot be looked up"),
)
