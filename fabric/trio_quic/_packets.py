"""What is read and said before there is a connection: an Initial's header, and a Retry."""

from __future__ import annotations

from qh3._hazmat import pull_quic_header
from qh3.quic.packet import encode_quic_retry

from fabric.trio_quic.routing import CID_BYTES


def retry_packet(*, client_cid: bytes, new_cid: bytes, original_cid: bytes, token: bytes) -> bytes:
    """Return a Retry (RFC 9000, 17.2.5): "come back with this token, by this connection ID"."""
    return encode_quic_retry(1, new_cid, client_cid, original_cid, token)


def initial_header(datagram: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return (destination CID, source CID, token) of an Initial, or ``None`` for nonsense."""
    try:
        header = pull_quic_header(datagram, 0, CID_BYTES)
    except ValueError:
        return None
    return header[3], header[4], header[5]
