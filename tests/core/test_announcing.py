from typing import Any

import pytest
from engine_rig import ADMIN, ALICE, BOB, STRANGER, Rig, needs

from headrace.core import announcing
from headrace.core.commands import (
    Act,
    Announce,
    Caller,
    Control,
    Mark,
    Outcome,
    Poll,
    Progress,
    PutDocument,
    Replay,
    Report,
    Submit,
)
from headrace.core.deliveries import WAITS, Delivery, Tried, endpoint_of_url
from headrace.core.effects import DeliveriesDue, DeliveryMoved, Effect
from headrace.core.job import Status
from headrace.wire import limits
from headrace.wire.documents import Kind, WebhookDocument, body_of
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.webhook_ids import webhook_name

URL = "https://example.com/"


def endpoint(number: int) -> bytes:
    return number.to_bytes(16, "big")


def webhook(rig: Rig, number: int, *events: str, caller: Caller = ALICE, **fields: Any) -> bytes:
    value = WebhookDocument(
        tenant=caller.tenant, user=caller.user, url=URL, events=events, secrets=("s",), **fields
    )
    put = PutDocument(caller, Kind.WEBHOOK, webhook_name(endpoint(number)), body_of(value))
    reply = rig.apply(put)
    assert not isinstance(reply, Problem), reply
    return endpoint(number)


def due(effects: list[Effect]) -> list[Delivery]:
    return [one for told in effects if isinstance(told, DeliveriesDue) for one in told.deliveries]


def told(effects: list[Effect]) -> list[tuple[bytes, str, bytes]]:
    return [(one.endpoint, one.event, one.job_id) for one in due(effects)]


def cancelled(rig: Rig, **fields: Any) -> bytes:
    job = rig.submit(**fields)
    rig.control(job, Act.CANCEL)
    return job


# Who hears of what ------------------------------------------------------------------------------


def test_nobody_asked_so_nothing_is_due(rig: Rig) -> None:
    cancelled(rig)
    assert due(rig.effects) == []
    rig.report((rig.submit(), rig.take())[1], Outcome.COMPLETED)
    assert due(rig.effects) == []


def test_an_end_is_due_once_at_each_who_asked_in_its_own_commit(rig: Rig) -> None:
    one, other = webhook(rig, 1, "job.cancelled", "job.*"), webhook(rig, 2, "*")
    webhook(rig, 3, "job.failed")
    job = cancelled(rig)
    assert told(rig.effects) == [(one, "job.cancelled", job), (other, "job.cancelled", job)]
    first, second = due(rig.effects)
    assert first.number == second.number
    assert (first.status, first.tries, first.due_ms) == (Status.CANCELLED, 0, rig.now_ms)
    assert rig.store.outbox_count() == 2


def test_users_hear_of_their_own_jobs_and_admins_of_all(rig: Rig) -> None:
    webhook(rig, 1, "*", caller=BOB)
    webhook(rig, 2, "*", caller=STRANGER, every_user=True)
    admin = webhook(rig, 3, "*", caller=ADMIN, every_user=True)
    job = cancelled(rig)
    assert told(rig.effects) == [(admin, "job.cancelled", job)]


def test_of_jobs_completed_together_each_is_told(rig: Rig) -> None:
    mine = webhook(rig, 1, "job.completed")
    rig.apply(Submit(BOB, [rig.new()]))
    jobs = [rig.submit(), rig.submit()]
    leases = [grant.lease for grant in rig.poll(jobs_max=3).jobs]
    reports = [Report(lease, Outcome.COMPLETED) for lease in leases]
    rig.poll(jobs_max=0, reports=reports)
    assert told(rig.effects) == [(mine, "job.completed", job) for job in jobs]
    assert len({one.number for one in due(rig.effects)}) == 2


def test_a_suspension_is_told_once(rig: Rig) -> None:
    mine = webhook(rig, 1, "job.suspended")
    job = rig.submit()
    rig.control(job, Act.SUSPEND)
    assert told(rig.effects) == [(mine, "job.suspended", job)]
    rig.control(job, Act.SUSPEND)
    assert due(rig.effects) == []
    rig.control(job, Act.RESUME)
    lease = rig.take()
    rig.report(lease, Outcome.SUSPENDED, checkpoint=b"1")
    assert told(rig.effects) == [(mine, "job.suspended", job)]


