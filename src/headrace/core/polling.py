"""What workers say and get in one call: heartbeats, news, orders, and new jobs.

A poll with nothing to hear is parked until there is something, or until its wait is over. One
session has one parked poll: a newer poll of it sends the older one home empty.
"""

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from headrace.core.announcing import emitted
from headrace.core.commands import (
    Grants,
    Order,
    Poll,
    PollReply,
    Progress,
    Withdraw,
)
from headrace.core.effects import Answered, Effect, JobsLeased, LogAppended, Noted, Trail
from headrace.core.job import STATUSES, Event, Status
from headrace.core.live import ArchiveFault, Live
from headrace.core.reporting import leases_reported, reports, save_progress
from headrace.core.resources import Amounts
from headrace.core.tokens import tokens_split
from headrace.core.workers import (
    TOLD_MAX,
    Group,
    Holder,
    KnownWorker,
    Lease,
    Parked,
    Session,
    Told,
    WorkerKey,
)
from headrace.wire import limits

LOCKED: Final = Status.LOCKED  # a member looked up in its class costs as much as a small call
ORDER_AGAIN_MS: Final = 2_000
"""An order that was told and not obeyed is told again after this long."""
CLASSES_TRIED_MAX: Final = 16
"""With more classes than this become ready, searching is cheaper than trying each."""
LOG_CHUNK_COST_BYTES: Final = 64
"""What a piece of log counts beside its text, so that one-byte pieces are bounded too."""
LOG_CUT: Final = b"\n[headrace: the log is cut here, its limit is reached]\n"


def poll(live: Live, now_ms: int, command: Poll, effects: list[Effect]) -> PollReply | None:
    session = session_of(live, now_ms, command.session)
    repeated: bytes | None = None
    stale = False
    if session is not None and command.seq:
        repeated = session.grants.get(command.seq)
        stale = repeated is None and command.seq < session.seq
        session.seq = max(session.seq, command.seq)
        if session.ticket >= 0:
            parked = unpark(live, session.ticket)
            effects.append(Answered(parked.poll.ticket, PollReply()))
    shape, tenant = know(live, now_ms, command), command.profile.tenant
    try:
        for news in command.progress:  # before the reports, which end the attempts they are of
            progress(live, now_ms, news, effects, tenant)
        acks = reports(live, now_ms, command.reports, effects, tenant) if command.reports else []
        held, orders = heard(live, now_ms, command, session)
        if live.told and (told := live.told.get((command.profile.tenant, command.worker))):
            orders += order_to(now_ms, told, command, again=repeated is not None)
            command = replace(command, jobs_max=0)
        jobs = Grants()
        if repeated is not None:
            jobs = granted_before(live, repeated)
        elif command.jobs_max and not stale:
            jobs = take(live, now_ms, command, shape, effects)
        # A repeat has not looked for jobs, so it must not wait for any.
        repeat = stale or repeated is not None
        if acks or orders or len(jobs) or repeat or command.wait_ms <= 0:
            return PollReply(acks, jobs, orders)
        park(live, now_ms, command, session, held)
        return None
    finally:
        live.classes.shape_release(command.profile)


def session_of(live: Live, now_ms: int, name: str) -> Session | None:
    if not name:
        return None
    session = live.sessions.get(name)
    if session is None:
        session = live.sessions[name] = Session(name)
    session.seen_ms = now_ms
    return session


