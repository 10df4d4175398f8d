"""What a datagram's first bytes say: whose it is, and whether it may begin a connection.

Only what RFC 8999 and RFC 9000 section 17 leave in clear is read here. First bytes below 0x40 are
not QUIC and go to the endpoint's ``foreign`` handler; 0x80-0xbf is Version Negotiation or noise.
"""

from __future__ import annotations

CID_BYTES = 8
"""Length of every connection ID that we issue."""

RESET_TOKEN_BYTES = 16

MIN_DATAGRAM = 21
"""Shorter ones hold no packet: 1 + connection ID + packet number + sample (RFC 9001, 5.4.2)."""

MIN_INITIAL = 1200
"""A client's first datagram must be padded to this (RFC 9000, 14.1)."""

VERSION_1 = b"\x00\x00\x00\x01"

_LONG = 0x80
_FIXED = 0x40
_SHORT_FIRST_BYTES = bytes(range(0x40, 0x80))


def is_foreign(first: int) -> bool:
    """Return whether a datagram with this first byte is a probe or a relayed packet."""
    return first < _FIXED


def destination(datagram: bytes) -> bytes | None:
    """Return the destination connection ID, or ``None`` for what cannot be a QUIC v1 packet."""
    if len(datagram) < MIN_DATAGRAM or not datagram[0] & _FIXED:
        return None
    if not datagram[0] & _LONG:
        return datagram[1 : 1 + CID_BYTES]
    length = datagram[5]
    if datagram[1:5] != VERSION_1 or length > 20 or len(datagram) < 7 + length:
        return None
    return datagram[6 : 6 + length]


def reset_token(datagram: bytes) -> bytes:
    """Return the token that *datagram* would carry if it were a stateless reset (RFC 9000, 10.3).

    Its connection ID is noise: a dialler finds its connection by the token alone. Connection IDs
    of ours are shorter, so both may be keys of one table.
    """
    return datagram[-RESET_TOKEN_BYTES:] if is_short(datagram) else b""


def is_short(datagram: bytes) -> bool:
    """Return whether this is a 1-RTT packet."""
    return datagram[0] & (_LONG | _FIXED) == _FIXED


def begins_connection(datagram: bytes) -> bool:
    """Return whether an acceptor may make a connection of it: a full-sized v1 Initial."""
    return (
        len(datagram) >= MIN_INITIAL
        and datagram[0] & 0xF0 == 0xC0
        and datagram[1:5] == VERSION_1
        and 8 <= datagram[5] <= 20
    )


def common_destination(buffer: bytes, segment: int) -> bytes | None:
    """Return the one connection ID of all 1-RTT packets in a GRO buffer, if they share it.

    The kernel joins by address, not by connection: probes and other connections' packets of the
    same size may sit in between, and each segment must be looked at.
    """
    if buffer[::segment].translate(None, _SHORT_FIRST_BYTES):
        return None
    # Strides compare one byte of all segments at once: a third of the time of a loop over them.
    cid, count = buffer[1:9], -(-len(buffer) // segment)
    for place, byte in enumerate(cid, start=1):
        if buffer[place::segment] != bytes((byte,)) * count:
            return None
    return cid
