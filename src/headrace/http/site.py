"""What the handlers of one server share."""

import asyncio
import os
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from headrace.core.commands import Caller, Poll, PollReply, Withdraw
from headrace.core.gates import tags_limited
from headrace.core.ids import JobIds, id_parse
from headrace.core.intake import Templates, Translator, submission
from headrace.core.job_types import TypeBook
from headrace.http.alarms import Alarms
from headrace.http.history import History
from headrace.http.identity import Identities, Identity
from headrace.http.meters import Meters
from headrace.http.modules import ModuleChecks
from headrace.http.passages import Passages
from headrace.http.polls import Caps
from headrace.http.rates import Rates
from headrace.http.sessions import Sessions
from headrace.http.streams import Streams
from headrace.http.tracing import Spans, provider_of
from headrace.http.views import Progress, job_view, progress_of, spec_of
from headrace.store.contract import StoredJob
from headrace.wire.documents import Kind, TypeDocument
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.schema import JobView, Spec
from headrace.wire.trace import NO_TRACE, Trace

if TYPE_CHECKING:
    from headrace.runtime.node import Node

CALLERS_KEPT_MAX: Final = 64
"""Callers of whose jobs templates are kept, a few KiB each."""


class Wait(Protocol):
    """A client's wait for news of a job."""

    def cancel(self) -> object:
        """End it: the client hears at once, without news."""


