"""Which addresses are on the public internet.

A client of a shared backend names URLs that the backend fetches. Without a check it could read what only the
backend's machine reaches: its loopback, its network, a cloud's metadata service.
"""

from __future__ import annotations

import ipaddress
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What to do about a URL that leads to an address that is not public.
WAYS_OUT = (
    "upload the rows with arkor.LocalDataset, or ask the operator of this backend to start it with --allow-private-urls"
)

# Not for the public, though not every Python that arkor supports says so.
_MORE = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's services for its virtual machines
            "192.0.0.0/24",  # for protocols; one of Oracle's metadata services is among them
            "192.88.99.0/24",  # the nearest 6to4 router
            "2001::/23",  # for protocols
            "3fff::/20",  # documentation
            "fec0::/10",  # site-local, the former private addresses
        ),
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Say whether an address is one of the public internet.

    Private, loopback, link-local, multicast, reserved and unspecified addresses are not. An IPv6 address that stands
    for an IPv4 address (IPv4-mapped, NAT64, 6to4) counts as that one.

    Args:
        address: an IPv4 or IPv6 address.
    """
    inner = _inner(address)
    if inner is not None:
        return is_public(inner)
    listed = any(address in network for network in _MORE)
    return address.is_global and not (address.is_multicast or address.is_reserved or listed)


def resolve(host: str, port: int) -> list[Address]:
    """Look up all addresses of a host.

    Args:
        host: a name, or an address in any form that the system takes: ``127.0.0.1``, ``0x7f.1``, ``::1``.
        port: the TCP port.

    Raises:
        socket.gaierror: there is no such host.
    """
    return _look_up(host, port, 0)


def literal_address(host: str) -> Address | None:
    """Return the address that a host is written as; None for a name. Nothing is sent.

    Args:
        host: the host of a URL, without brackets.
    """
    try:
        return _look_up(host, 0, socket.AI_NUMERICHOST)[0]
    except socket.gaierror:
        return None


def _look_up(host: str, port: int, flags: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as exc:  # a part of the name is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from exc
    return [ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in found]


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, or None."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour
