import msgspec
import pytest

from headrace.wire.keys import Scope
from headrace.wire.webhook_routes import WEBHOOK_ROUTES, NewWebhook


def test_only_who_administers_a_tenant_makes_its_secret() -> None:
    scopes = {route.name: route.scopes for route in WEBHOOK_ROUTES}
    assert scopes.pop("jobs_secret") == (Scope.ADMIN,)
    assert set(scopes.values()) == {()}


@pytest.mark.parametrize(
    "body", [{}, {"url": ""}, {"url": "x" * 2_049}, {"url": "u", "events": []}]
)
def test_a_webhook_has_a_url_and_asks_for_something(body: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, NewWebhook)


def test_a_webhook_asks_for_everything_unless_told_otherwise() -> None:
    assert msgspec.convert({"url": "u"}, NewWebhook).events == ["*"]
