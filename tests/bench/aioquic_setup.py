"""What both aioquic rivals share: configuration, identity, and the one private look it takes."""

from __future__ import annotations

import datetime
import socket
from pathlib import Path

from aioquic.asyncio.protocol import QuicStreamAdapter
from aioquic.quic.configuration import QuicConfiguration
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.bench.processes import free_port


def configuration(
    folder: Path, *, is_client: bool, datagram_bytes: int = 1452
) -> QuicConfiguration:
    """As our driver's where it can be: the same packets, a pinned certificate, no probing."""
    settings = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["bench"],
        max_datagram_size=datagram_bytes,
        server_name="localhost",
    )
    if is_client:
        settings.load_verify_locations(str(folder / "cert.pem"))
    else:
        settings.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return settings


def write_identity(folder: Path) -> None:
    """A key and its own certificate for `localhost`, as `key.pem` and `cert.pem`."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, None)
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def udp_port() -> int:
    return free_port(socket.SOCK_DGRAM)


def unsent(transport: QuicStreamAdapter) -> int:
    """Bytes written and not yet acknowledged; there is no public way to ask."""
    stream = transport.protocol._quic._streams.get(transport.stream_id)
    return len(stream.sender._buffer) if stream else 0
