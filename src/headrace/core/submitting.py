"""Taking jobs and modules: all of a submit, or nothing."""

from typing import Final

from headrace.core.classes import ClassEntry
from headrace.core.commands import NewJobs, PutModule, Submit, Submitted
from headrace.core.effects import Effect, JobsStored, ModuleStored, ids_split
from headrace.core.fitting import never_fits_any
from headrace.core.ids import ID_BYTES
from headrace.core.job import Job, Status
from headrace.core.live import Live, Quota
from headrace.core.resources import DIMENSIONS, Amounts, Requirements, amount_text
from headrace.wire.problems import Problem, ProblemCode

RETRY_AFTER_MS: Final = 1_000
"""Of what is refused because there is too much of it."""
NO_QUOTA: Final = Quota()
QUEUED: Final = Status.QUEUED  # a member looked up in its class costs as much as a small call


def submit(
    live: Live, now_ms: int, command: Submit, effects: list[Effect]
) -> list[Submitted] | Problem:
    checked = submit_check(live, command)
    if isinstance(checked, Problem):
        return checked
    new_modules = [module for module in command.modules if not has_module(live, module.sha256)]
    for module in new_modules:
        store_module(live, module.sha256, module.data, effects)
    owner_id = live.owner(command.caller.tenant, command.caller.user, effects)
    replies: list[Submitted] = []
    job_ids: list[bytes] = []
    records: list[bytes] = []
    specs: list[bytes] = []
    keys: list[tuple[int, bytes, bytes]] = []
    scheduled: list[tuple[int, int]] = []
    made: dict[bytes, tuple[bytes, bytes]] = {}
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
    return replies


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
    )


def submit_take(live: Live, new: NewJobs, first: Job, entry: ClassEntry) -> bytes:
    """Take jobs that are alike into memory; return their records, joined."""
    step = entry.line.step if first.status is QUEUED else 1
    records = first.pack_alike(len(new.specs), step)
    handles = live.jobs.add_alike(new.job_ids, records)
    live.enter_alike(handles, first, entry)
    if new.webhook_url:
        live.fresh_urls.update(dict.fromkeys(ids_split(new.job_ids), new.webhook_url))
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
    modules = {module.sha256 for module in command.modules}
    seen: dict[bytes, bytes] = {}
    position = new_jobs = 0
    most = live.config.resources_max
    quota = quota_of(live, command)
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
        if new.module_sha256 and not (
            new.module_sha256 in modules or has_module(live, new.module_sha256)
        ):
            return Problem(
                ProblemCode.MODULE_UNKNOWN,
                "store the module first with PUT /api/v1/modules/{sha256},"
                " or send it as wasm_module",
                pointer=f"{pointer(command, at)}/wasm_sha256",
            )
        for limit in (most, quota.job_max):
            if limit is not None and not new.requirements.amounts.fits(limit):
                return too_large(new.requirements.amounts, limit, pointer(command, at))
        if live.quotas or live.classes.backlogs_max:
            queue = new.requirements.queue
            of_queue[queue] = of_queue.get(queue, 0) + len(new.specs)
            held = held_out(live, new.requirements, new_jobs, of_queue[queue])
            if held is not None:
                held.move_to(pointer(command, at))
                return held
    return full(live, new_jobs) or checked


def held_out(
    live: Live, requirements: Requirements, of_tenant: int, of_queue: int
) -> Problem | None:
    """Say whether so many more live jobs of a tenant, and of a queue, are too many."""
    tenant, queue = requirements.tenant, requirements.queue
    jobs_max = live.quotas.get(tenant, NO_QUOTA).jobs_max
    jobs = live.classes.tenant_jobs(tenant) + of_tenant
    if jobs_max is not None and jobs > jobs_max:
        return Problem(
            ProblemCode.QUOTA_REACHED,
            f"the tenant {tenant!r} may have {jobs_max} jobs that have not ended, and would have"
            f" {jobs}; try again when some have",
            pointer="",
            retry_after_ms=RETRY_AFTER_MS,
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


def quota_of(live: Live, command: Submit) -> Quota:
    """Return what the tenant may submit, by whose key these jobs come."""
    if live.quotas and command.jobs:
        return live.quotas.get(command.jobs[0].requirements.tenant, NO_QUOTA)
    return NO_QUOTA


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
    return store_module(live, command.module.sha256, command.module.data, effects)


def store_module(live: Live, sha256: bytes, data: bytes, effects: list[Effect]) -> bool:
    if has_module(live, sha256):
        return False
    live.fresh_modules.add(sha256)
    effects.append(ModuleStored(sha256, data))
    return True


def has_module(live: Live, sha256: bytes) -> bool:
    return sha256 in live.fresh_modules or live.archive.has_module(sha256)
