"""Taking jobs and modules: all of a submit, or nothing."""

from typing import Final, NamedTuple

from headrace.core.classes import ClassEntry
from headrace.core.commands import Module, NewJobs, PutModule, Submit, Submitted
from headrace.core.effects import (
    Effect,
    JobsStored,
    ModuleStored,
    Waits,
    WaitsStored,
    ids_split,
)
from headrace.core.fitting import never_fits_any, refusal
from headrace.core.gates import NO_QUOTA
from headrace.core.ids import ID_BYTES, id_text
from headrace.core.job import Job, Status
from headrace.core.live import Live, SpecHead, unknown_job
from headrace.core.resources import DIMENSIONS, Amounts, Requirements, amount_text
from headrace.wire import limits
from headrace.wire.problems import Problem, ProblemCode

RETRY_AFTER_MS: Final = 1_000
"""Of what is refused because there is too much of it."""
QUEUED: Final = Status.QUEUED  # a member looked up in its class costs as much as a small call


def submit(
    live: Live, now_ms: int, command: Submit, effects: list[Effect]
) -> list[Submitted] | Problem:
    checked = submit_check(live, command)
    if isinstance(checked, Problem):
        return checked
    new_modules: list[Module] = []
    if command.modules:
        new_modules = [one for one in command.modules if not has_module(live, one.key)]
    named: dict[bytes, Named] = {}
    missing: set[bytes] = set()
    for new in command.jobs:
        if new.after or new.await_module:
            found = submit_after(live, command, checked)
            if isinstance(found, Problem):
                return found
            named = found
            announced = {new.module_key for new in command.jobs if new.await_module}
            missing = {key for key in announced if not has_module(live, key)}
            missing -= {module.key for module in new_modules}
            break
    for module in new_modules:
        store_module(live, module, effects)
    owner_id = live.owner(command.caller.tenant, command.caller.user, effects)
    replies: list[Submitted] = []
    job_ids: list[bytes] = []
    records: list[bytes] = []
    specs: list[bytes] = []
    keys: list[tuple[int, bytes, bytes]] = []
    scheduled: list[tuple[int, int]] = []
    made: dict[bytes, tuple[bytes, bytes]] = {}
    waiting: list[tuple[bytes, Waits]] = []
    for new, earlier in zip(command.jobs, checked, strict=True):
        known = earlier or (made.get(new.key_digest) if new.key_digest else None)
        if known is not None:
            replies.append(Submitted(known[0], live.status_of(known[0]), replayed=True))
            continue
        if new.key_digest:
            made[new.key_digest] = (new.job_ids, new.request_digest)
            keys.append((len(specs), new.key_digest, new.request_digest))
        if new.planned_at_ms:
            first = len(specs)
            scheduled += ((first + at, new.planned_at_ms) for at in range(len(new.specs)))
        entry = live.classes.acquire(new.requirements, effects, len(new.specs))
        job = submit_first(live, now_ms, new, entry, owner_id)
        if new.after or new.await_module:
            waits = submit_waits(new, named, missing)
            if waits.keys:
                waiting.append((new.job_ids, waits))
                job.status, job.order = Status.INITIALIZING, live.stamp(now_ms)
        job_ids.append(new.job_ids)
        records.append(submit_take(live, new, job, entry))
        specs += new.specs
        never_fits = never_fits_any(live, entry)
        replies.append(Submitted(new.job_ids, job.status, never_fits=never_fits))
    if specs:
        effects.append(
            JobsStored(owner_id, b"".join(job_ids), b"".join(records), specs, keys, scheduled)
        )
        live.fresh_keys.update(made)
    for job_id, waits in waiting:
        effects.append(WaitsStored(job_id, Waits([*waits.keys], waits.any_end, waits.entry_point)))
        live.awaiting.add(job_id, command.caller.tenant, waits)
        for key in waits.keys:
            if key in named and (ended := named[key].ended) is not None:
                live.awaiting.end(key, ended)
    return replies


