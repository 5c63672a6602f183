"""Single submits that come at once, carried together.

    request ─┐                 ┌ one command for all ┐              ┌─▶ answer
    request ─┼─▶ the pump's ───┤ of a caller, each   ├──▶ commit ───┼─▶ answer
    request ─┘   next turn     └ taken by itself ────┘              └─▶ answer

A job in a request of its own costs much beside the job: a command, a look at the clock, a header,
a count, a share of a commit. What comes between two commits shares these. What is not plain (a
module, a key, a body that is refused) goes the way of one request, which has the words for it.

Clients that send a job when the last one is answered would fall into two groups that take turns:
one is being committed while the other gathers, and each commit is of half of them. So when many are
answered at once, the next command waits a moment for them, if it paid the last time.
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

PATIENCE_SHARE: Final = 1 / 4
"""Of the time that the last commit took, the next command waits at most so much."""
PATIENCE_S_MIN: Final = 0.001
"""The least that the loop's timers can measure."""
PATIENCE_S_MAX: Final = 0.01
MANY: Final = 8
"""Answered at once, they are waited for."""
BACK_SHARE: Final = 7 / 8
"""Of those that may come, so many are enough."""
DOUBT_MAX: Final = 63
"""Commands that do not wait, after it was in vain again and again."""


class Singles:
    """Those of one server that wait for the pump's next turn, by caller."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._waiting: dict[Caller, Together] = {}
        self._number = 0
        """Of those that wait."""
        self._enough = 1
        """So many go, when none is under way; more than 1 while there is patience."""
        self._under_way = 0
        self._began_s = 0.0
        """When the last of them set out."""
        self._answered = 0
        """Since none was under way."""
        self._patience: asyncio.TimerHandle | None = None
        self._doubt = 0
        """Rises when patience was in vain; 0: it paid."""
        self._doubts = 0
        """Times that it is not tried."""
        site.pump.gather = self._go

    def add(self, connection: "LaneConnection", passage: Passage, body: bytes) -> None:
        try:
            check_utf8(body)
        except Problem:
            connection.go_alone(passage, body)
            return
        together = self._waiting.get(passage.caller)
        if together is None:
            together = self._waiting[passage.caller] = Together(self, self._site)
        together.connections.append(connection)
        together.passages.append(passage)
        together.bodies.append(body)
        self._number += 1
        if self._number == self._enough and not self._under_way:
            self._site.pump.turn_soon()

    def _go(self, at_any_rate: bool) -> None:
        """Give the pump, whose turn begins, a command for each caller."""
        if not self._number:
            return
        if not at_any_rate and (self._under_way or self._number < self._enough):
            return
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            if self._number >= self._enough:
                self._doubt = 0
        waiting, self._waiting = self._waiting, {}
        self._number, self._enough = 0, 1
        for caller, together in waiting.items():
            together.go(caller)

    def begin(self, requests: int) -> None:
        self._under_way += requests
        self._began_s = asyncio.get_running_loop().time()

    def end(self, requests: int) -> None:
        """Requests are answered. When all are, those that wait go, or wait for some of these."""
        self._under_way -= requests
        self._answered += requests
        if self._under_way:
            return
        answered, self._answered = self._answered, 0
        if answered >= MANY and self._patience is None:
            if self._doubts:
                self._doubts -= 1
            else:
                self._be_patient(answered)
        if self._number >= self._enough:
            self._site.pump.turn_soon()

    def _be_patient(self, answered: int) -> None:
        self._enough = max(1, int((self._number + answered) * BACK_SHARE))
        loop = asyncio.get_running_loop()
        share_s = (loop.time() - self._began_s) * PATIENCE_SHARE
        patience_s = min(max(PATIENCE_S_MIN, share_s), PATIENCE_S_MAX)
        self._patience = loop.call_later(patience_s, self._is_over)

    def _is_over(self) -> None:
        """Wait no longer."""
        self._patience = None
        if 0 < self._number < self._enough / 2:
            self._doubt = self._doubts = min(2 * self._doubt + 1, DOUBT_MAX)
        self._enough = 1
        if self._number:
            self._site.pump.turn_soon()


class Together:
    """Requests of one caller, from their bodies to their answers."""

    def __init__(self, singles: Singles, site: Site) -> None:
        self._singles = singles
        self._site = site
        self.connections: list[LaneConnection] = []
        self.passages: list[Passage] = []
        self.bodies: list[bytes] = []

    def go(self, caller: Caller) -> None:
        jobs = self._jobs(caller)
        if jobs:
            self._singles.begin(len(self.connections))
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
        self._singles.end(len(self.connections))

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
