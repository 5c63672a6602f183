"""Who runs the jobs: honest workers that are slow, die, repeat themselves, and some that lie."""

from dataclasses import dataclass, field
from typing import Any, Final

from headrace.core.commands import Outcome, Poll, PollReply, Progress, Report
from headrace.core.resources import Amounts, Profile
from headrace.wire.problems import Problem
from sim.model import Model
from sim.net import Net
from sim.outbox import EVENTS
from sim.settings import GPU_MODELS, KINDS, LABELS, QUEUES, TENANTS, Settings
from sim.single import joined
from sim.world import World

FOREVER_MS: Final = 1 << 40
OLD_TOKENS: Final = 20
LONE_REPORTS: Final = 0.1
JOINED: Final = 0.7
"""Polls whose completions come as those of a body do, together."""
PLENTY: Final = Amounts(1 << 20, 1 << 20, 1 << 20, 1 << 20)
EVERYTHING: Final = Profile(wasm=True, labels=frozenset(LABELS))


@dataclass
class Run:
    """A job in this worker's hands."""

    lease: str
    ends_at: int
    started: bool = False
    ordered: str = ""


@dataclass
class Sent:
    """A poll on its way."""

    seq: int
    reports: list[Report]
    again: int = 0
    extra: list[Report] = field(default_factory=list)


