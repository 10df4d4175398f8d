"""What both aioquic rivals share: its configuration, and the one private look that it takes."""

from __future__ import annotations

import ssl
from collections.abc import Sized
from typing import cast

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.tls import load_pem_private_key, load_pem_x509_certificates

from fabric.net.tls import NodeKey, certificate_for


def configuration(
    acceptor_key: NodeKey | None = None, *, datagram_bytes: int = 1452
) -> QuicConfiguration:
    """As our driver's where it can be: a node's key, no authority, packets of the same size."""
    settings = QuicConfiguration(
        is_client=acceptor_key is None,
        alpn_protocols=["bench"],
        max_datagram_size=datagram_bytes,
        verify_mode=ssl.CERT_NONE,
    )
    if acceptor_key is not None:
        certificate, private_key = certificate_for(acceptor_key)
        settings.certificate = load_pem_x509_certificates(certificate)[0]
        settings.private_key = load_pem_private_key(private_key)
    return settings


def unsent(quic: QuicConnection, stream_id: int) -> int:
    """Bytes written and not yet acknowledged; there is no public way to ask."""
    stream = quic._streams.get(stream_id)
    return len(cast("Sized", stream.sender._buffer)) if stream else 0
