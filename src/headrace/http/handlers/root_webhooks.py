"""Webhooks on the root surface: other shapes over those of `/api/v1`."""

from aiohttp import web

from headrace.http.encode import answer
from headrace.http.handlers import webhooks
from headrace.http.identity import caller
from headrace.http.site import site_of
from headrace.wire.root import (
    RootMadeWebhook,
    RootWebhook,
    RootWebhookAnswer,
    RootWebhookRemoved,
    RootWebhooks,
)
from headrace.wire.webhook_routes import WebhookView


async def root_webhooks(request: web.Request) -> web.Response:
    site = site_of(request)
    known = webhooks.mine(site, caller(request))
    found = [_shown(webhooks.view(site, known[name])) for name in sorted(known)]
    return answer(request, RootWebhooks(success=True, webhooks=found, count=len(found)))


async def root_webhook_create(request: web.Request) -> web.Response:
    made = await webhooks.make(request)
    told = RootMadeWebhook(
        success=True, webhook_id=made.id, secret=made.secret, webhook=_shown(made.webhook)
    )
    headers = {**site_of(request).committed(), **webhooks.NO_STORE}
    return answer(request, told, status=201, headers=headers)


async def root_webhook(request: web.Request) -> web.Response:
    found = webhooks.view(site_of(request), webhooks.known_webhook(request))
    return answer(request, RootWebhookAnswer(success=True, webhook=_shown(found)))


async def root_webhook_delete(request: web.Request) -> web.Response:
    name = await webhooks.remove(request)
    told = RootWebhookRemoved(success=True, message="Webhook removed", webhook_id=name)
    return answer(request, told, headers=site_of(request).committed())


def _shown(view: WebhookView) -> RootWebhook:
    return RootWebhook(
        id=view.id,
        url=view.url,
        events=view.events,
        enabled=view.enabled,
        disabled_reason=view.disabled_reason,
        pending=view.pending,
    )
