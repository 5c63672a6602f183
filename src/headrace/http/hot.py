"""The hot requests (submit, poll, wait for a job) apart from what carries them.

    Asked ──▶ handler ─┬▶ Question: a command ──▶ pump ──▶ its reply ─┬▶ Answer
                       └▶ Look: a job, at its end ──▶ store ──────────┘

aiohttp's handlers and the lane (see `lane`) both bring an `Asked` and carry the command; what
happens in between is one function for both. A handler that has to wait for something else on its
way (a module to be verified, others' turn during a large batch) is a coroutine of the answer.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from aiohttp import web

from headrace.core.commands import Caller, Poll, Submit
from headrace.http import tracing
from headrace.http.answers import Answer
from headrace.http.decode import read_json
from headrace.http.identity import caller
from headrace.http.site import Site, site_of
from headrace.http.waits import EndWait
from headrace.store.contract import StoredJob
from headrace.wire.problems import Problem
from headrace.wire.schema import Spec
from headrace.wire.trace import NO_TRACE, Trace

KEY_HEADER = "Idempotency-Key"


class Asked(NamedTuple):
    """What a handler needs of a request."""

    caller: Caller
    accept: str | None
    key: str | None = None
    """The header `Idempotency-Key`."""
    body: bytes = b""
    """UTF-8 JSON, not decoded."""
    job_id: bytes = b""
    """Of the job that the path names."""
    wait_ms: int = 0
    """How long the client lets itself be parked for the end of that job."""
    trace: Trace = NO_TRACE
    """That it is part of; looked at when jobs are submitted."""


class Question(NamedTuple):
    """A command, and how its reply is told. Both raise `Problem`s."""

    command: Submit | Poll
    answer: Callable[[Any], Answer]


class Look(NamedTuple):
    """A look at a job when it has ended, or the client's patience has; `answer` too may raise."""

    caller: Caller
    job_id: bytes
    wait_ms: int
    answer: Callable[[tuple[StoredJob, Spec]], Answer]


Handler = Callable[[Site, Asked], Question | Look | Coroutine[Any, Any, Answer]]


async def look(site: Site, asked: Look) -> Answer:
    future = asyncio.get_running_loop().create_future()
    wait = EndWait(site, asked, future)
    wait.begin()
    try:
        reply = await future
    finally:
        wait.forget()
    if isinstance(reply, Problem):
        raise reply
    return asked.answer(reply)


async def ask(site: Site, question: Question) -> Answer:
    command = question.command
    if isinstance(command, Poll):
        return question.answer(await site.poll(command))
    return question.answer(await site.pump.ask(command))


async def respond(handler: Handler, request: web.Request) -> web.Response:
    return (await carry(handler, request, request.headers.get("Accept"))).response()


async def carry(handler: Handler, request: web.Request, accept: str | None) -> Answer:
    """Carry a request that came through aiohttp. `accept`: as the header of this name."""
    site = site_of(request)
    who = caller(request)
    headers = request.headers
    body = await read_json(request)
    asked = Asked(who, accept, headers.get(KEY_HEADER), body, trace=tracing.trace_of(request))
    begun = handler(site, asked)
    assert not isinstance(begun, Look), "it has no body"
    return await (ask(site, begun) if isinstance(begun, Question) else begun)
