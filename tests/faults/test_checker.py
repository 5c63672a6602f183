"""Each rule of the checker finds the history that was made to break it."""

from collections import Counter

import pytest
from checker import Checker, Violation
from history import Acked, Final, Given, Op, Told

JOB, NAME, LEASE = "job-1", "name-1", "lease-1"


def submit(began_s: float = 1, *, result: str = "ok", ids: list[str] | None = None) -> Op:
    return Op(
        kind="submit",
        began_s=began_s,
        ended_s=began_s + 0.5,
        result=result,
        names=[NAME],
        ids=[JOB] if ids is None else ids,
    )


def give(began_s: float, lease: str = LEASE, attempt: int = 1, *, name: str = NAME) -> Op:
    given = [Given(lease, JOB, attempt, name)]
    return Op(kind="poll", began_s=began_s, ended_s=began_s + 0.5, result="ok", given=given)


def lost_poll(began_s: float) -> Op:
    return Op(kind="poll", began_s=began_s, ended_s=began_s + 0.5, result="info", jobs_max=5)


def report(
    began_s: float,
    lease: str = LEASE,
    *,
    outcome: str = "completed",
    value: str = "v1",
    status: str = "completed",
    code: str = "",
    result: str = "ok",
    again: bool = False,
) -> Op:
    op = Op(kind="poll", began_s=began_s, ended_s=began_s + 0.5, result=result, jobs_max=5)
    op.told = [Told(lease, outcome, value, again)]
    if result == "ok":
        op.acked = [Acked(lease, "" if code else status, code)]
    return op


def touch(kind: str, began_s: float, status: str, *, http: int = 200, value: str = "") -> Op:
    result = "ok" if http == 200 else "fail"
    op = Op(kind=kind, began_s=began_s, ended_s=began_s + 0.5, result=result, http=http, ids=[JOB])
    op.status, op.value = status, value
    return op


def final(status: str = "completed", attempt: int = 1, value: str = "v1", **more: object) -> Final:
    return Final(JOB, NAME, status, attempt, value=value, **more)


def beat(began_s: float, lease: str = LEASE) -> Op:
    op = Op(kind="poll", began_s=began_s, ended_s=began_s + 0.1, result="ok")
    op.running = [lease]
    return op


def rules(ops: list[Op], *store: Final) -> set[str]:
    checker = Checker()
    checker.lease_s = 2.0
    checker.feed(ops)
    return {violation.rule for violation in checker.finish(store)}


SOUND = [submit(), give(2), report(3)]


@pytest.mark.parametrize(
    ("ops", "store"),
    [
        (SOUND, [final()]),
        ([submit(result="info"), give(2), report(3)], [final()]),
        ([submit(result="info", ids=[])], []),
        ([submit(result="info", ids=[]), submit(2), give(3), report(4)], [final()]),
        ([submit(), give(2), report(3, result="info"), report(4)], [final()]),
        ([submit(), give(2), give(3), report(4)], [final()]),
        ([submit(), give(2), report(3, value="v2", again=True), *SOUND[2:]], [final()]),
        (
            [
                *(submit(), give(2), report(3, outcome="failed", status="scheduled")),
                *(give(4, "lease-2", 2), report(5, "lease-2", value="v2")),
                report(6, value="v3", code="lease_stale"),
            ],
            [final(attempt=2, value="v2", failures=1)],
        ),
        # The report was under way when the next attempt began: either order may be the true one.
        ([submit(), give(2), give(4, "lease-2", 2), report(4.2)], [final(attempt=2)]),
        ([submit(), touch("cancel", 2, "cancelled")], [final("cancelled", 0, "")]),
        ([submit(), give(2), touch("cancel", 3, "canceling"), report(4)], [final()]),
        # A lease ran out after its last heartbeat; or a worker was late, and is told so.
        (
            [submit(), give(2), beat(3), give(4.6, "lease-2", 2), report(6, "lease-2")],
            [final(attempt=2)],
        ),
        (
            [submit(), give(2), give(5, "lease-2", 2), beat(6), report(7, "lease-2")],
            [final(attempt=2)],
        ),
        # An answer was lost, and with it an attempt.
        (
            [submit(), lost_poll(2), give(3, "lease-2", 2), report(4, "lease-2")],
            [final(attempt=2)],
        ),
    ],
)
def test_a_history_that_keeps_the_promises_passes(ops: list[Op], store: list[Final]) -> None:
    assert rules(ops, *store) == set()