class Named(NamedTuple):
    """A job that another is to run after."""

    job_id: bytes
    """Of an earlier submit, if the job named was replayed."""
    ended: Status | None
    """None: it has not."""


def submit_after(
    live: Live, command: Submit, checked: list[tuple[bytes, bytes] | None]
) -> dict[bytes, Named] | Problem:
    """Find the jobs that those of a submit are to run after: earlier ones of the caller, or of the
    submit itself. Changes nothing."""
    named: dict[bytes, Named] = {}
    mine: dict[bytes, bytes] = {}
    made: dict[bytes, bytes] = {}
    position = 0
    for new, known in zip(command.jobs, checked, strict=True):
        earlier = known[0] if known is not None else made.get(new.key_digest)
        for at, key in enumerate(() if earlier else new.after):
            if key in named:
                continue
            actual = mine.get(key, key)
            if mine.get(actual) == actual:
                named[key] = named[actual] = Named(actual, None)
                continue
            handle = live.jobs.find(actual)
            ended = None
            if handle >= 0:
                problem = live.may_not(command.caller, live.load(handle).owner_id)
            else:
                finished, owner_id = live.finished(actual), live.owner_of(actual)
                if finished is None or owner_id is None:
                    problem = unknown_job()
                else:
                    problem = live.may_not(command.caller, owner_id)
                    ended = finished.status
            if problem is not None:
                return Problem(
                    ProblemCode.FIELD_INVALID,
                    problem.detail,
                    pointer=f"{pointer(command, position)}/after/{at}",
                )
            named[key] = named[actual] = Named(actual, ended)
        for job_id in ids_split(new.job_ids):
            mine[job_id] = earlier or job_id
        if new.key_digest:
            made.setdefault(new.key_digest, new.job_ids)
        position += len(new.specs)
    return named


def submit_waits(new: NewJobs, named: dict[bytes, Named], missing: set[bytes]) -> Waits:
    """Return what a job has to wait for. Its spec comes to name the jobs as they are known."""
    keys = []
    for key in new.after:
        job_id, ended = named[key]
        if job_id != key:
            text, known = id_text(key).encode(), id_text(job_id).encode()
            new.specs = [spec.replace(text, known) for spec in new.specs]
        if not (ended is Status.COMPLETED or (new.any_end and ended is not None)):
            keys.append(job_id)
    if new.await_module and new.module_key in missing:
        keys.append(new.module_key)
    return Waits([*dict.fromkeys(keys)], new.any_end, new.entry_point)


def submit_first(live: Live, now_ms: int, new: NewJobs, entry: ClassEntry, owner_id: int) -> Job:
    """Return the first of jobs that are alike. The others stand behind it in line."""
    status, order, due_ms, due_is_wall = QUEUED, 0, 0, False
    if new.scheduled_at_ms and new.scheduled_at_ms > live.wall_ms(now_ms):
        status, due_ms, due_is_wall = Status.SCHEDULED, new.scheduled_at_ms, True
    elif new.delay_ms:
        status, due_ms = Status.SCHEDULED, now_ms + new.delay_ms
    if status is QUEUED:
        order = live.classes.lines.place(entry.line, new.priority)
    else:
        order = live.stamp(now_ms, len(new.specs))
    return Job(
        new.job_ids[:ID_BYTES],
        status,
        new.priority,
        entry.class_id,
        owner_id,
        order,
        new.timeout_ms,
        new.retry_delay_ms,
        new.retry_backoff_centi,
        new.retries_max,
        due_ms=due_ms,
        due_is_wall=due_is_wall,
        start_before_at_ms=new.start_before_at_ms,
        has_webhook=bool(new.webhook_url),
        has_retention=new.retention is not None,
    )


