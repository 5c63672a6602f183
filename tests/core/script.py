"""Scripts of engine behaviour: one operation a line, with everything that came of it behind `|`.

    submit J1 cpu=2 priority=7        one job for the user alice (`as=bob` for another)
    poll W1 cpu=4 wait=30s            one call of a worker; without cpu= it has plenty of all
    complete J1#1                     the report of job 1's first attempt; so are fail, release,
                                      snooze, checkpoint, timeout, cancelled
    say J1#1 started log=…            news of an attempt
    cancel J1                         so are suspend, resume, delete, remove, explain
    wait 31s                          time passes, ticks included
    jump 2h                           the wall clock alone moves
    restart                           the engine starts again from its store

`J1#2` is the lease of job 1's second attempt. Behind `|`, apart by commas: the reply, then what
happened to jobs whose reply was not asked for (`J1 lapse queued`), then what parked polls heard
(`W1 gets J1#1`, `W1 goes home`).
"""

import shlex
from typing import Any

from engine_rig import ALICE, PLENTY, START_MS, Rig

from headrace.core.commands import (
    Act,
    Caller,
    Control,
    Explain,
    Module,
    NewJobs,
    Outcome,
    Poll,
    PollReply,
    Progress,
    Report,
    Submit,
)
from headrace.core.effects import Answered
from headrace.core.live import EngineConfig
from headrace.core.resources import Amounts, Profile, Requirements
from headrace.wire.durations import duration_ms
from headrace.wire.problems import Problem

OUTCOMES = {
    "complete": Outcome.COMPLETED,
    "fail": Outcome.FAILED,
    "release": Outcome.RELEASED,
    "snooze": Outcome.SNOOZED,
    "checkpoint": Outcome.SUSPENDED,
    "timeout": Outcome.TIMEOUT,
    "cancelled": Outcome.CANCELLED,
}
ACTS = {act.name.lower(): act for act in Act}
_AMOUNTS = {"cpu": (0, 1000), "mem": (1, 1), "storage": (2, 1), "gpu": (3, 1000)}


class Words:
    """The words of one operation: flags and `name=value` options, each to be used."""

    def __init__(self, words: list[str]) -> None:
        self.options = dict(word.partition("=")[::2] for word in words)

    def text(self, name: str, default: str = "") -> str:
        return self.options.pop(name, default)

    def ms(self, name: str, default: int = 0) -> int:
        return duration_ms(self.options.pop(name)) if name in self.options else default

    def number(self, name: str, default: int) -> int:
        return int(self.options.pop(name, default))

    def flag(self, name: str) -> bool:
        return self.options.pop(name, None) is not None

    def names(self, name: str) -> frozenset[str] | None:
        return frozenset(self.options.pop(name).split(",")) if name in self.options else None

    def amounts(self, given: Amounts) -> Amounts:
        values = list(given.vector())
        for word, (place, unit) in _AMOUNTS.items():
            if word in self.options:
                values[place] = round(float(self.options.pop(word)) * unit)
        return Amounts(*values)

    def done(self) -> None:
        assert not self.options, f"unknown words: {', '.join(self.options)}"