@pytest.mark.parametrize(
    ("rule", "ops", "store"),
    [
        ("acked_submit_lost", [submit()], []),
        ("two_jobs_for_one_key", [submit(), submit(2, ids=["job-2"])], [final("queued", 0)]),
        (
            "two_jobs_for_one_key",
            SOUND,
            [final(), Final("job-2", NAME, "queued", 0)],
        ),
        ("listed_twice", SOUND, [final(), final()]),
        ("job_from_nowhere", [submit(result="fail", ids=[])], [final("queued", 0)]),
        ("job_from_nowhere", [], [final("queued", 0)]),
        ("submit_answer_short", [submit(ids=[])], []),
        ("payload_changed", [submit(), give(2, name="other"), report(3)], [final()]),
        ("payload_changed", SOUND, [final(intact=False)]),
        ("attempt_given_twice", [*SOUND, give(4, "lease-2", 1)], [final()]),
        ("attempts_fell", [submit(), give(4, "lease-2", 2), give(6)], [final(attempt=2)]),
        ("attempt_lost", [submit(), give(2, attempt=3), report(3)], [final(attempt=2)]),
        ("attempts_without_delivery", SOUND, [final(attempt=2)]),
        (
            "stale_lease_accepted",
            [submit(), give(2), give(3, "lease-2", 2), report(4)],
            [final(attempt=2)],
        ),
        (
            "two_terminal_records",
            [*SOUND, give(2, "lease-2", 2), report(3, "lease-2")],
            [final(attempt=2)],
        ),
        ("acked_end_lost", SOUND, [final("failed", code="poison")]),
        ("acked_end_lost", [submit(), touch("cancel", 2, "cancelled")], [final("queued", 0)]),
        ("acked_end_lost", [*SOUND, touch("read", 4, "cancelled")], [final()]),
        ("result_changed", SOUND, [final(value="v2")]),
        ("result_changed", [*SOUND, touch("read", 4, "completed", value="v9")], [final()]),
        (
            "result_changed",
            [submit(), give(2), report(3, result="info"), report(4, value="v2", again=True)],
            [final(value="v2")],
        ),
        ("result_from_nowhere", [submit(), give(2)], [final()]),
        (
            "result_from_nowhere",
            [submit(), give(2), report(3, code="lease_stale")],
            [final()],
        ),
        (
            "refused_report_counted",
            [submit(), give(2), report(3, result="info"), report(4, code="lease_stale")],
            [final()],
        ),
        ("given_after_its_end", [*SOUND, give(4)], [final()]),
        (
            "given_after_its_end",
            [submit(), touch("cancel", 2, "cancelled"), give(3)],
            [final("cancelled", 1)],
        ),
        ("end_without_cause", [submit()], [final("cancelled", 0)]),
        ("end_without_cause", [submit(), give(2)], [final("failed")]),
        ("end_without_cause", [submit()], [final("skipped", 0)]),
        ("failures_miscounted", SOUND, [final(failures=1)]),
        (
            "failures_miscounted",
            [submit(), give(2), report(3, outcome="failed", status="failed")],
            [final("failed")],
        ),
        (
            "lease_ended_early",
            [submit(), give(2), beat(3), give(4, "lease-2", 2), report(6, "lease-2")],
            [final(attempt=2)],
        ),
        ("report_not_answered", [submit(), give(2), Op(
            kind="poll", began_s=3, ended_s=4, result="ok", told=[Told(LEASE, "released")]
        )], [final("queued")]),
        ("acked_job_unknown", [submit(), touch("read", 2, "", http=404)], [final("queued", 0)]),
        ("given_job_lost", [submit(result="info", ids=[]), give(2)], []),
        ("not_drained", [submit()], [final("queued", 0)]),
    ],
)  # fmt: skip
def test_a_broken_promise_is_found(rule: str, ops: list[Op], store: list[Final]) -> None:
    assert rule in rules(ops, *store)


