"""Taking jobs and modules: all of a submit, or nothing."""

from typing import Final

from headrace.core.classes import ClassEntry
from headrace.core.commands import PutModule, Submit, Submitted
from headrace.core.effects import Effect, JobStored, ModuleStored
from headrace.core.fitting import never_fits_any
from headrace.core.job import Job, Status
from headrace.core.live import Live
from headrace.core.resources import DIMENSIONS, amount_text
from headrace.wire.problems import Problem, ProblemCode

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
    came: dict[Status, int] = {}
    entry: ClassEntry | None = None
    never_fits = ""
    made: dict[bytes, tuple[bytes, bytes]] = {}
    for new, earlier in zip(command.jobs, checked, strict=True):
        known = earlier or (made.get(new.key_digest) if new.key_digest else None)
        if known is not None:
            replies.append(Submitted(known[0], live.status_of(known[0]), replayed=True))
            continue
        if entry is not None and entry.requirements is new.requirements:
            entry.jobs += 1  # as the one before: most batches are of one class
        else:
            entry = live.classes.acquire(new.requirements, effects)
            never_fits = never_fits_any(live, entry)
        job_id = new.job_id
        job = Job(
            job_id,
            QUEUED,
            new.priority,
            entry.class_id,
            owner_id,
            0,
            new.timeout_ms,
            new.retry_delay_ms,
            new.retry_backoff_centi,
            new.retries_max,
            start_before_at_ms=new.start_before_at_ms,
        )
        if new.scheduled_at_ms and new.scheduled_at_ms > live.wall_ms(now_ms):
            job.status, job.due_is_wall = Status.SCHEDULED, True
            job.due_ms = new.scheduled_at_ms
            job.order = live.order_at(new.scheduled_at_ms)
        elif new.delay_ms:
            job.status = Status.SCHEDULED
            job.due_ms = now_ms + new.delay_ms
            job.order = live.order_at(job.due_ms)
        else:
            job.order = live.order_now(now_ms)
        record = job.pack()
        handle = live.jobs.add(job_id, record)
        live.enter(handle, job, entry)
        if new.start_before_at_ms:
            live.timers_skip_wall.set(handle, new.start_before_at_ms)
        if new.key_digest:
            made[new.key_digest] = (job_id, new.request_digest)
            live.fresh_keys[new.key_digest] = made[new.key_digest]
        effects.append(
            JobStored(job_id, owner_id, record, new.spec, new.key_digest, new.request_digest)
        )
        status = job.status
        came[status] = came.get(status, 0) + 1
        replies.append(Submitted(job_id, status, never_fits=never_fits))
    for status, count in came.items():
        live.stats.submitted_total += count
        live.stats.live[status] += count
    return replies


def submit_check(live: Live, command: Submit) -> list[tuple[bytes, bytes] | None] | Problem:
    """Return why nothing of this submit may be taken; else for each job the earlier one (id,
    request digest) under its idempotency key, or None.

    Reads all that has to be read from the archive, and changes nothing.
    """
    checked: list[tuple[bytes, bytes] | None] = []
    modules = {module.sha256 for module in command.modules}
    seen: dict[bytes, bytes] = {}
    new_jobs = 0
    most = live.config.resources_max
    for position, new in enumerate(command.jobs):
        known = live.key(new.key_digest) if new.key_digest else None
        checked.append(known)
        if new.key_digest:
            digest = known[1] if known is not None else seen.get(new.key_digest)
            if digest is not None:
                if digest != new.request_digest:
                    return Problem(
                        ProblemCode.IDEMPOTENCY_KEY_REUSED,
                        "this idempotency key came with another request before;"
                        " use a new key for a new job",
                        pointer=f"{at(command, position)}/idempotency_key",
                    )
                continue
            seen[new.key_digest] = new.request_digest
        new_jobs += 1
        if new.module_sha256 and not (
            new.module_sha256 in modules or has_module(live, new.module_sha256)
        ):
            return Problem(
                ProblemCode.MODULE_UNKNOWN,
                "store the module first with PUT /api/v1/modules/{sha256},"
                " or send it as wasm_module",
                pointer=f"{at(command, position)}/wasm_sha256",
            )
        if most is not None and not new.requirements.amounts.fits(most):
            return Problem(
                ProblemCode.REQUIREMENTS_NEVER_FIT,
                "the operator's limit for one job is "
                + ", ".join(
                    amount_text(name, getattr(most, name))
                    for name in DIMENSIONS
                    if getattr(new.requirements.amounts, name) > getattr(most, name)
                ),
                pointer=f"{at(command, position)}/requirements",
            )
    if live.config.jobs_max and len(live.jobs) + new_jobs > live.config.jobs_max:
        return Problem(
            ProblemCode.QUEUE_FULL,
            f"{len(live.jobs)} of {live.config.jobs_max} jobs are waiting or running;"
            " try again when some have finished",
            retry_after_ms=1_000,
        )
    return checked


def at(command: Submit, position: int) -> str:
    """Return the start of a pointer to a job, as the client sent it."""
    return f"/{position}" if len(command.jobs) > 1 else ""


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
