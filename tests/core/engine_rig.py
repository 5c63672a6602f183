"""An engine on a store in memory, with its time in hand: what the tests of the engine drive."""

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.core.commands import (
    Act,
    Caller,
    Command,
    Control,
    Explain,
    NewJobs,
    Outcome,
    Poll,
    PollReply,
    Report,
    Submit,
    Submitted,
    Tick,
)
from headrace.core.effects import (
    Answered,
    Effect,
    JobChanged,
    JobFinished,
    JobRedriven,
    JobsCompleted,
    JobsLeased,
    ids_split,
)
from headrace.core.engine import Engine
from headrace.core.ids import id_text
from headrace.core.job import Event, Job, Status
from headrace.core.live import EngineConfig, Live
from headrace.core.resources import Amounts, Profile, Requirements
from headrace.core.workers import Lease
from headrace.store import Store
from headrace.store.memory import MemoryKeyValue

START_MS = 1_700_000_000_000
LEASE_MS = 30_000
ALICE = Caller("acme", "alice")
BOB = Caller("acme", "bob")
ADMIN = Caller("acme", "root", admin=True)
STRANGER = Caller("other", "alice")
PLENTY = Amounts(64_000, 65_536, 1_000_000, 8_000)


def job_id(number: int) -> bytes:
    """Return a UUIDv7 of slot 0."""
    return START_MS.to_bytes(6, "big") + b"\x70\0" + (1 << 63 | number).to_bytes(8, "big")


def leases(live: Live) -> dict[str, Lease]:
    """Return all leases by their tokens, in the order of their jobs."""
    held = sorted(live.leases, key=lambda lease: lease.handle)
    return {live.leases.token(lease): lease for lease in held}


def needs(
    *,
    queue: str = "default",
    kind: str = "echo",
    cpu_milli: int = 0,
    memory_mb: int = 0,
    gpu_milli: int = 0,
    gpu_models: str = "",
    labels: str = "",
) -> Requirements:
    """Return requirements; models and labels are lists in text, apart by spaces."""
    return Requirements(
        queue,
        kind,
        Amounts(cpu_milli, memory_mb, 0, gpu_milli),
        frozenset(gpu_models.split()),
        frozenset(labels.split()),
    )


def spec_of(number: int, need: Requirements, after: list[bytes], any_end: bool) -> bytes:
    """Return a spec that says what its job needs, labels and models aside."""
    asked = {"cpu_cores": need.amounts.cpu_milli / 1_000, "memory_mb": need.amounts.memory_mb}
    told: dict[str, Any] = {"id": f"{number}", "name": "", "type": need.kind, "queue": need.queue}
    if need.tenant:
        told["tenant"] = need.tenant
    if after:
        told |= {"after": list(map(id_text, after)), "after_any_end": any_end}
    return msgspec.json.encode({**told, "requirements": asked})