class Site:
    """One node behind one HTTP server."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self.config = node.config
        self.caps = Caps(self.config.result_bytes_max, self.config.output_bytes_max)
        self.clock = node.clock
        self.pump = node.pump
        self.store = node.store
        self.events = node.events
        self.epoch = node.engine.live.epoch
        self.ids = JobIds(os.urandom, node.store.last_id())
        self.modules = ModuleChecks(node.store)
        self.meters = Meters(node)
        self.history = History(node.pump, node.clock.wall_ms)
        self.spans = Spans(provider_of())
        self.draining = False
        self.types = TypeBook(
            node.store.documents, registered_only=self.config.types == "registered_only"
        )
        self.rates = Rates(self.config.rates)
        self.identities = Identities(
            node.store.documents,
            node.clock.wall_ms,
            self.rates,
            may_be_open=self.config.may_be_open,
        )
        self.sessions = Sessions()
        self.alarms = Alarms(node.pump, node.hooks)
        self.identities.on_failure = self.alarms.failed
        self.passages = Passages(self.identities)
        self._stamp = node.store.documents.intake_changes
        self._templates: dict[Caller, Templates] = {Caller(): {}}
        self._translator = Translator(submission(Caller(), 0), self._templates[Caller()])
        self._tags = tags_limited(node.store.documents.of(Kind.LIMIT).values())
        self._grouped: tuple[int, dict[str, frozenset[str]]] = -1, {}
        """Which changes of types it is of, and the types of each group."""
        self._told = self.pump.position, str(self.pump.position)
        self._polls: dict[int, str] = {}
        """Tickets of polls that may be parked, and the keys that they came with."""
        self._waits: set[Wait] = set()
        self.streams = Streams()

    @property
    def watches(self) -> bool:
        """Whether anything is told of each request."""
        return self.config.access_log or self.spans.wanted

    # Answers ------------------------------------------------------------------------------------

    def committed(self) -> dict[str, str]:
        """Return the header that says which commit an answer rests on."""
        position, text = self._told
        if position is not self.pump.position:
            position = self.pump.position
            text = str(position)
            self._told = position, text
        return {"Commit-Position": text}

    def translator(self, caller: Caller, trace: Trace = NO_TRACE) -> Translator:
        """Return what translates the jobs of a caller now; what comes at once shares it.

        Jobs of a trace have one of their own, since their templates tell of it.
        """
        if trace.parent:
            return Translator(self.translator(caller).come._replace(trace=trace), {})
        now_ms = self.clock.wall_ms()
        come = self._translator.come
        changed = self._stamp != self.store.documents.intake_changes
        if come.now_ms != now_ms or come.caller != caller or changed:
            templates = self._translator.templates
            if changed:
                self._stamp = self.store.documents.intake_changes
                self._templates.clear()
                self._tags = tags_limited(self.store.documents.of(Kind.LIMIT).values())
            if come.caller != caller or changed:
                if len(self._templates) >= CALLERS_KEPT_MAX:
                    self._templates.clear()
                templates = self._templates.setdefault(caller, {})
            priority_max = self.config.priority_max
            check_url = self.node.hooks.check_url
            come = submission(
                *(caller, now_ms, priority_max, self.types.get, self._tags, check_url),
                self.config.retention_ms_max,
            )
            self._translator = Translator(come, templates)
        return self._translator

    # Limits -------------------------------------------------------------------------------------

    def admit(self, who: Identity, peer: str) -> None:
        """Take the token of a request. Raises: Problem RATE_LIMITED."""
        rate = who.rate
        if rate is None and self.rates.limits_peers and self.identities.is_open():
            rate = self.rates.of_peer(peer, self.clock.now_ms())
        if rate is not None and rate.requests is not None:
            rate.requests.take(1, self.clock.now_ms())

    def charge(self, caller: Caller, jobs: int) -> None:
        """Take the tokens of jobs. Raises: Problem RATE_LIMITED."""
        if self.rates.by_key:
            self.rates.charge(caller.key_id, jobs, self.clock.now_ms())

    def types_of_group(self, group: str) -> frozenset[str]:
        """Return the job types that belong to a group."""
        changes = self.store.documents.changes(Kind.TYPE)
        if self._grouped[0] != changes:
            groups: dict[str, set[str]] = {}
            for name, document in self.store.documents.of(Kind.TYPE).items():
                value: TypeDocument = document.value()
                groups.setdefault(value.group, set()).add(name)
            self._grouped = changes, {name: frozenset(of) for name, of in groups.items() if name}
        return self._grouped[1].get(group, frozenset())

    # Jobs ---------------------------------------------------------------------------------------

    def read(self, caller: Caller, job_id: bytes) -> tuple[StoredJob, Spec]:
        """Return a job the caller may see. Raises: Problem; another tenant's job is no job."""
        stored = self.store.job(job_id)
        if stored is None:
            raise unknown_job()
        spec = spec_of(stored)
        if spec.tenant != caller.tenant:
            raise unknown_job()
        if spec.owner != caller.user and not caller.admin:
            raise Problem(ProblemCode.FORBIDDEN, "the job belongs to another user of this tenant")
        return stored, spec

    def progress(self, jobs: list[StoredJob]) -> list[Progress]:
        return progress_of(jobs, self.pump.progress, self.store)

    def views(self, jobs: list[StoredJob], tenant: str) -> list[JobView]:
        """Return what is shown of jobs of a tenant."""
        told = zip(jobs, self.progress(jobs), strict=True)
        return [job_view(stored, tenant, progress) for stored, progress in told]

    # Parking ------------------------------------------------------------------------------------

    async def poll(self, command: Poll) -> PollReply:
        """Ask for work. A stopping server refuses; one that begins to stop answers empty."""
        self.poll_begins(command)
        try:
            reply: PollReply = await self.pump.ask(command)
        finally:
            self.poll_ends(command)
        return reply

    def poll_begins(self, command: Poll) -> None:
        if self.draining:
            raise Problem(
                ProblemCode.SHUTTING_DOWN,
                "the server is stopping; ask again when it is back",
                retry_after_ms=1_000,
            )
        self.rates.enter(command.key_id)
        self._polls[command.ticket] = command.key_id

    def poll_ends(self, command: Poll) -> None:
        self.rates.leave(self._polls.pop(command.ticket, ""))

    async def revoked(self, key_id: str) -> None:
        """Send the parked polls of a key home, end its streams and sessions: it hears no more."""
        self.streams.end(key_id)
        self.sessions.end_of_key(key_id)
        tickets = [ticket for ticket, of in self._polls.items() if of == key_id]
        await asyncio.gather(*(self.pump.ask(Withdraw(ticket)) for ticket in tickets))

    def wait_begins(self, wait: Wait) -> None:
        self._waits.add(wait)

    def wait_ends(self, wait: Wait) -> None:
        self._waits.discard(wait)

    async def drain(self) -> None:
        """Send all that is parked home, empty."""
        self.draining = True
        self.alarms.close()
        for wait in tuple(self._waits):
            wait.cancel()
        if not self.pump.failed:
            await asyncio.gather(
                *(self.pump.ask(Withdraw(ticket)) for ticket in self._polls),
                return_exceptions=True,
            )


SITE: Final = web.AppKey("headrace.site", Site)


def site_of(request: web.Request) -> Site:
    return request.app[SITE]


def unknown_job() -> Problem:
    return Problem(ProblemCode.JOB_UNKNOWN, "no job has this id, or its record was removed")


def path_job_id(request: web.Request) -> bytes:
    """Return the id in the path; what is no id is no job."""
    job_id = id_parse(request.match_info["id"])
    if job_id is None:
        raise unknown_job()
    return job_id
