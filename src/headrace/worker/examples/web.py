"""Handlers that speak HTTP: `http_request` and `send_webhook`.

    HEADRACE_HTTP_HOSTS=api.example.com,127.0.0.1:8081 headrace work headrace.worker.examples.web

Jobs come from whoever may submit, and this worker stands inside of your network; so it speaks only
to the hosts that the variable names, and to none without it. What fails in a way that may pass is
tried again, as long as the other side asks for; a request that is wrong in itself is not.
HEADRACE_WEBHOOK_SECRET (`whsec_…`) signs webhooks as Standard Webhooks has it.
"""

import base64
import binascii
import hashlib
import hmac
import os
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
from msgspec import Meta

from headrace.wire import limits
from headrace.worker.handlers import PermanentError, Retry, Worker, WorkerDefinitionError
from headrace.worker.handlers_async import AsyncContext

HOSTS_VARIABLE: Final = "HEADRACE_HTTP_HOSTS"
SECRET_VARIABLE: Final = "HEADRACE_WEBHOOK_SECRET"  # noqa: S105 - its name
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - what all of them begin with
BODY_BYTES_MAX: Final = 128 * limits.KIB
"""Of an answer; more is cut, and said so. As JSON it may be six times as long."""
TIMEOUT_S_MAX: Final = 300.0
RETRY_S_MAX: Final = 3_600.0
"""The longest pause that the other side may ask for."""
LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another try may change."""
HEADERS_MAX: Final = 64
HEADERS_TOLD: Final = ("content-type", "etag", "last-modified", "location")
HEADERS_OURS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})

assert 6 * BODY_BYTES_MAX < limits.OUTPUT_BYTES_MAX

Url = Annotated[str, Meta(min_length=1, max_length=2_000)]
Timeout = Annotated[float, Meta(gt=0, le=TIMEOUT_S_MAX)]

worker = Worker()


class NoAnswerError(Exception):
    """The other side cannot be reached, or asks for patience: another try may do."""


class HttpRequest(msgspec.Struct, forbid_unknown_fields=True):
    url: Url
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str] = {}
    json: Any = None
    """Sent as the body; not with `body`."""
    body: str | None = None
    timeout_s: Timeout = 30.0


class HttpAnswer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: str
    """Text; what is no UTF-8 is replaced."""
    body_cut: bool = False


class SendWebhook(msgspec.Struct, forbid_unknown_fields=True):
    url: Url
    payload: Any
    timeout_s: Timeout = 15.0


@worker.job("http_request", params=HttpRequest)
async def http_request(ctx: AsyncContext, params: HttpRequest) -> HttpAnswer:
    """Ask, and return the answer. Answers from 400 on fail the job."""
    data = params.body.encode() if params.body is not None else None
    headers = dict(params.headers)
    if params.json is not None:
        if data is not None:
            raise PermanentError("send json or body, not both", code="params_invalid")
        data = msgspec.json.encode(params.json)
        headers.setdefault("Content-Type", "application/json")
    # A server that knows the header does nothing twice when an attempt is made again.
    headers.setdefault("Idempotency-Key", ctx.job.id)
    answer = await ask(params.method, params.url, headers, data, params.timeout_s)
    ctx.log(f"{params.method} {urlsplit(params.url).hostname}: {answer.status}")
    return answer


@worker.job("send_webhook", params=SendWebhook)
async def send_webhook(ctx: AsyncContext, params: SendWebhook) -> dict[str, int]:
    """Deliver a payload. Every attempt has the same `webhook-id`, so that a receiver can tell."""
    data = msgspec.json.encode(params.payload)
    headers = {"Content-Type": "application/json", **signed(ctx.job.id, data)}
    answer = await ask("POST", params.url, headers, data, params.timeout_s)
    return {"status": answer.status}


def signed(message_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks; the signature only if there is a secret.

    Source: the Standard Webhooks specification. Raises: WorkerDefinitionError.
    """
    at = str(int(time.time()))
    headers = {"webhook-id": message_id, "webhook-timestamp": at}
    secret = os.environ.get(SECRET_VARIABLE)
    if secret:
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise WorkerDefinitionError(f"{SECRET_VARIABLE} is not a secret of base64") from None
        message = f"{message_id}.{at}.".encode() + body
        digest = hmac.new(key, message, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


async def ask(
    method: str, url: str, headers: Mapping[str, str], data: bytes | None, timeout_s: float
) -> HttpAnswer:
    """Send one request and read its answer, up to a bound. Redirects are answers.

    Raises: PermanentError; NoAnswerError and Retry, after which the job is tried again, by its own
    delay or when the other side says.
    """
    check_url(url)
    if len(headers) > HEADERS_MAX:
        raise PermanentError(f"at most {HEADERS_MAX} headers", code="params_invalid")
    for name, value in headers.items():
        if name.lower() in HEADERS_OURS or not name.isascii() or not (name + value).isprintable():
            raise PermanentError(f"the header {name[:40]!r} cannot be set", code="params_invalid")
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(
                method, url, headers=headers, data=data, allow_redirects=False
            ) as response,
        ):
            body = await _read(response)
            status, told = response.status, response.headers
    except TimeoutError:
        raise NoAnswerError(f"no answer within {timeout_s:g} s") from None
    except (aiohttp.InvalidURL, ValueError) as error:
        raise PermanentError(f"the address is not valid: {error}", code="params_invalid") from None
    except (aiohttp.ClientError, OSError) as error:
        raise NoAnswerError(f"no connection: {type(error).__name__}") from None
    if status in LATER:
        wait_s = _retry_after_s(told.get("Retry-After"))
        if wait_s > 0:
            raise Retry(wait_s, f"the answer was {status}")
        raise NoAnswerError(f"the answer was {status}")
    if status >= 400:
        raise PermanentError(f"the answer was {status}", code=f"http_{status}")
    return HttpAnswer(
        status,
        {name: told[name] for name in HEADERS_TOLD if name in told},
        body[:BODY_BYTES_MAX].decode("utf-8", "replace"),
        len(body) > BODY_BYTES_MAX,
    )


def check_url(url: str) -> None:
    """Raises: PermanentError unless the operator has named the host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise PermanentError(f"the address is not valid: {error}", code="params_invalid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise PermanentError(
            "the address is http:// or https:// with a host, and no user", code="params_invalid"
        )
    named = {host.strip().lower() for host in os.environ.get(HOSTS_VARIABLE, "").split(",")}
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = port is None or port == (443 if parts.scheme == "https" else 80)
    if not ((usual and host in named) or f"{host}:{port}" in named):
        raise PermanentError(
            f"this worker may not speak to that host; its operator names hosts in {HOSTS_VARIABLE}",
            code="host_not_allowed",
        )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or a little more of it than is kept."""
    pieces, size = [], 0
    async for piece in response.content.iter_chunked(64 * limits.KIB):
        pieces.append(piece)
        size += len(piece)
        if size > BODY_BYTES_MAX:
            break
    return b"".join(pieces)


def _retry_after_s(text: str | None) -> float:
    """Return how long to wait, by a header that is seconds or a date."""
    wait_s = 0.0
    if text is not None and text.isascii() and text.isdigit():
        wait_s = float(text)
    elif text is not None:
        try:
            wait_s = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, OverflowError):
            wait_s = 0.0
    return min(max(wait_s, 0.0), RETRY_S_MAX)
