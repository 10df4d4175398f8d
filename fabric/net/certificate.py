"""The self-signed X.509 certificate in which a node's key travels through TLS."""

from __future__ import annotations

from datetime import UTC, datetime

_NAME = "fabric node"
_FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
_NO_LAST_DAY = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""RFC 5280, 4.1.2.5: the date of a certificate that has no well-defined end."""


def self_signed(seed: bytes) -> bytes:
    """The DER certificate of the Ed25519 key made of *seed*.

    Everything in it but the key is constant, and the signature scheme is deterministic: made
    again, it is the same bytes. Imports ``cryptography``, which stays resident (12 MB).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding

    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FIRST_DAY)
        .not_valid_after(_NO_LAST_DAY)
        .sign(key, algorithm=None)
    )
    return certificate.public_bytes(Encoding.DER)
