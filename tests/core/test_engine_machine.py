"""Any sequence of calls: invariants hold, and a restart at any point changes nothing."""

from typing import Any

from engine_rig import ALICE, LEASE_MS, PLENTY, Rig, leases, needs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headrace.core.commands import (
    Act,
    Module,
    Outcome,
    Poll,
    PollReply,
    Progress,
    PutModule,
    Report,
    Submit,
    Withdraw,
)
from headrace.core.engine import Engine
from headrace.core.ids import ID_BYTES
from headrace.core.invariants import check
from headrace.core.job import LEASED, TERMINAL, Status
from headrace.core.live import EngineConfig, Live
from headrace.core.resources import Amounts
from headrace.store import Store
from headrace.store._new_rows import NewRows
from headrace.store.memory import MemoryKeyValue

AMOUNTS = st.sampled_from([Amounts(1_000), Amounts(2_000, 10), PLENTY, PLENTY])
RECENT = 6


def durable(live: Live) -> dict[str, Any]:
    """Return what a restart has to bring back."""
    jobs = {job_id: live.jobs.record(live.jobs.find(job_id)) for job_id in live.jobs.ids()}
    return {
        "jobs": jobs,
        "ready": {job_id for job_id in jobs if live.jobs.find(job_id) in live.match},
        "leases": {
            token: (lease.holder.worker, lease.holder.session)
            for token, lease in leases(live).items()
        },
        "orders": {token: lease.order for token, lease in leases(live).items()},
        "classes": {e.class_id: (e.requirements, e.jobs) for e in live.classes.entries()},
        "queued": live.stats.queued,
        "live": live.stats.live,
        "owners": live.owners,
        "waits": {job_id: waits.keys for job_id, waits in live.awaiting.waits.items()},
    }


