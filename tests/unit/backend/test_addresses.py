"""Which addresses are on the public internet."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from arkor.backend.addresses import is_public, literal_address, resolve


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",  # NAT64, as a network without IPv4 reaches every IPv4 host
        "2002:808:808::1",
    ],
)
def test_a_public_address_is_public_in_every_form(address: str) -> None:
    """IPv4, IPv6, and IPv4 within IPv6."""
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "::1", "0.0.0.0", "::", "255.255.255.255"),
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fc00::1", "fec0::1"),
        *("169.254.169.254", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "100.100.100.200", "192.0.0.192"),
        "168.63.129.16",
        *("224.0.0.1", "239.1.1.1", "ff02::1", "ff0e::1"),
        *(
            "240.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "192.88.99.1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
        ),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::ffff:0:127.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1"),
    ],
)
def test_an_address_of_a_network_or_a_machine_is_not_public(address: str) -> None:
    """Loopback, private, link-local, metadata services, multicast, reserved, and all of them within IPv6."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("host", "address"),
    [
        *(("127.0.0.1", "127.0.0.1"), ("127.1", "127.0.0.1"), ("2130706433", "127.0.0.1"), ("0x7f.0.0.1", "127.0.0.1")),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        *(("localhost", None), ("example.com", None), ("a..b", None), ("a" * 70, None)),
    ],
)
def test_an_address_is_read_in_every_form_and_a_name_is_not_looked_up(host: str, address: str | None) -> None:
    """As the system reads it when it connects."""
    assert literal_address(host) == (None if address is None else ipaddress.ip_address(address))


def test_a_part_of_a_name_that_is_too_long_is_a_host_that_does_not_exist() -> None:
    """The library has an error of its own for it."""
    with pytest.raises(socket.gaierror):
        resolve("a" * 70, 80)