class Script:
    """Carries out lines on an engine of its own."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.ids: dict[str, bytes] = {}
        self.names: dict[bytes, str] = {}
        self.leases: dict[str, str] = {}
        self.lease_names: dict[str, str] = {}
        self.tickets: dict[int, str] = {}

    def line(self, text: str) -> str:
        """Carry out one operation; return what came of it."""
        verb, *words = shlex.split(text)
        if verb in OUTCOMES:
            found = self.report(verb, words[0], Words(words[1:]))
        elif verb in ACTS:
            found = self.control(verb, words[0], Words(words[1:]))
        else:
            found = getattr(self, verb)(*self._subject(verb, words))
        return ", ".join(found) or "nothing"

    def _subject(self, verb: str, words: list[str]) -> list[Any]:
        if verb in ("wait", "jump", "restart"):
            return list(words)
        return [words[0], Words(words[1:])]

    # Operations ---------------------------------------------------------------------------------

    def submit(self, names: str, words: Words) -> list[str]:
        """Submit one job, or several apart by commas, all with the same words."""
        options = words.options
        jobs = []
        for name in names.split(","):
            words.options = dict(options)
            jobs.append(self._new(name, words))
            caller = Caller(ALICE.tenant, words.text("as", ALICE.user))
            stored = [Module(b"m" * 32, b"\0asm")] if words.flag("with_module") else []
            words.done()
        reply = self.rig.apply(Submit(caller, jobs, stored))
        if isinstance(reply, Problem):
            return [_refused(reply)]
        found = []
        for name, new, submitted in zip(names.split(","), jobs, reply, strict=True):
            self.ids[name] = submitted.job_ids
            self.names.setdefault(submitted.job_ids, name)
            text = f"{name} {submitted.status.name.lower()}"
            if submitted.replayed:
                text += f" replayed {self.names[submitted.job_ids]}"
            if submitted.never_fits:
                text += f" never fits: {submitted.never_fits}"
            assert submitted.replayed == (submitted.job_ids != new.job_ids)
            found.append(text)
        return found + self._others()

    def _new(self, name: str, words: Words) -> NewJobs:
        requirements = Requirements(
            words.text("queue", "default"),
            "" if words.flag("wasm") else words.text("type", "echo"),
            words.amounts(Amounts()),
            words.names("model") or frozenset(),
            words.names("labels") or frozenset(),
        )
        key, request = words.text("key"), words.text("request", "a")
        return self.rig.new(
            requirements,
            priority=words.number("priority", 5),
            retries_max=words.number("retries", 2),
            retry_delay_ms=words.ms("retry_delay", 1_000),
            retry_backoff_centi=round(float(words.text("backoff", "2")) * 100),
            timeout_ms=words.ms("timeout", 3_600_000),
            delay_ms=words.ms("delay"),
            scheduled_at_ms=self._at(words, "at"),
            start_before_at_ms=self._at(words, "start_before"),
            module_key=b"m" * 32 if words.flag("module") else b"",
            key_digest=key.encode().ljust(16) if key else b"",
            request_digest=request.encode().ljust(16) if key else b"",
        )

    def _at(self, words: Words, name: str) -> int:
        """Return an instant given as the time since the script's begin."""
        return START_MS + words.ms(name) if name in words.options else 0

    def poll(self, worker: str, words: Words) -> list[str]:
        self.rig.tickets += 1
        ticket = self.rig.tickets
        self.tickets[ticket] = worker
        profile = Profile(
            types=words.names("types"),
            wasm=words.flag("wasm"),
            queues=words.names("queues"),
            gpu_model=words.text("model"),
            labels=words.names("labels") or frozenset(),
        )
        running = [self.leases[name] for name in words.text("running").split(",") if name]
        command = Poll(
            ticket,
            worker,
            profile=profile,
            free=words.amounts(PLENTY),
            jobs_max=words.number("jobs", 1),
            wait_ms=words.ms("wait"),
            session=words.text("session"),
            seq=words.number("seq", 0),
            running=running,
        )
        words.done()
        reply = self.rig.apply(command)
        own = self.rig.answers().get(ticket)
        if own is not None:
            return self._others()
        found = ["parked"] if reply is None else self._heard(reply)
        return (found or ["nothing"]) + self._others()

    def report(self, verb: str, lease: str, words: Words) -> list[str]:
        told = Report(
            self.leases.get(lease, lease),
            OUTCOMES[verb],
            permanent=words.flag("permanent"),
            error=words.text("error"),
            retry_delay_ms=words.ms("delay") if "delay" in words.options else None,
            checkpoint=words.text("state").encode() or None,
        )
        words.done()
        reply = self.rig.poll("reporter", jobs_max=0, reports=[told])
        return [found.removeprefix("ack ") for found in self._heard(reply)] + self._answers()

    def say(self, lease: str, words: Words) -> list[str]:
        news = Progress(
            self.leases[lease],
            started=words.flag("started"),
            progress=float(words.text("progress")) if "progress" in words.options else None,
            log=words.text("log").encode(),
        )
        words.done()
        reply = self.rig.poll("reporter", jobs_max=0, progress=[news])
        return self._heard(reply) + self._others()

    def control(self, verb: str, job: str, words: Words) -> list[str]:
        caller = Caller(ALICE.tenant, words.text("as", ALICE.user), words.flag("admin"))
        words.done()
        reply = self.rig.apply(Control(caller, self.ids[job], ACTS[verb]))
        if isinstance(reply, Problem):
            return [_refused(reply)]
        return [f"{job} {reply.name.lower()}", *self._answers()]

    def explain(self, job: str, words: Words) -> list[str]:
        words.done()
        reply = self.rig.apply(Explain(ALICE, self.ids[job]))
        return [_refused(reply)] if isinstance(reply, Problem) else list(reply.reasons)

    def wait(self, duration: str) -> list[str]:
        self.rig.wait(duration_ms(duration))
        return self._others()

    def jump(self, duration: str) -> list[str]:
        back = duration.startswith("-")
        moved_ms = duration_ms(duration.removeprefix("-"))
        self.rig.wall_offset_ms += -moved_ms if back else moved_ms
        self.rig.wait(0)
        return self._others()

    def restart(self) -> list[str]:
        self.rig.open()
        return []

    # What came of it ----------------------------------------------------------------------------

    def _others(self) -> list[str]:
        """Return what happened to jobs beside leases given out, and what parked polls heard."""
        found = [
            f"{self.names[job]} {event.lower()} {status.lower()}"
            for job, event, status in self.rig.events()
            if event != "LEASE"
        ]
        return found + self._answers()

    def _answers(self) -> list[str]:
        found = []
        for effect in self.rig.effects:
            if isinstance(effect, Answered):
                heard = self._heard(effect.reply) or ["goes home"]
                found += [f"{self.tickets[effect.ticket]} {what}" for what in heard]
        return found

    def _heard(self, reply: PollReply) -> list[str]:
        found = []
        for ack in reply.acks:
            lease = self.lease_names.get(ack.lease, ack.lease)
            if ack.problem is not None:
                found.append(_refused(ack.problem))
            else:
                assert ack.status is not None
                found.append(f"ack {lease.partition('#')[0]} {ack.status.name.lower()}")
        for grant in reply.jobs:
            name = f"{self.names[grant.job_id]}#{grant.attempt}"
            self.leases[name] = grant.lease
            self.lease_names[grant.lease] = name
            found.append(f"gets {name}" + (" with state" if grant.has_checkpoint else ""))
        for order in reply.orders:
            found.append(f"told {order.do} {self.lease_names.get(order.lease, order.lease)}")
        return found


def _refused(problem: Problem) -> str:
    return f"refused {problem.code.name.lower()}"


def config_of(words: list[str]) -> EngineConfig:
    """Read the words of a `config` line."""
    options = Words(words)
    capacities = {
        name.partition(".")[2]: int(options.options.pop(name))
        for name in list(options.options)
        if name.startswith("capacity.")
    }
    largest = options.text("cpu_max")
    config = EngineConfig(
        lease_ms=options.ms("lease", 30_000),
        crashes_max=options.number("crashes", 3),
        queue_capacities=capacities,
        jobs_max=options.number("jobs_max", 0),
        resources_max=Amounts(int(largest) * 1000, *PLENTY.vector()[1:]) if largest else None,
    )
    options.done()
    return config
