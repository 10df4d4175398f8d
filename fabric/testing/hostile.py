"""Packets that no honest end sends: sealed by the book, so that their content is what is judged.

Sealing is aioquic's, which is none of the product's dependencies: import this in tests only.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from functools import cache
from typing import cast

from aioquic._buffer import Buffer  # aioquic.buffer does not re-export it for type checkers
from aioquic.buffer import encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, pull_quic_header
from attrs import frozen

from fabric.trio_quic import Settings
from fabric.trio_quic._native import Engine
from fabric.trio_quic._tls import configuration
from fabric.trio_quic.identity import Identity
from fabric.trio_quic.sink import Sink

X25519_ML_KEM_768 = 0x11EC
"""The group whose shares may decode badly (TLS named groups)."""

KEY_SHARE_EXTENSION = 51

INITIAL_BYTES = 1200
TAG_BYTES = 16
NUMBER_BYTES = 2
MAX_CRYPTO = 1000
"""CRYPTO bytes per Initial: what fits a full one beside headers."""


@frozen
class Hello:
    """A TLS ClientHello and the source connection ID that its transport parameters name."""

    message: bytes
    source_cid: bytes


@cache
def an_honest_hello(identity: Identity) -> Hello:
    """Return what a dialler of ours says first; the same at every call."""
    shared = configuration(identity, Settings(), dialler=True)
    engine = Engine(shared, Settings(), cast(Sink, _Deaf()))
    engine.dial(0.0)
    pieces: dict[int, bytes] = {}
    for datagram in engine.poll(0.0, 8):
        pieces.update(_crypto_pieces(datagram))
    return Hello(b"".join(pieces[at] for at in sorted(pieces)), engine.host_cid)


@cache
def a_short_hello() -> Hello:
    """Return a ClientHello of another make, short enough for one datagram: all TLS for one."""
    shared = QuicConfiguration(alpn_protocols=[Settings().alpn], verify_mode=ssl.CERT_NONE)
    client = QuicConnection(configuration=shared)
    client.connect(("192.0.2.1", 4433), now=0.0)
    ((datagram, _to),) = client.datagrams_to_send(0.0)
    return Hello(_crypto_pieces(datagram)[0], client.host_cid)


def hello_datagrams(
    message: bytes, *, source_cid: bytes, to: bytes | None = None, token: bytes = b""
) -> list[bytes]:
    """Return Initials that carry *message*, addressed to a fresh connection ID or to *to*."""
    to = to or os.urandom(8)
    return [
        seal_initial(
            crypto_frame(message[at : at + MAX_CRYPTO], at),
            to=to,
            source_cid=source_cid,
            token=token,
            number=number,
        )
        for number, at in enumerate(range(0, len(message) or 1, MAX_CRYPTO))
    ]


def key_share(message: bytes, group: int) -> slice:
    """Return where in a ClientHello the public key for *group* stands."""
    buffer = Buffer(data=message)
    buffer.seek(4 + 2 + 32)  # message header, legacy version, random
    for length_bytes in (1, 2, 1):  # session id, cipher suites, compression methods
        _skip(buffer, length_bytes)
    buffer.pull_uint16()
    while buffer.pull_uint16() != KEY_SHARE_EXTENSION:
        _skip(buffer, 2)
    buffer.seek(buffer.tell() + 4)
    while buffer.pull_uint16() != group:
        _skip(buffer, 2)
    size = buffer.pull_uint16()
    return slice(buffer.tell(), buffer.tell() + size)


def _skip(buffer: Buffer, length_bytes: int) -> None:
    buffer.pull_bytes(int.from_bytes(buffer.pull_bytes(length_bytes), "big"))


def crypto_frame(data: bytes, offset: int = 0) -> bytes:
    """Return a CRYPTO frame (RFC 9000, 19.6)."""
    return b"\x06" + encode_uint_var(offset) + encode_uint_var(len(data)) + data


def seal_initial(
    frames: bytes, *, to: bytes, source_cid: bytes, token: bytes = b"", number: int = 0
) -> bytes:
    """Return one client Initial around *frames*, padded to a full datagram."""
    head = b"\xc1\x00\x00\x00\x01" + bytes([len(to)]) + to + bytes([len(source_cid)]) + source_cid
    head += encode_uint_var(len(token)) + token
    rest = INITIAL_BYTES - len(head) - 2 - NUMBER_BYTES - TAG_BYTES
    frames = frames.ljust(rest, b"\x00")
    length = 0x4000 | (NUMBER_BYTES + len(frames) + TAG_BYTES)
    header = head + length.to_bytes(2, "big") + number.to_bytes(NUMBER_BYTES, "big")
    keys = CryptoPair()
    keys.setup_initial(to, is_client=True, version=QuicProtocolVersion.VERSION_1)
    return keys.encrypt_packet(header, frames, number)


def _crypto_pieces(datagram: bytes) -> dict[int, bytes]:
    buffer = Buffer(data=datagram)
    header = pull_quic_header(buffer, host_cid_length=8)
    keys = CryptoPair()
    keys.setup_initial(
        header.destination_cid, is_client=False, version=QuicProtocolVersion.VERSION_1
    )
    sealed_at = buffer.tell()
    _header, frames, _number = keys.decrypt_packet(datagram[: header.packet_length], sealed_at, 0)
    plain, pieces = Buffer(data=frames), {}
    while not plain.eof():
        kind = plain.pull_uint_var()
        if kind == 0x06:
            offset = plain.pull_uint_var()
            pieces[offset] = plain.pull_bytes(plain.pull_uint_var())
        else:
            assert kind in (0x00, 0x01), "a dialler's first flight is CRYPTO, PING and PADDING"
    return pieces


class _Deaf:
    """Hears nothing: its engine never gets an answer."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_options: None
