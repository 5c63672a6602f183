"""Which URLs may be registered: a check of the text alone. Where it leads is checked at connect."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NoReturn

import msgspec
from yarl import URL

from headrace.webhooks.addresses import AddressRules
from headrace.wire.limits import WEBHOOK_URL_CHARS_MAX

_VISIBLE: Final = re.compile(r"[!-\[\]-~]+")
"""ASCII without spaces, controls and the backslash, on which parsers disagree."""
_AUTHORITY: Final = re.compile(r"[A-Za-z]+://[^/?]*")
_HOST: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9-]{1,63}\.?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_CHARS_MAX: Final = 253


class UrlRules(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator allows."""

    http: bool = False
    """Without TLS too; for intranets."""
    ports: Sequence[int] | None = (443, 8443)
    """None: any. With `http`, 80 and 8080 as well, unless named otherwise."""

    def port_allowed(self, scheme: str, port: int) -> bool:
        if self.ports is None:
            return port > 0
        return port in self.ports or (scheme == "http" and port in _HTTP_PORTS)


_HTTP_PORTS: Final = (80, 8080)


def check_url(text: str, rules: UrlRules, addresses: AddressRules) -> str:
    """Return a webhook's URL in the form that is sent to.

    No name is looked up: an answer of today says nothing about tomorrow.

    Raises: ValueError with a sentence that says what is accepted, and does not repeat the URL.
    """
    if len(text) > WEBHOOK_URL_CHARS_MAX:
        raise ValueError(f"a webhook's URL has at most {WEBHOOK_URL_CHARS_MAX} characters")
    if _VISIBLE.fullmatch(text) is None:
        raise ValueError("a webhook's URL is made of visible ASCII characters without backslash")
    if "#" in text:
        raise ValueError("a webhook's URL has no fragment")
    try:
        url = URL(text)
        port = url.port
    except ValueError:  # its text repeats parts of the URL
        raise ValueError("a webhook's URL cannot be parsed") from None
    schemes = ("https", "http") if rules.http else ("https",)
    if url.scheme not in schemes:
        raise ValueError(f"a webhook's URL begins with {' or '.join(f'{s}://' for s in schemes)}")
    authority = _AUTHORITY.match(text)
    if authority is None:
        raise ValueError("a webhook's URL has two slashes before its host")
    if "@" in authority[0]:
        raise ValueError("a webhook's URL has no user or password in it")
    host = url.raw_host or ""
    address = _check_host(host)
    if port is None or not rules.port_allowed(url.scheme, port):
        raise ValueError("this port is not allowed for webhooks")
    if address is not None and addresses.refusal(str(address), port):
        raise ValueError("this address is not allowed for webhooks")
    return str(url)


def host_of(url: str) -> str:
    """Return the host of a checked URL, for counting what goes there."""
    return (URL(url).raw_host or "").rstrip(".")


def _check_host(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a host is, None for a name.

    `2130706433`, `127.1` and `0x7f.1` are addresses to some libraries and names to others; a host
    whose last segment is a number must be an address in its one plain form.
    """
    if ":" in host:
        try:
            return ip_address(host) if "%" not in host else _refuse_host()
        except ValueError:
            _refuse_host()
    if len(host) > _HOST_CHARS_MAX or _HOST.fullmatch(host) is None:
        _refuse_host()
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) is None:
        return None
    try:
        return IPv4Address(host)
    except ValueError:
        _refuse_host()


def _refuse_host() -> NoReturn:
    raise ValueError("a webhook's host is a name, an IPv4 address as 1.2.3.4, or an IPv6 address")
