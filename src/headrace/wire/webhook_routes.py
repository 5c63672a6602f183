"""The routes of webhooks and their deliveries, and the shapes of what they take and answer."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from headrace.wire import limits
from headrace.wire.document_routes import CHANGES, CONDITIONS, PAGE, Removed
from headrace.wire.documents import Description
from headrace.wire.keys import Scope
from headrace.wire.problems import ProblemCode as P
from headrace.wire.route import COMMITS, WHO, Param, Route
from headrace.wire.schema import Duration, Request

Events = Annotated[
    list[Annotated[str, Meta(max_length=limits.EVENT_CHARS_MAX + 2)]],
    Meta(min_length=1, max_length=limits.EVENT_PATTERNS_MAX),
]
Url = Annotated[str, Meta(min_length=1, max_length=limits.WEBHOOK_URL_CHARS_MAX)]
Secret = Annotated[str, Meta(min_length=1, max_length=limits.WEBHOOK_SECRET_CHARS_MAX)]
Whose = Literal["own", "tenant"]


class WebhookSettings(Request, kw_only=True):
    """A webhook, all of it but its secret."""

    url: Url
    events: Events = msgspec.field(default_factory=lambda: ["*"])
    """Names such as `job.failed`, `job.*` for all that begin so, or `*`."""
    jobs: Whose | None = None
    """Of whose jobs; null: as an admin those of the tenant, else one's own."""
    description: Description = ""
    enabled: bool = True


class NewWebhook(WebhookSettings, kw_only=True):
    secret: Secret | None = None
    """`whsec_` and base64 of 24 to 64 bytes, or a phrase; null: one is made, and shown once."""


class NewSecret(Request, kw_only=True):
    secret: Secret | None = None
    """As of a new webhook."""
    keep_old: Duration | None = None
    """How long the secret before signs too; null: 24 h."""


class TryView(msgspec.Struct, kw_only=True):
    at: str | None
    status: int | None
    """Of the receiver's answer; null: none came."""
    error: str | None
    """null: the receiver has it."""
    took_ms: int


class WebhookView(msgspec.Struct, kw_only=True):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    jobs: Whose
    description: str
    enabled: bool
    disabled_reason: str | None
    tenant_id: str
    user: str
    pending: int
    """Deliveries that wait."""
    failures: int
    """Of the latest tries, in a row, since the server was started."""
    last: TryView | None
    """The latest try since the server was started."""
    version: int
    """Also its ETag."""
    changed_at: str | None
    changed_by: str


class MadeWebhook(msgspec.Struct, kw_only=True):
    """A new webhook."""

    id: str
    secret: str | None
    """It cannot be shown again; null: it came with the request."""
    webhook: WebhookView


class WebhooksAnswer(msgspec.Struct, kw_only=True):
    webhooks: list[WebhookView]
    count: int
    next: str | None = None
    """For after; null at the end."""


class MadeSecret(msgspec.Struct, kw_only=True):
    secret: str | None
    """It cannot be shown again; null: it came with the request."""
    old_signs_until: str | None
    """null: there was none."""


class DeliveryView(msgspec.Struct, kw_only=True):
    """An event for a webhook."""

    id: str
    """Its `webhook-id`: the same for each try."""
    event: str
    job_id: str | None
    status: Literal["pending", "delivered", "failed"]
    created_at: str | None
    tries: int
    next_try_at: str | None
    """About when; null once it is over."""
    last: TryView | None


class DeliveriesAnswer(msgspec.Struct, kw_only=True):
    deliveries: list[DeliveryView]
    """Those that wait, by when they are tried; then those that are over, the newest first."""
    count: int
    next: str | None = None
    """For after; null at the end."""


class ReplayAnswer(msgspec.Struct, kw_only=True):
    id: str
    status: Literal["pending"] = "pending"


class PingAnswer(msgspec.Struct, kw_only=True):
    event: str
    status: Literal["pending"] = "pending"


_WEBHOOKS: Final = "/api/v1/webhooks"
_ONE: Final = f"{_WEBHOOKS}/{{name}}"
_OF_ONE: Final = (P.DOCUMENT_UNKNOWN,)


def _route(name: str, method: Any, path: str, summary: str, **more: Any) -> Route:
    return Route(name=name, method=method, path=path, summary=summary, tag="webhooks", **more)


WEBHOOK_ROUTES: Final[tuple[Route, ...]] = (
    _route(
        "webhooks_list",
        "GET",
        _WEBHOOKS,
        "Webhooks: one's own, or as an admin those of the tenant",
        params=(*WHO, *PAGE),
        answer=WebhooksAnswer,
    ),
    _route(
        "webhook_create",
        "POST",
        _WEBHOOKS,
        "Register a webhook: events are sent there, signed as Standard Webhooks says",
        params=WHO,
        body=NewWebhook,
        answer=MadeWebhook,
        problems=(P.FORBIDDEN, P.DOCUMENTS_TOO_MANY, *CHANGES),
    ),
    _route(
        "webhook_get",
        "GET",
        _ONE,
        "A webhook, and how it does",
        params=WHO,
        answer=WebhookView,
        problems=_OF_ONE,
    ),
    _route(
        "webhook_put",
        "PUT",
        _ONE,
        "Replace all of a webhook but its secret; enable it again",
        params=(*WHO, CONDITIONS[0]),
        body=WebhookSettings,
        answer=WebhookView,
        problems=(P.FORBIDDEN, *_OF_ONE, *CHANGES),
    ),
    _route(
        "webhook_delete",
        "DELETE",
        _ONE,
        "Remove a webhook; what waits for it is not sent",
        params=(*WHO, CONDITIONS[0]),
        answer=Removed,
        problems=(*_OF_ONE, *CHANGES),
    ),
    _route(
        "webhook_test",
        "POST",
        f"{_ONE}/test",
        "Send a webhook.ping, whatever events it asks for",
        params=WHO,
        answer=PingAnswer,
        problems=(*_OF_ONE, P.WEBHOOK_DISABLED, *COMMITS),
    ),
    _route(
        "webhook_rotate",
        "POST",
        f"{_ONE}/rotate-secret",
        "Give a webhook a new secret, shown this once; the one before signs too for a while",
        params=WHO,
        body=NewSecret,
        answer=MadeSecret,
        problems=(*_OF_ONE, *CHANGES),
    ),
    _route(
        "deliveries_list",
        "GET",
        f"{_ONE}/deliveries",
        "What waits for a webhook, and the latest of what is over",
        params=(
            *WHO,
            Param("status", "pending, delivered or failed"),
            PAGE[0],
            Param("after", "next of the page before"),
        ),
        answer=DeliveriesAnswer,
        problems=(*_OF_ONE, P.CURSOR_INVALID),
    ),
    _route(
        "delivery_replay",
        "POST",
        f"{_ONE}/deliveries/{{delivery}}/replay",
        "Send a delivery again, now, under the same webhook-id",
        params=WHO,
        answer=ReplayAnswer,
        problems=(*_OF_ONE, P.WEBHOOK_DISABLED, P.RECORD_CORRUPT, *COMMITS),
    ),
    _route(
        "jobs_secret",
        "POST",
        "/api/v1/webhook-secret",
        "Make the secret that signs what goes to URLs that jobs of the tenant name",
        params=WHO,
        body=NewSecret,
        answer=MadeSecret,
        scopes=(Scope.ADMIN,),
        problems=CHANGES,
    ),
)
