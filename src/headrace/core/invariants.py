"""What holds between any two commands. Walks over everything: for tests and the simulator.

Each function asserts one thing and is named for it; `check` asserts them all.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from headrace.core.awaiting import Ended
from headrace.core.engine import Engine
from headrace.core.ids import ID_BYTES
from headrace.core.job import LEASED, READY, TERMINAL, Job, Status
from headrace.core.live import Live
from headrace.core.serving import pairs_of


def check(engine: Engine) -> None:
    """Raises: AssertionError. Cost: O(live jobs), and the walk of each native structure."""
    for holds in CHECKS:
        holds(engine.live)


def structures_hold(live: Live) -> None:
    """Each native structure is sound in itself."""
    live.jobs.check()
    live.match.check()
    live.leases.check()
    for timers in (
        live.timers_due,
        live.timers_due_wall,
        live.timers_skip_wall,
        live.timers_poll,
    ):
        timers.check()


def one_place_each(live: Live) -> None:
    """Ready, leased, scheduled and waiting jobs part the table: each is where its status says."""
    ready = due = due_wall = leased = 0
    for handle, job in _jobs(live):
        assert job.status not in TERMINAL, f"{job} is finished and still in memory"
        in_match = handle in live.match
        assert in_match == (job.status in READY), f"{job} in the match index: {in_match}"
        if in_match:
            ready += 1
            entry = live.classes.entry(job.class_id)
            assert live.match.class_of(handle) == entry.number, f"{job} under another class"
            assert live.match.key(handle) == job.match_key, f"{job} at another place in line"
        in_hands = live.leases.of(handle) is not None
        assert in_hands == (job.status in LEASED), f"{job} leased: {in_hands}"
        leased += in_hands
        scheduled = job.status is Status.SCHEDULED
        expected = job.due_ms if scheduled and not job.due_is_wall else None
        assert live.timers_due.due_of(handle) == expected, f"{job} and its timer"
        due += expected is not None
        expected = job.due_ms if scheduled and job.due_is_wall else None
        assert live.timers_due_wall.due_of(handle) == expected, f"{job} and its timer"
        due_wall += expected is not None
    assert len(live.match) == ready, "a job in the match index is not in the table"
    assert len(live.leases) == leased, "a lease is of no job"
    assert len(live.timers_due) == due, "a timer is of no job"
    assert len(live.timers_due_wall) == due_wall, "a timer is of no job"


def skip_timers_exact(live: Live) -> None:
    """A job that has not run yet and has a deadline to start has a timer; no other has one."""
    count = 0
    for handle, job in _jobs(live):
        has_one = job.start_before_at_ms > 0 and job.attempt == 0
        expected = job.start_before_at_ms if has_one else None
        assert live.timers_skip_wall.due_of(handle) == expected, f"{job} and its deadline"
        count += has_one
    assert len(live.timers_skip_wall) == count, "a deadline to start is of no job"


def waits_exact(live: Live) -> None:
    """A job is INITIALIZING exactly as long as it waits for something, and will hear of it."""
    awaiting = live.awaiting
    initializing = {job.job_id for _, job in _jobs(live) if job.status is Status.INITIALIZING}
    assert awaiting.waits.keys() == initializing, f"{len(initializing)}, {len(awaiting.waits)} wait"
    announced: Counter[str] = Counter()
    waiting: Counter[bytes] = Counter()
    for job_id, waits in awaiting.waits.items():
        assert waits.keys, f"{job_id.hex()} waits for nothing"
        assert len(set(waits.keys)) == len(waits.keys), f"{job_id.hex()} waits twice for one thing"
        for key in waits.keys:
            waits_in_line = job_id in awaiting.waiting.get(key, ())
            told = [end for end in awaiting.telling.get(key, ()) if not end.jobs.get(job_id, 1)]
            assert waits_in_line + len(told) == 1, f"{job_id.hex()} hears {len(told)} times"
            waiting[key] += waits_in_line
            if waits_in_line and len(key) == ID_BYTES:
                assert live.jobs.find(key) >= 0, f"{job_id.hex()} waits for what has ended"
        if waits.module():
            owner_id = live.load(live.jobs.find(job_id)).owner_id
            announced[live.owner_names[owner_id][0]] += 1
    assert awaiting.announced == announced, f"{awaiting.announced}, counted {announced}"
    assert {key: len(jobs) for key, jobs in awaiting.waiting.items()} == dict(+waiting)
    by_key: dict[bytes, list[Ended]] = {}
    for ended in awaiting.ended:
        by_key.setdefault(ended.key, []).append(ended)
    assert awaiting.telling == by_key


def one_live_lease(live: Live) -> None:
    """Each leased job has one lease, of its current attempt, due in time."""
    for lease in live.leases:
        assert live.leases.of(lease.handle) is lease, f"{lease} and the lease of its job"
        assert live.leases.named(live.leases.token(lease)) is lease, f"{lease} and its token"
        job = live.load(lease.handle)
        assert job.job_id == lease.job_id, f"{lease} is of another job"
        assert job.attempt_open, f"{job} is leased and its attempt is closed"
        assert job.attempt > 0, f"{job} is leased and was never given out"
        assert (job.attempt, job.epoch) == (lease.attempt, lease.epoch), f"{job} and {lease}"
        end_ms = min(lease.expires_ms, lease.deadline_ms + live.config.timeout_grace_ms)
        if lease.cancel_by_ms:
            end_ms = min(end_ms, lease.cancel_by_ms)
        assert live.leases.due_of(lease) == end_ms, f"{lease} and its timer"
        wanted = {Status.CANCELING: "cancel", Status.SUSPENDING: "suspend"}.get(job.status, "")
        assert lease.order == wanted, f"{job} and the order {lease.order!r}"


def counters_match(live: Live) -> None:
    """Every counter that is read in O(1) equals what counting gives."""
    by_status: Counter[Status] = Counter()
    by_queue: Counter[str] = Counter()
    by_tenant: Counter[str] = Counter()
    for _, job in _jobs(live):
        by_status[job.status] += 1
        if job.status in READY:
            entry = live.classes.entry(job.class_id)
            by_queue[entry.requirements.queue] += 1
            by_tenant[entry.line.tenant] += 1
            behind = entry.line.following.get(job.priority, 0)
            assert job.order < behind, f"{job} stands behind its line's end"
    for status, count in live.stats.live.items():
        assert by_status[status] == count, f"{status.name}: {count}, counted {by_status[status]}"
    for line in live.classes.lines.lines():
        counted_ready = by_tenant.pop(line.tenant, 0)
        assert line.ready == counted_ready, f"{line}, counted {counted_ready}"
    assert not by_tenant, f"no lines of {dict(by_tenant)}"
    assert live.stats.queued == dict(by_queue), f"{live.stats.queued}, counted {dict(by_queue)}"
    leases: Counter[str] = Counter()
    for _, job in _jobs(live):
        if job.status in LEASED:
            leases[live.classes.entry(job.class_id).requirements.queue] += 1
    busy = Counter(lease.holder.worker for lease in live.leases)
    assert live.workers.busy == dict(busy), f"{live.workers.busy}, counted {dict(busy)}"
    for entry in live.classes.entries():
        queue = entry.requirements.queue
        counted = live.classes.queue_leases(queue)
        assert counted == leases[queue], f"queue {queue}: {counted} leases, counted {leases[queue]}"
    for queue in live.classes.queue_capacities:
        counted = live.classes.queue_leases(queue)
        assert counted == leases[queue], f"queue {queue}: {counted} leases, counted {leases[queue]}"


def classes_counted(live: Live) -> None:
    """A class lives exactly as long as it has a live job."""
    jobs = Counter(job.class_id for _, job in _jobs(live))
    ready = Counter(job.class_id for _, job in _jobs(live) if job.status in READY)
    numbers = []
    for entry in live.classes.entries():
        assert entry.jobs == jobs[entry.class_id] > 0, f"{entry}: counted {jobs[entry.class_id]}"
        assert live.match.class_len(entry.number) == ready[entry.class_id], f"{entry}: queued jobs"
        numbers.append(entry.number)
    assert len(jobs) == len(live.classes), "a job is of no class"
    assert sorted(numbers) == live.match.classes(), "a class of the match index is nobody's"


def accounts_match(live: Live) -> None:
    """The live jobs of queues and tenants are those of their classes, and their bytes what the
    records say."""
    queues: Counter[str] = Counter()
    tenants: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for _, job in _jobs(live):
        sizes[live.classes.entry(job.class_id).line.tenant] += job.spec_bytes
    for entry in live.classes.entries():
        queues[entry.requirements.queue] += entry.jobs
        tenants[entry.line.tenant] += entry.jobs
    for queue, jobs in queues.items():
        backlog = live.classes.queue_backlog(queue) + live.classes.queue_leases(queue)
        assert backlog == jobs, f"queue {queue}: {backlog} live jobs, counted {jobs}"
    for tenant, jobs in tenants.items():
        counted = live.classes.tenant_jobs(tenant)
        assert counted == jobs, f"tenant {tenant}: {counted} live jobs, counted {jobs}"
    for line in live.classes.lines.lines():
        counted = live.classes.tenant_bytes(line.tenant)
        expected = sizes[line.tenant]
        assert counted == expected, f"tenant {line.tenant}: {counted} bytes, counted {expected}"


def gates_hold(live: Live) -> None:
    """A class has the gates of what it is; each counts its leases, and no more starts than left."""
    leases: Counter[int] = Counter()
    used: Counter[tuple[int, int]] = Counter()
    for _, job in _jobs(live):
        if job.status not in LEASED:
            continue
        entry = live.classes.entry(job.class_id)
        for gate in entry.gates:
            leases[gate.number] += 1
            for dimension, amount in enumerate(entry.requirements.amounts.vector()):
                used[gate.number, dimension] += amount
    for entry in live.classes.entries():
        assert entry.gates == live.gates.of(entry.requirements), f"{entry}: other gates"
        numbers = frozenset(gate.number for gate in entry.gates)
        assert live.match.class_gates(entry.number) == numbers, f"{entry}: gates in the index"
    for gate in live.gates.all():
        counted = live.match.gate_leases(gate.number)
        assert counted == leases[gate.number], f"{gate.key}: {counted} leases"
        for dimension, amount in enumerate(live.match.gate_used(gate.number)):
            assert amount == used[gate.number, dimension], f"{gate.key}: {amount} used"
        assert live.match.gate_tokens(gate.number) == gate.left(), f"{gate.key}: starts left"
        assert gate.used_total == sum(starts for _, starts in gate.used), f"{gate.key}: starts"


def sessions_and_polls_agree(live: Live) -> None:
    """Sessions, leases and parked polls name each other, and none that is gone."""
    for name, session in live.sessions.items():
        assert session.name == name
        if session.ticket >= 0:
            parked = live.parked.by_ticket.get(session.ticket)
            assert parked is not None, f"session {name} waits in a poll that is gone"
            assert parked.poll.session == name, f"session {name} waits in another's poll"
        assert len(list(session.held)) == len(session.held)
        for lease in session.held:
            assert lease in live.leases, f"session {name} holds a lease that is gone"
            assert lease.holder.session == name, f"session {name} holds another's {lease}"
    for lease in live.leases:
        if lease.holder.session:
            session_of_it = live.sessions.get(lease.holder.session)
            assert session_of_it is not None, f"{lease} is of a session that is forgotten"
            assert lease in list(session_of_it.held), f"its session does not know {lease}"
        if lease.ticket >= 0:
            parked = live.parked.by_ticket.get(lease.ticket)
            assert parked is not None, f"{lease} would be told in a poll that is gone"
            assert lease in parked.leases, f"{lease} would be told in a poll not its own"
    assert len(live.timers_poll) == len(live.parked)
    grouped = 0
    for ticket, parked in live.parked.by_ticket.items():
        assert live.parked.ticket_of(parked.slot) == ticket, "two polls in one slot"
        assert live.timers_poll.due_of(parked.slot) == parked.until_ms, f"{parked} and its timer"
        if parked.poll.jobs_max:
            group = live.parked.groups[(parked.shape, parked.poll.free.vector())]
            assert group[ticket] is parked, f"{parked} is in another's group"
            grouped += 1
    assert sum(map(len, live.parked.groups.values())) == grouped, "a group holds a poll that left"
    assert all(live.parked.groups.values()), "a group is empty"
    profiles = [next(iter(group.values())).poll.profile for group in live.parked.groups.values()]
    pairs = sum(len(pairs_of(profile)) for profile in profiles)
    assert len(live.parked.serving) == pairs, "a group is found by what it does not serve"


def workers_counted(live: Live) -> None:
    """The kinds of workers are those of the known workers."""
    counted = Counter((worker.shape, worker.total) for worker in live.workers.by_name.values())
    held = {key: len(names) for key, names in live.workers.totals.items()}
    assert held == dict(counted), f"{held}, counted {dict(counted)}"


def _jobs(live: Live) -> list[tuple[int, Job]]:
    return [
        (live.jobs.find(job_id), Job.unpack(job_id, live.jobs.record(live.jobs.find(job_id))))
        for job_id in live.jobs.ids()
    ]


CHECKS: Final[tuple[Callable[[Live], None], ...]] = (
    structures_hold,
    one_place_each,
    skip_timers_exact,
    waits_exact,
    one_live_lease,
    counters_match,
    classes_counted,
    accounts_match,
    gates_hold,
    sessions_and_polls_agree,
    workers_counted,
)