def know(live: Live, now_ms: int, command: Poll) -> int:
    """Remember the worker's profile; return its shape, acquired for the caller.

    A poll for no jobs that tells no total is news or a heartbeat, and says nothing about what the
    worker is; nor does one without a name, which speaks for a lease only.
    """
    shape = live.classes.shape_acquire(command.profile)
    if not command.worker:
        return shape
    key = command.profile.tenant, command.worker
    known = live.workers.get(key)
    if known is not None:
        known.heard(now_ms, command)
    total = command.total
    if command.jobs_max == 0 and total is None:
        return shape
    if total is None:
        if known is not None and known.shape == shape and command.free.fits(known.total):
            return shape
        before = known.total if known is not None and known.shape == shape else Amounts()
        total = Amounts(
            *(max(a, b) for a, b in zip(before.vector(), command.free.vector(), strict=True))
        )
    if known is not None and known.shape == shape and known.total == total:
        return shape
    if known is None:
        if live.workers.full():
            return shape
        fresh = KnownWorker(command.profile, shape, total, now_ms)
        fresh.heard(now_ms, command)
    else:
        fresh = replace(known, profile=command.profile, shape=shape, total=total)
    live.classes.shape_acquire(command.profile)
    forget_worker(live, key)
    live.workers.set(key, fresh)
    return shape


def forget_worker(live: Live, name: WorkerKey) -> None:
    known = live.workers.forget(name)
    if known is not None:
        live.classes.shape_release(known.profile)


def heard(
    live: Live, now_ms: int, command: Poll, session: Session | None
) -> tuple[list[Lease], list[Order]]:
    """Take heartbeats; return the leases this poll speaks for, and its orders."""
    held: list[Lease] = []
    orders: list[Order] = []
    if command.running or command.progress:
        reported = leases_reported(command.reports)
        for token in dict.fromkeys([*command.running, *(news.lease for news in command.progress)]):
            lease = lease_named(live, token, command.profile.tenant)
            if lease is not None:
                renew(live, now_ms, lease)
                held.append(lease)
            elif token not in reported:
                orders.append(Order(token, "lost"))
    if session is not None:
        held.extend(session.held)
    orders.extend(orders_for(live, now_ms, held))
    return held, orders


def lease_named(live: Live, token: str, tenant: str) -> Lease | None:
    """Return a lease that is held, for a tenant's worker one of its tenant's jobs."""
    lease = live.leases.named(token)
    if lease is not None and tenant and not live.is_of(tenant, live.load(lease.handle)):
        return None
    return lease


def renew(live: Live, now_ms: int, lease: Lease) -> None:
    lease.expires_ms = now_ms + live.config.lease_ms
    live.lease_timer(lease)


def progress(
    live: Live, now_ms: int, news: Progress, effects: list[Effect], tenant: str = ""
) -> None:
    lease = lease_named(live, news.lease, tenant)
    if lease is None:
        return
    if news.started and not lease.started_at_ms:
        lease.started_at_ms = live.wall_ms(now_ms)
        job = live.load(lease.handle)
        if job.can(Event.START):
            live.change(now_ms, lease.handle, job, Event.START, effects, lease)
    share = lease.progress if news.progress is None else news.progress
    details = lease.details if news.details is None else news.details
    if share != lease.progress or details != lease.details:
        lease.progress, lease.details, lease.unsaved = share, details, True
        effects.append(Noted(lease.job_id, share, details))
        if now_ms - lease.noted_ms >= limits.PROGRESS_EVERY_MS:
            save_progress(live, now_ms, lease, effects)
    if news.events and live.hooks.wanted:
        owner_id = live.load(lease.handle).owner_id
        emitted(live, now_ms, lease.job_id, owner_id, news.events, effects)
    if news.log:
        log(live, now_ms, lease, news.log, effects)


def log(live: Live, now_ms: int, lease: Lease, log: bytes, effects: list[Effect]) -> None:
    if lease.log_cut:
        return
    most = live.config.log_bytes_max
    if lease.log_bytes < 0:
        try:
            lease.log_bytes = live.archive.log_bytes(lease.job_id)
        except ArchiveFault:
            lease.log_bytes = most  # a damaged log gets no longer
        if lease.log_bytes >= most:
            lease.log_cut = True
            return
    for start in range(0, len(log), limits.LOG_CHUNK_BYTES_MAX):
        chunk = log[start : start + limits.LOG_CHUNK_BYTES_MAX]
        lease.log_bytes += len(chunk) + LOG_CHUNK_COST_BYTES
        if lease.log_bytes >= most:
            chunk = chunk[: max(0, len(chunk) - (lease.log_bytes - most))]
            lease.log_cut = True
            effects.append(LogAppended(lease.job_id, live.stamp(now_ms), chunk + LOG_CUT))
            return
        effects.append(LogAppended(lease.job_id, live.stamp(now_ms), chunk))


