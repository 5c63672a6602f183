"""Reads of the outbox: what waits for an endpoint, and what is over."""

from collections.abc import Iterable

from headrace.core.deliveries import ENDPOINT_BYTES, Delivery
from headrace.store import layout
from headrace.store.contract import KeyValue, RecordCorrupt, prefix_end
from headrace.wire.limits import DELIVERIES_KEPT


def waiting(kv: KeyValue, endpoint: bytes, limit: int, after: bytes = b"") -> list[Delivery]:
    """Return what waits for an endpoint, what is due first at the beginning. `after`: of a key.

    A damaged row is passed over, and stays. Cost: O(limit).
    """
    start = after + b"\0" if after else endpoint
    rows = kv.scan(layout.OUTBOX, start, prefix_end(endpoint), limit=limit)
    found = []
    for key, value in rows:
        try:
            found.append(layout.delivery_unpack(layout.unseal(layout.OUTBOX, key, value)))
        except RecordCorrupt:
            continue
    return found


def waiting_first(kv: KeyValue) -> Iterable[Delivery]:
    """Yield for each endpoint that something waits for what is due there first.

    Cost: a seek for each endpoint.
    """
    start = b""
    while rows := kv.scan(layout.OUTBOX, start, limit=1):
        endpoint = rows[0][0][:ENDPOINT_BYTES]
        yield from waiting(kv, endpoint, 1)
        end = prefix_end(endpoint)
        if end is None:
            return
        start = end


def over(kv: KeyValue, endpoint: bytes) -> list[tuple[int, int, Delivery]]:
    """Return (number, slot, delivery) of what is over, the newest first."""
    rows = kv.scan(layout.SENT, endpoint, prefix_end(endpoint), limit=DELIVERIES_KEPT)
    found = []
    for key, value in rows:
        try:
            payload = layout.unseal(layout.SENT, key, value)
        except RecordCorrupt:
            continue
        number, delivery = layout.sent_unpack(payload)
        found.append((number, layout.sent_slot(key), delivery))
    return sorted(found, key=lambda one: one[0], reverse=True)