def test_a_late_report_on_a_suspended_job_is_no_second_suspension(rig: Rig) -> None:
    webhook(rig, 1, "job.suspended")
    job = rig.submit()
    lease = rig.take()
    rig.wait(rig.config.lease_ms)
    rig.control(job, Act.SUSPEND)
    assert len(due(rig.effects)) == 1
    rig.report(lease, Outcome.SUSPENDED)
    assert due(rig.effects) == []


def test_poison_and_timeouts_are_ends_too(rig: Rig) -> None:
    webhook(rig, 1, "job.*")
    rig.submit(timeout_ms=100)
    rig.take()
    seen = due(rig.wait(100 + rig.config.timeout_grace_ms))
    assert [one.event for one in seen] == ["job.timeout"]
    rig.submit(start_before_at_ms=rig.wall_ms + 5)
    assert [one.event for one in due(rig.wait(5))] == ["job.skipped"]


def test_what_a_handler_emits_goes_to_who_asked_for_the_name(rig: Rig) -> None:
    mine = webhook(rig, 1, "scene.*")
    job = rig.submit()
    lease = rig.take()
    events = [("scene.loaded", b"[1]"), ("other", b""), ("scene.saved", b"")]
    rig.poll(jobs_max=0, progress=[Progress(lease, events=events)])
    assert told(rig.effects) == [(mine, "scene.loaded", job), (mine, "scene.saved", job)]
    assert due(rig.effects)[0].data == b"[1]"
    rig.report(lease, Outcome.RELEASED)
    rig.poll(jobs_max=0, progress=[Progress(lease, events=events)])
    assert due(rig.effects) == [], "its lease is over"


def test_a_url_that_a_job_names_hears_of_its_end_alone(rig: Rig) -> None:
    spec = b'{"id":"x","webhook_url":"https://own.test/"}'
    new = rig.new(webhook_url="https://own.test/")
    new.specs = [spec]
    rig.apply(Submit(ALICE, [new]))
    rig.control(new.job_ids, Act.SUSPEND)
    assert due(rig.effects) == []
    rig.control(new.job_ids, Act.RESUME)
    rig.open()
    rig.report(rig.take(), Outcome.COMPLETED)
    (one,) = due(rig.effects)
    assert (one.endpoint, one.url) == (endpoint_of_url("acme", one.url), "https://own.test/")


def test_a_job_that_ends_in_the_batch_of_its_submit_tells_its_url(rig: Rig) -> None:
    new = rig.new(webhook_url="https://own.test/")
    engine = rig.engine
    _, effects = engine.apply(rig.now_ms, Submit(ALICE, [new]))
    _, more = engine.apply(rig.now_ms, Control(ALICE, new.job_ids, Act.CANCEL))
    rig.effects = [*effects, *more]
    rig.commit()
    assert [one.url for one in due(more)] == ["https://own.test/"]


def test_a_disabled_or_removed_webhook_hears_nothing(rig: Rig) -> None:
    webhook(rig, 1, "*")
    webhook(rig, 1, "*", disabled="gone")
    cancelled(rig)
    assert due(rig.effects) == []
    assert not rig.live.hooks.wanted


def test_failed_authentications_go_to_who_may_hear_of_them(rig: Rig) -> None:
    webhook(rig, 1, "*")
    server = webhook(rig, 2, "auth.failed", caller=STRANGER, of_server=True)
    admin = webhook(rig, 3, "auth.*", caller=ADMIN, every_user=True)
    assert rig.apply(Announce("auth.failed", b"{}", "acme")) == 2
    assert {one.endpoint for one in due(rig.effects)} == {server, admin}
    assert rig.apply(Announce("auth.failed", b"{}")) == 1
    assert [one.endpoint for one in due(rig.effects)] == [server]


# Bounds -----------------------------------------------------------------------------------------


def test_beyond_the_bounds_nothing_is_due_and_it_is_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "DELIVERIES_PENDING_MAX", 2)
    monkeypatch.setattr(limits, "DELIVERIES_PER_TENANT_MAX", 3)
    webhook(rig, 1, "*")
    webhook(rig, 2, "*")
    for expected in (2, 1, 0):
        cancelled(rig)
        assert len(due(rig.effects)) == expected
    assert rig.live.hooks.dropped_total == 3
    rig.open()
    cancelled(rig)
    assert due(rig.effects) == [], "it is counted again at a start"


def test_who_asked_is_remembered_for_a_bounded_number_of_names(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "FOUND_MAX", 3)
    webhook(rig, 1, "n1")
    hooks = rig.live.hooks
    for _ in range(2):
        found = [bool(hooks.asked("acme", "alice", f"n{number}")) for number in range(9)]
        assert found == [number == 1 for number in range(9)]
    assert len(hooks._found) <= 3