def tell(live: Live, now_ms: int, lease: Lease, order: str, effects: list[Effect]) -> None:
    """Have the worker told, at once if a poll of it is parked."""
    lease.order, lease.told_ms = order, -1
    if lease.ticket >= 0:
        parked = unpark(live, lease.ticket)
        orders = orders_for(live, now_ms, parked.leases)
        effects.append(Answered(parked.poll.ticket, PollReply(orders=orders)))


def orders_for(live: Live, now_ms: int, leases: list[Lease]) -> list[Order]:
    """Return what the holders of leases have to be told now, and note that it was."""
    orders = []
    for lease in leases:
        if not lease.order or lease not in live.leases:
            continue
        if lease.told_ms >= 0 and now_ms - lease.told_ms < ORDER_AGAIN_MS:
            continue
        lease.told_ms = now_ms
        orders.append(Order(live.leases.token(lease), lease.order))
    return orders


def order_to(now_ms: int, told: Told, poll: Poll, *, again: bool) -> list[Order]:
    """Return what a worker has to be told about itself: once to each session, and to one that was
    told to quit and asks for jobs all the same."""
    before = told.sessions.get(poll.session)
    if before is not None and not again:
        deaf = told.order == "quit" and poll.jobs_max and now_ms - before >= ORDER_AGAIN_MS
        if not deaf:
            return []
    if before is None and len(told.sessions) >= TOLD_MAX:
        del told.sessions[next(iter(told.sessions))]
    told.sessions[poll.session] = now_ms
    return [Order("", told.order)]


def take(live: Live, now_ms: int, poll: Poll, shape: int, effects: list[Effect]) -> Grants:
    gates = live.gates
    if gates.rated and gates.come_back(now_ms):
        live.room = True
    handles = live.match.take_many(shape, poll.free.vector(), poll.jobs_max)
    return grant(live, now_ms, handles, poll, effects) if handles else Grants()


def grant(live: Live, now_ms: int, handles: list[int], poll: Poll, effects: list[Effect]) -> Grants:
    """Lease jobs that the match index has just given up, and count their attempts.

    Every job comes by here, so what is done for each is done by `LeaseTable.grant`.
    """
    wall_ms = live.wall_ms(now_ms)
    session = live.sessions[poll.session] if poll.session else None
    of: Session | KnownWorker | None = session
    if of is None:
        of = live.workers.get((poll.profile.tenant, poll.worker))
    holder = Holder(poll.worker, poll.session, poll.seq, None if of is None else of.held)
    config = live.config
    done = live.leases.grant(
        handles,
        Event.LEASE,
        live.epoch,
        holder,
        now_ms,
        wall_ms,
        config.lease_ms,
        config.timeout_grace_ms,
    )
    for handle in done.with_deadline_to_start:
        live.timers_skip_wall.cancel(handle)
    stats = live.stats
    stats.leased_total += len(handles)
    stats.wait_ms_total += done.waited_ms
    live.waits.add(now_ms, done.by_wait, done.waited_ms)
    live.workers.holds(poll.worker, len(handles))
    for status, count in done.by_status.items():
        stats.moved(STATUSES[status], LOCKED, count)
    live.classes.lines.reached.update(done.reached)
    entry_of, lines = live.classes.entry, live.classes.lines
    queue, left = None, 0
    for class_id, count in done.by_class.items():  # as many as jobs, where tenants take turns
        entry = entry_of(class_id)
        if entry.queue is not queue:
            if queue is not None:
                stats.queue(queue.name, -left)
            queue, left = entry.queue, 0
        left += count
        entry.line.ready -= count
        if entry.line.ready == 0:
            lines.trim(entry.line)
        if entry.gates:
            live.gates.started(now_ms, entry.gates, count)
    if queue is not None:
        stats.queue(queue.name, -left)
    if session is not None and poll.seq:
        session.remember(poll.seq, done.tokens)
    trail = Trail(wall_ms, worker=poll.worker, session=poll.session, seq=poll.seq)
    effects.append(JobsLeased(done.job_ids, done.records, trail))
    return Grants(
        done.tokens, done.job_ids, done.records, done.deadlines_at_ms, done.with_checkpoint
    )


