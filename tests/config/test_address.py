"""Addresses as they are written and read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.config import HostPort


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("[::1]:0", "::1", 0),
        ("[2001:DB8:0::1]:65535", "2001:db8::1", 65535),
        ("localhost:1", "localhost", 1),
        ("a_b.example-1.net:4433", "a_b.example-1.net", 4433),
    ],
)
def test_an_address_reads_as_host_and_port(text, host, port):
    assert HostPort.parse(text) == HostPort(host, port)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no port"),
        ("localhost", "has no port"),
        (":80", "has no host"),
        ("localhost:", "not a number from 0 to 65535"),
        ("localhost:65536", "not a number from 0 to 65535"),
        ("localhost:-1", "not a number from 0 to 65535"),
        ("localhost:+1", "not a number from 0 to 65535"),
        ("localhost:0x50", "not a number from 0 to 65535"),
        ("localhost:٣", "not a number from 0 to 65535"),
        ("localhost:000000080", "not a number from 0 to 65535"),
        ("::1:80", "needs brackets"),
        ("[::1:80", "needs brackets"),
        ("[127.0.0.1]:80", "no IPv6 address"),
        ("[]:80", "does not appear to be"),
        ("127.1:80", "does not appear to be"),
        ("1.2.3.999:80", "does not appear to be"),
        ("-a:80", "neither a name nor an address"),
        ("a..b:80", "neither a name nor an address"),
        ("a b:80", "neither a name nor an address"),
        ("a\n:80", "neither a name nor an address"),
        ("x" * 64 + ":80", "neither a name nor an address"),
        (".".join(["abc"] * 64) + ":80", "neither a name nor an address"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text, why):
    with pytest.raises(ValueError, match=why):
        HostPort.parse(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_what_is_printed_reads_as_itself(address, port):
    place = HostPort(str(address), port)
    assert HostPort.parse(str(place)) == place
    assert place.is_address


@given(st.text())
def test_any_other_text_is_refused_as_a_value(text):
    try:
        place = HostPort.parse(text)
    except ValueError:
        return
    assert HostPort.parse(str(place)) == place


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "0.0.0.0:80", False),
        ("[::]:80", "127.0.0.1:80", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_two_addresses_overlap_when_both_cannot_be_bound(one, other, overlap):
    first, second = HostPort.parse(one), HostPort.parse(other)
    assert first.overlaps(second) == second.overlaps(first) == overlap


@pytest.mark.parametrize(
    ("text", "is_wildcard"),
    [
        ("0.0.0.0:80", True),
        ("[::]:80", True),
        ("[0:0::0]:80", True),
        ("127.0.0.1:80", False),
        ("[::1]:80", False),
        ("localhost:80", False),
    ],
)
def test_a_wildcard_is_every_address_and_no_place(text, is_wildcard):
    assert HostPort.parse(text).is_wildcard == is_wildcard
