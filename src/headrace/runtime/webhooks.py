"""Webhooks of a node: the store's outbox, and the documents that say where things are sent.

`webhooks.deliverer` decides who is tried when. Here its edges are joined to the engine: what became
of a try is a command, so it is in a commit before it is forgotten.
"""

import asyncio
import base64
import hmac
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from headrace.core.announcing import Hooks
from headrace.core.commands import Caller, Command, Mark, PutDocument
from headrace.core.deliveries import Delivery, Tried
from headrace.core.effects import (
    DeliveriesDue,
    DeliveryMoved,
    DocumentStored,
    Effect,
)
from headrace.runtime.clock import Clock
from headrace.runtime.config import Config
from headrace.runtime.payloads import body_of_delivery
from headrace.runtime.pump import Pump
from headrace.store.store import Store
from headrace.webhooks import contract
from headrace.webhooks.addresses import AddressRules
from headrace.webhooks.contract import Answer, Endpoint, Post, Try
from headrace.webhooks.deliverer import Deliverer, EndpointStatus, Totals
from headrace.webhooks.signing import SECRET_PREFIX
from headrace.webhooks.urls import UrlRules, check_url
from headrace.wire.documents import Kind, WebhookDocument, body_of
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.webhook_ids import (
    endpoint_of,
    jobs_secret_name,
    message_id,
    webhook_name,
)

log = logging.getLogger(__name__)

ANY_PORT: Final = 0
STOP_S: Final = 1.0
"""Requests that are out when a server stops get so long; then they are tried again at the next
start."""
AGAIN_S: Final = 1.0
"""Before another try to have a mark committed, or to go on after a failure."""
_URL_PREFIX: Final = "url_"
_HEARD: Final = frozenset({DeliveriesDue, DeliveryMoved, DocumentStored})
"""Effects that are looked at."""
SERVER_USER: Final = "headrace"
"""Who disables a webhook, in the audit log."""