def granted_before(live: Live, tokens: bytes) -> Grants:
    """Return what a poll got before, as far as it still has it."""
    found = [live.leases.named(token) for token in tokens_split(tokens)]
    leases = [lease for lease in found if lease is not None]
    return Grants(
        b"".join(live.leases.token(lease).encode() for lease in leases),
        b"".join(lease.job_id for lease in leases),
        b"".join(live.jobs.record(lease.handle) for lease in leases),
        [lease.deadline_at_ms for lease in leases],
        [at for at, lease in enumerate(leases) if live.load(lease.handle).has_checkpoint],
    )


def park(live: Live, now_ms: int, poll: Poll, session: Session | None, held: list[Lease]) -> None:
    wait_ms = poll.wait_ms
    if held:  # a parked poll is no heartbeat: its worker has to be heard of again in time
        wait_ms = min(wait_ms, live.config.lease_ms // 2)
    shape = live.classes.shape_acquire(poll.profile)
    parked = live.parked.add(poll, shape, now_ms + wait_ms, held)
    live.timers_poll.set(parked.slot, parked.until_ms)
    if session is not None:
        session.ticket = poll.ticket
    for lease in held:
        lease.ticket = poll.ticket


def unpark(live: Live, ticket: int) -> Parked:
    parked = live.parked.remove(ticket)
    assert parked is not None
    live.timers_poll.cancel(parked.slot)
    session = live.sessions.get(parked.poll.session)
    if session is not None and session.ticket == ticket:
        session.ticket = -1
    for lease in parked.leases:
        if lease.ticket == ticket:
            lease.ticket = -1
    live.classes.shape_release(parked.poll.profile)
    return parked


def withdraw(live: Live, now_ms: int, command: Withdraw, effects: list[Effect]) -> None:
    if command.ticket in live.parked.by_ticket:
        unpark(live, command.ticket)
        effects.append(Answered(command.ticket, PollReply()))


def dispatch_parked(live: Live, now_ms: int, effects: list[Effect]) -> None:
    """Serve parked polls, the longest waiting of each group of equal offers first.

    All of them have been searched for in vain before, so only a class that became ready since
    then can serve them, unless a queue has room again. That spares a search per group, which is
    dear where many classes wait and none fits.
    """
    match = live.match
    groups: Iterable[Group]
    ready: list[int] = []
    if live.room:
        groups = [*live.parked.groups.values()]
    else:
        ready = [number for number in live.ready if waits(live, number)]
        groups = live.parked.serving.find(
            [live.classes.numbered(number).requirements for number in ready], removing=True
        )
    for group in groups:
        if 0 < len(ready) <= CLASSES_TRIED_MAX and not any(
            match.fits(number, group.shape, *group.free) for number in ready
        ):
            continue
        while group:
            ticket, parked = next(iter(group.items()))
            grants = take(live, now_ms, parked.poll, group.shape, effects)
            if not len(grants):
                break
            unpark(live, ticket)
            effects.append(Answered(ticket, PollReply(jobs=grants)))
            if ready:
                ready = [number for number in ready if waits(live, number)]
                if not ready:
                    return


def waits(live: Live, number: int) -> bool:
    """Whether a job of the class could be leased now."""
    return live.match.class_len(number) > 0 and live.match.runnable(number)
