"""Who hears of what: events become deliveries, in the commit of what they tell.

Each end of a job comes by here, in one of two ways: one by one (`ended`), or all that one poll
completed (`completed`). Where nobody asked for anything and no job named a URL, that is one test.
"""

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from headrace.core.commands import Announce, Mark, Replay
from headrace.core.deliveries import FORGOTTEN, WAITS, Delivery, endpoint_of_url
from headrace.core.effects import DeliveriesDue, DeliveryMoved, Effect, JobsCompleted
from headrace.core.ids import ID_BYTES
from headrace.core.job import RECORD_BYTES, TERMINAL, Job, Status
from headrace.wire import limits
from headrace.wire.documents import Kind, WebhookDocument
from headrace.wire.events import AUTH_FAILED, EVENT_OF_STATUS, patterns_for
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.webhook_ids import endpoint_of, webhook_name

if TYPE_CHECKING:
    from headrace.core.live import Live

FOUND_MAX: Final = 4_096
"""Answers to "who asked for this?" that are remembered."""
NUMBER_SHIFT: Final = 18
"""A number of an event is its millisecond, then a counter of so many bits."""
_HEADS: Final = struct.Struct("<3xB8xII48x")
"""Of a record: flags, owner, attempt."""
_HAS_WEBHOOK: Final = 8
assert _HEADS.size == RECORD_BYTES

_EVENTS: Final = {
    status: EVENT_OF_STATUS[status.name.lower()] for status in (*TERMINAL, Status.SUSPENDED)
}
_COMPLETED: Final = _EVENTS[Status.COMPLETED]


class Hooks:
    """Who asked for what, and how much waits for each. In memory; the documents say it all."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, dict[bytes, WebhookDocument]] = {}
        """Those that something is sent to."""
        self._tenants: dict[bytes, str] = {}
        self._found: dict[tuple[str, str, str], list[bytes]] = {}
        self.pending: dict[bytes, int] = {}
        """Deliveries that wait, by endpoint."""
        self.tenant_pending: dict[str, int] = {}
        self.over: dict[bytes, int] = {}
        """How many of an endpoint's deliveries were over ever; of those looked up."""
        self.number_last = 0
        self.dropped_total = 0
        """Not made, since too many waited."""

    @property
    def wanted(self) -> bool:
        """Whether anybody asked for anything."""
        return bool(self._by_tenant)

    def put(self, endpoint: bytes, document: WebhookDocument) -> None:
        self.drop(endpoint)
        self._by_tenant.setdefault(document.tenant, {})[endpoint] = document
        self._tenants[endpoint] = document.tenant

    def drop(self, endpoint: bytes) -> None:
        self._found.clear()
        tenant = self._tenants.pop(endpoint, None)
        if tenant is not None:
            del self._by_tenant[tenant][endpoint]
            if not self._by_tenant[tenant]:
                del self._by_tenant[tenant]

    def asked(self, tenant: str, user: str, event: str) -> list[bytes]:
        """Return the endpoints that get an event of a user's job."""
        key = (tenant, user, event)
        found = self._found.get(key)
        if found is None:
            webhooks = self._by_tenant.get(tenant)
            if webhooks is None:
                return []
            patterns = set(patterns_for(event))
            found = [
                endpoint
                for endpoint, one in webhooks.items()
                if (one.every_user or one.user == user) and not patterns.isdisjoint(one.events)
            ]
            if len(self._found) >= FOUND_MAX:
                self._found.clear()
            self._found[key] = found
        return found

    def asked_of_keys(self, tenant: str) -> list[tuple[bytes, str]]:
        """Return the endpoints, with their tenants, that hear of failed authentications."""
        patterns = set(patterns_for(AUTH_FAILED))
        return [
            (endpoint, owner)
            for owner, webhooks in self._by_tenant.items()
            for endpoint, one in webhooks.items()
            if (one.of_server or (owner == tenant and one.every_user))
            and not patterns.isdisjoint(one.events)
        ]

    def number(self, now_ms: int) -> int:
        """Return the number of the next event."""
        self.number_last = max(now_ms << NUMBER_SHIFT, self.number_last + 1)
        return self.number_last

    def room(self, endpoint: bytes, tenant: str) -> bool:
        """Take room for a delivery; say whether there was some."""
        count, of_tenant = self.pending.get(endpoint, 0), self.tenant_pending.get(tenant, 0)
        if count >= limits.DELIVERIES_PENDING_MAX or of_tenant >= limits.DELIVERIES_PER_TENANT_MAX:
            self.dropped_total += 1
            return False
        self.pending[endpoint] = count + 1
        self.tenant_pending[tenant] = of_tenant + 1
        return True

    def leave(self, endpoint: bytes, tenant: str) -> None:
        """Give a delivery's room back."""
        self.pending[endpoint] -= 1
        if not self.pending[endpoint]:
            del self.pending[endpoint]
        self.tenant_pending[tenant] -= 1
        if not self.tenant_pending[tenant]:
            del self.tenant_pending[tenant]

    def restore(self, waiting: list[tuple[bytes, str, int]], number_last: int) -> None:
        """Count what waits: endpoint, tenant and how many."""
        for endpoint, tenant, count in waiting:
            self.pending[endpoint] = self.pending.get(endpoint, 0) + count
            self.tenant_pending[tenant] = self.tenant_pending.get(tenant, 0) + count
        self.number_last = max(self.number_last, number_last)