class Webhooks:
    """The service; one per node."""

    def __init__(
        self,
        config: Config,
        store: Store,
        pump: Pump,
        clock: Clock,
        secret: bytes,
        hooks: Hooks,
    ) -> None:
        self._hooks = hooks
        ports = None if ANY_PORT in config.webhook_ports else tuple(config.webhook_ports)
        self._rules = UrlRules(http=config.webhook_http, ports=ports)
        self.addresses = AddressRules(config.webhook_allow_networks)
        self._pump = pump
        self._sender = _LateSender(self._rules, self.addresses)
        self._secret = secret
        self.outbox = StoreOutbox(store, pump, secret)
        self._deliverer = Deliverer(
            self.outbox, DocumentEndpoints(store, pump, clock, secret), self._sender, clock
        )
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def check_url(self, url: str) -> str:
        """Return a URL in the form that is sent to. Raises: ValueError with a sentence."""
        return check_url(url, self._rules, self.addresses)

    def message_id(self, delivery: Delivery) -> str:
        return message_id(delivery.number, self._secret)

    @property
    def wanted(self) -> bool:
        """Whether anybody asked for any event."""
        return self._hooks.wanted

    @property
    def dropped(self) -> int:
        """Deliveries not made since the start, since too many waited."""
        return self._hooks.dropped_total

    def pending(self, endpoint: bytes) -> int:
        """Return how many deliveries wait for an endpoint."""
        return self._hooks.pending.get(endpoint, 0)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Start no more requests; what is not marked by then is tried again later."""
        self._stopping = True
        if self._task is None:
            return
        if not self._pump.failed:
            await self._deliverer.stop(STOP_S)
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._sender.close()

    async def _run(self) -> None:
        while not self._is_over():
            try:
                await self._deliverer.run()
            except Exception:
                if not self._is_over():
                    log.exception("webhooks stopped, and begin again")
                    await asyncio.sleep(AGAIN_S)

    def _is_over(self) -> bool:
        return self._stopping or self._pump.failed

    def committed(self, effects: list[Effect]) -> None:
        """Look for what was committed, as `Pump.on_effects` tells it."""
        if _HEARD.isdisjoint(map(type, effects)):
            return
        for effect in effects:
            if isinstance(effect, DeliveriesDue):
                for one in {one.endpoint: one for one in effect.deliveries}.values():
                    self._deliverer.expect(endpoint_id(one), one.tenant)
            elif isinstance(effect, DeliveryMoved):
                after = effect.after
                if not after.tries:  # asked for again
                    self._deliverer.expect(endpoint_id(after), after.tenant, anew=True)
            elif isinstance(effect, DocumentStored) and effect.document.kind is Kind.WEBHOOK:
                name = effect.document.name
                if endpoint_of(name) is not None:
                    self._deliverer.expect(name, effect.document.value().tenant, anew=True)

    def totals(self) -> Totals:
        return self._deliverer.totals()

    def status(self, name: str) -> EndpointStatus | None:
        """Return how a webhook did since the start; None when it was not tried."""
        return self._deliverer.status(name)


def endpoint_id(delivery: Delivery) -> str:
    """Return what the deliverer and the log know an endpoint by."""
    if delivery.url:
        return _URL_PREFIX + delivery.endpoint.hex()
    return webhook_name(delivery.endpoint)


def _endpoint_bytes(name: str) -> bytes:
    return bytes.fromhex(name.rpartition("_")[2])


class StoreOutbox:
    """`contract.Outbox` over the store; marks go through the engine."""

    def __init__(self, store: Store, pump: Pump, secret: bytes) -> None:
        self._store = store
        self._pump = pump
        self._secret = secret

    def waiting(self) -> Iterable[tuple[str, str]]:
        return [(endpoint_id(first), first.tenant) for first in self._store.outbox_first()]

    def page(self, endpoint_id: str, limit: int) -> Sequence[contract.Delivery]:
        rows = self._store.outbox_page(_endpoint_bytes(endpoint_id), limit)
        return [
            contract.Delivery(
                message_id=message_id(row.number, self._secret),
                endpoint_id=endpoint_id,
                tenant_id=row.tenant,
                due_ms=row.due_ms,
                since_ms=row.since_ms,
                tries=row.tries,
                url=row.url,
                row=row,
            )
            for row in rows
        ]

    def body(self, delivery: contract.Delivery) -> bytes:
        return body_of_delivery(self._store, delivery.row)

    def pending(self) -> int:
        return self._store.outbox_count()

    async def delivered(self, delivery: contract.Delivery, last: Try) -> None:
        await self._mark(delivery, last, over=True)

    async def failed(self, delivery: contract.Delivery, last: Try, due_ms: int) -> None:
        await self._mark(delivery, last, due_ms, over=False)

    async def dead(self, deliveries: Sequence[contract.Delivery], last: Try) -> None:
        await asyncio.gather(*(self._mark(one, last, over=True) for one in deliveries))

    async def _mark(
        self, delivery: contract.Delivery, last: Try, due_ms: int = 0, *, over: bool
    ) -> None:
        row: Delivery = delivery.row
        tried = Tried(last.at_ms, last.status, last.error, last.took_ms)
        due_ms = due_ms or row.due_ms
        after = replace(row, due_ms=due_ms, tries=row.tries + 1, last=tried)
        await ask(self._pump, Mark(row, after, over))


class DocumentEndpoints:
    """`contract.Endpoints` over the documents."""

    def __init__(self, store: Store, pump: Pump, clock: Clock, secret: bytes) -> None:
        self._documents = store.documents
        self._pump = pump
        self._clock = clock
        self._secret = secret

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        document = self._documents.get(Kind.WEBHOOK, endpoint_id)
        if document is None:
            return None
        value: WebhookDocument = document.value()
        return Endpoint(
            endpoint_id=endpoint_id,
            tenant_id=value.tenant,
            url=value.url,
            secrets=value.signing(self._clock.wall_ms()),
            enabled=not value.disabled,
        )

    def tenant_secrets(self, tenant_id: str) -> Sequence[str]:
        """Return the tenant's secrets for URLs that jobs name.

        Before an admin has made one, there is one that nobody knows: no request leaves unsigned.
        """
        document = self._documents.get(Kind.WEBHOOK, jobs_secret_name(tenant_id))
        if document is not None:
            value: WebhookDocument = document.value()
            return value.signing(self._clock.wall_ms())
        key = hmac.digest(self._secret, b"webhooks of jobs\0" + tenant_id.encode(), "sha256")
        return [SECRET_PREFIX + base64.b64encode(key).decode()]

    async def disable(self, endpoint_id: str, reason: str) -> None:
        while True:
            document = self._documents.get(Kind.WEBHOOK, endpoint_id)
            if document is None:
                return
            value: WebhookDocument = document.value()
            if value.disabled:
                return
            caller = Caller(value.tenant, SERVER_USER, admin=True)
            body = body_of(replace(value, disabled=reason))
            version = document.version
            try:
                await ask(self._pump, PutDocument(caller, Kind.WEBHOOK, endpoint_id, body, version))
            except Problem as problem:
                if problem.code is not ProblemCode.PRECONDITION_FAILED:
                    raise
            else:
                return


async def ask(pump: Pump, command: Command) -> Any:
    """Ask as often as it takes while the server is only busy. Raises: Problem."""
    while True:
        try:
            return await pump.ask(command)
        except Problem as problem:
            if problem.code not in (ProblemCode.OVERLOADED, ProblemCode.STORAGE_FULL):
                raise
        await asyncio.sleep(AGAIN_S)


class _LateSender:
    """Makes the sender with the first request: most servers send nothing."""

    def __init__(self, rules: UrlRules, addresses: AddressRules) -> None:
        self._rules = rules
        self._addresses = addresses
        self._sender: Any = None

    async def send(self, post: Post) -> Answer:
        if self._sender is None:
            from headrace.webhooks.sending import HttpSender

            self._sender = HttpSender(self._rules, self._addresses)
        answer: Answer = await self._sender.send(post)
        return answer

    async def close(self) -> None:
        if self._sender is not None:
            await self._sender.close()
