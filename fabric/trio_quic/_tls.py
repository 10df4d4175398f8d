"""The TLS half of a connection's engine: what we say that we can take, and silence after it."""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Any

from qh3 import tls
from qh3._hazmat import Buffer
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.packet import QuicTransportParameters, push_quic_transport_parameters
from qh3.quic.tls_bridge import QuicTlsBridge, QuicTlsBridgeError, QuicTlsTrafficSecret

from fabric.trio_quic._handshake import expand_label, take_over
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

PRIVATE_NAMES = {
    "QuicTlsBridge": ("serialize_transport_parameters", "receive_crypto", "next_traffic_secret",
                      "_on_traffic_secret", "_traffic_secrets"),
}  # fmt: skip
"""What the bridge between QUIC and TLS must have."""

SERVER_NAME = "node.fabric.invalid"
"""One constant for all nodes: no identity crosses the wire in clear."""

CIPHER_SUITES = [
    tls.CipherSuite.AES_128_GCM_SHA256,  # fastest here (635 MB/s; ChaCha20 478)
    tls.CipherSuite.CHACHA20_POLY1305_SHA256,
]
"""By preference. Both hash with SHA-256, as :mod:`._handshake` takes for granted."""

VERSION_1 = 1

KEY_BYTES = {
    tls.CipherSuite.AES_128_GCM_SHA256: 16,
    tls.CipherSuite.CHACHA20_POLY1305_SHA256: 32,
}
"""The suites that are spoken, both with SHA-256, and the length of their keys."""

ORIGINAL_DESTINATION_CID = 0x00
STATELESS_RESET_TOKEN = 0x02
INITIAL_SOURCE_CID = 0x0F
RETRY_SOURCE_CID = 0x10
"""Transport parameters that are each connection's own (RFC 9000, 18.2)."""


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
        cipher_suites=CIPHER_SUITES,
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
        take_over(self.tls)

    def serialize_transport_parameters(self) -> bytes:
        """Say what we grant. No DATAGRAM frames (the stock client offers an unbounded queue of
        them), no version information (one version is spoken), no grease."""
        said = [
            _constant_parameters(self.limits),
            _parameter(INITIAL_SOURCE_CID, self.local_initial_source_connection_id),
        ]
        if not self.configuration.is_client:
            said += [
                _parameter(ORIGINAL_DESTINATION_CID, self.original_destination_connection_id),
                _parameter(RETRY_SOURCE_CID, self.retry_source_connection_id),
                _parameter(STATELESS_RESET_TOKEN, self.stateless_reset_token),
            ]
        return b"".join(said)

    def _on_traffic_secret(
        self,
        direction: tls.Direction,
        epoch: tls.Epoch,
        cipher_suite: tls.CipherSuite,
        secret: bytes,
    ) -> None:
        if self.version != VERSION_1:  # a dialler of another make may ask for 2
            super()._on_traffic_secret(direction, epoch, cipher_suite, secret)
            return
        size = KEY_BYTES[cipher_suite]
        self._traffic_secrets.append(
            QuicTlsTrafficSecret(
                direction=direction,
                epoch=epoch,
                cipher_suite=cipher_suite,
                version=VERSION_1,
                key=expand_label(secret, b"quic key", b"", size),
                iv=expand_label(secret, b"quic iv", b"", 12),
                hp=expand_label(secret, b"quic hp", b"", size),
                secret=secret,
            )
        )

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


def _parameter(kind: int, value: bytes | None) -> bytes:
    """Return a transport parameter of at most 63 bytes; nothing for one that is not said."""
    return b"" if value is None else bytes((kind, len(value))) + value


@lru_cache(maxsize=16)
def _constant_parameters(limits: Settings) -> bytes:
    """Return the transport parameters that are the same for all connections of an endpoint."""
    window = limits.engine_stream_window
    parameters = QuicTransportParameters(
        max_idle_timeout=int(limits.idle_timeout * 1000),
        max_udp_payload_size=MAX_UDP_PAYLOAD,
        initial_max_data=limits.engine_window,
        initial_max_stream_data_bidi_local=window,
        initial_max_stream_data_bidi_remote=window,
        initial_max_stream_data_uni=window,
        initial_max_streams_bidi=limits.max_streams,
        initial_max_streams_uni=MAX_UNIDIRECTIONAL,
        ack_delay_exponent=ACK_DELAY_EXPONENT,
        max_ack_delay=int(MAX_ACK_DELAY * 1000),
        active_connection_id_limit=ACTIVE_CIDS,
    )
    buffer = Buffer(capacity=512)
    push_quic_transport_parameters(buffer, parameters)
    return buffer.data


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