class Worker:
    def __init__(
        self,
        number: int,
        world: World,
        settings: Settings,
        net: Net,
        model: Model,
        profile: Profile | None = None,
    ) -> None:
        self._world = world
        self._settings = settings
        self._net = net
        self._model = model
        self._name = f"w{number}"
        self._honest = profile is not None
        self.closing = False
        self._lives = 0
        self._with_session = self._honest or world.chance(0.6)
        pick, chance = world.pick, world.chance
        if profile is not None:
            self._profile, self._total = profile, PLENTY
        else:
            self._profile = Profile(
                types=None if chance(0.6) else frozenset(k for k in KINDS[1:] if chance(0.6)),
                wasm=chance(0.6),
                queues=None if chance(0.6) else frozenset(q for q in QUEUES if chance(0.7)),
                gpu_model=pick(("", *GPU_MODELS)),
                labels=frozenset(label for label in LABELS if chance(0.6)),
                tenant=pick(("", "", *TENANTS)),
            )
            self._total = Amounts(
                pick((1_000, 4_000, 16_000)), pick((1_000, 8_000)), 200, pick((0, 1_000))
            )
        self._run_ms = pick((5, 50, 700, 3_000))
        self._jobs_max = pick((1, 2, 8))
        self._wait_ms = pick((0, 200, 2_000, 10_000))
        self._heart_ms = max(50, settings.lease_ms // 3)
        self._old: list[tuple[str, Outcome]] = []
        """Tokens of runs that ended, and how."""
        self._begin()

    def _begin(self) -> None:
        """A new process of the worker: it knows nothing of the last one."""
        self._lives += 1
        self._session = f"{self._name}-{self._lives}" if self._with_session else ""
        self._seq = 0
        self._runs: dict[str, Run] = {}
        self._outbox: dict[str, Report] = {}
        self._news: list[Progress] = []
        self._paused_until = 0
        self._world.at(self._world.between(0, 50), self._turn, self._lives)

    # Polling ------------------------------------------------------------------------------------

    def _turn(self, life: int) -> None:
        """Finish what is done, say everything, and ask for more."""
        if life != self._lives or self.closing:
            return
        world = self._world
        if self._paused_until > world.now:
            world.at(self._paused_until - world.now, self._turn, life)
            return
        self._finish_runs()
        if self._outbox and not self._honest and world.chance(LONE_REPORTS):
            self._lone_report(world.pick(list(self._outbox)))
        self._poll(life, Sent(self._next_seq(), list(self._outbox.values())))

    def _lone_report(self, token: str) -> None:
        """Report one attempt by itself, as a simple client does; the poll will say it again."""
        told = self._outbox[token]
        key = Profile(tenant=self._profile.tenant)

        def make() -> Poll:
            return Poll(self._ticket(), "", profile=key, reports=[told])

        self._net.ask(make, lambda _reply: None, 1_000)

    def _next_seq(self) -> int:
        if self._session:
            self._seq += 1
        return self._seq

    def _poll(self, life: int, sent: Sent) -> None:
        world = self._world
        running = list(self._runs)
        free = self._free()
        news, self._news = self._news, []
        wait_ms = self._wait_ms
        if self._runs:
            wait_ms = min(wait_ms, self._heart_ms, self._next_end_ms())
        want = max(0, self._jobs_max - len(self._runs))
        rates = self._net.rates
        if not self._honest and world.chance(rates.get("worker_lie", 0)):
            world.counts["fault worker_lie"] += 1
            sent.extra.append(self._report(self._lie(), Outcome.COMPLETED))
            running = [*running, self._lie()]
        if self._old and world.chance(rates.get("worker_late_report", 0)):
            world.counts["fault worker_late_report"] += 1
            token, outcome = world.pick(self._old)
            outcome = outcome if world.chance(0.5) else self._outcome()
            sent.extra.append(self._report(token, outcome))
        told = sent.reports + sent.extra
        reports = joined(told) if told and world.chance(JOINED) else [*told]

        def make() -> Poll:
            return Poll(
                self._ticket(),
                self._name,
                self._session,
                sent.seq,
                self._profile,
                free,
                self._total,
                want,
                wait_ms,
                reports,
                news,
                running,
            )

        self._net.ask(
            make, lambda reply: self._heard(life, sent, reply), wait_ms + world.between(200, 2_000)
        )
        if self._session and not self._honest and world.chance(rates.get("worker_two_polls", 0)):
            world.counts["fault worker_two_polls"] += 1
            other = Sent(self._next_seq() if world.chance(0.8) else sent.seq, [])
            world.at(world.between(0, 30), self._second_poll, life, other)

    def _second_poll(self, life: int, sent: Sent) -> None:
        free, jobs_max, name = self._free(), self._jobs_max, self._name

        def make() -> Poll:
            return Poll(
                self._ticket(), name, self._session, sent.seq, self._profile, free, None, jobs_max
            )

        if life == self._lives and not self.closing:
            self._net.ask(make, lambda reply: self._take(life, reply), 1_000)

    def _ticket(self) -> int:
        return self._net._server.pump.new_ticket()

    def _free(self) -> Amounts:
        if self._honest:
            return PLENTY
        free = list(self._total.vector())
        for token in self._runs:
            need = self._model.sent[self._model.tokens[token][0]].requirements.amounts
            free = [max(0, a - b) for a, b in zip(free, need.vector(), strict=True)]
        return Amounts(*free)

    def _next_end_ms(self) -> int:
        return max(1, min(run.ends_at for run in self._runs.values()) - self._world.now)

    # Answers ------------------------------------------------------------------------------------

    def _heard(self, life: int, sent: Sent, reply: Any) -> None:
        if life != self._lives:
            return
        world = self._world
        if self._paused_until > world.now:
            world.at(self._paused_until - world.now, self._heard, life, sent, reply)
            return
        rates = self._net.rates
        if reply is None or isinstance(reply, Problem):
            if self.closing:
                return
            pause_ms = world.between(1, 200)
            if self._session and reply is None:
                sent.again += 1
                world.at(pause_ms, self._poll, life, sent)
            else:
                world.at(pause_ms, self._turn, life)
            return
        for report in sent.reports:
            self._outbox.pop(report.lease, None)
            if world.chance(rates.get("worker_double_report", 0)):
                world.counts["fault worker_double_report"] += 1
                self._outbox[report.lease] = report
        self._take(life, reply)
        if self._fault(life):
            return
        if self._session and world.chance(rates.get("worker_repeat_seq", 0)):
            world.counts["fault worker_repeat_seq"] += 1
            self._poll(life, Sent(sent.seq, []))
            return
        empty = not reply.jobs and not reply.orders
        pause_ms = world.between(1, 60) if empty else 0
        if empty and self._runs and self._wait_ms == 0:
            pause_ms = min(self._heart_ms, self._next_end_ms())
        world.at(pause_ms, self._turn, life)

    def _take(self, life: int, reply: Any) -> None:
        """Start new jobs, and obey orders."""
        if life != self._lives or not isinstance(reply, PollReply):
            return
        world = self._world
        for grant in reply.jobs:
            if grant.lease not in self._runs and grant.lease not in self._outbox:
                run_ms = 0 if self._honest else world.between(0, 2 * self._run_ms)
                self._runs[grant.lease] = Run(grant.lease, world.now + run_ms)
        for order in reply.orders:
            run = self._runs.get(order.lease)
            if run is None:
                continue
            if order.do == "lost":
                self._end(order.lease, Outcome.FAILED)
            elif world.chance(self._net.rates.get("worker_ignore_orders", 0)):
                world.counts["fault worker_ignore_orders"] += 1
            else:
                run.ordered = order.do
                run.ends_at = min(run.ends_at, world.now)

    def _fault(self, life: int) -> bool:
        """Be paused or killed, if this seed does that. Returns True if killed."""
        world, rates = self._world, self._net.rates
        if self._honest:
            return False
        if world.chance(rates.get("worker_die", 0) / 4):
            world.counts["fault worker_die"] += 1
            self._begin()
            return True
        if world.chance(rates.get("worker_pause", 0) / 2):
            world.counts["fault worker_pause"] += 1
            self._paused_until = world.now + world.between(100, 2 * self._settings.lease_ms)
        return False

    # Running ------------------------------------------------------------------------------------

    def _finish_runs(self) -> None:
        world = self._world
        for token, run in list(self._runs.items()):
            if run.ends_at <= world.now:
                outcome = self._outcome()
                if run.ordered == "cancel":
                    outcome = Outcome.CANCELLED
                elif run.ordered == "suspend":
                    outcome = Outcome.SUSPENDED
                self._outbox[token] = self._report(token, outcome)
                self._end(token, outcome)
            elif not run.started:
                run.started = True
                log = b"line %d\n" % world.now if world.chance(0.2) else b""
                self._news.append(Progress(token, started=True, log=log))
            elif world.chance(0.1):
                self._news.append(Progress(token, progress=world.random(), details="on it"))
            elif world.chance(0.1):
                events = [(world.pick(EVENTS), b"1") for _ in range(world.between(1, 3))]
                self._news.append(Progress(token, events=events))

    def _end(self, token: str, outcome: Outcome) -> None:
        del self._runs[token]
        self._old.append((token, outcome))
        del self._old[:-OLD_TOKENS]

    def _outcome(self) -> Outcome:
        world = self._world
        if self._honest or not world.chance(self._settings.failures):
            return Outcome.COMPLETED
        return world.pick(
            (
                *(Outcome.FAILED, Outcome.FAILED, Outcome.FAILED, Outcome.TIMEOUT),
                *(Outcome.SUSPENDED, Outcome.RELEASED, Outcome.SNOOZED, Outcome.CANCELLED),
            )
        )

    def _report(self, token: str, outcome: Outcome) -> Report:
        """Return the report of a run; the same for the same run and outcome."""
        world = self._world
        report = Report(token, outcome)
        if outcome is Outcome.COMPLETED:
            size = 2_000 if token[-1] == "A" else 10
            report.body = (token.encode() * (size // len(token) + 1))[:size]
        elif outcome is Outcome.FAILED:
            report.error = "it went wrong"
            report.permanent = world.chance(0.1)
            if world.chance(0.3):
                report.retry_delay_ms = world.between(0, 3_000)
        elif outcome is Outcome.SNOOZED:
            report.retry_delay_ms = world.between(0, 3_000)
        elif outcome is Outcome.SUSPENDED:
            report.checkpoint = b"%d" % world.rng.getrandbits(30)
        return report

    def _lie(self) -> str:
        """A token that this worker was never given."""
        world = self._world
        tokens = self._model.delivered_tokens
        if tokens and world.chance(0.5):
            token: str = world.pick(tokens)
            if world.chance(0.5):
                return token
            at = world.between(0, len(token) - 1)
            other = "B" if token[at] != "B" else "C"
            return token[:at] + other + token[at + 1 :]
        return "nonsense"
