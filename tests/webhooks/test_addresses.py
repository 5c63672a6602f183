import socket

import pytest

from headrace.webhooks.addresses import AddressRefused, AddressRules

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8"]
DENIED = [
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.0.9"),
    *("192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "168.63.129.16"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.31.196.1"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1"),
    *("2002:7f00:1::", "2002:808:808::1", "2001::1", "2001:db8::1", "2001:10::1"),
    *("fe80::1", "fe80::1%lo", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "ff0e::1"),
    *("100::1", "3fff::1", "5f00::1", "4000::1", "2620:4f:8000::1"),
    *("", "localhost", "127.1", "2130706433", "0x7f.1", "1.2.3.4.5", "8.8.8.8 "),
]


@pytest.mark.parametrize("host", PUBLIC)
def test_public_addresses_may_be_reached(host: str) -> None:
    assert AddressRules().refusal(host, 443) == ""


@pytest.mark.parametrize("host", DENIED)
def test_all_else_may_not(host: str) -> None:
    assert AddressRules().refusal(host, 443)


def test_an_operator_allows_networks_by_their_plain_addresses() -> None:
    rules = AddressRules(allow=["127.0.0.0/8", "fd00::/8"])
    assert not rules.refusal("127.0.0.1", 443)
    assert not rules.refusal("::ffff:127.0.0.1", 443)
    assert not rules.refusal("fd00::1", 443)
    assert rules.refusal("10.0.0.1", 443)
    assert rules.refusal("::127.0.0.1", 443), "only the mapped form is the same address"


@pytest.mark.parametrize("allow", ["127.0.0.1/8", "localhost", "10.0.0.0/33", ""])
def test_an_allow_list_that_cannot_be_read_is_refused(allow: str) -> None:
    with pytest.raises(ValueError):
        AddressRules(allow=[allow])


def test_the_servers_own_listeners_are_never_reached_even_where_allowed() -> None:
    rules = AddressRules(allow=["127.0.0.0/8", "::1/128"], own=[("127.0.0.1", 8080)])
    assert rules.refusal("127.0.0.1", 8080)
    assert rules.refusal("::ffff:127.0.0.1", 8080)
    assert not rules.refusal("127.0.0.1", 8081)
    assert not rules.refusal("127.0.0.2", 8080)


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_who_listens_everywhere_listens_on_every_address_of_the_machine(everywhere: str) -> None:
    rules = AddressRules(allow=["127.0.0.0/8", "::1/128"], own=[(everywhere, 8080)])
    assert rules.refusal("127.0.0.2", 8080)
    assert rules.refusal("::1", 8080)
    assert not rules.refusal("127.0.0.1", 8081)
    assert not rules.refusal("8.8.8.8", 8080)


def test_a_socket_is_made_only_for_an_address_that_is_allowed() -> None:
    rules = AddressRules()
    kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    with pytest.raises(AddressRefused):
        rules.socket_for((socket.AF_INET, *kind, ("127.0.0.1", 443)))
    with pytest.raises(AddressRefused):
        rules.socket_for((socket.AF_INET6, *kind, ("::1", 443, 0, 0)))
    with rules.socket_for((socket.AF_INET, *kind, ("8.8.8.8", 443))) as made:
        assert made.family == socket.AF_INET  # never connected
