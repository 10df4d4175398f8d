"""The PROXY protocol: frozen bytes, round trips, and nothing but its own error on any input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.config import HostPort
from services.proxy_protocol import ProxyHeader, ProxyHeaderError, encode, parse

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")
V4 = (HostPort("192.0.2.7", 51234), HostPort("198.51.100.1", 443))
V6 = (HostPort("2001:db8::7", 51234), HostPort("2001:db8::1", 443))

FROZEN = {
    ("v1", V4): b"PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n",
    ("v1", V6): b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n",
    ("v2", V4): SIGNATURE + bytes.fromhex("2111000cc0000207c6336401c82201bb"),
    ("v2", V6): SIGNATURE
    + bytes.fromhex("21210024")
    + bytes.fromhex("20010db8000000000000000000000007")
    + bytes.fromhex("20010db8000000000000000000000001")
    + bytes.fromhex("c82201bb"),
}


@pytest.mark.parametrize(("how", "raw"), FROZEN.items(), ids=str)
def test_the_bytes_of_both_versions_are_frozen(how, raw):
    version, (source, destination) = how
    assert encode(version, source, destination) == raw
    assert parse(raw + b"GET /") == (ProxyHeader(source, destination), len(raw))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_header_about_nobody_names_nobody(version):
    raw = encode(version, None, V4[1])
    assert parse(raw) == (ProxyHeader(), len(raw))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_ipv4_client_of_an_ipv6_backend_is_mapped(version):
    parsed = parse(encode(version, V4[0], V6[1]))
    assert parsed is not None
    source = parsed[0].source
    assert source is not None
    assert source.host in ("::ffff:c000:207", "::ffff:192.0.2.7")


@pytest.mark.parametrize(
    ("raw", "rest"),
    [
        pytest.param(b"PROXY UNKNOWN\r\n", b"x", id="v1-unknown"),
        pytest.param(b"PROXY UNKNOWN ffff:f::1 ffff:f::2 1 2\r\n", b"", id="v1-unknown-with-more"),
        pytest.param(SIGNATURE + b"\x20\x00\x00\x00", b"x", id="v2-local"),
        pytest.param(
            SIGNATURE + b"\x20\x11\x00\x0c" + bytes(12), b"x", id="v2-local-with-address"
        ),
        pytest.param(SIGNATURE + b"\x21\x00\x00\x00", b"x", id="v2-unspec"),
        pytest.param(SIGNATURE + b"\x21\x00\x00\x05abcde", b"x", id="v2-unspec-with-tlvs"),
        pytest.param(SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), b"x", id="v2-unix"),
        pytest.param(SIGNATURE + b"\x21\x12\x00\x0c" + bytes(12), b"x", id="v2-udp"),
    ],
)
def test_what_has_no_tcp_address_is_legal_and_names_nobody(raw, rest):
    assert parse(raw + rest) == (ProxyHeader(), len(raw))


def test_tlvs_behind_the_addresses_are_skipped():
    tlvs = b"\x02\x00\x07example" + b"\x04\x00\x01\x00"
    raw = SIGNATURE + b"\x21\x11" + (12 + len(tlvs)).to_bytes(2, "big")
    raw += bytes.fromhex("c0000207c6336401c82201bb") + tlvs
    assert parse(raw + b"payload") == (ProxyHeader(*V4), len(raw))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="no-header"),
        pytest.param(b"\x16\x03\x01", id="tls"),
        pytest.param(b"PROXX", id="almost-v1"),
        pytest.param(b"\r\n\r\n\x01", id="almost-v2"),
        pytest.param(b"PROXY \r\n", id="v1-empty"),
        pytest.param(b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n", id="v1-udp"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", id="v1-one-port"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", id="v1-three-ports"),
        pytest.param(b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n", id="v1-two-spaces"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3 1 2\r\n", id="v1-short-address"),
        pytest.param(b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", id="v1-leading-zero-in-address"),
        pytest.param(b"PROXY TCP4 ::1 ::1 1 2\r\n", id="v1-wrong-family"),
        pytest.param(b"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", id="v1-zone"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n", id="v1-port-too-large"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", id="v1-leading-zero-in-port"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n", id="v1-negative-port"),
        pytest.param("PROXY TCP4 1.2.3.4 1.2.3.4 ² 2\r\n".encode("latin-1"), id="v1-odd-digit"),
        pytest.param(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n" + b" " * 107, id="v1-no-crlf"),
        pytest.param(b"PROXY UNKNOWN " + b"x" * 100, id="v1-too-long"),
        pytest.param(SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12), id="v2-version-1"),
        pytest.param(SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12), id="v2-unknown-command"),
        pytest.param(SIGNATURE + b"\x21\x41\x00\x0c" + bytes(12), id="v2-unknown-family"),
        pytest.param(SIGNATURE + b"\x21\x13\x00\x0c" + bytes(12), id="v2-unknown-transport"),
        pytest.param(SIGNATURE + b"\x21\x11\x00\x0b" + bytes(11), id="v2-address-cut"),
        pytest.param(SIGNATURE + b"\x21\x21\x00\x0c" + bytes(12), id="v2-ipv6-cut"),
        pytest.param(SIGNATURE + b"\x21\x11\x3f\xf1", id="v2-above-16-kib"),
    ],
)
def test_a_malformed_header_is_refused(raw):
    with pytest.raises(ProxyHeaderError) as caught:
        parse(raw)
    assert caught.value.code is Code.BAD_PROXY_HEADER


@pytest.mark.parametrize("raw", FROZEN.values())
def test_a_header_that_is_cut_anywhere_asks_for_more(raw):
    assert [parse(raw[:length]) for length in range(len(raw))] == [None] * len(raw)


ADDRESSES = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)
PORTS = st.integers(0, 65535)


@given(st.sampled_from(["v1", "v2"]), ADDRESSES, PORTS, PORTS, st.binary(max_size=40))
def test_what_is_written_is_read_back(version, addresses, source_port, destination_port, rest):
    source = HostPort(str(addresses[0]), source_port)
    destination = HostPort(str(addresses[1]), destination_port)
    raw = encode(version, source, destination)
    assert parse(raw + rest) == (ProxyHeader(source, destination), len(raw))


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=120).map(lambda tail: b"PROXY " + tail),
        st.text("TCP46UNKOW 0123456789.:abf%\r\n-+_", max_size=100).map(
            lambda tail: b"PROXY TCP" + tail.encode()
        ),
        st.binary(max_size=300).map(lambda tail: SIGNATURE + tail),
        st.binary(max_size=300).map(lambda tail: SIGNATURE + b"\x21" + tail),
    )
)
def test_no_bytes_raise_anything_but_the_header_error(raw):
    try:
        parsed = parse(raw)
    except ProxyHeaderError:
        return
    assert parsed is None or 0 < parsed[1] <= len(raw)