def submit_take(live: Live, new: NewJobs, first: Job, entry: ClassEntry) -> bytes:
    """Take jobs that are alike into memory; return their records, joined."""
    step = entry.line.step if first.status is QUEUED else 1
    records, spec_bytes = first.pack_alike(new.specs, step)
    entry.line.spec_bytes += spec_bytes
    handles = live.jobs.add_alike(new.job_ids, records)
    live.enter_alike(handles, first, entry)
    if first.has_webhook or first.has_retention:
        head = SpecHead(new.webhook_url, new.retention)
        live.fresh_heads.update(dict.fromkeys(ids_split(new.job_ids), head))
    if new.start_before_at_ms:
        for handle in handles:
            live.timers_skip_wall.set(handle, new.start_before_at_ms)
    live.stats.submitted_total += len(handles)
    live.stats.live[first.status] += len(handles)
    return records


def submit_check(live: Live, command: Submit) -> list[tuple[bytes, bytes] | None] | Problem:
    """Return why nothing of this submit may be taken; else for each of `jobs` the earlier one (id,
    request digest) under its idempotency key, or None.

    Reads all that has to be read from the archive, and changes nothing.
    """
    checked: list[tuple[bytes, bytes] | None] = []
    modules = {module.key for module in command.modules} if command.modules else ()
    seen: dict[bytes, bytes] = {}
    position = new_jobs = announced = 0
    most, refuse_never_fit = live.config.resources_max, live.config.refuse_never_fit
    has_quotas = live.quotas or live.classes.backlogs_max
    of_tenant: dict[str, int] = {}
    bytes_of_tenant: dict[str, int] = {}
    of_queue: dict[str, int] = {}
    for new in command.jobs:
        at = position
        position += len(new.specs)
        known = live.key(new.key_digest) if new.key_digest else None
        checked.append(known)
        if new.key_digest:
            assert len(new.specs) == 1, "a key is of one job"
            digest = known[1] if known is not None else seen.get(new.key_digest)
            if digest is not None:
                if digest != new.request_digest:
                    return Problem(
                        ProblemCode.IDEMPOTENCY_KEY_REUSED,
                        "this idempotency key came with another request before;"
                        " use a new key for a new job",
                        pointer=f"{pointer(command, at)}/idempotency_key",
                    )
                continue
            seen[new.key_digest] = new.request_digest
        new_jobs += len(new.specs)
        if new.module_key and not (new.module_key in modules or has_module(live, new.module_key)):
            if not new.await_module:
                return Problem(
                    ProblemCode.MODULE_UNKNOWN,
                    "store the module first with PUT /api/v1/modules/{sha256}, send it as"
                    " wasm_module, or say await_module: true",
                    pointer=f"{pointer(command, at)}/wasm_sha256",
                )
            announced += 1
        needs = new.requirements
        if most is not None and not needs.amounts.fits(most):
            return too_large(needs.amounts, most, pointer(command, at))
        if has_quotas:
            job_max = live.quotas.get(needs.tenant, NO_QUOTA).job_max
            if job_max is not None and not needs.amounts.fits(job_max):
                return too_large(needs.amounts, job_max, pointer(command, at))
            tenant, queue, size = needs.tenant, needs.queue, sum(map(len, new.specs))
            of_tenant[tenant] = of_tenant.get(tenant, 0) + len(new.specs)
            bytes_of_tenant[tenant] = bytes_of_tenant.get(tenant, 0) + size
            of_queue[queue] = of_queue.get(queue, 0) + len(new.specs)
            held = held_out(
                live, needs, of_tenant[tenant], bytes_of_tenant[tenant], of_queue[queue]
            )
            if held is not None:
                held.move_to(pointer(command, at))
                return held
        if refuse_never_fit and (causes := refusal(live, needs)):
            return Problem(
                ProblemCode.REQUIREMENTS_NEVER_FIT,
                "; ".join(cause.detail for cause in causes),
                pointer=f"{pointer(command, at)}/requirements",
                extra={"causes": [cause.told() for cause in causes]},
            )
    if (
        announced
        and live.awaiting.announced[command.caller.tenant] + announced > limits.AWAITING_MODULE_MAX
    ):
        return Problem(
            ProblemCode.QUEUE_FULL,
            f"at most {limits.AWAITING_MODULE_MAX} jobs wait for modules that were announced;"
            " store modules, or cancel jobs",
            retry_after_ms=1_000,
        )
    return (full(live, new_jobs) or checked) if live.config.jobs_max else checked


