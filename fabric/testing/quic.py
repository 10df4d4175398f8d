"""Identities and connected pairs for tests of, and with, :mod:`fabric.trio_quic`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fabric.testing.network import Network
from fabric.trio_quic import (
    Connection,
    Endpoint,
    Identity,
    Settings,
    Stream,
    Transport,
    open_endpoint_on,
    open_udp_socket,
)


@frozen
class KeyedIdentity:
    """An identity together with what others pin it by."""

    identity: Identity
    public: bytes
    """Raw Ed25519 key, 32 bytes."""


@cache
def an_identity(seed: int = 0) -> KeyedIdentity:
    """Return the same self-signed Ed25519 identity for the same *seed*."""
    key = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node of a test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .sign(key, algorithm=None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return KeyedIdentity(Identity(certificate.public_bytes(Encoding.PEM), private), public)


DIALLER = 1
ACCEPTOR = 2
"""Seeds of the two identities of a pair."""


@frozen
class Pair:
    """Two endpoints and one admitted connection between them."""

    dialler: Connection
    acceptor: Connection
    dialling: Endpoint
    accepting: Endpoint


@asynccontextmanager
async def open_pair(
    *,
    network: Network | None = None,
    host: str = "127.0.0.1",
    settings: Settings | None = None,
    accepting_settings: Settings | None = None,
    dialling_on: Transport | None = None,
    accepting_on: Transport | None = None,
) -> AsyncGenerator[Pair]:
    """Connect two endpoints, over *network* or else over sockets bound to *host*.

    *settings* are those of both ends unless *accepting_settings* says otherwise; a transport given
    is used in place of one made here.
    """
    settings = settings or Settings()

    def a_transport() -> Transport:
        if network is not None:
            return network.transport()
        return open_udp_socket(host, 0, buffer_bytes=settings.socket_buffer_bytes)

    accepting_on, dialling_on = accepting_on or a_transport(), dialling_on or a_transport()
    accepts, dials = an_identity(ACCEPTOR), an_identity(DIALLER)
    async with (
        open_endpoint_on(
            accepting_on, identity=accepts.identity, settings=accepting_settings or settings
        ) as accepting,
        open_endpoint_on(dialling_on, identity=dials.identity, settings=settings) as dialling,
    ):
        dialler = await dialling.connect(accepting.address, pin=accepts.public)
        acceptor = await accepting.accept()
        acceptor.admit()
        yield Pair(dialler, acceptor, dialling, accepting)


async def open_streams(pair: Pair) -> tuple[Stream, Stream]:
    """Open a stream and return both its ends, with nothing on the way."""
    near = await pair.dialler.open_stream()
    await near.send_all(b"!")
    far = await pair.acceptor.accept_stream()
    assert await far.receive_some() == b"!"
    return near, far


async def read_all(stream: Stream) -> bytes:
    """Return everything up to the peer's clean end."""
    pieces = bytearray()
    while piece := await stream.receive_some():
        pieces += piece
    return bytes(pieces)
