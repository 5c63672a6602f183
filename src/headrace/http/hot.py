"""The hot requests, submit and poll, apart from what carries them.

    Asked ──▶ handler ──▶ Question: a command ──▶ pump ──▶ its reply ──▶ Answer

aiohttp's handlers and the lane (see `lane`) both bring an `Asked` and carry the command; what
happens in between is one function for both. A handler that has to wait for something else on its
way (a module to be verified, others' turn during a large batch) is a coroutine of the answer.
"""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from aiohttp import web

from headrace.core.commands import Caller, Poll, Submit
from headrace.http.answers import Answer
from headrace.http.decode import read_json
from headrace.http.identity import caller
from headrace.http.site import Site, site_of

KEY_HEADER = "Idempotency-Key"


class Asked(NamedTuple):
    """What a handler needs of a request."""

    caller: Caller
    accept: str | None
    key: str | None
    """The header `Idempotency-Key`."""
    body: bytes
    """UTF-8 JSON, not decoded."""


class Question(NamedTuple):
    """A command, and how its reply is told. Both raise `Problem`s."""

    command: Submit | Poll
    answer: Callable[[Any], Answer]


Handler = Callable[[Site, Asked], Question | Coroutine[Any, Any, Answer]]


async def ask(site: Site, question: Question) -> Answer:
    command = question.command
    if isinstance(command, Poll):
        return question.answer(await site.poll(command))
    return question.answer(await site.pump.ask(command))


async def respond(handler: Handler, request: web.Request) -> web.Response:
    """Carry a request that came through aiohttp."""
    site, headers = site_of(request), request.headers
    who = caller(request)
    asked = Asked(who, headers.get("Accept"), headers.get(KEY_HEADER), await read_json(request))
    begun = handler(site, asked)
    answer = await (ask(site, begun) if isinstance(begun, Question) else begun)
    return answer.response()
