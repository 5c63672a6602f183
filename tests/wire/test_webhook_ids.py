import pytest

from headrace.wire.webhook_ids import (
    endpoint_of,
    jobs_secret_name,
    message_id,
    message_number,
    webhook_name,
)


def test_an_endpoint_is_known_by_the_id_of_its_webhook() -> None:
    assert endpoint_of(webhook_name(bytes(range(16)))) == bytes(range(16))


@pytest.mark.parametrize(
    "name", ["", "wh_", "wh_1", "wh_" + "A" * 32, "wh_" + "g" * 32, "0" * 32, "wh_" + "0 " * 16]
)
def test_what_is_no_id_has_no_endpoint(name: str) -> None:
    assert endpoint_of(name) is None


def test_tenants_have_names_of_bounded_length_for_their_secrets() -> None:
    names = {jobs_secret_name(tenant) for tenant in ("a", "b", "é" * 200)}
    assert len(names) == 3
    assert all(len(name) < 64 and endpoint_of(name) is None for name in names)


def test_servers_give_different_ids_to_equal_numbers() -> None:
    one, other = message_id(5, b"k1"), message_id(5, b"k2")
    assert one != other
    assert message_number(one) == message_number(other) == 5
    assert "." not in one


@pytest.mark.parametrize("text", ["", "msg_", "msg_x" + "0" * 27, "0" * 28, "msg_" + "0" * 27])
def test_what_is_no_id_has_no_number(text: str) -> None:
    assert message_number(text) is None
