"""Webhooks: registered, changed, tried; and what is sent to them. A secret is shown once."""

import os
import re
from collections.abc import Iterable
from typing import Final

import msgspec
from aiohttp import web
from msgspec.structs import replace

from headrace.core.commands import Announce, Caller, Expect, PutDocument, Replay
from headrace.core.deliveries import ENDPOINT_BYTES, WAITS, Delivery, Tried
from headrace.core.documenting import unknown_document
from headrace.core.ids import id_text
from headrace.core.intake import invalid, span_ms
from headrace.http import documents
from headrace.http.decode import decode, read_json
from headrace.http.documents import etag, path_name
from headrace.http.encode import answer
from headrace.http.identity import caller
from headrace.http.queries import malformed, number, one
from headrace.http.site import Site, site_of
from headrace.webhooks.signing import new_secret, secret_key
from headrace.wire import limits
from headrace.wire.document_routes import Removed
from headrace.wire.documents import Document, Kind, WebhookDocument, body_of
from headrace.wire.durations import rfc3339
from headrace.wire.events import PING, check_patterns
from headrace.wire.problems import Problem, ProblemCode
from headrace.wire.webhook_ids import (
    endpoint_of,
    jobs_secret_name,
    message_number,
    webhook_name,
)
from headrace.wire.webhook_routes import (
    DeliveriesAnswer,
    DeliveryView,
    MadeSecret,
    MadeWebhook,
    NewSecret,
    NewWebhook,
    PingAnswer,
    ReplayAnswer,
    TryView,
    WebhooksAnswer,
    WebhookSettings,
    WebhookView,
)

BY_HAND: Final = "disabled by hand"
NO_STORE: Final = {"Cache-Control": "no-store"}
"""Of answers that hold a secret."""
PENDING: Final = "pending"
DELIVERED: Final = "delivered"
FAILED: Final = "failed"
STATUSES: Final = (PENDING, DELIVERED, FAILED)
_CURSOR: Final = re.compile(r"w([0-9]{1,15})\.([0-9]{1,20})|o([0-9]{1,15})")

_new_decoder: Final = msgspec.json.Decoder(NewWebhook)
_settings_decoder: Final = msgspec.json.Decoder(WebhookSettings)
_secret_decoder: Final = msgspec.json.Decoder(NewSecret)


async def webhooks_list(request: web.Request) -> web.Response:
    site = site_of(request)
    known = mine(site, caller(request))
    names, following = documents.page_of(request, known)
    views = [view(site, known[name]) for name in names]
    return answer(request, WebhooksAnswer(webhooks=views, count=len(views), next=following))


async def webhook_get(request: web.Request) -> web.Response:
    site = site_of(request)
    document = known_webhook(request)
    return answer(request, view(site, document), headers=etag(document.version))


async def webhook_create(request: web.Request) -> web.Response:
    site = site_of(request)
    made = await make(request)
    return answer(request, made, headers={**site.committed(), **NO_STORE})


async def make(request: web.Request) -> MadeWebhook:
    """Register a webhook as the body says. Raises: Problem."""
    site, who = site_of(request), caller(request)
    asked = decode(_new_decoder, await read_json(request))
    secret = _secret(asked.secret)
    value = WebhookDocument(
        tenant=who.tenant,
        user=who.user,
        secrets=(secret,),
        of_server=who.admin and who.all_tenants,
    )
    value = _with_settings(site, who, value, asked)
    name = webhook_name(os.urandom(ENDPOINT_BYTES))
    document: Document = await site.pump.ask(
        PutDocument(who, Kind.WEBHOOK, name, body_of(value), Expect.ABSENT)
    )
    shown = secret if asked.secret is None else None
    return MadeWebhook(id=name, secret=shown, webhook=view(site, document))


async def webhook_put(request: web.Request) -> web.Response:
    site, who = site_of(request), caller(request)
    document = known_webhook(request)
    expected = documents.expected(request)
    asked = decode(_settings_decoder, await read_json(request))
    if expected not in (Expect.ANYTHING, Expect.PRESENT) and expected != document.version:
        raise Problem(
            ProblemCode.PRECONDITION_FAILED,
            f"its version is {document.version}; nothing was changed",
        )

    def changed(known: Document | None) -> bytes:
        if known is None:
            raise unknown_document()
        return body_of(_with_settings(site, who, known.value(), asked))

    document = await documents.change(site, who, Kind.WEBHOOK, document.name, changed)
    headers = {**site.committed(), **etag(document.version)}
    return answer(request, view(site, document), headers=headers)


async def webhook_delete(request: web.Request) -> web.Response:
    name = await remove(request)
    return answer(request, Removed(name=name), headers=site_of(request).committed())


async def remove(request: web.Request) -> str:
    document = known_webhook(request)
    await documents.drop(request, Kind.WEBHOOK, document.name)
    return document.name


