"""The TLS half of a connection's engine: what we say that we can take, and silence after it."""

from __future__ import annotations

import ssl
from typing import Any

from qh3 import tls
from qh3._hazmat import Buffer
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.packet import QuicTransportParameters, push_quic_transport_parameters
from qh3.quic.tls_bridge import QuicTlsBridge, QuicTlsBridgeError

from fabric.trio_quic.identity import Identity
from fabric.trio_quic.routing import CID_BYTES
from fabric.trio_quic.settings import Settings

MAX_UDP_PAYLOAD = 65_527
"""What we say we can receive. The stock client says 1472, which caps the acceptor's datagrams."""

ACTIVE_CIDS = 2
"""Connection IDs kept per connection: one in use, one spare."""

MAX_UNIDIRECTIONAL = 16
"""Per connection: the credit stream, a greeting, and room for its user's own."""

ACK_DELAY_EXPONENT = 3
MAX_ACK_DELAY = 0.025

MAX_CRYPTO = 16 * 1024
"""Handshake bytes per epoch: a Hello takes 2 KiB, an acceptor's flight 1."""

CRYPTO_BUFFER_EXCEEDED = 0x0D
UNEXPECTED_MESSAGE = 0x10A
DECODE_ERROR = 0x132


SERVER_NAME = "node.fabric.invalid"
"""One constant for all nodes: no identity crosses the wire in clear."""


def configuration(identity: Identity, limits: Settings, *, dialler: bool) -> QuicConfiguration:
    """Return what one role of an endpoint shares between all its connections."""
    made = QuicConfiguration(
        is_client=dialler,
        alpn_protocols=[limits.alpn],
        connection_id_length=CID_BYTES,
        idle_timeout=limits.idle_timeout,
        max_datagram_size=limits.max_datagram_bytes,
        probe_datagram_size=False,
        max_data=limits.engine_window,
        max_stream_data=limits.engine_stream_window,
        verify_mode=ssl.CERT_NONE,  # the certificate is self-signed; the driver pins its key
        verify_hostname=False,
        server_name=SERVER_NAME if dialler else None,
        cipher_suites=[
            tls.CipherSuite.AES_128_GCM_SHA256,  # fastest here (635 MB/s; ChaCha20 478)
            tls.CipherSuite.CHACHA20_POLY1305_SHA256,
        ],
        signature_algorithms=[tls.SignatureAlgorithm.ED25519],
        active_connection_id_limit=ACTIVE_CIDS,
    )
    made.load_cert_chain(identity.certificate_pem, identity.key_pem)
    return made


class Bridge(QuicTlsBridge):
    """The TLS half with our transport parameters; a stranger's nonsense ends as a close."""

    limits: Settings

    def __init__(self, *args: Any, limits: Settings, **options: Any) -> None:  # noqa: ANN401
        self.limits = limits
        super().__init__(*args, **options)

    def serialize_transport_parameters(self) -> bytes:
        """Say what we grant. No DATAGRAM frames (the stock client offers an unbounded queue of
        them), no version information (one version is spoken), no grease."""
        shared, accepts = self.configuration, not self.configuration.is_client
        window = shared.max_stream_data
        parameters = QuicTransportParameters(
            initial_source_connection_id=self.local_initial_source_connection_id,
            original_destination_connection_id=(
                self.original_destination_connection_id if accepts else None
            ),
            retry_source_connection_id=self.retry_source_connection_id if accepts else None,
            stateless_reset_token=self.stateless_reset_token if accepts else None,
            max_idle_timeout=int(shared.idle_timeout * 1000),
            max_udp_payload_size=MAX_UDP_PAYLOAD,
            initial_max_data=shared.max_data,
            initial_max_stream_data_bidi_local=window,
            initial_max_stream_data_bidi_remote=window,
            initial_max_stream_data_uni=window,
            initial_max_streams_bidi=self.limits.max_streams,
            initial_max_streams_uni=MAX_UNIDIRECTIONAL,
            ack_delay_exponent=ACK_DELAY_EXPONENT,
            max_ack_delay=int(MAX_ACK_DELAY * 1000),
            active_connection_id_limit=ACTIVE_CIDS,
        )
        buffer = Buffer(capacity=512)
        push_quic_transport_parameters(buffer, parameters)
        return buffer.data

    def receive_crypto(
        self,
        epoch: tls.Epoch,
        data: bytes,
        offset: int | None = None,
        *,
        version: int | None = None,
    ) -> None:
        if (offset or 0) + len(data) > MAX_CRYPTO:  # TLS would keep what a stranger announces
            raise QuicTlsBridgeError(CRYPTO_BUFFER_EXCEEDED, "too long a handshake message")
        try:
            super().receive_crypto(epoch, data, offset, version=version)
        except QuicTlsBridgeError:
            raise
        except Exception as exc:  # the parser raises what it likes; the peer gets one answer
            raise QuicTlsBridgeError(DECODE_ERROR, f"decode error: {type(exc).__name__}") from exc


class SpentBridge:
    """Stands in for the TLS half after the handshake: any further CRYPTO data closes.

    Sessions tickets and post-handshake authentication are off, so nothing legal can come, and
    dropping the real one saves 12 kB per idle connection.
    """

    version = 1
    remote_transport_parameters = None
    handshake_complete = True
    peer_certificate = None

    def receive_crypto(self, *_args: object, **_options: object) -> None:
        raise QuicTlsBridgeError(UNEXPECTED_MESSAGE, "unexpected message after the handshake")
