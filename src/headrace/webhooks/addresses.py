"""Which addresses a webhook may reach: asked for each socket, right before it connects.

A check of names alone is passed by a name whose answer changes; a check in the resolver is passed
by addresses written as such, for which no resolver is asked. So the check is where sockets are
made, on the address that is connected to.
"""

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_GLOBAL_V6: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out for the world; the rest is special or unassigned."""
DENIED: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' own
        "168.63.129.16/32",  # a cloud's host agent, at a global address
        "192.0.0.0/24",  # protocol assignments, one cloud's metadata among them
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # multicast relays
        "192.88.99.0/24",  # 6to4 relays
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "::/96",  # IPv4 inside, in a form long given up
        "64:ff9b::/96",  # IPv4 inside, through a NAT64
        "64:ff9b:1::/48",  # the same, local
        "2001::/23",  # protocol assignments; Teredo has IPv4 inside
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: IPv4 inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
        "fec0::/10",  # site-local, of old
        "ff00::/8",  # multicast
    )
)
"""Beyond what `is_global` denies, which is too little and differs between versions of Python."""


class AddressRefused(PermissionError):  # noqa: N818  a statement, as problems are
    """The rules forbid to connect to this address."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, reason)


class AddressRules:
    """What may be connected to."""

    def __init__(
        self,
        allow: Iterable[str] = (),
        own: Iterable[tuple[str, int]] = (),
    ) -> None:
        """Take an operator's exceptions as CIDRs, and the addresses that this server listens on.

        Raises: ValueError when one of them cannot be read.
        """
        self._allow = tuple(ip_network(text) for text in allow)
        self._own = [(unwrapped(ip_address(host)), port) for host, port in own]

    def listens(self, host: str, port: int) -> None:
        """Note an address that this server listens on."""
        for text in ("127.0.0.1", "::1") if host == "localhost" else (host.strip("[]"),):
            try:
                self._own.append((unwrapped(ip_address(text)), port))
            except ValueError:
                continue  # a name; who listens by one is found by what it stands for

    def refusal(self, host: str, port: int) -> str:
        """Return why an address may not be connected to; empty when it may."""
        try:
            address = unwrapped(ip_address(host))
        except ValueError:
            return "this is not an address"
        if self._is_own(address, port):
            return "the server itself listens there"
        if any(address in network for network in self._allow):
            return ""
        if not address.is_global or address.is_multicast or address.is_unspecified:
            return "the address is not a public one"
        if any(address in network for network in DENIED):
            return "the address is of a range that is not allowed"
        if address.version == 6 and address not in _GLOBAL_V6:
            return "the address is not a public one"
        return ""

    def socket_for(self, info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """Make the socket for an address; aiohttp's `socket_factory`.

        Raises: AddressRefused
        """
        family, kind, protocol, _name, where = info
        reason = self.refusal(where[0], where[1])
        if reason:
            raise AddressRefused(reason)
        return socket.socket(family, kind, protocol)

    def _is_own(self, address: Address, port: int) -> bool:
        return any(
            port == own_port and (address == own or (own.is_unspecified and _is_local(address)))
            for own, own_port in self._own
        )


def unwrapped(address: Address) -> Address:
    """Return the IPv4 address in a mapped one (`::ffff:1.2.3.4`), which is what is connected to."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_local(address: Address) -> bool:
    """Tell whether an address is this machine's.

    Asked each time, only for a port that the server listens on everywhere: addresses come and go.
    """
    import psutil  # 30 ms that a start need not wait for

    if address.is_loopback or address.is_unspecified:
        return True
    return any(
        unwrapped(ip_address(entry.address)) == address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    )