async def webhook_test(request: web.Request) -> web.Response:
    site, document = site_of(request), _enabled(known_webhook(request))
    value: WebhookDocument = document.value()
    data = msgspec.json.encode({"webhook_id": document.name})
    await site.pump.ask(Announce(PING, data, value.tenant, _endpoint(document)))
    return answer(request, PingAnswer(event=PING), headers=site.committed())


# Secrets ----------------------------------------------------------------------------------------


async def webhook_rotate(request: web.Request) -> web.Response:
    return await _rotate(request, known_webhook(request).name, None)


async def jobs_secret(request: web.Request) -> web.Response:
    who = caller(request)
    empty = WebhookDocument(tenant=who.tenant, user=who.user)
    return await _rotate(request, jobs_secret_name(who.tenant), empty)


async def _rotate(request: web.Request, name: str, absent: WebhookDocument | None) -> web.Response:
    """Put a new secret before the newest one. `absent`: what there is if there is nothing."""
    site = site_of(request)
    asked = decode(_secret_decoder, await read_json(request, may_be_empty=True))
    secret = _secret(asked.secret)
    keep_ms = limits.WEBHOOK_OLD_SECRET_MS
    if asked.keep_old is not None:
        keep_ms = span_ms(asked.keep_old, "/keep_old", limits.OPERATOR_SPAN_MS_MAX)
    retire_at_ms = site.clock.wall_ms() + keep_ms

    def changed(known: Document | None) -> bytes:
        value: WebhookDocument | None = absent if known is None else known.value()
        if value is None:
            raise unknown_document()
        secrets = (secret, *value.secrets[:1])
        return body_of(replace(value, secrets=secrets, retire_at_ms=retire_at_ms))

    document = await documents.change(site, caller(request), Kind.WEBHOOK, name, changed)
    value: WebhookDocument = document.value()
    told = MadeSecret(
        secret=secret if asked.secret is None else None,
        old_signs_until=rfc3339(retire_at_ms) if len(value.secrets) > 1 else None,
    )
    return answer(request, told, headers={**site.committed(), **NO_STORE})


def _secret(given: str | None) -> str:
    if given is None:
        return new_secret()
    try:
        secret_key(given)
    except ValueError as error:
        raise invalid(str(error), "/secret") from None
    return given


# Deliveries -------------------------------------------------------------------------------------


async def deliveries_list(request: web.Request) -> web.Response:
    site, document = site_of(request), known_webhook(request)
    limit = number(request, "limit", 1, limits.LIST_LIMIT_MAX) or limits.LIST_LIMIT_DEFAULT
    status = one(request, "status")
    if status is not None and status not in STATUSES:
        raise malformed(f"status is one of {', '.join(STATUSES)}")
    endpoint = _endpoint(document)
    due_ms, number_after, over_after = _cursor(one(request, "after"))
    found: list[tuple[Delivery, str, str]] = []
    if status in (None, PENDING) and over_after is None:
        after = None
        if due_ms is not None:
            after = Delivery(number_after, endpoint, "", "", 0, due_ms, 0)
        while len(found) < limit:
            page = site.store.outbox_page(endpoint, limit - len(found), after)
            if not page:
                break
            found += [(row, PENDING, f"w{row.due_ms}.{row.number}") for row in page]
            after = page[-1]
    if status != PENDING:
        for place, _, row in site.store.sent(endpoint):
            word = DELIVERED if row.last is not None and not row.last.error else FAILED
            if status in (None, word) and (over_after is None or place < over_after):
                found.append((row, word, f"o{place}"))
    shown = found[:limit]
    views = [_delivery_view(site, row, word) for row, word, _ in shown]
    following = shown[-1][2] if len(found) > limit or _may_be_more(shown, limit) else None
    return answer(request, DeliveriesAnswer(deliveries=views, count=len(views), next=following))


def _may_be_more(shown: list[tuple[Delivery, str, str]], limit: int) -> bool:
    """Whether a page was filled by what waits, so that nobody has looked beyond it."""
    return len(shown) == limit and shown[-1][1] == PENDING


def _cursor(text: str | None) -> tuple[int | None, int, int | None]:
    if text is None:
        return None, 0, None
    found = _CURSOR.fullmatch(text)
    if found is None or (found[2] is not None and int(found[2]) >= 1 << 64):
        raise Problem(ProblemCode.CURSOR_INVALID, "send next of the page before, as it came")
    if found[3] is not None:
        return None, 0, int(found[3])
    return int(found[1]), int(found[2]), None


