"""Which addresses this machine alone reaches."""

from __future__ import annotations

import pytest

from img2gps.core.hosts import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]"])
def test_these_are_reached_from_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "[::]", "example.org", ""])  # noqa: S104
def test_others_reach_these(host: str) -> None:
    assert not is_loopback(host)
