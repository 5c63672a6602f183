"""The outbox over each kind of rows."""

from store_samples import commit

from headrace.core.deliveries import FORGOTTEN, WAITS, Delivery, Tried
from headrace.core.effects import DeliveriesDue, DeliveryMoved, DocumentDropped
from headrace.store import Store, layout
from headrace.store._new_rows import NewRows
from headrace.store.contract import KeyValue
from headrace.wire.documents import Kind
from headrace.wire.webhook_ids import webhook_name

A, B = bytes(15) + b"\1", bytes(15) + b"\2"
LAST = b"\xff" * 16


def delivery(endpoint: bytes, number: int, due_ms: int, **fields: object) -> Delivery:
    return Delivery(number, endpoint, "e", "t", 1, due_ms, 1, **fields)  # type: ignore[arg-type]


def test_what_waits_comes_by_when_it_is_due(store: Store) -> None:
    late, early, other = delivery(A, 1, 300), delivery(A, 2, 20), delivery(B, 3, 1)
    commit(store, DeliveriesDue([late, early, other]))
    assert store.outbox_page(A, 9) == [early, late]
    assert store.outbox_page(A, 1) == [early]
    assert store.outbox_page(A, 9, early) == [late]
    assert store.outbox_page(A, 9, late) == []
    assert store.outbox_count() == 3


def test_each_endpoint_is_found_by_a_seek(store: Store) -> None:
    rows = [delivery(where, number, number) for number, where in enumerate((LAST, B, A, A, B))]
    commit(store, DeliveriesDue(rows))
    assert [one.endpoint for one in store.outbox_first()] == [A, B, LAST]


def test_a_move_takes_the_place_of_what_was(store: Store) -> None:
    before, after = delivery(A, 1, 20), delivery(A, 1, 90, tries=1)
    commit(store, DeliveriesDue([before]))
    commit(store, DeliveryMoved(before, WAITS, after, WAITS))
    assert store.outbox_page(A, 9) == [after]
    assert store.delivery_waits(A, 90, 1)
    assert not store.delivery_waits(A, 20, 1)
    over = delivery(A, 1, 90, tries=2, last=Tried(5, 204))
    commit(store, DeliveryMoved(after, WAITS, over, 7))
    assert store.outbox_count() == 0
    assert store.sent(A) == [(7, 7, over)]
    assert store.delivery_over(A, 7) == over
    assert store.deliveries_over(A) == 8
    commit(store, DeliveryMoved(over, 7, before, WAITS))
    assert (store.sent(A), store.outbox_page(A, 9)) == ([], [before])
    commit(store, DeliveryMoved(before, WAITS, over, FORGOTTEN))
    assert (store.sent(A), store.outbox_count()) == ([], 0)


def test_what_is_over_goes_with_its_webhook(store: Store) -> None:
    over = delivery(A, 1, 90)
    commit(store, DeliveriesDue([over]))
    commit(store, DeliveryMoved(over, WAITS, over, 3))
    commit(store, DocumentDropped(Kind.WEBHOOK, webhook_name(A)))
    assert store.sent(A) == []


def test_what_waits_is_counted_for_each_tenant_of_an_endpoint(kv: KeyValue) -> None:
    store = Store(kv)
    store.restore()
    others = [Delivery(number, A, "e", "u", 1, 30, 1) for number in (2, 3)]
    commit(store, DeliveriesDue([delivery(A, 1, 20), *others]))
    assert sorted(Store(kv).restore().deliveries_waiting) == [(A, "t", 1), (A, "u", 2)]


def test_a_damaged_row_is_passed_over_and_told_at_a_start(kv: KeyValue) -> None:
    store = Store(kv)
    store.restore()
    bad, good = delivery(A, 1, 20), delivery(A, 2, 30)
    commit(store, DeliveriesDue([bad, good]))
    key = layout.outbox_key(A, 20, 1)
    kv.write(NewRows({layout.OUTBOX: {key: b"damaged!"}}))
    assert store.outbox_page(A, 9) == [good]
    restored = Store(kv).restore()
    assert restored.deliveries_waiting == [(A, "t", 1)]
    assert restored.delivery_last == 2
    assert (layout.OUTBOX, key) in restored.corrupt