class Rig:
    """Applies commands one at a time; `effects` holds what the last one brought."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        self.config = config or EngineConfig(lease_ms=LEASE_MS)
        self.now_ms = START_MS
        self.wall_offset_ms = 0
        self.kv = MemoryKeyValue()
        self.effects: list[Effect] = []
        self.ids = 0
        self.tickets = 0
        self.open()

    def open(self) -> None:
        """Start the engine from what the store holds."""
        self.store = Store(self.kv)
        restored = self.store.restore()
        self.engine = Engine(self.config, self.store, restored.secret, restored.epoch)
        self.effects = self.engine.restore(restored, self.now_ms, self.wall_ms)
        self.commit()

    @property
    def wall_ms(self) -> int:
        return self.now_ms + self.wall_offset_ms

    @property
    def live(self) -> Any:
        return self.engine.live

    def apply(self, command: Command) -> Any:
        """Carry out one command as a batch of its own; return its reply."""
        reply, self.effects = self.engine.apply(self.now_ms, command)
        self.effects += self.engine.settle(self.now_ms)
        self.commit()
        return reply

    def commit(self) -> None:
        batch = self.store.stage(self.effects, self.wall_ms)
        self.engine.staged()
        self.store.write(batch)
        self.store.settle(batch)

    def wait(self, ms: int) -> list[Effect]:
        """Let time pass, with a tick whenever one is due; return all effects."""
        until_ms = self.now_ms + ms
        effects: list[Effect] = []
        while True:
            due_ms = self.engine.due_ms()
            last = due_ms is None or due_ms > until_ms
            self.now_ms = until_ms if last else max(self.now_ms, due_ms or 0)
            self.apply(Tick(self.wall_ms))
            effects += self.effects
            if last:
                self.effects = effects
                return effects

    @property
    def leases(self) -> dict[str, Lease]:
        return leases(self.live)

    # Clients ------------------------------------------------------------------------------------

    def new(
        self, requirements: Requirements | None = None, *, count: int = 1, **fields: Any
    ) -> NewJobs:
        """Return so many jobs that are alike."""
        numbers = range(self.ids + 1, self.ids + 1 + count)
        self.ids += count
        defaults: dict[str, Any] = {
            "priority": 5,
            "timeout_ms": 3_600_000,
            "retry_delay_ms": 1_000,
            "retry_backoff_centi": 200,
            "retries_max": 2,
        }
        return NewJobs(
            b"".join(map(job_id, numbers)),
            [
                spec_of(
                    number,
                    requirements or needs(),
                    fields.get("after", []),
                    fields.get("any_end", False),
                )
                for number in numbers
            ],
            requirements or needs(),
            **{**defaults, **fields},
        )

    def submit(self, requirements: Requirements | None = None, **fields: Any) -> bytes:
        """Submit one job for Alice; return its id."""
        new = self.new(requirements, **fields)
        (reply,) = self.apply(Submit(ALICE, [new]))
        assert isinstance(reply, Submitted)
        return reply.job_ids

    def control(self, job: bytes, act: Act, caller: Caller = ALICE, *, force: bool = False) -> Any:
        return self.apply(Control(caller, job, act, force))

    def explain(self, job: bytes, caller: Caller = ALICE) -> Any:
        return self.apply(Explain(caller, job))

    # Workers ------------------------------------------------------------------------------------

    def poll(self, worker: str = "w", **fields: Any) -> Any:
        """Poll for one job with plenty of everything; `fields` say what is different."""
        self.tickets += 1
        defaults: dict[str, Any] = {"jobs_max": 1, "free": PLENTY, "profile": Profile(wasm=True)}
        return self.apply(Poll(self.tickets, worker, **{**defaults, **fields}))

    def take(self, worker: str = "w", **fields: Any) -> str:
        """Poll, and return the lease of the one job that comes."""
        reply = self.poll(worker, **fields)
        assert len(reply.jobs) == 1, reply
        return str(reply.jobs[0].lease)

    def report(self, lease: str, outcome: Outcome, worker: str = "w", **fields: Any) -> Any:
        """Report one attempt; return its Ack."""
        told = Report(lease, outcome, **fields)
        reply = self.poll(worker, jobs_max=0, reports=[told])
        return reply.acks[0]

    # What came of it ----------------------------------------------------------------------------

    def job(self, job: bytes) -> Job:
        """Return a live job."""
        return self.engine.live.load(self.engine.live.jobs.find(job))

    def status(self, job: bytes) -> Status:
        return self.engine.live.status_of(job)

    def answers(self) -> dict[int, PollReply]:
        """Return the parked polls that the last command answered, by ticket."""
        return {e.ticket: e.reply for e in self.effects if isinstance(e, Answered)}

    def events(self) -> list[tuple[bytes, str, str]]:
        """Return (job, event, status after it) of the last command."""
        found: list[tuple[bytes, Event, Status]] = []
        for effect in self.effects:
            if isinstance(effect, JobChanged | JobRedriven):
                found.append((effect.job_id, effect.event, Status(effect.record[1])))
            elif isinstance(effect, JobFinished):
                found.append((effect.job_id, effect.event, effect.finished.status))
            elif isinstance(effect, JobsLeased):
                of = ids_split(effect.job_ids)
                found += [(job_id, Event.LEASE, Status.LOCKED) for job_id in of]
            elif isinstance(effect, JobsCompleted):
                of = ids_split(effect.job_ids)
                found += [(job_id, Event.COMPLETE, Status.COMPLETED) for job_id in of]
        return [(job_id, event.name, status.name) for job_id, event, status in found]


MakeRig = Callable[..., Rig]
