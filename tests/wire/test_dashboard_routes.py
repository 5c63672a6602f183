import msgspec
import pytest

from headrace.wire.dashboard_routes import DASHBOARD_ROUTES, SessionAnswer, SignIn


def test_nobody_needs_a_key_to_sign_in_or_to_see_the_page() -> None:
    assert all(route.public for route in DASHBOARD_ROUTES)


@pytest.mark.parametrize("body", [b"{}", b'{"key": ""}', b'{"key": 1}', b'{"key": "k", "x": 1}'])
def test_who_signs_in_says_a_key_and_nothing_else(body: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=SignIn)


def test_who_is_not_signed_in_is_nobody() -> None:
    told = msgspec.json.decode(msgspec.json.encode(SessionAnswer(signed_in=False, open=False)))
    assert [told[name] for name in ("tenant_id", "user", "scopes", "csrf_token")] == [
        None,
        None,
        [],
        None,
    ]