class EngineMachine(RuleBasedStateMachine):
    """Two queues, one of them with room for two; two workers, with sessions and without."""

    @initialize()
    def begin(self) -> None:
        self.rig = Rig(EngineConfig(lease_ms=LEASE_MS, queue_capacities={"narrow": 2}))
        self.jobs: list[bytes] = []
        self.tokens: list[str] = []
        self.ended: dict[bytes, Status] = {}
        self.attempts: dict[bytes, int] = {}
        self.seqs: dict[str, int] = {}
        self.tickets: list[int] = []

    def pick(self, number: int, of: list[Any]) -> Any:
        """Return one of the last few: what is long over has little to say."""
        return of[-1 - number % min(len(of), RECENT)] if of else None

    def heard(self, reply: PollReply | None) -> None:
        """Check what a worker was told."""
        if reply is None:
            return
        for grant in reply.jobs:
            assert self.attempts.get(grant.job_id, 0) <= grant.attempt
            self.attempts[grant.job_id] = grant.attempt
            if grant.lease not in self.tokens:
                self.tokens.append(grant.lease)
        for ack in reply.acks:
            assert (ack.status is None) != (ack.problem is None)

    def apply(self, command: Any) -> Any:
        reply = self.rig.apply(command)
        for answer in self.rig.answers().values():
            self.heard(answer)
        return reply

    @rule(
        count=st.integers(1, 4),
        queue=st.sampled_from(["wide", "narrow"]),
        cpu_milli=st.sampled_from([0, 0, 1_500]),
        priority=st.sampled_from([5, 9]),
        delay_ms=st.sampled_from([0, 0, 0, 1_000]),
        schedule_ms=st.sampled_from([0, 0, 0, 20_000]),
        deadline_ms=st.sampled_from([0, 0, 0, 5_000, 90_000]),
        timeout_ms=st.sampled_from([10_000, 3_600_000]),
        retries_max=st.integers(0, 2),
        key=st.sampled_from([b"", b"", b"a", b"b"]),
        alike=st.booleans(),
        after=st.lists(st.integers(0, 50), max_size=2),
        any_end=st.booleans(),
        announced=st.sampled_from([b"", b"", b"", b"s" * 32, b"t" * 32]),
    )
    def submit(
        self,
        count: int,
        queue: str,
        cpu_milli: int,
        priority: int,
        delay_ms: int,
        schedule_ms: int,
        deadline_ms: int,
        timeout_ms: int,
        retries_max: int,
        key: bytes,
        alike: bool,
        after: list[int],
        any_end: bool,
        announced: bytes,
    ) -> None:
        wall_ms = self.rig.wall_ms
        before = [*dict.fromkeys(self.pick(number, self.jobs) for number in after if self.jobs)]
        counts = [count] if alike and not (key or before or announced) else [1] * count
        jobs = [
            self.rig.new(
                needs(queue=queue, cpu_milli=cpu_milli),
                count=alike_count,
                priority=priority,
                delay_ms=0 if schedule_ms else delay_ms,
                scheduled_at_ms=wall_ms + schedule_ms if schedule_ms else 0,
                start_before_at_ms=wall_ms + deadline_ms if deadline_ms else 0,
                timeout_ms=timeout_ms,
                retries_max=retries_max,
                key_digest=key.ljust(16) if key else b"",
                request_digest=b"r" * 16 if key else b"",
                after=before,
                any_end=any_end,
                module_key=announced,
                await_module=bool(announced),
            )
            for alike_count in counts
        ]
        for new, reply in zip(jobs, self.apply(Submit(ALICE, jobs)), strict=True):
            assert reply.replayed == (reply.job_ids != new.job_ids)
            if not reply.replayed:
                ids = reply.job_ids
                self.jobs += [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]

    @rule(sha256=st.sampled_from([b"s" * 32, b"t" * 32]))
    def put_module(self, sha256: bytes) -> None:
        self.apply(PutModule(Module(sha256, b"")))

    @rule(
        worker=st.sampled_from(["w1", "w2"]),
        session=st.booleans(),
        again=st.booleans(),
        free=AMOUNTS,
        jobs_max=st.sampled_from([0, 1, 2, 5]),
        wait_ms=st.sampled_from([0, 60_000]),
        holds=st.lists(st.integers(0, 50), max_size=3),
    )
    def poll(
        self,
        worker: str,
        session: bool,
        again: bool,
        free: Amounts,
        jobs_max: int,
        wait_ms: int,
        holds: list[int],
    ) -> None:
        seq = self.seqs.get(worker, 0) + (0 if again else 1)
        if session:
            self.seqs[worker] = seq
        running = [self.pick(number, self.tokens) for number in holds if self.tokens]
        self.rig.tickets += 1
        self.tickets.append(self.rig.tickets)
        reply = self.apply(
            Poll(
                self.rig.tickets,
                worker,
                session=worker if session else "",
                seq=seq if session else 0,
                free=free,
                jobs_max=jobs_max,
                wait_ms=wait_ms,
                running=running,
            )
        )
        self.heard(reply)

    @rule(
        number=st.integers(0, 50),
        outcome=st.sampled_from(Outcome),
        permanent=st.booleans(),
        delay_ms=st.sampled_from([None, 0, 7_000]),
        checkpoint=st.sampled_from([None, b"{}"]),
        news=st.booleans(),
    )
    def report(
        self,
        number: int,
        outcome: Outcome,
        permanent: bool,
        delay_ms: int | None,
        checkpoint: bytes | None,
        news: bool,
    ) -> None:
        token = self.pick(number, self.tokens)
        if token is None:
            return
        told = Report(
            token, outcome, permanent=permanent, retry_delay_ms=delay_ms, checkpoint=checkpoint
        )
        progress = [Progress(token, started=True, log=b"line")] if news else []
        first = self.rig.poll("reporter", jobs_max=0, reports=[told], progress=progress).acks[0]
        passed_on = bool(self.rig.answers())
        for answer in self.rig.answers().values():
            self.heard(answer)
        again = self.rig.poll("reporter", jobs_max=0, reports=[told]).acks[0]
        if first.status is not None and not passed_on:
            assert again == first, "the same report again has the same answer"

    @rule(number=st.integers(0, 50))
    def start(self, number: int) -> None:
        token = self.pick(number, self.tokens)
        if token is not None:
            self.rig.poll("reporter", jobs_max=0, progress=[Progress(token, started=True)])

    @rule(number=st.integers(0, 50), act=st.sampled_from(Act), force=st.booleans())
    def control(self, number: int, act: Act, force: bool) -> None:
        job_id = self.pick(number, self.jobs)
        if job_id is None:
            return
        reply = self.rig.control(job_id, act, force=force)
        for answer in self.rig.answers().values():
            self.heard(answer)
        removed = act is Act.REMOVE and reply in TERMINAL
        if (act is Act.DELETE and isinstance(reply, Status)) or removed:
            self.jobs.remove(job_id)
            self.ended.pop(job_id, None)
        if act is Act.RETRY and isinstance(reply, Status):
            self.ended.pop(job_id, None)

    @rule(number=st.integers(0, 50))
    def withdraw(self, number: int) -> None:
        ticket = self.pick(number, self.tickets)
        if ticket is not None:
            self.apply(Withdraw(ticket))

    @rule(ms=st.sampled_from([1, 2_000, LEASE_MS // 2, LEASE_MS, 700_000]))
    def wait(self, ms: int) -> None:
        self.rig.wait(ms)
        for answer in self.rig.answers().values():
            self.heard(answer)

    @rule(ms=st.sampled_from([-3_600_000, -5_000, 5_000, 3_600_000]))
    def jump(self, ms: int) -> None:
        held = set(self.rig.leases)
        self.rig.wall_offset_ms += ms
        self.rig.wait(0)
        for answer in self.rig.answers().values():
            self.heard(answer)
        assert held <= self.rig.leases.keys(), "no lease follows the wall clock"

    @rule()
    def restart(self) -> None:
        self.rig.open()
        self.tickets.clear()

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "rig"):
            check(self.rig.engine)

    @invariant()
    def nothing_that_fits_waits_beside_a_parked_poll(self) -> None:
        if not hasattr(self, "rig"):
            return
        live = self.rig.live
        for shape, free in live.parked.groups:
            assert live.match.peek(shape, *free) < 0

    @invariant()
    def what_ended_stays_so(self) -> None:
        if not hasattr(self, "rig"):
            return
        for job_id in self.jobs:
            status = self.rig.status(job_id)
            if job_id in self.ended:
                assert status is self.ended[job_id]
            elif status in TERMINAL:
                self.ended[job_id] = status

    @invariant()
    def a_restart_would_change_nothing(self) -> None:
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        copy = MemoryKeyValue()
        copy.write(NewRows({table: rows.rows for table, rows in rig.kv._tables.items()}))
        store = Store(copy)
        restored = store.restore()
        engine = Engine(rig.config, store, restored.secret, restored.epoch)
        assert engine.restore(restored, rig.now_ms, rig.wall_ms) == []
        check(engine)
        assert durable(engine.live) == durable(rig.live)

    def teardown(self) -> None:
        """Once nothing goes wrong any more, everything ends."""
        if not hasattr(self, "rig"):
            return
        rig = self.rig
        rig.wall_offset_ms = max(rig.wall_offset_ms, 86_400_000)
        for sha256 in (b"s" * 32, b"t" * 32):
            rig.apply(PutModule(Module(sha256, b"")))
        for _ in range(100):
            for job_id in self.jobs:
                if rig.status(job_id) is Status.SUSPENDED:
                    rig.control(job_id, Act.RESUME)
            rig.wait(60_000)
            reply = rig.poll("last", jobs_max=1_000)
            for token in [*rig.leases]:
                rig.report(token, Outcome.COMPLETED)
            if not len(rig.live.jobs) and not reply.jobs:
                break
        statuses = {rig.status(job_id) for job_id in self.jobs}
        assert statuses <= TERMINAL, statuses - TERMINAL
        assert not statuses & LEASED


EngineMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
TestEngineMachine = EngineMachine.TestCase