def act(kind: str, began_s: float, status: str = "", *, result: str = "ok", **more: object) -> Op:
    op = Op(kind=kind, began_s=began_s, ended_s=began_s + 0.5, result=result, status=status)
    op.ids = [JOB] if kind in ("retry", "suspend", "resume") else [kind]
    for name, value in more.items():
        setattr(op, name, value)
    return op


AGAIN = [give(5, "lease-2", 2), report(6, "lease-2", value="v2")]
DRAIN = act("drain", 1, name="w", value="drain")


def fed(began_s: float) -> Op:
    op = give(began_s)
    op.name = "w"
    return op


def tagged(tag: str, result: str = "ok") -> Op:
    op = submit(result=result)
    op.tags = {NAME: tag}
    return op


@pytest.mark.parametrize(
    ("ops", "store"),
    [
        ([*SOUND, act("retry", 4, "queued"), *AGAIN], [final(attempt=2, value="v2")]),
        ([*SOUND, act("retry", 4, result="info"), *AGAIN], [final(attempt=2, value="v2")]),
        ([*SOUND, act("retry", 4, result="info")], [final()]),
        ([*SOUND, act("retry", 4, "queued"), touch("cancel", 5, "cancelled")],
         [final("cancelled", value="")]),
        ([submit(), act("suspend", 2, "suspended"), act("resume", 3, "queued"), give(4), report(5)],
         [final()]),
        ([submit(), act("suspend", 2, "suspending"), give(3), report(4)], [final()]),
        ([submit(), act("suspend", 2, "suspended"), act("cancel", 3, "cancelled", ids=[JOB]),
          act("retry", 4, "queued"), give(5), report(6)], [final()]),
        ([tagged("doomed"), give(2), report(3), act("bulk", 4, name="doomed", value="delete"),
          touch("read", 5, "", http=404)], []),
        ([tagged("halted"), act("bulk", 2, name="halted", value="cancel")],
         [final("cancelled", 0, "")]),
        ([submit(), DRAIN, act("drain", 1.8, name="w", result="info"), fed(2), report(3)],
         [final()]),
    ],
)  # fmt: skip
def test_what_operators_do_changes_what_must_hold(ops: list[Op], store: list[Final]) -> None:
    assert rules(ops, *store) == set()


@pytest.mark.parametrize(
    ("rule", "ops", "store"),
    [
        ("retry_lost", [*SOUND, act("retry", 4, "queued")], [final()]),
        ("acked_end_lost", [*SOUND, act("retry", 1, "queued"), *AGAIN], [final("failed", 2)]),
        ("given_after_its_end", [*SOUND, act("retry", 7, "queued"), *AGAIN], [final(attempt=2)]),
        ("two_terminal_records",
         [*SOUND, act("retry", 4, "queued"), *AGAIN, give(7, "lease-3", 3), report(8, "lease-3")],
         [final(attempt=3)]),
        ("given_while_suspended", [submit(), act("suspend", 2, "suspended"), give(3), report(4)],
         [final()]),
        ("given_while_suspended",
         [submit(), act("suspend", 2, "suspended"), give(3), report(4), act("resume", 5)],
         [final()]),
        ("acked_submit_lost", [tagged("doomed"), act("bulk", 2, name="other", value="delete")], []),
        ("acked_submit_lost",
         [tagged("halted"), act("bulk", 2, name="halted", value="cancel")], []),
        ("end_without_cause", [tagged("doomed"), act("bulk", 2, name="doomed", value="delete")],
         [final("cancelled", 0, "")]),
        ("drained_worker_fed", [submit(), DRAIN, fed(2), report(3)], [final()]),
        ("drained_worker_fed", [submit(), DRAIN, fed(2), report(3), act("drain", 3, name="w")],
         [final()]),
    ],
)  # fmt: skip
def test_what_operators_were_told_must_hold(rule: str, ops: list[Op], store: list[Final]) -> None:
    assert rule in rules(ops, *store)


