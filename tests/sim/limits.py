"""What limits and quotas let through, by the documents alone: counted job by job."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from headrace.core.commands import Act, Control, NewJobs
from headrace.core.resources import Requirements
from headrace.wire.documents import Document, Kind
from headrace.wire.problems import Problem, ProblemCode
from sim.model_job import run_again
from sim.said import said_by
from sim.world import fail

if TYPE_CHECKING:
    from sim.model import Model
    from sim.model_job import ModelJob

PARTS: Final = 64
"""Starts come back at most a part of the longest span late."""
SPAN_MS_MAX: Final = 5_000
AMOUNTS: Final = ("cpu_milli", "memory_mb", "storage_mb", "gpu_milli")

Documents = dict[tuple[Kind, str], Document]
Subject = tuple[str, str]


class Rate:
    """Since when a document limits starts of one thing."""

    def __init__(self, subject: Subject, now_ms: int) -> None:
        self.subject = subject
        self.born_ms = now_ms
        """The first put: what started before does not count."""
        self.since_ms = now_ms
        """What started before may be forgotten."""
        self.per_ms = 0


class Beside:
    """The jobs of a submit that come before the one that is asked about."""

    def __init__(self) -> None:
        self.of_tenant: dict[str, int] = defaultdict(int)
        self.bytes_of_tenant: dict[str, int] = defaultdict(int)
        self.of_queue: dict[str, int] = defaultdict(int)

    def add(self, new: NewJobs) -> None:
        tenant = new.requirements.tenant
        self.of_tenant[tenant] += len(new.specs)
        self.bytes_of_tenant[tenant] += sum(map(len, new.specs))
        self.of_queue[new.requirements.queue] += len(new.specs)


class Limits:
    def __init__(self, model: "Model") -> None:
        self._model = model
        self._starts: dict[Subject, list[int]] = defaultdict(list)
        self._rates: dict[tuple[Kind, str], Rate] = {}
        self._began_ms = -SPAN_MS_MAX * 2
        self.at_ms = 0
        """As of when a job is let through for sure."""
        self._tags: set[str] | None = None
        """What limits of tags there are; None: it is to be found out."""

    def tags(self, documents: Documents) -> set[str]:
        if self._tags is not None and documents is self._model.documents:
            return self._tags
        said = [said_by(one) for (kind, _), one in documents.items() if kind is Kind.LIMIT]
        found = {of["tag"] for of in said if "tag" in of}
        if documents is self._model.documents:
            self._tags = found
        return found

    # What happens -------------------------------------------------------------------------------

    def changed(self, now_ms: int, kind: Kind, name: str) -> None:
        """A document was put or dropped."""
        self._tags = None
        if kind is not Kind.LIMIT:
            return
        document = self._model.documents.get((kind, name))
        said = said_by(document)
        if "rate_starts" not in said:
            self._rates.pop((kind, name), None)
            return
        subject = _subject(said)
        rate = self._rates.get((kind, name))
        if rate is None or rate.subject != subject:
            rate = self._rates[kind, name] = Rate(subject, now_ms)
        elif said["rate_per_ms"] > rate.per_ms:
            rate.since_ms = max(rate.since_ms, now_ms - rate.per_ms)
        rate.per_ms = said["rate_per_ms"]

    def started(self, now_ms: int, job: "ModelJob") -> None:
        for subject in subjects(job.new.requirements):
            starts = self._starts[subject]
            starts.append(now_ms)
            if len(starts) > 10_000:
                del starts[:5_000]

    def restarted(self, now_ms: int, durable_ms: int) -> None:
        """Starts that were not on disk reached nobody."""
        self._tags = None
        for starts in self._starts.values():
            starts[:] = [at_ms for at_ms in starts if at_ms < durable_ms]
        self._began_ms = now_ms
        before, self._rates = self._rates, {}
        for kind, name in list(self._model.documents):
            self.changed(now_ms, kind, name)
            rate, known = self._rates.get((kind, name)), before.get((kind, name))
            if known is None or known.born_ms >= durable_ms:
                continue  # what was put anew, and lost, says nothing of what is on disk
            if rate and known.subject == rate.subject and known.per_ms == rate.per_ms:
                rate.since_ms = known.since_ms
                rate.born_ms = known.born_ms

    # What may be --------------------------------------------------------------------------------

    def limits_respected(self, now_ms: int, job: "ModelJob") -> None:
        """No job is given out that a limit holds back."""
        need = job.new.requirements
        for key, said in self._said(need):
            if why := self._full(need, said):
                fail("limits_respected", f"{key}: {why}, and {need} is given out")
            rate = self._rates.get(key)
            if rate is not None:
                after_ms = max(now_ms - said["rate_per_ms"], rate.since_ms)
                starts = sum(at_ms > after_ms for at_ms in self._starts[rate.subject])
                if starts >= said["rate_starts"]:
                    fail("limits_respected", f"{key}: {starts} starts since {after_ms}, {said}")

    def lets(self, need: Requirements) -> bool:
        """Whether a job could start for sure: starts come back a little late."""
        for key, said in self._said(need):
            if self._full(need, said):
                return False
            rate = self._rates.get(key)
            if rate is None:
                continue
            late_ms = SPAN_MS_MAX // PARTS + 2
            after_ms = self.at_ms - said["rate_per_ms"] - late_ms
            if self._began_ms >= after_ms and rate.born_ms <= self._began_ms:
                return False
            starts = sum(
                at_ms >= max(after_ms, rate.born_ms) for at_ms in self._starts[rate.subject]
            )
            if starts >= said["rate_starts"]:
                return False
        return True

    def _said(self, need: Requirements) -> list[tuple[tuple[Kind, str], dict[str, Any]]]:
        """Return what documents say of such jobs."""
        found = []
        of_job = subjects(need)
        for key, document in self._model.documents.items():
            if key[0] is Kind.LIMIT:
                said = said_by(document)
                if _subject(said) in of_job:
                    found.append((key, said))
            elif key[0] is Kind.TENANT and key[1] == need.tenant:
                most = said_by(document).get("running_max", {})
                found.append((key, {"tenant": key[1], "concurrency": most.get("jobs"), **most}))
        return found

    def _full(self, need: Requirements, said: dict[str, Any]) -> str:
        """Return what is used up of a limit; empty if one more job may run."""
        subject = _subject(said)
        held = [
            job.new.requirements
            for job in self._model.held.values()
            if subject in subjects(job.new.requirements)
        ]
        if said.get("concurrency") is not None and len(held) >= said["concurrency"]:
            return f"{len(held)} held"
        for name in AMOUNTS:
            asked = getattr(need.amounts, name)
            used = sum(getattr(other.amounts, name) for other in held)
            if asked and name in said and used + asked > said[name]:
                return f"{used} {name} used"
        return ""

    # Submits ------------------------------------------------------------------------------------

    def refusal(self, new: NewJobs, beside: Beside) -> int | None:
        """Return the problem of jobs that are too large or too many, with those before them."""
        need = new.requirements
        quota = self._body(Kind.TENANT, need.tenant) if need.tenant else {}
        for name, most in quota.get("job_max", {}).items():
            if getattr(need.amounts, name) > most:
                return ProblemCode.REQUIREMENTS_NEVER_FIT
        return self._too_many(new, beside)

    def _too_many(self, new: NewJobs, beside: Beside) -> int | None:
        need, model = new.requirements, self._model
        quota = self._body(Kind.TENANT, need.tenant) if need.tenant else {}
        if "jobs_max" in quota or "bytes_max" in quota:
            jobs = [job.new for job in model.jobs.values()]
            of_tenant = [job for job in jobs if job.requirements.tenant == need.tenant]
            live = len(of_tenant) + beside.of_tenant[need.tenant] + len(new.specs)
            if "jobs_max" in quota and live > quota["jobs_max"]:
                return ProblemCode.QUOTA_REACHED
            size = sum(len(spec) for job in (*of_tenant, new) for spec in job.specs)
            size += beside.bytes_of_tenant[need.tenant]
            if "bytes_max" in quota and size > quota["bytes_max"]:
                return ProblemCode.QUOTA_REACHED
        most = self._body(Kind.QUEUE, need.queue).get("backlog_max")
        if most is not None:
            queues = (job.new.requirements.queue for job in model.jobs.values())
            waiting = sum(queue == need.queue for queue in queues)
            waiting += beside.of_queue[need.queue] + len(new.specs)
            waiting -= model.queue_held.get(need.queue, 0)
            if waiting > most:
                return ProblemCode.BACKLOG_FULL
        return None

    def redrive_respects_quotas(self, command: Control, reply: Any) -> None:
        """A job that is to run again counts as a new one; it was not too large when it came."""
        if command.act is not Act.RETRY or command.job_id not in self._model.ended:
            return
        sent = self._model.sent[command.job_id]
        code = self._too_many(run_again(sent, self.tags(self._model.documents)), Beside())
        told = reply.code if isinstance(reply, Problem) else None
        counted = (ProblemCode.QUOTA_REACHED, ProblemCode.BACKLOG_FULL)
        if (told is None and code in counted) or (told in counted and told != code):
            fail("quotas_respected", f"{command}: {reply}, not {code!r}")

    def _body(self, kind: Kind, name: str) -> dict[str, Any]:
        return said_by(self._model.documents.get((kind, name)))


def _subject(said: dict[str, Any]) -> Subject:
    what = next(what for what in ("type", "tenant", "tag") if what in said)
    return what, said[what]


def subjects(need: Requirements) -> set[Subject]:
    """Return all by which a job may be limited."""
    found = {("type", need.kind or "wasm")} | {("tag", tag) for tag in need.limited_tags}
    return found | {("tenant", need.tenant)} if need.tenant else found