def held_out(
    live: Live, requirements: Requirements, of_tenant: int, bytes_of_tenant: int, of_queue: int
) -> Problem | None:
    """Say whether so many more live jobs of a tenant, and of a queue, are too many; or too large,
    with so many bytes."""
    tenant, queue = requirements.tenant, requirements.queue
    quota = live.quotas.get(tenant, NO_QUOTA)
    jobs = live.classes.tenant_jobs(tenant) + of_tenant
    if quota.jobs_max is not None and jobs > quota.jobs_max:
        return _quota_reached(tenant, f"{quota.jobs_max} jobs that have not ended", str(jobs))
    size = live.classes.tenant_bytes(tenant) + bytes_of_tenant
    if quota.bytes_max is not None and size > quota.bytes_max:
        return _quota_reached(
            tenant, f"jobs of {quota.bytes_max} bytes that have not ended", f"{size} bytes of them"
        )
    backlog_max = live.classes.backlogs_max.get(queue)
    backlog = live.classes.queue_backlog(queue) + of_queue
    if backlog_max is not None and backlog > backlog_max:
        return Problem(
            ProblemCode.BACKLOG_FULL,
            f"{backlog} jobs of the queue {queue!r} would wait, {backlog_max} may;"
            " try again when some have started",
            pointer="/queue",
            retry_after_ms=RETRY_AFTER_MS,
        )
    return None


def _quota_reached(tenant: str, allowed: str, would_have: str) -> Problem:
    return Problem(
        ProblemCode.QUOTA_REACHED,
        f"the tenant {tenant!r} may have {allowed}, and would have {would_have};"
        " try again when some have",
        pointer="",
        retry_after_ms=RETRY_AFTER_MS,
    )


def full(live: Live, new_jobs: int) -> Problem | None:
    """Say whether there is no room for so many more live jobs."""
    if live.config.jobs_max and len(live.jobs) + new_jobs > live.config.jobs_max:
        return Problem(
            ProblemCode.QUEUE_FULL,
            f"{len(live.jobs)} of {live.config.jobs_max} jobs are waiting or running;"
            " try again when some have finished",
            retry_after_ms=RETRY_AFTER_MS,
        )
    return None


def too_large(asked: Amounts, most: Amounts, place: str) -> Problem:
    return Problem(
        ProblemCode.REQUIREMENTS_NEVER_FIT,
        "the operator's limit for one job is "
        + ", ".join(
            amount_text(name, getattr(most, name))
            for name in DIMENSIONS
            if getattr(asked, name) > getattr(most, name)
        ),
        pointer=f"{place}/requirements",
    )


def pointer(command: Submit, position: int) -> str:
    """Return the start of a pointer to a job, as the client sent it."""
    return f"/{position}" if sum(len(new.specs) for new in command.jobs) > 1 else ""


def put_module(live: Live, _now_ms: int, command: PutModule, effects: list[Effect]) -> bool:
    if has_module(live, command.module.key):
        return False
    store_module(live, command.module, effects)
    return True


def store_module(live: Live, module: Module, effects: list[Effect]) -> None:
    live.fresh_modules.add(module.key)
    effects.append(ModuleStored(module.key, module.data))
    live.awaiting.end(module.key, Status.COMPLETED, module.entry_points)


def has_module(live: Live, key: bytes) -> bool:
    return key in live.fresh_modules or live.archive.has_module(key)
