"""The PROXY protocol, versions 1 and 2, as pure functions: bytes <-> who the client really is.

Theory of operation. A load balancer in front of an edge puts one header before the client's own
bytes; its format is told by the first bytes alone, and a receiver that expects it never guesses.
:func:`parse` is called again with everything received so far until it returns the header and
its length; what follows belongs to the client. The reference is HAProxy's proxy-protocol.txt,
of which only TCP is spoken here: a header about anything else is legal and names nobody.
"""

from __future__ import annotations

import ipaddress
import struct

from attrs import frozen

from fabric.codes import Code
from fabric.config import HostPort
from fabric.errors import RemoteProtocolError

LONGEST_V1_BYTES = 107
"""Set by the specification: two IPv6 addresses, two ports and the CRLF."""

LONGEST_V2_BYTES = 16 * 1024
"""The length field reaches 64 KiB; TLVs in use (ALPN, SNI, TLS facts) stay far below this."""

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD = struct.Struct("!12sBBH")
_V2_ADDRESSES = {0x1: struct.Struct("!4s4sHH"), 0x2: struct.Struct("!16s16sHH")}
_V2_LOCAL, _V2_PROXY = 0x20, 0x21
_FAMILIES = {"TCP4": 4, "TCP6": 6}
_STREAM = 0x1
_HIGHEST_FAMILY, _HIGHEST_TRANSPORT = 0x3, 0x2


class ProxyHeaderError(RemoteProtocolError):
    """What came first on a connection is no PROXY header; the connection is of no use."""

    def __init__(self, detail: str) -> None:
        super().__init__(Code.BAD_PROXY_HEADER, detail)


@frozen
class ProxyHeader:
    """Who connected to whom in front of the load balancer.

    Both are None when the header says that there is nobody to name: a health check of the
    balancer itself, or a transport that has no IP addresses.
    """

    source: HostPort | None = None
    destination: HostPort | None = None


def parse(received: bytes) -> tuple[ProxyHeader, int] | None:
    """Read the header at the start of *received*: it and its length, or None when more is needed.

    Raises :exc:`ProxyHeaderError` as soon as no continuation could make it a header, and
    nothing else whatever the bytes.
    """
    if received[:6] == _V1_START[: len(received)]:
        return _parse_v1(received)
    if received[:12] == _V2_START[: len(received)]:
        return _parse_v2(received)
    raise ProxyHeaderError("neither version's first bytes")


def _parse_v1(received: bytes) -> tuple[ProxyHeader, int] | None:
    line, end, _ = received[:LONGEST_V1_BYTES].partition(b"\r\n")
    if not end:
        if len(received) >= LONGEST_V1_BYTES:
            raise ProxyHeaderError(f"no line end within {LONGEST_V1_BYTES} bytes")
        return None
    return _v1_line(line), len(line) + len(end)


def _v1_line(line: bytes) -> ProxyHeader:
    match line.decode("latin-1").split(" "):
        case ["PROXY", "UNKNOWN", *_]:
            return ProxyHeader()
        case ["PROXY", family, source, destination, source_port, destination_port] if (
            family in _FAMILIES
        ):
            version = _FAMILIES[family]
            return ProxyHeader(
                HostPort(_v1_address(source, version), _v1_port(source_port)),
                HostPort(_v1_address(destination, version), _v1_port(destination_port)),
            )
    raise ProxyHeaderError("a version 1 line that names no TCP4, TCP6 or UNKNOWN connection")


def _v1_address(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProxyHeaderError("a version 1 line with a bad address") from None
    if address.version != version or "%" in text:
        raise ProxyHeaderError("a version 1 line with an address of another family")
    return str(address)


def _v1_port(text: str) -> int:
    # The specification has no leading zeros; int() would also take signs, spaces and underscores.
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or text != str(int(text)):
        raise ProxyHeaderError("a version 1 line with a bad port")
    return _port(int(text))


def _port(number: int) -> int:
    if number > 65535:
        raise ProxyHeaderError("a port above 65535")
    return number


def _parse_v2(received: bytes) -> tuple[ProxyHeader, int] | None:
    if len(received) < _V2_HEAD.size:
        return None
    _, command, kind, length = _V2_HEAD.unpack_from(received)
    total = _V2_HEAD.size + length
    if command not in (_V2_LOCAL, _V2_PROXY):
        raise ProxyHeaderError("a version 2 header with an unknown version or command")
    if total > LONGEST_V2_BYTES:
        raise ProxyHeaderError(f"a version 2 header above {LONGEST_V2_BYTES} bytes")
    if len(received) < total:
        return None
    body = received[_V2_HEAD.size : total]
    return (ProxyHeader() if command == _V2_LOCAL else _v2_addresses(kind, body)), total


def _v2_addresses(kind: int, body: bytes) -> ProxyHeader:
    family, transport = kind >> 4, kind & 0xF
    if family > _HIGHEST_FAMILY or transport > _HIGHEST_TRANSPORT:
        raise ProxyHeaderError("a version 2 header of an unknown family or transport")
    layout = _V2_ADDRESSES.get(family)
    if layout is None or transport != _STREAM:
        return ProxyHeader()
    if len(body) < layout.size:
        raise ProxyHeaderError("a version 2 header too short for its addresses")
    source, destination, source_port, destination_port = layout.unpack_from(body)
    return ProxyHeader(
        HostPort(str(ipaddress.ip_address(source)), source_port),
        HostPort(str(ipaddress.ip_address(destination)), destination_port),
    )


def encode(version: str, source: HostPort | None, destination: HostPort) -> bytes:
    """Write the header of *version* (``v1`` or ``v2``) that names *source*; None names nobody.

    *destination* must be an IP address. Where the two differ in family, both are written as
    IPv6, IPv4 mapped into it.
    """
    if source is None:
        return _NOBODY[version]
    pair = _of_one_family(source.host, destination.host)
    return _ENCODERS[version](*pair, source.port, destination.port)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _of_one_family(source: str, destination: str) -> tuple[_Address, _Address]:
    # A zone (fe80::1%eth0) means something on one machine only, and no version has room for it.
    pair = [ipaddress.ip_address(host.partition("%")[0]) for host in (source, destination)]
    if pair[0].version != pair[1].version:
        pair = [_as_v6(address) for address in pair]
    return pair[0], pair[1]


def _as_v6(address: _Address) -> _Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def _encode_v1(
    source: _Address, destination: _Address, source_port: int, destination_port: int
) -> bytes:
    family = f"TCP{source.version}"
    return f"PROXY {family} {source} {destination} {source_port} {destination_port}\r\n".encode()


def _encode_v2(
    source: _Address, destination: _Address, source_port: int, destination_port: int
) -> bytes:
    family = 0x1 if source.version == 4 else 0x2
    layout = _V2_ADDRESSES[family]
    head = _V2_HEAD.pack(_V2_START, _V2_PROXY, family << 4 | _STREAM, layout.size)
    return head + layout.pack(source.packed, destination.packed, source_port, destination_port)


_ENCODERS = {"v1": _encode_v1, "v2": _encode_v2}
_NOBODY = {"v1": b"PROXY UNKNOWN\r\n", "v2": _V2_HEAD.pack(_V2_START, _V2_LOCAL, 0, 0)}
