import pytest

from headrace.webhooks.addresses import AddressRules
from headrace.webhooks.urls import UrlRules, check_url, host_of

ADDRESSES = AddressRules()


@pytest.mark.parametrize(
    ("text", "checked"),
    [
        ("https://hooks.example.com/a?b=c@d", "https://hooks.example.com/a?b=c@d"),
        ("HTTPS://Hooks.Example.COM/", "https://hooks.example.com/"),
        ("https://example.com:443/x", "https://example.com/x"),
        ("https://example.com:8443/x", "https://example.com:8443/x"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://a_b.example./", "https://a_b.example./"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ("https://localhost/", "https://localhost/"),  # a name: refused when it is connected to
    ],
)
def test_a_good_url_is_returned_in_one_form(text: str, checked: str) -> None:
    assert check_url(text, UrlRules(), ADDRESSES) == checked
    assert check_url(checked, UrlRules(), ADDRESSES) == checked


@pytest.mark.parametrize(
    "text",
    [
        *("", "https", "https:", "https://", "https:///x", "https:example.com", "//example.com/"),
        *("http://example.com/", "ftp://example.com/", "file:///etc/passwd", "unix://x/"),
        *("https://u@example.com/", "https://u:p@example.com/", "https://@example.com/"),
        *("https://:@example.com/", "https://example.com/#x", "https://example.com/#"),
        *("https://example.com:80/", "https://example.com:22/", "https://example.com:0/"),
        *("https://example.com:99999/", "https://example.com:-1/", "https://example.com:x/"),
        *("https://exa mple.com/", "https://example.com/\n", "https://example.com\\@x/"),
        *("https://bücher.example/", "https://１２７.0.0.1/", "https://1。1.1.1/"),
        *("https://a..b/", "https://.a/", f"https://{'a' * 64}.example/"),
        *(f"https://{'a.' * 127}com/", "https://%31.example/", "https://a%2eb/"),
        "https://example.com/" + "a" * 2_048,
    ],
)
def test_a_bad_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="webhook"):
        check_url(text, UrlRules(), ADDRESSES)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[fe80::1%25lo]"),
        *("2130706433", "127.1", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001"),
        *("127.0.0.1.", "1.2.3.4.5", "1.2.3", "256.1.1.1", "08.8.8.8", "example.0x", "[::g]"),
        *("0.0.0.0", "[::]", "10.0.0.1", "[64:ff9b::7f00:1]"),
    ],
)
def test_an_address_in_whatever_form_is_refused_unless_public(host: str) -> None:
    with pytest.raises(ValueError, match="webhook"):
        check_url(f"https://{host}/", UrlRules(), ADDRESSES)


def test_an_operator_may_allow_http_its_ports_and_loopback() -> None:
    loopback = AddressRules(allow=["127.0.0.0/8"])
    assert check_url("http://example.com/", UrlRules(http=True), ADDRESSES)
    assert check_url("http://example.com:8080/", UrlRules(http=True), ADDRESSES)
    assert check_url("http://127.0.0.1:45123/", UrlRules(http=True, ports=None), loopback)
    with pytest.raises(ValueError, match="port"):
        check_url("https://example.com:8080/", UrlRules(http=True), ADDRESSES)
    with pytest.raises(ValueError, match="port"):
        check_url("https://example.com/", UrlRules(ports=(8443,)), ADDRESSES)


def test_the_refusal_does_not_repeat_the_url() -> None:
    for text in ("https://canary:x@h/", "https://h:canary/", "canary://h/", "https://canary%/"):
        with pytest.raises(ValueError) as refused:
            check_url(text, UrlRules(), ADDRESSES)
        assert "canary" not in str(refused.value)


def test_one_host_is_one_however_it_is_written() -> None:
    assert host_of("https://example.com./a") == host_of("https://example.com:8443/b")