def test_a_tenant_has_a_bounded_number_of_webhooks(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WEBHOOKS_PER_TENANT_MAX", 1)
    webhook(rig, 1, "*")
    webhook(rig, 1, "job.*")
    webhook(rig, 2, "*", caller=STRANGER)
    value = body_of(WebhookDocument(tenant="acme", user="x", url=URL))
    reply = rig.apply(PutDocument(ALICE, Kind.WEBHOOK, webhook_name(endpoint(3)), value))
    assert reply.code is ProblemCode.DOCUMENTS_TOO_MANY


# What becomes of a delivery ---------------------------------------------------------------------


def one_due(rig: Rig) -> Delivery:
    webhook(rig, 1, "*")
    cancelled(rig)
    (one,) = due(rig.effects)
    return one


def after(one: Delivery, due_ms: int = 0, error: str = "") -> Delivery:
    from msgspec.structs import replace

    last = Tried(1, 0 if error else 204, error)
    return replace(one, tries=one.tries + 1, due_ms=due_ms or one.due_ms, last=last)


def test_a_delivery_waits_until_it_is_marked(rig: Rig) -> None:
    one = one_due(rig)
    later = after(one, rig.now_ms + 5, "no")
    assert rig.apply(Mark(one, later, over=False)) is True
    assert rig.store.outbox_page(one.endpoint, 9) == [later]
    assert rig.apply(Mark(one, later, over=False)) is False, "it has moved"
    assert rig.apply(Mark(later, after(later), over=True)) is True
    assert rig.store.outbox_count() == 0
    assert rig.store.sent(one.endpoint) == [(0, 0, after(later))]
    assert rig.live.hooks.pending == rig.live.hooks.tenant_pending == {}


def test_two_marks_in_one_batch_count_once(rig: Rig) -> None:
    one = one_due(rig)
    first, effects = rig.engine.apply(rig.now_ms, Mark(one, after(one), over=True))
    second, more = rig.engine.apply(rig.now_ms, Mark(one, after(one), over=True))
    assert (first, second, more) == (True, False, [])
    rig.effects = effects
    rig.commit()


def test_what_is_over_can_be_sent_again(rig: Rig) -> None:
    one = one_due(rig)
    rig.apply(Mark(one, after(one), over=True))
    rig.now_ms += 50
    ((_, slot, row),) = rig.store.sent(one.endpoint)
    assert rig.apply(Replay(row, slot)) is True
    assert rig.store.sent(one.endpoint) == []
    (again,) = rig.store.outbox_page(one.endpoint, 9)
    assert (again.number, again.tries, again.due_ms) == (one.number, 0, rig.now_ms)
    assert rig.apply(Replay(row, slot)) is False
    rig.now_ms += 50
    assert rig.apply(Replay(again)) is True
    assert rig.store.outbox_count() == 1


def test_the_newest_that_are_over_are_kept(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.store.layout.DELIVERIES_KEPT", 3)
    webhook(rig, 1, "*")
    for number in range(5):
        cancelled(rig)
        (one,) = due(rig.effects)
        if number == 3:
            rig.open()
        rig.apply(Mark(one, after(one), over=True))
    assert [place for place, _, _ in rig.store.sent(one.endpoint)] == [4, 3, 2]


def test_of_a_url_that_a_job_named_nothing_is_kept(rig: Rig) -> None:
    new = rig.new(webhook_url=URL)
    new.specs = [b'{"webhook_url":"https://example.com/"}']
    rig.apply(Submit(ALICE, [new]))
    rig.control(new.job_ids, Act.CANCEL)
    (one,) = due(rig.effects)
    rig.apply(Mark(one, after(one), over=True))
    (moved,) = rig.effects
    assert isinstance(moved, DeliveryMoved)
    assert moved.slot == WAITS
    assert rig.store.sent(one.endpoint) == []


def test_events_have_rising_numbers_across_starts(rig: Rig) -> None:
    webhook(rig, 1, "*")
    numbers = []
    for _ in range(3):
        cancelled(rig)
        numbers += [one.number for one in due(rig.effects)]
        rig.open()
    assert numbers == sorted(set(numbers))


def test_a_poll_without_events_makes_none(rig: Rig) -> None:
    webhook(rig, 1, "*")
    rig.submit(needs())
    rig.poll(progress=[Progress(rig.take(), started=True)])
    assert due(rig.effects) == []
    assert rig.apply(Poll(99, "w")) is not None
