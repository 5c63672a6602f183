"""Does a history fit the promises? One pass over it, one over the store after the drain.

Each promise that fails is a `Violation` with the name of the rule. Operations whose answer was
lost may have happened or not; what they may not do is both, or happen twice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from math import inf

import msgspec
from history import FAIL, INFO, OK, Final, Op, Told
from operator_load import BRIEF, EVENTS

TERMINAL = frozenset({"completed", "failed", "timeout", "cancelled", "skipped"})
POISON = "poison"


class Violation(msgspec.Struct, frozen=True):
    rule: str
    job: str
    detail: str


class Counts(msgspec.Struct):
    """What a campaign reports beside its violations."""

    ops: int = 0
    unknown: int = 0
    jobs_acked: int = 0
    deliveries: int = 0
    reports_acked: int = 0
    reports_refused: int = 0
    replays: int = 0
    jobs_stored: int = 0
    acts: Counter[str] = msgspec.field(default_factory=Counter)
    """Acknowledged, of operators, by kind."""
    webhook_deliveries: int = 0


class _Attempt(msgspec.Struct):
    lease: str
    began_s: float
    """Of the first poll that brought it."""
    ended_s: float
    """When some client first knew of it."""
    last_began_s: float
    """Of the last poll that brought it, a repetition in a session."""
    last_ended_s: float


class _Report(msgspec.Struct):
    told: Told
    began_s: float
    ended_s: float
    status: str
    """After it; empty where the answer was lost."""


class _End(msgspec.Struct):
    """Some client knew that a job had ended."""

    began_s: float
    """Of the operation that told it, or made it."""
    ended_s: float
    status: str
    value: str | None
    """The result if it was told."""


class _Job(msgspec.Struct):
    """What clients know of one job."""

    acked: bool = False
    beats: dict[int, list[tuple[float, float]]] = {}
    """By attempt: when polls that kept its lease alive began, and were answered."""
    attempts: dict[int, _Attempt] = {}
    reports: list[_Report] = []
    cancels: int = 0
    ended: list[_End] = []
    retries: list[Op] = []
    """Those that may have counted."""
    suspends: list[Op] = []
    """Those whose answer was that it is suspended."""
    resumes: list[Op] = []

    def runs_again(self, after_s: float, before_s: float = inf) -> bool:
        """Say whether a retry may have made it live between these moments."""
        return any(op.began_s <= before_s and _until(op) >= after_s for op in self.retries)


def _until(op: Op) -> float:
    """Return when an operation has happened, if it ever does."""
    return inf if op.result == INFO else op.ended_s


class Checker:
    """Feed it operations in any order, then the store."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._jobs: defaultdict[str, _Job] = defaultdict(_Job)
        self._names_acked: dict[str, str] = {}
        self._names_possible: set[str] = set()
        self._names_sent: set[str] = set()
        self._names_of: dict[str, str] = {}
        self._after: dict[str, list[str]] = {}
        """By name: ids of the jobs that a job runs after."""
        self._tags: dict[str, str] = {}
        """By name."""
        self._bulks: list[Op] = []
        self._webhooks: list[Op] = []
        self._documents: defaultdict[str, list[Op]] = defaultdict(list)
        """By name, what was put and dropped; of workers, what they were told."""
        self._fed: dict[str, list[Op]] = {}
        """By worker, polls that brought jobs."""
        self._unknown: list[tuple[str, str]] = []
        """Jobs that were not there, and who says so."""
        self._lease_of: dict[str, tuple[str, int]] = {}
        self._unresolved: list[tuple[Op, Told, str]] = []
        self._values: dict[str, tuple[str, str, bool]] = {}
        self._values_refused: set[str] = set()
        self._lost_grants_max = 0
        self.lease_s = 0.0
        """How long a lease lives on after a heartbeat; 0: not told."""
        self._beats: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        """By lease."""
        self.freed_s = inf
        """When all that is suspended was resumed."""
        self._found: list[Violation] = []

    def _violate(self, rule: str, job: str, detail: str) -> None:
        self._found.append(Violation(rule, job, detail))

    # The history --------------------------------------------------------------------------------

    def feed(self, ops: Iterable[Op]) -> None:
        for op in ops:
            self.counts.ops += 1
            self.counts.unknown += op.result == INFO
            if op.kind == "submit":
                self._submit(op)
            elif op.kind == "cancel":
                self._cancel(op)
            elif op.kind == "read":
                self._read(op)
            elif op.kind in ("poll", "report"):
                self._work(op)
            else:
                self._act(op)

    def _submit(self, op: Op) -> None:
        self._names_sent.update(op.names)
        self._after |= op.after
        self._tags |= op.tags
        if op.result == FAIL:
            return
        self._names_possible.update(op.names)
        if op.result == INFO:
            return
        if len(op.ids) != len(op.names):
            self._violate("submit_answer_short", op.names[0], f"{len(op.ids)} ids")
        for name, job_id in zip(op.names, op.ids, strict=False):
            before = self._names_acked.setdefault(name, job_id)
            if before != job_id:
                self._violate("two_jobs_for_one_key", name, f"{before} and {job_id}")
            job = self._jobs[job_id]
            self.counts.replays += job.acked
            self.counts.jobs_acked += not job.acked
            job.acked = True

    def _cancel(self, op: Op) -> None:
        job = self._jobs[op.ids[0]]
        self._found_or_not(op)
        if op.result != FAIL:
            job.cancels += 1
        if op.result == OK and op.status in TERMINAL:
            job.ended.append(_End(op.began_s, op.ended_s, op.status, None))

    def _read(self, op: Op) -> None:
        self._found_or_not(op)
        if op.result == OK and op.status in TERMINAL:
            value = op.value if op.status == "completed" else None
            end = _End(op.began_s, op.ended_s, op.status, value)
            self._jobs[op.ids[0]].ended.append(end)

    def _found_or_not(self, op: Op) -> None:
        if op.http == 404:
            self._unknown.append((op.ids[0], f"{op.kind} at {op.ended_s:.3f}"))

    def _act(self, op: Op) -> None:
        if op.kind in ("retry", "suspend", "resume"):
            self._found_or_not(op)
        if op.result == FAIL:
            return
        self.counts.acts[op.kind] += op.result == OK
        if op.kind == "bulk":
            self._bulks.append(op)
        elif op.kind == "webhook":
            self._webhooks.append(op)
        elif op.kind in ("document", "drain"):
            self._documents[f"workers/{op.name}" if op.kind == "drain" else op.name].append(op)
        elif op.kind == "retry":
            self._jobs[op.ids[0]].retries.append(op)
        elif op.kind == "resume":
            self._jobs[op.ids[0]].resumes.append(op)
        elif op.status == "suspended":
            self._jobs[op.ids[0]].suspends.append(op)

    def _work(self, op: Op) -> None:
        if op.result == INFO:
            self._lost_grants_max += op.jobs_max
        answers = {ack.lease: ack for ack in op.acked}
        for told in op.told:
            if op.result == FAIL:
                continue
            if op.result == INFO:
                self._unresolved.append((op, told, ""))
                continue
            ack = answers.get(told.lease)
            if ack is None:
                self._violate("report_not_answered", told.lease, f"poll at {op.ended_s:.3f}")
            elif ack.code:
                self.counts.reports_refused += 1
                if told.value:
                    self._values_refused.add(told.value)
            else:
                self.counts.reports_acked += 1
                self._unresolved.append((op, told, ack.status))
        for lease in op.running:
            self._beats[lease].append((op.began_s, op.ended_s))
        if op.given:
            self._fed.setdefault(op.name, []).append(op)
        for given in op.given:
            self._give(op, given.lease, given.job_id, given.attempt)
            if not given.intact:
                self._violate("payload_changed", given.job_id, f"attempt {given.attempt}")
            known = self._names_of.setdefault(given.job_id, given.name)
            if known != given.name:
                self._violate("payload_changed", given.job_id, f"{known} and {given.name}")

    def _give(self, op: Op, lease: str, job_id: str, attempt: int) -> None:
        self._lease_of[lease] = (job_id, attempt)
        job = self._jobs[job_id]
        known = job.attempts.get(attempt)
        if known is None:
            self.counts.deliveries += 1
            job.attempts[attempt] = _Attempt(lease, op.began_s, op.ended_s, op.began_s, op.ended_s)
        elif known.lease != lease:
            self._violate("attempt_given_twice", job_id, f"attempt {attempt} under two leases")
        else:
            known.began_s = min(known.began_s, op.began_s)
            known.ended_s = min(known.ended_s, op.ended_s)
            known.last_began_s = max(known.last_began_s, op.began_s)
            known.last_ended_s = max(known.last_ended_s, op.ended_s)

    # The store ----------------------------------------------------------------------------------

    def finish(self, store: Iterable[Final]) -> list[Violation]:
        for op, told, status in self._unresolved:
            job_id, _ = self._lease_of[told.lease]
            self._jobs[job_id].reports.append(_Report(told, op.began_s, op.ended_s, status))
            if told.outcome == "completed" and told.value:
                self._values[told.value] = (job_id, told.lease, told.again)
        for lease, beats in self._beats.items():
            job_id, attempt = self._lease_of[lease]
            self._jobs[job_id].beats[attempt] = beats
        finals: dict[str, Final] = {}
        by_name: dict[str, str] = {}
        for final in store:
            self.counts.jobs_stored += 1
            if final.job_id in finals:
                self._violate("listed_twice", final.job_id, final.name)
            finals[final.job_id] = final
            other = by_name.setdefault(final.name, final.job_id)
            if other != final.job_id:
                self._violate("two_jobs_for_one_key", final.name, f"{other} and {final.job_id}")
            if final.name not in self._names_possible:
                sent = "was refused" if final.name in self._names_sent else "was never sent"
                self._violate("job_from_nowhere", final.job_id, f"{final.name} {sent}")
            if not final.intact or self._names_of.get(final.job_id, final.name) != final.name:
                self._violate("payload_changed", final.job_id, final.name)
        for name, job_id in self._names_acked.items():
            if job_id in finals:
                if finals[job_id].name != name:
                    self._violate("payload_changed", job_id, f"{name} became {finals[job_id].name}")
            elif not self._may_be_gone(name):
                self._violate("acked_submit_lost", job_id, name)
        names = {job_id: name for name, job_id in self._names_acked.items()}
        for job_id, who in self._unknown:
            if not self._may_be_gone(names.get(job_id, "")):
                self._violate("acked_job_unknown", job_id, who)
        for final in finals.values():
            self._check_after(final, finals)
        undelivered = 0
        for job_id, job in self._jobs.items():
            if (stored := finals.get(job_id)) is not None:
                self._check_job(job_id, job, stored)
                undelivered += stored.attempt - len(job.attempts)
            elif not job.acked and not self._may_be_gone(name := self._names_of.get(job_id, "")):
                self._violate("given_job_lost", job_id, name)
        if undelivered > self._lost_grants_max:
            self._violate(
                "attempts_without_delivery",
                "",
                f"{undelivered} attempts nobody saw, {self._lost_grants_max} could be lost",
            )
        self._check_drained()
        return self._found

    def _may_be_gone(self, name: str) -> bool:
        """Say whether its time may be over, or somebody deleted jobs of its tag."""
        tag = self._tags.get(name)
        return tag == BRIEF or any(op.value == "delete" and op.name == tag for op in self._bulks)

    def _check_job(self, job_id: str, job: _Job, final: Final) -> None:
        if final.status not in TERMINAL:
            self._violate("not_drained", job_id, final.status)
        self._check_attempts(job_id, job, final)
        self._check_leases(job_id, job)
        self._check_reports(job_id, job)
        self._check_end(job_id, job, final)
        self._check_stops(job_id, job, final)
        failed = {r.told.lease for r in job.reports if r.told.outcome == "failed" and r.status}
        if job.retries:
            failed = set()  # those before the last of them do not count any more
        maybe = {r.told.lease for r in job.reports if r.told.outcome == "failed"}
        if not len(failed) <= final.failures <= len(maybe):
            self._violate(
                "failures_miscounted",
                job_id,
                f"{final.failures} stored, {len(failed)} acked, {len(maybe)} sent",
            )

    def _check_after(self, final: Final, finals: dict[str, Final]) -> None:
        """A job runs only after those that it names have completed, and else is skipped."""
        named = self._after.get(final.name, [])
        after = [finals[job_id] for job_id in named if job_id in finals]
        again = {job_id for job_id in named if self._jobs[job_id].retries}
        spoiled = [other.job_id for other in after if other.status != "completed"]
        forced = any(op.value for op in self._jobs[final.job_id].retries)
        if final.attempt and not forced and set(spoiled) - again:
            self._violate("run_before_its_dependencies", final.job_id, f"after {spoiled}")
        if final.status == "skipped" and not spoiled and not again and len(after) == len(named):
            self._violate("end_without_cause", final.job_id, "all it runs after completed")

    def _check_attempts(self, job_id: str, job: _Job, final: Final) -> None:
        latest_s = -inf
        for attempt, one in sorted(job.attempts.items()):
            if not 1 <= attempt <= final.attempt:
                self._violate("attempt_lost", job_id, f"{attempt} given, {final.attempt} stored")
            if one.ended_s < latest_s:
                self._violate("attempts_fell", job_id, f"attempt {attempt} came after a later one")
            latest_s = max(latest_s, one.began_s)

    def _check_leases(self, job_id: str, job: _Job) -> None:
        """I17: nobody is given a job whose worker was heard of less than a lease before.

        Of jobs alone that nobody did anything else to: a report, a cancel, a retry ends a lease.
        """
        told = {self._lease_of[report.told.lease][1] for report in job.reports}
        acted = job.cancels or job.retries or job.suspends or job.resumes
        if acted or self._tags.get(self._names_of.get(job_id, "")):
            return
        for attempt, beats in job.beats.items():
            following = job.attempts.get(attempt + 1)
            if following is None or attempt in told:
                continue
            for began_s, ended_s in beats:
                if ended_s < following.began_s and following.ended_s < began_s + self.lease_s:
                    span_s = following.ended_s - began_s
                    self._violate("lease_ended_early", job_id, f"attempt {attempt}: {span_s:.3f} s")

    def _check_reports(self, job_id: str, job: _Job) -> None:
        """No report counts whose attempt had been followed, to some client's knowledge."""
        superseded_s: dict[int, float] = {}
        earliest_s = inf
        for attempt in sorted(job.attempts, reverse=True):
            superseded_s[attempt] = earliest_s
            earliest_s = min(earliest_s, job.attempts[attempt].ended_s)
        for report in job.reports:
            attempt = self._lease_of[report.told.lease][1]
            if report.status and report.began_s > superseded_s[attempt]:
                self._violate(
                    "stale_lease_accepted",
                    job_id,
                    f"attempt {attempt} reported {report.told.outcome} at {report.began_s:.3f},"
                    f" a later one was known at {superseded_s[attempt]:.3f}",
                )

    def _check_end(self, job_id: str, job: _Job, final: Final) -> None:
        enders = set()
        for report in job.reports:
            if report.status in TERMINAL:
                counted = report.told.outcome == "completed" and not report.told.again
                value = report.told.value if counted else None
                end = _End(report.began_s, report.ended_s, report.status, value)
                job.ended.append(end)
                enders.add(report.told.lease)
        if len(enders) > 1 + len(job.retries):
            self._violate("two_terminal_records", job_id, f"{len(enders)} leases ended it")
        for end in job.ended:
            if not job.runs_again(end.began_s):
                if end.status != final.status:
                    detail = f"{end.status} acked, {final.status} stored"
                    self._violate("acked_end_lost", job_id, detail)
                elif end.value is not None and end.value != final.value:
                    detail = f"{end.value} acked, {final.value!r} stored"
                    self._violate("result_changed", job_id, detail)
            for attempt, one in job.attempts.items():
                later = one.last_began_s > end.ended_s
                if later and not job.runs_again(end.began_s, one.last_ended_s):
                    self._violate("given_after_its_end", job_id, f"attempt {attempt}")
        self._check_reason(job_id, job, final)

    def _check_stops(self, job_id: str, job: _Job, final: Final) -> None:
        """A job that was suspended is given out when it was resumed, or canceled and made to run
        again; one that was to run again has run again, unless it was stopped or skipped."""
        for op in job.suspends:
            for attempt, one in job.attempts.items():
                resumed = job.runs_again(op.began_s, one.ended_s) or any(
                    told.began_s <= one.ended_s and _until(told) >= op.began_s
                    for told in job.resumes
                )
                free = resumed or self.freed_s <= one.ended_s
                if one.began_s > op.ended_s and not free:
                    self._violate("given_while_suspended", job_id, f"attempt {attempt}")
        if final.status in ("completed", "failed"):
            for op in job.retries:
                before = [a for a, one in job.attempts.items() if one.ended_s < op.began_s]
                if op.result == OK and final.attempt <= max(before, default=0):
                    self._violate("retry_lost", job_id, f"{final.attempt} attempts")

    def _check_drained(self) -> None:
        """A worker that is told to drain gets nothing until somebody may tell it otherwise."""
        for name, ops in self._documents.items():
            for op in ops:
                if op.kind != "drain" or op.result != OK or not op.value:
                    continue
                until_s = min(
                    (
                        other.began_s
                        for other in ops
                        if not other.value and _until(other) > op.began_s
                    ),
                    default=inf,
                )
                for poll in self._fed.get(op.name, ()):
                    if op.ended_s < poll.began_s and poll.ended_s < until_s:
                        self._violate("drained_worker_fed", name, f"at {poll.ended_s:.3f}")

    # Beside jobs --------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the documents that clients put, by their paths."""
        return sorted(self._documents)

    def finish_others(
        self,
        documents: dict[str, str],
        bulks: dict[str, str],
        deliveries: dict[str, Counter[tuple[str, str]]],
        store: Iterable[Final],
    ) -> list[Violation]:
        """Check what is kept beside jobs, after `finish`.

        `documents`: what each says, empty if it is not there. `bulks`: their states.
        `deliveries`: by webhook, how many there are by event and job.
        """
        finals = {final.job_id: final for final in store}
        for name, ops in self._documents.items():
            ops.sort(key=lambda op: op.began_s)
            acked = max((at for at, op in enumerate(ops) if op.result == OK), default=-1)
            possible = {op.value for op in ops[max(acked, 0) :]} | ({""} if acked < 0 else set())
            if documents[name] not in possible:
                self._violate("document_lost", name, f"{documents[name]!r} is not of {possible}")
        for op in self._bulks:
            if op.result == OK:
                self._check_bulk(op, bulks.get(op.ids[0]), finals)
        for op in self._webhooks:
            if op.result == OK:
                self._check_webhook(op, deliveries.get(op.ids[0]), finals)
        return self._found

    def _check_bulk(self, op: Op, state: str | None, finals: dict[str, Final]) -> None:
        if state != "completed":
            self._violate("bulk_lost", op.ids[0], f"{state}")
        elif op.value == "delete":
            for final in finals.values():
                job = self._jobs[final.job_id]
                ended = any(
                    end.ended_s < op.began_s and not job.runs_again(end.began_s)
                    for end in job.ended
                )
                if ended and self._tags.get(final.name) == op.name:
                    self._violate("deleted_job_there", final.job_id, f"bulk {op.ids[0]}")

    def _check_webhook(
        self, op: Op, sent: Counter[tuple[str, str]] | None, finals: dict[str, Final]
    ) -> None:
        """Each end that a webhook asked for has a delivery, in the commit of the end."""
        if sent is None:
            self._violate("webhook_lost", op.ids[0], f"since {op.ended_s:.3f}")
            return
        for job_id, job in self._jobs.items():
            first_s: dict[str, float] = {}
            for report in job.reports:
                lease = report.told.lease
                first_s[lease] = min(report.began_s, first_s.get(lease, inf))
            # What is told twice may have counted the first time, before there was a webhook.
            after = {r.status for r in job.reports if first_s[r.told.lease] > op.ended_s}
            for end in job.ended:
                event = f"job.{end.status}"
                if event in EVENTS and end.status in after and not sent[event, job_id]:
                    self._violate("delivery_lost", job_id, event)
        self.counts.webhook_deliveries += sent.total()
        for (event, job_id), count in sent.items():
            job = self._jobs[job_id]
            if count > 1 + len(job.retries):
                self._violate("delivered_twice", job_id, f"{count} of {event}")
            now = finals.get(job_id)
            if now is not None and not job.retries and event != f"job.{now.status}":
                self._violate("delivery_from_nowhere", job_id, event)

    def _check_reason(self, job_id: str, job: _Job, final: Final) -> None:
        """Each end has a cause that some client sent."""
        told = {report.told.outcome for report in job.reports}
        if final.status == "completed" and not final.value:
            if all(r.told.value for r in job.reports if r.told.outcome == "completed"):
                self._violate("result_from_nowhere", job_id, "none is stored, no report had none")
        elif final.status == "completed":
            source = self._values.get(final.value)
            if source is None or source[0] != job_id:
                refused = "refused" if final.value in self._values_refused else "never sent"
                self._violate("result_from_nowhere", job_id, f"{final.value!r} was {refused}")
            elif source[2]:
                self._violate("result_changed", job_id, "a later report replaced the first")
            elif final.value in self._values_refused:
                self._violate("refused_report_counted", job_id, final.value)
        elif final.status == "cancelled":
            tag = self._tags.get(final.name)
            if not job.cancels and not any(
                op.value == "cancel" and op.name == tag for op in self._bulks
            ):
                self._violate("end_without_cause", job_id, "nobody cancelled it")
        elif final.status == "failed":
            if final.code != POISON and "failed" not in told:
                self._violate("end_without_cause", job_id, "nobody reported a failure")
        elif final.status in TERMINAL and not (
            final.status == "skipped" and final.name in self._after
        ):
            self._violate("end_without_cause", job_id, final.status)


def check(ops: Iterable[Op], store: Iterable[Final]) -> tuple[list[Violation], Counts]:
    checker = Checker()
    checker.feed(ops)
    return checker.finish(store), checker.counts


def summary(found: list[Violation]) -> Iterator[str]:
    rules: defaultdict[str, list[Violation]] = defaultdict(list)
    for violation in found:
        rules[violation.rule].append(violation)
    for rule, violations in sorted(rules.items()):
        yield f"{rule}: {len(violations)}"
        for violation in violations[:3]:
            yield f"    {violation.job}: {violation.detail}"
