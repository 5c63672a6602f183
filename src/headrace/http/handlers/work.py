"""What workers ask: the poll that does everything, and single-purpose forms for shell scripts."""

import logging
from typing import Final

import msgspec
from aiohttp import web

from headrace.core.commands import Ack, Grants, Outcome, Poll, PollReply, Progress, Report
from headrace.core.effects import ids_split
from headrace.http import polls
from headrace.http.answers import Answer
from headrace.http.decode import decode, read_json
from headrace.http.encode import answer, encoded
from headrace.http.hot import Asked, Question, respond
from headrace.http.identity import caller
from headrace.http.site import Site, site_of
from headrace.store.contract import RecordCorrupt
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.routes import LeaseAnswer
from headrace.wire.schema import LeaseProgress, LeaseReport

log = logging.getLogger("headrace.http")

LOST: Final = "lost"
NOBODY: Final = ""
"""The worker of a single-purpose form: the lease alone says what it is about."""

_report_decoder: Final = msgspec.json.Decoder(LeaseReport)
_progress_decoder: Final = msgspec.json.Decoder(LeaseProgress)


async def work_poll(request: web.Request) -> web.Response:
    return await respond(poll, request)


def poll(site: Site, asked: Asked) -> Question:
    who = asked.caller
    command = polls.poll_command(asked.body, site.pump.new_ticket(), site.caps)
    command.key_id = who.key_id
    if not who.all_tenants:
        polls.bind(command, who.tenant)

    def told(reply: PollReply) -> Answer:
        jobs = _work(site, reply.jobs)
        found = polls.poll_answer(reply, jobs, site.config.lease_ms, site.caps)
        return encoded(found, asked.accept, site.committed())

    return Question(command, told)


def _work(site: Site, grants: Grants) -> bytes:
    """Return the JSON of the jobs given out, apart by commas."""
    if not len(grants):
        return b""
    checkpoints = {}
    for position in grants.with_checkpoint:
        checkpoint = site.store.checkpoint(grants[position].job_id)
        if checkpoint is not None:
            checkpoints[position] = checkpoint
    return polls.work_json(grants, _specs(site, grants), checkpoints)


def _specs(site: Site, grants: Grants) -> list[bytes | None]:
    """Return stored specs; a damaged one must not cost the others of the answer their attempt."""
    job_ids = ids_split(grants.job_ids)
    try:
        return site.store.specs(job_ids)
    except RecordCorrupt:
        pass
    specs: list[bytes | None] = []
    for job_id in job_ids:
        try:
            specs.append(site.store.spec(job_id))
        except RecordCorrupt as error:
            log.error("a job cannot be given out: %s", error)
            specs.append(None)
    return specs


# One lease --------------------------------------------------------------------------------------


async def lease_complete(request: web.Request) -> web.Response:
    return await _report(request, Outcome.COMPLETED)


async def lease_fail(request: web.Request) -> web.Response:
    return await _report(request, Outcome.FAILED)


async def lease_release(request: web.Request) -> web.Response:
    return await _report(request, Outcome.RELEASED)


async def _report(request: web.Request, outcome: Outcome) -> web.Response:
    site, lease = site_of(request), request.match_info["lease"]
    told = decode(_report_decoder, await read_json(request, may_be_empty=True))
    if outcome is Outcome.RELEASED and told.retry_delay is not None:
        outcome = Outcome.SNOOZED
    reply = await _ask(request, report=polls.report_command(told, lease, outcome, site.caps))
    ack = reply.acks[0]
    assert isinstance(ack, Ack)
    if ack.problem is not None:
        raise ack.problem
    seen = polls.ack_view(ack)
    return answer(
        request, LeaseAnswer(lease=lease, ok=True, status=seen.status), headers=site.committed()
    )


async def lease_progress(request: web.Request) -> web.Response:
    site, lease = site_of(request), request.match_info["lease"]
    news = decode(_progress_decoder, await read_json(request, may_be_empty=True))
    reply = await _ask(request, progress=polls.progress_command(news, lease))
    orders = [order for order in reply.orders if order.lease == lease]
    if any(order.do == LOST for order in orders):
        raise Problem(ProblemCode.LEASE_STALE, "the lease is not held any more; drop the work")
    return answer(
        request,
        LeaseAnswer(lease=lease, ok=True, control=list(map(polls.order_view, orders))),
        headers=site.committed(),
    )


async def _ask(
    request: web.Request, *, report: Report | None = None, progress: Progress | None = None
) -> PollReply:
    """Speak for one lease as a poll that wants nothing and waits for nothing."""
    site, who = site_of(request), caller(request)
    command = Poll(
        site.pump.new_ticket(),
        NOBODY,
        reports=[] if report is None else [report],
        progress=[] if progress is None else [progress],
    )
    if not who.all_tenants:
        polls.bind(command, who.tenant)
    reply: PollReply = await site.pump.ask(command)
    return reply