# Webhooks ---------------------------------------------------------------------------------------


def webhook_changed(live: "Live", name: str) -> None:
    endpoint = endpoint_of(name)
    if endpoint is None:
        return
    document = live.documents.get(Kind.WEBHOOK, name)
    value: WebhookDocument | None = None if document is None else document.value()
    if value is None:
        live.hooks.over.pop(endpoint, None)
    if value is None or not value.url or value.disabled:
        live.hooks.drop(endpoint)
    else:
        live.hooks.put(endpoint, value)


def webhook_has_room(live: "Live", name: str, body: bytes) -> Problem | None:
    """Say why a tenant may not have one more."""
    known = live.documents.of(Kind.WEBHOOK)
    if name in known or endpoint_of(name) is None:
        return None
    tenant = _tenant_of(body)
    count = sum(_tenant_of(one.body) == tenant for one in known.values())
    if count < limits.WEBHOOKS_PER_TENANT_MAX:
        return None
    return Problem(
        ProblemCode.DOCUMENTS_TOO_MANY,
        f"a tenant has at most {limits.WEBHOOKS_PER_TENANT_MAX} webhooks",
    )


class _Tenant(msgspec.Struct):
    tenant: str


_tenant_decode: Final = msgspec.json.Decoder(_Tenant).decode


def _tenant_of(body: bytes) -> str:
    return _tenant_decode(body).tenant


# Events of jobs ---------------------------------------------------------------------------------


def reached(live: "Live", now_ms: int, job: Job, effects: list[Effect]) -> None:
    """Tell of the status that a job has reached: an end, or a suspension.

    The URL that a job names hears of ends only.
    """
    due: list[Delivery] = []
    status = job.status
    has_url = job.has_webhook and status in TERMINAL
    tell_status(live, now_ms, job.job_id, job.owner_id, status, job.attempt, has_url, due)
    if due:
        effects.append(DeliveriesDue(due))


def completed(live: "Live", now_ms: int, told: JobsCompleted, effects: list[Effect]) -> None:
    """Tell of jobs that one poll completed."""
    heads = list(_HEADS.iter_unpack(told.records))
    asking = set()
    for owner_id in {head[1] for head in heads}:
        tenant, user = live.owner_names[owner_id]
        if live.hooks.asked(tenant, user, _COMPLETED):
            asking.add(owner_id)
    due: list[Delivery] = []
    for position, (flags, owner_id, attempt) in enumerate(heads):
        has_url = flags & _HAS_WEBHOOK != 0
        if has_url or owner_id in asking:
            job_id = told.job_ids[position * ID_BYTES : (position + 1) * ID_BYTES]
            tell_status(live, now_ms, job_id, owner_id, Status.COMPLETED, attempt, has_url, due)
    if due:
        effects.append(DeliveriesDue(due))