async def delivery_replay(request: web.Request) -> web.Response:
    site, document = site_of(request), known_webhook(request)
    row, slot = _find(site, _endpoint(document), request.match_info["delivery"])
    _enabled(document)
    if not await site.pump.ask(Replay(row, slot)):
        raise unknown_document()
    told = ReplayAnswer(id=site.node.hooks.message_id(row))
    return answer(request, told, headers=site.committed())


def _find(site: Site, endpoint: bytes, text: str) -> tuple[Delivery, int]:
    """Return a delivery by its id, and where it lies. Of those that wait, the first are looked at:
    the others are tried soon after."""
    wanted = message_number(text)
    if wanted is not None:
        for row, slot in _places(site, endpoint):
            if row.number == wanted and site.node.hooks.message_id(row) == text:
                return row, slot
    raise unknown_document()


def _places(site: Site, endpoint: bytes) -> Iterable[tuple[Delivery, int]]:
    for _, slot, row in site.store.sent(endpoint):
        yield row, slot
    for row in site.store.outbox_page(endpoint, limits.LIST_LIMIT_MAX):
        yield row, WAITS


# What they share --------------------------------------------------------------------------------


def mine(site: Site, who: Caller) -> dict[str, Document]:
    """Return the webhooks that one may see, by id."""
    return {
        name: document
        for name, document in site.store.documents.of(Kind.WEBHOOK).items()
        if endpoint_of(name) is not None and _may_see(who, document.value())
    }


def known_webhook(request: web.Request) -> Document:
    """Return the webhook in the path; another's is none. Raises: Problem."""
    name = path_name(request)
    document = site_of(request).store.documents.get(Kind.WEBHOOK, name)
    if (
        document is None
        or endpoint_of(name) is None
        or not _may_see(caller(request), document.value())
    ):
        raise unknown_document()
    return document


def _may_see(who: Caller, value: WebhookDocument) -> bool:
    return value.tenant == who.tenant and (who.admin or value.user == who.user)


def _endpoint(document: Document) -> bytes:
    endpoint = endpoint_of(document.name)
    assert endpoint is not None, "its name was looked at"
    return endpoint


def _enabled(document: Document) -> Document:
    value: WebhookDocument = document.value()
    if value.disabled:
        raise Problem(
            ProblemCode.WEBHOOK_DISABLED,
            "nothing is sent there; enable it with PUT first",
            extra={"disabled_reason": value.disabled},
        )
    return document


def _with_settings(
    site: Site, who: Caller, value: WebhookDocument, asked: WebhookSettings
) -> WebhookDocument:
    try:
        url = site.node.hooks.check_url(asked.url)
    except ValueError as error:
        raise invalid(str(error), "/url") from None
    try:
        events = check_patterns(asked.events)
    except ValueError as error:
        raise invalid(str(error), "/events") from None
    every_user = value.every_user
    if asked.jobs is not None:
        every_user = asked.jobs == "tenant"
    elif not value.url:
        every_user = who.admin
    if every_user and not (who.admin or value.every_user):
        raise Problem(
            ProblemCode.FORBIDDEN, "only an admin hears of the jobs of others", pointer="/jobs"
        )
    return replace(
        value,
        url=url,
        events=events,
        every_user=every_user,
        description=asked.description,
        disabled="" if asked.enabled else value.disabled or BY_HAND,
    )


def view(site: Site, document: Document) -> WebhookView:
    value: WebhookDocument = document.value()
    status = site.node.hooks.status(document.name)
    last = None
    if status is not None:
        last = Tried(status.last.at_ms, status.last.status, status.last.error, status.last.took_ms)
    return WebhookView(
        id=document.name,
        url=value.url,
        events=list(value.events),
        jobs="tenant" if value.every_user else "own",
        description=value.description,
        enabled=not value.disabled,
        disabled_reason=value.disabled or None,
        tenant_id=value.tenant,
        user=value.user,
        pending=site.node.hooks.pending(_endpoint(document)),
        failures=0 if status is None else status.failures,
        last=_try_view(last),
        version=document.version,
        changed_at=rfc3339(document.changed_at_ms),
        changed_by=document.changed_by,
    )


def _delivery_view(site: Site, row: Delivery, word: str) -> DeliveryView:
    due_in_ms = row.due_ms - site.clock.now_ms()
    return DeliveryView(
        id=site.node.hooks.message_id(row),
        event=row.event,
        job_id=id_text(row.job_id) if row.job_id else None,
        status=word,  # type: ignore[arg-type]
        created_at=rfc3339(row.at_ms),
        tries=row.tries,
        next_try_at=rfc3339(site.clock.wall_ms() + max(0, due_in_ms)) if word == PENDING else None,
        last=_try_view(row.last),
    )


def _try_view(last: Tried | None) -> TryView | None:
    if last is None:
        return None
    return TryView(
        at=rfc3339(last.at_ms),
        status=last.status or None,
        error=last.error or None,
        took_ms=last.took_ms,
    )