def others(
    ops: list[Op],
    *store: Final,
    documents: dict[str, str] | None = None,
    bulks: dict[str, str] | None = None,
    sent: Counter[tuple[str, str]] | None = None,
) -> set[str]:
    checker = Checker()
    checker.feed(ops)
    checker.finish(store)
    deliveries = {} if sent is None else {"webhook": sent}
    found = checker.finish_others(documents or {}, bulks or {}, deliveries, store)
    return {violation.rule for violation in found}


def test_a_document_says_what_was_last_acknowledged_or_what_was_asked_since() -> None:
    def put(began_s: float, value: str, result: str = "ok") -> Op:
        return act("document", began_s, name="limits/a", value=value, result=result)

    for ops, possible in (
        ([put(1, "5")], {"5"}),
        ([put(1, "5"), put(2, "")], {""}),
        ([put(1, "5"), put(2, "7", "info")], {"5", "7"}),
        ([put(1, "5", "info"), put(2, "7")], {"7"}),
        ([put(1, "5", "info")], {"", "5"}),
    ):
        for value in ("", "5", "7"):
            found = others(ops, documents={"limits/a": value})
            assert found == (set() if value in possible else {"document_lost"})


def test_an_act_on_many_jobs_goes_on_to_its_end_and_holds() -> None:
    ops = [tagged("doomed"), give(2), report(3), act("bulk", 4, name="doomed", value="delete")]
    assert others(ops, bulks={"bulk": "completed"}) == set()
    assert others(ops, bulks={"bulk": "running"}) == {"bulk_lost"}
    assert others(ops) == {"bulk_lost"}
    assert others(ops, final(), bulks={"bulk": "completed"}) == {"deleted_job_there"}


def test_each_end_that_a_webhook_asked_for_has_one_delivery() -> None:
    lost = report(3, outcome="failed", status="failed", value="")
    ops = [act("webhook", 0), submit(), give(2), lost]
    failed = final("failed", failures=1, value="")
    key = ("job.failed", JOB)
    assert others(ops, failed, sent=Counter([key])) == set()
    assert others(ops, failed, sent=Counter()) == {"delivery_lost"}
    assert others(ops, failed, sent=Counter([key, key])) == {"delivered_twice"}
    assert others(ops, failed) == {"webhook_lost"}
    wrong = Counter([key, ("job.cancelled", JOB)])
    assert others(ops, failed, sent=wrong) == {"delivery_from_nowhere"}
    again = report(5, outcome="failed", status="failed", value="", again=True)
    told_before = [submit(), give(2), lost, act("webhook", 4), again]
    assert others(told_before, failed, sent=Counter()) == set()


def test_violations_name_the_job() -> None:
    checker = Checker()
    checker.feed([submit()])
    assert checker.finish([]) == [Violation("acked_submit_lost", JOB, NAME)]


def after(*job_ids: str) -> Op:
    op = submit()
    op.after = {NAME: [*job_ids]}
    return op


def test_what_runs_after_other_jobs_runs_when_they_completed_and_is_skipped_else() -> None:
    def other(status: str) -> Final:
        return Final("job-0", "name-0", status, 1)

    ops = [submit(0.1, ids=["job-0"]), after("job-0")]
    ops[0].names = ["name-0"]
    ran = [give(2), report(3)]
    assert "run_before_its_dependencies" not in rules([*ops, *ran], other("completed"), final())
    assert "run_before_its_dependencies" in rules([*ops, *ran], other("failed"), final())
    skipped = final("skipped", 0, "")
    assert "end_without_cause" in rules(ops, other("completed"), skipped)
    found = Checker()
    found.feed(ops)
    about = {each.job for each in found.finish([other("failed"), skipped])}
    assert JOB not in about, "the other has no cause here, this one has"
