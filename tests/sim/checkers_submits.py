"""What a submit may be answered, by what the model knows (I3, I4, I16)."""

from typing import TYPE_CHECKING, Any

from headrace.core.commands import Submit, SubmitEach
from headrace.wire.problems import Problem, ProblemCode
from sim.limits import Beside
from sim.model_job import each_new, each_submitted, ids_of
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model


def one_job_per_key(model: "Model", command: Submit, reply: Any) -> None:
    """I3, I4: a key in use gives its job again; with another request, a refusal."""
    seen: dict[bytes, tuple[bytes, bytes]] = {}
    expected: list[tuple[bytes, bool]] = []
    brought = {module.key for module in command.modules}
    beside = Beside()
    for new in command.jobs:
        digest = new.key_digest
        known = (model.keys.get(digest) or seen.get(digest)) if digest else None
        if known is not None:
            if known[1] != new.request_digest:
                if not isinstance(reply, Problem):
                    fail("one_job_per_key", f"{digest.hex()} taken for another request")
                return
            expected.append((known[0], True))
            continue
        seen[digest] = (new.job_ids, new.request_digest)
        expected += [(job_id, False) for job_id in ids_of(new.job_ids)]
        module = new.module_key
        there = module in brought or module in model.modules or new.await_module
        if module and not there:
            if not isinstance(reply, Problem) or reply.code is not ProblemCode.MODULE_UNKNOWN:
                fail("module_needed", f"{new}: {reply}")
            return
        code = model.limits.refusal(new, beside)
        if code is not None:
            if not isinstance(reply, Problem) or reply.code is not code:
                fail("quotas_respected", f"{new}: {reply}, not {code!r}")
            return
        beside.add(new)
    fresh = sum(not replayed for _, replayed in expected)
    most = model.settings.jobs_max
    if most and len(model.jobs) + fresh > most:
        if not isinstance(reply, Problem) or reply.code is not ProblemCode.QUEUE_FULL:
            fail("full_queue_refuses", f"{len(model.jobs)} + {fresh} of {most}: {reply}")
        return
    if not after_known(model, command):
        if not isinstance(reply, Problem) or reply.code is not ProblemCode.FIELD_INVALID:
            fail("after_known_jobs", f"{command}: {reply}")
        return
    if isinstance(reply, Problem):
        fail("good_submit_taken", f"{reply.code!r}")
    got = [(submitted.job_ids, submitted.replayed) for submitted in each_submitted(reply)]
    if got != expected:
        fail("one_job_per_key", f"replied {got}, not {expected}")


def after_known(model: "Model", command: Submit) -> bool:
    """Whether all jobs that new ones are to run after are the caller's own, or come with them."""
    mine: dict[bytes, bytes] = {}
    made: dict[bytes, bytes] = {}
    for new in each_new(command.jobs):
        known = model.keys.get(new.key_digest)
        earlier = known[0] if known is not None else made.get(new.key_digest)
        for key in () if earlier else new.after:
            job_id = mine.get(key, key)
            there = job_id in model.jobs or job_id in model.ended
            if mine.get(job_id) != job_id and not (
                there and model.owners[job_id] == command.caller
            ):
                return False
        mine[new.job_ids] = earlier or new.job_ids
        if new.key_digest:
            made.setdefault(new.key_digest, new.job_ids)
    return True


def each_taken_by_itself(model: "Model", command: SubmitEach, reply: Any) -> None:
    """I3, I4 of jobs that came together by chance: what befalls one is nothing to the others."""
    seen: dict[bytes, tuple[bytes, bytes]] = {}
    fresh = 0
    known_modules = {module.key for module in command.modules} | model.modules
    most = model.settings.jobs_max
    beside = Beside()
    for new, told in zip(each_new(command.jobs), each_submitted(reply), strict=True):
        digest, module = new.key_digest, new.module_key
        known = (model.keys.get(digest) or seen.get(digest)) if digest else None
        expected: Any = (new.job_ids, False) if known is None else (known[0], True)
        if known is not None and known[1] != new.request_digest:
            expected = ProblemCode.IDEMPOTENCY_KEY_REUSED
        elif known is None and module and not (module in known_modules or new.await_module):
            expected = ProblemCode.MODULE_UNKNOWN
        elif known is None and (code := model.limits.refusal(new, beside)) is not None:
            expected = code
        elif most and len(model.jobs) + fresh + (known is None) > most:
            expected = ProblemCode.QUEUE_FULL
        elif known is None and not after_known(model, Submit(command.caller, [new])):
            expected = ProblemCode.FIELD_INVALID
        elif known is None:
            seen[digest] = (new.job_ids, new.request_digest)
            fresh += 1
            beside.add(new)
        got = told.code if isinstance(told, Problem) else (told.job_ids, told.replayed)
        if got != expected:
            fail("each_taken_by_itself", f"{new}: {got}, not {expected}")
