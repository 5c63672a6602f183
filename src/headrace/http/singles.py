"""Single submits that come at once, carried together.

    request ─┐                 ┌ one command for all ┐              ┌─▶ answer
    request ─┼─▶ the pump's ───┤ of a caller, each   ├──▶ commit ───┼─▶ answer
    request ─┘   next batch    └ taken by itself ────┘              └─▶ answer

A job in a request of its own costs much beside the job: a command, a look at the clock, a header,
a count, a share of a commit. What comes between two commits shares these. What is not plain (a
module, a key, a body that is refused) goes the way of one request, which has the words for it.
"""

import asyncio
import logging
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec

from headrace.core.commands import Caller, NewJobs, SubmitEach, Submitted
from headrace.core.ids import ID_BYTES, id_text
from headrace.core.intake import JobTexts, Translator, job_texts_each
from headrace.core.job import Status
from headrace.http._wire import around_ids
from headrace.http.answers import wire_bytes
from headrace.http.decode import check_utf8
from headrace.http.errors import problem_answer
from headrace.http.handlers.submit import submit_answer
from headrace.http.head import SINGLES, Passage
from headrace.http.site import Site
from headrace.wire.problems import Problem

if TYPE_CHECKING:
    from headrace.http.lane import LaneConnection

log = logging.getLogger("headrace.http")

PUT_BY_BYTES_MAX: Final = 1 << 20
"""Bodies of more go to the pump, which counts them, though it closes no batch yet."""


class Singles:
    """Those of one server that wait for the pump to close a batch, by caller."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._waiting: dict[Caller, Together] = {}
        self._bytes = 0
        """Of their bodies."""
        site.pump.gather = self._go

    def add(self, connection: "LaneConnection", passage: Passage, body: bytes) -> None:
        try:
            check_utf8(body)
        except Problem:
            connection.go_alone(passage, body)
            return
        together = self._waiting.get(passage.caller)
        if together is None:
            together = self._waiting[passage.caller] = Together(self._site)
        together.connections.append(connection)
        together.passages.append(passage)
        together.bodies.append(body)
        self._bytes += len(body)
        if self._bytes > PUT_BY_BYTES_MAX:
            self._go()
        else:
            self._site.pump.note()

    def _go(self) -> None:
        """Give the pump a command for each caller."""
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        for caller, together in waiting.items():
            try:
                together.go(caller)
            except Exception:  # must neither end the pump's turn nor keep the others waiting
                log.exception("single submits cannot be taken")
                for connection in together.connections:
                    connection.abort()


class Together:
    """Requests of one caller, from their bodies to their answers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.connections: list[LaneConnection] = []
        self.passages: list[Passage] = []
        self.bodies: list[bytes] = []

    def go(self, caller: Caller) -> None:
        jobs = self._jobs(caller)
        if jobs:
            try:
                self._site.pump.post(SubmitEach(caller, jobs), self)
            except Problem as problem:
                self.set_result(problem)

    def _jobs(self, caller: Caller) -> list[NewJobs]:
        """Return the jobs of the bodies that are plain; send the others their way."""
        runs, others = job_texts_each(self.bodies, len(self.bodies))
        self._part_with(others)
        translator = self._site.translator(caller)
        jobs: list[NewJobs] = []
        others = []
        position = 0
        for texts in runs:
            new = self._alike(translator, texts)
            if new is None:
                others += range(position, position + len(texts))
            else:
                jobs.append(new)
            position += len(texts)
        self._part_with(others)
        self.passages, self.bodies = [], []
        return jobs

    def _alike(self, translator: Translator, texts: JobTexts) -> NewJobs | None:
        ids = self._site.ids.make_many(translator.come.now_ms, len(texts))
        try:
            return translator.new_jobs(texts, ids)
        except Exception:  # whatever it is: alone, each request meets it again, and is told
            return None

    def _part_with(self, positions: list[int]) -> None:
        """Let the requests at these positions, which rise, go alone."""
        for position in positions:
            connection = self.connections[position]
            connection.go_alone(self.passages[position], self.bodies[position])
        for position in reversed(positions):
            del self.connections[position], self.passages[position], self.bodies[position]

    # What the pump calls ------------------------------------------------------------------------

    def done(self) -> bool:
        """Say no: a client that went away does not take its job back."""
        return False

    def cancelled(self) -> bool:
        return False

    def set_result(self, replies: Any, /) -> None:
        if isinstance(replies, Problem):
            replies = [replies] * len(self.connections)
        answers = Answers(self._site)
        now_s = asyncio.get_running_loop().time()
        waiting = iter(self.connections)
        for reply in replies:
            jobs = 1 if isinstance(reply, Problem) else len(reply.job_ids) // ID_BYTES
            connections = list(islice(waiting, jobs))
            try:
                self._tell(reply, answers, connections, now_s)
            except Exception:  # must not end the pump's turn
                log.exception("an answer cannot be sent")
                for connection in connections:
                    connection.abort()

    def _tell(
        self,
        reply: Submitted | Problem,
        answers: "Answers",
        connections: list["LaneConnection"],
        now_s: float,
    ) -> None:
        told = 0
        status, texts = answers.of(reply)
        for connection, text in zip(connections, texts, strict=True):
            if connection.transport is not None:
                connection.send(text, now_s)
                told += 1
        if told:
            self._site.meters.count(SINGLES, status, told)


class Answers:
    """Answers that are told at once, as bytes: alike, but for the job's id."""

    def __init__(self, site: Site) -> None:
        self._headers = site.committed()
        self._around: dict[tuple[Status, bool, str], tuple[bytes, bytes]] = {}
        """What stands before and behind the id, by all else that a reply says."""

    def of(self, reply: Submitted | Problem) -> tuple[int, list[bytes]]:
        """Return the status, and an answer for each job of the reply."""
        if isinstance(reply, Problem):
            answer = problem_answer(reply)
            return answer.status, [wire_bytes(answer)]
        says = reply.status, reply.replayed, reply.never_fits
        around = self._around.get(says)
        if around is None:
            first = msgspec.structs.replace(reply, job_ids=reply.job_ids[:ID_BYTES])
            text = wire_bytes(submit_answer(first, None, self._headers))
            before, _, behind = text.partition(id_text(first.job_ids).encode())
            around = self._around[says] = before, behind
        return HTTPStatus.OK, around_ids(reply.job_ids, *around)