def tell_status(
    live: "Live",
    now_ms: int,
    job_id: bytes,
    owner_id: int,
    status: Status,
    attempt: int,
    has_url: bool,
    due: list[Delivery],
) -> None:
    hooks = live.hooks
    tenant, user = live.owner_names[owner_id]
    event = _EVENTS[status]
    places = [(endpoint, "") for endpoint in hooks.asked(tenant, user, event)]
    if has_url and (head := live.spec_head(job_id)) and (url := head.webhook_url):
        places.append((endpoint_of_url(tenant, url), url))
    if not places:
        return
    number, wall_ms = hooks.number(now_ms), live.wall_ms(now_ms)
    for endpoint, url in places:
        if hooks.room(endpoint, tenant):
            due.append(
                Delivery(
                    number,
                    endpoint,
                    event,
                    tenant,
                    wall_ms,
                    now_ms,
                    now_ms,
                    job_id,
                    status,
                    attempt,
                    b"",
                    url,
                )
            )


def emitted(
    live: "Live",
    now_ms: int,
    job_id: bytes,
    owner_id: int,
    events: list[tuple[str, bytes]],
    effects: list[Effect],
) -> None:
    """Tell of events that a handler emits while it runs a job."""
    hooks = live.hooks
    tenant, user = live.owner_names[owner_id]
    due: list[Delivery] = []
    for event, data in events:
        endpoints = hooks.asked(tenant, user, event)
        number = hooks.number(now_ms) if endpoints else 0
        for endpoint in endpoints:
            if hooks.room(endpoint, tenant):
                at_ms = live.wall_ms(now_ms)
                due.append(
                    Delivery(
                        number, endpoint, event, tenant, at_ms, now_ms, now_ms, job_id, data=data
                    )
                )
    if due:
        effects.append(DeliveriesDue(due))


# Commands ---------------------------------------------------------------------------------------


def announce(live: "Live", now_ms: int, command: Announce, effects: list[Effect]) -> int:
    hooks = live.hooks
    places = [(command.endpoint, command.tenant)]
    if not command.endpoint:
        places = hooks.asked_of_keys(command.tenant)
    due: list[Delivery] = []
    number = hooks.number(now_ms) if places else 0
    for endpoint, tenant in places:
        if hooks.room(endpoint, tenant):
            wall_ms = live.wall_ms(now_ms)
            due.append(
                Delivery(
                    number,
                    endpoint,
                    command.event,
                    tenant,
                    wall_ms,
                    now_ms,
                    now_ms,
                    data=command.data,
                )
            )
    if due:
        effects.append(DeliveriesDue(due))
    return len(due)


def mark(live: "Live", now_ms: int, command: Mark, effects: list[Effect]) -> bool:
    before = command.before
    if not waits(live, before):
        return False
    live.fresh_moved.add(place(before))
    number = WAITS
    if command.over:
        number = _number_over(live, before)
        live.hooks.leave(before.endpoint, before.tenant)
    effects.append(DeliveryMoved(before, WAITS, command.after, number))
    return True


def replay(live: "Live", now_ms: int, command: Replay, effects: list[Effect]) -> bool:
    told, slot = command.delivery, command.slot
    if slot == WAITS:
        if not waits(live, told):
            return False
        live.fresh_moved.add(place(told))
    else:
        lies = live.archive.delivery_over(told.endpoint, slot)
        key = (told.endpoint, WAITS, slot)
        if lies is None or lies.number != told.number or key in live.fresh_moved:
            return False
        if not live.hooks.room(told.endpoint, told.tenant):
            return False
        live.fresh_moved.add(key)
    again = msgspec.structs.replace(told, due_ms=now_ms, since_ms=now_ms, tries=0)
    effects.append(DeliveryMoved(told, slot, again, WAITS))
    return True


def waits(live: "Live", delivery: Delivery) -> bool:
    """Say whether a delivery waits, just as it is told."""
    return place(delivery) not in live.fresh_moved and live.archive.delivery_waits(
        delivery.endpoint, delivery.due_ms, delivery.number
    )


def place(delivery: Delivery) -> tuple[bytes, int, int]:
    return delivery.endpoint, delivery.due_ms, delivery.number


def _number_over(live: "Live", delivery: Delivery) -> int:
    """Count a delivery that is over; return its number among those of its webhook."""
    endpoint, over = delivery.endpoint, live.hooks.over
    if delivery.url or live.documents.get(Kind.WEBHOOK, webhook_name(endpoint)) is None:
        return FORGOTTEN
    if endpoint not in over:
        over[endpoint] = live.archive.deliveries_over(endpoint)
    over[endpoint] += 1
    return over[endpoint] - 1
