"""Addresses to listen on: reached from this machine alone, or by others."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("[::1]")
    (True, True, True)
    >>> is_loopback("10.0.0.1"), is_loopback("0.0.0.0")
    (False, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
