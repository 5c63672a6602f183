"""Finished jobs that go when their time is over: who asks for it, and what must hold."""

from typing import TYPE_CHECKING, Any

from headrace.core.commands import Caller, Cleanup, Sweep
from headrace.core.effects import JobDeleted
from headrace.wire.documents import Kind
from headrace.wire.problems import Problem
from sim.said import said_by
from sim.settings import Settings
from sim.world import World, fail

if TYPE_CHECKING:
    from sim.model import Model
    from sim.server import Server

FOREVER_MS = 1 << 60
CATCH_UP = 12
TENTH = 0.1


class Janitor:
    """Sweeps now and then, as the runtime does; sometimes an operator cleans up."""

    def __init__(self, world: World, settings: Settings, server: "Server") -> None:
        self._world = world
        self._server = server
        self._every_ms = settings.sweep_ms
        self._later()

    def _later(self) -> None:
        self._world.at(self._world.between(1, 2 * self._every_ms), self._begin)

    def _begin(self) -> None:
        if not self._server.up or self._server.failing:
            self._later()
        elif self._world.chance(TENTH):
            self._clean(self._world.between(0, 30_000), b"")
        else:
            self._sweep(b"")

    def _sweep(self, after_id: bytes) -> None:
        def done(reply: Any) -> None:
            if reply is None or isinstance(reply, Problem) or reply.next_id is None:
                self._later()
            else:
                self._world.at(1, self._go_on, reply.next_id)

        self._server.ask(Sweep(after_id), done)

    def _go_on(self, after_id: bytes) -> None:
        if self._server.up and not self._server.failing:
            self._sweep(after_id)
        else:
            self._later()

    def _clean(self, older_than_ms: int, after_id: bytes) -> None:
        root = Caller("t1", "root", admin=True)
        self._server.ask(Cleanup(root, older_than_ms, after_id), lambda _reply: self._later())


class Retention:
    """Part of the model: what may go, and what must have gone after a sweep."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self._now_ms = 0
        self._seen_ms = 0
        self._due: dict[bytes, Any] = {}
        """What this sweep must take with it: ends of jobs that do not run again meanwhile."""
        self._told_of: set[bytes] = set()
        """Jobs that stay: when a part of this sweep came, others were yet to hear of their end."""
        self._rules: dict[str, int] = {}

    def restarted(self, now_ms: int) -> None:
        wall_ms = self._model.world.wall_ms()
        self._now_ms = min(wall_ms, self._model.durable_ms or wall_ms)
        self._seen_ms = now_ms
        self._due = {}

    def pass_time(self, now_ms: int, wall_ms: int) -> None:
        before_ms = self._now_ms
        self._now_ms = min(wall_ms, self._now_ms + CATCH_UP * (now_ms - self._seen_ms))
        if self._now_ms < before_ms:
            self._due = {}  # what was over may be no more when the sweep meets it
        self._seen_ms = now_ms

    def _rules_now(self) -> dict[str, int]:
        """Return how long jobs of each type are kept; of others as under None."""
        default_ms = self._model.settings.retention_ms
        rules: dict[Any, int] = {None: FOREVER_MS if default_ms is None else default_ms}
        for (kind, name), document in self._model.documents.items():
            if kind is Kind.TYPE:
                keep_ms = said_by(document).get("retention_ms")
                if keep_ms is not None:
                    rules[name] = FOREVER_MS if keep_ms < 0 else keep_ms
        return rules

    def _keep_ms(self, rules: dict[Any, int], job_id: bytes) -> int:
        sent = self._model.sent[job_id]
        if sent.retention is not None:
            return FOREVER_MS if sent.retention == "never" else round(sent.retention * 1_000)
        return rules.get(sent.requirements.kind, rules[None])

    def part(self, command: Sweep | Cleanup, reply: Any) -> None:
        model = self._model
        if type(command) is not Sweep:
            return
        if command.after_id:
            self._told_of |= model.waiting.telling
            return
        self._told_of = set(model.waiting.telling)
        self._rules = rules = self._rules_now()
        shortest_ms = min(rules.values())
        self._due = {
            job_id: finished
            for job_id, finished in model.ended.items()
            if finished.finished_at_ms + self._keep_ms(rules, job_id) <= self._now_ms
            and (
                model.sent[job_id].retention is not None
                or int.from_bytes(job_id[:6], "big") + shortest_ms <= self._now_ms
            )
            and job_id in model.durable
            and model.durable[job_id].finished is finished
            and job_id not in model.unheard
        }

    def part_done(self, reply: Any) -> None:
        if reply.next_id is None and self._rules == self._rules_now():
            ended = self._model.ended
            left = [
                job_id
                for job_id, end in self._due.items()
                if ended.get(job_id) is end and job_id not in self._told_of
            ]
            if left:
                fail("swept_when_over", f"{[job_id.hex() for job_id in left]} are still there")

    def kept_long_enough(self, now_ms: int, command: Sweep | Cleanup, effect: JobDeleted) -> None:
        model = self._model
        job_id = effect.job_id
        finished = model.ended.get(job_id)
        if finished is None:
            fail("kept_long_enough", f"{job_id.hex()} deleted, it has not ended")
        elif type(command) is Cleanup:
            if finished.finished_at_ms + command.older_than_ms > now_ms + model.offset_ms:
                fail("kept_long_enough", f"{command} takes {finished}")
        elif finished.finished_at_ms + self._keep_ms(self._rules_now(), job_id) > self._now_ms:
            fail("kept_long_enough", f"{finished} of {job_id.hex()} goes at {self._now_ms}")
        model.delete_asked.add(job_id)
        model.world.counts["swept"] += 1
